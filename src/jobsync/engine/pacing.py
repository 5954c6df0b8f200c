"""Pacing and circuit breaker shared by all workers: rows in PostgreSQL that each request passes.

ServiceTitan allows 60 calls a second per app and tenant (ServiceTitan contract, section 3); 50 are used at most. Pulls
leave a fifth of the bucket alone, so that a call somebody waits for finds a token whatever they do (reliability P11).
After a 429 everybody pauses as long as was asked, and goes on at half the speed. After ten failures among twenty requests
of an app to an environment nobody asks for a while, then one tries (reliability, "What happens on each answer": 5xx).
"""

from __future__ import annotations

import asyncio

from jobsync.db.pool import Database
from jobsync.errors import RateLimited, UpstreamUnavailable
from jobsync.servicetitan.pace import BREAKER_OPEN

SERVICETITAN_KEY = "servicetitan"
SERVICETITAN_RATE = 50.0
SERVICETITAN_BURST = 10.0
RESERVE = SERVICETITAN_BURST / 5
PATIENCE = 30.0
# While somebody tries whether the breaker may close, the others wait so long for what comes of it.
TRIAL_PATIENCE = 20.0
LOOK_EVERY = 0.1


class SharedPace:
    """Implements `servicetitan.pace.Pace` on jobsync.budgets: one request is one token.

    `reserve`: what is left to others, 0 for a call that somebody waits for. A wait longer than PATIENCE is not slept
    through: `take` raises RateLimited, and the worker does other things. While the breaker is open, it raises
    UpstreamUnavailable.
    """

    def __init__(
        self,
        database: Database,
        tenant: str,
        *,
        rate: float = SERVICETITAN_RATE,
        burst: float = SERVICETITAN_BURST,
        insist: bool = False,
        reserve: float = RESERVE,
        breaker: bytes = b"",
    ) -> None:
        """`insist`: requests that may try ServiceTitan although the breaker is open, one at a time. `breaker`: which one;
        tenants that reach one environment with one app share it."""
        self._database = database
        self._key = {"tenant": tenant, "key": SERVICETITAN_KEY}
        self._breaker = {**self._key, "breaker": breaker}
        self._tenant = tenant
        self._insist = insist
        self._speed = {"rate": rate, "burst": burst, "want": 1, "reserve": reserve}
        self._block = 0.0
        self._outcomes: list[bool] = []
        self._is_probe = False

    async def take(self) -> None:
        """Returns when one more request may be sent."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TRIAL_PATIENCE
        while True:
            async with self._database.transaction(self._tenant) as session:
                if self._outcomes:
                    outcomes, self._outcomes = self._outcomes, []
                    await session.value("note_outcomes", {**self._breaker, "outcomes": outcomes})
                # Whoever tries whether the breaker may close must not be held up by his own trial.
                breaker = None
                if not self._is_probe:
                    breaker = await session.row("enter_breaker", {**self._breaker, "insist": self._insist})
                    assert breaker is not None
                    self._is_probe = breaker["is_probe"]
                if breaker is None or breaker["wait_seconds"] == 0:
                    row = await session.row("take_spare_budget", {**self._key, **self._speed})
                else:
                    row = None
            if row is None:
                assert breaker is not None
                if not breaker["is_tried"] or loop.time() > deadline:
                    raise UpstreamUnavailable(
                        f"ServiceTitan failed half of the last requests; it is left alone for {breaker['wait_seconds']:.0f} s.",
                        code=BREAKER_OPEN,
                    )
                await asyncio.sleep(LOOK_EVERY)
                continue
            if row["granted"] > 0:
                return
            if row["wait_seconds"] > PATIENCE:
                raise RateLimited(
                    "ServiceTitan asked for a long pause; it is not over yet.", retry_after=row["wait_seconds"]
                )
            await asyncio.sleep(max(row["wait_seconds"], 0.005))

    def slow_down(self, seconds: float) -> None:
        """Nobody takes for `seconds`; all workers know when `note` has been told of the same answer."""
        self._block = max(self._block, seconds)

    async def note(self, answered: bool) -> None:
        """Books how a request went. A failure and a pause at once, so that no other worker runs into them; what went
        well with the next `take`."""
        self._outcomes.append(answered)
        if answered and not self._block and not self._is_probe:
            return
        outcomes, self._outcomes = self._outcomes, []
        seconds, self._block, self._is_probe = self._block, 0.0, False
        async with self._database.transaction(self._tenant) as session:
            await session.value("note_outcomes", {**self._breaker, "outcomes": outcomes})
            if seconds > 0:
                await session.run("slow_budget", {**self._key, "seconds": seconds})
