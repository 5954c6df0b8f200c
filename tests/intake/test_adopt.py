"""Adopting a database of the old guide: nothing lost, nothing sent again, what its owner built still stands."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from jobsync.db.migrate import migrate
from jobsync.errors import ConfigError, DatabaseUnavailable
from jobsync.intake.adopt import migrate_or_adopt
from tests.conftest import Server, drop_database
from tests.intake.catalogs import read_catalog
from tests.intake.guide_database import HIDDEN_UNIT, UNITS, make_guide_database
from tests.upstreams import Ran, call_jobsync

pytestmark = pytest.mark.anyio
JOBS = 200


@dataclass(frozen=True)
class Adopted:
    """An adopted database: what it held before, what the command said the first and the second time."""

    dsn: str
    before: dict[str, list[dict[str, Any]]]
    rehearsed: Ran
    said: Ran
    again: Ran
    shown: Ran


def read_rows(dsn: str) -> dict[str, list[dict[str, Any]]]:
    keys = {
        "jobs": "st_job_id",
        "customers": "st_customer_id",
        "sync_logs": "id",
        "business_units": "id",
        "sync_state": "key",
    }
    with psycopg.Connection[dict[str, Any]].connect(dsn, row_factory=dict_row) as connection:
        return {name: connection.execute(f"select * from {name} order by {key}".encode()).fetchall() for name, key in keys.items()}  # fmt: skip


@pytest.fixture(scope="module")
def adopted(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adopted]:
    """One database with everything its owner added, taken over by the command; the tests only look and add."""
    name = f"adopted_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f'create database "{name}"'.encode())
        dsn, folder = server.named(name), tmp_path_factory.mktemp("adopted")
        make_guide_database(dsn, jobs=JOBS, additions=True)
        with psycopg.connect(dsn, autocommit=True) as old:
            old.execute("create role office nologin; create role robot nologin; grant office, robot to current_user")
            old.execute("grant select on jobs, customers, jobs_pending_ghl_sync, sync_statistics to office")
            old.execute("grant select, insert, update on jobs, customers, sync_state, sync_logs to robot")
            old.execute("grant usage on schema reports to office; grant select on reports.open_jobs to office")
        before = read_rows(dsn)

        async def act() -> list[Ran]:
            words = (
                ("db", "migrate", "--dry-run"),
                ("db", "migrate", "--json"),
                ("db", "migrate"),
                ("db", "status", "--adoption"),
            )
            return [await call_jobsync(folder, {"DATABASE_URL": dsn}, *each) for each in words]

        yield Adopted(dsn, before, *anyio.run(act))
        with psycopg.connect(dsn, autocommit=True) as old:
            old.execute("drop owned by office, robot cascade; drop role office, robot")
        drop_database(connection, name)


def ask(dsn: str, statement: str, *values: Any, role: str | None = None) -> list[dict[str, Any]]:
    """The rows of a statement, taken back afterwards."""
    with psycopg.Connection[dict[str, Any]].connect(dsn, row_factory=dict_row) as connection:
        if role:
            connection.execute(f"set local role {role}".encode())
        cursor = connection.execute(statement.encode(), values or None)
        rows = cursor.fetchall() if cursor.description else []
        connection.rollback()
        return rows


def test_no_row_is_lost_and_each_keeps_its_id_and_facts(adopted: Adopted) -> None:
    after = read_rows(adopted.dsn)
    changed = {"ghl_opportunity_id", "ghl_sync_status", "ghl_sync_error", "county"}
    for name, rows in adopted.before.items():
        assert len(after[name]) == len(rows), name
        for old, new in zip(rows, after[name], strict=True):
            same = {
                field: value
                for field, value in old.items()
                if field not in changed and value != "" and value != "banana"
            }
            if name == "sync_state" and old["key"] == "lastJobPull":
                same = {"id": old["id"], "key": "lastJobPull"}
            assert {field: new[field] for field in same} == same
    assert {row["crew"] for row in after["jobs"]} == {"blue", None}


def test_what_was_made_up_is_empty_and_what_was_blank_is_null(adopted: Adopted) -> None:
    jobs = {row["st_job_id"]: row for row in ask(adopted.dsn, "select * from jobs")}
    assert jobs[1010]["ghl_opportunity_id"] is None and jobs[1010]["ghl_sync_status"] == "synced"
    assert jobs[1001]["ghl_opportunity_id"] == "opp1"
    assert (
        ask(adopted.dsn, "select count(*) as n from customers where '' in (email, phone, first_name, county)")[0]["n"]
        == 0
    )
    odd = jobs[1004]
    assert (odd["ghl_sync_status"], odd["ghl_sync_reason"]) == ("skipped", "by_hand")
    assert odd["ghl_sync_error"].startswith('Before it was adopted its status was "done?"')
    assert (jobs[1002]["ghl_sync_status"], jobs[1002]["ghl_sync_reason"]) == ("failed", "failed_outside")


def test_delivered_jobs_are_baselined_and_only_they(adopted: Adopted) -> None:
    (row,) = ask(
        adopted.dsn,
        "select bool_and((delivered_hash is not null) = (ghl_sync_status = 'synced')) as right, bool_and(job_hash is not null and "
        "job_hash = jobsync.job_hash(st_job_number, st_customer_id, st_location_id, business_unit_id, job_type_id, job_status, priority, summary, "
        "completed_on, total, campaign_id, tag_type_ids, active)) as hashed from jobs",
    )
    assert row == {"right": True, "hashed": True}
    assert ask(adopted.dsn, "select count(*) as n from jobsync.outbox")[0]["n"] == 0


def test_the_old_flow_still_finds_its_pending_jobs_and_no_others(adopted: Adopted) -> None:
    pending = {row["st_job_id"] for row in ask(adopted.dsn, "select st_job_id from jobs_pending_ghl_sync")}
    before = {row["st_job_id"] for row in adopted.before["jobs"] if row["ghl_sync_status"] == "pending" and row["business_unit_id"] != HIDDEN_UNIT}  # fmt: skip
    assert pending == before
    assert {row["deliverer"] for row in ask(adopted.dsn, "select * from jobsync.routes")} == {"external"}
    hidden = ask(adopted.dsn, "select distinct ghl_sync_reason from jobs where business_unit_id = %s and ghl_sync_status = 'skipped' and st_job_id %% 10 > 4", HIDDEN_UNIT)  # fmt: skip
    assert hidden == [{"ghl_sync_reason": "unmapped"}]


def test_a_broken_cursor_is_repaired_and_its_old_value_noted(adopted: Adopted) -> None:
    (row,) = ask(adopted.dsn, "select * from sync_state where key = 'lastJobPull'")
    assert row["value"] == "2026-03-01T03:20:00Z" and row["metadata"]["value_before_adoption"] == "banana"
    assert row["owner"] == "external"
    assert ask(adopted.dsn, "select get_last_job_pull()::text as at")[0]["at"].startswith("2026-03-01")
    # The first pull begins where the old flow's oldest job does, so that what it missed comes too.
    assert ask(adopted.dsn, "select jobsync.first_pull_start('default') as at")[0]["at"].startswith("2026-03-01T00:01")


def test_the_schema_is_that_of_a_fresh_database(adopted: Adopted, dsn: str) -> None:
    fresh, taken = read_catalog(dsn), read_catalog(adopted.dsn)
    assert {name: fresh[name] for name in sorted(set(fresh) - set(taken))} == {}, "missing"
    assert {name: (fresh[name], taken[name]) for name in fresh if taken[name] != fresh[name]} == {}, "different"
    # What may be there besides: what its owner added, the guide's other indexes, rights of its roles, uuid-ossp.
    allowed = (
        "column public.jobs.crew", "column public.jobs.priority_score", "index public.idx_", "index public.jobs_of_a_crew", "index public.jobs_id_key",
        "trigger public.jobs.notice_completion", "function public.uuid_generate_v4", "policy ", "grant ",
    )  # fmt: skip
    more = [name for name in sorted(set(taken) - set(fresh)) if not name.startswith(allowed)]
    assert more == []
    assert {name.rsplit(" ", 1)[1] for name in set(taken) - set(fresh) if name.startswith("policy")} == {
        "kept_office",
        "kept_robot",
    }


def test_what_its_owner_built_on_the_tables_works_as_before(adopted: Adopted) -> None:
    assert ask(adopted.dsn, "select count(*) as n from reports.open_jobs")[0]["n"] == JOBS
    assert ask(adopted.dsn, "select sum(jobs)::int as n from reports.open_jobs_of_units")[0]["n"] == JOBS * 4 // 5
    assert ask(adopted.dsn, "select count(*) as n from reports.due")[0]["n"] == 80
    assert (
        ask(adopted.dsn, "select obj_description('reports.open_jobs'::regclass) as said")[0]["said"] == "for the office"
    )
    assert ask(adopted.dsn, "refresh materialized view concurrently reports.totals") == []
    assert ask(adopted.dsn, "select count(*) as n from reports.visits v join jobs j on j.id = v.job")[0]["n"] == 5
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        ask(adopted.dsn, "insert into reports.visits values (99, gen_random_uuid(), 1)")
    with psycopg.connect(adopted.dsn) as connection:
        connection.execute("update jobs set job_status = 'Completed' where st_job_id = 1050")
        assert connection.execute("select st_job_id from reports.noticed").fetchall() == [(1050,)]
        connection.rollback()
    # Their own upserts, by the key as the guide has it.
    upsert = "insert into jobs (st_job_id, st_job_number, st_customer_id, business_unit_id) values (1001, '7', 601, 1314) on conflict (st_job_id) do update set st_job_number = excluded.st_job_number returning st_job_number, crew"
    assert ask(adopted.dsn, upsert) == [{"st_job_number": "7", "crew": None}]
    assert ask(adopted.dsn, "insert into jobs (st_job_id, total) values (5, 123456789012.5) returning total::text, priority_score") == [{"total": "123456789012.5", "priority_score": 5}]  # fmt: skip


def test_roles_that_could_read_or_write_still_can(adopted: Adopted) -> None:
    assert ask(adopted.dsn, "select count(*) as n from jobs", role="office")[0]["n"] == JOBS
    assert ask(adopted.dsn, "select count(*) as n from jobs_pending_ghl_sync", role="office")[0]["n"] == 80
    assert ask(adopted.dsn, "select sum(count)::int as n from sync_statistics", role="office")[0]["n"] == JOBS
    assert ask(adopted.dsn, "select count(*) as n from reports.open_jobs", role="office")[0]["n"] == JOBS
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(adopted.dsn, "update jobs set summary = 'x'", role="office")
    written = ask(
        adopted.dsn,
        "insert into jobs (st_job_id, business_unit_id) values (5, 1314) on conflict (st_job_id) do nothing returning st_job_id",
        role="robot",
    )
    assert written == [{"st_job_id": 5}]
    marked = ask(
        adopted.dsn,
        "update jobs set ghl_sync_status = 'synced', ghl_synced_at = now() where st_job_id = 1006 returning 1 as n",
        role="robot",
    )
    assert marked == [{"n": 1}]
    assert ask(
        adopted.dsn,
        "update customers set phone = '602-555-0100' where st_customer_id = 601 returning 1 as n",
        role="robot",
    ) == [{"n": 1}]
    assert ask(
        adopted.dsn,
        "insert into sync_logs (sync_type, status) values ('job_pull', 'completed') returning status",
        role="robot",
    ) == [{"status": "completed"}]
    assert ask(adopted.dsn, "select update_sync_state('mine', 'x')", role="robot")


def test_the_report_says_what_was_repaired_and_what_cannot_be_known(adopted: Adopted) -> None:
    report = adopted.said.json["adoption"]
    assert report["rows"] == {"jobs": JOBS, "customers": JOBS, "sync_logs": JOBS, "sync_state": 2, "business_units": 4}
    numbers = {
        note["note"].split(" (")[0].split(":")[0]: note.get("items")
        for kind in ("repaired", "unknown")
        for note in report[kind]
    }
    assert numbers["made-up opportunity ids"] == 20
    assert numbers["jobs that were marked as synced count as delivered with what they hold now"] == 40
    assert numbers["customers have neither phone nor e-mail"] == 66
    assert numbers["jobs are pending"] == 80
    assert "about 2 s" in adopted.said.err and "606 rows" in adopted.said.err
    # Stored, and shown again to whoever asks.
    assert "The way back" in adopted.shown.out and "What cannot be known" in adopted.shown.out
    assert max(len(line) for line in adopted.shown.out.splitlines()) <= 118
    assert "lovelace" not in adopted.shown.out.lower() and "example.com" not in adopted.said.out


def test_a_rehearsal_changes_nothing_and_a_second_run_finds_nothing_to_do(adopted: Adopted) -> None:
    assert adopted.rehearsed.code == 0 and "taken back" in adopted.rehearsed.out
    assert adopted.said.json["applied"] == ["0001"], "the rehearsal had left nothing behind"
    assert adopted.again.out.startswith("Up to date: nothing to apply.")


async def test_what_stands_in_the_way_is_one_sentence_and_nothing_is_changed(empty_dsn: str, tmp_path: Path) -> None:
    make_guide_database(empty_dsn, jobs=10)

    async def refused(statement: str, undo: str) -> ConfigError:
        with psycopg.connect(empty_dsn, autocommit=True) as connection:
            connection.execute(statement.encode())
        before = read_catalog(empty_dsn)
        with pytest.raises(ConfigError) as caught:
            await migrate_or_adopt(empty_dsn)
        assert read_catalog(empty_dsn) == before
        assert "\n" not in caught.value.message and "jobsync_adopting" not in str(caught.value)
        with psycopg.connect(empty_dsn, autocommit=True) as connection:
            connection.execute(undo.encode())
        return caught.value

    own = await refused("alter table jobs add column source text", "alter table jobs drop column source")
    assert own.message == 'public.jobs has a column "source" of its own, a name that JobSync needs.'
    assert "ALTER TABLE public.jobs RENAME COLUMN source TO old_source;" in (own.hint or "")
    generated = await refused(
        "alter table jobs add column cents numeric generated always as (total * 100) stored",
        "alter table jobs drop column cents",
    )
    assert "generated column" in generated.message
    double = await refused(
        "alter table customers drop constraint customers_st_customer_id_key; insert into customers (st_customer_id) values (601)",
        "delete from customers where email is null",
    )
    assert "601" in double.message
    # Whoever comes without asking for it is told what to do.
    with pytest.raises(ConfigError, match="tables of the old guide") as caught:
        await migrate(empty_dsn)
    assert "jobsync db migrate" in (caught.value.hint or "")
    up = await call_jobsync(tmp_path, {"DATABASE_URL": empty_dsn}, "status")
    assert up.code == 6


async def test_tables_of_another_user_are_refused_with_the_statements_to_run(empty_dsn: str) -> None:
    make_guide_database(empty_dsn, jobs=5)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("create role stranger login password 'stranger'; grant stranger to current_user")
        database = connection.execute("select current_database()").fetchone()
        assert database is not None
        connection.execute(
            f'grant create on database "{database[0]}" to stranger; grant create on schema public to stranger'.encode()
        )
        try:
            with pytest.raises(ConfigError) as caught:
                await migrate_or_adopt(make_conninfo(empty_dsn, user="stranger", password="stranger"))
        finally:
            connection.execute("drop owned by stranger; drop role stranger")
    assert 'belong to another user, and "stranger" may not change them' in caught.value.message
    assert "ALTER TABLE jobs OWNER TO stranger;" in (caught.value.hint or "")


async def test_a_half_made_guide_schema_is_completed_and_another_programs_table_is_not_taken(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("create table customers (number integer primary key)")
        with pytest.raises(ConfigError, match="public.customers has no column st_customer_id"):
            await migrate_or_adopt(empty_dsn)
        connection.execute("drop table customers")
    make_guide_database(empty_dsn, jobs=20, cursor="2026-03-01T00:20:00Z")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(
            "drop view jobs_pending_ghl_sync, sync_statistics; drop table business_units, sync_logs; alter table customers drop column company_name"
        )
    done = await migrate_or_adopt(empty_dsn)
    assert done.adoption is not None
    repaired = [note["note"] for note in done.adoption["repaired"]]
    assert "the table business_units was missing and was made" in repaired
    assert "the column company_name of customers was missing and was made" in repaired
    assert ask(empty_dsn, "select value from sync_state where key = 'lastJobPull'") == [
        {"value": "2026-03-01T00:20:00Z"}
    ]
    # Nobody said that the seeded units are the old flow's.
    assert ask(empty_dsn, "select * from jobsync.routes") == []
    assert len(ask(empty_dsn, "select * from business_units")) == len(UNITS)


@pytest.mark.long
async def test_tables_that_somebody_holds_are_left_alone_after_ten_seconds(empty_dsn: str) -> None:
    make_guide_database(empty_dsn, jobs=5)
    with psycopg.connect(empty_dsn) as busy:
        busy.execute("select count(*) from jobs")
        before = read_catalog(empty_dsn)
        with pytest.raises(DatabaseUnavailable, match="held the database's tables for 10 seconds"):
            await migrate_or_adopt(empty_dsn)
        assert read_catalog(empty_dsn) == before
