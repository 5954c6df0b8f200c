"""What the Overview draws: each number has its place, and what is not known is not drawn as zero; the tour of the demo."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobsync.web.dashboard.charts import HEIGHT, HOURS, draw_lag
from tests.web.conftest import StartApi
from tests.web.visitor import let_in, words

NOW = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)


def gap(hours_ago: int, seconds: float | None, *, last: int = 59) -> dict[str, object]:
    hour = NOW.replace(minute=0) - timedelta(hours=hours_ago)
    return {"hour": hour, "seconds": seconds, "first_at": hour, "last_at": hour + timedelta(minutes=last)}


def test_an_hour_is_as_late_as_its_longest_wait_and_the_wait_goes_on_until_the_next_reading() -> None:
    found = draw_lag([gap(5, None), gap(4, 300), gap(3, 1200)], NOW, 300)
    late = list(found["hours"].values())
    assert len(late) == HOURS and late[: HOURS - 6] == [None] * (HOURS - 6)
    # Read last at 07:59, and not since: an hour later it is 61 minutes late, now 151.
    assert late[-6:] == [60, 300, 1200, 61 * 60, 121 * 60, 151 * 60]
    assert (found["worst"], found["patient"], len(found["lines"])) == (151 * 60, 900, 1)
    assert found["lines"][0].split()[-1] == f"{HOURS * 30 - 15},0.0"
    assert 0 < found["band_y"] < HEIGHT


def test_nothing_is_drawn_where_nothing_is_known() -> None:
    found = draw_lag([], NOW, 300)
    assert (found["worst"], found["lines"], set(found["hours"].values())) == (None, [], {None})


def test_what_was_read_before_the_day_counts_for_its_first_hour() -> None:
    found = draw_lag([gap(24, 300, last=30)], NOW, 600)
    assert next(iter(found["hours"].values())) == 90 * 60
    assert found["patient"] == 1800


@pytest.mark.anyio
async def test_the_tour_stands_on_the_demo_s_overview_until_it_is_hidden(start_api: StartApi, dsn: str) -> None:
    assert "Four steps" not in (await let_in(await start_api(), dsn).get("/ui/")).text
    ann = let_in(await start_api(demo=True), dsn)
    assert "Four steps through the demo" in words((await ann.get("/ui/")).text)
    hidden = await ann.follow(await ann.send("/ui/tour"))
    assert "Four steps" not in hidden.text
