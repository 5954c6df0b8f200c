"""Reading the past misses nothing while the list changes, and can be broken off after any answer (reliability P1, P5).

SEEDS=10000 runs the full figure; the ordinary run takes a part of it.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from jobsync.errors import UpstreamUnavailable
from jobsync.servicetitan.history import HistoryPage, read_history
from jobsync.servicetitan.timestamps import TICKS_PER_SECOND, format_ticks, parse_ticks
from jobsync.servicetitan.windows import Ask
from tests.servicetitan.list_model import START, ListModel, seen_rows

pytestmark = pytest.mark.anyio

SEEDS = int(os.environ.get("SEEDS", "200"))
PAGE_SIZE = 4
SINCE = format_ticks(START - 90 * 86_400 * TICKS_PER_SECOND)
Rows = set[tuple[int, int]]


def make_model(seed: int) -> tuple[ListModel, str]:
    """A list with ties of up to three pages, and the end of its past; changes come after that end."""
    rng = Random(seed)
    step = rng.choice((1, 3_000, TICKS_PER_SECOND, 7 * TICKS_PER_SECOND, 3_600 * TICKS_PER_SECOND))
    model = ListModel(rng, step=step, random_ties=seed % 2 == 1, honours_sort=seed % 5 != 0)
    model.rounds_filters_to = rng.choice((1, 10_000, TICKS_PER_SECOND))
    groups = [rng.choice((1, 1, 1, 2, 3)) for _ in range(rng.randint(3, 12))]
    groups.insert(rng.randrange(len(groups)), rng.randint(PAGE_SIZE, 3 * PAGE_SIZE))
    model.fill(groups)
    model.clock += 2 * TICKS_PER_SECOND
    until = model.clock - model.clock % TICKS_PER_SECOND
    model.clock = until + TICKS_PER_SECOND
    return model, format_ticks(until)


async def read_broken_off(model: ListModel, until: str, rng: Random, *, sortable: bool) -> tuple[Rows, int, int]:
    """Reads to the end; now and then the reader dies before its page is stored and begins at the last place stored.

    Answers what was stored, and requests and deaths.
    """
    stored: Rows = set()
    position, width, deaths = SINCE, None, 0
    while True:
        died = False
        pages = read_history(
            model.fetch, since=position, until=until, page_size=PAGE_SIZE, width=width, sortable=sortable
        )
        async for piece in pages:
            if rng.random() < 0.2 and deaths < 10:
                died = True
                deaths += 1
                break
            assert parse_ticks(piece.position) >= parse_ticks(position), "the place never moves back"
            stored |= seen_rows(piece.page)
            position, width = piece.position, piece.width
            if piece.done:
                return stored, model.calls, deaths
        await pages.aclose()
        assert died or parse_ticks(position) >= parse_ticks(until)


@pytest.mark.parametrize("sortable", [True, False], ids=["sorted", "unsorted"])
async def test_nothing_is_missed_whatever_changes_and_wherever_the_reader_dies(sortable: bool) -> None:
    for seed in range(SEEDS):
        model, until = make_model(seed)
        stored, _, _ = await read_broken_off(model, until, Random(seed), sortable=sortable)
        # What left the past while it was read is the live pull's to bring.
        past = {(one, ticks) for one, ticks in model.rows.items() if ticks < parse_ticks(until)}
        assert past <= stored, f"seed {seed}: missed {past - stored}"


async def test_each_death_repeats_at_most_the_one_request_under_way() -> None:
    for seed in range(12):
        rng = Random(seed)
        ids = list(range(1, 400))
        rng.shuffle(ids)
        rows = {one: START + place * TICKS_PER_SECOND * rng.randint(5, 9) for place, one in enumerate(ids)}
        until = format_ticks(max(rows.values()) + 100 * TICKS_PER_SECOND - max(rows.values()) % TICKS_PER_SECOND)
        for sortable in (True, False):
            quiet = ListModel(Random(0), rows=dict(rows), changes_left=0, clock=parse_ticks(until))
            total = len([1 async for _ in pages_of(quiet, until, sortable)])
            killed = ListModel(Random(0), rows=dict(rows), changes_left=0, clock=parse_ticks(until))
            stored, calls, deaths = await read_broken_off_at(killed, until, Random(seed), sortable)
            assert stored == set(rows.items())
            assert deaths > 0
            assert calls <= quiet.calls + deaths, f"seed {seed}: {calls} calls, {quiet.calls} without {deaths} deaths"
            assert total <= quiet.calls


def pages_of(model: ListModel, until: str, sortable: bool):
    return read_history(model.fetch, since=SINCE, until=until, page_size=24, sortable=sortable)


async def read_broken_off_at(model: ListModel, until: str, rng: Random, sortable: bool) -> tuple[Rows, int, int]:
    """As read_broken_off, with pages long enough for their order to prove something."""
    stored: Rows = set()
    position, width, deaths = SINCE, None, 0
    while True:
        pages = read_history(model.fetch, since=position, until=until, page_size=24, width=width, sortable=sortable)
        async for piece in pages:
            if rng.random() < 0.3:
                deaths += 1
                break
            stored |= seen_rows(piece.page)
            position, width = piece.position, piece.width
            if piece.done:
                return stored, model.calls, deaths
        await pages.aclose()


async def test_a_quiet_sorted_list_costs_one_request_a_page_and_knows_how_much_is_left() -> None:
    rng = Random(1)
    ids = list(range(1, 241))
    rng.shuffle(ids)
    rows = {one: START + place * 60 * TICKS_PER_SECOND for place, one in enumerate(ids)}
    until = format_ticks(START + 300 * 60 * TICKS_PER_SECOND)
    model = ListModel(rng, rows=rows, changes_left=0, clock=parse_ticks(until))
    pieces: list[HistoryPage] = [piece async for piece in pages_of(model, until, True)]
    assert model.calls == len(pieces) == 11  # 23 new ones a page: the last one seen comes again
    left = [piece.left for piece in pieces if piece.left is not None]
    assert left == sorted(left, reverse=True)
    assert (left[-1], pieces[-1].done) == (0, True)


async def test_a_list_that_does_not_sort_although_it_was_asked_to_is_read_in_windows() -> None:
    rng = Random(2)
    ids = list(range(1, 241))
    rng.shuffle(ids)
    rows = {one: START + place * 60 * TICKS_PER_SECOND for place, one in enumerate(ids)}
    until = format_ticks(START + 300 * 60 * TICKS_PER_SECOND)
    model = ListModel(rng, rows=rows, changes_left=0, clock=parse_ticks(until), honours_sort=False, random_ties=True)
    seen = {row async for piece in pages_of(model, until, True) for row in seen_rows(piece.page)}
    assert seen == set(rows.items())
    assert model.calls < 4 * 10


async def test_an_unsorted_list_with_all_its_rows_in_one_second_is_read_by_count() -> None:
    rows = {one: START + 5 + one for one in range(1, 40)}
    until = format_ticks(START + 60 * TICKS_PER_SECOND)
    model = ListModel(Random(3), rows=rows, changes_left=0, clock=parse_ticks(until), random_ties=True)
    pages = read_history(model.fetch, since=SINCE, until=until, page_size=PAGE_SIZE, sortable=False)
    seen = {row async for piece in pages for row in seen_rows(piece.page)}
    assert seen == set(rows.items())


async def test_a_list_that_never_holds_still_is_an_error_and_no_end() -> None:
    class Restless(ListModel):
        async def fetch(self, ask: Ask):
            page = await super().fetch(ask)
            return page.keep([]) if ask.page > 1 else page

    rows = dict.fromkeys(range(1, 40), START)
    until = format_ticks(START + 60 * TICKS_PER_SECOND)
    model = Restless(Random(3), rows=rows, changes_left=0, clock=parse_ticks(until))
    with pytest.raises(UpstreamUnavailable):
        async for _ in read_history(model.fetch, since=SINCE, until=until, page_size=PAGE_SIZE, sortable=False):
            pass
