"""What was asked: every request counted by method, path and status, the latest also one by one."""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

KEPT = 20_000
_ID = re.compile(r"/\d+(?=/|$)")


@dataclass(frozen=True, slots=True)
class Call:
    """One request. path: without version, tenant and query, as `jpm/export/jobs` (`connect/token` for tokens). query:
    the raw query string. at: time.monotonic() of its arrival. rows: how many rows were answered."""

    method: str
    path: str
    query: str
    status: int
    tenant: int
    at: float
    rows: int
    fault: str | None


class RequestLedger:
    """Counts calls by (method, path with ids as {id}, status) and keeps the latest 20,000 themselves."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, int]] = Counter()
        self.calls: deque[Call] = deque(maxlen=KEPT)
        self.in_flight = 0
        self.peak_in_flight = 0

    def note(self, call: Call) -> None:
        """Counts one call. One that never got an answer has status 0."""
        self.counts[call.method, _ID.sub("/{id}", call.path), call.status] += 1
        self.calls.append(call)

    def enter(self) -> None:
        """A call has arrived."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def leave(self) -> None:
        """A call has been answered or given up."""
        self.in_flight -= 1

    def count(self, path: str = "*", *, method: str = "*", status: int | None = None) -> int:
        """How many calls match a path pattern (`*` stands for anything; ids are written `{id}`)."""
        return sum(
            number
            for (how, where, what), number in self.counts.items()
            if fnmatchcase(where, path) and method in ("*", how) and status in (None, what)
        )

    @property
    def tokens(self) -> int:
        """Calls of the token endpoint."""
        return self.count("connect/token")

    @property
    def data(self) -> int:
        """All other calls."""
        return self.count() - self.tokens

    def reset(self) -> None:
        """Forgets everything counted so far."""
        self.counts.clear()
        self.calls.clear()
        self.peak_in_flight = self.in_flight

    def as_dict(self) -> dict[str, Any]:
        """Totals, and one object per (method, path, status)."""
        rows = [
            {"method": method, "path": path, "status": status, "count": number}
            for (method, path, status), number in sorted(self.counts.items())
        ]
        return {
            "total": self.count(), "data": self.data, "tokens": self.tokens, "peak_in_flight": self.peak_in_flight,
            "requests": rows,
        }  # fmt: skip
