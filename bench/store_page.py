"""How fast a page of jobs is stored, against COPY into a temporary table and one upsert of the same columns.

    python -m bench.store_page [--pages 6] [--size 5000] [--dsn DSN] [--routed] [--orphans] [--json]

Both sides run in one run on one server, page by page in turn, as the owner of the tables: `jobsync.store_page` gets the
page's JSON text; the plain side gets rows decoded beforehand (the decoding is not counted), copies them into a temporary
table and upserts them into a table with the same columns and the same indexes as `public.jobs`. Plain does no merging,
no check, no planning, no quarantine. Prints rows a second, the ratios and the dead tuples that unchanged pages left.
Without --dsn a bundled PostgreSQL is started in a temporary folder with its stock settings; --dsn names a database
server whose user may create databases. The database that is made is dropped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb

from bench.records import make_job
from jobsync.db.embedded import start_embedded
from jobsync.db.migrate import migrate

TYPED = (
    ("st_job_id", "id"), ("st_job_number", "jobNumber"), ("st_customer_id", "customerId"), ("st_location_id", "locationId"),
    ("business_unit_id", "businessUnitId"), ("job_type_id", "jobTypeId"), ("job_status", "jobStatus"), ("priority", "priority"),
    ("summary", "summary"), ("created_on", "createdOn"), ("completed_on", "completedOn"), ("modified_on", "modifiedOn"),
    ("first_appointment_id", "firstAppointmentId"), ("last_appointment_id", "lastAppointmentId"),
    ("appointment_count", "appointmentCount"), ("total", "total"), ("invoice_id", "invoiceId"), ("no_charge", "noCharge"),
    ("campaign_id", "campaignId"), ("lead_call_id", "leadCallId"), ("tag_type_ids", "tagTypeIds"),
)  # fmt: skip
COLUMNS = ("tenant_id", *(column for column, _ in TYPED), "st_raw_data")
MAKE_PLAIN = "create table public.plain_jobs (like public.jobs including all)"
MAKE_STAGE = f"create temporary table stage on commit delete rows as select {', '.join(COLUMNS)} from public.plain_jobs with no data"
COPY = f"copy stage ({', '.join(COLUMNS)}) from stdin"
STAMPS = ("created_at", "updated_at", "synced_from_st_at")
UPSERT = (
    f"insert into public.plain_jobs ({', '.join(COLUMNS)}, {', '.join(STAMPS)}) select {', '.join(COLUMNS)}, now(), now(), now() from stage "
    f"on conflict (tenant_id, st_job_id) do update set {', '.join(f'{c} = excluded.{c}' for c in COLUMNS[2:] + STAMPS[1:])}"
)
ROUTE = """
with hook as (
  insert into jobsync.destinations (tenant_id, kind, label, fingerprint, masked) values ('default', 'webhook', 'bench', 'bench', 'bench') returning id)
insert into jobsync.routes (tenant_id, st_business_unit_id, deliverer, destination_id)
select 'default', u.st_business_unit_id, 'jobsync', h.id from public.business_units u, hook h"""
STORE = "select jobsync.store_page('default', 'jobs', %s::jsonb)"
ENTER = "select set_config('role', 'jobsync_app', true), set_config('jobsync.tenant', 'default', true)"


PARENTS = """
with customers as (
  insert into public.customers (st_customer_id, source, contacts_read_at) select 500000 + n, 'servicetitan', now() from generate_series(0, %(jobs)s) n)
insert into jobsync.locations (tenant_id, st_location_id, contacts_read_at) select 'default', 700000 + n, now() from generate_series(0, %(jobs)s) n"""


def make_row(job: dict[str, Any]) -> tuple[Any, ...]:
    """The job as the plain side's row: decoded values in the order of COLUMNS."""
    values = [job.get(key) for _, key in TYPED]
    for place, (column, _) in enumerate(TYPED):
        if column.endswith("_on") and values[place] is not None:
            values[place] = datetime.fromisoformat(values[place])
    return ("default", *values, Jsonb(job))


def store_plainly(connection: psycopg.Connection[Any], rows: Sequence[tuple[Any, ...]]) -> float:
    """COPY and one upsert in one transaction; the seconds it took."""
    started = time.perf_counter()
    with connection.transaction():
        with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for row in rows:
                copy.write_row(row)
        connection.execute(UPSERT)
    return time.perf_counter() - started


def store_by_jobsync(connection: psycopg.Connection[Any], page: str, *, as_app: bool = False) -> float:
    """One call of store_page in one transaction; the seconds it took."""
    started = time.perf_counter()
    with connection.transaction():
        if as_app:
            connection.execute(ENTER)
        connection.execute(STORE, (page,))
    return time.perf_counter() - started


