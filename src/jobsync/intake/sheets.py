"""CSV files that are written for spreadsheets: UTF-8 with a byte order mark, and no cell that becomes a formula.

An apostrophe before such a cell is what spreadsheets take for "this is text"; the reader of this package takes it away again.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?[0-9][0-9 ().-]*", re.ASCII)


class SheetWriter:
    """Writes one CSV file, row by row. Use as `with`; a file that stood there is replaced."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8-sig")
        self._writer = csv.writer(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, cells: Iterable[str]) -> None:
        """One row."""
        self._writer.writerow([_harmless(cell) for cell in cells])


def _harmless(cell: str) -> str:
    return "'" + cell if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell
