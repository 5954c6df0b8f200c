"""Filters of lists: each knows its query name, how its value is read, and which rows it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .instants import read_instant
from .query import decimal, id_list, instant, one_of, text, truth, whole

if TYPE_CHECKING:
    from .dataset import Dataset

Keep = Callable[[Any, dict[str, Any], "Dataset"], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """name: the query parameter. read: text to value, ValueError if it does not fit. keep: (wanted, row's fields,
    dataset) -> does the row stay. index: a field whose look-up can replace reading every row. repeated: the parameter
    may come several times, any of its values matches."""

    name: str
    read: Callable[[str], Any]
    keep: Keep
    index: str | None = None
    repeated: bool = False


def dig(fields: dict[str, Any], path: str) -> Any:
    """The value at a dotted path, None where anything on the way is missing."""
    value: Any = fields
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def by_id(name: str, field: str | None = None) -> Filter:
    """Rows whose id field is this one."""
    path = field or name
    return Filter(name, whole, lambda wanted, fields, _: dig(fields, path) == wanted, index=path)


def by_text(name: str, field: str | None = None) -> Filter:
    """Rows whose text is this, in any case."""
    path = field or name
    return Filter(name, text, lambda wanted, fields, _: str(dig(fields, path) or "").lower() == wanted.lower())


def by_part(name: str, field: str | None = None) -> Filter:
    """Rows whose text contains this, in any case."""
    path = field or name
    return Filter(name, text, lambda wanted, fields, _: wanted.lower() in str(dig(fields, path) or "").lower())


def by_word(name: str, *choices: str, field: str | None = None, repeated: bool = False) -> Filter:
    """Rows whose field is this word of an enum."""
    path = field or name
    return Filter(name, one_of(*choices), lambda wanted, fields, _: dig(fields, path) == wanted, repeated=repeated)


def by_truth(name: str) -> Filter:
    """Rows whose flag is this."""
    return Filter(name, truth, lambda wanted, fields, _: bool(fields.get(name)) is wanted)


def on_or_after(name: str, field: str) -> Filter:
    """Rows at or after an instant; a row without one never matches."""
    return Filter(
        name,
        instant,
        lambda wanted, fields, _: (moment := _moment(dig(fields, field))) is not None and moment >= wanted,
    )


def before(name: str, field: str) -> Filter:
    """Rows before an instant; a row without one never matches."""
    return Filter(
        name, instant, lambda wanted, fields, _: (moment := _moment(dig(fields, field))) is not None and moment < wanted
    )


def at_least(name: str, field: str) -> Filter:
    """Rows whose amount is this or more."""
    return Filter(name, decimal, lambda wanted, fields, _: float(dig(fields, field) or 0) >= wanted)


def at_most(name: str, field: str) -> Filter:
    """Rows whose amount is this or less."""
    return Filter(name, decimal, lambda wanted, fields, _: float(dig(fields, field) or 0) <= wanted)


def any_of(name: str, field: str, limit: int = 50) -> Filter:
    """Rows whose id (or one of whose ids) is in a comma-separated list."""

    def keep(wanted: list[int], fields: dict[str, Any], _: Dataset) -> bool:
        value = dig(fields, field)
        return not set(wanted).isdisjoint(value if isinstance(value, list) else [value])

    return Filter(name, id_list(limit, "reject"), keep)


def by_appointment(
    name: str, read: Callable[[str], Any], holds: Callable[[Any, dict[str, Any]], bool], *, first: bool = False
) -> Filter:
    """Jobs that have an appointment (or whose first one) for which `holds(wanted, appointment)` is true."""

    def keep(wanted: Any, fields: dict[str, Any], data: Dataset) -> bool:
        found = [record.fields() for record in data.tables["appointments"].holding("jobId", fields["id"])]
        if first:
            found = [each for each in found if each["id"] == fields.get("firstAppointmentId")]
        return any(holds(wanted, each) for each in found if each["active"])

    return Filter(name, read, keep)


def by_technician(field: str) -> Filter:
    """Rows to which a technician is assigned; `field`: the assignment's field that holds the row's id."""

    def keep(wanted: int, fields: dict[str, Any], data: Dataset) -> bool:
        assigned = data.tables["appointment-assignments"].holding(field, fields["id"])
        return any(record.active and record.fields()["technicianId"] == wanted for record in assigned)

    return Filter("technicianId", whole, keep)


def by_phone() -> Filter:
    """Customers one of whose contacts has these digits."""

    def keep(wanted: str, fields: dict[str, Any], data: Dataset) -> bool:
        digits = "".join(filter(str.isdigit, wanted))[-10:]
        contacts = data.tables["customers/contacts"].holding("parent", fields["id"])
        return bool(digits) and any(
            digits in "".join(filter(str.isdigit, record.fields()["value"])) for record in contacts if record.active
        )

    return Filter("phone", text, keep)


def _moment(value: Any) -> int | None:
    return read_instant(value) if isinstance(value, str) else None
