"""Pulling: what arrives in a hook's body, what waits, what is quarantined, and what a broken upstream does to a cursor."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.clock import move_clock
from tests.locks import wait_until_awaited
from tests.upstreams import FEEDS, Stage, open_stage

pytestmark = pytest.mark.anyio

BODY_KEYS = {
    "job_id",
    "customer_id",
    "Job_description",
    "location_id",
    "Name",
    "street",
    "city",
    "state",
    "postal_code",
    "country",
    "county",
    "phone",
    "email",
    "opportunity_name",
    "first_name",
    "last_name",
    "st_job_id",
    "st_customer_id",
    "business_unit",
    "job_status",
    "job_type",
    "total",
    "event",
    "version",
    "delivery_id",
    "occurred_at",
}


def cursor(stage: Stage, stream: str = "jobs") -> dict[str, Any]:
    return stage.rows(
        "select mode, token, since, revision, failures, last_error from jobsync.cursors where stream = %s", stream
    )[0]


def last_pass(stage: Stage) -> dict[str, Any]:
    return stage.rows("select * from sync_logs where sync_type = 'job_pull' order by started_at desc limit 1")[0]


@pytest.mark.parametrize("lists_only", [True, False], ids=["lists", "feeds"])
async def test_a_hook_receives_exactly_the_mapped_keys_with_the_best_phone_and_email(
    dsn: str, tmp_path: Path, lists_only: bool
) -> None:
    async with open_stage(dsn, tmp_path, jobs=10, lists_only=lists_only) as stage:
        act = stage.act
        both, place = act.add_customer(kinds=[])
        act.add_contact(owner="customers", parent=both, kind="MobilePhone", value="(619) 555-0111")
        act.add_contact(owner="customers", parent=both, kind="Email", value="owner@example.com")
        act.add_contact(owner="locations", parent=place, kind="Phone", value="619.555.0122")
        at_place = act.book_job(unit=1314, customer=both, location=place, summary="<p>Pump &amp; filter</p>")
        silent, home = act.add_customer(kinds=[])
        unreachable = act.book_job(unit=1314, customer=silent, location=home)
        await stage.route_all()
        await stage.sync()
        bodies = stage.bodies()
        assert all(set(body) == BODY_KEYS for body in bodies.values())
        body = bodies[at_place]
        assert (body["phone"], body["email"]) == ("+16195550122", "owner@example.com")
        assert body["Job_description"] == "Pump & filter"
        assert (body["st_job_id"], body["customer_id"], body["location_id"]) == (at_place, both, place)
        assert body["Name"] == f"{body['first_name']} {body['last_name']}".strip() or body["Name"]
        assert (bodies[unreachable]["phone"], bodies[unreachable]["email"]) == ("", "")
        flags = stage.value("select ghl_sync_flags from jobs where st_job_id = %s", unreachable)
        assert flags == ["no_contact"]


async def test_jobs_wait_for_contacts_that_cannot_be_read_and_go_out_flagged_after_15_minutes(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=12, more={"JOBSYNC_POLL_SECONDS": 86400}) as stage:
        await stage.route_all()
        broken = stage.titan.faults.plan("status", "crm/*customers/contacts", status=403, count=None)
        report = await stage.sync()
        assert report["delivered"] == 0
        assert stage.value("select count(*) from jobsync.outbox where waiting_for = 'parents'") == 12
        assert last_pass(stage)["status"] == "failed"
        assert "customer_contacts" in last_pass(stage)["error_message"]
        move_clock(dsn, "16 minutes")
        assert (await stage.sync(pull=False))["delivered"] == 12
        assert stage.value("select count(*) from jobs where 'incomplete' = any (ghl_sync_flags)") == 12
        assert broken.struck
        stage.titan.faults.clear()
        assert (await stage.sync())["delivered"] == 0, "contacts that come later send no second hook"


async def test_jobs_go_out_as_soon_as_their_contacts_can_be_read(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=12) as stage:
        await stage.route_all()
        stage.titan.faults.plan("status", "crm/*locations/contacts", status=403, count=None)
        assert (await stage.sync())["delivered"] == 0
        stage.titan.faults.clear()
        assert (await stage.sync())["delivered"] == 12
        assert stage.value("select count(*) from jobs where ghl_sync_flags && array['incomplete']") == 0


@pytest.mark.parametrize(
    ("path", "lists_only"), [("jpm/export/jobs", False), ("jpm/jobs", True)], ids=["feeds", "lists"]
)
async def test_a_malformed_record_is_quarantined_and_its_page_goes_on(
    dsn: str, tmp_path: Path, path: str, lists_only: bool
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, lists_only=lists_only) as stage:
        await stage.route_all()
        ways = ("id_text", "total_object", "escaped_nul", "lone_surrogate", "row_text", "modified_text")
        for number, how in enumerate(ways):
            if number:
                for job in stage.job_ids():
                    stage.act.change_job(job=job, summary=how)
            fault = stage.titan.faults.plan("row", path, how=how, row=3, count=1)
            posted = len(stage.posts())
            report = await stage.sync()
            assert fault.struck == 1, how
            counted = (report["pulled"], report["stored"], report["quarantined"], report["unchanged"])
            assert counted == (30, 29, 1, 0), how
            # A hook hears of each job once: of the one that was spoiled as soon as it could be read.
            assert report["delivered"] == len(stage.posts()) - posted, how
            log = last_pass(stage)
            assert (log["status"], log["records_processed"], log["records_failed"]) == ("completed", 30, 1), how
        assert (len(stage.posts()), set(stage.posts().values())) == (30, {1})
        for job in stage.job_ids():
            stage.act.change_job(job=job, summary="healthy")
        assert (await stage.sync())["stored"] == 30
        waiting = stage.rows("select record_id from jobsync.quarantine where stream = 'jobs' and resolved_at is null")
        assert [each["record_id"] for each in waiting] == ["12x", None], "the others came again as they should be"


@pytest.mark.parametrize(("table", "column"), [("jobs", "st_job_id"), ("customers", "st_customer_id")])
async def test_a_row_that_somebody_writes_in_plain_sql_at_the_same_moment_is_merged_and_fails_no_page(
    dsn: str, tmp_path: Path, table: str, column: str
) -> None:
    async with open_stage(dsn, tmp_path, jobs=10) as stage:
        record = next(iter(stage.titan.dataset().tables[table].keys()))
        async with await psycopg.AsyncConnection.connect(dsn) as somebody:
            await somebody.execute(f"insert into public.{table} ({column}) values (%s)".encode(), (record,))
            pulling = asyncio.ensure_future(stage.sync(deliver=False))
            await asyncio.to_thread(wait_until_awaited, dsn, somebody)
            await somebody.commit()
        assert (await pulling)["status"] == "completed"
        merged = stage.rows(
            f"select source from public.{table} where {column} = %s and st_raw_data is not null", record
        )
        assert merged == [{"source": "servicetitan"}]


async def test_a_page_with_more_than_a_fifth_of_bad_records_stops_the_stream_and_its_cursor_stays(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30) as stage:
        await stage.route_all()
        await stage.sync()
        before = cursor(stage)
        for job in stage.job_ids()[:5]:
            stage.act.change_job(job=job, summary="changed")
        stage.titan.faults.plan("plant", "jpm/export/jobs", rows=['{"id": "no number"}'] * 12, count=1)
        report = await stage.sync()
        assert (report["stored"], report["planned"]) == (0, 0)
        assert report["core"]["code"] == "schema_drift"
        after = cursor(stage)
        assert {**after, "failures": 0, "last_error": None} == {**before, "failures": 0, "last_error": None}
        assert after["failures"] == 1
        assert last_pass(stage)["status"] == "failed"
        assert (await stage.sync())["stored"] == 5
        assert cursor(stage)["failures"] == 0


@pytest.mark.parametrize("path", ["jpm/jobs", "settings/business-units", "jpm/job-types"])
async def test_one_server_error_or_429_in_a_list_does_not_end_the_run(dsn: str, tmp_path: Path, path: str) -> None:
    async with open_stage(dsn, tmp_path, jobs=12, lists_only=True) as stage:
        failing = stage.titan.faults.plan("status", path, status=503, count=1)
        limited = stage.titan.faults.throttle(path, seconds=0.1, count=1)
        report = await stage.sync()
        assert failing.struck
        assert limited.struck
        assert report["status"] == "completed", report["error"]
        assert report["stored"] == 12


@pytest.mark.parametrize("status", [504, 413])
async def test_a_page_that_is_too_much_is_asked_for_smaller(dsn: str, tmp_path: Path, status: int) -> None:
    async with open_stage(dsn, tmp_path, jobs=12, lists_only=True) as stage:
        stage.titan.faults.plan("status", "jpm/jobs", status=status, query="pageSize=5000", count=None)
        stage.titan.faults.plan("status", "settings/business-units", status=status, query="pageSize=5000", count=None)
        report = await stage.sync()
        assert report["status"] == "completed", report["error"]
        assert report["stored"] == 12
        sizes = [call.query for call in stage.titan.ledger.calls if call.path == "jpm/jobs" and call.status == 200]
        assert sizes
        assert all("pageSize=1000" in query for query in sizes)


async def test_a_feed_page_that_times_out_once_is_asked_for_again(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=12) as stage:
        slow = stage.titan.faults.plan("status", "jpm/export/jobs", status=504, count=1)
        report = await stage.sync()
        assert slow.struck
        assert report["stored"] == 12
        assert cursor(stage)["mode"] == "export"


async def test_a_token_that_is_not_taken_any_more_loses_no_change(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30) as stage:
        await stage.route_all()
        await stage.sync()
        for job in stage.job_ids()[:4]:
            stage.act.change_job(job=job, summary="changed")
        stage.titan.faults.reject_token("jpm/export/jobs", count=None)
        assert (await stage.sync())["stored"] == 4
        booked = stage.act.book_job(unit=1314)
        assert (await stage.sync())["delivered"] == 1
        assert stage.posts()[booked] == 1


async def test_a_stream_goes_back_to_its_feed_a_day_after_it_was_refused(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, lists_only=True) as stage:
        await stage.route_all()
        await stage.sync()
        assert cursor(stage)["mode"] == "list"
        stage.titan.faults.clear()
        stage.act.book_job(unit=1314)
        assert (await stage.sync())["delivered"] == 1
        assert cursor(stage)["mode"] == "list"
        move_clock(dsn, "25 hours")
        booked = stage.act.book_job(unit=1314)
        assert (await stage.sync())["delivered"] == 1
        assert cursor(stage)["mode"] == "export"
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)
        assert stage.posts()[booked] == 1


async def test_a_record_that_refuses_is_not_mistaken_for_an_empty_page(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=12) as stage:
        stage.titan.faults.plan("body", "jpm/export/jobs", how="html", count=3)
        stage.titan.faults.plan("status", FEEDS, status=500, count=0)
        report = await stage.sync()
        assert report["pulled"] == 0
        assert report["core"]["status"] == "failed"
        assert cursor(stage)["revision"] == 0
        assert (await stage.sync())["stored"] == 12
