"""The pace of a location: used up to its budget, never beyond what is published, and quiet when it must be."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobsync.engine.deliver import drain_destination
from jobsync.engine.location_pace import KEPT_FOR_PEOPLE, LocationPace, seconds_to_quota
from jobsync.engine.senders import open_sender
from jobsync.errors import RateLimited
from jobsync.gohighlevel.rate_headers import RateState
from tests.engine.api_stage import DAY_LEFT, deliver, route_jobs
from tests.upstreams import UNITS, Stage, open_stage

pytestmark = pytest.mark.anyio

PACE = 8.0
SECONDS = 5.0


async def drain(stage: Stage, seconds: float) -> None:
    destination = stage.value("select id from jobsync.destinations")
    await drain_destination(
        stage.engine, lambda row: open_sender(stage.engine, "default", row), "default", destination, longest=seconds
    )


async def test_with_a_backlog_a_location_is_paced_at_its_budget_and_never_answers_429(dsn: str, tmp_path: Path) -> None:
    more = {"JOBSYNC_GHL_PACE": PACE}
    async with open_stage(dsn, tmp_path, jobs=60, connected=True, more=more) as stage:
        await route_jobs(stage, units=UNITS)
        ledger = stage.level.ledger
        before = len(ledger.requests)
        await drain(stage, SECONDS)
        times = [each.at for each in ledger.requests][before:]
        # What was saved up goes at once; then the budget is what decides.
        steady = [at for at in times if at >= times[0] + 1.0]
        rate = (len(steady) - 1) / (steady[-1] - steady[0])
        meter = stage.level.limiter.meters[stage.level.location.id]
        print(
            f"paced at {rate:.2f} of {PACE} requests a second ({rate / PACE:.1%}), at most {meter.peak} in 10 s, {meter.refused} answers 429"
        )
        assert steady[-1] - steady[0] >= SECONDS - 2
        assert rate >= 0.95 * PACE
        # Never more than what was saved up and what came in since, with one request that was under way as it began.
        assert len(times) <= PACE + PACE * (times[-1] - times[0]) + 1
        assert meter.refused == 0 and meter.peak <= stage.level.switches.burst_limit
        assert stage.value("select count(*) from jobsync.outbox") > 0, "there was a backlog all the time"


async def test_a_smaller_limit_is_read_from_the_headers_and_kept(dsn: str, tmp_path: Path) -> None:
    more = {"JOBSYNC_GHL_PACE": PACE}
    async with open_stage(dsn, tmp_path, jobs=10, connected=True, more=more) as stage:
        await route_jobs(stage)
        stage.level.clock.advance(20)
        stage.run("delete from jobsync.budgets")
        stage.level.switches.turn(burst_limit=25)
        await drain(stage, 4.0)
        meter = stage.level.limiter.meters[stage.level.location.id]
        assert meter.refused == 0
        assert 20 <= meter.peak <= 25


async def test_after_a_429_nobody_asks_that_location_until_it_allowed_it(dsn: str, tmp_path: Path) -> None:
    more = {"JOBSYNC_GHL_PACE": PACE}
    async with open_stage(dsn, tmp_path, jobs=20, connected=True, more=more) as stage:
        await route_jobs(stage)
        stage.level.faults.add("too_many", path="/contacts/search", times=1, retry_after=60)
        await deliver(stage)
        asked = stage.level.ledger.request_count
        await deliver(stage)
        assert stage.level.ledger.request_count == asked
        pace = LocationPace(stage.engine.database, "default", PACE)
        with pytest.raises(RateLimited) as limited:
            await pace.take()
        # As long as was asked and at most a fifth more, so that not everybody comes back in one instant.
        assert 30 < (limited.value.retry_after or 0) <= 72
        assert stage.value(
            "select blocked_until - now() > interval '30 seconds' from jobsync.budgets where budget_key = 'gohighlevel'"
        )
        assert stage.value("select max(attempts) from jobsync.outbox") == 0


async def test_after_a_429_the_bucket_is_halved_once_for_all_its_answers_and_grows_back(database) -> None:
    pace = LocationPace(database, "default", PACE)
    await pace.take()

    async def left() -> float:
        async with database.transaction(None) as session:
            row = await session._connection.execute(
                "select jobsync.left_speed(slowness, slowed_at, clock_timestamp()) as speed from jobsync.budgets"
            )
            return (await row.fetchone())["speed"]

    async def move_back(seconds: float) -> None:
        async with database.transaction(None) as session:
            await session._connection.execute(
                "update jobsync.budgets set slowed_at = slowed_at - make_interval(secs => %s), "
                "blocked_until = blocked_until - make_interval(secs => %s)",
                (seconds, seconds),
            )

    for _ in range(3):
        # Requests that were under way together are refused together.
        pace.slow_down(600)
        await pace.flush()
    assert await left() == 0.5
    await move_back(600 + 15)
    assert 0.7 < await left() <= 0.8
    await move_back(15 * 60)
    assert await left() == 1.0


async def test_a_fifth_of_the_days_quota_is_left_to_people(dsn: str, tmp_path: Path) -> None:
    more = {"JOBSYNC_GHL_PACE": PACE}
    async with open_stage(dsn, tmp_path, jobs=20, connected=True, more=more) as stage:
        await route_jobs(stage)
        meter = stage.level.limiter.meters[stage.level.location.id]
        meter.today += 400
        stage.level.switches.turn(daily_limit=round((meter.today + 12) / (1 - KEPT_FOR_PEOPLE)))
        await drain(stage, 8.0)
        left = stage.level.switches.daily_limit - meter.today
        assert stage.value("select count(*) from jobsync.outbox") > 0
        asked = stage.level.ledger.request_count
        await drain(stage, 2.0)
        assert stage.level.ledger.request_count == asked
        # Until the day ends.
        assert stage.value(f"select jobsync.delivery_hold('default') > {DAY_LEFT} - 120")
        assert left > 0
        # People are still served.
        await LocationPace(stage.engine.database, "default", PACE).take()


def test_a_quota_that_is_gone_is_asked_for_at_midnight_or_an_hour_after_it() -> None:
    assert seconds_to_quota(datetime(2026, 3, 1, 12, tzinfo=UTC)) == 12 * 3600 + 5
    assert seconds_to_quota(datetime(2026, 3, 1, 0, 30, tzinfo=UTC)) == 3600


async def test_a_pace_never_goes_beyond_what_is_published_and_a_pause_is_never_shortened(database) -> None:
    fast = LocationPace(database, "default", 500.0)
    fast.observe(RateState(burst_limit=100, interval_seconds=10.0))
    for _ in range(8):
        await fast.take()
    fast.slow_down(100)
    fast.slow_down(1)
    with pytest.raises(RateLimited):
        await fast.take()
    async with database.transaction("default") as session:
        state = await session.row(
            "take_budget", {"tenant": "default", "key": "gohighlevel", "rate": 8, "burst": 8, "want": 1}
        )
    assert state is not None and state["granted"] == 0 and 90 < state["wait_seconds"] <= 120
