"""Why a job is where it is: its story from attempts and audit, the cause in one sentence, and what to do."""

from __future__ import annotations

from typing import Any

from jobsync.engine.causes import API_CAUSES, CAUSES, FLAGS, UNFOUND
from jobsync.engine.context import Engine
from jobsync.errors import RecordMissing
from jobsync.gohighlevel.payloads import webhook_body
from jobsync.servicetitan.phones import normalise_phone

MOST_MATCHES = 20


async def identify_job(engine: Engine, tenant: str, text: str) -> int:
    """The ST id of the one job that `text` means: its id, number or GoHighLevel id. Raises RecordMissing."""
    async with engine.database.transaction(tenant) as session:
        found = await session.value("identify_job", {"tenant": tenant, "id": _read_number(text), "text": text})
    if found is None:
        raise RecordMissing(f"No job has the id or number {text}.", hint="Look it up: jobsync jobs list")
    return found


async def search_jobs(engine: Engine, tenant: str, text: str, *, limit: int = MOST_MATCHES) -> list[dict[str, Any]]:
    """Jobs that `text` means, newest first: ST id, job number, GoHighLevel id, phone, e-mail or a customer's name.

    What is surest answers alone: an id is never mixed with names. Empty when nothing matches. Each row says in `matched`
    by what it was found.
    """
    async with engine.database.transaction(tenant) as session:
        return await session.rows(
            "search_jobs",
            {
                "tenant": tenant,
                "text": text,
                "number": _read_number(text),
                "phone": normalise_phone(text),
                "limit": limit,
            },
        )


def _read_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


async def explain_job(engine: Engine, tenant: str, job: int) -> dict[str, Any]:
    """The job's state, story, cause and fix. Raises RecordMissing."""
    async with engine.database.transaction(tenant) as session:
        facts = await session.row("tell_job", {"tenant": tenant, "job": job})
        if facts is None:
            raise RecordMissing(f"No job has the id {job}.")
        attempts = await session.rows("list_attempts", {"tenant": tenant, "job": job})
        audit = await session.rows(
            "list_job_audit",
            {
                "tenant": tenant,
                "subject": f"job:{job}",
                "unit": f"unit:{facts['business_unit_id']}",
                "since": facts["created_at"],
            },
        )
    cause, fix = find_cause(facts)
    return {"job": facts, "attempts": attempts, "audit": audit, "why": cause, "fix": fix}


async def preview_payload(engine: Engine, tenant: str, job: int) -> dict[str, Any]:
    """The body that a hook would get for this job now. Sends nothing. Raises RecordMissing."""
    async with engine.database.transaction(tenant) as session:
        row = await session.row("preview_job", {"tenant": tenant, "job": job})
    if row is None:
        raise RecordMissing(f"No job has the id {job}.")
    return webhook_body(
        row,
        delivery_id=str(row["next_delivery_id"]),
        event=row["next_event"],
        version=row["next_version"],
        occurred_at=row["planned_at"],
    )


def find_cause(facts: dict[str, Any]) -> tuple[str, str | None]:
    """Cause and fix in words, from the facts of `tell_job`."""
    cause, fix = _find(facts)
    known = {"unit": facts["business_unit_id"], "job": facts["st_job_id"], "customer": facts["st_customer_id"]}
    return cause, None if fix is None else fix.format(**known)


def _find(facts: dict[str, Any]) -> tuple[str, str | None]:
    status = facts["ghl_sync_status"]
    if status == "synced":
        return _find_of_delivered(facts)
    if status == "pending":
        waiting = _find_of_waiting(facts)
        if waiting is not None:
            return waiting
    reason = facts["ghl_sync_reason"] or ""
    if facts["destination_kind"] == "api" and reason in API_CAUSES:
        return API_CAUSES[reason]
    return CAUSES.get(reason, ("it waits for its turn", "wait"))


def _find_of_delivered(facts: dict[str, Any]) -> tuple[str, str | None]:
    flags = facts["ghl_sync_flags"] or []
    if "doubled_in_ghl" in flags:
        return "it was read back from GoHighLevel, where two cards carry its id", "delete the newer one in GoHighLevel"
    known = next((FLAGS[flag] for flag in FLAGS if flag in flags), None)
    if known is not None:
        return known
    if facts["state"] == "verified":
        return "it was read back from GoHighLevel", None
    if facts["verify_result"] in UNFOUND:
        return UNFOUND[facts["verify_result"]]
    if "no_execution_id" in flags:
        return "GoHighLevel accepted it without an execution id", "check it in GoHighLevel"
    if facts["deliverer"] == "external":
        return "whoever delivers this unit marked it as synced", None
    return "GoHighLevel accepted it", None


def _find_of_waiting(facts: dict[str, Any]) -> tuple[str, str | None] | None:
    if facts["deliverer"] == "external":
        return (
            "somebody else delivers this unit (n8n, a script) and has not marked it yet",
            "jobsync units set {unit} --webhook URL",
        )
    if facts["mode"] != "live":
        if facts["mode_reason"] in ("cap_hour", "cap_day"):
            return f"the cap on sends was reached ({facts['mode_reason']}): JobSync disarmed itself", "jobsync arm"
        return f"nothing is sent: mode is {facts['mode']}", "jobsync arm"
    if facts["tenant_paused_at"] is not None:
        return "sending is paused", "jobsync resume"
    if facts["destination_paused_at"] is not None:
        return f"its destination is paused: {facts['destination_pause_reason']}", "mend it, then: jobsync resume"
    if facts["armed"] is False:
        return f"its route is not armed: {facts['armed_reason']}", "switch the old flow off, then: jobsync arm"
    if facts["arm_remaining"] == 0:
        return "the sends of a limited arm are used up", "jobsync arm --yes"
    if facts["waiting_for"] == "parents":
        return (
            "its customer, location or contacts were not read yet",
            "wait; it goes out after 15 minutes in any case",
        )
    if facts["waiting_for"] == "first_pull":
        return (
            "the old flow stored it, and ServiceTitan's own record of it was not read yet",
            "jobsync sync; it goes out after 6 hours in any case",
        )
    if facts["waiting_for"] == "record_cap":
        return "it was sent as often today as one job may be", "it goes out tomorrow"
    return None
