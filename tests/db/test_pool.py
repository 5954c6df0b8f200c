"""The pool's connections: what they let others wait for."""

from __future__ import annotations

import psycopg
import pytest

from jobsync.config import Settings
from jobsync.db.pool import Database, Session

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


async def test_the_connection_that_came_back_last_is_lent_first(database: Database) -> None:
    """It has planned already what it is asked; the others rest until there is more to do at once."""

    async def ask(session: Session) -> int:
        found = await session._connection.execute("select pg_backend_pid() as pid")
        row = await found.fetchone()
        assert row is not None
        return row["pid"]

    async with (
        database.transaction(None) as first,
        database.transaction(None) as second,
        database.transaction(None) as third,
    ):
        served = [await ask(session) for session in (first, second, third)]
    assert len(set(served)) == 3
    again = []
    for _ in range(4):
        async with database.transaction(None) as session:
            again.append(await ask(session))
    assert again == [served[0]] * 4


KILL = (
    "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
    "where datname = current_database() and application_name = 'jobsync'"
)


async def test_a_connection_that_died_is_replaced_before_anything_is_asked_of_it(database: Database, dsn: str) -> None:
    """However short ago it was used: else each restart of the server costs a drain its turn."""
    first, second = await ask_twice(database, dsn, KILL)
    assert first != second


async def cap(database: Database, hour: int) -> None:
    asked = {"tenant": "default", "cap_hour": hour, "cap_day": None, "price": None, "actor": "test"}
    await database.call("default", "set_limits", asked)


def read_cap(dsn: str, then: str = "select") -> int:
    with psycopg.connect(dsn, autocommit=True) as other:
        row = other.execute(b"select cap_hour from jobsync.tenants where tenant_id = 'default'").fetchone()
        other.execute(then.encode())
    assert row is not None
    return row[0]


async def test_one_statement_is_stored_by_one_message_also_after_the_server_ended_its_connection(
    database: Database, dsn: str
) -> None:
    await cap(database, 7)
    assert read_cap(dsn, KILL) == 7
    await cap(database, 8)
    assert read_cap(dsn) == 8


async def test_a_message_that_is_refused_leaves_nothing_and_its_connection_serves_the_next(
    database: Database, dsn: str
) -> None:
    await cap(database, 7)
    with pytest.raises(psycopg.errors.CheckViolation):
        await cap(database, -1)
    assert read_cap(dsn) == 7
    await cap(database, 8)
    assert read_cap(dsn) == 8
