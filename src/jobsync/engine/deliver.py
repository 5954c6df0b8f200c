"""Deliver: drains one destination. Claim -> send -> finish, at most 64 at a time, until nothing is due; while a group is
sent, the next one is claimed.

The claim decides (SQL) whether anything may leave at all and opens an attempt for each send; no transaction is open while
a request is under way; the finish books a batch in one call. A worker that dies leaves attempts open and leases that
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
from jobsync.engine.claims import GROUP, Claims, Group
from jobsync.engine.context import Engine
from jobsync.engine.send_window import SendWindow
from jobsync.errors import JobSyncError
from jobsync.log import get_log

LONGEST_SECONDS = 10.0
MOST_ROWS = 5000
SHORT_WAIT = 0.1
# Nothing is sent under a claim of which this share of the lease is gone: another worker might come to send it, too.
LATE = 0.25
TOO_LATE = "The database kept the results before it waiting; it is claimed anew."
STOPPED = "JobSync was stopped before it was sent; it is claimed anew."


class Sender(Protocol):
    """Makes one claimed row true in GoHighLevel: a hook or the API."""

    # Whether rows of the next group may be sent while some of this one are under way.
    overlaps: bool

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
    untried_since: datetime | None = None,
    stopping: Callable[[], bool] = lambda: False,
    longest: float = LONGEST_SECONDS,
) -> DrainReport:
    """Sends what is due at a destination for at most `longest` seconds or 5,000 rows.

    `due_before` leaves out rows that became due later, `untried_since` those that were tried since (retries inside the
    same pass). A run of kind ghl_delivery is opened with the first claimed row and closed with the last; none when
    nothing was due.
    """
    report = DrainReport()
    log = get_log(tenant=tenant, destination=str(destination))
    loop = asyncio.get_running_loop()
    ends = loop.time() + longest
    claims = Claims(engine, tenant, destination, due_before, untried_since)
    sender: Sender | None = None
    told: dict[tuple[int, int], dict[str, Any]] = {}

    async def book(results: list[dict[str, Any]]) -> None:
        if report.first_error is None:
            report.first_error = next((result["error"] for result in results if result.get("error")), None)
        booked = await _book(engine, tenant, destination, results)
        report.delivered += booked["delivered"]
        report.failed += booked["failed"]

    async def send(sender: Sender, row: Row) -> dict[str, Any]:
        result = await _send(sender, row, told)
        if result["outcome"].startswith("accepted"):
            told[row["st_job_id"], row["version"]] = result
        return result

    async def give_back(row: Row, said: str) -> dict[str, Any]:
        return _repeat(row, told) or _give_back(row, said)

    def is_enough() -> bool:
        return loop.time() >= ends or claims.rows >= MOST_ROWS

    def may_ask(group: Group, sender: Sender) -> bool:
        # Behind less than half a group there is hardly another one.
        is_wanted = sender.overlaps and not group.is_alone and len(group.rows) > GROUP // 2
        return is_wanted and not is_enough() and not stopping()

    window = SendWindow(book, GROUP)
    try:
        while claims.is_ahead or not stopping():
            if not claims.is_ahead and is_enough():
                report.more = True
                break
            group = await claims.take()
            if not group.rows:
                if window.is_busy:
                    # Its customers are in flight until it is booked; then there may be more.
                    await window.move()
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
            # If it kills this worker, too, only it is to die with it.
            if group.is_alone or not sender.overlaps:
                await window.finish()
            await sender.prepare(group.rows)
            if may_ask(group, sender):
                claims.ask()
            for row in group.rows:
                await window.enter()
                if stopping():
                    window.start(give_back(row, STOPPED))
                elif loop.time() - group.at > engine.settings.lease_seconds * LATE:
                    window.start(give_back(row, TOO_LATE))
                else:
                    window.start(send(sender, row))
            if group.is_alone:
                await window.finish()
    except asyncio.CancelledError:
        window.abandon()
        raise
    finally:
        try:
            await claims.close()
            await asyncio.shield(window.finish())
        finally:
            if sender is not None:
                await sender.close()
            if claims.run is not None:
                await _close_run(engine, tenant, claims.run, report)
                log.info("drained", delivered=report.delivered, failed=report.failed, reason=report.refusal)
    return report


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

    overlaps = True

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


def _give_back(row: Row, said: str) -> dict[str, Any]:
    return _result_of(row, {"outcome": "stopped", "error": said, "retry_after": 0.0, "requests": 0})


def _result_of(row: Row, result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "attempt_id": row["attempt_id"], "st_job_id": row["st_job_id"], "fence": row["fence"]}


async def _book(engine: Engine, tenant: str, destination: UUID, results: list[dict[str, Any]]) -> dict[str, int]:
    # What GoHighLevel answered exists only here until it is booked: an outage is waited out within the lease.
    async def book() -> dict[str, int]:
        told = {"tenant": tenant, "destination": destination, "results": as_jsonb(results)}
        (row,) = await engine.database.call(tenant, "finish_deliveries", told)
        return row["finish_deliveries"]

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
