"""The list endpoints with pages: which there are, what each filters and sorts by, and how a page is cut.

ServiceTitan contract, sections 2.1 and 4. Pages are offset-based over live rows: a row that changes between two calls
moves, and what stood behind it moves up.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .dataset import Dataset
from .filters import (
    Filter,
    any_of,
    at_least,
    at_most,
    before,
    by_appointment,
    by_id,
    by_part,
    by_phone,
    by_technician,
    by_text,
    by_truth,
    by_word,
    on_or_after,
)  # fmt: skip
from .instants import read_instant
from .query import Query, id_list, instant, one_of, truth, whole
from .replies import Page, Reply, problem
from .switches import Switches
from .tables import Record, Table

ACTIVE_WORDS = ("True", "Any", "False")
JOB_STATUS = ("Scheduled", "Dispatched", "InProgress", "Hold", "Completed", "Canceled")
VISIT_STATUS = ("Scheduled", "Dispatched", "Working", "Hold", "Done", "Canceled")
SORTS = ("Id", "ModifiedOn", "CreatedOn")
ADDRESS = tuple(by_text(part, f"address.{part}") for part in ("street", "unit", "city", "state", "zip", "country"))


@dataclass(frozen=True, slots=True)
class Listing:
    """One list endpoint. active: the default of its `active` filter ("True", "Any"), None where it has no such filter.
    sorts: fields of `sort`, none where the endpoint has none. order_by: it takes orderBy + orderByDirection (too).
    by_id: whether `.../{id}` answers one row. ids: whether it takes `ids`."""

    table: str
    filters: tuple[Filter, ...] = ()
    active: str | None = "True"
    sorts: tuple[str, ...] = ()
    order_by: bool = False
    by_id: bool = False
    ids: bool = True


LISTINGS: dict[str, Listing] = {
    "jpm/jobs": Listing(
        "jobs",
        (
            by_text("number", "jobNumber"), by_id("projectId"), by_id("bookingId"), by_word("jobStatus", *JOB_STATUS),
            by_text("priority"), by_id("customerId"), by_id("locationId"), by_id("soldById"), by_id("jobTypeId"),
            by_id("campaignId"), by_id("businessUnitId"), by_id("invoiceId"), by_id("createdFromEstimateId"),
            any_of("estimateIds", "estimateIds"), any_of("tagTypeIds", "tagTypeIds"),
            on_or_after("completedOnOrAfter", "completedOn"), before("completedBefore", "completedOn"),
            by_technician("jobId"),
            by_appointment("appointmentStatus", one_of(*VISIT_STATUS), lambda wanted, visit: visit["status"] == wanted),
            by_appointment("hasUnusedAppointments", truth, lambda wanted, visit: visit["unused"] is wanted),
            by_appointment("appointmentStartsOnOrAfter", instant, lambda wanted,
            visit: read_instant(visit["start"]) >= wanted),
            by_appointment("appointmentStartsBefore", instant, lambda wanted,
            visit: read_instant(visit["start"]) < wanted),
            by_appointment(
                "firstAppointmentStartsOnOrAfter", instant, lambda wanted,
                visit: read_instant(visit["start"]) >= wanted,
                first=True,
            ),
            by_appointment(
                "firstAppointmentStartsBefore", instant, lambda wanted, visit: read_instant(visit["start"]) < wanted,
                first=True
            ),
        ),
        active=None, sorts=(*SORTS, "Priority"), by_id=True,
    ),
    "jpm/appointments": Listing(
        "appointments",
        (
            by_id("jobId"), by_text("number", "appointmentNumber"), by_word("status", *VISIT_STATUS),
            by_id("customerId"),
            on_or_after("startsOnOrAfter", "start"), before("startsBefore", "start"), by_technician("appointmentId"),
            by_truth("unused"),
        ),
        sorts=SORTS, by_id=True,
    ),
    "jpm/job-types": Listing(
        "job-types",
        (by_text("name"), by_text("priority"), at_least("minDuration", "duration"), at_most("maxDuration", "duration")),
        order_by=True, by_id=True,
    ),
    "jpm/job-hold-reasons": Listing("job-hold-reasons", active="Any", sorts=SORTS, ids=False),
    "jpm/job-cancel-reasons": Listing("job-cancel-reasons", active="Any", sorts=SORTS, ids=False),
    "crm/customers": Listing("customers", (by_part("name"), *ADDRESS, by_phone()), sorts=SORTS, by_id=True),
    "crm/locations": Listing("locations", (by_id("customerId"), by_part("name"), *ADDRESS), sorts=SORTS, by_id=True),
    "settings/business-units": Listing("business-units", (by_part("name"),), by_id=True),
    "settings/tag-types": Listing("tag-types", sorts=SORTS, ids=False),
    "settings/technicians": Listing("technicians", (by_part("name"), any_of("userIds", "userId")), by_id=True),
    "settings/employees": Listing("employees", (by_part("name"), any_of("userIds", "userId"), by_text("email")),
    by_id=True),
    "accounting/invoices": Listing(
        "invoices",
        (
            by_word("statuses", "Pending", "Posted", "Exported", field="syncStatus", repeated=True), by_id("jobId",
            "job.id"),
            by_text("jobNumber", "job.number"), by_id("businessUnitId", "businessUnit.id"), by_id("customerId",
            "customer.id"),
            on_or_after("invoicedOnOrAfter", "invoiceDate"), before("invoicedOnBefore", "invoiceDate"),
            by_id("adjustmentToId"), by_text("number", "referenceNumber"), at_least("totalGreater", "total"),
            at_most("totalLess", "total"), on_or_after("dueDateOnOrAfter", "dueDate"), before("dueDateBefore",
            "dueDate"),
            by_word(
                "reviewStatuses", "NeedsReview", "OnHold", "Reviewed", "PendingApproval", "Rejected", "ReadyForBilling",
                "Invoiced", field="reviewStatus", repeated=True,
            ),
            by_word(
                "invoiceConfigurations", "JobInvoice", "ProjectInvoice", "CounterSales", "MembershipInvoice",
                "InterestChargeInvoice", "ARImportInvoice", field="invoiceConfiguration", repeated=True,
            ),
        ),
        sorts=SORTS, order_by=True,
    ),
    "sales/estimates": Listing(
        "estimates",
        (
            by_id("jobId"), by_id("projectId"), by_text("jobNumber"), by_id("locationId"), by_text("status",
            "status.name"),
            on_or_after("soldAfter", "soldOn"), before("soldBefore", "soldOn"), by_id("soldById", "soldBy"),
            by_id("soldByEmployeeId", "soldBy"), at_least("totalGreater", "subtotal"), at_most("totalLess", "subtotal"),
        ),
        sorts=SORTS, order_by=True, by_id=True,
    ),
    "marketing/campaigns": Listing("campaigns", (by_part("name"),), sorts=("Id", "Name", "CreatedOn", "ModifiedOn"),
    by_id=True),
    "dispatch/appointment-assignments": Listing(
        "appointment-assignments", (any_of("appointmentIds", "appointmentId"), by_id("jobId")), sorts=SORTS
    ),
}  # fmt: skip
"""By path without version and tenant: `jpm/jobs` stands for `/jpm/v2/tenant/{tenant}/jobs`."""


def answer_list(listing: Listing, query: Query, data: Dataset) -> Reply:
    """One page of a list. Raises Refusal (400) for a query that does not fit."""
    switches, table = data.switches, data.tables[listing.table]
    number, size, with_total = read_paging(query, switches)
    window = read_window(query)
    excluding_money = query.read("excludeAccountingChangesFromModifiedDateRange", truth, False)
    active = _read_active(listing, query)
    ids = query.read("ids", id_list(switches.ids_limit, switches.over_ids)) if listing.ids else None
    order = _read_order(listing, query)
    wanted: list[tuple[Filter, Any]] = []
    for each in listing.filters:
        if each.repeated:
            values = query.read_all(each.name, each.read)
            if values:
                wanted.append((each, values))
        else:
            value = query.read(each.name, each.read)
            if value is not None:
                wanted.append((each, value))
    query.check(switches.unknown_query)

    memo = (tuple(ids or ()), ids is None, window, active, excluding_money, order,
            switches.sort_honoured, switches.default_sort, switches.ids_respect_active)  # fmt: skip
    rows = table.recall(memo) if switches.tie_order == "id" and not wanted else None
    if rows is None:
        rows = _select(table, ids, wanted, window, active, excluding_money, data)
        rows = arrange(rows, order if switches.sort_honoured else None, switches)
        table.remember(memo, rows)
    return cut_page(rows, number, size, with_total, lambda record: record.body)


def _select(
    table: Table, ids: list[int] | None, wanted: list[tuple[Filter, Any]], window: Window, active: str,
    excluding_money: bool,
    data: Dataset,
) -> list[Record]:  # fmt: skip
    """All rows that every filter keeps."""
    rows = _candidates(table, ids, wanted)
    if active != "Any" and (ids is None or data.switches.ids_respect_active):
        flag = active == "True"
        rows = [record for record in rows if record.active is flag]
    rows = [record for record in rows if window.holds(record, excluding_money)] if window.bounded else rows
    for each, value in wanted:
        rows = [record for record in rows if _keeps(each, value, record, data)]
    return rows


def answer_one(table: Table, key: int) -> Reply:
    """One row by id, active or not; 404 if there is none."""
    record = table.get(key)
    if record is None:
        return problem(404, f"Entity with id {key} was not found.")
    return Reply(body=record.body)


@dataclass(frozen=True, slots=True)
class Window:
    """Bounds on createdOn and modifiedOn in ticks: from inclusive, to exclusive, None = open."""

    created_from: int | None
    created_to: int | None
    modified_from: int | None
    modified_to: int | None

    @property
    def bounded(self) -> bool:
        """Whether any bound is set."""
        return any(
            bound is not None for bound in (self.created_from, self.created_to, self.modified_from, self.modified_to)
        )

    def holds(self, record: Record, excluding_money: bool = False) -> bool:
        """Whether the row lies inside; a row without modifiedOn is in no modified window."""
        if self.created_from is not None and record.created < self.created_from:
            return False
        if self.created_to is not None and record.created >= self.created_to:
            return False
        if self.modified_from is None and self.modified_to is None:
            return True
        moment = record.content_modified if excluding_money else record.modified
        if not record.dated or (self.modified_from is not None and moment < self.modified_from):
            return False
        return self.modified_to is None or moment < self.modified_to


def read_paging(query: Query, switches: Switches) -> tuple[int, int, bool]:
    """page (0 and absent: 1), pageSize (absent: 50), includeTotal."""
    number = query.read("page", whole, 1)
    size = query.read("pageSize", whole, 50)
    if number < 0 or number >= 2**31:
        query.refuse("page", "The page must be 1 or more.")
    if size < 1 or (size > switches.page_size_limit and switches.over_page_size == "reject"):
        query.refuse("pageSize", f"The page size must be between 1 and {switches.page_size_limit}.")
    return max(1, number), min(size, switches.page_size_limit), query.read("includeTotal", truth, False)


def read_window(query: Query) -> Window:
    """The four date parameters every list has."""
    return Window(
        query.read("createdOnOrAfter", instant), query.read("createdBefore", instant),
        query.read("modifiedOnOrAfter", instant), query.read("modifiedBefore", instant),
    )  # fmt: skip


def arrange(rows: list[Record], order: tuple[str, bool] | None, switches: Switches) -> list[Record]:
    """Rows in the order asked for (field, descending), else in the default order. Ties go by key, or anyhow if the
    switch `tie_order` says so."""
    if order is None:
        order = (switches.default_sort[1:], switches.default_sort[0] == "-")
    name, descending = order
    if name.lower() == "id":
        return sorted(rows, key=lambda record: record.key, reverse=descending)
    rows = sorted(rows, key=lambda record: record.key)
    if switches.tie_order == "random":
        random.shuffle(rows)
    if name.lower() == "modifiedon":
        return sorted(rows, key=lambda record: record.modified, reverse=descending)
    if name.lower() == "createdon":
        return sorted(rows, key=lambda record: record.created, reverse=descending)
    field = name[:1].lower() + name[1:]
    return sorted(rows, key=lambda record: str(record.fields().get(field)), reverse=descending)


def cut_page(rows: list[Record], number: int, size: int, with_total: bool, write: Callable[[Record], bytes]) -> Reply:
    """The envelope of section 2.1 around one page of rows."""
    start = (number - 1) * size
    head = {
        "page": number, "pageSize": size, "hasMore": start + size < len(rows),
        "totalCount": len(rows) if with_total else None
    }  # fmt: skip
    return Reply(page=Page(head, [write(record) for record in rows[start : start + size]]))


def _candidates(table: Table, ids: list[int] | None, wanted: list[tuple[Filter, Any]]) -> list[Record]:
    """As few rows as an id list or an index leaves to look at."""
    if ids is not None:
        return [record for key in dict.fromkeys(ids) if (record := table.get(key)) is not None]
    for each, value in wanted:
        if each.index is not None:
            return table.holding(each.index, value)
    return list(table)


def _keeps(each: Filter, value: Any, record: Record, data: Dataset) -> bool:
    fields = record.fields()
    return any(each.keep(one, fields, data) for one in value) if each.repeated else each.keep(value, fields, data)


def _read_active(listing: Listing, query: Query) -> str:
    if listing.table == "invoices":
        words = {"ActiveOnly": "True", "InactiveOnly": "False", "All": "Any"}
        return words[query.read("activeState", one_of(*words), "ActiveOnly")]
    if listing.active is None:
        return "Any"
    return query.read("active", one_of(*ACTIVE_WORDS), listing.active)


def _read_order(listing: Listing, query: Query) -> tuple[str, bool] | None:
    def read_sort(value: str) -> tuple[str, bool]:
        if value[:1] not in "+-" or value[1:].lower() not in [name.lower() for name in listing.sorts]:
            raise ValueError(
                f"The value '{value}' is not valid. Sort by +Field or -Field of: {', '.join(listing.sorts)}"
            )
        return value[1:], value[0] == "-"

    order = query.read("sort", read_sort) if listing.sorts else None
    if order is None and listing.order_by:
        name = query.read("orderBy", one_of("id", "modifiedOn", "createdOn"))
        down = query.read("orderByDirection", one_of("asc", "ascending", "desc", "descending"), "asc")
        order = (name, down.startswith("desc")) if name else None
    return order
