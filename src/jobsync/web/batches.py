"""Batches of jobs as /db receives them: one JSON object with up to 100,000 items, stored a thousand at a time.

In: the bytes of the body. Out: the report of `jobsync.upsert_items` over all items, with one result or error for each.
An item that PostgreSQL could not hold fails alone; a character that it cannot hold is replaced, with a warning. The
same batch again changes nothing. Items travel as the bytes that came: they are found by one fast pass, not decoded.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from jobsync.errors import CallRefused, DatabaseUnavailable, InvalidInput
from jobsync.web.bodies import DEEPEST, LONG_NUMBER, UNSTORABLE_ESCAPE, find_fault, mend_escapes
from jobsync.web.calls import Call

MOST_ITEMS = 100_000
CHUNK = 1_000
TRIES = 3
MENDED = "characters that cannot be stored (NUL, halves of pairs) were replaced"


class _Batch(msgspec.Struct):
    jobs: msgspec.Raw


_BATCH = msgspec.json.Decoder(_Batch)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(slots=True)
class Item:
    """One item as it is stored; `index` is its place in the list (from 0)."""

    index: int
    text: bytes
    mended: bool = False


@dataclass(slots=True)
class Report:
    """What became of the items."""

    total: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def show(self) -> dict[str, Any]:
        """The answer's body; `errors` in the order of the items."""
        self.errors.sort(key=lambda error: error["index"])
        return {
            "total": self.total,
            "succeeded": len(self.results),
            "failed": len(self.errors),
            "results": self.results,
            "errors": self.errors,
        }


def split_batch(body: bytes | bytearray) -> list[Item]:
    """The items of `{"jobs": [...]}`. Raises InvalidInput and CallRefused (413: too many items)."""
    mended = mend_escapes(body) if UNSTORABLE_ESCAPE.search(body) else None
    try:
        jobs = _BATCH.decode(body if mended is None else mended).jobs
        pieces = _ITEMS.decode(jobs)
    except msgspec.ValidationError:
        raise InvalidInput(
            "jobs must be a list.", hint='Send {"jobs": [{"job": {...}, "customer": {...}}]}.', field="jobs"
        ) from None
    except RecursionError:
        raise InvalidInput(f"The body is nested more than {DEEPEST} levels deep.", field="body") from None
    except msgspec.DecodeError:
        raise InvalidInput(
            "The body is not valid JSON.", hint="Check quotes, commas and brackets.", field="body"
        ) from None
    except UnicodeDecodeError:
        raise InvalidInput("The body is not valid UTF-8.", field="body") from None
    if len(pieces) > MOST_ITEMS:
        raise CallRefused(
            413,
            f"More than {MOST_ITEMS} items.",
            code="too_many_items",
            hint="Send several batches.",
            limit_items=MOST_ITEMS,
        )
    if mended is None:
        return [Item(index, bytes(piece)) for index, piece in enumerate(pieces)]
    return list(_compare(body, mended, pieces))


def _compare(body: bytes | bytearray, mended: bytes, pieces: list[msgspec.Raw]) -> list[Item]:
    # Mending keeps every position, so an item differs exactly where the body does.
    items, position = [], 0
    for index, piece in enumerate(pieces):
        text = bytes(piece)
        position = mended.index(text, position)
        items.append(Item(index, text, mended=body[position : position + len(text)] != text))
        position += len(text)
    return items


async def store_items(call: Call, items: list[Item]) -> Report:
    """Stores all items, a transaction each thousand; what was stored stays when a later one fails."""
    report = Report(total=len(items))
    fit: list[Item] = []
    for item in items:
        fault = _fault(item.text)
        if fault is None:
            fit.append(item)
        else:
            report.errors.append({"stJobId": None, "index": item.index, "error": fault})
    for start in range(0, len(fit), CHUNK):
        await _store_chunk(call, fit[start : start + CHUNK], report)
        # Others get their turn between two chunks.
        await asyncio.sleep(0)
    return report


async def _store_chunk(call: Call, items: list[Item], report: Report) -> None:
    if not items:
        return
    try:
        answer = await _upsert(call, b"[" + b",".join(item.text for item in items) + b"]")
    except InvalidInput as error:
        if len(items) == 1:
            report.errors.append({"stJobId": None, "index": items[0].index, "error": error.message})
            return
        # Something in here fits no column: halves, until it stands alone.
        middle = len(items) // 2
        await _store_chunk(call, items[:middle], report)
        await _store_chunk(call, items[middle:], report)
        return
    refused = {error["index"] for error in answer["errors"]}
    for error in answer["errors"]:
        report.errors.append({**error, "index": items[error["index"]].index})
    stored = (item for place, item in enumerate(items) if place not in refused)
    for result, item in zip(answer["results"], stored, strict=True):
        if item.mended:
            result["warnings"] = [*result.get("warnings", []), MENDED]
        report.results.append(result)


async def _upsert(call: Call, text: bytes) -> dict[str, Any]:
    parameters = {"tenant": call.tenant, "items": text.decode("utf-8")}
    for attempt in range(1, TRIES + 1):
        try:
            async with call.transaction() as session:
                return await session.value("api_upsert_items", parameters)
        except DatabaseUnavailable as error:
            # Two batches met on the same rows: the same items again are harmless.
            if error.code != "database_busy" or attempt == TRIES:
                raise
    raise AssertionError("unreachable")


def _fault(item: bytes) -> str | None:
    """Why the item must not reach PostgreSQL; only what looks suspicious is looked at closely."""
    if item.isascii() or _is_utf8(item):
        suspicious = item.count(b"{") + item.count(b"[") >= DEEPEST - 1 or LONG_NUMBER.search(item) is not None
        return find_fault(item) if suspicious else None
    return "it is not valid UTF-8"


def _is_utf8(item: bytes) -> bool:
    try:
        item.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
