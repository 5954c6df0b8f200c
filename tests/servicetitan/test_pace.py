"""The pace: never too many in any second, a pause kept to its end, half the speed after it (F10)."""

from __future__ import annotations

import asyncio

import pytest

from jobsync.errors import RateLimited
from jobsync.servicetitan.pace import BucketPace

pytestmark = pytest.mark.anyio


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def make(time: Time, **settings: float) -> BucketPace:
    values = {"rate": 50.0, "burst": 5} | settings
    return BucketPace(clock=time.clock, sleep=time.sleep, **values)  # type: ignore[arg-type]


async def test_no_second_sees_more_than_the_allowed_sixty() -> None:
    time, moments = Time(), []
    pace = make(time)
    for _ in range(500):
        await pace.take()
        moments.append(time.now)

    assert max(sum(start <= other < start + 1 for other in moments) for start in moments) <= 56
    assert moments[-1] == pytest.approx(495 / 50, rel=0.01)


async def test_an_idle_bucket_does_not_save_up_more_than_its_burst() -> None:
    time = Time()
    pace = make(time)
    time.now += 3600
    for _ in range(5):
        await pace.take()
    assert time.now == 3600
    await pace.take()
    assert time.now > 3600


async def test_nothing_is_sent_before_a_pause_is_over() -> None:
    time = Time()
    pace = make(time)
    await pace.take()
    pace.slow_down(7)
    pace.slow_down(2)

    await pace.take()

    assert time.now >= 7


async def test_the_speed_is_halved_once_for_a_pause_and_grows_back() -> None:
    time = Time()
    pace = make(time, recovery=60)
    for _ in range(8):
        pace.slow_down(5)
    time.now = 5
    assert pace.rate == 25
    time.now = 5 + 15
    assert pace.rate == pytest.approx(37.5)
    time.now = 5 + 60
    assert pace.rate == 50


async def test_eight_refusals_at_once_without_a_wait_halve_once() -> None:
    pace = make(Time())
    for _ in range(8):
        pace.slow_down(0)
    assert pace.rate == 25


async def test_a_storm_never_brings_the_speed_to_a_stop() -> None:
    time = Time()
    pace = make(time)
    for _ in range(100):
        pace.slow_down(1)
        await pace.take()
    assert 0 < pace.rate < 50


async def test_a_pause_beyond_all_patience_is_said_and_not_slept() -> None:
    time = Time()
    pace = make(time, patience=30)
    pace.slow_down(9_999_999)

    with pytest.raises(RateLimited) as raised:
        await pace.take()
    assert raised.value.retry_after == 9_999_999
    assert time.now == 0


async def test_a_pause_that_begins_while_others_wait_holds_them_all() -> None:
    time = Time()
    pace = make(time, rate=1, burst=1)
    moments: list[float] = []

    async def send() -> None:
        await pace.take()
        if not moments:
            pace.slow_down(20)
        moments.append(time.now)

    await asyncio.gather(*(send() for _ in range(4)))

    assert moments[0] == 0
    assert all(moment >= 20 for moment in moments[1:])
    assert moments == sorted(moments)


@pytest.mark.parametrize("settings", [{"rate": 0}, {"rate": -1}, {"burst": 0}])
async def test_a_pace_that_would_never_send_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        make(Time(), **settings)
