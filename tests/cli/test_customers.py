"""customers list and show: who cannot be reached, who shares a phone, and the sheet for the office."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import psycopg
import pytest

from tests.upstreams import call_jobsync

pytestmark = pytest.mark.anyio


async def test_customers_to_mend_are_listed_counted_shown_and_written_as_a_sheet(dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into customers (tenant_id, st_customer_id, first_name, last_name, phone, email, contacts_read_at, active, merged_to_id) values "
            "('default', 1, 'Ada', 'One', '+16025550101', null, jobsync.now(), true, null),"
            "('default', 2, 'Bob', 'Two', '+16025550101', 'b@example.com', jobsync.now(), true, null),"
            "('default', 3, '=HYPERLINK(1)', 'Three', null, null, jobsync.now(), true, null),"
            "('default', 4, 'Dan', 'Four', null, null, jobsync.now(), true, null),"
            "('default', 5, 'Eve', 'Five', null, null, jobsync.now(), true, null),"
            "('default', 6, 'Not', 'Read', null, null, null, true, null),"
            "('default', 7, 'Gone', 'Away', '+16025550101', null, jobsync.now(), true, 1)"
        )
        connection.execute(
            "insert into jobsync.contacts (tenant_id, owner_kind, owner_id, st_contact_id, type, value) values ('default', 'customer', 4, 9, 'Phone', '12')"
        )
        connection.execute(
            "insert into jobsync.locations (tenant_id, st_location_id, st_customer_id, phone) values ('default', 50, 5, '+16025550105')"
        )
    environment = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": str(tmp_path)}

    async def call(*words: str):
        return await call_jobsync(tmp_path, environment, *words)

    listed = await call("customers", "list", "--json")
    assert listed.json["counts"] == {"invalid_contact": 1, "no_contact": 1, "shared_phone": 2}
    found = {(row["reason"], row["st_customer_id"]): row for row in listed.json["customers"]}
    assert set(found) == {("no_contact", 3), ("invalid_contact", 4), ("shared_phone", 1), ("shared_phone", 2)}
    assert found["shared_phone", 1]["shared_with"] == [2]
    sheet = await call("customers", "list", "--csv", str(tmp_path / "office.csv"))
    assert sheet.code == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "office.csv").read_text())))
    assert len(rows) == 4
    assert next(row for row in rows if row["st_customer_id"] == "3")["customer_name"] == "'=HYPERLINK(1) Three"
    assert {row["value"] for row in rows if row["reason"] == "shared_phone"} == {"+16025550101"}
    shown = await call("customers", "show", "4")
    assert "invalid contact" in shown.out
    assert (await call("customers", "show", "999")).code == 4
    assert (await call("customers", "list", "--reason", "ugly")).code == 2


async def test_a_shared_contact_waits_for_a_decision_and_its_job_says_so(dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into jobsync.destinations (tenant_id, kind, label, fingerprint, masked) values ('default', 'api', 'x', 'x', 'x')"
        )
        connection.execute("insert into customers (tenant_id, st_customer_id, first_name) values ('default', 7, 'Ada')")
        connection.execute(
            "insert into jobs (tenant_id, st_job_id, st_customer_id, business_unit_id, created_on, ghl_sync_status, ghl_sync_reason) "
            "values ('default', 70, 7, 1314, jobsync.now(), 'skipped', 'shared_contact')"
        )
        connection.execute(
            "select jobsync.review_contact('default', d.id, 7, 'Con1', 'shared', 8, null, 70) from jobsync.destinations d"
        )
    environment = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": str(tmp_path)}

    async def call(*words: str):
        return await call_jobsync(tmp_path, environment, *words)

    why = await call("why", "70")
    assert "a person has to decide" in why.out
    assert "jobsync customers decide 7 share" in why.out
    listed = await call("customers", "review")
    assert "Con1" in listed.out
    assert "Next: jobsync customers decide 7" in listed.out
    assert (await call("customers", "decide", "7", "marry")).code == 2
    assert (await call("customers", "decide", "9", "share")).code == 4
    decided = await call("customers", "decide", "7", "skip", "--json")
    assert decided.code == 0, decided.err
    assert (await call("customers", "review", "--json")).json["count"] == 0
    assert (await call("customers", "review", "--all", "--json")).json["count"] == 1
