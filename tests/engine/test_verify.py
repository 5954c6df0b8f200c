"""Reading back: what GoHighLevel accepted is verified only when a card with the job's id was seen there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobsync.engine.verify import verify_deliveries
from tests.clock import move_clock
from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio
UNIT = 1314


async def deliver_one_unit(stage: Stage, **hook: Any) -> list[int]:
    """Pulls, routes one unit to a hook, delivers; the unit's jobs."""
    await stage.sync(deliver=False)
    made = stage.level.add_hook(**hook)
    await stage.route(UNIT, stage.level_url + stage.level.hook_path(made))
    jobs = stage.jobs_of(UNIT)
    assert (await stage.sync(pull=False))["delivered"] == len(jobs)
    return jobs


async def look(stage: Stage, **how: Any) -> Any:
    return await verify_deliveries(stage.engine, "default", **how)


def reachable(stage: Stage, jobs: list[int]) -> set[int]:
    """Jobs that have a phone or an e-mail: the workflow makes no card for the others."""
    rows = stage.rows(
        "select st_job_id from jobsync.projections where st_job_id = any (%s) and coalesce(phone, email) is not null",
        jobs,
    )
    return {row["st_job_id"] for row in rows}


def verified(stage: Stage) -> dict[int, str | None]:
    rows = stage.rows("select st_job_id, ghl_opportunity_id from jobsync.v_job_status where state = 'verified'")
    return {row["st_job_id"]: row["ghl_opportunity_id"] for row in rows}


async def test_accepted_is_not_verified_and_verified_carries_the_real_id(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40, connected=True) as stage:
        jobs = await deliver_one_unit(stage)
        assert verified(stage) == {}, "a hook's 200 proves nothing, and its workflow gets a moment"
        stage.level.clock.advance(60)
        move_clock(dsn, "20 seconds")
        report = await look(stage)
        there = reachable(stage, jobs)
        assert (report.checked, report.verified) == (len(jobs), len(there))
        cards = {str(card["id"]): card for card in stage.location.opportunities.records.values()}
        assert set(verified(stage)) == there
        assert set(verified(stage).values()) <= set(cards), "real ids only"
        assert len(set(verified(stage).values())) == len(there)
        # Nothing is looked for twice, and one whose card is known is read by its id.
        assert (await look(stage)).checked == 0
        assert sum(stage.posts().values()) == len(jobs)


async def test_a_draft_is_never_verified_and_becomes_an_alert(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, connected=True) as stage:
        jobs = await deliver_one_unit(stage, mode="draft")
        assert {
            row["status"]
            for row in stage.rows(
                "select distinct ghl_sync_status as status from jobs where st_job_id = any (%s)", jobs
            )
        } == {"synced"}
        stage.level.clock.advance(60)
        seen, there = len(jobs), len(reachable(stage, jobs))
        for waits in ("20 seconds", "31 seconds", "61 seconds"):
            move_clock(dsn, waits)
            report = await look(stage)
            assert (report.checked, report.missing, report.verified) == (seen, there, 0)
            seen = there
        assert stage.rows("select * from jobsync.v_unverified") == [], "patience first"
        move_clock(dsn, "31 minutes")
        (alert,) = stage.rows("select * from jobsync.v_unverified")
        assert (alert["jobs"], alert["result"], alert["business_unit_id"]) == (there, "missing", UNIT)
        assert "may be a draft" in alert["why"]
        told = await stage.jobsync("verify", "--json")
        assert told.code == 4
        assert told.json["unverified"][0]["jobs"] == there
        story = await stage.jobsync("why", str(alert["sample_st_job_id"]))
        assert "may be a draft" in story.out
        # Published meanwhile; a replay is asked for, and it lands.
        (hook,) = stage.location.hooks.values()
        hook.mode = "live"
        again = await stage.jobsync("replay", *(str(job) for job in jobs), "--force", "--yes")
        assert again.code == 0, again.err
        await stage.sync(pull=False)
        stage.level.clock.advance(60)
        move_clock(dsn, "20 seconds")
        assert (await look(stage)).verified == len(reachable(stage, jobs))


