"""The small lists of a tenant: business units, job types, campaigns, tag types, technicians, reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .instants import DAY, write_instant
from .tables import Record, encode_row
from .vocabulary import CAMPAIGNS, CANCEL_REASONS, HOLD_REASONS, JOB_TYPES, TAGS, TECHNICIANS

if TYPE_CHECKING:
    from .dataset import Dataset


def seed_reference(data: Dataset, units: Sequence[tuple[int, str, float]], now: int) -> None:
    """Fills the small tables. Besides the given units there is an inactive one, and the last job type, campaign, tag
    and technician are inactive too."""
    start = now - 1500 * DAY

    def fill(table: str, rows: list[dict[str, Any]]) -> None:
        data.tables[table].load([stamped_row(row, data.dice.instant(start, now - 400 * DAY)) for row in rows])

    names = [(unit, name, True) for unit, name, _ in units] + [(9917, "Old Warehouse", False)]
    fill("business-units", [unit_row(data, unit, name, active) for unit, name, active in names])
    unit_ids = [unit for unit, _, _ in units]
    fill(
        "job-types",
        [
            {
                "id": data.next_id(), "name": name, "businessUnitIds": unit_ids[i % 3 :], "skills": [],
                "tagTypeIds": [],
                "priority": priority, "duration": 3600 + 1800 * (i % 4), "soldThreshold": 500 if i % 3 == 0 else None,
                "class": "Service" if i % 2 == 0 else "Maintenance", "summary": "", "noCharge": name == "Recall",
                "enforceRecurringServiceEventSelection": None, "invoiceSignaturesRequired": i % 2 == 0,
                "externalData": [], "active": i < len(JOB_TYPES) - 1, "isSmartDispatched": False,
            }
            for i, (name, priority) in enumerate(JOB_TYPES)
        ],
    )  # fmt: skip
    fill(
        "campaigns",
        [
            {
                "id": data.next_id(), "name": name, "active": i < len(CAMPAIGNS) - 1, "isDefaultCampaign": i == 0,
                "category": {"id": 31 + i % 2, "name": "Digital" if i % 2 == 0 else "Print", "active": True},
                "source": None, "otherSource": None, "businessUnit": None, "medium": None, "otherMedium": None,
                "campaignPhoneNumbers": [data.dice.phone_digits()] if i % 2 == 0 else None,
            }
            for i, name in enumerate(CAMPAIGNS)
        ],
    )  # fmt: skip
    fill(
        "tag-types",
        [
            {
                "id": data.next_id(), "name": name, "color": f"#{i * 2}{i * 2}88cc"[:7], "code": name[:3].upper(),
                "importance": ("High", "Medium", None)[i % 3], "isConversionOpportunity": False,
                "allowToUseOnTimesheetActivity": False, "isVisibleOnDispatchBoard": True, "active": i < len(TAGS) - 1,
            }
            for i, name in enumerate(TAGS)
        ],
    )  # fmt: skip
    people = [person_row(data, name, i, unit_ids[i % len(unit_ids)]) for i, name in enumerate(TECHNICIANS)]
    fill("technicians", [{**person, **technician_extras(i)} for i, person in enumerate(people)])
    fill("employees", [{**person, "id": data.next_id(), "name": f"{person['name']} (office)", "role": "CSR",
                        "managerId": None, "agentId": 0, "hourlyRate": 0, "startDate": None, "terminationDate": None,
                        "overtimeProfileId": None} for person in people[:3]])  # fmt: skip
    fill("job-cancel-reasons", [{"id": key, "name": name, "active": True} for key, name in CANCEL_REASONS])
    fill("job-hold-reasons", [{"id": key, "name": name, "active": True} for key, name in HOLD_REASONS])


def unit_row(data: Dataset, unit: int, name: str, active: bool) -> dict[str, Any]:
    """A business unit without its two instants."""
    return {
        "id": unit, "active": active, "name": name, "officialName": f"{name} Division", "email": "office@example.com",
        "currency": None, "phoneNumber": data.dice.phone_digits(), "invoiceHeader": "<p>Thank you &amp; welcome</p>",
        "invoiceMessage": None, "defaultTaxRate": 0, "authorizationParagraph": None, "acknowledgementParagraph": None,
        "address": None, "materialSku": None, "quickbooksClass": None, "accountCode": None, "franchiseId": None,
        "conceptCode": None, "corporateContractNumber": None, "trade": None, "division": None, "tagTypeIds": [],
        "tenant": None, "externalData": None,
    }  # fmt: skip


def person_row(data: Dataset, name: str, number: int, unit: int) -> dict[str, Any]:
    """What technicians and employees have in common, without the two instants."""
    first, _, last = name.partition(" ")
    return {
        "id": data.next_id(), "userId": data.next_id(), "name": name, "firstName": first, "lastName": last,
        "roleIds": None,
        "businessUnitId": unit, "email": f"{first}.{last}@example.com".lower(), "phoneNumber": data.dice.phone_digits(),
        "loginName": None, "active": number < len(TECHNICIANS) - 1, "aadUserId": None, "accountLocked": False,
        "home": None,
        "customFields": None, "permissions": None,
    }  # fmt: skip


def technician_extras(number: int) -> dict[str, Any]:
    """The fields that only technicians have."""
    return {
        "mainZoneId": None, "zoneIds": None, "dailyGoal": 1500, "isManagedTech": True, "licenseType": None,
        "burdenRate": 0, "team": "North" if number % 2 else "South", "jobFilter": None, "commissionRate": 0,
        "currentValue": None, "hourlyRate": 0, "jobId": None, "mobilePhone": None, "outboundCallerId": None,
        "payrollId": None, "payrollProfileId": None, "appoitmentId": None, "shiftStart": None, "shiftEnd": None,
        "soldByRate": 0, "startDate": None, "status": "Idle", "skills": [], "positions": ["Service"], "location": None,
        "bio": None, "memo": None,
    }  # fmt: skip


def stamped_row(fields: dict[str, Any], moment: int) -> Record:
    """A row that was created at this instant and not touched since."""
    written = write_instant(moment)
    body = encode_row({**fields, "createdOn": written, "modifiedOn": written})
    return Record(fields["id"], body, modified=moment, created=moment, active=fields.get("active", True))
