"""Pipelines are read by the schedule, and what broke there is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobsync.engine.opening import open_engine
from jobsync.engine.pipelines import refresh_stale_pipelines
from tests.cli.test_rules import SERVICE, connected, pipelines_of
from tests.clock import move_clock

pytestmark = pytest.mark.anyio


async def test_the_schedule_reads_pipelines_every_hour_and_what_broke_there_is_an_alert(
    dsn: str, tmp_path: Path
) -> None:
    async with connected(dsn, tmp_path) as stage, open_engine(stage.settings()) as engine:
        assert await refresh_stale_pipelines(engine) == 0, "no unit goes to a pipeline"
        for unit, name in (("1314", "Working"), ("4622", "Completed")):
            assert (await stage.jobsync("units", "set", unit, "--pipeline", SERVICE, "--stage", name)).code == 0
        assert await refresh_stale_pipelines(engine) == 0, "they were read just before"
        service = next(each for each in pipelines_of(stage) if each["name"] == SERVICE)
        stages = {each["name"]: each for each in service["stages"]}
        stages["Working"]["name"] = "On site"
        service["stages"].remove(stages["Completed"])
        move_clock(dsn, "61 minutes")
        stage.level.faults.add("status", path="/opportunities/pipelines", status=503, times=1)
        assert await refresh_stale_pipelines(engine) == 0, "an answer that is none changes nothing"
        assert stage.value("select count(*) from jobsync.v_card_problems") == 0
        assert await refresh_stale_pipelines(engine) == 1
        assert await refresh_stale_pipelines(engine) == 0
        found = stage.rows(
            "select code, severity, title, why, fix from jobsync.v_alert_conditions where code like 'card_%' order by code"
        )
        assert [(row["code"], row["severity"]) for row in found] == [
            ("card_renamed", "warning"),
            ("card_route", "critical"),
        ]
        assert found[0]["title"] == 'Stage "Working" is now called "On site"'
        assert found[1]["why"] == 'stage "Completed" is gone from pipeline "Service Pipeline" in GoHighLevel'
        assert found[1]["fix"].startswith("jobsync units set 4622 --pipeline")
        assert stage.rows("select stage_name from jobsync.routes where st_business_unit_id = 1314") == [
            {"stage_name": "On site"}
        ]
