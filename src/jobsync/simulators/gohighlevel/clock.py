"""The simulator's clock: movable, so that a test waits out a search lag or a day's quota in no time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import formatdate


class MovableClock:
    """Tells the time as epoch seconds (UTC).

    now: where it starts (epoch seconds, an aware datetime or ISO-8601 text; default: the machine's present).
    running: whether it goes on by itself (default) or stands until `advance` or `set`. Everything in the simulator that
    depends on time (search lag, rate windows, token life, workflow delay) reads this clock and no other.
    """

    def __init__(self, now: float | str | datetime | None = None, *, running: bool = True) -> None:
        self._base = time.time() if now is None else _seconds(now)
        self._started: float | None = time.monotonic() if running else None
        self._dated = (0, "")

    @property
    def running(self) -> bool:
        """Whether time passes without anybody moving the clock."""
        return self._started is not None

    def now(self) -> float:
        """The present, epoch seconds."""
        if self._started is None:
            return self._base
        return self._base + time.monotonic() - self._started

    def advance(self, seconds: float) -> float:
        """Moves the clock (a negative number sets it back); answers the new present."""
        self._base += seconds
        return self.now()

    def set(self, now: float | str | datetime) -> float:
        """Puts the clock to an instant; answers it. Raises ValueError for text that is no ISO-8601 instant."""
        self._base = _seconds(now)
        if self._started is not None:
            self._started = time.monotonic()
        return self.now()

    def run(self, on: bool = True) -> None:
        """Lets time pass by itself, or freezes it where it is."""
        self._base = self.now()
        self._started = time.monotonic() if on else None

    def iso(self) -> str:
        """The present as GoHighLevel writes it: ISO-8601 UTC with milliseconds (GoHighLevel contract, section 11)."""
        return iso(self.now())

    def http_date(self, skew: float = 0.0) -> str:
        """The present, off by `skew` seconds, as a Date header has it."""
        second = int(self.now() + skew)
        if second != self._dated[0]:
            self._dated = (second, formatdate(second, usegmt=True))
        return self._dated[1]


def iso(moment: float) -> str:
    """Epoch seconds -> `2026-03-01T12:00:00.000Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(moment * 1000) % 1000:03d}Z"


def millis(stamp: str) -> int:
    """`2026-03-01T12:00:00.000Z` -> epoch milliseconds."""
    return round(datetime.fromisoformat(stamp).timestamp() * 1000)


def _seconds(now: float | str | datetime) -> float:
    if isinstance(now, str):
        now = datetime.fromisoformat(now)
    if isinstance(now, datetime):
        if now.tzinfo is None:
            raise ValueError("an instant needs its time zone")
        return now.timestamp()
    return float(now)
