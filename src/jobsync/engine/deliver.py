"""Deliver: drains one destination. Claim -> send -> finish, in groups of at most 64, until nothing is due.

The claim decides (SQL) whether anything may leave at all and opens an attempt for each send; no transaction is open while
a request is under way; the finish books the group in one call. A worker that dies leaves attempts open and leases that
run out: the rows are claimed again, flagged ambiguous. Results that come after the lease ran out carry a stale fence and
change nothing. Called by the task `drain`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from jobsync.db.again import repeat_until_stored
from jobsync.db.pool import Row, as_jsonb
from jobsync.engine.context import Engine
from jobsync.errors import JobSyncError
from jobsync.log import get_log

# Whenever a worker dies, at most so many sends are accepted and not marked: a group is claimed, but never sent, while the
# one before it is being booked.
GROUP = 64
LONGEST_SECONDS = 10.0
MOST_ROWS = 5000
SHORT_WAIT = 0.1
HOOK_PACE = 8.0
# Nothing is sent under a claim of which this share of the lease is gone: another worker might come to send it, too.
LATE = 0.25


class Sender(Protocol):
    """Makes one claimed row true in GoHighLevel: a hook or the API."""

    async def prepare(self, rows: Sequence[Row]) -> None:
        """Told of each group before its rows are sent: what all of them need is read once. Raises nothing."""
        ...

    async def send(self, row: Row) -> dict[str, Any]:
        """The result as `finish_deliveries` takes it, without the row's own ids. Never raises for an answer."""
        ...

    async def close(self) -> None:
        """Gives back connections."""
        ...


@dataclass
class DrainReport:
    """What a drain did. `more` is True when it stopped although more is due; `refusal` why nothing may be sent."""

    delivered: int = 0
    failed: int = 0
    more: bool = False
    refusal: str | None = None
    first_error: str | None = None


async def drain_destination(
    engine: Engine,
    open_sender: Callable[[Row], Awaitable[Sender]],
    tenant: str,
    destination: UUID,
    *,
    due_before: datetime | None = None,
    stopping: Callable[[], bool] = lambda: False,
    longest: float = LONGEST_SECONDS,
) -> DrainReport:
    """Sends what is due at a destination for at most `longest` seconds or 5,000 rows.

    `due_before` leaves out rows that became due later (a retry inside the same pass). A run of kind ghl_delivery is opened
    with the first claimed row and closed with the last; none when nothing was due.
    """
    report = DrainReport()
    log = get_log(tenant=tenant, destination=str(destination))
    loop = asyncio.get_running_loop()
    ends = loop.time() + longest
    run: UUID | None = None
    sender: Sender | None = None
    rows_claimed = 0
    booking: asyncio.Task[dict[str, int]] | None = None
    told: dict[tuple[int, int], dict[str, Any]] = {}
    try:
        while not stopping():
            if loop.time() >= ends or rows_claimed >= MOST_ROWS:
                report.more = True
                break
            claimed_at = loop.time()
            rows, run = await _claim(engine, tenant, destination, due_before, run)
            if not rows:
                if booking is not None:
                    # Its customers are in flight until it is booked; then there may be more.
                    _add(report, await booking)
                    booking = None
                    continue
                state = await _state(engine, tenant, destination)
                report.refusal = state.get("refusal")
                wait = float(state.get("wait_seconds") or 0.0)
                if wait > LONGEST_SECONDS:
                    # Longer than a drain may take: the sweep comes back to it.
                    report.refusal = report.refusal or "rate_limited"
                if report.refusal or not state.get("due") or (due_before is not None and wait == 0.0):
                    break
                if loop.time() + wait >= ends:
                    report.more = True
                    break
                # Due, but of a customer who is being served elsewhere: a little later.
                await asyncio.sleep(max(wait, SHORT_WAIT))
                continue
            if sender is None:
                sender = await _open(engine, open_sender, tenant, destination)
            rows_claimed += len(rows)
            await sender.prepare(rows)
            if booking is not None:
                _add(report, await booking)
                booking = None
            if loop.time() - claimed_at > engine.settings.lease_seconds * LATE:
                results = [_repeat(row, told) or _give_back(row) for row in rows]
            else:
                results = await asyncio.gather(*(_send(sender, row, told) for row in rows))
                if report.first_error is None:
                    report.first_error = next((result["error"] for result in results if result.get("error")), None)
            told |= {
                (row["st_job_id"], row["version"]): result
                for row, result in zip(rows, results, strict=True)
                if result["outcome"].startswith("accepted")
            }
            booking = asyncio.ensure_future(_book(engine, tenant, destination, results))
    finally:
        try:
            if booking is not None:
                _add(report, await asyncio.shield(booking))
        finally:
            if sender is not None:
                await sender.close()
            if run is not None:
                await _close_run(engine, tenant, run, report)
                log.info("drained", delivered=report.delivered, failed=report.failed, reason=report.refusal)
    return report


