"""kill -9 in the middle of an import, and --resume: the same final state as if nobody had killed it.

A trigger lets the process wait in the middle of a transaction, at a chosen row of the staging or of the ledger; there it dies.
"""

from __future__ import annotations

import asyncio
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from tests.conftest import Server, copy_database
from tests.forked import start_forked
from tests.intake.files import write_customers, write_jobs
from tests.intake.place import Place, environment

pytestmark = pytest.mark.anyio

CUSTOMERS = 300
GATE = 4242
WORDS = ("import", "airtable", "--customers", "customers.csv", "--jobs", "jobs.csv", "--apply")
Point = tuple[str, str, int]  # table, entity, row
TRAP = f"""
create function public.wait_here() returns trigger language plpgsql as $$
begin perform pg_advisory_lock_shared({GATE}); perform pg_advisory_unlock_shared({GATE}); return new; end $$;
create trigger wait_here before insert on jobsync.%s for each row when (new.entity = '%s' and new.row_no = %d) execute function public.wait_here();
"""


async def die_at(place: Place, point: Point, words: tuple[str, ...]) -> None:
    """Starts the command, waits until it reaches the point, and kills it there."""
    async with await psycopg.AsyncConnection.connect(place.dsn, autocommit=True) as watcher:
        await watcher.execute(f"select pg_advisory_lock({GATE})".encode())
        await watcher.execute((TRAP % point).encode())
        process = start_forked(place.folder, environment(place.dsn, place.folder), *words)
        while True:
            cursor = await watcher.execute(
                b"select pid from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())"
            )
            waiting = await cursor.fetchone()
            if waiting is not None:
                break
            assert process.is_alive(), (place.folder / "out").read_text()
            await asyncio.sleep(0.02)
        process.kill()
        await asyncio.to_thread(process.join, 60)
        # The server would notice by itself that nobody is there any more, when it next speaks.
        await watcher.execute(b"select pg_terminate_backend(%s, 60000)", (waiting[0],))
        await watcher.execute(
            f"drop trigger wait_here on jobsync.{point[0]}; drop function public.wait_here()".encode()
        )
        await watcher.execute(f"select pg_advisory_unlock({GATE})".encode())


async def ended(process: BaseProcess) -> int | None:
    await asyncio.to_thread(process.join, 90)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


async def import_killed(place: Place, jobs: int, points: list[Point]) -> dict[str, Any]:
    """Imports, killed at each of these points and resumed; answers the final state."""
    write_customers(place.folder, CUSTOMERS)
    write_jobs(place.folder, jobs, customers=CUSTOMERS)
    words = WORDS
    for point in points:
        await die_at(place, point, words)
        words = ("import", "airtable", "--resume", place.value("select id from jobsync.imports"))
    process = start_forked(place.folder, environment(place.dsn, place.folder), *words)
    assert await ended(process) == 0, (place.folder / "out").read_text()
    assert "safe to retire Airtable: yes" in (place.folder / "out").read_text()
    assert place.rows("select distinct state from jobsync.imports") == [{"state": "applied"}]
    assert place.rows("select distinct status from sync_logs where sync_type = 'import'") == [{"status": "completed"}]
    assert place.value("select count(*) from jobsync.import_ledger") == CUSTOMERS + jobs
    return place.state()


async def compare(server: Server, template: str, folder: Path, jobs: int, ways: list[list[Point]]) -> None:
    states = []
    for at, points in enumerate([[], *ways]):
        name = f"killed_{at}_{folder.name}".replace("-", "_")[:60]
        place_folder = folder / str(at)
        place_folder.mkdir()
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            copy_database(connection, name, template)
            try:
                place = Place(None, server.named(name), place_folder)  # type: ignore[arg-type]
                states.append(await import_killed(place, jobs, points))
            finally:
                connection.execute(f'drop database "{name}" with (force)'.encode())
    assert len(states[0]["jobs"]) == jobs
    for state in states[1:]:
        assert state == states[0]


async def test_an_import_killed_while_it_stages_and_while_it_writes_ends_like_one_that_nobody_killed(
    server: Server, template: str, tmp_path: Path
) -> None:
    rng = Random(7)
    ways: list[Point] = [
        ("import_rows", "jobs", rng.randint(2, 1100)),
        ("import_ledger", "jobs", rng.randint(1003, 1200)),
    ]
    await compare(server, template, tmp_path, 1200, [ways])


@pytest.mark.long
async def test_an_import_killed_at_twenty_random_points_ends_like_one_that_nobody_killed(
    server: Server, template: str, tmp_path: Path
) -> None:
    rng = Random(20)
    ways: list[list[Point]] = [
        [
            ("import_rows", "customers", rng.randint(2, CUSTOMERS)),
            ("import_rows", "jobs", rng.randint(2003, 4400)),
            ("import_ledger", "customers", rng.randint(2, CUSTOMERS)),
            ("import_ledger", "jobs", rng.randint(2, 4400)),
        ]
        for _ in range(5)
    ]
    await compare(server, template, tmp_path, 4400, ways)
