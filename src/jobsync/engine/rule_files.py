"""Routes and rules as one YAML text: written out, and read in again.

    routes:
      - {unit: Install, pipeline: Install Pipeline, stage: Approved, card: sales}
      - {unit: Pool Service, deliverer: external}
      - {unit: Plumbing, webhook: services.leadconnectorhq.com/...****1a2b, events: created}
    rules:
      - {name: ..., event: ..., when: {...}, then: {...}}

A hook's URL is a secret and not in the text; a webhook route is only compared, never made. Reading a text in is all or
nothing as to its rules; routes and names are checked before anything is changed. Twice changes nothing; nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from jobsync.engine.context import Engine
from jobsync.engine.names import find_named, read_named, refuse_unknown
from jobsync.engine.pipelines import find_stage, read_card_names
from jobsync.engine.route import list_units, route_unit
from jobsync.engine.rule_documents import read_rule
from jobsync.engine.rules import list_rules, save_rules
from jobsync.errors import InvalidInput

PARTS = ("routes", "rules")
ROUTE_KEYS = ("unit", "deliverer", "pipeline", "stage", "card", "webhook", "events")
LARGEST = 1_000_000


async def export_rules(engine: Engine, tenant: str) -> str:
    """The YAML text of all routes and rules, in an order that does not change by itself."""
    units = await list_units(engine, tenant)
    rules = [
        {key: value for key, value in rule.items() if key != "problem"} for rule in await list_rules(engine, tenant)
    ]
    routes = [_show_route(unit, units) for unit in units if unit["deliverer"] != "none"]
    return yaml.safe_dump({"routes": routes, "rules": rules}, sort_keys=False, allow_unicode=True, width=100)


async def import_rules(
    engine: Engine, tenant: str, text: str, *, actor: str, replace: bool = False, dry_run: bool = False
) -> dict[str, Any]:
    """Makes routes and rules as the text says; `replace`: and removes rules that are not in it.

    Answers {routes: [unit ids that were set], saved, removed, differ}; with `dry_run` the same for what would be done, and
    nothing is. Raises InvalidInput naming the line or the entry, and the nearest names.
    """
    document = read_text(text)
    async with engine.database.transaction(tenant) as session:
        names = await read_card_names(session, tenant)
    units = {row["st_business_unit_id"]: row for row in await list_units(engine, tenant)}
    wanted = [_read_route(entry, names, units) for entry in document["routes"]]
    rows = [read_rule(entry, names) for entry in document["rules"]]
    changed = [route for route in wanted if route is not None]
    if dry_run:
        known = [rule["name"] for rule in await list_rules(engine, tenant)]
        given = [row["name"] for row in rows]
        return {
            "routes": [route["unit"] for route in changed],
            "saved": given,
            "removed": [name for name in known if replace and name not in given],
            "dry_run": True,
        }
    for route in changed:
        await route_unit(engine, tenant, actor=actor, leave_webhook=True, **route)
    answer = await save_rules(engine, tenant, document["rules"], actor=actor, replace=replace)
    return {"routes": [route["unit"] for route in changed], **answer}


def read_text(text: str) -> dict[str, list[Any]]:
    """The two lists of a text; what it leaves out is empty. Raises InvalidInput with the line that cannot be read."""
    if len(text) > LARGEST:
        raise InvalidInput("The file is larger than 1 MB.", hint="It holds routes and rules only.")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise InvalidInput(f"The file is not readable YAML{'' if line is None else f' (line {line + 1})'}.") from None
    if not isinstance(found, Mapping):
        raise InvalidInput("The file holds neither routes nor rules.", hint="See `jobsync rules export`.")
    refuse_unknown([str(key) for key in found], PARTS, "The part")
    parts = {part: found.get(part) or [] for part in PARTS}
    for part, entries in parts.items():
        if not isinstance(entries, list):
            raise InvalidInput(f"`{part}` is a list.", hint="See `jobsync rules export`.")
    return parts


def _show_route(unit: dict[str, Any], units: list[dict[str, Any]]) -> dict[str, Any]:
    name = unit["name"] if [row["name"] for row in units].count(unit["name"]) == 1 else unit["st_business_unit_id"]
    if unit["deliverer"] == "external":
        return {"unit": name, "deliverer": "external"}
    if unit["destination_kind"] == "webhook":
        return {"unit": name, "webhook": unit["destination_masked"], "events": unit["events"]}
    shown = {"unit": name, "pipeline": unit["pipeline_name"], "stage": unit["stage_name"]}
    if unit["card"] != "own":
        shown["card"] = unit["card"]
    return {key: value for key, value in shown.items() if value is not None}


def _read_route(entry: object, names: dict[str, Any], units: dict[int, dict[str, Any]]) -> dict[str, Any] | None:
    """What `route_unit` takes; None where the route stands so already."""
    if not isinstance(entry, Mapping):
        raise InvalidInput("A route is written as keys and values.", hint=f"Its keys: {', '.join(ROUTE_KEYS)}.")
    refuse_unknown([str(key) for key in entry], ROUTE_KEYS, "The key of a route")
    unit = find_named(entry.get("unit", ""), read_named(names["units"]), "Business unit")
    row = units[unit.id]
    if entry.get("webhook") is not None:
        if row["destination_kind"] == "webhook" and row["destination_masked"] == entry["webhook"]:
            return (
                None if entry.get("events") in (None, row["events"]) else {"unit": unit.id, "events": entry["events"]}
            )
        raise InvalidInput(
            f'Route of "{unit.name}": a hook\'s URL is a secret and not in this file.',
            hint=f"Set it: jobsync units set {unit.id} --webhook URL, or leave this route out.",
        )
    if entry.get("deliverer") is not None:
        refuse_unknown([str(entry["deliverer"])], ("external",), "Deliverer")
        return None if row["deliverer"] == "external" else {"unit": unit.id, "external": True}
    if entry.get("pipeline") is None:
        raise InvalidInput(
            f'Route of "{unit.name}" names no pipeline.', hint="Give `pipeline`, or `deliverer: external`."
        )
    card = str(entry.get("card") or "own")
    refuse_unknown([card], ("own", "sales"), "Card")
    target = find_stage(names, str(entry["pipeline"]), None if entry.get("stage") is None else str(entry["stage"]))
    if row["destination_kind"] == "api" and (row["pipeline_id"], row["stage_id"], row["card"]) == (*target, card):
        return None
    return {"unit": unit.id, "pipeline": target[0], "stage": target[1], "card": card}
