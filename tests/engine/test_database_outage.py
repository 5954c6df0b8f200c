"""The database breaks off between GoHighLevel's answer and its booking: the answer is kept until it can be booked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobsync.db.again import repeat_until_stored
from jobsync.db.pool import Row
from jobsync.engine.claims import GROUP
from jobsync.engine.deliver import drain_destination
from jobsync.engine.hook_sender import HookSender, open_sender
from jobsync.errors import DatabaseUnavailable, SchemaDrift
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio

UNIT = 1314
# The backend that books and waits for our lock: it is ended there, in the middle of its transaction.
CUT = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()"
)


class CuttingSender:
    """Sends for real; then holds the jobs' rows until the booking runs into them, and cuts its connection there."""

    overlaps = True

    def __init__(self, inner: HookSender, dsn: str) -> None:
        self._inner = inner
        self._dsn = dsn
        self._cutting: asyncio.Task[None] | None = None
        self.cuts = 0

    async def prepare(self, rows: Sequence[Row]) -> None:
        await self._inner.prepare(rows)

    async def send(self, row: Row) -> dict[str, Any]:
        result = await self._inner.send(row)
        if self._cutting is None:
            holding = asyncio.Event()
            self._cutting = asyncio.ensure_future(self._cut(holding))
            await holding.wait()
        return result

    async def _cut(self, holding: asyncio.Event) -> None:
        async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
            await connection.execute("select 1 from jobs for update")
            holding.set()
            while not self.cuts:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as other:
                    self.cuts = (await other.execute(CUT)).rowcount
            await connection.rollback()

    async def close(self) -> None:
        if self._cutting is not None:
            await self._cutting
        await self._inner.close()


async def test_answers_that_came_before_an_outage_are_booked_after_it_and_nothing_is_sent_twice(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30) as stage:
        await stage.sync(deliver=False)
        await stage.route(UNIT)
        destination = stage.value("select id from jobsync.destinations")
        senders: list[CuttingSender] = []

        async def sender(row: Row) -> CuttingSender:
            senders.append(CuttingSender(await open_sender(stage.engine, row), dsn))
            return senders[-1]

        def opened(row: Row) -> Awaitable[CuttingSender]:
            return sender(row)

        report = await drain_destination(stage.engine, opened, "default", destination)

        wanted = dict.fromkeys(stage.jobs_of(UNIT), 1)
        assert senders[0].cuts == 1 and report.delivered == len(wanted)
        assert stage.posts() == wanted
        assert stage.value("select count(*) from jobs where ghl_sync_status = 'synced'") == len(wanted)


class HoldingSender:
    """Accepts everything at once. After the first group it keeps the booking waiting until the next group is claimed."""

    overlaps = True

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._holding: asyncio.Task[None] | None = None
        self.sent = 0
        self.unmarked: list[int] = []

    async def prepare(self, rows: Sequence[Row]) -> None:
        """Nothing to prepare."""

    async def send(self, row: Row) -> dict[str, Any]:
        self.sent += 1
        # Of now: by the time the answer comes, others may have been sent and booked.
        sent = self.sent
        async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
            booked = await (
                await connection.execute("select count(*) from jobsync.attempts where outcome is not null")
            ).fetchone()
        assert booked is not None
        self.unmarked.append(sent - booked[0])
        if self._holding is None:
            held = asyncio.Event()
            self._holding = asyncio.ensure_future(self._hold(held))
            await held.wait()
        return {"outcome": "accepted", "status": 200, "execution_id": "here"}

    async def _hold(self, held: asyncio.Event) -> None:
        async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
            await connection.execute("select 1 from jobs for update")
            held.set()
            claimed = 0
            while claimed <= GROUP:
                async with await psycopg.AsyncConnection.connect(self._dsn) as other:
                    row = await (await other.execute("select count(*) from jobsync.attempts")).fetchone()
                    assert row is not None
                    claimed = row[0]
            await connection.rollback()

    async def close(self) -> None:
        if self._holding is not None:
            await self._holding


async def test_at_most_a_group_of_sends_is_accepted_and_not_marked_however_long_booking_takes(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=240) as stage:
        await stage.route_all()
        await stage.sync(deliver=False)
        destination = stage.value("select id from jobsync.destinations")
        senders: list[HoldingSender] = []

        async def sender(row: Row) -> HoldingSender:
            senders.append(HoldingSender(dsn))
            return senders[-1]

        report = await drain_destination(stage.engine, sender, "default", destination)

        due = stage.value("select count(*) from jobs where ghl_sync_status = 'synced'")
        assert report.delivered == senders[0].sent == due > 2 * GROUP
        assert max(senders[0].unmarked) <= GROUP


async def test_only_a_database_that_is_away_is_worth_repeating() -> None:
    tries: list[str] = []

    async def drifting() -> None:
        tries.append("drift")
        raise SchemaDrift("a page does not fit")

    async def away_twice() -> str:
        tries.append("away")
        if tries.count("away") < 3:
            raise DatabaseUnavailable("gone")
        return "stored"

    with pytest.raises(SchemaDrift):
        await repeat_until_stored(drifting)
    assert await repeat_until_stored(away_twice) == "stored"
    assert tries == ["drift", "away", "away", "away"]
