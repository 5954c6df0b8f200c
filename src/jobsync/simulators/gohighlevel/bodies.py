"""Checks of what a caller sent: unlisted properties, required ones and types, with the messages GoHighLevel gives in a
422 (GoHighLevel contract, section 7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from .answers import refuse

STATUSES = ("open", "won", "lost", "abandoned")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_DECODER = msgspec.json.Decoder()

_MESSAGES = {
    "string": "{} must be a string",
    "number": "{} must be a number conforming to the specified constraints",
    "boolean": "{} must be a boolean value",
    "array": "{} must be an array",
    "strings": "each value in {} must be a string",
    "object": "{} must be an object",
    "email": "{} must be an email",
    "status": "{} must be one of the following values: " + ", ".join(STATUSES),
}


def read_object(raw: bytes) -> dict[str, Any]:
    """Bytes -> JSON object. Raises a 400 refusal for anything else."""
    try:
        value = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise refuse(400, "Unexpected token in JSON") from broken
    if not isinstance(value, dict):
        raise refuse(400, "Request body must be a JSON object")
    return value


def check(body: Mapping[str, Any], shape: Mapping[str, str], required: tuple[str, ...] = ()) -> None:
    """Compares a body with its shape (property -> kind) and raises one 422 that lists everything wrong.

    null counts as absent for an optional property. A property that the shape does not list is "should not exist".
    """
    wrong = [f"property {name} should not exist" for name in body if name not in shape]
    for name, kind in shape.items():
        value = body.get(name)
        if value is None:
            if name in required:
                wrong.append(_MESSAGES[kind].format(name))
                if kind == "string":
                    wrong.append(f"{name} should not be empty")
        elif not _fits(kind, value):
            wrong.append(_MESSAGES[kind].format(name))
        elif value == "" and name in required:
            wrong.append(f"{name} should not be empty")
    if wrong:
        raise refuse(422, wrong)


def given(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those of the properties that are there and not null."""
    return {name: body[name] for name in names if body.get(name) is not None}


def _fits(kind: str, value: Any) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "array":
        return isinstance(value, list)
    if kind == "strings":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if kind == "object":
        return isinstance(value, dict)
    if kind == "email":
        return isinstance(value, str) and _EMAIL.fullmatch(value) is not None
    return value in STATUSES
