"""jobsync backfill on the command line: its words, its one object, its exit codes, and what it never does unasked."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
from pathlib import Path

import pytest

from jobsync.cli.progress import describe_seconds
from tests.cli.test_sync import assert_plain
from tests.upstreams import call_jobsync, open_stage

pytestmark = pytest.mark.anyio

ALL = ("backfill", "--since", "2000-01-01", "--entity", "customers,locations,contacts,jobs")
KEYS = {
    "run", "state", "since", "until", "pulled", "stored", "unchanged", "quarantined", "pages", "requests", "planned", "entities", "error",
    "duration_s",
}  # fmt: skip


async def test_backfill_prints_one_object_and_says_nothing_else(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40, engine=False) as stage:
        ran = await stage.process(*ALL, "--json")
        assert (ran.code, ran.err) == (0, "")
        assert set(ran.json) == KEYS
        assert set(ran.json["entities"]) == {"customers", "locations", "customer_contacts", "location_contacts", "jobs"}
        assert ran.json["state"] == "completed"
        assert ran.json["entities"]["jobs"]["pulled"] == 40
        assert ran.json["stored"] == ran.json["pulled"] > 100
        assert ran.json["requests"]["servicetitan"] == sum(stage.data_requests().values())


async def test_off_a_terminal_progress_is_plain_lines_on_stderr_and_the_result_ends_in_one_next_line(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=20) as stage:
        ran = await stage.jobsync(*ALL)
        assert ran.code == 0
        assert "jobs done: 20 read, " in ran.err
        assert "\x1b" not in ran.err + ran.out
        assert "20 read: 20 new or changed, 0 unchanged, 0 quarantined" in ran.out
        assert ran.out.count("Next:") == 1


async def test_without_deliver_nothing_becomes_due_and_with_it_the_count_is_shown_first(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30) as stage:
        await stage.route_all()
        assert (await stage.jobsync(*ALL)).code == 0
        assert (await stage.jobsync("deliver")).code == 0
        assert stage.posts() == {}
        refused = await stage.jobsync(*ALL, "--deliver")
        assert refused.code == 9
        assert "ServiceTitan has 30 jobs of that time" in refused.err
        assert "--yes" in refused.err
        assert stage.posts() == {}
        agreed = await stage.jobsync(*ALL, "--deliver", "--yes")
        assert agreed.code == 0, agreed.err
        assert (
            "30 old jobs of that time were never delivered and have a route: up to 30 paid workflow triggers"
            in agreed.err
        )
        assert "30 old jobs planned for delivery" in agreed.out
        assert (await stage.jobsync("sync")).code == 0
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)


async def test_resume_goes_on_with_what_stopped_and_has_nothing_to_do_afterwards(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=60) as stage:
        none = await stage.jobsync("backfill", "--resume")
        assert none.code == 2
        assert "no backfill to resume" in none.err
        stage.titan.faults.plan("status", "jpm/jobs", status=403, skip=2, count=1)
        words = ("backfill", "--since", "2000-01-01", "--entity", "jobs", "--page-size", "20")
        stopped = await stage.jobsync(*words)
        assert stopped.code == 6
        assert "denies access" in stopped.err
        assert "Next: jobsync backfill --resume" in stopped.out
        told = await stage.jobsync("backfill", "--status", "--json")
        assert (told.code, told.json["state"]) == (0, "failed")
        other = await stage.jobsync("backfill", "--since", "2020-01-01", "--entity", "jobs")
        assert other.code == 2
        assert "Another backfill is unfinished" in other.err
        asked = stage.data_requests()["jpm/jobs"]
        resumed = await stage.jobsync("backfill", "--resume", "--json")
        assert resumed.code == 0, resumed.err
        assert resumed.json["entities"]["jobs"]["pulled"] >= 60
        assert stage.value("select count(*) from jobs") == 60
        assert stage.data_requests()["jpm/jobs"] - asked <= 2, "the pages that are stored are not asked for again"
        again = await stage.jobsync("backfill", "--resume")
        assert again.code == 0
        assert "Nothing to resume" in again.err


async def test_cancel_drops_the_unfinished_one_and_keeps_what_it_stored(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40) as stage:
        stage.titan.faults.plan("status", "jpm/jobs", status=403, skip=1, count=1)
        await stage.jobsync("backfill", "--since", "2000-01-01", "--entity", "jobs", "--page-size", "20")
        dropped = await stage.jobsync("backfill", "--cancel", "--json")
        assert (dropped.code, dropped.json["state"]) == (0, "cancelled")
        assert stage.value("select count(*) from jobs") == 20
        assert (await stage.jobsync("backfill", "--since", "2020-01-01", "--entity", "jobs")).code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "needs a beginning"),
        (("--since", "yesterday"), "--since yesterday is no date"),
        (("--since", "2025-01-01", "--until", "2024-01-01"), "must begin before it ends"),
        (("--since", "2025-01-01", "--entity", "jobs,payrolls"), "no history of payrolls"),
        (("--resume", "--cancel"), "Only one of"),
        (("--since", "2025-01-01", "--page-size", "9999"), "page-size"),
    ],
    ids=["nothing", "no date", "backwards", "unknown entity", "two at once", "page size"],
)
async def test_bad_words_end_in_one_sentence_and_exit_code_2(
    dsn: str, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    async with open_stage(dsn, tmp_path, jobs=5, engine=False) as stage:
        ran = await stage.jobsync("backfill", *words)
        assert ran.code == 2, ran.err
        assert re.search(sentence, ran.err), ran.err
        assert ran.out == ""
        assert_plain(ran.err)


async def test_without_servicetitan_it_says_what_to_set(dsn: str, tmp_path: Path) -> None:
    ran = await call_jobsync(tmp_path, {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": tmp_path}, *ALL)
    assert ran.code == 6
    assert "SERVICE_TITAN_" in ran.err


def test_seconds_are_told_as_people_say_them() -> None:
    assert [describe_seconds(each) for each in (None, 12.4, 200, 3840)] == ["-", "12 s", "3 min 20 s", "1 h 4 min"]


async def test_on_a_terminal_each_entity_has_a_bar_with_its_rate_and_time_left(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, engine=False) as stage:
        terminal, shown = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "jobsync"), *ALL,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "120", **stage.environment()},
            cwd=tmp_path, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=shown,
        )  # fmt: skip
        os.close(shown)
        seen = await asyncio.to_thread(read_terminal, terminal)
        await process.communicate()
        assert process.returncode == 0
        assert "Live jobs go first. Ctrl-C is safe; go on with --resume." in seen
        assert re.search(r"location contacts +\S+ +\d+/\d+ completed", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen))


def read_terminal(terminal: int) -> str:
    """What the program writes until it ends."""
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except OSError:  # its other end was closed
        pass
    os.close(terminal)
    return b"".join(parts).decode()
