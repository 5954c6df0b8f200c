"""Opportunities: create, read, update, status, delete, upsert (GoHighLevel contract, section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .answers import Answer, Refusal, error, refuse
from .bodies import check, given
from .clock import MovableClock
from .fields import merge_values, read_values
from .identifiers import IdMaker
from .location import Location, Record, stamp
from .locations import place_card
from .records import require_opportunity
from .tokens import check_location

if TYPE_CHECKING:
    from .call import Call

_UPDATE = {
    **dict.fromkeys(("pipelineId", "pipelineStageId", "name", "assignedTo"), "string"),
    "status": "status",
    "monetaryValue": "number",
    "customFields": "array",
}
_CREATE = {**_UPDATE, "locationId": "string", "contactId": "string"}
_REQUIRED = ("pipelineId", "locationId", "name", "status", "contactId")
_UPSERT = {
    **{name: kind for name, kind in _CREATE.items() if name != "customFields"},
    **dict.fromkeys(("id", "followersActionType", "lostReasonId"), "string"),
    "followers": "strings",
    "isRemoveAllFollowers": "boolean",
}
_PLAIN = ("name", "status", "assignedTo", "source", "lostReasonId")


def post_opportunity(call: Call) -> Answer:
    """POST /opportunities/ -> 201 `{opportunity}`. Nothing keeps two POSTs from making two, unless the location forbids
    more than one per contact and pipeline: 400 OPPORTUNITY_NO_DUPLICATE with meta.existingId."""
    body = call.body()
    check_location(call.token, body.get("locationId"))  # type: ignore[arg-type]
    check(body, _with_source(call, _CREATE), _REQUIRED)
    changes = _read_changes(call, body, None)
    contact_id = body["contactId"]
    if contact_id not in call.location.contacts.records:
        raise refuse(400, "The contact id is invalid.")
    existing = find_duplicate_card(call.location, call.switches.duplicate_counts, contact_id, changes["pipelineId"])
    if existing:
        raise Refusal(duplicate_opportunity(existing))
    opportunity = create_opportunity(call.location, call.clock, call.ids, contact_id, changes)
    call.ledger.note_opportunity(call.location, opportunity, via="api")
    return Answer(201, {"opportunity": show_opportunity(call, opportunity)})


def get_opportunity(call: Call) -> Answer:
    """GET /opportunities/{id}: reads through."""
    return Answer(200, {"opportunity": show_opportunity(call, require_opportunity(call, call.args[0]))})


def put_opportunity(call: Call) -> Answer:
    """PUT /opportunities/{id}: what is sent replaces, custom fields merge; contactId and locationId are a 422."""
    opportunity = require_opportunity(call, call.args[0])
    body = call.body()
    check(body, _with_source(call, _UPDATE))
    apply_to_opportunity(call.location, call.clock, opportunity, _read_changes(call, body, opportunity))
    return Answer(200, {"opportunity": show_opportunity(call, opportunity)})


def put_status(call: Call) -> Answer:
    """PUT /opportunities/{id}/status `{status, lostReasonId?}` -> `{succeded: true}`."""
    opportunity = require_opportunity(call, call.args[0])
    body = call.body()
    check(body, {"status": "status", "lostReasonId": "string"}, ("status",))
    apply_to_opportunity(call.location, call.clock, opportunity, given(body, "status", "lostReasonId"))
    return Answer(200, {"succeded": True})


def delete_opportunity(call: Call) -> Answer:
    """DELETE /opportunities/{id} -> `{succeded: true}`."""
    call.location.opportunities.remove(require_opportunity(call, call.args[0])["id"])
    return Answer(200, {"succeded": True})


def upsert_opportunity(call: Call) -> Answer:
    """POST /opportunities/upsert -> 200 `{opportunity, new}`: overwrites the card that the switch's key finds,
    whoever's job it was; customFields are refused (422)."""
    body = call.body()
    check_location(call.token, body.get("locationId"))  # type: ignore[arg-type]
    check(body, _UPSERT, ("pipelineId", "locationId"))
    present = _upsert_target(call, body)
    changes = _read_changes(call, body, present)
    if present is not None:
        apply_to_opportunity(call.location, call.clock, present, changes)
        return Answer(200, {"opportunity": show_opportunity(call, present), "new": False})
    contact_id = body.get("contactId")
    if contact_id not in call.location.contacts.records:
        raise refuse(400, "The contact id is invalid.")
    opportunity = create_opportunity(call.location, call.clock, call.ids, contact_id, changes)
    call.ledger.note_opportunity(call.location, opportunity, via="api")
    return Answer(200, {"opportunity": show_opportunity(call, opportunity), "new": True})


