"""ServiceTitan's timestamps as exact numbers: ticks of 100 ns since 0001-01-01T00:00:00Z, as .NET counts them.

In come the texts of the API (RFC 3339, 0 to 7 fractional digits with trailing zeros cut off, `Z` or an offset, or a
bare date: ServiceTitan contract, section 2.3); out go ints that compare and add exactly. Text comparison of such
values is wrong (`...42Z` sorts after `...42.1Z`) and datetime cuts off the seventh digit, so cursors are compared in
ticks. A text without an offset is read as UTC. Everything here is pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

TICKS_PER_SECOND = 10_000_000
TICKS_PER_DAY = 86_400 * TICKS_PER_SECOND

_YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)
_LAST_TICK = (date.max.toordinal() * TICKS_PER_DAY) - 1
# Contacts carry 0001-01-01 where nothing is known (ServiceTitan contract, section 2.3). An offset or a local clock may
# push that sentinel a few hours off, so everything in the first two days of the calendar counts as it.
_SENTINEL_END = 2 * TICKS_PER_DAY

_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))?)?",
    re.ASCII,
)
_DIGITS = str.maketrans("123456789", "000000000")
_USUAL_FORMS = frozenset(f"0000-00-00T00:00:00{'.'[:digits]}{'0' * digits}Z" for digits in range(8))


def parse_ticks(text: str) -> int:
    """Return the ticks (100 ns since 0001-01-01T00:00:00Z) that `text` names.

    Digits beyond the seventh are cut off. The result can be slightly negative for a year-1 sentinel with an offset.
    Raises ValueError for anything that is not a timestamp; the message does not repeat the text.
    """
    ticks = _parse_usual(text)
    if ticks is not None:
        return ticks
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        raise ValueError("not a timestamp")
    year, month, day, hour, minute, second, fraction, _, sign, off_hours, off_minutes = found.groups()
    ticks = (date(int(year), int(month), int(day)).toordinal() - 1) * TICKS_PER_DAY
    if hour is not None:
        hours, minutes, seconds = int(hour), int(minute), int(second or 0)
        if hours > 23 or minutes > 59 or seconds > 59:
            raise ValueError("not a time of day")
        ticks += (hours * 3600 + minutes * 60 + seconds) * TICKS_PER_SECOND
        if fraction is not None:
            ticks += int(fraction[:7].ljust(7, "0"))
        if sign is not None:
            offset = (int(off_hours) * 60 + int(off_minutes)) * 60 * TICKS_PER_SECOND
            ticks += -offset if sign == "+" else offset
    return ticks


def _parse_usual(text: str) -> int | None:
    """The ticks of a text as ServiceTitan writes nearly all of them; None for what is the least bit different."""
    if not (text[19:20] == "." and text[4:5] == text[7:8] == "-" and text[10:11] == "T" and text[-1] == "Z"):
        return None
    fraction = text[20:-1]
    if not (text.isascii() and fraction.isdigit()):
        return None
    try:
        moment = datetime.fromisoformat(text[:19])
    except ValueError:
        return None
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
    return (moment.toordinal() - 1) * TICKS_PER_DAY + seconds * TICKS_PER_SECOND + int(fraction[:7].ljust(7, "0"))


def newest_ticks(texts: Sequence[str]) -> int | None:
    """Return the ticks of the newest of the texts without reading each of them.

    None where there is none, or one of them has another form than ServiceTitan gives nearly all (UTC, at most seven
    fractional digits), so that each has to be read. Raises ValueError where what seems the newest is no time.
    """
    joined = ",".join(texts)
    forms = joined.translate(_DIGITS).split(",")
    if len(forms) != len(texts) or not _USUAL_FORMS.issuperset(forms):
        return None
    # Without the Z a text that ends earlier sorts before one that goes on.
    return parse_ticks(max(joined.replace("Z", "").split(",")) + "Z")


def format_ticks(ticks: int) -> str:
    """Return `ticks` as `YYYY-MM-DDTHH:MM:SS.fffffffZ`, always with seven digits: what list filters are sent.

    Values outside the years 1 to 9999 are brought back to the nearer end.
    """
    ticks = min(max(ticks, 0), _LAST_TICK)
    seconds, fraction = divmod(ticks, TICKS_PER_SECOND)
    whole = _YEAR_ONE + timedelta(seconds=seconds)
    return f"{whole.replace(tzinfo=None).isoformat()}.{fraction:07d}Z"


def datetime_ticks(moment: datetime) -> int:
    """Return the ticks of a datetime; a naive one is read as UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    passed = aware - _YEAR_ONE
    return (passed.days * 86_400 + passed.seconds) * TICKS_PER_SECOND + passed.microseconds * 10


def is_sentinel(ticks: int) -> bool:
    """True for ServiceTitan's year-1 value, which means that the time is not known."""
    return ticks < _SENTINEL_END


def parse_timestamp(text: str | None) -> datetime | None:
    """Return `text` as an aware UTC datetime, cut to microseconds; None for None, the empty text and the year-1
    sentinel.

    Raises ValueError for anything that is not a timestamp.
    """
    if not text:
        return None
    ticks = parse_ticks(text)
    if is_sentinel(ticks):
        return None
    if ticks > _LAST_TICK:
        raise ValueError("not a timestamp of our calendar")
    return _YEAR_ONE + timedelta(microseconds=ticks // 10)
