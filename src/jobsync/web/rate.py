"""How fast one token (or the API_KEY) may call: 50 requests a second, 100 at once (security bar X13).

A caller who asks one thing after another and is a little too fast is slowed down, not refused; whoever sends so much at
once that it would have to wait is answered 429 with the seconds to wait. Counted by each process for itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from jobsync.errors import CallRefused

RATE = 50.0
BURST = 100.0
PATIENCE_SECONDS = 1.0
KEPT = 1000


class CallRate:
    """A bucket for each caller. `rate` 0: no limit."""

    def __init__(
        self,
        rate: float = RATE,
        burst: float = BURST,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._left: dict[str, tuple[float, float]] = {}

    async def take(self, actor: str) -> None:
        """Returns when the call may go on. Raises CallRefused (429) where that is more than a second away."""
        if self._rate <= 0:
            return
        now = self._clock()
        left, at = self._left.get(actor, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        wait = (1 - left) / self._rate
        if wait > PATIENCE_SECONDS:
            self._left[actor] = (left, now)
            raise CallRefused(
                429,
                f"This token asks more than {self._rate:g} times a second.",
                code="too_many_requests",
                hint="Wait as long as Retry-After says; upsert-batch and PATCH /db/jobs/ghl-sync take many at once.",
                retry_after=max(1, round(wait)),
            )
        if len(self._left) >= KEPT and actor not in self._left:
            self._left.clear()
        # Taken before it is slept for, so that those who come meanwhile queue behind.
        self._left[actor] = (left - 1, now)
        if wait > 0:
            await self._sleep(wait)
