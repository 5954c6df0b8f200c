"""Bodies: read with a limit of size and time, checked for kind, depth and text that PostgreSQL cannot hold.

In: a request. Out: bytes, or the decoded JSON. Raises CallRefused (408 slow, 413 large, 415 not JSON) and InvalidInput
(400: not JSON, too deep, or a field that cannot be stored, by name). Nothing of a body is ever repeated in a message.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

from fastapi import Request

from jobsync.errors import CallRefused, InvalidInput

SMALL = 5 * 1024 * 1024
LARGE = 256 * 1024 * 1024
DEEPEST = 32
PATIENCE_SECONDS = 15.0
SLOWEST_BYTES_A_SECOND = 256 * 1024
# Decimal digits of the largest number that every reader of JSON can hold as a float.
MOST_DIGITS = 308

UNSTORABLE_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
LONG_NUMBER = re.compile(rb"[0-9][eE][+]?[0-9]{3}|[0-9]{309}")
# Each escape is matched whole, so that an escaped backslash before `ud800` is not taken for an escape of its own.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))|.)",
    re.DOTALL,
)


def require_json(request: Request) -> None:
    """Raises CallRefused (415) unless the content type says JSON: a form or plain text could come from any web page."""
    kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise CallRefused(
            415,
            "The body must be JSON.",
            code="not_json",
            hint="Send the header Content-Type: application/json.",
            content_type=kind[:100] or None,
        )


async def read_body(request: Request, limit: int) -> bytes | bytearray:
    """The whole body. A caller gets 15 seconds, and more only as long as bytes keep coming."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 15 or int(declared) > limit):
        raise _too_large(limit)
    body = bytearray()
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        deadline = began + PATIENCE_SECONDS + len(body) / SLOWEST_BYTES_A_SECOND
        try:
            async with asyncio.timeout(max(0.0, min(PATIENCE_SECONDS, deadline - loop.time()))):
                message = await request.receive()
        except TimeoutError:
            raise CallRefused(
                408, "The body came too slowly.", code="too_slow", hint="Send it again over a better line."
            ) from None
        if message["type"] == "http.disconnect":
            raise InvalidInput("The connection broke off before the body was complete.")
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return body


def parse_json(body: bytes | bytearray) -> Any:
    """The decoded body, at most 32 levels deep, its texts and numbers such as PostgreSQL and every client can hold."""
    if not body:
        raise InvalidInput("The body is missing.", hint="Send a JSON object.", field="body")
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_read_float)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        place = f" (at character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidInput(
            f"The body is not valid JSON{place}.", hint="Check quotes, commas and brackets.", field="body"
        ) from None
    if body.count(b"{") + body.count(b"[") > DEEPEST and _depth(value) > DEEPEST:
        raise _too_deep()
    if UNSTORABLE_ESCAPE.search(body):
        for path, text in _texts(value, ""):
            if "\x00" in text or _has_half_surrogate(text):
                field = path.encode("utf-8", "replace").decode().replace("\x00", "?")[:200]
                raise InvalidInput(
                    f"{field} holds a character that cannot be stored (NUL or half of a pair).", field=field
                )
    return value


def to_json(value: Any) -> str | None:
    """The JSON text of a decoded value, for a jsonb parameter; None stays None."""
    return None if value is None else json.dumps(value)


def mend_escapes(data: bytes | bytearray) -> bytes:
    """`data`, equally long, with NULs and halves of surrogate pairs replaced by U+FFFD: PostgreSQL holds neither."""
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], data)


def find_fault(item: bytes) -> str | None:
    """Why an item that looks suspicious cannot be stored, in words without any of its content; None when it can."""
    try:
        value = json.loads(item, parse_constant=_refuse_constant, parse_float=_read_float, parse_int=_read_int)
    except RecursionError:
        return f"it is nested more than {DEEPEST} levels deep"
    except UnicodeDecodeError:
        return "it is not valid UTF-8"
    except json.JSONDecodeError:
        return "it is not valid JSON"
    except ValueError:
        return "it holds a number too large to store"
    return f"it is nested more than {DEEPEST} levels deep" if _depth(value) > DEEPEST else None


def _too_large(limit: int) -> CallRefused:
    return CallRefused(
        413,
        f"The body is larger than {limit // (1024 * 1024)} MB.",
        code="too_large",
        hint="Send it in parts.",
        limit_bytes=limit,
    )


def _too_deep() -> InvalidInput:
    return InvalidInput(f"The body is nested more than {DEEPEST} levels deep.", field="body")


def _refuse_constant(_: str) -> Any:
    raise ValueError("not a JSON number")


def _read_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("too large")
    return value


def _read_int(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError("too large")
    return int(text)


def _depth(value: Any) -> int:
    """Levels of lists and objects; stops counting beyond the limit."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        nested: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                nested.extend(one.values())
            elif isinstance(one, list):
                nested.extend(one)
        if not any(isinstance(one, dict | list) for one in level):
            break
        depth += 1
        level = nested
    return depth


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path or "body", value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield f"the name of a field in {path or 'body'}", name
            yield from _texts(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{path}[{index}]")


def _has_half_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)
