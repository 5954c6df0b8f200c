"""A drain that is asked to stop: what it claimed and did not send is given back at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobsync.db.pool import Row
from jobsync.engine.claims import GROUP
from jobsync.engine.deliver import drain_destination
from jobsync.engine.hook_sender import HookSender, open_sender
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio


async def test_a_stopped_drain_sends_no_more_and_gives_back_what_it_had_claimed_ahead(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=240) as stage:
        await stage.route_all()
        await stage.sync(deliver=False)

        async def opened(row: Row) -> HookSender:
            return await open_sender(stage.engine, row)

        def is_stopped() -> bool:
            # In the middle of a group, when the next one was claimed already.
            return stage.value("select count(*) from jobsync.attempts") > GROUP

        destination = stage.value("select id from jobsync.destinations")
        report = await drain_destination(stage.engine, opened, "default", destination, stopping=is_stopped)

        sent = sum(stage.posts().values())
        assert 0 < sent == report.delivered <= GROUP
        assert stage.value("select count(*) from jobsync.attempts") > sent
        assert stage.value("select count(*) from jobsync.outbox where lease_until is not null") == 0
        assert stage.value("select sum(sends) from jobsync.send_counts") == sent
        said = stage.value("select distinct error from jobsync.attempts where outcome = 'stopped'")
        assert said == "JobSync was stopped before it was sent; it is claimed anew."

        await stage.sync(pull=False)
        assert set(stage.posts().values()) == {1}
        assert stage.value("select count(*) from jobsync.outbox") == 0
