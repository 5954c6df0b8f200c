"""sync, pull, deliver: one pass now, in the foreground, by the same tasks that the service runs."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, say
from jobsync.cli.rewind import retry_quarantine, rewind
from jobsync.cli.shared import AsJson, Yes, run, settings_of, tenant_of
from jobsync.config import Settings
from jobsync.engine.connections import read_servicetitan_credentials
from jobsync.engine.opening import PASS_CONNECTIONS, open_engine
from jobsync.engine.passes import JOB_STREAMS
from jobsync.engine.sending import read_status
from jobsync.errors import ConfigError, SendingRefused
from jobsync.tasks.worker import sync_once

NoWait = Annotated[bool, typer.Option("--no-wait", help="Exit 75 when another run does this already.")]
COUNTS = ("pulled", "stored", "unchanged", "quarantined", "planned", "delivered", "verified", "skipped", "failed")


def sync(context: typer.Context, as_json: AsJson = False, no_wait: NoWait = False) -> None:
    """One whole pass: pull what changed, then send each due job once."""
    _pass(context, as_json, no_wait, pull=True, deliver=True)


def pull(
    context: typer.Context,
    as_json: AsJson = False,
    no_wait: NoWait = False,
    rewind_stream: Annotated[
        str | None, typer.Option("--rewind", metavar="STREAM", help="Instead: move this stream back to --to.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="With --rewind: where to, as ISO time.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --rewind: only say what would be read again.")
    ] = False,
    yes: Yes = False,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Instead: try the quarantined records again.")
    ] = False,
) -> None:
    """Pull what changed in ServiceTitan; send nothing."""
    if rewind_stream is not None or to is not None:
        rewind(settings_of(context), tenant_of(context), rewind_stream, to, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    if quarantined:
        retry_quarantine(settings_of(context), tenant_of(context), as_json=as_json)
        return
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
        say(*describe_silence(status))
    else:
        print_lines(describe_pass(report, status, pull=pull))
    say(*describe_broken(report))
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
    async with open_engine(settings, most_connections=PASS_CONNECTIONS) as engine:
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


def list_broken(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Streams of the pass that could not be read, with what came of each; jobs first, then those that jobs need."""
    streams: dict[str, Any] = report.get("streams") or {}
    broken = [(name, entry) for name, entry in streams.items() if entry.get("status") == "failed"]
    order = {name: at for at, name in enumerate(JOB_STREAMS)}
    return sorted(broken, key=lambda found: (order.get(found[0], len(order)), found[0]))


def pass_exit_code(report: dict[str, Any]) -> int:
    """The code of the stream that could not be read (jobs first); else 4 when a job's last try failed; else 0."""
    broken = list_broken(report)
    if broken:
        return int(broken[0][1].get("exit_code") or 7)
    return 4 if report["failed"] > 0 else 0


def describe_broken(report: dict[str, Any]) -> list[str]:
    """One sentence about what could not be read, what to do, and which other streams it befell."""
    broken = list_broken(report)
    if not broken:
        return []
    first, others = broken[0], [name for name, _ in broken[1:]]
    lines = [f"jobsync: {first[1]['error']}"]
    if first[1].get("hint"):
        lines.append(f"         {first[1]['hint']}")
    if others:
        lines.append(f"         Not read either: {', '.join(others)}. See: jobsync status")
    return lines


def describe_silence(status: dict[str, Any]) -> list[str]:
    """Why nothing was sent although sending was asked for; empty while sending is on."""
    tenant = status["tenant"]
    if tenant["mode"] != "live":
        return [f"{tenant['planned']} planned, nothing sent: mode is {tenant['mode']}. Next: jobsync arm"]
    if tenant["paused_at"] is not None:
        return [f"{tenant['planned']} planned, nothing sent: sending is paused. Next: jobsync resume"]
    return []


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
    silence = describe_silence(status)
    if silence:
        lines += silence
    elif list_broken(report):
        lines.append("Next: mend what is said below, then run it again")
    elif report["failed"]:
        lines.append("Next: jobsync jobs list --status failed, or jobsync why JOB")
    else:
        lines.append("Next: jobsync up keeps doing this every 5 minutes")
    return lines
