"""Backfill: history of a tenant, stream by stream, by the same storing as the live pull, and resumable at any instant.

    run = await open_backfill(engine, tenant, since=..., until=..., entities=("jobs", "customers"), actor="cli")
    while await run_backfill(engine, tenant, run, seconds=10):
        ...                                   # each call is a slice; between two of them live pulls go first
    report = await read_backfill(engine, tenant, run)

Lists are read by modification time (servicetitan/history.py); each page and the place to go on from are one
transaction, so that a backfill killed at any instant repeats at most the one page that was not stored. What it brings
first is held (`skipped: backfilled`) and never becomes deliverable by itself. One unfinished backfill a tenant.
Called by the task `backfill`, the command line and the API.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from jobsync.db.pool import Session, as_jsonb
from jobsync.engine.connections import open_servicetitan
from jobsync.engine.context import Engine
from jobsync.engine.passes import ACTIVITY_STREAMS, is_not_granted
from jobsync.engine.pull import PAGE_SIZES, SMALLER_PAGE_HELPS, fetch_patiently, read_patiently
from jobsync.engine.store import Counts, store
from jobsync.errors import DatabaseUnavailable, InvalidInput, JobSyncError, LockHeld
from jobsync.log import get_log
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.history import read_history
from jobsync.servicetitan.streams import STREAMS
from jobsync.servicetitan.timestamps import TICKS_PER_SECOND, datetime_ticks, format_ticks

# Owners after their contacts, so that their rows are written once with the best of these; both before jobs: when a job
# arrives, what it refers to is there.
ENTITIES = ("customer_contacts", "customers", "location_contacts", "locations", "jobs", *ACTIVITY_STREAMS)
GROUPS = {"contacts": ("customer_contacts", "location_contacts")}
# What became visible to the lists within the last minutes is left to the live pull (reliability P4).
NOT_YET_PAST_SECONDS = 120
SLICE_SECONDS = 10.0


def choose_entities(names: Sequence[str] | None) -> tuple[str, ...]:
    """The streams that these names mean, in the order in which they are read; None: all that have history.

    `contacts` means those of customers and of locations. Raises InvalidInput for an unknown name.
    """
    if not names:
        return ENTITIES
    wanted: set[str] = set()
    for name in names:
        found = GROUPS.get(name) or ((name,) if name in ENTITIES else ())
        if not found:
            raise InvalidInput(
                f"There is no history of {name}.", hint=f"Entities: {', '.join((*ENTITIES, *GROUPS))}, split by commas."
            )
        wanted.update(found)
    return tuple(name for name in ENTITIES if name in wanted)


async def open_backfill(
    engine: Engine,
    tenant: str,
    *,
    since: datetime,
    until: datetime | None = None,
    entities: Sequence[str] | None = None,
    page_size: int = PAGE_SIZES[0],
    deliver: bool = False,
    actor: str,
) -> UUID:
    """Opens a backfill of everything last modified from `since` (inclusive) to `until` (exclusive) and answers its run.

    Naive times are UTC; fractions of a second widen the stretch. `until` None or in the future: two minutes ago. `deliver`
    True only once a person has confirmed: at the end, its old jobs are planned. Reads nothing yet: `run_backfill`
    does. Raises InvalidInput for a stretch that is empty or lies in the future, LockHeld while another backfill is
    unfinished.
    """
    async with engine.database.transaction(tenant) as session:
        now: datetime = await session.value("read_now")
    latest = _floor(datetime_ticks(now)) - NOT_YET_PAST_SECONDS * TICKS_PER_SECOND
    start = _floor(datetime_ticks(since))
    end = latest if until is None else min(-_floor(-datetime_ticks(until)), latest)
    if start >= end:
        raise InvalidInput(
            "A backfill must begin before it ends, and at least two minutes ago.", hint="Check --since and --until."
        )
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "open_backfill",
            {
                "tenant": tenant,
                "streams": list(choose_entities(entities)),
                "since": format_ticks(start),
                "until": format_ticks(end),
                "page_size": page_size,
                "deliver": deliver,
                "actor": actor,
            },
        )


async def resume_backfill(engine: Engine, tenant: str, run: UUID) -> bool:
    """Lets an unfinished backfill go on where it stands. False when it is over."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("resume_backfill", {"tenant": tenant, "run": run})


async def cancel_backfill(engine: Engine, tenant: str, run: UUID) -> bool:
    """Ends a backfill for good; what was stored stays. A page under way is not stored any more. False: it was over."""
    return await _close(engine, tenant, run, "cancelled")


async def read_backfill(engine: Engine, tenant: str, run: UUID | None = None) -> dict[str, Any] | None:
    """A backfill with its streams in order (None: the unfinished one, else the newest), or None when there is none."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("read_backfill", {"tenant": tenant, "run": run})


async def count_old_jobs(engine: Engine, tenant: str, run: UUID) -> dict[str, int]:
    """What `deliver_backfilled` would plan: {jobs, webhook_executions}."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("count_old_jobs", {"tenant": tenant, "run": run})


