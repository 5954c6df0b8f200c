"""Rate limits and their headers (GoHighLevel contract, section 8): a burst per ten seconds and a quota per day, counted
per location. The burst window slides, which is the stricter reading."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate

from .answers import Answer, error
from .clock import MovableClock
from .switches import Switches

DAY = 86_400.0


@dataclass(slots=True)
class Meter:
    """What one location (or hook) has used up. peak: most admitted requests in any window so far."""

    recent: deque[float] = field(default_factory=deque)
    day: float = 0.0
    today: int = 0
    daily: deque[float] = field(default_factory=deque)
    peak: int = 0
    admitted: int = 0
    refused: int = 0


class RateLimiter:
    """Admits or refuses requests by the simulator's clock. A refused request does not count."""

    def __init__(self, clock: MovableClock, switches: Switches) -> None:
        self._clock = clock
        self._switches = switches
        self.meters: dict[str, Meter] = {}

    def admit(self, resource: str) -> Answer | None:
        """Counts a request of a location; a 429 when it is one too many."""
        meter, now, switches = self._meter(resource), self._clock.now(), self._switches
        self._forget(meter, now)
        if switches.daily_limit and self._used_today(meter) >= switches.daily_limit:
            return self.refuse(meter, self._until_tomorrow(meter, now))
        if switches.burst_limit and len(meter.recent) >= switches.burst_limit:
            return self.refuse(meter, meter.recent[-switches.burst_limit] + switches.burst_seconds - now)
        if switches.short_burst_limit:
            within = sum(1 for moment in meter.recent if moment > now - 1.0)
            if within >= switches.short_burst_limit:
                return self.refuse(meter, 1.0)
        self._count(meter, now)
        return None

    def admit_post(self, hook_id: str) -> Answer | None:
        """Counts a post to a hook; a 429 when `hook_limit` is set and passed."""
        limit = self._switches.hook_limit
        if not limit:
            return None
        meter, now = self._meter(f"hook:{hook_id}"), self._clock.now()
        self._forget(meter, now)
        if len(meter.recent) >= limit:
            return self.refuse(meter, meter.recent[-limit] + self._switches.burst_seconds - now)
        self._count(meter, now)
        return None

    def refuse(self, meter: Meter | None, wait: float) -> Answer:
        """A 429; wait: seconds until it would be admitted, shown as the `retry_after` switch says."""
        if meter is not None:
            meter.refused += 1
        answer = error(429, "Too many requests")
        seconds = max(1, int(wait) + 1)
        if self._switches.retry_after == "seconds":
            answer.headers.append(("retry-after", str(seconds)))
        elif self._switches.retry_after == "date":
            answer.headers.append(("retry-after", formatdate(self._clock.now() + seconds, usegmt=True)))
        return answer

    def headers(self, resource: str) -> list[tuple[str, str]]:
        """The five rate headers that every API response carries."""
        meter, switches = self._meter(resource), self._switches
        self._forget(meter, self._clock.now())
        return [
            ("x-ratelimit-limit-daily", str(switches.daily_limit)),
            ("x-ratelimit-daily-remaining", str(max(0, switches.daily_limit - self._used_today(meter)))),
            ("x-ratelimit-interval-milliseconds", str(int(switches.burst_seconds * 1000))),
            ("x-ratelimit-max", str(switches.burst_limit)),
            ("x-ratelimit-remaining", str(max(0, switches.burst_limit - len(meter.recent)))),
        ]

    def use_up_day(self, resource: str) -> None:
        """Leaves nothing of a location's daily quota."""
        meter, now = self._meter(resource), self._clock.now()
        self._forget(meter, now)
        meter.today = self._switches.daily_limit
        meter.daily.extend([now] * max(0, self._switches.daily_limit - len(meter.daily)))

    def _meter(self, resource: str) -> Meter:
        meter = self.meters.get(resource)
        if meter is None:
            meter = self.meters[resource] = Meter()
        return meter

    def _count(self, meter: Meter, now: float) -> None:
        meter.recent.append(now)
        meter.today += 1
        meter.admitted += 1
        if self._switches.daily_boundary == "rolling":
            meter.daily.append(now)
        meter.peak = max(meter.peak, len(meter.recent))

    def _forget(self, meter: Meter, now: float) -> None:
        horizon = now - self._switches.burst_seconds
        while meter.recent and meter.recent[0] <= horizon:
            meter.recent.popleft()
        while meter.daily and meter.daily[0] <= now - DAY:
            meter.daily.popleft()
        if now // DAY != meter.day:
            meter.day, meter.today = now // DAY, 0

    def _used_today(self, meter: Meter) -> int:
        return len(meter.daily) if self._switches.daily_boundary == "rolling" else meter.today

    def _until_tomorrow(self, meter: Meter, now: float) -> float:
        if self._switches.daily_boundary == "rolling":
            return meter.daily[0] + DAY - now
        return (now // DAY + 1) * DAY - now
