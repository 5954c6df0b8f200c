"""What becomes of a job for each answer of a hook: status, reason, attempt, and whether it is tried again."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.clock import move_clock
from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio

UNIT = 1314
# What one answer does to all the jobs of a hook; test_answers_of_a_hook has every answer, to one job.
# name -> the fault, and what a job and its attempt look like after one try: status, reason, outcome, HTTP status, queued.
ANSWERS: dict[str, tuple[tuple[str, dict[str, Any]], tuple[str, str | None, str, int | None, bool]]] = {
    "401": (("unauthorized", {}), ("pending", "destination_unauthorized", "unauthorized", 401, True)),
    "422": (("status", {"status": 422}), ("failed", "rejected", "rejected", 422, False)),
    "429": (
        ("too_many", {"retry_after": 3600}),
        ("pending", "destination_rate_limited", "rate_limited", 429, True),
    ),
    "done, then reset": (("did_then_close", {}), ("pending", "retrying", "ambiguous", None, True)),
}


async def pull_for_one_unit(stage: Stage, url: str) -> list[int]:
    await stage.sync(deliver=False)
    await stage.route(UNIT, url)
    return stage.jobs_of(UNIT)


def first_of_each_customer(stage: Stage, jobs: list[int]) -> list[int]:
    """Jobs of one customer go one after another: these are the ones of the first group, before a pause can hold."""
    rows = stage.rows("select min(st_job_id) as job from jobs where st_job_id = any (%s) group by st_customer_id", jobs)
    return sorted(row["job"] for row in rows)


def outcomes(stage: Stage) -> list[dict[str, Any]]:
    return stage.rows(
        "select j.ghl_sync_status as status, j.ghl_sync_reason as reason, a.outcome, a.status_code, o.st_job_id is not null as queued, "
        "count(*) from jobs j join jobsync.attempts a using (tenant_id, st_job_id) left join jobsync.outbox o using (tenant_id, st_job_id) "
        "group by 1, 2, 3, 4, 5"
    )


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_a_hook_gives_to_all_leaves_each_job_with_status_reason_and_attempt(
    dsn: str, tmp_path: Path, name: str
) -> None:
    (kind, options), (status, reason, outcome, code, queued) = ANSWERS[name]
    async with open_stage(dsn, tmp_path, jobs=24) as stage:
        url = stage.add_hook()
        stage.break_hook(url, kind, **options)
        jobs = await pull_for_one_unit(stage, url)
        if outcome in ("gone", "unauthorized"):
            # These are faults of the hook: after five it is paused, and the other jobs are not even tried.
            jobs = first_of_each_customer(stage, jobs)
            assert len(jobs) >= 5
        report = await stage.sync(pull=False)
        (found,) = outcomes(stage)
        assert found == {
            "status": status,
            "reason": reason,
            "outcome": outcome,
            "status_code": code,
            "queued": queued,
            "count": len(jobs),
        }
        assert report["delivered"] == (len(jobs) if status == "synced" else 0)
        assert report["failed"] == (0 if status == "synced" else len(jobs))
        assert stage.posts() == dict.fromkeys(jobs, 1)
        assert stage.rows("select * from sync_logs where status = 'running'") == []
        texts = stage.rows("select ghl_sync_error as text from jobs where st_job_id = any (%s)", jobs)
        errors = {row["text"] for row in texts}
        assert (None in errors) is (status == "synced")


async def test_what_two_workers_died_with_goes_out_with_nothing_beside_it(dsn: str, tmp_path: Path) -> None:
    """Found by 200 kills: claimed one by one they were still under way together, died together, and were set aside
    together after five deaths, although at most one of them can have killed its worker."""
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        url = stage.add_hook()
        jobs = await pull_for_one_unit(stage, url)
        stage.break_hook(url, "slow", seconds=0.05)
        suspects = first_of_each_customer(stage, jobs)[:4]
        stage.run(
            "update jobsync.outbox set rescues = 1, lease_until = jobsync.now() - interval '1 second', next_attempt_at = planned_at - interval '1 hour' "
            "where st_job_id = any (%s)",
            suspects,
        )
        await stage.sync(pull=False)
        spans = stage.rows(
            "select started_at, finished_at from jobsync.attempts where st_job_id = any (%s) order by id", suspects
        )
        assert len(spans) == len(suspects)
        for earlier, later in itertools.pairwise(spans):
            assert earlier["finished_at"] <= later["started_at"]
        assert stage.posts() == dict.fromkeys(jobs, 1)


async def test_a_hook_that_refuses_the_connection_burns_no_attempt_and_is_paused_after_five(
    dsn: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        await pull_for_one_unit(stage, f"http://127.0.0.1:{port}/hooks/a/webhook-trigger/b")
        jobs = first_of_each_customer(stage, stage.jobs_of(UNIT))
        assert len(jobs) >= 5
        report = await stage.sync(pull=False)
        assert report["failed"] == len(jobs)
        assert report["delivered"] == 0
        (found,) = outcomes(stage)
        assert (found["status"], found["reason"], found["outcome"]) == ("pending", "destination_unsent", "unsent")
        assert stage.value("select max(attempts) from jobsync.outbox") == 0
        destination = stage.rows("select paused_at, probe_at, pause_reason from jobsync.destinations")[0]
        assert destination["paused_at"] is not None
        assert "unsent" in destination["pause_reason"]


async def test_a_test_only_hook_is_paused_and_a_replay_after_publishing_sends_each_job_once(
    dsn: str, tmp_path: Path
) -> None:
    from jobsync.engine.sending import replay_jobs

    async with open_stage(dsn, tmp_path, jobs=30) as stage:
        hook = stage.level.add_hook(mode="test")
        url = stage.level_url + stage.level.hook_path(hook)
        jobs = await pull_for_one_unit(stage, url)
        tried = first_of_each_customer(stage, jobs)
        report = await stage.sync(pull=False)
        assert report["failed"] == len(tried)
        assert {(row["status"], row["reason"], row["outcome"], row["queued"]) for row in outcomes(stage)} == {
            ("failed", "test_only", "test_only", False)
        }
        assert stage.value("select pause_reason from jobsync.destinations") is not None
        posts = stage.posts()
        move_clock(dsn, "2 days")
        assert (await stage.sync(pull=False))["gohighlevel_requests"] == 0
        assert stage.posts() == posts
        hook.mode = "live"
        answer = await replay_jobs(stage.engine, "default", jobs, actor="test")
        assert sorted(answer["replayed"]) == sorted(jobs)
        assert (await stage.sync(pull=False))["delivered"] == len(jobs)
        assert stage.posts() == {job: 2 if job in tried else 1 for job in jobs}
        assert stage.value("select count(*) from jobs where ghl_sync_status = 'synced'") == len(jobs)


async def test_a_failing_hook_is_tried_by_the_schedule_eight_times_and_then_the_job_is_failed(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=8) as stage:
        url = stage.add_hook()
        stage.break_hook(url, "status", status=500)
        jobs = await pull_for_one_unit(stage, url)
        assert jobs
        for tries in range(1, 9):
            assert (await stage.sync(pull=False))["failed"] == len(jobs)
            assert stage.posts() == dict.fromkeys(jobs, tries)
            # Within the same minute nothing is due again.
            move_clock(dsn, "12 hours")
        assert (await stage.sync(pull=False))["gohighlevel_requests"] == 0
        assert {(row["status"], row["reason"]) for row in outcomes(stage)} == {("failed", "attempts_used_up")}
        assert stage.value("select count(*) from jobsync.attempts where finished_at is null") == 0
        deliveries = stage.rows("select st_job_id, count(distinct delivery_id) from jobsync.attempts group by 1")
        assert all(row["count"] == 1 for row in deliveries)


async def test_after_429_nothing_is_sent_to_that_hook_until_it_allowed_it_and_other_hooks_go_on(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=60) as stage:
        await stage.sync(deliver=False)
        limited = stage.add_hook()
        stage.break_hook(limited, "too_many", times=1, retry_after=60)
        await stage.route(UNIT, limited)
        await stage.route(4622, stage.add_hook())
        report = await stage.sync(pull=False)
        others = stage.jobs_of(4622)
        assert {job: stage.posts().get(job) for job in others} == dict.fromkeys(others, 1)
        assert report["failed"] == 1
        assert stage.value("select max(attempts) from jobsync.outbox") == 0
        stage.run("update jobsync.budgets set blocked_until = clock_timestamp()")
        move_clock(dsn, "2 minutes")
        assert (await stage.sync(pull=False))["failed"] == 0
        assert stage.value("select count(*) from jobsync.outbox") == 0


async def test_a_hook_whose_key_is_gone_says_so_and_ends_the_pass(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30) as stage:
        jobs = await pull_for_one_unit(stage, stage.add_hook())
        stage.run("update jobsync.destinations set key_id = 'gone'")
        report = await stage.sync(pull=False)
        assert report["failed"] == len(first_of_each_customer(stage, jobs))
        assert stage.posts() == {}
        assert {row["reason"] for row in outcomes(stage)} == {"destination_unsent"}
        assert stage.value("select count(*) from jobsync.attempts where finished_at is null") == 0


async def test_a_worker_that_died_leaves_its_jobs_to_the_next_one_flagged_ambiguous(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20) as stage:
        jobs = await pull_for_one_unit(stage, stage.add_hook())
        destination = stage.value("select id from jobsync.destinations")
        claimed = stage.rows(
            "select (c.projection).st_job_id from jobsync.claim_deliveries('default', %s, 2, 60, 0, 1) c",
            destination,
        )
        died = {row["st_job_id"] for row in claimed}
        assert len(died) == 2
        move_clock(dsn, "61 seconds")
        assert (await stage.sync(pull=False))["delivered"] == len(jobs)
        flagged = stage.rows("select st_job_id from jobs where 'ambiguous' = any (ghl_sync_flags)")
        assert {row["st_job_id"] for row in flagged} == died
        assert stage.posts() == dict.fromkeys(jobs, 1)
