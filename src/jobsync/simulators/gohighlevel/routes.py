"""The API's routes: method and path -> handler, needed scope (GoHighLevel contract, sections 2 to 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import contact_search, contacts, fields, locations, notes, oauth, opportunities, search, tags
from .answers import Answer
from .call import Call


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. scope: what the token must hold (None: nothing). location_arg: which variable segment is the
    location id. open: no token and no version needed. agency: wants a company token."""

    method: str
    path: str
    handler: Callable[[Call], Answer]
    scope: str | None
    location_arg: int | None = None
    open: bool = False
    agency: bool = False


_CONTACT, _CONTACTS = "contacts.write", "contacts.readonly"
_CARD, _CARDS = "opportunities.write", "opportunities.readonly"
ROUTES = (
    Route("POST", "/oauth/token", oauth.exchange, None, open=True),
    Route("POST", "/oauth/locationToken", oauth.exchange_for_location, "oauth.write", agency=True),
    Route("POST", "/contacts/upsert", contacts.upsert_contact, _CONTACT),
    Route("POST", "/contacts/search", contact_search.search_contacts, _CONTACTS),
    Route("GET", "/contacts/search/duplicate", contact_search.find_duplicate, _CONTACTS),
    Route("POST", "/contacts", contacts.post_contact, _CONTACT),
    Route("GET", "/contacts", contact_search.list_contacts, _CONTACTS),
    Route("GET", "/contacts/*", contacts.get_contact, _CONTACTS),
    Route("PUT", "/contacts/*", contacts.put_contact, _CONTACT),
    Route("DELETE", "/contacts/*", contacts.delete_contact, _CONTACT),
    Route("POST", "/contacts/*/tags", tags.add_tags, _CONTACT),
    Route("DELETE", "/contacts/*/tags", tags.remove_tags, _CONTACT),
    Route("GET", "/contacts/*/notes", notes.list_notes, _CONTACTS),
    Route("POST", "/contacts/*/notes", notes.create_note, _CONTACT),
    Route("GET", "/contacts/*/notes/*", notes.get_note, _CONTACTS),
    Route("PUT", "/contacts/*/notes/*", notes.update_note, _CONTACT),
    Route("DELETE", "/contacts/*/notes/*", notes.delete_note, _CONTACT),
    Route("GET", "/opportunities/pipelines", locations.list_pipelines, _CARDS),
    Route("GET", "/opportunities/lost-reason", locations.list_lost_reasons, _CARDS),
    Route("GET", "/opportunities/search", search.search_opportunities, _CARDS),
    Route("POST", "/opportunities/search", search.post_search, _CARDS),
    Route("POST", "/opportunities/upsert", opportunities.upsert_opportunity, _CARD),
    Route("POST", "/opportunities", opportunities.post_opportunity, _CARD),
    Route("GET", "/opportunities/*", opportunities.get_opportunity, _CARDS),
    Route("PUT", "/opportunities/*", opportunities.put_opportunity, _CARD),
    Route("DELETE", "/opportunities/*", opportunities.delete_opportunity, _CARD),
    Route("PUT", "/opportunities/*/status", opportunities.put_status, _CARD),
    Route("GET", "/locations/*", locations.get_location, "locations.readonly", 0),
    Route("GET", "/locations/*/customFields", fields.list_fields, "locations/customFields.readonly", 0),
    Route("POST", "/locations/*/customFields", fields.create_field, "locations/customFields.write", 0),
    Route("GET", "/locations/*/customFields/*", fields.read_field, None, 0),
    Route("GET", "/locations/*/tags", tags.list_location_tags, "locations/tags.readonly", 0),
    Route("POST", "/locations/*/tags", tags.create_location_tag, "locations/tags.write", 0),
)


def _index() -> dict[tuple[str, int], list[tuple[list[str], Route]]]:
    index: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
    for route in ROUTES:
        parts = route.path.strip("/").split("/")
        index.setdefault((route.method, len(parts)), []).append((parts, route))
    return index


_BY_LENGTH = _index()


def find_route(method: str, segments: list[str]) -> tuple[Route, tuple[str, ...]] | None:
    """The route of a path (its segments, no empty ones) and its variable segments. A trailing slash makes no
    difference; fixed paths come before `*`."""
    for parts, route in _BY_LENGTH.get((method, len(segments)), ()):
        if all(part in ("*", segment) for part, segment in zip(parts, segments, strict=True)):
            return route, tuple(segment for part, segment in zip(parts, segments, strict=True) if part == "*")
    return None
