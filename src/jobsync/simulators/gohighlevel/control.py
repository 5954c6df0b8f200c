"""The control API, `/_control`: for people and test processes that cannot call Python.

GET  /_control              what there is: locations with their pipelines, fields, hooks, tokens; clock; switches
GET  /_control/ledger       the counts of ledger.py
GET  /_control/posts        what hooks received: ?hook= &job= &after=number &limit=100, newest last
GET  /_control/requests     what the API was asked: ?path= (contained) &limit=100, newest last
GET  /_control/opportunities, /_control/contacts   the records as they are now: ?job= / ?id=
GET, PATCH /_control/switches           {name: value, ...}
GET, POST  /_control/clock              {advance: seconds} {set: instant} {running: bool}
GET, POST, DELETE /_control/faults      {kind, path, method, times, after, probability, seed, ...}
DELETE /_control/faults/{number}
POST /_control/acts/{name}              the acts of acts.py with their arguments
POST /_control/release                  ends every answer that is being held back
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from .answers import Answer, Refusal, error
from .bodies import read_object
from .clock import iso
from .ledger import job_of, summarise
from .location import Location

if TYPE_CHECKING:
    from .app import GoHighLevelSimulator


def control(simulator: GoHighLevelSimulator, method: str, path: str, raw_query: bytes, raw: bytes) -> Answer:
    """Answers one control request; 400 with a sentence for what cannot be done, 404 for an unknown path."""
    segments = [each for each in path.split("/") if each][1:]
    query = dict(parse_qsl(raw_query.decode("latin-1")))
    try:
        body = read_object(raw) if raw and method in ("POST", "PATCH", "PUT") else {}
        found = _READS.get("/".join(segments)) if method == "GET" else None
        if found is not None:
            return Answer(200, found(simulator, query))
        return _change(simulator, method, segments, body)
    except Refusal as refusal:
        return refusal.answer
    except (ValueError, TypeError) as wrong:
        return error(400, str(wrong))


def _change(simulator: GoHighLevelSimulator, method: str, segments: list[str], body: dict[str, Any]) -> Answer:
    match (method, segments):
        case ("PATCH", ["switches"]):
            simulator.switches.turn(**body)
            return Answer(200, simulator.switches.as_dict())
        case ("POST", ["clock"]):
            return Answer(200, _move_clock(simulator, body))
        case ("POST", ["faults"]):
            return Answer(201, simulator.faults.add(**body).as_dict())
        case ("DELETE", ["faults"]):
            simulator.faults.clear()
            return Answer(200, [])
        case ("DELETE", ["faults", number]):
            gone = simulator.faults.remove(int(number))
            return Answer(200, {"removed": int(number)}) if gone else error(404, "There is no such fault.")
        case ("POST", ["acts", name]):
            return Answer(200, simulator.act(name, **body))
        case ("POST", ["release"]):
            simulator.holds.release()
            return Answer(200, {})
    return error(404, f"Cannot {method} /_control/{'/'.join(segments)}")


def _overview(simulator: GoHighLevelSimulator, query: dict[str, str]) -> Any:
    return {
        "url": simulator.public_url,
        "clock": _clock(simulator, query),
        "locations": [_show_location(simulator, each) for each in simulator.locations.values()],
        "switches": simulator.switches.as_dict(),
    }


def _show_location(simulator: GoHighLevelSimulator, location: Location) -> dict[str, Any]:
    hooks = [{"id": each.id, "mode": each.mode, "path": simulator.hook_path(each)} for each in location.hooks.values()]
    return {
        "id": location.id,
        "name": location.name,
        "settings": location.settings,
        "pipelines": location.pipelines,
        "fields": location.fields,
        "tags": list(location.tags.values()),
        "hooks": hooks,
        "tokens": simulator.tokens.of_location(location.id),
        "executions": location.executions,
    }


def _posts(simulator: GoHighLevelSimulator, query: dict[str, str]) -> Any:
    after = int(query.get("after", 0))
    chosen: deque[Any] = deque(maxlen=int(query.get("limit", 100)))
    for post in simulator.ledger.posts:
        if post.number > after and query.get("hook") in (None, post.hook_id) and query.get("job") in (None, post.job):
            chosen.append(post.as_dict())
    return list(chosen)


def _requests(simulator: GoHighLevelSimulator, query: dict[str, str]) -> Any:
    chosen: deque[Any] = deque(maxlen=int(query.get("limit", 100)))
    for each in simulator.ledger.requests:
        if query.get("path", "") in each.path:
            chosen.append({**asdict(each), "at": iso(each.at)})
    return list(chosen)


def _opportunities(simulator: GoHighLevelSimulator, query: dict[str, str]) -> Any:
    return [
        {**each, "job": job_of(location, each)}
        for location in simulator.locations.values()
        for each in location.opportunities.records.values()
        if query.get("job") in (None, job_of(location, each)) and query.get("id") in (None, each["id"])
    ]


def _contacts(simulator: GoHighLevelSimulator, query: dict[str, str]) -> Any:
    return [
        {**each, "notes": location.notes.get(each["id"], [])}
        for location in simulator.locations.values()
        for each in location.contacts.records.values()
        if query.get("id") in (None, each["id"])
    ]


def _clock(simulator: GoHighLevelSimulator, query: dict[str, str]) -> Any:
    return {"now": simulator.clock.iso(), "running": simulator.clock.running}


def _move_clock(simulator: GoHighLevelSimulator, body: dict[str, Any]) -> Any:
    unknown = [name for name in body if name not in ("set", "advance", "running")]
    if unknown:
        raise ValueError("the clock takes set, advance and running")
    if "set" in body:
        simulator.clock.set(body["set"])
    if "advance" in body:
        simulator.clock.advance(float(body["advance"]))
    if "running" in body:
        simulator.clock.run(bool(body["running"]))
    simulator.catch_up()
    return _clock(simulator, {})


_READS = {
    "": _overview,
    "ledger": lambda simulator, query: summarise(simulator),
    "posts": _posts,
    "requests": _requests,
    "opportunities": _opportunities,
    "contacts": _contacts,
    "switches": lambda simulator, query: simulator.switches.as_dict(),
    "clock": _clock,
    "faults": lambda simulator, query: [each.as_dict() for each in simulator.faults.rules],
}
