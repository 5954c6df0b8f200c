"""customers list, show, review, decide: who cannot be reached, who shares a phone or an e-mail; a sheet for the office."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, print_table, say, write_sheet
from jobsync.cli.shared import ACTOR, AsJson, run, settings_of, tenant_of
from jobsync.engine.customers import (
    REASONS,
    count_customers_to_mend,
    decide_contact_review,
    list_contact_reviews,
    list_customers_to_mend,
    tell_customer,
)
from jobsync.engine.opening import open_engine
from jobsync.errors import InvalidInput

app = typer.Typer(help="Customers that the office has to mend.", no_args_is_help=True, rich_markup_mode=None)
COLUMNS = ("reason", "st_customer_id", "customer_name", "value", "shared_with", "jobs", "fix")


@app.command("list")
def show_list(
    context: typer.Context,
    reason: Annotated[
        str | None, typer.Option(help="no_contact, invalid_contact, shared_phone or shared_email.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most this many.")] = 1000,
    csv: Annotated[Path | None, typer.Option(help="Write them into this file, for a spreadsheet.")] = None,
    as_json: AsJson = False,
) -> None:
    """List customers that cannot be reached, or that share a phone or an e-mail."""
    if reason is not None and reason not in REASONS:
        raise InvalidInput(f"--reason {reason} is not one of {', '.join(REASONS)}.")
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> tuple[list[dict[str, Any]], dict[str, int]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            rows = await list_customers_to_mend(engine, tenant, reason=reason, limit=limit)
            return rows, await count_customers_to_mend(engine, tenant)

    rows, counts = run(act())
    cells = [[_text(row[name]) for name in COLUMNS] for row in rows]
    if csv is not None:
        write_sheet(csv, COLUMNS, cells)
        say(f"{len(rows)} customers written to {csv}.")
    if as_json:
        print_json({"counts": counts, "count": len(rows), "customers": rows})
        return
    if csv is None and rows:
        print_table(COLUMNS, cells)
    print_lines([describe_counts(counts)])


def describe_counts(counts: dict[str, int]) -> str:
    """How many customers the office has to mend, in one sentence."""
    if not counts:
        return "Every customer can be reached, and no two share a phone or an e-mail."
    told = ", ".join(f"{reason.replace('_', ' ')} {number}" for reason, number in counts.items())
    return f"{told}. Next: jobsync customers list --csv office.csv"


@app.command("show")
def show_one(
    context: typer.Context,
    customer: Annotated[int, typer.Argument(help="ServiceTitan's id of the customer.")],
    as_json: AsJson = False,
) -> None:
    """Show one customer, what is to be mended and its jobs."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await tell_customer(engine, tenant, customer)

    found = run(act())
    if as_json:
        print_json(found)
        return
    lines = [
        f"Customer {found['st_customer_id']}  {found['customer_name'] or '-'}   GoHighLevel contact {found['ghl_contact_id'] or '-'}"
    ]
    lines.append(f"  phone {found['phone'] or '-'}   e-mail {found['email'] or '-'}")
    lines += [
        f"  {row['reason'].replace('_', ' ')}"
        + (f" with {_text(row['shared_with'])}" if row["shared_with"] else "")
        + f"   Fix: {row['fix']}"
        for row in found["to_mend"]
    ]
    lines += [
        f"  job {job['st_job_id']} (no. {job['st_job_number'] or '-'})  {job['state']}  {job['reason'] or ''}".rstrip()
        for job in found["jobs"]
    ]
    print_lines(lines)


@app.command("review")
def review(
    context: typer.Context,
    decided: Annotated[bool, typer.Option("--all", help="Also those that were decided.")] = False,
    as_json: AsJson = False,
) -> None:
    """List contacts that two customers share in GoHighLevel: a person decides."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[dict[str, Any]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await list_contact_reviews(engine, tenant, decided=decided)

    rows = run(act())
    if as_json:
        print_json({"count": len(rows), "reviews": rows})
        return
    head = ("customer", "name", "reason", "contact", "other customer", "other contact", "decision")
    names = (
        "st_customer_id",
        "customer_name",
        "reason",
        "contact_id",
        "other_customer_id",
        "other_contact_id",
        "decision",
    )
    if rows:
        print_table(head, [[row[name] for name in names] for row in rows])
    waiting = [row for row in rows if row["decision"] is None and row["reason"] == "shared"]
    if waiting:
        print_lines([f"Next: jobsync customers decide {waiting[0]['st_customer_id']} share (or skip)"])
    else:
        print_lines(["Nothing waits for a decision."])


@app.command("decide")
def decide(
    context: typer.Context,
    customer: Annotated[int, typer.Argument(help="ServiceTitan's id of the customer.")],
    decision: Annotated[
        str, typer.Argument(help="share: both customers use the contact; skip: its jobs are not sent.")
    ],
    as_json: AsJson = False,
) -> None:
    """Decide about a contact that two customers share."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> int:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await decide_contact_review(engine, tenant, customer, decision, actor=ACTOR)

    planned = run(act())
    if as_json:
        print_json({"customer": customer, "decision": decision, "planned": planned})
    else:
        print_lines([f"Decided: {decision}. {planned} jobs are planned. Next: jobsync deliver"])


def _text(value: object) -> str:
    if value is None:
        return ""
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)
