"""init: from credentials to a JobSync that observes. Guided on a terminal, from the environment with --from-env.

Nothing is sent and nothing of either side is changed: credentials are tried by reads before they are sealed. Secrets are
asked for hidden or taken from the environment, never from the command line, where every process could read them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, say
from jobsync.cli.routing import decide_routes
from jobsync.cli.shared import AsJson, Yes, run, settings_of, tenant_of
from jobsync.config import Settings
from jobsync.db.migrate import read_status as read_schema
from jobsync.engine import setup
from jobsync.engine.connections import ServiceTitanCredentials, read_servicetitan_credentials
from jobsync.engine.context import Engine
from jobsync.engine.findings import Finding
from jobsync.engine.ghl_connection import GoHighLevelCredentials, read_gohighlevel_credentials
from jobsync.engine.opening import open_dsn, open_engine
from jobsync.engine.pipelines import refresh_pipelines
from jobsync.engine.sending import read_status
from jobsync.errors import ConfigError, InvalidInput, JobSyncError
from jobsync.tasks.worker import sync_once

TRIES = 5
ST_WORDS = (
    "Four values from ServiceTitan: tenant, client ID and secret stand under Settings > Integrations > API Application",
    "Access, the app key in the developer portal.",
)
GHL_WORDS = (
    "Two from GoHighLevel: the location ID (Settings > Business Profile) and a token (Settings > Private Integrations).",
    "Without them jobs go by webhooks only. Enter: leave out.",
)


def init(
    context: typer.Context,
    from_env: Annotated[
        bool, typer.Option("--from-env", help="Ask nothing: take everything from the environment and .env.")
    ] = False,
    environment: Annotated[str | None, typer.Option(help="ServiceTitan's: production or integration.")] = None,
    st_tenant_id: Annotated[str | None, typer.Option(help="ServiceTitan's tenant ID.")] = None,
    client_id: Annotated[str | None, typer.Option(help="ServiceTitan's client ID.")] = None,
    ghl_location_id: Annotated[str | None, typer.Option(help="GoHighLevel's location ID.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a jobsync.yaml that says something else.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Set JobSync up: try the credentials, seal them, route the units. Sends nothing. --yes takes the guessed routes."""
    flags = {
        "SERVICE_TITAN_ENVIRONMENT": environment,
        "SERVICE_TITAN_TENANT_ID": st_tenant_id,
        "SERVICE_TITAN_CLIENT_ID": client_id,
        "GHL_LOCATION_ID": ghl_location_id,
    }
    settings = settings_of(context, **flags)
    asks = not from_env
    if asks and not sys.stdin.isatty():
        raise InvalidInput(
            "init asks questions, and here is no terminal to answer them.",
            hint="Put the values into .env (see .env.example) and run: jobsync init --from-env",
        )
    told: dict[str, Any] = {}
    typed = _ask_database(settings) if asks else None
    if typed is not None:
        settings = settings_of(context, **flags, DATABASE_URL=typed)
    told = run(_set_up(settings, tenant_of(context), asks=asks, yes=yes))
    told["files"] = _save(settings, typed, force=force)
    if as_json:
        print_json(told)
    mode = told["mode"]
    say(
        f"Nothing will be sent yet: mode is {mode.upper()}.   Next: jobsync doctor"
        if mode != "live"
        else "Mode is LIVE, as JOBSYNC_MODE or an earlier `arm` says.   Next: jobsync doctor"
    )
    if told["missing"]:
        raise typer.Exit(3)


async def _set_up(settings: Settings, tenant: str, *, asks: bool, yes: bool) -> dict[str, Any]:
    existing = await _look_for_guide(settings)
    async with open_engine(settings) as engine:
        if existing:
            say(f"  ✓ existing guide schema found: {existing} tables. Upgraded in place, nothing dropped.")
        titan = await _connect_servicetitan(engine, tenant, asks=asks)
        level = await _connect_gohighlevel(engine, tenant, asks=asks)
        routes = await _route(engine, tenant, titan, level, asks=asks, yes=yes)
        mode = (await read_status(engine, tenant))["tenant"]["mode"]
    missing = [one for found in (titan, level) if found is not None for one in setup.split_scopes(found.findings)[1]]
    return {
        "mode": mode,
        "existing_guide_tables": existing,
        "servicetitan": {
            "units": titan.units,
            "jobs": titan.jobs,
            "days": setup.DAYS,
            "may_read": setup.split_scopes(titan.findings)[0],
        },
        "gohighlevel": None
        if level is None
        else {"location": level.location, "pipelines": [one.name for one in level.pipelines]},
        "missing": [one.name.removeprefix(setup.SCOPE) for one in missing if one.state == "problem"],
        "routes": routes,
    }


async def _look_for_guide(settings: Settings) -> int:
    """How many of the guide's tables stand in a database that JobSync has not seen yet."""
    async with open_dsn(settings) as dsn:
        found = await read_schema(settings.database_direct_url or dsn)
    return 0 if found["applied"] else len(found["tables"])


async def _connect_servicetitan(engine: Engine, tenant: str, *, asks: bool) -> setup.ServiceTitanFound:
    given = (
        None if asks and engine.settings.servicetitan_missing else await read_servicetitan_credentials(engine, tenant)
    )
    if given is None and not asks:
        raise ConfigError(
            "ServiceTitan's credentials are not set.",
            hint="Set SERVICE_TITAN_TENANT_ID, _CLIENT_ID, _CLIENT_SECRET and _APP_KEY in the environment or .env.",
        )
    if given is not None and asks and not typer.confirm("ServiceTitan's values are at hand: use them?", True, err=True):
        given = None
    for left in range(TRIES, 0, -1):
        credentials = given or _ask_servicetitan(engine.settings)
        found = await setup.try_servicetitan(engine, tenant, credentials)
        problem = setup.stops(found.findings)
        if problem is None:
            await setup.connect_servicetitan(engine, tenant, credentials)
            say(
                f"  ✓ signed in        tenant {credentials.tenant_id}, {found.units} business units, {found.jobs:,} jobs "
                f"changed in the last {setup.DAYS} days"
            )
            _tell_scopes(found.findings)
            return found
        _refuse(problem, asks=asks and left > 1)
        given = None
    raise AssertionError("unreachable")


