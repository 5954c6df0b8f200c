"""What an import of Airtable's files does to the database, story by story."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobsync.errors import InvalidInput
from jobsync.intake.airtable import apply_import, is_balanced, read_import, undo_import
from jobsync.intake.errors_file import write_errors_files
from jobsync.intake.wishes import Wishes
from tests.intake.files import CUSTOMERS, JOBS, customer, job, read_csv, write_csv, write_customers, write_jobs
from tests.intake.place import open_place, outcomes
from tests.upstreams import TENANT

pytestmark = pytest.mark.anyio


async def test_a_dry_run_counts_what_the_import_then_does_and_a_second_import_does_nothing(
    dsn: str, tmp_path: Path
) -> None:
    files: dict[str, Any] = {"customers": write_customers(tmp_path, 40), "jobs": write_jobs(tmp_path, 60, customers=40)}
    async with open_place(dsn, tmp_path) as place:
        dry = await place.dry(**files)
        assert place.value("select count(*) from customers") == place.value("select count(*) from jobs") == 0
        done = await apply_import(place.engine, TENANT, dry["id"])
        assert outcomes(dry, "customers") == outcomes(done, "customers") == {"new": 40}
        assert outcomes(dry, "jobs") == outcomes(done, "jobs") == {"new": 60}
        assert (
            place.value(
                "select count(*) from customers where phone like '+160255501__' and email like 'person%%@example.com'"
            )
            == 40
        )
        first = place.state()
        again = await place.apply(**files)
        assert outcomes(again, "customers") == {"same": 40}
        assert outcomes(again, "jobs") == {"same": 60}
        assert place.state() == first


async def test_no_imported_job_is_ever_due_whatever_its_unit_and_however_live_the_tenant_is(
    dsn: str, tmp_path: Path
) -> None:
    async with open_place(dsn, tmp_path) as place:
        place.rows("update jobsync.tenants set mode = 'live', deliver_from = '2000-01-01'")
        await place.apply(customers=write_customers(tmp_path, 8), jobs=write_jobs(tmp_path, 8, customers=8))
        assert place.rows("select distinct ghl_sync_status, ghl_sync_reason, source from jobs") == [
            {"ghl_sync_status": "skipped", "ghl_sync_reason": "imported", "source": "import"}
        ]
        place.rows(
            "insert into jobsync.destinations (tenant_id, kind, label, fingerprint, masked) values ('default', 'webhook', 'x', 'x', 'x')"
        )
        place.rows(
            "select jobsync.set_route('default', 1314, 'jobsync', (select id from jobsync.destinations), null, null, null, true, true, 'test')"
        )
        assert place.value("select count(*) from jobsync.outbox") == 0
        assert place.value("select count(*) from jobs where ghl_sync_reason <> 'imported'") == 0


async def test_blanks_are_filled_what_servicetitan_says_stays_unless_the_file_is_preferred_and_undo_brings_it_back(
    dsn: str, tmp_path: Path
) -> None:
    pulled = '[{"id": 100001, "name": "Grace Hopper", "address": {"street": "9 Old Road", "city": "Tempe"}, "modifiedOn": "2026-01-01T00:00:00Z"}]'
    rows = [customer(1, City="Phoenix"), customer(2)]
    async with open_place(dsn, tmp_path) as place:
        place.rows("select jobsync.store_page('default', 'customers', %s::jsonb)", pulled)
        before = place.state()
        done = await place.apply(customers=write_csv(tmp_path / "c.csv", CUSTOMERS, rows))
        assert outcomes(done, "customers") == {"new": 1, "filled": 1}
        (row,) = place.rows("select * from customers where st_customer_id = 100001")
        assert (row["street"], row["city"], row["postal_code"], row["phone"]) == (
            "9 Old Road",
            "Tempe",
            "85002",
            "+16025550101",
        )
        assert row["source"] == "servicetitan"
        await undo_import(place.engine, TENANT, done["id"], actor="test")
        assert place.state() == before
        preferred = await place.apply(Wishes(prefer="csv"), customers=tmp_path / "c.csv")
        assert place.value("select city from customers where st_customer_id = 100001") == "Phoenix"
        await undo_import(place.engine, TENANT, preferred["id"], actor="test")
        assert place.state() == before


async def test_what_the_file_says_otherwise_is_older_and_a_newer_export_replaces_what_an_import_wrote(
    dsn: str, tmp_path: Path
) -> None:
    async with open_place(dsn, tmp_path) as place:
        parents = write_customers(tmp_path, 3)
        await place.apply(
            customers=parents, jobs=write_csv(tmp_path / "a.csv", JOBS, [job(1), job(2, Modified="3/3/2025 9:00am")])
        )
        later = [
            job(1, Summary="Older", Modified="1/1/2025 1:00am"),
            job(2, Summary="Newer", Modified="3/14/2025 9:00am"),
        ]
        done = await place.apply(jobs=write_csv(tmp_path / "b.csv", JOBS, later))
        assert outcomes(done, "jobs") == {"filled": 1, "older": 1}
        assert (
            place.rows("select summary from jobs where st_job_id in (700001, 700002) order by st_job_id")[1]["summary"]
            == "Newer"
        )
        assert place.value("select summary from jobs where st_job_id = 700001") != "Older"
        await undo_import(place.engine, TENANT, done["id"], actor="test")
        assert place.value("select summary from jobs where st_job_id = 700002").startswith("Pump 2")


async def test_rows_of_one_record_become_one_the_newest_first_and_contradictions_are_listed(
    dsn: str, tmp_path: Path
) -> None:
    rows = [
        job(1, Summary="Old", Modified="1/13/2025", Status="Hold", GHL_Opportunity_ID="opp-1"),
        job(1, Summary="New", Modified="2/14/2025", Status="", Total=""),
        job(1, Summary="New", Modified="", Status="Hold"),
    ]
    async with open_place(dsn, tmp_path) as place:
        done = await place.apply(customers=write_customers(tmp_path, 3), jobs=write_csv(tmp_path / "j.csv", JOBS, rows))
        assert outcomes(done, "jobs") == {"new": 1, "merged": 2}
        (row,) = place.rows("select * from jobs")
        assert (row["summary"], row["job_status"], row["ghl_opportunity_id"], float(row["total"])) == (
            "New",
            "Hold",
            "opp-1",
            1001.01,
        )
        (path,) = (await write_errors_files(place.engine, TENANT, done, tmp_path)).values()
        (told,) = read_csv(path)
        assert (told["_row"], told["_code"], told["_field"]) == ("3", "dup_conflict", "summary")


async def test_links_are_resolved_by_id_then_by_a_unique_name_else_refused(dsn: str, tmp_path: Path) -> None:
    people = [
        [*customer(1, First_Name="Ada", Last_Name="Lovelace"), "recAAAAAAAAAAAAA1"],
        [*customer(2, First_Name="Grace", Last_Name="Hopper"), "recAAAAAAAAAAAAA2"],
        [*customer(3, First_Name="Grace", Last_Name="Hopper"), "recAAAAAAAAAAAAA3"],
    ]
    cells = [
        "ada LOVELACE",
        "recAAAAAAAAAAAAA2",
        '"Lovelace, Ada"',
        "Grace Hopper",
        "Nobody Here",
        "100001, 100002",
        "100003",
        "Ada Lovelace, Grace Hopper",
        "",
    ]
    rows = [job(number, Customer_ID=cell) for number, cell in enumerate(cells)]
    async with open_place(dsn, tmp_path) as place:
        done = await place.apply(
            customers=write_csv(tmp_path / "c.csv", (*CUSTOMERS, "Record ID"), people),
            jobs=write_csv(tmp_path / "j.csv", JOBS, rows),
        )
        found = {
            row["st_job_id"] - 700_000: row["st_customer_id"]
            for row in place.rows("select st_job_id, st_customer_id from jobs")
        }
        assert found == {0: 100_001, 1: 100_002, 6: 100_003, 8: None}
        assert outcomes(done, "jobs") == {"new": 4, "error": 5}
        errors = (await write_errors_files(place.engine, TENANT, done, tmp_path))["jobs"]
        assert {row["_code"] for row in read_csv(errors)} == {"ambiguous_link"}


async def test_the_errors_file_is_corrected_and_fed_straight_back(dsn: str, tmp_path: Path) -> None:
    rows = [
        job(0),
        job(1, Job_ID="1.2E+07"),
        job(2, Business_Unit="Instal"),
        job(3, Customer_ID="99"),
        job(4, Created="31.31.2020"),
        job(5, Summary="=1+1", Job_ID=""),
    ]
    async with open_place(dsn, tmp_path) as place:
        done = await place.apply(customers=write_customers(tmp_path, 9), jobs=write_csv(tmp_path / "j.csv", JOBS, rows))
        assert outcomes(done, "jobs") == {"new": 1, "error": 5}
        path = (await write_errors_files(place.engine, TENANT, done, tmp_path))["jobs"]
        assert path.name == f"import-{done['id']}.jobs.errors.csv"
        told = read_csv(path)
        assert [row["_code"] for row in told] == [
            "excel_number",
            "unknown_unit",
            "orphan_customer",
            "bad_date",
            "missing_id",
        ]
        assert all(row["_message"] and row["_suggestion"] and row["_row"] for row in told)
        fixes = [
            {"Job ID": "700001"},
            {"Business Unit": "Install"},
            {"Customer ID": "100003"},
            {"Created": "2020-12-31"},
            {"Job ID": "700005"},
        ]
        mended = [{**row, **fix} for row, fix in zip(told, fixes, strict=True)]
        write_csv(path, mended[0], ([*row.values()] for row in mended))
        again = await place.apply(jobs=path)
        assert outcomes(again, "jobs") == {"new": 5}
        assert place.value("select count(*) from jobs") == 6
        assert place.value("select summary from jobs where st_job_id = 700005") == "=1+1"
        assert place.value("select jobsync.count_open_errors('default', %s)", done["id"])["jobs"] == {
            "errors": 5,
            "settled": 5,
        }


async def test_every_row_is_accounted_for_whatever_it_holds(dsn: str, tmp_path: Path) -> None:
    rows = [customer(number) for number in range(5)] + [
        customer(1, City="Mesa"),
        customer(9, ST_ID=""),
        customer(8, ST_ID="x"),
        [""] * 11,
        ["only", "two"],
    ]
    async with open_place(dsn, tmp_path) as place:
        done = await place.apply(customers=write_csv(tmp_path / "c.csv", CUSTOMERS, rows))
        (file,) = done["files"]
        assert file["total"] == 9, "a blank row is no row"
        assert outcomes(done, "customers") == {"new": 5, "merged": 1, "error": 3}
        assert is_balanced(file)


async def test_undo_deletes_what_was_made_and_keeps_what_others_changed_since(dsn: str, tmp_path: Path) -> None:
    async with open_place(dsn, tmp_path) as place:
        done = await place.apply(customers=write_customers(tmp_path, 5), jobs=write_jobs(tmp_path, 5, customers=5))
        changed = (
            '[{"id": 700001, "customerId": 100001, "jobStatus": "Canceled", "modifiedOn": "2026-03-01T00:00:00Z"}]'
        )
        place.rows("select jobsync.store_page('default', 'jobs', %s::jsonb)", changed)
        counts = await undo_import(place.engine, TENANT, done["id"], actor="test")
        # The customer of the job that stays is needed by it.
        assert counts == {"deleted": 8, "kept": 2}
        assert [row["st_job_id"] for row in place.rows("select st_job_id from jobs")] == [700_001]
        assert await undo_import(place.engine, TENANT, done["id"], actor="test") == counts
        assert (await read_import(place.engine, TENANT, done["id"]))["state"] == "undone"
        with pytest.raises(InvalidInput, match="was undone"):
            await apply_import(place.engine, TENANT, done["id"])
        again = await place.apply(customers=tmp_path / "customers.csv", jobs=tmp_path / "jobs.csv")
        assert outcomes(again, "jobs") == {"new": 4, "older": 1}


async def test_a_delivered_job_that_a_file_completes_is_not_sent_again(dsn: str, tmp_path: Path) -> None:
    pulled = '[{"id": 700001, "customerId": 100001, "businessUnitId": 1314, "jobStatus": "Completed", "createdOn": "2026-01-01T00:00:00Z", "modifiedOn": "2026-01-01T00:00:00Z"}]'
    async with open_place(dsn, tmp_path) as place:
        place.rows("update jobsync.tenants set mode = 'live', deliver_from = '2000-01-01'")
        place.rows(
            "insert into jobsync.destinations (tenant_id, kind, label, fingerprint, masked) values ('default', 'webhook', 'x', 'x', 'x')"
        )
        place.rows(
            "select jobsync.set_route('default', 1314, 'jobsync', (select id from jobsync.destinations), 'all', null, null, true, true, 'test')"
        )
        place.rows("select jobsync.store_page('default', 'jobs', %s::jsonb)", pulled)
        place.rows("delete from jobsync.outbox")
        place.rows("update jobs set ghl_sync_status = 'synced', ghl_sync_reason = null, delivered_hash = job_hash")
        done = await place.apply(
            customers=write_customers(tmp_path, 3), jobs=write_csv(tmp_path / "j.csv", JOBS, [job(1)])
        )
        assert outcomes(done, "jobs") == {"filled": 1}
        assert place.rows(
            "select summary is not null as filled, delivered_hash = job_hash as told, ghl_sync_status from jobs"
        ) == [{"filled": True, "told": True, "ghl_sync_status": "synced"}]
        assert place.value("select count(*) from jobsync.outbox") == 0
        assert place.value("select count(*) from jobsync.contact_changes") == 0
