"""The pages "What is sent, and when" and "Why a job is where it is": every command and query in them works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.walk import on_stage, walk_page
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio
UNIT = 1314


async def test_what_is_sent_and_when(dsn: str, tmp_path: Path) -> None:
    fresh = {"JOBSYNC_MODE": None, "JOBSYNC_DELIVER_FROM": None}
    async with open_stage(dsn, tmp_path, jobs=30, more=fresh) as stage:
        await stage.route_all()
        await stage.sync(deliver=False)
        sent: dict[str, int] = {}

        async def look(heading: str) -> None:
            sent[heading] = sum(stage.posts().values())

        done = await walk_page(
            "docs/what-is-sent-and-when.md",
            on_stage(stage, UNIT=UNIT),
            before={
                "Test the hook with a job that does not exist": lambda: look("test"),
                "Ten, then all": lambda: look("ten"),
                "The guard": lambda: look("guard"),
            },
        )
        # Looking sends nothing; one real job and the invented one; then every job once.
        assert sent == {"test": 0, "ten": 2, "guard": 31}
        assert {job: stage.posts()[job] for job in stage.job_ids()} == dict.fromkeys(stage.job_ids(), 1)
        texts = {step.command: step.ran.out for step in done}
        assert "create 30" in texts["jobsync plan"]
        assert "workflow executions" in texts["jobsync status"]
        assert texts[f"jobsync send-test --unit {UNIT} --wait 0 --yes"].startswith("queued: ")


async def test_why_a_job_is_where_it_is(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30) as stage:
        await stage.sync(deliver=False)
        url = stage.add_hook()
        stage.break_hook(url, "status", status=422)
        await stage.route(UNIT, url)
        await stage.sync(pull=False)
        jobs = stage.jobs_of(UNIT)
        (person,) = stage.rows(
            "select p.st_job_id, p.phone, p.last_name from jobsync.projections p join customers c using (tenant_id, st_customer_id) "
            "where p.st_job_id = any (%s) and c.phone is not null and p.last_name is not null order by 1 limit 1",
            jobs,
        )

        async def mend() -> None:
            assert sum(stage.posts().values()) == len(jobs), "nothing of all this sent anything"
            stage.level.faults.clear()

        done = await walk_page(
            "docs/why-a-job-is-where-it-is.md",
            on_stage(stage, JOB=person["st_job_id"], UNIT=UNIT, PHONE=person["phone"], LASTNAME=person["last_name"]),
            before={"Send again": mend},
        )
        assert stage.posts() == dict.fromkeys(jobs, 2)
        texts = {step.command: step.ran.out for step in done}
        story = texts[f"jobsync why job {person['st_job_id']}"]
        assert "HTTP 422" in story
        assert "Why   the hook refused it" in story
        assert str(person["st_job_id"]) in texts[f'jobsync why "{person["phone"]}"']
        assert str(person["st_job_id"]) in texts[f"jobsync why {person['last_name']}"]
        assert (
            f"{len(jobs)} of {len(jobs)} jobs would be sent again" in texts["jobsync replay --cause rejected --dry-run"]
        )
        assert (tmp_path / "office.csv").exists()
