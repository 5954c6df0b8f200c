"""Verify: reads back what GoHighLevel accepted, and says which of it really is there.

A hook's 2xx only means "queued": a workflow that is a draft answers the same. The proof is a card that carries the job's
id in the custom field `st_job_id`. It is read by its id where that is known, else looked for among the cards of the
contact that GoHighLevel has for the job's phone or e-mail. Reads only; nothing is ever changed in GoHighLevel. Run
twice, it looks twice and finds the same. Called by the task `verify`, by `sync`, `arm --limit` and `jobsync verify`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from jobsync.db.pool import Row, as_jsonb
from jobsync.engine.context import Engine
from jobsync.engine.ghl_connection import open_gohighlevel, read_gohighlevel_credentials
from jobsync.errors import JobSyncError, RecordMissing, RequestRejected
from jobsync.gohighlevel.client import GoHighLevelClient
from jobsync.gohighlevel.records import Opportunity
from jobsync.gohighlevel.refusals import ROUTE_MISSING
from jobsync.log import get_log

GROUP = 64
AT_ONCE = 8
LONGEST_SECONDS = 30.0
JOB_FIELD = "st_job_id"
# A card as old as this before the delivery was accepted is not what came of it: clocks differ.
OLDER = timedelta(minutes=2)
MOST_OPENED = 10
FOUND = ("checked", "verified", "missing", "unmarked", "unprovable", "deleted", "unknown")


@dataclass
class VerifyReport:
    """What a verification did: jobs by what was found, requests, and the error that stopped it (None: none)."""

    checked: int = 0
    verified: int = 0
    missing: int = 0
    unmarked: int = 0
    unprovable: int = 0
    deleted: int = 0
    unknown: int = 0
    requests: int = 0
    more: bool = False
    error: JobSyncError | None = None


async def verify_deliveries(
    engine: Engine,
    tenant: str,
    *,
    since: datetime | None = None,
    everything: bool = False,
    longest: float = LONGEST_SECONDS,
    stopping: Callable[[], bool] = lambda: False,
    run: UUID | None = None,
) -> VerifyReport:
    """Looks for what is due to be looked for, at most `longest` seconds.

    `since`: also what was accepted since then and was looked for already; `everything`: all that is not verified, due or
    not, each once; `run`: the run that says it still goes on. Raises ConfigError when GoHighLevel is not connected; an
    error of GoHighLevel ends up in the report.
    """
    report = VerifyReport()
    loop = asyncio.get_running_loop()
    ends = loop.time() + longest

    def count(kind: str, status: int | None) -> None:
        report.requests += 1

    async with open_gohighlevel(engine, tenant, on_request=count) as client:
        await _queue(engine, tenant, since)
        async with engine.database.transaction(tenant) as session:
            started = await session.value("read_now")
        unseen = started if everything or since is not None else None
        look = Look(client)
        while not stopping() and report.error is None:
            async with engine.database.transaction(tenant) as session:
                rows = await session.rows(
                    "claim_verifications", {"tenant": tenant, "limit": GROUP, "unseen_since": unseen}
                )
            if not rows:
                break
            results = await look.at_all(rows)
            report.error = look.error
            async with engine.database.transaction(tenant) as session:
                booked = await session.value("finish_verifications", {"tenant": tenant, "results": as_jsonb(results)})
                if run is not None:
                    await session.run("keep_run_alive", {"tenant": tenant, "run": run})
            for name, number in booked.items():
                setattr(report, name, getattr(report, name) + number)
            if loop.time() >= ends:
                report.more = True
                break
    if report.checked or report.error:
        get_log(tenant=tenant).info(
            "verified",
            count=report.verified,
            code=None if report.error is None else report.error.code,
        )
    return report


async def _queue(engine: Engine, tenant: str, since: datetime | None) -> None:
    while True:
        async with engine.database.transaction(tenant) as session:
            if not await session.value("queue_verifications", {"tenant": tenant, "since": since}):
                return
        # The mark went back to that time; from there it goes on by itself.
        since = None


async def wait_until_verified(
    engine: Engine, tenant: str, since: datetime, *, longest: float, pause: float = 3.0
) -> dict[str, Any]:
    """Looks for what was sent since a time until all of it was found, or for `longest` seconds.

    Answers {connected, jobs}: the jobs sent since then with state, reason and card. Without a connection it only lists.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + longest
    connected = await read_gohighlevel_credentials(engine, tenant) is not None
    while True:
        if connected:
            report = await verify_deliveries(engine, tenant, everything=True, longest=longest)
            connected = report.error is None
        async with engine.database.transaction(tenant) as session:
            jobs = await session.rows("list_sent_since", {"tenant": tenant, "since": since})
        waiting = any(job["state"] == "accepted" and job["waits_for_look"] for job in jobs)
        if not connected or not waiting or loop.time() + pause > ends:
            return {"connected": connected, "jobs": jobs}
        await asyncio.sleep(pause)


