"""Pull: reads one stream of one tenant to its end and stores it page by page.

Each page is one transaction: rows, quarantine, outbox and cursor move together or not at all (reliability P1). No
transaction is open while a page is fetched. Streams are read by their export feed (opaque token, stored with the rows);
where ServiceTitan refuses the feed, by list and modification time, inclusive, with an overlap (P4, P5). Twice changes
nothing. Called by the tasks `pull_stream` and by backfill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import TypeVar

from jobsync.db.pool import Row
from jobsync.engine.context import Engine
from jobsync.engine.store import Counts, Position, store
from jobsync.errors import AccessDenied, JobSyncError, RecordMissing, RequestRejected
from jobsync.servicetitan.answers import PAGE_TIMEOUT, PAGE_TOO_LARGE
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.keyset import read_changes, read_list
from jobsync.servicetitan.pace import BREAKER_OPEN
from jobsync.servicetitan.pages import LoopGuard, Page, RowReader
from jobsync.servicetitan.retry import with_retries
from jobsync.servicetitan.streams import STREAMS, Stream
from jobsync.servicetitan.timestamps import TICKS_PER_SECOND, datetime_ticks, format_ticks, parse_ticks
from jobsync.servicetitan.windows import Ask, Fetch

T = TypeVar("T")
OVERLAP_SECONDS = 600
OVERLAP_TICKS = OVERLAP_SECONDS * TICKS_PER_SECOND
# How far the last page of a feed reaches back is not documented (minutes). A pull that is through its young rows within
# this time takes that for enough.
QUICK_TICKS = 60 * TICKS_PER_SECOND
PAGE_SIZES = (5000, 1000, 200)
REFERENCE_EVERY_SECONDS = 3600
ATTEMPTS = 3
SMALLER_PAGE_HELPS = {PAGE_TIMEOUT, PAGE_TOO_LARGE}


async def pull_stream(engine: Engine, client: ServiceTitanClient, tenant: str, name: str, counts: Counts) -> Counts:
    """Reads the stream from its cursor to its end. Writes rows, cursor and outbox; adds to `counts` as it goes.

    Raises the error that stopped it; what was stored until then stays, and the cursor stands behind it. LockHeld when
    another run moved the cursor meanwhile.
    """
    stream = STREAMS[name]
    try:
        if stream.cursor == "reference":
            await _pull_reference(engine, client, tenant, stream, counts)
        else:
            await _pull_changes(engine, client, tenant, stream, counts)
    except JobSyncError as error:
        async with engine.database.transaction(tenant) as session:
            await session.run("fail_cursor", {"tenant": tenant, "stream": name, "error": error.message})
        raise
    return counts


async def _pull_changes(
    engine: Engine, client: ServiceTitanClient, tenant: str, stream: Stream, counts: Counts
) -> None:
    cursor = await _open_cursor(engine, client, tenant, stream)
    if cursor["mode"] == "export":
        try:
            await _pull_feed(engine, client, tenant, stream, cursor, counts)
            return
        except (AccessDenied, RecordMissing) as error:
            if error.code != "feed_refused":
                raise
        except RequestRejected as error:
            if error.code != "cursor_rejected":
                raise
            # The token was not taken: from the newest modification time that is stored, less the overlap.
        # Remembered for a day, so that an idle reading costs one request and not the refused one too. It says nothing
        # about any other feed: each has a scope of its own.
        async with engine.database.transaction(tenant) as session:
            await session.run("note_feed_refused", {"tenant": tenant, "stream": stream.name})
        cursor = await _turn_to_list(engine, client, tenant, stream)
    await _pull_list(engine, client, tenant, stream, cursor, counts)


async def _turn_to_list(engine: Engine, client: ServiceTitanClient, tenant: str, stream: Stream) -> Row:
    """The cursor of a stream whose feed was refused just now, as it is read by list."""
    find = {"tenant": tenant, "stream": stream.name}
    async with engine.database.transaction(tenant) as session:
        cursor = await session.row("find_cursor", find)
    assert cursor is not None
    if cursor["since"] is None:
        # Written with the first page only: where the list is refused as well, the stream has not begun.
        start = await _list_start(engine, client, tenant, stream)
        cursor = {**cursor, "since": start, "began": start}
    return {**cursor, "mode": "list"}


async def _open_cursor(engine: Engine, client: ServiceTitanClient, tenant: str, stream: Stream) -> Row:
    async with engine.database.transaction(tenant) as session:
        refused = await session.value("is_feed_refused", {"tenant": tenant, "stream": stream.name})
        cursor = await session.row("find_cursor", {"tenant": tenant, "stream": stream.name})
    if cursor is None:
        mode = "list" if refused or stream.export_path is None else "export"
        # Jobs begin at lastJobPull; their parents at the first record, so that none that a job refers to is missing.
        since = None
        if stream.name == "jobs" or mode == "list":
            since = await _list_start(engine, client, tenant, stream)
        async with engine.database.transaction(tenant) as session:
            cursor = await session.row(
                "read_cursor", {"tenant": tenant, "stream": stream.name, "mode": mode, "since": since}
            )
    assert cursor is not None
    if cursor["mode"] == "list" and not refused and stream.export_path is not None:
        # A day has passed since the feed was refused: it is tried again, from the newest time that is stored.
        cursor = {**cursor, "mode": "export", "token": None}
    return cursor


async def _list_start(engine: Engine, client: ServiceTitanClient, tenant: str, stream: Stream) -> str:
    if stream.name == "jobs":
        async with engine.database.transaction(tenant) as session:
            return await session.value("first_pull_start", {"tenant": tenant})
    # By list, parents are looked up by ids for the jobs at hand; the list brings what changes from now on.
    return format_ticks(await read_servicetitan_clock(engine, client, tenant, stream) - OVERLAP_TICKS)


async def read_servicetitan_clock(engine: Engine, client: ServiceTitanClient, tenant: str, stream: Stream) -> int:
    """What ServiceTitan's own clock shows, in ticks: its times are only compared with its times (reliability P13).

    It stands on every answer; where none came yet one record is asked for. Only an answer without a Date leaves our
    database's clock.
    """
    async with engine.database.transaction(tenant) as session:
        ours: datetime = await session.value("read_now")
    if client.served_at is None:
        await read_patiently(partial(client.list_page, stream, modified_from=ours.isoformat(), page_size=1))
    return datetime_ticks(client.served_at or ours)


async def _pull_feed(
    engine: Engine, client: ServiceTitanClient, tenant: str, stream: Stream, cursor: Row, counts: Counts
) -> None:
    """Page by page to the feed's end. What a pull leaves as its place is a token behind which nothing can still appear.

    The last page's token reaches back over the young rows by itself (contract section 2.2); a token from between does
    not, so that a pull which ends among young rows begins again before them. It reaches back from the moment of the last
    page: where minutes have gone by since the first young rows were read, something may have appeared before that.
    """
    token, since, revision = cursor["token"], cursor["since"], cursor["revision"]
    resume = token
    young_since: int | None = None
    start = _feed_start(cursor)
    reader, guard = RowReader(stream.keys), LoopGuard()
    page = await read_patiently(partial(client.export_page, stream, token, start))
    while True:
        guard.see(page)
        token = page.continue_from or token
        newest = reader.newest(page)
        if newest is not None and (since is None or newest > parse_ticks(since)):
            since = format_ticks(newest)
        served = await _served_at(engine, tenant, page)
        if young_since is None and newest is not None and newest > served - OVERLAP_TICKS:
            young_since = served
        if young_since is None or not page.has_more and served - young_since <= QUICK_TICKS:
            resume = token
        position = Position("export", resume, since, caught_up=not page.has_more)
        if not page.has_more:
            await store(engine, tenant, stream, page, counts, revision=revision, position=position)
            return
        # The next page travels while this one is stored; should storing fail, it is simply thrown away.
        following = asyncio.ensure_future(read_patiently(partial(client.export_page, stream, token)))
        try:
            revision = await store(engine, tenant, stream, page, counts, revision=revision, position=position)
            page = await following
        finally:
            following.cancel()


async def _served_at(engine: Engine, tenant: str, page: Page) -> int:
    """When ServiceTitan gave the page, in ticks. An answer without a Date leaves our database's clock."""
    served = page.served_at
    if served is None:
        async with engine.database.transaction(tenant) as session:
            served = await session.value("read_now")
    return datetime_ticks(served)


