"""An upgrade under load: a newer JobSync migrates the database and works beside the older one, which then ends.

The newer one is this one as it would be after a release: a copy with one more migration, which adds columns to the tables
that everybody reads and says that a body holds something else than before.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

import jobsync
from tests.e2e.ledger_check import check_nothing_lost, until_apart
from tests.e2e.test_rehearsal import read_address
from tests.upstreams import Stage, finish, open_stage

pytestmark = pytest.mark.anyio
# As `select *` is prepared in every connection of the older process, a new column changes the shape of its answers.
MIGRATION = """
alter table public.jobs add column newer_note text;
alter table public.customers add column newer_note text;
alter table public.sync_logs add column newer_note text;
alter table jobsync.outbox add column newer_note text;
alter table jobsync.cursors add column newer_note text;
alter table jobsync.tenants add column newer_note text;
create index outbox_by_note on jobsync.outbox (tenant_id, newer_note) where newer_note is not null;
create or replace function jobsync.body_version() returns integer language sql stable as 'select 2';
"""
LOAD = {"JOBSYNC_POLL_SECONDS": 5, "JOBSYNC_GHL_PACE": 14, "JOBSYNC_CAP_HOUR": 0, "JOBSYNC_CAP_DAY": 0}


def make_newer(folder: Path) -> Path:
    """A copy of the program with one migration more; the folder to put first on the path."""
    shutil.copytree(Path(jobsync.__file__).parent, folder / "jobsync", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "jobsync/sql/migrations/0002_newer.sql").write_text(MIGRATION, "utf-8")
    return folder


async def call_all_the_time(address: str, stage: Stage, answers: Counter[tuple[str, int]], over: asyncio.Event) -> None:
    """An old client: reads and writes through the API without a break, and counts how it was answered."""
    body = {
        "job": {"id": 7_000_001, "jobNumber": "7000001", "customerId": 7, "summary": "by the old flow"},
        "customer": {"customerId": 7, "name": "Ada Example"},
    }
    some = stage.job_ids()[0]
    async with aiohttp.ClientSession() as client:
        while not over.is_set():
            for path in (f"/db/jobs/{some}", "/db/jobs/pending-ghl-sync", "/db/sync-state", "/db/sync-logs?limit=5"):
                async with client.get(address + path) as answer:
                    answers[path, answer.status] += 1
                    await answer.read()
            async with client.post(f"{address}/db/jobs/upsert", json=body) as answer:
                answers["upsert", answer.status] += 1
                await answer.read()


@pytest.mark.long
async def test_a_newer_version_migrates_under_load_and_no_job_is_lost_or_told_twice(dsn: str, tmp_path: Path) -> None:
    jobs, later = 240, 24
    newer = make_newer(tmp_path / "newer")
    async with open_stage(dsn, tmp_path, jobs=jobs, more=LOAD) as stage:
        await stage.route_all()
        old = await stage.start("up", PORT=0)
        address = await read_address(old)
        answers: Counter[tuple[str, int]] = Counter()
        over = asyncio.Event()
        await until_apart(lambda: stage.level.ledger.post_count > 0)
        client = asyncio.ensure_future(call_all_the_time(address, stage, answers, over))

        migrated = await stage.process("db", "migrate", PYTHONPATH=newer)
        assert migrated.code == 0, migrated.err
        assert stage.level.ledger.post_count < jobs, "it was under load"
        new = await stage.start("up", "--only", "worker", PYTHONPATH=newer)
        stage.titan.clock.advance(3600)
        stage.act.book_jobs(count=later)
        await until_apart(lambda: len(stage.posts()) == jobs + later)
        over.set()
        await client
        old.send_signal(signal.SIGTERM)
        ended = await finish(old)
        assert ended.code == 0 and "Traceback" not in ended.err, ended.err

        stage.titan.clock.advance(3600)
        stage.act.book_jobs(count=later)
        await until_apart(lambda: len(stage.posts()) == jobs + 2 * later)
        await until_apart(lambda: stage.value("select count(*) from jobsync.outbox") == 0)
        new.send_signal(signal.SIGTERM)
        ended = await finish(new)
        assert ended.code == 0 and "Traceback" not in ended.err, ended.err
        assert check_nothing_lost(stage) == 0, "nobody died, so nothing was told twice"
        assert {status for _, status in answers} == {200}, answers
        assert stage.value("select max(version) from jobsync.migrations") == "0002"
