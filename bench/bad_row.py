"""How much one bad record costs a page of 5,000 jobs: pages with one are stored in turn with pages without.

    python -m bench.bad_row [--pairs 60] [--size 5000] [--dsn DSN] [--json]

Each page goes the whole way of a pull after its answer came: the body is taken apart, what jsonb would refuse is looked
for, `store_page` stores the rest. Three kinds of bad record: `misfit` (an id that is no number: PostgreSQL quarantines
it), `refused` (a NUL in a text: found before PostgreSQL sees it) and `unreadable` (a raw control character: the body as
a whole does not decode and is taken apart by force). Prints milliseconds a page and the share of the throughput that is
left with one bad record, each the middle of all rounds. Without --dsn a bundled PostgreSQL is started in a temporary folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median

from bench.store_page import bundled_server, fresh_database
from jobsync.config import read_settings
from jobsync.db.pool import Database
from jobsync.db.sealing import load_keyring
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.store import Counts, store
from jobsync.servicetitan.pages import parse_page
from jobsync.servicetitan.streams import STREAMS

BAD: dict[str, Callable[[bytes], bytes]] = {
    "misfit": lambda record: record.replace(b'{"id": ', b'{"id": "no number", "was": ', 1),
    "refused": lambda record: record[:-1] + b', "note": "a\\u0000b"}',
    "unreadable": lambda record: record[:-1] + b', "note": "a\x01b"}',
}


def make_page(first: int, size: int, spoil: Callable[[bytes], bytes] | None = None) -> bytes:
    """The body of an export page with jobs from id `first` on; the one in the middle is spoilt."""
    records = [
        json.dumps(
            {
                "id": number, "jobNumber": str(number), "customerId": number, "locationId": number, "jobStatus": "Scheduled", "completedOn": None,
                "businessUnitId": 1314, "jobTypeId": 7, "priority": "Normal", "campaignId": 9, "summary": "The pump is loud. " * 20,
                "appointmentCount": 1, "firstAppointmentId": number, "lastAppointmentId": number, "noCharge": False, "total": 120.5,
                "createdOn": "2026-01-01T08:00:00Z", "modifiedOn": "2026-01-01T08:00:00.1234567Z", "tagTypeIds": [1, 2], "active": True,
            }
        ).encode()
        for number in range(first, first + size)
    ]  # fmt: skip
    if spoil is not None:
        records[size // 2] = spoil(records[size // 2])
    return b'{"hasMore":false,"continueFrom":"x","data":[' + b",".join(records) + b"]}"


async def measure(dsn: str, pairs: int, size: int) -> dict[str, float]:
    """Milliseconds a page without (`plain_ms`) and with each kind (`misfit_ms` ...), and the share that is left (`misfit`)."""
    times: dict[str, list[float]] = {name: [] for name in ("plain", *BAD)}
    with tempfile.TemporaryDirectory(prefix="jobsync-bench-") as folder:
        async with Database(dsn) as database:
            engine = Engine(
                read_settings(environ={}, directory=Path(folder)), database, load_keyring(None, Path(folder))
            )
            first = 1
            for turn in range(pairs + 1):
                names = list(times)
                # Another order each round, so that none always comes after the same other one.
                for name in Random(turn).sample(names, len(names)):
                    body = make_page(first, size, BAD.get(name))
                    first += size
                    counts = Counts()
                    started = time.perf_counter()
                    await store(engine, DEFAULT_TENANT, STREAMS["jobs"], parse_page(body, "export"), counts)
                    if turn:  # the first round warms up
                        times[name].append(time.perf_counter() - started)
                    expected = (size, 0) if name == "plain" else (size - 1, 1)
                    if (counts.stored, counts.quarantined) != expected:
                        raise SystemExit(f"{name}: {counts.stored} stored, {counts.quarantined} quarantined")
    # Each page beside the plain page of its own round, and the middle of all rounds: single pages differ by a tenth and
    # more (checkpoints, a growing table), which is more than what is looked for.
    figures = {f"{name}_ms": median(taken) * 1000 for name, taken in times.items()}
    shares = {name: median(a / b for a, b in zip(times["plain"], times[name], strict=True)) for name in BAD}
    return {**figures, **shares}


def main(arguments: Sequence[str] | None = None, write: Callable[[str], None] = print) -> None:
    """Runs the benchmark and writes its figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.bad_row", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60, help="pages of each kind")
    parser.add_argument("--size", type=int, default=5000, help="jobs a page")
    parser.add_argument("--dsn", help="a server whose user may create databases; default: the bundled one")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(arguments)
    if given.dsn:
        with fresh_database(given.dsn) as dsn:
            figures = asyncio.run(measure(dsn, given.pairs, given.size))
    else:
        with bundled_server() as server, fresh_database(server) as dsn:
            figures = asyncio.run(measure(dsn, given.pairs, given.size))
    if given.json:
        write(
            json.dumps(
                {"pairs": given.pairs, "size": given.size, **{name: round(value, 3) for name, value in figures.items()}}
            )
        )
        return
    for name, value in figures.items():
        write(
            f"{name:16} {value:10.1f}" if name.endswith("_ms") else f"{name:16} {value:10.3f} of the throughput is left"
        )


if __name__ == "__main__":
    main()
