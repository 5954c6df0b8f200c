"""The page "Routes and rules": every command and query of it, on a connected location; nothing of it sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_rules import connected, writes
from tests.docs.walk import on_stage, walk_page

pytestmark = pytest.mark.anyio


async def test_every_command_of_the_page_does_what_it_says(dsn: str, tmp_path: Path) -> None:
    async with connected(dsn, tmp_path) as stage:
        done = await walk_page("docs/routes-and-rules.md", on_stage(stage))
        assert len(done) > 20
        said = {each.command: each.ran.out for each in done}
        assert said["jobsync rules import rules.yaml --replace"].startswith("Nothing changed")
        assert "Nothing was written or sent." in said["jobsync rules test --last 30d"]
        assert stage.value("select count(*) from jobsync.rules") == 5
        assert writes(stage) == []
