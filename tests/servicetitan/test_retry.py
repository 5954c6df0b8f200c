"""Trying again: only what can succeed, never earlier than asked, never for ever."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from jobsync.errors import AccessDenied, RateLimited, UpstreamUnavailable
from jobsync.servicetitan.retry import rate_limit_wait, with_retries

pytestmark = pytest.mark.anyio


class Script:
    """Raises its errors in turn, then returns "done"; keeps the waits."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.waits: list[float] = []

    async def call(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def run(self, seed: int = 1, **settings: Any) -> str:
        values: dict[str, Any] = {"attempts": 4, "base": 1.0, "cap": 5.0} | settings
        return await with_retries(self.call, sleep=self.sleep, rng=Random(seed), **values)


def down(code: str | None = None) -> UpstreamUnavailable:
    return UpstreamUnavailable("down", code=code)


async def test_a_transient_error_is_tried_again_with_growing_capped_waits() -> None:
    for seed in range(50):
        script = Script(*(down() for _ in range(5)))
        assert await script.run(seed, attempts=6) == "done"
        for wait, longest in zip(script.waits, [1, 2, 4, 5, 5], strict=True):
            assert longest / 2 <= wait <= longest


async def test_the_last_error_is_raised_when_the_attempts_are_used_up() -> None:
    script = Script(*(down() for _ in range(9)))
    with pytest.raises(UpstreamUnavailable):
        await script.run(attempts=3)
    assert (script.calls, len(script.waits)) == (3, 2)


async def test_a_terminal_error_is_raised_at_once() -> None:
    script = Script(AccessDenied("no"))
    with pytest.raises(AccessDenied):
        await script.run()
    assert script.waits == []


async def test_a_given_back_code_is_raised_at_once() -> None:
    script = Script(down("page_timeout"))
    with pytest.raises(UpstreamUnavailable):
        await script.run(give_back={"page_timeout"})
    assert script.waits == []


async def test_a_rate_limit_waits_as_asked_and_at_most_a_fifth_longer() -> None:
    waits = [rate_limit_wait(30.0, 1.0, Random(seed)) for seed in range(500)]

    assert min(waits) >= 30
    assert max(waits) <= 36
    assert max(waits) > 33, "there is jitter"


async def test_a_rate_limit_without_or_with_a_zero_wait_backs_off_all_the_same() -> None:
    for said in (None, 0.0):
        script = Script(*(RateLimited("slow", retry_after=said) for _ in range(3)))
        assert await script.run() == "done"
        assert [1 <= script.waits[0] <= 1.2, 2 <= script.waits[1] <= 2.4, 4 <= script.waits[2] <= 4.8] == [True] * 3


async def test_rate_limits_use_up_no_attempt_but_are_not_taken_for_ever() -> None:
    script = Script(*(RateLimited("slow", retry_after=1) for _ in range(5)), down())
    assert await script.run(attempts=2, rate_limits=5) == "done"

    script = Script(*(RateLimited("slow", retry_after=1) for _ in range(50)))
    with pytest.raises(RateLimited):
        await script.run(rate_limits=5)
    assert script.calls == 6


async def test_a_wait_beyond_all_patience_is_left_to_the_caller() -> None:
    script = Script(RateLimited("slow", retry_after=9_999_999))
    with pytest.raises(RateLimited):
        await script.run(patience=60)
    assert script.waits == []