async def _connect_gohighlevel(engine: Engine, tenant: str, *, asks: bool) -> setup.GoHighLevelFound | None:
    complete = engine.settings.ghl_api_key is not None and engine.settings.ghl_location_id is not None
    given = await read_gohighlevel_credentials(engine, tenant) if complete or not asks else None
    if given is None and not asks:
        say("  ! GoHighLevel      not connected: jobs go by webhooks only (GHL_API_KEY, GHL_LOCATION_ID)")
        return None
    if given is not None and asks and not typer.confirm("GoHighLevel's values are at hand: use them?", True, err=True):
        given = None
    for left in range(TRIES, 0, -1):
        credentials = given or _ask_gohighlevel(engine.settings)
        if credentials is None:
            return None
        found = await setup.try_gohighlevel(engine, tenant, credentials)
        problem = setup.stops(found.findings)
        if problem is None:
            await setup.connect_gohighlevel(engine, tenant, credentials)
            say(f'  ✓ signed in        location "{found.location or "?"}", {len(found.pipelines)} pipelines')
            _tell_scopes(found.findings)
            return found
        _refuse(problem, asks=asks and left > 1)
        given = None
    raise AssertionError("unreachable")


async def _route(
    engine: Engine,
    tenant: str,
    titan: setup.ServiceTitanFound,
    level: setup.GoHighLevelFound | None,
    *,
    asks: bool,
    yes: bool,
) -> list[dict[str, Any]]:
    try:
        await sync_once(engine, tenant, deliver=False, streams=("business_units",))
        if level is not None:
            await refresh_pipelines(engine, tenant, actor="cli")
    except JobSyncError as error:
        say(f"  ! routing          {error.message}")
        return []
    return await decide_routes(engine, tenant, titan, level, asks=asks, yes=yes)


def _tell_scopes(findings: Sequence[Finding]) -> None:
    may, may_not = setup.split_scopes(findings)
    if may:
        say(f"  ✓ may read         {' '.join(may)}")
    for one in may_not:
        sign = "✗" if one.state == "problem" else "!"
        say(f"  {sign} may not read     {one.name.removeprefix(setup.SCOPE)}   ({one.fix})")


def _refuse(problem: Finding, *, asks: bool) -> None:
    if not asks:
        raise ConfigError(f"{problem.what}{'' if problem.what.endswith('.') else '.'}", hint=problem.fix or problem.why)
    say(f"  ✗ {problem.what}", *(f"    {line}" for line in (problem.why, problem.fix) if line))


def _ask_servicetitan(settings: Settings) -> ServiceTitanCredentials:
    say(*ST_WORDS)
    environment = _ask("Environment (production/integration)", settings.servicetitan_environment)
    return ServiceTitanCredentials(
        tenant_id=_ask("Tenant ID", settings.servicetitan_tenant_id),
        client_id=_ask("Client ID", settings.servicetitan_client_id),
        client_secret=_ask_hidden("Client secret (hidden)"),
        app_key=_ask_hidden("App key (hidden)"),
        environment="integration" if environment.startswith("int") else "production",
        api_url=settings.servicetitan_api_url,
        auth_url=settings.servicetitan_auth_url,
    )


def _ask_gohighlevel(settings: Settings) -> GoHighLevelCredentials | None:
    say(*GHL_WORDS)
    location = _ask("GHL location ID", settings.ghl_location_id or "", empty=True)
    if not location:
        return None
    return GoHighLevelCredentials(location, _ask_hidden("Private integration token (hidden)"))


def _ask_database(settings: Settings) -> str | None:
    """What was typed as the database's address; None: what the settings say, or the embedded one."""
    if settings.database_url is not None:
        if typer.confirm("DATABASE_URL is at hand: use it?", True, err=True):
            return None
        raise InvalidInput(
            "Another database needs another DATABASE_URL.", hint="Change or remove it in .env, then run it again."
        )
    found = _ask("Database (Enter: the embedded one, or postgres://...)", "", empty=True)
    return found or None


def _save(settings: Settings, typed: str | None, *, force: bool) -> list[str]:
    here = Path.cwd()
    files = []
    plain = typed
    if typed is not None and setup.holds_password(typed):
        files.append(setup.write_env(here, "DATABASE_URL", typed).name)
        say("Saved DATABASE_URL into .env (0600): it holds a password.")
        plain = None
    written = setup.write_config(settings, here, database_url=plain, force=force)
    key = "JOBSYNC_SECRET_KEY" if settings.secret_key else os.fspath(settings.data_dir / "secret.key")
    if written is None:
        say(f"{setup.CONFIG_FILE} says something else and was left alone (--force replaces it).")
    else:
        files.append(written.name)
        say(f"Saved {written.name} (no secrets). Credentials are sealed in the database; their key is {key} (0600).")
    return files


def _ask(words: str, default: str | None = None, *, empty: bool = False) -> str:
    shown = default if default or empty else None
    return str(typer.prompt(words, default=shown, err=True, show_default=bool(default))).strip()


def _ask_hidden(words: str) -> str:
    return str(typer.prompt(words, hide_input=True, err=True)).strip()
