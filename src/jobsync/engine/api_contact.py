"""The contact of a job's customer in GoHighLevel: by stored link, else by phone and e-mail, else created.

Never an upsert: it merges customers who share a phone. A contact that is another customer's goes to a review queue and
this job waits for a person. What GoHighLevel takes and does not keep, or refuses because another contact owns it, is
noticed. "Do not disturb" is set where ServiceTitan says so and never lifted.
"""

from __future__ import annotations

from typing import Any

from jobsync.engine.api_links import Card, Links
from jobsync.engine.api_outcomes import SendEnded, classify, settle, skip
from jobsync.engine.location_facts import LocationFacts
from jobsync.errors import RecordMissing, RequestRejected, UpstreamUnavailable
from jobsync.gohighlevel.client import GoHighLevelClient
from jobsync.gohighlevel.payloads import contact_body, valid_email, valid_phone
from jobsync.gohighlevel.records import Contact
from jobsync.gohighlevel.refusals import DUPLICATE_CONTACT

SOURCE = "ServiceTitan"


class ContactFinder:
    """Makes sure that the customer of a card has a contact that says what ServiceTitan says."""

    def __init__(self, client: GoHighLevelClient, links: Links, facts: LocationFacts) -> None:
        self._client = client
        self._links = links
        self._facts = facts

    async def find(self, card: Card) -> tuple[str, bool]:
        """The contact's id, and True if it was made just now. Raises SendEnded, and the client's errors."""
        if (linked := card.known["contact_id"]) is not None:
            if card.known["linked_customer_id"] != card.customer:
                await self._links.link_contact(card, linked, "merged")
            if not card.known["contact_due"] or await self._update(card, linked):
                return linked, False
            await self.lose(card, linked)
        elif (outside := card.known["outside_contact_id"]) is not None:
            known = await self._look(outside)
            if known is not None:
                return await self._adopt(card, known, "outside"), False
        return await self._search_or_create(card)

    async def is_gone(self, contact_id: str) -> bool:
        """True when GoHighLevel says that there is no such contact."""
        return await self._look(contact_id) is None

    async def lose(self, card: Card, contact_id: str) -> None:
        """Forgets a contact that is gone, so that the next `find` looks for another."""
        await self._links.lose_contact(card, contact_id)
        card.known.update(contact_id=None, outside_contact_id=None, told_tags=[])

    async def add_tags(self, card: Card, contact_id: str) -> None:
        """Adds the tags that the contact was not told yet; none of its own is touched."""
        told = card.known["told_tags"]
        fresh = [tag for tag in card.known["tags"] if tag not in told]
        if fresh:
            await self._client.add_tags(contact_id, fresh)
            await self._links.tell_contact(card, told=False, tags=[*told, *fresh])

    async def _search_or_create(self, card: Card) -> tuple[str, bool]:
        phone, email = valid_phone(card.row["phone"]), valid_email(card.row["email"])
        if (phone is None and email is None) or card.customer is None:
            raise skip("no_contact", "The customer has no phone and no e-mail that GoHighLevel takes.")
        found = await self._client.find_contacts(phone=phone, email=email)
        if found:
            return await self._adopt(card, found[0], "search"), False
        if (left := card.known["contact_settles"]) is not None:
            if left > 0:
                raise settle(left)
            if (said := card.known["contact_refused"]) is not None:
                await self._links.close_intent(card, "contact")
                raise SendEnded({"outcome": "rejected", "error": said})
        return await self._create(card)

    async def _create(self, card: Card) -> tuple[str, bool]:
        body = self._body(card, location_id=self._client.location_id)
        await self._links.open_intent(card, "contact")
        try:
            made = await self._client.create_contact(body)
        except RequestRejected as error:
            return await self._after_refusal(card, error), False
        except UpstreamUnavailable as error:
            await (self._links.note_intent(card, "contact", refused=None) if error.ambiguous else self._close(card))
            raise
        except Exception:
            # A 401, 403, 429 or redirect has written nothing.
            await self._close(card)
            raise
        dropped = self._dropped(card, body, made)
        other = await self._links.link_contact(card, made.id, "created", told=True, dropped=dropped)
        if other is not None:
            raise await self._share(card, made.id, other)
        return made.id, True

    async def _after_refusal(self, card: Card, error: RequestRejected) -> str:
        """A refused create may have been done all the same (contract, section 3): a look decides."""
        if error.code == DUPLICATE_CONTACT:
            await self._close(card)
            existing = error.details.get("contact_id")
            known = await self._look(existing) if isinstance(existing, str) else None
            if known is None:
                raise error
            return await self._adopt(card, known, "duplicate")
        if not error.details.get("may_have_written"):
            await self._close(card)
            raise error
        await self._links.note_intent(card, "contact", refused=error.message)
        found = await self._client.find_contacts(
            phone=valid_phone(card.row["phone"]), email=valid_email(card.row["email"])
        )
        if found:
            return await self._adopt(card, found[0], "search")
        raise SendEnded({**classify(error), "outcome": "ambiguous"})

    async def _adopt(self, card: Card, contact: Contact, found_by: str) -> str:
        """Links a contact that was there already, unless it is another customer's, and tells it what is known."""
        marked = self._mark_of(contact)
        shared = card.known["share_contact_id"] == contact.id
        if marked is not None and marked != card.customer and not shared and not await self._is_merged(card, marked):
            raise await self._share(card, contact.id, marked)
        other = await self._links.link_contact(card, contact.id, found_by)
        if other is not None:
            raise await self._share(card, contact.id, other)
        if not shared and not await self._update(card, contact.id):
            await self.lose(card, contact.id)
            raise SendEnded({"outcome": "unavailable", "error": "The contact that was found is gone."})
        return contact.id

    async def _update(self, card: Card, contact_id: str) -> bool:
        """Tells the contact what ServiceTitan says; False when it is gone. A field that is another contact's is left out."""
        body = self._body(card)
        left_out: list[str] = []
        while True:
            try:
                answer = await self._client.update_contact(contact_id, body)
                break
            except RecordMissing:
                return False
            except RequestRejected as error:
                owned = error.details.get("matching_field")
                if error.code != DUPLICATE_CONTACT or not isinstance(owned, str) or body.pop(owned, None) is None:
                    raise
                left_out.append(owned)
                other = error.details.get("contact_id")
                await self._links.review(card, contact_id, "split", other=other if isinstance(other, str) else None)
        dropped = left_out + (self._dropped(card, body, answer) if answer is not None else [])
        if dropped:
            card.flag("field_dropped")
        await self._links.tell_contact(card, told=True, dropped=dropped)
        return True

    async def _share(self, card: Card, contact_id: str, other: int | None) -> SendEnded:
        await self._links.review(card, contact_id, "shared", other_customer=other)
        await self._close(card)
        return skip(
            "shared_contact",
            f"The contact with this phone or e-mail is that of customer {other}; a person decides whether both use it.",
        )

    async def _is_merged(self, card: Card, marked: int) -> bool:
        """True when the customer that a contact is marked with was merged into this one."""
        return marked == card.row["st_customer_id"]

    async def _look(self, contact_id: str) -> Contact | None:
        try:
            return await self._client.get_contact(contact_id)
        except RecordMissing as error:
            if error.code == "route_missing":
                raise
            return None

    async def _close(self, card: Card) -> None:
        await self._links.close_intent(card, "contact")

    def _mark_of(self, contact: Contact) -> int | None:
        """The customer whose id the contact carries."""
        text = str(contact.custom_fields.get(self._facts.customer_field or "") or "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    def _body(self, card: Card, *, location_id: str | None = None) -> dict[str, Any]:
        fields = self._facts.contact_fields(card.customer)
        return contact_body(card.row, location_id=location_id, custom_fields=fields, source=SOURCE)

    def _dropped(self, card: Card, body: dict[str, Any], kept: Contact) -> list[str]:
        """Which of the fields that were sent the answer shows otherwise: GoHighLevel drops without a word."""
        checks = {
            "phone": ("phone" in body, kept.phone == body.get("phone")),
            "email": ("email" in body, kept.email == body.get("email")),
            "st_customer_id": (bool(self._facts.contact_fields(card.customer)), self._mark_of(kept) == card.customer),
        }
        dropped = [name for name, (sent, same) in checks.items() if sent and not same]
        if dropped:
            card.flag("field_dropped")
        return dropped
