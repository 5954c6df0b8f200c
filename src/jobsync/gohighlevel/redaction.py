"""What of an upstream's answer may be kept: a short text without secrets, and without what was sent to it.

An upstream may repeat the whole request in an error. So besides the secrets named by the caller (token, hook URL),
whatever the sent body holds is taken out, and anything that looks like an address, a phone number or a token
(security bar X10). What remains is for a person to read, never to parse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

import msgspec

KEPT_CHARACTERS = 2048
_EMAIL = re.compile(r"[^\s\"'<>,;:=()\[\]{}]{1,128}(?:@|%40|\\u0040)[^\s\"'<>,;()\[\]{}]{1,255}")
_PHONE = re.compile(r"(?<![A-Za-z0-9-])(?:\+|%2B)?\d(?:[ ().-]{0,2}\d){9,14}(?![A-Za-z0-9])")
_TOKEN = re.compile(r"(?i)\bbearer\s+[^\s\"',;]+|\bpit-[a-z0-9-]{4,}|\beyJ[\w-]{8,}\.[\w.-]+")
_HOOK = re.compile(r"(?i)/hooks/[^\s\"'<>]+")
# Words of the hook's path that are in every hook's path; nothing is won by hiding them.
_PUBLIC_SEGMENTS = frozenset({"hooks", "webhook-trigger"})
_QUEUED = re.compile(r'\{"status": ?"Success: request sent to trigger execution server", ?"id": ?"([A-Za-z0-9]{20})"\}')
_SHORTEST_SENT = 4
_SHORTEST_SECRET = 6


def redact(text: str, *, secrets: Iterable[str] = (), sent: bytes | None = None) -> str:
    """The text without `secrets`, values of the JSON body `sent`, control characters; at most 2,048 characters."""
    hidden = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET and secret in text}
    # Nearly every answer is this one sentence with an id; nothing of what was sent stands in it.
    usual = None if hidden else _QUEUED.fullmatch(text)
    if usual and usual[1].lower().encode() not in (sent or b"").lower():
        return text
    # Longest first, so that a piece of a secret does not leave the rest of it standing.
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    text = _TOKEN.sub("[secret]", _HOOK.sub("/hooks/[secret]", text))
    if sent is not None:
        text = _without_sent(text, sent)
    text = _PHONE.sub("[phone]", _EMAIL.sub("[email]", text))
    if not text.isprintable():
        text = text.translate({ord(c): None for c in set(text) if c != "\n" and not c.isprintable()})
    return text[:KEPT_CHARACTERS]


def secrets_of_url(url: str) -> list[str]:
    """The parts of a hook's URL that must not show: all of it, its path, each long piece of the path or query."""
    parts = urlsplit(url)
    long = [piece for piece in re.split(r"[/?&=;]", f"{parts.path}?{parts.query}") if len(piece) >= 8]
    found = [url, parts.path, f"{parts.path}?{parts.query}", *long]
    return [form for text in found if text not in _PUBLIC_SEGMENTS for form in (text, unquote(text))]


def _without_sent(text: str, sent: bytes) -> str:
    try:
        values = {value for value in _strings(msgspec.json.decode(sent)) if len(value) >= _SHORTEST_SENT}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text
    forms = {form for value in values for form in (value, msgspec.json.encode(value).decode()[1:-1])}
    folded = text.casefold()
    # Longest first, so that a first name inside of a full name does not leave the rest standing.
    for form in sorted((form for form in forms if form.casefold() in folded), key=len, reverse=True):
        text = re.sub(re.escape(form), "[sent]", text, flags=re.IGNORECASE)
    return text


def _strings(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
        # An upstream likes to quote the part it stumbled over: of a full name, the last name.
        yield from (word for word in value.split() if len(word) >= _SHORTEST_SENT) if len(value) <= 200 else ()
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
