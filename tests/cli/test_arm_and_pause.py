"""arm --limit reads back what it sent before it asks; pause lets nothing more leave within a second."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jobsync.engine.sending import pause_tenant
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio
FRESH = {"JOBSYNC_MODE": None, "JOBSYNC_DELIVER_FROM": None}


async def test_the_first_few_are_read_back_and_shown_with_their_cards(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=12, connected=True, more=FRESH) as stage:
        stage.level.switches.turn(search_lag_min_seconds=0, search_lag_max_seconds=0)
        await stage.route_all()
        await stage.sync(deliver=False)
        # Only jobs of people with a phone or an e-mail can be found again.
        stage.run(
            "update customers set phone = '+1602555' || lpad((st_customer_id % 10000)::text, 4, '0') where coalesce(phone, email) is null"
        )
        armed = await stage.jobsync("arm", "--limit", "4", "--since", "2000-01-01", "--yes", "--json")
        assert armed.code == 0, armed.err
        assert armed.json["sent"] == {"delivered": 4, "failed": 0}
        assert armed.json["verified"] == 4
        cards = {job["ghl_opportunity_id"] for job in armed.json["jobs"]}
        assert cards <= set(stage.location.opportunities.records)
        assert len(cards) == 4
        assert "4 read back" in armed.err
        status = await stage.jobsync("status")
        assert "This month: 4 workflow executions, about 0.04" in status.out


async def test_pause_lets_nothing_more_leave_within_a_second(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=150, more={"JOBSYNC_GHL_PACE": "20"}) as stage:
        await stage.route_all()
        await stage.sync(deliver=False)
        reached = asyncio.Event()
        note = stage.level.ledger.note_post

        def note_and_tell(post: object) -> None:
            note(post)  # type: ignore[arg-type]
            reached.set()

        stage.level.ledger.note_post = note_and_tell  # type: ignore[method-assign]
        sending = asyncio.ensure_future(stage.sync(pull=False))
        await asyncio.wait_for(reached.wait(), 30)
        await pause_tenant(stage.engine, "default", actor="test")
        report = await sending
        assert 0 < report["delivered"] < 150
        late = stage.value(
            "select count(*) from jobsync.attempts a, jobsync.tenants t where a.started_at > t.paused_at + interval '1 second'"
        )
        assert late == 0
        posts = sum(stage.posts().values())
        await stage.sync(pull=False)
        assert sum(stage.posts().values()) == posts
        assert (await stage.jobsync("resume")).code == 0
        stage.run("update jobsync.budgets set tokens = burst")
        assert stage.value("select count(*) from jobsync.outbox") == 150 - posts, "nothing is lost"
