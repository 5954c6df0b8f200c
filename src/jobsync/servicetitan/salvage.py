"""Takes a page apart by force when one bad record keeps the decoder from reading it, so that the other records are
saved.

A raw control character, half of a surrogate pair or endless nesting inside ONE record makes the whole body
undecodable. Here the envelope and the bytes of each record are found all the same. What is not JSON for any other
reason (cut off, NaN, a missing comma) is not taken apart: such a page as a whole is malformed and is asked for again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from jobsync.servicetitan.refusals import is_json, whitewash

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
_TO_ARRAY = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*\[")
_SPACE = b" \t\r\n"
_BETWEEN = _SPACE + b","


class _DataOnly(msgspec.Struct):
    data: msgspec.Raw


_DATA_ONLY = msgspec.json.Decoder(_DataOnly)
_RECORDS = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class TakenApart:
    """`envelope` is the body with an empty `data`; `records` are the bytes of each record as they came."""

    envelope: bytes
    records: list[msgspec.Raw]


def salvage(body: bytes) -> TakenApart | None:
    """Return the envelope and the records of `body`, or None where it is not JSON beyond what one record may hold."""
    clean = whitewash(body)
    try:
        data = bytes(_DATA_ONLY.decode(clean).data)
        found = _RECORDS.decode(data)
    except RecursionError:
        return _take_apart_by_brackets(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    # Whitewashing keeps every position, so what was found in the clean body is cut out of the one that came.
    start = _locate(data, clean)
    records: list[msgspec.Raw] = []
    position = start + 1
    came = memoryview(body)
    for piece in found:
        while clean[position] in _BETWEEN:
            position += 1
        end = position + memoryview(piece).nbytes
        records.append(msgspec.Raw(came[position:end]))
        position = end
    return TakenApart(clean[:start] + b"[]" + clean[start + len(data) :], records)


def _locate(data: bytes, clean: bytes) -> int:
    """Where `data` stands in `clean`. Its beginning is looked for: a search for megabytes costs as much as reading all."""
    start = clean.index(data[:1000])
    return start if clean.startswith(data, start) else clean.index(data)


def _take_apart_by_brackets(body: bytes) -> TakenApart | None:
    """Find the records by counting brackets; each must be JSON, may be whitewashed to it, or is too deep to tell."""
    spans: list[tuple[int, int]] = []
    depth, opened, record_start, closed = 0, -1, 0, -1
    for token in _TOKEN.finditer(body):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth == 2 and token.start() == opened:
                record_start = token.end()
        elif mark in (b"]", b"}"):
            if depth == 2 and opened >= 0 and closed < 0:
                closed = token.start()
                spans.append((record_start, closed))
            depth -= 1
        elif mark == b",":
            if depth == 2 and opened >= 0 and closed < 0:
                spans.append((record_start, token.start()))
                record_start = token.end()
        elif depth == 1 and opened < 0 and mark == b'"data"' and (lead := _TO_ARRAY.match(body, token.end())):
            opened = lead.end() - 1
    if depth != 0 or closed < 0:
        return None
    pieces = [body[start:end].strip(_SPACE) for start, end in spans]
    if pieces == [b""]:
        pieces = []
    for piece in pieces:
        if is_json(piece) is False and is_json(whitewash(piece)) is False:
            return None
    return TakenApart(body[:opened] + b"[]" + body[closed + 1 :], [msgspec.Raw(piece) for piece in pieces])
