"""What the upstreams' answers say of quota and clock becomes an alert, and its end a recovery. Over real HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobsync.alerts.watch import watch
from jobsync.engine.ghl_connection import open_gohighlevel
from tests.clock import move_clock
from tests.upstreams import TENANT, Stage, open_stage

pytestmark = pytest.mark.anyio
PACE = 8


async def ask_gohighlevel(stage: Stage, times: int = 1) -> None:
    async with open_gohighlevel(stage.engine, TENANT) as client:
        for _ in range(times):
            await client.get_location()


async def open_alert(stage: Stage, code: str, upstream: str) -> dict[str, Any] | None:
    """One round of alerting; the open alert of this code, with why and what to do."""
    await watch(stage.engine)
    found = stage.rows(
        "select * from jobsync.alerts where code = %s and subject = %s and resolved_at is null", code, upstream
    )
    assert all(one["why"] and one["fix"] for one in found)
    return found[0] if found else None


async def test_a_daily_quota_that_runs_low_is_told_and_so_is_its_end_and_the_next_day(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=1, connected=True, more={"JOBSYNC_GHL_PACE": PACE}) as stage:
        stage.level.switches.turn(daily_limit=1000)
        await ask_gohighlevel(stage)
        meter = stage.level.limiter.meters[stage.level.location.id]
        assert await open_alert(stage, "quota", "gohighlevel") is None, "999 of 1,000 are enough"
        meter.today = 850
        await ask_gohighlevel(stage)
        low = await open_alert(stage, "quota", "gohighlevel")
        assert low is not None
        assert (low["severity"], low["title"]) == ("warning", "149 of 1000 requests to GoHighLevel are left today")
        meter.today = 999
        await ask_gohighlevel(stage)
        gone = await open_alert(stage, "quota", "gohighlevel")
        assert gone is not None
        assert (gone["severity"], gone["title"]) == ("critical", "Today's quota of requests to GoHighLevel is used up")
        move_clock(dsn, "24 hours")
        assert await open_alert(stage, "quota", "gohighlevel") is None, "yesterday's quota says nothing"
        stage.run("update jobsync.budgets set blocked_until = null")
        meter.today = 100
        await ask_gohighlevel(stage)
        assert await open_alert(stage, "quota", "gohighlevel") is None


async def test_the_last_answer_of_a_connection_is_noted_and_the_same_again_writes_nothing(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=1, connected=True, more={"JOBSYNC_GHL_PACE": PACE}) as stage:
        await ask_gohighlevel(stage)
        first = stage.rows("select xmin::text as version, daily_remaining, clock_ahead_s from jobsync.upstream_facts")
        assert len(first) == 1 and first[0]["daily_remaining"] > 0 and abs(first[0]["clock_ahead_s"]) < 60
        await ask_gohighlevel(stage, times=3)
        assert (
            stage.rows("select xmin::text as version, daily_remaining, clock_ahead_s from jobsync.upstream_facts")
            == first
        )
        samples = stage.rows("select metric, value from jobsync.list_metrics('default') where metric ~ 'today|ahead'")
        assert {one["metric"] for one in samples} == {"jobsync_requests_left_today", "jobsync_clock_ahead_seconds"}


async def test_a_clock_more_than_a_minute_off_an_upstreams_is_told_until_it_is_set(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=3, connected=True, more={"JOBSYNC_GHL_PACE": PACE}) as stage:
        await stage.sync(deliver=False)
        await ask_gohighlevel(stage)
        for upstream in ("servicetitan", "gohighlevel"):
            assert await open_alert(stage, "clock_skew", upstream) is None
        stage.titan.clock.advance(300)
        stage.level.switches.turn(date_skew_seconds=-300)
        await stage.sync(deliver=False)
        await ask_gohighlevel(stage)
        for upstream, words in (("servicetitan", "behind ServiceTitan"), ("gohighlevel", "ahead of GoHighLevel")):
            found = await open_alert(stage, "clock_skew", upstream)
            assert found is not None
            assert words in found["title"] and "NTP" in found["fix"]
        stage.titan.clock.advance(-300)
        stage.level.switches.turn(date_skew_seconds=0)
        await stage.sync(deliver=False)
        await ask_gohighlevel(stage)
        for upstream in ("servicetitan", "gohighlevel"):
            assert await open_alert(stage, "clock_skew", upstream) is None
