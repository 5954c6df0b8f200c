"""backfill: history of a tenant, with progress; safe to break off, goes on with --resume."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import typer

from jobsync.cli.output import print_json, print_lines, say
from jobsync.cli.passes import NoWait
from jobsync.cli.progress import ShowProgress, describe_places, open_display
from jobsync.cli.shared import ACTOR, AsJson, Yes, run, settings_of, tenant_of
from jobsync.engine import backfill as engine_backfill
from jobsync.engine.connections import read_servicetitan_credentials
from jobsync.engine.context import Engine
from jobsync.engine.opening import open_engine
from jobsync.errors import ConfigError, ConfirmationNeeded, InvalidInput
from jobsync.tasks.backfills import BACKFILL_QUEUE, go_on_with_backfill, is_backfill_over, start_backfill
from jobsync.tasks.work import Duties
from jobsync.tasks.worker import finish_tasks, run_in_foreground

LOOK_EVERY_SECONDS = 0.5
COUNTED = ("pulled", "stored", "unchanged", "quarantined", "pages", "requests")
UNFINISHED = ("running", "failed")


def backfill(
    context: typer.Context,
    since: Annotated[str | None, typer.Option(help="Records last modified since this ISO date or time.")] = None,
    until: Annotated[str | None, typer.Option(help="... and before this one; default: two minutes ago.")] = None,
    entity: Annotated[
        list[str] | None, typer.Option(help="What to read, split by commas: jobs,customers,contacts,... Default: all.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the backfill that was broken off.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Drop the unfinished backfill; what it stored stays.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Show how far the last backfill is, and do nothing.")
    ] = False,
    deliver: Annotated[
        bool, typer.Option("--deliver", help="At the end deliver its old jobs, too; shows their number and asks.")
    ] = False,
    page_size: Annotated[int, typer.Option(min=1, max=5000, help="Records a request.")] = 5000,
    no_wait: NoWait = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Read history from ServiceTitan. Live pulls go first; old jobs are not delivered unless --deliver."""
    if sum((resume, cancel, status)) > 1:
        raise InvalidInput("Only one of --resume, --cancel and --status can be given.")
    if not (since or resume or cancel or status):
        raise InvalidInput("A backfill needs a beginning.", hint="For example: jobsync backfill --since 2025-01-01")
    wish = _Wish(_read_time(since, "--since"), _read_time(until, "--until"), _split(entity), page_size, deliver, yes)
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            if cancel or status:
                return await _cancel(engine, tenant) if cancel else await _look(engine, tenant)
            if await read_servicetitan_credentials(engine, tenant) is None:
                raise ConfigError(
                    "ServiceTitan is not connected.", hint="Set the four SERVICE_TITAN_ variables (see .env.example)."
                )
            started = time.monotonic()
            report = await _work(engine, tenant, wish, resume=resume, wait=not no_wait, as_json=as_json)
            return {**report, "duration_s": round(time.monotonic() - started, 3)}

    try:
        found = run(act())
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("Interrupted. What was read is stored; go on with: jobsync backfill --resume")
        raise typer.Exit(130) from None
    if as_json:
        print_json(shape_report(found))
    else:
        print_lines(describe_report(found))
    if found["state"] == "failed":
        say(f"jobsync: {found['error']}", f"         {found['hint'] or 'Go on with: jobsync backfill --resume'}")
        if not (cancel or status):
            raise typer.Exit(found["exit_code"] or 7)


class _Wish:
    """What was asked for."""

    def __init__(
        self,
        since: datetime | None,
        until: datetime | None,
        entities: list[str] | None,
        page_size: int,
        deliver: bool,
        yes: bool,
    ) -> None:
        self.since, self.until, self.page_size = since, until, page_size
        self.entities = engine_backfill.choose_entities(entities) if entities else None
        self.deliver, self.yes = deliver, yes

    def fits(self, found: dict[str, Any]) -> bool:
        """True where an unfinished backfill is the one that is asked for."""
        streams = tuple(stream["stream"] for stream in found["streams"])
        return (
            (self.since is None or datetime.fromisoformat(found["since"]) == self.since.replace(microsecond=0))
            and (self.until is None or datetime.fromisoformat(found["until"]) == self.until)
            and streams == (self.entities or streams)
        )


async def _look(engine: Engine, tenant: str) -> dict[str, Any]:
    found = await engine_backfill.read_backfill(engine, tenant)
    if found is None:
        raise InvalidInput("There was no backfill yet.", hint="Start one: jobsync backfill --since 2025-01-01")
    return found


async def _cancel(engine: Engine, tenant: str) -> dict[str, Any]:
    found = await _look(engine, tenant)
    if found["state"] not in UNFINISHED:
        say("No backfill is unfinished; nothing was dropped.")
        return found
    await engine_backfill.cancel_backfill(engine, tenant, UUID(found["run"]))
    return await _look(engine, tenant)


