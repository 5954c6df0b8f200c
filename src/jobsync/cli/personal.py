"""erase customer, and db prune: personal data leaves on request and with time."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines
from jobsync.cli.shared import ACTOR, AsJson, Yes, run, settings_of, tenant_of
from jobsync.engine.erase import erase_customer
from jobsync.engine.opening import open_engine
from jobsync.engine.prune import keep_raw, prune
from jobsync.errors import ConfirmationNeeded

app = typer.Typer(help="Erase what is stored about a person.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def erase() -> None:
    """Erase what is stored about a person."""


@app.command("customer")
def erase_one(
    context: typer.Context,
    customer: Annotated[int, typer.Argument(min=1, help="The customer's id in ServiceTitan.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go; change nothing.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase a customer with jobs, locations, contacts and raw records. It never comes back."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            counted = await erase_customer(engine, tenant, customer, actor=ACTOR, dry_run=True)
            if dry_run:
                return counted
            question = f"Erase customer {customer} with {counted['jobs']} jobs for good?"
            if not yes and not (sys.stdin.isatty() and typer.confirm(question, err=True)):
                raise ConfirmationNeeded(
                    f"Customer {customer} with {counted['jobs']} jobs would be erased for good; not confirmed.",
                    hint="Add --yes.",
                )
            return await erase_customer(engine, tenant, customer, actor=ACTOR)

    report = run(act())
    if as_json:
        print_json(report)
        return
    rows = ", ".join(f"{name} {count}" for name, count in report["erased"].items()) or "nothing was left"
    lines = [f"{'Would erase' if dry_run else 'Erased'} customer {customer}: {rows}."]
    for kind, ids in report["gohighlevel"].items():
        if ids:
            lines.append(f"GoHighLevel still holds {kind}, to be deleted there: {', '.join(ids)}")
    print_lines(lines)


def prune_database(
    context: typer.Context,
    raw_days: Annotated[
        int | None, typer.Option(min=30, help="From now on, texts leave raw records unchanged for so many days.")
    ] = None,
    keep_texts: Annotated[bool, typer.Option("--keep-raw", help="From now on, raw records stay whole.")] = False,
    as_json: AsJson = False,
) -> None:
    """End what has been kept long enough; the schedule does it once a day."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, int]:
        async with open_engine(settings) as engine:
            if raw_days is not None or keep_texts:
                await keep_raw(engine, tenant, None if keep_texts else raw_days)
            return await prune(engine, tenant)

    counts = run(act())
    if as_json:
        print_json(counts)
    else:
        print_lines(["Pruned: " + ", ".join(f"{name} {count}" for name, count in counts.items()) + "."])
