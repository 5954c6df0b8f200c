"""Why a job is where it is: its story from attempts and audit, the cause in one sentence, and what to do."""

from __future__ import annotations

from typing import Any

from jobsync.engine.context import Engine
from jobsync.errors import RecordMissing
from jobsync.gohighlevel.payloads import webhook_body
from jobsync.servicetitan.phones import normalise_phone

MOST_MATCHES = 20
CAUSES: dict[str, tuple[str, str]] = {
    "unmapped": ("its business unit has no route", "jobsync units set {unit} --webhook URL"),
    "on_sales_card": (
        "it goes on with the card of the job whose sold estimate it was made from",
        "jobsync units set {unit} --card own gives later jobs cards of their own",
    ),
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
    "failed_outside": (
        "the old flow had marked it as failed before this database was adopted",
        "once JobSync delivers its unit: jobsync replay {job} --yes",
    ),
    "by_hand": ("somebody marked it as skipped", "jobsync replay {job} --force --yes"),
    "deleted_in_ghl": (
        "its card was deleted in GoHighLevel, and nobody makes it again by itself",
        "jobsync replay {job} --force --yes makes a new one",
    ),
    "no_contact": (
        "its customer and location have neither phone nor e-mail",
        "add one in ServiceTitan; it goes out by itself",
    ),
    "shared_contact": (
        "the contact with its phone or e-mail is another customer's, and a person has to decide",
        "jobsync customers review, then: jobsync customers decide {customer} share (or skip)",
    ),
    "no_pipeline": (
        "its unit's route names no pipeline that GoHighLevel has",
        "jobsync units set {unit} --pipeline NAME",
    ),
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
UNFOUND: dict[str, tuple[str, str]] = {
    "missing": (
        "GoHighLevel accepted it, and nothing of it is there: the workflow may be a draft, or its action fails",
        "publish the workflow, then: jobsync replay {job} --force --yes",
    ),
    "unmarked": (
        "GoHighLevel made a card that does not carry the job's id, so nothing can be proven",
        "let the workflow write the custom field st_job_id",
    ),
    "unknown": ("GoHighLevel accepted it, and could not be asked yet whether it is there", "jobsync verify"),
}


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
    return CAUSES.get(facts["ghl_sync_reason"] or "", ("it waits for its turn", "wait"))


def _find_of_delivered(facts: dict[str, Any]) -> tuple[str, str | None]:
    flags = facts["ghl_sync_flags"] or []
    if "doubled_in_ghl" in flags:
        return "it was read back from GoHighLevel, where two cards carry its id", "delete the newer one in GoHighLevel"
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
    if facts["waiting_for"] == "record_cap":
        return "it was sent as often today as one job may be", "it goes out tomorrow"
    return None
