"""Where the simulated tenant's rows live: one `Table` per kind, rows pre-encoded to bytes, older versions kept.

A row is held as the JSON it is answered with, so a page of 5,000 rows is one join of bytes. Whoever needs a field
decodes the row (`Record.fields()`); filters on a field build an index once and keep it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec

Key = Any  # an int id, or (id, parent id) where ids are not unique alone (contacts)

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def decode_row(body: bytes) -> dict[str, Any]:
    """A row's JSON to a dict; fractions become Decimal so that `338.0300000000` survives a change."""
    return _decoder.decode(body)


def encode_row(fields: Any) -> bytes:
    """A dict (with Decimals, or msgspec.Raw for text that must stay as typed) to a row's JSON."""
    return _encoder.encode(fields)


class Record:
    """One version of one row. Never changed in place: a new version is a new Record.

    key: see Key. modified, created: ticks (`modified` also orders the feed; rows without modifiedOn carry created there
    and `dated` False). content_modified: `modified` without accounting changes. sequence: when this version became
    visible, counted over the whole dataset; 0 for rows that were there from the start.
    """

    __slots__ = ("active", "body", "content_modified", "created", "dated", "key", "modified", "sequence", "visible_at")

    def __init__(
        self,
        key: Key,
        body: bytes,
        *,
        modified: int,
        created: int,
        active: bool = True,
        content_modified: int | None = None,
        dated: bool = True,
    ) -> None:
        self.key = key
        self.body = body
        self.modified = modified
        self.created = created
        self.active = active
        self.content_modified = modified if content_modified is None else content_modified
        self.dated = dated
        self.sequence = 0
        self.visible_at = 0

    @property
    def id(self) -> int:
        """The row's own id, without its parent's."""
        return self.key[0] if type(self.key) is tuple else self.key

    def fields(self) -> dict[str, Any]:
        """The row decoded, a fresh dict each time."""
        return decode_row(self.body)


class Table:
    """Rows of one kind by key, with the orders and look-ups that lists and feeds need.

    parent: for contacts, the name of the field that bulk and export rows add (`customerId`, `locationId`).
    journal: the counter that numbers visible versions, shared by all tables of a dataset.
    """

    def __init__(self, name: str, journal: Iterator[int] | None = None, *, parent: str | None = None) -> None:
        self.name = name
        self.parent = parent
        self.version = 0
        self.history: dict[Key, list[Record]] = {}
        self._journal = journal or count(1)
        self._rows: dict[Key, Record] = {}
        self._by_modified: list[tuple[int, Key]] | None = None
        self._keys: list[Key] | None = None
        self._indexes: dict[str, dict[Any, set[Key]]] = {}
        self._recalled: tuple[int, Any, list[Record]] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._rows.values())

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def get(self, key: Key) -> Record | None:
        """The present version of a row, or None."""
        return self._rows.get(key)

    def load(self, records: Iterable[Record]) -> None:
        """Takes rows that were there from the start."""
        for record in records:
            self._rows[record.key] = record
        self._by_modified = self._keys = None
        self._indexes.clear()
        self.version += 1

    def put(self, record: Record, *, visible_at: int) -> None:
        """Makes a new row, or a new version of one, visible now; the version it replaces goes to `history`."""
        old = self._rows.get(record.key)
        record.sequence = next(self._journal)
        record.visible_at = visible_at
        self._rows[record.key] = record
        if old is not None:
            self.history.setdefault(record.key, []).append(old)
        if self._by_modified is not None:
            if old is not None:
                del self._by_modified[bisect_left(self._by_modified, (old.modified, old.key))]
            insort(self._by_modified, (record.modified, record.key))
        if self._keys is not None and old is None:
            insort(self._keys, record.key)
        for field, index in self._indexes.items():
            if old is not None:
                for value in _values(old, field):
                    index.get(value, set()).discard(old.key)
            for value in _values(record, field):
                index.setdefault(value, set()).add(record.key)
        self.version += 1

    def by_modified(self) -> list[tuple[int, Key]]:
        """(modified, key) of all rows in feed order. The list is live: read it, never change it."""
        if self._by_modified is None:
            self._by_modified = sorted((record.modified, key) for key, record in self._rows.items())
        return self._by_modified

    def keys(self) -> list[Key]:
        """All keys ascending. The list is live: read it, never change it."""
        if self._keys is None:
            self._keys = sorted(self._rows)
        return self._keys

    def holding(self, field: str, value: Any) -> list[Record]:
        """Rows whose field has this value (`id` and `parent` are understood without decoding; for a list field:
        contains it), ascending by key. The first call for a field reads every row once; later ones are look-ups."""
        index = self._indexes.get(field)
        if index is None:
            index = self._indexes[field] = {}
            for record in self._rows.values():
                for each in _values(record, field):
                    index.setdefault(each, set()).add(record.key)
        return [self._rows[key] for key in sorted(index.get(value, ()))]

    def remember(self, question: Any, rows: list[Record]) -> None:
        """Keeps the rows that answer a question until any row changes: the next page need not select them again."""
        self._recalled = (self.version, question, rows)

    def recall(self, question: Any) -> list[Record] | None:
        """The rows last remembered, if they answer this question and nothing has changed since."""
        if self._recalled and self._recalled[:2] == (self.version, question):
            return self._recalled[2]
        return None

    def versions(self, since: int = 0) -> Iterator[Record]:
        """Every version that was ever visible, oldest first per row, with a sequence above `since` (-1: all, also the
        rows that were there from the start, whose sequence is 0)."""
        for key, record in self._rows.items():
            for old in self.history.get(key, ()):
                if old.sequence > since:
                    yield old
            if record.sequence > since:
                yield record


def _values(record: Record, field: str) -> list[Any]:
    if field == "id":
        return [record.id]
    if field == "parent":
        return [record.key[1]]
    value = record.fields()
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, list) else [value]
