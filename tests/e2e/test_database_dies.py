"""The PostgreSQL under JobSync is stopped without warning, again and again; the embedded one is brought back by `up`."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from jobsync.db.embedded import EmbeddedServer, start_embedded
from tests.e2e.ledger_check import check_nothing_lost, is_all_told, until
from tests.e2e.test_two_syncs import QUICK, UNCAPPED, signal_at
from tests.upstreams import finish, open_stage

pytestmark = pytest.mark.anyio


# As people run it: the settings of the other tests give up the last commits when the server is killed.
DURABLE = {"synchronous_commit": "on", "max_connections": "100"}


@pytest.fixture
async def own_server() -> AsyncIterator[EmbeddedServer]:
    """A PostgreSQL of this test alone, which may be killed."""
    folder = Path(tempfile.mkdtemp(prefix="jobsync-dies-"))
    folder.chmod(0o755)
    server = await start_embedded(folder, settings=DURABLE, timeout=60)
    yield server
    await server.stop()
    shutil.rmtree(folder, ignore_errors=True)


async def stop_at_once(server: EmbeddedServer) -> None:
    """`pg_ctl stop -m immediate`, and the server up again."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)
    await until(lambda: not server.is_alive())
    await server.ensure_running()


# With a pace where many restarts have to fit in before everything is told.
@pytest.mark.parametrize(
    ("restarts", "jobs", "pace"),
    [(2, 120, 0), pytest.param(100, 3000, 20, marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
async def test_a_postgresql_that_is_stopped_at_once_loses_nothing(
    own_server: EmbeddedServer, tmp_path: Path, restarts: int, jobs: int, pace: int
) -> None:
    more = {**QUICK, **UNCAPPED, "JOBSYNC_GHL_PACE": pace}
    async with open_stage(own_server.dsn(), tmp_path, jobs=jobs, more=more) as stage:
        url = await stage.route_all()
        stage.break_hook(url, "slow", seconds=0.05, times=None)
        process, begun, done = None, 0, 0
        while done < restarts and not is_all_told(stage, jobs):
            if process is None or process.returncode is not None:
                process, begun = await stage.start("sync", "--json"), begun + 1
            reached = signal_at(stage, stage.level.ledger.post_count + 8)
            ended = asyncio.ensure_future(process.wait())
            waiting = asyncio.ensure_future(reached.wait())
            await asyncio.wait({ended, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            await stop_at_once(own_server)
            done += 1
        assert process is not None
        await finish(process)
        stage.level.faults.clear()
        ran = await stage.jobsync("sync", "--json")
        assert ran.code == 0, ran.err
        assert is_all_told(stage, jobs)
        twice = check_nothing_lost(stage)
        print(f"restarts: {done}, processes: {begun}, jobs: {jobs}, lost: 0, twice: {twice}, each flagged")
        assert done == restarts


async def test_up_brings_back_the_embedded_server_that_died_under_it(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="jobsync-up-"))
    folder.chmod(0o755)
    async with open_stage("", folder, jobs=3, engine=False) as stage:
        changes = {"DATABASE_URL": None, "PORT": 0, "HOST": "127.0.0.1", "LOG_LEVEL": "WARNING"}
        process = await stage.start("up", "--only", "web", **changes)
        assert process.stderr is not None
        try:
            address = await asyncio.wait_for(_read_address(process), 60)
            server = await start_embedded(folder, timeout=60)
            pid = server.pid
            assert pid is not None
            os.kill(pid, signal.SIGQUIT)
            await until(lambda: server.pid not in (None, pid))
            async with aiohttp.ClientSession() as session:

                async def is_ready() -> bool:
                    async with session.get(f"{address}/health/ready") as answer:
                        return (await answer.json())["database"] == "ok" if answer.status == 200 else False

                async with asyncio.timeout(30):
                    while not await is_ready():
                        await asyncio.sleep(0.1)
            await server.stop()
        finally:
            process.terminate()
            ran = await finish(process)
        assert ran.code == 0
        assert "database_restarted" in ran.err
    shutil.rmtree(folder, ignore_errors=True)


async def _read_address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None and process.stderr is not None
    while True:
        for stream in (process.stderr,):
            line = (await stream.readline()).decode()
            if "http://" in line:
                return "http://" + line.split("http://")[1].split()[0]
            assert line, "up ended"
