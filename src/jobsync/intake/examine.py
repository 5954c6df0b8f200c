"""Examination of a file: one pass over all its rows, without a database. What each column is, how its dates read, what is odd.

Out: a `Reading`, by which the rows are then read, and which can be kept and read back (`as_dict`, `reading_from`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobsync.errors import InvalidInput
from jobsync.intake.cell_dates import ORDER_NAMES, DateEvidence, Order
from jobsync.intake.cell_values import find_attachments
from jobsync.intake.columns import Columns, match_columns, plain_name
from jobsync.intake.fields import FIELDS, GUIDE_COLUMNS
from jobsync.intake.tables import Table, find_table, read_rows
from jobsync.intake.text_files import TextFile, inspect_file
from jobsync.intake.wishes import Wishes

Progress = Callable[[str, int, int | None], None]
_ERRORS_FILE = re.compile(r"import-([0-9a-f]{6})\.(?:customers\.|jobs\.)?errors.*\.csv", re.IGNORECASE)
EVERY = 5_000


@dataclass
class Reading:
    """How one file is read, and what was noticed. `kinds`: of unmapped columns, by position: text, checkbox, attachments.

    `orders`: of date columns, by field. `questions`: date columns that a person has to decide.
    """

    entity: str
    table: Table
    columns: Columns
    total: int = 0
    orders: dict[str, Order] = field(default_factory=dict)
    proofs: dict[str, str] = field(default_factory=dict)
    questions: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def parent(self) -> str | None:
        """The import that this is the errors file of, by its name."""
        found = _ERRORS_FILE.fullmatch(self.table.file.path.name)
        return found[1].lower() if found and self.columns.origin is not None else None

    def as_dict(self) -> dict[str, Any]:
        """What the database keeps, enough to read the file again."""
        return {
            "encoding": self.table.file.encoding,
            "delimiter": self.table.delimiter,
            "header": list(self.table.header),
            "header_row": self.table.header_row,
            "fields": self.columns.fields,
            "extra": {str(at): name for at, name in self.columns.extra.items()},
            "origin": self.columns.origin,
            "more": self.columns.more,
            "orders": self.orders,
            "proofs": self.proofs,
            "kinds": {str(at): kind for at, kind in self.kinds.items()},
            "notes": [*self.columns.notes, *self.notes],
            "computed": self.columns.computed,
            "guide_columns": self.count_guide_columns(),
        }

    def count_guide_columns(self) -> tuple[int, int]:
        """(found, asked for) of the guide's customer columns; (0, 0) for jobs, for which the guide names none."""
        if self.entity != "customers":
            return 0, 0
        known = {
            plain_name(name): field_name for field_name, (_, names) in FIELDS["customers"].items() for name in names
        }
        return sum(known[plain_name(name)] in self.columns.fields for name in GUIDE_COLUMNS), len(GUIDE_COLUMNS)


def reading_from(entity: str, kept: dict[str, Any]) -> Reading:
    """The reading that `import_files` keeps: {path, sha256, bytes, reading, total}."""
    how = kept["reading"]
    file = TextFile(Path(kept["path"]), kept["sha256"], kept["bytes"], how["encoding"])
    table = Table(file, how["delimiter"], tuple(how["header"]), how["header_row"])
    columns = Columns(
        how["fields"],
        {int(at): name for at, name in how["extra"].items()},
        how["origin"],
        how["more"],
        [],
        how["computed"],
    )
    return Reading(
        entity,
        table,
        columns,
        kept["total"],
        how["orders"],
        how["proofs"],
        [],
        {int(at): kind for at, kind in how["kinds"].items()},
        how["notes"],
    )


