"""tokens create, list, rotate, revoke: who may call the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, print_table
from jobsync.cli.shared import ACTOR, AsJson, run, settings_of, tenant_of
from jobsync.engine import tokens
from jobsync.engine.opening import open_engine
from jobsync.errors import InvalidInput

app = typer.Typer(help="Tokens for the API.", no_args_is_help=True, rich_markup_mode=None)
TokenId = Annotated[str, typer.Argument(help="The token's id: what stands between js_ and the second _.")]


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Who uses it, such as n8n.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, sync:write, state:write, replay or admin; repeat it. Default: read.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends, such as 2027-01-31T08:00:00Z (UTC).")] = None,
    all_tenants: Annotated[
        bool, typer.Option("--all-tenants", help="With scope admin: may act for every tenant.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown this once."""
    settings, tenant = settings_of(context), tenant_of(context)
    ends = _read_time(expires)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await tokens.create_token(
                engine.database,
                tenant,
                name,
                scope or ["read"],
                actor=ACTOR,
                expires_at=ends,
                all_tenants=all_tenants,
            )

    _show_made(run(act()), as_json)


@app.command("list")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """List the tokens, without their secrets."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[dict[str, Any]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await tokens.list_tokens(engine.database, tenant)

    found = run(act())
    if as_json:
        print_json({"tokens": found})
        return
    rows = [
        (
            one["id"],
            one["name"],
            " ".join(one["scopes"]) + (" (all tenants)" if one["all_tenants"] else ""),
            one["last_used_at"],
            one["expires_at"],
            one["revoked_at"],
        )
        for one in found
    ]
    print_table(("id", "name", "scopes", "last used", "expires", "revoked"), rows)


@app.command("rotate")
def rotate(
    context: typer.Context,
    token: TokenId,
    grace: Annotated[
        int, typer.Option(min=0, max=2_592_000, help="Seconds for which the old one still works.")
    ] = tokens.GRACE_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Make the follower of a token; both work until the grace ends."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await tokens.rotate_token(engine.database, tenant, token, actor=ACTOR, grace_seconds=grace)

    _show_made(run(act()), as_json)


@app.command("revoke")
def revoke(context: typer.Context, token: TokenId, as_json: AsJson = False) -> None:
    """End a token: refused everywhere within 5 seconds."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await tokens.revoke_token(engine.database, tenant, token, actor=ACTOR)

    ended = run(act())
    if as_json:
        print_json(ended)
    else:
        print_lines([f"Token {ended['id']} ({ended['name']}) ended."])


def _show_made(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    lines = [made["token"], f"Shown this once. Scopes: {' '.join(made['scopes'])}. Send it as X-API-Key."]
    if "replaces" in made:
        lines.append(f"It follows {made['replaces']}, which works until {made['replaced_until']:%Y-%m-%d %H:%M:%SZ}.")
    print_lines(lines)


def _read_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput("--expires must be a time such as 2027-01-31T08:00:00Z.", field="expires") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
