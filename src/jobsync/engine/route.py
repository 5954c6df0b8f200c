"""Routes: which unit's jobs go where, and who delivers them. One verb for the command line, the API and the dashboard.

A hook's URL is checked by the guard, sealed, and known by its fingerprint, so that the same hook is one destination.
Setting a route plans the unit's jobs that were never delivered; it sends nothing by itself and re-sends nothing.
"""

from __future__ import annotations

import difflib
from typing import Any
from uuid import UUID

from jobsync.db.pool import Session
from jobsync.db.sealing import Keyring
from jobsync.engine.context import Engine
from jobsync.engine.ghl_connection import read_gohighlevel_credentials
from jobsync.errors import InvalidInput, RecordMissing
from jobsync.gohighlevel.destination_guard import Guard, mask_url


async def route_unit(
    engine: Engine,
    tenant: str,
    unit: int,
    *,
    actor: str,
    webhook_url: str | None = None,
    pipeline: str | None = None,
    stage: str | None = None,
    external: bool = False,
    skip: bool = False,
    events: str | None = None,
    sync_enabled: bool | None = None,
    sync_to_ghl: bool | None = None,
) -> dict[str, Any]:
    """Sets what is given of a unit's route and answers the unit with its route (URL masked) and how many jobs it planned.

    `external`: somebody else delivers; `skip`: nobody does (sync_to_ghl off); `events`: created or all (webhook only).
    A webhook makes JobSync the deliverer; so does a pipeline name alone where GoHighLevel is connected (an API route),
    else it is a label. Raises DestinationRefused, InvalidInput, and RecordMissing naming the nearest units.
    """
    if sum((webhook_url is not None, external, skip)) > 1:
        raise InvalidInput("Choose one of: a webhook, external, skip.")
    if events is not None and events not in ("created", "all"):
        raise InvalidInput("events must be created or all.")
    if webhook_url is not None:
        webhook_url = webhook_url.strip()
        Guard(engine.settings.allow_hosts).check_url(webhook_url)
    location = None
    if pipeline is not None and webhook_url is None and not external and not skip:
        location = await read_gohighlevel_credentials(engine, tenant)
    deliverer = "jobsync" if webhook_url is not None or location is not None else "external" if external else None
    if skip:
        sync_to_ghl = False
    elif deliverer is not None and sync_to_ghl is None:
        # Who routes a unit that was switched off means to switch it on.
        sync_to_ghl = True
    async with engine.database.transaction(tenant) as session:
        await _require_unit(session, tenant, unit)
        destination = None
        if webhook_url is not None:
            destination = await _store_hook(session, engine.keyring, tenant, webhook_url, pipeline)
        elif location is not None:
            destination = await _store_location(session, engine.keyring, tenant, location.location_id)
        answer = await session.value(
            "set_route",
            {
                "tenant": tenant,
                "unit": unit,
                "deliverer": deliverer,
                "destination": destination,
                "events": events,
                "pipeline_name": pipeline,
                "stage_name": stage,
                "sync_enabled": sync_enabled,
                "sync_to_ghl": sync_to_ghl,
                "actor": actor,
            },
        )
    return {name: value for name, value in answer.items() if name != "tenant_id"}


async def list_units(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """All units with their routes, by name."""
    async with engine.database.transaction(tenant) as session:
        return await session.rows("list_units", {"tenant": tenant})


async def _store_hook(session: Session, keyring: Keyring, tenant: str, url: str, label: str | None) -> UUID:
    sealed = keyring.seal(url)
    return await session.value(
        "store_hook",
        {
            "tenant": tenant,
            "label": label or mask_url(url),
            "sealed": sealed.content,
            "key_id": sealed.key_id,
            "fingerprint": keyring.fingerprint(url),
            "masked": mask_url(url),
        },
    )


async def _store_location(session: Session, keyring: Keyring, tenant: str, location: str) -> UUID:
    fingerprint = keyring.fingerprint(f"location:{location}")
    masked = f"GoHighLevel API (...{location[-4:]})"
    return await session.value("store_location", {"tenant": tenant, "fingerprint": fingerprint, "masked": masked})


async def _require_unit(session: Session, tenant: str, unit: int) -> None:
    units = await session.rows("list_units", {"tenant": tenant})
    known = {row["st_business_unit_id"]: row["name"] for row in units}
    if unit in known:
        return
    near = difflib.get_close_matches(str(unit), [str(one) for one in known], n=3, cutoff=0.5) or [
        str(one) for one in list(known)[:3]
    ]
    named = ", ".join(f"{one} ({known[int(one)]})" for one in near)
    raise RecordMissing(
        f"Business unit {unit} is not known.",
        hint=f"Nearest: {named}. Units appear with the first `jobsync pull`."
        if named
        else "Units appear with the first `jobsync pull`.",
    )
