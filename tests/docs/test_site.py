"""The documentation site: built without a warning, every command, setting, table and page in it, every command in it works."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from docs.site.commands import describe_commands, list_commands, read_exit_codes
from docs.site.pages import CHECKOUT, build, gather, list_nav
from docs.site.settings import describe_settings
from docs.site.tables import STABLE, describe_schema

from jobsync.cli.parser import build_app
from jobsync.config import variable_names
from tests.docs.walk import on_stage, walk_page
from tests.upstreams import Ran, open_stage

pytestmark = pytest.mark.anyio
FRESH: dict[str, Any] = {"JOBSYNC_MODE": None, "JOBSYNC_DELIVER_FROM": None}


async def test_the_site_is_built_and_a_link_that_leads_nowhere_fails_it(dsn: str, tmp_path: Path) -> None:
    source = tmp_path / "docs"
    gather(source, tables=await describe_schema(dsn))
    assert build(source, tmp_path / "site") == 0
    pages = {page.relative_to(tmp_path / "site").as_posix() for page in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "commands.html", "tables.html", "settings.html", "api.html"} <= pages
    home = (tmp_path / "site" / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(https?://(?!github\.com/caronc)[^"]*\.(?:js|css|woff2?))"', home)
    (source / "concepts.md").write_text("See [nothing](no-such-page.md).\n")
    assert build(source, tmp_path / "site") != 0


async def test_every_page_has_its_place_and_no_page_two(dsn: str, tmp_path: Path) -> None:
    gather(tmp_path, tables=await describe_schema(dsn))
    (tmp_path / "moving-from-somewhere.md").write_text("# Moving\n")
    (tmp_path / "unforeseen.md").write_text("# Unforeseen\n")
    nav = list_nav(tmp_path)
    placed = [page for section in nav for pages in section.values() for page in pages]
    assert sorted(placed) == sorted(page.relative_to(tmp_path).as_posix() for page in tmp_path.rglob("*.md"))
    assert "moving-from-somewhere.md" in next(section["Moving in"] for section in nav if "Moving in" in section)
    assert nav[-1] == {"More": ["unforeseen.md"]}


def test_every_command_with_every_option_and_every_exit_code_is_described() -> None:
    page = describe_commands()
    root: Any = typer.main.get_command(build_app())
    for words, command in list_commands(root):
        assert f"## jobsync {' '.join(words)}\n" in page
        assert command.help, words
        for option in command.params:
            assert all(name in page for name in option.opts if name.startswith("--")), (words, option.opts)
    assert {int(code) for code, _ in read_exit_codes()} == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 75, 130}


def test_every_setting_is_described() -> None:
    page = describe_settings((CHECKOUT / ".env.example").read_text())
    assert [name for name in variable_names() if f"| `{name}` |" not in page] == []
    assert re.search(r"`GHL_API_KEY` .*\*\*Secret", page)


async def test_every_table_and_view_is_described_with_its_comment(dsn: str) -> None:
    page = await describe_schema(dsn)
    for name in ("jobs", "customers", "sync_statistics", *(f"jobsync.{view}" for view in STABLE)):
        entry = page.split(f"### {name}\n\n", 1)[1]
        assert entry.splitlines()[0].strip(), name
    assert "upsert_job_from_st(" in page


async def test_the_quick_start_leads_from_nothing_to_sent_jobs(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=12, engine=False, connected=True, more=FRESH) as stage:
        done = await walk_page("docs/quick-start.md", on_stage(stage))
        texts = {step.command: step.ran for step in done}
        assert "may read" in texts["jobsync init --from-env --yes"].err
        assert "Nothing left this machine" in texts["jobsync smoke"].out
        assert "Live" in texts["jobsync status"].out


async def test_the_recipes_of_troubleshooting_security_and_operations_work(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=6) as stage:
        await stage.route_all()
        await stage.sync()
        reader = on_stage(stage, JOB=stage.job_ids()[0], READER=f"reader_{uuid.uuid4().hex[:8]}")
        for page in ("docs/troubleshooting.md", "docs/security.md"):
            await walk_page(page, reader)

        async def call(*words: str, **changes: Any) -> Ran:
            # A program's child can only be waited for in a main thread.
            return await (stage.process if "backup" in words else stage.jobsync)(*words, **changes)

        done = await walk_page("docs/operations.md", replace(reader, jobsync=call))
        assert (tmp_path / "nightly.sql.gz").exists()
        (asked,) = [step.ran.out for step in done if step.block.language == "sql"]
        assert "verified_percent" in asked and "p95_duration_ms" in asked
