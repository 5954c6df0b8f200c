"""Output: data on stdout, talk on stderr; one JSON object with --json; one *Next* line at the end."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)


def print_json(value: object) -> None:
    """One JSON object on stdout, readable, keys as given."""
    print(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def say(*lines: str) -> None:
    """Talk, on stderr."""
    for line in lines:
        print(line, file=sys.stderr)


def print_lines(lines: Iterable[str]) -> None:
    """Data, on stdout."""
    for line in lines:
        print(line)


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns as wide as their widest cell, on stdout; no cell is cut."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [
        max(len(head[at]), *(len(row[at]) for row in cells)) if cells else len(head[at]) for at in range(len(head))
    ]
    print("  ".join(name.ljust(width) for name, width in zip(head, widths, strict=True)).rstrip())
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_sheet_lines(rows: Iterable[Sequence[str]]) -> None:
    """Lines of a CSV for a spreadsheet, on stdout. No cell becomes a formula (security bar X15)."""
    csv.writer(sys.stdout, lineterminator="\n").writerows([_harmless(cell) for cell in row] for row in rows)


def write_sheet(path: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A CSV file for a spreadsheet (UTF-8), replaced when it exists. No cell becomes a formula (security bar X15)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows([_harmless(cell) for cell in row] for row in rows)


def _harmless(cell: str) -> str:
    return "'" + cell if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    return str(value)
