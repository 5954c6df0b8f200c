"""One page of ServiceTitan records, kept as the bytes that came.

`parse_page` reads the envelope of a list or export answer (ServiceTitan contract, sections 2.1 and 2.2) and leaves
every record undecoded, so that PostgreSQL gets the very bytes and Python never holds a page as objects. A body that
is not the promised JSON raises MalformedAnswer: it is never read as a page without records (reliability P5, P6,
answers table).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal

import msgspec

from jobsync.errors import MalformedAnswer
from jobsync.servicetitan.refusals import is_json, may_be_refused, why_refused
from jobsync.servicetitan.salvage import salvage
from jobsync.servicetitan.timestamps import newest_ticks, parse_ticks

PageKind = Literal["export", "list"]
Record = msgspec.Raw
Key = tuple[object, ...]

_BOM = b"\xef\xbb\xbf"
_TOGETHER = 100


class _Envelope(msgspec.Struct):
    data: msgspec.Raw
    hasMore: bool
    continueFrom: str | None = None
    totalCount: int | None = None
    page: int | None = None
    pageSize: int | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_RECORDS = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it came.

    `records` are the raw bytes of each record; `continue_from` is the export feed's token, None on list pages and
    where the feed ended without one (keep the token you have); `total` is `totalCount` where it was asked for;
    `served_at` the answer's Date header in UTC, None where it had none; `size` the body's length in bytes,
    decompressed; `page_size` what ServiceTitan says it used.
    """

    records: Sequence[Record]
    has_more: bool
    continue_from: str | None = None
    total: int | None = None
    served_at: datetime | None = None
    size: int = 0
    page_size: int | None = None
    # The whole array as it came while nothing was left out of it; None: it is put together from the records.
    whole: Record | None = field(default=None, repr=False, compare=False)
    # True where the body could only be taken apart by force: then every record is looked at.
    salvaged: bool = field(default=False, repr=False, compare=False)

    def array(self) -> bytes:
        """Return the records as one JSON array, byte for byte as they came, to hand to PostgreSQL."""
        return bytes(self.whole) if self.whole is not None else join_records(self.records)

    def keep(self, positions: Sequence[int]) -> Page:
        """Return this page with only the records at `positions`; the page itself if those are all of them."""
        if len(positions) == len(self.records):
            return self
        return replace(self, records=[self.records[position] for position in positions], whole=None)

    def fingerprint(self) -> bytes:
        """Return 16 bytes that are equal for pages with the same records in the same order."""
        return hashlib.blake2b(self.array(), digest_size=16).digest()


def parse_page(
    body: bytes,
    kind: PageKind,
    *,
    sent_token: str | None = None,
    sent_page: int | None = None,
    served_at: datetime | None = None,
) -> Page:
    """Read the body of an answer 200 to an export or list request.

    `sent_token` is the token that an export request carried, `sent_page` the page number that a list request asked for.
    Raises MalformedAnswer, with a `code`: `malformed_answer` for a body that is not the promised JSON (HTML, cut off,
    no `data`, `data: null`, NaN), `cursor_loop` for `hasMore` with the token that was sent, `page_ignored` for
    another page than the one asked for.
    """
    if body.startswith(_BOM):
        body = body[len(_BOM) :]
    salvaged = False
    records: list[Record]
    whole: Record | None
    try:
        envelope = _ENVELOPE.decode(body)
        records, whole = _RECORDS.decode(envelope.data), envelope.data
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        failure = _malformed(body, error)
    except (msgspec.DecodeError, RecursionError) as error:
        taken_apart = salvage(body)
        failure = _malformed(body, error)
        if taken_apart is not None:
            try:
                envelope = _ENVELOPE.decode(taken_apart.envelope)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                failure, salvaged = None, True
                records, whole = taken_apart.records, None
    else:
        failure = None
    if failure is not None:
        raise failure
    if kind == "export":
        _check_token(envelope, sent_token)
    elif sent_page is not None and envelope.page is not None and envelope.page != sent_page:
        raise MalformedAnswer("ServiceTitan answered another page than the one asked for.", code="page_ignored")
    return Page(
        records=records,
        has_more=envelope.hasMore,
        continue_from=(envelope.continueFrom or None) if kind == "export" else None,
        total=envelope.totalCount,
        served_at=served_at,
        size=len(body),
        page_size=envelope.pageSize,
        whole=whole,
        salvaged=salvaged,
    )


def _check_token(envelope: _Envelope, sent_token: str | None) -> None:
    if not envelope.hasMore:
        return
    if not envelope.continueFrom:
        raise MalformedAnswer("ServiceTitan's feed says that there is more, but not where to go on.")
    if envelope.continueFrom == sent_token:
        raise MalformedAnswer(
            "ServiceTitan's feed says that there is more, at the very place it was read from.", code="cursor_loop"
        )


