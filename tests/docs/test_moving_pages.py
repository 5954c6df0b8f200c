"""The pages about moving in: taking an old database over, the week beside the old flow, and the guide phase by phase."""

from __future__ import annotations

import asyncio
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from jobsync.db.pool import Database
from jobsync.web.app import create_app
from jobsync.web.binding import open_socket
from jobsync.web.server import serve
from tests.clock import move_clock
from tests.conftest import Server, drop_database
from tests.docs.walk import CHECKOUT, on_stage, walk_page
from tests.intake.guide_database import make_guide_database
from tests.intake.old_flow import make_old_database
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio
UNIT = 1314
FRESH = {"JOBSYNC_MODE": None, "JOBSYNC_DELIVER_FROM": None}
CURL = """#!{python}
import sys, urllib.request
with urllib.request.urlopen(sys.argv[-1], timeout=30) as answer:
    sys.stdout.buffer.write(answer.read())
"""


@pytest.fixture
def another_dsn(server: Server) -> Iterator[str]:
    """A second empty database."""
    name = f"another_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f'create database "{name}"'.encode())
        yield server.named(name)
        drop_database(connection, name)


async def test_moving_from_an_existing_database(empty_dsn: str, another_dsn: str, tmp_path: Path) -> None:
    make_guide_database(empty_dsn, jobs=30)
    async with open_stage(empty_dsn, tmp_path, jobs=12, engine=False, more=FRESH) as stage:
        hook = stage.add_hook()
        done = await walk_page(
            "docs/moving-from-an-existing-database.md",
            on_stage(stage, UNIT=UNIT, HOOK_URL=hook, NEW_DATABASE_URL=another_dsn),
        )
        texts = {step.command: step.ran.out for step in done}
        assert "It holds the tables of the old guide" in done[0].ran.out
        assert "taken back" in texts["jobsync db migrate --dry-run"]
        assert "Every row is there" in " ".join(texts["jobsync db migrate"].split())
        assert any("cannot_be_known" in step.ran.out for step in done if step.block.language == "sql")
        assert "external" in texts["jobsync units list"]
        assert stage.posts() == {}, "what was there before is not sent"
        with psycopg.connect(another_dsn) as back:
            # The way back leads to what was there before: the literal 'created' and all.
            assert back.execute(
                "select count(*), count(*) filter (where ghl_opportunity_id = 'created') from jobs"
            ).fetchone() == (30, 3)


async def test_the_week_of_the_switch(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    more = {**FRESH, "JOBSYNC_MODE": "shadow", "JOBSYNC_OLD_DATABASE_URL": empty_dsn}
    async with open_stage(dsn, tmp_path, jobs=30, engine=False, connected=True, more=more) as stage:
        left: list[int] = []

        async def begin_old_flow() -> None:
            move_clock(dsn, "1 hour")
            stage.run(
                "update jobs set created_on = jobsync.now() - interval '1 day' - st_job_id % 50 * interval '1 minute'"
            )
            left.extend(stage.jobs_of(UNIT)[:2])
            make_old_database(empty_dsn, stage, left_out=left)

        async def wait_a_day() -> None:
            assert stage.posts() == {}
            move_clock(dsn, "25 hours")
            stage.more["JOBSYNC_MODE"] = None

        done = await walk_page(
            "docs/the-week-of-the-switch.md",
            on_stage(stage, UNIT=UNIT, HOOK_URL=stage.add_hook(), SWITCHED_OFF="2000-01-01"),
            before={"Tuesday: what differs": begin_old_flow, "Saturday evening: ten, then all": wait_a_day},
        )
        assert stage.posts() == dict.fromkeys(left, 1), "only what the old flow had missed"
        texts = {step.command: step.ran.out for step in done}
        assert "2 only JobSync has" in texts["jobsync plan --shadow --days 7"]
        assert f"({UNIT})   safe to switch: not yet" in texts["jobsync plan --shadow --exit-code"]
        assert (tmp_path / "doubles.csv").exists()
        assert sorted(
            int(line.split("=")[-1].strip(" ;")) for line in (tmp_path / "sent-by-jobsync.sql").read_text().splitlines()
        ) == sorted(left)


async def test_the_implementation_guide(
    empty_dsn: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("curl") is None:
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "curl").write_text(CURL.format(python=sys.executable))
        (programs / "curl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    shutil.copy(CHECKOUT / ".env.example", tmp_path / ".env.example")
    (tmp_path / "customers.csv").write_text(
        "ST ID,Location ID,First Name,Last Name,Email,Phone\n70001,80001,Ada,Lovelace,ada@example.com,602-555-0100\n"
    )
    (tmp_path / "jobs.csv").write_text(
        "Job ID,Job Number,Customer ID,Business Unit ID,Status,Created\n90001,40001,70001,1314,Completed,2024-05-20\n"
    )
    sock, stop = open_socket("127.0.0.1", 0), asyncio.Event()
    more = {**FRESH, "PORT": sock.getsockname()[1]}
    service: list[asyncio.Task[None]] = []
    async with open_stage(empty_dsn, tmp_path, jobs=30, engine=False, more=more) as stage:
        async with Database(empty_dsn, max_connections=4) as database:

            async def start_service() -> None:
                service.append(asyncio.create_task(serve(create_app(stage.settings(), database), sock, stop)))

            try:
                done = await walk_page(
                    "IMPLEMENTATION_GUIDE.md",
                    on_stage(stage, HOOK_URL=stage.add_hook(), JOB=stage.jobs_of(UNIT)[0]),
                    before={"2.6 Test the database": start_service},
                )
            finally:
                stop.set()
                await asyncio.gather(*service)
                with psycopg.connect(server.dsn, autocommit=True) as connection:
                    connection.execute("drop database if exists perfectcatch_automation")
        texts = {step.command: step.ran.out for step in done}
        (listed,) = [step.ran.out for step in done if "'\\dt'" in step.command]
        assert all(
            name in listed
            for name in ("jobs", "customers", "sync_logs", "sync_state", "update_sync_state", "sync_statistics")
        )
        assert "lastJobPull" in texts['curl -sf "http://localhost:${PORT:-3001}/db/sync-state"']
        assert (tmp_path / "n8n" / "get-jobs-modernized-v2.json").exists()
        routed = set(stage.jobs_of(1314, 54670601))
        assert {job: count for job, count in stage.posts().items() if job in routed} == dict.fromkeys(routed, 1)
