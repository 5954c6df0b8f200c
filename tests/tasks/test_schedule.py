"""The schedule: when what runs by itself runs. A cron line with seconds is easily read otherwise than it was meant."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from jobsync.config import read_settings
from jobsync.db.pool import Database
from jobsync.db.sealing import load_keyring
from jobsync.engine.context import Engine
from jobsync.tasks.app import build_app
from jobsync.tasks.work import register_tasks

pytestmark = pytest.mark.anyio
# Of each task: seconds between two runs.
EVERY = {"tick": 10, "read_pipelines": 300, "watch": 60, "prune": 86_400, "compare_old_flow": 86_400}


async def test_each_task_runs_as_often_as_it_is_meant_to(database: Database, dsn: str, tmp_path: Path) -> None:
    app = build_app(dsn)
    settings = read_settings(environ={"JOBSYNC_DATA_DIR": str(tmp_path)}, directory=tmp_path)
    register_tasks(app, Engine(settings, database, load_keyring(None, tmp_path)))
    found = {}
    for periodic in app.periodic_registry.periodic_tasks.values():
        times = periodic.croniter
        runs = [times.get_next(float) for _ in range(20)]
        found[periodic.task.name] = {round(later - earlier) for earlier, later in pairwise(runs)}
    assert found == {name: {seconds} for name, seconds in EVERY.items()}
