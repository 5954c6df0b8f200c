"""What is done on the dashboard is what the commands do: the same verbs, asked first, in the audit under the user's name."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from uuid import UUID

import psycopg
import pytest

from jobsync.db.pool import Database
from jobsync.engine.backfill import open_backfill, read_backfill
from jobsync.engine.context import Engine
from tests.sql.story import POOL, SALES, Story, committed, job
from tests.upstreams import open_upstreams
from tests.web.conftest import Api, StartApi, connected_to
from tests.web.visitor import let_in, words

pytestmark = pytest.mark.anyio


@pytest.fixture
def story(dsn: str) -> Iterator[Story]:
    """Sales by a hook: two accepted, two refused, one that waits; one of Pool, which goes nowhere."""
    with committed(dsn) as told:
        told.parents(1, 2, 3, 4, 5, 6)
        told.hook(SALES)
        told.live()
        told.page(*(job(n) for n in range(1, 5)))
        told.claim()
        told.finish("accepted", only=[1, 2])
        told.finish("rejected", only=[3, 4], error="phone is not valid")
        told.page(job(5), job(6, businessUnitId=POOL))
        yield told


def audit(story: Story) -> list[tuple[str, str, str]]:
    """(actor, action, subject), oldest first, of what people did."""
    rows = story.owner("select actor, action, subject from jobsync.audit where actor like 'user:%%' order by id")
    return [(row["actor"], row["action"], row["subject"]) for row in rows]


async def test_pause_stops_at_once_and_resume_says_first_what_goes_out(api: Api, dsn: str, story: Story) -> None:
    visitor = let_in(api, dsn, "operator")
    after = await visitor.follow(await visitor.send("/ui/pause", {"back": "/ui/jobs"}))
    assert "Paused: nothing is sent" in after.text and "■ Paused" in words(after.text)
    assert "Paused: nothing is sent" not in (await visitor.get("/ui/jobs")).text, "told once"
    assert story.value("select paused_at is not null from jobsync.tenants")
    asked = await visitor.get("/ui/resume")
    assert "Jobs waiting 1" in words(asked.text) and "Paid workflow triggers, up to 1" in words(asked.text)
    assert story.value("select paused_at is not null from jobsync.tenants"), "asking changes nothing"
    assert (await visitor.send("/ui/resume")).status == 303
    assert story.value("select paused_at is null from jobsync.tenants")
    assert [action for _, action, _ in audit(story)] == ["paused", "resumed"]
    assert {actor for actor, _, _ in audit(story)} == {"user:the.operator"}


async def test_going_live_counts_first_and_takes_a_limit(api: Api, dsn: str, story: Story) -> None:
    boss = let_in(api, dsn, "admin")
    assert (await boss.send("/ui/disarm")).status == 303
    assert story.value("select mode from jobsync.tenants") == "observe"
    asked = words((await boss.get("/ui/arm")).text)
    assert "Jobs waiting 1" in asked and "Routes" in asked and "GoHighLevel requests, at most 1" in asked
    assert story.value("select mode from jobsync.tenants") == "observe"
    assert (await boss.send("/ui/arm", {"limit": "many"})).status == 400
    assert (await boss.send("/ui/arm", {"limit": "10"})).status == 303
    assert story.row("select mode, arm_remaining from jobsync.tenants") == {"mode": "live", "arm_remaining": 10}
    assert (await boss.send("/ui/arm", {"limit": ""})).status == 303
    assert story.value("select arm_remaining from jobsync.tenants") is None


async def test_a_pass_is_started_by_whoever_may_act(start_api: StartApi, dsn: str) -> None:
    started: list[str] = []

    async def start(tenant: str) -> UUID:
        started.append(tenant)
        return UUID(int=1)

    with_worker = await start_api(start_sync=start)
    assert (await let_in(with_worker, dsn, "operator").send("/ui/run-now")).status == 303
    assert started == ["default"]
    without = await start_api()
    refused = await let_in(without, dsn, "operator").send("/ui/run-now")
    assert (refused.status, "jobsync up" in refused.text) == (503, True)


async def test_a_group_is_sent_again_after_its_count_was_shown(api: Api, dsn: str, story: Story) -> None:
    visitor = let_in(api, dsn, "operator")
    asked = await visitor.get("/ui/jobs/replay?status=failed&reason=rejected")
    text = words(asked.text)
    assert (
        "Replay 2 jobs?" in text
        and "Send 2 jobs" in text
        and "Jobs 2 of 2" in text
        and "Paid workflow triggers, up to 2" in text
    )
    fields = {"status": "failed", "reason": "rejected", "unit": "", "expected": "1"}
    again = await visitor.send("/ui/jobs/replay", fields)
    assert again.status == 200 and "more jobs match than you were shown" in again.text
    assert story.owner("select 1 from jobsync.outbox where forced") == []
    done = await visitor.send("/ui/jobs/replay", {**fields, "expected": "2"})
    assert "2 jobs are due again." in (await visitor.follow(done)).text
    due = story.owner("select st_job_id from jobsync.outbox where forced order by 1")
    assert [row["st_job_id"] for row in due] == [3, 4]
    assert audit(story) == [("user:the.operator", "replayed", "job:3"), ("user:the.operator", "replayed", "job:4")]


async def test_chosen_jobs_are_sent_again_and_delivered_ones_only_by_force(api: Api, dsn: str, story: Story) -> None:
    visitor = let_in(api, dsn, "operator")
    asked = unescape((await visitor.get("/ui/jobs/replay?job=1&job=3&job=6")).text)
    assert (
        "Jobs 1 of 3" in words(asked)
        and "Left alone: it is synced" in words(asked)
        and "JobSync does not deliver its unit" in asked
    )
    nothing = await visitor.get("/ui/jobs/replay?job=1")
    assert "Nothing to replay" in nothing.text and 'action="/ui/jobs/replay"' not in nothing.text
    assert (await visitor.send("/ui/jobs/replay", [("job", "x"), ("expected", "1")])).status == 400
    assert (await visitor.send("/ui/jobs/replay", [("expected", "1")])).status == 400
    forced = await visitor.get("/ui/jobs/replay?job=1&force=true")
    assert "may run a second time" in forced.text
    done = await visitor.send("/ui/jobs/replay", [("job", "1"), ("force", "true"), ("expected", "1")])
    assert done.headers["Location"] == "/ui/jobs/1"
    assert story.job(1)["ghl_sync_reason"] == "replay"


async def test_a_job_is_skipped_with_a_note_that_stands_in_its_story(api: Api, dsn: str, story: Story) -> None:
    visitor = let_in(api, dsn, "operator")
    assert "Skip job 5?" in (await visitor.get("/ui/jobs/5/skip")).text
    assert (await visitor.send("/ui/jobs/5/skip", {"note": " "})).status == 400
    done = await visitor.follow(await visitor.send("/ui/jobs/5/skip", {"note": "ordered twice"}))
    assert "ordered twice" in done.text and "by user:the.operator" in done.text
    found = story.job(5)
    assert (found["ghl_sync_status"], found["ghl_sync_reason"]) == ("skipped", "by_hand")
    assert story.owner("select 1 from jobsync.outbox where st_job_id = 5") == []
    assert story.owner("select 1 from jobsync.outside_marks") == [], "nobody else delivered it"
    assert (await visitor.send("/ui/jobs/1/skip", {"note": "x"})).status == 409
    assert (await visitor.send("/ui/jobs/99/skip", {"note": "x"})).status == 404
    story.page(job(5, summary="Changed", modifiedOn="2026-03-09T10:00:00Z"))
    assert story.job(5)["ghl_sync_status"] == "skipped", "a change does not bring it back"


async def test_a_job_is_read_again_from_servicetitan_and_stored_as_a_pull_does(
    start_api: StartApi, dsn: str, story: Story
) -> None:
    async with open_upstreams(jobs=5) as (titan, _):
        api = await start_api(connected_to(titan))
        visitor = let_in(api, dsn, "operator")
        number = min(titan.simulator.dataset().tables["jobs"].keys())
        story.page(job(number, jobStatus="Invented", modifiedOn="2001-01-01T00:00:00Z"))
        done = await visitor.follow(await visitor.send(f"/ui/jobs/{number}/reread"))
        assert "It changed; the new state is stored." in done.text
        assert story.job(number)["job_status"] != "Invented"
        again = await visitor.follow(await visitor.send(f"/ui/jobs/{number}/reread"))
        assert "the same as before" in again.text
        assert (await visitor.send("/ui/jobs/5/reread")).status == 404
    assert audit(story) == [("user:the.operator", "reread", f"job:{number}")] * 2


async def test_a_group_is_muted_where_an_alert_is_open(api: Api, dsn: str, story: Story) -> None:
    visitor = let_in(api, dsn, "operator")
    early = await visitor.follow(await visitor.send("/ui/needs-you/mute", {"group": "rejected", "hours": "24"}))
    assert "No alert is open" in early.text
    story.owner("select jobsync.refresh_alerts()")
    done = await visitor.follow(await visitor.send("/ui/needs-you/mute", {"group": "rejected", "hours": "24"}))
    assert "Muted for 24 hours" in done.text and "muted until" in done.text
    assert story.value("select count(*) from jobsync.alerts where muted_until > jobsync.now()") == 1
    assert (await visitor.send("/ui/needs-you/mute", {"group": "nothing", "hours": "24"})).status == 404


async def test_a_backfill_is_cancelled_and_resumed(api: Api, dsn: str, database: Database, story: Story) -> None:
    engine: Engine = api.app.state.web.engine
    boss = let_in(api, dsn, "admin")
    run = await open_backfill(engine, "default", since=story.value("select now() - interval '9 days'"), actor="tests")
    story.owner("update jobsync.backfills set state = 'failed', error = 'ServiceTitan did not answer'")
    page = await boss.get(f"/ui/runs/{run}")
    assert "Resume" in page.text and "Cancel" in page.text
    assert (await boss.send(f"/ui/runs/{run}/resume")).status == 303
    found = await read_backfill(engine, "default", run)
    assert found is not None and found["state"] == "running"
    assert "cannot be resumed" in (await boss.get(f"/ui/runs/{run}/cancel")).text
    assert (await boss.send(f"/ui/runs/{run}/cancel")).status == 303
    found = await read_backfill(engine, "default", run)
    assert found is not None and found["state"] == "cancelled"
    over = await boss.follow(await boss.send(f"/ui/runs/{run}/cancel"))
    assert "was over already" in over.text


async def test_nobody_acts_on_another_tenants_job(api: Api, dsn: str, story: Story) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("select jobsync.add_tenant('other', 'Other Pools', 'a test')")
    stranger = let_in(api, dsn, "admin", name="their.admin", tenant="other")
    assert (await stranger.get("/ui/jobs/5")).status == 404
    assert (await stranger.send("/ui/jobs/5/skip", {"note": "x"})).status == 404
    done = await stranger.send("/ui/jobs/replay", [("job", "3"), ("expected", "1")])
    assert "0 jobs are due again" in (await stranger.follow(done)).text
    assert story.job(3)["ghl_sync_status"] == "failed"
