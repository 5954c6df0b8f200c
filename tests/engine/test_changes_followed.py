"""Merges, moves and deletions in ServiceTitan: followed, linked again, visible. And what a pass costs in requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from tests.clock import move_clock
from tests.locks import wait_until_awaited
from tests.upstreams import REFERENCE_LISTS, Stage, open_stage

pytestmark = pytest.mark.anyio

FEEDS = {
    "jpm/export/jobs", "crm/export/customers", "crm/export/locations", "crm/export/customers/contacts", "crm/export/locations/contacts",
    "jpm/export/appointments", "sales/export/estimates", "accounting/export/invoices", "dispatch/export/appointment-assignments",
}  # fmt: skip


def asked(stage: Stage) -> Counter[str]:
    """Requests by path since the last look; look-ups by ids are counted apart, as `ids:PATH`."""
    found: Counter[str] = Counter()
    for call in stage.titan.ledger.calls:
        if call.path != "connect/token":
            found[f"ids:{call.path}" if "ids=" in call.query.lower() else call.path] += 1
    stage.titan.ledger.reset()
    return found


async def test_a_thousand_new_jobs_cost_one_request_per_feed_and_page_and_no_look_up(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, export_rows_per_call=1000, export_repeats_recent=False) as stage:
        assert (await stage.sync(deliver=False))["status"] == "completed"
        stage.act.book_jobs(count=1000, new_customer=True)
        asked(stage)
        report = await stage.sync(deliver=False)
        assert (report["status"], report["stored"]) == ("completed", 1000)
        calls = asked(stage)
        contacts = {path: 2 for path in FEEDS if path.endswith("contacts")}
        assert set(calls) == FEEDS, calls
        # 1,000 rows a page; a mobile number and an e-mail for each customer and each location.
        assert dict(calls) == {**dict.fromkeys(FEEDS, 1), **contacts}, calls
        assert stage.value("select count(*) from jobsync.wanted") == 0
        assert report["servicetitan_requests"] == sum(calls.values())
        await stage.sync(deliver=False)
        assert asked(stage) == Counter(dict.fromkeys(FEEDS, 1)), "an idle pass asks each feed once, and no list"
        move_clock(dsn, "61 minutes")
        await stage.sync(deliver=False)
        hourly = asked(stage)
        assert {path.split("/", 1)[1] for path in set(hourly) - FEEDS} == {*REFERENCE_LISTS, "estimates"}
        assert set(hourly.values()) == {1}


async def test_where_a_feed_has_not_arrived_yet_parents_are_looked_up_by_fifty_ids_a_call(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=20) as stage:
        await stage.sync(deliver=False)
        stage.act.book_jobs(count=120, new_customer=True)
        stage.titan.faults.plan("redirect", "crm/export/*", count=None)
        asked(stage)
        assert (await stage.sync(deliver=False))["status"] == "failed"
        calls = {path: count for path, count in asked(stage).items() if path.startswith("ids:")}
        assert calls == {
            f"ids:crm/{name}": 3 for name in ("customers", "locations", "customers/contacts", "locations/contacts")
        }
        assert stage.value("select count(*) from jobsync.wanted") == 0


async def test_an_estimate_that_was_sold_without_a_new_modification_time_is_found_within_the_hour(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, export_repeats_recent=False) as stage:
        job = stage.act.book_job()
        estimate = stage.act.add_estimate(job=job)
        await stage.sync(deliver=False)
        stage.titan.clock.advance(600)
        stage.act.sell_estimate(estimate=estimate)
        status = f"select status from jobsync.estimates where st_estimate_id = {estimate}"
        await stage.sync(deliver=False)
        assert stage.value(status) == "Open", "the feed does not show it: that is the trap"
        move_clock(dsn, "61 minutes")
        asked(stage)
        await stage.sync(deliver=False)
        assert stage.value(status) == "Sold"
        assert asked(stage)["sales/estimates"] == 1
        stage.titan.faults.refuse("sales/estimates")
        move_clock(dsn, "61 minutes")
        report = await stage.sync(deliver=False)
        assert (report["status"], report["streams"]["sold_estimates"]["status"]) == ("completed", "not granted")


async def test_a_job_that_is_moved_to_another_customer_location_and_unit_is_linked_again_before_it_is_sent(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=10) as stage:
        old_hook = await stage.route(1314)
        job = stage.act.book_job(unit=1314)
        await stage.sync(deliver=False)
        new_hook = await stage.route(4622)
        assert old_hook != new_hook
        person, place = stage.act.add_customer()
        stage.act.change_job(job=job, customerId=person, locationId=place, businessUnitId=4622)
        await stage.sync()
        row = stage.rows(
            "select st_customer_id, st_location_id, business_unit_id, ghl_sync_status from jobs where st_job_id = %s",
            job,
        )
        assert row == [
            {"st_customer_id": person, "st_location_id": place, "business_unit_id": 4622, "ghl_sync_status": "synced"}
        ]
        assert stage.bodies()[job]["customer_id"] == person
        sent = [post.hook_id for post in stage.level.ledger.posts if post.job == str(job)]
        assert [hook in new_hook for hook in sent] == [True]


async def test_merges_in_a_chain_deactivations_and_deleted_visits_are_followed_and_seen(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=10) as stage:
        act = stage.act
        (first, place), (second, _), (third, last_place) = (act.add_customer() for _ in range(3))
        job = act.book_job(unit=1314, customer=first, location=place)
        silent, nowhere = act.add_customer(kinds=[])
        unreachable = act.book_job(unit=1314, customer=silent, location=nowhere)
        await stage.sync(deliver=False)
        (visit,) = [
            row["id"]
            for row in stage.rows("select st_appointment_id as id from jobsync.appointments where st_job_id = %s", job)
        ]
        act.merge_customer(customer=first, into=second)
        act.merge_customer(customer=second, into=third)
        act.merge_location(location=place, into=last_place)
        act.change_customer(customer=silent, active=False)
        act.delete_appointment(appointment=visit)
        await stage.sync(deliver=False)
        merges = stage.rows(
            "select kind, merged_id, merged_to_id, survivor_id, jobs from jobsync.v_merges where merged_id = any (%s) order by kind, jobs desc",
            [first, second, place],
        )
        assert merges == [
            {"kind": "customer", "merged_id": first, "merged_to_id": second, "survivor_id": third, "jobs": 1},
            {"kind": "customer", "merged_id": second, "merged_to_id": third, "survivor_id": third, "jobs": 0},
            {"kind": "location", "merged_id": place, "merged_to_id": last_place, "survivor_id": last_place, "jobs": 1},
        ]
        told = stage.rows("select customer_name, street from jobsync.projections where st_job_id = %s", job)
        assert told == stage.rows(
            "select coalesce(nullif(concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as customer_name, l.street from customers c,"
            " jobsync.locations l where c.st_customer_id = %s and l.st_location_id = %s", third, last_place,
        )  # fmt: skip
        assert stage.value("select active from customers where st_customer_id = %s", silent) is False
        assert stage.value("select active from jobsync.v_appointments where st_appointment_id = %s", visit) is False
        assert stage.value("select appointment_count from jobs where st_job_id = %s", job) == 0
        listed = "select reason from jobsync.v_unreachable_jobs where st_job_id = %s"
        assert stage.rows(listed, unreachable) == [{"reason": "no contact in ServiceTitan"}]
        counted = "select coalesce(sum(jobs), 0) as jobs from jobsync.v_unreachable_reasons where reason = 'no contact in ServiceTitan'"
        assert stage.value(counted) >= 1


async def test_a_feed_that_was_left_among_young_rows_is_read_again_from_before_them(dsn: str, tmp_path: Path) -> None:
    """Found by simulated world 292: the token of a page between went past a change that became visible after it."""
    async with open_stage(dsn, tmp_path, jobs=20, export_rows_per_call=2) as stage:
        await stage.sync(deliver=False)
        stage.titan.clock.advance(3600)
        await stage.sync(deliver=False)
        first, late, second, third, fourth = stage.job_ids()[:5]
        stage.act.change_job(job=first, summary="one")
        stage.act.change_job(job=late, summary="seen late", visible_after=400)
        for job in (second, third, fourth):
            stage.act.change_job(job=job, summary="one")
        stage.titan.faults.plan("status", "jpm/export/jobs", status=503, count=None, skip=1)
        assert (await stage.sync(deliver=False))["status"] == "failed"
        changed = "select st_job_id from jobs where st_raw_data ->> 'summary' in ('one', 'seen late')"
        assert {row["st_job_id"] for row in stage.rows(changed)} == {first, second}, "one page was stored"
        stage.titan.faults.clear()
        stage.titan.clock.advance(480)
        assert (await stage.sync(deliver=False))["status"] == "completed"
        assert {row["st_job_id"] for row in stage.rows(changed)} == {first, late, second, third, fourth}


async def test_what_became_visible_behind_a_feed_that_was_read_slowly_is_read_with_the_next_pull(
    dsn: str, tmp_path: Path
) -> None:
    """Found by simulated world 101: the last page reaches back from its own moment, not from that of the pages before it."""
    async with open_stage(dsn, tmp_path, jobs=20, export_rows_per_call=2, export_lag_seconds=300) as stage:
        await stage.sync(deliver=False)
        stage.titan.clock.advance(3600)
        await stage.sync(deliver=False)
        first, late, second, third, fourth, fifth = stage.job_ids()[:6]
        stage.act.change_job(job=first, summary="one")
        stage.act.change_job(job=late, summary="seen late", visible_after=100)
        for job in (second, third, fourth, fifth):
            stage.act.change_job(job=job, summary="one")
        # The first page waits to be stored, the second one is here; before the third is asked for, minutes go by.
        async with await psycopg.AsyncConnection.connect(dsn) as held:
            await held.execute("select from jobsync.cursors where stream = 'jobs' for update")
            pulling = asyncio.ensure_future(stage.sync(deliver=False))
            await asyncio.to_thread(wait_until_awaited, dsn, held)
            stage.titan.clock.advance(400)
            await held.rollback()
        assert (await pulling)["status"] == "completed"
        assert (await stage.sync(deliver=False))["status"] == "completed"
        changed = "select st_job_id from jobs where st_raw_data ->> 'summary' in ('one', 'seen late')"
        assert {row["st_job_id"] for row in stage.rows(changed)} == {first, late, second, third, fourth, fifth}