def examine_file(path: Path, entity: str, wishes: Wishes, progress: Progress | None = None) -> Reading:
    """Reads a file once. Blocks: call it in a thread. Raises InvalidInput with a code and what to do.

    A date column that a person has to decide stands in `questions`; nothing is raised for it here.
    """
    given = wishes.of_file(entity)
    file = inspect_file(path, encoding=given.get("encoding"))
    table = find_table(file, entity, delimiter=given.get("delimiter"))
    wanted = given.get("columns") or {}
    if wishes.map_is_recalled:
        names = {plain_name(name) for name in table.header}
        wanted = {name: wish for name, wish in wanted.items() if plain_name(name) in names}
    columns = match_columns(table.header, entity, wanted, path.name)
    reading = Reading(entity, table, columns)
    if table.header_row > 1:
        reading.notes.append(f"the header was found in row {table.header_row}")
    evidence = {
        name: DateEvidence() for name, (kind, _) in FIELDS[entity].items() if kind == "date" and name in columns.fields
    }
    checked = dict.fromkeys(columns.extra, 0)
    filled = dict.fromkeys(columns.extra, 0)
    attached = dict.fromkeys(columns.extra, 0)
    dates = [(name, at) for name in evidence for at in columns.fields[name]]
    for _, cells in read_rows(table):
        reading.total += 1
        if progress is not None and reading.total % EVERY == 0:
            progress(f"reading {entity}", reading.total, None)
        width = len(cells)
        for name, at in dates:
            if at < width and cells[at]:
                evidence[name].note(cells[at])
        for at in checked:
            if at < width and cells[at]:
                filled[at] += 1
                if cells[at] == "checked":
                    checked[at] += 1
                elif "(http" in cells[at] and find_attachments(cells[at]):
                    attached[at] += 1
    if not reading.total:
        raise InvalidInput(
            f"{path.name} has a header and no rows.",
            hint="Remove the filter of the Airtable view and export it again.",
            code="no_rows",
        )
    _decide_dates(reading, evidence, wishes)
    for at, name in columns.extra.items():
        if filled[at] and checked[at] == filled[at]:
            reading.kinds[at] = "checkbox"
        elif attached[at]:
            reading.kinds[at] = "attachments"
            reading.notes.append(
                f'"{name}" holds attachments: their links expire, so download the files before you leave Airtable'
            )
    return reading


def read_dates_as(reading: Reading, other: dict[str, Any], number: str) -> None:
    """Dates that are undecided in an errors file are read as in the import that it came from (its file, as it is kept)."""
    orders = other["reading"]["orders"]
    for question in list(reading.questions):
        if question["field"] in orders:
            reading.orders[question["field"]] = orders[question["field"]]
            reading.proofs[question["column"]] = f"{ORDER_NAMES[orders[question['field']]]} (as in import {number})"
            reading.questions.remove(question)


def ask_about_dates(reading: Reading) -> InvalidInput | None:
    """The refusal for dates that nobody has decided, or None."""
    if not reading.questions:
        return None
    asked = reading.questions[0]
    shown = ", ".join(asked["examples"])
    why = (
        "can be read as M/D/YYYY and as D/M/YYYY"
        if not asked["mixed"]
        else "proves M/D/YYYY in some rows and D/M/YYYY in others"
    )
    return InvalidInput(
        f'{reading.table.file.path.name}: the column "{asked["column"]}" {why}{f" ({shown})" if shown else ""}.',
        hint="Say which: --date-order mdy (3/31/2026) or --date-order dmy (31/3/2026); by column in a map file: dates.",
        code="ambiguous_dates",
    )


def _decide_dates(reading: Reading, evidence: dict[str, DateEvidence], wishes: Wishes) -> None:
    by_column = {plain_name(name): order for name, order in (wishes.of_file(reading.entity).get("dates") or {}).items()}
    for name, found in evidence.items():
        column = reading.table.header[reading.columns.fields[name][0]]
        order = by_column.get(plain_name(column)) or found.order or (wishes.date_order if found.is_open else None)
        if order is not None:
            reading.orders[name] = order
            count = found.mdy if order == "mdy" else found.dmy
            proof = f"{count:,} proof{'s' if count != 1 else ''}" if found.order == order else "as you said"
            reading.proofs[column] = f"{ORDER_NAMES[order]} ({proof})"
        elif found.is_open:
            reading.questions.append(
                {"field": name, "column": column, "examples": found.examples, "mixed": bool(found.mdy and found.dmy)}
            )
