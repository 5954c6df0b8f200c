"""Storing appointments, estimates, invoices, technician assignments, tag types and campaigns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

JOB, UNIT = 5001, 1314

VISIT = {
    "id": 71, "jobId": JOB, "appointmentNumber": "5001-1", "start": "2026-03-02T15:00:00Z", "end": "2026-03-02T17:00:00Z",
    "arrivalWindowStart": "2026-03-02T15:00:00Z", "arrivalWindowEnd": None, "status": "Scheduled", "specialInstructions": None,
    "customerId": 61, "unused": False, "isConfirmed": True, "active": True, "createdOn": "2026-03-01T10:00:00Z",
    "modifiedOn": "2026-03-01T10:00:00.1234567Z",
}  # fmt: skip
ESTIMATE = {
    "id": 72, "jobId": JOB, "projectId": None, "locationId": 62, "customerId": 61, "name": "New pump", "jobNumber": "40211",
    "status": {"value": 0, "name": "Open"}, "reviewStatus": "None", "summary": None, "soldOn": None, "soldBy": None, "active": True,
    "items": [], "subtotal": 1200.5, "tax": 99.5, "businessUnitId": UNIT, "isRecommended": False, "isChangeOrder": False,
    "createdOn": "2026-03-01T10:00:00Z", "modifiedOn": "2026-03-01T10:00:00Z",
}  # fmt: skip
INVOICE = {
    "id": 73, "syncStatus": "Pending", "referenceNumber": "40211", "invoiceDate": "2026-03-02T00:00:00Z", "dueDate": None,
    "subTotal": "100.10", "salesTax": "8.26", "total": "108.36", "balance": "-0.00", "discountTotal": None,
    "customer": {"id": 61, "name": "Customer"}, "location": {"id": 62, "name": "Place"}, "businessUnit": None,
    "job": {"id": JOB, "number": "40211", "type": "Service"}, "projectId": None, "paidOn": None, "depositedOn": None,
    "sentStatus": "NotSent", "reviewStatus": "NeedsReview", "invoiceConfiguration": "JobInvoice", "active": True,
    "createdOn": "2026-03-02T10:00:00Z", "modifiedOn": "2026-03-02T10:00:00Z",
}  # fmt: skip
ASSIGNMENT = {
    "id": 74, "technicianId": 81, "technicianName": "Test Technician", "assignedById": 82, "assignedOn": "2026-03-01T10:00:00Z",
    "status": "Scheduled", "isPaused": False, "jobId": JOB, "appointmentId": 71, "active": True,
    "createdOn": "2026-03-01T10:00:00Z", "modifiedOn": "2026-03-01T10:00:00Z",
}  # fmt: skip
TAG = {
    "id": 75, "name": "VIP", "color": "#0000aa", "code": "VIP", "importance": None, "active": True,
    "createdOn": "2026-03-01T10:00:00Z", "modifiedOn": "2026-03-01T10:00:00Z",
}  # fmt: skip
CAMPAIGN = {
    "id": 76, "name": "Spring", "active": True, "isDefaultCampaign": False, "category": {"id": 31, "name": "Print", "active": True},
    "source": None, "medium": None, "createdOn": "2026-03-01T10:00:00Z", "modifiedOn": "2026-03-01T10:00:00Z",
}  # fmt: skip
RECORDS = {
    "appointments": VISIT, "estimates": ESTIMATE, "invoices": INVOICE, "technician_assignments": ASSIGNMENT, "tag_types": TAG,
    "campaigns": CAMPAIGN,
}  # fmt: skip


class Store:
    """One tenant's rows, written and read as the program's role."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self._connection = connection

    def put(self, stream: str, *records: Any, tenant: str = "default") -> dict[str, Any]:
        """One page through store_page, in a transaction of its own; its counts."""
        with self._enter(tenant):
            found = self._connection.execute(
                "select jobsync.store_page(%s, %s, %s::jsonb) as counts", (tenant, stream, json.dumps(records))
            ).fetchone()
        assert found is not None
        return found["counts"]

    def all(self, statement: str, *values: Any, tenant: str = "default") -> list[dict[str, Any]]:
        with self._enter(tenant):
            return self._connection.execute(statement.encode(), values).fetchall()

    def one(self, statement: str, *values: Any, tenant: str = "default") -> dict[str, Any]:
        (row,) = self.all(statement, *values, tenant=tenant)
        return row

    def _enter(self, tenant: str) -> Any:
        self._connection.rollback()
        self._connection.execute(
            "select set_config('role', 'jobsync_app', true), set_config('jobsync.tenant', %s, true)", (tenant,)
        )
        return _Commit(self._connection)


