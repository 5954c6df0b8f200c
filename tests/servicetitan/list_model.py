"""A small list that changes while it is read: rows with modification ticks, sorted and paged as ServiceTitan does.

Used by test_keyset.py. Before each answer the model may change a few rows; the changes run out, so that what a reader
still misses after a last quiet run is missed for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from jobsync.servicetitan.pages import Page, parse_page
from jobsync.servicetitan.timestamps import format_ticks, parse_ticks
from jobsync.servicetitan.windows import Ask

START = parse_ticks("2026-03-01T08:00:00Z")


@dataclass
class ListModel:
    """`rows` maps id to modification tick. `step` is how far the clock moves with each change, in ticks."""

    rng: Random
    rows: dict[int, int] = field(default_factory=dict)
    step: int = 1
    changes_left: int = 60
    random_ties: bool = False
    honours_sort: bool = True
    rounds_filters_to: int = 1
    max_page_size: int | None = None
    clock: int = START
    calls: int = 0
    next_id: int = 1

    def fill(self, groups: list[int]) -> None:
        """Add groups of rows; each group shares one tick, and ids are in no order with time."""
        ids = list(range(1, sum(groups) + 1))
        self.rng.shuffle(ids)
        for size in groups:
            for _ in range(size):
                self.rows[ids.pop()] = self.clock
            self.clock += self.step
        self.next_id = sum(groups) + 1

    def change(self) -> None:
        """Change, add or delete a few rows; everything changed at once gets the same, newest tick."""
        self.clock += self.step * self.rng.randint(1, 3)
        kind = self.rng.random()
        if kind < 0.15:
            for _ in range(self.rng.randint(1, 3)):
                self.rows[self.next_id] = self.clock
                self.next_id += 1
        elif kind < 0.25 and self.rows:
            del self.rows[self.rng.choice(list(self.rows))]
        elif self.rows:
            for one in self.rng.sample(list(self.rows), min(len(self.rows), self.rng.choice((1, 1, 1, 2, 4)))):
                self.rows[one] = self.clock

    async def fetch(self, ask: Ask) -> Page:
        """Answer one list request, possibly after a change."""
        self.calls += 1
        if self.changes_left and self.rng.random() < 0.6:
            self.changes_left -= 1
            self.change()
        if self.changes_left == 0:
            self.clock += self.step
        low = self._bound(ask.modified_from)
        high = self._bound(ask.modified_before)
        found = [
            (one, ticks)
            for one, ticks in self.rows.items()
            if (low is None or ticks >= low) and (high is None or ticks < high)
        ]
        if self.random_ties:
            self.rng.shuffle(found)
        else:
            found.sort()
        if ask.order == "modifiedOn" and self.honours_sort:
            found.sort(key=lambda row: row[1])
        size = min(ask.page_size, self.max_page_size or ask.page_size)
        first = (ask.page - 1) * size
        body = {
            "page": ask.page,
            "pageSize": size,
            "hasMore": first + size < len(found),
            "totalCount": len(found) if ask.include_total else None,
            "data": [{"id": one, "modifiedOn": self._text(ticks)} for one, ticks in found[first : first + size]],
        }
        served_at = datetime(1, 1, 1, tzinfo=UTC) + timedelta(seconds=self.clock // 10_000_000)
        return parse_page(msgspec.json.encode(body), "list", sent_page=ask.page, served_at=served_at)

    def _bound(self, text: str | None) -> int | None:
        if text is None:
            return None
        ticks = parse_ticks(text)
        return ticks - ticks % self.rounds_filters_to

    @staticmethod
    def _text(ticks: int) -> str:
        # As .NET writes them: trailing zeros cut off.
        text = format_ticks(ticks)[:-1].rstrip("0")
        return text.rstrip(".") + "Z"


def seen_rows(page: Page) -> set[tuple[int, int]]:
    """Return the (id, ticks) on a page."""
    found = msgspec.json.decode(page.array())
    return {(row["id"], parse_ticks(row["modifiedOn"])) for row in found}
