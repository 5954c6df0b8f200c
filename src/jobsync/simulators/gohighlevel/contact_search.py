"""Finding contacts: POST /contacts/search, GET /contacts/search/duplicate, the deprecated GET /contacts/ (GoHighLevel
contract, section 3). The first and the last trail behind the writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .answers import Answer, refuse
from .bodies import check
from .clock import millis
from .contacts import show
from .identities import fold_email, read_phone
from .location import Record
from .matching import find_for_lookup
from .tokens import check_location

if TYPE_CHECKING:
    from .call import Call

_BODY = {
    "locationId": "string",
    "pageLimit": "number",
    "page": "number",
    "searchAfter": "array",
    "filters": "array",
    "sort": "array",
    "query": "string",
}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda held, wanted: wanted in held,
    "not_eq": lambda held, wanted: wanted not in held,
    "contains": lambda held, wanted: any(wanted in each for each in held),
    "exists": lambda held, wanted: bool(held),
    "not_exists": lambda held, wanted: not held,
}


def search_contacts(call: Call) -> Answer:
    """POST /contacts/search -> `{contacts, total}`, each contact with its `searchAfter`; newest first."""
    body = call.body()
    check_location(call.token, body.get("locationId"))  # type: ignore[arg-type]
    check(body, _BODY, ("locationId",))
    size = call.limit(body.get("pageLimit"), "pageLimit", 20)
    filters = body.get("filters") or []
    for one in filters:
        _check_filter(call, one)
    found = [each for each in _candidates(call, filters) if all(_passes(each, one) for one in filters)]
    if body.get("query"):
        found = [each for each in found if matches_text(each, body["query"])]
    found.sort(key=_place, reverse=True)
    total = len(found)
    if body.get("searchAfter"):
        after = _read_place(body["searchAfter"])
        found = [each for each in found if _place(each) < after]
    else:
        found = found[(max(1, int(body.get("page") or 1)) - 1) * size :]
    shown = [{**show(each), "searchAfter": list(_place(each))} for each in found[:size]]
    return Answer(200, {"contacts": shown, "total": total})


def find_duplicate(call: Call) -> Answer:
    """GET /contacts/search/duplicate?locationId=&number=&email= -> `{contact: {...}|null}`."""
    check_location(call.token, call.query.get("locationId"))  # type: ignore[arg-type]
    if not call.query.get("locationId"):
        raise refuse(422, ["locationId must be a string", "locationId should not be empty"])
    email = fold_email(call.query.get("email", "")) or None
    phone = read_phone(call.query.get("number", ""), call.location.country, call.switches)
    found = find_for_lookup(call.location, email, phone)
    if found is not None and call.switches.duplicate_search_lags:
        found = next((each for each in call.location.contacts.index.all() if each["id"] == found["id"]), None)
    return Answer(200, {"contact": show(found) if found else None})


def list_contacts(call: Call) -> Answer:
    """GET /contacts/?locationId=&query=&limit=&startAfter=&startAfterId=: deprecated, still answers; newest first."""
    check_location(call.token, call.query.get("locationId"))  # type: ignore[arg-type]
    if call.version == "v3":
        raise refuse(404, f"Cannot GET {call.path}")
    size = call.limit(call.query.get("limit"))
    found = call.location.contacts.index.all()
    if call.query.get("query"):
        found = [each for each in found if matches_text(each, call.query["query"])]
    found.sort(key=_place, reverse=True)
    total = len(found)
    if call.query.get("startAfter"):
        after = _read_place([call.query["startAfter"], call.query.get("startAfterId", "")])
        found = [each for each in found if _place(each) < after]
    return Answer(200, {"contacts": [show(each) for each in found[:size]], "count": total})


def matches_text(contact: Record, text: str) -> bool:
    """Whether a search text is in a contact's name, email, phone or company."""
    wanted = text.lower()
    held = (contact.get(name) for name in ("name", "emailLowerCase", "phone", "companyName"))
    return any(wanted in each.lower() for each in held if each)


def _candidates(call: Call, filters: list[Any]) -> list[Record]:
    index = call.location.contacts.index
    for one in filters:
        if isinstance(one, dict) and one.get("operator") == "eq" and isinstance(one.get("value"), (str, int)):
            name = str(one.get("field"))
            if name in ("email", "phone") or name.startswith("customFields."):
                return index.having((name, fold_email(str(one["value"])) if name == "email" else str(one["value"])))
    return index.all()


def _check_filter(call: Call, one: Any) -> None:
    """Custom fields go by id: a name is refused."""
    if not isinstance(one, dict):
        raise refuse(422, ["each value in filters must be an object"])
    if isinstance(one.get("filters"), list):
        for each in one["filters"]:
            _check_filter(call, each)
        return
    operator, name = one.get("operator"), one.get("field")
    if operator not in _OPERATORS or not isinstance(name, str):
        raise refuse(422, [f"Invalid filter: {name} {operator}"])
    known = {each["id"] for each in call.location.fields if each["model"] == "contact"}
    if name.startswith("customFields.") and name.removeprefix("customFields.") not in known:
        raise refuse(422, [f"Invalid field name: {name}"])


def _passes(contact: Record, one: dict[str, Any]) -> bool:
    if isinstance(one.get("filters"), list):
        inner = (_passes(contact, each) for each in one["filters"])
        return any(inner) if str(one.get("group", "AND")).upper() == "OR" else all(inner)
    value = one.get("value")
    wanted = "" if value is None else str(value)
    if one["field"] == "email":
        wanted = fold_email(wanted)
    return _OPERATORS[one["operator"]](_held(contact, one["field"]), wanted)


def _held(contact: Record, name: str) -> list[str]:
    if name == "email":
        return [each for each in (contact.get("emailLowerCase"), *contact.get("additionalEmails", ())) if each]
    if name.startswith("customFields."):
        return [str(each["value"]) for each in contact["customFields"] if each["id"] == name[13:]]
    value = contact.get(name)
    if isinstance(value, list):
        return [str(each) for each in value]
    return [] if value is None else [str(value)]


def _place(contact: Record) -> tuple[int, str]:
    return millis(contact["dateAdded"]), contact["id"]


def _read_place(raw: list[Any]) -> tuple[int, str]:
    try:
        return int(raw[0]), str(raw[1])
    except (IndexError, TypeError, ValueError):
        raise refuse(422, ["searchAfter must hold a time and an id"]) from None
