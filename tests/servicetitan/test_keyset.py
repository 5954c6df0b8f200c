"""Nothing is missed while the list changes under the reader (reliability P5, F5): our rule holds on every seed, and
each of the four naive rules is caught missing rows by the very same model.

SEEDS=10000 runs the full figure; the ordinary run takes a part of it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from jobsync.errors import MalformedAnswer, UpstreamUnavailable
from jobsync.servicetitan.keyset import read_changes, read_list, read_window
from jobsync.servicetitan.pages import Page, parse_page
from jobsync.servicetitan.timestamps import format_ticks, parse_ticks
from jobsync.servicetitan.windows import Ask
from tests.servicetitan.list_model import START, ListModel, seen_rows

pytestmark = pytest.mark.anyio

SEEDS = int(os.environ.get("SEEDS", "1000"))
PAGE_SIZE = 4
MINUTE = 60 * 10_000_000

Rows = set[tuple[int, int]]
Rule = Callable[[ListModel, str], Awaitable[tuple[Rows, str]]]


def make_model(seed: int, *, step: int = 1) -> ListModel:
    """Return a list with ties of up to three pages, other in each seed."""
    rng = Random(seed)
    model = ListModel(rng, step=step, random_ties=seed % 2 == 1)
    groups = [rng.choice((1, 1, 1, 2, 3)) for _ in range(rng.randint(3, 12))]
    groups.insert(rng.randrange(len(groups)), rng.randint(PAGE_SIZE, 3 * PAGE_SIZE))
    model.fill(groups)
    return model


async def our_rule(
    model: ListModel, since: str, *, sortable: bool = True, page_size: int = PAGE_SIZE
) -> tuple[Rows, str]:
    seen: Rows = set()
    reached, done = parse_ticks(since), False
    async for piece in read_changes(model.fetch, since=since, page_size=page_size, sortable=sortable):
        assert not done, "nothing comes after done"
        seen |= seen_rows(piece.page)
        assert parse_ticks(piece.watermark) >= reached, "the watermark never moves back"
        reached, done = parse_ticks(piece.watermark), piece.done
    assert done
    return seen, format_ticks(reached)


async def offset_rule(model: ListModel, since: str, before: str | None = None) -> tuple[Rows, str]:
    seen: Rows = set()
    number = 1
    while True:
        page = await model.fetch(Ask(since, before, number, PAGE_SIZE, False, "modifiedOn"))
        seen |= seen_rows(page)
        if not page.has_more:
            return seen, format_ticks(max([parse_ticks(since), *(ticks for _, ticks in seen)]))
        number += 1


async def offset_before_rule(model: ListModel, since: str) -> tuple[Rows, str]:
    before = format_ticks(model.clock)
    seen, _ = await offset_rule(model, since, before)
    return seen, before


async def plus_one_ms_rule(model: ListModel, since: str) -> tuple[Rows, str]:
    # A tick of the model stands for the millisecond of the rule that "adds one to the last value seen".
    seen: Rows = set()
    while True:
        page = await model.fetch(Ask(since, None, 1, PAGE_SIZE, False, "modifiedOn"))
        rows = seen_rows(page)
        seen |= rows
        if rows:
            since = format_ticks(max(ticks for _, ticks in rows) + 1)
        if not page.has_more:
            return seen, since


async def plain_ties_rule(model: ListModel, since: str) -> tuple[Rows, str]:
    # Inclusive keyset, but a tie that fills a page is read by plain offset without the count check.
    seen: Rows = set()
    while True:
        page = await model.fetch(Ask(since, None, 1, PAGE_SIZE, False, "modifiedOn"))
        rows = seen_rows(page)
        seen |= rows
        last = max([parse_ticks(since), *(ticks for _, ticks in rows)])
        if not page.has_more:
            return seen, format_ticks(last)
        if last == parse_ticks(since):
            tied, _ = await offset_rule(model, since, format_ticks(last + 1))
            seen |= tied
            last += 1
        since = format_ticks(last)


async def missed_by(rule: Rule, model: ListModel) -> Rows:
    """Run the rule while rows change, then from its own watermark once more in quiet; return what it never saw."""
    seen, watermark = await rule(model, format_ticks(START))
    model.changes_left = 0
    later, _ = await rule(model, watermark)
    return set(model.rows.items()) - seen - later


async def test_no_row_is_missed_whatever_changes_between_the_pages() -> None:
    calls = []
    for seed in range(SEEDS):
        model = make_model(seed)
        assert await missed_by(our_rule, model) == set(), f"seed {seed}"
        calls.append(model.calls)
    calls.sort()
    print(f"{SEEDS} seeds, 0 missed, calls: median {calls[len(calls) // 2]}, p99 {calls[len(calls) * 99 // 100]}")


@pytest.mark.parametrize("rule", [offset_rule, offset_before_rule, plus_one_ms_rule, plain_ties_rule])
async def test_each_naive_rule_is_caught_by_the_same_model(rule: Rule) -> None:
    for seed in range(200):
        if await missed_by(rule, make_model(seed)):
            return
    pytest.fail("the model is too weak: the naive rule missed nothing")


async def test_a_list_without_sort_misses_nothing_either() -> None:
    async def unsorted(model: ListModel, since: str) -> tuple[Rows, str]:
        return await our_rule(model, since, sortable=False)

    for seed in range(SEEDS // 5):
        model = make_model(seed, step=MINUTE)
        model.honours_sort = False
        assert await missed_by(unsorted, model) == set(), f"seed {seed}"


async def test_a_sort_that_is_not_honoured_is_noticed_and_misses_nothing() -> None:
    # Pages of 24: four rows are in order by chance too often to notice anything.
    async def rule(model: ListModel, since: str) -> tuple[Rows, str]:
        return await our_rule(model, since, page_size=24)

    for seed in range(SEEDS // 20):
        model = ListModel(Random(seed), step=MINUTE, honours_sort=False, random_ties=seed % 2 == 1)
        model.fill([model.rng.choice((1, 1, 2, 30)) for _ in range(40)])
        assert await missed_by(rule, model) == set(), f"seed {seed}"


async def test_a_list_sorted_by_id_instead_of_time_is_noticed_though_its_first_page_looks_right() -> None:
    # Ids and times in step, save one row further back that was changed early: only the count can tell.
    model = ListModel(Random(1), changes_left=0, honours_sort=False, clock=START + 60 * MINUTE)
    model.rows = {one: START + one * MINUTE for one in range(1, 13)}
    model.rows[9] = START + 2 * MINUTE + 5

    seen, _ = await our_rule(model, format_ticks(START))

    assert seen == set(model.rows.items())


async def test_an_idle_list_costs_one_call() -> None:
    model = ListModel(Random(1), changes_left=0)

    seen, watermark = await our_rule(model, "2026-03-01T08:00:00Z")

    assert (seen, model.calls) == (set(), 1)
    assert watermark == "2026-03-01T08:00:00.0000000Z"


async def test_rows_on_the_watermark_are_read_again_by_the_next_run() -> None:
    model = ListModel(Random(1), changes_left=0)
    model.rows = {1: START, 2: START + 7}
    _, watermark = await our_rule(model, format_ticks(START))
    model.rows[3] = START + 7

    seen, _ = await our_rule(model, watermark)

    assert (3, START + 7) in seen


async def test_a_row_handed_out_once_is_not_handed_out_again_in_the_same_run() -> None:
    model = ListModel(Random(3), changes_left=0)
    model.rows = {one: START + one // 3 for one in range(1, 40)}
    handed_out: list[tuple[int, int]] = []

    async for piece in read_changes(model.fetch, since=format_ticks(START), page_size=PAGE_SIZE):
        handed_out += seen_rows(piece.page)

    assert sorted(handed_out) == sorted(model.rows.items())


async def test_a_server_that_rounds_its_filters_still_gives_up_a_full_tick() -> None:
    # Both bounds of a one-tick window round to the same millisecond: the window looks empty, the rows are there.
    model = ListModel(Random(1), changes_left=0, random_ties=True, rounds_filters_to=10_000)
    model.rows = dict.fromkeys(range(1, 12), START + 1_234) | {50: START + 40_000}

    seen, _ = await our_rule(model, format_ticks(START))

    assert seen == set(model.rows.items())


async def test_a_server_that_uses_smaller_pages_than_asked_for_misses_nothing() -> None:
    model = ListModel(Random(1), changes_left=0, max_page_size=2)
    model.rows = {one: START + one // 4 for one in range(1, 30)}

    seen, _ = await our_rule(model, format_ticks(START))

    assert seen == set(model.rows.items())


async def test_a_filter_that_is_ignored_is_an_error_not_a_full_load() -> None:
    model = ListModel(Random(1), changes_left=0)
    model.rows = {1: START, 2: START + 90 * MINUTE}

    async def deaf(ask: Ask) -> Page:
        return await model.fetch(Ask(None, None, ask.page, ask.page_size, ask.include_total, ask.order))

    with pytest.raises(MalformedAnswer) as raised:
        async for _ in read_changes(deaf, since=format_ticks(START + MINUTE), page_size=PAGE_SIZE):
            pass
    assert raised.value.code == "filter_ignored"


async def test_a_tie_without_totals_is_an_error_because_nothing_could_be_proven() -> None:
    model = ListModel(Random(1), changes_left=0)
    model.rows = dict.fromkeys(range(1, 12), START)

    async def without_totals(ask: Ask) -> Page:
        return await model.fetch(Ask(ask.modified_from, ask.modified_before, ask.page, ask.page_size, False, ask.order))

    with pytest.raises(MalformedAnswer) as raised:
        async for _ in read_changes(without_totals, since=format_ticks(START), page_size=PAGE_SIZE):
            pass
    assert raised.value.code == "no_total"


async def test_records_without_a_readable_time_are_handed_out_and_stop_nothing() -> None:
    async def fetch(ask: Ask) -> Page:
        records = b'{"id":1},{"modifiedOn":"soon","id":2},5,{"id":3,"modifiedOn":"2026-03-02T00:00:00Z"}'
        return parse_page(b'{"hasMore":false,"data":[' + records + b"]}", "list")

    pieces = [piece async for piece in read_changes(fetch, since="2026-03-01", page_size=4)]

    assert [len(piece.page.records) for piece in pieces] == [4]
    assert pieces[-1].watermark == "2026-03-02T00:00:00.0000000Z"


async def test_a_window_is_read_whole_while_rows_leave_it() -> None:
    for seed in range(SEEDS // 10):
        model = make_model(seed)
        until = model.clock
        seen: Rows = set()
        pieces = [
            piece
            async for piece in read_window(
                model.fetch, since=format_ticks(START), until=format_ticks(until), page_size=PAGE_SIZE
            )
        ]
        for piece in pieces:
            seen |= seen_rows(piece.page)
        assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert {row for row in model.rows.items() if row[1] < until} <= seen, f"seed {seed}"


async def test_a_long_window_is_cut_so_that_its_watermark_moves_on_the_way() -> None:
    model = ListModel(Random(1), changes_left=0)
    model.rows = {one: START + one * MINUTE for one in range(1, 400)}

    marks = [
        piece.watermark
        async for piece in read_window(
            model.fetch,
            since=format_ticks(START),
            until=format_ticks(START + 400 * MINUTE),
            page_size=PAGE_SIZE,
        )
    ]

    assert marks == sorted(marks)
    assert len(set(marks)) > 4


async def test_an_empty_window_asks_nothing_and_is_done() -> None:
    model = ListModel(Random(1), changes_left=0)
    pieces = [
        piece async for piece in read_window(model.fetch, since="2026-03-01", until="2026-03-01", page_size=PAGE_SIZE)
    ]

    assert [piece.done for piece in pieces] == [True]
    assert model.calls == 0


async def test_a_list_that_never_holds_still_ends_in_an_error_not_in_an_endless_loop() -> None:
    model = ListModel(Random(1), changes_left=0)
    model.rows = dict.fromkeys(range(1, 12), START)

    async def restless(ask: Ask) -> Page:
        page = await model.fetch(ask)
        model.rows[1000 + model.calls] = START
        return page

    with pytest.raises(UpstreamUnavailable) as raised:
        async for _ in read_changes(restless, since=format_ticks(START), page_size=PAGE_SIZE):
            pass
    assert raised.value.code == "window_unsettled"


async def test_a_reference_list_is_read_whole_over_several_pages() -> None:
    model = make_model(5)
    model.changes_left = 0
    seen: Rows = set()
    async for page in read_list(model.fetch, page_size=PAGE_SIZE):
        seen |= seen_rows(page)

    assert seen == set(model.rows.items())
