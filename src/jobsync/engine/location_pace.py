"""Pacing of a GoHighLevel location, shared by all workers and all who call it: one request is one token in PostgreSQL.

Published: 100 requests in 10 seconds and 200,000 a day for a location (GoHighLevel contract, section 8). 5 a second by
default, never more than 8, and less where the answers' headers tell of a smaller limit. After a 429 everybody pauses at
least as long as was asked and goes on at half the speed, which grows back within a minute. Deliveries leave a fifth of
the day's quota to people (reliability P11).
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from jobsync.db.pool import Database, Row
from jobsync.errors import RateLimited
from jobsync.gohighlevel.rate_headers import RateState

LOCATION_KEY = "gohighlevel"
BUDGET_BLOCKED = "budget_blocked"
LOCATION_PACE = 5.0
FASTEST = 8.0
PATIENCE = 20.0
KEPT_FOR_PEOPLE = 0.2
"""Part of the day's quota that deliveries leave."""

_FEW_LEFT = 3
_TOLD_EVERY = 60.0
_SHARE = 0.8


class LocationPace:
    """Implements `gohighlevel.pace.Pace` on jobsync.budgets.

    `rate`: requests a second, 0 = unpaced (benches). `deliveries`: taken from for sending jobs; then a pause of the
    tenant ends it (SendingRefused), and the day's quota is kept. A wait longer than 20 s raises RateLimited.
    """

    def __init__(self, database: Database, tenant: str, rate: float | None = None, *, deliveries: bool = False) -> None:
        self._database = database
        self._tenant = tenant
        self._rate = LOCATION_PACE if rate is None else min(rate, FASTEST)
        self._burst = max(self._rate, 1.0)
        self._deliveries = deliveries
        # One waiter of this process asks at a time, in the order in which they came.
        self._turn = asyncio.Lock()
        self._block = 0.0
        self._pause = 0.0
        self._hold = 0.0
        # What the newest answer said of quota and clock, and when it came; and when that was last written.
        self._said: tuple[RateState, float] | None = None
        self._told: float | None = None

    async def take(self) -> None:
        """Returns when one more request may be sent."""
        if self._rate <= 0:
            return
        async with self._turn:
            while True:
                row = await self._ask()
                if row["granted"] > 0:
                    return
                if row["wait_seconds"] > PATIENCE:
                    raise RateLimited(
                        "GoHighLevel asked for a long pause; it is not over yet.",
                        retry_after=row["wait_seconds"],
                        code=BUDGET_BLOCKED,
                    )
                await asyncio.sleep(max(row["wait_seconds"], 0.002))

    def observe(self, state: RateState) -> None:
        """Slows down to what the headers allow; written with the next `take`."""
        if state.burst_limit and state.interval_seconds and self._rate > 0:
            self._rate = min(self._rate, max(_SHARE * state.burst_limit / state.interval_seconds, 0.1))
            self._burst = max(1.0, min(self._burst, self._rate, (1 - _SHARE) * state.burst_limit))
        if state.remaining is not None and state.remaining <= _FEW_LEFT and state.interval_seconds:
            self._block = max(self._block, state.interval_seconds / 5)
        if state.daily_remaining == 0:
            # The quota is gone: nobody asks again before it may be full.
            self._block = max(self._block, seconds_to_quota())
        if state.served_at is not None or state.daily_limit is not None:
            self._said = (state, time.monotonic())
        if self._deliveries and state.daily_limit and state.daily_remaining is not None:
            few = state.daily_remaining <= KEPT_FOR_PEOPLE * state.daily_limit
            self._hold = max(self._hold, seconds_to_quota() if few else 0.0)

    def slow_down(self, seconds: float) -> None:
        """After a 429: nobody takes for `seconds`, then at half the speed; written with the next `take`."""
        self._pause = max(self._pause, seconds)

    async def flush(self) -> None:
        """Writes what was observed since the last `take`, so that other workers know it. Nothing new: no statement."""
        block, self._block = self._block, 0.0
        pause, self._pause = self._pause, 0.0
        hold, self._hold = self._hold, 0.0
        said, self._said = self._said, None
        news = block > 0 or pause > 0 or hold > 0
        at_once = self._told is None or time.monotonic() - self._told >= _TOLD_EVERY
        if self._rate <= 0 or not (news or (at_once and said is not None)):
            return
        async with self._database.transaction(self._tenant) as session:
            if pause > 0:
                await session.run("slow_budget", {"tenant": self._tenant, "key": LOCATION_KEY, "seconds": pause})
            if block > 0:
                await session.run("block_budget", {"tenant": self._tenant, "key": LOCATION_KEY, "seconds": block})
            if hold > 0:
                await session.run("hold_deliveries", {"tenant": self._tenant, "seconds": hold})
            if said is not None:
                await session.run("note_upstream", self._facts(*said))
                self._told = time.monotonic()

    def _facts(self, said: RateState, came: float) -> dict[str, object]:
        age = timedelta(seconds=time.monotonic() - came)
        return {
            "tenant": self._tenant,
            "upstream": LOCATION_KEY,
            "clock": None if said.served_at is None else said.served_at + age,
            "limit": said.daily_limit,
            "remaining": said.daily_remaining,
        }

    async def _ask(self) -> Row:
        await self.flush()
        parameters = {"tenant": self._tenant, "rate": self._rate, "burst": self._burst}
        async with self._database.transaction(self._tenant) as session:
            if self._deliveries:
                row = await session.row("take_delivery_request", parameters)
            else:
                row = await session.row("take_budget", {**parameters, "key": LOCATION_KEY, "want": 1})
        assert row is not None
        return row


def seconds_to_quota(now: datetime | None = None) -> float:
    """Seconds until the day's quota may be full again: midnight UTC, or an hour just after it.

    Whose day counts is unconfirmed. A quota that is used up an hour after midnight counts by another boundary, so it is
    looked at again every hour.
    """
    now = now or datetime.now(UTC)  # real clock: a wait, measured like the budget it is written to
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    left = (midnight - now).total_seconds()
    return 3600.0 if left > 23 * 3600 else left + 5.0
