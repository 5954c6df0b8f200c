"""An import that a page asked for is done by whichever worker runs, and goes on after one that stopped or died."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from jobsync.engine.context import Engine
from jobsync.engine.opening import open_engine
from jobsync.errors import InvalidInput, LockHeld
from jobsync.intake.airtable import begin_import, read_import
from jobsync.intake.asked import ask_import, do_asked_import, tell_progress
from jobsync.tasks.imports import IMPORT_QUEUE, defer_asked_imports
from jobsync.tasks.work import Duties
from jobsync.tasks.worker import finish_tasks, is_busy, run_in_foreground
from tests.web.conftest import make_settings

pytestmark = pytest.mark.anyio
TENANT = "default"
ROWS = 1500


async def work_off(engine: Engine) -> int:
    """One sweep of the schedule, and everything it deferred is done."""

    async def act(duties: Duties) -> int:
        async def done() -> bool:
            return not await is_busy(duties, IMPORT_QUEUE, TENANT)

        found = await defer_asked_imports(duties)
        await defer_asked_imports(duties)
        await finish_tasks(duties, done, queues=(IMPORT_QUEUE,))
        return found

    return await run_in_foreground(engine, act)


async def test_what_a_page_asked_for_is_done_by_a_worker_also_after_one_that_stopped(dsn: str, tmp_path: Path) -> None:
    sheet = tmp_path / "customers.csv"
    sheet.write_text("ST ID,First Name,Phone\n" + "".join(f"{9000 + n},Ada,602-555-0101\n" for n in range(ROWS)))
    async with open_engine(make_settings(tmp_path, DATABASE_URL=dsn)) as engine:
        number = await begin_import(engine, TENANT, {"customers": sheet}, actor="a test")
        # Another machine's worker has no file of it.
        sheet.unlink()
        await ask_import(engine, TENANT, number, "count", actor="a test")
        with pytest.raises(LockHeld):
            await ask_import(engine, TENANT, number, "write", actor="a test")
        assert await work_off(engine) == 1
        found = await read_import(engine, TENANT, number)
        assert (found["asked"], found["asked_error"], found["files"][0]["judged"]) == (None, None, {"new": ROWS})

        await ask_import(engine, TENANT, number, "write", actor="a test")
        # A worker that stops after its first thousand, and one that dies there: the wish stays.
        await do_asked_import(engine, TENANT, number, stopping=lambda: True)
        found = await read_import(engine, TENANT, number)
        assert (found["asked"], found["state"], tell_progress(found)) == (
            "write",
            "applying",
            {"done": 1000, "total": ROWS},
        )
        assert await work_off(engine) == 1
        found = await read_import(engine, TENANT, number)
        assert (found["asked"], found["state"], found["report"] is not None) == (None, "applied", True)
        with psycopg.connect(dsn) as owner:
            assert owner.execute("select count(*) from customers").fetchone() == (ROWS,)
            runs = owner.execute(
                "select status, records_processed from sync_logs where sync_type = 'import'"
            ).fetchall()
        assert runs == [("completed", ROWS)]
        assert await work_off(engine) == 0, "what is done is not done again"
        with pytest.raises(InvalidInput):
            await ask_import(engine, TENANT, number, "write", actor="a test")
        await ask_import(engine, TENANT, number, "undo", actor="a test")
        assert await work_off(engine) == 1
        assert (await read_import(engine, TENANT, number))["state"] == "undone"


async def test_what_stops_a_worker_stands_in_the_import_and_is_not_tried_for_ever(dsn: str, tmp_path: Path) -> None:
    sheet = tmp_path / "customers.csv"
    sheet.write_text("ST ID,First Name\n9001,Ada\n")
    async with open_engine(make_settings(tmp_path, DATABASE_URL=dsn)) as engine:
        number = await begin_import(engine, TENANT, {"customers": sheet}, actor="a test")
        await ask_import(engine, TENANT, number, "write", actor="a test")
        with psycopg.connect(dsn, autocommit=True) as owner:
            owner.execute(
                "create function public.stop() returns trigger language plpgsql as $$ begin raise exception 'no' using errcode = 'JS001'; end $$;"
                "create trigger stop before insert on jobsync.import_ledger for each row execute function public.stop()"
            )
        assert await work_off(engine) == 1
        found = await read_import(engine, TENANT, number)
        assert (found["asked"], found["state"], bool(found["asked_error"])) == (None, "applying", True)
        assert await work_off(engine) == 0
        with psycopg.connect(dsn, autocommit=True) as owner:
            owner.execute("drop trigger stop on jobsync.import_ledger")
        await ask_import(engine, TENANT, number, "write", actor="a test")
        assert await work_off(engine) == 1
        assert (await read_import(engine, TENANT, number))["state"] == "applied"
