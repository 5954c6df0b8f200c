"""The checker: three ledgers side by side (ServiceTitan's truth, the database, what GoHighLevel received).

I1 every visible version is stored          I5 runs, attempts and counts add up
I2 every routed job was told, none twice    I6 nothing in another tenant's location
   unless its outcome was unknown           I7 no secret and no person in a log line (world.py)
I3 no cursor stands above what is stored    I8 everything comes to rest
I4 no two sends of one job or customer at a time
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

from jobsync.engine.pull import OVERLAP_TICKS
from jobsync.gohighlevel.html_text import html_to_text
from jobsync.gohighlevel.payloads import API_OPPORTUNITY_NAME, money, opportunity_name
from jobsync.simulators.gohighlevel.ledger import live_by_job
from jobsync.simulators.servicetitan.export import FEEDS, read_token
from jobsync.simulators.servicetitan.instants import read_instant
from tests.simulation.people import UNITS

STREAMS = {
    "jobs": ("jobs", "jpm/export/jobs", "public.jobs", "st_job_id"),
    "customers": ("customers", "crm/export/customers", "public.customers", "st_customer_id"),
    "locations": ("locations", "crm/export/locations", "jobsync.locations", "st_location_id"),
}
LEASE = 60.0
DEATHS = 5
FACTS = ("modifiedOn", "summary", "jobStatus", "businessUnitId", "customerId", "locationId", "name")


def check_cursors(world: Any) -> None:
    """I3: whatever lies behind a cursor is stored, in its newest version; no cursor goes back."""
    cursors = world.home.rows("select * from jobsync.cursors where revision > 0")
    for cursor in cursors:
        if cursor["stream"] not in STREAMS:
            continue
        tenant, stream = cursor["tenant_id"], cursor["stream"]
        table, path, stored_in, key = STREAMS[stream]
        data = world.dataset(tenant)
        position = None
        if cursor["mode"] == "export" and cursor["token"]:
            try:
                position = read_token(cursor["token"], FEEDS[path], data, world.titan.clock.now())
            except ValueError:
                continue
        elif cursor["mode"] == "list" and cursor["since"]:
            # A list is read again from the overlap before its watermark: that is where the promise begins.
            position = (read_instant(cursor["since"]) - OVERLAP_TICKS, 0)
        if position is None:
            continue
        past = world.watch.reached.get((tenant, stream))
        if past is not None and cursor["revision"] < past[0]:
            world.find(f"I3 the cursor of {stream} went back from revision {past[0]} to {cursor['revision']}")
        if past is not None and cursor["since"] and past[1] and read_instant(cursor["since"]) < read_instant(past[1]):
            world.find(f"I3 the watermark of {stream} went back")
        world.watch.reached[tenant, stream] = (cursor["revision"], cursor["since"] or "")
        if cursor["mode"] == "list" and (stream != "jobs" or not cursor["caught_up_at"]):
            continue
        stored = {
            row["id"]: row["raw"]
            for row in world.home.rows(f"select {key} as id, st_raw_data ->> 'modifiedOn' as raw from {stored_in} where tenant_id = %s", tenant)
        }  # fmt: skip
        excused = _quarantined(world, tenant, stream)
        for record in data.tables[table]:
            if (record.modified, record.id) > position or record.id in excused:
                continue
            have = stored.get(record.id)
            want = record.fields()["modifiedOn"]
            if have is None or read_instant(have) < read_instant(want):
                world.find(f"I3 {stream} {record.id} of {want} lies behind the cursor and is not stored (have {have})")


def check_at_rest(world: Any) -> None:
    """All other promises, once nothing is due any more."""
    for tenant in world.tenants:
        _check_stored(world, tenant)
        if world.profile.by_api:
            _check_cards(world, tenant)
        else:
            _check_told(world, tenant)
    _check_books(world)
    _check_rest(world)


def _quarantined(world: Any, tenant: str, stream: str) -> set[int]:
    return {
        int(row["record_id"])
        for row in world.home.rows(
            "select record_id from jobsync.quarantine where tenant_id = %s and stream = %s and record_id is not null", tenant, stream
        )
    }  # fmt: skip


def _check_stored(world: Any, tenant: str) -> None:
    data = world.dataset(tenant)
    data.reveal(world.titan.clock.now())
    for stream, (table, _, stored_in, key) in STREAMS.items():
        rows = world.home.rows(f"select {key} as id, st_raw_data as raw from {stored_in} where tenant_id = %s", tenant)
        stored = {row["id"]: row["raw"] for row in rows}
        wanted = None
        if stream != "jobs":
            wanted = {record.fields()[f"{stream[:-1]}Id"] for record in data.tables["jobs"]}
        excused = _quarantined(world, tenant, stream)
        for record in data.tables[table]:
            if record.id in excused or (wanted is not None and record.id not in wanted):
                continue
            truth, have = record.fields(), stored.get(record.id)
            if have is None:
                world.find(f"I1 {stream} {record.id} is not stored")
                continue
            for name in FACTS:
                if name in truth and truth[name] != have.get(name):
                    world.find(
                        f"I1 {stream} {record.id}: {name} is {have.get(name)!r}, in ServiceTitan {truth[name]!r}"
                    )
                    break


def _check_told(world: Any, tenant: str) -> None:
    data = world.dataset(tenant)
    place = world.places[tenant].location.id
    posts: dict[int, list[Any]] = defaultdict(list)
    for post in world.level.ledger.posts:
        if post.location_id == place and post.answered == "queued" and post.job:
            posts[int(post.job)].append(post)
    jobs = {row["st_job_id"]: row for row in world.home.rows("select * from jobs where tenant_id = %s", tenant)}
    attempts = _read_attempts(world, tenant)
    for job in posts:
        truth = data.tables["jobs"].get(job)
        body = posts[job][-1].content()
        if truth is None or body.get("st_customer_id") != truth.fields()["customerId"]:
            world.find(f"I6 job {job} was told to the location of {tenant}, who has no such job")
    excused = _quarantined(world, tenant, "jobs")
    units = {unit for unit, _, _ in UNITS}
    _check_answers(world, attempts)
    for record in data.tables["jobs"]:
        row = jobs.get(record.id)
        if row is None or record.id in excused or record.fields()["businessUnitId"] not in units:
            continue
        state = f"{row['ghl_sync_status']} ({row['ghl_sync_reason']})"
        if row["ghl_sync_reason"] == "worker_died" and _deaths(attempts[record.id]) >= DEATHS:
            # Set aside for a person, as promised: it may be what kills the workers.
            continue
        if row["ghl_sync_status"] != "synced":
            world.find(f"I2 job {record.id} is {state}")
        elif not posts[record.id]:
            world.find(f"I2 job {record.id} is {state}, but GoHighLevel never received it")
        elif not any((one["outcome"] or "").startswith("accepted") for one in attempts[record.id]):
            world.find(f"I5 job {record.id} is {state} without an accepted attempt")
        _check_sends(world, record, row, posts[record.id], attempts[record.id])
    _check_customers(world, jobs, attempts)


def _read_attempts(world: Any, tenant: str) -> dict[int, list[Any]]:
    attempts: dict[int, list[Any]] = defaultdict(list)
    for row in world.home.rows(
        "select *, extract(epoch from started_at)::float as began, extract(epoch from finished_at)::float as ended"
        " from jobsync.attempts where tenant_id = %s order by id", tenant
    ):  # fmt: skip
        row["claimed"] = world.watch.claimed_at.get(row["id"], row["began"])
        if row["ended"] is not None:
            row["ended"] = max(row["ended"], world.watch.booked_at.get(row["id"], 0.0))
        attempts[row["st_job_id"]].append(row)
    return attempts


def _check_cards(world: Any, tenant: str) -> None:
    """I2 and I6 by API: each routed job has one card, which says what is stored."""
    location = world.places[tenant].location
    held = {int(job): cards for job, cards in live_by_job([location]).items() if job}
    attempts = _read_attempts(world, tenant)
    jobs = {
        row["st_job_id"]: row
        for row in world.home.rows("select * from jobsync.projections where tenant_id = %s", tenant)
    }
    standing = {row["st_job_id"]: row for row in world.home.rows("select * from jobs where tenant_id = %s", tenant)}
    _check_answers(world, attempts)
    excused = _quarantined(world, tenant, "jobs")
    units = {unit for unit, _, _ in UNITS}
    for job, cards in held.items():
        if world.dataset(tenant).tables["jobs"].get(job) is None:
            world.find(f"I6 the location of {tenant} holds a card of job {job}, which it has not")
        if len(cards) > 1:
            world.find(f"I2 job {job} has {len(cards)} cards")
    for record in world.dataset(tenant).tables["jobs"]:
        row = standing.get(record.id)
        if row is None or record.id in excused or record.fields()["businessUnitId"] not in units:
            continue
        _check_leases(world, record.id, attempts[record.id])
        state = f"{row['ghl_sync_status']} ({row['ghl_sync_reason']})"
        if row["ghl_sync_reason"] == "worker_died" and _deaths(attempts[record.id]) >= DEATHS:
            continue
        if row["ghl_sync_status"] != "synced":
            world.find(f"I2 job {record.id} is {state}")
        elif record.id not in held:
            world.find(f"I2 job {record.id} is {state}, but GoHighLevel holds no card of it")
        else:
            card, wanted = held[record.id][0], jobs[record.id]
            truth = {
                "name": opportunity_name(wanted, API_OPPORTUNITY_NAME),
                "monetaryValue": money(wanted["total"]),
                "id": row["ghl_opportunity_id"],
            }
            for name, value in truth.items():
                if value is not None and card.get(name) != value:
                    world.find(f"I2 the card of job {record.id} has {name} {card.get(name)!r}, it is {value!r}")
    _check_customers(world, standing, attempts)


def _deaths(attempts: list[Any]) -> int:
    """How many workers died with a send of this job under way."""
    return sum(one["outcome"] is None for one in attempts)


def _check_sends(world: Any, record: Any, row: Any, posts: list[Any], attempts: list[Any]) -> None:
    job = record.id
    if len(posts) > len(attempts):
        world.find(f"I4 job {job}: {len(posts)} posts, {len(attempts)} attempts")
    told = {}
    for post in posts:
        body = post.content()
        told[body["delivery_id"]] = {name: value for name, value in body.items() if name not in _UNSTEADY}
    _check_leases(world, job, attempts)
    settled = None
    for attempt in attempts:
        if settled is not None and world.watch.was_booked_before(settled, attempt):
            same = told.get(str(settled["delivery_id"])) == told.get(str(attempt["delivery_id"]))
            if world.profile.events == "created" or (same and attempt["version"] != settled["version"]):
                world.find(f"I2 job {job} was sent again although it was accepted")
        settled = (
            attempt
            if (attempt["outcome"] or "").startswith("accepted")
            else None
            if world.profile.events == "all"
            else settled
        )
    versions = [post.content()["version"] for post in posts]
    unsure = any(one["outcome"] is None or not one["outcome"].startswith("accepted") for one in attempts)
    if len(versions) > len(set(versions)) and not unsure and not _was_late(attempts):
        world.find(f"I2 job {job} was told twice, and no outcome was unknown")
    if world.profile.events == "all" and row["ghl_sync_status"] == "synced" and posts:
        if row["job_hash"] != row["delivered_hash"]:
            world.find(f"I2 job {job} is synced, but what was delivered is not what is stored")
        truth, last = record.fields(), posts[-1].content()
        wanted = (truth["jobStatus"], html_to_text(truth["summary"]))
        told_last = (last.get("job_status"), last.get("Job_description"))
        if told_last != wanted and not unsure and not _was_late(attempts):
            world.find(f"I2 job {job}: GoHighLevel was last told {told_last}, it is {wanted}")


def _check_answers(world: Any, attempts: dict[int, list[Any]]) -> None:
    """I5: who lives books what he was answered, whatever the database does meanwhile."""
    for job, tries in attempts.items():
        for one in tries:
            if one["outcome"] is None and world.watch.was_able_to_book(one["id"]):
                world.find(f"I5 an attempt at job {job} was never booked, although its worker lived")


def _check_leases(world: Any, job: int, attempts: list[Any]) -> None:
    for first, second in itertools.pairwise(attempts):
        if second["claimed"] < min(first["ended"] or 1e12, first["began"] + LEASE) - 0.001:
            world.find(f"I4 job {job}: a second send began while the first one's lease held")


def _was_late(attempts: list[Any]) -> bool:
    """An attempt that outlived its lease: its row was claimed again, flagged."""
    return any(one["ended"] is not None and one["ended"] > one["began"] + LEASE for one in attempts)


_UNSTEADY = {"delivery_id", "version", "event", "occurred_at", "planned_at"}


def _check_customers(world: Any, jobs: dict[int, Any], attempts: dict[int, list[Any]]) -> None:
    by_customer: dict[int, list[Any]] = defaultdict(list)
    for job, tries in attempts.items():
        if job in jobs:
            by_customer[jobs[job]["st_customer_id"]] += tries
    for customer, tries in by_customer.items():
        tries.sort(key=lambda one: one["id"])
        for place, second in enumerate(tries):
            for first in tries[:place]:
                if (
                    first["st_job_id"] != second["st_job_id"]
                    and second["claimed"] < min(first["ended"] or 1e12, first["began"] + LEASE) - 0.001
                ):
                    world.find(f"I4 two jobs of customer {customer} were under way at once")


def _check_books(world: Any) -> None:
    for run in world.home.rows("select * from sync_logs"):
        if run["status"] == "running":
            world.find(f"I5 a run of kind {run['sync_type']} was never closed")
        for name, entry in ((run["metadata"] or {}).get("streams") or {}).items():
            parts = [entry.get(one, 0) for one in ("stored", "unchanged", "quarantined")]
            if "pulled" in entry and entry["pulled"] != sum(parts):
                world.find(f"I5 {name}: pulled {entry['pulled']} is not {parts}")
    for row in world.home.rows(
        "select a.tenant_id, count(distinct (a.st_job_id, a.version)) as accepted, (select coalesce(sum(c.sends), 0) from jobsync.send_counts c"
        " where c.tenant_id = a.tenant_id) as counted from jobsync.attempts a where a.outcome like 'accepted%%' group by 1".replace(
            "%%", "%"
        )
    ):
        if row["counted"] < row["accepted"]:
            world.find(f"I5 {row['accepted']} versions were accepted, {row['counted']} counted against the caps")


def _check_rest(world: Any) -> None:
    for row in world.home.rows("select * from jobsync.outbox"):
        world.find(f"I8 job {row['st_job_id']} still waits ({row['waiting_for']}, {row['attempts']} attempts)")
    if world.queue.tasks:
        world.find(f"I8 {len(world.queue.tasks)} tasks never end")
