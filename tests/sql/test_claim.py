"""Claiming: who may send what, in which order, and never two the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.sql.story import INSTALL, SALES, Story, job, told


def ready(story: Story, *numbers: int, **more: Any) -> Any:
    """Routed, live, parents read, stored: due now."""
    destination = story.hook(**more)
    story.live()
    story.parents(*numbers)
    story.page(*(job(number) for number in numbers))
    return destination


def test_a_claim_opens_an_attempt_and_carries_the_whole_projection(story: Story) -> None:
    ready(story, 1)
    assert story.claim() == [1]
    (row,) = story.claimed
    assert (row["version"], row["event"], row["fence"], row["attempts"]) == (1, "created", 1, 1)
    assert (row["customer_name"], row["city"], row["business_unit_name"], row["summary"]) == (
        "Ada Lovelace", "Springfield", "Sales & Service", "Pump is loud",
    )  # fmt: skip
    attempt = story.row("select * from jobsync.attempts")
    assert (attempt["id"], attempt["delivery_id"], attempt["outcome"]) == (row["attempt_id"], row["delivery_id"], None)
    assert story.claim() == []


def test_oldest_first_and_no_more_than_asked(story: Story) -> None:
    ready(story, 3)
    story.pass_time("1 second")
    story.parents(1, 2)
    story.page(job(1), job(2))
    assert story.claim(limit=2) == [3, 1]
    assert story.claim(limit=2) == [2]


def test_jobs_of_one_customer_go_one_after_another_also_over_two_hooks(story: Story) -> None:
    sales = ready(story, 1, 2)
    install = story.hook(INSTALL)
    same = {"customerId": 601, "locationId": 701}
    story.page(job(3, **same), job(4, businessUnitId=INSTALL, **same))
    assert story.claim(sales) == [1, 2]
    assert (story.claim(sales), story.claim(install)) == ([], [])
    story.claim(sales)
    first = story.rows("select id as attempt_id, st_job_id from jobsync.attempts where st_job_id = 1")
    story.finish(claimed=[{**first[0], "fence": 1, "to": sales}])
    assert story.claim(install) == [4]
    assert story.claim(sales) == []
    story.finish(
        claimed=[
            {
                "attempt_id": story.value("select max(id) from jobsync.attempts"),
                "st_job_id": 4,
                "fence": 1,
                "to": install,
            }
        ]
    )
    assert story.claim(sales) == [3]


def test_a_customer_with_hundreds_of_jobs_does_not_hold_up_the_others(story: Story) -> None:
    ready(story, 1)
    story.page(*(job(number, customerId=601, locationId=701) for number in range(2, 400)))
    story.pass_time("1 second")
    story.parents(*range(1001, 1011))
    story.page(*(job(number) for number in range(1001, 1011)))
    assert story.claim(limit=8) == [1, *range(1001, 1008)]


def test_nothing_is_claimed_unless_live_and_unpaused(story: Story) -> None:
    destination = ready(story, 1)
    due = "select count(*) from jobsync.list_due_destinations()"
    story.value("select jobsync.pause_tenant('default', 'stop', 'a test')")
    assert (story.claim(), story.value(due)) == ([], 0)
    assert story.value("select jobsync.destination_state('default', %s) ->> 'refusal'", destination) == "paused"
    story.value("select jobsync.resume_tenant('default', null, 'a test')")
    for mode in ("observe", "shadow"):
        story.rows("select jobsync.set_mode('default', %s, null, 'a test')", mode)
        assert (story.claim(), story.value(due)) == ([], 0)
    story.rows("select jobsync.set_mode('default', 'live', null, 'a test')")
    assert (story.value(due), story.claim()) == (1, [1])


def test_the_budget_paces_the_claims(story: Story) -> None:
    destination = ready(story, *range(1, 21))
    # So slow that the time which the test itself takes grants nothing.
    assert len(story.claim(rate=0.005, burst=5)) == 5
    assert story.claim(rate=0.005, burst=5) == []
    wait = story.value("select (jobsync.destination_state('default', %s) ->> 'wait_seconds')::float", destination)
    assert 0 < wait <= 200
    story.owner("update jobsync.budgets set refilled_at = refilled_at - interval '610 seconds'")
    assert len(story.claim(rate=0.005, burst=5)) == 3
    assert story.value("select sends from jobsync.send_counts") == 8


def test_a_lease_that_runs_out_is_claimed_again_flagged_ambiguous(story: Story) -> None:
    ready(story, 1)
    story.claim(lease=60)
    dead = story.claimed
    story.pass_time("59 seconds")
    assert story.claim() == []
    story.pass_time("2 seconds")
    assert story.claim() == [1]
    row = story.outbox(1)
    assert row is not None
    assert (row["fence"], row["attempts"], row["rescues"], row["flags"]) == (2, 2, 1, ["ambiguous"])
    assert story.finish(claimed=dead)["stale"] == 1
    assert story.status(1) == ("pending", None)
    story.claimed = [{**dead[0], "fence": 2, "attempt_id": story.value("select max(id) from jobsync.attempts")}]
    story.finish()
    assert (story.status(1), story.job(1)["ghl_sync_flags"]) == (("synced", None), ["ambiguous"])
    assert [row["outcome"] for row in story.rows("select outcome from jobsync.attempts order by id")] == [
        "accepted",
        "accepted",
    ]


def test_what_was_accepted_late_is_not_sent_again_when_the_worker_after_it_died_too(story: Story) -> None:
    ready(story, 1)
    story.claim(lease=60)
    late = story.claimed
    story.pass_time("61 seconds")
    assert story.claim() == [1]
    assert story.finish(claimed=late)["stale"] == 1
    story.pass_time("61 seconds")
    assert story.claim() == []
    found = story.job(1)
    assert (story.status(1), found["ghl_sync_flags"], found["ghl_version"]) == (("synced", None), ["ambiguous"], 1)
    assert (story.outbox(1), found["delivered_hash"]) == (None, found["job_hash"])


def test_a_forced_replay_goes_out_again_although_the_version_was_accepted_before(story: Story) -> None:
    ready(story, 1)
    story.send()
    story.pass_time("1 second")
    story.value("select jobsync.replay_jobs('default', array[1]::bigint[], true, 'test')")
    assert story.claim() == [1]
    story.pass_time("61 seconds")
    assert story.claim() == [1]


def test_five_deaths_and_the_job_is_set_aside(story: Story) -> None:
    ready(story, 1, 2)
    for death in range(5):
        assert story.claim() == [1, 2] if death == 0 else story.claim() == [1]
        if death == 0:
            story.finish(only=[2])
        story.pass_time("61 seconds")
    assert story.claim() == []
    assert (story.status(1), story.waiting()) == (("failed", "worker_died"), [])
    assert story.value("select jobsync.replay_jobs('default', '{1}', false, 'a test') -> 'replayed'") == [1]
    assert story.claim() == [1]


def test_a_job_that_kills_its_workers_takes_no_other_down_with_it(story: Story) -> None:
    ready(story, 1, 2, 3)
    for _ in range(2):
        assert story.claim() == [1, 2, 3], "killed before anything was booked"
        story.pass_time("61 seconds")
    # From now on each of them goes alone.
    assert story.claim() == [1]
    for innocent in (2, 3):
        assert story.claim() == [innocent]
        story.finish()
    for _ in range(2):
        story.pass_time("61 seconds")
        assert story.claim() == [1]
    story.pass_time("61 seconds")
    assert story.claim() == []
    assert story.status(1) == ("failed", "worker_died")
    assert story.status(2) == story.status(3) == ("synced", None)


def test_the_stable_id_of_a_delivery_is_the_same_at_every_try_and_another_for_another_version(story: Story) -> None:
    ready(story, 1, events="all")
    ids = []
    for summary in ("Pump is loud", "Changed"):
        story.page(
            job(
                1,
                summary=summary,
                modifiedOn="2026-03-02T10:00:00Z" if summary == "Changed" else "2026-03-01T10:00:00Z",
            )
        )
        story.claim()
        ids.append(story.claimed[0]["delivery_id"])
        story.finish("ambiguous")
        story.pass_time("6 seconds")
        story.claim()
        ids.append(story.claimed[0]["delivery_id"])
        story.finish()
    assert ids[0] == ids[1]
    assert ids[2] == ids[3]
    assert ids[0] != ids[2]


def test_a_unit_that_is_not_armed_is_not_claimed(story: Story) -> None:
    ready(story, 1)
    story.owner("update jobsync.routes set armed = false")
    assert (story.claim(), story.value("select count(*) from jobsync.list_due_destinations()")) == ([], 0)
    assert story.waiting() == [1]


@pytest.mark.anyio
async def test_eight_claimers_at_the_same_time_never_get_the_same_job(dsn: str) -> None:
    """Real sessions, 20 rounds each: claim some, finish some; all rows go out once."""
    with told(dsn) as story:
        hooks = [story.hook(SALES), story.hook(INSTALL)]
        story.live()
        story.page(
            *(
                job(n, customerId=601 + n % 200, locationId=701, businessUnitId=(SALES, INSTALL)[n % 2])
                for n in range(600)[1:]
            )
        )
        story.owner("delete from jobsync.wanted")
        story.value("select jobsync.resolve_wanted('default')")
        story.connection.commit()
    taken: Counter[int] = Counter()
    in_flight: Counter[int] = Counter()

    async def work(number: int) -> None:
        async with await psycopg.AsyncConnection[dict[str, Any]].connect(
            dsn, autocommit=True, row_factory=dict_row
        ) as connection:
            for turn in range(20):
                hook = hooks[(number + turn) % 2]
                async with connection.transaction():
                    await connection.execute(
                        "select set_config('role', 'jobsync_app', true), set_config('jobsync.tenant', 'default', true)"
                    )
                    cursor = await connection.execute(
                        "select c.attempt_id, c.fence, (c.projection).st_job_id, (c.projection).st_customer_id "
                        "from jobsync.claim_deliveries('default', %s, 16, 60, 0, 1) c",
                        (hook,),
                    )
                    rows = await cursor.fetchall()
                for row in rows:
                    taken[row["st_job_id"]] += 1
                    in_flight[row["st_customer_id"]] += 1
                    assert in_flight[row["st_customer_id"]] == 1
                if not rows:
                    continue
                results = [
                    {key: row[key] for key in ("attempt_id", "st_job_id", "fence")} | {"outcome": "accepted"}
                    for row in rows
                ]
                # Free for others only once the answer is booked; what they claim meanwhile is checked above.
                async with connection.transaction():
                    await connection.execute(
                        "select set_config('role', 'jobsync_app', true), set_config('jobsync.tenant', 'default', true)"
                    )
                    await connection.execute(
                        "select jobsync.finish_deliveries('default', %s, %s)", (hook, Jsonb(results))
                    )
                    for row in rows:
                        in_flight[row["st_customer_id"]] -= 1

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(work, number)
    assert set(taken.values()) == {1}
    assert len(taken) > 500
