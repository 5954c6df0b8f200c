"""Ids as they stand in cells: texts until they are checked. What a spreadsheet did to them without loss is undone
(`12,345`, `12345.0`, spaces, an apostrophe); what it cut (`1.2E+07`) is refused, never guessed."""

from __future__ import annotations

import re

from jobsync.intake.issues import Misread

LARGEST = 2**63 - 1
_PLAIN = re.compile(r"[0-9]+")
_GROUPED = re.compile(r"[0-9]{1,3}(,[0-9]{3})+")
_DECIMAL = re.compile(r"([0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)\.0+")
_SCIENTIFIC = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?[eE]\+?[0-9]+")
_MADE_UP = {"created", "undefined", "null", "none", "n/a", "na", "-", "#n/a", "#ref!", "#value!", "#name?", "#error!"}


def read_id(text: str) -> int | None:
    """The id that a cell holds, or None for a blank one. Raises Misread: excel_number or bad_id."""
    cell = _plain_cell(text)
    if not cell:
        return None
    if _SCIENTIFIC.fullmatch(cell):
        raise Misread(
            "excel_number",
            f'"{shorten(text)}" is a number that a spreadsheet shortened; its last digits are lost.',
            "Export the file again, or format the column as a number without decimals before saving as CSV.",
        )
    if _GROUPED.fullmatch(cell):
        cell = cell.replace(",", "")
    elif found := _DECIMAL.fullmatch(cell):
        cell = found[1].replace(",", "")
    if not _PLAIN.fullmatch(cell) or not 0 < int(cell[:20]) <= LARGEST:
        raise Misread("bad_id", f'"{shorten(text)}" is no id.', "Put ServiceTitan's id into the cell: digits only.")
    return int(cell)


def looks_like_id(text: str) -> bool:
    """True for a cell that is meant as an id, damaged or not."""
    cell = _plain_cell(text)
    return bool(
        _PLAIN.fullmatch(cell) or _GROUPED.fullmatch(cell) or _DECIMAL.fullmatch(cell) or _SCIENTIFIC.fullmatch(cell)
    )


def is_grouped(text: str) -> bool:
    """True for `12,345`: one id with its thousands set apart, or several ids."""
    return "," in text and looks_like_id(text)


def _plain_cell(text: str) -> str:
    # Spaces inside of a number go; `101, 102` are two.
    return re.sub(r"(?<![,\s])\s+(?![,\s])", "", text.strip()).lstrip("'’")


def read_outside_id(text: str) -> str | None:
    """An id of GoHighLevel; what old flows wrote in place of one (`created`, `undefined`) counts as blank."""
    cell = text.strip()
    return None if not cell or cell.lower() in _MADE_UP else cell


def shorten(text: str, most: int = 60) -> str:
    """A cell as a message shows it."""
    cell = " ".join(text.split())
    return cell if len(cell) <= most else cell[: most - 3] + "..."
