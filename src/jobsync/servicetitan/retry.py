"""Trying again: which errors, how often, and how long to wait. The client never does this; its callers decide to.

The class of an error says whether trying again can help (errors.py). A 429 waits as long as ServiceTitan asks, never
less, and uses up no attempt (reliability P10, P11).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from random import Random
from typing import TypeVar

from jobsync.errors import RateLimited, TransientError

T = TypeVar("T")

RATE_LIMIT_JITTER = 0.2
"""At most this share is added to a wait that the upstream asked for, so that waiters do not return all at once."""


def rate_limit_wait(retry_after: float | None, fallback: float, rng: Random) -> float:
    """Return how long to wait after a 429, in seconds: never less than `retry_after`, at most 20 % more.

    `fallback` is the wait where the upstream said nothing, and the least where it said (nearly) zero.
    """
    return max(retry_after or 0.0, fallback) * (1 + RATE_LIMIT_JITTER * rng.random())


async def with_retries(
    call: Callable[[], Awaitable[T]],
    *,
    attempts: int,
    base: float,
    cap: float,
    sleep: Callable[[float], Awaitable[object]],
    rng: Random,
    rate_limits: int = 10,
    patience: float = 120.0,
    give_back: Collection[str] = (),
) -> T:
    """Await `call()` until it succeeds and return its result.

    TransientError is tried again, `attempts` times in all, after a random wait of up to `base * 2**n` seconds (at most
    `cap`, at least half of it). RateLimited uses up no attempt but ends after `rate_limits` of them, or at once when
    the upstream asks for more than `patience` seconds. Errors whose `code` is in `give_back` are raised at once:
    asking for the same again would not help, for instance where the page has to be made smaller (`page_timeout`).
    TerminalError is raised at once. What is raised is the last error.
    """
    failures = limited = 0
    while True:
        try:
            return await call()
        except RateLimited as error:
            limited += 1
            if limited > rate_limits or (error.retry_after or 0.0) > patience:
                raise
            wait = rate_limit_wait(error.retry_after, min(cap, base * 2 ** min(limited - 1, 30)), rng)
        except TransientError as error:
            failures += 1
            if failures >= attempts or error.code in give_back:
                raise
            longest = min(cap, base * 2 ** min(failures - 1, 30))
            wait = longest * (0.5 + rng.random() / 2)
        await sleep(wait)
