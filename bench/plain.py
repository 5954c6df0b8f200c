"""The reference loops: what a competent script would do, without any of the safety.

    python -m bench.plain {pull|deliver|pass} --dsn DSN --url URL --hook URL --jobs N      prints one JSON object

* pull: a token, then each export feed page by page: decode, COPY into a temporary table, one upsert, commit. Tables of the
  same columns and indexes as the product's. No check, no merge over what is stored, no plan, no quarantine, no cursor.
* deliver: the bare HTTP client (aiohttp), 64 posts in flight, a body of the product's size built for each post. No database.
* pass: the pull, then 500 pending jobs at a time read with their parents, posted 64 wide, marked by one update.

Seconds leave out the start of the interpreter and the making of tables. Each runs in a process of its own (peak memory).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import aiohttp
import msgspec
import psycopg
import uvloop
from psycopg.rows import dict_row

from bench.store_page import TYPED
from bench.upstream import TENANT

WIDE = 64
ADDRESS = (("street", "street"), ("city", "city"), ("state", "state"), ("postal_code", "zip"), ("country", "country"))
PARENT = ("tenant_id", "name", *(column for column, _ in ADDRESS), "active", "modified_on", "st_raw_data")
CONTACT = (
    "tenant_id",
    "owner_kind",
    "owner_id",
    "st_contact_id",
    "type",
    "value",
    "memo",
    "modified_on",
    "st_raw_data",
)
MARK = "update public.plain_jobs set ghl_sync_status = 'synced', ghl_synced_at = now() where tenant_id = 'default' and st_job_id = any (%s)"
PENDING = """
select j.*, c.first_name, c.last_name, c.street as customer_street, l.street, l.city, l.state, l.postal_code, l.country, k.value as phone
  from public.plain_jobs j
  left join public.plain_customers c on c.tenant_id = j.tenant_id and c.st_customer_id = j.st_customer_id
  left join public.plain_locations l on l.tenant_id = j.tenant_id and l.st_location_id = j.st_location_id
  left join public.plain_contacts k on k.tenant_id = j.tenant_id and k.owner_kind = 'location' and k.owner_id = j.st_location_id
 where j.tenant_id = 'default' and j.ghl_sync_status = 'pending'
 order by j.created_on, j.st_job_id limit 500"""


def job_row(job: dict[str, Any]) -> tuple[Any, ...]:
    return ("default", *(job.get(key) for _, key in TYPED), _raw(job))


def customer_row(record: dict[str, Any]) -> tuple[Any, ...]:
    first, _, last = record["name"].rpartition(" ")
    address = record["address"]
    return (
        "default",
        record["id"],
        first,
        last,
        *(address[key] for _, key in ADDRESS),
        record["active"],
        record["modifiedOn"],
        _raw(record),
    )


def location_row(record: dict[str, Any]) -> tuple[Any, ...]:
    address = record["address"]
    return (
        "default",
        record["id"],
        record["customerId"],
        record["name"],
        *(address[key] for _, key in ADDRESS),
        record["active"],
        record["modifiedOn"],
        _raw(record),
    )


def contact_row(kind: str) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    def row(record: dict[str, Any]) -> tuple[Any, ...]:
        head = ("default", kind, record[f"{kind}Id"], record["id"], record["type"], record["value"], record["memo"])
        return (*head, record["modifiedOn"], _raw(record))

    return row


def _raw(record: dict[str, Any]) -> str:
    return msgspec.json.encode(record).decode()


ADDRESSES = tuple(column for column, _ in ADDRESS)
# feed -> the table it is like, the columns written, how many of them are the key, record -> row
FEEDS: dict[str, tuple[str, tuple[str, ...], int, Callable[[dict[str, Any]], tuple[Any, ...]]]] = {
    "jpm/v2/tenant/{}/export/jobs": ("public.jobs", ("tenant_id", *(c for c, _ in TYPED), "st_raw_data"), 2, job_row),
    "crm/v2/tenant/{}/export/customers": (
        "public.customers", ("tenant_id", "st_customer_id", "first_name", "last_name", *ADDRESSES, "active", "modified_on", "st_raw_data"), 2, customer_row,
    ),
    "crm/v2/tenant/{}/export/locations": (
        "jobsync.locations", ("tenant_id", "st_location_id", "st_customer_id", "name", *ADDRESSES, "active", "modified_on", "st_raw_data"), 2, location_row,
    ),
    "crm/v2/tenant/{}/export/customers/contacts": ("jobsync.contacts", CONTACT, 4, contact_row("customer")),
    "crm/v2/tenant/{}/export/locations/contacts": ("jobsync.contacts", CONTACT, 4, contact_row("location")),
}  # fmt: skip


def plain_name(table: str) -> str:
    return f"public.plain_{table.split('.')[1]}"


def make_tables(connection: psycopg.Connection[Any]) -> None:
    """Tables with the columns, defaults and indexes of the product's, without its triggers and policies."""
    for table in dict.fromkeys(table for table, *_ in FEEDS.values()):
        connection.execute(f"drop table if exists {plain_name(table)}".encode())
        connection.execute(f"create table {plain_name(table)} (like {table} including all)".encode())


