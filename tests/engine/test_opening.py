"""What an engine is opened with."""

from __future__ import annotations

from pathlib import Path

import anyio
import psycopg
import pytest

from jobsync.engine.opening import open_engine
from tests.web.conftest import make_settings

pytestmark = pytest.mark.anyio
OURS = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'jobsync'"


@pytest.mark.parametrize(("asked", "opened"), [(2, 2), (None, 3), (50, 3)])
async def test_a_process_that_does_one_thing_opens_no_more_connections_than_it_asks_for(
    dsn: str, tmp_path: Path, asked: int | None, opened: int
) -> None:
    settings = make_settings(tmp_path, DATABASE_URL=dsn, DATABASE_MAX_CONNECTIONS="3")
    async with open_engine(settings, most_connections=asked) as engine, anyio.create_task_group() as group:
        full, enough = anyio.Event(), anyio.Event()
        held = 0

        async def hold() -> None:
            nonlocal held
            async with engine.database.transaction(None):
                held += 1
                if held == opened:
                    full.set()
                await enough.wait()

        for _ in range(6):
            group.start_soon(hold)
        await full.wait()
        with psycopg.connect(dsn) as connection:
            row = connection.execute(OURS).fetchone()
        enough.set()
    assert row == (opened,)
