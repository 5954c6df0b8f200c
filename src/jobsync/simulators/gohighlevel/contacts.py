"""Contacts: upsert, create, read, update, delete (GoHighLevel contract, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .answers import Answer, Refusal, refuse
from .bodies import check, given
from .clock import MovableClock
from .fields import merge_values, read_values
from .identifiers import IdMaker
from .identities import fold_email, read_phone
from .location import Location, Record, stamp
from .matching import duplicate_contact, find_conflict, find_match
from .records import require_contact
from .tags import read_tags
from .tokens import check_location

if TYPE_CHECKING:
    from .call import Call

UPDATE_SHAPE = {
    **dict.fromkeys(("firstName", "lastName", "name", "phone", "address1", "city", "state", "postalCode"), "string"),
    **dict.fromkeys(("website", "timezone", "source", "dateOfBirth", "country", "assignedTo"), "string"),
    "email": "email",
    "dnd": "boolean",
    "dndSettings": "object",
    "inboundDndSettings": "object",
    "tags": "strings",
    "customFields": "array",
}
CREATE_SHAPE = {**UPDATE_SHAPE, "locationId": "string", "gender": "string", "companyName": "string"}
UPSERT_SHAPE = {**CREATE_SHAPE, "createNewIfDuplicateAllowed": "boolean"}
_PLAIN = (
    *("firstName", "lastName", "name", "address1", "city", "state", "postalCode", "website", "timezone", "source"),
    *("dateOfBirth", "country", "assignedTo", "companyName", "dnd", "dndSettings", "inboundDndSettings"),
)


def upsert_contact(call: Call) -> Answer:
    """POST /contacts/upsert -> 200 `{new, contact, traceId}`.

    Found by the location's identifiers: updated; an email or phone that another contact owns is dropped silently, tags
    and source are replaced, gender is discarded. Not found: created.
    """
    body = call.body()
    check_location(call.token, body.get("locationId"))  # type: ignore[arg-type]
    check(body, UPSERT_SHAPE, ("locationId",))
    changes = read_changes(call, body)
    location = call.location
    match = find_match(location, changes.get("emailLowerCase"), changes.get("phone"))
    if match and body.get("createNewIfDuplicateAllowed") and location.settings["allowDuplicateContact"]:
        match = None
    if match is None:
        no_identity = "email" not in changes and "phone" not in changes
        if no_identity and call.switches.contact_without_identifiers == "refuse":
            raise refuse(422, ["email or phone is required"])
        contact = create_contact(location, call.clock, call.ids, changes | given(body, "gender"))
        call.ledger.note_contact(contact)
        return Answer(200, {"new": True, "contact": show(contact)})
    contact, _ = match
    drop_taken(location, contact["id"], changes)
    apply_changes(location, call.clock, contact, changes)
    return Answer(200, {"new": False, "contact": show(contact)})


def post_contact(call: Call) -> Answer:
    """POST /contacts/ -> 201 `{contact}`; 400 with meta.contactId when the location allows no duplicates."""
    body = call.body()
    check_location(call.token, body.get("locationId"))  # type: ignore[arg-type]
    check(body, CREATE_SHAPE, ("locationId",))
    changes = read_changes(call, body)
    conflict = find_conflict(call.location, None, changes)
    if conflict:
        raise Refusal(duplicate_contact(*conflict))
    contact = create_contact(call.location, call.clock, call.ids, changes | given(body, "gender"))
    call.ledger.note_contact(contact)
    return Answer(201, {"contact": show(contact)})


def get_contact(call: Call) -> Answer:
    """GET /contacts/{id}: reads through, however much the searches trail."""
    return Answer(200, {"contact": show(require_contact(call, call.args[0]))})


def put_contact(call: Call) -> Answer:
    """PUT /contacts/{id}; 422 for what it does not list (locationId, gender, companyName); 400 for another contact's
    email or phone."""
    contact = require_contact(call, call.args[0])
    body = call.body()
    check(body, UPDATE_SHAPE)
    changes = read_changes(call, body)
    conflict = find_conflict(call.location, contact["id"], changes)
    if conflict:
        raise Refusal(duplicate_contact(*conflict))
    apply_changes(call.location, call.clock, contact, changes)
    return Answer(200, {"succeded": True, "contact": show(contact)})


def delete_contact(call: Call) -> Answer:
    """DELETE /contacts/{id}: its opportunities go with it."""
    contact = require_contact(call, call.args[0])
    remove_contact(call.location, contact["id"])
    return Answer(200, {"succeded": True})


def read_changes(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    """A checked body -> what it sets on a contact: email folded, phone normalised, tags folded, customFields as values
    by id."""
    changes = given(body, *_PLAIN)
    if body.get("email"):
        changes["email"] = body["email"].strip()
        changes["emailLowerCase"] = fold_email(body["email"])
    if body.get("phone"):
        phone = read_phone(body["phone"], call.location.country, call.switches)
        if phone is not None:
            changes["phone"] = phone
    if body.get("customFields"):
        changes["customFields"] = read_values(call, "contact", body["customFields"])
    if body.get("tags") is not None:
        changes["tags"] = read_tags(call, body["tags"])
    return changes


def create_contact(location: Location, clock: MovableClock, ids: IdMaker, changes: dict[str, Any]) -> Record:
    """A new contact from what `read_changes` gives."""
    contact: Record = {
        "id": ids.record(),
        "locationId": location.id,
        "type": "lead",
        "dnd": False,
        "tags": [],
        "customFields": [],
        "country": location.country,
    }
    stamp(contact, clock, "dateAdded")
    return apply_changes(location, clock, contact, changes)


def apply_changes(location: Location, clock: MovableClock, contact: Record, changes: dict[str, Any]) -> Record:
    """Writes what `read_changes` gives onto a contact and stores it."""
    for name, value in changes.items():
        if name == "customFields":
            contact["customFields"] = merge_values(contact["customFields"], value, "value")
        else:
            contact[name] = value
    secondary = contact.get("additionalEmails", [])
    if contact.get("emailLowerCase") in secondary:
        contact["additionalEmails"] = [each for each in secondary if each != contact["emailLowerCase"]]
    _name(contact, changes)
    return location.contacts.save(stamp(contact, clock, "dateUpdated", "lastActivity"))


def drop_taken(location: Location, contact_id: str, changes: dict[str, Any]) -> None:
    """Takes out an email or phone that another contact owns: an upsert ignores it without a word."""
    for name in ("email", "phone"):
        value = changes.get("emailLowerCase" if name == "email" else name)
        if value and any(other["id"] != contact_id for other in location.contacts.having((name, value))):
            changes.pop(name)
            if name == "email":
                changes.pop("emailLowerCase")


def remove_contact(location: Location, contact_id: str) -> None:
    """Deletes a contact with its opportunities and notes."""
    for opportunity in location.opportunities.having(("contact", contact_id)):
        location.opportunities.remove(opportunity["id"])
    location.notes.pop(contact_id, None)
    location.contacts.remove(contact_id)


def show(contact: Record) -> Record:
    """A contact as an answer carries it."""
    return {name: value for name, value in contact.items() if value is not None}


def _name(contact: Record, changes: dict[str, Any]) -> None:
    if "firstName" in changes or "lastName" in changes:
        contact["name"] = " ".join(filter(None, (contact.get("firstName"), contact.get("lastName"))))
    elif changes.get("name"):
        first, _, last = changes["name"].partition(" ")
        contact["firstName"], contact["lastName"] = first, last
    contact["firstNameLowerCase"] = contact.get("firstName", "").lower()
    contact["lastNameLowerCase"] = contact.get("lastName", "").lower()
    contact["fullNameLowerCase"] = contact.get("name", "").lower()
