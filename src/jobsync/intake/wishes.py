"""What a person says about the files: options of the command or the page, and a map file.

customers:
  columns: {Cust No: ST ID, Remarks: keep, Internal: ignore}
  dates: {Last Modified: mdy}
  encoding: cp1252
  delimiter: ";"
jobs:
  columns: {Ticket: Job ID}
units: {Electrical: 54670601}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import phonenumbers
import yaml

from jobsync.errors import InvalidInput
from jobsync.intake.cell_dates import ORDER_NAMES, Order

Prefer = Literal["database", "csv"]
_PARTS = {"customers", "jobs", "units"}
_OF_A_FILE = {"columns", "dates", "encoding", "delimiter"}


@dataclass(frozen=True)
class Wishes:
    """How files are to be read. `time_zone` None: the tenant's. `map`: as the map file says, checked.

    `map_is_recalled`: nobody gave it this time, so that what it says of columns that a file does not have is passed over.
    """

    date_order: Order | None = None
    time_zone: str | None = None
    region: str = "US"
    prefer: Prefer = "database"
    map: Mapping[str, Any] = field(default_factory=dict)
    map_is_recalled: bool = False

    def of_file(self, entity: str) -> Mapping[str, Any]:
        """What the map says about one file."""
        return self.map.get(entity) or {}

    def as_dict(self) -> dict[str, Any]:
        """As the database keeps it."""
        kept = {"date_order": self.date_order, "time_zone": self.time_zone, "region": self.region}
        return {**kept, **({"map": self.map} if self.map else {})}


def read_wishes(
    *,
    date_order: str | None = None,
    time_zone: str | None = None,
    region: str = "US",
    prefer: str | None = None,
    map_given: Mapping[str, Any] | None = None,
    map_is_recalled: bool = False,
) -> Wishes:
    """Checked wishes. Raises InvalidInput naming what is wrong."""
    if date_order is not None and date_order not in ORDER_NAMES:
        raise InvalidInput(
            f'"{date_order}" is no order of dates.', hint="mdy (3/31/2026) or dmy (31/3/2026).", code="unknown_order"
        )
    if time_zone is not None:
        check_zone(time_zone)
    if region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInput(
            f'"{region}" is no country.', hint="Two letters, such as US, CA or GB.", code="unknown_region"
        )
    if prefer not in (None, "csv", "database"):
        raise InvalidInput(
            f'"{prefer}" cannot be preferred.', hint="--prefer csv, or leave it out.", code="unknown_preference"
        )
    order: Order | None = "mdy" if date_order == "mdy" else "dmy" if date_order == "dmy" else None
    wanted: Prefer = "csv" if prefer == "csv" else "database"
    return Wishes(order, time_zone, region.upper(), wanted, check_map(map_given or {}), map_is_recalled)


def check_zone(name: str) -> ZoneInfo:
    """The time zone of this name. Raises InvalidInput."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidInput(
            f'"{name}" is no time zone.', hint="For example America/Phoenix.", code="unknown_time_zone"
        ) from None


def read_map(path: Path) -> dict[str, Any]:
    """A map file. Raises InvalidInput."""
    try:
        found = yaml.safe_load(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read ({error.strerror}).", hint="Check --map.", code="map_unreadable"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" (line {place.line + 1})" if place is not None else ""
        raise InvalidInput(
            f"{path.name} is no YAML{where}.", hint="docs/moving-from-airtable.md shows one.", code="map_unreadable"
        ) from None
    return check_map(found or {})


def check_map(found: Any) -> dict[str, Any]:
    """The map, if its form is right. Raises InvalidInput naming the place."""
    _check_keys(found, _PARTS, "the map")
    for entity in ("customers", "jobs"):
        part = found.get(entity) or {}
        _check_keys(part, _OF_A_FILE, f"the map of {entity}")
        for name in ("columns", "dates"):
            inner = part.get(name) or {}
            if not isinstance(inner, Mapping) or not all(isinstance(value, str) for value in inner.values()):
                raise _wrong(f"{entity}.{name} must name columns, each with a word.")
        for column, order in (part.get("dates") or {}).items():
            if order not in ORDER_NAMES:
                raise _wrong(f'{entity}.dates says "{order}" of {column}: it must be mdy or dmy.')
        if len(str(part.get("delimiter") or ",")) != 1:
            raise _wrong(f"{entity}.delimiter must be one character.")
    units = found.get("units") or {}
    if not isinstance(units, Mapping) or not all(
        isinstance(value, int) and not isinstance(value, bool) for value in units.values()
    ):
        raise _wrong("units must give an id to each name.")
    return {key: value for key, value in found.items() if value}


def _check_keys(found: Any, known: set[str], where: str) -> None:
    if not isinstance(found, Mapping):
        raise _wrong(f"{where} must be a list of names with values.")
    for key in found:
        if key not in known:
            raise _wrong(f'{where} holds "{key}", which is not one of: {", ".join(sorted(known))}.')


def _wrong(what: str) -> InvalidInput:
    return InvalidInput(f"The map does not fit: {what}", hint="docs/moving-from-airtable.md shows one.", code="bad_map")
