"""Why a job is where it is: its story from attempts and audit, the cause in one sentence, and what to do."""

from __future__ import annotations

from typing import Any

from jobsync.engine.context import Engine
from jobsync.errors import RecordMissing

CAUSES: dict[str, tuple[str, str]] = {
    "unmapped": ("its business unit has no route", "jobsync units set {unit} --webhook URL"),
    "unit_off": ("its business unit is switched off", "jobsync units set {unit} --webhook URL"),
    "before_start": ("it was created before JobSync began to deliver", "jobsync arm --since DATE sends older jobs too"),
    "backfilled": (
        "a backfill brought it, and what a backfill brings is never sent by itself",
        "jobsync backfill --since DATE --deliver, or: jobsync replay {job} --force --yes",
    ),
    "imported": (
        "it was imported, and imported jobs are never sent by themselves",
        "jobsync replay {job} --force --yes",
    ),
    "by_hand": ("somebody marked it as skipped", "jobsync replay {job} --force --yes"),
    "test_only": (
        "GoHighLevel took it for a test sample: the workflow's trigger is not saved or not published",
        "publish the workflow, then: jobsync replay {job}",
    ),
    "rejected": ("the hook refused it", "see the answer above, then: jobsync replay {job}"),
    "attempts_used_up": ("every attempt failed", "mend the hook, then: jobsync replay {job}"),
    "worker_died": ("the worker died five times while sending it", "jobsync replay {job}"),
    "retrying": ("the last attempt failed; it is tried again by itself", "mend the hook, or wait"),
    "destination_unsent": ("the hook cannot be reached; it is tried again by itself", "check the hook's URL"),
    "destination_gone": (
        "the hook does not exist any more",
        "paste the new URL: jobsync units set {unit} --webhook URL",
    ),
    "destination_unauthorized": (
        "the hook refuses access",
        "paste the new URL: jobsync units set {unit} --webhook URL",
    ),
    "destination_rate_limited": ("the hook asked to slow down; it is tried again by itself", "wait"),
    "update": ("it changed since it was delivered; the update waits", "wait"),
    "replay": ("a replay was asked for and waits", "wait"),
}


async def identify_job(engine: Engine, tenant: str, text: str) -> int:
    """The ST id of the job that `text` means: its id, number or GoHighLevel id. Raises RecordMissing."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    async with engine.database.transaction(tenant) as session:
        found = await session.value("identify_job", {"tenant": tenant, "id": number, "text": text})
    if found is None:
        raise RecordMissing(f"No job has the id or number {text}.", hint="Look it up: jobsync jobs list")
    return found


async def explain_job(engine: Engine, tenant: str, job: int) -> dict[str, Any]:
    """The job's state, story, cause and fix. Raises RecordMissing."""
    async with engine.database.transaction(tenant) as session:
        facts = await session.row("tell_job", {"tenant": tenant, "job": job})
        attempts = await session.rows("list_attempts", {"tenant": tenant, "job": job})
        audit = await session.rows("list_job_audit", {"tenant": tenant, "subject": f"job:{job}"})
    if facts is None:
        raise RecordMissing(f"No job has the id {job}.")
    cause, fix = find_cause(facts)
    return {"job": facts, "attempts": attempts, "audit": audit, "why": cause, "fix": fix}


def find_cause(facts: dict[str, Any]) -> tuple[str, str | None]:
    """Cause and fix in words, from the facts of `tell_job`."""
    status, reason = facts["ghl_sync_status"], facts["ghl_sync_reason"]
    if status == "synced":
        if "no_execution_id" in (facts["ghl_sync_flags"] or []):
            return "GoHighLevel accepted it without an execution id", "check it in GoHighLevel"
        return ("it was read back from GoHighLevel" if facts["ghl_verified_at"] else "GoHighLevel accepted it"), None
    if status == "pending" and facts["deliverer"] == "external":
        return (
            "somebody else delivers this unit (n8n, a script) and has not marked it yet",
            "jobsync units set {unit} --webhook URL".format(unit=facts["business_unit_id"]),
        )
    if status == "pending":
        if facts["mode"] != "live":
            return f"nothing is sent: mode is {facts['mode']}", "jobsync arm"
        if facts["tenant_paused_at"] is not None:
            return "sending is paused", "jobsync resume"
        if facts["destination_paused_at"] is not None:
            return f"its destination is paused: {facts['destination_pause_reason']}", "mend it, then: jobsync resume"
        if facts["armed"] is False:
            return f"its route is not armed: {facts['armed_reason']}", "switch the old flow off, then: jobsync arm"
        if facts["waiting_for"] == "parents":
            return (
                "its customer, location or contacts were not read yet",
                "wait; it goes out after 15 minutes in any case",
            )
        if facts["waiting_for"] == "record_cap":
            return "it was sent five times today already", "it goes out tomorrow"
    cause, fix = CAUSES.get(reason or "", ("it waits for its turn", "wait"))
    return cause, fix.format(unit=facts["business_unit_id"], job=facts["st_job_id"])
