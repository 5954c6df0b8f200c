"""The circuit breaker: one for each app and environment, shared by all tenants that reach it."""

from __future__ import annotations

import pytest

from jobsync.db.pool import Database
from jobsync.engine.pacing import SharedPace
from jobsync.errors import UpstreamUnavailable

pytestmark = pytest.mark.anyio


async def add_tenant(database: Database, tenant: str) -> None:
    async with database.transaction(None) as session:
        await session.run("add_tenant", {"tenant": tenant, "name": tenant, "actor": "test"})


def pace_of(database: Database, tenant: str, app: bytes) -> SharedPace:
    return SharedPace(database, tenant, rate=0.0, breaker=app)


async def fail(pace: SharedPace, times: int) -> None:
    for _ in range(times):
        await pace.take()
        await pace.note(False)


async def is_open(pace: SharedPace) -> bool:
    try:
        await pace.take()
    except UpstreamUnavailable as error:
        assert error.code == "breaker_open"
        return True
    return False


async def test_it_opens_at_half_of_twenty_requests_of_all_tenants_of_an_app(database: Database) -> None:
    await add_tenant(database, "north")
    ours, theirs, elsewhere = (
        pace_of(database, *who) for who in (("default", b"app"), ("north", b"app"), ("north", b"another app"))
    )
    for pace in (ours, theirs):
        for _ in range(5):
            await pace.take()
            await pace.note(True)
    await ours.take()  # books what went well before
    await theirs.take()
    await fail(ours, 5)
    assert not await is_open(theirs), "five of fifteen"
    await fail(theirs, 5)
    assert await is_open(ours)
    assert await is_open(theirs)
    assert not await is_open(elsewhere), "another app, or the same in another environment"


async def test_the_trial_of_one_tenant_closes_it_for_all(database: Database) -> None:
    await add_tenant(database, "north")
    ours, theirs = (pace_of(database, tenant, b"app") for tenant in ("default", "north"))
    await fail(ours, 20)
    assert await is_open(theirs)
    async with database.transaction(None) as session:
        await session._connection.execute("update jobsync.breakers set open_until = clock_timestamp()")
    await theirs.take()
    await theirs.note(True)
    assert not await is_open(ours)


async def test_while_all_is_well_nothing_is_written_and_nobody_queues(database: Database) -> None:
    pace = pace_of(database, "default", b"app")

    async def xmin() -> object:
        async with database.transaction(None) as session:
            found = await session._connection.execute("select xmin::text from jobsync.breakers")
            return await found.fetchone()

    for _ in range(21):
        await pace.take()
        await pace.note(True)
    await pace.take()
    before = await xmin()
    for _ in range(5):
        await pace.note(True)
        await pace.take()
    assert before is not None
    assert await xmin() == before