async def test_a_workflow_that_writes_no_job_id_is_told_apart_from_one_that_does_nothing(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, connected=True) as stage:
        jobs = await deliver_one_unit(stage, fields={})
        stage.level.clock.advance(60)
        move_clock(dsn, "20 seconds")
        report = await look(stage)
        there = reachable(stage, jobs)
        assert (report.unmarked, report.unprovable, report.verified) == (len(there), len(jobs) - len(there), 0)
        move_clock(dsn, "1 hour")
        (alert,) = stage.rows("select * from jobsync.v_unverified where result = 'unmarked'")
        assert "st_job_id" in alert["why"]


async def test_a_search_that_shows_no_custom_fields_is_helped_by_reading_the_cards(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, connected=True) as stage:
        stage.level.switches.turn(search_field_shape="absent")
        jobs = await deliver_one_unit(stage)
        stage.level.clock.advance(60)
        move_clock(dsn, "20 seconds")
        assert (await look(stage)).verified == len(reachable(stage, jobs))


async def test_a_search_that_lags_is_asked_again_later(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, connected=True) as stage:
        stage.level.switches.turn(search_lag_min_seconds=45, search_lag_max_seconds=45)
        jobs = await deliver_one_unit(stage)
        move_clock(dsn, "20 seconds")
        assert (await look(stage)).verified == 0
        stage.level.clock.advance(50)
        move_clock(dsn, "31 seconds")
        assert (await look(stage)).verified == len(reachable(stage, jobs))


async def test_two_cards_of_one_job_are_reported_and_nothing_is_deleted(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, connected=True) as stage:
        jobs = await deliver_one_unit(stage)
        job = min(reachable(stage, jobs))
        await stage.jobsync("replay", str(job), "--force", "--yes")
        await stage.sync(pull=False)
        cards = len(stage.location.opportunities.records)
        stage.level.clock.advance(60)
        move_clock(dsn, "20 seconds")
        await look(stage)
        flagged = stage.rows("select st_job_id from jobs where 'doubled_in_ghl' = any (ghl_sync_flags)")
        assert [row["st_job_id"] for row in flagged] == [job]
        assert len(stage.location.opportunities.records) == cards


async def test_a_card_deleted_in_gohighlevel_is_said_and_not_made_again(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, connected=True) as stage:
        jobs = await deliver_one_unit(stage)
        stage.level.clock.advance(60)
        move_clock(dsn, "20 seconds")
        await look(stage)
        job, card = min(verified(stage).items())
        stage.location.opportunities.remove(card)
        report = await look(stage, since=stage.value("select min(started_at) from jobsync.attempts"))
        assert report.deleted == 0, "what is verified is not read again by itself"
        stage.run("update jobs set ghl_verified_at = null where st_job_id = %s", job)
        report = await look(stage, since=stage.value("select min(started_at) from jobsync.attempts"))
        assert report.deleted == 1
        row = stage.rows("select ghl_sync_status, ghl_sync_reason from jobs where st_job_id = %s", job)[0]
        assert (row["ghl_sync_status"], row["ghl_sync_reason"]) == ("skipped", "deleted_in_ghl")
        posts = stage.posts()
        await stage.sync()
        assert stage.posts() == posts
        assert len(jobs) == sum(posts.values())


async def test_gohighlevel_that_cannot_be_asked_makes_nothing_unverified(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, connected=True) as stage:
        jobs = await deliver_one_unit(stage)
        for status in (401, 403, 500, 429):
            stage.level.faults.add("status", path="/contacts/*", times=None, status=status)
            asked = stage.level.ledger.request_count
            stage.level.clock.advance(60)
            move_clock(dsn, "20 seconds")
            report = await look(stage)
            assert (report.error is not None, report.missing) == (True, 0), status
            assert stage.level.ledger.request_count > asked, status
            move_clock(dsn, "1 hour")
            assert stage.rows("select * from jobsync.v_unverified") == [], status
            stage.level.faults.clear()
            stage.run("delete from jobsync.budgets")
        assert (await look(stage, everything=True)).verified == len(reachable(stage, jobs))


async def test_without_a_connection_nothing_is_asked_and_the_command_says_what_is_missing(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=10) as stage:
        await stage.route_all()
        assert (await stage.sync())["verified"] == 0
        told = await stage.jobsync("verify")
        assert told.code == 6
        assert "GHL_API_KEY" in told.err
        assert stage.value("select count(*) from jobsync.verifications") == 0
