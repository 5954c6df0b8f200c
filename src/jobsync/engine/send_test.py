"""Send-test: one invented job to the hook of a unit, and what became of it: queued, test-only or landed.

The job exists nowhere but in the body: it is marked as a test, carries a delivery id of its own, and its person has a
phone and an e-mail that belong to nobody. It counts against the caps, and GoHighLevel bills it like any other. Where
GoHighLevel is connected it is looked for, so that a draft is found out before real jobs go into it.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections import defaultdict
from typing import Any

import msgspec

from jobsync.db.pool import Row, as_jsonb
from jobsync.engine.claims import HOOK_PACE
from jobsync.engine.context import Engine
from jobsync.engine.ghl_connection import open_gohighlevel, read_gohighlevel_credentials
from jobsync.engine.verify import Look
from jobsync.gohighlevel.destination_guard import Guard, make_session
from jobsync.gohighlevel.outcomes import Answer, Outcome
from jobsync.gohighlevel.payloads import webhook_body
from jobsync.gohighlevel.webhook import post_webhook

TEST_NUMBER = "JOBSYNC-TEST"
TEST_PHONE = "+16025550100"
TEST_EMAIL = "jobsync-test@example.com"
LOOK_EVERY = 3.0
# Above every id that ServiceTitan gives, below what a JSON number holds exactly.
FIRST_ID = 8_000_000_000_000_000
NOT_RUN = (
    Outcome.TEST_ONLY,
    Outcome.REJECTED,
    Outcome.UNAUTHORIZED,
    Outcome.GONE,
    Outcome.RATE_LIMITED,
    Outcome.UNSENT,
)


async def send_test(engine: Engine, tenant: str, unit: int, *, actor: str, wait: float = 60.0) -> dict[str, Any]:
    """Sends the invented job and answers {result, why, next, unit, delivery_id, st_job_id, status, opportunity_id}.

    `result`: landed (its card was read back), queued (accepted; not found within `wait` seconds, or GoHighLevel is not
    connected), test_only, or failed. Raises SendingRefused when nothing may be sent, RecordMissing for an unknown unit.
    """
    pace = engine.settings.ghl_pace if engine.settings.ghl_pace is not None else HOOK_PACE
    async with engine.database.transaction(tenant) as session:
        opened = await session.value(
            "open_test_send", {"tenant": tenant, "unit": unit, "rate": pace, "burst": max(pace, 1.0), "actor": actor}
        )
        destination = await session.row("read_destination", {"tenant": tenant, "destination": opened["destination"]})
        now = await session.value("read_now")
    assert destination is not None
    job = FIRST_ID + secrets.randbelow(10**12)
    delivery = str(uuid.uuid4())
    row = invent_job(job, unit, opened["unit_name"])
    body = webhook_body(row, delivery_id=delivery, event="test", version=1, occurred_at=now)
    guard = Guard(engine.settings.allow_hosts)
    async with make_session(guard) as session:
        url = engine.keyring.open(destination["sealed"], destination["key_id"])
        answer = await post_webhook(session, url, msgspec.json.encode(body), guard=guard)
    found = await _judge(engine, tenant, unit, answer, {**row, "accepted_at": now}, wait)
    found |= {"unit": unit, "delivery_id": delivery, "st_job_id": job, "status": answer.status}
    async with engine.database.transaction(tenant) as session:
        await session.run(
            "close_test_send",
            {
                "tenant": tenant,
                "unit": unit,
                "result": found["result"],
                "details": as_jsonb({"delivery_id": delivery, "status": answer.status}),
                "executed": answer.outcome not in NOT_RUN,
                "actor": actor,
            },
        )
    return found


def invent_job(job: int, unit: int, unit_name: str | None) -> Row:
    """A row like one of jobsync.projections, of a job and a person that do not exist and say so."""
    known: dict[str, Any] = {
        "st_job_id": job,
        "st_job_number": TEST_NUMBER,
        "st_customer_id": FIRST_ID,
        "st_location_id": FIRST_ID,
        "business_unit_id": unit,
        "business_unit_name": unit_name,
        "job_type_name": "JobSync test",
        "job_status": "Scheduled",
        "summary": "This is a test of JobSync. Nobody booked it; you may delete it.",
        "customer_name": "JobSync Test",
        "first_name": "JobSync",
        "last_name": "Test",
        "phone": TEST_PHONE,
        "email": TEST_EMAIL,
        "ghl_opportunity_id": None,
        "ghl_contact_id": None,
        "version": 1,
    }
    return defaultdict(lambda: None, known)


async def _judge(engine: Engine, tenant: str, unit: int, answer: Answer, row: Row, wait: float) -> dict[str, Any]:
    if answer.outcome is Outcome.TEST_ONLY:
        return {
            "result": "test_only",
            "opportunity_id": None,
            "why": "GoHighLevel took it for a sample: the workflow's trigger is not saved or not published.",
            "next": f"Publish the workflow, then: jobsync send-test --unit {unit}",
        }
    if answer.outcome not in (Outcome.ACCEPTED, Outcome.ACCEPTED_WITHOUT_ID):
        return {
            "result": "failed",
            "opportunity_id": None,
            "why": answer.error or "The hook did not take it.",
            "next": f"Check the hook's URL: jobsync units set {unit} --webhook URL",
        }
    if await read_gohighlevel_credentials(engine, tenant) is None:
        return {
            "result": "queued",
            "opportunity_id": None,
            "why": "GoHighLevel accepted it. Whether anything came of it cannot be seen: GoHighLevel's API is not connected.",
            "next": "Look for contact JobSync Test in GoHighLevel, or set GHL_API_KEY and GHL_LOCATION_ID",
        }
    card, why = await _look_for(engine, tenant, row, wait)
    if card is not None:
        return {
            "result": "landed",
            "opportunity_id": card,
            "why": "Its card was read back from GoHighLevel.",
            "next": "jobsync arm --limit 10",
        }
    return {
        "result": "queued",
        "opportunity_id": None,
        "why": why,
        "next": "Publish the workflow and look at its last run",
    }


async def _look_for(engine: Engine, tenant: str, row: Row, wait: float) -> tuple[str | None, str]:
    loop = asyncio.get_running_loop()
    ends = loop.time() + wait
    async with open_gohighlevel(engine, tenant) as client:
        look = Look(client)
        while True:
            (seen,) = await look.at_all([row])
            if seen["result"] == "verified":
                return seen["opportunity_id"], ""
            if look.error is not None:
                return None, f"GoHighLevel accepted it, and could not be asked what came of it: {look.error.message}"
            if loop.time() + LOOK_EVERY > ends:
                break
            await asyncio.sleep(LOOK_EVERY)
    if seen["result"] == "unmarked":
        return (
            None,
            "GoHighLevel made a card without st_job_id: let the workflow write that field, or nothing can be proven.",
        )
    return (
        None,
        "GoHighLevel accepted it, and nothing of it is there: the workflow may be a draft, or its action fails.",
    )
