"""A disk that is really full, in the middle of a pass: nothing leaves that could not be recorded, and it recovers by itself.

The embedded PostgreSQL lies on a file system of its own, which only root can make; without that the tests say so.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from secrets import token_urlsafe

import pytest

from jobsync.db.embedded import start_embedded
from tests.e2e.ledger_check import check_nothing_lost, is_all_told, until_apart
from tests.e2e.test_two_syncs import QUICK, signal_at
from tests.upstreams import finish, open_stage

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(600)]

JOBS = 60
SIZE = "260m"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 260 MB."""
    folder = Path(tempfile.mkdtemp(prefix="jobsync-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0755", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("A full disk is tested only where a file system can be mounted (as root).")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def fill_up(folder: Path) -> Path:
    """Takes all the room there is."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            block = b"x" * size
            try:
                while True:
                    file.write(block)
            except OSError:
                continue
    return ballast


async def test_a_disk_that_fills_up_while_jobs_are_sent_loses_nothing_and_up_goes_on_when_there_is_room_again(
    small_disk: Path,
) -> None:
    data = small_disk / "data"
    data.mkdir(mode=0o755)
    async with await start_embedded(data, database="jobsync_live", timeout=60) as server:
        async with open_stage(server.dsn("jobsync_live"), data, jobs=JOBS, more=QUICK) as stage:
            url = await stage.route_all()
            stage.break_hook(url, "slow", seconds=0.1)
            reached = signal_at(stage, 5)
            process = await stage.start(
                "up", "--only", "worker", DATABASE_URL=None, JOBSYNC_POLL_SECONDS=5, LOG_LEVEL="WARNING"
            )
            await asyncio.wait_for(reached.wait(), 90)
            ballast = fill_up(small_disk)
            # Something large has to be written, as a page of jobs is.
            for job in stage.job_ids()[: JOBS // 2]:
                stage.act.change_job(job=job, summary=token_urlsafe(200_000))
            stage.act.book_jobs(count=JOBS // 2)
            said = await asyncio.wait_for(_read_until(process, "disk full"), 120)
            at_full = stage.level.ledger.post_count
            assert process.returncode is None, "it waits"
            ballast.unlink()
            stage.level.faults.clear()
            await until_apart(lambda: _is_told(stage, JOBS + JOBS // 2), seconds=240)
            process.terminate()
            ran = await finish(process)
            assert ran.code == 0, ran.err
            assert "Traceback" not in ran.err
            check_nothing_lost(stage)
            print(f"{said.strip()}\nsent until then: {at_full}; jobs told: {len(stage.posts())}, lost: 0")


async def _read_until(process: asyncio.subprocess.Process, word: str) -> str:
    """The first line on stderr with that word."""
    assert process.stderr is not None
    while line := (await process.stderr.readline()).decode():
        if word in line:
            return line
    raise AssertionError("it ended")


def _is_told(stage: object, jobs: int) -> bool:
    """Whether all is told; no while the server is not there."""
    try:
        return is_all_told(stage, jobs)  # type: ignore[arg-type]
    except Exception:
        return False
