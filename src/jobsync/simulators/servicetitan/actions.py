"""What people do in ServiceTitan while somebody syncs: book, move, complete, cancel, edit, merge, delete.

Every action writes new versions into the dataset, stamped by the clock, so that lists and feeds show it at once (or,
with `visible_after`, as late as a slow commit). All are plain calls by keyword, and reachable by name over the
control API.
"""

from __future__ import annotations

from typing import Any

from .clock import SimClock
from .dataset import Dataset
from .instants import DAY, SECOND, read_instant, write_instant
from .seed_jobs import (
    APPOINTMENT_STATUS,
    appointment_fields,
    assignment_fields,
    cancel_fields,
    estimate_fields,
    invoice_fields,
    job_fields,
    job_record,
    plain_record,
)  # fmt: skip
from .seed_people import (
    REACHABLE_BY,
    contact_fields,
    contact_record,
    contact_row,
    customer_fields,
    location_fields,
    person_record,
)  # fmt: skip
from .seed_reference import stamped_row, unit_row
from .tables import Record, Table, encode_row


class Actions:
    """All actions on one dataset. Unknown ids raise LookupError, bad arguments ValueError or TypeError."""

    def __init__(self, data: Dataset, clock: SimClock) -> None:
        self._data = data
        self._clock = clock

    # jobs ---------------------------------------------------------------------------------------------------------

    def book_job(
        self, *, unit: int | None = None, customer: int | None = None, location: int | None = None,
        new_customer: bool = False, visible_after: float = 0.0, **fields: Any,
    ) -> int:  # fmt: skip
        """A new job with one appointment tomorrow; answers its id. Unit, customer and location are drawn if not
        given; a new customer comes with a location and contacts of its own. visible_after: seconds until the job can
        be seen, although its modifiedOn is now. Further keywords set fields of the job."""
        data, dice = self._data, self._data.dice
        if new_customer:
            customer, location = self.add_customer()
        elif location is not None and customer is None:
            customer = self._row("locations", location).fields()["customerId"]
        elif customer is None:
            customer, location = dice.pick(data.homes)
        elif location is None:
            found = data.tables["locations"].holding("customerId", customer)
            if not found:
                raise LookupError(f"customer {customer} has no location")
            location = found[0].id
        moment = self._clock.stamp()
        job = job_fields(data, customer, location, unit or dice.pick(data.unit_ids), moment, moment)  # type: ignore[arg-type]
        start = moment + DAY - moment % (1800 * SECOND)
        visit = appointment_fields(data, job, 1, start, moment, moment)
        job.update(appointmentCount=1, firstAppointmentId=visit["id"], lastAppointmentId=visit["id"])
        job.update(fields)
        self._show("jobs", job_record(job), visible_after)
        self._show("appointments", plain_record(visit), visible_after)
        self._show(
            "appointment-assignments", plain_record(assignment_fields(data, visit, moment, moment)), visible_after
        )
        return job["id"]

    def book_jobs(self, *, count: int, **fields: Any) -> list[int]:
        """So many new jobs, each with its own instant; see `book_job`."""
        return [self.book_job(**fields) for _ in range(count)]

    def change_job(self, *, job: int, visible_after: float = 0.0, **fields: Any) -> None:
        """Sets fields of a job (`customerId`, `locationId`, `businessUnitId` move it; `active=False` hides it from
        nothing but the export's flag)."""
        self._change("jobs", job, fields, "change_job", visible_after)

    def complete_job(self, *, job: int, total: float | None = None) -> None:
        """Done and priced, with its visits done and an invoice of that total."""
        fields = self._row("jobs", job).fields()
        moment = self._clock.now()
        amount = fields["total"] or 250 if total is None else total
        changes: dict[str, Any] = {"jobStatus": "Completed", "completedOn": write_instant(moment), "total": amount}
        if not fields.get("invoiceId"):
            invoice = invoice_fields(self._data, fields, moment, self._clock.stamp())
            invoice.update(total=f"{amount:.2f}", subTotal=f"{amount:.2f}", balance=f"{amount:.2f}")
            self._show("invoices", plain_record(invoice))
            changes["invoiceId"] = invoice["id"]
        self._change("jobs", job, changes, "complete_job")
        self._change_visits(job, "Done")

    def cancel_job(self, *, job: int, reason: int | None = None) -> None:
        """Canceled, with its visits, and a line in the canceled log."""
        self._change("jobs", job, {"jobStatus": "Canceled"}, "cancel_job")
        self._change_visits(job, "Canceled")
        record = cancel_fields(self._data, self._row("jobs", job).fields(), self._clock.stamp(), reason)
        self._show("job-canceled-logs", plain_record(record))

    def reschedule_job(self, *, job: int, days: float = 1.0) -> None:
        """Its last visit moves by so many days; the job's modifiedOn moves too."""
        visits = self._visits(job)
        if visits:
            fields = visits[-1].fields()
            moved = {
                name: write_instant(read_instant(fields[name]) + int(days * DAY))
                for name in ("start", "end", "arrivalWindowStart", "arrivalWindowEnd")
                if fields[name]
            }
            self._change("appointments", visits[-1].key, moved, "reschedule_job")
        self._change("jobs", job, {}, "reschedule_job")

    def bulk_edit(self, *, jobs: int | list[int], **fields: Any) -> list[int]:
        """Edits the first so many jobs (or these) at one instant: all get the very same modifiedOn. Answers the ids."""
        table, moment = self._data.tables["jobs"], self._clock.stamp()
        ids = table.keys()[:jobs] if isinstance(jobs, int) else list(jobs)
        for job in ids:
            self._change("jobs", job, fields, "bulk_edit", moment=moment)
        return list(ids)

    def delete_appointment(self, *, appointment: int) -> None:
        """Gone from lists, inactive in the feed; the job counts one less."""
        self._change("appointments", appointment, {"active": False}, "delete_appointment")
        job = self._row("appointments", appointment).fields()["jobId"]
        left = [record for record in self._visits(job) if record.active]
        changes: dict[str, Any] = {"appointmentCount": len(left)}
        if left:
            changes.update(firstAppointmentId=left[0].id, lastAppointmentId=left[-1].id)
        self._change("jobs", job, changes, "delete_appointment")

    def add_estimate(self, *, job: int) -> int:
        """A new estimate for a job; answers its id. The job lists it and is modified."""
        fields = self._row("jobs", job).fields()
        moment = self._clock.stamp()
        estimate = estimate_fields(self._data, fields, moment, moment)
        estimate.update(active=True, status={"value": 0, "name": "Open"}, soldOn=None, soldBy=None)
        self._show("estimates", plain_record(estimate))
        self._change("jobs", job, {"estimateIds": [*fields["estimateIds"], estimate["id"]]}, "add_estimate")
        return estimate["id"]

    def sell_estimate(self, *, estimate: int) -> None:
        """Sold; silently, unless the switch `silent_edits` says otherwise (contract, section 6, 7)."""
        changes = {"status": {"value": 1, "name": "Sold"}, "soldOn": write_instant(self._clock.now())}
        self._change("estimates", estimate, changes, "sell_estimate")

    # people -------------------------------------------------------------------------------------------------------

    def add_customer(self, *, kinds: list[str] | None = None) -> tuple[int, int]:
        """A new customer with a location; contacts of these kinds (mobile and mail if None) on both. Answers both
        ids."""
        data, moment = self._data, self._clock.stamp()
        number = len(data.tables["customers"])
        owner = customer_fields(data, number, moment, moment)
        owner["active"] = True
        place = location_fields(data, number, owner, moment, extra=False)
        place["@modified"] = moment
        self._show("customers", person_record(owner))
        self._show("locations", person_record(place))
        data.homes.append((owner["id"], place["id"]))
        for turn, kind in enumerate(REACHABLE_BY[0][0] if kinds is None else kinds):
            fields = contact_fields(data, number + turn, kind, owner)
            fields.update({"@created": moment, "@modified": moment})
            self._show("customers/contacts", contact_record(data, fields, owner["id"]))
            copy = {**fields, "id": data.next_id()}
            self._show("locations/contacts", contact_record(data, copy, place["id"]))
        return owner["id"], place["id"]

    def change_customer(self, *, customer: int, **fields: Any) -> None:
        """Sets fields of a customer, `doNotService` for instance."""
        self._change("customers", customer, fields, "change_customer")

    def change_location(self, *, location: int, **fields: Any) -> None:
        """Sets fields of a location; `customerId` gives it to another customer."""
        self._change("locations", location, fields, "change_location")

    def change_balance(self, *, customer: int, balance: float) -> None:
        """An accounting change: bumps modifiedOn, but not for readers who exclude accounting changes."""
        old = self._row("customers", customer)
        self._change(
            "customers", customer, {"balance": balance}, "change_balance", content_modified=old.content_modified
        )

    def add_contact(self, *, owner: str, parent: int, kind: str, value: str, memo: str | None = None) -> int:
        """A new contact; owner: customers or locations, parent: its id. Answers the contact's id."""
        if parent not in self._data.tables[owner]:
            raise LookupError(f"no row {parent} in {owner}")
        moment = self._clock.stamp()
        fields = {"id": self._data.next_id(), "type": kind, "value": value, "memo": memo, "@stop": False,
                  "@created": moment, "@modified": moment}  # fmt: skip
        self._show(f"{owner}/contacts", contact_record(self._data, fields, parent))
        return fields["id"]  # type: ignore[return-value]

    def change_contact(
        self, *, owner: str, parent: int, contact: int, value: str | None = None, memo: str | None = None,
        do_not_text: bool | None = None, kind: str | None = None,
    ) -> None:  # fmt: skip
        """Edits a contact. The customer or location is not touched (contract, section 6, 2)."""
        table = self._data.tables[f"{owner}/contacts"]
        old = self._row(table.name, (contact, parent))
        row = old.fields()
        fields = {
            "id": contact, "type": kind or row["type"], "value": row["value"] if value is None else value,
            "memo": row["memo"] if memo is None else memo,
            "@stop": (row.get("phoneSettings") or {}).get("doNotText", False) if do_not_text is None else do_not_text,
            "@created": old.created, "@modified": self._moment("change_contact", old),
        }  # fmt: skip
        row.update(contact_row(self._data.switches.email_phone_settings, fields))
        self._put(table, Record(old.key, encode_row(row), modified=fields["@modified"], created=old.created))
        if self._data.switches.contact_edit_touches_parent:
            self._change(owner, parent, {}, "change_contact")

    def remove_contact(self, *, owner: str, parent: int, contact: int) -> None:
        """Gone from lists; the export feed shows it once more, with active false."""
        table = self._data.tables[f"{owner}/contacts"]
        self._change(table.name, (contact, parent), {}, "remove_contact", active=False)

    def merge_customer(self, *, customer: int, into: int) -> None:
        """The merged one turns inactive and names its survivor. Jobs are re-pointed only by `merge_repoints_jobs`."""
        self._merge("customers", "customerId", customer, into)

    def merge_location(self, *, location: int, into: int) -> None:
        """Likewise for locations."""
        self._merge("locations", "locationId", location, into)

    # other --------------------------------------------------------------------------------------------------------

    def add_unit(self, *, unit: int, name: str) -> None:
        """A new business unit."""
        self._show("business-units", stamped_row(unit_row(self._data, unit, name, True), self._clock.stamp()))
        self._data.unit_ids.append(unit)

    def change_row(self, *, table: str, id: int, parent: int | None = None, **fields: Any) -> None:
        """Sets fields of any row of any table, and bumps its modifiedOn; with no fields it only does that."""
        self._change(table, id if parent is None else (id, parent), fields, "change_row")

    # how ----------------------------------------------------------------------------------------------------------

    def _row(self, table: str, key: Any) -> Record:
        if table not in self._data.tables:
            raise LookupError(f"no table is called {table}")
        record = self._data.tables[table].get(key)
        if record is None:
            raise LookupError(f"no row {key} in {table}")
        return record

    def _visits(self, job: int) -> list[Record]:
        return self._data.tables["appointments"].holding("jobId", job)

    def _change_visits(self, job: int, status: str) -> None:
        for visit in self._visits(job):
            if visit.active and visit.fields()["status"] not in (status, APPOINTMENT_STATUS["Completed"]):
                self._change("appointments", visit.key, {"status": status}, "change_job")

    def _moment(self, action: str, old: Record) -> int:
        return old.modified if action in self._data.switches.silent_edits else self._clock.stamp()

    def _change(
        self, table: str, key: Any, fields: dict[str, Any], action: str, visible_after: float = 0.0, *,
        moment: int | None = None, active: bool | None = None, content_modified: int | None = None,
    ) -> None:  # fmt: skip
        old = self._row(table, key)
        moment = self._moment(action, old) if moment is None else moment
        row = {**old.fields(), **fields}
        if "modifiedOn" in row and "modifiedOn" not in fields:
            row["modifiedOn"] = write_instant(moment)
        if active is None:
            active = bool(row.get("active", old.active))
        if table == "jobs":
            row.pop("active", None)
        record = Record(
            key, encode_row(row), modified=moment, created=old.created, active=active, content_modified=content_modified
        )
        self._show(table, record, visible_after)

    def _merge(self, table: str, link: str, merged: int, into: int) -> None:
        self._row(table, into)
        self._change(table, merged, {"active": False, "mergedToId": into}, "merge")
        if self._data.switches.merge_repoints_jobs:
            for job in self._data.tables["jobs"].holding(link, merged):
                self._change("jobs", job.key, {link: into}, "merge")

    def _show(self, table: str, record: Record, visible_after: float = 0.0) -> None:
        if visible_after > 0:
            self._data.put_later(table, record, self._clock.now() + int(visible_after * SECOND))
        else:
            self._put(self._data.tables[table], record)

    def _put(self, table: Table, record: Record) -> None:
        table.put(record, visible_at=self._clock.now())


ACTIONS = tuple(name for name in vars(Actions) if not name.startswith("_"))
"""Names of all actions, as the control API takes them."""
