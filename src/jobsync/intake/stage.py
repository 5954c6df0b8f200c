"""Staging: the rows of the files into `import_rows`, by COPY, a few thousand in one transaction together with how far it got.

In: readings, and an import that was opened for them. Killed at any instant, it goes on behind the last row that was stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from jobsync.db.again import repeat_until_stored
from jobsync.db.pool import as_jsonb
from jobsync.engine.context import Engine
from jobsync.errors import InvalidInput
from jobsync.intake.examine import Progress, Reading, reading_from
from jobsync.intake.rows import References, RowReader, StagedRow, hash_row, index_names
from jobsync.intake.tables import read_rows
from jobsync.intake.text_files import inspect_file
from jobsync.intake.wishes import Wishes, check_zone

ROWS_AT_ONCE = 2_000


async def read_references(engine: Engine, tenant: str, wishes: Wishes) -> tuple[References, str]:
    """Names that cells may use, and the tenant's time zone."""
    async with engine.database.transaction(tenant) as session:
        known = await session.value("read_import_references", {"tenant": tenant})
    references = References(
        units=index_names(known["units"], wishes.map.get("units")),
        unit_names=tuple(unit["name"] for unit in known["units"] if unit["name"]),
        unit_ids=frozenset(unit["id"] for unit in known["units"]) | frozenset((wishes.map.get("units") or {}).values()),
        job_types=index_names(known["job_types"]),
        tags=index_names(known["tags"]),
    )
    return references, known["time_zone"]


async def open_import(
    engine: Engine, tenant: str, readings: list[Reading], wishes: Wishes, *, zone: str, actor: str
) -> str:
    """Opens an import of these files; answers its id. Unfinished dry runs of the same files end."""
    files = [
        {
            "entity": reading.entity,
            "name": reading.table.file.path.name,
            "path": str(reading.table.file.path.absolute()),
            "sha256": reading.table.file.sha256,
            "bytes": reading.table.file.bytes,
            "reading": reading.as_dict(),
            "total": reading.total,
            "parent": reading.parent,
        }
        for reading in readings
    ]
    options = {**wishes.as_dict(), "time_zone": zone}
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "open_import",
            {
                "tenant": tenant,
                "prefer": wishes.prefer,
                "options": as_jsonb(options),
                "files": as_jsonb(files),
                "actor": actor,
            },
        )


async def stage_files(engine: Engine, tenant: str, found: dict[str, Any], progress: Progress) -> None:
    """Stages what is not staged yet of an import (`read_import`), customers before jobs, and closes the staging.

    Raises InvalidInput (file_changed) where a file is not the one that was examined.
    """
    if found["state"] != "staging":
        return
    options = found["options"]
    wishes = Wishes(map=options.get("map") or {})
    references, _ = await read_references(engine, tenant, wishes)
    for kept in sorted(found["files"], key=lambda file: file["entity"]):
        if kept["staged"] < kept["total"]:
            reading = reading_from(kept["entity"], kept)
            await asyncio.to_thread(_check_unchanged, reading)
            reader = RowReader(reading, references, zone=check_zone(options["time_zone"]), region=options["region"])
            await _stage_file(engine, tenant, found["id"], reading, reader, kept, progress)
    async with engine.database.transaction(tenant) as session:
        await session.run("close_staging", {"tenant": tenant, "import": found["id"]})


async def _stage_file(
    engine: Engine,
    tenant: str,
    number: str,
    reading: Reading,
    reader: RowReader,
    kept: dict[str, Any],
    progress: Progress,
) -> None:
    rows = (row for row in read_rows(reading.table) if row[0] > kept["staged_row"])
    done = kept["staged"]
    while batch := await asyncio.to_thread(_prepare, reading.entity, reader, rows):
        last = batch[-1][0]

        async def keep(batch: list[tuple[Any, ...]] = batch, last: int = last) -> None:
            place = {"tenant": tenant, "import": number, "entity": reading.entity}
            async with engine.database.transaction(tenant) as session:
                await session.run("make_import_page")
                await session.copy("copy_import_page", batch)
                await session.run("take_import_page", place)
                await session.run("note_staged", {**place, "row": last, "rows": len(batch)})

        await repeat_until_stored(keep)
        done += len(batch)
        progress(f"staging {reading.entity}", done, reading.total)


def _prepare(entity: str, reader: RowReader, rows: Iterator[tuple[int, list[str]]]) -> list[tuple[Any, ...]]:
    return [_as_columns(entity, row) for row in reader.read(islice(rows, ROWS_AT_ONCE))]


def _as_columns(entity: str, row: StagedRow) -> tuple[Any, ...]:
    is_job = entity == "jobs"
    name = " ".join(filter(None, (row.fields.get("first_name"), row.fields.get("last_name")))) or row.fields.get(
        "company_name"
    )
    return (
        row.number,
        row.record,
        row.fields.get("st_customer_id") if is_job else row.record,
        row.record if is_job else None,
        hash_row(entity, row),
        row.modified,
        len(row.fields),
        row.failed,
        _json(row.fields),
        _json(row.extra) if row.extra else None,
        _json(row.cells),
        _json([issue.as_dict() for issue in row.issues]) if row.issues else None,
        row.links,
        None if is_job else name,
        row.airtable_id,
        row.origin,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _check_unchanged(reading: Reading) -> None:
    file = reading.table.file
    found = inspect_file(file.path, encoding=file.encoding)
    if found.sha256 != file.sha256:
        raise InvalidInput(
            f"{file.path.name} is not the file that the import began with.",
            hint="Put the file back as it was, or begin anew: jobsync import airtable ...",
            code="file_changed",
        )
