"""A rule as people write it, and as the database keeps it: names here, ids there.

    name: Estimate sold
    event: estimate_sold
    when: {units: [Sales & Service], amount_from: 500}
    then: {pipeline: Sales Pipeline, stage: Estimate Approved, status: won, value: sold_estimates,
           tags: [sold], fields: {Sold on: "@sold_on"}}

A field's text that begins with @ is a fact of the job (`@@` writes an @). The same document is what the command line, the
YAML file and the API take and give.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from jobsync.engine.names import find_named, read_named, refuse_unknown
from jobsync.engine.pipelines import NOT_PULLED, find_stage
from jobsync.errors import InvalidInput

KEYS = ("name", "event", "when", "then", "position", "backwards", "enabled")
CONDITIONS = ("units", "job_types", "tags", "campaigns", "amount_from", "amount_below")
EFFECTS = ("pipeline", "stage", "status", "value", "tags", "fields")
STATUSES = ("open", "won", "lost")
VALUES = ("job_total", "open_estimates", "sold_estimates", "invoices")
_LISTS = {
    "units": ("unit_ids", "Business unit"),
    "job_types": ("job_type_ids", "Job type"),
    "tags": ("tag_type_ids", "Tag"),
    "campaigns": ("campaign_ids", "Campaign"),
}


def read_rule(document: object, names: dict[str, Any]) -> dict[str, Any]:
    """The rule as `jobsync.save_rules` takes it. Raises InvalidInput naming the rule, what is wrong with it and the
    nearest names."""
    if not isinstance(document, Mapping):
        raise InvalidInput("A rule is written as keys and values.", hint=f"Its keys: {', '.join(KEYS)}.")
    name = str(document.get("name") or "").strip()
    try:
        return _read(name, document, names)
    except InvalidInput as error:
        raise InvalidInput(f'Rule "{name}": {error.message}', hint=error.hint, rule=name) from None


def _read(name: str, document: Mapping[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    refuse_unknown(document, KEYS, "The key")
    if not 0 < len(name) <= 100:
        raise InvalidInput("a rule needs a name of at most 100 characters.")
    event = str(document.get("event") or "").strip().replace(" ", "_")
    refuse_unknown([event], names["events"], "Event")
    when, then = _table(document, "when", CONDITIONS), _table(document, "then", EFFECTS)
    if not then:
        raise InvalidInput("it does nothing: `then` is empty.", hint=f"Give one of: {', '.join(EFFECTS)}.")
    row: dict[str, Any] = {"name": name, "event": event}
    for key, (column, what) in _LISTS.items():
        if when.get(key) is not None:
            row[column] = [find_named(each, read_named(names[key]), what).id for each in _many(when[key])]
    for key in ("amount_from", "amount_below"):
        if when.get(key) is not None:
            row[key] = _amount(when[key], key)
    if then.get("stage") is not None and then.get("pipeline") is None:
        raise InvalidInput("a stage needs its pipeline.", hint="Give `pipeline` as well.")
    if then.get("pipeline") is not None:
        row["pipeline_id"], row["stage_id"] = find_stage(names, then["pipeline"], then.get("stage"))
    for key, known in (("status", STATUSES), ("value", VALUES)):
        if then.get(key) is not None:
            refuse_unknown([str(then[key])], known, key.capitalize())
            row[key] = str(then[key])
    row["tags"] = [text for each in _many(then.get("tags") or []) if (text := str(each).strip())]
    row["custom_fields"] = _read_fields(then.get("fields") or {}, names)
    for key in ("backwards", "enabled"):
        if document.get(key) is not None:
            row[key] = _flag(document[key], key)
    if document.get("position") is not None:
        row["position"] = _whole(document["position"])
    return row


def show_rule(row: Mapping[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """The document of a row of `jobsync.v_rules`; what is like by default is left out. `problem` is not part of it."""
    when: dict[str, Any] = {
        key: [_name_of(each, names[key]) for each in row[column]] for key, (column, _) in _LISTS.items() if row[column]
    }
    when |= {key: _plain(row[key]) for key in ("amount_from", "amount_below") if row[key] is not None}
    then: dict[str, Any] = {
        key: value
        for key, value in (("pipeline", row["pipeline_name"] or row["pipeline_id"]), ("stage", row["stage_name"] or row["stage_id"]),
                           ("status", row["status"]), ("value", row["value"]), ("tags", row["tags"]))
        if value
    }  # fmt: skip
    if row["custom_fields"]:
        then["fields"] = {
            _name_of(key, names["fields"]): _show_field(value) for key, value in row["custom_fields"].items()
        }
    document: dict[str, Any] = {"name": row["name"], "event": row["event"]}
    document |= {key: value for key, value in (("when", when), ("then", then)) if value}
    if row["position"] != names["events"][row["event"]]:
        document["position"] = row["position"]
    if row["backwards"]:
        document["backwards"] = True
    if not row["enabled"]:
        document["enabled"] = False
    return document


def _read_fields(given: object, names: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidInput("fields are written as the field's name and its text.")
    fields: dict[str, Any] = {}
    for key, value in given.items():
        found = find_named(key, read_named(names["fields"]), "Custom field", hint=NOT_PULLED)
        text = str(value)
        if text.startswith("@") and not text.startswith("@@"):
            refuse_unknown([text[1:]], names["facts"], "Fact")
            fields[found.id] = {"fact": text[1:]}
        else:
            fields[found.id] = text[1:] if text.startswith("@@") else text
    return fields


def _show_field(value: object) -> str:
    if isinstance(value, Mapping):
        return f"@{value['fact']}"
    text = str(value)
    return f"@{text}" if text.startswith("@") else text


def _table(document: Mapping[str, Any], key: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    found = document.get(key) or {}
    if not isinstance(found, Mapping):
        raise InvalidInput(f"`{key}` is written as keys and values.", hint=f"Its keys: {', '.join(known)}.")
    refuse_unknown(found, known, f"The key of `{key}`")
    return {name: value for name, value in found.items() if value not in (None, [], {}, "")}


def _many(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _amount(value: object, key: str) -> str:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if isinstance(value, bool) or not found.is_finite():
        raise InvalidInput(f"{key} {value} is no amount.", hint="Write it as 500 or 499.50.")
    return str(found)


def _flag(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{key} is true or false.")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
        raise InvalidInput("position is a whole number from 0 to 1,000,000.")
    return value


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _name_of(identity: object, rows: list[dict[str, Any]]) -> Any:
    """The name of an id, where no other has it; else the id itself."""
    name = next((row["name"] for row in rows if str(row["id"]) == str(identity)), None)
    if not name or sum((row["name"] or "").casefold() == name.casefold() for row in rows) > 1:
        return identity
    return name