def _feed_start(cursor: Row) -> datetime | None:
    """From where a feed is read without a token: the first start as it stands, a later one less the overlap."""
    if cursor["token"] is not None or cursor["since"] is None:
        return None
    since = datetime.fromisoformat(cursor["since"])
    return since - timedelta(seconds=OVERLAP_SECONDS) if cursor["revision"] > 0 else since


async def _pull_list(
    engine: Engine, client: ServiceTitanClient, tenant: str, stream: Stream, cursor: Row, counts: Counts
) -> None:
    revision = cursor["revision"]
    for size in PAGE_SIZES:
        since = cursor["since"]
        # The overlap catches what became visible late; a first reading has nothing behind it to re-read.
        if cursor["revision"] > 0:
            since = format_ticks(max(parse_ticks(since) - OVERLAP_TICKS, 0))
        try:
            async for piece in read_changes(
                fetch_patiently(client, stream, size),
                since=since,
                page_size=size,
                keys=stream.keys,
                sortable=stream.sortable,
            ):
                reached = max(parse_ticks(cursor["since"]), parse_ticks(piece.watermark))
                position = Position("list", None, format_ticks(reached), piece.done, began=cursor.get("began"))
                revision = await store(engine, tenant, stream, piece.page, counts, revision=revision, position=position)
                cursor = {**cursor, "since": format_ticks(reached)}
            return
        except JobSyncError as error:
            if error.code not in SMALLER_PAGE_HELPS or size == PAGE_SIZES[-1]:
                raise


