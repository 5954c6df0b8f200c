"""Which sender makes a destination's rows true: a hook's, or the API's."""

from __future__ import annotations

from jobsync.db.pool import Row
from jobsync.engine import hook_sender
from jobsync.engine.api_sender import open_api_sender
from jobsync.engine.context import Engine
from jobsync.engine.deliver import Sender


async def open_sender(engine: Engine, tenant: str, destination: Row) -> Sender:
    """The sender for a destination row. Raises ConfigError for a hook that cannot be opened, or no connection."""
    if destination["kind"] == "api":
        return await open_api_sender(engine, tenant, destination)
    return await hook_sender.open_sender(engine, destination)
