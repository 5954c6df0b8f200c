"""Reconcile: holds what ServiceTitan shows against what is stored, by ids and content, and stores what is missing.

In: the jobs and customers that ServiceTitan's lists show as modified within so many days, read in count-checked windows
(reliability P5). Out: a run of sync_logs with what is missing, differing or gone, with their ids. Only what the pull
should have brought counts: not what is newer than its last reading, nor older than its first, nor what stands in the
quarantine. What is missing is stored by the normal path, so that a job older than `deliver_from` never becomes
deliverable by it. Twice: the second run finds nothing to mend. Called by the command and, once a day, by the schedule.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from jobsync.db.pool import Row, as_jsonb
from jobsync.engine.connections import open_servicetitan
from jobsync.engine.context import Engine
from jobsync.engine.pull import OVERLAP_TICKS, fetch_patiently, read_patiently, read_servicetitan_clock
from jobsync.engine.store import Counts, store
from jobsync.errors import InvalidInput, JobSyncError
from jobsync.log import get_log
from jobsync.servicetitan.client import MAX_PAGE_SIZE, ServiceTitanClient
from jobsync.servicetitan.keyset import read_window
from jobsync.servicetitan.pages import Page, split_refused
from jobsync.servicetitan.streams import STREAMS, Stream
from jobsync.servicetitan.timestamps import TICKS_PER_DAY, format_ticks, parse_timestamp

RECONCILED = ("jobs", "customers")
DAYS = 7
MOST_DAYS = 36_500
IDS_SHOWN = 100
LOOKED_UP = 50
OPEN_FINDINGS = ("missing", "differing")


@dataclass
class Comparison:
    """What the comparison of one stream found so far."""

    found: Counter[str] = field(default_factory=Counter)
    ids: dict[str, list[int]] = field(default_factory=dict)
    compared: int = 0
    fixed: int = 0

    def note(self, finding: str, record: int | None) -> None:
        """Counts one record and keeps its id as long as there is room."""
        self.found[finding] += 1
        kept = self.ids.setdefault(finding, [])
        if finding not in ("equal", "before_start", "not_read_yet") and record is not None and len(kept) < IDS_SHOWN:
            kept.append(record)

    def report(self) -> dict[str, Any]:
        """Counts by finding, and the first ids of those that matter."""
        return {
            "compared": self.compared,
            **{name: self.found[name] for name in ("equal", "missing", "differing", "gone", "quarantined")},
            "not_read_yet": self.found["not_read_yet"],
            "before_start": self.found["before_start"],
            "fixed": self.fixed,
            "ids": {name: ids for name, ids in self.ids.items() if ids},
        }


async def reconcile(
    engine: Engine,
    tenant: str,
    *,
    days: int = DAYS,
    fix_missing: bool = False,
    trigger: str = "command",
    run: UUID | None = None,
) -> dict[str, Any]:
    """Compares the last `days` days; answers {run, days, compared, equal, missing, differing, gone, fixed, ..., streams}.

    `fix_missing` stores what is missing and the newer versions of what differs; `run`: one that is open already. Raises
    InvalidInput for a number of days that makes no sense, and the error that stopped the comparison; its run is closed
    as failed then.
    """
    check_days(days)
    if run is None:
        async with engine.database.transaction(tenant) as session:
            opened: UUID = await session.value(
                "open_reconcile", {"tenant": tenant, "trigger": trigger, "days": days, "fix": fix_missing}
            )
        run = opened
    counts = Counts()
    done: dict[str, Comparison] = {}
    failure: JobSyncError | None = JobSyncError("The comparison was interrupted.")
    try:
        async with await open_servicetitan(engine, tenant, on_request=counts.count_request) as client:
            for name in RECONCILED:
                done[name] = Comparison()
                await _compare_stream(engine, client, tenant, STREAMS[name], run, days, done[name], fix_missing)
        failure = None
    except JobSyncError as error:
        failure = error
        raise
    except Exception as error:  # a bug of ours must not leave the run open for ever
        failure = JobSyncError(f"The comparison ended in an unexpected error ({type(error).__name__}).")
        raise
    finally:
        report = _add_up(done, counts)
        async with engine.database.transaction(tenant) as session:
            await session.value(
                "close_reconcile",
                {
                    "tenant": tenant,
                    "run": run,
                    "report": as_jsonb(report),
                    "error": None if failure is None else failure.message,
                },
            )
    get_log(tenant=tenant, run=str(run)).info("reconciled", stored=report["fixed"], pulled=report["compared"])
    return {"run": run, "days": days, "fix_missing": fix_missing, **report}


def check_days(days: int) -> None:
    """Raises InvalidInput for a number of days that makes no sense."""
    if not 1 <= days <= MOST_DAYS:
        raise InvalidInput(f"--days must be between 1 and {MOST_DAYS}.", field="days")


async def read_last_reconcile(engine: Engine, tenant: str) -> Row | None:
    """The last finished comparison (jobsync.v_reconcile), or None."""
    async with engine.database.transaction(tenant) as session:
        return await session.row("read_reconcile", {"tenant": tenant})


def _add_up(done: dict[str, Comparison], counts: Counts) -> dict[str, Any]:
    streams = {name: comparison.report() for name, comparison in done.items()}
    names = (
        "compared",
        "equal",
        "missing",
        "differing",
        "gone",
        "quarantined",
        "not_read_yet",
        "before_start",
        "fixed",
    )
    total = {name: sum(entry[name] for entry in streams.values()) for name in names}
    return {**total, "planned": counts.planned, "requests": counts.requests, "streams": streams}


async def _compare_stream(
    engine: Engine,
    client: ServiceTitanClient,
    tenant: str,
    stream: Stream,
    run: UUID,
    days: int,
    into: Comparison,
    fix: bool,
) -> None:
    # By ServiceTitan's clock; what is younger than the overlap may not be visible to every reader yet.
    until = await read_servicetitan_clock(engine, client, tenant, stream) - OVERLAP_TICKS
    low = max(until - days * TICKS_PER_DAY, 0)
    # The ids alone are held in memory: some 90 MB for a million records.
    seen: set[int] = set()
    async for piece in read_window(
        fetch_patiently(client, stream, MAX_PAGE_SIZE),
        since=format_ticks(low),
        until=format_ticks(until),
        page_size=MAX_PAGE_SIZE,
        keys=stream.keys,
        sortable=stream.sortable,
    ):
        seen |= await _compare_page(engine, tenant, stream, piece.page, into, fix)
        async with engine.database.transaction(tenant) as session:
            await session.run("keep_run_alive", {"tenant": tenant, "run": run})
    await _look_for_the_rest(engine, client, tenant, stream, (low, until), seen, into, fix)


async def _compare_page(
    engine: Engine, tenant: str, stream: Stream, page: Page, into: Comparison, fix: bool
) -> set[int]:
    """Holds one page against what is stored; answers the ids on it."""
    good, refused = split_refused(page)
    into.compared += len(page.records)
    into.found["quarantined"] += len(refused)
    if not good:
        return set()
    readable = Page(good, False)
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows(
            "compare_page", {"tenant": tenant, "stream": stream.name, "page": readable.array().decode("utf-8")}
        )
    for row in rows:
        into.note(row["finding"], row["id"])
    wrong = [row["n"] - 1 for row in rows if row["finding"] in OPEN_FINDINGS]
    if fix and wrong:
        counts = Counts()
        # The normal path: the same checks, the same planning; it moves no cursor.
        await store(engine, tenant, stream, readable.keep(wrong), counts, resolve=True)
        into.fixed += counts.stored
    return {row["id"] for row in rows if row["id"] is not None}


async def _look_for_the_rest(
    engine: Engine,
    client: ServiceTitanClient,
    tenant: str,
    stream: Stream,
    window: tuple[int, int],
    seen: set[int],
    into: Comparison,
    fix: bool,
) -> None:
    """Stored records that the window did not show are asked for by id: they changed meanwhile, or they are gone."""
    low, high = (_moment(ticks) for ticks in window)
    async with engine.database.transaction(tenant) as session:
        unseen = await session.value(
            "list_unseen",
            {"tenant": tenant, "stream": stream.name, "from": low, "until": high, "seen": sorted(seen)},
        )
    for start in range(0, len(unseen), LOOKED_UP):
        ids = unseen[start : start + LOOKED_UP]
        page = await read_patiently(partial(client.by_ids, stream, ids))
        shown = await _compare_page(engine, tenant, stream, page, into, fix)
        for missing in ids:
            if missing not in shown:
                into.note("gone", missing)


def _moment(ticks: int) -> datetime:
    moment = parse_timestamp(format_ticks(ticks))
    assert moment is not None
    return moment
