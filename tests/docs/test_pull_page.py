"""docs/how-pull-never-loses-a-job.md: each of its commands and queries is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.walk import on_stage, walk_page
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio


async def test_every_command_of_the_page_about_pulling_does_what_it_says(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20) as stage:
        stage.titan.faults.plan("row", "jpm/export/jobs", how="total_object", row=3, count=1)
        await stage.sync(deliver=False)
        done = await walk_page("docs/how-pull-never-loses-a-job.md", on_stage(stage))
        said = "\n".join(one.ran.out for one in done)
        for words in (
            "Nothing was moved",
            "Moved     jobs",
            "stream:jobs",
            "quarantined records tried again",
            "Compared",
        ):
            assert words in said
        assert (tmp_path / "reconcile.json").exists()
        assert stage.value("select count(*) from jobs") >= 19
