"""What the old flow delivered and cannot be found in GoHighLevel gets no second card when it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.api_stage import cards, deliver, job_row, route_jobs
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio


async def test_a_change_of_a_job_that_the_old_flow_delivered_makes_no_second_card(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, connected=True) as stage:
        jobs = await route_jobs(stage)
        unknown = jobs[0]
        for job in jobs:
            stage.run("select jobsync.mark_job('default', %s, 'synced', 'created', null)", job)
        await deliver(stage)
        assert cards(stage) == {}
        stage.act.change_job(job=unknown, summary="The pump is louder")
        await stage.sync()
        assert (job_row(stage, unknown)["status"], job_row(stage, unknown)["reason"]) == ("skipped", "card_unknown")
        assert cards(stage) == {}, "none was made twice"
        why = await stage.jobsync("why", str(unknown))
        assert "which card in GoHighLevel is its own is not known" in why.out
        # A person may ask for a new one.
        assert (await stage.jobsync("replay", str(unknown), "--force", "--yes")).code == 0
        await deliver(stage)
        assert list(cards(stage)) == [unknown]