async def deliver_backfilled(engine: Engine, tenant: str, run: UUID, *, actor: str) -> int:
    """Plans the old jobs of a finished backfill's time for delivery: a person has seen the count and confirmed.

    Answers how many; twice plans nothing more.
    """
    async with engine.database.transaction(tenant) as session:
        return await session.value("deliver_backfilled", {"tenant": tenant, "run": run, "actor": actor})


async def count_in_servicetitan(
    engine: Engine, tenant: str, *, since: datetime, until: datetime | None = None
) -> int | None:
    """How many jobs ServiceTitan has in the stretch: one small request. None where it does not say."""
    async with await open_servicetitan(engine, tenant) as client:
        page = await read_patiently(
            partial(
                client.list_page,
                STREAMS["jobs"],
                modified_from=format_ticks(datetime_ticks(since)),
                modified_before=None if until is None else format_ticks(datetime_ticks(until)),
                page_size=1,
                include_total=True,
            )
        )
    return page.total


async def run_backfill(
    engine: Engine,
    tenant: str,
    run: UUID,
    *,
    seconds: float = SLICE_SECONDS,
    stopping: Callable[[], bool] = lambda: False,
) -> bool:
    """Works on a backfill for about `seconds`, then stops between two pages. True while there is more to do.

    What stops it is written into the run, which then is `failed` and can be resumed. Raises DatabaseUnavailable when
    even that cannot be written.
    """
    found = await read_backfill(engine, tenant, run)
    if found is None or found["state"] != "running":
        return False
    ends = time.monotonic() + seconds
    log = get_log(tenant=tenant, run=str(run))
    try:
        counts = Counts()
        async with await open_servicetitan(engine, tenant, on_request=counts.count_request) as client:
            for stream in found["streams"]:
                if stream["status"] in ("waiting", "running") and not await _read_stream(
                    engine, client, tenant, run, found, stream, counts, ends, stopping
                ):
                    return True
        await _close(engine, tenant, run, "completed")
        log.info("backfill_completed")
    except LockHeld:
        # Cancelled, or another worker took it over: that one says how it ends.
        log.info("backfill_taken_over")
    except DatabaseUnavailable:
        raise
    except JobSyncError as error:
        log.warning("backfill_failed", code=error.code, error_type=type(error).__name__)
        await _close(engine, tenant, run, "failed", error)
    except Exception as error:  # a bug of ours must not leave the run open for ever
        log.error("backfill_crashed", error_type=type(error).__name__)
        unexpected = JobSyncError(f"The backfill ended in an unexpected error ({type(error).__name__}).")
        await _close(engine, tenant, run, "failed", unexpected)
    return False


async def _read_stream(
    engine: Engine,
    client: ServiceTitanClient,
    tenant: str,
    run: UUID,
    backfill: dict[str, Any],
    place: dict[str, Any],
    counts: Counts,
    ends: float,
    stopping: Callable[[], bool],
) -> bool:
    """Reads one stream on from its place. True when it is done, False when the slice is over first."""
    stream = STREAMS[place["stream"]]
    position, width, revision = place["position"], place["width_ticks"], place["revision"]
    for size in sorted({backfill["page_size"], *(s for s in PAGE_SIZES if s < backfill["page_size"])}, reverse=True):
        try:
            async for piece in read_history(
                fetch_patiently(client, stream, size),
                since=position,
                until=backfill["until"],
                page_size=size,
                width=width,
                keys=stream.keys,
                sortable=stream.sortable,
            ):
                move = {
                    "tenant": tenant,
                    "run": run,
                    "stream": stream.name,
                    "revision": revision,
                    "position": piece.position,
                    "width": piece.width,
                    "left": piece.left,
                    "done": piece.done,
                    "requests": counts.requests,
                }
                counts.requests = 0
                await store(engine, tenant, stream, piece.page, counts, origin="backfill", then=partial(_move, move))
                position, width, revision = piece.position, piece.width, revision + 1
                if piece.done:
                    return True
                if stopping() or time.monotonic() >= ends:
                    return False
        except JobSyncError as error:
            if is_not_granted(stream.name, error):
                async with engine.database.transaction(tenant) as session:
                    await session.run("skip_backfill_stream", {"tenant": tenant, "run": run, "stream": stream.name})
                return True
            if error.code not in SMALLER_PAGE_HELPS or size <= PAGE_SIZES[-1]:
                raise
    return True


async def _move(move: dict[str, Any], session: Session, report: dict[str, Any]) -> None:
    await session.value("move_backfill", {**move, "report": as_jsonb(report)})


async def _close(engine: Engine, tenant: str, run: UUID, state: str, error: JobSyncError | None = None) -> bool:
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "close_backfill",
            {
                "tenant": tenant,
                "run": run,
                "state": state,
                "error": error.message if error else None,
                "code": error.code if error else None,
                "exit_code": error.exit_code if error else None,
                "hint": error.hint if error else None,
            },
        )


def _floor(ticks: int) -> int:
    return ticks - ticks % TICKS_PER_SECOND
