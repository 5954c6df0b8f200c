"""status, plan, arm, disarm, pause, resume: whether anything is sent."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, say
from jobsync.cli.shared import ACTOR, AsJson, Yes, run, settings_of, tenant_of
from jobsync.engine import sending
from jobsync.engine.context import Engine
from jobsync.engine.opening import open_engine
from jobsync.engine.verdict import tell_verdict
from jobsync.errors import ConfirmationNeeded, InvalidInput
from jobsync.tasks.worker import sync_once


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show mode, what waits and why, units and streams."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await sending.read_status(engine, tenant)

    found = run(act())
    if as_json:
        print_json(found)
        return
    print_lines(describe_status(found))


def describe_status(found: dict[str, Any]) -> list[str]:
    """The status in words, the verdict first."""
    tenant = found["tenant"]
    lines = [tell_verdict(found)]
    lines.append(
        f"Planned {tenant['planned']}, sent {tenant['sends_today']} in 24 h (cap {tenant['cap_day'] or 'none'}) and "
        f"{tenant['sends_this_month']} this month, quarantined {tenant['quarantined']}."
    )
    for row in found["reasons"][:12]:
        lines.append(
            f"  {row['jobs']:>6} {row['ghl_sync_status']:<8} {row['reason']:<22} "
            f"{row['business_unit_name'] or 'unit ' + str(row['business_unit_id'])}   "
            f"e.g. jobsync why {row['sample_st_job_id']}"
        )
    behind = [row for row in found["streams"] if row["failures"]]
    for row in behind:
        lines.append(f"  stream {row['stream']} failed {row['failures']} times: {row['last_error']}")
    return lines


def plan(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what would be sent."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await sending.count_planned(engine, tenant)

    found = run(act())
    if as_json:
        print_json(found)
        return
    print_lines(
        [
            f"create {found['create']}  update {found['update']}  replay {found['replay']}  (waiting for contacts: {found['waiting']})",
            f"up to {found['webhook_executions']} paid workflow triggers",
            "Next: jobsync arm --limit 10   (sends ten, then asks)",
        ]
    )


def arm(
    context: typer.Context,
    limit: Annotated[int | None, typer.Option(min=1, help="Send this many, then stop and ask.")] = None,
    since: Annotated[str | None, typer.Option(help="Also jobs created since this ISO date.")] = None,
    cap_hour: Annotated[
        int | None, typer.Option(min=0, help="Sends an hour before JobSync disarms itself; 0: none.")
    ] = None,
    cap_day: Annotated[
        int | None, typer.Option(min=0, help="Sends a day before JobSync disarms itself; 0: none.")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Go live: start sending, or a first few with --limit."""
    settings, tenant = settings_of(context), tenant_of(context)
    started = _read_time(since)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            planned = await sending.count_planned(engine, tenant)
            say(
                f"{planned['planned']} jobs are planned: {planned['create']} new, {planned['update']} updates, "
                f"up to {planned['webhook_executions']} paid workflow triggers."
            )
            if not yes:
                _confirm(f"Send {'the first ' + str(limit) if limit else 'them, and every later job'}?")
            answer = await sending.arm_tenant(
                engine, tenant, actor=ACTOR, limit=limit, since=started, cap_hour=cap_hour, cap_day=cap_day
            )
            if limit is not None:
                answer["sent"] = await _send_first(engine, tenant)
                if not yes and sys.stdin.isatty() and typer.confirm("Looks right? Arm fully", err=True):
                    answer = await sending.arm_tenant(engine, tenant, actor=ACTOR)
            return answer

    answer = run(act())
    if as_json:
        print_json(answer)
    else:
        print_lines(_describe_arm(answer))
    if answer["refused"]:
        raise typer.Exit(4)


async def _send_first(engine: Engine, tenant: str) -> dict[str, Any]:
    report = await sync_once(engine, tenant, pull=False)
    say(f"{report['delivered']} sent, {report['failed']} failed.")
    return {"delivered": report["delivered"], "failed": report["failed"]}


def _describe_arm(answer: dict[str, Any]) -> list[str]:
    lines = [
        f"Live{' for ' + str(answer['limit']) + ' sends' if answer['limit'] else ''}: jobs created since {answer['deliver_from']}."
    ]
    lines += [f"Not armed: {row['name']} ({row['st_business_unit_id']}): {row['reason']}." for row in answer["refused"]]
    lines.append("Next: jobsync arm --yes" if answer["limit"] else "Next: jobsync up")
    return lines


def disarm(context: typer.Context, as_json: AsJson = False) -> None:
    """Stop sending; go on pulling and planning."""
    _act(context, as_json, sending.disarm_tenant, "Disarmed: nothing more is sent. Next: jobsync arm")


def pause(context: typer.Context, as_json: AsJson = False) -> None:
    """Stop sending within a second; nothing is lost."""
    _act(context, as_json, sending.pause_tenant, "Paused. Next: jobsync resume")


def resume(context: typer.Context, as_json: AsJson = False) -> None:
    """End a pause, of the tenant and of its hooks."""
    _act(context, as_json, sending.resume_tenant, "Resumed.")


def _act(context: typer.Context, as_json: bool, verb: Any, sentence: str) -> None:
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await verb(engine, tenant, actor=ACTOR)

    answer = run(act())
    if as_json:
        print_json(answer)
    else:
        print_lines([f"{sentence}   ({answer['planned']} planned)"])


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise ConfirmationNeeded("This sends to GoHighLevel and nobody is here to confirm it.", hint="Add --yes.")
    if not typer.confirm(question, err=True):
        raise ConfirmationNeeded("Not confirmed: nothing was sent.")


def _read_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"--since {text} is no date.", hint="Write it as 2026-01-31 or 2026-01-31T08:00:00Z."
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
