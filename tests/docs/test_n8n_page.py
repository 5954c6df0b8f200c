"""docs/n8n.md: the journey of who runs the guide's flow. Its commands for n8n itself are run by tests/n8n/test_page.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clock import move_clock
from tests.docs.walk import on_stage, walk_page
from tests.n8n.conftest import open_service
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio


async def test_every_command_of_the_page_about_n8n_does_what_it_says(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20) as stage, open_service(stage) as url:
        await stage.sync(deliver=False)
        hook = stage.add_hook()
        job = stage.jobs_of(1314)[0]

        async def a_day() -> None:
            assert stage.posts() == {}, "nothing is sent while the old flow may still push"
            move_clock(dsn, "25 hours")

        done = await walk_page(
            "docs/n8n.md",
            on_stage(stage, HOOK_URL=hook, JOB=job, JOBSYNC_URL=url, PATCH="PATCH"),
            before={"A day later": a_day},
        )
        texts = {step.command: step.ran.out for step in done}
        assert hook in (tmp_path / "n8n" / "drain-pending.json").read_text()
        pending = json.loads(next(text for command, text in texts.items() if "pending-ghl-sync" in command))
        assert {one["st_job_id"] for one in pending["jobs"]} == set(stage.jobs_of(1314))
        assert "marked from outside in the last 24 hours" in texts[f"jobsync units set 1314 --webhook {hook}"]
        assert stage.posts() == dict.fromkeys(stage.jobs_of(1314), 1)
