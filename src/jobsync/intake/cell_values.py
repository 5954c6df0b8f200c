"""Money, lists, checkboxes and attachments as Airtable writes them into one cell."""

from __future__ import annotations

import csv
import re
from decimal import Decimal

from jobsync.intake.cell_ids import shorten
from jobsync.intake.issues import Misread

_MONEY = re.compile(r"(?P<sign>[-+−]?)(?P<digits>[0-9][0-9.,]*|[.,][0-9]+)")
_SYMBOLS = re.compile(r"[\s$€£¥₹]|US\$|CA\$|A\$|USD|CAD|EUR|GBP|AUD|MXN")
_ATTACHMENT = re.compile(r"(?P<name>[^()]*)\((?P<url>https?://[^()\s]+)\)")


def read_money(text: str) -> str | None:
    """The amount as a decimal text with all its cents, or None for a blank cell. Raises Misread (bad_number).

    `$1,323.25`, `1.323,25 €`, `(12.50)` and `-12.5` are read; what could be two amounts is refused.
    """
    cell = _SYMBOLS.sub("", text).lstrip("'’")
    if not cell:
        return None
    if cell.startswith("(") and cell.endswith(")"):
        cell = "-" + cell[1:-1]
    found = _MONEY.fullmatch(cell)
    digits = None if found is None else _plain_digits(found["digits"])
    if found is None or digits is None:
        raise Misread("bad_number", f'"{shorten(text)}" is no amount.', "Write it as 1323.25.")
    return str(Decimal(("-" if found["sign"] in ("-", "−") else "") + digits))


def _plain_digits(digits: str) -> str | None:
    if re.fullmatch(r"[0-9]*\.?[0-9]+|[0-9]+\.", digits):
        return digits.rstrip(".")
    if re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?", digits):
        return digits.replace(",", "").rstrip(".")
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{3})+(,[0-9]*)?", digits) and (digits.count(".") > 1 or "," in digits):
        return digits.replace(".", "").replace(",", ".").rstrip(".")
    if re.fullmatch(r"[0-9]*,[0-9]{1,2}", digits):
        return digits.replace(",", ".")
    return None


def split_list(text: str) -> list[str]:
    """The parts of a cell with several values, split at commas that stand outside of quotes, without blanks and repeats."""
    cell = " ".join(text.split())
    try:
        (parts,) = csv.reader([cell], skipinitialspace=True)
    except (csv.Error, ValueError):
        parts = cell.split(",")
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def find_attachments(text: str) -> list[str]:
    """The addresses in a cell of attachments (`photo.jpg (https://...)`); an empty list where it is none."""
    found = list(_ATTACHMENT.finditer(text))
    rest = _ATTACHMENT.sub("", text).strip(" ,\n")
    return [one["url"] for one in found] if found and not rest else []
