"""Faults of the machine and of what JobSync stands on: a clear line, an alert where one can be sent, recovery by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from jobsync.alerts.outage import Outage, watch_workers
from jobsync.tasks.worker import count_workers
from tests.alerts.outlets import open_hook
from tests.e2e.fault_proxy import FaultProxy, Toxic
from tests.e2e.ledger_check import check_nothing_lost, is_all_told, until_apart
from tests.e2e.test_two_syncs import QUICK
from tests.upstreams import Stage, call_jobsync, finish, open_stage

pytestmark = pytest.mark.anyio
JOBS = 40
PLANT = (
    "create function public.no_room() returns trigger language plpgsql as "
    "$$ begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$"
)
WRITTEN = ("jobsync.outbox", "jobsync.attempts", "public.jobs", "public.sync_logs", "jobsync_queue.procrastinate_jobs")


@contextmanager
def full_disk(stage: Stage) -> Iterator[None]:
    """PostgreSQL answers every write as it does on a full disk."""
    stage.run(PLANT)
    for table in WRITTEN:
        stage.run(f"create trigger no_room before insert or update on {table} execute function public.no_room()")
    yield
    for table in WRITTEN:
        stage.run(f"drop trigger no_room on {table}")
    stage.run("drop function public.no_room()")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [2, 30], ids=["2 s", "30 s"])
async def test_a_database_that_is_away_and_then_full_loses_nothing_is_told_and_is_gone_on_with(
    dsn: str, tmp_path: Path, seconds: int
) -> None:
    server = conninfo_to_dict(dsn)
    async with (
        open_hook() as outlet,
        open_stage(dsn, tmp_path, jobs=JOBS, more={**QUICK, "JOBSYNC_POLL_SECONDS": 5}) as stage,
        FaultProxy(f"http://{server['host']}:{server['port']}") as proxy,
    ):
        url = await stage.route_all()
        stage.break_hook(url, "slow", seconds=0.05)
        through = make_conninfo(dsn, host="127.0.0.1", port=proxy.url.rsplit(":", 1)[1])
        process = await stage.start(
            "up", "--only", "worker", DATABASE_URL=through, JOBSYNC_ALERT_URLS=f"json{outlet.root[4:]}/alert"
        )
        await until_apart(lambda: bool(stage.posts()))
        proxy.toxics.append(Toxic("refuse"))
        proxy.cut()
        began = time.monotonic()
        await until_apart(lambda: "PostgreSQL is away" in outlet.texts())
        await until_apart(lambda: time.monotonic() - began >= seconds)
        proxy.toxics.clear()
        back = time.monotonic()
        await until_apart(lambda: is_all_told(stage, JOBS))
        print(f"all {JOBS} jobs told {time.monotonic() - back:.1f} s after an outage of {seconds} s, 0 lost")
        check_nothing_lost(stage)
        await until_apart(lambda: "over: PostgreSQL is away" in outlet.texts())

        with full_disk(stage):
            before = sum(stage.posts().values())
            stage.act.book_jobs(count=3)
            await until_apart(lambda: "disk full" in outlet.texts())
            assert sum(stage.posts().values()) == before, "what could not be recorded is not sent"
        await until_apart(lambda: is_all_told(stage, JOBS + 3))
        check_nothing_lost(stage)
        process.terminate()
        ran = await finish(process)
        assert ran.code == 0 and "Traceback" not in ran.err, ran.err


async def test_a_full_disk_is_one_clear_line_of_a_command_too(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=3) as stage:
        await stage.route_all()
        with full_disk(stage):
            ran = await stage.jobsync("sync", "--json")
            assert (ran.code, ran.out) == (6, "") and "disk full" in ran.err + str(ran)
            assert "Traceback" not in ran.err and stage.posts() == {}
        assert (await stage.jobsync("sync", "--json")).json["delivered"] == 3


async def test_a_clock_that_is_an_hour_off_is_said_and_loses_nothing(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=6) as stage:
        await stage.route_all()
        stage.titan.clock.advance(3600)
        ran = await stage.jobsync("doctor", "--json", "--only", "servicetitan")
        found = {one["name"]: one for one in ran.json["findings"]}
        assert found["clock"]["state"] == "warning" and "behind ServiceTitan" in found["clock"]["what"]
        assert found["clock"]["fix"] == "set the clock by NTP"
        stage.act.book_jobs(count=2)
        assert (await stage.sync())["delivered"] == 8
        stage.act.book_jobs(count=1)
        assert (await stage.sync())["delivered"] == 1
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)


async def test_an_outage_is_told_once_it_lasts_and_once_it_is_over_and_by_nobody_else(dsn: str, tmp_path: Path) -> None:
    async with (
        open_hook() as outlet,
        open_stage(dsn, tmp_path, jobs=1, more={"JOBSYNC_ALERT_URLS": f"json{outlet.root[4:]}/alert"}) as stage,
    ):
        assert stage.engine is not None
        lost = psycopg.errors.DiskFull()
        brief = Outage(stage.engine, "the worker cannot go on", "free space", patience=3600)
        for _ in range(3):
            brief.note(lost)
        brief.over()
        await brief.close()
        assert outlet.posts == [], "what was over in time is nobody's business"
        outage = Outage(stage.engine, "the worker cannot go on", "free space", patience=0)
        for _ in range(3):
            outage.note(lost)
        await outage.close()
        outage.over()
        outage.over()
        await outage.close()
        first, second = (post["title"] + post["message"] for post in outlet.posts)
        assert "the worker cannot go on" in first and "disk full" in first and "free space" in first
        assert "over: the worker cannot go on" in second


async def test_workers_that_are_missing_are_told_by_the_service_and_their_return_too(dsn: str, tmp_path: Path) -> None:
    async with (
        open_hook() as outlet,
        open_stage(dsn, tmp_path, jobs=1, more={"JOBSYNC_ALERT_URLS": f"json{outlet.root[4:]}/alert"}) as stage,
    ):
        assert stage.engine is not None
        assert await count_workers(stage.engine) == 0
        stop = asyncio.Event()
        alive = [0, 0, 1]

        async def count() -> int:
            if len(alive) == 1:
                stop.set()
            return alive.pop(0)

        await watch_workers(stage.engine, count, stop, every=0.01, patience=0)
        titles = [post["title"] for post in outlet.posts]
        assert sorted(titles) == ["JobSync: no worker is running", "JobSync: over: no worker is running"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("PORT: [1, 2", "jobsync.yaml is not readable YAML (line"),
        ("- PORT", "must hold names and values"),
        ("PORT: ninety", "PORT"),
        ("JOBSYNC_POLL_SECONDS: 1", "JOBSYNC_POLL_SECONDS"),
    ],
)
async def test_a_broken_config_file_is_one_sentence_and_mended_it_works(
    dsn: str, tmp_path: Path, text: str, sentence: str
) -> None:
    given = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": tmp_path}
    (tmp_path / "jobsync.yaml").write_text(text)
    ran = await call_jobsync(tmp_path, given, "status")
    assert ran.code == 6 and sentence in ran.err and "Traceback" not in ran.err
    (tmp_path / "jobsync.yaml").write_text("PORT: 3005\n")
    assert (await call_jobsync(tmp_path, given, "status")).code == 0
