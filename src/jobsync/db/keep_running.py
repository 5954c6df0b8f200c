"""Keeping the embedded PostgreSQL alive while a long-lived process uses it: a server that dies is started again.

In: a server that this process uses. What was under way when it died is repeated by those who did it (`db.again`, the
worker's restart); here only the server is brought back. Watching costs one look at a lock file a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jobsync.db.embedded import EmbeddedServer
from jobsync.errors import JobSyncError
from jobsync.log import get_log

LOOK_EVERY_SECONDS = 1.0


@asynccontextmanager
async def kept_running(server: EmbeddedServer) -> AsyncIterator[None]:
    """Inside the block a server that was killed (out of memory, by hand) is up again within seconds."""
    watching = asyncio.ensure_future(_watch(server))
    try:
        yield
    finally:
        # Ended before the server is left: it must not be started again while it is being stopped.
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(server: EmbeddedServer) -> None:
    log = get_log()
    port = server.port
    while True:
        await asyncio.sleep(LOOK_EVERY_SECONDS)
        try:
            if not await server.ensure_running():
                continue
        except JobSyncError as error:
            log.error("database_down", code=error.code)
            continue
        log.warning("database_restarted", reason="the embedded PostgreSQL had died", port=server.port)
        if server.port != port:
            log.error("database_moved", reason="another program took its port: restart jobsync", port=server.port)
