"""What GoHighLevel's answers hold, as values. Lenient with what it adds or leaves out, strict about ids.

A missing or ill-typed field is None (or empty); a record without an id is no record: `parse_*` return None for it, and
the client decides what that means for the call. Ids are case-sensitive text (contract, section 11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CustomValues = dict[str, Any]
"""Custom field id -> value: text, number, bool, list or None, as GoHighLevel sent it."""

# Where a custom field's value may stand: contact `value`; opportunity `fieldValue`; in a search one of the typed ones;
# `field_value` is the written form that some answers echo (contract, section 4).
_VALUE_KEYS = (
    "fieldValue", "fieldValueString", "fieldValueNumber", "fieldValueArray", "fieldValueDate", "fieldValueBoolean",
    "field_value", "value",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact. `phone` as GoHighLevel keeps it, `email` in lower case. `tags` in its order. Its person never shows in
    a repr."""

    id: str
    phone: str | None = field(default=None, repr=False)
    email: str | None = field(default=None, repr=False)
    first_name: str | None = field(default=None, repr=False)
    last_name: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)
    company_name: str | None = field(default=None, repr=False)
    tags: tuple[str, ...] = ()
    dnd: bool | None = None
    custom_fields: CustomValues = field(default_factory=dict, repr=False)
    created_at: str | None = None
    updated_at: str | None = None


@dataclass(frozen=True, slots=True)
class Opportunity:
    """A card. `monetary_value` in major units. Times are ISO 8601 text in UTC, as sent."""

    id: str
    contact_id: str | None = None
    pipeline_id: str | None = None
    stage_id: str | None = None
    name: str | None = field(default=None, repr=False)
    status: str | None = None
    monetary_value: float | None = None
    assigned_to: str | None = None
    custom_fields: CustomValues = field(default_factory=dict, repr=False)
    created_at: str | None = None
    updated_at: str | None = None
    last_stage_change_at: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A column of a pipeline; `position` counts from 0 where GoHighLevel says so."""

    id: str
    name: str
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline with its stages in their order."""

    id: str
    name: str
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomField:
    """A custom field. `key` with its prefix (`contact.x`, `opportunity.x`), `model` contact or opportunity."""

    id: str
    name: str
    key: str | None = None
    data_type: str | None = None
    model: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Location:
    """The settings of a location that decide about duplicates; None where GoHighLevel did not say."""

    id: str
    name: str | None = None
    timezone: str | None = None
    country: str | None = None
    allow_duplicate_contact: bool | None = None
    allow_duplicate_opportunity: bool | None = None
    contact_unique_identifiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """A note of a contact."""

    id: str
    body: str = field(default="", repr=False)
    created_at: str | None = None


def parse_contact(raw: object) -> Contact | None:
    """A contact from any of the answers that hold one."""
    if not isinstance(raw, Mapping) or (identity := _id(raw)) is None:
        return None
    email = _text(raw, "email") or _text(raw, "emailLowerCase")
    return Contact(
        id=identity,
        phone=_text(raw, "phone"),
        email=email.lower() if email else None,
        first_name=_text(raw, "firstName") or _text(raw, "firstNameRaw"),
        last_name=_text(raw, "lastName") or _text(raw, "lastNameRaw"),
        name=_text(raw, "name") or _text(raw, "contactName"),
        company_name=_text(raw, "companyName"),
        tags=_texts(raw.get("tags")),
        dnd=_flag(raw, "dnd"),
        custom_fields=parse_custom_values(raw),
        created_at=_text(raw, "dateAdded"),
        updated_at=_text(raw, "dateUpdated"),
    )


