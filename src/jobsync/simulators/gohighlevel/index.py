"""A search index that trails the records, as GoHighLevel's searches do (GoHighLevel contract, section 5)."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from .clock import MovableClock
from .switches import Switches

Document = dict[str, Any]


class LaggingIndex:
    """Documents by id as a search sees them now.

    A write becomes visible between `search_lag_min_seconds` and `search_lag_max_seconds` after it was made, by the
    simulator's clock. Two writes of one document never become visible in the wrong order. keys: what a document can be
    looked up by without reading all of them (contact id, email, ...).
    """

    def __init__(
        self,
        clock: MovableClock,
        switches: Switches,
        seed: int | str,
        keys: Callable[[Document], Iterable[Hashable]],
    ) -> None:
        self._clock = clock
        self._switches = switches
        self._random = random.Random(seed)
        self._keys = keys
        self._written = 0
        self._pending: list[tuple[float, int, str, Document | None]] = []
        self._applied: dict[str, int] = {}
        self._visible: dict[str, Document] = {}
        self._groups: dict[Hashable, dict[str, None]] = {}

    def write(self, identifier: str, document: Document | None) -> None:
        """Notes the new state of a document (None: deleted); it shows after the lag. Keeps a copy."""
        self._written += 1
        low, high = self._switches.search_lag_min_seconds, self._switches.search_lag_max_seconds
        lag = low if high <= low else self._random.uniform(low, high)
        copy = None if document is None else dict(document)
        heapq.heappush(self._pending, (self._clock.now() + lag, self._written, identifier, copy))

    def all(self) -> list[Document]:
        """Every visible document, in no particular order."""
        self._catch_up()
        return list(self._visible.values())

    def having(self, key: Hashable) -> list[Document]:
        """The visible documents that carry a key."""
        self._catch_up()
        return [self._visible[identifier] for identifier in self._groups.get(key, ())]

    def catch_up_at_once(self) -> None:
        """Makes every write visible now, whatever the clock says."""
        while self._pending:
            self._apply(heapq.heappop(self._pending))

    def _catch_up(self) -> None:
        now = self._clock.now()
        while self._pending and self._pending[0][0] <= now:
            self._apply(heapq.heappop(self._pending))

    def _apply(self, entry: tuple[float, int, str, Document | None]) -> None:
        _, number, identifier, document = entry
        if number < self._applied.get(identifier, 0):
            return
        self._applied[identifier] = number
        before = self._visible.pop(identifier, None)
        if before is not None:
            for key in self._keys(before):
                self._groups.get(key, {}).pop(identifier, None)
        if document is not None:
            self._visible[identifier] = document
            for key in self._keys(document):
                self._groups.setdefault(key, {})[identifier] = None
