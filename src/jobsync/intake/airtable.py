"""Moving in from Airtable: the verbs, for the command line and for pages alike.

    files = {"customers": Path("customers.csv"), "jobs": Path("jobs.csv")}
    readings = await examine_files(files, wishes)             # no database; readings[...].questions: dates to be decided
    found = await run_dry(engine, tenant, files, wishes)      # stages and counts; writes nothing to customers or jobs
    found = await apply_import(engine, tenant, found["id"])   # writes; killed at any instant, resume_import() goes on
    report = await make_reconciliation(engine, tenant, found["id"])
    counts = await undo_import(engine, tenant, found["id"], actor="page")

`progress(what, done, total)` is called now and then, `total` None where it is not known. Nothing is ever sent: new jobs are
`skipped: imported`. Errors are InvalidInput with a stable code and a hint; complaints about rows go into the errors file
(errors_file.py) and never stop an import.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobsync.engine.context import Engine
from jobsync.errors import InvalidInput, RecordMissing
from jobsync.intake.examine import Progress, Reading, ask_about_dates, examine_file, read_dates_as
from jobsync.intake.passes import ENTITIES, count_rows, undo_rows, write_rows
from jobsync.intake.stage import open_import, read_references, stage_files
from jobsync.intake.wishes import Wishes, check_map

OUTCOMES = ("new", "filled", "same", "older", "merged", "error")
LISTED = 50


def ignore_progress(what: str, done: int, total: int | None) -> None:
    """For callers that show no progress."""


async def examine_files(
    files: Mapping[str, Path], wishes: Wishes | None = None, progress: Progress = ignore_progress
) -> dict[str, Reading]:
    """Reads the files once, without a database: how each is read, what was noticed, what must be decided.

    `files`: by entity, customers and/or jobs. Raises InvalidInput with a code and what to do.
    """
    chosen = [(entity, files[entity]) for entity in ENTITIES if files.get(entity) is not None]
    if not chosen:
        raise InvalidInput(
            "No file was given.",
            hint="jobsync import airtable --customers customers.csv --jobs jobs.csv",
            code="no_file",
        )
    found = {}
    for entity, path in chosen:
        found[entity] = await asyncio.to_thread(examine_file, Path(path), entity, wishes or Wishes(), progress)
    return found


async def recall_map(engine: Engine, tenant: str) -> dict[str, Any]:
    """The map that the last import with one was given: reused where none is given."""
    async with engine.database.transaction(tenant) as session:
        known = await session.value("read_import_references", {"tenant": tenant})
    return check_map(known["map"] or {})


async def learn_from_parents(engine: Engine, tenant: str, readings: Mapping[str, Reading]) -> None:
    """An errors file has few rows: what its import knew about its dates holds for it as well. Changes the readings."""
    for entity, reading in readings.items():
        if reading.parent is None or not reading.questions:
            continue
        async with engine.database.transaction(tenant) as session:
            parent = await session.value("read_import", {"tenant": tenant, "import": reading.parent})
        for file in parent["files"] if parent is not None else ():
            if file["entity"] == entity:
                read_dates_as(reading, file, reading.parent)


async def run_dry(
    engine: Engine,
    tenant: str,
    files: Mapping[str, Path],
    wishes: Wishes | None = None,
    progress: Progress = ignore_progress,
    *,
    actor: str = "import",
    readings: Mapping[str, Reading] | None = None,
) -> dict[str, Any]:
    """Stages the files and counts what each row would do; answers `read_import`. Changes no customer and no job.

    `readings`: what `examine_files` answered, if it was called already. Raises InvalidInput (ambiguous_dates) while a
    date column is undecided. Run again, it replaces the dry run of the same files.
    """
    number = await begin_import(engine, tenant, files, wishes, progress, actor=actor, readings=readings)
    return await count_rows_again(engine, tenant, number, progress)


async def count_rows_again(
    engine: Engine, tenant: str, number: str, progress: Progress = ignore_progress
) -> dict[str, Any]:
    """The dry run of an import whose files are staged; answers `read_import`."""
    await count_rows(engine, tenant, await read_import(engine, tenant, number), progress)
    return await read_import(engine, tenant, number)


async def begin_import(
    engine: Engine,
    tenant: str,
    files: Mapping[str, Path],
    wishes: Wishes | None = None,
    progress: Progress = ignore_progress,
    *,
    actor: str = "import",
    readings: Mapping[str, Reading] | None = None,
) -> str:
    """Examines and stages the files; answers the import's id. See `run_dry`."""
    wishes = wishes or Wishes()
    found = readings or await examine_files(files, wishes, progress)
    await learn_from_parents(engine, tenant, found)
    for reading in found.values():
        refusal = ask_about_dates(reading)
        if refusal is not None:
            raise refusal
    _, zone = await read_references(engine, tenant, wishes)
    for parent in (reading.parent for reading in found.values() if reading.parent):
        async with engine.database.transaction(tenant) as session:
            known = await session.value("read_import", {"tenant": tenant, "import": parent})
        zone = known["options"]["time_zone"] if known is not None else zone
    number = await open_import(engine, tenant, list(found.values()), wishes, zone=wishes.time_zone or zone, actor=actor)
    await stage_files(engine, tenant, await read_import(engine, tenant, number), progress)
    return number


