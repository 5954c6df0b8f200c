"""Outage: what is told when PostgreSQL itself is the trouble, so that no alert of the database can be read.

Only the channels of JOBSYNC_ALERT_URLS are used: those of tenants are sealed in the database. Told once, after the trouble
has lasted a while, and once when it is over. Nothing here raises, and nothing waits for a channel.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from jobsync.alerts.channels import Kind, name_channels, send_to_all, split_urls
from jobsync.db.failures import translate
from jobsync.engine.context import Engine
from jobsync.errors import JobSyncError
from jobsync.log import get_log

STEADY_SECONDS = 5.0
PROBE_SECONDS = 5.0


class Outage:
    """One trouble of this process. `patience`: seconds it must last before people hear of it."""

    def __init__(self, engine: Engine, title: str, fix: str, *, patience: float) -> None:
        self._engine = engine
        self._title = title
        self._fix = fix
        self._patience = patience
        self._since: float | None = None
        self._told = False
        self._sending: set[asyncio.Task[None]] = set()

    def note(self, error: BaseException) -> None:
        """It is there (again). Told from the first time on that it has lasted long enough."""
        now = asyncio.get_running_loop().time()
        self._since = self._since if self._since is not None else now
        if not self._told and now - self._since >= self._patience:
            self._told = True
            self._send(f"JobSync: {self._title}", f"{explain(error)}\n   Fix  {self._fix}", "failure")

    def over(self) -> None:
        """It is over; told if its beginning was."""
        lasted, told, self._since, self._told = self._since, self._told, None, False
        if told and lasted is not None:
            minutes = (asyncio.get_running_loop().time() - lasted) / 60
            self._send(f"JobSync: over: {self._title}", f"It lasted {minutes:.0f} minutes. JobSync goes on.", "success")

    async def settle(self) -> None:
        """Counts it as over once this was left alone for a while."""
        if self._since is not None:
            await asyncio.sleep(STEADY_SECONDS)
            self.over()

    async def close(self) -> None:
        """Waits for what is being sent."""
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _send(self, title: str, body: str, kind: Kind) -> None:
        task = asyncio.ensure_future(self._tell(title, body, kind))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _tell(self, title: str, body: str, kind: Kind) -> None:
        given = self._engine.settings.alert_urls
        if given is None:
            return
        try:
            channels = name_channels(split_urls(given.get_secret_value()), self._engine.keyring)
        except JobSyncError as error:
            get_log().warning("alert_channels_unreadable", code=error.code)
            return
        sent = await send_to_all(channels, title, body, kind)
        get_log().info("outage_told", count=sum(one.ok for one in sent), failed=sum(not one.ok for one in sent))


def explain(error: BaseException) -> str:
    """An error in one sentence that names no secret."""
    for one in (error, error.__cause__, error.__context__):
        if isinstance(one, JobSyncError):
            return one.message
        if one is not None and (found := translate(one)) is not None:
            return found.message
    return "PostgreSQL cannot be reached, or the connection broke off."


async def watch_database(engine: Engine, stop: asyncio.Event, *, patience: float) -> None:
    """Asks PostgreSQL for the time again and again, and tells people when it was away for `patience` seconds. Until `stop`."""
    outage = Outage(
        engine,
        "PostgreSQL is away",
        "look at the database server: jobsync doctor --only database. JobSync goes on by itself; nothing is lost.",
        patience=patience,
    )
    while not stop.is_set():
        try:
            async with asyncio.timeout(PROBE_SECONDS), engine.database.transaction(None) as session:
                await session.value("read_now")
            outage.over()
        except (JobSyncError, TimeoutError) as error:
            outage.note(error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), min(PROBE_SECONDS, patience))
    await outage.close()


async def watch_workers(
    engine: Engine, count_workers: Callable[[], Awaitable[int]], stop: asyncio.Event, *, every: float, patience: float
) -> None:
    """Tells people when no worker gave a sign of life for a while; for the processes that are none. Until `stop`."""
    outage = Outage(
        engine, "no worker is running", "start one: jobsync up --only worker   then: jobsync doctor", patience=patience
    )
    while not stop.is_set():
        try:
            if await count_workers():
                outage.over()
            else:
                outage.note(JobSyncError("Nothing is pulled and nothing is sent."))
        except JobSyncError:
            # That is the database's trouble; whoever works tells of it.
            pass
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every)
    await outage.close()
