"""One job, by a person's hand: read again from ServiceTitan, taken out with a note, seen from both sides."""

from __future__ import annotations

from functools import partial
from typing import Any

from jobsync.db.pool import as_jsonb
from jobsync.engine.connections import open_servicetitan
from jobsync.engine.context import Engine
from jobsync.engine.lookup import look_up_parents
from jobsync.engine.pull import read_patiently
from jobsync.engine.store import Counts, store
from jobsync.errors import InvalidInput, RecordMissing
from jobsync.gohighlevel.html_text import html_to_text
from jobsync.servicetitan.streams import STREAMS


async def reread_job(engine: Engine, tenant: str, job: int, *, actor: str) -> dict[str, Any]:
    """Asks ServiceTitan for the job and stores it as the pull does; answers {stored, unchanged, quarantined, planned}.

    Two or three requests. Raises RecordMissing where ServiceTitan has no such job (any more), and the errors of its
    client. Twice: the second time nothing changes.
    """
    counts = Counts()
    async with await open_servicetitan(engine, tenant, on_request=counts.count_request) as client:
        page = await read_patiently(partial(client.by_ids, STREAMS["jobs"], [job]))
        if not page.records:
            raise RecordMissing(
                f"ServiceTitan shows no job {job}.", hint="It may have been deleted there, or is another tenant's."
            )
        await store(engine, tenant, STREAMS["jobs"], page, counts)
        await look_up_parents(engine, client, tenant, Counts())
    async with engine.database.transaction(tenant) as session:
        details = as_jsonb({"stored": counts.stored, "unchanged": counts.unchanged, "quarantined": counts.quarantined})
        parameters = {"tenant": tenant, "actor": actor, "action": "reread", "job": job, "details": details}
        await session.run("write_job_audit", parameters)
    return counts.report()


async def skip_job(engine: Engine, tenant: str, job: int, note: str, *, actor: str) -> None:
    """Takes a job out of delivery and keeps the note in the audit. Replay with force brings it back.

    Raises InvalidInput without a note, SendingRefused for what was delivered or is being sent, RecordMissing.
    """
    if not note.strip():
        raise InvalidInput("A skipped job needs a note that says why.", field="note")
    async with engine.database.transaction(tenant) as session:
        parameters = {"tenant": tenant, "job": job, "note": note.strip(), "actor": actor}
        await session.run("skip_job", parameters)


async def show_sides(engine: Engine, tenant: str, job: int) -> list[dict[str, Any]]:
    """What ServiceTitan says and what GoHighLevel was told, a row each: {field, servicetitan, gohighlevel, differs}.

    `gohighlevel` None: nothing was told about it yet. Texts were kept as hashes (no personal data): of the summary only
    whether it differs is known. Raises RecordMissing.
    """
    async with engine.database.transaction(tenant) as session:
        row = await session.row("show_sides", {"tenant": tenant, "job": job})
    if row is None:
        raise RecordMissing(f"No job has the id {job}.")
    rows = [
        {"field": "customer", "servicetitan": row["customer_name"], "gohighlevel": row["ghl_contact_id"] or row["contact_id"], "differs": False},
        {"field": "phone", "servicetitan": row["phone"], "gohighlevel": None, "differs": False},
        {"field": "e-mail", "servicetitan": row["email"], "gohighlevel": None, "differs": False},
        {
            "field": "address",
            "servicetitan": ", ".join(row[name] for name in ("street", "city", "state", "postal_code") if row[name]) or None,
            "gohighlevel": None,
            "differs": False,
        },
    ]  # fmt: skip
    told, now = row["told"], row["now_facts"] or {}
    for name in ("status", "job_type", "priority", "total", "completed_on", "campaign", "tags"):
        shown = row["job_type_name"] if name == "job_type" and row["job_type_name"] else now.get(name)
        rows.append(_compare(name.replace("_", " "), shown, now.get(name), told, name))
    rows.append(
        {
            **_compare(
                "summary", html_to_text(row["summary"], limit=1000) or None, now.get("summary"), told, "summary"
            ),
            "long": True,
        }
    )
    names_now, names_told = row["now_as"] or {}, row["told_as"]
    for name in ("unit_name", "pipeline", "stage"):
        rows.append(_compare(name.replace("_name", ""), names_now.get(name), names_now.get(name), names_told, name))
    if row["opportunity_id"]:
        where = " / ".join(part for part in (row["card_pipeline"], row["card_stage"], row["card_status"]) if part)
        shown = f"{where or 'card'}{' (deleted)' if row['gone_at'] else ''}"
        rows.append(
            {"field": "card", "servicetitan": None, "gohighlevel": shown, "differs": row["gone_at"] is not None}
        )
    return [
        one for one in rows if one["servicetitan"] not in (None, "", []) or one["gohighlevel"] not in (None, "", [])
    ]


def _compare(field: str, shown: Any, now: Any, told: dict[str, Any] | None, name: str) -> dict[str, Any]:
    differs = told is not None and told.get(name) != now
    if told is None:
        before = None
    elif name == "summary":
        before = "another text" if differs else "the same text"
    else:
        before = told.get(name) if differs else shown
    return {"field": field, "servicetitan": shown, "gohighlevel": before, "differs": differs}
