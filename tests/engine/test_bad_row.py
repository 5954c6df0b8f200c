"""One bad record in a page of 5,000 costs at most a twentieth of the throughput."""

from __future__ import annotations

import pytest
from bench.bad_row import BAD, measure

pytestmark = pytest.mark.anyio


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_page_of_5000_with_one_bad_record_keeps_95_percent_of_the_throughput(dsn: str) -> None:
    figures = await measure(dsn, 60, 5000)
    assert {kind: figures[kind] for kind in BAD if figures[kind] < 0.95} == {}


async def test_each_kind_of_bad_record_is_the_only_one_of_its_page_that_is_not_stored(dsn: str) -> None:
    # measure() itself counts: all others stored, this one in the quarantine.
    assert set(BAD) <= set(await measure(dsn, 1, 60))
