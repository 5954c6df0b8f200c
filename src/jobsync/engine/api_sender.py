"""Sends claimed rows to a GoHighLevel location by API: contact, tags, card, note, in that order.

Contact and card are found by stored link, else searched, else created with an intent committed before the request
leaves; a change is one request, no change none (reliability P2; GoHighLevel contract, section 12). What an answer
means is judged in api_outcomes alone. A send that is done again finds what the first one did.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from jobsync.db.pool import Row
from jobsync.engine.api_card import CardWriter, ContactGone
from jobsync.engine.api_contact import ContactFinder
from jobsync.engine.api_links import Card, Links
from jobsync.engine.api_outcomes import Result, SendEnded, classify, skip, stop
from jobsync.engine.context import Engine
from jobsync.engine.ghl_connection import LocationAccess, access_location
from jobsync.engine.location_facts import LocationFacts, read_location_facts
from jobsync.engine.location_pace import LocationPace
from jobsync.errors import JobSyncError
from jobsync.gohighlevel.caller import OnRequest


class ApiSender:
    """Implements `engine.deliver.Sender` for one location. Its token stays in here."""

    # What is known of a group, and whose turn it is, is kept for one group at a time.
    overlaps = False

    def __init__(self, engine: Engine, tenant: str, destination: Row, access: LocationAccess) -> None:
        self._engine = engine
        self._tenant = tenant
        self._destination = destination["id"]
        self._access = access
        self._links = Links(engine, tenant, self._destination)
        self._facts: LocationFacts | None = None
        self._known: dict[int, Row] = {}
        self._failure: JobSyncError | None = None
        # Customers that were merged are one customer with one contact: their jobs go one after another, too.
        self._turns: dict[int, asyncio.Lock] = {}

    async def prepare(self, rows: Sequence[Row]) -> None:
        """Reads what is known of the group's jobs, and once the facts of the location."""
        self._failure = None
        self._turns = {}
        try:
            if self._facts is None:
                client = self._access.client()
                self._facts = await read_location_facts(self._engine, self._tenant, self._destination, client)
            self._known = await self._links.read([row["st_job_id"] for row in rows])
        except JobSyncError as error:
            self._failure = error

    async def send(self, row: Row) -> dict[str, Any]:
        """Makes one job true; the result as `jobsync.finish_deliveries` takes it. Never raises for an answer."""
        started = time.monotonic()
        requests = 0

        def count(kind: str, status: int | None) -> None:
            nonlocal requests
            requests += 1

        flags: list[str] = []
        try:
            if self._failure is not None:
                raise self._failure
            result = await self._take_turn(row, flags, count)
        except SendEnded as ended:
            result = ended.result
        except JobSyncError as error:
            result = classify(error)
        if row["waited_for"] == "parents":
            flags.append("incomplete")
        return {
            **result,
            "flags": flags,
            "requests": requests,
            "duration_ms": int((time.monotonic() - started) * 1000),
        }

    async def close(self) -> None:
        """Closes the session; says what the headers told last."""
        if isinstance(self._access.pace, LocationPace):
            await self._access.pace.flush()
        await self._access.session.close()

    async def _take_turn(self, row: Row, flags: list[str], count: OnRequest) -> Result:
        known = self._known.get(row["st_job_id"])
        if known is None:
            raise stop("The job went away while it was under way.")
        if known["customer_id"] is None:
            return await self._deliver(Card(row, known, flags), count)
        first = known["customer_id"] not in self._turns
        async with self._turns.setdefault(known["customer_id"], asyncio.Lock()):
            if not first:
                known = (await self._links.read([row["st_job_id"]]))[row["st_job_id"]]
            return await self._deliver(Card(row, known, flags), count)

    async def _deliver(self, card: Card, count: OnRequest) -> Result:
        assert self._facts is not None
        if card.known["opportunity_gone"] and not card.known["forced"]:
            raise skip("deleted_in_ghl", "Somebody deleted the card in GoHighLevel; it is not made again by itself.")
        if card.known["pipeline_id"] is None:
            raise skip("no_pipeline", "The unit's route names no pipeline that GoHighLevel has.")
        client = self._access.client(count)
        contacts = ContactFinder(client, self._links, self._facts)
        cards = CardWriter(client, self._links, self._facts, contacts)
        contact, fresh = await contacts.find(card)
        await contacts.add_tags(card, contact)
        try:
            opportunity = await cards.write(card, contact, fresh=fresh)
        except ContactGone:
            # Deleted or merged by hand since it was linked: found or made anew, once.
            contact, fresh = await contacts.find(card)
            await contacts.add_tags(card, contact)
            opportunity = await cards.write(card, contact, fresh=fresh)
        await cards.add_note(card, contact)
        return {"outcome": "accepted", "opportunity_id": opportunity}


async def open_api_sender(engine: Engine, tenant: str, destination: Row) -> ApiSender:
    """The sender for an API destination. Raises ConfigError when GoHighLevel is not connected, or another location is."""
    pace = LocationPace(engine.database, tenant, engine.settings.ghl_pace, deliveries=True)
    return ApiSender(engine, tenant, destination, await access_location(engine, tenant, pace=pace))
