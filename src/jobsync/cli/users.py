"""users list, create, reset: who signs in to the dashboard, and what to do when a password is forgotten."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, print_table
from jobsync.cli.shared import ACTOR, AsJson, run, settings_of, tenant_of
from jobsync.cli.up import first_address
from jobsync.config import Settings
from jobsync.engine import users
from jobsync.engine.opening import open_engine

app = typer.Typer(help="People who sign in to the dashboard.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="The name that is typed at sign-in.")]


@app.command("list")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """List the users of the tenant, without anything secret."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[dict[str, Any]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await users.list_users(engine.database, tenant)

    found = run(act())
    if as_json:
        print_json({"users": found})
        return
    rows = [
        (
            one["name"],
            one["role"] + (" (all tenants)" if one["all_tenants"] else ""),
            "off" if one["disabled_at"] else "waits for a password" if not one["has_password"] else "on",
            one["last_seen_at"],
        )
        for one in found
    ]
    print_table(("name", "role", "state", "last seen"), rows)


@app.command("create")
def create(
    context: typer.Context,
    name: Name,
    role: Annotated[str, typer.Option(help="viewer, operator or admin.")] = "viewer",
    as_json: AsJson = False,
) -> None:
    """Make a user; the link behind which the password is chosen is shown this once."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await users.create_user(engine.database, tenant, name, role, actor=ACTOR)

    _show_link(settings, run(act()), as_json)


@app.command("reset")
def reset(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Forgotten password: end it and all sessions, and show a one-time link to choose a new one."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            found = await users.find_user(engine.database, tenant, name)
            return await users.reset_password(engine.database, tenant, found["id"], actor=ACTOR)

    _show_link(settings, run(act()), as_json)


def _show_link(settings: Settings, made: dict[str, Any], as_json: bool) -> None:
    link = f"{first_address(settings.host, settings.port)}/ui/first?key={made['key']}"
    if as_json:
        print_json({"name": made["name"], "role": made["role"], "link": link, "valid_s": users.LINK_SECONDS})
        return
    print_lines(
        [
            link,
            f"{made['name']} chooses a password there, once, within {users.LINK_SECONDS // 86_400} days. "
            "Behind a proxy, put its address in front of /ui.",
        ]
    )
