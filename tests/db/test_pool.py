"""The pool's connections: what they let others wait for."""

from __future__ import annotations

import psycopg
import pytest

from jobsync.config import Settings
from jobsync.db.pool import Database

pytestmark = pytest.mark.anyio


async def test_what_a_process_that_stands_still_holds_is_given_up_within_a_lease(database: Database) -> None:
    """Found by a worker that was stopped while it claimed: nobody else could send for five minutes."""
    async with database.transaction(None) as session:
        shown = await session._connection.execute(
            "select extract(epoch from current_setting('idle_in_transaction_session_timeout')::interval)::int as seconds"
        )
        row = await shown.fetchone()
    assert row is not None
    assert 0 < row["seconds"] < Settings.model_fields["lease_seconds"].default


async def ask_twice(database: Database, dsn: str, between: str) -> list[int]:
    """The server process that serves each of two transactions; `between` is done after each."""
    served = []
    for _ in range(2):
        async with database.transaction(None) as session:
            found = await session._connection.execute("select pg_backend_pid() as pid")
            row = await found.fetchone()
        assert row is not None
        served.append(row["pid"])
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute(between.encode())
    return served


KILL = (
    "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
    "where datname = current_database() and application_name = 'jobsync'"
)


async def test_a_connection_that_died_is_replaced_before_anything_is_asked_of_it(database: Database, dsn: str) -> None:
    """However short ago it was used: else each restart of the server costs a drain its turn."""
    first, second = await ask_twice(database, dsn, KILL)
    assert first != second
