"""The small workflow behind an inbound webhook: find or create the contact, create or update the opportunity
(GoHighLevel contract, section 9). It reads the body by the keys that users' workflows are mapped to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .answers import Refusal
from .contacts import apply_changes, create_contact, drop_taken
from .fields import merge_values
from .identities import fold_email, read_phone
from .ledger import Post
from .location import Hook, Location, Record
from .matching import find_match
from .opportunities import apply_to_opportunity, create_opportunity, find_duplicate_card

if TYPE_CHECKING:
    from .world import World

_CONTACT_KEYS = {
    "first_name": "firstName",
    "last_name": "lastName",
    "street": "address1",
    "city": "city",
    "state": "state",
    "postal_code": "postalCode",
}


def run_workflow(world: World, location: Location, hook: Hook, post: Post) -> None:
    """Runs what a queued post starts and writes its outcome on the post. Every run is billed, whatever it achieves.

    Outcomes: created, updated, contactless (neither email nor phone, so no opportunity either), action_failed,
    no_re_entry, no_pipeline, duplicate_refused, unreadable.
    """
    location.executions += 1
    if hook.mode == "failing":
        post.outcome = "action_failed"
        return
    body = post.content()
    if not isinstance(body, dict):
        post.outcome = "unreadable"
        return
    contact = _find_or_create_contact(world, location, body)
    if contact is None:
        post.outcome = "contactless"
        return
    if not hook.re_entry and contact["id"] in hook.entered:
        post.outcome = "no_re_entry"
        return
    hook.entered.add(contact["id"])
    post.outcome = _place_opportunity(world, location, hook, contact, body, post)


def _find_or_create_contact(world: World, location: Location, body: dict[str, Any]) -> Record | None:
    changes: dict[str, Any] = {
        target: str(body[key]) for key, target in _CONTACT_KEYS.items() if body.get(key) not in (None, "")
    }
    if "firstName" not in changes and "lastName" not in changes and body.get("Name"):
        changes["name"] = str(body["Name"])
    if body.get("email"):
        changes["email"] = str(body["email"]).strip()
        changes["emailLowerCase"] = fold_email(str(body["email"]))
    phone = _read_phone(world, location, body.get("phone"))
    if phone:
        changes["phone"] = phone
    match = find_match(location, changes.get("emailLowerCase"), phone)
    if match is None:
        if "email" not in changes and "phone" not in changes:
            return None
        contact = create_contact(location, world.clock, world.ids, changes)
        world.ledger.note_contact(contact)
        return contact
    drop_taken(location, match[0]["id"], changes)
    return apply_changes(location, world.clock, match[0], changes)


def _place_opportunity(
    world: World, location: Location, hook: Hook, contact: Record, body: dict[str, Any], post: Post
) -> str:
    pipeline = location.find_pipeline(hook.pipeline_id or "")
    if pipeline is None or all(stage["id"] != hook.stage_id for stage in pipeline["stages"]):
        return "no_pipeline"
    changes: dict[str, Any] = {
        "pipelineId": pipeline["id"],
        "pipelineStageId": hook.stage_id,
        "name": str(body.get(hook.name_key) or contact.get("name") or ""),
        "customFields": _read_fields(location, hook, body),
    }
    value = _read_number(body.get(hook.value_key))
    if value is not None:
        changes["monetaryValue"] = value
    present = _present_card(location, hook, contact, changes)
    if present is not None:
        apply_to_opportunity(location, world.clock, present, changes)
        post.opportunity_id = present["id"]
        return "updated"
    if find_duplicate_card(location, world.switches.duplicate_counts, contact["id"], pipeline["id"]):
        return "duplicate_refused"
    opportunity = create_opportunity(location, world.clock, world.ids, contact["id"], changes)
    world.ledger.note_opportunity(location, opportunity, via="workflow")
    post.opportunity_id = opportunity["id"]
    return "created"


def _present_card(location: Location, hook: Hook, contact: Record, changes: dict[str, Any]) -> Record | None:
    if hook.repeat == "create":
        return None
    held = location.opportunities.having(("contact", contact["id"]))
    if hook.repeat == "update_card":
        return next((each for each in held if each["pipelineId"] == hook.pipeline_id), None)
    wanted = merge_values([], changes["customFields"], "fieldValue")
    job = next((each for each in wanted if _is_job_field(location, each["id"])), None)
    return next((each for each in held if job is not None and job in each["customFields"]), None)


def _read_fields(location: Location, hook: Hook, body: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field_key, body_key in hook.fields.items():
        found = location.find_field(field_key, "opportunity")
        if found is not None and body.get(body_key) not in (None, ""):
            values[found["id"]] = str(body[body_key])
    return values


def _is_job_field(location: Location, identifier: str) -> bool:
    found = location.find_field(identifier)
    return found is not None and found["fieldKey"] == "opportunity.st_job_id"


def _read_phone(world: World, location: Location, raw: Any) -> str | None:
    try:
        return read_phone(str(raw), location.country, world.switches) if raw else None
    except Refusal:
        return None


def _read_number(raw: Any) -> float | None:
    if isinstance(raw, bool) or raw is None:
        return None
    try:
        return float(raw)
    except (TypeError, ValueError):
        return None