async def _claim(
    engine: Engine, tenant: str, destination: UUID, due_before: datetime | None, run: UUID | None
) -> tuple[list[Row], UUID | None]:
    # By API it only says how many jobs fit into a lease: there each request is paced, by the sender.
    pace = engine.settings.ghl_pace if engine.settings.ghl_pace is not None else HOOK_PACE
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows(
            "claim_deliveries",
            {
                "tenant": tenant,
                "destination": destination,
                "limit": GROUP,
                "lease_seconds": engine.settings.lease_seconds,
                "rate": pace,
                "burst": max(pace, 1.0),
                "due_before": due_before,
            },
        )
        if rows and run is None:
            run = await session.value("open_delivery_run", {"tenant": tenant})
    return rows, run


async def _state(engine: Engine, tenant: str, destination: UUID) -> dict[str, Any]:
    async with engine.database.transaction(tenant) as session:
        return await session.value("destination_state", {"tenant": tenant, "destination": destination}) or {}


async def _destination(engine: Engine, tenant: str, destination: UUID) -> Row:
    async with engine.database.transaction(tenant) as session:
        row = await session.row("read_destination", {"tenant": tenant, "destination": destination})
    assert row is not None
    return row


async def _open(
    engine: Engine, open_sender: Callable[[Row], Awaitable[Sender]], tenant: str, destination: UUID
) -> Sender:
    try:
        return await open_sender(await _destination(engine, tenant, destination))
    except JobSyncError as error:
        # The rows are claimed: they are given back with the reason, and the destination is paused like a dead one.
        return Unopened(error)


class Unopened:
    """The sender of a destination that cannot be opened (its key is gone, its kind is unknown): sends nothing."""

    def __init__(self, error: JobSyncError) -> None:
        self._error = error.message

    async def prepare(self, rows: Sequence[Row]) -> None:
        """Nothing to prepare."""

    async def send(self, row: Row) -> dict[str, Any]:
        """Nothing left this machine, and why."""
        return {"outcome": "unsent", "error": self._error}

    async def close(self) -> None:
        """Nothing to give back."""


def _repeat(row: Row, told: dict[tuple[int, int], dict[str, Any]]) -> dict[str, Any] | None:
    """The answer that this version got already: an outage outlasted the lease before it was booked, and we claimed it again."""
    known = told.get((row["st_job_id"], row["version"]))
    return known and {**known, "requests": 0, "attempt_id": row["attempt_id"], "fence": row["fence"]}


async def _send(sender: Sender, row: Row, told: dict[tuple[int, int], dict[str, Any]]) -> dict[str, Any]:
    known = _repeat(row, told)
    if known is not None:
        return known
    try:
        result = await sender.send(row)
    except Exception as error:  # a bug of ours at one job must not keep the others of its group from being booked
        get_log(job=row["st_job_id"]).error("send_crashed", error_type=type(error).__name__)
        reason = f"JobSync could not build or send this job ({type(error).__name__}); this is a bug."
        result = {"outcome": "rejected", "error": reason}
    return _result_of(row, result)


def _give_back(row: Row) -> dict[str, Any]:
    said = "The database kept the results before it waiting; it is claimed anew."
    return _result_of(row, {"outcome": "stopped", "error": said, "retry_after": 0.0, "requests": 0})


def _result_of(row: Row, result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "attempt_id": row["attempt_id"], "st_job_id": row["st_job_id"], "fence": row["fence"]}


async def _book(engine: Engine, tenant: str, destination: UUID, results: list[dict[str, Any]]) -> dict[str, int]:
    # What GoHighLevel answered exists only here until it is booked: an outage is waited out within the lease.
    async def book() -> dict[str, int]:
        async with engine.database.transaction(tenant) as session:
            return await session.value(
                "finish_deliveries", {"tenant": tenant, "destination": destination, "results": as_jsonb(results)}
            )

    return await repeat_until_stored(book)


async def _close_run(engine: Engine, tenant: str, run: UUID, report: DrainReport) -> None:
    async with engine.database.transaction(tenant) as session:
        await session.value(
            "report_delivery_run",
            {
                "tenant": tenant,
                "run": run,
                "delivered": report.delivered,
                "failed": report.failed,
                "error": report.first_error,
                "final": not report.more,
            },
        )


def _add(report: DrainReport, booked: dict[str, int]) -> None:
    report.delivered += booked["delivered"]
    report.failed += booked["failed"]
