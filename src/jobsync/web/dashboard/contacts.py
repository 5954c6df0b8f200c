"""Contacts: those that a person has to decide about, those whom nobody can reach, and a sheet for the office."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Response
from fastapi import Path as InPath

from jobsync.engine.customers import (
    DECISIONS,
    browse_shared,
    browse_unreachable,
    decide_contact_review,
    list_contact_reviews,
    list_customers_to_mend,
    tell_customer,
)
from jobsync.errors import InvalidInput
from jobsync.web.dashboard.rendering import confirm, page, show_count
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by
from jobsync.web.sheets import safe_cell

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/contacts"
PAGE = 50
LONGEST_SHEET = 100_000
COLUMNS = ("reason", "st_customer_id", "customer_name", "value", "shared_with", "jobs", "fix")
View = Literal["review", "unreachable", "shared_phone", "shared_email"]
VIEWS = {
    "review": "To decide",
    "unreachable": "Cannot be reached",
    "shared_phone": "Share a phone",
    "shared_email": "Share an e-mail",
}
CustomerPath = Annotated[int, InPath(ge=1, le=2**63 - 1)]


@router.get(HERE)
@seen_by("viewer")
async def show_contacts(
    visit: ThisVisit,
    view: View = "review",
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    decided: bool = False,
) -> Response:
    """One of four lists, a page at a time; the sheet holds all."""
    shown: dict[str, Any] = {"rows": [], "groups": []}
    next_after = None
    if view == "review":
        rows = await list_contact_reviews(visit.engine, visit.tenant, decided=decided, limit=PAGE + 1)
        shown["rows"] = rows[:PAGE]
    elif view == "unreachable":
        found = await browse_unreachable(visit.engine, visit.tenant, after=after, limit=PAGE)
        shown["rows"], next_after = found["customers"], found["next"]
    else:
        found = await browse_shared(visit.engine, visit.tenant, view.removeprefix("shared_"), after=after)
        shown["groups"], next_after = found["groups"], found["next"]
    return page(
        visit,
        "contacts.html",
        title="Contacts",
        here=HERE,
        view=view,
        views=VIEWS,
        more=view == "review" and len(rows) > PAGE,
        next_after=next_after,
        after=after,
        decided=decided,
        **shown,
    )


@router.get("/ui/contacts/office.csv")
@seen_by("viewer")
async def download_sheet(visit: ThisVisit) -> Response:
    """All customers to mend in ServiceTitan, for a spreadsheet."""
    rows = await list_customers_to_mend(visit.engine, visit.tenant, limit=LONGEST_SHEET)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in rows:
        shared = ", ".join(str(one) for one in row["shared_with"] or ())
        writer.writerow([safe_cell(shared if name == "shared_with" else row[name]) for name in COLUMNS])
    headers = {"Content-Disposition": 'attachment; filename="customers-to-mend.csv"'}
    return Response(out.getvalue().encode(), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/ui/contacts/{customer}/decide")
@seen_by("operator")
async def ask_to_decide(visit: ThisVisit, customer: CustomerPath, decision: Literal["share", "skip"]) -> Response:
    """What a decision does."""
    found = await tell_customer(visit.engine, visit.tenant, customer)
    waiting = found["waits_for_contact"]
    share = decision == "share"
    return confirm(
        visit,
        title="Let both customers use this contact?" if share else "Leave this customer's jobs out?",
        sentence="In GoHighLevel they stay one contact; the card names the customer."
        if share
        else "Nothing of this customer is sent until you decide otherwise.",
        action=f"/ui/contacts/{customer}/decide",
        button=f"Use it and send {waiting} {'job' if waiting == 1 else 'jobs'}" if share else "Leave them out",
        facts=[
            ("Customer", found["customer_name"] or str(customer)),
            ("Jobs that wait for this", show_count(waiting)),
            ("GoHighLevel requests, at most", show_count(4 * waiting if share else 0)),
            ("Paid workflow triggers", "0"),
        ],
        fields=[("decision", decision)],
        back=HERE,
        here=HERE,
    )


@router.post("/ui/contacts/{customer}/decide")
@seen_by("operator")
async def decide(visit: ThisVisit, customer: CustomerPath, decision: Annotated[str, Form(max_length=10)]) -> Response:
    """Decides."""
    if decision not in DECISIONS:
        raise InvalidInput("The decision is share or skip.")
    planned = await decide_contact_review(visit.engine, visit.tenant, customer, decision, actor=visit.actor)
    if decision == "skip":
        return await visit.go(
            HERE, "Left out: nothing of this customer is sent until you decide otherwise.", kind="warn"
        )
    return await visit.go(HERE, f"Both use the contact; {planned} {'job is' if planned == 1 else 'jobs are'} planned.")