def count_dead(connection: psycopg.Connection[Any], table: str) -> int:
    """Dead tuples that the server has counted for a table."""
    connection.execute("select pg_stat_force_next_flush()")
    connection.execute("select pg_stat_clear_snapshot()")
    found = connection.execute(
        "select n_tup_upd + n_tup_del from pg_stat_user_tables where relname = %s", (table,)
    ).fetchone()
    assert found is not None
    return found[0]


def measure(dsn: str, pages: int, size: int, *, routed: bool, orphans: bool) -> dict[str, float]:
    """Rows a second of both sides for new, changed and unchanged pages, and their ratios (medians over the pages)."""
    seconds: dict[str, list[float]] = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(MAKE_PLAIN)
        connection.execute(MAKE_STAGE)
        if not orphans:
            connection.execute(PARENTS, {"jobs": pages * size})
        if routed:
            connection.execute(ROUTE)
        versions = [[make_job(number, version) for number in range(pages * size)] for version in (0, 1)]
        for kind, jobs in (("new", versions[0]), ("changed", versions[1]), ("unchanged", versions[1])):
            connection.execute(
                "vacuum analyze public.jobs, public.plain_jobs, public.customers, jobsync.locations, jobsync.outbox, jobsync.wanted"
            )
            before = count_dead(connection, "jobs")
            for start in range(0, pages * size, size):
                part = jobs[start : start + size]
                text, rows = json.dumps(part), [make_row(job) for job in part]
                seconds.setdefault(f"plain {kind}", []).append(store_plainly(connection, rows))
                seconds.setdefault(f"jobsync {kind}", []).append(store_by_jobsync(connection, text))
                if kind == "unchanged":
                    seconds.setdefault("jobsync unchanged as app", []).append(
                        store_by_jobsync(connection, text, as_app=True)
                    )
            if kind == "unchanged":
                dead = count_dead(connection, "jobs") - before
    rate = {name: size / statistics.median(values) for name, values in seconds.items()}
    rate["ratio new"] = rate["jobsync new"] / rate["plain new"]
    rate["ratio changed"] = rate["jobsync changed"] / rate["plain changed"]
    rate["unchanged / changed"] = rate["jobsync unchanged"] / rate["jobsync changed"]
    rate["dead tuples of unchanged pages"] = dead
    return rate


@contextmanager
def fresh_database(server_dsn: str) -> Iterator[str]:
    """A migrated database of this run alone, dropped afterwards."""
    name = f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'create database "{name}"'.encode())
        try:
            dsn = make_conninfo(**{**conninfo_to_dict(server_dsn), "dbname": name})
            asyncio.run(migrate(dsn))
            yield dsn
        finally:
            connection.execute(f'drop database "{name}"'.encode())


@contextmanager
def bundled_server() -> Iterator[str]:
    """The bundled PostgreSQL in a temporary folder, stopped afterwards."""
    with tempfile.TemporaryDirectory(prefix="jobsync-bench-") as folder:
        embedded = asyncio.run(_start(Path(folder)))
        try:
            yield embedded.dsn("bench")
        finally:
            asyncio.run(embedded.stop())


async def _start(folder: Path) -> Any:
    return await start_embedded(folder, database="bench", timeout=60)


def main(arguments: Sequence[str] | None = None, write: Callable[[str], None] = print) -> None:
    """Runs the benchmark and writes its figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.store_page", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--pages", type=int, default=6, help="pages of each kind")
    parser.add_argument("--size", type=int, default=5000, help="jobs a page")
    parser.add_argument("--dsn", help="a server whose user may create databases; default: the bundled one")
    parser.add_argument(
        "--orphans",
        action="store_true",
        help="without the customers and locations, as in a first load that reads jobs first",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--routed",
        action="store_true",
        help="route all units, so that each new or changed job is planned as a delivery",
    )
    given = parser.parse_args(arguments)
    if given.dsn:
        with fresh_database(given.dsn) as dsn:
            figures = measure(dsn, given.pages, given.size, routed=given.routed, orphans=given.orphans)
    else:
        with bundled_server() as server, fresh_database(server) as dsn:
            figures = measure(dsn, given.pages, given.size, routed=given.routed, orphans=given.orphans)
    if given.json:
        write(
            json.dumps(
                {"pages": given.pages, "size": given.size, **{name: round(value, 3) for name, value in figures.items()}}
            )
        )
        return
    for name, value in figures.items():
        is_rate = name.startswith(("plain", "jobsync"))
        write(f"{name:32} {value:12,.0f} rows/s" if is_rate else f"{name:32} {value:12.2f}")


if __name__ == "__main__":
    main()
