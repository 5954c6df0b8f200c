"""With 20,000 jobs no question of every day reads a big table from end to end.

What a statement really did is counted (pg_stat_xact_user_tables), so functions are seen through as well: no sequential
scan, and no more rows fetched by index than the answer needs. As the program's role: row-level security makes plans of
its own, where a key that is not a bare column is not looked up at all.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from jobsync.db.queries import get_query, load_queries
from tests.conftest import Server
from tests.sql import import_statements
from tests.sql.big_world import big_world
from tests.sql.story import INSTALL, POOL, SALES, Story, contact, customer, job, location

JOBS = 20_000
BIG = (
    "jobs",
    "customers",
    "locations",
    "contacts",
    "outbox",
    "attempts",
    "audit",
    "wanted",
    "quarantine",
    "sync_logs",
    *import_statements.BIG,
)


@pytest.fixture(scope="module")
def loaded_dsn(server: Server, template: str) -> Iterator[str]:
    """A database with 20,000 of everything."""
    with big_world(server, template, JOBS) as dsn:
        yield dsn


@pytest.fixture
def loaded(loaded_dsn: str) -> Iterator[Story]:
    with psycopg.Connection[dict[str, Any]].connect(loaded_dsn, row_factory=dict_row) as connection:
        yield Story(connection)
        connection.rollback()
        # What was rolled back lies about in the tables all the same, and would be read by the next.
        connection.autocommit = True
        connection.execute("vacuum jobsync.outbox, jobsync.wanted")


def reads(story: Story) -> dict[str, tuple[int, int]]:
    """Of the big tables: how often each was read from end to end, and how many rows were fetched by index, until now."""
    rows = story.owner(
        "select relname, seq_scan, coalesce(idx_tup_fetch, 0)::int as fetched from pg_stat_xact_user_tables "
        "where schemaname in ('public', 'jobsync') and relname = any (%s)", list(BIG),
    )  # fmt: skip
    return {row["relname"]: (row["seq_scan"], row["fetched"]) for row in rows}


@contextmanager
def reading_at_most(story: Story, rows: int) -> Iterator[None]:
    """Nothing in here reads a big table from end to end, nor more than `rows` rows of it by index."""
    before = reads(story)
    yield
    after = reads(story)
    moved = {name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in after}
    assert {name: count for name, count in moved.items() if count[0] > 0 or count[1] > rows} == {}


STATEMENTS: dict[str, str] = {
    "the due destinations": "select * from jobsync.list_due_destinations()",
    "a claim": "select count(*) from jobsync.claim_deliveries('default', (select id from jobsync.destinations), 64, 60, 0, 1)",
    "the state of a destination": "select jobsync.destination_state('default', (select id from jobsync.destinations))",
    "the guide's pending jobs": "select * from public.jobs_pending_ghl_sync limit 100",
    "the pending jobs of a unit": f"select * from public.jobs_pending_ghl_sync where business_unit_id = {POOL} limit 100",
    "the guide's failed jobs": "select * from public.jobs where ghl_sync_status = 'failed' order by updated_at desc limit 20",
    "one job's state": "select * from jobsync.v_job_status where st_job_id = 77",
    "what one job would tell": "select * from jobsync.projections where st_job_id = 77",
    "the reasons": "select * from jobsync.v_unsynced_reasons",
    "the tenant's line": "select * from jobsync.v_tenant_status",
    "the watermark": "select jobsync.publish_watermark('default')",
    "closing a run of drains": "select jobsync.report_delivery_run('default', jobsync.open_delivery_run('default'), 1, 0, null, true)",
    "what is planned": "select jobsync.count_planned('default')",
    "ids to look up": "select jobsync.list_wanted('default', 'customers', 50)",
    "marking a job": "select count(*) from jobsync.mark_job('default', 18, 'synced', null, null)",
    "replaying a job": "select jobsync.replay_jobs('default', '{18}', false, 'a test')",
    "the newest runs": "select * from public.sync_logs where tenant_id = 'default' order by started_at desc limit 5",
    "a job's attempts": "select * from jobsync.attempts where st_job_id = 77 order by id desc limit 50",
    "the sums of the runs": "select * from public.sync_statistics",
    "how many of each class": "select * from jobsync.v_tallies",
    "the lag of the streams": "select * from jobsync.v_sync_lag",
    "an appointment": "select * from jobsync.v_appointments where st_appointment_id = 5",
    "the estimates of a job": "select * from jobsync.v_estimates where st_job_id = 5",
    "the invoices of a job": "select * from jobsync.v_invoices where st_job_id = 5",
    "the units with their routes": "select * from jobsync.unit_routes",
    "jobs by what they wait for": "select count(*) from jobsync.browse_jobs('default', 'pending', null, null, null, null, 50)",
    "older jobs by state": "select count(*) from jobsync.browse_jobs('default', 'skipped', 'before_start', null, now() - interval '3 days', 5000, 50)",
    "all jobs": "select count(*) from jobsync.browse_jobs('default', null, null, null, null, null, 50)",
    "older jobs": "select count(*) from jobsync.browse_jobs('default', null, null, null, now(), 5000, 50)",
    "delivered jobs": "select count(*) from jobsync.browse_jobs('default', 'synced', null, null, null, null, 50)",
    "jobs of a unit": f"select count(*) from jobsync.browse_jobs('default', null, null, {POOL}, null, null, 50)",
    "failed jobs of a unit": f"select count(*) from jobsync.browse_jobs('default', 'failed', null, {POOL}, now() - interval '3 days', 5000, 50)",
    "jobs never found": "select count(*) from jobsync.browse_jobs('default', 'unverified', null, null, null, null, 50)",
    "the last hours": "select * from jobsync.v_state_hours where hour > now() - interval '24 hours'",
    "leasing pending jobs": f"select jobsync.lease_pending('default', {POOL}, 100, 60, 'x', true)",
    "jobs by the phone of a customer": "select * from jobsync.search_jobs('default', 'x', null, '+16020000077', 50)",
    "jobs by the phone of a place": "select * from jobsync.search_jobs('default', 'x', null, '+14805550077', 50)",
    "jobs by a phone of nobody": "select * from jobsync.search_jobs('default', 'x', null, '+19995550077', 50)",
    "failed jobs that are due again": f"select jobsync.due_retries('default', {POOL}, 100)",
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_everyday_questions_read_no_big_table_from_end_to_end(loaded: Story, name: str) -> None:
    with reading_at_most(loaded, 1100):
        loaded.rows(STATEMENTS[name])


@pytest.mark.parametrize("count", [1, 200])
def test_storing_looks_rows_up_by_key(loaded: Story, count: int) -> None:
    later = "2999-01-01T10:00:00Z"
    numbers = range(1, count + 1)
    with reading_at_most(loaded, count * 12):
        loaded.page(*(job(n, customerId=n, locationId=n, modifiedOn=later) for n in numbers))
    with reading_at_most(loaded, count * 12):
        loaded.page(*(customer(n, modifiedOn=later) for n in numbers), stream="customers")
    with reading_at_most(loaded, count * 12):
        loaded.page(*(location(n, modifiedOn=later) for n in numbers), stream="locations")
    with reading_at_most(loaded, count * 12):
        loaded.page(
            *(contact(n, n, "+16025550101") for n in numbers),
            stream="customer_contacts",
            phones=["+16025550101"] * count,
        )
    with reading_at_most(loaded, count * 20):
        loaded.upsert(*((job(30_000 + n), {"customerId": n, "firstName": "Grace"}) for n in numbers))


@pytest.mark.parametrize("stream", ["appointments", "estimates", "invoices"])
def test_storing_what_happens_around_jobs_looks_rows_up_by_key(loaded: Story, stream: str) -> None:
    key = {"appointments": "st_appointment_id", "estimates": "st_estimate_id", "invoices": "st_invoice_id"}[stream]
    loaded.owner(
        f"insert into jobsync.{stream} (tenant_id, {key}, st_raw_data) select 'default', n, '{{}}' from generate_series(1, 20000) n"
    )
    loaded.owner(f"analyze jobsync.{stream}")
    loaded.page({"id": 5, "jobId": 5, "modifiedOn": "2026-03-01T10:00:00Z"}, stream=stream)
    found = loaded.owner("select seq_scan, idx_tup_fetch from pg_stat_xact_user_tables where relname = %s", stream)[0]
    assert found["seq_scan"] == 0
    assert found["idx_tup_fetch"] < 20


def test_booking_a_group_looks_rows_up_by_key(loaded: Story) -> None:
    assert len(loaded.claim()) == 64
    numbers = [row["st_job_id"] for row in loaded.claimed]
    with reading_at_most(loaded, 64 * 12):
        loaded.finish(only=numbers[:32])
        loaded.finish("ambiguous", only=numbers[32:])


def test_the_plan_of_a_page_outlives_an_empty_table(committed_story: Story) -> None:
    """A session that began on empty, analyzed tables goes on looking up by key when they have grown."""
    story = committed_story
    story.hook()
    story.connection.execute("vacuum analyze")
    for start in range(0, 8000, 400):
        story.page(*(job(n) for n in range(start + 1, start + 401)))
    with story.connection.transaction(force_rollback=True), reading_at_most(story, 40 * 12):
        story.page(*(job(n, summary="Changed", modifiedOn="2026-03-02T10:00:00Z") for n in range(1, 41)))


@pytest.mark.parametrize("outcome", ["accepted", "ambiguous"])
@pytest.mark.parametrize("analyzed_after", [None, 0, 1])
def test_the_plan_of_a_booking_outlives_a_small_table(
    committed_story: Story, outcome: str, analyzed_after: int | None
) -> None:
    """A first delivery: a session that booked its first groups when hardly anything was sent goes on looking up by key,
    also where the statistics were taken after so many groups, or never."""
    story = committed_story
    story.hook()
    story.live()
    story.arm(cap_hour=0, cap_day=0)
    story.parents(*range(1, 2001))
    story.page(*(job(n) for n in range(1, 2001)))
    for group in range(20):
        if group == analyzed_after:
            story.connection.execute("vacuum analyze")
        assert len(story.send()) == 64
    with story.connection.transaction(force_rollback=True), reading_at_most(story, 64 * 12):
        story.claim()
        story.finish(outcome)


def test_eight_times_the_marks_take_eight_times_the_time(committed_story: Story) -> None:
    """Held each against each, it would be far more; the functions that mark a page forbid themselves to hash."""
    story = committed_story
    story.page(*(job(n) for n in range(1, 4001)))
    story.connection.execute("set enable_hashjoin = off")

    def mark(count: int) -> float:
        began = time.perf_counter()
        for status, reason in (("skipped", "by_hand"), ("pending", None)) * 2:
            marks = ([*range(1, count + 1)], [status] * count, [reason] * count)
            story.value("select jobsync.mark_planned('default', %s, %s::text[], %s::text[])", *marks)
        return time.perf_counter() - began

    few = mark(500)
    assert mark(4000) < 24 * few
    assert story.value("select count(*) from jobs where ghl_sync_status = 'pending'") == 4000


def test_another_hook_for_eight_times_the_jobs_takes_eight_times_the_time(committed_story: Story) -> None:
    story = committed_story
    story.live()
    units = [POOL] * 500 + [SALES] * 4000
    story.page(*(job(n, businessUnitId=unit) for n, unit in enumerate(units, 1)))

    def reroute(unit: int) -> float:
        story.hook(unit)
        began = time.perf_counter()
        other = story.hook(unit)
        assert story.value("select count(*) from jobsync.outbox where destination_id = %s", other) == units.count(unit)
        return time.perf_counter() - began

    few = reroute(POOL)
    assert reroute(SALES) < 24 * few


def test_a_batch_looks_up_what_it_stored_though_the_statistics_know_of_no_job_yet(committed_story: Story) -> None:
    """A first load of a fresh database: what a batch answers is not found by holding every job against each item."""
    story = committed_story
    story.connection.execute("vacuum analyze")
    for start in range(0, 3000, 300):
        story.upsert(*((job(n), {"customerId": n}) for n in range(start + 1, start + 301)))
    with story.connection.transaction(force_rollback=True), reading_at_most(story, 40 * 12):
        report = story.upsert(
            *((job(n, summary="Changed", modifiedOn="2026-03-02T10:00:00Z"), {"customerId": n}) for n in range(1, 41))
        )
    assert (report["succeeded"], report["failed"]) == (40, 0)


# A value for each parameter that a named statement takes; where one statement needs another, it stands below.
VALUES: dict[str, Any] = {
    "tenant": "default", "job": 77, "customer": 77, "unit": None, "jobs": None, "limit": 100, "offset": 0, "status": None, "reason": None, "error": None,
    "opportunity": None, "contact": None, "sync_type": None, "before": None, "before_id": None, "sync_enabled": None, "id": 77, "text": "77",
    "subject": "job:77", "key": "lastJobPull", "value": "x", "metadata": "{}", "by": "a test", "seconds": 60, "name": "x", "kind": "servicetitan",
    "sealed": b"x", "key_id": "x", "settings": Jsonb({}), "credential": "x", "expires_in": 60, "lease_seconds": 60, "rate": 0, "burst": 1, "due_before": None,
    "results": Jsonb([]), "run": uuid.UUID(int=0), "delivered": 1, "failed": 0, "final": True, "want": 1, "since": datetime.now(UTC) - timedelta(hours=1),
    "cutoff": datetime.now(UTC), "streams": ["jobs"], "trigger": "a test", "stream": "jobs", "report": Jsonb({}), "mode": "export", "token": None,
    "caught_up": True, "revision": 0, "page": "[]", "refused": Jsonb([]), "refused_raw": [], "extra": Jsonb([]), "owners": None, "configured": [],
    "older_than": "30 minutes", "lines": 10, "deliver_from": None, "poll_seconds": None, "cap_hour": None, "cap_day": None, "actor": "a test", "force": False,
    "deliverer": None, "events": None, "pipeline_name": None, "stage_name": None, "sync_to_ghl": None, "label": "x", "fingerprint": b"x", "masked": "x",
    "milliseconds": "5000", "version": "x", "checksum": "x", "queue": "pull", "task": "drain", "secret_hash": b"x", "scopes": ["read"], "expires_at": None,
    "action": "x", "details": Jsonb({}), "entity_type": None, "entity_id": None, "processed": 0, "succeeded": 0, "error_message": None, "error_details": None,
    "execution": None, "duration_ms": None, "destination": None, "unseen_since": None, "number": 77, "after": 0, "what": "x", "price": None, "result": "queued", "executed": True, "phone": "+16025550101",
}  # fmt: skip
# What API deliveries keep of contacts and cards.
LINK_VALUES: dict[str, Any] = {
    "jobs": [18], "settle": 120, "kind": "contact", "fence": 0, "contact": "c1", "refused": None, "found_by": "search", "share": False, "hash": b"x", "tags": [],
    "dropped": [], "opportunity": "o1", "pipeline": "p1", "stage": "s1", "other_customer": 78, "other_contact": "c2", "reason": "shared", "decision": "share", "all": False,
    "fields": Jsonb({}), "allow_duplicate_opportunity": True,
}  # fmt: skip
LINK_QUERIES = (
    "read_cards open_intent note_intent close_intent link_contact tell_contact lose_contact link_opportunity tell_opportunity mark_noted lose_opportunity "
    "choose_place review_contact decide_review list_reviews plan_contact_changes read_location_facts write_location_facts"
)
SHADOW_VALUES = {"days": 7, "now": datetime.now(UTC), "rows": Jsonb([]), "cards": Jsonb([]), "most": 10}
OTHER_VALUES: dict[str, dict[str, Any]] = {
    "reseal_connections": {"id": "servicetitan", "before": b"y"}, "reseal_access_tokens": {"id": "servicetitan", "before": b"y"},
    "reseal_destinations": {"id": str(uuid.UUID(int=0)), "before": b"y"}, "reseal_alert_settings": {"before": b"y"}, "move_fingerprint": {"older": [b"y"]},
    **dict.fromkeys(LINK_QUERIES.split(), LINK_VALUES),
    **dict.fromkeys(("open_shadow_run", "note_old_jobs", "note_old_activity", "list_unmarked", "finish_comparison", "keep_double_cards", "read_now_minus_days"), SHADOW_VALUES),
    "api_write_log": {"status": "completed", "sync_type": "own"}, "api_upsert_customer": {"customer": Jsonb({"customerId": 5, "firstName": "Grace"})},
    "api_upsert_items": {"items": Jsonb([{"job": job(5), "customer": {"customerId": 5}}])}, "api_lease_pending": {"unit": POOL, "retry": True},
    "api_write_state": {"key": "mine"}, "api_mark_job": {"job": 18, "status": "synced"}, "replay_jobs": {"jobs": [18]}, "set_route": {"unit": INSTALL},
    "find_jobs": {"status": "failed"}, "preview_replay": {"jobs": [18]}, "choose_jobs": {"reason": "rejected"}, "find_token": {"id": "x"}, "note_token_use": {"id": "x"}, "add_token": {"id": "x", "all_tenants": False}, "revoke_token": {"id": "x"},
    "list_quarantined": {"after": 0}, "close_retried": {"ids": [1]}, "store_page": {"origin": "pull"}, "close_backfill": {"state": "failed", "code": "x", "exit_code": 1, "hint": None},
    "store_pipelines": {"pipelines": Jsonb([{"id": "p1", "name": "P", "stages": [{"id": "s1", "name": "S"}]}]), "fields": Jsonb([])},
    "protect_stage": {"pipeline": "p1", "stage": "s1", "protected": True}, "set_route_target": {"unit": INSTALL, "pipeline": "p1", "stage": "s1", "card": "own"},
    "save_rules": {"rules": Jsonb([{"name": "x", "event": "created", "status": "won"}]), "replace": True},
    "move_backfill": {"position": "2025-01-01T00:00:00Z", "width": None, "left": None, "done": False, "requests": 1},
    "open_backfill": {"since": "2025-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z", "page_size": 5000, "deliver": False},
    "open_test_send": {"unit": POOL}, "close_test_send": {"unit": POOL},
    "count_try": {"subject": b"x", "most": 10}, "forget_tries": {"subject": b"x"}, "take_back_try": {"subject": b"x"}, "find_user_by_name": {"name": "ann"},
    "add_user": {"name": "ann", "role": "admin", "all_tenants": False, "password_hash": None}, "find_session": {"secret_hash": b"x"},
    "note_session_use": {"secret_hash": b"x"}, "set_flash": {"secret_hash": b"x", "flash": None}, "act_for_tenant": {"secret_hash": b"x", "acting_for": None},
    "end_session": {"secret_hash": b"x"}, "find_link": {"key_hash": b"x"}, "use_link": {"key_hash": b"x"}, "add_link": {"key_hash": b"x", "user": None, "enters": False},
    "ask_for_run": {"type": "pull", "wish": Jsonb({})}, "mute_alert": {"code": "job_failed", "hours": 1}, "report_channel": {"channel": "mail", "sent": True},
    "rewind_cursor": {"to": "2025-01-01T00:00:00Z", "apply": True}, "open_view": {"view": "v_job_status"}, "set_upstream_state": {"upstream": "gohighlevel", "state": "ok"},
    "read_user": {"user": uuid.UUID(int=0)}, "open_session": {"secret_hash": b"x", "user": uuid.UUID(int=0)}, "set_password": {"user": uuid.UUID(int=0), "password_hash": None}, "end_sessions_of_user": {"user": uuid.UUID(int=0)},
    "drop_links_of_user": {"user": uuid.UUID(int=0)}, "change_user": {"user": uuid.UUID(int=0), "role": None, "disabled": None},
    "browse_shared": {"kind": "phone"}, "browse_jobs": {"status": "failed", "before_at": None, "before_id": None}, "list_runs": {"before_at": None}, "skip_job": {"job": 9, "note": "x"},
    "write_job_audit": {"details": Jsonb({})}, "survey_tenants": {"needs": ["rejected"], "search": None}, "show_run": {"run": uuid.UUID(int=0)},
    "note_asked": {"stream": "customers", "ids": [1]}, "note_outcomes": {"breaker": b"x", "outcomes": [True]}, "enter_breaker": {"breaker": b"x", "insist": False}, "read_breaker": {"breaker": b"x"},
    "note_upstream": {"upstream": "gohighlevel", "clock": datetime.now(UTC), "limit": 100, "remaining": 5},
    "is_pass_queued": {"run": "x"}, "is_stream_queued": {"run": "x"}, "is_task_free": {"queues": ["pull"]}, "begin_by_list": {"since": None}, "end_token_later": {"id": "x"}, "read_live_token": {"id": "x"}, "move_cursor": {"since": None}, "read_cursor": {"since": None}, "initialise_tenant": {"mode": None}, "disarm_tenant": {"reason": "x"}, "limit_statements": {},
}  # fmt: skip
# These change the whole database or its session, or read all rows of a class (or of a day) because they act on each of them.
NOT_ASKED = {
    "drop_demo_database", "take_migration_lock", "set_lock_timeout", "record_migration", "begin_as_owner", "end_transaction", "begin_as_tenant", "begin_as_owner_of_tenant", "limit_statements",
    "arm_tenant", "show_outdated", "list_customers_to_mend", "count_customers_to_mend", "test_rules", "open_smoke", "remove_smoke", "forget_channel_states", "note_rotation",
    # Go on with an open cursor, or need somebody who is there.
    "fetch_view", "open_session",
    # Asked of the old flow's own database.
    "look_at_old_database", "read_old_jobs",
}  # fmt: skip
# The sweeps of the schedule look at all tenants, as the owner.
SWEEPS = {
    "count_workers",
    "survey_tenants",
    "sum_tenants",
    "list_shared_causes",
    "list_stale_pipelines",
    "count_queue",
    "list_findings",
    "list_due_destinations",
    "claim_due_tenants",
    "list_tenants",
    "fold_tallies_beyond",
    "is_queue_busy",
    "is_pass_queued",
    "is_stream_queued",
    "is_task_free",
}

# Goes by the catalog through every table that holds something of a customer, once for a person who asks to be forgotten:
# by index, but through all rows of the tenant. Some fifteen indexes more would serve it and nothing else, and each would cost
# every row that is ever stored (decision 3).
RARE = {"erase_customer": 10 * JOBS}

# From the hour on at which the digest is due, it tells the runs of 24 hours, of which there is one a minute here.
# A chunk of an import is read, its records are counted, and what was found is noted: three times a thousand rows.
MORE = {
    "claim_digests": 24 * 60 + 100,
    "preview_digest": 24 * 60 + 100,
    "list_read_gaps": 2100,
    "pass_import_rows": 3100,
}


@pytest.mark.parametrize("name", sorted(set(load_queries()) - NOT_ASKED - import_statements.NOT_ASKED))
def test_no_statement_of_the_program_reads_a_big_table_from_end_to_end(loaded: Story, name: str) -> None:
    text = get_query(name)
    destination = loaded.owner("select id from jobsync.destinations")[0]["id"]
    given = {
        **VALUES,
        **import_statements.ALL,
        "destination": destination,
        **OTHER_VALUES.get(name, {}),
        **import_statements.VALUES.get(name, {}),
    }
    # One with parameters of its own is asked with nulls; where that is refused, VALUES should say something better.
    own = set(re.findall(r"%\((\w+)\)s", text)) - set(given)
    given |= dict.fromkeys(own)
    with reading_at_most(loaded, {**MORE, **RARE}.get(name, 1100)):
        try:
            with contextlib.nullcontext() if name in SWEEPS else loaded.as_app():
                loaded.connection.execute(text.encode(), given)
        except psycopg.Error as error:
            # Refused on purpose (such as a cursor that stands elsewhere): what it read until then counts.
            if own:
                pytest.skip(f"say in VALUES what {name} is asked with: {sorted(own)}")
            if not str(error.sqlstate).startswith("JS"):
                raise


@pytest.mark.parametrize("table", [1, 2, 3, 4])
def test_a_step_of_the_walk_through_raw_records_reads_only_its_own_rows(loaded: Story, table: int) -> None:
    loaded.owner("update jobsync.tenants set raw_days = 30 returning 1")
    first = loaded.value("select jobsync.prune_texts('default', %s, 200)", Jsonb({"table": table}))
    with reading_at_most(loaded, 700):
        second = loaded.value("select jobsync.prune_texts('default', %s, 200)", Jsonb(first["place"]))
    assert second["place"]["table"] == table and second["place"]["after"] > first["place"]["after"]


def test_what_arrives_is_not_compared_with_all_that_is_wanted(loaded: Story) -> None:
    """20,000 wanted, 20,000 arrived: each with each would be 400 million comparisons, far beyond the statement's time."""
    loaded.owner(
        "insert into jobsync.arrived (tenant_id, stream, ids) select 'default', 'customers', array_agg(id) from jobsync.wanted where stream = 'customers'"
    )
    loaded.connection.execute("set local statement_timeout = '10s'")
    with reading_at_most(loaded, JOBS + 1100):
        loaded.value("select jobsync.resolve_wanted('default')")
    assert loaded.value("select count(*) from jobsync.wanted where stream = 'customers'") == 0


def test_a_new_destination_for_all_that_wait_reads_each_row_a_few_times(loaded: Story) -> None:
    other = loaded.value(
        "insert into jobsync.destinations (tenant_id, kind, label, fingerprint, masked) values ('default', 'webhook', 'other', 'other', 'other') returning id"
    )
    loaded.connection.execute("set local statement_timeout = '20s'")
    with reading_at_most(loaded, JOBS * 3):
        loaded.route(SALES, "jobsync", other)
    of_the_unit = (
        "select count(*) from jobsync.outbox o join public.jobs j using (tenant_id, st_job_id)"
        " where j.business_unit_id = %s and (o.destination_id = %s) is {}"
    )
    assert loaded.value(of_the_unit.format("not true"), SALES, other) == 0
    assert loaded.value(of_the_unit.format("true"), SALES, other) > 1000
