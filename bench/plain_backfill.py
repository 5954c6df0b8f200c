"""The plain side of bench.backfill: read a page, decode it, COPY it into a temporary table, upsert; nothing else.

    python -m bench.plain_backfill URL DSN [--size 5000]

Stores the same columns and raw records into tables with the same columns and indexes as JobSync's (`plain_*`). No check
that nothing was missed, no resuming, no merging, no quarantine, no best contact, no planning. One connection, one page
after the other, one transaction a page. Prints one JSON line: rows and seconds by table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
import psycopg

from bench.store_page import COLUMNS as JOB_COLUMNS
from bench.store_page import TYPED

SINCE = "2024-12-31T00:00:00.0000000Z"
Row = dict[str, Any]


def when(text: str | None) -> datetime | None:
    """A timestamp as the driver takes it."""
    return None if text is None else datetime.fromisoformat(text)


def raw(record: Row) -> str:
    """The record as JSON text."""
    return msgspec.json.encode(record).decode()


def job_row(record: Row) -> tuple[Any, ...]:
    """A job in the order of JOB_COLUMNS."""
    values = [when(record.get(key)) if column.endswith("_on") else record.get(key) for column, key in TYPED]
    return ("default", *values, raw(record))


PLACE = ("street", "city", "state", "postal_code", "country")


def place(record: Row) -> tuple[Any, ...]:
    """The address in the order of PLACE."""
    address = record.get("address") or {}
    return tuple(address.get(key) for key in ("street", "city", "state", "zip", "country"))


def customer_row(record: Row) -> tuple[Any, ...]:
    """A customer; its one name becomes first and last name."""
    first, _, last = record["name"].rpartition(" ")
    return (
        "default", record["id"], first, last, *place(record), record["active"], record["mergedToId"], when(record["modifiedOn"]),
        record["doNotService"], record["doNotMail"], "servicetitan", raw(record),
    )  # fmt: skip


def location_row(record: Row) -> tuple[Any, ...]:
    """A location."""
    return (
        "default", record["id"], record["customerId"], record["name"], *place(record), record["active"], record["mergedToId"],
        when(record["modifiedOn"]), raw(record),
    )  # fmt: skip


def contact_row(kind: str) -> Callable[[Row], tuple[Any, ...]]:
    """A contact of this kind of owner; a phone is its digits behind +1."""

    def make(record: Row) -> tuple[Any, ...]:
        is_phone = record["type"] in ("MobilePhone", "Phone")
        phone = "+1" + "".join(filter(str.isdigit, record["value"])) if is_phone else None
        stop = (record.get("phoneSettings") or {}).get("doNotText")
        return (
            "default", kind, record[f"{kind}Id"], record["id"], record["type"], record["value"], phone, record["memo"], stop,
            when(record["modifiedOn"]), raw(record),
        )  # fmt: skip

    return make


CONTACT = (
    "tenant_id",
    "owner_kind",
    "owner_id",
    "st_contact_id",
    "type",
    "value",
    "phone",
    "memo",
    "do_not_text",
    "modified_on",
    "st_raw_data",
)
# list -> (table, columns, how many of them are the key, row)
STREAMS: dict[str, tuple[str, tuple[str, ...], int, Callable[[Row], tuple[Any, ...]]]] = {
    "crm/customers": (
        "customers", ("tenant_id", "st_customer_id", "first_name", "last_name", *PLACE, "active", "merged_to_id", "modified_on", "do_not_service", "do_not_mail", "source", "st_raw_data"), 2, customer_row,
    ),
    "crm/customers/contacts": ("contacts", CONTACT, 4, contact_row("customer")),
    "crm/locations": (
        "locations", ("tenant_id", "st_location_id", "st_customer_id", "name", *PLACE, "active", "merged_to_id", "modified_on", "st_raw_data"), 2, location_row,
    ),
    "crm/locations/contacts": ("contacts", CONTACT, 4, contact_row("location")),
    "jpm/jobs": ("jobs", JOB_COLUMNS, 2, job_row),
}  # fmt: skip
SCHEMAS = {"customers": "public", "jobs": "public", "locations": "jobsync", "contacts": "jobsync"}


def make_tables(connection: psycopg.Connection[Any]) -> None:
    """Empty tables with the same columns, defaults and indexes."""
    for name, schema in SCHEMAS.items():
        connection.execute(f"create table public.plain_{name} (like {schema}.{name} including all)".encode())


def read_pages(url: str, path: str, size: int):
    """The records of a list, page by page, decoded."""
    module, _, name = path.partition("/")
    number = 1
    while True:
        query = urlencode({"modifiedOnOrAfter": SINCE, "page": number, "pageSize": size, "active": "Any"})
        with urllib.request.urlopen(f"{url}/{module}/v2/tenant/1/{name}?{query}") as answer:
            page = msgspec.json.decode(answer.read())
        yield page["data"]
        if not page["hasMore"]:
            return
        number += 1


def copy_and_upsert(connection: psycopg.Connection[Any], path: str, url: str, size: int) -> int:
    """One list into its table; how many rows."""
    table, columns, keys, make = STREAMS[path]
    listed = ", ".join(columns)
    updates = ", ".join(f"{column} = excluded.{column}" for column in columns[keys:])
    connection.execute(
        f"create temporary table stage on commit delete rows as select {listed} from public.plain_{table} with no data".encode()
    )
    count = 0
    for records in read_pages(url, path, size):
        with connection.transaction():
            with connection.cursor() as cursor, cursor.copy(f"copy stage ({listed}) from stdin".encode()) as copy:
                for record in records:
                    copy.write_row(make(record))
            connection.execute(
                f"insert into public.plain_{table} ({listed}) select {listed} from stage on conflict ({', '.join(columns[:keys])}) do update set {updates}".encode()
            )
        count += len(records)
    connection.execute("drop table stage")
    return count


def main() -> None:
    """Reads the arguments, stores everything, prints the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.plain_backfill", description="A plain decode + COPY + upsert loop."
    )
    parser.add_argument("url")
    parser.add_argument("dsn")
    parser.add_argument("--size", type=int, default=5000)
    given = parser.parse_args()
    told: dict[str, dict[str, float]] = {}
    with psycopg.connect(given.dsn, autocommit=True) as connection:
        make_tables(connection)
        for path in STREAMS:
            started = time.perf_counter()
            rows = copy_and_upsert(connection, path, given.url, given.size)
            told[path] = {"rows": rows, "seconds": time.perf_counter() - started}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
