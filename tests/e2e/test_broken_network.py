"""Real sockets that break between JobSync and both upstreams."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.clock import move_clock
from tests.e2e.fault_proxy import FaultProxy, Toxic
from tests.e2e.ledger_check import check_nothing_lost, is_all_told
from tests.upstreams import UNITS, Stage, open_stage

pytestmark = pytest.mark.anyio

KINDS = [
    Toxic("reset", 0.1),
    Toxic("cut", 0.1, size=40),
    Toxic("refuse", 0.1),
    Toxic("slicer", 0.2, size=700),
    Toxic("latency", 0.2, seconds=0.02),
]


async def sync_until_told(stage: Stage, jobs: int, *, most: int = 25) -> int:
    """Passes with the waits between them skipped; answers how many it took."""
    for turn in range(1, most + 1):
        await stage.sync()
        if is_all_told(stage, jobs):
            return turn
        move_clock(stage.dsn, "11 hours" if turn % 3 == 0 else "6 minutes")
    raise AssertionError("it does not come to rest")


async def route_through(stage: Stage, proxy: FaultProxy) -> None:
    """Lets every unit's hook be reached through the proxy only."""
    url = stage.add_hook().replace(stage.level_url, proxy.url)
    for unit in UNITS:
        await stage.route(unit, url)


async def test_a_network_that_breaks_every_third_connection_loses_nothing(dsn: str, tmp_path: Path) -> None:
    jobs = 60
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(dsn, tmp_path, jobs=jobs))
        await stage.sync(deliver=False, streams=("business_units",))
        level = await stack.enter_async_context(FaultProxy(stage.level_url, list(KINDS)))
        await route_through(stage, level)
        await sync_until_told(stage, jobs)
        assert sum(level.struck.values()) > 10
        check_nothing_lost(stage)


async def test_servicetitan_behind_a_broken_network_is_read_whole(dsn: str, tmp_path: Path) -> None:
    jobs = 60
    async with AsyncExitStack() as stack:
        # The proxy must exist before the settings that name it: it learns its target afterwards.
        proxy = await stack.enter_async_context(FaultProxy("http://127.0.0.1:1"))
        more = {"SERVICE_TITAN_API_URL": proxy.url}
        stage = await stack.enter_async_context(open_stage(dsn, tmp_path, jobs=jobs, more=more))
        proxy.target = stage.titan_url
        await stage.route_all()
        proxy.toxics = [each for each in KINDS if each.kind != "refuse"]
        await sync_until_told(stage, jobs)
        assert sum(proxy.struck.values()) > 3
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)


async def test_two_hours_without_gohighlevel_burn_no_attempt_and_lose_nothing(dsn: str, tmp_path: Path) -> None:
    jobs = 40
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(dsn, tmp_path, jobs=jobs))
        await stage.sync(deliver=False, streams=("business_units",))
        dead = await stack.enter_async_context(FaultProxy("http://127.0.0.1:1"))
        dead.target = stage.level_url
        url = dead.url
        await dead.__aexit__()
        hook = stage.add_hook().replace(stage.level_url, url)
        for unit in UNITS:
            await stage.route(unit, hook)
        for _ in range(8):
            await stage.sync()
            move_clock(stage.dsn, "15 minutes")
        assert stage.value("select count(*) from jobsync.outbox") == jobs
        assert stage.value("select max(attempts) from jobsync.outbox") <= 1
        assert stage.value("select count(*) from jobs where ghl_sync_status = 'failed'") == 0
        assert stage.value("select paused_at is not null from jobsync.destinations") is True
        assert stage.posts() == {}
        # It is back, at the same address.
        port = int(url.rsplit(":", 1)[1])
        await stack.enter_async_context(FaultProxy(stage.level_url, port=port))
        move_clock(stage.dsn, "2 minutes")
        await sync_until_told(stage, jobs)
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)


async def test_a_database_that_cannot_write_keeps_every_send_back(dsn: str, tmp_path: Path) -> None:
    # The server's own error for a full disk (53100), raised where the attempt would be written.
    async with open_stage(dsn, tmp_path, jobs=20) as stage:
        await stage.route_all()
        await stage.sync(deliver=False)
        stage.run(
            "create function public.full_disk() returns trigger language plpgsql as"
            " $$ begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$;"
            "create trigger full_disk before insert on jobsync.attempts for each statement execute function public.full_disk()"
        )
        await stage.sync(pull=False)
        assert stage.posts() == {}
        assert stage.value("select count(*) from jobsync.outbox where lease_until is null") == 20
        stage.run("drop trigger full_disk on jobsync.attempts")
        await stage.sync(pull=False)
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)
