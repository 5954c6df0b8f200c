"""A file's table: which character separates its cells, where its header is, and its rows one by one.

Row numbers are a spreadsheet's: every record counts, blank ones too; the header of an ordinary file is row 1.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from jobsync.errors import InvalidInput
from jobsync.intake.columns import count_known
from jobsync.intake.text_files import TextFile, open_text

DELIMITERS = (",", ";", "\t", "|")
LOOKED_AT = 10
LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Table:
    """How the rows of a file are read. `header_row`: its row number."""

    file: TextFile
    delimiter: str
    header: tuple[str, ...]
    header_row: int


def find_table(file: TextFile, entity: str, *, delimiter: str | None = None) -> Table:
    """Finds separator and header: those that make the most known columns.

    Raises InvalidInput: empty_file, not_csv, quoted_rows, bad_quotes.
    """
    name = file.path.name
    with open_text(file) as text:
        lines = list(itertools.islice(_lines(file, text), 200))
    if lines and lines[0].lower().startswith("sep=") and len(lines[0].strip()) == 5:
        delimiter = delimiter or lines[0].strip()[-1]
    best: tuple[tuple[int, int, int], Table] | None = None
    for mark in (delimiter,) if delimiter else DELIMITERS:
        rows: list[list[str]] = []
        # What does not end in the part that is looked at may be right all the same: the whole file is read later.
        with contextlib.suppress(csv.Error):
            rows.extend(itertools.islice(csv.reader(lines, delimiter=mark), LOOKED_AT))
        for at, row in enumerate(rows):
            if not any(cell.strip() for cell in row) or row[0].lower().startswith("sep="):
                continue
            header = tuple(_clean(cell) for cell in row)
            score = (count_known(header, entity), len([cell for cell in header if cell]) > 1, -at)
            if best is None or score > best[0]:
                best = score, Table(file, mark, header, at + 1)
    if best is None:
        raise InvalidInput(
            f"{name} holds no rows.", hint="Export it again from Airtable: Grid view, Download CSV.", code="empty_file"
        )
    table = best[1]
    if len(table.header) == 1 and any(mark in table.header[0] for mark in DELIMITERS):
        raise InvalidInput(
            f"Every row of {name} stands in quotes as one cell.",
            hint="It was saved as CSV twice. Export it again from Airtable, or remove the outer quotes.",
            code="quoted_rows",
        )
    return table


def read_rows(table: Table) -> Iterator[tuple[int, list[str]]]:
    """(row number, cells) of every row behind the header that is not blank. Raises InvalidInput (bad_quotes)."""
    with open_text(table.file) as text:
        reader = csv.reader(_lines(table.file, text), delimiter=table.delimiter)
        number = 0
        try:
            for cells in reader:
                number += 1
                if number > table.header_row and any(cell and not cell.isspace() for cell in cells):
                    yield number, cells
        except csv.Error as error:
            raise InvalidInput(
                f"Row {number + 1} of {table.file.path.name} cannot be read: {_explain(error)}.",
                hint="Look for a quote that is opened and never closed, and export the file again.",
                code="bad_quotes",
            ) from None


def _explain(error: csv.Error) -> str:
    return "a cell is longer than 131,072 characters" if "field limit" in str(error) else "its quotes do not match"


def _lines(file: TextFile, text: TextIO) -> Iterator[str]:
    """Lines, none of them endless: a file without line ends is no table."""
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
            raise InvalidInput(
                f"{file.path.name} has a line of more than a million characters.",
                hint="It is no CSV file; export it again from Airtable.",
                code="not_csv",
            )
        yield line


def _clean(cell: str) -> str:
    return " ".join(cell.replace("﻿", "").replace("\0", "").split())
