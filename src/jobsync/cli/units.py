"""units list, units set: which unit's jobs go where."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, print_table
from jobsync.cli.shared import ACTOR, AsJson, run, settings_of, tenant_of
from jobsync.engine.connections import read_servicetitan_credentials
from jobsync.engine.opening import open_engine
from jobsync.engine.route import list_units
from jobsync.engine.rule_changes import change_route
from jobsync.errors import InvalidInput, RecordMissing
from jobsync.tasks.worker import sync_once

app = typer.Typer(help="Business units and where their jobs go.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """List the business units with their routes."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[dict[str, Any]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await list_units(engine, tenant)

    units = run(act())
    if as_json:
        print_json({"units": [{name: value for name, value in unit.items() if name != "tenant_id"} for unit in units]})
        return
    rows = [
        (
            u["st_business_unit_id"],
            u["name"],
            u["deliverer"],
            u["destination_masked"],
            u["events"],
            " / ".join(filter(None, (u["pipeline_name"] or u["ghl_pipeline_name"], u["stage_name"]))),
            _state(u),
        )
        for u in units
    ]
    print_table(("id", "name", "deliverer", "destination", "events", "pipeline", "state"), rows)


def _state(unit: dict[str, Any]) -> str:
    if not unit["sync_enabled"] or not unit["sync_to_ghl"]:
        return "off"
    if unit["deliverer"] == "none":
        return "unmapped"
    if unit["destination_paused_at"] is not None:
        return "paused: " + (unit["destination_pause_reason"] or "")
    if unit["problem"] is not None:
        return unit["problem"]
    return "ready" if unit["armed"] else "not armed"


@app.command("set")
def set_unit(
    context: typer.Context,
    unit: Annotated[int, typer.Argument(help="The business unit's id.")],
    webhook: Annotated[str | None, typer.Option(help="The inbound hook's URL in GoHighLevel.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="The pipeline's name.")] = None,
    stage: Annotated[str | None, typer.Option(help="The stage's name.")] = None,
    card: Annotated[
        str | None,
        typer.Option(help="own: each job its card; sales: a job goes on with the card of the job it was sold in."),
    ] = None,
    external: Annotated[bool, typer.Option("--external", help="Somebody else delivers this unit.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Deliver nothing of this unit.")] = False,
    events: Annotated[
        str | None, typer.Option(help="created: one POST per job, ever; all: one per later change too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Route a unit's jobs. Sends nothing by itself."""
    if not any((webhook, pipeline, stage, card, external, skip, events)):
        raise InvalidInput("Say what to set: --webhook URL, --pipeline NAME, --external, --skip or --events.")
    if card not in (None, "own", "sales"):
        raise InvalidInput(f"--card {card} is neither own nor sales.")
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:

            async def route() -> dict[str, Any]:
                return await change_route(
                    engine,
                    tenant,
                    unit,
                    actor=ACTOR,
                    webhook_url=webhook,
                    pipeline=pipeline,
                    stage=stage,
                    external=external,
                    skip=skip,
                    events=events,
                    card="sales" if card == "sales" else "own" if card == "own" else None,
                    leave_webhook=pipeline is not None,
                )

            try:
                return await route()
            except RecordMissing:
                if await read_servicetitan_credentials(engine, tenant) is None:
                    raise
                # The unit may be new in ServiceTitan: one look, then the answer stands.
                await sync_once(engine, tenant, deliver=False, streams=("business_units",))
                return await route()

    answer = run(act())
    if as_json:
        print_json(answer)
        return
    where = answer["destination_masked"] or ("somebody else" if answer["deliverer"] == "external" else "nowhere")
    by_api = answer["destination_kind"] == "api"
    place = " / ".join(
        filter(None, (answer["pipeline_name"], answer["stage_name"] or ("its first stage" if by_api else None)))
    )
    how = place if by_api else f"events: {answer['events']}"
    print_lines(
        [f"{answer['name']} ({unit}) -> {where}, {how}. {answer['planned']} jobs planned; nothing was sent by this."]
    )
    if pipeline is not None and not by_api and webhook is None:
        print_lines(["The pipeline is a label only: GoHighLevel is not connected (GHL_API_KEY, GHL_LOCATION_ID)."])
    if answer.get("differ"):
        print_lines(
            [
                f"{answer['differ']} delivered jobs now differ from what GoHighLevel was told. Next: jobsync plan --rebaseline"
            ]
        )
    if not answer["armed"]:
        print_lines([f"Not armed: {answer['armed_reason']}."])
