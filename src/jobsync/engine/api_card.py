"""The card (opportunity) of a job in GoHighLevel: by stored link, else searched, else created; a change is one PUT.

One card a job, ever: a create leaves only after a look that worked, with its intent committed; an answer that leaves
open whether it was done is followed by a look, a wait and another look. A card is recognised by its custom field
st_job_id, else by its name. Where a person moved it, it stays.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from jobsync.engine.api_contact import ContactFinder
from jobsync.engine.api_links import Card, Links
from jobsync.engine.api_outcomes import SendEnded, classify, settle, skip
from jobsync.engine.location_facts import LocationFacts
from jobsync.errors import JobSyncError, RecordMissing, RequestRejected, UpstreamUnavailable
from jobsync.gohighlevel.client import GoHighLevelClient
from jobsync.gohighlevel.html_text import html_to_text
from jobsync.gohighlevel.payloads import API_OPPORTUNITY_NAME, opportunity_body
from jobsync.gohighlevel.records import Opportunity
from jobsync.gohighlevel.refusals import DUPLICATE_OPPORTUNITY, ROUTE_MISSING, TOO_LARGE

SHORT_NAME = "ST #{st_job_number}"
_PLACE = {"pipelineId": "pipeline_id", "pipelineStageId": "stage_id", "status": "status"}


class ContactGone(Exception):
    """The linked contact does not exist any more; nothing was written. Not a failure: the contact is looked for anew."""


class CardWriter:
    """Makes sure that a job has its one card, and that it says what ServiceTitan and the rules say."""

    def __init__(self, client: GoHighLevelClient, links: Links, facts: LocationFacts, contacts: ContactFinder) -> None:
        self._client = client
        self._links = links
        self._facts = facts
        self._contacts = contacts
        self._created = False

    async def write(self, card: Card, contact_id: str, *, fresh: bool) -> str:
        """The card's id. `fresh`: the contact was made just now, so it has no card to be found.

        Raises SendEnded, ContactGone, and the client's errors.
        """
        if self._facts.job_field is None:
            card.flag("unmarked")
        if (linked := card.known["opportunity_id"]) is not None:
            await self._update(card, linked, None)
            return linked
        found = await self._find_outside(card)
        if found is None and (not fresh or card.known["card_settles"] is not None):
            found = await self._look(card, contact_id)
        if found is not None:
            return await self._adopt(card, found, contact_id, "search")
        if (left := card.known["card_settles"]) is not None:
            if left > 0:
                raise settle(left)
            if (said := card.known["card_refused"]) is not None:
                await self._close(card)
                raise SendEnded({"outcome": "rejected", "error": said})
        if card.known["delivered_outside"]:
            raise skip(
                "card_unknown",
                "The old flow delivered it, and no card of its customer carries the job's id or number: none is made twice.",
            )
        return await self._create(card, contact_id, fresh=fresh)

    async def add_note(self, card: Card, contact_id: str) -> None:
        """One note a job with its summary, on the contact; what goes wrong with it is a flag and never a second card."""
        if not (self._created or card.known["note_due"]):
            return
        marker = f"[st-job:{card.job}]"
        try:
            text = html_to_text(card.row["summary"])
            there = not text
            if text and not self._created:
                there = any(note.body.startswith(marker) for note in await self._client.list_notes(contact_id))
            if not there:
                await self._client.create_note(contact_id, text, marker=marker)
            await self._links.mark_noted(card)
        except JobSyncError:
            card.flag("no_note")

    async def _update(self, card: Card, opportunity_id: str, seen: Opportunity | None) -> None:
        body = self._body(card)
        digest = _digest(body)
        known = card.known
        if digest == known["told_hash"] and not known["forced"]:
            return
        wanted = (known["pipeline_id"], known["stage_id"] or known["told_stage"], known["status"])
        try:
            place: dict[str, Any] = {"pipeline_id": None, "stage_id": None, "status": None}
            if wanted != (known["told_pipeline"], known["told_stage"], known["told_status"]):
                # It is to be moved: only from where JobSync put it.
                seen = seen or await self._client.get_opportunity(opportunity_id)
                place = await self._links.choose_place(
                    card, pipeline=seen.pipeline_id, stage=seen.stage_id, status=seen.status
                )
            for name, column in _PLACE.items():
                body.pop(name, None)
                if place[column] is not None:
                    body[name] = place[column]
            answer = await self._put(card, opportunity_id, body)
        except RecordMissing as error:
            if error.code == ROUTE_MISSING:
                raise
            await self._links.lose_opportunity(card)
            raise skip(
                "deleted_in_ghl", "Somebody deleted the card in GoHighLevel; it is not made again by itself."
            ) from None
        await self._links.tell_opportunity(
            card,
            hash=digest,
            pipeline=place["pipeline_id"],
            stage=place["stage_id"],
            status=place["status"],
            dropped=[] if answer is None else self._dropped(card, answer),
        )

    async def _put(self, card: Card, opportunity_id: str, body: dict[str, Any]) -> Opportunity | None:
        try:
            return await self._client.update_opportunity(opportunity_id, body)
        except RequestRejected as error:
            if error.code != TOO_LARGE:
                raise
            return await self._client.update_opportunity(opportunity_id, {**body, "name": self._short_name(card)})

    async def _create(self, card: Card, contact_id: str, *, fresh: bool) -> str:
        body = self._body(card, contact_id)
        await self._links.open_intent(card, "opportunity", contact=contact_id)
        try:
            try:
                made = await self._client.create_opportunity(body)
            except RequestRejected as error:
                if error.code != TOO_LARGE:
                    raise
                made = await self._client.create_opportunity({**body, "name": self._short_name(card)})
        except RequestRejected as error:
            return await self._after_refusal(card, error, contact_id, fresh=fresh)
        except UpstreamUnavailable as error:
            if error.ambiguous:
                await self._links.note_intent(card, "opportunity", refused=None)
            else:
                await self._close(card)
            raise
        except Exception:
            # A 401, 403, 429 or redirect has written nothing.
            await self._close(card)
            raise
        linked = await self._links.link_opportunity(
            card,
            made.id,
            contact_id,
            "created",
            hash=_digest(self._body(card)),
            pipeline=body["pipelineId"],
            stage=made.stage_id or body.get("pipelineStageId"),
            status=body["status"],
            dropped=self._dropped(card, made),
        )
        if not linked:
            raise SendEnded({"outcome": "rejected", "error": "GoHighLevel answered with the card of another job."})
        self._created = True
        return made.id

    async def _after_refusal(self, card: Card, error: RequestRejected, contact_id: str, *, fresh: bool) -> str:
        """A refused create may have been done all the same (contract, section 3): a look decides."""
        if error.code == DUPLICATE_OPPORTUNITY:
            await self._close(card)
            existing = error.details.get("existing_id")
            found = await self._read(existing) if isinstance(existing, str) else None
            if found is None or not self._is_of(card, found):
                raise error
            return await self._adopt(card, found, contact_id, "duplicate")
        if not error.details.get("may_have_written"):
            await self._close(card)
            raise error
        await self._links.note_intent(card, "opportunity", refused=error.message)
        found = await self._look(card, contact_id)
        if found is not None:
            return await self._adopt(card, found, contact_id, "search")
        if not fresh and await self._contacts.is_gone(contact_id):
            await self._close(card)
            await self._contacts.lose(card, contact_id)
            raise ContactGone
        raise SendEnded({**classify(error), "outcome": "ambiguous"})

    async def _find_outside(self, card: Card) -> Opportunity | None:
        """The card that somebody else noted for this job, if it exists and is not another job's."""
        outside = card.known["outside_opportunity_id"]
        found = None if outside is None else await self._read(outside)
        if found is None:
            return None
        marked = self._mark_of(found)
        return found if marked is None or marked == str(card.job) else None

    async def _look(self, card: Card, contact_id: str) -> Opportunity | None:
        """The job's card among all cards of the contact, read once more so that it is no shadow of a deleted one."""
        rows = [row for row in await self._client.search_opportunities(contact_id) if self._is_of(card, row)]
        rows.sort(key=lambda row: (row.created_at or "", row.id))
        standing = [found for row in rows if (found := await self._read(row.id)) is not None]
        if len(standing) > 1:
            card.flag("doubled")
        return standing[0] if standing else None

    async def _adopt(self, card: Card, found: Opportunity, contact_id: str, found_by: str) -> str:
        if not await self._links.link_opportunity(card, found.id, found.contact_id or contact_id, found_by):
            raise SendEnded({"outcome": "rejected", "error": "The card that was found is that of another job."})
        await self._update(card, found.id, found)
        return found.id

    async def _read(self, opportunity_id: str) -> Opportunity | None:
        try:
            return await self._client.get_opportunity(opportunity_id)
        except RecordMissing as error:
            if error.code == ROUTE_MISSING:
                raise
            return None

    async def _close(self, card: Card) -> None:
        await self._links.close_intent(card, "opportunity")

    def _is_of(self, card: Card, found: Opportunity) -> bool:
        """True for the job's own card: by st_job_id, and where that is not shown by the beginning of its name."""
        if (marked := self._mark_of(found)) is not None:
            return marked == str(card.job)
        number = str(card.row["st_job_number"] or "").strip()
        name = f"ST #{number}"
        return bool(number) and found.name is not None and (found.name == name or found.name.startswith(f"{name} "))

    def _mark_of(self, found: Opportunity) -> str | None:
        value = found.custom_fields.get(self._facts.job_field or "")
        return None if value is None else str(value).strip()

    def _dropped(self, card: Card, kept: Opportunity) -> list[str]:
        """What the answer shows otherwise than it was sent; an answer without custom fields says nothing about them."""
        dropped = []
        if kept.custom_fields and self._facts.job_field is not None and self._mark_of(kept) != str(card.job):
            dropped.append("st_job_id")
        if dropped:
            card.flag("field_dropped")
        return dropped

    def _body(self, card: Card, contact_id: str | None = None) -> dict[str, Any]:
        known = card.known
        return opportunity_body(
            card.row,
            pipeline_id=known["pipeline_id"],
            stage_id=known["stage_id"],
            location_id=None if contact_id is None else self._client.location_id,
            contact_id=contact_id,
            status=known["status"] or "open",
            value=known["value"],
            custom_fields={**self._facts.opportunity_fields(card.row), **known["custom_fields"]},
            name_template=API_OPPORTUNITY_NAME,
        )

    def _short_name(self, card: Card) -> str:
        """Where everything was too large: the number alone, by which the card is recognised."""
        return SHORT_NAME.format(st_job_number=card.row["st_job_number"] or card.job)


def _digest(body: dict[str, Any]) -> bytes:
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()