def find_duplicate_card(location: Location, counts: str, contact_id: str, pipeline_id: str) -> Record | None:
    """The opportunity that forbids another one of that contact in that pipeline; None where the location allows it."""
    if location.settings["allowDuplicateOpportunity"]:
        return None
    for each in location.opportunities.having(("contact", contact_id)):
        if each["pipelineId"] == pipeline_id and (counts == "any_status" or each["status"] == "open"):
            return each
    return None


def duplicate_opportunity(existing: Record) -> Answer:
    """The 400 of a second opportunity (contract, section 7)."""
    return error(
        400,
        "Can not create duplicate opportunity for the contact.",
        code="OPPORTUNITY_NO_DUPLICATE",
        meta={"existingId": existing["id"]},
    )


def create_opportunity(
    location: Location, clock: MovableClock, ids: IdMaker, contact_id: str, changes: dict[str, Any]
) -> Record:
    """A new opportunity of a contact; changes: property -> value, customFields as values by id."""
    opportunity: Record = {
        "id": ids.record(),
        "locationId": location.id,
        "contactId": contact_id,
        "status": "open",
        "monetaryValue": 0,
        "customFields": [],
        "indexVersion": 0,
    }
    stamp(opportunity, clock, "createdAt", "lastStatusChangeAt", "lastStageChangeAt")
    return apply_to_opportunity(location, clock, opportunity, changes)


def apply_to_opportunity(
    location: Location, clock: MovableClock, opportunity: Record, changes: dict[str, Any]
) -> Record:
    """Writes changes onto an opportunity and stores it."""
    if changes.get("status", opportunity.get("status")) != opportunity.get("status"):
        stamp(opportunity, clock, "lastStatusChangeAt")
    if changes.get("pipelineStageId", opportunity.get("pipelineStageId")) != opportunity.get("pipelineStageId"):
        stamp(opportunity, clock, "lastStageChangeAt")
    for name, value in changes.items():
        if name == "customFields":
            opportunity["customFields"] = merge_values(opportunity["customFields"], value, "fieldValue")
        else:
            opportunity[name] = value
    opportunity["indexVersion"] += 1
    return location.opportunities.save(stamp(opportunity, clock, "updatedAt", "lastActionDate"))


def show_contact_of(location: Location, opportunity: Record) -> Record:
    """The contact as an opportunity carries it."""
    contact = location.contacts.records.get(opportunity["contactId"], {"id": opportunity["contactId"], "tags": []})
    names = ("id", "name", "companyName", "email", "phone", "tags")
    return {name: contact[name] for name in names if contact.get(name) is not None}


def show_opportunity(call: Call, opportunity: Record) -> Record:
    """An opportunity as reads and writes answer it: customFields `{id, fieldValue}`."""
    contact = show_contact_of(call.location, opportunity)
    shown = {**opportunity, "contact": contact, "notes": [], "tasks": [], "followers": []}
    if not call.switches.opportunity_get_has_fields:
        shown.pop("customFields")
    return shown


def _read_changes(call: Call, body: dict[str, Any], present: Record | None) -> dict[str, Any]:
    changes = given(body, *_PLAIN)
    pipeline_id = body.get("pipelineId") or (present or {}).get("pipelineId", "")
    if body.get("pipelineId") or body.get("pipelineStageId"):
        changes |= place_card(call.location, call.switches, pipeline_id, body.get("pipelineStageId"), present)
    if body.get("monetaryValue") is not None:
        value = body["monetaryValue"]
        changes["monetaryValue"] = value if call.switches.money_decimals else int(value)
    if body.get("customFields"):
        changes["customFields"] = read_values(call, "opportunity", body["customFields"])
    return changes


def _upsert_target(call: Call, body: dict[str, Any]) -> Record | None:
    if body.get("id"):
        return require_opportunity(call, body["id"])
    key = call.switches.upsert_opportunity_key
    if key == "id" or not body.get("contactId"):
        return None
    for each in call.location.opportunities.having(("contact", body["contactId"])):
        if key == "contact" or each["pipelineId"] == body["pipelineId"]:
            return each
    return None


def _with_source(call: Call, shape: dict[str, str]) -> dict[str, str]:
    return {**shape, "source": "string"} if call.switches.opportunity_source_accepted else shape
