"""Rotate: everything that is sealed is sealed anew with another key, while workers go on.

With a key file: a new key is put in front of the file, which every process on the data folder follows; then what is stored
is sealed anew, and the old key is taken out of the file when nothing needs it. With JOBSYNC_SECRET_KEY the new key is put
in front by people (`NEW,OLD`), and this seals anew. Interrupted, it is run again and goes on; twice changes the key twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from jobsync.db.pool import as_jsonb
from jobsync.db.sealing import add_key, keep_first_key
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.route import location_text
from jobsync.errors import DatabaseUnavailable

# What another process sealed with the old key just before is written by then.
SETTLE_SECONDS = 2.0
ROUNDS = 100


@dataclass(frozen=True)
class Rotated:
    """What a rotation did: rows that were sealed anew, the id of the key in use, old keys taken out of the key file."""

    resealed: int
    key_id: str
    forgotten: int


async def rotate_key(engine: Engine, *, actor: str, settle: float = SETTLE_SECONDS) -> Rotated:
    """Changes the key. Raises ConfigError where something stored cannot be opened: then the old keys stay."""
    path = engine.keyring.path
    if path is not None:
        add_key(path)
    resealed = await _seal_anew(engine)
    await _move_locations(engine)
    forgotten = 0
    if path is not None:
        await asyncio.sleep(settle)
        resealed += await _seal_anew(engine)
        forgotten = keep_first_key(path)
    rotated = Rotated(resealed, engine.keyring.key_id, forgotten)
    details = {"key_id": rotated.key_id, "resealed": resealed}
    async with engine.database.transaction(None) as session:
        await session.run("forget_channel_states")
        await session.run("note_rotation", {"actor": actor, "details": as_jsonb(details)})
    return rotated


async def _seal_anew(engine: Engine) -> int:
    """Until nothing is left that another key sealed; how many rows."""
    done = 0
    for _ in range(ROUNDS):
        async with engine.database.transaction(None) as session:
            rows = await session.rows("list_sealed_otherwise", {"key_id": engine.keyring.key_id})
        if not rows:
            return done
        for row in rows:
            text = engine.keyring.open(row["sealed"], row["key_id"])
            sealed = engine.keyring.seal(text)
            given = {"tenant": row["tenant_id"], "id": row["id"], "before": row["sealed"]}
            async with engine.database.transaction(None) as session:
                if row["place"] == "destinations":
                    current, *older = engine.keyring.fingerprints(text)
                    moved = {"tenant": row["tenant_id"], "fingerprint": current, "older": older}
                    await session.run("move_fingerprint", moved)
                await session.run(
                    f"reseal_{row['place']}", {**given, "sealed": sealed.content, "key_id": sealed.key_id}
                )
            done += 1
    raise DatabaseUnavailable(
        "Somebody keeps sealing with an old key; the old keys stay.",
        hint="Is a process running with another JOBSYNC_SECRET_KEY? Restart it, then run this again.",
    )


async def _move_locations(engine: Engine) -> None:
    """Locations are known by a fingerprint alone: it is made anew from the connected ones."""
    async with engine.database.transaction(None) as session:
        found = [(row["tenant_id"], row["location_id"]) for row in await session.rows("list_connected_locations")]
    if engine.settings.ghl_location_id is not None:
        found.append((DEFAULT_TENANT, engine.settings.ghl_location_id))
    for tenant, location in found:
        current, *older = engine.keyring.fingerprints(location_text(location))
        async with engine.database.transaction(None) as session:
            await session.run("move_fingerprint", {"tenant": tenant, "fingerprint": current, "older": older})
