"""sync, pull, deliver: one pass now, in the foreground, by the same tasks that the service runs."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, say
from jobsync.cli.shared import AsJson, run, settings_of, tenant_of
from jobsync.config import Settings
from jobsync.engine.connections import read_servicetitan_credentials
from jobsync.engine.opening import open_engine
from jobsync.engine.sending import read_status
from jobsync.errors import ConfigError, SendingRefused
from jobsync.tasks.worker import sync_once

NoWait = Annotated[bool, typer.Option("--no-wait", help="Exit 75 when another run does this already.")]
COUNTS = ("pulled", "stored", "unchanged", "quarantined", "planned", "delivered", "verified", "skipped", "failed")


def sync(context: typer.Context, as_json: AsJson = False, no_wait: NoWait = False) -> None:
    """One whole pass: pull what changed, then send each due job once."""
    _pass(context, as_json, no_wait, pull=True, deliver=True)


def pull(context: typer.Context, as_json: AsJson = False, no_wait: NoWait = False) -> None:
    """Pull what changed in ServiceTitan; send nothing."""
    _pass(context, as_json, no_wait, pull=True, deliver=False)


def deliver(context: typer.Context, as_json: AsJson = False, no_wait: NoWait = False) -> None:
    """Send what is due; pull nothing."""
    _pass(context, as_json, no_wait, pull=False, deliver=True)


def _pass(context: typer.Context, as_json: bool, no_wait: bool, *, pull: bool, deliver: bool) -> None:
    settings, tenant = settings_of(context), tenant_of(context)
    report, status = run(run_pass(settings, tenant, pull=pull, deliver=deliver, wait=not no_wait))
    code = pass_exit_code(report)
    if as_json:
        print_json(shape_report(report))
        say(*describe_troubles(report, status))
    else:
        print_lines(describe_pass(report, status, pull=pull))
    if code == 0 and deliver and not pull:
        _refuse_if_off(status["tenant"])
    if code:
        raise typer.Exit(code)


def _refuse_if_off(tenant: dict[str, Any]) -> None:
    if tenant["mode"] != "live":
        raise SendingRefused(f"Nothing was sent: mode is {tenant['mode']}.", hint="Next: jobsync arm")
    if tenant["paused_at"] is not None:
        raise SendingRefused("Nothing was sent: sending is paused.", hint="Next: jobsync resume")


async def run_pass(
    settings: Settings, tenant: str, *, pull: bool, deliver: bool, wait: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs the pass; answers its report and the tenant's status after it."""
    started = time.monotonic()
    async with open_engine(settings) as engine:
        if pull and await read_servicetitan_credentials(engine, tenant) is None:
            raise ConfigError(
                "ServiceTitan is not connected: SERVICE_TITAN_TENANT_ID, SERVICE_TITAN_CLIENT_ID, SERVICE_TITAN_CLIENT_SECRET and "
                "SERVICE_TITAN_APP_KEY are not set.",
                hint="Put them into .env (see .env.example), or look around first with: jobsync demo",
            )
        report = await sync_once(engine, tenant, pull=pull, deliver=deliver, wait=wait)
        report["duration_s"] = round(time.monotonic() - started, 3)
        return report, await read_status(engine, tenant)


def shape_report(report: dict[str, Any]) -> dict[str, Any]:
    """The object that --json prints: counts of jobs, requests to both upstreams, seconds."""
    shaped: dict[str, Any] = {name: report[name] for name in COUNTS}
    shaped["requests"] = {
        "servicetitan": report["servicetitan_requests"],
        "gohighlevel": report["gohighlevel_requests"],
    }
    shaped["duration_s"] = report["duration_s"]
    return shaped


def pass_exit_code(report: dict[str, Any]) -> int:
    """The failed stream's own code when something could not be read (jobs first); 4 when a job's last try failed."""
    broken = [entry for entry in report.get("streams", {}).values() if entry.get("status") == "failed"]
    core = report.get("core") or {}
    if core.get("status") == "failed":
        broken.insert(0, core)
    if broken:
        return int(broken[0].get("exit_code") or 7)
    return 4 if report["failed"] > 0 else 0


def describe_troubles(report: dict[str, Any], status: dict[str, Any]) -> list[str]:
    """What the counts do not say: what could not be read, and why nothing was sent."""
    lines = []
    if report.get("error"):
        lines.append(f"Problem   {report['error']}")
    tenant = status["tenant"]
    if tenant["mode"] != "live":
        lines.append(f"{tenant['planned']} planned, nothing sent: mode is {tenant['mode']}. Next: jobsync arm")
    elif tenant["paused_at"] is not None:
        lines.append(f"{tenant['planned']} planned, nothing sent: sending is paused. Next: jobsync resume")
    return lines


def describe_pass(report: dict[str, Any], status: dict[str, Any], *, pull: bool = True) -> list[str]:
    """The pass in words, ending in one Next line."""
    lines = []
    if pull:
        lines.append(
            f"Pulled    {report['pulled']} jobs: {report['stored']} new or changed, {report['unchanged']} unchanged, "
            f"{report['quarantined']} quarantined   ({report['servicetitan_requests']} requests, {report['duration_s']} s)"
        )
    planned = status["tenant"]["planned"]
    lines.append(f"Sent      {report['delivered']} delivered, {report['failed']} failed, {planned} still planned")
    reasons = ", ".join(
        f"{row['jobs']} {row['reason']} in {row['business_unit_name'] or 'an unknown unit'}"
        for row in status["reasons"][:6]
        if row["ghl_sync_status"] == "skipped"
    )
    if reasons:
        lines.append(f"Skipped   {reasons}")
    troubles = describe_troubles(report, status)
    if troubles:
        lines += troubles
    elif report["failed"]:
        lines.append("Next: jobsync jobs list --status failed, or jobsync why JOB")
    else:
        lines.append("Next: jobsync up keeps doing this every 5 minutes")
    return lines
