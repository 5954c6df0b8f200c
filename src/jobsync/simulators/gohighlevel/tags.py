"""Tags of contacts and of the location (GoHighLevel contract, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import Answer, refuse
from .bodies import check
from .location import add_tag, stamp
from .records import require_contact

if TYPE_CHECKING:
    from .call import Call

_SHAPE = {"tags": "strings"}


def add_tags(call: Call) -> Answer:
    """POST /contacts/{id}/tags -> 201 `{tags}`: adds, keeps what is there; the same twice changes nothing."""
    contact = require_contact(call, call.args[0])
    body = call.body()
    check(body, _SHAPE, ("tags",))
    contact["tags"] = list(dict.fromkeys([*contact["tags"], *read_tags(call, body["tags"])]))
    call.location.contacts.save(stamp(contact, call.clock, "dateUpdated"))
    return Answer(201, {"tags": contact["tags"]})


def remove_tags(call: Call) -> Answer:
    """DELETE /contacts/{id}/tags with a JSON body -> 200 `{tags}`."""
    contact = require_contact(call, call.args[0])
    body = call.body()
    check(body, _SHAPE, ("tags",))
    gone = {_fold(call, each) for each in body["tags"]}
    contact["tags"] = [each for each in contact["tags"] if each not in gone]
    call.location.contacts.save(stamp(contact, call.clock, "dateUpdated"))
    return Answer(200, {"tags": contact["tags"]})


def list_location_tags(call: Call) -> Answer:
    """GET /locations/{locationId}/tags."""
    return Answer(200, {"tags": list(call.location.tags.values())})


def create_location_tag(call: Call) -> Answer:
    """POST /locations/{locationId}/tags -> 200 `{tag}`; 400 when there is one of that name."""
    body = call.body()
    check(body, {"name": "string"}, ("name",))
    name = _fold(call, body["name"])
    if name in call.location.tags:
        raise refuse(400, "The tag name is already exist.")
    return Answer(200, {"tag": add_tag(call.location, call.ids, name)})


def read_tags(call: Call, wanted: list[str]) -> list[str]:
    """Tags as they will stand on a contact: folded, blanks out, unknown ones made or left out as the switches say."""
    names = list(dict.fromkeys(_fold(call, each) for each in wanted if each.strip()))
    if call.switches.unknown_tags == "ignore":
        return [each for each in names if each in call.location.tags]
    for name in names:
        add_tag(call.location, call.ids, name)
    return names


def _fold(call: Call, name: str) -> str:
    return name.strip().lower() if call.switches.fold_tag_case else name.strip()
