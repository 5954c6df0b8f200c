"""One customer erased: nothing of it is left in a dump, nothing brings it back, and everything else stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobsync.engine.erase import erase_customer
from jobsync.engine.prune import keep_raw, prune
from jobsync.errors import InvalidInput, RecordMissing
from tests.clock import move_clock
from tests.sql.conftest import Program
from tests.sql.conftest import pg_dump as pg_dump
from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio

RAW_TABLES = "select c.oid::regclass::text as name from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'st_raw_data' where c.relkind = 'r'"


async def choose_customer(stage: Stage) -> tuple[int, list[str]]:
    """A delivered customer, and the words by which it would be found again: texts of all its rows in ServiceTitan."""
    customer = stage.value("select st_customer_id from jobs where ghl_sync_status = 'synced' order by 1 limit 1")
    words: set[str] = set()
    for table, kind in (("customers", "id"), ("locations", "customerId"), ("jobs", "customerId")):
        rows = stage.titan.dataset().tables[table]
        for key in rows.keys():  # noqa: SIM118
            found = rows.get(key)
            assert found is not None
            fields = found.fields()
            if fields[kind] == customer:
                words |= {str(fields.get("summary") or ""), str(fields.get("name") or "")}
                words.add(str((fields.get("address") or {}).get("street") or ""))
    words |= {
        row["value"]
        for row in stage.rows(
            "select value from jobsync.contacts where owner_kind = 'customer' and owner_id = %s", customer
        )
    }
    statement = "select concat_ws(' ', first_name, last_name, street, phone, email) as text from customers where st_customer_id <> %s"
    others = stage.rows(statement, customer)
    others += stage.rows("select summary as text from jobs where st_customer_id <> %s", customer)
    left = " ".join(str(row["text"]) for row in others)
    return customer, [word for word in words if len(word) > 6 and word not in left]


async def test_an_erased_customer_leaves_no_word_behind_and_never_comes_back(
    dsn: str, tmp_path: Path, pg_dump: Program
) -> None:
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        await stage.route_all()
        await stage.sync()
        customer, words = await choose_customer(stage)
        stage.run(
            "insert into jobsync.quarantine (tenant_id, stream, reason, raw, raw_hash) values ('default', 'estimates', 'x', convert_to(%s, 'UTF8'), '\\x01')",
            json.dumps({"id": 1, "customerId": customer, "name": "Canary Whisperwind"}),
        )
        stage.run(
            "insert into sync_logs (tenant_id, sync_type, status, entity_id, error_message) values ('default', 'n8n', 'failed', %s, 'Canary Whisperwind')",
            customer,
        )
        stage.run(
            "update jobsync.attempts set answer = 'Canary Whisperwind' where st_job_id in (select st_job_id from jobs where st_customer_id = %s)",
            customer,
        )
        words.append("Canary Whisperwind")
        before = pg_dump(dsn)
        assert len(words) > 3 and all(word in before for word in words), words
        jobs = stage.value("select count(*) from jobs")

        counted = await erase_customer(stage.engine, "default", customer, actor="test", dry_run=True)
        assert stage.value("select count(*) from jobs") == jobs
        report = await erase_customer(stage.engine, "default", customer, actor="test")
        assert report == counted and report["jobs"] >= 1 and report["erased"]["customers"] == 1

        dump = pg_dump(dsn)
        assert [word for word in words if word in dump] == []
        assert stage.value("select count(*) from jobs") == jobs - report["jobs"]
        assert stage.value("select count(*) from jobsync.audit where action = 'customer_erased'") == 1
        # Everything is read again from the first record, and by lists.
        stage.run("update jobsync.cursors set token = null, since = null, next_read_at = null")
        again = await stage.sync()
        assert again["pulled"] > 0 and again["failed"] == 0
        dump = pg_dump(dsn)
        assert [word for word in words if word in dump] == []
        assert stage.value("select count(*) from jobs") == jobs - report["jobs"]
        twice = await erase_customer(stage.engine, "default", customer, actor="test")
        assert (twice["jobs"], twice["erased"]) == (0, {})
        with pytest.raises(RecordMissing):
            await erase_customer(stage.engine, "default", 999_999_999, actor="test")


async def test_every_table_with_raw_records_of_people_keeps_erased_ones_out(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=1, engine=False) as stage:
        guarded = {
            row["name"]
            for row in stage.rows(
                "select tgrelid::regclass::text as name from pg_trigger where tgname = 'keep_erased_out'"
            )
        }
        raw = {row["name"] for row in stage.rows(RAW_TABLES)}
        # Lists of the office name nobody.
        office = {"business_units", "jobsync.job_types", "jobsync.tag_types", "jobsync.campaigns"}
        assert raw - office <= guarded


async def test_the_command_asks_first_and_tells_what_gohighlevel_still_holds(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=5) as stage:
        await stage.route_all()
        await stage.sync()
        customer = stage.value("select min(st_customer_id) from jobs")
        stage.run("update customers set ghl_contact_id = 'contact-0001' where st_customer_id = %s", customer)
        # What deliveries by API linked counts as well, and what is another customer's too is said apart.
        stage.run(
            "insert into jobsync.contact_links (tenant_id, destination_id, st_customer_id, contact_id, found_by, shared) "
            "select 'default', id, v.customer, 'contact-0003', 'search', true from jobsync.destinations, (values (%s::bigint), (%s)) v(customer)",
            customer,
            customer + 1,
        )
        stage.run(
            "insert into jobsync.opportunity_links (tenant_id, destination_id, st_job_id, opportunity_id, contact_id, found_by) "
            "select 'default', d.id, min(j.st_job_id), 'card-0001', 'contact-0002', 'created' from jobsync.destinations d, jobs j "
            "where j.st_customer_id = %s group by d.id",
            customer,
        )
        refused = await stage.jobsync("erase", "customer", str(customer))
        assert (refused.code, stage.value("select count(*) from customers where st_customer_id = %s", customer)) == (
            9,
            1,
        )
        looked = await stage.jobsync("erase", "customer", str(customer), "--dry-run", "--json")
        assert looked.json["gohighlevel"]["contacts"] == ["contact-0001", "contact-0002"]
        assert looked.json["gohighlevel"]["shared_contacts"] == ["contact-0003"]
        assert looked.json["gohighlevel"]["opportunities"] == ["card-0001"]
        done = await stage.jobsync("erase", "customer", str(customer), "--yes")
        assert done.code == 0 and "contact-0001" in done.out
        assert stage.value("select count(*) from customers where st_customer_id = %s", customer) == 0
        assert (await stage.jobsync("erase", "customer", "424242", "--yes")).code == 4


async def test_pruning_ends_what_was_kept_long_enough_and_nothing_else(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=10) as stage:
        engine: Any = stage.engine
        await stage.route_all()
        await stage.sync()
        stage.run(
            "insert into jobsync.quarantine (tenant_id, stream, reason, raw, raw_hash, resolved_at) values "
            "('default', 'jobs', 'x', '\\x41', '\\x01', jobsync.now()), ('default', 'jobs', 'x', '\\x42', '\\x02', null)"
        )
        stage.run("update jobsync.attempts set answer = 'words'")
        assert sum((await prune(engine, "default")).values()) == 0
        with pytest.raises(InvalidInput):
            await keep_raw(engine, "default", 7)
        await keep_raw(engine, "default", 60)
        move_clock(dsn, "91 days")
        first = await prune(engine, "default")
        assert first["quarantine"] == 1 and first["answers"] > 0 and first["events"] > 0 and first["raw"] > 0
        assert stage.value("select count(*) from jobsync.quarantine") == 1
        job = stage.rows("select st_raw_data, summary, st_job_id from jobs limit 1")[0]
        assert job["st_raw_data"]["id"] == job["st_job_id"] and "summary" not in job["st_raw_data"] and job["summary"]
        assert sum((await prune(engine, "default")).values()) == 0
        # Read again, an unchanged record is told to nobody.
        posts = stage.posts()
        stage.run("update jobsync.cursors set token = null, since = null, next_read_at = null")
        await stage.sync()
        assert stage.posts() == posts