class _Commit:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, *_: object) -> None:
        self._connection.commit() if kind is None else self._connection.rollback()


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    with psycopg.Connection[dict[str, Any]].connect(dsn, row_factory=dict_row) as connection:
        yield Store(connection)


def make_job(**fields: Any) -> dict[str, Any]:
    """A job as ServiceTitan sends it, with what these tests look at."""
    return {
        "id": JOB, "jobNumber": "40211", "customerId": 61, "locationId": 62, "businessUnitId": UNIT, "jobTypeId": 1, "jobStatus": "Scheduled",
        "invoiceId": 0, "createdOn": "2026-03-01T10:00:00Z", "modifiedOn": "2026-03-01T10:00:00Z", **fields,
    }  # fmt: skip


def test_the_same_page_again_writes_nothing(store: Store) -> None:
    for stream, record in RECORDS.items():
        first = store.put(stream, record)
        assert (first["pulled"], first["stored"], first["quarantined"]) == (1, 1, 0), stream
        before = store.all(f"select xmin, * from jobsync.{stream}")
        again = store.put(stream, record)
        assert (again["pulled"], again["stored"], again["unchanged"]) == (1, 0, 1), stream
        assert store.all(f"select xmin, * from jobsync.{stream}") == before


def test_an_older_version_never_wins_and_a_newer_one_does(store: Store) -> None:
    for stream, record in RECORDS.items():
        store.put(stream, record)
        store.put(stream, {**record, "active": False, "modifiedOn": "2026-02-01T00:00:00Z"})
        assert store.one(f"select active from jobsync.{stream}")["active"] is True, stream
        store.put(stream, {**record, "active": False, "modifiedOn": "2026-04-01T00:00:00Z"})
        row = store.one(f"select active, modified_on, st_raw_data from jobsync.{stream}")
        assert (row["active"], row["modified_on"].month) == (False, 4), stream
        assert row["st_raw_data"]["modifiedOn"] == "2026-04-01T00:00:00Z"


def test_of_two_versions_in_one_page_the_newer_is_stored(store: Store) -> None:
    for stream, record in RECORDS.items():
        newer = {**record, "active": False, "modifiedOn": "2026-04-01T00:00:00Z"}
        assert store.put(stream, newer, record)["stored"] == 1, stream
        assert store.one(f"select active from jobsync.{stream}")["active"] is False, stream


def test_what_does_not_fit_goes_to_quarantine_and_the_rest_of_the_page_is_stored(store: Store) -> None:
    for stream, record in RECORDS.items():
        misfit = {**record, "id": 99, "modifiedOn": "yesterday"}
        counts = store.put(stream, misfit, record, "no object", {**record, "id": "x"}, {**record, "id": -5})
        assert (counts["stored"], counts["quarantined"], counts["unchanged"]) == (1, 4, 0), stream
        rows = store.all("select record_id, reason from jobsync.quarantine where stream = %s", stream)
        assert {row["record_id"]: row["reason"] for row in rows} == {
            "99": "these fields do not fit: modifiedOn",
            None: "the record is not an object",
            "x": "id is not a positive whole number",
            "-5": "id is not a positive whole number",
        }, stream
        store.put(stream, {**misfit, "modifiedOn": "2026-05-01T00:00:00Z"})
        still = store.all("select record_id from jobsync.quarantine where stream = %s and resolved_at is null", stream)
        assert {row["record_id"] for row in still} == {None, "x", "-5"}, stream


def test_a_missing_key_keeps_the_old_value_and_null_is_null(store: Store) -> None:
    names = {
        "appointments": ("status", "status"), "estimates": ("name", "name"), "invoices": ("referenceNumber", "reference_number"),
        "technician_assignments": ("status", "status"), "tag_types": ("name", "name"), "campaigns": ("name", "name"),
    }  # fmt: skip
    for stream, record in RECORDS.items():
        field, column = names[stream]
        store.put(stream, record)
        rest = {key: value for key, value in record.items() if key != field}
        assert store.put(stream, rest)["stored"] == 0, stream
        store.put(stream, {**rest, "modifiedOn": "2026-04-01T00:00:00Z", "active": False})
        row = store.one(f"select {column} as value, active from jobsync.{stream}")
        assert (row["value"], row["active"]) == (record[field], False), stream
        store.put(stream, {**record, field: None, "modifiedOn": "2026-05-01T00:00:00Z"})
        assert store.one(f"select {column} as value from jobsync.{stream}")["value"] is None, stream


