"""job-sync-schema.sql: equal to its sources, and enough by itself."""

from __future__ import annotations

import psycopg
import pytest

from jobsync.db.migrate import migrate
from jobsync.db.schema_file import PATH, render

pytestmark = pytest.mark.anyio


def test_the_file_at_the_root_is_what_its_sources_make() -> None:
    assert PATH.read_text("utf-8") == render(), "run: python -m jobsync.db.schema_file"


async def test_the_file_alone_makes_a_database_to_which_a_migration_adds_nothing(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(PATH.read_bytes())

    assert (await migrate(empty_dsn)).applied == ()
