"""Pull: reads one stream of one tenant to its end and stores it page by page.

Each page is one transaction: rows, quarantine, outbox and cursor move together or not at all (reliability P1). No
transaction is open while a page is fetched. Streams are read by their export feed (opaque token, stored with the rows);
where ServiceTitan refuses the feed, by list and modification time, inclusive, with an overlap (P4, P5). Twice changes
nothing. Called by the tasks `pull_stream` and by backfill.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from jobsync.db.pool import Row, as_jsonb
from jobsync.engine.context import Engine
from jobsync.errors import AccessDenied, JobSyncError, RecordMissing, RequestRejected, UpstreamUnavailable
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.keyset import read_changes, read_list
from jobsync.servicetitan.pages import LoopGuard, Page, RowReader, join_records, split_refused
from jobsync.servicetitan.phones import normalise_phone
from jobsync.servicetitan.retry import with_retries
from jobsync.servicetitan.streams import STREAMS, Stream
from jobsync.servicetitan.timestamps import TICKS_PER_SECOND, format_ticks, parse_ticks

OVERLAP_TICKS = 600 * TICKS_PER_SECOND
PAGE_SIZES = (5000, 1000, 200)
REFERENCE_EVERY_SECONDS = 3600
CONTACT_STREAMS = {"customer_contacts", "location_contacts"}
ATTEMPTS = 3


@dataclass
class Counts:
    """What a pull did so far; added up page by page."""

    pulled: int = 0
    stored: int = 0
    unchanged: int = 0
    quarantined: int = 0
    planned: int = 0
    pages: int = 0
    requests: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)

    def add(self, report: dict[str, Any]) -> None:
        """Adds the answer of `store_page`."""
        self.pulled += report["pulled"]
        self.stored += report["stored"]
        self.unchanged += report["unchanged"]
        self.quarantined += report["quarantined"]
        self.planned += report.get("planned", 0)
        self.pages += 1

    def count_request(self, kind: str, status: int | None) -> None:
        """Counts a request that the client made; tokens are counted apart."""
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
        if kind != "token":
            self.requests += 1

    def report(self) -> dict[str, Any]:
        """The counts as they are written into the run."""
        return {
            "pulled": self.pulled,
            "stored": self.stored,
            "unchanged": self.unchanged,
            "quarantined": self.quarantined,
            "planned": self.planned,
            "pages": self.pages,
            "requests": self.requests,
        }


@dataclass(frozen=True)
class Position:
    """Where a page leaves the cursor."""

    mode: str
    token: str | None
    since: str | None
    caught_up: bool


class _Contact(msgspec.Struct):
    type: Any = None
    value: Any = None


_CONTACTS = msgspec.json.Decoder(_Contact)


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


async def store(
    engine: Engine,
    tenant: str,
    stream: Stream,
    page: Page,
    counts: Counts,
    *,
    revision: int | None = None,
    position: Position | None = None,
    owners: list[int] | None = None,
    resolve: bool = False,
) -> int | None:
    """Stores one page, and moves the cursor to `position` if one is given. Answers the cursor's new revision.

    One transaction. `owners`: the page is the whole contact list of these. `resolve`: parents may have arrived with it.
    """
    good, refused = split_refused(page)
    array = page.array() if not refused else join_records(good)
    parameters = {
        "tenant": tenant,
        "stream": stream.name,
        "page": array.decode("utf-8"),
        "refused": as_jsonb([{"id": None, "reason": reason} for _, reason in refused]),
        "refused_raw": [bytes(record) for record, _ in refused],
        "extra": as_jsonb(_phones(good) if stream.name in CONTACT_STREAMS else []),
        "owners": owners,
    }
    async with engine.database.transaction(tenant) as session:
        report = await session.value("store_page", parameters)
        if position is not None:
            revision = await session.value(
                "move_cursor",
                {
                    "tenant": tenant,
                    "stream": stream.name,
                    "revision": revision,
                    "mode": position.mode,
                    "token": position.token,
                    "since": position.since,
                    "caught_up": position.caught_up,
                },
            )
        if resolve or (position is not None and position.caught_up):
            await session.value("resolve_wanted", {"tenant": tenant})
            if stream.name == "jobs":
                await session.value("publish_watermark", {"tenant": tenant})
    counts.add(report)
    return revision


async def _pull_changes(
    engine: Engine, client: ServiceTitanClient, tenant: str, stream: Stream, counts: Counts
) -> None:
    cursor = await _open_cursor(engine, tenant, stream)
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
        async with engine.database.transaction(tenant) as session:
            if stream.name == "jobs":
                await session.run("note_feeds_refused", {"tenant": tenant})
            fresh = await session.row("find_cursor", {"tenant": tenant, "stream": stream.name})
        assert fresh is not None
        cursor = {**fresh, "mode": "list"}
        if cursor["since"] is None:
            cursor["since"] = await _list_start(engine, tenant, stream)
    await _pull_list(engine, client, tenant, stream, cursor, counts)


async def _open_cursor(engine: Engine, tenant: str, stream: Stream) -> Row:
    async with engine.database.transaction(tenant) as session:
        refused = await session.value("are_feeds_refused", {"tenant": tenant})
        cursor = await session.row("find_cursor", {"tenant": tenant, "stream": stream.name})
    if cursor is None:
        mode = "list" if refused or stream.export_path is None else "export"
        # Jobs begin at lastJobPull; their parents at the first record, so that none that a job refers to is missing.
        since = None
        if stream.name == "jobs" or mode == "list":
            since = await _list_start(engine, tenant, stream)
        async with engine.database.transaction(tenant) as session:
            cursor = await session.row(
                "read_cursor", {"tenant": tenant, "stream": stream.name, "mode": mode, "since": since}
            )
    assert cursor is not None
    if cursor["mode"] == "list" and not refused and stream.export_path is not None:
        # A day has passed since the feed was refused: it is tried again, from the newest time that is stored.
        cursor = {**cursor, "mode": "export", "token": None}
    return cursor


async def _list_start(engine: Engine, tenant: str, stream: Stream) -> str:
    async with engine.database.transaction(tenant) as session:
        if stream.name == "jobs":
            return await session.value("first_pull_start", {"tenant": tenant})
        # By list, parents are looked up by ids for the jobs at hand; the list brings what changes from now on.
        now: datetime = await session.value("read_now")
    return format_ticks(parse_ticks(now.isoformat()) - OVERLAP_TICKS)


async def _pull_feed(
    engine: Engine, client: ServiceTitanClient, tenant: str, stream: Stream, cursor: Row, counts: Counts
) -> None:
    token, since, revision = cursor["token"], cursor["since"], cursor["revision"]
    start = datetime.fromisoformat(since) if token is None and since else None
    reader, guard = RowReader(stream.keys), LoopGuard()
    page = await read_patiently(lambda: client.export_page(stream, token, start))
    while True:
        guard.see(page)
        token = page.continue_from or token
        newest = max((ticks for _, ticks in reader.read(page) if ticks is not None), default=None)
        if newest is not None and (since is None or newest > parse_ticks(since)):
            since = format_ticks(newest)
        position = Position("export", token, since, caught_up=not page.has_more)
        if not page.has_more:
            await store(engine, tenant, stream, page, counts, revision=revision, position=position)
            return
        # The next page travels while this one is stored; should storing fail, it is simply thrown away.
        sent = token
        following = asyncio.ensure_future(read_patiently(lambda: client.export_page(stream, sent)))
        try:
            revision = await store(engine, tenant, stream, page, counts, revision=revision, position=position)
            page = await following
        finally:
            following.cancel()


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
                client.fetcher(stream), since=since, page_size=size, keys=stream.keys, sortable=stream.sortable
            ):
                reached = max(parse_ticks(cursor["since"]), parse_ticks(piece.watermark))
                position = Position("list", None, format_ticks(reached), caught_up=piece.done)
                revision = await store(engine, tenant, stream, piece.page, counts, revision=revision, position=position)
                cursor = {**cursor, "since": format_ticks(reached)}
            return
        except UpstreamUnavailable as error:
            if error.code != "page_timeout" or size == PAGE_SIZES[-1]:
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
    pages: AsyncIterator[Page] = read_list(
        client.fetcher(stream), page_size=PAGE_SIZES[0], keys=stream.keys, sortable=stream.sortable
    )
    async for page in pages:
        revision = await store(
            engine,
            tenant,
            stream,
            page,
            counts,
            revision=revision,
            position=Position("list", None, None, caught_up=not page.has_more),
        )
    async with engine.database.transaction(tenant) as session:
        await session.run(
            "schedule_reading", {"tenant": tenant, "stream": stream.name, "seconds": REFERENCE_EVERY_SECONDS}
        )


async def read_patiently(call: Any) -> Any:
    """Awaits `call()`, trying transient errors again as the retry rule says."""
    return await with_retries(
        call, attempts=ATTEMPTS, base=0.5, cap=8.0, sleep=asyncio.sleep, rng=Random(), patience=30.0
    )


def _phones(records: Any) -> list[str | None]:
    found: list[str | None] = []
    for record in records:
        try:
            contact = _CONTACTS.decode(record)
        except msgspec.DecodeError:
            found.append(None)
            continue
        is_phone = contact.type in ("Phone", "MobilePhone") and isinstance(contact.value, str)
        found.append(normalise_phone(contact.value) if is_phone else None)
    return found
