"""Calls about contacts (GoHighLevel contract, section 3).

Never upsert: it merges customers who share a phone, and silently ignores the second identifier. What a search does not
show may exist all the same: POST /contacts/search lags behind writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobsync.errors import InvalidInput
from jobsync.gohighlevel.caller import path_id
from jobsync.gohighlevel.locations import LocationCalls
from jobsync.gohighlevel.payloads import note_body, tags_body
from jobsync.gohighlevel.records import Contact, Note, parse_contact, parse_note
from jobsync.gohighlevel.refusals import Call

PAGE = 100
MOST_PAGES = 50

_DUPLICATE = Call("find_contacts", "look for a contact")
_BY_FIELD = Call("find_contacts_by_field", "look for a contact by custom field")
_GET = Call("get_contact", "read a contact", by_id=True)
_CREATE = Call("create_contact", "create a contact", write=True)
_UPDATE = Call("update_contact", "update a contact", write=True, by_id=True)
_ADD_TAGS = Call("add_tags", "add tags", write=True, by_id=True)
_REMOVE_TAGS = Call("remove_tags", "remove tags", write=True, by_id=True)
_NOTES = Call("list_notes", "list the notes", by_id=True)
_CREATE_NOTE = Call("create_note", "create a note", write=True, by_id=True)


class ContactCalls(LocationCalls):
    """Finds, reads and writes contacts. Every method is one request unless it says otherwise."""

    async def find_contacts(
        self, *, phone: str | None = None, email: str | None = None, each: bool = False
    ) -> list[Contact]:
        """The contacts that GoHighLevel takes for duplicates of this phone (E.164) or e-mail: at most one a request.

        With both, one request asks for both, and the location's setting decides which wins. `each` asks for each by
        itself (two requests), so that two contacts that share them show up. Raises InvalidInput without either.
        """
        asked = {key: value for key, value in (("number", phone), ("email", email)) if value}
        if not asked:
            raise InvalidInput("A contact is looked for by phone or e-mail.")
        found: dict[str, Contact] = {}
        for identity in [{key: value} for key, value in asked.items()] if each else [asked]:
            query = {"locationId": self.location_id, **identity}
            answer = await self._call(_DUPLICATE, "GET", "/contacts/search/duplicate", query=query)
            contact = parse_contact(answer.get("contact"))
            # Only an explicit null is "there is none"; a body without the key must not lead to a second contact.
            if contact is None and answer.get("contact", "absent") is not None:
                raise self._unreadable(_DUPLICATE)
            if contact is not None:
                found.setdefault(contact.id, contact)
        return list(found.values())

    async def find_contacts_by_field(self, field_id: str, value: str) -> list[Contact]:
        """All contacts whose custom field `field_id` is `value`, page by page. Lags behind writes by up to a minute.

        Rows that show another value for the field are left out, in case the filter was not honoured; one that shows
        none is to be confirmed by `get_contact`.
        """
        found: dict[str, Contact] = {}
        field = f"customFields.{path_id(field_id, 'custom field')}"
        filters = [{"field": field, "operator": "eq", "value": value}]
        body: dict[str, Any] = {"locationId": self.location_id, "pageLimit": PAGE, "filters": filters}
        for page in range(1, MOST_PAGES + 1):
            answer = await self._call(_BY_FIELD, "POST", "/contacts/search", body={**body, "page": page})
            rows = self._list(_BY_FIELD, answer, "contacts", parse_contact)
            fresh = [contact for contact in rows if contact.id not in found]
            found.update((contact.id, contact) for contact in fresh)
            if len(rows) < PAGE:
                return [contact for contact in found.values() if _may_hold(contact, field_id, value)]
            if not fresh:
                break
        raise self._unreadable(_BY_FIELD)

    async def get_contact(self, contact_id: str) -> Contact:
        """One contact, as it is now (no lag). Raises RecordMissing."""
        answer = await self._call(_GET, "GET", f"/contacts/{path_id(contact_id, 'contact')}")
        return self._contact(_GET, answer)

    async def create_contact(self, body: Mapping[str, Any]) -> Contact:
        """Creates a contact from `contact_body(row, location_id=...)`. Called twice, it may make two.

        Raises RequestRejected with code `duplicate_contact` and `details["contact_id"]` where one exists; with
        `details["may_have_written"]` for other refusals; UpstreamUnavailable with `ambiguous`.
        """
        return self._contact(_CREATE, await self._call(_CREATE, "POST", "/contacts/", body=body))

    async def update_contact(self, contact_id: str, body: Mapping[str, Any]) -> Contact | None:
        """Changes a contact by `contact_body(row)`; twice is as good as once. None where the answer does not show it.

        Raises RecordMissing; RequestRejected with code `duplicate_contact` where it would take another's phone or
        e-mail.
        """
        answer = await self._call(_UPDATE, "PUT", f"/contacts/{path_id(contact_id, 'contact')}", body=body)
        return parse_contact(answer.get("contact"))

    async def add_tags(self, contact_id: str, tags: Sequence[str]) -> list[str]:
        """Adds tags; twice is as good as once. The tags that the contact then has. No tags: no request, []."""
        return await self._change_tags(_ADD_TAGS, "POST", contact_id, tags)

    async def remove_tags(self, contact_id: str, tags: Sequence[str]) -> list[str]:
        """Removes tags; twice is as good as once. The tags that are left. No tags: no request, []."""
        return await self._change_tags(_REMOVE_TAGS, "DELETE", contact_id, tags)

    async def list_notes(self, contact_id: str) -> list[Note]:
        """The contact's notes."""
        answer = await self._call(_NOTES, "GET", f"/contacts/{path_id(contact_id, 'contact')}/notes")
        return self._list(_NOTES, answer, "notes", parse_note)

    async def create_note(self, contact_id: str, text: str, *, marker: str) -> Note:
        """Writes a note whose first line is `marker`. Called twice, it makes two: look for the marker first."""
        path = f"/contacts/{path_id(contact_id, 'contact')}/notes"
        answer = await self._call(_CREATE_NOTE, "POST", path, body=note_body(text, marker=marker))
        found = parse_note(answer.get("note"))
        if found is None:
            raise self._unreadable(_CREATE_NOTE)
        return found

    async def _change_tags(self, call: Call, method: str, contact_id: str, tags: Sequence[str]) -> list[str]:
        body = tags_body(tags)
        if not body["tags"]:
            return []
        answer = await self._call(call, method, f"/contacts/{path_id(contact_id, 'contact')}/tags", body=body)
        left = answer.get("tags")
        return [tag for tag in left if isinstance(tag, str)] if isinstance(left, list) else []

    def _contact(self, call: Call, answer: dict[str, Any]) -> Contact:
        found = parse_contact(answer.get("contact"))
        if found is None:
            raise self._unreadable(call)
        return found


def _may_hold(contact: Contact, field_id: str, value: str) -> bool:
    shown = contact.custom_fields.get(field_id)
    return shown is None or str(shown) == value
