"""Which contact a write means: the location's "Allow Duplicate Contact" setting (GoHighLevel contract, section 3)."""

from __future__ import annotations

from typing import Any

from .answers import Answer, error
from .location import Location, Record


def find_match(location: Location, email: str | None, phone: str | None) -> tuple[Record, str] | None:
    """The contact an upsert updates and the field that found it.

    The location's unique identifiers decide which fields count and which comes first; email is in lower case, phone as
    it is stored. Among several contacts with one identifier the oldest is taken.
    """
    wanted = {"email": email, "phone": phone}
    for name in location.settings["contactUniqueIdentifiers"]:
        value = wanted.get(name)
        if value:
            found = location.contacts.having((name, value))
            if found:
                return found[0], name
    return None


def find_for_lookup(location: Location, email: str | None, phone: str | None) -> Record | None:
    """What GET /contacts/search/duplicate answers from: the unique identifiers, or email then phone where the location
    allows duplicates."""
    if not location.settings["allowDuplicateContact"]:
        match = find_match(location, email, phone)
        return match[0] if match else None
    for key in (("email", email), ("phone", phone)):
        if key[1]:
            found = location.contacts.having(key)
            if found:
                return found[0]
    return None


def find_conflict(location: Location, contact_id: str | None, changes: dict[str, Any]) -> tuple[Record, str] | None:
    """Another contact that owns an email or phone of a write, in a location that allows no duplicates."""
    if location.settings["allowDuplicateContact"]:
        return None
    for name in location.settings["contactUniqueIdentifiers"]:
        value = changes.get("emailLowerCase" if name == "email" else name)
        if value:
            for other in location.contacts.having((name, value)):
                if other["id"] != contact_id:
                    return other, name
    return None


def duplicate_contact(other: Record, name: str) -> Answer:
    """The 400 of a create or update that would make a second contact with one identifier (contract, section 7)."""
    meta = {"contactId": other["id"], "matchingField": name, "contactName": other.get("name", "")}
    return error(400, "This location does not allow duplicated contacts.", meta=meta)
