"""Every malformed body and record that the simulated ServiceTitan knows (more than 60), through the engine: no error that
nobody expected, the healthy records of the same page stored, nothing lost once the fault is over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobsync.engine.passes import open_pass, read_pass, run_stream
from jobsync.errors import MalformedAnswer
from jobsync.servicetitan.pages import parse_page
from jobsync.simulators.servicetitan.corruptions import BODIES, ROWS
from tests.upstreams import TENANT, Stage, open_stage

pytestmark = pytest.mark.anyio

HEALTHY = 300
FEEDS = {
    "jobs": "jpm/export/jobs", "customers": "crm/export/customers", "locations": "crm/export/locations",
    "customer_contacts": "crm/export/customers/contacts", "location_contacts": "crm/export/locations/contacts",
    "appointments": "jpm/export/appointments", "estimates": "sales/export/estimates", "invoices": "accounting/export/invoices",
}  # fmt: skip
SPARE = json.dumps(
    {
        "id": 990_001, "jobNumber": "990001", "customerId": 5, "locationId": 6, "businessUnitId": 1314, "jobTypeId": 7, "jobStatus": "Scheduled",
        "summary": "spare", "createdOn": "2026-01-01T10:00:00Z", "modifiedOn": "2026-01-01T10:00:00Z", "total": 1, "tagTypeIds": [], "active": True,
    }
).encode()  # fmt: skip


def spoilt() -> Iterator[tuple[str, bytes]]:
    for how, spoil in ROWS.items():
        yield how, spoil(SPARE)


def is_page(record: bytes) -> bool:
    """True where a page with this record can still be taken apart."""
    try:
        parse_page(b'{"hasMore":false,"continueFrom":"x","data":[' + record + b"," + SPARE + b"]}", "export")
    except MalformedAnswer:
        return False
    return True


async def pull(stage: Stage, *names: str) -> dict[str, dict[str, Any]]:
    run, _ = await open_pass(stage.engine, TENANT, "test", streams=names)
    await asyncio.gather(*(run_stream(stage.engine, TENANT, name, run) for name in names))
    row = await read_pass(stage.engine, TENANT, run)
    assert row is not None
    return row["metadata"]["streams"]


def test_the_corpus_is_large_enough() -> None:
    assert len(ROWS) + len(BODIES) >= 60
    assert sum(is_page(record) for _, record in spoilt()) >= 50


async def test_the_healthy_records_of_a_page_full_of_malformed_ones_are_stored(dsn: str, tmp_path: Path) -> None:
    planted = []
    for how, record in spoilt():
        # What is no UTF-8 cannot be handed to the simulator as a text; it comes in the other test.
        if is_page(record) and how != "bad_utf8":
            planted.append(record.decode("utf-8", "surrogatepass"))
    async with open_stage(dsn, tmp_path, jobs=HEALTHY) as stage:
        stage.titan.faults.plant(FEEDS["jobs"], *planted, at=HEALTHY // 2)
        jobs = (await pull(stage, "jobs"))["jobs"]
        assert jobs["status"] == "completed", jobs
        assert jobs["pulled"] == jobs["stored"] + jobs["unchanged"] + jobs["quarantined"] >= HEALTHY + len(planted)
        held = {row["id"] for row in stage.rows("select st_job_id as id from jobs")}
        assert set(stage.job_ids()) <= held
        kept = stage.rows("select reason, octet_length(raw) as size from jobsync.quarantine where resolved_at is null")
        assert len(kept) >= 20
        assert all(row["reason"] and row["size"] for row in kept)


async def test_no_malformed_body_or_record_meets_an_error_that_nobody_expected_and_nothing_is_lost(
    dsn: str, tmp_path: Path
) -> None:
    unreadable = [how for how, record in spoilt() if not is_page(record) or how == "bad_utf8"]
    waiting = [*(("row", how) for how in unreadable), *(("body", how) for how in BODIES)]
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        while waiting:
            round_of = [waiting.pop(0) for _ in range(min(len(FEEDS), len(waiting)))]
            for (kind, how), path in zip(round_of, FEEDS.values(), strict=False):
                stage.titan.faults.plan(kind, path, how=how, count=1)
            for job in stage.job_ids()[:5]:
                stage.act.change_job(job=job, summary=f"changed while {len(waiting)} wait")
            entries = await pull(stage, *FEEDS)
            stage.titan.faults.clear()
            for name in FEEDS:
                assert "unexpected" not in entries[name].get("error", ""), (name, round_of, entries[name])
        entries = await pull(stage, *FEEDS)
        assert {entries[name]["status"] for name in FEEDS} == {"completed"}
        assert {row["id"] for row in stage.rows("select st_job_id as id from jobs")} >= set(stage.job_ids())
        people = stage.titan.dataset().tables["customers"].keys()
        assert {row["id"] for row in stage.rows("select st_customer_id as id from customers")} >= set(people)
        stale = "select count(*) from jobs where st_job_id = any (%s) and summary <> 'changed while 0 wait'"
        assert stage.value(stale, stage.job_ids()[:5]) == 0
