"""send-test: one invented job, counted and billed like any other, and nothing of it stays in the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.upstreams import Ran, Stage, open_stage

pytestmark = pytest.mark.anyio
UNIT = 1314


async def a_routed_unit(stage: Stage, **hook: Any) -> Any:
    await stage.sync(deliver=False, streams=("business_units",))
    made = stage.level.add_hook(**hook)
    await stage.route(UNIT, stage.level_url + stage.level.hook_path(made))
    return made


async def send(stage: Stage, *words: str, wait: str = "0") -> Ran:
    return await stage.jobsync("send-test", "--unit", str(UNIT), "--wait", wait, "--yes", *words)


async def test_a_test_lands_and_leaves_no_trace_but_the_audit(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=5, connected=True) as stage:
        stage.level.switches.turn(search_lag_min_seconds=0, search_lag_max_seconds=0)
        await a_routed_unit(stage)
        landed = await send(stage, "--json")
        assert landed.code == 0, landed.err
        found = landed.json
        assert found["result"] == "landed"
        assert found["opportunity_id"] in stage.location.opportunities.records
        (body,) = stage.bodies().values()
        assert (body["event"], body["Name"], body["delivery_id"]) == ("test", "JobSync Test", found["delivery_id"])
        assert body["email"].endswith("example.com")
        for table in ("jobs", "jobsync.outbox", "jobsync.attempts", "jobsync.verifications"):
            assert stage.value(f"select count(*) from {table}") == 0, table
        assert stage.rows("select sends, executions from jobsync.send_counts") == [{"sends": 1, "executions": 1}]
        audit = stage.rows("select subject, details from jobsync.audit where action = 'test_sent'")
        assert [(row["subject"], row["details"]["result"]) for row in audit] == [(f"unit:{UNIT}", "landed")]


@pytest.mark.parametrize(
    ("mode", "code", "result", "words"),
    [
        ("draft", 0, "queued", "may be a draft"),
        ("failing", 0, "queued", "may be a draft"),
        ("test", 4, "test_only", "not saved or not published"),
    ],
)
async def test_a_hook_that_does_nothing_is_told_apart(
    dsn: str, tmp_path: Path, mode: str, code: int, result: str, words: str
) -> None:
    async with open_stage(dsn, tmp_path, jobs=5, connected=True) as stage:
        await a_routed_unit(stage, mode=mode)
        told = await send(stage, "--json")
        assert (told.code, told.json["result"]) == (code, result)
        assert words in told.json["why"]
        counted = stage.value("select coalesce(sum(sends), 0) from jobsync.send_counts")
        assert counted == (0 if result == "test_only" else 1), "what certainly did not run is not counted"


async def test_a_test_without_a_connection_is_queued_and_says_how_to_see_more(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=5) as stage:
        await a_routed_unit(stage)
        told = await send(stage)
        assert told.code == 0
        assert told.out.startswith("queued: ")
        assert "GHL_API_KEY" in told.out


async def test_a_test_is_refused_where_a_send_would_be(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=5) as stage:
        await a_routed_unit(stage)
        unconfirmed = await stage.jobsync("send-test", "--unit", str(UNIT))
        assert unconfirmed.code == 9
        unrouted = await stage.jobsync("send-test", "--unit", "4622", "--yes")
        assert unrouted.code == 5
        unknown = await stage.jobsync("send-test", "--unit", "999", "--yes")
        assert unknown.code == 4
        await stage.jobsync("pause")
        assert (await send(stage)).code == 5
        await stage.jobsync("resume")
        stage.run("update jobsync.tenants set cap_hour = 1")
        stage.run(
            "insert into jobsync.send_counts (tenant_id, hour, sends) values ('default', date_trunc('hour', jobsync.now()), 1)"
        )
        capped = await send(stage)
        assert capped.code == 5
        assert "cap" in capped.err
        await stage.jobsync("disarm")
        disarmed = await send(stage)
        assert disarmed.code == 5
        assert "mode is observe" in disarmed.err
        assert stage.posts() == {}
