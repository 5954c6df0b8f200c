"""What happens on each answer of a hook: one test for each row of the answers table (reliability), by its name.

GoHighLevel's column, webhook mode. What is tried again carries the delivery id of before; nothing is ever followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clock import move_clock
from tests.sql.story import committed, job
from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio
UNIT = 1314


@dataclass(frozen=True)
class Expected:
    """A fault, and what one try leaves: status, reason, outcome, HTTP status; whether it waits; attempts that count."""

    fault: str
    options: dict[str, Any]
    status: str
    reason: str | None
    outcome: str
    code: int | None
    waits: bool
    counted: int = 1
    flags: list[str] | None = None


SYNCED = ("synced", None)
ROWS: dict[str, Expected] = {
    "2xx not JSON": Expected(
        "html", {"status": 200}, *SYNCED, "accepted_without_id", 200, False, flags=["no_contact", "no_execution_id"]
    ),
    "2xx no data": Expected(
        "status",
        {"status": 200, "body": {}},
        *SYNCED,
        "accepted_without_id",
        200,
        False,
        flags=["no_contact", "no_execution_id"],
    ),
    "2xx truncated": Expected(
        "truncated", {}, *SYNCED, "accepted_without_id", 200, False, flags=["no_contact", "no_execution_id"]
    ),
    "3xx": Expected("redirect", {}, "failed", "rejected", "rejected", 302, False),
    "400": Expected("status", {"status": 400}, "failed", "rejected", "rejected", 400, False),
    "422": Expected("status", {"status": 422}, "failed", "rejected", "rejected", 422, False),
    "401": Expected(
        "status", {"status": 401}, "pending", "destination_unauthorized", "unauthorized", 401, True, counted=0
    ),
    "403": Expected(
        "status", {"status": 403}, "pending", "destination_unauthorized", "unauthorized", 403, True, counted=0
    ),
    "404": Expected("status", {"status": 404}, "pending", "destination_gone", "gone", 404, True, counted=0),
    "410": Expected("status", {"status": 410}, "pending", "destination_gone", "gone", 410, True, counted=0),
    "408": Expected("status", {"status": 408}, "pending", "retrying", "ambiguous", 408, True),
    "reset": Expected("close", {}, "pending", "retrying", "ambiguous", None, True),
    "reset after it was done": Expected("did_then_close", {}, "pending", "retrying", "ambiguous", None, True),
    "413": Expected("status", {"status": 413}, "failed", "rejected", "rejected", 413, False),
    "414": Expected("status", {"status": 414}, "failed", "rejected", "rejected", 414, False),
    "429": Expected(
        "too_many", {"retry_after": 600}, "pending", "destination_rate_limited", "rate_limited", 429, True, counted=0
    ),
    "500": Expected("status", {"status": 500}, "pending", "retrying", "ambiguous", 500, True),
    "502": Expected("status", {"status": 502}, "pending", "retrying", "ambiguous", 502, True),
    "503": Expected("status", {"status": 503}, "pending", "retrying", "ambiguous", 503, True),
}


async def one_job(stage: Stage, number: int = 1) -> tuple[int, str]:
    """One job that waits to be delivered to a new hook; its id and the hook's URL."""
    url = stage.add_hook()
    await stage.route(UNIT, url)
    with committed(stage.dsn) as story:
        story.parents(number)
        story.page(job(number))
    return number, url


def look(stage: Stage, number: int) -> dict[str, Any]:
    (row,) = stage.rows(
        "select j.ghl_sync_status as status, j.ghl_sync_reason as reason, j.ghl_sync_flags as flags, j.ghl_opportunity_id as card, "
        "o.st_job_id is not null as waits, o.attempts from jobs j left join jobsync.outbox o using (tenant_id, st_job_id) where st_job_id = %s",
        number,
    )
    return row


def attempts(stage: Stage, number: int = 1) -> list[dict[str, Any]]:
    return stage.rows(
        "select outcome, status_code, delivery_id, answer, error from jobsync.attempts where st_job_id = %s order by id",
        number,
    )


async def test_2xx_valid_is_synced_without_a_made_up_id(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=1) as stage:
        number, _ = await one_job(stage)
        assert (await stage.sync(pull=False))["delivered"] == 1
        found = look(stage, number)
        assert (found["status"], found["waits"], found["flags"], found["card"]) == (
            "synced",
            False,
            ["no_contact"],
            None,
        )
        (sent,) = attempts(stage)
        assert (sent["outcome"], sent["status_code"]) == ("accepted", 200)


