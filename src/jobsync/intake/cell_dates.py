"""Dates and times as Airtable and spreadsheets write them. Whether 03/04 is March or April is decided per column, by evidence.

ISO, `M/D/YYYY h:mma`, `D/M/YYYY HH:mm`, `November 23, 2026 2:30pm`, `23 Nov 2026`. A time without zone is of the time zone
that the reader was given; a local time that a change of the clocks skipped, or that was there twice, is reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from jobsync.intake.cell_ids import shorten
from jobsync.intake.issues import Misread

Order = Literal["mdy", "dmy"]
ORDER_NAMES: dict[str, str] = {"mdy": "M/D/YYYY", "dmy": "D/M/YYYY"}
_TIME = r"(?:[,T ]+(?:at )?(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2}))(?::(?P<second>[0-9]{2})(?:\.[0-9]+)?)? *(?P<half>[aApP]\.?[mM]\.?)?)?"
_ZONE = r" *(?P<zone>Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})?"
_ISO = re.compile(r"(?P<year>[0-9]{4})[-/.](?P<month>[0-9]{1,2})[-/.](?P<day>[0-9]{1,2})" + _TIME + _ZONE, re.ASCII)
_SLASHED = re.compile(
    r"(?P<first>[0-9]{1,2})[-/.](?P<second_part>[0-9]{1,2})[-/.](?P<year>[0-9]{4}|[0-9]{2})" + _TIME + _ZONE, re.ASCII
)
_MONTH_FIRST = re.compile(
    r"(?P<name>[A-Za-z]{3,9})\.? (?P<day>[0-9]{1,2})(?:st|nd|rd|th)?,? (?P<year>[0-9]{4})" + _TIME + _ZONE, re.ASCII
)
_DAY_FIRST = re.compile(
    r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?[ -](?P<name>[A-Za-z]{3,9})\.?,?[ -](?P<year>[0-9]{4})" + _TIME + _ZONE,
    re.ASCII,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip


@dataclass
class DateEvidence:
    """What a column's cells say about its order. `proofs`: cells that can only be read one way."""

    mdy: int = 0
    dmy: int = 0
    either: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Looks at one cell."""
        found = _SLASHED.fullmatch(" ".join(text.split()))
        if not found:
            return
        first, second = int(found["first"]), int(found["second_part"])
        if second > 12 >= first:
            self.mdy += 1
        elif first > 12 >= second:
            self.dmy += 1
        elif first != second:
            self.either += 1
            if len(self.examples) < 3:
                self.examples.append(shorten(text))

    @property
    def order(self) -> Order | None:
        """What the evidence says; None where there is none, or where it contradicts itself."""
        if self.mdy and not self.dmy:
            return "mdy"
        return "dmy" if self.dmy and not self.mdy else None

    @property
    def is_open(self) -> bool:
        """True when a person has to say how the column is meant."""
        return self.order is None and bool(self.either or (self.mdy and self.dmy))


@dataclass(frozen=True)
class Moment:
    """An instant in UTC. `gap`: the local time was skipped by a change of the clocks; `twice`: it was there twice."""

    at: datetime
    gap: bool = False
    twice: bool = False


def read_date(text: str, order: Order | None, zone: ZoneInfo) -> Moment | None:
    """The instant that a cell holds, or None for a blank one. Raises Misread (bad_date).

    `order` is of the column; None where its cells leave no doubt. A date without a time is the day's beginning in `zone`.
    """
    cell = " ".join(text.split()).lstrip("'’")
    if not cell:
        return None
    parts = _find_parts(cell, order)
    if parts is None:
        raise _misread(text, order)
    year, month, day, found = parts
    try:
        hour, minute = int(found["hour"] or 0), int(found["minute"] or 0)
        if found["half"]:
            if not 1 <= hour <= 12:
                raise ValueError
            hour = hour % 12 + (12 if found["half"][0] in "pP" else 0)
        local = datetime(year, month, day, hour, minute, int(found["second"] or 0))  # noqa: DTZ001 its zone comes next
        return _place(local, found["zone"], zone)
    except (ValueError, OverflowError):
        raise _misread(text, order) from None


def _find_parts(cell: str, order: Order | None) -> tuple[int, int, int, re.Match[str]] | None:
    if found := _ISO.fullmatch(cell):
        return int(found["year"]), int(found["month"]), int(found["day"]), found
    if found := _SLASHED.fullmatch(cell):
        first, second = int(found["first"]), int(found["second_part"])
        month, day = (second, first) if order == "dmy" else (first, second)
        if order is None and first != second and max(first, second) <= 12:
            return None
        if order is None and first > 12:
            month, day = second, first
        year = int(found["year"])
        return (year if year > 99 else year + (2000 if year < 70 else 1900)), month, day, found
    for pattern in (_MONTH_FIRST, _DAY_FIRST):
        if found := pattern.fullmatch(cell):
            name = found["name"].lower()
            if name in _NAMES or name in _MONTHS or name == "sept":
                return int(found["year"]), _MONTHS.index(name[:3]) + 1, int(found["day"]), found
    return None


def _place(local: datetime, zone_text: str | None, zone: ZoneInfo) -> Moment:
    if zone_text:
        if zone_text[0] in "+-":
            hours, minutes = int(zone_text[1:3]), int(zone_text[-2:])
            shift = timedelta(hours=hours, minutes=minutes) * (-1 if zone_text[0] == "-" else 1)
            return Moment((local - shift).replace(tzinfo=UTC))
        return Moment(local.replace(tzinfo=UTC))
    early, late = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
    at = early.astimezone(UTC)
    if early.utcoffset() == late.utcoffset():
        return Moment(at)
    skipped = at.astimezone(zone).replace(tzinfo=None) != local
    return Moment(at, gap=skipped, twice=not skipped)


def _misread(text: str, order: Order | None) -> Misread:
    expected = f"; this column is read as {ORDER_NAMES[order]}" if order else ""
    return Misread(
        "bad_date",
        f'"{shorten(text)}" is no date{expected}.',
        "Write it as 2026-01-31 or 2026-01-31 14:30.",
    )
