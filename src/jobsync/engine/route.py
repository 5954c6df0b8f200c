"""Routes: which unit's jobs go where, and who delivers them. One verb for the command line, the API and the dashboard.

A hook's URL is checked by the guard, sealed, and known by its fingerprint, so that the same hook is one destination. A
pipeline and its stage are named; where GoHighLevel is connected their names are checked and the route goes by the API.
Setting a route plans the unit's jobs that were never delivered; it sends nothing by itself and re-sends nothing.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from jobsync.db.pool import Session
from jobsync.db.sealing import Keyring
from jobsync.engine.context import Engine
from jobsync.engine.ghl_connection import read_gohighlevel_credentials
from jobsync.engine.names import nearest
from jobsync.engine.pipelines import find_stage, read_card_names, refresh_pipelines
from jobsync.errors import InvalidInput, RecordMissing
from jobsync.gohighlevel.destination_guard import Guard, mask_url


class _TriedOut(Exception):
    """Ends the transaction in which a route was tried, so that nothing of it stays."""


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
    card: Literal["own", "sales"] | None = None,
    leave_webhook: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Sets what is given of a unit's route and answers the unit with its route (URL masked) and how many jobs it planned.

    `external`: somebody else delivers; `skip`: nobody does (sync_to_ghl off); `events`: created or all (webhook only).
    A webhook makes JobSync the deliverer, and a pipeline's name beside it is a label. A pipeline alone makes an API route
    where GoHighLevel is connected, else it is a label too; a unit that goes to a webhook only changes to the API with
    `leave_webhook`. `dry_run`: the same answer, and nothing stays. `card` (API): `sales` lets a job go on
    with the card of the job whose sold estimate it was made from.
    Raises DestinationRefused, InvalidInput naming the nearest pipelines, and RecordMissing naming the nearest units.
    """
    if sum((webhook_url is not None, external, skip)) > 1:
        raise InvalidInput("Choose one of: a webhook, external, skip.")
    if events is not None and events not in ("created", "all"):
        raise InvalidInput("events must be created or all.")
    if webhook_url is not None:
        webhook_url = webhook_url.strip()
        Guard(engine.settings.allow_hosts).check_url(webhook_url)
    names_cards = pipeline is not None or stage is not None or card is not None
    location = None
    if names_cards and webhook_url is None and not external and not skip:
        location = await _connected_location(engine, tenant, pipeline, stage, actor)
    answer: dict[str, Any] = {}
    try:
        async with engine.database.transaction(tenant) as session:
            row = await _require_unit(session, tenant, unit)
            by_api = location is not None and (leave_webhook or row["destination_kind"] != "webhook")
            target = await _find_target(session, tenant, row, pipeline, stage) if by_api else (None, None)
            if not by_api and card is not None:
                raise InvalidInput("card is only for routes to a pipeline of a connected GoHighLevel.")
            if by_api and events is not None:
                raise InvalidInput("events is only for webhooks: a pipeline is told of every change that matters.")
            destination = None
            if webhook_url is not None:
                destination = await _store_hook(session, engine.keyring, tenant, webhook_url, pipeline)
            elif location is not None and by_api:
                destination = await _store_location(session, engine.keyring, tenant, location)
            deliverer = "jobsync" if destination is not None else "external" if external else None
            if skip:
                sync_to_ghl = False
            elif deliverer is not None and sync_to_ghl is None:
                # Who routes a unit that was switched off means to switch it on.
                sync_to_ghl = True
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
            if by_api:
                parameters = {"tenant": tenant, "unit": unit, "pipeline": target[0], "stage": target[1], "card": card}
                answer |= await session.value("set_route_target", {**parameters, "actor": actor})
            if dry_run:
                raise _TriedOut
    except _TriedOut:
        pass
    return {name: value for name, value in answer.items() if name != "tenant_id"}


async def list_units(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """All units with their routes, by name."""
    async with engine.database.transaction(tenant) as session:
        return await session.rows("list_units", {"tenant": tenant})


async def _store_hook(session: Session, keyring: Keyring, tenant: str, url: str, label: str | None) -> UUID:
    sealed = keyring.seal(url)
    await _move_fingerprint(session, tenant, keyring.fingerprints(url))
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
    masked = f"GoHighLevel API (...{location[-4:]})"
    fingerprints = keyring.fingerprints(location_text(location))
    await _move_fingerprint(session, tenant, fingerprints)
    return await session.value("store_location", {"tenant": tenant, "fingerprint": fingerprints[0], "masked": masked})


def location_text(location: str) -> str:
    """What a location's fingerprint is made of."""
    return f"location:{location}"


async def _move_fingerprint(session: Session, tenant: str, fingerprints: list[bytes]) -> None:
    """A destination that was stored under an older key is the same one under the new key."""
    if len(fingerprints) > 1:
        given = {"tenant": tenant, "fingerprint": fingerprints[0], "older": fingerprints[1:]}
        await session.run("move_fingerprint", given)


async def _connected_location(
    engine: Engine, tenant: str, pipeline: str | None, stage: str | None, actor: str
) -> str | None:
    """The tenant's location, its pipelines read; None where GoHighLevel is not connected. A name that is not known may be
    new there: one look, then the answer stands."""
    credentials = await read_gohighlevel_credentials(engine, tenant)
    if credentials is None:
        return None
    async with engine.database.transaction(tenant) as session:
        names = await read_card_names(session, tenant)
    try:
        if not names["pipelines"]:
            raise InvalidInput("No pipelines are known yet.")
        if pipeline is not None:
            find_stage(names, pipeline, stage)
    except InvalidInput:
        await refresh_pipelines(engine, tenant, actor=actor)
    return credentials.location_id


async def _find_target(
    session: Session, tenant: str, row: dict[str, Any], pipeline: str | None, stage: str | None
) -> tuple[str | None, str | None]:
    """Ids of pipeline and stage; a stage alone is one of the route's own pipeline."""
    if pipeline is None and stage is None:
        if row["pipeline_id"] is None:
            raise InvalidInput("This unit goes to no pipeline yet.", hint="Name one: --pipeline NAME.")
        return None, None
    names = await read_card_names(session, tenant)
    within = pipeline if pipeline is not None else row["pipeline_id"]
    if within is None:
        raise InvalidInput("A stage needs its pipeline.", hint="Name it: --pipeline NAME --stage NAME.")
    return find_stage(names, within, stage)


async def _require_unit(session: Session, tenant: str, unit: int) -> dict[str, Any]:
    units = await session.rows("list_units", {"tenant": tenant})
    known = {row["st_business_unit_id"]: row for row in units}
    if unit in known:
        return known[unit]
    near = nearest(str(unit), [str(one) for one in known])
    named = ", ".join(f"{one} ({known[int(one)]['name']})" for one in near)
    raise RecordMissing(
        f"Business unit {unit} is not known.",
        hint=f"Nearest: {named}. Units appear with the first `jobsync pull`."
        if named
        else "Units appear with the first `jobsync pull`.",
    )
