"""smoke: one invented job through everything, and nothing of it is left; the real GoHighLevel hears only of what was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio
OBSERVE: dict[str, Any] = {"JOBSYNC_MODE": None, "JOBSYNC_DELIVER_FROM": None}


def count_rows(stage: Stage) -> dict[str, int]:
    """How many rows each table holds that knows tenants."""
    tables = stage.rows(
        "select c.oid::regclass::text as name from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' "
        "where c.relkind = 'r' and c.relnamespace in ('jobsync'::regnamespace, 'public'::regnamespace)"
    )
    with psycopg.connect(stage.dsn) as connection:
        return {
            row["name"]: connection.execute(f"select count(*) from {row['name']}".encode()).fetchone()[0]  # type: ignore[index]
            for row in tables
        }


async def test_an_invented_job_goes_all_the_way_and_nothing_of_it_is_left(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=4, more=OBSERVE) as stage:
        await stage.route_all()
        await stage.sync(deliver=False)
        before = count_rows(stage)
        ran = await stage.jobsync("smoke", "--json")
        assert ran.code == 0, ran.out
        assert [step["name"] for step in ran.json["steps"]] == [
            "database",
            "store",
            "route",
            "deliver",
            "once",
            "remove",
        ]
        assert all(step["ok"] for step in ran.json["steps"])
        assert count_rows(stage) == before
        assert stage.posts() == {}, "mode is observe, and the stand-in is not GoHighLevel"
        assert stage.value("select count(*) from pg_indexes where indexname like '%_single_tenant'") == 4
        shown = await stage.jobsync("smoke")
        assert shown.code == 0 and "Nothing left this machine" in shown.out


async def test_a_step_that_does_not_hold_is_named_and_what_was_made_is_removed_all_the_same(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=1) as stage:
        stage.run(
            "create function public.refuse() returns trigger language plpgsql as "
            "$$ begin raise exception 'no room' using errcode = '53100'; end $$"
        )
        stage.run("create trigger no_attempts before insert on jobsync.attempts execute function public.refuse()")
        before = count_rows(stage)
        ran = await stage.jobsync("smoke", "--json")
        assert ran.code == 3 and "Traceback" not in ran.err
        failed = [step for step in ran.json["steps"] if not step["ok"]]
        assert [step["name"] for step in failed] == ["deliver"] and "disk" in failed[0]["what"]
        assert count_rows(stage) == before
        left = "insert into jobsync.tenants (tenant_id, name, mode_reason, created_at) values ('smoke-0000deadbeef', 'x', 'smoke', now() - interval '1 hour')"
        stage.run(left)
        stage.run("drop trigger no_attempts on jobsync.attempts")
        assert (await stage.jobsync("smoke", "--json")).code == 0
        assert count_rows(stage) == before, "what an interrupted one left goes with the next"


async def test_a_named_unit_is_asked_for_and_gets_one_marked_job(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=2) as stage:
        await stage.route_all()
        refused = await stage.jobsync("smoke", "--unit", "1314")
        assert refused.code == 9 and stage.posts() == {}
        ran = await stage.jobsync("smoke", "--unit", "1314", "--yes", "--json")
        assert ran.code == 0 and ran.json["sent"]["result"] == "queued"
        (body,) = stage.bodies().values()
        assert body["event"] == "test"
