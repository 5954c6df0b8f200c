"""Reading a stretch of the past from a list, one answer at a time, so that it can be broken off after any of them.

Every answer leaves a place to go on from: whoever stores the records together with the place repeats at most the one
answer that was not stored yet. Two ways, both lossless while rows change (a changed row leaves the stretch; the live
pull brings it, reliability P4 and P5):

- A list that can be sorted is read by keyset, as in keyset.py: page 1 from the last time seen, inclusive.
- A list that cannot, or whose answers are not in order, is read in windows so narrow that one answer holds all of a
  window: such an answer needs no second page, so nothing can shift.

Where one second fills more than a page, that second is read by offset with the count check (windows.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from jobsync.servicetitan.keyset import is_ascending, might_be_chance, skips_rows
from jobsync.servicetitan.pages import Key, Page, RowReader
from jobsync.servicetitan.streams import Order
from jobsync.servicetitan.timestamps import TICKS_PER_SECOND, format_ticks, parse_ticks
from jobsync.servicetitan.windows import Ask, Fetch, WindowReader, check_bounds, fresh_rows

# A window is meant to hold this share of a page, so that the next one rarely holds too much.
_FILL = 0.8
_WIDEN_AT_MOST = 8.0
_NARROW_AT_MOST = 256.0
_NARROW_AT_LEAST = 1.5


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Records to store, and where reading goes on once they are.

    `page` may be empty: then only the window became narrower. `position`: everything modified before it has been handed
    out; it never moves back. `width` is how wide the next window is, in ticks; None: everything that is left. `left`:
    how many records are still to come, None where that is not known. `done` is True on the last one.
    """

    page: Page
    position: str
    width: int | None
    left: int | None
    done: bool


async def read_history(
    fetch: Fetch,
    *,
    since: str,
    until: str,
    page_size: int,
    width: int | None = None,
    keys: Sequence[str] = ("id",),
    sortable: bool = True,
) -> AsyncGenerator[HistoryPage, None]:
    """Yield every record last modified in [since, until), each at least once, in pages.

    `until` must be a whole second that lies in the past by ServiceTitan's clock. `since` and `width` are those of the
    last HistoryPage that was stored, or the beginning and None. Errors of `fetch` pass through. Raises MalformedAnswer
    and UpstreamUnavailable as windows.py does.
    """
    rows = RowReader(keys)
    at, end = parse_ticks(since), parse_ticks(until)
    edge: set[tuple[Key, int | None]] = set()
    left: int | None = None
    sorted_so_far = sortable and width is None
    while at < end:
        high = end if width is None else _whole_second(at, min(at + width, end), end)
        page = await fetch(Ask(format_ticks(at), format_ticks(high), 1, page_size, True, _order(sortable)))
        found = rows.read(page)
        check_bounds(found, at, high)
        if page.total is not None and high == end:
            left = page.total
        if not page.has_more:
            if high < end:
                width = _next_width(high - at, len(found), page_size)
            left = None if left is None else max(left - len(found), 0)
            yield HistoryPage(fresh_rows(page, found, edge), format_ticks(high), width, left, high == end)
            at, edge = high, set()
            continue
        reached = await _keyset_step(fetch, found, at) if sorted_so_far else None
        if reached is not None:
            fresh = fresh_rows(page, found, edge)
            edge = {row for row in edge if row[1] == reached}
            below = sum(1 for _, ticks in found if ticks is None or ticks < reached)
            yield HistoryPage(fresh, format_ticks(reached), None, None if left is None else left - below, False)
            at = reached
            continue
        second = _whole_second(at, at, end)
        if high > second and not (sorted_so_far and _is_tie(found, at, second)):
            sorted_so_far = False
            width = _narrower(found, at, high, (page.total or 2 * len(found)), page_size)
            # Kept like a page, so that whoever breaks off here does not ask for this one again.
            yield HistoryPage(page.keep([]), format_ticks(at), width, left, False)
            continue
        # One second holds more than a page.
        async for tied, place in WindowReader(fetch, rows, page_size, _id_order(sortable)).read(at, second, edge):
            left = None if left is None else max(left - len(tied.records), 0)
            yield HistoryPage(tied, format_ticks(max(place, at)), width, left, place == end)
        at, edge = second, set()
    if parse_ticks(since) >= end:
        yield HistoryPage(Page([], False), format_ticks(end), None, 0, True)


async def _keyset_step(fetch: Fetch, found: Sequence[tuple[Key, int | None]], at: int) -> int | None:
    """The time up to which a full page shows everything; None where its order proves nothing."""
    times = [ticks for _, ticks in found if ticks is not None]
    if not times or not is_ascending(times) or times[-1] <= at:
        return None
    if might_be_chance(found) and await skips_rows(fetch, found, at, times[-1]):
        return None
    return times[-1]


def _is_tie(found: Sequence[tuple[Key, int | None]], at: int, second: int) -> bool:
    return all(ticks is None or at <= ticks < second for _, ticks in found)


def _whole_second(at: int, high: int, end: int) -> int:
    """`high` cut to a whole second, as the other side may round its filters; at least the end of the second of `at`."""
    return min(max(high - high % TICKS_PER_SECOND, at - at % TICKS_PER_SECOND + TICKS_PER_SECOND), end)


def _narrower(found: Sequence[tuple[Key, int | None]], at: int, high: int, total: int, page_size: int) -> int:
    """A width that should hold a page: where that share of the records seen lies, as records are not spread evenly."""
    times = sorted(ticks for _, ticks in found if ticks is not None)
    share = min(_FILL * page_size / max(total, 1), 1.0)
    likely = times[min(int(share * len(times)), len(times) - 1)] - at if times else 0
    widest = (high - at) / _NARROW_AT_LEAST
    return max(int(min(max(likely, (high - at) * share, (high - at) / _NARROW_AT_MOST), widest)), TICKS_PER_SECOND)


def _next_width(width: int, count: int, page_size: int) -> int:
    factor = _WIDEN_AT_MOST if count == 0 else min(_FILL * page_size / count, _WIDEN_AT_MOST)
    return max(int(width * max(factor, 0.25)), TICKS_PER_SECOND)


def _order(sortable: bool) -> Order | None:
    return "modifiedOn" if sortable else None


def _id_order(sortable: bool) -> Order | None:
    return "id" if sortable else None
