"""verify, send-test: what really is in GoHighLevel."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines
from jobsync.cli.shared import ACTOR, AsJson, Yes, read_moment, run, settings_of, tenant_of
from jobsync.engine.opening import open_engine
from jobsync.engine.send_test import send_test
from jobsync.engine.verify import FOUND, VerifyReport, list_unverified, verify_deliveries
from jobsync.errors import ConfirmationNeeded


def verify(
    context: typer.Context,
    since: Annotated[str | None, typer.Option(help="Also what was accepted since this ISO date, once more.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read back from GoHighLevel what it accepted."""
    settings, tenant = settings_of(context), tenant_of(context)
    started = read_moment(since, "--since")

    async def act() -> tuple[VerifyReport, list[dict[str, Any]]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            report = await verify_deliveries(engine, tenant, since=started, everything=True, longest=3600.0)
            return report, await list_unverified(engine, tenant)

    report, overdue = run(act())
    if as_json:
        found: dict[str, Any] = {name: getattr(report, name) for name in FOUND}
        print_json({**found, "requests": report.requests, "unverified": overdue})
    else:
        print_lines(describe_verification(report, overdue))
    if report.error is not None:
        raise report.error
    if overdue or report.deleted:
        raise typer.Exit(4)


def describe_verification(report: VerifyReport, overdue: list[dict[str, Any]]) -> list[str]:
    """What was found, what was not, and what that means."""
    lines = [
        f"Looked for {report.checked} jobs: {report.verified} found, {report.missing} not there, "
        f"{report.unmarked} without st_job_id, {report.deleted} deleted in GoHighLevel   ({report.requests} requests)"
    ]
    lines += [
        f"  {row['jobs']:>6} {row['result']:<9} {row['business_unit_name'] or row['business_unit_id']}  "
        f"{row['destination_masked']}: {row['why']}"
        for row in overdue
    ]
    if overdue:
        lines.append(f"Next: jobsync why {overdue[0]['sample_st_job_id']}")
    elif report.missing or report.unmarked:
        lines.append("A workflow may need a moment. Next: jobsync verify, in a minute")
    else:
        lines.append("Everything that was accepted is there.")
    return lines


def send_test_job(
    context: typer.Context,
    unit: Annotated[int, typer.Option(help="The business unit whose hook is tested.")],
    wait: Annotated[float, typer.Option(min=0, max=600, help="Seconds to look for it in GoHighLevel.")] = 60.0,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send one invented job to a unit's hook: queued, test-only or landed."""
    settings, tenant = settings_of(context), tenant_of(context)
    if not yes and not (
        sys.stdin.isatty() and typer.confirm("Send one invented job (one paid workflow trigger)?", err=True)
    ):
        raise ConfirmationNeeded("This sends an invented job to GoHighLevel; not confirmed.", hint="Add --yes.")

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await send_test(engine, tenant, unit, actor=ACTOR, wait=wait)

    found = run(act())
    if as_json:
        print_json(found)
    else:
        print_lines([f"{found['result'].replace('_', '-')}: {found['why']}", f"Next: {found['next']}"])
    if found["result"] in ("test_only", "failed"):
        raise typer.Exit(4)