# So many answers in one world, each of a hook of its own to a job of its own; a day lies between two of them.
TOGETHER = 7


@pytest.mark.parametrize("first", range(0, len(ROWS), TOGETHER))
async def test_each_answer(dsn: str, tmp_path: Path, first: int) -> None:
    async with open_stage(dsn, tmp_path, jobs=1) as stage:
        for number, name in enumerate(list(ROWS)[first : first + TOGETHER], start=1):
            await meet(stage, number, name, ROWS[name])


async def meet(stage: Stage, number: int, name: str, expected: Expected) -> None:
    """Sends one job to a new hook that answers like this, and looks at what became of it at once and in the end."""
    _, url = await one_job(stage, number)
    stage.break_hook(url, expected.fault, **expected.options)
    await stage.sync(pull=False)
    found = look(stage, number)
    assert (found["status"], found["reason"], found["waits"]) == (expected.status, expected.reason, expected.waits), (
        name
    )
    assert found["flags"] == expected.flags
    assert found["card"] is None
    if expected.waits:
        assert found["attempts"] == expected.counted
    (sent,) = attempts(stage, number)
    assert (sent["outcome"], sent["status_code"]) == (expected.outcome, expected.code)
    assert stage.posts()[number] == 1, f"{name}: nothing is followed, nothing is sent twice in one try"
    # A person sees why, and what to do.
    why = await stage.jobsync("why", str(number), "--json")
    assert why.json["why"]
    # Once the hook is mended: what waits goes out by itself under the same delivery id, what failed by a replay.
    stage.level.faults.clear()
    stage.run("update jobsync.budgets set blocked_until = null")
    move_clock(stage.dsn, "1 day")
    if expected.status == "failed":
        assert (await stage.sync(pull=False))["gohighlevel_requests"] == 0
        assert (await stage.jobsync("replay", str(number))).code == 0
    await stage.sync(pull=False)
    assert look(stage, number)["status"] == "synced"
    assert len({row["delivery_id"] for row in attempts(stage, number)}) == 1
    assert stage.posts()[number] == (1 if expected.status == "synced" else 2), name


async def test_2xx_of_a_megabyte_counts_and_its_body_is_kept_up_to_2_kb(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=1) as stage:
        number, url = await one_job(stage)
        stage.break_hook(url, "huge", megabytes=1)
        assert (await stage.sync(pull=False))["delivered"] == 1
        assert look(stage, number)["status"] == "synced"
        assert len(attempts(stage)[0]["answer"]) <= 2048


async def test_test_request_received_is_failed_paused_and_never_tried_by_itself(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=1) as stage:
        number, _ = await one_job(stage)
        (hook,) = stage.location.hooks.values()
        hook.mode = "test"
        await stage.sync(pull=False)
        assert (look(stage, number)["status"], look(stage, number)["reason"]) == ("failed", "test_only")
        assert stage.value("select paused_at is not null from jobsync.destinations")
        move_clock(dsn, "3 days")
        await stage.sync(pull=False)
        assert stage.posts() == {number: 1}
        hook.mode = "live"
        by_cause = await stage.jobsync("replay", "--cause", "test_only", "--yes", "--json")
        assert by_cause.json["replayed"] == [number]
        await stage.sync(pull=False)
        assert look(stage, number)["status"] == "synced"


async def test_a_hook_that_is_gone_is_paused_after_five_and_nothing_is_dropped(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=1) as stage:
        _, url = await one_job(stage)
        stage.break_hook(url, "status", status=410)
        with committed(dsn) as story:
            story.parents(*range(2, 21))
            story.page(*(job(number) for number in range(2, 21)))
        await stage.sync(pull=False)
        assert stage.value("select paused_at is not null from jobsync.destinations")
        assert stage.value("select count(*) from jobsync.outbox") == 20
        stage.level.faults.clear()
        # Probed once a minute: the first that goes through ends the pause.
        move_clock(dsn, "61 seconds")
        await stage.sync(pull=False)
        move_clock(dsn, "61 seconds")
        await stage.sync(pull=False)
        assert stage.value("select count(*) from jobs where ghl_sync_status = 'synced'") == 20
