"""pipelines list, refresh, protect: what GoHighLevel has, and which stages belong to people."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, print_table
from jobsync.cli.shared import ACTOR, AsJson, run, settings_of, tenant_of
from jobsync.engine import pipelines
from jobsync.engine.opening import open_engine

app = typer.Typer(help="Pipelines and stages in GoHighLevel.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """List pipelines and stages as they were read last, and what is wrong with routes and rules."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await pipelines.list_pipelines(engine, tenant)

    found = run(act())
    if as_json:
        print_json(found)
        return
    rows = [
        (pipeline["name"], stage["name"], stage["id"], stage["routes"], stage["rules"], _state(pipeline, stage))
        for pipeline in found["pipelines"]
        for stage in pipeline["stages"] or [{"name": None, "id": None, "routes": 0, "rules": 0, "gone_at": None}]
    ]
    if not rows:
        print_lines(["No pipelines are known.", "Next: jobsync pipelines refresh"])
        return
    print_table(("pipeline", "stage", "stage id", "routes", "rules", "state"), rows)
    print_lines(_tell_problems(found["problems"]))


@app.command()
def refresh(context: typer.Context, as_json: AsJson = False) -> None:
    """Read pipelines, stages and custom fields from GoHighLevel; say what was renamed or deleted there."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await pipelines.refresh_pipelines(engine, tenant, actor=ACTOR)

    found = run(act())
    if as_json:
        print_json(found)
        return
    lines = [f"{found['pipelines']} pipelines, {found['stages']} stages, {found['fields']} custom fields."]
    lines += [_tell_change(change) for change in found["changes"] if change["change"] != "new"]
    print_lines(lines + _tell_problems(found["problems"]))


@app.command()
def protect(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="The pipeline's name or id.")],
    stage: Annotated[str, typer.Argument(help="The stage's name or id.")],
    off: Annotated[bool, typer.Option("--off", help="JobSync may move its cards again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Leave the cards of a stage to people: JobSync never moves a card out of it."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await pipelines.protect_stage(engine, tenant, pipeline, stage, protected=not off, actor=ACTOR)

    answer = run(act())
    if as_json:
        print_json(answer)
        return
    print_lines(
        [f'"{stage}" of "{pipeline}": {"JobSync moves its cards again" if off else "only people move its cards"}.']
    )


def _state(pipeline: dict[str, Any], stage: dict[str, Any]) -> str:
    if pipeline["gone_at"] is not None or stage["gone_at"] is not None:
        return "gone"
    return "protected" if stage.get("protected") else "here"


def _tell_change(change: dict[str, Any]) -> str:
    where = f' of "{change["pipeline"]}"' if change.get("pipeline") else ""
    what = f'{change["what"].capitalize()} "{change.get("before") or change["name"]}"{where}'
    said = {"renamed": f'is now called "{change["name"]}"', "gone": "is gone", "back": "is back"}[change["change"]]
    return f"{what} {said}."


def _tell_problems(problems: list[dict[str, Any]]) -> list[str]:
    fixes = {
        "route": "jobsync units set {subject} --pipeline NAME --stage NAME",
        "rule": 'jobsync rules set "{subject}" ...   or: jobsync rules remove "{subject}"',
        "install": "jobsync why job {subject}",
    }
    return [
        f"! {row['kind']} {row['name'] or row['subject']}: {row['problem']}.   fix: {fixes[row['kind']].format(**row)}"
        for row in problems
    ]