async def apply_import(
    engine: Engine, tenant: str, number: str, progress: Progress = ignore_progress
) -> dict[str, Any]:
    """Writes a staged import; answers `read_import`. An import that is applied already is left alone.

    Raises RecordMissing for an unknown id, InvalidInput for one that was undone, and what stops it: then `resume_import`.
    """
    await stage_files(engine, tenant, await read_import(engine, tenant, number), progress)
    await write_rows(engine, tenant, await read_import(engine, tenant, number), progress)
    return await read_import(engine, tenant, number)


async def resume_import(
    engine: Engine, tenant: str, number: str, progress: Progress = ignore_progress
) -> dict[str, Any]:
    """Goes on with an import that was broken off, whatever it was doing: staging, writing or undoing.

    A staged one that never began to write is written. Raises as `apply_import`; InvalidInput (file_changed) where a file that
    is still to be read is another one.
    """
    found = await read_import(engine, tenant, number)
    if found["state"] == "undoing":
        await undo_rows(engine, tenant, number, progress, actor=found["actor"])
        return await read_import(engine, tenant, number)
    return await apply_import(engine, tenant, number, progress)


async def undo_import(
    engine: Engine, tenant: str, number: str, progress: Progress = ignore_progress, *, actor: str
) -> dict[str, int]:
    """Takes an import back; answers rows by what was done: deleted, restored, kept (changed since by others), nothing.

    Broken off, the same call goes on. Twice changes nothing. Raises RecordMissing for an unknown id.
    """
    return await undo_rows(engine, tenant, number, progress, actor=actor)


async def read_import(engine: Engine, tenant: str, number: str) -> dict[str, Any]:
    """An import with its files, counts by outcome (`judged`: dry run; `applied`: written) and options.

    Raises RecordMissing for an unknown id.
    """
    number = number.lower().removeprefix("import-")
    async with engine.database.transaction(tenant) as session:
        found = await session.value("read_import", {"tenant": tenant, "import": number})
    if found is None:
        raise RecordMissing(f"There is no import {number}.", hint="jobsync import list")
    return found


async def list_imports(engine: Engine, tenant: str, *, limit: int = LISTED) -> list[dict[str, Any]]:
    """The newest imports with counts and verdicts."""
    async with engine.database.transaction(tenant) as session:
        return await session.rows("list_imports", {"tenant": tenant, "limit": limit})


async def count_issues(engine: Engine, tenant: str, number: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Rows by file and complaint: {entity: {code: {rows, is_error}}}."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("count_import_issues", {"tenant": tenant, "import": number})


async def list_shared_ways(engine: Engine, tenant: str, number: str) -> dict[str, Any]:
    """Phones and emails that several customers of the file share: {count, first: [{kind, value, customers}]}."""
    async with engine.database.transaction(tenant) as session:
        return await session.value("list_shared_ways", {"tenant": tenant, "import": number})


def count_outcomes(file: Mapping[str, Any]) -> dict[str, int]:
    """Rows of one file of `read_import` by outcome: as written, or as the dry run counted them."""
    counts = file["applied"] or file["judged"]
    return {name: counts.get(name, 0) for name in OUTCOMES}


def is_balanced(file: Mapping[str, Any]) -> bool:
    """True when every row of the file is accounted for: in = new + filled + same + older + merged + error."""
    return sum(count_outcomes(file).values()) == file["total"] == file["staged"]
