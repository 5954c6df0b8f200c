"""Appointments, estimates, invoices, technician assignments, tag types and campaigns: pulled beside the jobs, never in
their way. Whole passes against the simulated ServiceTitan, over real HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from jobsync.config import read_settings
from jobsync.db.pool import Database
from jobsync.db.sealing import load_keyring
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.passes import (
    ACTIVITY_STREAMS,
    LOOK_UP,
    OPTIONAL_STREAMS,
    REFERENCE_STREAMS,
    open_pass,
    read_pass,
    run_stream,
)
from jobsync.simulators.servicetitan import Actions, Dataset, SimClock, Simulator, machine_now, serve
from jobsync.tasks.worker import sync_once
from tests.clock import move_clock

pytestmark = pytest.mark.anyio

TABLES = {
    "appointments": "appointments", "estimates": "estimates", "invoices": "invoices", "tag-types": "tag_types",
    "appointment-assignments": "technician_assignments", "campaigns": "campaigns",
}  # fmt: skip


@dataclass
class Yard:
    """A simulated ServiceTitan, an engine that reads it, and the database that it fills."""

    simulator: Simulator
    engine: Engine
    dsn: str

    @property
    def act(self) -> Actions:
        return self.simulator.actions()

    async def pull(self) -> dict[str, Any]:
        """One pass: each due stream one after another, then the look-up. The closed pass."""
        run, names = await open_pass(self.engine, DEFAULT_TENANT, "test")
        for name in [*names, LOOK_UP]:
            await run_stream(self.engine, DEFAULT_TENANT, name, run)
        found = await read_pass(self.engine, DEFAULT_TENANT, run)
        assert found is not None and found["completed_at"] is not None
        return found

    def asked(self) -> Counter[str]:
        """Requests by path since the last look, tokens left out."""
        calls = Counter(call.path for call in self.simulator.ledger.calls if call.path != "connect/token")
        self.simulator.ledger.reset()
        return calls

    def query(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.Connection[dict[str, Any]].connect(self.dsn, row_factory=dict_row) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def count(self, table: str) -> int:
        return self.query(f"select count(*) as rows from jobsync.{table}")[0]["rows"]


OpenYard = Callable[..., Awaitable[Yard]]


@pytest.fixture
async def open_yard(database: Database, dsn: str, tmp_path: Path) -> AsyncIterator[OpenYard]:
    async with AsyncExitStack() as stack:

        async def start(jobs: int = 30) -> Yard:
            now = machine_now()
            simulator = Simulator(Dataset.generate(seed=7, jobs=jobs, now=now), clock=SimClock(now))
            simulator.switches.turn(rate_limit=0)
            served = await stack.enter_async_context(await serve(simulator))
            account = simulator.account()
            environ = {
                "SERVICE_TITAN_TENANT_ID": str(account.tenant), "SERVICE_TITAN_CLIENT_ID": account.client_id,
                "SERVICE_TITAN_CLIENT_SECRET": account.client_secret, "SERVICE_TITAN_APP_KEY": account.app_key,
                "SERVICE_TITAN_API_URL": served.url, "SERVICE_TITAN_AUTH_URL": served.url, "JOBSYNC_DATA_DIR": str(tmp_path),
            }  # fmt: skip
            settings = read_settings(environ=environ, directory=tmp_path)
            return Yard(simulator, Engine(settings, database, load_keyring(None, tmp_path)), dsn)

        yield start


async def test_all_that_happens_around_jobs_arrives_with_the_first_pass_and_is_linked(open_yard: OpenYard) -> None:
    yard = await open_yard()
    done = await yard.pull()
    assert done["status"] == "completed", done["error_message"]
    for theirs, ours in TABLES.items():
        assert yard.count(ours) == len(yard.simulator.dataset().tables[theirs]) > 0, ours
    assert (
        yard.query("select from jobsync.v_appointments where st_job_number is null or technicians is null and active")
        == []
    )
    assert yard.query("select from jobsync.v_invoices where st_job_number is null or business_unit_name is null") == []
    assert yard.query("select from jobsync.appointments where not active") != []
    for invoice in yard.query("select total, st_raw_data from jobsync.invoices"):
        assert str(invoice["total"]) == invoice["st_raw_data"]["total"]


async def test_an_idle_pass_asks_once_for_each_feed_and_not_for_the_lists_and_writes_nothing(
    open_yard: OpenYard,
) -> None:
    yard = await open_yard()
    await yard.pull()
    rows = {table: yard.query(f"select xmin, * from jobsync.{table}") for table in TABLES.values()}
    yard.asked()
    await yard.pull()
    calls = yard.asked()
    assert max(calls.values()) == 1, calls
    assert {path for path in calls if path.split("/")[0] in ("accounting", "sales", "dispatch", "settings", "marketing")} == {
        "accounting/export/invoices", "sales/export/estimates", "dispatch/export/appointment-assignments",
    }  # fmt: skip
    assert {table: yard.query(f"select xmin, * from jobsync.{table}") for table in TABLES.values()} == rows


async def test_what_people_do_later_is_followed(open_yard: OpenYard) -> None:
    yard = await open_yard()
    job = yard.act.book_job()
    await yard.pull()
    (visit,) = yard.query("select * from jobsync.appointments where st_job_id = %s", job)
    assert (visit["active"], visit["status"]) == (True, "Scheduled")
    yard.act.complete_job(job=job, total=410.5)
    yard.act.delete_appointment(appointment=visit["st_appointment_id"])
    assert (await yard.pull())["status"] == "completed"
    (visit,) = yard.query("select active from jobsync.v_appointments where st_job_id = %s", job)
    assert visit == {"active": False}
    (invoice,) = yard.query("select total, balance from jobsync.v_invoices where st_job_id = %s", job)
    assert {name: str(value) for name, value in invoice.items()} == {"total": "410.50", "balance": "410.50"}


async def test_a_stream_that_is_not_granted_disturbs_nothing_and_is_tried_again_after_a_day(
    open_yard: OpenYard,
) -> None:
    yard = await open_yard()
    yard.simulator.faults.refuse("accounting/*", status=403)
    yard.simulator.faults.refuse("marketing/*", status=404)
    first = await yard.pull()
    streams = first["metadata"]["streams"]
    assert (first["status"], first["error_message"]) == ("completed", None)
    assert {name for name, entry in streams.items() if entry["status"] == "not granted"} == {"invoices", "campaigns"}
    assert streams["jobs"]["status"] == streams["estimates"]["status"] == "completed"
    assert "403" in streams["invoices"]["refusal"] and streams["invoices"]["hint"]

    # A list that was refused before jobs had been read is tried once more; then both rest.
    await yard.pull()
    yard.asked()
    later = await yard.pull()
    assert not [path for path in yard.asked() if path.startswith(("accounting", "marketing"))]
    streams = later["metadata"]["streams"]
    assert (later["status"], streams["invoices"]["status"], streams["campaigns"]["status"]) == (
        "completed", "not granted", "not granted",
    )  # fmt: skip
    lag = {row["stream"]: row for row in yard.query("select * from jobsync.v_sync_lag")}
    assert lag["invoices"]["refused_at"] and lag["invoices"]["failures"] == 0
    assert lag["estimates"]["refused_at"] is None

    move_clock(yard.dsn, "25 hours")
    await yard.pull()
    assert yard.asked()["accounting/invoices"] == 1
    yard.simulator.faults.clear()
    move_clock(yard.dsn, "25 hours")
    granted = await yard.pull()
    assert granted["metadata"]["streams"]["invoices"]["status"] == "completed"
    assert yard.count("invoices") == len(yard.simulator.dataset().tables["invoices"])
    assert yard.query("select from jobsync.cursors where refused_at is not null") == []


async def test_while_jobs_cannot_be_read_either_the_pass_fails_and_no_stream_rests(open_yard: OpenYard) -> None:
    yard = await open_yard()
    for module in ("jpm", "crm", "sales", "accounting", "dispatch", "settings", "marketing"):
        yard.simulator.faults.refuse(f"{module}/*")
    failed = await yard.pull()
    assert failed["status"] == "failed"
    assert "jobs" in failed["error_message"] and "invoices" not in failed["error_message"]
    yard.simulator.faults.clear()
    mended = await yard.pull()
    assert mended["status"] == "completed", mended["error_message"]
    assert {entry["status"] for entry in mended["metadata"]["streams"].values()} == {"completed"}


async def test_an_optional_stream_that_breaks_otherwise_fails_the_pass_but_not_the_jobs(open_yard: OpenYard) -> None:
    yard = await open_yard()
    yard.simulator.faults.plan("status", "sales/*", status=400, count=None)
    failed = await yard.pull()
    assert failed["status"] == "failed" and failed["error_message"].startswith("estimates: ")
    assert yard.query("select count(*) as rows from public.jobs")[0]["rows"] == 30


async def test_by_list_the_activity_starts_now_and_the_first_pass_stays_within_its_requests(
    open_yard: OpenYard,
) -> None:
    yard = await open_yard(jobs=1000)
    yard.simulator.faults.refuse("*/export/*")
    report = await sync_once(yard.engine, DEFAULT_TENANT, deliver=False)
    assert report["status"] == "completed", report["error"]
    assert report["pulled"] == 1000
    calls = yard.asked()
    lists = {"settings/business-units", "jpm/job-types", "settings/tag-types", "marketing/campaigns"}
    assert sum(count for path, count in calls.items() if path not in lists) <= 81, calls
    assert all(calls[path] == 1 for path in lists)
    assert [yard.count(table) for table in ACTIVITY_STREAMS] == [0, 0, 0, 0]
    begun_now = "select from jobsync.cursors where complete_from_start and stream not in ('jobs', {})"
    assert yard.query(begun_now.format(", ".join(f"'{name}'" for name in REFERENCE_STREAMS))) == []
    unread = "select from public.jobs j join jobsync.wanted w on w.tenant_id = j.tenant_id and w.id = j.st_customer_id"
    assert yard.query(unread) == []
    assert yard.query("select from public.customers where contacts_read_at is null") == []

    job = yard.act.book_job()
    await yard.pull()
    assert [row["st_job_id"] for row in yard.query("select st_job_id from jobsync.appointments")] == [job]
    assert max(yard.asked().values()) == 1


async def test_a_feed_that_alone_is_refused_costs_its_refusal_once_a_day_and_not_with_every_pass(
    open_yard: OpenYard,
) -> None:
    yard = await open_yard()
    yard.simulator.faults.refuse("accounting/export/*")
    await yard.pull()
    calls = yard.asked()
    assert (calls["accounting/export/invoices"], calls["accounting/invoices"]) == (1, 1)
    await yard.pull()
    calls = yard.asked()
    assert (calls["accounting/export/invoices"], calls["accounting/invoices"]) == (0, 1)
    assert calls["sales/export/estimates"] == 1
    move_clock(yard.dsn, "25 hours")
    await yard.pull()
    assert yard.asked()["accounting/export/invoices"] == 1


def test_every_stream_that_jobs_do_not_need_is_optional_and_no_other() -> None:
    assert set(OPTIONAL_STREAMS) == set(TABLES.values())
