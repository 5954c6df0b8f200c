"""Pacing: what the client asks before each request, and tells after each answer.

GoHighLevel allows 100 requests in 10 seconds and 200,000 a day for each location (contract, section 8), shared by all
who call it. So the budget is kept by the caller (the engine has one in PostgreSQL); here is only what it must offer.
"""

from __future__ import annotations

from typing import Protocol

from jobsync.gohighlevel.rate_headers import RateState


class Pace(Protocol):
    """The budget of one location."""

    async def take(self) -> None:
        """Return when one more request may be sent. Raises RateLimited where that is too far away to wait for."""
        ...

    def observe(self, state: RateState) -> None:
        """Told of every answer's rate headers. Backing off at `remaining` <= 3 is advised (contract, section 8)."""
        ...

    def slow_down(self, seconds: float) -> None:
        """Told of every 429: send nothing for `seconds`. Calling it again never shortens a pause."""
        ...


class Unpaced:
    """No pace at all: for tests and benches, and where the caller has taken from the budget already."""

    async def take(self) -> None:
        """Returns at once."""

    def observe(self, state: RateState) -> None:
        """Ignores the headers."""

    def slow_down(self, seconds: float) -> None:
        """Ignores the 429; the error tells the caller."""
