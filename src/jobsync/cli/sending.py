"""status, plan, arm, disarm, pause, resume: whether anything is sent."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, say
from jobsync.cli.shadow import tell_comparison
from jobsync.cli.shared import ACTOR, AsJson, Yes, read_moment, run, settings_of, tenant_of
from jobsync.cli.watching import watch_status
from jobsync.engine import sending
from jobsync.engine.context import Engine
from jobsync.engine.opening import open_engine
from jobsync.engine.plan import read_plan, read_rebaseline
from jobsync.engine.verdict import tell_verdict
from jobsync.engine.verify import wait_until_verified
from jobsync.errors import ConfirmationNeeded, InvalidInput
from jobsync.intake.shadow import DAYS, arm_after_looking, compare_with_old_flow
from jobsync.tasks.worker import sync_once

WAIT_FOR_FIRST = 45.0
MOST_SAME = 1000


def status(
    context: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again and again until Ctrl-C; with --json one object a line.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.2, help="With --watch: seconds between two looks.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Show mode, what waits and why, units and streams."""
    settings, tenant = settings_of(context), tenant_of(context)
    if watch:
        run(watch_status(settings, tenant, describe_status, every=every, as_json=as_json))
        return

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
    lines.append(
        f"This month: {tenant['executions_this_month']} workflow executions, about {tenant['cost_this_month']:.2f} at "
        f"{tenant['execution_price']} each."
    )
    lines += [f"  ! {row['why']}   Fix: {row['fix']}" for row in found["stopped"] if row["cause"] != "paused"]
    lines += [f"  ! {row['jobs']} jobs of {row['business_unit_name']}: {row['why']}" for row in found["unverified"]]
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


