"""Access tokens: how long one is good for, and how many callers share one request for a new one.

ServiceTitan grants by client credentials only: no refresh token, 900 seconds of life, token requests are throttled
(ServiceTitan contract, section 1). So a token is kept until 80 % of its life, and however many requests find it gone,
one asks for the next. The store here serves one process; the engine has one in PostgreSQL for all workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from jobsync.errors import TransientError

REFRESH_AT = 0.8
"""The share of its life after which a token is replaced."""

# With the sign-in service away, a token that still has life is used on; the service is asked again after this long.
_ASK_AGAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and its life in seconds from the moment it was received. The value never shows in a repr."""

    value: str = field(repr=False)
    expires_in: float


class TokenStore(Protocol):
    """Keeps the token of one (tenant, client id, environment)."""

    async def get(self, fetch: Callable[[], Awaitable[Token]], *, rejected: str | None = None) -> str:
        """Return a token that is good now, calling `fetch` for a new one where needed.

        `rejected` is a value that ServiceTitan just answered 401 to: it is not returned again. If another caller has
        replaced it meanwhile, the replacement is returned and nothing is fetched. Errors of `fetch` pass through.
        """
        ...


class MemoryTokenStore:
    """Keeps one token in memory. Any number of concurrent callers cause one fetch, and share its error if it fails."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._token: Token | None = None
        self._refresh_at = 0.0
        self._expires_at = 0.0
        self._flight: asyncio.Task[Token] | None = None

    async def get(self, fetch: Callable[[], Awaitable[Token]], *, rejected: str | None = None) -> str:
        """Return a token that is good now; see TokenStore.get."""
        if self._token is not None and self._token.value == rejected:
            self._token = None
        if self._token is not None and self._clock() < self._refresh_at:
            return self._token.value
        try:
            # Shielded: a caller that gives up must not take the token away from those who wait with it.
            return (await asyncio.shield(self._take_off(fetch))).value
        except TransientError:
            if self._token is None or self._clock() >= self._expires_at:
                raise
            self._refresh_at = min(self._clock() + _ASK_AGAIN_SECONDS, self._expires_at)
            return self._token.value

    def _take_off(self, fetch: Callable[[], Awaitable[Token]]) -> asyncio.Task[Token]:
        if self._flight is None:
            self._flight = asyncio.ensure_future(self._refresh(fetch))
            self._flight.add_done_callback(self._land)
        return self._flight

    def _land(self, flight: asyncio.Task[Token]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # read here, so that no "never retrieved" is logged when every caller has gone

    async def _refresh(self, fetch: Callable[[], Awaitable[Token]]) -> Token:
        token = await fetch()
        received_at = self._clock()
        self._token = token
        self._refresh_at = received_at + REFRESH_AT * token.expires_in
        self._expires_at = received_at + token.expires_in
        return token
