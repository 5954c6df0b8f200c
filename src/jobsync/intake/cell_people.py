"""Phones, emails and names of people as they stand in cells."""

from __future__ import annotations

import re
from typing import NamedTuple

from jobsync.servicetitan.phones import read_phone

_EMAIL = re.compile(r"[^@\s,;<>\"()]+@[^@\s,;<>\"()]+\.[^@\s,;<>\"().]{2,}")
_BETWEEN = re.compile(r"[,;\n|/]|\bor\b|\band\b")


class Way(NamedTuple):
    """A way to reach somebody: the value for the column, whether it is valid, what is kept beside it (or None)."""

    value: str
    is_valid: bool
    kept: str | None


def read_phones(text: str, region: str) -> Way | None:
    """The first number of a cell that can be called, in E.164; None for a blank cell.

    An invalid one is kept as it stands. `kept`: the whole cell, where it holds more (an extension, further numbers).
    """
    cell = " ".join(text.split()).lstrip("'’")
    if not cell:
        return None
    phone = read_phone(cell, region)
    if phone is not None and not _BETWEEN.search(cell):
        return Way(phone.e164, True, cell if phone.extension else None)
    found = [one for part in _BETWEEN.split(cell) if part.strip() and (one := read_phone(part.strip(), region))]
    if not found and phone is None:
        return Way(cell, False, None)
    return Way((found[0] if found else phone or found[0]).e164, True, cell)


def read_emails(text: str) -> Way | None:
    """The first valid address of a cell in small letters; None for a blank cell. What else is there is kept whole."""
    cell = " ".join(text.split()).lstrip("'’")
    if not cell:
        return None
    found = _EMAIL.findall(cell.removeprefix("mailto:"))
    if not found:
        return Way(cell.lower(), False, None)
    several = len(found) > 1 or len(found[0]) < len(cell.removeprefix("mailto:"))
    return Way(found[0].lower(), True, cell if several else None)


def split_name(text: str) -> tuple[str | None, str | None]:
    """First and last name of "First Last" or "Last, First"; one word is a first name."""
    name = " ".join(text.split())
    if "," in name:
        last, _, first = name.partition(",")
        return first.strip() or None, last.strip() or None
    first, _, last = name.rpartition(" ")
    return (first, last) if first else (last or None, None)
