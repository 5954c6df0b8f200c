"""The reconciliation of an import, and jobs whose customers only ServiceTitan knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobsync.intake.airtable import apply_import, run_dry
from jobsync.intake.reconciliation import make_reconciliation, read_reconciliation
from jobsync.intake.reconciliation_files import save_reconciliation
from jobsync.intake.wishes import Wishes
from tests.intake.files import CUSTOMERS, JOBS, customer, job, write_csv, write_customers, write_jobs
from tests.intake.place import open_place, outcomes
from tests.upstreams import TENANT, open_stage

pytestmark = pytest.mark.anyio


async def test_customers_that_only_servicetitan_has_are_read_and_ids_that_it_does_not_know_are_named(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=12) as stage:
        assert stage.engine is not None
        record = stage.titan.dataset().tables["jobs"].get(stage.job_ids()[0])
        assert record is not None
        known = record.fields()
        rows = [
            job(1, Job_ID=str(known["id"]), Customer_ID=str(known["customerId"]), Business_Unit="1314"),
            job(2, Customer_ID=str(known["customerId"]), Business_Unit="1314"),
            job(3, Customer_ID="99", Business_Unit="1314"),
        ]
        path = write_csv(tmp_path / "jobs.csv", JOBS, rows)
        dry = await run_dry(stage.engine, TENANT, {"jobs": path}, Wishes(date_order="mdy"))
        assert outcomes(dry, "jobs") == {"new": 3}, "ServiceTitan is asked when it is written"
        assert stage.value("select count(*) from customers") == 0
        done = await apply_import(stage.engine, TENANT, dry["id"])
        assert outcomes(done, "jobs") == {"new": 2, "error": 1}
        assert stage.rows("select st_customer_id, source from customers") == [
            {"st_customer_id": known["customerId"], "source": "servicetitan"}
        ]
        report = await make_reconciliation(stage.engine, TENANT, done["id"])
        assert report["servicetitan"]["files"]["jobs"]["unknown_ids"] == [700_002]
        assert report["reasons"] == [
            "1 row of jobs.csv could not be imported",
            "ServiceTitan does not know 1 id of jobs in the file",
        ]
        assert report["verdict"].startswith("safe to retire Airtable: not yet, because 1 row")
        await stage.sync(deliver=False)
        assert stage.posts() == {}
        report = await make_reconciliation(stage.engine, TENANT, done["id"])
        assert report["files"]["jobs"]["confirmed"] == 1
        assert report["recent_outside"]["count"] == len(stage.job_ids()) - 1
        assert stage.rows("select ghl_sync_reason from jobs where st_job_id = %s", known["id"]) == [
            {"ghl_sync_reason": "imported"}
        ]


async def test_the_report_balances_counts_and_is_kept_as_html_json_and_csv(dsn: str, tmp_path: Path) -> None:
    people = [customer(number) for number in range(30)]
    people[3] = customer(3, First_Name="<script>alert(1)</script>")
    async with open_place(dsn, tmp_path) as place:
        files: dict[str, Any] = {
            "customers": write_csv(tmp_path / "c.csv", CUSTOMERS, people),
            "jobs": write_jobs(tmp_path, 40, customers=30),
        }
        done = await place.apply(**files)
        report = await make_reconciliation(place.engine, TENANT, done["id"], seed=1)
        assert (report["safe"], report["verdict"]) == (True, "safe to retire Airtable: yes")
        jobs = report["files"]["jobs"]
        assert (
            jobs["records"],
            jobs["here"],
            jobs["missing"],
            len(jobs["sample"]),
            len(report["files"]["customers"]["sample"]),
        ) == (40, 40, 0, 10, 10)
        assert all(field["same"] for row in jobs["sample"] for field in row["fields"])
        assert sum(unit["csv"] for unit in jobs["units"]) == sum(month["database"] for month in jobs["months"]) == 40
        assert {unit["name"]: (unit["csv"], unit["database"]) for unit in jobs["units"]}["Install"] == (10, 10)
        assert (
            float(jobs["money"]["csv"])
            == float(jobs["money"]["database"])
            == pytest.approx(sum(1000 + n + n / 100 for n in range(40)))
        )
        page, data, counts = save_reconciliation(report, tmp_path)
        assert "safe to retire Airtable: yes" in page.read_text()
        assert "<script>" not in page.read_text()
        assert json.loads(data.read_text())["files"]["jobs"]["sha256"] == jobs["sha256"]
        assert "jobs: unit,Install,10,10,0" in counts.read_text("utf-8-sig")
        kept = await read_reconciliation(place.engine, TENANT, done["id"])
        assert kept is not None
        assert kept["verdict"] == report["verdict"]


async def test_a_record_that_went_missing_or_an_amount_that_changed_keeps_airtable_alive(
    dsn: str, tmp_path: Path
) -> None:
    async with open_place(dsn, tmp_path) as place:
        done = await place.apply(customers=write_customers(tmp_path, 5), jobs=write_jobs(tmp_path, 5, customers=5))
        place.rows("delete from jobs where st_job_id = 700001")
        place.rows("update jobs set total = 1 where st_job_id = 700002")
        report = await make_reconciliation(place.engine, TENANT, done["id"])
        assert report["files"]["jobs"]["missing_ids"] == [700_001]
        assert report["files"]["jobs"]["money"]["ids"] == [700_002]
        assert report["reasons"] == [
            "1 job of jobs.csv is not in the database",
            "the total of 1 job differs, and ServiceTitan has not confirmed ours",
        ]


async def test_the_people_of_an_import_are_erased_with_the_customer(dsn: str, tmp_path: Path) -> None:
    async with open_place(dsn, tmp_path) as place:
        files: dict[str, Any] = {
            "customers": write_customers(tmp_path, 5),
            "jobs": write_jobs(tmp_path, 10, customers=5),
        }
        await place.apply(**files)
        place.rows("select jobsync.erase_customer('default', 100001, 'test')")
        for table in ("import_rows", "import_ledger"):
            assert place.value(f"select count(*) from jobsync.{table} where st_customer_id = 100001") == 0
        again = await place.apply(**files)
        assert outcomes(again, "customers") == {"same": 4, "error": 1}
        assert outcomes(again, "jobs") == {"same": 8, "error": 2}
        assert (
            place.value("select jobsync.count_import_issues('default', %s)", again["id"])["jobs"]["erased"]["rows"] == 2
        )
