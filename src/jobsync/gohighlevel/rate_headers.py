"""What GoHighLevel's headers say about the pace: Retry-After and the X-RateLimit family (contract, section 8)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 86_400.0
_SECONDS = re.compile(r"\s*\+?(\d{1,15}(?:\.\d{0,9})?)\s*", re.ASCII)
_COUNT = re.compile(r"\s*(\d{1,15})\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class RateState:
    """The counts of one answer; None where the header is absent or not a number.

    `remaining` requests of `burst_limit` are left in the present interval of `interval_seconds`; `daily_remaining` of
    `daily_limit` today (whose day is unconfirmed). `served_at`: GoHighLevel's clock, of the Date header.
    """

    burst_limit: int | None = None
    remaining: int | None = None
    interval_seconds: float | None = None
    daily_limit: int | None = None
    daily_remaining: int | None = None
    served_at: datetime | None = None


def read_rate_state(headers: Mapping[str, str]) -> RateState:
    """The counts that an answer carries. `headers` is a case-insensitive mapping."""
    interval = _count(headers, "X-RateLimit-Interval-Milliseconds")
    return RateState(
        burst_limit=_count(headers, "X-RateLimit-Max"),
        remaining=_count(headers, "X-RateLimit-Remaining"),
        interval_seconds=None if interval is None else interval / 1000,
        daily_limit=_count(headers, "X-RateLimit-Limit-Daily"),
        daily_remaining=_count(headers, "X-RateLimit-Daily-Remaining"),
        served_at=_date(headers.get("Date")),
    )


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait after a 429: Retry-After in seconds or as a date, else the interval, else None.

    A date is measured against the answer's own Date, so that a clock that is off does no harm. At most a day.
    """
    header = headers.get("Retry-After")
    if header is not None:
        if found := _SECONDS.fullmatch(header):
            return min(float(found[1]), LONGEST_WAIT)
        if moment := _date(header):
            wait = (moment - (_date(headers.get("Date")) or datetime.now(UTC))).total_seconds()
            return min(max(wait, 0.0), LONGEST_WAIT) if math.isfinite(wait) else None
    interval = read_rate_state(headers).interval_seconds
    return None if interval is None else min(interval, LONGEST_WAIT)


def _count(headers: Mapping[str, str], name: str) -> int | None:
    found = _COUNT.fullmatch(headers.get(name) or "")
    return int(found[1]) if found else None


def _date(header: str | None) -> datetime | None:
    if not header:
        return None
    try:
        moment = parsedate_to_datetime(header)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
