"""Pacing shared by all workers: requests are taken from a token bucket that is a row in PostgreSQL.

ServiceTitan allows 60 calls a second per app and tenant (ServiceTitan contract, section 3); 50 are used at most, 40 of
them by pulls, so that a fifth stays for interactive calls (reliability P11).
"""

from __future__ import annotations

import asyncio

from jobsync.db.pool import Database
from jobsync.errors import RateLimited

SERVICETITAN_KEY = "servicetitan"
SERVICETITAN_RATE = 50.0
SERVICETITAN_BURST = 10.0
PATIENCE = 30.0


class SharedPace:
    """Implements `servicetitan.pace.Pace` on jobsync.budgets: one request is one token.

    A wait longer than PATIENCE is not slept through: `take` raises RateLimited, and the worker does other things.
    """

    def __init__(
        self, database: Database, tenant: str, *, rate: float = SERVICETITAN_RATE, burst: float = SERVICETITAN_BURST
    ) -> None:
        self._database = database
        self._tenant = tenant
        self._rate = rate
        self._burst = burst
        self._block: float = 0.0

    async def take(self) -> None:
        """Returns when one more request may be sent."""
        while True:
            async with self._database.transaction(self._tenant) as session:
                if self._block > 0:
                    seconds, self._block = self._block, 0.0
                    await session.run(
                        "block_budget", {"tenant": self._tenant, "key": SERVICETITAN_KEY, "seconds": seconds}
                    )
                row = await session.row(
                    "take_budget",
                    {
                        "tenant": self._tenant,
                        "key": SERVICETITAN_KEY,
                        "rate": self._rate,
                        "burst": self._burst,
                        "want": 1,
                    },
                )
            assert row is not None
            if row["granted"] > 0:
                return
            if row["wait_seconds"] > PATIENCE:
                raise RateLimited(
                    "ServiceTitan asked for a long pause; it is not over yet.", retry_after=row["wait_seconds"]
                )
            await asyncio.sleep(max(row["wait_seconds"], 0.005))

    def slow_down(self, seconds: float) -> None:
        """Nobody takes for `seconds`; written with the next `take`."""
        self._block = max(self._block, seconds)
