"""The control API under /_control: faults, switches, clock, actions and ledgers, as JSON over HTTP.

It needs no token and is never counted, limited or broken. `?tenant=` picks a tenant where there are several. Bad
input is answered 400 with `{"error": "..."}`.

  GET  /_control                          what there is
  GET  /_control/requests                 counts by method, path and status     POST /_control/reset-ledger
  GET  /_control/calls?limit=100          the latest calls one by one
  GET  /_control/tables                   rows per table
  GET  /_control/versions/{table}?since=0 versions made visible after a sequence (-1: all); body=true adds the rows
  GET  /_control/switches                 POST {name: value, ...}
  GET  /_control/faults                   POST a fault    DELETE /_control/faults[/{id}]
  GET  /_control/clock                    POST {"advance": s} | {"set": iso} | {"run": bool}
  POST /_control/actions/{name}           the action's keywords as JSON; answers {"result": ...}
  POST /_control/live                     {"every": seconds}; 0 stops            POST /_control/turn
  POST /_control/revoke-tokens
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from .actions import ACTIONS
from .faults import Fault
from .instants import write_instant
from .replies import Reply, json_reply
from .tables import Record, Table

if TYPE_CHECKING:
    from .app import Simulator

PREFIX = "/_control"


def answer_control(simulator: Simulator, method: str, path: str, query: bytes, body: bytes) -> Reply:
    """One control request. path: what follows /_control."""
    try:
        asked = {name: values[0] for name, values in parse_qs(query.decode("latin-1")).items()}
        given = msgspec.json.decode(body) if body.strip() else {}
        if not isinstance(given, dict):
            raise ValueError("the body must be a JSON object")
        tenant = int(asked["tenant"]) if "tenant" in asked else None
        name, _, rest = path.strip("/").partition("/")
        answer = ROUTES.get((method, name))
        if answer is None:
            return json_reply({"error": f"no control is called {method} {path}"}, 404)
        return json_reply(answer(simulator, tenant, rest, asked, given))
    except (ValueError, TypeError, LookupError) as error:
        return json_reply({"error": str(error.args[0]) if error.args else type(error).__name__}, 400)


def list_versions(table: Table, since: int = 0, *, bodies: bool = False) -> Iterator[dict[str, Any]]:
    """Versions of a table's rows that became visible after a sequence.

    Each: id, parent (contacts), modifiedOn, active, sequence, visibleAt (null for rows that were there from the start),
    `silent` where modifiedOn did not move, and with bodies the `row` itself.
    """
    before: dict[Any, Record] = {}
    for record in table.versions(-1):
        last, before[record.key] = before.get(record.key), record
        if record.sequence <= since:
            continue
        version = {
            "id": record.id,
            "modifiedOn": write_instant(record.modified) if record.dated else None,
            "active": record.active,
            "sequence": record.sequence,
            "visibleAt": write_instant(record.visible_at) if record.sequence else None,
            "silent": last is not None and last.modified == record.modified,
        }
        if isinstance(record.key, tuple):
            version["parent"] = record.key[1]
        if bodies:
            version["row"] = msgspec.Raw(record.body)
        yield version


def _about(simulator: Simulator, *_: Any) -> Any:
    return {
        "tenants": sorted(simulator.datasets),
        "actions": ACTIONS,
        "controls": sorted({name for _, name in ROUTES} - {""}),
    }


def _versions(simulator: Simulator, tenant: int | None, table: str, asked: dict[str, str], _: Any) -> Any:
    tables = simulator.dataset(tenant).tables
    if table not in tables:
        raise LookupError(f"no table is called {table}")
    return {
        "versions": list(list_versions(tables[table], int(asked.get("since", 0)), bodies=asked.get("body") == "true"))
    }


def _calls(simulator: Simulator, _: Any, __: str, asked: dict[str, str], ___: Any) -> Any:
    latest = islice(reversed(simulator.ledger.calls), int(asked.get("limit", 100)))
    return {"calls": [asdict(call) for call in latest][::-1]}


def _tables(simulator: Simulator, tenant: int | None, *_: Any) -> Any:
    return {
        name: {"rows": len(table), "active": sum(record.active for record in table)}
        for name, table in simulator.dataset(tenant).tables.items()
    }


def _turn_switches(simulator: Simulator, _: Any, __: str, ___: Any, given: dict[str, Any]) -> Any:
    simulator.switches.turn(**given)
    return simulator.switches.as_dict()


def _add_fault(simulator: Simulator, _: Any, __: str, ___: Any, given: dict[str, Any]) -> Any:
    return asdict(simulator.faults.add(Fault(**given)))


def _clear_faults(simulator: Simulator, _: Any, number: str, *__: Any) -> Any:
    return {"cleared": simulator.faults.clear(int(number) if number else None)}


def _move_clock(simulator: Simulator, _: Any, __: str, ___: Any, given: dict[str, Any]) -> Any:
    if "set" in given:
        simulator.clock.set(given["set"])
    if "advance" in given:
        simulator.clock.advance(given["advance"])
    if "run" in given:
        simulator.clock.run(bool(given["run"]))
    return _clock(simulator)


def _clock(simulator: Simulator, *_: Any) -> Any:
    return {"now": write_instant(simulator.clock.now()), "running": simulator.clock.running}


def _act(simulator: Simulator, tenant: int | None, name: str, _: Any, given: dict[str, Any]) -> Any:
    if name not in ACTIONS:
        raise LookupError(f"no action is called {name}; there are {', '.join(ACTIONS)}")
    return {"result": getattr(simulator.actions(tenant), name)(**given)}


def _live(simulator: Simulator, tenant: int | None, _: str, __: Any, given: dict[str, Any]) -> Any:
    every = float(given.get("every", 20))
    simulator.live(every, tenant)
    return {"every": every}


def _reset(simulator: Simulator, *_: Any) -> Any:
    simulator.ledger.reset()
    return simulator.ledger.as_dict()


ROUTES: dict[tuple[str, str], Callable[..., Any]] = {
    ("GET", ""): _about,
    ("GET", "requests"): lambda simulator, *_: simulator.ledger.as_dict(),
    ("POST", "reset-ledger"): _reset,
    ("GET", "calls"): _calls,
    ("GET", "tables"): _tables,
    ("GET", "versions"): _versions,
    ("GET", "switches"): lambda simulator, *_: simulator.switches.as_dict(),
    ("POST", "switches"): _turn_switches,
    ("GET", "faults"): lambda simulator, *_: {"faults": simulator.faults.as_list()},
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "clock"): _clock,
    ("POST", "clock"): _move_clock,
    ("POST", "actions"): _act,
    ("POST", "live"): _live,
    ("POST", "turn"): lambda simulator, tenant, *_: simulator.life(tenant).turn(),
    ("POST", "revoke-tokens"): lambda simulator, *_: {"revoked": simulator.tokens.revoke()},
}
