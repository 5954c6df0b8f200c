"""What the stories of the lane share: an n8n of each version, JobSync as a service, and workflows filled for both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jobsync.engine.workflows import fill_workflows
from jobsync.web.app import create_app
from jobsync.web.binding import open_socket
from jobsync.web.server import serve
from tests.n8n.runtime import VERSIONS, N8n, find_n8n, with_manual_trigger, with_settings
from tests.upstreams import TENANT, Stage


@pytest.fixture(scope="session", params=VERSIONS)
def n8n(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> N8n:
    """n8n in a folder of its own, the same for all stories of a version: its database is made only once."""
    return find_n8n(request.param, tmp_path_factory.mktemp(f"n8n-{request.param}"))


@asynccontextmanager
async def open_service(stage: Stage, **more: str) -> AsyncIterator[str]:
    """JobSync's service on the stage's database; its address. `more`: further settings by variable name."""
    assert stage.engine is not None
    sock = open_socket("127.0.0.1", 0)
    settings = type(stage.settings()).model_validate({**stage.environment(), **more})
    stop = asyncio.Event()
    task = asyncio.create_task(serve(create_app(settings, stage.engine.database), sock, stop))
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        stop.set()
        await task


async def prepare(
    stage: Stage, name: str, url: str, *, hooks: Mapping[int, str] | None = None, key: bool = False, **settings: Any
) -> dict[str, Any]:
    """A workflow as `jobsync export n8n` writes it, begun by hand; it posts as fast as it can."""
    assert stage.engine is not None
    (filled,) = await fill_workflows(stage.engine, TENANT, (name,), url=url, hooks=hooks, credential=key)
    workflow = with_settings(with_manual_trigger(json.loads(filled.text)), **settings)
    for node in workflow["nodes"]:
        node["parameters"].get("options", {}).pop("batching", None)
        if "waitBetweenTries" in node:
            node["waitBetweenTries"] = 100
    return workflow
