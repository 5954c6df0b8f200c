"""Kinds of fields that several endpoints share: ids, short texts, limits, and the error shape."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

LARGEST_ID = 2**63 - 1
LARGEST_INT = 2**31 - 1
# In bodies a little less: whoever knows only floats would round the true limit up, beyond it.
DESCRIBED_ID = 9_000_000_000_000_000_000
_DIGITS = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]", re.ASCII)


def read_whole(value: Any) -> Any:
    """A whole number, also from a string of digits; anything else is left to be refused."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, str | bool):
        raise ValueError("must be a whole number")
    return value


def _only_number(value: Any) -> Any:
    """Refuses texts and booleans where a number belongs; 5.0 is as good as 5."""
    if isinstance(value, str | bool):
        raise ValueError("must be a whole number")
    return value


def _only_instant(value: Any) -> Any:
    """Refuses what pydantic would read as seconds since 1970."""
    if not isinstance(value, str) or _INSTANT.match(value) is None:
        raise ValueError("must be a time such as 2026-01-31T08:00:00Z")
    return value


_ID_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": DESCRIBED_ID},
        {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"},
    ],
    "description": "A 64-bit id; a string of digits is accepted.",
}
_PATH_SCHEMA = {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}
_COUNT_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": LARGEST_INT},
        {"type": "string", "pattern": "^(0|[1-9][0-9]{0,8})$"},
    ]
}

BodyId = Annotated[int, BeforeValidator(read_whole), Field(ge=1, le=DESCRIBED_ID), WithJsonSchema(_ID_SCHEMA)]
BodyCount = Annotated[int, BeforeValidator(read_whole), Field(ge=0, le=LARGEST_INT), WithJsonSchema(_COUNT_SCHEMA)]
JobIdPath = Annotated[
    int, BeforeValidator(read_whole), Path(alias="stJobId", ge=1, le=LARGEST_ID), WithJsonSchema(_PATH_SCHEMA)
]
CustomerIdPath = Annotated[
    int, BeforeValidator(read_whole), Path(alias="stCustomerId", ge=1, le=LARGEST_ID), WithJsonSchema(_PATH_SCHEMA)
]
UnitIdPath = Annotated[
    int, BeforeValidator(read_whole), Path(alias="stBusinessUnitId", ge=1, le=LARGEST_ID), WithJsonSchema(_PATH_SCHEMA)
]
UnitIdQuery = Annotated[
    int | None,
    BeforeValidator(read_whole),
    Query(alias="businessUnitId", ge=1, le=LARGEST_ID),
    WithJsonSchema(_PATH_SCHEMA),
]
Limit = Annotated[
    int,
    BeforeValidator(read_whole),
    Query(ge=1, le=500, description="At most this many, 1 to 500."),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 500}),
]
Offset = Annotated[
    int,
    BeforeValidator(read_whole),
    Query(ge=0, le=LARGEST_INT, description="How many to leave out; prefer `before`."),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": LARGEST_INT}),
]
Lease = Annotated[
    int | None,
    BeforeValidator(read_whole),
    Query(ge=1, le=3600, description="Take these jobs for so many seconds: no other call with a lease gets them."),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 3600}),
]
Retry = Annotated[
    bool,
    Query(
        description="Also jobs that were marked failed and are due again: 5 min, 30 min, 2 h, 5 h, 10 h, 10 h after the mark."
    ),
]
SendLimit = Annotated[
    int,
    BeforeValidator(_only_number),
    Field(ge=1, le=LARGEST_INT),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LARGEST_INT}),
]
Cap = Annotated[
    int,
    BeforeValidator(_only_number),
    Field(ge=0, le=LARGEST_INT),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": LARGEST_INT}),
]
Grace = Annotated[
    int,
    BeforeValidator(_only_number),
    Field(ge=0, le=2_592_000, description="Seconds, at most 30 days."),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 2_592_000}),
]
Format = Annotated[Literal["json", "csv"], Query(description="json, or csv for a spreadsheet.")]

Instant = Annotated[
    AwareDatetime, BeforeValidator(_only_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]
Key = Annotated[str, Path(min_length=1, max_length=255)]
ShortText = Annotated[str, Field(min_length=1, max_length=255)]
AnyShortText = Annotated[str, Field(max_length=255)]
LongText = Annotated[str, Field(max_length=100_000)]
SyncStatus = Literal["pending", "synced", "failed", "skipped"]


class Body(BaseModel):
    """A request body: unknown keys are ignored, as the old service did."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Problem(BaseModel):
    """Every error. More keys may follow, such as the id that was asked for."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [{"error": "value is missing.", "code": "invalid_input", "hint": None, "field": "value"}]
        },
    )
    error: str = Field(description="One sentence for a person.")
    code: str = Field(description="Stable, for programs.")
    hint: str | None = Field(description="What to do next.")
