"""A story told to the database: pages come in, routes are set, rows are claimed and finished, time goes by.

    story.hook(1314)
    story.live()
    story.page(job(1), job(2, jobStatus="Completed"))
    story.claim()
    story.finish("accepted")
    assert story.job(1)["ghl_sync_status"] == "synced"

One story is one transaction that is rolled back at its end, on a database that all stories share: what it does is real
SQL as the role jobsync_app of its tenant, and costs no new database. `story.owner` works as the owner of the tables.
What needs real commits or several sessions uses the fixture `dsn` and `committed_story` instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

Row = dict[str, Any]
SALES, INSTALL, POOL, PLUMBING = 1314, 54670601, 4622, 26143
DAY = "2026-03-01T10:00:00Z"


def job(number: int, **changed: Any) -> Row:
    """A job in ServiceTitan's form. Keyword arguments are its keys; `...` leaves a key out."""
    record = {
        "id": number, "jobNumber": str(40_000 + number), "customerId": 600 + number, "locationId": 700 + number, "jobStatus": "Scheduled",
        "completedOn": None, "businessUnitId": SALES, "jobTypeId": 81, "priority": "Normal", "campaignId": 91, "summary": "Pump is loud",
        "appointmentCount": 1, "firstAppointmentId": 9_000 + number, "lastAppointmentId": 9_000 + number, "noCharge": False,
        "createdOn": DAY, "modifiedOn": DAY, "tagTypeIds": [11, 12], "leadCallId": None, "invoiceId": None, "total": 120.5,
    }  # fmt: skip
    return {key: value for key, value in {**record, **changed}.items() if value is not ...}


def customer(number: int, **changed: Any) -> Row:
    """A customer in ServiceTitan's form."""
    record = {
        "id": number, "active": True, "name": "Ada Lovelace", "type": "Residential", "doNotMail": False, "doNotService": False,
        "address": {"street": "1 Pool Lane", "unit": None, "city": "Springfield", "state": "AZ", "zip": "85001", "country": "USA"},
        "createdOn": DAY, "modifiedOn": DAY, "mergedToId": None,
    }  # fmt: skip
    return {key: value for key, value in {**record, **changed}.items() if value is not ...}


def location(number: int, **changed: Any) -> Row:
    """A location in ServiceTitan's form."""
    record = {**customer(number), "customerId": number - 100, "name": "Home"}
    return {key: value for key, value in {**record, **changed}.items() if value is not ...}


def contact(
    number: int, owner: int, value: str, type: str = "MobilePhone", *, of: str = "customer", **changed: Any
) -> Row:
    """A contact of a customer or a location."""
    return {"id": number, f"{of}Id": owner, "type": type, "value": value, "memo": None, "modifiedOn": DAY, **changed}


