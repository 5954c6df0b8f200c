"""Which column of a file is which: by its name, tolerantly, or as a map says.

Names are compared without case, spaces, underscores, emoji, byte order marks and a trailing `(from Customers)`. What is no column of
ours is kept in the raw record under its own name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jobsync.engine.names import nearest
from jobsync.errors import InvalidInput
from jobsync.intake.fields import FIELDS

# Columns of an errors file: `_row` leads back to the row it is about, `_more` holds what stood behind the last column.
OWN_COLUMNS = ("_row", "_code", "_field", "_message", "_suggestion", "_more")
KEPT, IGNORED = "keep", "ignore"
_FROM = re.compile(r"\s*\((?:from|rollup|lookup)\b[^)]*\)\s*$", re.IGNORECASE)
_COMPUTED = re.compile(r"\(from [^)]*\)\s*$|\b(rollup|lookup|count of|calculation|formula)\b", re.IGNORECASE)


@dataclass
class Columns:
    """Columns of one file by position. `fields`: field -> positions, the best name first; `extra`: position -> name for the raw record."""

    fields: dict[str, list[int]] = field(default_factory=dict)
    extra: dict[int, str] = field(default_factory=dict)
    origin: int | None = None
    more: int | None = None
    notes: list[str] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)


def plain_name(name: str) -> str:
    """A column's name as it is compared: letters and digits only, small, without `(from ...)`."""
    text = unicodedata.normalize("NFKC", _FROM.sub("", name)).casefold().replace("#", "number")
    return "".join(sign for sign in text if sign.isalnum())


def count_known(header: Sequence[str], entity: str) -> int:
    """How many columns of this header are known by name."""
    known = _spellings(entity)
    return len(
        {known[name] for cell in header if (name := plain_name(cell)) in known}
        | {cell for cell in header if cell in OWN_COLUMNS}
    )


def match_columns(header: Sequence[str], entity: str, given: Mapping[str, str], file_name: str) -> Columns:
    """Matches a header. `given`: column name -> field or guide's name, `keep` or `ignore`, as a map says.

    Raises InvalidInput: missing_column (with the nearest names), duplicate_header, unknown_field.
    """
    found = Columns()
    wishes = {plain_name(name): wish for name, wish in given.items()}
    unused = {plain_name(name): name for name in given}
    known = _spellings(entity)
    ranked: dict[str, list[tuple[int, int]]] = {}
    seen: dict[str, int] = {}
    for at, name in enumerate(header):
        if name in OWN_COLUMNS:
            found.origin = at if name == "_row" else found.origin
            found.more = at if name == "_more" else found.more
            continue
        plain = plain_name(name)
        unused.pop(plain, None)
        if not name:
            found.extra[at] = f"Column {at + 1}"
            continue
        wish = wishes.get(plain)
        target = _read_wish(wish, entity, file_name) if wish is not None else known.get(plain)
        if target == IGNORED:
            continue
        if target is not None and target != KEPT:
            rank = 0 if wish is not None else _rank(entity, target, plain)
            ranked.setdefault(target, []).append((rank, at))
        else:
            found.extra[at] = name if name not in found.extra.values() else f"{name} ({at + 1})"
            if _COMPUTED.search(name):
                found.computed.append(name)
        if plain in seen and target in ("record_id",):
            raise InvalidInput(
                f'The column "{name}" stands twice in {file_name} (columns {seen[plain] + 1} and {at + 1}).',
                hint="Rename or remove one of them.",
                code="duplicate_header",
            )
        if plain in seen:
            found.notes.append(
                f'"{name}" stands twice: {"the first that is filled counts" if target not in (None, KEPT) else "both are kept"}'
            )
        seen.setdefault(plain, at)
    if unused:
        raise InvalidInput(
            f"The map names a column that {file_name} does not have: {', '.join(unused.values())}.",
            hint=f"Its columns: {', '.join(name for name in header if name)}.",
            code="unknown_column",
        )
    found.fields = {target: [at for _, at in sorted(places)] for target, places in ranked.items()}
    _require_id(found, header, entity, file_name)
    for target, places in found.fields.items():
        first = FIELDS[entity][target][1][0]
        if not plain_name(first).startswith(plain_name(header[places[0]])):
            found.notes.append(f'"{header[places[0]]}" read as {first}')
    return found


def describe_field(entity: str, name: str) -> str:
    """The guide's name of a field."""
    return FIELDS[entity][name][1][0]


def _require_id(found: Columns, header: Sequence[str], entity: str, file_name: str) -> None:
    other = "jobs" if entity == "customers" else "customers"
    others_ids = {plain_name(name) for name in FIELDS["jobs"]["record_id"][1]}
    # A file of jobs names customers, too.
    is_other = entity == "customers" and others_ids & {plain_name(name) for name in header}
    if "record_id" in found.fields and not (is_other and count_known(header, other) > count_known(header, entity)):
        return
    required = describe_field(entity, "record_id")
    columns = [name for name in header if name]
    if count_known(header, other) > count_known(header, entity) or (
        entity == "jobs"
        and not found.fields.keys() & {"st_job_number", "created_on", "job_status"}
        and count_known(header, other) > 3
    ):
        hint = f"It looks like a file of {other}: pass it as --{other}."
    else:
        hint = (
            f"Nearest: {', '.join(nearest(required, columns))}. Rename the column, or say which it is in a map file: "
            f'--map map.yaml with "{entity}: {{columns: {{YOUR COLUMN: {required}}}}}".'
        )
    raise InvalidInput(f'{file_name} has no column "{required}".', hint=hint, code="missing_column")


def _read_wish(wish: str, entity: str, file_name: str) -> str:
    plain = plain_name(wish)
    if plain in (KEPT, IGNORED):
        return plain
    for name in FIELDS[entity]:
        if plain == plain_name(name):
            return name
    target = _spellings(entity).get(plain)
    if target is None:
        names = [names[0] for _, names in FIELDS[entity].values()]
        raise InvalidInput(
            f'The map of {file_name} names an unknown field: "{wish}".',
            hint=f"Nearest: {', '.join(nearest(wish, names))}; or keep, or ignore.",
            code="unknown_field",
        )
    return target


def _spellings(entity: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for target, (_, names) in FIELDS[entity].items():
        for name in names:
            found.setdefault(plain_name(name), target)
    return found


def _rank(entity: str, target: str, plain: str) -> int:
    return [plain_name(name) for name in FIELDS[entity][target][1]].index(plain)
