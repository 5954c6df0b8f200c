"""init's part about routes: the guesses are shown, a person takes them one by one, or --yes takes all."""

from __future__ import annotations

from typing import Any

import typer

from jobsync.cli.output import say
from jobsync.cli.shared import ACTOR
from jobsync.engine.context import Engine
from jobsync.engine.route import list_units, route_unit
from jobsync.engine.setup import GoHighLevelFound, Guess, ServiceTitanFound, guess_routes
from jobsync.errors import JobSyncError

LATER, SKIP = "l", "s"


async def decide_routes(
    engine: Engine, tenant: str, titan: ServiceTitanFound, level: GoHighLevelFound | None, *, asks: bool, yes: bool
) -> list[dict[str, Any]]:
    """Goes over the units that nobody decided yet; answers {unit, name, jobs, pipeline, stage, decision} of each.

    `decision`: routed, skipped, or later (it stays in the inbox). Sends nothing.
    """
    units = await list_units(engine, tenant)
    guesses = guess_routes(units, level.pipelines if level else ())
    counted = titan.by_unit or {}
    guesses.sort(key=lambda one: -counted.get(one.unit, 0))
    if not guesses:
        if units:
            say("Routing: every unit is decided already (jobsync units list).")
        return []
    say(
        "Routing (names come from both systems; Enter accepts the guess, s: send nothing of this unit, l: later, or a pipeline's name)"
        if level is not None
        else "Routing (paste the inbound webhook of the unit's workflow, hidden; Enter: later, s: send nothing of this unit)"
    )
    decided = []
    for guess in guesses:
        shown = f"  {guess.name or guess.unit:<28} {counted.get(guess.unit, 0):>6} jobs"
        if asks:
            decision = await _ask_route(engine, tenant, shown, guess, by_api=level is not None)
        elif guess.pipeline is not None and yes:
            await route_unit(engine, tenant, guess.unit, actor=ACTOR, pipeline=guess.pipeline, stage=guess.stage)
            decision = "routed"
        else:
            decision = "later"
        if not asks:
            say(f"{shown}   -> {_target(guess)}   {decision}")
        decided.append(
            {
                "unit": guess.unit,
                "name": guess.name,
                "jobs": counted.get(guess.unit, 0),
                "pipeline": guess.pipeline,
                "stage": guess.stage,
                "decision": decision,
            }
        )
    if not asks and not yes and any(guess.pipeline for guess in guesses):
        say("The guesses were not taken: --yes takes them, `jobsync units set` sets them one by one.")
    return decided


async def _ask_route(engine: Engine, tenant: str, shown: str, guess: Guess, *, by_api: bool) -> str:
    while True:
        if by_api:
            default = "y" if guess.pipeline else LATER
            answer = str(typer.prompt(f"{shown}   -> {_target(guess)}", default=default, err=True)).strip()
        else:
            answer = (
                str(typer.prompt(shown, default="", hide_input=True, show_default=False, err=True)).strip() or LATER
            )
        how: dict[str, Any]
        if answer.casefold() in (LATER, "later", "n", "no"):
            return "later"
        if answer.casefold() in (SKIP, "skip"):
            how = {"skip": True}
        elif not by_api:
            how = {"webhook_url": answer}
        elif answer.casefold() in ("y", "yes") and guess.pipeline:
            how = {"pipeline": guess.pipeline, "stage": guess.stage}
        else:
            pipeline, _, stage = answer.partition("/")
            how = {"pipeline": pipeline.strip(), "stage": stage.strip() or None}
        try:
            await route_unit(engine, tenant, guess.unit, actor=ACTOR, **how)
        except JobSyncError as error:
            say(f"    {error.message}", *([f"    {error.hint}"] if error.hint else []))
            continue
        return "skipped" if "skip" in how else "routed"


def _target(guess: Guess) -> str:
    return f"{guess.pipeline} / {guess.stage}" if guess.pipeline else "nothing fits: later"
