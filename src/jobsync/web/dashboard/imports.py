"""Import: the way in from Airtable, by the verbs of `jobsync import`. Dry first; what is imported is never sent.

An upload is kept in the data folder until its rows are staged in PostgreSQL, and no longer. What takes minutes is done by a
worker; the page of the import shows how far it is.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from starlette.datastructures import FormData, UploadFile

from jobsync.errors import CallRefused, InvalidInput, RecordMissing
from jobsync.intake import airtable as intake
from jobsync.intake.asked import ask_import, tell_progress
from jobsync.intake.errors_file import name_errors_file, write_errors_files
from jobsync.intake.reconciliation import list_reasons, list_remarks, read_reconciliation
from jobsync.intake.reconciliation_files import render_page
from jobsync.intake.wishes import read_wishes
from jobsync.web.bodies import LARGE
from jobsync.web.dashboard.rendering import confirm, page, show_count
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, Visit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/import"
UPLOAD = "/ui/import/upload"
ENTITIES = ("customers", "jobs")
Number = Annotated[str, InPath(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]


@router.get(HERE)
@seen_by("operator")
async def show_imports(visit: ThisVisit) -> Response:
    """The form for the two files, and the imports there were."""
    found = await intake.list_imports(visit.engine, visit.tenant)
    return page(
        visit,
        "import.html",
        title="Import",
        here=HERE,
        imports=[{**one, "counts": _count(one["files"] or ())} for one in found],
        outcomes=intake.OUTCOMES,
        upload=UPLOAD,
    )


@router.post(UPLOAD)
@seen_by("admin", form="upload")
async def upload(visit: ThisVisit, request: Request) -> Response:
    """Stages the files; a worker counts what each row would do. Changes no customer and no job."""
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        raise CallRefused(
            411, "The size of the upload is not said.", code="no_length", hint="Use the form of the page."
        )
    if int(length) > LARGE:
        raise CallRefused(
            413, f"The files are larger than {LARGE >> 20} MB.", code="too_large", hint="Use: jobsync import airtable"
        )
    async with request.form(max_files=2, max_fields=20) as form:
        wishes = read_wishes(
            date_order=_word(form, "date_order"),
            time_zone=_word(form, "tz"),
            region=_word(form, "region") or "US",
            prefer=_word(form, "prefer"),
            map_given=await intake.recall_map(visit.engine, visit.tenant),
        )
        folder = await asyncio.to_thread(_make_folder, visit.engine.settings.data_dir)
        try:
            files = {entity: await _keep(form.get(entity), folder, entity) for entity in ENTITIES}
            given = {entity: path for entity, path in files.items() if path is not None}
            number = await intake.begin_import(visit.engine, visit.tenant, given, wishes, actor=visit.actor)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, True)
    await ask_import(visit.engine, visit.tenant, number, "count", actor=visit.actor)
    return await visit.go(f"{HERE}/{number}")


@router.get("/ui/import/{number}")
@seen_by("operator")
async def show_import(visit: ThisVisit, number: Number) -> Response:
    """One import: rows by outcome, how columns were read, complaints, the reconciliation."""
    found = await intake.read_import(visit.engine, visit.tenant, number)
    report = await read_reconciliation(visit.engine, visit.tenant, number)
    return page(
        visit,
        "import_one.html",
        title=f"Import {found['id']}",
        here=HERE,
        found=found,
        files=[{**file, "counts": intake.count_outcomes(file)} for file in found["files"]],
        outcomes=intake.OUTCOMES,
        progress=tell_progress(found),
        balanced=all(intake.is_balanced(file) for file in found["files"]),
        issues=await intake.count_issues(visit.engine, visit.tenant, number),
        shared=await intake.list_shared_ways(visit.engine, visit.tenant, number),
        report=report,
        reasons=list_reasons(report) if report else [],
        remarks=list_remarks(report) if report else [],
    )


@router.get("/ui/import/{number}/{act}")
@seen_by("admin")
async def ask(visit: ThisVisit, number: Number, act: Annotated[str, InPath(pattern="^(apply|undo)$")]) -> Response:
    """What writing it, or taking it back, does."""
    found = await intake.read_import(visit.engine, visit.tenant, number)
    counts = _count(found["files"])
    write = act == "apply"
    facts = [
        ("New records", show_count(counts["new"])),
        ("Records whose blanks are filled", show_count(counts["filled"])),
        ("Rows that cannot be imported", show_count(counts["error"])),
        ("Jobs sent to GoHighLevel", "0"),
        ("Paid workflow triggers", "0"),
    ]
    return confirm(
        visit,
        title="Write this import?" if write else "Take this import back?",
        sentence="What is newer here stays. Imported jobs are never sent by this; it can be taken back."
        if write
        else "What it made is deleted, what it filled gets its old value. What somebody changed since stays.",
        action=f"{HERE}/{found['id']}/{act}",
        button=f"Import {show_count(counts['new'] + counts['filled'])} records" if write else "Take it back",
        facts=facts if write else facts[:2],
        back=f"{HERE}/{found['id']}",
        danger=not write,
        here=HERE,
    )


@router.post("/ui/import/{number}/apply")
@seen_by("admin")
async def apply(visit: ThisVisit, number: Number) -> Response:
    """A worker writes it, or goes on where it was broken off, and compares what is here with what was in the files."""
    return await _ask(visit, number, "write")


@router.post("/ui/import/{number}/undo")
@seen_by("admin")
async def undo(visit: ThisVisit, number: Number) -> Response:
    """A worker takes it back."""
    return await _ask(visit, number, "undo")


@router.post("/ui/import/{number}/count")
@seen_by("admin")
async def count(visit: ThisVisit, number: Number) -> Response:
    """A worker counts again what each row would do."""
    return await _ask(visit, number, "count")


@router.post("/ui/import/{number}/reconcile")
@seen_by("operator")
async def reconcile(visit: ThisVisit, number: Number) -> Response:
    """A worker compares again."""
    return await _ask(visit, number, "compare")


@router.get("/ui/import/{number}/files/errors-{entity}.csv")
@seen_by("operator")
async def download_errors(visit: ThisVisit, number: Number, entity: Annotated[str, InPath(max_length=20)]) -> Response:
    """The rows that something is said about, to be corrected in a spreadsheet and fed back."""
    found = await intake.read_import(visit.engine, visit.tenant, number)
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp))
    try:
        written = await write_errors_files(visit.engine, visit.tenant, found, folder)
        if entity not in written:
            raise RecordMissing("No row of this file has an error.", hint="There is nothing to correct.")
        data = await asyncio.to_thread(written[entity].read_bytes)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, True)
    return _attach(data, name_errors_file(found, entity), "text/csv; charset=utf-8")


@router.get("/ui/import/{number}/files/reconciliation.html")
@seen_by("operator")
async def download_report(visit: ThisVisit, number: Number) -> Response:
    """The reconciliation, for the records."""
    report = await read_reconciliation(visit.engine, visit.tenant, number)
    if report is None:
        raise RecordMissing("This import was not compared yet.", hint="Write it first.")
    return _attach(render_page(report).encode(), f"import-{number}.reconciliation.html", "text/html; charset=utf-8")


async def _ask(visit: Visit, number: str, act: str) -> Response:
    await ask_import(visit.engine, visit.tenant, number, act, actor=visit.actor)
    return await visit.go(f"{HERE}/{number}")


def _count(files: Any) -> dict[str, int]:
    counts = [intake.count_outcomes(file) for file in files]
    return {name: sum(one[name] for one in counts) for name in intake.OUTCOMES}


def _word(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value.strip()[:100] or None if isinstance(value, str) else None


def _make_folder(data_dir: Path) -> Path:
    place = data_dir / "uploads"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=place))


async def _keep(given: object, folder: Path, entity: str) -> Path | None:
    if not isinstance(given, UploadFile) or not given.filename:
        return None
    name = re.sub(r"[^A-Za-z0-9._ -]+", "_", Path(given.filename).name).lstrip(".")[-100:] or f"{entity}.csv"
    path = folder / entity / name
    path.parent.mkdir(mode=0o700)
    try:
        await asyncio.to_thread(_copy, given.file, path)
    except OSError:
        raise InvalidInput("The upload cannot be kept.", hint="Is the disk of the data folder full?") from None
    return path


def _copy(source: BinaryIO, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _attach(data: bytes, name: str, kind: str) -> Response:
    return Response(data, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
