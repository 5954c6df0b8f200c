"""Two figures over 1,000 jobs: an upgrade that changes what would be told sends nothing until a person asks; and the old
flow beside a live JobSync on one database sends no job twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from jobsync.engine.opening import open_engine
from jobsync.web.app import create_app
from jobsync.web.binding import open_socket
from jobsync.web.server import serve
from tests.clock import move_clock
from tests.intake.old_flow import fill_guide_database
from tests.upstreams import UNITS, Stage, open_stage

pytestmark = pytest.mark.anyio
# The figure's thousand in the long lane, the same story in small in every run.
SIZES = pytest.mark.parametrize("count", [120, pytest.param(1000, marks=pytest.mark.long)])
OURS, THEIRS = (1314, 4622, 1308), (54670601, 26143, 4623)


def upgrade_software(stage: Stage) -> None:
    """A newer JobSync: what is hashed and what a body holds got another key, and their versions say so."""
    function = (
        "jobsync.job_hash(text,bigint,bigint,bigint,bigint,text,text,text,timestamptz,numeric,bigint,bigint[],boolean)"
    )
    text = stage.value(f"select pg_get_functiondef('{function}'::regprocedure)")
    assert text.count("coalesce(p_active::text, '')") == 1
    stage.run(text.replace("coalesce(p_active::text, '')", "coalesce(p_active::text, ''), 'a new key'"))
    stage.run(
        "create or replace function jobsync.hash_version() returns smallint language sql immutable as 'select 2::smallint'"
    )
    stage.run("create or replace function jobsync.body_version() returns integer language sql stable as 'select 2'")


@SIZES
async def test_an_upgrade_an_edited_route_and_a_renamed_unit_send_nothing_until_a_person_asks(
    dsn: str, tmp_path: Path, count: int
) -> None:
    async with open_stage(dsn, tmp_path, jobs=count) as stage:
        url = await stage.route_all()
        for unit in UNITS:
            await stage.route(unit, url, events="all")
        assert (await stage.sync())["delivered"] == count
        once = dict.fromkeys(stage.job_ids(), 1)
        assert stage.posts() == once

        upgrade_software(stage)
        stage.act.change_row(table="business-units", id=1314, name="Sales and Service")
        assert (await stage.jobsync("units", "set", "4622", "--pipeline", "Another", "--stage", "Another")).code == 0
        # Everything is read anew, by the new software, as after a restored backup.
        stage.run("delete from jobsync.cursors")
        stage.run("update sync_state set value = '2015-01-01T00:00:00Z' where key = 'lastJobPull'")
        move_clock(dsn, "1 hour")
        report = await stage.sync()
        assert report["pulled"] == count
        await stage.sync()
        assert stage.posts() == once, "0 sends"
        assert stage.value("select count(*) from jobsync.outbox") == 0
        assert stage.value("select name from business_units where st_business_unit_id = 1314") == "Sales and Service"

        told, empty = await asyncio.gather(
            stage.jobsync("plan", "--rebaseline", "--json"), stage.jobsync("plan", "--json")
        )
        assert (told.json["outdated"], empty.json["planned"]) == (count, 0)
        assert told.json["fields"]["body_version"] == count
        assert told.json["fields"]["unit_name"] == len(stage.jobs_of(1314))
        assert told.json["fields"]["stage"] == len(stage.jobs_of(4622))
        assert (told.json["webhook_executions"], told.json["cost"]) == (count, count * 0.01)
        refused, dry = await asyncio.gather(
            stage.jobsync("replay", "--rebaseline"), stage.jobsync("replay", "--rebaseline", "--dry-run", "--json")
        )
        assert refused.code == 9
        assert len(dry.json["would_replay"]) == count
        assert stage.posts() == once

        # A person asks, for one unit, and exactly that is sent.
        asked = await stage.jobsync("replay", "--rebaseline", "--unit", "1314", "--yes", "--json")
        assert sorted(asked.json["replayed"]) == sorted(stage.jobs_of(1314))
        await stage.sync(pull=False)
        assert stage.posts() == {job: 2 if job in stage.jobs_of(1314) else 1 for job in stage.job_ids()}
        left = (await stage.jobsync("plan", "--rebaseline", "--json")).json
        assert left["outdated"] == count - len(stage.jobs_of(1314))


@SIZES
async def test_the_old_flow_and_a_live_jobsync_on_one_database_send_no_job_twice(
    dsn: str, tmp_path: Path, count: int
) -> None:
    async with open_stage(dsn, tmp_path, jobs=count) as stage:
        await stage.sync(deliver=False, streams=("business_units",))
        hook = stage.add_hook()
        for unit in OURS:
            await stage.route(unit, hook)
        for unit in THEIRS:
            assert (await stage.jobsync("units", "set", str(unit), "--external")).code == 0
        sock, stop = open_socket("127.0.0.1", 0), asyncio.Event()
        base = f"http://127.0.0.1:{sock.getsockname()[1]}"
        service = asyncio.ensure_future(serve(create_app(stage.settings(), stage.engine.database), sock, stop))
        try:
            async with aiohttp.ClientSession() as http:
                first = asyncio.ensure_future(stage.sync())
                pushed = await old_flow(http, base, hook, lambda: first.done())
                assert (await first)["failed"] == 0
                pushed += await old_flow(http, base, hook, lambda: True)
                # A second round of both over the same jobs: nothing is left for either.
                await stage.sync()
                assert await old_flow(http, base, hook, lambda: True) == Counter()
        finally:
            stop.set()
            await service
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1), "0 double sends, none missing"
        assert set(pushed) == set(stage.jobs_of(*THEIRS))
        assert stage.value("select count(*) from jobs where ghl_sync_status = 'synced'") == count
        # Taking a unit over while the old flow still marks its jobs is refused, and sends nothing.
        taken = await stage.jobsync("units", "set", str(THEIRS[0]), "--webhook", hook, "--json")
        assert taken.json["armed"] is False
        armed = await stage.jobsync("arm", "--yes", "--json")
        assert armed.code == 4
        assert [unit["st_business_unit_id"] for unit in armed.json["refused"]] == [THEIRS[0]]
        await stage.sync()
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)


@SIZES
async def test_the_old_flow_and_a_live_jobsync_on_an_adopted_database_send_no_job_twice(
    empty_dsn: str, tmp_path: Path, count: int
) -> None:
    """The old flow had pushed a third of the jobs, holds a third, and never saw the rest."""
    async with open_stage(empty_dsn, tmp_path, jobs=count, engine=False) as stage:
        jobs = stage.job_ids()
        pushed, held = set(jobs[0::3]), set(jobs[1::3])
        fill_guide_database(empty_dsn, stage, synced=pushed, pending=held)
        adopted = await stage.jobsync("db", "migrate", "--json")
        assert (adopted.code, adopted.json["adoption"]["rows"]["jobs"]) == (0, len(pushed | held))
        async with open_engine(stage.settings()) as stage.opened:
            hook = stage.add_hook()
            await stage.sync(deliver=False, streams=("business_units",))
            for unit in OURS:
                # Also changes are to be sent: what the old flow stored wrongly must not look like one.
                await stage.route(unit, hook, events="all")
            for unit in THEIRS:
                assert (await stage.jobsync("units", "set", str(unit), "--external")).code == 0
            sock, stop = open_socket("127.0.0.1", 0), asyncio.Event()
            base = f"http://127.0.0.1:{sock.getsockname()[1]}"
            service = asyncio.ensure_future(serve(create_app(stage.settings(), stage.engine.database), sock, stop))
            try:
                async with aiohttp.ClientSession() as http:
                    first = asyncio.ensure_future(stage.sync())
                    theirs = await old_flow(http, base, hook, lambda: first.done())
                    assert (await first)["failed"] == 0
                    theirs += await old_flow(http, base, hook, lambda: True)
                    await stage.sync()
                    assert await old_flow(http, base, hook, lambda: True) == Counter()
            finally:
                stop.set()
                await service
            assert stage.posts() == dict.fromkeys(set(jobs) - pushed, 1), "0 double sends, none missing"
            assert set(theirs) == set(stage.jobs_of(*THEIRS)) - pushed
            assert stage.value("select count(*) from jobs where ghl_sync_status = 'synced'") == count


async def old_flow(http: aiohttp.ClientSession, base: str, hook: str, is_over) -> Counter[int]:
    """What n8n does every five minutes, here without a pause: pending jobs -> hook -> synced. It asks for all units."""
    pushed: Counter[int] = Counter()
    while True:
        last = is_over()
        async with http.get(f"{base}/db/jobs/pending-ghl-sync?limit=100") as answer:
            jobs = (await answer.json())["jobs"]
        for job in jobs:
            async with http.post(hook, json={"st_job_id": job["st_job_id"], "email": job["email"]}) as sent:
                assert sent.status == 200
            mark = f"{base}/db/jobs/{job['st_job_id']}/ghl-sync"
            async with http.patch(mark, json={"status": "synced"}) as marked:
                assert marked.status == 200
            pushed[job["st_job_id"]] += 1
        if not jobs:
            if last:
                return pushed
            await asyncio.sleep(0.05)  # the pace of a poll, not a wait for a result
