"""How fast a token may call: slowed down when a little too fast, sent away when far too fast."""

from __future__ import annotations

import asyncio

import pytest

from jobsync.db.pool import Database
from jobsync.engine.tokens import create_token
from jobsync.errors import CallRefused
from jobsync.web.rate import CallRate
from tests.web.conftest import ALL_SCOPES, StartApi

pytestmark = pytest.mark.anyio


class Time:
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_one_after_another_is_only_slowed_down() -> None:
    time = Time()
    rate = CallRate(50, 100, clock=lambda: time.now, sleep=time.sleep)
    for _ in range(600):
        await rate.take("token:a")
    assert time.now == pytest.approx(10.0, abs=0.1)
    await rate.take("token:b")
    assert time.now == pytest.approx(10.0, abs=0.1)


async def test_far_too_many_at_once_are_told_to_wait(start_api: StartApi, database: Database) -> None:
    made = await create_token(database, "default", "flood", ALL_SCOPES, actor="tests")
    api = await start_api(headers={"X-API-Key": made["token"]}, rate=CallRate(1, 5))
    answers = await asyncio.gather(*(api.get("/db/sync-state") for _ in range(20)))
    refused = [answer for answer in answers if answer.status == 429]
    assert 10 <= len(refused) <= 14
    assert {answer.body["code"] for answer in refused} == {"too_many_requests"}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)


@pytest.mark.parametrize(("how", "refused"), [("API_KEY", True), ("this machine, without a key", False)])
async def test_the_key_is_limited_like_a_token_and_this_machine_is_not(
    start_api: StartApi, how: str, refused: bool
) -> None:
    key = {"API_KEY": "a-key-of-more-than-enough-length"} if how == "API_KEY" else {}
    api = await start_api(key, headers={"X-API-Key": key["API_KEY"]} if key else {}, rate=CallRate(1, 5))
    answers = await asyncio.gather(*(api.get("/db/sync-state") for _ in range(20)))
    assert (429 in {answer.status for answer in answers}) == refused


async def test_a_refused_call_costs_nothing() -> None:
    time = Time()
    rate = CallRate(1, 1, clock=lambda: time.now, sleep=time.sleep)
    await rate.take("token:a")
    await rate.take("token:a")
    queued = time.now
    for _ in range(5):
        rate._left["token:a"] = (-1.0, time.now)
        with pytest.raises(CallRefused):
            await rate.take("token:a")
    assert time.now == queued