def _malformed(body: bytes, error: Exception) -> MalformedAnswer:
    start = body[:512].lstrip()[:1]
    if not start:
        return MalformedAnswer("ServiceTitan answered 200 with an empty body.")
    if start == b"<":
        return MalformedAnswer("ServiceTitan answered 200 with a page of HTML instead of JSON.")
    if isinstance(error, msgspec.ValidationError):
        return MalformedAnswer("ServiceTitan's answer is JSON, but not the page of records that was promised.")
    return MalformedAnswer("ServiceTitan's answer is not valid JSON, or is cut off.")


def split_refused(page: Page) -> tuple[list[Record], list[tuple[Record, str]]]:
    """Return (records that jsonb takes, records that it would refuse with the reason), each in the order they came.

    Costs a few scans over the page; where a scan found something, a hundred records are looked at together, and single
    ones only in a hundred that is not clean: one bad record must not make 4,999 others be read one by one.
    """
    if not page.salvaged:
        body = bytes(page.whole) if page.whole is not None else b"\n".join(map(bytes, page.records))
        if not may_be_refused(body):
            return list(page.records), []
    good: list[Record] = []
    refused: list[tuple[Record, str]] = []
    for start in range(0, len(page.records), _TOGETHER):
        some = page.records[start : start + _TOGETHER]
        joined = join_records(some)
        if is_json(joined) and not may_be_refused(joined):
            good.extend(some)
            continue
        for record in some:
            reason = why_refused(bytes(record))
            if reason is None:
                good.append(record)
            else:
                refused.append((record, reason))
    return good, refused


def join_records(records: Iterable[Record]) -> bytes:
    """Return raw records as one JSON array, each byte for byte as it came."""
    return b"[" + b",".join(map(bytes, records)) + b"]"


class RowReader:
    """Reads only what identifies and dates a record: its key fields and `modifiedOn`."""

    def __init__(self, keys: Sequence[str] = ("id",)) -> None:
        fields = [(f"key_{index}", Any, msgspec.field(default=None, name=name)) for index, name in enumerate(keys)]
        fields.append(("modified", Any, msgspec.field(default=None, name="modifiedOn")))
        names = [name for name, _, _ in fields[:-1]]
        self._key: Callable[[Any], Key] = attrgetter(*names) if len(names) > 1 else lambda row: (row.key_0,)
        self._modified: Callable[[Any], Any] = attrgetter("modified")
        row = msgspec.defstruct("Row", fields)
        self._decoder = msgspec.json.Decoder(row)
        self._all = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]

    def read(self, page: Page) -> list[tuple[Key, int | None]]:
        """Return (key, ticks of modifiedOn) for each record, in order.

        A record that has no usable key is known by the hash of its bytes, so that it is counted, and repeats are seen;
        its ticks are None where modifiedOn is missing or cannot be read.
        """
        if page.whole is not None:
            try:
                rows = self._all.decode(page.whole)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                return [self._tell(row, record) for row, record in zip(rows, page.records, strict=True)]
        return [self._read(record) for record in page.records]

    def newest(self, page: Page) -> int | None:
        """Return the newest modifiedOn of the page, in ticks; None where no record has one that can be read."""
        if page.whole is not None:
            try:
                newest = newest_ticks([*map(self._modified, self._all.decode(page.whole))])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, ValueError):
                newest = None
            if newest is not None:
                return newest
        return max((ticks for _, ticks in self.read(page) if ticks is not None), default=None)

    def _read(self, record: Record) -> tuple[Key, int | None]:
        try:
            row = self._decoder.decode(record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _bytes_key(record), None
        return self._tell(row, record)

    def _tell(self, row: Any, record: Record) -> tuple[Key, int | None]:
        key = self._key(row)
        for part in key:
            if type(part) is not int and type(part) is not str:
                key = _bytes_key(record)
                break
        try:
            return key, parse_ticks(row.modified)
        except (TypeError, ValueError):
            return key, None


def _bytes_key(record: Record) -> Key:
    return ("unreadable", hashlib.blake2b(bytes(record), digest_size=16).digest())


class LoopGuard:
    """Stops a run that goes round in circles (reliability P5): `hasMore` for ever, or the same page again and again.

    One guard for one run over one stream. `see` raises MalformedAnswer with code `cursor_loop` when a feed comes back
    to a token it gave before, or when the same page of records comes for the third time while there is said to be
    more.
    """

    def __init__(self) -> None:
        self._tokens: set[str] = set()
        self._pages: dict[bytes, int] = {}

    def see(self, page: Page) -> None:
        """Note one page of the run; raises MalformedAnswer when the run goes in circles."""
        if not page.has_more:
            return
        mark = page.fingerprint()
        self._pages[mark] = self._pages.get(mark, 0) + 1
        if self._pages[mark] >= 3:
            raise MalformedAnswer("ServiceTitan sent the same page three times in one run.", code="cursor_loop")
        if page.continue_from is not None:
            if page.continue_from in self._tokens:
                raise MalformedAnswer("ServiceTitan's feed came back to a place it was read from.", code="cursor_loop")
            self._tokens.add(page.continue_from)


__all__ = [
    "Key",
    "LoopGuard",
    "Page",
    "PageKind",
    "Record",
    "RowReader",
    "join_records",
    "parse_page",
    "split_refused",
]
