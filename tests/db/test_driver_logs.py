"""What the database driver says by itself passes the allow-list of our logs: who warned, never host, user or message."""

from __future__ import annotations

import json
import logging

import pytest
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from jobsync.db.pool import Database
from jobsync.log import set_up_logs

pytestmark = pytest.mark.anyio
CANARY = "canary-7f3a"


async def test_a_pool_that_cannot_connect_names_itself_and_nothing_else(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logs("DEBUG", for_people=False)
    wrong = f"host=127.0.0.1 port=1 user={CANARY} password={CANARY} dbname={CANARY}"
    async with AsyncConnectionPool(wrong, min_size=1, open=False, name=CANARY, timeout=1.0) as pool:
        with pytest.raises(PoolTimeout):
            await pool.wait(timeout=1.0)
    try:
        raise ValueError(f"host 10.1.2.3 {CANARY}")
    except ValueError:
        logging.getLogger("psycopg").exception("query cancellation failed: %s", CANARY)
    async with Database(dsn) as database, database.transaction(None) as session:
        await session.value("read_now")
    said = capsys.readouterr()
    assert CANARY not in said.err + said.out and "127.0.0.1" not in said.err
    lines = [json.loads(line) for line in said.err.splitlines()]
    assert {line["event"] for line in lines} == {"library_warned"}
    assert {line["logger"] for line in lines} == {"psycopg.pool", "psycopg"}
    assert (lines[-1]["level"], lines[-1]["error_type"]) == ("error", "ValueError")
    assert (lines[0]["error_type"], "PostgreSQL" in lines[0]["reason"]) == ("OperationalError", True)