async def pull(connection: psycopg.Connection[Any], url: str) -> int:
    """Everything, feed by feed, page by page; how many requests it took."""
    requests = 1
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{url}/connect/token", data={"grant_type": "client_credentials"}) as answer:
            token = (await answer.json())["access_token"]
        for path, (table, columns, keys, row) in FEEDS.items():
            stage = "stage_" + path.rsplit("export/", 1)[1].replace("/", "_")
            names = ", ".join(columns)
            connection.execute(
                f"create temporary table {stage} on commit delete rows as select {names} from {plain_name(table)} with no data".encode()
            )
            place, more = "", True
            while more:
                async with http.get(
                    f"{url}/{path.format(TENANT)}",
                    params={"from": place} if place else None,
                    headers={"Authorization": f"Bearer {token}"},
                ) as answer:
                    page = msgspec.json.decode(await answer.read())
                requests += 1
                place, more = page["continueFrom"], page["hasMore"]
                with connection.transaction():
                    with (
                        connection.cursor() as cursor,
                        cursor.copy(f"copy {stage} ({names}) from stdin".encode()) as copy,
                    ):
                        for record in page["data"]:
                            copy.write_row(row(record))
                    changed = ", ".join(f"{column} = excluded.{column}" for column in columns[keys:])
                    connection.execute(
                        f"insert into {plain_name(table)} ({names}) select {names} from {stage} "
                        f"on conflict ({', '.join(columns[:keys])}) do update set {changed}".encode()
                    )
    return requests


def bodies(jobs: int) -> Iterator[dict[str, Any]]:
    """As many bodies as jobs, of the size and shape that the product sends."""
    for number in range(jobs):
        yield build_body(
            {
                "st_job_id": 10_000_000 + number, "st_job_number": str(number), "st_customer_id": 500_000 + number, "st_location_id": 700_000 + number,
                "summary": "Pool pump is loud and trips the breaker; gate code with the neighbour. " * 6, "first_name": "Ada", "last_name": "Example",
                "street": "1 Pool Lane", "city": "Springfield", "state": "AZ", "postal_code": "85001", "country": "USA", "phone": "(602) 555-0101",
                "job_status": "Scheduled", "total": 120.5,
            }
        )  # fmt: skip


def build_body(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "job_id": row["st_job_number"], "customer_id": row["st_customer_id"], "Job_description": row["summary"], "location_id": row["st_location_id"],
        "Name": f"{row['first_name']} {row['last_name']}", "street": row["street"], "city": row["city"], "state": row["state"],
        "postal_code": row["postal_code"], "country": row["country"], "county": "", "phone": row["phone"], "email": "", "opportunity_name": "Job Type: Unknown",
        "first_name": row["first_name"], "last_name": row["last_name"], "st_job_id": row["st_job_id"], "st_customer_id": row["st_customer_id"],
        "business_unit": "Sales & Service", "job_status": row["job_status"], "job_type": "", "total": float(row["total"]), "event": "created", "version": 1,
        "delivery_id": f"00000000-0000-4000-8000-{row['st_job_id']:012d}", "occurred_at": "2026-01-01T08:00:00Z",
    }  # fmt: skip


async def post_all(http: aiohttp.ClientSession, hook: str, given: Iterable[dict[str, Any]]) -> int:
    """Posts the bodies, 64 in flight; how many were answered 200."""
    queue = iter(given)
    done = 0

    async def one() -> None:
        nonlocal done
        for body in queue:
            async with http.post(
                hook, data=msgspec.json.encode(body), headers={"Content-Type": "application/json"}
            ) as answer:
                await answer.read()
                done += answer.status == 200

    await asyncio.gather(*(one() for _ in range(WIDE)))
    return done


async def deliver_pending(connection: psycopg.Connection[Any], hook: str) -> int:
    """Reads, posts and marks until nothing is pending."""
    connection.row_factory = dict_row  # type: ignore[assignment]
    sent = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=WIDE)) as http:
        while rows := connection.execute(PENDING).fetchall():
            await post_all(http, hook, (build_body(row) for row in rows))
            connection.execute(MARK, ([row["st_job_id"] for row in rows],))
            sent += len(rows)
    return sent


async def run(what: str, given: argparse.Namespace) -> dict[str, Any]:
    """One measured loop: seconds and what it did."""
    found: dict[str, Any] = {}
    if what == "deliver":
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=WIDE)) as http:
            started, cpu = time.perf_counter(), time.process_time()
            found["posts"] = await post_all(http, given.hook, bodies(given.jobs))
            return {**found, "seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    with psycopg.connect(given.dsn, autocommit=True) as connection:
        make_tables(connection)
        started, cpu = time.perf_counter(), time.process_time()
        found["requests"] = await pull(connection, given.url)
        if what == "pass":
            found["pull_seconds"] = time.perf_counter() - started
            connection.execute(
                "analyze public.plain_jobs, public.plain_customers, public.plain_locations, public.plain_contacts"
            )
            found["posts"] = await deliver_pending(connection, given.hook)
        return {**found, "seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}


def main() -> None:
    """Runs one loop and prints what it took."""
    parser = argparse.ArgumentParser(prog="python -m bench.plain", description="The reference loops.")
    parser.add_argument("what", choices=("pull", "deliver", "pass"))
    parser.add_argument("--dsn")
    parser.add_argument("--url")
    parser.add_argument("--hook")
    parser.add_argument("--jobs", type=int, default=0)
    given = parser.parse_args()
    found = uvloop.run(run(given.what, given))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**found, "peak_mb": round(usage.ru_maxrss / 1024, 1)}))


if __name__ == "__main__":
    main()
