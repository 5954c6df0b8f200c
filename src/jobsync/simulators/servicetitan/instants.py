"""Instants as ServiceTitan keeps them: whole ticks of 100 nanoseconds since 0001-01-01T00:00:00Z, a plain int.

On the wire they are RFC 3339 in UTC with 0 to 7 fractional digits, trailing zeros trimmed (ServiceTitan contract,
section 2.3). Tick 0 is the year-1 sentinel that stands for "never known" on contacts.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

SECOND = 10_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_WRITTEN = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?(Z|z|[+-]\d\d:?\d\d)?)?")


@lru_cache(maxsize=8192)
def _day_text(day: int) -> str:
    return date.fromordinal(day + 1).isoformat()


@lru_cache(maxsize=86_400)
def _clock_text(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def write_instant(ticks: int) -> str:
    """Ticks to `2025-03-01T09:30:00.1234567Z`, as few fractional digits as hold the value."""
    day, rest = divmod(ticks, DAY)
    second, fraction = divmod(rest, SECOND)
    if fraction:
        return f"{_day_text(day)}T{_clock_text(second)}.{fraction:07d}".rstrip("0") + "Z"
    return f"{_day_text(day)}T{_clock_text(second)}Z"


def read_instant(text: str) -> int:
    """RFC 3339, a bare date, or a time without offset (read as UTC) to ticks. Raises ValueError for anything else."""
    found = _WRITTEN.fullmatch(text.strip())
    if not found:
        raise ValueError("not a date")
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    days = date(int(year), int(month), int(day)).toordinal() - 1
    if int(hour or 0) > 23 or int(minute or 0) > 59 or int(second or 0) > 59:
        raise ValueError("not a time of day")
    ticks = days * DAY + int(hour or 0) * HOUR + int(minute or 0) * MINUTE + int(second or 0) * SECOND
    ticks += int((fraction or "0")[:7].ljust(7, "0"))
    if offset and offset not in "Zz":
        sign = -1 if offset[0] == "-" else 1
        ticks -= sign * (int(offset[1:3]) * HOUR + int(offset[-2:]) * MINUTE)
    return ticks


def from_datetime(moment: datetime) -> int:
    """An aware datetime to ticks (microseconds are all a datetime holds)."""
    span = moment.astimezone(UTC) - datetime(1, 1, 1, tzinfo=UTC)
    return (span.days * 86_400 + span.seconds) * SECOND + span.microseconds * 10


def to_datetime(ticks: int) -> datetime:
    """Ticks to an aware UTC datetime, truncated to microseconds."""
    return datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10)
