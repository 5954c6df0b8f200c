"""Passes: one scheduled (or asked for) pull of all due streams of a tenant, as one `job_pull` row of sync_logs.

Each stream is a task of its own, so that a slow or broken one delays no other; contacts follow their owners. The last
stream to finish closes the row; after all that jobs need, parents that are still missing are looked up by ids. A stream's
error is written into the pass, never lost; a worker that dies leaves a row that the schedule closes as abandoned. A
stream that jobs do not need and that the app has no scope for is `not granted`: no failure, and it rests for a day.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from jobsync.db.pool import as_jsonb
from jobsync.engine.connections import open_servicetitan
from jobsync.engine.context import Engine
from jobsync.engine.lookup import look_up_parents
from jobsync.engine.pull import pull_stream
from jobsync.engine.sold_estimates import SOLD_ESTIMATES, pull_sold_estimates
from jobsync.engine.store import Counts
from jobsync.errors import AccessDenied, CredentialsRejected, JobSyncError, LockHeld, RecordMissing
from jobsync.log import get_log
from jobsync.servicetitan.client import ServiceTitanClient

JOB_STREAMS = ("jobs", "customers", "locations", "customer_contacts", "location_contacts")
# Contacts are read once all their owners are there: whoever is stored later counts as not read yet, and its jobs wait. In a
# first load they come before them as well, so that an owner is written once, with the best of his contacts.
READ_AFTER = {"customer_contacts": "customers", "location_contacts": "locations"}
CONTACTS_OF = {owners: contacts for contacts, owners in READ_AFTER.items()}
PARENT_STREAMS = tuple(name for name in JOB_STREAMS if name != "jobs")
REFERENCE_STREAMS = ("business_units", "job_types", "tag_types", "campaigns")
ACTIVITY_STREAMS = ("appointments", "estimates", "invoices", "technician_assignments")
# Records of a stream that are read once more by another time than that of their modification.
READ_AGAIN = (SOLD_ESTIMATES,)
PULLED_STREAMS = REFERENCE_STREAMS + JOB_STREAMS + ACTIVITY_STREAMS + READ_AGAIN
OPTIONAL_STREAMS = (*ACTIVITY_STREAMS, "tag_types", "campaigns")
NOT_GRANTED = "not granted"
LOOK_UP = "look_up"


async def open_pass(
    engine: Engine, tenant: str, trigger: str, *, streams: tuple[str, ...] | None = None
) -> tuple[UUID, list[str]]:
    """Opens a pass over the given streams (default: all that are due) and answers its id and their names.

    In a first load owners are held until their contacts were read, and jobs until their parents were: none of them has to
    wait for a parent and be looked at again then, and each page is due as soon as it is stored.
    """
    async with engine.database.transaction(tenant) as session:
        undue = {row["stream"] for row in await session.rows("list_undue_streams", {"tenant": tenant})}
        due = [name for name in (streams or PULLED_STREAMS) if name not in undue or streams]
        # Parents are looked up only where jobs or their parents are read.
        steps = [*due, LOOK_UP] if any(name in JOB_STREAMS for name in due) else due
        held = []
        has_parents = "jobs" in due and any(name in due for name in PARENT_STREAMS)
        if has_parents and await session.value("is_first_load", {"tenant": tenant}):
            owners = [name for name, contacts in CONTACTS_OF.items() if name in due and contacts in due]
            held = ["jobs", *owners]
        opening = {"tenant": tenant, "streams": steps, "trigger": trigger, "held": held}
        run = await session.value("open_pass", opening)
    return run, due


async def run_stream(engine: Engine, tenant: str, name: str, run: UUID | None) -> Counts:
    """Pulls one stream and writes what came of it into the pass. Never raises for what the pull met: the pass holds it.

    Run twice, the second run reads from where the first one ended. Raises DatabaseUnavailable when the result cannot be
    written.
    """
    counts = Counts()
    failure: JobSyncError | None = None
    log = get_log(tenant=tenant, stream=name, run=str(run))
    try:
        # Other streams that fail may open the breaker; jobs are asked for all the same.
        insist = name == "jobs"
        async with await open_servicetitan(engine, tenant, on_request=counts.count_request, insist=insist) as client:
            if name == LOOK_UP:
                await look_up_parents(engine, client, tenant, counts)
            elif name == SOLD_ESTIMATES:
                await pull_sold_estimates(engine, client, tenant, counts)
            else:
                await _pull_own(engine, client, tenant, name, counts)
                if name in CONTACTS_OF and await _follows(engine, tenant, run, name, CONTACTS_OF[name]):
                    # What was added to the contacts while their owners were read; unless somebody reads them already.
                    with suppress(LockHeld):
                        await pull_stream(engine, client, tenant, CONTACTS_OF[name], Counts())
            clock = client.clock
    except LockHeld as error:
        failure = error
        log.info("stream_taken_over")
    except JobSyncError as error:
        if is_not_granted(name, error):
            log.info("stream_not_granted", code=error.code)
            await _rest_stream(engine, tenant, run, name, counts, error)
            return counts
        failure = error
        await _note_refusal(engine, tenant, name, error)
        log.warning("stream_failed", code=error.code, error_type=type(error).__name__)
    except Exception as error:  # a bug of ours must not leave the pass open for ever
        failure = JobSyncError(f"Reading {name} ended in an unexpected error ({type(error).__name__}).")
        log.error("stream_crashed", error_type=type(error).__name__)
    else:
        if name == "jobs":
            await _note_state(engine, tenant, "ok", None, clock)
        log.info(
            "stream_read",
            pulled=counts.pulled,
            stored=counts.stored,
            quarantined=counts.quarantined,
            pages=counts.pages,
        )
    await finish_stream(engine, tenant, run, name, counts.report(), failure)
    return counts


async def _pull_own(engine: Engine, client: ServiceTitanClient, tenant: str, name: str, counts: Counts) -> None:
    try:
        await pull_stream(engine, client, tenant, name, counts)
    except LockHeld:
        if name not in READ_AFTER:
            raise
        # Another pass read on in it with its owners' stream: on from where that one came to.
        await pull_stream(engine, client, tenant, name, counts)


async def _note_refusal(engine: Engine, tenant: str, name: str, error: JobSyncError) -> None:
    """Notes that only a person can help: no sign-in, or no access to the jobs. The schedule then asks less often."""
    if isinstance(error, CredentialsRejected):
        await _note_state(engine, tenant, "auth_failed", error.message)
    elif isinstance(error, AccessDenied) and name == "jobs":
        await _note_state(engine, tenant, "access_denied", error.message)


async def _note_state(
    engine: Engine, tenant: str, state: str, reason: str | None, clock: datetime | None = None
) -> None:
    async with engine.database.transaction(tenant) as session:
        if clock is not None:
            facts = {"tenant": tenant, "upstream": "servicetitan", "clock": clock, "limit": None, "remaining": None}
            await session.run("note_upstream", facts)
        await session.value(
            "set_upstream_state", {"tenant": tenant, "upstream": "servicetitan", "state": state, "reason": reason}
        )


def is_not_granted(name: str, error: JobSyncError) -> bool:
    """True where ServiceTitan does not let this app read a stream that jobs do not need (403, or 404 for its path)."""
    return name in OPTIONAL_STREAMS + READ_AGAIN and isinstance(error, AccessDenied | RecordMissing)


async def _rest_stream(
    engine: Engine, tenant: str, run: UUID | None, name: str, counts: Counts, error: JobSyncError
) -> None:
    async with engine.database.transaction(tenant) as session:
        await session.value("rest_refused_stream", {"tenant": tenant, "stream": name})
    report = {
        **counts.report(),
        "status": NOT_GRANTED,
        "code": error.code,
        "refusal": error.message,
        "hint": error.hint,
    }
    await finish_stream(engine, tenant, run, name, report, None)


async def finish_stream(
    engine: Engine, tenant: str, run: UUID | None, name: str, report: dict[str, Any], failure: JobSyncError | None
) -> None:
    """Writes a stream's report into its pass; the last one closes the pass. Does nothing without a pass."""
    if run is None:
        return
    if failure is not None:
        report = {**report, "code": failure.code, "exit_code": failure.exit_code, "hint": failure.hint}
    async with engine.database.transaction(tenant) as session:
        await session.value(
            "finish_stream",
            {
                "tenant": tenant,
                "run": run,
                "stream": name,
                "report": as_jsonb(report),
                "error": None if failure is None else failure.message,
            },
        )


async def read_pass(engine: Engine, tenant: str, run: UUID) -> dict[str, Any] | None:
    """The row of a pass: status, error_message, started_at, completed_at, metadata; None when there is none."""
    async with engine.database.transaction(tenant) as session:
        return await session.row("read_run", {"tenant": tenant, "run": run})


async def list_waiting(engine: Engine, tenant: str, run: UUID) -> dict[str, bool]:
    """Streams of a pass that have no result yet, and whether each is held; none when the pass is closed."""
    row = await read_pass(engine, tenant, run)
    if row is None or row["status"] != "running":
        return {}
    streams = row["metadata"]["streams"]
    return {name: entry.get("held", False) for name, entry in streams.items() if entry["status"] == "waiting"}


async def _follows(engine: Engine, tenant: str, run: UUID | None, name: str, other: str) -> bool:
    """Whether the stream was held in its pass until the other one had been read."""
    waiting = {} if run is None else await list_waiting(engine, tenant, run)
    return waiting.get(name, False) and other not in waiting


async def report_pass(engine: Engine, tenant: str, run: UUID) -> dict[str, Any]:
    """Counts of a pass and of what was delivered since it started."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("report_pass", {"tenant": tenant, "run": run})