async def list_unverified(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """Accepted deliveries that were looked for in vain for too long, by unit and destination: an alert each."""
    async with engine.database.transaction(tenant) as session:
        return await session.rows("list_unverified", {"tenant": tenant})


class Look:
    """Looks into one location. Jobs of one contact are looked for together; `error` is what made it give up."""

    def __init__(self, client: GoHighLevelClient) -> None:
        self._client = client
        self._field: str | None = None
        self._field_read = False
        self._reading_fields = asyncio.Lock()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.error: JobSyncError | None = None

    async def at_all(self, rows: list[Row]) -> list[dict[str, Any]]:
        """One result a row, as `jobsync.finish_verifications` takes it. Never raises for what GoHighLevel answers."""
        people: dict[tuple[str | None, ...], list[Row]] = defaultdict(list)
        for row in rows:
            person = (row["ghl_contact_id"], row["phone"], row["email"])
            people[person if any(person) else ("", str(row["st_job_id"]))].append(row)
        found = await asyncio.gather(*(self._at_person(jobs) for jobs in people.values()))
        return [result for results in found for result in results]

    async def _at_person(self, rows: list[Row]) -> list[dict[str, Any]]:
        async with self._gate:
            if self.error is not None:
                return [_result(row, "unknown") for row in rows]
            try:
                return await self._look_for(rows)
            except JobSyncError as error:
                self.error = error
                return [_result(row, "unknown") for row in rows]

    async def _look_for(self, rows: list[Row]) -> list[dict[str, Any]]:
        results = []
        cards: list[Opportunity] | None = None
        for row in rows:
            if row["ghl_opportunity_id"]:
                results.append(await self._read_card(row))
                continue
            if not (row["ghl_contact_id"] or row["phone"] or row["email"]):
                # The workflow makes no contact of it either, so there is nothing to look for.
                results.append(_result(row, "unprovable"))
                continue
            if cards is None:
                cards = await self._cards_of(row)
            results.append(await self._pick(row, cards))
        return results

    async def _read_card(self, row: Row) -> dict[str, Any]:
        try:
            card = await self._client.get_opportunity(row["ghl_opportunity_id"])
        except RecordMissing as error:
            if error.code == ROUTE_MISSING:
                # It is the address of the API that is wrong, not the card that is gone.
                raise
            return _result(row, "deleted")
        value = card.custom_fields.get(await self._job_field() or "")
        if value is not None and str(value) != str(row["st_job_id"]):
            return _result(row, "missing")
        return _result(row, "verified")

    async def _cards_of(self, row: Row) -> list[Opportunity]:
        contacts = [row["ghl_contact_id"]] if row["ghl_contact_id"] else []
        if not contacts and (row["phone"] or row["email"]):
            try:
                found = await self._client.find_contacts(phone=row["phone"], email=row["email"])
            except RequestRejected:
                # A phone or e-mail that GoHighLevel does not take for one: no contact carries it.
                found = []
            contacts = [contact.id for contact in found]
        cards = [await self._client.search_opportunities(contact) for contact in contacts]
        return [card for each in cards for card in each]

    async def _pick(self, row: Row, cards: list[Opportunity]) -> dict[str, Any]:
        field = await self._job_field()
        wanted = str(row["st_job_id"])
        recent = sorted(
            (card for card in cards if _is_new(card, row["accepted_at"])),
            key=lambda card: card.created_at or "",
            reverse=True,
        )
        mine = [card for card in cards if field and str(card.custom_fields.get(field)) == wanted]
        if not mine and field:
            # A search need not show custom fields; reading the card does, and lags behind nothing.
            for card in recent[:MOST_OPENED]:
                if card.custom_fields:
                    continue
                shown = await self._client.get_opportunity(card.id)
                if str(shown.custom_fields.get(field)) == wanted:
                    mine.append(shown)
        if mine:
            oldest = min(mine, key=lambda card: (card.created_at or "", card.id))
            return _result(row, "verified", opportunity_id=oldest.id, doubled=len(mine) > 1)
        unmarked = [card for card in recent if field is None or card.custom_fields.get(field) in (None, "")]
        return _result(row, "unmarked" if unmarked else "missing")

    async def _job_field(self) -> str | None:
        async with self._reading_fields:
            if not self._field_read:
                fields = await self._client.list_custom_fields("opportunity")
                named = (each.id for each in fields if (each.key or each.name).rsplit(".", 1)[-1] == JOB_FIELD)
                self._field = next(named, None)
                self._field_read = True
        return self._field


def _result(row: Row, result: str, **more: Any) -> dict[str, Any]:
    return {"st_job_id": row["st_job_id"], "version": row["version"], "result": result, **more}


def _is_new(card: Opportunity, accepted_at: datetime) -> bool:
    try:
        created = datetime.fromisoformat((card.created_at or "").replace("Z", "+00:00"))
    except ValueError:
        return True
    if created.tzinfo is None:
        created = created.replace(tzinfo=UTC)
    return created >= accepted_at - OLDER
