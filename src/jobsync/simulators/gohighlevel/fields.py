"""Custom fields: the location's list, and values as they are written (GoHighLevel contract, section 4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .answers import Answer, refuse
from .bodies import check
from .identifiers import IdMaker
from .location import Location, Record

if TYPE_CHECKING:
    from .call import Call

MODELS = ("contact", "opportunity")
_NUMBERS = ("NUMERICAL", "MONETORY")
_LISTS = ("CHECKBOX", "MULTIPLE_OPTIONS")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_CREATE = {
    "name": "string",
    "dataType": "string",
    "placeholder": "string",
    "acceptedFormat": "array",
    "isMultipleFile": "boolean",
    "maxNumberOfFiles": "number",
    "textBoxListOptions": "array",
    "options": "strings",
    "position": "number",
    "model": "string",
}


def list_fields(call: Call) -> Answer:
    """GET /locations/{locationId}/customFields?model=contact|opportunity|all; without model: all."""
    model = call.query.get("model", "all")
    if model not in (*MODELS, "all"):
        raise refuse(422, ["model must be one of the following values: contact, opportunity, all"])
    return Answer(200, {"customFields": [each for each in call.location.fields if model in ("all", each["model"])]})


def read_field(call: Call) -> Answer:
    """GET /locations/{locationId}/customFields/{id or fieldKey}."""
    found = call.location.find_field(call.args[1])
    if found is None:
        raise refuse(404, "Custom field not found")
    return Answer(200, {"customField": found})


def create_field(call: Call) -> Answer:
    """POST /locations/{locationId}/customFields -> 201. A name that exists already in that model: 400."""
    body = call.body()
    check(body, _CREATE, ("name", "dataType"))
    model = body.get("model") or "contact"
    if model not in MODELS:
        raise refuse(422, ["model must be one of the following values: contact, opportunity"])
    key = field_key(model, body["name"])
    if call.location.find_field(key):
        raise refuse(400, "Custom field already exists with the given name")
    return Answer(201, {"customField": add_field(call.location, call.ids, body["name"], body["dataType"], model)})


def add_field(location: Location, ids: IdMaker, name: str, data_type: str, model: str) -> Record:
    """A custom field of a location."""
    record = {
        "id": ids.record(),
        "name": name,
        "fieldKey": field_key(model, name),
        "dataType": data_type,
        "position": 50 * (len(location.fields) + 1),
        "locationId": location.id,
        "model": model,
    }
    location.fields.append(record)
    return record


def field_key(model: str, name: str) -> str:
    """`opportunity.st_job_id` for a field of opportunities that is called "ST job id"."""
    return model + "." + re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def read_values(call: Call, model: str, items: list[Any] | None) -> dict[str, Any]:
    """Written custom fields -> value by field id, in the order given.

    A v2 write carries `field_value`, a v3 write `fieldValue`; the other one's key counts as unknown. A contact's field
    goes by id, an opportunity's by id or key. Raises 422 for what the switches refuse.
    """
    values: dict[str, Any] = {}
    wrong: list[str] = []
    value_key = "fieldValue" if call.version == "v3" else "field_value"
    for place, item in enumerate(items or ()):
        if not isinstance(item, dict):
            wrong.append(f"customFields.{place} must be an object")
            continue
        name = item.get("id") if model == "contact" else item.get("id") or item.get("key")
        if not isinstance(name, str):
            wrong.append(f"customFields.{place}.id must be a string")
            continue
        found = call.location.find_field(name, model)
        if found is None or value_key not in item:
            if call.switches.unknown_custom_field == "refuse":
                wrong.append(f"customFields.{place} is not a custom field of this location")
            continue
        value = item[value_key]
        if value is not None and not _fits(found["dataType"], value):
            if call.switches.misfit_custom_value == "refuse":
                wrong.append(f"customFields.{place}.{value_key} is invalid for {found['dataType']}")
            continue
        values[found["id"]] = value
    if wrong:
        raise refuse(422, wrong)
    return values


def merge_values(present: list[Record], written: dict[str, Any], value_key: str) -> list[Record]:
    """Custom fields merge by id; null or "" takes a value away."""
    merged = {each["id"]: each[value_key] for each in present} | written
    return [{"id": name, value_key: value} for name, value in merged.items() if value not in (None, "")]


def _fits(data_type: str, value: Any) -> bool:
    if value == "":
        return True
    if data_type in _NUMBERS:
        return not isinstance(value, bool) and _NUMBER.fullmatch(str(value)) is not None
    if data_type == "DATE":
        return isinstance(value, str) and _DATE.match(value) is not None
    if data_type in _LISTS:
        return isinstance(value, list)
    return isinstance(value, str)
