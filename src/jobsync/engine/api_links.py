"""What an API delivery knows and keeps: the row of `read_cards` as a value, and the writes of 67_links.sql.

Each write is one transaction of its own, committed before the next request leaves, and repeated while the database is
away: it is harmless when done twice. Nothing here talks to GoHighLevel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from jobsync.db.again import repeat_until_stored
from jobsync.db.pool import Row
from jobsync.engine.api_outcomes import settle, stop
from jobsync.engine.context import Engine

Kind = Literal["contact", "opportunity"]


@dataclass
class Card:
    """One claimed job while it is sent. `row`: its projection; `known`: its row of `read_cards`."""

    row: Row
    known: Row
    flags: list[str] = field(default_factory=list)

    @property
    def job(self) -> int:
        """ServiceTitan's id of the job."""
        return self.row["st_job_id"]

    @property
    def customer(self) -> int | None:
        """The customer, after merges."""
        return self.known["customer_id"]

    def flag(self, word: str) -> None:
        """Adds a fact about this send that a person should know."""
        if word not in self.flags:
            self.flags.append(word)


class Links:
    """Links, intents and reviews of one destination."""

    def __init__(self, engine: Engine, tenant: str, destination: UUID) -> None:
        self._database = engine.database
        self._tenant = tenant
        self._where = {"tenant": tenant, "destination": destination}
        self._settle = engine.settings.settle_seconds

    async def read(self, jobs: Sequence[int]) -> dict[int, Row]:
        """What is known of these jobs, by job."""
        parameters = {**self._where, "jobs": list(jobs), "settle": self._settle}
        async with self._database.transaction(self._tenant) as session:
            rows = await session.rows("read_cards", parameters)
        return {row["st_job_id"]: row for row in rows}

    async def open_intent(self, card: Card, kind: Kind, *, contact: str | None = None) -> None:
        """Says, before it leaves, that a create is under way. Raises SendEnded when it must not leave."""
        found = await self._value(
            "open_intent",
            kind=kind,
            id=card.customer if kind == "contact" else card.job,
            job=card.job,
            fence=card.row["fence"],
            contact=contact,
            settle=self._settle,
        )
        if found["state"] == "settling":
            raise settle(float(found["wait"]))
        if found["state"] != "open":
            raise stop("The claim on this job ran out while it was under way; nothing more was sent.")

    async def note_intent(self, card: Card, kind: Kind, *, refused: str | None) -> None:
        """The create's answer leaves open whether it was done; it settles from now on."""
        await self._value(
            "note_intent", kind=kind, id=card.customer if kind == "contact" else card.job, refused=refused
        )

    async def close_intent(self, card: Card, kind: Kind) -> None:
        """The create is known not to have been done."""
        await self._value("close_intent", kind=kind, id=card.customer if kind == "contact" else card.job)

    async def link_contact(
        self,
        card: Card,
        contact: str,
        found_by: str,
        *,
        told: bool = False,
        tags: Sequence[str] = (),
        dropped: Sequence[str] = (),
    ) -> int | None:
        """Links the customer; None, or the other customer whose contact it is (then nothing was written)."""
        return await self._value(
            "link_contact",
            customer=card.customer,
            contact=contact,
            found_by=found_by,
            share=card.known["share_contact_id"] == contact,
            job=card.job,
            hash=card.known["contact_hash"] if told else None,
            tags=list(tags),
            dropped=list(dropped),
        )

    async def tell_contact(
        self, card: Card, *, told: bool, tags: Sequence[str] | None = None, dropped: Sequence[str] | None = None
    ) -> None:
        """Notes what the contact was told; None: unchanged."""
        await self._value(
            "tell_contact",
            customer=card.customer,
            job=card.job,
            hash=card.known["contact_hash"] if told else None,
            tags=None if tags is None else list(tags),
            dropped=None if dropped is None else list(dropped),
        )

    async def lose_contact(self, card: Card, contact: str) -> None:
        """The contact does not exist any more."""
        await self._value("lose_contact", customer=card.customer, contact=contact)

    async def review(
        self, card: Card, contact: str, reason: str, *, other_customer: int | None = None, other: str | None = None
    ) -> None:
        """Puts the contact before a person."""
        await self._value(
            "review_contact",
            customer=card.customer,
            contact=contact,
            reason=reason,
            other_customer=other_customer,
            other_contact=other,
            job=card.job,
        )

    async def link_opportunity(
        self, card: Card, opportunity: str, contact: str | None, found_by: str, **told: Any
    ) -> bool:
        """Links the job. `told`: hash, pipeline, stage, status, dropped. False: the card is another job's."""
        nothing = {"hash": None, "pipeline": None, "stage": None, "status": None, "dropped": None}
        given = {"opportunity": opportunity, "contact": contact, "found_by": found_by, **nothing, **told}
        return await self._value("link_opportunity", job=card.job, **given)

    async def tell_opportunity(self, card: Card, **told: Any) -> None:
        """Notes what the card was told: hash, pipeline, stage, status, dropped."""
        await self._value("tell_opportunity", job=card.job, **told)

    async def mark_noted(self, card: Card) -> None:
        """The job's note stands."""
        await self._value("mark_noted", job=card.job)

    async def lose_opportunity(self, card: Card) -> None:
        """The card was deleted in GoHighLevel."""
        await self._value("lose_opportunity", job=card.job)

    async def choose_place(self, card: Card, *, pipeline: str | None, stage: str | None, status: str | None) -> Row:
        """Where a card that was read just now may be put: pipeline_id, stage_id, status; None: stays."""
        parameters = {**self._where, "job": card.job, "pipeline": pipeline, "stage": stage, "status": status}
        async with self._database.transaction(self._tenant) as session:
            found = await session.row("choose_place", parameters)
        return found or {"pipeline_id": None, "stage_id": None, "status": None}

    async def _value(self, name: str, **parameters: Any) -> Any:
        async def write() -> Any:
            async with self._database.transaction(self._tenant) as session:
                return await session.value(name, {**self._where, **parameters})

        return await repeat_until_stored(write)
