"""units, status, plan, arm, pause, why, replay, jobs as processes: what they say, what they change, how they end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio


async def test_units_are_listed_and_routed_and_bad_input_is_named(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20) as stage:
        await stage.sync(deliver=False)
        hook = stage.add_hook()
        listed, unknown, bad_url, private, nothing, both, bad_events = await asyncio.gather(
            stage.jobsync("units", "list", "--json"),
            stage.jobsync("units", "set", "77777", "--webhook", hook),
            stage.jobsync("units", "set", "1314", "--webhook", "not a url"),
            stage.jobsync("units", "set", "1314", "--webhook", "https://10.0.0.1/hooks/a/webhook-trigger/b"),
            stage.jobsync("units", "set", "1314"),
            stage.jobsync("units", "set", "1314", "--external", "--skip"),
            stage.jobsync("units", "set", "1314", "--events", "some"),
        )
        assert {1314, 54670601, 4622, 26143} <= {unit["st_business_unit_id"] for unit in listed.json["units"]}
        assert unknown.code == 4
        assert "77777" in unknown.err
        assert "Nearest" in unknown.err
        for refused in (bad_url, private, nothing, both, bad_events):
            assert refused.code == 2, refused.err
            assert refused.err.startswith("jobsync: ")
            assert "Traceback" not in refused.err
            assert refused.out == ""
        assert "b" not in private.err.split() and "webhook-trigger" not in private.err
        assert stage.value("select count(*) from jobsync.routes where deliverer = 'jobsync'") == 0

        answers = await asyncio.gather(
            stage.jobsync("units", "set", "1314", "--webhook", hook, "--json"),
            stage.jobsync("units", "set", "4622", "--external", "--json"),
            stage.jobsync("units", "set", "26143", "--skip", "--json"),
        )
        assert [answer.code for answer in answers] == [0, 0, 0]
        assert answers[0].json["planned"] == len(stage.jobs_of(1314))
        assert hook not in answers[0].out
        assert answers[1].json["deliverer"] == "external"
        changed = await stage.jobsync("units", "set", "1314", "--events", "all", "--json")
        assert changed.json["events"] == "all"
        assert stage.posts() == {}, "routing sends nothing"
        told = await stage.jobsync("units", "list")
        assert "unmapped" in told.out
        assert "webhook-trigger/" not in told.out.replace("webhook-trigger/****", "")


async def test_arm_needs_yes_and_a_limit_sends_exactly_that_many(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40, more={"JOBSYNC_MODE": None, "JOBSYNC_DELIVER_FROM": None}) as stage:
        await stage.route_all()
        await stage.sync()
        since = ("--since", "2000-01-01")
        plan, refused, bad = await asyncio.gather(
            stage.jobsync("plan", "--json"),
            stage.jobsync("arm", *since),
            stage.jobsync("arm", "--since", "soon", "--yes"),
        )
        assert plan.json["create"] == 40
        assert (refused.code, refused.out) == (9, "")
        assert "--yes" in refused.err
        assert bad.code == 2
        assert stage.value("select mode from jobsync.tenants") == "observe"
        assert stage.posts() == {}
        limited = await stage.jobsync("arm", "--limit", "7", *since, "--yes", "--json")
        assert limited.code == 0, limited.err
        assert limited.json["sent"] == {"delivered": 7, "failed": 0}
        assert sum(stage.posts().values()) == 7
        again = await stage.jobsync("sync", "--json")
        assert again.json["delivered"] == 0, "it stays limited"
        status = await stage.jobsync("status")
        assert "Live, limited: 0 sends left" in status.out
        armed = await stage.jobsync("arm", "--yes", "--json")
        assert armed.code == 0
        assert (await stage.jobsync("deliver", "--json")).json["delivered"] == 33
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)


async def test_pause_and_disarm_stop_sends_and_lose_nothing(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=12) as stage:
        await stage.route_all()
        assert (await stage.jobsync("pause")).code == 0
        paused = await stage.jobsync("sync", "--json")
        assert (paused.code, paused.json["pulled"], paused.json["delivered"]) == (0, 12, 0)
        assert "sending is paused" in paused.err
        refused, status = await asyncio.gather(stage.jobsync("deliver"), stage.jobsync("status"))
        assert refused.code == 5
        assert status.out.startswith("Paused: nothing is sent")
        assert (await stage.jobsync("resume")).code == 0
        assert (await stage.jobsync("disarm", "--json")).json["mode"] == "observe"
        # JOBSYNC_MODE=live is only a first value: it does not raise the mode again.
        refused = await stage.jobsync("deliver")
        assert refused.code == 5
        assert "mode is observe" in refused.err
        assert stage.posts() == {}
        assert (await stage.jobsync("arm", "--yes")).code == 0
        assert (await stage.jobsync("deliver", "--json")).json["delivered"] == 12


async def test_why_tells_the_story_and_replay_mends_it(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20) as stage:
        await stage.sync(deliver=False)
        failing = stage.add_hook()
        stage.break_hook(failing, "status", status=422)
        await stage.route(1314, failing)
        report = await stage.sync(pull=False)
        jobs = stage.jobs_of(1314)
        assert report["failed"] == len(jobs)
        unmapped = stage.jobs_of(4622, 26143, 54670601)[0]
        number = stage.value("select st_job_number from jobs where st_job_id = %s", jobs[0])
        story, inbox, by_number, unknown, listed, bad_status, several, one, dry = await asyncio.gather(
            stage.jobsync("why", str(jobs[0])),
            stage.jobsync("why", "job", str(unmapped)),
            stage.jobsync("why", number, "--json"),
            stage.jobsync("why", "999"),
            stage.jobsync("jobs", "list", "--status", "failed", "--json"),
            stage.jobsync("jobs", "list", "--status", "lost"),
            stage.jobsync("replay", "--failed"),
            stage.jobsync("replay"),
            stage.jobsync("replay", "--failed", "--dry-run", "--json"),
        )
        assert "HTTP 422" in story.out
        assert "Why   the hook refused it" in story.out
        assert f"jobsync replay {jobs[0]}" in story.out
        assert "its business unit has no route" in inbox.out
        assert by_number.json["job"]["st_job_id"] == jobs[0]
        assert unknown.code == 4
        assert {job["st_job_id"] for job in listed.json["jobs"]} == set(jobs)
        assert bad_status.code == 2
        assert (several.code, one.code) == (9, 2)
        assert dry.json["asked"] == len(jobs)
        assert sum(stage.posts().values()) == len(jobs), "nothing of all this sends"
        stage.level.faults.clear()
        replayed = await stage.jobsync("replay", "--failed", "--yes", "--json")
        assert sorted(replayed.json["replayed"]) == sorted(jobs)
        assert (await stage.jobsync("deliver", "--json")).json["delivered"] == len(jobs)
        assert stage.posts() == dict.fromkeys(jobs, 2)