class Story:
    """One tenant's story on one connection."""

    def __init__(self, connection: psycopg.Connection[Row], tenant: str = "default") -> None:
        self.connection = connection
        self.tenant = tenant
        self.claimed: list[Row] = []
        self._hooks = 0

    # --- asking

    def rows(self, statement: str, *values: object) -> list[Row]:
        """Runs a statement as jobsync_app of this tenant; `%s` are the values. What fails undoes only itself."""
        with self.as_app():
            return self.connection.execute(statement.encode(), values or None).fetchall()

    def row(self, statement: str, *values: object) -> Row:
        """The one row of the statement."""
        (found,) = self.rows(statement, *values)
        return found

    def value(self, statement: str, *values: object) -> Any:
        """The first column of the one row."""
        return next(iter(self.row(statement, *values).values()))

    def owner(self, statement: str, *values: object) -> list[Row]:
        """The same as the owner of the tables, as psql sees it."""
        with self.connection.transaction():
            cursor = self.connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def refusal(self, statement: str, *values: object) -> psycopg.Error:
        """The error that the statement raises."""
        try:
            self.rows(statement, *values)
        except psycopg.Error as error:
            return error
        raise AssertionError("the statement was not refused")

    # --- storing

    def page(self, *records: Any, stream: str = "jobs", **more: Any) -> Row:
        """Stores a page. `phones`, `owners`, `refused` ([reason], [bytes]) as store_page takes them; `text`: the page's own JSON."""
        refused, raw = more.get("refused", ([], []))
        return self.value(
            "select jobsync.store_page(%s, %s, %s::jsonb, %s, %s, %s, %s)", self.tenant, stream, more.get("text") or json.dumps(records),
            Jsonb([{"id": None, "reason": reason} for reason in refused]), list(raw), Jsonb(more.get("phones", [])), more.get("owners"),
        )  # fmt: skip

    def parents(self, *jobs: int) -> None:
        """Customers and locations of these jobs, their contact lists read: deliveries need not wait."""
        self.page(*(customer(600 + number) for number in jobs), stream="customers")
        self.page(*(location(700 + number) for number in jobs), stream="locations")
        self.page(stream="customer_contacts", owners=[600 + number for number in jobs])
        self.page(stream="location_contacts", owners=[700 + number for number in jobs])

    def upsert(self, *items: tuple[Any, Any]) -> Row:
        """What POST /db/jobs/upsert-batch calls."""
        return self.value(
            "select jobsync.upsert_items(%s, %s)", self.tenant, Jsonb([{"job": a, "customer": b} for a, b in items])
        )

    # --- deciding

    def route(self, unit: int = SALES, deliverer: str | None = None, destination: Any = None, **more: Any) -> Row:
        """set_route; `events`, `sync_enabled`, `sync_to_ghl` as keywords. Answers what it answers."""
        return self.value(
            "select jobsync.set_route(%s, %s, %s, %s, %s, null, null, %s, %s, 'a test')", self.tenant, unit, deliverer, destination,
            more.get("events"), more.get("sync_enabled"), more.get("sync_to_ghl"),
        )  # fmt: skip

    def hook(self, *units: int, events: str | None = None, kind: str = "webhook") -> Any:
        """A new destination that these units (default: Sales) are routed to; its id."""
        self._hooks += 1
        name = f"{self.tenant}-{kind}-{self._hooks}"
        destination = self.value(
            "insert into jobsync.destinations (tenant_id, kind, label, fingerprint, masked) values (%s, %s, %s, %s, %s) returning id",
            self.tenant, kind, name, name.encode(), name,
        )  # fmt: skip
        for unit in units or (SALES,):
            self.route(unit, "jobsync", destination, events=events)
        return destination

    def live(self, deliver_from: datetime | str = "2000-01-01T00:00:00Z") -> None:
        """As JOBSYNC_MODE=live with JOBSYNC_DELIVER_FROM does it."""
        self.rows(
            "select jobsync.initialise_tenant(%s, 'live', %s::timestamptz, null, null, null)", self.tenant, deliver_from
        )

    def arm(
        self,
        limit: int | None = None,
        since: str | None = None,
        cap_hour: int | None = None,
        cap_day: int | None = None,
    ) -> Row:
        """`jobsync arm`."""
        return self.value(
            "select jobsync.arm_tenant(%s, %s, %s, %s, %s, 'a test')", self.tenant, limit, since, cap_hour, cap_day
        )

    def pass_time(self, interval: str) -> None:
        """Moves jobsync.now()."""
        with self.connection.transaction():
            self.connection.execute("grant update on jobsync.clock to current_user")
            self.connection.execute("update jobsync.clock set shift = shift + %s::interval", (interval,))
            self.connection.execute("revoke update on jobsync.clock from current_user")

    # --- sending

    def claim(
        self,
        destination: Any = None,
        *,
        limit: int = 64,
        rate: float = 0,
        lease: float = 60,
        burst: float | None = None,
    ) -> list[int]:
        """Claims what is due (at the only destination if none is named); the job ids, in their order."""
        destination = destination or self.value(
            "select id from jobsync.destinations order by created_at, label limit 1"
        )
        rows = self.rows(
            "select c.*, (c.projection).* from jobsync.claim_deliveries(%s, %s, %s, %s, %s, %s) c", self.tenant, destination, limit, lease, rate, burst or max(rate, 1)
        )  # fmt: skip
        self.claimed = [{**row, "to": destination} for row in rows]
        return [row["st_job_id"] for row in rows]

    def finish(
        self,
        outcome: str = "accepted",
        *,
        only: Sequence[int] | None = None,
        claimed: Sequence[Row] | None = None,
        **more: Any,
    ) -> Row:
        """Books the last claim (or `claimed`) with one outcome; `only` these jobs."""
        rows = [row for row in claimed or self.claimed if only is None or row["st_job_id"] in only]
        results = [
            {key: row[key] for key in ("attempt_id", "st_job_id", "fence")}
            | {"outcome": outcome, "status": 200, **more}
            for row in rows
        ]
        return self.value("select jobsync.finish_deliveries(%s, %s, %s)", self.tenant, rows[0]["to"], Jsonb(results))

    def send(self, outcome: str = "accepted", **more: Any) -> list[int]:
        """Claims and finishes; the job ids."""
        claimed = self.claim()
        if claimed:
            self.finish(outcome, **more)
        return claimed

    # --- looking

    def job(self, number: int) -> Row:
        """The row of public.jobs."""
        return self.row("select * from public.jobs where tenant_id = %s and st_job_id = %s", self.tenant, number)

    def status(self, number: int) -> tuple[str, str | None]:
        """Its ghl_sync_status and the reason."""
        found = self.job(number)
        return found["ghl_sync_status"], found["ghl_sync_reason"]

    def outbox(self, number: int | None = None) -> Row | None:
        """The row of the outbox of one job, or the only one; None when there is none."""
        found = self.rows("select * from jobsync.outbox where %s::bigint is null or st_job_id = %s", number, number)
        assert len(found) <= 1, found
        return found[0] if found else None

    def waiting(self) -> list[int]:
        """Ids of the jobs in the outbox."""
        return [row["st_job_id"] for row in self.rows("select st_job_id from jobsync.outbox order by 1")]

    def mode(self) -> str:
        """The tenant's mode."""
        return self.value("select mode from jobsync.tenants where tenant_id = %s", self.tenant)

    def traces(self, *tables: str) -> list[Row]:
        """Where each row stands physically: equal before and after means that nothing was written."""
        found: list[Row] = []
        for table in tables or ("public.jobs", "public.customers", "public.business_units", "jobsync.outbox"):
            found += self.owner(
                f"select '{table}' as name, t.ctid::text, t.xmin::text, t.cmin::text from {table} t order by 2"
            )
        return found

    @contextmanager
    def as_app(self) -> Iterator[None]:
        """Inside, statements on `connection` run as the program's role for this tenant."""
        with self.connection.transaction():
            self.connection.execute(
                "select set_config('role', 'jobsync_app', true), set_config('jobsync.tenant', %s, true)", (self.tenant,)
            )
            yield
            self.connection.execute("select set_config('role', 'none', true), set_config('jobsync.tenant', '', true)")


@contextmanager
def told(dsn: str, tenant: str = "default") -> Iterator[Story]:
    """A story that is rolled back at its end."""
    with psycopg.Connection[dict[str, Any]].connect(dsn, row_factory=dict_row) as connection:
        connection.execute("set timezone = 'UTC'")
        yield Story(connection, tenant)
        connection.rollback()


@contextmanager
def committed(dsn: str, tenant: str = "default") -> Iterator[Story]:
    """A story in which each call commits."""
    with psycopg.Connection[dict[str, Any]].connect(dsn, row_factory=dict_row, autocommit=True) as connection:
        connection.execute("set timezone = 'UTC'")
        yield Story(connection, tenant)
