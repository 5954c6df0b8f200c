"""Reading everything that changed since a time, from a list that changes while it is read (reliability P5).

The rule: ask for page 1 from the last modification time seen, inclusive, sorted by it; what was handed out before is
left out. A changed row moves to the end, where it is still to come; no row can move behind the reader. Where one time
fills a whole page the step has no effect, so that one tick is read by offset with the count check (windows.py). A
list that cannot be sorted, or whose answers show that it was not, is read in count-checked windows instead.

In comes a `fetch` (client.py makes one for each stream), out go pages, each with the time up to which everything has
been read: the caller commits records and watermark together and can stop anywhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

from jobsync.errors import MalformedAnswer
from jobsync.servicetitan.pages import Key, Page, RowReader
from jobsync.servicetitan.timestamps import TICKS_PER_SECOND, datetime_ticks, format_ticks, parse_ticks
from jobsync.servicetitan.windows import Ask, Fetch, KeysetPage, WindowReader, check_bounds, fresh_rows

# ServiceTitan's clock at the answer, less this, surely lies in the past for whatever stamps modifiedOn (reliability
# P4).
CLOCK_MARGIN = 120 * TICKS_PER_SECOND

# The tick that fills a page, then its surroundings: a server that rounds its filters answers nothing to one single
# tick.
_TIE_WIDTHS = (1, TICKS_PER_SECOND // 1_000, TICKS_PER_SECOND)

_TAIL_PASSES = 3

# So many rows in order by chance are not to be expected; fewer are checked by a count.
_PROOF = 20


async def read_changes(
    fetch: Fetch, *, since: str, page_size: int, keys: Sequence[str] = ("id",), sortable: bool = True
) -> AsyncIterator[KeysetPage]:
    """Yield every record modified at or after `since`, page by page, each version at least once.

    `since` is a timestamp text, normally the watermark of an earlier run less an overlap; `keys` are the fields that
    identify a record; `sortable` is False where the list has no sort parameter. The last KeysetPage has `done`.
    Errors of `fetch` pass through: the run then starts anew from the last watermark that was stored. Raises
    MalformedAnswer where the answers contradict the request, UpstreamUnavailable (code `window_unsettled`) where the
    list never holds still, and ValueError for a `since` that is not a timestamp.
    """
    rows = RowReader(keys)
    at = parse_ticks(since)
    if sortable:
        windows = WindowReader(fetch, rows, page_size, "id")
        # Only rows at the very time that is asked for again can come again.
        edge: set[tuple[Key, int | None]] = set()
        stuck = 0  # how often the window around a full tick came back empty
        while True:
            page = await fetch(Ask(format_ticks(at), None, 1, page_size, False, "modifiedOn"))
            found = rows.read(page)
            check_bounds(found, at, None)
            times = [ticks for _, ticks in found if ticks is not None]
            if not is_ascending(times):
                break
            fresh = fresh_rows(page, found, edge)
            if not page.has_more:
                yield KeysetPage(fresh, format_ticks(max([at, *times])), True)
                return
            if not times:
                raise MalformedAnswer("ServiceTitan's list has no record with a modification time.", code="no_times")
            last = times[-1]
            if last > at:
                if might_be_chance(found) and await skips_rows(fetch, found, at, last):
                    yield KeysetPage(fresh, format_ticks(at), False)
                    break
                edge = {row for row in edge if row[1] == last}
                yield KeysetPage(fresh, format_ticks(last), False)
                at, stuck = last, 0
                continue
            yield KeysetPage(fresh, format_ticks(at), False)
            if stuck == len(_TIE_WIDTHS):
                raise MalformedAnswer(
                    "ServiceTitan's time filter hides the records it should show.", code="filter_ignored"
                )
            low = at - at % _TIE_WIDTHS[stuck]
            high = low + _TIE_WIDTHS[stuck]
            answered = windows.answered
            async for tied, reached in windows.read(low, high, edge):
                if windows.answered > answered:
                    # The window may begin a little before the run's place, which never moves back.
                    yield KeysetPage(tied, format_ticks(max(reached, at)), False)
            if windows.answered > answered:
                at, edge, stuck = high, set(), 0
            else:
                stuck += 1
    async for piece in _read_unsorted(fetch, rows, at, page_size):
        yield piece


async def read_window(
    fetch: Fetch, *, since: str, until: str, page_size: int, keys: Sequence[str] = ("id",), sortable: bool = True
) -> AsyncIterator[KeysetPage]:
    """Yield every record last modified in [since, until), count-checked, whatever changes meanwhile.

    `until` must lie in the past by ServiceTitan's clock. For backfill and reconcile. A record that is changed while the
    window is read leaves it: the running stream delivers that one. Raises as read_changes.
    """
    low, high = parse_ticks(since), parse_ticks(until)
    reader = WindowReader(fetch, RowReader(keys), page_size, "id" if sortable else None)
    if low < high:
        async for page, reached in reader.read(low, high, set()):
            yield KeysetPage(page, format_ticks(reached), reached == high)
    else:
        yield KeysetPage(Page([], False), format_ticks(low), True)


async def read_list(
    fetch: Fetch, *, page_size: int, keys: Sequence[str] = ("id",), sortable: bool = True
) -> AsyncIterator[Page]:
    """Yield a whole reference list, count-checked where it takes more than one page. Raises as read_changes."""
    reader = WindowReader(fetch, RowReader(keys), page_size, "id" if sortable else None)
    async for page in reader.read_all():
        yield page


async def _read_unsorted(fetch: Fetch, rows: RowReader, at: int, page_size: int) -> AsyncIterator[KeysetPage]:
    """Read what changed since `at` from a list without a usable order.

    What lies in the past is read in count-checked windows and moves the watermark. The last two minutes are handed out
    too, but cannot be proven complete while they still grow: the watermark stays in front of them, and they come again.
    """
    page = await fetch(Ask(format_ticks(at), None, 1, page_size, True, None))
    if page.served_at is None:
        raise MalformedAnswer("ServiceTitan's answer carries no date, so its clock is not known.", code="no_date")
    past = max(at, datetime_ticks(page.served_at) - CLOCK_MARGIN)
    found = rows.read(page)
    check_bounds(found, at, None)
    handed_out: set[tuple[Key, int | None]] = set()
    fresh = fresh_rows(page, found, handed_out)
    if not page.has_more:
        yield KeysetPage(fresh, format_ticks(past), True)
        return
    yield KeysetPage(fresh, format_ticks(at), False)
    if past > at:
        reader = WindowReader(fetch, rows, page_size, None)
        async for settled, reached in reader.read(at, past, handed_out):
            yield KeysetPage(settled, format_ticks(reached), False)
    handed_out.clear()
    for _ in range(_TAIL_PASSES):
        number, collected = 1, set[Key]()
        while True:
            page = await fetch(Ask(format_ticks(past), None, number, page_size, True, None))
            found = rows.read(page)
            check_bounds(found, past, None)
            collected.update(key for key, _ in found)
            yield KeysetPage(fresh_rows(page, found, handed_out), format_ticks(past), False)
            if not page.has_more or not page.records:
                break
            number += 1
        if page.total is None or len(collected) >= page.total:
            break
    yield KeysetPage(page.keep([]), format_ticks(past), True)


def is_ascending(times: Sequence[int]) -> bool:
    """True where the modification times of a page are in order."""
    return all(earlier <= later for earlier, later in pairwise(times))


def might_be_chance(found: Sequence[tuple[Key, int | None]]) -> bool:
    """True where a page in order proves nothing: it is short, or the order could as well be that of the ids.

    Records that were never changed have ids and times in step.
    """
    ids = [key[0] for key, ticks in found if ticks is not None and isinstance(key[0], int)]
    return len(found) < _PROOF or is_ascending(ids) or is_ascending(ids[::-1])


async def skips_rows(fetch: Fetch, found: Sequence[tuple[Key, int | None]], at: int, last: int) -> bool:
    """True if there are more rows in [at, last) than the page showed: then it was not sorted by time."""
    shown = sum(1 for _, ticks in found if ticks is not None and ticks < last)
    count = await fetch(Ask(format_ticks(at), format_ticks(last), 1, 1, True, None))
    return count.total is None or count.total > shown
