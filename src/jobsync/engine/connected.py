"""A tenant's connections as people see and change them: where they come from, masked values, how the upstream stands.

Secrets go in and never come out: of each value the last four characters are shown, and of a short one nothing. Values of
the environment belong to tenant `default` and win; they are changed where they stand, not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from jobsync.db.pool import as_jsonb
from jobsync.engine.connections import ServiceTitanCredentials, read_servicetitan_credentials
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.findings import Finding
from jobsync.engine.ghl_connection import GoHighLevelCredentials, read_gohighlevel_credentials
from jobsync.engine.setup import connect_gohighlevel, connect_servicetitan, stops, try_gohighlevel, try_servicetitan
from jobsync.errors import ConfigError, InvalidInput

KINDS = ("servicetitan", "gohighlevel")
ENVIRONMENTS = ("production", "integration")
# name -> what people call it; the ids among them are no secrets, but nobody needs to see them whole.
FIELDS: dict[str, dict[str, str]] = {
    "servicetitan": {
        "tenant_id": "Tenant ID",
        "client_id": "Client ID",
        "client_secret": "Client secret",
        "app_key": "App key",
    },
    "gohighlevel": {"location_id": "Location ID", "token": "Private integration token"},
}
_SHORTEST_SHOWN = 12


def mask(value: str) -> str:
    """`****1234`; a value so short that four characters would tell much of it is `****`."""
    return f"****{value[-4:]}" if len(value) >= _SHORTEST_SHOWN else "****"


async def list_connections(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """Both connections: kind, source (environment, stored, None), values [{name, label, shown}], environment, updated_at
    (UTC), state, reason, and `trouble` where the stored values cannot be used."""
    async with engine.database.transaction(tenant) as session:
        stored = {row["kind"]: row for row in await session.rows("list_connections", {"tenant": tenant})}
        states = {row["upstream"]: row for row in await session.rows("list_upstream_states", {"tenant": tenant})}
    found = []
    for kind in KINDS:
        values, trouble = await _read_values(engine, tenant, kind)
        state = states.get(kind)
        found.append(
            {
                "kind": kind,
                "source": "environment" if _is_from_environment(engine, tenant, kind) else "stored" if values else None,
                "values": [
                    {"name": name, "label": label, "shown": mask(values[name]) if values.get(name) else None}
                    for name, label in FIELDS[kind].items()
                ],
                "environment": values.get("environment"),
                "updated_at": stored[kind]["updated_at"] if kind in stored else None,
                "state": state["state"] if state is not None else "ok",
                "reason": state["reason"] if state is not None else None,
                "trouble": trouble,
            }
        )
    return found


async def change_connection(
    engine: Engine, tenant: str, kind: str, values: Mapping[str, str], *, actor: str, look: bool = True
) -> list[str]:
    """Tries what is given (`look`), then seals and stores it; a blank leaves what stands. Answers the names that changed.

    Raises InvalidInput for a missing value, for values with which the upstream lets nobody in (then nothing is stored),
    and where the environment decides."""
    if kind not in FIELDS:
        raise InvalidInput(f"There is no connection {kind[:40]}.", hint=f"One of: {', '.join(KINDS)}.")
    if _is_from_environment(engine, tenant, kind):
        raise InvalidInput(
            "This connection comes from the environment, which wins.", hint="Change it there and start JobSync again."
        )
    before, _ = await _read_values(engine, tenant, kind)
    given = {name: text for name, value in values.items() if (text := value.strip())}
    environment = given.get("environment")
    if environment is not None and environment not in ENVIRONMENTS:
        raise InvalidInput("The environment is production or integration.", field="environment")
    after = {**before, **given}
    missing = [label for name, label in FIELDS[kind].items() if not after.get(name)]
    if missing:
        raise InvalidInput(f"{', '.join(missing)} missing.", hint="A connection needs all of its values.")
    changed = [name for name, value in after.items() if before.get(name) != value and name in given]
    if not changed:
        return []
    if kind == "servicetitan":
        titan = msgspec.convert(after, ServiceTitanCredentials)
        if look:
            _refuse_stopped((await try_servicetitan(engine, tenant, titan)).findings)
        await connect_servicetitan(engine, tenant, titan)
    else:
        level = msgspec.convert(after, GoHighLevelCredentials)
        if look:
            _refuse_stopped((await try_gohighlevel(engine, tenant, level)).findings)
        await connect_gohighlevel(engine, tenant, level)
    async with engine.database.transaction(tenant) as session:
        await session.run(
            "write_audit",
            {
                "tenant": tenant,
                "actor": actor,
                "action": "connection_set",
                "subject": kind,
                "details": as_jsonb({"changed": changed}),
            },
        )
    return changed


def _refuse_stopped(findings: Sequence[Finding]) -> None:
    stop = stops(findings)
    if stop is not None:
        raise InvalidInput(f"Nothing was stored: {stop.what}. {stop.why or ''}".strip(), hint=stop.fix)


async def _read_values(engine: Engine, tenant: str, kind: str) -> tuple[dict[str, str], str | None]:
    read = read_servicetitan_credentials if kind == "servicetitan" else read_gohighlevel_credentials
    try:
        found = await read(engine, tenant)
    except ConfigError as error:
        return {}, error.message
    return ({} if found is None else {name: value for name, value in asdict(found).items() if value}), None


def _is_from_environment(engine: Engine, tenant: str, kind: str) -> bool:
    settings = engine.settings
    given = settings.servicetitan_given if kind == "servicetitan" else settings.ghl_api_key or settings.ghl_location_id
    return tenant == DEFAULT_TENANT and bool(given)
