"""A real n8n, shut off from the world: its own folder and database, no telemetry, every address but loopback a dead end.

`requirements/n8n` installs the versions. n8n's own command refuses to execute what begins with a schedule, so a copy is
run whose trigger is a manual one of the same name; nothing else in a workflow is changed.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobsync.web.binding import open_socket

VERSIONS = ("1.123.81", "2.40.4")
PATIENCE_SECONDS = 900
_MANUAL = {"type": "n8n-nodes-base.manualTrigger", "typeVersion": 1, "parameters": {}}


def home() -> Path:
    """Where the versions are installed: JOBSYNC_N8N_DIR, or the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("JOBSYNC_N8N_DIR") or Path(cache) / "jobsync" / "n8n")


@dataclass(frozen=True)
class Run:
    """What became of one execution: `status` is n8n's own word (success, error, ...)."""

    status: str
    data: dict[str, Any]

    def items(self, node: str) -> list[dict[str, Any]]:
        """The JSON of all items that a node gave, all its runs and outputs one after another."""
        runs = self.data["data"]["resultData"]["runData"].get(node, [])
        outputs = [output for run in runs for output in (run.get("data") or {}).get("main", [])]
        return [item["json"] for output in outputs for item in output or []]

    def count(self, node: str) -> int:
        """How often a node ran."""
        return len(self.data["data"]["resultData"]["runData"].get(node, []))

    @property
    def error(self) -> str:
        """What n8n says went wrong; empty: nothing."""
        return str((self.data["data"]["resultData"].get("error") or {}).get("message", ""))


class N8n:
    """One version with a folder of its own."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version = version
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    async def add(self, *workflows: dict[str, Any]) -> None:
        """Imports workflows; those of the same ids are replaced."""
        where = self.folder / "import"
        where.mkdir(exist_ok=True)
        for old in where.iterdir():
            old.unlink()
        for workflow in workflows:
            (where / f"{workflow['id']}.json").write_text(json.dumps(workflow))
        said = await self._call("import:workflow", "--separate", f"--input={where}")
        assert f"Successfully imported {len(workflows)} workflow" in said, said[-2000:]

    async def add_credentials(self, *credentials: dict[str, Any]) -> None:
        """Imports credentials whose data stands in clear; n8n seals them."""
        where = self.folder / "credentials.json"
        where.write_text(json.dumps(credentials))
        said = await self._call("import:credentials", f"--input={where}")
        assert "Successfully imported" in said, said[-2000:]

    async def execute(self, workflow: str) -> Run:
        """Runs a workflow to its end."""
        said = await self._call("execute", f"--id={workflow}")
        start = said.find("\n{\n")
        assert start >= 0, said[-4000:]
        return _read_run(said[start:])

    def write_command(self, folder: Path) -> None:
        """Makes a command `n8n` of it in `folder`; a crash after all work was done (see `_call`) is no failure."""
        folder.mkdir(parents=True, exist_ok=True)
        command = folder / "n8n"
        program = home() / self.version / "node_modules" / "n8n" / "bin" / "n8n"
        command.write_text(
            f'#!/bin/sh\n"{node_program()}" "{program}" "$@"\ncode=$?\n[ "$code" = 139 ] || exit "$code"\n'
        )
        command.chmod(0o755)

    async def _call(self, *words: str) -> str:
        # A file, not a pipe: node writes a pipe behind its own back, and what is still there when it ends is lost.
        said = self.folder / f"{uuid.uuid4().hex}.out"
        with said.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                str(node_program()),
                str(home() / self.version / "node_modules" / "n8n" / "bin" / "n8n"),
                *words,
                cwd=self.folder,
                env=self.environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
            )
        try:
            await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        # Its exit code is no witness: n8n 1 may crash in a library of its own while it ends, all work done.
        return said.read_text("utf-8", "replace")

    def environment(self) -> dict[str, str]:
        """The variables that n8n runs with."""
        dead = "http://127.0.0.1:9"
        return {
            "PATH": f"{node_program().parent}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "N8N_USER_FOLDER": str(self.folder),
            "N8N_ENCRYPTION_KEY": "tests",
            "N8N_LOG_LEVEL": "info",
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_RUNNERS_BROKER_PORT": str(_free_port()),
            "DB_SQLITE_POOL_SIZE": "2",
            "EXECUTIONS_DATA_PRUNE": "false",
            "NODE_OPTIONS": "--max-old-space-size=2048",
            **dict.fromkeys(
                (
                    "N8N_DIAGNOSTICS_ENABLED", "N8N_VERSION_NOTIFICATIONS_ENABLED", "N8N_TEMPLATES_ENABLED", "N8N_PERSONALIZATION_ENABLED",
                    "N8N_HIRING_BANNER_ENABLED", "N8N_COMMUNITY_PACKAGES_ENABLED", "N8N_LICENSE_AUTO_RENEW_ENABLED",
                ),
                "false",
            ),
            "HTTP_PROXY": dead,
            "HTTPS_PROXY": dead,
            "NO_PROXY": "127.0.0.1,localhost",
        }  # fmt: skip


def node_program() -> Path:
    """The node that the versions run on."""
    return home() / "node" / "bin" / "node"


def find_n8n(version: str, folder: Path) -> N8n:
    """The version, or the test is skipped, saying how to get it."""
    if not (home() / version / "ready").exists():
        pytest.skip(
            f"n8n {version} is not installed: make test-n8n does it (it needs npm, a C++ compiler and the network)"
        )
    return N8n(version, folder)


def with_manual_trigger(workflow: dict[str, Any]) -> dict[str, Any]:
    """A copy that begins by hand instead of by the clock."""
    nodes = [
        {**node, **_MANUAL} if node["type"] == "n8n-nodes-base.scheduleTrigger" else node for node in workflow["nodes"]
    ]
    return {**workflow, "nodes": nodes}


def with_settings(workflow: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A copy whose node Settings says `values` as well."""
    nodes = []
    for node in workflow["nodes"]:
        if node["name"] == "Settings":
            given = json.loads(node["parameters"]["jsonOutput"]) | values
            node = {**node, "parameters": {**node["parameters"], "jsonOutput": json.dumps(given)}}
        nodes.append(node)
    return {**workflow, "nodes": nodes}


def _read_run(text: str) -> Run:
    data, _ = json.JSONDecoder().raw_decode(text.lstrip())
    return Run(data["status"], data)


def _free_port() -> int:
    with open_socket("127.0.0.1", 0) as found:
        return found.getsockname()[1]
