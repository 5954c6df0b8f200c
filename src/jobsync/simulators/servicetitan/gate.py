"""The rate limit: so many calls in any window, per application and tenant (ServiceTitan contract, section 3)."""

from __future__ import annotations

import time
from collections import deque

from .switches import Switches


class RateGate:
    """Counts calls in real time, since it is the client's real pace that is limited. A refused call does not count."""

    def __init__(self, switches: Switches) -> None:
        self._switches = switches
        self._calls: dict[tuple[str, int], deque[float]] = {}
        self.peak = 0

    def wait_for(self, app_key: str, tenant: int) -> float:
        """0.0 if the call may pass (it is counted then), else the seconds until the next one may."""
        limit, window, now = self._switches.rate_limit, self._switches.rate_window_seconds, time.monotonic()
        calls = self._calls.setdefault((app_key, tenant), deque())
        while calls and calls[0] <= now - window:
            calls.popleft()
        if limit and len(calls) >= limit:
            return max(0.001, calls[0] + window - now)
        calls.append(now)
        self.peak = max(self.peak, len(calls))
        return 0.0
