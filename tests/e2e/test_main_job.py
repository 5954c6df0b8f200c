"""The main job, end to end over real HTTP: a thousand jobs, a second pass, changes, and how many requests it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.upstreams import UNITS, open_stage

pytestmark = pytest.mark.anyio

TABLES = ("jobs", "customers", "business_units")
OLD_WAY = 4020


async def test_a_first_pass_by_lists_takes_at_most_81_requests_and_delivers_every_job_once(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=1000, lists_only=True) as stage:
        await stage.route_all()
        report = await stage.sync()
        assert report["pulled"] == report["stored"] == 1000
        assert report["delivered"] == 1000
        assert report["failed"] == report["skipped"] == report["quarantined"] == 0
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)
        requests = stage.data_requests()
        assert sum(requests.values()) <= 81, requests
        assert stage.value("select count(*) from jobs where ghl_sync_status = 'synced'") == 1000
        assert stage.value("select count(*) from jobsync.cursors where mode = 'list' and stream = 'jobs'") == 1


async def test_a_first_pass_by_feeds_takes_fewer_requests_and_delivers_every_job_once(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=1000) as stage:
        await stage.route_all()
        report = await stage.sync()
        assert report["delivered"] == 1000
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)
        requests = stage.data_requests()
        assert sum(requests.values()) < 20, requests


@pytest.mark.parametrize("lists_only", [True, False], ids=["lists", "feeds"])
async def test_a_second_pass_sends_nothing_and_writes_no_row(dsn: str, tmp_path: Path, lists_only: bool) -> None:
    async with open_stage(dsn, tmp_path, jobs=200, lists_only=lists_only) as stage:
        await stage.route_all()
        await stage.sync()
        before = {table: stage.rows(f"select id, xmin::text from {table} order by id") for table in TABLES}
        logs = {row["sync_type"]: row["count"] for row in stage.rows(LOGS)}
        posts = stage.posts()
        report = await stage.sync()
        assert report["delivered"] == report["planned"] == report["stored"] == report["gohighlevel_requests"] == 0
        assert stage.posts() == posts
        after = {table: stage.rows(f"select id, xmin::text from {table} order by id") for table in TABLES}
        assert after == before
        assert {row["sync_type"]: row["count"] for row in stage.rows(LOGS)} == {
            **logs,
            "job_pull": logs["job_pull"] + 1,
        }
        assert stage.rows("select * from sync_logs where status = 'running'") == []


LOGS = "select sync_type, count(*) from sync_logs group by 1"


@pytest.mark.parametrize("lists_only", [True, False], ids=["lists", "feeds"])
async def test_ten_changes_change_ten_rows_and_send_nothing_over_a_hook(
    dsn: str, tmp_path: Path, lists_only: bool
) -> None:
    async with open_stage(dsn, tmp_path, jobs=120, lists_only=lists_only) as stage:
        await stage.route_all()
        await stage.sync()
        before = {row["id"]: row["xmin"] for row in stage.rows("select id, xmin::text from jobs")}
        posts = stage.posts()
        for job in stage.job_ids()[:10]:
            stage.act.change_job(job=job, summary="Heater does not ignite")
        report = await stage.sync()
        assert report["stored"] == 10
        after = {row["id"]: row["xmin"] for row in stage.rows("select id, xmin::text from jobs")}
        assert sum(before[id] != after[id] for id in before) == 10
        assert report["delivered"] == 0
        assert stage.posts() == posts
        assert stage.value("select count(*) from jobs where summary = 'Heater does not ignite'") == 10


async def test_after_events_all_each_later_change_is_sent_once_and_the_switch_itself_sends_nothing(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=60) as stage:
        url = await stage.route_all()
        await stage.sync()
        first = stage.job_ids()[:5]
        for job in first:
            stage.act.change_job(job=job, summary="Changed while only creations count")
        await stage.sync()
        posts = stage.posts()
        for unit in UNITS:
            await stage.route(unit, url, events="all")
        assert (await stage.sync())["delivered"] == 0
        assert stage.posts() == posts
        changed = stage.job_ids()[3:13]
        for job in changed:
            stage.act.change_job(job=job, summary="Changed now that every change counts")
        assert (await stage.sync())["delivered"] == 10
        assert stage.posts() == {job: 2 if job in changed else 1 for job in stage.job_ids()}
        bodies = stage.bodies()
        assert all(bodies[job]["event"] == "updated" for job in changed)
        assert all(bodies[job]["Job_description"] == "Changed now that every change counts" for job in changed)
        assert (await stage.sync())["delivered"] == 0
