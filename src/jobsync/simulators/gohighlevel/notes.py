"""Notes of contacts: no key, so a repeated POST makes a second one (GoHighLevel contract, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import Answer, refuse
from .bodies import check, given
from .location import Record
from .records import require_contact

if TYPE_CHECKING:
    from .call import Call

_SHAPE = {"body": "string", "userId": "string", "title": "string", "color": "string", "pinned": "boolean"}


def list_notes(call: Call) -> Answer:
    """GET /contacts/{id}/notes, newest first."""
    contact = require_contact(call, call.args[0])
    return Answer(200, {"notes": call.location.notes.get(contact["id"], [])[::-1]})


def create_note(call: Call) -> Answer:
    """POST /contacts/{id}/notes -> 201 `{note}`; contactId in the body is a 422."""
    contact = require_contact(call, call.args[0])
    body = call.body()
    check(body, _SHAPE, ("body",))
    note = {
        "id": call.ids.record(),
        "contactId": contact["id"],
        "dateAdded": call.clock.iso(),
        **given(body, *_SHAPE),
    }
    call.location.notes.setdefault(contact["id"], []).append(note)
    return Answer(201, {"note": note})


def get_note(call: Call) -> Answer:
    """GET /contacts/{id}/notes/{noteId}."""
    return Answer(200, {"note": _note(call)})


def update_note(call: Call) -> Answer:
    """PUT /contacts/{id}/notes/{noteId}."""
    note = _note(call)
    body = call.body()
    check(body, _SHAPE)
    note.update(given(body, *_SHAPE))
    return Answer(200, {"note": note})


def delete_note(call: Call) -> Answer:
    """DELETE /contacts/{id}/notes/{noteId}."""
    call.location.notes[call.args[0]].remove(_note(call))
    return Answer(200, {"succeded": True})


def _note(call: Call) -> Record:
    contact = require_contact(call, call.args[0])
    for each in call.location.notes.get(contact["id"], ()):
        if each["id"] == call.args[1]:
            return each
    raise refuse(404, "Note not found")
