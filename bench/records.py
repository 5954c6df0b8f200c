"""Invented records of the benchmark: the full ServiceTitan shape, about 1 KB a job, the same for everybody who asks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

UNITS = (1314, 54670601, 4622, 26143)
SUMMARY = "Pool pump is loud and trips the breaker; <b>gate code</b> with the neighbour. " * 5


def make_job(number: int, version: int) -> dict[str, Any]:
    """One job of about 1 KB in ServiceTitan's form; a higher version is a later change of the same job."""
    booked = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    changed = booked + timedelta(days=version)
    return {
        "id": 10_000_000 + number, "jobNumber": str(10_000_000 + number), "projectId": None, "customerId": 500_000 + number * 6 // 10,
        "locationId": 700_000 + number * 7 // 10, "jobStatus": "Scheduled" if version == 0 else "Completed", "completedOn": None,
        "businessUnitId": UNITS[number % 4], "jobTypeId": 800 + number % 9, "priority": "Normal", "campaignId": 90 + number % 5,
        "appointmentCount": 1, "firstAppointmentId": 30_000_000 + number, "lastAppointmentId": 30_000_000 + number,
        "recallForId": None, "warrantyId": None, "noCharge": False, "notificationsEnabled": True, "createdById": 77,
        "createdOn": f"{booked:%Y-%m-%dT%H:%M:%S}.1234567Z", "modifiedOn": f"{changed:%Y-%m-%dT%H:%M:%S}.7654321Z",
        "tagTypeIds": [11, 12, number % 40], "leadCallId": None, "bookingId": None, "soldById": None, "customerPo": None,
        "externalData": [{"key": "source", "value": "phone"}], "invoiceId": 60_000_000 + number, "total": 120.5 + version,
        "jobGeneratedLeadSource": {"jobId": None, "employeeId": None}, "summary": SUMMARY[: 420 + number % 40],
    }  # fmt: skip


def make_customer(number: int, version: int = 0) -> dict[str, Any]:
    """One customer in ServiceTitan's form; its id is what jobs name."""
    return {
        "id": 500_000 + number, "active": True, "name": f"Ada Example{number}", "type": "Residential", "balance": 0.0, "doNotMail": False,
        "doNotService": False, "customFields": [], "createdOn": "2025-12-01T08:00:00Z", "createdById": 77, "mergedToId": None, "tagTypeIds": [],
        "modifiedOn": f"2026-01-0{version + 1}T08:00:00.1234567Z", "externalData": None, "paymentTermId": None,
        "address": {"street": f"{number} Pool Lane", "unit": None, "city": "Springfield", "state": "AZ", "zip": "85001", "country": "USA", "latitude": 33.4, "longitude": -112.1},
    }  # fmt: skip


def make_location(number: int, version: int = 0) -> dict[str, Any]:
    """One location in ServiceTitan's form."""
    record = make_customer(number, version)
    return {
        **record,
        "id": 700_000 + number,
        "customerId": 500_000 + number * 6 // 7,
        "name": "Home",
        "taxZoneId": None,
        "zoneId": None,
    }


def make_contact(kind: str) -> Callable[[int, int], dict[str, Any]]:
    """Makes the one mobile number of each customer or location (`kind`). The numbers are of the kind nobody has."""
    first = 500_000 if kind == "customer" else 700_000

    def make(number: int, version: int = 0) -> dict[str, Any]:
        return {
            "id": 2_000_000 + first + number, f"{kind}Id": first + number, "type": "MobilePhone", "value": f"({200 + number // 100 % 700}) 555-01{number % 100:02d}",
            "memo": None, "phoneSettings": {"phoneNumber": None, "doNotText": False}, "modifiedOn": f"2026-01-0{version + 1}T08:00:00.1234567Z",
        }  # fmt: skip

    return make
