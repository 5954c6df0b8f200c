"""Asked imports: what a page asks for and a worker does, because it takes minutes: count, write, undo, compare.

    number = await begin_import(engine, tenant, files, wishes, actor=actor)     # the page, which has the files: staged
    await ask_import(engine, tenant, number, "count", actor=actor)              # the page; at once
    await do_asked_import(engine, tenant, number)                               # the worker

The wish stands in the import until it is done; a worker that dies leaves it there, and the next one goes on where the
rows say. How far it is stands in the files of `read_import`: staged, judged and applied beside their total.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jobsync.engine.context import Engine
from jobsync.errors import JobSyncError
from jobsync.intake.airtable import count_rows_again, read_import, resume_import, undo_import
from jobsync.intake.reconciliation import make_reconciliation
from jobsync.log import get_log

ACTS = ("count", "write", "undo", "compare")


class _Stopping(JobSyncError):
    """The process ends: the next worker goes on."""


async def ask_import(engine: Engine, tenant: str, number: str, act: str, *, actor: str) -> None:
    """Leaves one of ACTS to a worker. Raises RecordMissing, LockHeld while one is at it, JobSyncError for a state that
    does not allow it."""
    number = number.lower().removeprefix("import-")
    async with engine.database.transaction(tenant) as session:
        await session.value("ask_import", {"tenant": tenant, "import": number, "act": act, "actor": actor})


async def do_asked_import(
    engine: Engine, tenant: str, number: str, *, stopping: Callable[[], bool] = lambda: False
) -> None:
    """Does what was asked for; nothing where nothing is. What stops it stands in the import; stopping leaves it asked."""
    found = await read_import(engine, tenant, number)
    act = found["asked"]
    if act is None:
        return

    def go_on(what: str, done: int, total: int | None) -> None:
        if stopping():
            raise _Stopping("JobSync is stopping; the import goes on with the next worker.")

    failure: str | None = None
    try:
        if act == "count":
            await count_rows_again(engine, tenant, number, go_on)
        elif act == "write":
            written = await resume_import(engine, tenant, number, go_on)
            if written["state"] == "applied":
                await make_reconciliation(engine, tenant, number)
        elif act == "undo":
            await undo_import(engine, tenant, number, go_on, actor=found["actor"])
        else:
            await make_reconciliation(engine, tenant, number)
    except _Stopping:
        return
    except JobSyncError as error:
        get_log(tenant=tenant).warning("asked_import_failed", code=error.code, error_type=type(error).__name__)
        failure = f"{error.message} {error.hint or ''}".strip()
    except Exception as error:  # a bug of ours must not be tried for ever
        get_log(tenant=tenant).warning("asked_import_failed", code="unexpected", error_type=type(error).__name__)
        failure = f"It ended in an unexpected error ({type(error).__name__})."
    async with engine.database.transaction(tenant) as session:
        await session.run("close_asked_import", {"tenant": tenant, "import": number, "act": act, "error": failure})


def tell_progress(found: Mapping[str, Any]) -> dict[str, int | None]:
    """How far what was asked for is: {done, total} in rows; total None where nobody knows."""
    column = {"count": "judged", "write": "applied"}.get(found["asked"] or "")
    if column is None:
        return {"done": 0, "total": None}
    done = sum(rows for file in found["files"] for name, rows in file[column].items() if name != "replaced")
    return {"done": done, "total": sum(file["total"] for file in found["files"])}
