"""The passes over staged rows: counting what an import would do, doing it, and undoing it, a thousand rows a transaction.

Each transaction holds the rows, their ledger and how far the pass got, so that a killed process goes on where it was, and a pass
that is over does nothing. Customers that jobs name and nobody has are read from ServiceTitan between two transactions.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from jobsync.db.again import repeat_until_stored
from jobsync.engine.connections import open_servicetitan, read_servicetitan_credentials
from jobsync.engine.context import Engine
from jobsync.engine.pull import read_patiently
from jobsync.engine.store import Counts, store
from jobsync.errors import ConfigError, JobSyncError
from jobsync.intake.examine import Progress
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.streams import STREAMS

ROWS_AT_ONCE = 1_000
LOOKED_UP = 50
ENTITIES = ("customers", "jobs")


async def is_connected(engine: Engine, tenant: str) -> bool:
    """True when ServiceTitan can be asked."""
    try:
        return await read_servicetitan_credentials(engine, tenant) is not None
    except ConfigError:
        return False


async def count_rows(engine: Engine, tenant: str, found: dict[str, Any], progress: Progress) -> None:
    """The dry run: what each staged row would do, counted into `import_files.judged`. Begins anew each time."""
    connected = await is_connected(engine, tenant)
    async with engine.database.transaction(tenant) as session:
        await session.run("open_import_pass", {"tenant": tenant, "import": found["id"], "apply": False})
    for entity, total in _files(found):
        await _pass_file(
            engine, tenant, found["id"], entity, total, progress, apply=False, connected=connected, client=None
        )


async def write_rows(engine: Engine, tenant: str, found: dict[str, Any], progress: Progress) -> None:
    """Writes staged rows from where the import stands, and closes it. What stops it is noted; it can be resumed then."""
    connected = await is_connected(engine, tenant)
    place = {"tenant": tenant, "import": found["id"]}
    async with engine.database.transaction(tenant) as session:
        opened = await session.value("open_import_pass", {**place, "apply": True})
    if opened["state"] == "applied":
        return
    failure: JobSyncError | None = JobSyncError("The import was interrupted.")
    try:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(await open_servicetitan(engine, tenant)) if connected else None
            for entity, total in _files(found):
                await _pass_file(
                    engine, tenant, found["id"], entity, total, progress, apply=True, connected=connected, client=client
                )
        failure = None
    except JobSyncError as error:
        failure = error
        raise
    finally:
        async with engine.database.transaction(tenant) as session:
            await session.run("close_import", {**place, "error": None if failure is None else failure.message})


async def undo_rows(engine: Engine, tenant: str, number: str, progress: Progress, *, actor: str) -> dict[str, int]:
    """Takes an import back, jobs before customers; answers rows by what was done with them."""
    place = {"tenant": tenant, "import": number}
    async with engine.database.transaction(tenant) as session:
        await session.value("open_undo", {**place, "actor": actor})
    for entity in reversed(ENTITIES):
        done = 0

        async def take_back(entity: str = entity) -> int:
            async with engine.database.transaction(tenant) as session:
                return await session.value("undo_import_rows", {**place, "entity": entity, "limit": ROWS_AT_ONCE})

        while rows := await repeat_until_stored(take_back):
            done += rows
            progress(f"undoing {entity}", done, None)
    async with engine.database.transaction(tenant) as session:
        return await session.value("close_undo", {**place, "actor": actor})


async def _pass_file(
    engine: Engine,
    tenant: str,
    number: str,
    entity: str,
    total: int,
    progress: Progress,
    *,
    apply: bool,
    connected: bool,
    client: ServiceTitanClient | None,
) -> None:
    place = {"tenant": tenant, "import": number, "entity": entity}
    word = f"{'writing' if apply else 'comparing'} {entity}"
    async with engine.database.transaction(tenant) as session:
        found = await session.value("read_import", place)
    (file,) = [one for one in found["files"] if one["entity"] == entity]
    row = file["applied_row" if apply else "judged_row"]
    done = sum(count for name, count in file["applied" if apply else "judged"].items() if name != "replaced")

    async def work() -> dict[str, Any]:
        async with engine.database.transaction(tenant) as session:
            return await session.value(
                "pass_import_rows", {**place, "limit": ROWS_AT_ONCE, "apply": apply, "connected": connected}
            )

    while True:
        if client is not None and entity == "jobs":
            await _fetch_orphans(engine, client, tenant, number, row)
        report = await repeat_until_stored(work)
        done, row = done + report["rows"], report.get("row", row)
        if report["rows"]:
            progress(word, done, total)
        if report["done"]:
            return


async def _fetch_orphans(engine: Engine, client: ServiceTitanClient, tenant: str, number: str, row: int) -> None:
    """Customers of the next rows that nobody has are read by id and stored as a pull stores them."""
    async with engine.database.transaction(tenant) as session:
        missing = await session.value(
            "list_import_orphans", {"tenant": tenant, "import": number, "row": row, "limit": ROWS_AT_ONCE}
        )
    stream = STREAMS["customers"]
    for start in range(0, len(missing), LOOKED_UP):
        page = await read_patiently(partial(client.by_ids, stream, missing[start : start + LOOKED_UP]))
        if page.records:
            await store(engine, tenant, stream, page, Counts(), resolve=True)


def _files(found: dict[str, Any]) -> list[tuple[str, int]]:
    totals = {file["entity"]: file["total"] for file in found["files"]}
    return [(entity, totals[entity]) for entity in ENTITIES if entity in totals]
