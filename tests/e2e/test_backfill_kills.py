"""kill -9 in the middle of a backfill, again and again: nothing is missing, and each kill repeats at most one page.

Real processes, a real simulator that counts the requests. Several backfills, each on a database of its own, are killed
side by side, because most of the time goes into waiting until a dead worker is known to be dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import psycopg
import pytest

from tests.conftest import Server, copy_database, drop_database
from tests.forked import start_forked
from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio

BEGIN = ("backfill", "--since", "2000-01-01", "--entity", "jobs,customer_contacts", "--page-size", "20", "--json")
JOBS = 120
RESUME = ("backfill", "--resume", "--json")
LISTS = ("jpm/jobs", "crm/customers/contacts")
COUNTS = {
    "jobs": "select count(*) from jobs",
    "customers/contacts": "select count(*) from jobsync.contacts where owner_kind = 'customer'",
}


@contextmanager
def fresh_database(server: Server, template: str, name: str) -> Iterator[str]:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        copy_database(connection, name, template)
        yield server.named(name)
        drop_database(connection, name)


def requests(stage: Stage) -> int:
    asked = stage.data_requests()
    return sum(asked[path] for path in LISTS)


async def ended(process: BaseProcess) -> int | None:
    await asyncio.to_thread(process.join, 60)
    code = process.exitcode
    if code is None:
        process.kill()
    return code


async def kill_in_the_middle(stage: Stage, rng: Random, words: tuple[str, ...]) -> bool:
    """Starts the command and kills it somewhere behind one of its first eight requests. False: it was done before."""
    reached, wanted = asyncio.Event(), rng.randint(1, 8)
    asked = 0

    def note(path: str) -> None:
        nonlocal asked
        asked += path in LISTS
        if asked >= wanted:
            reached.set()

    stage.titan.before_answer = note
    process = start_forked(stage.data_dir, stage.environment(), *words)
    over = asyncio.ensure_future(ended(process))
    signal = asyncio.ensure_future(reached.wait())
    await asyncio.wait({over, signal}, return_when=asyncio.FIRST_COMPLETED)
    stage.titan.before_answer = None
    signal.cancel()
    if over.done():
        assert over.result() == 0, (stage.data_dir / "out").read_text()
        return False
    # From "the answer is not there yet" to "the page after it is being stored".
    await asyncio.sleep(rng.random() * 0.06)
    process.kill()
    await over
    return True


async def be_killed(stage: Stage, rng: Random, kills: int, quiet: int) -> int:
    """Kills a backfill so many times, lets it end, and checks it against one that nobody killed. Answers the kills."""
    done = 0
    stage.titan.ledger.reset()
    while done < kills and await kill_in_the_middle(stage, rng, RESUME if done else BEGIN):
        done += 1
    process = start_forked(stage.data_dir, stage.environment(), *(RESUME if done else BEGIN))
    assert await ended(process) == 0, (stage.data_dir / "out").read_text()
    for table, count in COUNTS.items():
        rows = [row for row in stage.titan.dataset().tables[table] if row.active or table == "jobs"]
        assert stage.value(count) == len(rows), f"{table} after {done} kills"
    assert requests(stage) <= quiet + done, f"{requests(stage)} requests after {done} kills, {quiet} without"
    assert stage.value("select count(*) from jobsync.backfills where state <> 'completed'") == 0
    assert stage.value("select count(*) from sync_logs where sync_type = 'backfill' and status <> 'completed'") == 0
    return done


async def count_without_kills(server: Server, template: str, folder: Path) -> int:
    """Requests of a backfill that nobody disturbs."""
    with fresh_database(server, template, f"kills_none_{folder.name[-8:]}") as dsn:
        async with open_stage(dsn, folder, jobs=JOBS, engine=False) as stage:
            assert await ended(start_forked(folder, stage.environment(), *BEGIN)) == 0, (folder / "out").read_text()
            return requests(stage)


async def kill_side_by_side(
    server: Server, template: str, folder: Path, *, at_once: int, kills: int, quiet: int, seed: int
) -> int:
    async def story(number: int) -> int:
        place = folder / f"{seed}-{number}"
        place.mkdir()
        with fresh_database(server, template, f"kills_{seed}_{number}_{folder.name[-8:]}") as dsn:
            more = {"JOBSYNC_STALLED_SECONDS": 1}
            async with open_stage(dsn, place, jobs=JOBS, engine=False, more=more) as stage:
                return await be_killed(stage, Random(seed * 100 + number), kills, quiet)

    return sum(await asyncio.gather(*(story(number) for number in range(at_once))))


async def test_a_backfill_killed_twenty_times_misses_nothing_and_repeats_at_most_a_page_each_time(
    server: Server, template: str, tmp_path: Path
) -> None:
    quiet = await count_without_kills(server, template, tmp_path)
    assert await kill_side_by_side(server, template, tmp_path, at_once=10, kills=2, quiet=quiet, seed=1) == 20


@pytest.mark.soak
async def test_a_backfill_killed_two_hundred_times_misses_nothing(
    server: Server, template: str, tmp_path: Path
) -> None:
    quiet = await count_without_kills(server, template, tmp_path)
    done, seed = 0, 2
    while done < 200:
        done += await kill_side_by_side(server, template, tmp_path, at_once=5, kills=8, quiet=quiet, seed=seed)
        seed += 1
