"""Rewind: moves the cursor of one stream back to a time, on a person's word only, with a line in the audit."""

from __future__ import annotations

from typing import Any

from jobsync.engine.context import Engine


async def rewind_stream(
    engine: Engine, tenant: str, stream: str, to: str, *, apply: bool, actor: str
) -> dict[str, Any]:
    """Answers {stream, mode, from, to, stored_since, moved}; without `apply` nothing is changed.

    `to`: an ISO time, read as UTC where it has no zone. Raises InvalidInput for a text that is no time, a time that is
    not before the cursor, or a stream without a place in time; RecordMissing for one that was never read. A pull that is
    under way loses its turn (LockHeld) and begins anew from the new place.
    """
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "rewind_cursor", {"tenant": tenant, "stream": stream, "to": to, "apply": apply, "actor": actor}
        )
