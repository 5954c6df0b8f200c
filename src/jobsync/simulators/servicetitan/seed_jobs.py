"""Jobs and what hangs on them: appointments, technician assignments, estimates, invoices, cancel logs, notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from .instants import DAY, HOUR, MINUTE, write_instant
from .tables import Record, encode_row
from .vocabulary import CANCEL_REASONS, ESTIMATE_NAMES, SUMMARIES, TECHNICIANS

if TYPE_CHECKING:
    from .dataset import Dataset

APPOINTMENT_STATUS = {"Completed": "Done", "Canceled": "Canceled", "InProgress": "Working", "Hold": "Hold"}
OLD_STATUSES = (("Completed", 0.82), ("Canceled", 0.13), ("Hold", 0.03), ("InProgress", 0.02))
NEW_STATUSES = (("Scheduled", 0.55), ("Dispatched", 0.15), ("InProgress", 0.15), ("Completed", 0.1), ("Hold", 0.05))
ODD_STATUSES = ("Parts Ordered", "In Progress")
"""Words that are in no published list; a client must pass them on as text."""


def seed_jobs(
    data: Dataset,
    jobs: int,
    units: Sequence[tuple[int, str, float]],
    now: int,
    *,
    days: int,
    tied_jobs: int,
    activity: bool,
) -> None:
    """Fills jobs and, with `activity`, everything that hangs on them.

    Jobs were created evenly over the last `days`,
    ascending by id. `tied_jobs` of them share one modifiedOn (a bulk edit),
    and 1 in 50 shares it with its neighbour. No row is younger than 20 minutes.
    """
    latest = now - 20 * MINUTE
    bulk_at, bulk_from = data.dice.instant(now - 2 * DAY, now - DAY), jobs // 4
    shares = [(unit, share) for unit, _, share in units]
    rows: list[Record] = []
    homes, previous = data.homes, now - days * DAY
    for number in range(jobs):
        created = now - days * DAY + (days * DAY - HOUR) * number // max(1, jobs)
        created = data.dice.instant(created, created + (days * DAY - HOUR) // max(1, jobs))
        modified = data.dice.instant(created, min(created + 40 * DAY, latest))
        if bulk_from <= number < bulk_from + tied_jobs and created < bulk_at:
            modified = bulk_at
        elif number % 50 == 49 and previous >= created:
            modified = previous
        previous = modified
        customer, location = homes[number % len(homes)]
        young = number >= jobs * 0.93
        status = data.dice.weighted(NEW_STATUSES if young else OLD_STATUSES)
        if number % 120 == 33:
            status = ODD_STATUSES[number // 120 % 2]
        fields = job_fields(data, customer, location, data.dice.weighted(shares), created, modified, status=status)
        if number < len(SUMMARIES):
            fields["summary"] = SUMMARIES[number]
        if activity:
            seed_activity(data, fields, number, latest)
        rows.append(job_record(fields))
    data.tables["jobs"].load(rows)


def job_fields(
    data: Dataset, customer: int, location: int, unit: int, created: int, modified: int, *, status: str = "Scheduled"
) -> dict[str, Any]:
    """A job that has no appointments, estimates or invoice yet; keys that start with @ never reach an answer."""
    dice = data.dice
    summary = dice.weighted(((None, 0.05), ("", 0.02), (..., 0.93)))
    done = status == "Completed"
    total = b"0.0000000000" if dice.happens(0.1) else b"%d.%02d00000000" % (59 + dice.below(8900), dice.below(100))
    fields = {
        "id": data.next_id(), "jobNumber": data.next_number(), "projectId": None, "customerId": customer,
        "locationId": location, "jobStatus": status, "completedOn": write_instant(modified) if done else None,
        "businessUnitId": unit, "jobTypeId": dice.pick(data.job_type_ids), "priority": dice.pick(("Normal", "Normal",
        "Low", "High", "Urgent")),
        "campaignId": dice.pick(data.campaign_ids), "appointmentCount": 0, "firstAppointmentId": 0,
        "lastAppointmentId": 0,
        "recallForId": None, "warrantyId": None, "jobGeneratedLeadSource": None, "noCharge": False,
        "notificationsEnabled": True, "createdOn": write_instant(created), "createdById": 5501,
        "modifiedOn": write_instant(modified), "tagTypeIds": [dice.pick(data.tag_ids)] if dice.happens(0.2) else [],
        "leadCallId": None, "partnerLeadCallId": None, "bookingId": None, "soldById": None, "customerPo": "",
        "invoiceId": 0, "membershipId": None, "total": msgspec.Raw(total) if done or dice.happens(0.3) else None,
        "createdFromEstimateId": None, "estimateIds": [],
        "summary": dice.pick(SUMMARIES) if summary is ... else summary,
        "customFields": None if dice.happens(0.3) else [], "externalData": None if dice.happens(0.7) else [],
        "@created": created, "@modified": modified,
    }  # fmt: skip
    if dice.happens(0.05):
        set_absent_id(data, fields, "campaignId")
    set_absent_id(data, fields, "invoiceId")
    return fields


def set_absent_id(data: Dataset, fields: dict[str, Any], name: str) -> None:
    """Writes a required id that does not exist, as the switch `absent_ids` says."""
    if data.switches.absent_ids == "missing":
        fields.pop(name, None)
    else:
        fields[name] = 0 if data.switches.absent_ids == "zero" else None


def seed_activity(data: Dataset, job: dict[str, Any], number: int, latest: int) -> None:
    """Gives one seeded job its appointments, assignments, estimates, invoice, cancel log and note, and links them."""
    dice, tables = data.dice, data.tables
    count = dice.weighted(((1, 0.75), (2, 0.2), (3, 0.05)))
    ids = []
    for turn in range(count):
        start = job["@created"] + (1 + turn * 3) * DAY
        start -= start % (30 * MINUTE)
        status = APPOINTMENT_STATUS.get(job["jobStatus"], "Scheduled")
        appointment = appointment_fields(data, job, turn + 1, start, job["@created"], job["@modified"], status=status)
        if turn and number % 9 == 3:
            appointment["active"] = False
        else:
            ids.append(appointment["id"])
        tables["appointments"].load([plain_record(appointment)])
        who = assignment_fields(data, appointment, job["@created"], job["@modified"])
        tables["appointment-assignments"].load([plain_record(who)])
    job.update(appointmentCount=len(ids), firstAppointmentId=ids[0], lastAppointmentId=ids[-1])
    if dice.happens(0.35):
        created = job["@created"]
        made = [estimate_fields(data, job, created, dice.instant(created, latest)) for _ in range(1 + dice.below(2))]
        tables["estimates"].load([plain_record(each) for each in made])
        job["estimateIds"] = [each["id"] for each in made]
    if dice.happens(0.85):
        invoice = invoice_fields(data, job, job["@created"], dice.instant(job["@created"], latest))
        job["invoiceId"] = invoice["id"]
        if number % 31 == 12:  # a project invoice names no job (contract, section 6, 20)
            invoice.update(job=None, projectId=data.next_id(), invoiceConfiguration="ProjectInvoice")
        if number % 97 == 40 and data.switches.invoices_without_modified:
            invoice["@undated"] = True
        tables["invoices"].load([plain_record(invoice)])
    if job["jobStatus"] == "Canceled":
        tables["job-canceled-logs"].load([plain_record(cancel_fields(data, job, job["@modified"]))])
    if number % 6 == 0:
        tables["job-notes"].load([plain_record(note_fields(data, job, job["@modified"]))])


def appointment_fields(
    data: Dataset,
    job: dict[str, Any],
    number: int,
    start: int,
    created: int,
    modified: int,
    *,
    status: str = "Scheduled",
) -> dict[str, Any]:
    """A visit of two hours with an arrival window of four; every eighth has no window."""
    windowed = data.dice.below(8) > 0
    return {
        "id": data.next_id(), "jobId": job["id"], "appointmentNumber": f"{job['jobNumber']}-{number}",
        "start": write_instant(start), "end": write_instant(start + 2 * HOUR),
        "arrivalWindowStart": write_instant(start) if windowed else None,
        "arrivalWindowEnd": write_instant(start + 4 * HOUR) if windowed else None, "status": status,
        "specialInstructions": None if data.dice.below(4) else "Gate code 0155\r\nring twice",
        "customerId": job["customerId"], "unused": False, "createdById": 5501, "isConfirmed": False, "active": True,
        "@created": created, "@modified": modified,
    }  # fmt: skip


def assignment_fields(data: Dataset, appointment: dict[str, Any], created: int, modified: int) -> dict[str, Any]:
    """A technician put on an appointment."""
    number = data.dice.below(len(TECHNICIANS))
    status = {"Done": "Done", "Working": "Working", "Dispatched": "Dispatched"}.get(appointment["status"], "Scheduled")
    return {
        "id": data.next_id(), "technicianId": data.technician_ids[number], "technicianName": TECHNICIANS[number],
        "assignedById": 5501, "assignedOn": write_instant(created), "status": status, "isPaused": False,
        "jobId": appointment["jobId"], "appointmentId": appointment["id"], "active": appointment["active"],
        "@created": created, "@modified": modified,
    }  # fmt: skip


def estimate_fields(data: Dataset, job: dict[str, Any], created: int, modified: int) -> dict[str, Any]:
    """An estimate of one item, open, sold or dismissed; 1 in 20 is inactive."""
    dice = data.dice
    status = dice.weighted((("Open", 0.5), ("Sold", 0.35), ("Dismissed", 0.15)))
    amount = msgspec.Raw(b"%d.%02d00000000" % (200 + dice.below(12_000), dice.below(100)))
    written = write_instant(modified)
    item = {
        "id": data.next_id(), "skuAccount": "Sales", "description": "<p>Labor &amp; material</p>",
        "membershipTypeId": None,
        "sku": {"id": 9001, "name": "SVC-1", "displayName": "Service", "type": "Service", "soldHours": 1,
                "generalLedgerAccountId": 4000, "generalLedgerAccountName": "Sales", "modifiedOn": written},
        "qty": msgspec.Raw(b"1.0000000000000000000"), "unitRate": amount, "total": amount,
        "unitCost": msgspec.Raw(b"338.0300000000"), "totalCost": msgspec.Raw(b"338.0300000000"), "itemGroupName": "",
        "itemGroupRootId": None, "createdOn": written, "modifiedOn": written, "chargeable": None, "invoiceItemId": None,
        "budgetCodeId": None,
    }  # fmt: skip
    return {
        "id": data.next_id(), "jobId": job["id"], "projectId": None, "locationId": job["locationId"],
        "customerId": job["customerId"], "name": dice.pick(ESTIMATE_NAMES), "jobNumber": job["jobNumber"],
        "status": {"value": ("Open", "Sold", "Dismissed").index(status), "name": status}, "reviewStatus": "None",
        "summary": None, "soldOn": written if status == "Sold" else None,
        "soldBy": dice.pick(data.technician_ids) if status == "Sold" else None, "active": dice.below(20) > 0,
        "items": [item], "externalLinks": [], "subtotal": amount, "tax": msgspec.Raw(b"0.0"),
        "businessUnitId": job["businessUnitId"], "businessUnitName": None, "isRecommended": False, "budgetCodeId": None,
        "isChangeOrder": False, "proposalTagName": None, "@created": created, "@modified": modified,
    }  # fmt: skip


def invoice_fields(data: Dataset, job: dict[str, Any], created: int, modified: int) -> dict[str, Any]:
    """An invoice with amounts as strings and no line items; `invoiceDate` is a calendar day written as midnight."""
    dice = data.dice
    total = f"{dice.below(9000)}.{dice.below(100):02d}" if dice.below(8) else "0.00"
    day = write_instant(created - created % DAY)
    return {
        "id": data.next_id(), "syncStatus": dice.pick(("Pending", "Posted", "Exported")), "budgetCodeId": None,
        "referenceNumber": job["jobNumber"], "invoiceDate": day, "dueDate": day, "subTotal": total, "salesTax": "0.00",
        "salesTaxCode": None, "taxZoneId": None, "total": total, "balance": total if dice.below(3) == 0 else "0.00",
        "invoiceType": None, "customer": {"id": job["customerId"], "name": "Customer"}, "customerAddress": None,
        "location": {"id": job["locationId"], "name": "Location"}, "locationAddress": None,
        "businessUnit": {"id": job["businessUnitId"], "name": "Unit"}, "termName": "Due Upon Receipt",
        "createdBy": "office", "batch": None, "depositedOn": None, "adjustmentToId": None,
        "job": {"id": job["id"], "number": job["jobNumber"], "type": "Service"}, "projectId": None, "royalty": None,
        "employeeInfo": None, "commissionEligibilityDate": None, "sentStatus": dice.pick(("NotSent", "Sent", "Opened")),
        "reviewStatus": "NeedsReview", "assignedTo": None, "summary": "<p>Thank you &amp; see you</p>", "items": [],
        "customFields": None, "active": dice.below(60) > 0, "discountTotal": None, "importId": None, "exportId": None,
        "materialSkuId": None, "membershipId": None, "paidOn": None, "invoiceConfiguration": "JobInvoice",
        "@created": modified + DAY if dice.below(200) == 7 else created, "@modified": modified,
    }  # fmt: skip


def cancel_fields(data: Dataset, job: dict[str, Any], moment: int, reason: int | None = None) -> dict[str, Any]:
    """A line of the canceled log (it has no modifiedOn)."""
    return {
        "id": data.next_id(), "jobId": job["id"], "reasonId": reason or data.dice.pick(CANCEL_REASONS)[0],
        "memo": "called in", "createdById": 5501, "active": True, "@created": moment, "@modified": moment,
        "@bare": True,
    }  # fmt: skip


def note_fields(data: Dataset, job: dict[str, Any], moment: int) -> dict[str, Any]:
    """An office note on a job."""
    return {
        "id": data.next_id(), "jobId": job["id"], "text": "Left voicemail", "isPinned": False, "createdById": 5501,
        "active": True, "@created": moment, "@modified": moment,
    }  # fmt: skip


def job_record(fields: dict[str, Any]) -> Record:
    """A job row; `active` is added by the export feed only."""
    return Record(
        fields["id"], encode_row({key: value for key, value in fields.items() if key[0] != "@"}),
        modified=fields["@modified"], created=fields["@created"],
    )  # fmt: skip


def plain_record(fields: dict[str, Any]) -> Record:
    """A row whose instants stand in @created and @modified; `@undated` writes modifiedOn null, `@bare` leaves it
    out."""
    row = {key: value for key, value in fields.items() if key[0] != "@"}
    row["createdOn"] = write_instant(fields["@created"])
    if not fields.get("@bare"):
        row["modifiedOn"] = None if fields.get("@undated") else write_instant(fields["@modified"])
    return Record(
        row["id"], encode_row(row), modified=fields["@modified"], created=fields["@created"], active=row["active"],
        dated=not fields.get("@undated"),
    )  # fmt: skip
