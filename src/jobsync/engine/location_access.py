"""Access to a tenant's GoHighLevel location: credentials from the environment (tenant `default`, these win) or sealed in
the database, and a client whose requests are taken from the location's shared budget.

GoHighLevel allows 100 requests in 10 seconds for a location; half of that is ours by default (GoHighLevel contract,
section 8; architecture, section 5).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from jobsync.db.pool import Database
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.errors import ConfigError, RateLimited
from jobsync.gohighlevel.caller import OnRequest
from jobsync.gohighlevel.client import GoHighLevelClient
from jobsync.gohighlevel.destination_guard import Guard, make_session
from jobsync.gohighlevel.rate_headers import RateState

LOCATION_PACE = 5.0
PATIENCE = 30.0
_SHORTEST = 0.005


@dataclass(frozen=True)
class LocationAccess:
    """A location and its token. Never logged, never shown."""

    location_id: str
    token: str = field(repr=False)


async def read_gohighlevel_credentials(engine: Engine, tenant: str) -> LocationAccess | None:
    """The tenant's location and token, or None when GoHighLevel is not connected.

    Raises ConfigError when only one of GHL_API_KEY and GHL_LOCATION_ID is set.
    """
    settings = engine.settings
    if tenant == DEFAULT_TENANT and (settings.ghl_api_key is not None or settings.ghl_location_id is not None):
        if settings.ghl_api_key is None or settings.ghl_location_id is None:
            missing = "GHL_API_KEY" if settings.ghl_api_key is None else "GHL_LOCATION_ID"
            raise ConfigError(
                f"GoHighLevel's connection is incomplete: {missing} is not set.", hint="Set both, or none."
            )
        return LocationAccess(settings.ghl_location_id, settings.ghl_api_key.get_secret_value())
    async with engine.database.transaction(tenant) as session:
        row = await session.row("read_connection", {"tenant": tenant, "kind": "gohighlevel"})
    if row is None:
        return None
    return msgspec.json.decode(engine.keyring.open(row["sealed"], row["key_id"]), type=LocationAccess)


@asynccontextmanager
async def open_gohighlevel(
    engine: Engine, tenant: str, *, on_request: OnRequest | None = None
) -> AsyncIterator[GoHighLevelClient]:
    """A client for the tenant's location. Raises ConfigError when GoHighLevel is not connected."""
    access = await read_gohighlevel_credentials(engine, tenant)
    if access is None:
        raise ConfigError(
            "GoHighLevel is not connected: nothing can be read back.",
            hint="Set GHL_API_KEY (a private integration token) and GHL_LOCATION_ID.",
        )

    async def token(rejected: str | None = None) -> str:
        return access.token

    async with make_session(Guard(engine.settings.allow_hosts)) as session:
        yield GoHighLevelClient(
            session,
            location_id=access.location_id,
            token_source=token,
            api_url=engine.settings.ghl_api_url,
            pace=LocationPace(engine.database, tenant, access.location_id, engine.settings.ghl_pace),
            on_request=on_request,
        )


class LocationPace:
    """Implements `gohighlevel.pace.Pace` on jobsync.budgets: all workers take a location's requests from one row.

    `rate`: requests a second; None: the default, 0: unpaced. A wait longer than half a minute is not slept through:
    `take` raises RateLimited.
    """

    def __init__(self, database: Database, tenant: str, location: str, rate: float | None) -> None:
        self._database = database
        self._tenant = tenant
        self._key = f"location:{location}"
        self._rate = LOCATION_PACE if rate is None else rate
        self._block = 0.0

    async def take(self) -> None:
        """Returns when one more request may be sent."""
        while True:
            async with self._database.transaction(self._tenant) as session:
                if self._block > 0:
                    seconds, self._block = self._block, 0.0
                    await session.run("block_budget", {"tenant": self._tenant, "key": self._key, "seconds": seconds})
                row = await session.row(
                    "take_budget",
                    {
                        "tenant": self._tenant,
                        "key": self._key,
                        "rate": self._rate,
                        "burst": max(self._rate, 1.0),
                        "want": 1,
                    },
                )
            assert row is not None
            if row["granted"] > 0:
                return
            if row["wait_seconds"] > PATIENCE:
                raise RateLimited(
                    "GoHighLevel asked for a long pause; it is not over yet.", retry_after=row["wait_seconds"]
                )
            await asyncio.sleep(max(row["wait_seconds"], _SHORTEST))

    def observe(self, state: RateState) -> None:
        """Nearly used up: nobody takes until the interval is over."""
        if state.remaining is not None and state.remaining <= 3:
            self.slow_down(state.interval_seconds or 10.0)

    def slow_down(self, seconds: float) -> None:
        """Nobody takes for `seconds`; written with the next `take`."""
        self._block = max(self._block, seconds)
