"""db migrate, status, url, psql as processes."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import anyio
import pytest

from tests.upstreams import Ran, call_jobsync, finish, start_jobsync

pytestmark = pytest.mark.anyio
GUIDE = {"business_units", "customers", "jobs", "sync_logs", "sync_state"}


async def jobsync(directory: Path, dsn: str, *words: str) -> Ran:
    return await call_jobsync(directory, {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": directory}, *words)


async def psql_by_jobsync(directory: Path, dsn: str, *words: str) -> Ran:
    # psql writes to the process's own output, so that this one has to be a process.
    given = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": directory}
    return await finish(await start_jobsync(directory, given, "db", "psql", *words))


async def test_migrate_twice_status_and_url_on_an_empty_database(empty_dsn: str, tmp_path: Path) -> None:
    pending = await jobsync(tmp_path, empty_dsn, "db", "status", "--check")
    assert pending.code == 3
    first = await jobsync(tmp_path, empty_dsn, "db", "migrate", "--json")
    assert first.code == 0, first.err
    assert first.json["applied"]
    assert set(first.json["tables"]) == GUIDE
    second, status, url = await asyncio.gather(
        jobsync(tmp_path, empty_dsn, "db", "migrate"),
        jobsync(tmp_path, empty_dsn, "db", "status", "--check", "--json"),
        jobsync(tmp_path, empty_dsn, "db", "url"),
    )
    assert second.out.startswith("Up to date")
    assert status.code == 0
    assert status.json["pending"] == []
    psql = shutil.which("psql")
    if psql is not None:
        shown = await anyio.run_process([psql, url.out.strip(), "-Atc", "\\dt"])
        assert {line.split("|")[1] for line in shown.stdout.decode().splitlines()} == GUIDE


async def test_psql_passes_its_words_and_exit_code_on(dsn: str, tmp_path: Path) -> None:
    if shutil.which("psql") is None:
        pytest.skip("psql is not installed; with DATABASE_URL there is no bundled one to fall back to")
    counted = await psql_by_jobsync(tmp_path, dsn, "-Atc", "select count(*) from jobs")
    assert (counted.code, counted.out) == (0, "0\n")
    refused = await psql_by_jobsync(tmp_path, dsn, "-Atc", "select nonsense")
    assert refused.code == 1
    assert "nonsense" in refused.err