def test_a_tenant_sees_its_own_rows_only(store: Store, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("insert into jobsync.tenants (tenant_id, name) values ('other', 'Other')")
    for stream, record in RECORDS.items():
        store.put(stream, record)
        store.put(stream, {**record, "active": False}, tenant="other")
        assert store.one(f"select active from jobsync.{stream}")["active"] is True, stream
        assert store.one(f"select active from jobsync.{stream}", tenant="other")["active"] is False, stream


def test_a_page_that_mostly_does_not_fit_is_schema_drift_and_nothing_of_it_is_stored(store: Store) -> None:
    for stream, record in RECORDS.items():
        good = [{**record, "id": 1000 + n} for n in range(20)]
        bad = [{**record, "id": 2000 + n, "modifiedOn": 7} for n in range(10)]
        with pytest.raises(psycopg.Error) as caught:
            store.put(stream, *good, *bad)
        assert caught.value.sqlstate == "JS003", stream
        assert store.one(f"select count(*) as rows from jobsync.{stream}")["rows"] == 0, stream


ODD = [
    "", " ", "x", "12", " 12 ", "-5", "1.5", "1e5", "NaN", "Infinity", "{}", "1,2", "null", "true", "False", "yes", "0001-01-01T00:00:00Z",
    "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-03-01", "2026-03-01T24:00:00Z", "2026-03-01T10:00:00.12345678Z",
    "2026-03-01T10:00:00+02:00", "99999-01-01T00:00:00Z", 0, 7, -1, 1.5, 1e300, 10**18, 10**19, 10**30, True, False, None, [], [1], {}, {"id": 3},
    {"id": "x"}, {"name": 3}, {"id": None},
]  # fmt: skip


def test_no_value_of_any_field_can_fail_a_page(store: Store) -> None:
    for stream, record in RECORDS.items():
        odd = [{**record, field: value} for field in record for value in ODD]
        odd = [
            {"id": 1000 + n, **{k: v for k, v in each.items() if k != "id" or v != record["id"]}}
            for n, each in enumerate(odd)
        ]
        counts = store.one(f"select jobsync.store_{stream}('default', %s::jsonb) as counts", json.dumps(odd))["counts"]
        assert counts["pulled"] == len(odd) == counts["stored"] + counts["quarantined"] + counts["unchanged"], stream
        assert counts["stored"] > len(odd) / 3 and counts["quarantined"] > 10, (stream, counts)


def test_what_is_odd_but_can_be_read_is_read(store: Store) -> None:
    store.put(
        "appointments",
        {
            **VISIT,
            "jobId": "5001",
            "start": "0001-01-01T00:00:00Z",
            "end": "2026-03-02T17:00:00+02:00",
            "unused": "True",
        },
    )
    row = store.one("select st_job_id, starts_on, ends_on, unused from jobsync.appointments")
    assert (row["st_job_id"], row["starts_on"], row["unused"]) == (5001, None, True)
    assert row["ends_on"].isoformat() == "2026-03-02T15:00:00+00:00"


def test_a_visit_names_its_job_its_unit_and_who_goes_there(store: Store) -> None:
    store.put("appointments", VISIT)
    assert store.one("select st_job_number from jobsync.v_appointments")["st_job_number"] is None
    store.put("jobs", make_job())
    store.put("technician_assignments", ASSIGNMENT, {**ASSIGNMENT, "id": 77, "technicianName": "Gone", "active": False})
    row = store.one("select * from jobsync.v_appointments")
    assert (row["st_job_id"], row["st_job_number"], row["business_unit_name"]) == (JOB, "40211", "Sales & Service")
    assert row["technicians"] == ["Test Technician"]
    assert row["starts_on"].isoformat() == "2026-03-02T15:00:00+00:00"


def test_a_deleted_visit_stays_visible_as_inactive(store: Store) -> None:
    store.put("appointments", VISIT)
    store.put("appointments", {**VISIT, "active": False, "modifiedOn": "2026-03-03T10:00:00Z"})
    row = store.one("select active, status from jobsync.v_appointments")
    assert row == {"active": False, "status": "Scheduled"}


def test_a_visit_that_moves_to_another_job_is_relinked(store: Store) -> None:
    store.put("appointments", VISIT)
    store.put("appointments", {**VISIT, "jobId": 5002, "modifiedOn": "2026-03-03T10:00:00Z"})
    assert store.one("select st_job_id from jobsync.appointments")["st_job_id"] == 5002


def test_an_estimate_that_is_sold_without_a_new_time_is_taken(store: Store) -> None:
    store.put("jobs", make_job())
    store.put("estimates", ESTIMATE)
    row = store.one("select status, subtotal, tax, total, st_job_number, business_unit_name from jobsync.v_estimates")
    assert [str(row[name]) for name in ("subtotal", "tax", "total")] == ["1200.5", "99.5", "1300.0"]
    assert (row["status"], row["st_job_number"], row["business_unit_name"]) == ("Open", "40211", "Sales & Service")
    store.put(
        "estimates",
        {**ESTIMATE, "status": {"value": 1, "name": "Sold"}, "soldOn": "2026-03-05T00:00:00Z", "soldBy": 81},
    )
    row = store.one("select status, sold_on is not null as sold, sold_by from jobsync.estimates")
    assert row == {"status": "Sold", "sold": True, "sold_by": 81}


def test_amounts_that_come_as_texts_are_numbers_and_dates_are_calendar_days(store: Store, dsn: str) -> None:
    store.put("jobs", make_job())
    with psycopg.Connection[dict[str, Any]].connect(
        dsn, row_factory=dict_row, options="-ctimezone=Pacific/Honolulu"
    ) as connection:
        Store(connection).put("invoices", INVOICE)
    row = store.one("select * from jobsync.v_invoices")
    assert (str(row["subtotal"]), str(row["sales_tax"]), str(row["total"]), row["balance"]) == (
        "100.10",
        "8.26",
        "108.36",
        0,
    )
    assert (row["invoice_date"].isoformat(), row["due_date"]) == ("2026-03-02", None)
    assert (row["st_job_id"], row["st_job_number"], row["st_customer_id"]) == (JOB, "40211", 61)
    assert (row["business_unit_id"], row["business_unit_name"]) == (UNIT, "Sales & Service")


def test_an_invoice_whose_amount_or_job_cannot_be_read_is_quarantined(store: Store) -> None:
    odd = [{"total": "about 100"}, {"balance": True}, {"job": 7}, {"job": "x"}, {"job": {"id": "none"}}]
    counts = store.put("invoices", *({**INVOICE, **fields} for fields in odd))
    assert (counts["stored"], counts["quarantined"]) == (0, 5)
    reasons = {row["reason"] for row in store.all("select reason from jobsync.quarantine")}
    assert reasons == {f"these fields do not fit: {field}" for field in ("total", "balance", "job", "jobId")}


def test_an_invoice_without_job_belongs_to_the_job_that_names_it_even_if_that_comes_later(store: Store) -> None:
    store.put("invoices", {**INVOICE, "job": None, "projectId": 9}, {**INVOICE, "id": 90, "job": None})
    assert {row["st_job_id"] for row in store.all("select st_job_id from jobsync.v_invoices")} == {None}
    store.put("jobs", make_job(invoiceId=73))
    rows = store.all("select st_invoice_id, st_job_id, st_job_number from jobsync.v_invoices order by st_invoice_id")
    assert rows == [
        {"st_invoice_id": 73, "st_job_id": JOB, "st_job_number": "40211"},
        {"st_invoice_id": 90, "st_job_id": None, "st_job_number": None},
    ]
    assert len(store.all("select from jobsync.v_invoices where st_job_id = %s", JOB)) == 1


def test_two_jobs_that_name_one_invoice_do_not_double_its_amount(store: Store) -> None:
    store.put("invoices", {**INVOICE, "job": None})
    store.put("jobs", make_job(invoiceId=73), make_job(id=5002, invoiceId=73))
    assert str(store.one("select sum(total) as total from jobsync.v_invoices")["total"]) == "108.36"


def test_an_invoice_without_modification_time_is_stored_and_its_next_version_too(store: Store) -> None:
    undated = {**INVOICE, "modifiedOn": None}
    assert store.put("invoices", undated)["stored"] == 1
    assert store.put("invoices", {**undated, "total": "200.00"})["stored"] == 1
    assert store.put("invoices", INVOICE)["stored"] == 1
    row = store.one("select total, modified_on is not null as dated from jobsync.invoices")
    assert (str(row["total"]), row["dated"]) == ("108.36", True)


def test_the_lists_keep_names_and_codes(store: Store) -> None:
    store.put("tag_types", {**TAG, "importance": "High"})
    store.put("campaigns", CAMPAIGN)
    assert store.one("select name, code, importance from jobsync.tag_types") == {
        "name": "VIP",
        "code": "VIP",
        "importance": "High",
    }
    assert store.one("select name, category, is_default from jobsync.campaigns") == {
        "name": "Spring", "category": "Print", "is_default": False,
    }  # fmt: skip
