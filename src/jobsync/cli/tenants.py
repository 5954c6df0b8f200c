"""tenants list, add, pause, resume: the contractors that this JobSync serves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, print_table
from jobsync.cli.shared import ACTOR, AsJson, run, settings_of
from jobsync.engine import sending, tenants
from jobsync.engine.opening import open_engine

app = typer.Typer(help="Tenants: one contractor each.", no_args_is_help=True, rich_markup_mode=None)
TenantId = Annotated[str, typer.Argument(help="The tenant's id: small letters, digits, - and _.")]


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
    tenant: TenantId,
    reason: Annotated[str | None, typer.Option(help="Why, for the audit.")] = None,
    as_json: AsJson = False,
) -> None:
    """Stop all sends of a tenant within a second; pulls go on."""
    settings = settings_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            await tenants.find_tenant(engine.database, tenant)
            return await sending.pause_tenant(engine, tenant, actor=ACTOR, reason=reason)

    answer = run(act())
    if as_json:
        print_json(answer)
    else:
        print_lines([f"{tenant} is paused, {answer['planned']} planned. Next: jobsync tenants resume {tenant}"])


@app.command("resume")
def resume(context: typer.Context, tenant: TenantId, as_json: AsJson = False) -> None:
    """End the pause of a tenant and of its destinations."""
    settings = settings_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            await tenants.find_tenant(engine.database, tenant)
            return await sending.resume_tenant(engine, tenant, actor=ACTOR)

    answer = run(act())
    if as_json:
        print_json(answer)
    else:
        print_lines([f"{tenant} goes on, {answer['planned']} planned."])


def _pause(tenant: dict[str, Any]) -> str:
    if tenant["paused_at"] is None:
        return "on" if tenant["mode"] == "live" else "off"
    return "paused" + (f": {tenant['pause_reason']}" if tenant["pause_reason"] else "")
