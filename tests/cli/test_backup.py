"""A backup is one file, taken while everything runs; restored a day later nothing is lost and nothing is sent by itself."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clock import move_clock
from tests.docs.walk import on_stage, walk_page
from tests.upstreams import TENANT, Ran, finish, open_stage, start_jobsync

pytestmark = pytest.mark.anyio


async def call_jobsync(folder: Path, given: dict[str, object], *words: str) -> Ran:
    """As a process: a program's child can only be waited for in a main thread."""
    return await finish(await start_jobsync(folder, given, *words))


async def test_a_day_old_backup_loses_nothing_and_sends_nothing_by_itself(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.sql.gz"
    async with open_stage(dsn, tmp_path, jobs=12) as stage:
        await stage.route_all()
        await stage.sync()
        before = stage.posts()
        written = await stage.process("db", "backup", str(file), "--json")
        assert written.code == 0, written.err
        assert file.stat().st_mode & 0o077 == 0
        move_clock(dsn, "24 hours")
        stage.act.book_jobs(count=3)
        await stage.sync()
        sent = stage.posts()

        restored = await stage.process("db", "restore", str(file), DATABASE_URL=empty_dsn)
        assert restored.code == 0, restored.err
        assert "Restored: 12 jobs" in restored.out and "Sending is off" in restored.out
        again = await stage.jobsync("sync", "--json", DATABASE_URL=empty_dsn, JOBSYNC_MODE=None)
        assert again.code == 0, again.err
        assert again.json["delivered"] == 0
        assert again.json["stored"] == 3
        assert stage.posts() == sent
        assert set(before) <= set(sent)
        status = await stage.jobsync("status", "--json", DATABASE_URL=empty_dsn)
        assert status.json["tenant"]["mode"] == "observe"
        assert status.json["tenant"]["tenant_id"] == TENANT


async def test_restoring_over_data_asks_and_a_damaged_file_changes_nothing(dsn: str, tmp_path: Path) -> None:
    given = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": tmp_path}
    file = tmp_path / "a.sql.gz"
    async with open_stage(dsn, tmp_path, jobs=4) as stage:
        await stage.sync(deliver=False)
        stage.run("insert into jobsync.audit (tenant_id, actor, action) values ('default', 'test', 'marker')")
    assert (await call_jobsync(tmp_path, given, "db", "backup", str(file))).code == 0
    twice = await call_jobsync(tmp_path, given, "db", "backup", str(file))
    assert (twice.code, "never overwritten" in twice.err) == (2, True)

    refused = await call_jobsync(tmp_path, given, "db", "restore", str(file))
    assert refused.code == 9 and "holds 4 jobs" in refused.err
    assert (await call_jobsync(tmp_path, given, "db", "restore", str(file), "--replace")).code == 9
    replaced = await call_jobsync(tmp_path, given, "db", "restore", str(file), "--replace", "--yes", "--json")
    assert replaced.code == 0, replaced.err
    assert replaced.json["jobs"] == 4

    cut = tmp_path / "cut.sql.gz"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    damaged = await call_jobsync(tmp_path, given, "db", "restore", str(cut), "--replace", "--yes")
    assert damaged.code in (2, 6) and "changed" in damaged.err
    other = tmp_path / "other.gz"
    other.write_bytes(gzip.compress(b"hello"))
    foreign = await call_jobsync(tmp_path, given, "db", "restore", str(other), "--replace", "--yes")
    assert foreign.code == 2 and "no backup" in foreign.err
    status = await call_jobsync(tmp_path, given, "db", "restore", str(file))
    assert "holds 4 jobs" in status.err


async def test_a_backup_holds_no_secret_in_clear(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "a.sql.gz"
    async with open_stage(dsn, tmp_path, jobs=2) as stage:
        await stage.sync(deliver=False)
        hook = await stage.route(1314)
        assert (await stage.process("db", "backup", str(file))).code == 0
        text = gzip.decompress(file.read_bytes()).decode()
        assert hook.rsplit("/", 1)[1] not in text
        assert stage.titan.account().client_secret not in text


async def test_the_page_about_deployment_is_true(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=4, engine=False) as stage:
        done = await walk_page("docs/deployment.md", replace(on_stage(stage), jobsync=stage.process))
        assert any("Sending is off" in one.ran.out for one in done)