def parse_opportunity(raw: object) -> Opportunity | None:
    """A card from an answer of its own or from a search."""
    if not isinstance(raw, Mapping) or (identity := _id(raw)) is None:
        return None
    inner = raw.get("contact")
    contact_id = _text(raw, "contactId") or (_id(inner) if isinstance(inner, Mapping) else None)
    return Opportunity(
        id=identity,
        contact_id=contact_id,
        pipeline_id=_text(raw, "pipelineId"),
        stage_id=_text(raw, "pipelineStageId"),
        name=_text(raw, "name"),
        status=_text(raw, "status"),
        monetary_value=_number(raw, "monetaryValue"),
        assigned_to=_text(raw, "assignedTo"),
        custom_fields=parse_custom_values(raw),
        created_at=_text(raw, "createdAt"),
        updated_at=_text(raw, "updatedAt"),
        last_stage_change_at=_text(raw, "lastStageChangeAt"),
    )


def parse_pipeline(raw: object) -> Pipeline | None:
    """A pipeline; stages that are not objects with an id are left out (the spec types them wrongly)."""
    if not isinstance(raw, Mapping) or (identity := _id(raw)) is None:
        return None
    rows = raw.get("stages")
    stages = [
        Stage(stage_id, _text(entry, "name") or "", _position(entry))
        for entry in (rows if isinstance(rows, list) else [])
        if isinstance(entry, Mapping) and (stage_id := _id(entry)) is not None
    ]
    # Stable: stages without a position stay where they were sent, behind the others.
    stages.sort(key=lambda stage: (stage.position is None, stage.position or 0))
    return Pipeline(identity, _text(raw, "name") or "", tuple(stages))


def parse_custom_field(raw: object) -> CustomField | None:
    """A custom field's definition."""
    if not isinstance(raw, Mapping) or (identity := _id(raw)) is None:
        return None
    key = _text(raw, "fieldKey")
    model = _text(raw, "model") or (key.split(".", 1)[0] if key and "." in key else None)
    options = _texts(raw.get("picklistOptions"))
    return CustomField(identity, _text(raw, "name") or "", key, _text(raw, "dataType"), model, options)


def parse_location(raw: object) -> Location | None:
    """A location's settings (contract, sections 3 and 5)."""
    if not isinstance(raw, Mapping) or (identity := _id(raw)) is None:
        return None
    found = raw.get("settings")
    settings: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    return Location(
        id=identity,
        name=_text(raw, "name"),
        timezone=_text(raw, "timezone"),
        country=_text(raw, "country"),
        allow_duplicate_contact=_flag(settings, "allowDuplicateContact"),
        allow_duplicate_opportunity=_flag(settings, "allowDuplicateOpportunity"),
        contact_unique_identifiers=_texts(settings.get("contactUniqueIdentifiers")),
    )


def parse_note(raw: object) -> Note | None:
    """A note."""
    if not isinstance(raw, Mapping) or (identity := _id(raw)) is None:
        return None
    return Note(identity, _text(raw, "body") or "", _text(raw, "dateAdded"))


def parse_custom_values(raw: Mapping[str, Any]) -> CustomValues:
    """The custom values of a contact or card, whichever of the reported shapes they come in (contract, section 4)."""
    entries = raw.get("customFields")
    if entries is None:
        entries = raw.get("customField")
    found: CustomValues = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, Mapping) and (identity := _id(entry)) is not None:
            present = [entry[key] for key in _VALUE_KEYS if key in entry]
            found[identity] = next((value for value in present if value is not None), None)
    return found


def _id(raw: Mapping[str, Any]) -> str | None:
    for key in ("id", "_id"):
        value = raw.get(key)
        if isinstance(value, str) and value.strip():
            return value
    return None


def _text(raw: Mapping[str, Any], key: str) -> str | None:
    value = raw.get(key)
    return value if isinstance(value, str) and value != "" else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()


def _flag(raw: Mapping[str, Any], key: str) -> bool | None:
    value = raw.get(key)
    return value if isinstance(value, bool) else None


def _number(raw: Mapping[str, Any], key: str) -> float | None:
    value = raw.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _position(raw: Mapping[str, Any]) -> int | None:
    value = raw.get("position")
    return value if isinstance(value, int) and not isinstance(value, bool) else None
