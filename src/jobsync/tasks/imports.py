"""The task of an import that a page asked for: behind everything that is live, two at a time over all tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from procrastinate import App

from jobsync.errors import DatabaseUnavailable
from jobsync.log import get_log
from jobsync.tasks.app import defer_once

if TYPE_CHECKING:
    from jobsync.tasks.work import Duties

IMPORT_QUEUE = "import"
IMPORT_TASK = "asked_import"
AT_ONCE = 2
BEHIND_LIVE = -10


def register_imports(app: App, duties: Duties) -> None:
    """Registers the task on the app."""

    @app.task(name=IMPORT_TASK, queue=IMPORT_QUEUE)
    async def asked_import(tenant: str, number: str) -> None:
        # Here, as reading spreadsheets is a twelfth of what `jobsync pull` would load at its start.
        from jobsync.intake.asked import do_asked_import

        try:
            await do_asked_import(duties.engine, tenant, number, stopping=duties.stopping)
        except DatabaseUnavailable as error:
            # It is still asked for: the schedule defers it again.
            get_log(tenant=tenant).warning("import_lost_database", code=error.code)


async def defer_asked_imports(duties: Duties) -> int:
    """Defers each import that a page asked for, unless it waits already. Answers how many there are."""
    async with duties.engine.database.transaction(None) as session:
        rows = await session.rows("list_asked_imports")
    for row in rows:
        tenant, number = row["tenant_id"], row["import_id"]
        await defer_once(
            duties.app,
            IMPORT_TASK,
            lock=f"import:{crc32(tenant.encode()) % AT_ONCE}",
            queueing_lock=f"import:{tenant}:{number}",
            priority=BEHIND_LIVE,
            tenant=tenant,
            number=number,
        )
    return len(rows)
