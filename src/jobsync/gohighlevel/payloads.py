"""Payloads: a projection row in, what GoHighLevel is told out. Pure; the only place that spells its written fields.

The webhook's keys are those that users' workflows are mapped to. Every key is always there, flat and without spaces: a
workflow learns its fields from one sample and does not see a key that comes later (GoHighLevel contract, section 9).
The API's bodies follow its formats (sections 3, 5, 11): what is empty or not valid is left out, for an empty e-mail is
refused and an unlisted property, too. `row` is always a row of jobsync.projections; the same row gives the same body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from jobsync.errors import InvalidInput
from jobsync.gohighlevel.country_codes import country_code
from jobsync.gohighlevel.html_text import LONGEST, html_to_text

OPPORTUNITY_NAME = "Job Type: {job_type_name}"
"""The card's name in a hook's body, as the old flow built it."""

API_OPPORTUNITY_NAME = "ST #{st_job_number} {summary}"
"""The card's name in API mode; its beginning is how a card is recognised when custom fields are not returned."""

STATUSES = ("open", "won", "lost", "abandoned")
LONGEST_NAME = 200
_PLACE = re.compile(r"\{([a-z_]+)\}")
_PHONE = re.compile(r"\+[1-9][0-9]{7,14}", re.ASCII)
_EMAIL = re.compile(r"[^\s@<>(),;:\\\"\[\]]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_SPACES = re.compile(r"\s+")


def opportunity_name(row: Mapping[str, Any], template: str = OPPORTUNITY_NAME) -> str:
    """The card's name: `{column}` in the template stands for that column, anything else for itself.

    One line, at most 200 characters. An unknown or empty column is "", a job without a type is "Unknown".
    """

    def fill(place: re.Match[str]) -> str:
        column = place[1]
        if column == "summary":
            return html_to_text(row["summary"], limit=2 * LONGEST_NAME)
        if column == "job_type_name":
            return _text(row["job_type_name"]) or "Unknown"
        return _text(row.get(column))

    return _SPACES.sub(" ", _PLACE.sub(fill, template)).strip()[:LONGEST_NAME].rstrip()


def webhook_body(
    row: Mapping[str, Any],
    *,
    delivery_id: str,
    event: str,
    version: int,
    occurred_at: datetime,
    opportunity_name_template: str = OPPORTUNITY_NAME,
    summary_limit: int = LONGEST,
) -> dict[str, Any]:
    """The body of one delivery to an inbound hook. Absent facts are "" (ids and `total`: null); no key is ever absent.

    `occurred_at` carries a time zone. `summary_limit` shortens `Job_description` for a hook that answered 413.
    """
    return {
        "job_id": _text(row["st_job_number"]) or str(row["st_job_id"]),
        "customer_id": row["st_customer_id"],
        "Job_description": html_to_text(row["summary"], limit=summary_limit),
        "location_id": row["st_location_id"],
        "Name": _full_name(row),
        "street": _text(row["street"]),
        "city": _text(row["city"]),
        "state": _text(row["state"]),
        "postal_code": _text(row["postal_code"]),
        "country": _text(row["country"]),
        "county": _text(row["county"]),
        "phone": _text(row["phone"]),
        "email": _text(row["email"]),
        "opportunity_name": opportunity_name(row, opportunity_name_template),
        "first_name": _text(row["first_name"]),
        "last_name": _text(row["last_name"]),
        "st_job_id": row["st_job_id"],
        "st_customer_id": row["st_customer_id"],
        "business_unit": _text(row["business_unit_name"]),
        "job_status": _text(row["job_status"]),
        "job_type": _text(row["job_type_name"]),
        "total": money(row["total"]),
        "event": event,
        "version": version,
        "delivery_id": delivery_id,
        "occurred_at": occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


def contact_body(
    row: Mapping[str, Any],
    *,
    location_id: str | None = None,
    custom_fields: Mapping[str, Any] | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    """A contact as POST /contacts/ takes it (with `location_id`) or PUT /contacts/{id} (without).

    `custom_fields`: field id -> value. Never tags: they would replace the contact's own. A change carries no company
    and no source: the first is refused there, the second would be replaced (GoHighLevel contract, section 3). A
    number that must not be texted sets "do not disturb" for SMS; it is never lifted here.
    """
    body = {
        "firstName": _text(row["first_name"]),
        "lastName": _text(row["last_name"]),
        "name": "" if row["first_name"] or row["last_name"] else _full_name(row),
        "email": valid_email(row["email"]) or "",
        "phone": valid_phone(row["phone"]) or "",
        "address1": _text(row["street"]),
        "city": _text(row["city"]),
        "state": _text(row["state"]),
        "postalCode": _text(row["postal_code"]),
        "country": country_code(row["country"]) or "",
    }
    if location_id is not None:
        body |= {"locationId": location_id, "companyName": _text(row["company_name"]), "source": source or ""}
    filled: dict[str, Any] = {key: value for key, value in body.items() if value}
    if row["do_not_text"] and "phone" in filled:
        filled["dndSettings"] = {"SMS": {"status": "active"}}
    return filled | _field_list(custom_fields)


def opportunity_body(
    row: Mapping[str, Any],
    *,
    pipeline_id: str,
    stage_id: str | None,
    location_id: str | None = None,
    contact_id: str | None = None,
    status: str = "open",
    value: Decimal | float | None = None,
    custom_fields: Mapping[str, Any] | None = None,
    assigned_to: str | None = None,
    source: str | None = None,
    name_template: str = API_OPPORTUNITY_NAME,
) -> dict[str, Any]:
    """A card as POST /opportunities/ takes it (with `location_id` and `contact_id`) or PUT /opportunities/{id}
    (without both): always the full wanted state, so that sending it twice changes nothing.

    `stage_id` None leaves the stage alone on a change. `value` None: the job's total; unknown on both sides: left out,
    which leaves it alone. `source` only goes into a new card. Raises InvalidInput for a status GoHighLevel has not.
    """
    if status not in STATUSES:
        raise InvalidInput(f"An opportunity's status is one of {', '.join(STATUSES)}.")
    if (location_id is None) != (contact_id is None):
        raise InvalidInput("A new opportunity needs a location and a contact, a change neither.")
    body: dict[str, Any] = {
        "pipelineId": pipeline_id,
        "pipelineStageId": stage_id,
        "name": opportunity_name(row, name_template) or f"ST #{row['st_job_id']}",
        "status": status,
        "monetaryValue": money(row["total"] if value is None else value),
        "assignedTo": assigned_to,
    }
    if location_id is not None:
        body |= {"locationId": location_id, "contactId": contact_id, "source": source or None}
    return {key: entry for key, entry in body.items() if entry is not None} | _field_list(custom_fields)


def note_body(text: str, *, marker: str) -> dict[str, str]:
    """A note that can be recognised: `marker` (such as "[st-job:123]") is its first line. At most 5,000 characters."""
    return {"body": f"{marker}\n{html_to_text(text)}"[:LONGEST].rstrip()}


def tags_body(tags: Sequence[str]) -> dict[str, list[str]]:
    """Tags to add or remove: trimmed, each once, in their order."""
    return {"tags": list(dict.fromkeys(trimmed for tag in tags if (trimmed := tag.strip())))}


def custom_field_body(name: str, data_type: str, model: str) -> dict[str, str]:
    """A custom field to create; `data_type` as TEXT or NUMERICAL, `model` contact or opportunity."""
    return {"name": name, "dataType": data_type, "model": model}


def pick_custom_fields(row: Mapping[str, Any], field_ids: Mapping[str, str]) -> dict[str, Any]:
    """Custom field values for `contact_body` and `opportunity_body` from columns: `field_ids` is column -> field id.

    Ids go as text: a number of 64 bits does not survive everywhere.
    """
    return {
        field_id: str(row[column]) if column.endswith("_id") and row[column] is not None else row[column]
        for column, field_id in field_ids.items()
    }


def money(value: Decimal | float | None) -> int | float | None:
    """An amount in major units as a JSON number; None for none, NaN and infinity."""
    if value is None:
        return None
    exact = value if isinstance(value, Decimal) else Decimal(str(value))
    if not exact.is_finite():
        return None
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def valid_phone(text: str | None) -> str | None:
    """The number if it is E.164, else None: an invalid one is refused or dropped (contract, section 11)."""
    trimmed = _text(text)
    return trimmed if _PHONE.fullmatch(trimmed) else None


def valid_email(text: str | None) -> str | None:
    """The address in lower case if it looks like one, else None: anything else is refused with 422."""
    trimmed = _text(text).lower()
    return trimmed if len(trimmed) <= 254 and _EMAIL.fullmatch(trimmed) and ".." not in trimmed else None


def _field_list(values: Mapping[str, Any] | None) -> dict[str, Any]:
    entries = [
        {"id": field_id, "field_value": written}
        for field_id, value in (values or {}).items()
        if (written := _field_value(value)) is not None
    ]
    return {"customFields": entries} if entries else {}


def _field_value(value: object) -> object:
    """A value as custom fields take it (contract, section 4); None and "" are left out, so what is there stays."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, Decimal | int | float):
        return money(value)
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple | set | frozenset):
        return [str(entry) for entry in value] or None
    return _text(value) or None


def _full_name(row: Mapping[str, Any]) -> str:
    both = " ".join(part for part in (_text(row["first_name"]), _text(row["last_name"])) if part)
    return _text(row["customer_name"]) or both or _text(row["company_name"])


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