def plan(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option(help="Count unchanged jobs since this ISO date (default: 7 days).")
    ] = None,
    show: Annotated[int, typer.Option(min=0, max=10000, help="Also list the next jobs, with what changed.")] = 0,
    unit: Annotated[int | None, typer.Option(help="List only jobs of this business unit.")] = None,
    rebaseline: Annotated[
        bool, typer.Option("--rebaseline", help="Instead: delivered jobs that would be told differently today.")
    ] = False,
    shadow: Annotated[
        bool,
        typer.Option(
            "--shadow", help="Instead: compare with the old flow (JOBSYNC_OLD_DATABASE_URL); is it safe to switch?"
        ),
    ] = False,
    days: Annotated[int, typer.Option(help="With --shadow: compare jobs booked within so many days.")] = DAYS,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="Exit 8 when something would be sent (with --shadow: 3 when it is not safe to switch)."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what would be sent, what is skipped and why, and what it costs."""
    settings, tenant = settings_of(context), tenant_of(context)
    started = read_moment(since, "--since")
    if shadow:
        if rebaseline or show or unit is not None or started is not None:
            raise InvalidInput("--shadow goes with --days, --exit-code and --json only.")
        _compare(context, days, exit_code, as_json)
        return

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            if rebaseline:
                return await read_rebaseline(engine, tenant, unit=unit, show=show or 20)
            return await read_plan(engine, tenant, since=started, show=show, unit=unit)

    found = run(act())
    if as_json:
        print_json(found)
    else:
        print_lines(describe_rebaseline(found) if rebaseline else describe_plan(found))
    if exit_code and found["outdated" if rebaseline else "planned"]:
        raise typer.Exit(8)


def _compare(context: typer.Context, days: int, exit_code: bool, as_json: bool) -> None:
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await compare_with_old_flow(engine, tenant, days=days)

    found = run(act())
    if as_json:
        print_json(found)
    else:
        print_lines(tell_comparison(found))
    if exit_code and not all(unit["is_safe"] for unit in found["units"]):
        raise typer.Exit(3)


def describe_plan(found: dict[str, Any]) -> list[str]:
    """The plan in words, ending in one Next line."""
    skipped = sum(row["jobs"] for row in found["skip"])
    lines = [
        f"create {found['create']}  update {found['update']}  replay {found['replay']}  same {_at_most(found['same'])}  "
        f"skip {skipped}  (waiting for contacts: {found['waiting']}, held: {found['held']})"
    ]
    if skipped:
        lines.append("skip: " + ", ".join(f"{row['reason']} {row['jobs']}" for row in found["skip"]))
    lines += [
        f"  {row['jobs']:>6}  {row['name'] or row['business_unit_id']}  by {row['kind']}"
        + ("" if row["armed"] else "   not armed")
        + ("   paused" if row["paused"] else "")
        for row in found["units"]
    ]
    lines.append(
        f"at most {found['requests']} GoHighLevel requests; up to {found['webhook_executions']} paid workflow triggers "
        f"({found['cost']:.2f})"
    )
    for job in found.get("jobs", []):
        target = " / ".join(name for name in (job["pipeline_name"], job["stage_name"]) if name) or job["destination"]
        lines.append(f"  {job['event']:<8} {job['st_job_id']}  {job['business_unit_name'] or '-'} -> {target}")
        lines += [f"           {name}: {_tell_change(change)}" for name, change in (job["changes"] or {}).items()]
    if not found["planned"]:
        lines.append("Nothing waits to be sent.")
    elif found["mode"] == "live":
        lines.append("Next: jobsync deliver")
    else:
        lines.append("Next: jobsync arm --limit 10   (sends ten, then asks)")
    return lines


def describe_rebaseline(found: dict[str, Any]) -> list[str]:
    """What would be told differently today, in words."""
    if not found["outdated"]:
        return ["Every delivered job stands in GoHighLevel as it would be told today."]
    fields = ", ".join(f"{name} ({count})" for name, count in found["fields"].items())
    lines = [f"{found['outdated']} delivered jobs would be told differently today: {fields}."]
    lines += [f"  {row['jobs']:>6}  {row['name'] or row['business_unit_id']}" for row in found["units"]]
    lines.append(
        f"Nothing of this is sent by itself. Sending all: {found['webhook_executions']} paid triggers ({found['cost']:.2f})."
    )
    lines.append("Next: jobsync replay --rebaseline --dry-run")
    return lines


def _at_most(count: int) -> str:
    return f"{count} or more" if count >= MOST_SAME else str(count)


def _tell_change(change: list[Any]) -> str:
    return f"{change[0]} -> {change[1]}" if len(change) == 2 else str(change[0])


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
    started = read_moment(since, "--since")

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            planned = await sending.count_planned(engine, tenant)
            say(
                f"{planned['planned']} jobs are planned: {planned['create']} new, {planned['update']} updates, "
                f"up to {planned['webhook_executions']} paid workflow triggers."
            )
            if not yes:
                _confirm(f"Send {'the first ' + str(limit) if limit else 'them, and every later job'}?")
            answer = await arm_after_looking(
                engine, tenant, actor=ACTOR, limit=limit, since=started, cap_hour=cap_hour, cap_day=cap_day
            )
            if limit is not None:
                answer |= await _send_first(engine, tenant)
                if not yes and sys.stdin.isatty() and typer.confirm("Looks right? Arm fully", err=True):
                    answer = await arm_after_looking(engine, tenant, actor=ACTOR)
            return answer

    answer = run(act())
    if as_json:
        print_json(answer)
    else:
        print_lines(_describe_arm(answer, settings.mode))
    if answer["refused"]:
        raise typer.Exit(4)


async def _send_first(engine: Engine, tenant: str) -> dict[str, Any]:
    """Sends the few, reads them back where GoHighLevel is connected, and shows where each stands."""
    report = await sync_once(engine, tenant, pull=False)
    seen = await wait_until_verified(engine, tenant, report["started_at"], longest=WAIT_FOR_FIRST)
    verified = sum(1 for job in seen["jobs"] if job["state"] == "verified")
    how = f"{verified} read back" if seen["connected"] else "not read back: GHL_API_KEY and GHL_LOCATION_ID are not set"
    say(f"{report['delivered']} sent, {report['failed']} failed, {how}.")
    for job in seen["jobs"]:
        where = job["ghl_opportunity_id"] or job["ghl_sync_reason"] or "-"
        say(f"  {job['state']:<9} job {job['st_job_id']} (no. {job['st_job_number'] or '-'})  {where}")
    return {
        "sent": {"delivered": report["delivered"], "failed": report["failed"]},
        "verified": verified,
        "jobs": seen["jobs"],
    }


def _describe_arm(answer: dict[str, Any], first_mode: str | None) -> list[str]:
    lines = [
        f"Live{' for ' + str(answer['limit']) + ' sends' if answer['limit'] else ''}: jobs created since {answer['deliver_from']}."
    ]
    lines += [f"Not armed: {row['name']} ({row['st_business_unit_id']}): {row['reason']}." for row in answer["refused"]]
    if first_mode in ("observe", "shadow"):
        lines.append(
            f"Take JOBSYNC_MODE={first_mode} out of your settings: it lowers the mode again at the next start."
        )
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
