"""pull --rewind: moves a stream's cursor back, after saying what would be read again; pull --quarantined: tries again."""

from __future__ import annotations

import sys
from typing import Any

import typer

from jobsync.cli.output import print_json, print_lines
from jobsync.cli.shared import ACTOR, run
from jobsync.config import Settings
from jobsync.engine.opening import open_engine
from jobsync.engine.quarantine import retry_quarantined
from jobsync.engine.rewind import rewind_stream
from jobsync.errors import ConfirmationNeeded, InvalidInput


def rewind(
    settings: Settings, tenant: str, stream: str | None, to: str | None, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Shows the dry run first; moves only with --yes or a yes on the terminal."""
    if stream is None or to is None:
        raise InvalidInput("A rewind needs both: --rewind STREAM --to TIME.")

    async def act(apply: bool) -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await rewind_stream(engine, tenant, stream, to, apply=apply, actor=ACTOR)

    plan = run(act(False))
    if not as_json:
        print_lines(_describe_plan(plan))
    if dry_run:
        answer = plan
    else:
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"Move {stream} back?", err=True)):
            raise ConfirmationNeeded(f"Nothing was moved: {stream} stays where it is.", hint="Add --yes to move it.")
        answer = run(act(True))
    if as_json:
        print_json(answer)
    elif answer["moved"]:
        print_lines([f"Moved     {stream} goes on from {answer['to']}; written into the audit.", "Next: jobsync pull"])
    else:
        print_lines(["Nothing was moved. Next: the same with --yes"])


def _describe_plan(plan: dict[str, Any]) -> list[str]:
    return [
        f"Dry run   {plan['stream']} was read up to {plan['from']}; it would be read again from {plan['to']}",
        f"          {plan['stored_since']} stored records were modified since then; what is unchanged writes and sends nothing",
    ]


def retry_quarantine(settings: Settings, tenant: str, *, as_json: bool) -> None:
    """Tries every quarantined record again, without a request to ServiceTitan."""

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await retry_quarantined(engine, tenant)

    answer = run(act())
    if as_json:
        print_json(answer)
    else:
        print_lines(
            [
                f"{answer['tried']} quarantined records tried again: {answer['mended']} fit now, {answer['still_quarantined']} do not."
            ]
        )
