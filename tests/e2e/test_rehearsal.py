"""The rehearsal: from nothing to an installed, monitored, upgraded, backed-up and restored JobSync, by commands of the docs alone.

Every command is taken from a page (`printed`), so that a page that changes its words changes this, too. In API mode, where
even a day-old backup leads to no second card.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jobsync.simulators import gohighlevel
from tests.alerts.outlets import open_hook
from tests.clock import move_clock
from tests.docs.walk import CHECKOUT, on_stage, read_blocks, run_command
from tests.e2e.ledger_check import until_apart
from tests.upstreams import Stage, finish, open_stage

pytestmark = pytest.mark.anyio
# A unit whose pipeline `init` finds by its name.
POOL_SERVICE = 4622
FRESH: dict[str, Any] = {"JOBSYNC_MODE": None, "JOBSYNC_DELIVER_FROM": None, "JOBSYNC_POLL_SECONDS": 5}


class Rehearsal:
    """Runs commands that stand in the docs."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._reader = on_stage(stage)

    async def do(self, page: str, command: str) -> str:
        """Runs the command that the page prints; what it gave and said."""
        text = (CHECKOUT / f"docs/{page}.md").read_text()
        blocks = [block for block in read_blocks(f"docs/{page}.md") if block.is_run and command in block.commands()]
        assert blocks or f"`{command}`" in text, f"docs/{page}.md does not print: {command}"
        if "db " in command:
            # A program's child can only be waited for in a main thread.
            ran = await self._stage.process(*command.split()[1:])
            assert ran.code == 0, ran.err
        elif blocks:
            ran = (await run_command(blocks[0], command, self._reader)).ran
        else:
            ran = await self._stage.jobsync(*command.split()[1:])
            assert ran.code == 0, ran.out + ran.err
        return ran.out + ran.err

    async def start(self, page: str, command: str, **changes: Any) -> asyncio.subprocess.Process:
        """Starts what the page prints as a process that goes on."""
        texts = "\n".join(block.text for block in read_blocks(f"docs/{page}.md"))
        assert command in texts or command in (CHECKOUT / f"docs/{page}.md").read_text(), command
        return await self._stage.start(*command.split()[1:], **changes)


def cards(stage: Stage) -> int:
    """Cards of jobs in GoHighLevel; none twice."""
    assert not gohighlevel.doubled([stage.location]), "a job has two cards"
    return len(gohighlevel.live_by_job([stage.location]))


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_from_nothing_to_restored_by_the_commands_of_the_docs(dsn: str, tmp_path: Path) -> None:
    async with (
        open_hook() as outlet,
        open_stage(dsn, tmp_path, jobs=12, engine=False, connected=True, more=FRESH) as stage,
    ):
        stage.more["JOBSYNC_ALERT_URLS"] = f"json{outlet.root[4:]}/alert"
        docs = Rehearsal(stage)
        # Installed: credentials tried and sealed, routes guessed, everything looked at, tried without sending.
        await docs.do("quick-start", "jobsync init --from-env --yes")
        await docs.do("quick-start", "jobsync doctor --only servicetitan,gohighlevel,secrets")
        await docs.do("quick-start", "jobsync pull")
        assert "Nothing left this machine" in await docs.do("quick-start", "jobsync smoke")
        assert cards(stage) == 0
        await docs.do("quick-start", "jobsync arm --yes")

        # Monitored: it runs, says that it is ready, and its alerts arrive.
        old = await docs.start("quick-start", "jobsync up", PORT=0, HOST="127.0.0.1")
        address = await read_address(old)
        routed = "select count(*) from jobs j join jobsync.routes r on r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'"
        # ServiceTitan's clock stands still on the stage; these are booked after the arming.
        stage.titan.clock.advance(3600)
        stage.act.book_jobs(count=4, unit=POOL_SERVICE)
        await until_apart(lambda: stage.value("select count(*) from jobs") == 16)
        async with aiohttp.ClientSession() as client:
            for path, words in (
                ("/health/live", ""),
                ("/health/ready", "ready"),
                ("/metrics", "jobsync_stream_lag_seconds"),
            ):
                async with client.get(address + path) as answer:
                    assert answer.status == 200 and words in await answer.text()
        assert "took it" in await docs.do("alerts", "jobsync alerts test") and outlet.posts

        # Backed up and upgraded: the new process works beside the old one, which then ends by SIGTERM.
        await docs.do("deployment", "jobsync db backup before-upgrade.sql.gz")
        await docs.do("deployment", "jobsync db migrate")
        await docs.do("deployment", "jobsync db status --check")
        new = await docs.start("scaling", "jobsync up --only worker")
        started = time.monotonic()
        old.send_signal(signal.SIGTERM)
        ended = await finish(old)
        print(f"SIGTERM to the end: {time.monotonic() - started:.1f} s")
        assert ended.code == 0 and "Traceback" not in ended.err
        stage.act.book_jobs(count=3, unit=POOL_SERVICE)
        await until_apart(lambda: stage.value("select count(*) from jobs") == 19)
        await until_apart(lambda: stage.value("select count(*) from jobsync.outbox") == 0)
        told = cards(stage)
        assert told == stage.value(f"{routed} where j.ghl_sync_status = 'synced'") > 0

        # Restored: whole, sending off; what came after the backup is read again, and nothing is made twice.
        new.send_signal(signal.SIGTERM)
        assert (await finish(new)).code == 0
        await docs.do("deployment", "jobsync db restore before-upgrade.sql.gz --replace --yes")
        assert stage.value("select count(*) from jobs") == 16
        assert stage.value("select mode from jobsync.tenants") == "observe"
        await docs.do("deployment", "jobsync pull")
        await docs.do("deployment", "jobsync plan")
        assert stage.value("select count(*) from jobs") == 19 and cards(stage) == told
        await docs.do("quick-start", "jobsync arm --yes")
        # What may have been made after the backup is not made again before a search would show it.
        await stage.jobsync("deliver", "--json")
        assert cards(stage) == told
        move_clock(stage.dsn, "3 minutes")
        stage.level.clock.advance(180)
        assert (await stage.jobsync("deliver", "--json")).code == 0
        assert stage.value("select count(*) from jobsync.outbox") == 0
        assert cards(stage) == told, "every card was found before it would have been made"
        await docs.do("troubleshooting", "jobsync status")


async def read_address(process: asyncio.subprocess.Process) -> str:
    """Where the service listens, as it says itself."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while line := (await process.stderr.readline()).decode():
            if "http://" in line:
                return "http://" + line.split("http://")[1].split()[0]
    raise AssertionError("it ended without saying where it listens")


@pytest.mark.long
def test_a_fresh_copy_is_installed_by_make_alone_and_the_docs_are_built(tmp_path: Path) -> None:
    copy = tmp_path / "jobsync"
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(copy)], check=True, timeout=120)
    for target in ("setup", "docs"):
        subprocess.run(["make", target], cwd=copy, check=True, timeout=900, env={**os.environ, "MAKEFLAGS": ""})
    ran = subprocess.run(
        [copy / ".venv/bin/jobsync", "version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.startswith("jobsync ") and (copy / "build/site/index.html").exists()
    shutil.rmtree(copy)
