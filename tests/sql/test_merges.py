"""Customers and locations that were merged: jobs go on naming the merged one, people are told about the survivor."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

JOB = 5001


class Rows:
    """One tenant's database, as its owner."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def put(self, stream: str, *records: dict[str, Any], extra: list[Any] | None = None) -> None:
        self.query(
            "select jobsync.store_page('default', %s, %s, '[]', '{}', %s)",
            stream,
            Jsonb(list(records)),
            Jsonb(extra or []),
        )

    def query(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.Connection[dict[str, Any]].connect(self._dsn, row_factory=dict_row) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def projection(self) -> dict[str, Any]:
        """What GoHighLevel would be told about the one job."""
        (row,) = self.query("select customer_name, street, city, phone, email, do_not_text from jobsync.projections")
        return row

    def wanted(self) -> set[tuple[str, int]]:
        return {(row["stream"], row["id"]) for row in self.query("select stream, id from jobsync.wanted")}


def location(number: int, street: str, *, merged_to: int | None = None, changed: int = 1) -> dict[str, Any]:
    return {
        "id": number, "customerId": 61, "name": f"Place {number}", "active": merged_to is None, "mergedToId": merged_to,
        "address": {"street": street, "unit": None, "city": "Springfield", "state": "AZ", "zip": "85001", "country": "USA"},
        "createdOn": "2026-03-01T10:00:00Z", "modifiedOn": f"2026-03-{changed:02}T10:00:00Z",
    }  # fmt: skip


def customer(number: int, name: str, *, merged_to: int | None = None, changed: int = 1) -> dict[str, Any]:
    return {
        "id": number, "name": name, "type": "Residential", "active": merged_to is None, "mergedToId": merged_to,
        "createdOn": "2026-03-01T10:00:00Z", "modifiedOn": f"2026-03-{changed:02}T10:00:00Z",
    }  # fmt: skip


def contact(number: int, place: int, value: str) -> dict[str, Any]:
    return {
        "id": number, "locationId": place, "type": "MobilePhone", "value": value, "memo": None,
        "phoneSettings": {"phoneNumber": value, "doNotText": True}, "modifiedOn": "2026-03-01T10:00:00Z",
    }  # fmt: skip


@pytest.fixture
def rows(dsn: str) -> Rows:
    opened = Rows(dsn)
    job = {
        "id": JOB, "jobNumber": "40211", "customerId": 61, "locationId": 71, "businessUnitId": 1314, "jobStatus": "Scheduled",
        "createdOn": "2026-03-01T10:00:00Z", "modifiedOn": "2026-03-01T10:00:00Z",
    }  # fmt: skip
    opened.put("jobs", job)
    opened.put("customers", customer(61, "Ada Example"))
    opened.put("locations", location(71, "1 Old Street"))
    return opened


def test_a_chain_of_merged_locations_leads_to_the_last_ones_address_and_phone(rows: Rows) -> None:
    assert rows.projection()["street"] == "1 Old Street"
    rows.put("locations", location(72, "2 Middle Street", merged_to=73, changed=2), location(73, "3 New Street"))
    rows.put(
        "location_contacts",
        contact(1, 71, "602-555-0101"),
        contact(2, 73, "602-555-0103"),
        extra=["+16025550101", "+16025550103"],
    )
    rows.put("locations", location(71, "1 Old Street", merged_to=72, changed=3))
    told = rows.projection()
    assert (told["street"], told["phone"], told["do_not_text"]) == ("3 New Street", "+16025550103", True)


def test_a_chain_of_merged_customers_leads_to_the_last_ones_name(rows: Rows) -> None:
    rows.put("customers", customer(62, "Bea Example", merged_to=63), customer(63, "Cleo Example"))
    rows.put("customers", customer(61, "Ada Example", merged_to=62, changed=3))
    assert rows.projection()["customer_name"] == "Cleo Example"


def test_until_the_survivor_is_here_the_merged_record_speaks_and_the_survivor_is_wanted(rows: Rows) -> None:
    rows.put("locations", location(71, "1 Old Street", merged_to=72, changed=2))
    rows.put("customers", customer(61, "Ada Example", merged_to=62, changed=2))
    told = rows.projection()
    assert (told["customer_name"], told["street"]) == ("Ada Example", "1 Old Street")
    survivors = {("locations", 72), ("location_contacts", 72), ("customers", 62), ("customer_contacts", 62)}
    assert survivors <= rows.wanted()
    rows.put("locations", location(72, "2 New Street"))
    rows.put("customers", customer(62, "Bea Example"))
    rows.query("select jobsync.resolve_wanted('default')")
    assert rows.wanted() & {("locations", 72), ("customers", 62)} == set()
    told = rows.projection()
    assert (told["customer_name"], told["street"]) == ("Bea Example", "2 New Street")


def test_a_merge_that_leads_in_a_circle_ends(rows: Rows) -> None:
    rows.put(
        "locations", location(71, "1 Old Street", merged_to=72, changed=2), location(72, "2 New Street", merged_to=71)
    )
    rows.put(
        "customers", customer(61, "Ada Example", merged_to=62, changed=2), customer(62, "Bea Example", merged_to=61)
    )
    assert rows.projection()["street"] in ("1 Old Street", "2 New Street")


def test_a_merge_sends_no_job_again_by_itself(rows: Rows) -> None:
    before = rows.query("select job_hash, ghl_version from public.jobs")
    rows.put("locations", location(72, "2 New Street"), location(71, "1 Old Street", merged_to=72, changed=2))
    assert rows.query("select job_hash, ghl_version from public.jobs") == before
    assert rows.query("select from jobsync.outbox") == []
