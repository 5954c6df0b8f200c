"""The page about backfill says what its commands do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.walk import on_stage, walk_page
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio


async def test_the_page_about_backfill_is_true(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=12) as stage:
        await stage.route_all()
        done = await walk_page("docs/backfill.md", on_stage(stage))
        (table,) = [one.ran.out for one in done if "count(*) from jobs group by" in one.command]
        assert "pending" in table
        assert "backfilled" not in table
        assert stage.posts() == {}, "planned, and sent only by deliver"
