"""tenants list, survey, add, pause, resume: the contractors that this JobSync serves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, print_table
from jobsync.cli.shared import ACTOR, AsJson, run, settings_of
from jobsync.engine import sending, tenants
from jobsync.engine.opening import open_engine
from jobsync.engine.survey import survey_tenants

app = typer.Typer(help="Tenants: one contractor each.", no_args_is_help=True, rich_markup_mode=None)
TenantId = Annotated[str, typer.Argument(help="The tenant's id: small letters, digits, - and _.")]
OneOrAll = Annotated[str | None, typer.Argument(help="The tenant's id; without it: --all.")]
All = Annotated[bool, typer.Option("--all", help="Every tenant.")]


@app.command("list")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """List the tenants."""
    settings = settings_of(context)

    async def act() -> list[dict[str, Any]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await tenants.list_tenants(engine.database)

    found = run(act())
    if as_json:
        print_json({"tenants": found})
        return
    rows = [(one["id"], one["name"], one["mode"], _pause(one), one["connected"], one["created_at"]) for one in found]
    print_table(("id", "name", "mode", "sending", "connected", "since"), rows)


@app.command("survey")
def survey(
    context: typer.Context,
    search: Annotated[str | None, typer.Option(help="A part of the id or the name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every tenant with its verdict, the worst first, and the causes that several share."""
    settings = settings_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await survey_tenants(engine.database, search=search)

    found = run(act())
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["tenant_id"],
            one["trouble"].replace("_", " "),
            one["jobs_read_at"],
            one["needs_you"],
            one["failed"],
            one["sends_today"],
            f"{one['cost_this_month']:.2f}",
            one["verdict"],
        )
        for one in found["tenants"]
    ]
    print_table(("id", "state", "jobs read", "need you", "failed", "sent 24 h", "cost month", "verdict"), rows)
    print_lines(f"{one['title']} ({', '.join(one['names'])}). Do: {one['fix']}" for one in found["causes"])


@app.command("add")
def add(
    context: typer.Context,
    tenant: TenantId,
    name: Annotated[str | None, typer.Option(help="The contractor's name; default: the id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a tenant: it observes and has no units yet. Twice changes nothing."""
    settings = settings_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await tenants.add_tenant(engine.database, tenant, name, actor=ACTOR)

    added = run(act())
    if as_json:
        print_json(added)
    else:
        print_lines(
            [
                f"Tenant {added['id']} ({added['name']}), mode {added['mode']}. Next: jobsync --tenant {added['id']} tokens create NAME"
            ]
        )


@app.command("pause")
def pause(
    context: typer.Context,
    tenant: OneOrAll = None,
    everybody: All = False,
    reason: Annotated[str | None, typer.Option(help="Why, for the audit.")] = None,
    as_json: AsJson = False,
) -> None:
    """Stop all sends of a tenant, or of all, within a second; pulls go on."""
    settings, one = settings_of(context), _choose(tenant, everybody)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            if one is None:
                return {"paused": await tenants.pause_all(engine.database, actor=ACTOR, reason=reason)}
            await tenants.find_tenant(engine.database, one)
            return await sending.pause_tenant(engine, one, actor=ACTOR, reason=reason)

    answer = run(act())
    if as_json:
        print_json(answer)
    elif one is None:
        print_lines([f"{answer['paused']} tenants are paused. Next: jobsync tenants resume --all"])
    else:
        print_lines([f"{one} is paused, {answer['planned']} planned. Next: jobsync tenants resume {one}"])


@app.command("resume")
def resume(context: typer.Context, tenant: OneOrAll = None, everybody: All = False, as_json: AsJson = False) -> None:
    """End the pause of a tenant and of its destinations; --all: of those that were paused with all."""
    settings, one = settings_of(context), _choose(tenant, everybody)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            if one is None:
                return {"resumed": await tenants.resume_all(engine.database, actor=ACTOR)}
            await tenants.find_tenant(engine.database, one)
            return await sending.resume_tenant(engine, one, actor=ACTOR)

    answer = run(act())
    if as_json:
        print_json(answer)
    elif one is None:
        print_lines([f"{answer['resumed']} tenants go on; who was paused alone stays so."])
    else:
        print_lines([f"{one} goes on, {answer['planned']} planned."])


def _choose(tenant: str | None, everybody: bool) -> str | None:
    """The tenant; None: all of them."""
    if (tenant is None) != everybody:
        raise typer.BadParameter("say which tenant, or --all for every one")
    return tenant


def _pause(tenant: dict[str, Any]) -> str:
    if tenant["paused_at"] is None:
        return "on" if tenant["mode"] == "live" else "off"
    return "paused" + (f": {tenant['pause_reason']}" if tenant["pause_reason"] else "")
