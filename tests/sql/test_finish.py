"""Booking what came of a send: once, in the right row, and the newest content wins."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.sql.story import INSTALL, SALES, Story, job

LATER, LAST = "2026-03-02T10:00:00Z", "2026-03-03T10:00:00Z"


def due(story: Story, *numbers: int, **more: Any) -> Any:
    destination = story.hook(**more)
    story.live()
    story.parents(*numbers)
    story.page(*(job(number) for number in numbers))
    return destination


def test_accepted_is_synced_with_its_time_pipeline_and_attempt(story: Story) -> None:
    due(story, 1)
    story.claim()
    assert story.finish("accepted", execution_id="exe-1", duration_ms=12, answer="x" * 5000) == {
        "delivered": 1,
        "failed": 0,
        "stale": 0,
    }
    found = story.job(1)
    assert (found["ghl_sync_status"], found["ghl_sync_reason"], found["ghl_sync_error"], found["ghl_version"]) == (
        "synced",
        None,
        None,
        1,
    )
    assert found["ghl_accepted_at"] is not None
    assert found["ghl_verified_at"] is None
    assert found["ghl_opportunity_id"] is None
    assert found["ghl_pipeline"] == "Sales & Service"
    attempt = story.row(
        "select outcome, execution_id, duration_ms, length(answer) as size, status_code from jobsync.attempts"
    )
    assert attempt == {
        "outcome": "accepted",
        "execution_id": "exe-1",
        "duration_ms": 12,
        "size": 2048,
        "status_code": 200,
    }
    assert story.waiting() == []


def test_two_hundred_without_an_id_is_synced_and_flagged_and_never_sent_again(story: Story) -> None:
    due(story, 1)
    assert story.send("accepted_without_id", flags=["no_contact"]) == [1]
    assert (story.status(1), story.job(1)["ghl_sync_flags"]) == (("synced", None), ["no_contact", "no_execution_id"])
    story.pass_time("3 days")
    assert story.claim() == []


def test_a_sample_answer_fails_the_job_pauses_the_hook_and_waits_for_a_replay(story: Story) -> None:
    due(story, 1, 2)
    assert story.claim(limit=1) == [1]
    story.finish("test_only")
    assert story.status(1) == ("failed", "test_only")
    paused = story.row("select paused_at is not null as paused, probe_at, pause_reason from jobsync.destinations")
    assert (paused["paused"], paused["probe_at"], "not saved or not published" in paused["pause_reason"]) == (
        True,
        None,
        True,
    )
    story.pass_time("2 days")
    assert (story.claim(), story.waiting()) == ([], [2])
    assert story.value("select jobsync.replay_jobs('default', '{1}', false, 'a test') -> 'replayed'") == [1]
    assert sorted(story.send()) == [1, 2]
    assert story.job(1)["ghl_version"] == 1


def test_a_refused_body_is_failed_at_once_and_tried_again_when_the_job_changes(story: Story) -> None:
    due(story, 1)
    story.send("rejected", status=422, error="The hook refused the body.")
    assert (story.status(1), story.waiting()) == (("failed", "rejected"), [])
    assert story.job(1)["ghl_sync_error"] == "The hook refused the body."
    story.page(job(1, soldById=1, modifiedOn=LATER))
    assert story.waiting() == []
    story.page(job(1, summary="Shorter", modifiedOn=LAST))
    assert (story.waiting(), story.send(), story.claimed[0]["version"]) == ([1], [1], 2)


def test_the_schedule_of_retries_ends_in_the_dead_letter(story: Story) -> None:
    due(story, 1)
    waits: list[float] = []
    for turn in range(8):
        assert story.send("ambiguous", status=500) == [1], turn
        row = story.outbox(1)
        if row is None:
            break
        wait = story.value("select extract(epoch from next_attempt_at - jobsync.now())::float from jobsync.outbox")
        waits.append(wait)
        assert story.status(1) == ("pending", "retrying")
        story.pass_time(f"{wait - 1} seconds")
        assert story.claim() == []
        story.pass_time("2 seconds")
    assert len(waits) == 7
    for wait, base in zip(waits, (5, 300, 1800, 7200, 18000, 36000, 36000), strict=True):
        assert base <= wait <= base * 1.1
    assert story.status(1) == ("failed", "attempts_used_up")


def test_too_many_requests_burns_no_attempt_and_blocks_the_budget_of_the_hook(story: Story) -> None:
    destination = due(story, 1, 2)
    assert story.claim(limit=1, rate=5) == [1]
    story.finish("rate_limited", status=429, retry_after=30)
    row = story.outbox(1)
    assert row is not None
    assert (row["attempts"], row["flags"], story.status(1)) == (0, [], ("pending", "destination_rate_limited"))
    assert story.claim(rate=5) == []
    wait = story.value("select (jobsync.destination_state('default', %s) ->> 'wait_seconds')::float", destination)
    assert 29 <= wait <= 36, "as long as was asked, and up to a fifth more"
    assert story.value("select slowness from jobsync.budgets") == 0.5
    story.owner(
        "update jobsync.budgets set blocked_until = now() - interval '1 second', refilled_at = refilled_at - interval '10 seconds'"
    )
    assert story.claim(rate=5) == [2]
    assert story.value("select sends from jobsync.send_counts") == 1


def test_what_was_given_back_unsent_is_no_failure_and_keeps_its_turn(story: Story) -> None:
    due(story, 1, 2)
    waited_since = story.value("select max(next_attempt_at) from jobsync.outbox")
    story.pass_time("1 minute")
    assert story.claim() == [1, 2]
    assert story.finish("stopped", retry_after=0.0, requests=0)["failed"] == 0
    # A pass tries what was due when it began: this still is.
    assert story.value("select max(next_attempt_at) from jobsync.outbox") == waited_since
    assert story.claim() == [1, 2]


@pytest.mark.parametrize("outcome", ["unauthorized", "gone", "unsent"])
def test_five_refusals_in_a_row_pause_the_hook_which_is_probed_every_minute(story: Story, outcome: str) -> None:
    due(story, *range(1, 8))
    for number in range(1, 6):
        assert story.claim(limit=1) == [number]
        story.finish(outcome, status=404)
    assert story.claim() == []
    assert story.value("select count(*) from jobsync.list_due_destinations()") == 0
    story.pass_time("61 seconds")
    assert story.value("select count(*) from jobsync.list_due_destinations()") == 1
    assert len(story.claim()) == 1
    story.finish(outcome, status=404)
    assert (story.claim(), story.value("select max(attempts) from jobsync.outbox")) == ([], 0)
    story.pass_time("61 seconds")
    assert len(story.claim()) == 1
    story.finish()
    assert story.row("select paused_at, probe_at, failures_in_row from jobsync.destinations") == {
        "paused_at": None, "probe_at": None, "failures_in_row": 0,
    }  # fmt: skip
    story.pass_time("6 seconds")
    assert len(story.claim()) == 6


def test_an_accepted_send_between_refusals_starts_the_count_again(story: Story) -> None:
    due(story, *range(1, 12))
    for number in range(1, 10):
        assert story.claim(limit=1) == [number]
        story.finish("accepted" if number == 5 else "gone", status=404)
    assert story.value("select paused_at is null and failures_in_row = 4 from jobsync.destinations") is True


@pytest.mark.parametrize(("events", "left"), [("created", []), ("all", [1])])
def test_a_change_during_the_send_leaves_one_update_for_all_and_none_for_created(
    story: Story, events: str, left: list[int]
) -> None:
    due(story, 1, events=events)
    story.claim()
    in_flight = story.claimed
    story.page(job(1, summary="During", modifiedOn=LATER))
    story.page(job(1, summary="During, again", modifiedOn=LAST))
    assert story.claim() == []
    story.finish(claimed=in_flight)
    assert story.waiting() == left
    if left:
        assert story.status(1) == ("pending", "update")
        assert story.send() == [1]
        assert (story.claimed[0]["summary"], story.claimed[0]["event"]) == ("During, again", "updated")
    assert (story.status(1), story.waiting(), story.claim()) == (("synced", None), [], [])


def test_a_change_and_back_during_the_send_is_settled_without_sending(story: Story) -> None:
    due(story, 1, events="all")
    story.claim()
    in_flight = story.claimed
    story.page(job(1, summary="During", modifiedOn=LATER))
    story.page(job(1, modifiedOn=LAST))
    story.finish(claimed=in_flight)
    assert (story.claim(), story.status(1), story.waiting()) == ([], ("synced", None), [])


@pytest.mark.parametrize("events", ["created", "all"])
def test_a_refused_body_with_newer_content_waiting_is_tried_with_that_content(story: Story, events: str) -> None:
    due(story, 1, events=events)
    story.claim()
    in_flight = story.claimed
    story.page(job(1, summary="Shorter", modifiedOn=LATER))
    story.finish("rejected", claimed=in_flight, status=413)
    assert story.status(1) == ("pending", None)
    assert story.send() == [1]
    assert (story.claimed[0]["version"], story.claimed[0]["summary"], story.status(1)) == (
        2,
        "Shorter",
        ("synced", None),
    )


def test_an_ambiguous_send_with_newer_content_goes_on_with_the_newer(story: Story) -> None:
    due(story, 1, events="all")
    story.claim()
    in_flight = story.claimed
    story.page(job(1, summary="Newer", modifiedOn=LATER))
    story.finish("ambiguous", claimed=in_flight, status=502)
    story.pass_time("6 seconds")
    assert story.send() == [1]
    assert (story.claimed[0]["summary"], story.claimed[0]["attempts"]) == ("Newer", 1)
    assert (story.status(1), story.job(1)["ghl_sync_flags"], story.waiting()) == (("synced", None), ["ambiguous"], [])


@pytest.mark.parametrize("late", ["before the second try ends", "after the second try gave it back"])
@pytest.mark.parametrize("outcome", ["stopped", "ambiguous", "rate_limited"])
def test_an_answer_that_came_after_its_lease_is_known_and_nothing_is_sent_again(
    story: Story, outcome: str, late: str
) -> None:
    """Found by simulated world 585: accepted late, given back by the worker after it, and sent a second time."""
    due(story, 1)
    story.claim()
    first = story.claimed
    story.pass_time("2 minutes")
    assert story.claim() == [1]
    if late.startswith("before"):
        assert story.finish(claimed=first)["stale"] == 1
        story.finish(outcome, retry_after=0.0, requests=0)
    else:
        story.finish(outcome, retry_after=0.0, requests=0)
        assert story.finish(claimed=first)["delivered"] == 1
    story.pass_time("1 day")
    assert story.claim() == []
    assert (story.status(1), story.job(1)["ghl_sync_flags"]) == (("synced", None), ["ambiguous"])


def test_a_stale_result_changes_nothing_but_its_attempt(story: Story) -> None:
    due(story, 1)
    story.claim(lease=1)
    first = story.claimed
    story.pass_time("2 seconds")
    story.claim()
    second = story.claimed
    before = story.traces()
    assert story.finish("rejected", claimed=first) == {"delivered": 0, "failed": 0, "stale": 1}
    assert story.traces() == before
    story.finish(claimed=second)
    assert story.status(1) == ("synced", None)


@pytest.mark.parametrize("outcome", ["accepted", "ambiguous", "rate_limited", "gone", "rejected", "test_only"])
def test_a_result_booked_twice_counts_once(story: Story, outcome: str) -> None:
    due(story, 1, 2, events="all")
    story.claim()
    story.finish(outcome, retry_after=60)
    before = story.traces()
    counts = story.rows("select sends from jobsync.send_counts")
    assert story.finish(outcome, retry_after=60) == {"delivered": 0, "failed": 0, "stale": 2}
    assert story.traces() == before
    assert story.rows("select sends from jobsync.send_counts") == counts


@pytest.mark.parametrize("outcome", ["ambiguous", "unsent"])
def test_a_unit_that_went_to_somebody_else_during_the_send_is_not_tried_again(story: Story, outcome: str) -> None:
    due(story, 1)
    story.claim()
    story.route(SALES, "external")
    story.finish(outcome)
    story.pass_time("1 day")
    assert (story.claim(), story.waiting()) == ([], [])
    assert [row["st_job_id"] for row in story.owner("select st_job_id from jobs_pending_ghl_sync")] == [1]


def test_a_unit_switched_off_during_the_send_is_not_tried_again(story: Story) -> None:
    due(story, 1)
    story.claim()
    story.route(SALES, sync_to_ghl=False)
    story.finish("ambiguous")
    assert (story.status(1), story.waiting()) == (("skipped", "unit_off"), [])


def test_a_job_marked_by_hand_during_the_send_keeps_that_mark(story: Story) -> None:
    due(story, 1)
    story.claim()
    story.rows("select * from jobsync.mark_job('default', 1, 'synced', null, null)")
    story.finish("ambiguous")
    assert (story.status(1), story.waiting()) == (("synced", None), [])


def test_a_group_with_mixed_answers_is_booked_row_by_row(story: Story) -> None:
    due(story, 1, 2, 3, 4)
    story.claim()
    story.finish("accepted", only=[1])
    report = story.finish("rejected", only=[2, 3])
    assert report == {"delivered": 0, "failed": 2, "stale": 0}
    story.finish("ambiguous", only=[4])
    assert [story.status(number)[0] for number in (1, 2, 3, 4)] == ["synced", "failed", "failed", "pending"]


@pytest.mark.parametrize("before", [None, "rate_limited", "unavailable"])
def test_a_group_that_is_all_accepted_ends_as_each_job_does_that_is_judged_beside_others(
    story: Story, before: str | None
) -> None:
    # The first goes the short way that nearly all go; the second, beside a refused one, the long way.
    due(story, 1, 2, 3)
    if before is not None:
        story.send(before)
        story.pass_time("10 minutes")
    story.claim()
    answered = {"execution_id": "exe-1", "duration_ms": 12, "answer": "queued", "requests": 2}
    assert story.finish(only=[1], **answered)["delivered"] == 1
    by_job = {row["st_job_id"]: row for row in story.claimed}
    mixed = [by_job[2], by_job[3]]
    keys = ("attempt_id", "st_job_id", "fence")
    story.value(
        "select jobsync.finish_deliveries('default', %s, %s)",
        mixed[0]["to"],
        Jsonb(
            [
                {key: row[key] for key in keys} | {"outcome": outcome, "status": 200, **answered}
                for row, outcome in zip(mixed, ("accepted", "rejected"), strict=True)
            ]
        ),
    )
    assert [story.status(number)[0] for number in (1, 2, 3)] == ["synced", "synced", "failed"]

    def booked(number: int) -> list[Any]:
        job_row = {name: value for name, value in story.job(number).items() if name.startswith("ghl_")}
        facts = "select delivered_at, told_as from jobsync.delivered_facts where st_job_id = %s"
        tried = (
            "select version, event, outcome, status_code, requests, duration_ms, execution_id, answer, error, finished_at"
            " from jobsync.attempts where st_job_id = %s order by id"
        )
        same = "select delivered_hash = job_hash as same from public.jobs where st_job_id = %s"
        return [job_row, story.rows(facts, number), story.rows(tried, number), story.value(same, number)]

    assert booked(1) == booked(2)
    assert story.waiting() == []


def test_replay_takes_failed_jobs_and_only_by_force_delivered_ones(story: Story) -> None:
    due(story, 1, 2)
    story.hook(INSTALL)
    story.claim()
    story.finish(only=[1])
    story.finish("rejected", only=[2])
    ask = "select jobsync.replay_jobs('default', '{1,2,77}', %s, 'a test')"
    assert story.value(ask, False) == {"asked": 3, "replayed": [2]}
    sales = story.value("select destination_id from jobsync.routes where st_business_unit_id = %s", SALES)
    assert story.claim(sales) == [2]
    assert story.value(ask, True)["replayed"] == [1]
    story.finish()
    assert story.claim(sales) == [1]
    assert (story.claimed[0]["event"], story.claimed[0]["version"]) == ("replayed", 2)
    story.finish()
    assert (story.status(1), story.status(2)) == (("synced", None), ("synced", None))


def test_replay_sends_nothing_of_a_unit_that_is_off(story: Story) -> None:
    due(story, 1)
    story.send("rejected")
    story.owner("update business_units set sync_to_ghl = false")
    assert story.value("select jobsync.replay_jobs('default', '{1}', true, 'a test') -> 'replayed'") == []