async def _pull_reference(
    engine: Engine, client: ServiceTitanClient, tenant: str, stream: Stream, counts: Counts
) -> None:
    async with engine.database.transaction(tenant) as session:
        cursor = await session.row(
            "read_cursor", {"tenant": tenant, "stream": stream.name, "mode": "list", "since": None}
        )
    assert cursor is not None
    revision = cursor["revision"]
    for size in PAGE_SIZES:
        try:
            async for page in read_list(
                fetch_patiently(client, stream, size), page_size=size, keys=stream.keys, sortable=stream.sortable
            ):
                position = Position("list", None, None, caught_up=not page.has_more)
                revision = await store(engine, tenant, stream, page, counts, revision=revision, position=position)
            break
        except JobSyncError as error:
            if error.code not in SMALLER_PAGE_HELPS or size == PAGE_SIZES[-1]:
                raise
    async with engine.database.transaction(tenant) as session:
        await session.run(
            "schedule_reading", {"tenant": tenant, "stream": stream.name, "seconds": REFERENCE_EVERY_SECONDS}
        )


async def read_patiently(call: Callable[[], Awaitable[T]], *, give_back: Collection[str] = ()) -> T:
    """Awaits `call()`, trying transient errors again as the retry rule says.

    `give_back`: codes of errors that are raised at once, because the caller can ask for less.
    """
    return await with_retries(
        call,
        attempts=ATTEMPTS,
        base=0.5,
        cap=8.0,
        sleep=asyncio.sleep,
        rng=Random(),
        patience=30.0,
        # While the breaker is open, nothing is asked anyway.
        give_back={*give_back, BREAKER_OPEN},
    )


def fetch_patiently(client: ServiceTitanClient, stream: Stream, page_size: int) -> Fetch:
    """The stream's list fetch with retries; a page that is too much is raised at once while it can be made smaller.

    A feed has no page size to ask for, so that its pages are simply tried again (`read_patiently`).
    """
    fetch = client.fetcher(stream)
    give_back = SMALLER_PAGE_HELPS if page_size > PAGE_SIZES[-1] else ()

    async def fetch_again(ask: Ask) -> Page:
        return await read_patiently(lambda: fetch(ask), give_back=give_back)

    return fetch_again
