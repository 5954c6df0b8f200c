"""The first command of the README, as a newcomer runs it: real processes on an embedded PostgreSQL in an empty folder."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import psycopg
import pytest

from tests.upstreams import Ran, finish, start_jobsync

pytestmark = pytest.mark.anyio
TABLES = {"business_units", "customers", "jobs", "sync_logs", "sync_state"}
FUNCTIONS = {"update_sync_state", "get_last_job_pull", "upsert_job_from_st"}
COUNTS = ("pulled", "stored", "unchanged", "quarantined", "planned", "delivered", "verified", "skipped", "failed")


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that any user may enter, so that its PostgreSQL stands in it; stopped and removed in the end."""
    path = Path(tempfile.mkdtemp(prefix="jobsync-demo-"))
    path.chmod(0o755)
    yield path
    for pid in path.glob(".jobsync/postgres/cluster/postmaster.pid"):
        # `db url` keeps the server up for whoever connects next.
        with suppress(ProcessLookupError):
            os.kill(int(pid.read_text().split()[0]), signal.SIGQUIT)
    shutil.rmtree(path, ignore_errors=True)


async def jobsync(folder: Path, *words: str) -> Ran:
    return await finish(await start_jobsync(folder, {}, *words))


def balance(report: dict[str, Any]) -> None:
    assert set(COUNTS) <= set(report)
    assert report["pulled"] == report["stored"] + report["unchanged"] + report["quarantined"] == 240
    assert report["skipped"] == 7
    assert 165 <= report["delivered"] <= report["planned"] - 48
    assert report["failed"] >= 48
    assert {planted["business_unit_id"] for planted in report["planted"]} == {26143, 1308, 4623}


async def test_the_demo_runs_again_and_again_and_its_database_is_open_to_psql(folder: Path) -> None:
    first = await jobsync(folder, "demo", "--once", "--json")
    assert (first.code, first.err) == (0, ""), first.err
    balance(first.json)
    second = await jobsync(folder, "demo", "--once", "--json")
    assert second.code == 0, second.err
    balance(second.json)

    reasons = {planted["business_unit_id"]: planted["reason"] for planted in second.json["planted"]}
    assert reasons == {26143: "retrying", 1308: "test_only", 4623: "unmapped"}
    for planted in second.json["planted"]:
        story = await jobsync(folder, "why", str(planted["sample"]))
        assert story.code == 0, story.err
        assert "Why" in story.out and "Fix" in story.out

    url = (await jobsync(folder, "db", "url")).out.strip()
    with psycopg.connect(url) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        functions = connection.execute(
            "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
            "where n.nspname = 'public' and p.prokind = 'f'"
        ).fetchall()
        count = connection.execute("select count(*) from jobs").fetchone()
    assert {name for (name,) in tables} == TABLES
    assert {name for (name,) in functions} == FUNCTIONS
    assert count == (240,)
    psql = shutil.which("psql")
    if psql is not None:
        shown = await anyio.run_process([psql, url, "-Atc", "select * from sync_statistics"])
        assert "job_pull|completed|2|" in shown.stdout.decode()


async def test_the_living_demo_tells_its_addresses_serves_them_and_ends_at_ctrl_c(folder: Path) -> None:
    process = await start_jobsync(folder, {}, "demo", "--port", "0")
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(60):
        while "Ctrl-C" not in said:
            line = (await process.stdout.readline()).decode()
            assert line, said
            said += line
    address = re.search(r"http://(127\.0\.0\.1:\d+)/", said)
    assert address is not None, said
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address[1]}/db/sync-state/lastJobPull") as answer,
    ):
        assert answer.status == 200
        assert (await answer.json())["key"] == "lastJobPull"
    process.send_signal(signal.SIGINT)
    ended = await finish(process)
    assert ended.code in (0, 130), ended.err
    assert "Traceback" not in ended.err
