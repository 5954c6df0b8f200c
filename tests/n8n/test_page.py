"""The commands of docs/n8n.md for n8n itself, typed into a real n8n."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.walk import on_stage, read_blocks, run_command
from tests.n8n.conftest import open_service
from tests.n8n.runtime import N8n, with_manual_trigger
from tests.upstreams import open_stage

pytestmark = [pytest.mark.anyio, pytest.mark.n8n, pytest.mark.timeout(3600)]


async def test_the_page_imports_and_executes_the_exported_files(
    n8n: N8n, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage(dsn, tmp_path, jobs=20) as stage, open_service(stage) as url:
        await stage.sync(deliver=False, streams=("business_units",))
        exported = await stage.jobsync("export", "n8n", "--url", url, "--webhook", f"1314={stage.add_hook()}")
        assert exported.code == 0, exported.err
        # The command line of n8n does not execute schedules; nothing else of the files is changed.
        for file in (tmp_path / "n8n").iterdir():
            file.write_text(json.dumps(with_manual_trigger(json.loads(file.read_text()))))
        reader = on_stage(stage)
        reader = replace(reader, environment={**reader.environment, **n8n.environment()})
        n8n.write_command(tmp_path / "bin")
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        blocks = [block for block in read_blocks("docs/n8n.md") if block.words.get("unrun") == "n8n"]
        commands = [(block, command) for block in blocks for command in block.commands()]
        assert [command.split()[1] for _, command in commands] == ["import:workflow", "execute"]
        for block, command in commands:
            await run_command(block, command, reader)
        assert stage.posts() == dict.fromkeys(stage.jobs_of(1314), 1)
