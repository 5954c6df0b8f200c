"""ServiceTitan's access token, shared by all workers: one row per tenant, sealed, refreshed by one worker at a time.

The refresh is single-flight by a lease on the row, not by a lock held during HTTP: no transaction is open while the
token is fetched. A worker that dies in between blocks the others for at most 30 seconds (reliability P14).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from jobsync.db.pool import Database
from jobsync.db.sealing import Keyring
from jobsync.errors import ConfigError, UpstreamUnavailable
from jobsync.servicetitan.auth import Token

WAIT_FOR_OTHERS = 35.0
LOOK_EVERY = 0.1


class SharedTokenStore:
    """Implements `servicetitan.auth.TokenStore` on jobsync.access_tokens.

    `credential` identifies the client id and secret in use (a fingerprint, no secret): a token of other credentials is
    not used. Raises what `fetch` raises, and UpstreamUnavailable when another worker's refresh does not end.
    """

    def __init__(self, database: Database, keyring: Keyring, tenant: str, kind: str, credential: str) -> None:
        self._database = database
        self._keyring = keyring
        self._key = {"tenant": tenant, "kind": kind}
        self._credential = credential
        self._held: str | None = None
        self._held_until = 0.0

    async def get(self, fetch: Callable[[], Awaitable[Token]], *, rejected: str | None = None) -> str:
        """A token that is good now. `rejected`: one that ServiceTitan refused; it is never answered again."""
        loop = asyncio.get_running_loop()
        if self._held is not None and self._held != rejected and loop.time() < self._held_until:
            return self._held
        deadline = loop.time() + WAIT_FOR_OTHERS
        while True:
            token, stale = await self._read(rejected)
            if token is not None and not stale:
                return self._hold(token)
            if await self._lease():
                return self._hold(await self._refresh(fetch))
            if token is not None:
                # Another worker refreshes; the old token still lives.
                return token
            if loop.time() > deadline:
                raise UpstreamUnavailable("Another worker has been signing in to ServiceTitan for half a minute.")
            await asyncio.sleep(LOOK_EVERY)

    def _hold(self, token: str) -> str:
        # Spares a look into the database for each of a burst of requests.
        self._held = token
        self._held_until = asyncio.get_running_loop().time() + 5.0
        return token

    async def _read(self, rejected: str | None) -> tuple[str | None, bool]:
        async with self._database.transaction(self._key["tenant"]) as session:
            row = await session.row("read_access_token", self._key)
        if row is None or row["sealed"] is None or not row["alive"] or row["credential"] != self._credential:
            return None, True
        try:
            token = self._keyring.open(row["sealed"], row["key_id"])
        except ConfigError:
            # Sealed with a key that is gone: a new sign-in costs one request, an error would cost the service.
            return None, True
        return (None, True) if token == rejected else (token, row["stale"])

    async def _lease(self) -> bool:
        async with self._database.transaction(self._key["tenant"]) as session:
            return bool(await session.value("lease_token_refresh", self._key))

    async def _refresh(self, fetch: Callable[[], Awaitable[Token]]) -> str:
        try:
            token = await fetch()
        except BaseException:
            async with self._database.transaction(self._key["tenant"]) as session:
                await session.run("drop_token_lease", self._key)
            raise
        sealed = self._keyring.seal(token.value)
        async with self._database.transaction(self._key["tenant"]) as session:
            await session.run(
                "write_access_token",
                {
                    **self._key,
                    "sealed": sealed.content,
                    "key_id": sealed.key_id,
                    "credential": self._credential,
                    "expires_in": token.expires_in,
                },
            )
        return token.value