async def _work(engine: Engine, tenant: str, wish: _Wish, *, resume: bool, wait: bool, as_json: bool) -> dict[str, Any]:
    found = await engine_backfill.read_backfill(engine, tenant)
    unfinished = found is not None and found["state"] in UNFINISHED
    if found is not None and not unfinished and resume and wish.since is None:
        say("Nothing to resume: the last backfill is over.")
        return found
    if resume and not unfinished and wish.since is None:
        raise InvalidInput("There is no backfill to resume.", hint="Start one: jobsync backfill --since 2025-01-01")
    if found is not None and unfinished and not wish.fits(found):
        raise InvalidInput(
            f"Another backfill is unfinished: since {found['since'][:19]}, {describe_places(found)}.",
            hint="Go on with it: jobsync backfill --resume. Or drop it: jobsync backfill --cancel.",
        )
    if wish.deliver:
        await _ask_first(engine, tenant, wish, found if unfinished else None)

    async def act(duties: Duties) -> UUID:
        if found is not None and unfinished:
            number = UUID(found["run"])
            say(f"Going on with the backfill since {found['since'][:19]}: {describe_places(found)}.")
            await go_on_with_backfill(duties, tenant, number)
        else:
            assert wish.since is not None
            number = await start_backfill(
                duties,
                tenant,
                since=wish.since,
                until=wish.until,
                entities=wish.entities,
                page_size=wish.page_size,
                deliver=False,
                actor=ACTOR,
            )
        async with _watch(engine, tenant, number, quiet=as_json):
            over = partial(is_backfill_over, duties, tenant, number)
            await finish_tasks(duties, over, wait_for_others=wait, queues=(BACKFILL_QUEUE,))
        return number

    number = await run_in_foreground(engine, act)
    report = await engine_backfill.read_backfill(engine, tenant, number)
    assert report is not None
    if wish.deliver and report["state"] == "completed":
        await _deliver(engine, tenant, number, wish)
        report = await engine_backfill.read_backfill(engine, tenant, number)
    assert report is not None
    return report


async def _ask_first(engine: Engine, tenant: str, wish: _Wish, found: dict[str, Any] | None) -> None:
    """Without anybody to ask, nothing is begun that ends in deliveries."""
    if wish.yes or sys.stdin.isatty():
        return
    since = wish.since or datetime.fromisoformat((found or {})["since"])
    count = await engine_backfill.count_in_servicetitan(engine, tenant, since=since, until=wish.until)
    raise ConfirmationNeeded(
        f"ServiceTitan has {count if count is not None else 'an unknown number of'} jobs of that time; --deliver would send "
        "those that were never delivered, and nobody is here to confirm it.",
        hint="Add --yes, or leave --deliver out: nothing was read or sent.",
    )


async def _deliver(engine: Engine, tenant: str, number: UUID, wish: _Wish) -> None:
    count = await engine_backfill.count_old_jobs(engine, tenant, number)
    say(
        f"{count['jobs']} old jobs of that time were never delivered and have a route: up to {count['webhook_executions']} "
        "paid workflow triggers."
    )
    if count["jobs"] and (wish.yes or typer.confirm(f"Deliver {count['jobs']} jobs?", err=True)):
        await engine_backfill.deliver_backfilled(engine, tenant, number, actor=ACTOR)


@asynccontextmanager
async def _watch(engine: Engine, tenant: str, number: UUID, *, quiet: bool) -> AsyncIterator[None]:
    """Shows progress on stderr while the block runs."""
    with open_display(quiet=quiet) as show:
        watcher = asyncio.ensure_future(_follow(engine, tenant, number, show))
        try:
            yield
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        found = await engine_backfill.read_backfill(engine, tenant, number)
        if found is not None:
            show(found)


async def _follow(engine: Engine, tenant: str, number: UUID, show: ShowProgress) -> None:
    while True:
        found = await engine_backfill.read_backfill(engine, tenant, number)
        if found is not None:
            show(found)
        await asyncio.sleep(LOOK_EVERY_SECONDS)


def shape_report(found: dict[str, Any]) -> dict[str, Any]:
    """The object that --json prints: the run, its stretch, counts in all and by stream, seconds of this command."""
    streams = found["streams"]
    return {
        "run": found["run"],
        "state": found["state"],
        "since": found["since"],
        "until": found["until"],
        **{name: sum(stream[name] for stream in streams) for name in COUNTED if name != "requests"},
        "requests": {"servicetitan": sum(stream["requests"] for stream in streams)},
        "planned": found["planned"] or 0,
        "entities": {
            stream["stream"]: {name: stream[name] for name in ("status", "total", "position", *COUNTED)}
            for stream in streams
        },
        "error": found["error"],
        "duration_s": found.get("duration_s"),
    }


def describe_report(found: dict[str, Any]) -> list[str]:
    """The backfill in words, ending in one Next line."""
    lines = [f"Backfill {found['state']}: modified from {found['since'][:19]}Z to {found['until'][:19]}Z"]
    for stream in found["streams"]:
        if stream["status"] == "not granted":
            lines.append(f"  {stream['stream']:<22} not granted to this app in ServiceTitan")
            continue
        lines.append(
            f"  {stream['stream']:<22} {stream['pulled']:>9,} read: {stream['stored']:,} new or changed, {stream['unchanged']:,} "
            f"unchanged, {stream['quarantined']:,} quarantined   ({stream['pages']} pages, {stream['requests']} requests)"
        )
    if found["planned"] is not None:
        lines.append(f"  {found['planned']:,} old jobs planned for delivery")
    if found["state"] in UNFINISHED:
        lines.append("Next: jobsync backfill --resume")
    elif found["planned"]:
        lines.append("Next: jobsync deliver")
    elif found["state"] == "completed":
        lines.append("Nothing of it is sent by itself. Next: jobsync status")
    else:
        lines.append("Next: jobsync backfill --since DATE begins anew")
    return lines


def _split(given: list[str] | None) -> list[str] | None:
    return [name.strip() for part in given for name in part.split(",") if name.strip()] if given else None


def _read_time(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{option} {text} is no date.", hint="Write it as 2026-01-31 or 2026-01-31T08:00:00Z."
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
