"""The simulator's clock: virtual, so that a test can move a day in no time."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from .instants import SECOND, from_datetime, read_instant

DEFAULT_NOW = "2025-11-20T15:00:00Z"


def machine_now() -> datetime:
    """The machine's time: where a simulator starts that is to look alive today."""
    return datetime.now(UTC)


class SimClock:
    """Tells ServiceTitan's time in ticks. Frozen until moved, or running beside the machine's own clock.

    now: where it starts: RFC 3339 text, an aware datetime or ticks. running: whether it goes on by itself.
    Moving it backwards is allowed (a skewed upstream is a fault worth having); stamps stay unique all the same
    unless it is set back to an instant that was stamped before.
    """

    def __init__(self, now: str | datetime | int = DEFAULT_NOW, *, running: bool = False) -> None:
        self._base = _ticks(now)
        self._started: float | None = time.monotonic() if running else None

    @property
    def running(self) -> bool:
        """Whether time passes without anybody moving the clock."""
        return self._started is not None

    def now(self) -> int:
        """The present in ticks."""
        if self._started is None:
            return self._base
        return self._base + int((time.monotonic() - self._started) * SECOND)

    def stamp(self) -> int:
        """The present, for a record that is being written. A frozen clock then moves on by one tick (100 ns), so two
        writes never share an instant by accident; writes that must share one (a bulk edit) take one stamp for all."""
        moment = self.now()
        self._base += 1
        return moment

    def advance(self, seconds: float) -> int:
        """Moves the clock (a negative number sets it back) and answers the new present."""
        self._base += int(seconds * SECOND)
        return self.now()

    def set(self, now: str | datetime | int) -> int:
        """Puts the clock to an instant and answers it."""
        self._base = _ticks(now)
        if self._started is not None:
            self._started = time.monotonic()
        return self.now()

    def run(self, on: bool = True) -> None:
        """Lets time pass by itself, or freezes it where it is."""
        self._base = self.now()
        self._started = time.monotonic() if on else None


def _ticks(now: str | datetime | int) -> int:
    if isinstance(now, str):
        return read_instant(now)
    if isinstance(now, datetime):
        return from_datetime(now)
    return now
