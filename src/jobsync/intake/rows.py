"""One row of a file into what is staged: typed fields, what goes beside them, and complaints. Knows no database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from jobsync.engine.names import nearest
from jobsync.intake.cell_dates import read_date
from jobsync.intake.cell_ids import is_grouped, looks_like_id, read_id, read_outside_id, shorten
from jobsync.intake.cell_people import read_emails, read_phones, split_name
from jobsync.intake.cell_values import find_attachments, read_money, split_list
from jobsync.intake.columns import plain_name
from jobsync.intake.examine import Reading
from jobsync.intake.fields import FIELDS
from jobsync.intake.issues import Issue, Misread

LONGEST_TEXT = 100_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class References:
    """Names that cells may use, by their plain form, with ids; a name of several things has none."""

    units: Mapping[str, int | None] = field(default_factory=dict)
    unit_names: tuple[str, ...] = ()
    unit_ids: frozenset[int] = frozenset()
    job_types: Mapping[str, int | None] = field(default_factory=dict)
    tags: Mapping[str, int | None] = field(default_factory=dict)


def index_names(things: Iterable[Mapping[str, Any]], also: Mapping[str, int] | None = None) -> dict[str, int | None]:
    """Plain name -> id; None where two things are called alike. `also` wins."""
    found: dict[str, int | None] = {}
    for thing in things:
        plain = plain_name(thing["name"] or "")
        found[plain] = thing["id"] if plain not in found or found[plain] == thing["id"] else None
    return {**found, **{plain_name(name): number for name, number in (also or {}).items()}}


@dataclass
class StagedRow:
    """A row as it is staged."""

    number: int
    cells: list[str]
    record: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    links: list[str] | None = None
    modified: str | None = None
    airtable_id: str | None = None
    origin: int | None = None

    @property
    def failed(self) -> bool:
        """True when the row cannot be imported as it stands."""
        return any(issue.is_error for issue in self.issues)


class RowReader:
    """Reads the rows of one file."""

    def __init__(self, reading: Reading, references: References, *, zone: ZoneInfo, region: str) -> None:
        self._reading = reading
        self._references = references
        self._zone, self._region = zone, region
        self._kinds = {name: FIELDS[reading.entity][name][0] for name in reading.columns.fields}
        self._mapped = {at for places in reading.columns.fields.values() for at in places}
        self._width = len(reading.table.header)

    def read(self, rows: Iterable[tuple[int, list[str]]]) -> Iterator[StagedRow]:
        """Every row, in its order."""
        for number, cells in rows:
            yield self.read_row(number, cells)

    def read_row(self, number: int, cells: list[str]) -> StagedRow:
        """One row."""
        row = StagedRow(number, cells)
        self._check_shape(row)
        self._check_signs(row)
        if row.failed and any(issue.code == "ragged_row" for issue in row.issues):
            # Its cells may stand in wrong columns.
            self._note_origin(row)
            return row
        cells = row.cells
        for name, places in self._reading.columns.fields.items():
            cell = next((cells[at] for at in places if at < len(cells) and cells[at] and not cells[at].isspace()), "")
            if cell:
                self._read_field(row, name, self._kinds[name], cell)
        for at, name in self._reading.columns.extra.items():
            if at < len(cells) and cells[at].strip():
                row.extra[name] = self._read_extra(at, cells[at].strip())
        self._finish(row)
        return row

    def _check_shape(self, row: StagedRow) -> None:
        cells, width = row.cells, self._width
        more = self._reading.columns.more
        if more is not None and more < len(cells) and cells[more].strip():
            row.issues.append(
                Issue(
                    "ragged_row",
                    "_more",
                    "Cells stood behind the last column, or were cut off.",
                    "Put every value into its column, and empty the column _more.",
                )
            )
        if self._reading.columns.origin is not None:
            # The errors file put an apostrophe before what a spreadsheet would take for a formula.
            cells[:] = [cell[1:] if cell[:1] == "'" and cell[1:2] in _FORMULA else cell for cell in cells]
        if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
            del cells[width:]
        if len(cells) != width:
            more = len(cells) > width
            row.issues.append(
                Issue(
                    "ragged_row",
                    None,
                    f"The row has {len(cells)} cells, the header {width}.",
                    "Put quotes around cells that hold the separator."
                    if more
                    else "The row is cut off: export it again, or complete it.",
                )
            )

    def _check_signs(self, row: StagedRow) -> None:
        for at, cell in enumerate(row.cells):
            if cell.isascii() and "\0" not in cell:
                continue
            lost = "�" in cell or any("\udc80" <= sign <= "\udcff" for sign in cell)
            if not lost and "\0" not in cell:
                continue
            name = self._reading.table.header[at] if at < self._width else None
            what = "a character that was lost" if lost else "a NUL character"
            row.issues.append(
                Issue(
                    "encoding",
                    name,
                    f"The cell holds {what}.",
                    "Write the cell anew, or export the file as UTF-8.",
                    at in self._mapped,
                )
            )
            row.cells[at] = cell.replace("\0", "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _read_field(self, row: StagedRow, name: str, kind: str, cell: str) -> None:
        try:
            getattr(self, f"_read_{kind}")(row, name, cell)
        except Misread as misread:
            row.issues.append(misread.issue(self._column(name)))

    def _read_text(self, row: StagedRow, name: str, cell: str) -> None:
        value = cell.strip()
        if name in ("postal_code", "st_job_number"):
            value = value.lstrip("'’")
        if name == "airtable_id":
            row.airtable_id = value[:100]
            row.extra["record_id"] = value
        elif name != "full_name" or not {"first_name", "last_name"} & self._kinds.keys():
            row.fields[name] = value[:LONGEST_TEXT]
        else:
            row.extra[self._column(name)] = value

    def _read_id(self, row: StagedRow, name: str, cell: str) -> None:
        value = read_id(cell)
        if value is None:
            return
        if name == "record_id":
            row.record = value
        else:
            row.fields[name] = value

    def _read_outside(self, row: StagedRow, name: str, cell: str) -> None:
        value = read_outside_id(cell)
        if value is not None and not (name == "ghl_contact_id" and self._reading.entity == "jobs"):
            row.fields[name] = value
        else:
            row.extra[self._column(name)] = cell.strip()

    def _read_email(self, row: StagedRow, name: str, cell: str) -> None:
        way = read_emails(cell)
        if way is None:
            return
        row.fields[name] = way.value
        if way.kept:
            row.extra[self._column(name)] = way.kept
        if not way.is_valid:
            row.issues.append(
                Issue(
                    "bad_email",
                    self._column(name),
                    f'"{shorten(cell)}" is no email address; it is kept as it stands.',
                    "Correct it in ServiceTitan.",
                    False,
                )
            )

    def _read_phone(self, row: StagedRow, name: str, cell: str) -> None:
        way = read_phones(cell, self._region)
        if way is None:
            return
        row.fields[name] = way.value
        if way.kept:
            row.extra[self._column(name)] = way.kept
        if not way.is_valid:
            row.issues.append(
                Issue(
                    "bad_phone",
                    self._column(name),
                    f'"{shorten(cell)}" cannot be called; it is kept as it stands.',
                    "Correct it in ServiceTitan.",
                    False,
                )
            )

    def _read_date(self, row: StagedRow, name: str, cell: str) -> None:
        moment = read_date(cell, self._reading.orders.get(name), self._zone)
        if moment is None:
            return
        text = moment.at.strftime("%Y-%m-%dT%H:%M:%SZ") if moment.at.year > 999 else None
        if text is None:
            raise Misread("bad_date", f'"{shorten(cell)}" is no date.', "Write it as 2026-01-31.")
        if moment.gap or moment.twice:
            what = "was skipped" if moment.gap else "was there twice (the first is taken)"
            row.issues.append(
                Issue(
                    "dst_gap",
                    self._column(name),
                    f'"{shorten(cell)}" {what} when the clocks changed in {self._zone.key}.',
                    "Check --tz, or write the time with its zone.",
                    False,
                )
            )
        if name == "modified":
            row.modified = text
        else:
            row.fields[name] = text

    def _read_money(self, row: StagedRow, name: str, cell: str) -> None:
        value = read_money(cell)
        if value is not None:
            row.fields[name] = msgspec.Raw(value.encode())

    def _read_link(self, row: StagedRow, name: str, cell: str) -> None:
        if "st_customer_id" in row.fields:
            row.extra[self._column(name)] = cell.strip()
            return
        parts = split_list(cell)
        if name == "customer" and is_grouped(cell):
            raise Misread(
                "ambiguous_link", f'"{shorten(cell)}" can be one id or several.', "Write one id, without separators."
            )
        if looks_like_id(cell):
            row.fields["st_customer_id"] = read_id(cell)
        elif all(looks_like_id(part) for part in parts):
            if len(ids := {read_id(part) for part in parts}) > 1:
                raise Misread(
                    "ambiguous_link", f"The cell names {len(ids)} customers.", "Leave the one whose job it is."
                )
            row.fields["st_customer_id"] = ids.pop()
        elif row.links is None:
            # As long as an index entry may be.
            whole = " ".join(cell.split())[:500]
            row.links = [whole, *(part[:500] for part in parts if part != whole)][:20]
            row.extra[self._column(name)] = cell.strip()

    def _read_unit(self, row: StagedRow, name: str, cell: str) -> None:
        row.extra[self._column(name)] = cell.strip()
        if looks_like_id(cell):
            row.fields[name] = number = read_id(cell)
            if number not in self._references.unit_ids:
                row.issues.append(
                    Issue(
                        "unknown_unit",
                        self._column(name),
                        f"Business unit {number} is not known here; its id is kept.",
                        "jobsync pull reads the units.",
                        False,
                    )
                )
            return
        number = self._references.units.get(plain_name(cell))
        if number is None:
            known = plain_name(cell) in self._references.units
            raise Misread(
                "unknown_unit",
                f'{"Several business units are" if known else "No business unit is"} called "{shorten(cell)}".',
                f"Nearest: {', '.join(nearest(cell, self._references.unit_names)) or 'none is known yet: jobsync pull reads them'}. "
                f"Or give its id in a map file: units: {{{shorten(cell)}: ID}}.",
            )
        row.fields[name] = number

    def _read_type(self, row: StagedRow, name: str, cell: str) -> None:
        if looks_like_id(cell):
            row.fields["job_type_id"] = read_id(cell)
            return
        row.fields["job_type_name"] = cell.strip()[:500]
        if (number := self._references.job_types.get(plain_name(cell))) is not None:
            row.fields["job_type_id"] = number

    def _read_tags(self, row: StagedRow, name: str, cell: str) -> None:
        tags = split_list(cell)
        row.extra[self._column(name)] = tags
        numbers = [read_id(tag) if tag.isdigit() else self._references.tags.get(plain_name(tag)) for tag in tags]
        if tags and all(number is not None for number in numbers):
            row.fields[name] = numbers

    def _read_extra(self, at: int, cell: str) -> Any:
        kind = self._reading.kinds.get(at)
        if kind == "checkbox":
            return True
        if kind == "attachments":
            return find_attachments(cell) or cell
        return cell[:LONGEST_TEXT]

    def _finish(self, row: StagedRow) -> None:
        full = row.fields.pop("full_name", None)
        if full is not None:
            first, last = split_name(full)
            row.fields.update({key: value for key, value in (("first_name", first), ("last_name", last)) if value})
        self._note_origin(row)
        if row.record is None and not any(
            issue.code in ("bad_id", "excel_number") and issue.field == self._column("record_id")
            for issue in row.issues
        ):
            column = self._column("record_id")
            row.issues.append(
                Issue(
                    "missing_id",
                    column,
                    f"{column} is blank.",
                    f"Put ServiceTitan's {'job' if self._reading.entity == 'jobs' else 'customer'} id into the cell.",
                )
            )

    def _note_origin(self, row: StagedRow) -> None:
        origin = self._reading.columns.origin
        if origin is not None and origin < len(row.cells) and row.cells[origin].strip().isdigit():
            row.origin = int(row.cells[origin].strip()[:9])

    def _column(self, name: str) -> str:
        return self._reading.table.header[self._reading.columns.fields[name][0]]


def hash_row(entity: str, row: StagedRow) -> bytes:
    """SHA-256 of what the row says, whatever file it stands in."""
    said = [entity, row.record, row.fields, row.links, row.modified, row.extra]
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).digest()
