"""Reading a list by offset and knowing that nothing was missed: the count check (reliability P5).

Offset pages shift while rows change: a row that leaves the list moves the others up, past the reader. A window of
modification times that lies in the past can only LOSE rows (a changed row gets a new time, beyond the window's end). So
while the total has stayed the same since some call, the rows have stayed the same too, and once as many different
records have been collected since then as the total says, none is missing. Until that holds, the window is read again;
where it will not settle it is cut into halves in time, down to one tick of 100 ns.

`Ask` and `Fetch` are the seam to the client: everything here is pure apart from awaiting the fetch that it was given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from jobsync.errors import MalformedAnswer, UpstreamUnavailable
from jobsync.servicetitan.pages import Key, Page, RowReader
from jobsync.servicetitan.streams import Order
from jobsync.servicetitan.timestamps import TICKS_PER_SECOND, format_ticks

# A filter may be rounded on the other side (to a millisecond, to a second); rows further out mean that it was ignored.
FILTER_SLACK = TICKS_PER_SECOND

# Passes over one window before it is cut in two, or given up where it is too narrow to cut. Every pass that fails
# needs a row that left in the meantime, or an order that changes from call to call; both die out.
_PASSES_BEFORE_CUT = 4
_PASSES_AT_MOST = 300
# A window in the past cannot grow; one that does so again and again is being written to faster than it can be read.
_GROWTHS_AT_MOST = 50
# A window with more pages than this is cut at once: what was collected is held in memory until the window has settled.
_PAGES_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class Ask:
    """One list request: modification times from (inclusive) and before (exclusive) as texts, None for no bound."""

    modified_from: str | None
    modified_before: str | None
    page: int
    page_size: int
    include_total: bool
    order: Order | None


class Fetch(Protocol):
    """Fetches one list page; its errors pass through to whoever reads."""

    async def __call__(self, ask: Ask) -> Page:
        """Return the page that `ask` describes."""
        ...


@dataclass(frozen=True, slots=True)
class KeysetPage:
    """Records to store, and how far everything has now been read.

    `page` holds the records that were not handed out before in this run (possibly none). Once they are stored, a
    later run may start at `watermark`, inclusive, and misses nothing. `done` is True on the last one of a run.
    """

    page: Page
    watermark: str
    done: bool


@dataclass(slots=True)
class WindowReader:
    """Reads windows of one list with the count check. `order` None where the list has no sort parameter.

    `answered` counts the records in all answers so far, repeats too.
    """

    fetch: Fetch
    rows: RowReader
    page_size: int
    order: Order | None
    answered: int = 0

    async def read(
        self, low: int, high: int, handed_out: set[tuple[Key, int | None]]
    ) -> AsyncIterator[tuple[Page, int]]:
        """Yield (page with the records not handed out before, ticks up to which everything has been read).

        `handed_out` are the (key, ticks) of records that this run has handed out; it is kept up to date, and forgets
        what cannot come again. Reads modification times in [low, high), which must lie in the past. The ticks grow
        from `low` to `high`. Raises UpstreamUnavailable (code `window_unsettled`) when it does not settle,
        MalformedAnswer when the answers carry no total or rows far outside the window.
        """
        pending = [(low, high)]
        while pending:
            start, end = pending.pop()
            settled = False
            async for page, settled in self._settle(start, end, handed_out):
                yield page, (end if settled else start)
            if settled:
                handed_out.difference_update([row for row in handed_out if row[1] is not None and row[1] < end])
            else:
                middle = (start + end) // 2
                pending += [(middle, end), (start, middle)]

    async def read_all(self) -> AsyncIterator[Page]:
        """Yield the pages of a whole list, without time bounds: for short lists that hardly change."""
        async for page, _ in self._settle(None, None, set()):
            yield page

    async def _settle(
        self, low: int | None, high: int | None, handed_out: set[tuple[Key, int | None]]
    ) -> AsyncIterator[tuple[Page, bool]]:
        """Yield (new records, whether the window is complete with them); ends without True where it should be cut."""
        can_cut = low is not None and high is not None and high - low > 1
        collected: set[Key] = set()
        total: int | None = None
        growths = 0
        for _ in range(_PASSES_BEFORE_CUT if can_cut else _PASSES_AT_MOST):
            number = 1
            while True:
                page = await self.fetch(
                    Ask(
                        None if low is None else format_ticks(low),
                        None if high is None else format_ticks(high),
                        number,
                        self.page_size,
                        True,
                        self.order,
                    )
                )
                rows = self.rows.read(page)
                check_bounds(rows, low, high)
                self.answered += len(rows)
                if page.total != total:
                    growths += total is not None and page.total is not None and page.total > total
                    if growths > _GROWTHS_AT_MOST:
                        raise _unsettled()
                    # Rows left: what was collected before says nothing about the rows that are there now.
                    collected.clear()
                    total = page.total
                collected.update(key for key, _ in rows)
                fresh = fresh_rows(page, rows, handed_out)
                # One answer that holds everything is complete by itself; it was never a matter of pages.
                complete = (number == 1 and not page.has_more) or (total is not None and len(collected) == total)
                yield fresh, complete
                if complete:
                    return
                if total is None:
                    raise MalformedAnswer(
                        "ServiceTitan's list came without the total it was asked for.", code="no_total"
                    )
                if can_cut and total > _PAGES_AT_MOST * self.page_size:
                    return
                if not page.has_more or not page.records:
                    break
                number += 1
        if not can_cut:
            raise _unsettled()


def fresh_rows(page: Page, rows: list[tuple[Key, int | None]], handed_out: set[tuple[Key, int | None]]) -> Page:
    """Return the page without the rows in `handed_out`, and add the others to it."""
    positions = []
    for position, row in enumerate(rows):
        if row not in handed_out:
            handed_out.add(row)
            positions.append(position)
    return page.keep(positions)


def check_bounds(rows: list[tuple[Key, int | None]], low: int | None, high: int | None) -> None:
    """Raise MalformedAnswer (code `filter_ignored`) when rows lie far outside [low, high).

    A filter whose name ServiceTitan does not know is silently ignored (ServiceTitan contract, section 2.1): then an
    answer holds everything, and would be taken for what was asked.
    """
    for _, ticks in rows:
        if ticks is not None and (
            (low is not None and ticks < low - FILTER_SLACK) or (high is not None and ticks >= high + FILTER_SLACK)
        ):
            raise MalformedAnswer(
                "ServiceTitan answered records outside the time window it was asked for.", code="filter_ignored"
            )


def _unsettled() -> UpstreamUnavailable:
    return UpstreamUnavailable(
        "ServiceTitan's list kept changing while it was read; it will be read again.", code="window_unsettled"
    )
