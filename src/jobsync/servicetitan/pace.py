"""Pacing: how fast one app may call one ServiceTitan tenant.

ServiceTitan allows 60 calls a second for each app and tenant (ServiceTitan contract, section 3). `Pace` is what the
client asks before each request; the implementation here serves one process, the engine has one that all workers
share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from jobsync.errors import RateLimited

BREAKER_OPEN = "breaker_open"
"""Code of an UpstreamUnavailable that `take` raises instead of letting a request go: too many have failed lately."""


class Pace(Protocol):
    """What the client asks before each request and tells when ServiceTitan says that it was too fast."""

    async def take(self) -> None:
        """Return when one more request may be sent. Raises RateLimited where that is too far away to wait for, and
        UpstreamUnavailable (code `breaker_open`) where nobody asks for a while."""
        ...

    def slow_down(self, seconds: float) -> None:
        """Send nothing for `seconds` and go on at half the speed. Calling it again never shortens a pause."""
        ...

    async def note(self, answered: bool) -> None:
        """Hear how a request went: False for a 5xx, a timeout or a broken connection. Called after each one."""
        ...


class BucketPace:
    """A token bucket for one process: `rate` requests a second, at most `burst` of them at once, first come first
    served.

    `burst` stays far below `rate`, because a full bucket and its refill may fall into the same second and the limit
    counts any second. After `slow_down` the speed is halved (once for all answers of that pause, not once for each)
    and grows back within `recovery` seconds. A pause longer than `patience` seconds is not slept through: `take`
    raises RateLimited, so that the caller can give its worker back.
    """

    def __init__(
        self,
        *,
        rate: float = 50.0,
        burst: int = 5,
        recovery: float = 60.0,
        patience: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("rate and burst must be positive")
        self._full_rate = rate
        self._rate = rate
        self._burst = float(burst)
        self._recovery = recovery
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(burst)
        self._refilled_at = clock()
        self._paused_until = self._refilled_at
        self._halved_until = self._refilled_at
        # Only its holder sleeps, the others queue behind it: that makes the order fair and one pause enough for all.
        self._turn = asyncio.Lock()

    @property
    def rate(self) -> float:
        """Requests a second at this moment."""
        self._refill(self._clock())
        return self._rate

    async def take(self) -> None:
        """Return when one more request may be sent. Raises RateLimited when a pause outlasts the patience."""
        async with self._turn:
            while True:
                now = self._clock()
                pause = self._paused_until - now
                if pause > self._patience:
                    raise RateLimited("ServiceTitan asked for a long pause; it is not over yet.", retry_after=pause)
                if pause > 0:
                    await self._sleep(pause)
                    continue
                self._refill(now)
                # A hair below one: a sleep that ends one rounding error early must not sleep for nothing again.
                if self._tokens >= 1 - 1e-9:
                    self._tokens -= 1
                    return
                await self._sleep((1 - self._tokens) / self._rate)

    def slow_down(self, seconds: float) -> None:
        """Send nothing for `seconds` and halve the speed, unless it was halved for a pause that is still on."""
        now = self._clock()
        self._refill(now)
        if now >= self._halved_until:
            self._rate = max(self._rate / 2, self._full_rate / 64)
        self._tokens = 0.0
        self._paused_until = max(self._paused_until, now + max(seconds, 0.0))
        # Requests that were under way together are refused together, within about a second.
        self._halved_until = max(self._paused_until, now + 1.0)
        self._refilled_at = max(self._refilled_at, self._paused_until)

    async def note(self, answered: bool) -> None:
        """Nothing to do: one process alone keeps no circuit breaker."""

    def _refill(self, now: float) -> None:
        passed = now - self._refilled_at
        if passed <= 0:
            return
        self._tokens = min(self._burst, self._tokens + passed * self._rate)
        self._rate = min(self._full_rate, self._rate + passed * self._full_rate / self._recovery)
        self._refilled_at = now
