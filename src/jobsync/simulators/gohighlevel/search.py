"""Opportunity search, which trails behind the writes (GoHighLevel contract, sections 1 and 5)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from .answers import Answer, refuse
from .bodies import STATUSES, check
from .clock import millis
from .contact_search import matches_text
from .location import Record
from .opportunities import show_contact_of
from .tokens import check_location

if TYPE_CHECKING:
    from .call import Call

_SNAKE = {
    "location_id": "locationId",
    "pipeline_id": "pipelineId",
    "pipeline_stage_id": "pipelineStageId",
    "contact_id": "contactId",
    "assigned_to": "assignedTo",
}
_COMMON = frozenset(
    (
        *("q", "status", "campaignId", "id", "order", "date", "endDate", "country", "page", "limit"),
        *("startAfter", "startAfterId", "getTasks", "getNotes", "getCalendarEvents"),
    )
)
_LONGEST_Q = 75
_POST_BODY = {
    "locationId": "string",
    "query": "string",
    "limit": "number",
    "page": "number",
    "searchAfter": "array",
    "additionalDetails": "object",
    "filters": "array",
    "sort": "array",
}
_POST_REQUIRED = ("locationId", "limit", "page", "searchAfter", "additionalDetails")


def search_opportunities(call: Call) -> Answer:
    """GET /opportunities/search: snake_case under 2021-07-28 and its like, camelCase under v3; the other spelling is a
    422. limit at most 100, default 20. Newest first unless order=added_asc. meta carries total and how to go on:
    startAfter and startAfterId of the last row, nextPage."""
    asked = _read_query(call)
    size = call.limit(asked.get("limit"))
    page = max(1, int(asked["page"])) if str(asked.get("page", "")).isdigit() else 1
    found = [each for each in _candidates(call, asked.get("contactId")) if _passes(call, each, asked)]
    rising = asked.get("order") == "added_asc"
    found.sort(key=_place, reverse=not rising)
    total = len(found)
    if asked.get("startAfter"):
        after = _read_place(asked["startAfter"], asked.get("startAfterId", ""))
        found = [each for each in found if (_place(each) > after if rising else _place(each) < after)]
        shown, more = found[:size], len(found) > size
    else:
        shown, more = found[(page - 1) * size : page * size], total > page * size
    meta: dict[str, Any] = {"total": total, "currentPage": page}
    last = _place(shown[-1]) if shown and more else (None, None)
    query = {**call.query, "startAfter": last[0], "startAfterId": last[1]}
    meta["nextPageUrl"] = f"{call.world.public_url}{call.path}?{urlencode(query)}" if more else None
    meta |= {"startAfter": last[0], "startAfterId": last[1], "nextPage": page + 1 if more else None}
    meta["prevPage"] = page - 1 if page > 1 else None
    if call.switches.empty_page_numbers == "absent":
        meta = {name: value for name, value in meta.items() if value is not None}
    return Answer(200, {"opportunities": [_show(call, each) for each in shown], "meta": meta, "aggregations": {}})


def post_search(call: Call) -> Answer:
    """POST /opportunities/search -> `{opportunities, total, aggregations}`; every property of the spec is required.
    `filters` are refused with the reported 401, ignored or honoured for `eq` (a switch)."""
    body = call.body()
    check_location(call.token, body.get("locationId"))  # type: ignore[arg-type]
    check(body, _POST_BODY, _POST_REQUIRED)
    filters = body.get("filters") or []
    if filters and call.switches.post_search_filters == "refuse":
        raise refuse(401, "This route is not yet supported by the IAM Service. Please update the IAM config.")
    size = call.limit(body["limit"])
    asked = {"status": "all", "q": body.get("query") or ""}
    found = [each for each in call.location.opportunities.index.all() if _passes(call, each, asked)]
    if call.switches.post_search_filters == "honour":
        found = [each for each in found if all(_holds(each, one) for one in filters)]
    found.sort(key=_place, reverse=True)
    total = len(found)
    if body["searchAfter"]:
        after = _read_place(*(body["searchAfter"] + [""])[:2])
        found = [each for each in found if _place(each) < after]
    else:
        found = found[(max(1, int(body["page"])) - 1) * size :]
    shown = [{**_show(call, each), "sort": list(_place(each))} for each in found[:size]]
    return Answer(200, {"opportunities": shown, "total": total, "aggregations": {}})


def _read_query(call: Call) -> dict[str, str]:
    named = {camel: camel for camel in _SNAKE.values()} if call.version == "v3" else _SNAKE
    wrong = [f"property {name} should not exist" for name in call.query if name not in named and name not in _COMMON]
    location_name = "locationId" if call.version == "v3" else "location_id"
    if not call.query.get(location_name):
        wrong += [f"{location_name} must be a string", f"{location_name} should not be empty"]
    if call.query.get("status", "all") not in (*STATUSES, "all"):
        wrong.append(f"status must be one of the following values: {', '.join(STATUSES)}, all")
    if len(call.query.get("q", "")) > _LONGEST_Q:
        wrong.append(f"q must be shorter than or equal to {_LONGEST_Q} characters")
    if wrong:
        raise refuse(422, wrong)
    check_location(call.token, call.query[location_name])  # type: ignore[arg-type]
    return {named.get(name, name): value for name, value in call.query.items()}


def _candidates(call: Call, contact_id: str | None) -> list[Record]:
    index = call.location.opportunities.index
    return index.having(("contact", contact_id)) if contact_id else index.all()


def _passes(call: Call, each: Record, asked: dict[str, str]) -> bool:
    status = asked.get("status") or call.switches.search_status_default
    if status not in ("all", each["status"]):
        return False
    for name in ("id", "contactId", "pipelineId", "pipelineStageId", "assignedTo"):
        if asked.get(name) and each.get(name) != asked[name]:
            return False
    if asked.get("date") and each["createdAt"][:10] < _read_day(asked["date"], "date"):
        return False
    if asked.get("endDate") and each["createdAt"][:10] > _read_day(asked["endDate"], "endDate"):
        return False
    text = asked.get("q")
    if not text:
        return True
    contact = call.location.contacts.records.get(each["contactId"])
    if contact is not None and matches_text(contact, text):
        return True
    return call.switches.q_matches == "contact_and_name" and text.lower() in each["name"].lower()


def _holds(each: Record, one: Any) -> bool:
    if not isinstance(one, dict) or one.get("operator") not in ("eq", None):
        raise refuse(422, ["Invalid filter"])
    name, wanted = str(one.get("field")), one.get("value")
    if name.startswith(("custom_fields.", "customFields.")):
        identifier = name.split(".", 1)[1]
        return any(held["id"] == identifier and str(held["fieldValue"]) == str(wanted) for held in each["customFields"])
    return each.get(_SNAKE.get(name, name)) == wanted


def _show(call: Call, opportunity: Record) -> Record:
    shown = {**opportunity, "contact": show_contact_of(call.location, opportunity)}
    shape = call.switches.search_field_shape
    if shape == "absent":
        shown.pop("customFields")
    elif shape == "typed":
        shown["customFields"] = [_typed(each) for each in opportunity["customFields"]]
    return shown


def _typed(held: Record) -> Record:
    value = held["fieldValue"]
    if isinstance(value, list):
        return {"id": held["id"], "type": "array", "fieldValueArray": value}
    if isinstance(value, (int, float)):
        return {"id": held["id"], "type": "number", "fieldValueNumber": value}
    return {"id": held["id"], "type": "string", "fieldValueString": value}


def _place(opportunity: Record) -> tuple[int, str]:
    return millis(opportunity["createdAt"]), opportunity["id"]


def _read_place(moment: Any, identifier: Any) -> tuple[int, str]:
    try:
        return int(moment), str(identifier)
    except (TypeError, ValueError):
        raise refuse(422, ["startAfter must be a number conforming to the specified constraints"]) from None


def _read_day(raw: str, name: str) -> str:
    try:
        return datetime.strptime(raw, "%m-%d-%Y").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        raise refuse(422, [f"{name} must be mm-dd-yyyy"]) from None
