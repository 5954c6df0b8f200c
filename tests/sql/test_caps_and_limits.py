"""Caps, the limited arm and the record cap: how much may leave before a person is asked."""

from __future__ import annotations

from typing import Any

from tests.sql.story import Story, job


def due(story: Story, count: int, **more: Any) -> Any:
    destination = story.hook(**more)
    story.live()
    numbers = range(1, count + 1)
    story.parents(*numbers)
    story.page(*(job(number) for number in numbers))
    return destination


def sends(story: Story) -> int:
    return story.value("select coalesce(sum(sends), 0) from jobsync.send_counts")


def test_the_cap_of_the_hour_is_exact_and_disarms(story: Story) -> None:
    due(story, 10)
    story.arm(cap_hour=4)
    assert len(story.claim(limit=3)) == 3
    story.finish()
    assert (len(story.claim()), story.mode()) == (1, "live")
    story.finish()
    assert (story.claim(), story.mode()) == ([], "observe")
    assert story.value("select mode_reason from jobsync.tenants") == "cap_hour"
    assert (
        story.value("select details ->> 'reason' from jobsync.audit where action = 'mode_set' order by id desc limit 1")
        == "cap_hour"
    )
    story.pass_time("1 hour")
    assert story.claim() == []
    story.arm()
    assert len(story.claim()) == 4


def test_the_cap_of_the_day_counts_the_last_twenty_four_hours(story: Story) -> None:
    due(story, 10)
    story.arm(cap_hour=0, cap_day=5)
    assert len(story.claim(limit=3)) == 3
    story.finish()
    story.pass_time("2 hours")
    assert len(story.claim()) == 2
    story.finish()
    assert (story.claim(), story.mode()) == ([], "observe")
    assert story.value("select mode_reason from jobsync.tenants") == "cap_day"


def test_caps_of_zero_are_none(story: Story) -> None:
    due(story, 10)
    story.arm(cap_hour=0, cap_day=0)
    assert len(story.claim()) == 10


def test_reaching_the_cap_with_nothing_left_disarms_nobody(story: Story) -> None:
    due(story, 4)
    story.arm(cap_hour=4)
    assert len(story.send()) == 4
    assert (story.claim(), story.mode()) == ([], "live")


def test_sends_that_were_not_executed_are_given_back(story: Story) -> None:
    due(story, 6)
    story.arm(cap_hour=4)
    for outcome, left in (("rejected", 0), ("gone", 0), ("unsent", 0), ("rate_limited", 0)):
        assert len(story.claim(limit=1)) == 1
        assert sends(story) == 1
        story.finish(outcome, retry_after=1)
        assert sends(story) == left
    assert story.mode() == "live"


def test_a_send_given_back_after_the_hour_turned_goes_back_to_its_own_hour(story: Story) -> None:
    due(story, 1)
    story.claim()
    story.pass_time("1 hour")
    story.finish("rejected")
    assert sends(story) == 0


def test_an_ambiguous_send_stays_counted_and_its_retries_are_not_counted_again(story: Story) -> None:
    due(story, 2)
    story.arm(cap_hour=1)
    assert story.claim(limit=1) == [1]
    story.finish("ambiguous")
    assert sends(story) == 1
    story.owner("delete from jobsync.outbox where st_job_id = 2")
    story.pass_time("6 seconds")
    assert story.claim() == [1]
    story.finish()
    assert (sends(story), story.mode(), story.status(1)) == (1, "live", ("synced", None))


def test_a_worker_that_dies_does_not_use_up_the_cap(story: Story) -> None:
    due(story, 1)
    for _ in range(3):
        story.claim(lease=1)
        story.pass_time("2 seconds")
    assert sends(story) == 1


def test_a_send_given_back_beside_one_that_may_have_been_executed_stays_counted(story: Story) -> None:
    """Found by simulated world 55: the try before was accepted after all, and the caps had counted none of both."""
    due(story, 1)
    story.claim(lease=1)
    first = story.claimed
    story.pass_time("2 seconds")
    assert story.claim() == [1]
    story.finish("unsent", retry_after=1)
    assert sends(story) == 1
    story.finish(claimed=first)
    assert (sends(story), story.status(1)) == (1, ("synced", None))


def test_a_send_that_was_refused_for_now_is_counted_once_when_it_is_accepted(story: Story) -> None:
    due(story, 1)
    story.claim()
    story.finish("unavailable")
    story.pass_time("10 seconds")
    assert story.claim() == [1]
    story.finish()
    assert (sends(story), story.status(1)) == (1, ("synced", None))


def test_what_changed_after_its_worker_died_is_another_version_and_counts(story: Story) -> None:
    """Found by simulated world 392: the first send was accepted after its lease, and the caps had counted one of two."""
    due(story, 1)
    story.claim()
    story.page(job(1, summary="Pump is louder"))
    story.pass_time("2 minutes")
    story.claim()
    assert (sends(story), story.value("select version from jobsync.outbox")) == (2, 2)
    story.pass_time("2 minutes")
    story.claim()
    assert sends(story) == 2, "its second try is free"


def test_arm_limit_sends_exactly_that_many(story: Story) -> None:
    due(story, 30)
    story.value("select jobsync.disarm_tenant('default', null, 'a test')")
    assert story.arm(limit=10)["limit"] == 10
    assert len(story.claim(limit=7)) == 7
    story.finish(only=range(1, 6))
    story.finish("rejected", only=[6, 7])
    assert len(story.claim()) == 5
    story.finish()
    assert (story.claim(), story.mode()) == ([], "live")
    assert story.value("select arm_remaining from jobsync.tenants") == 0
    assert story.value("select count(*) from jobsync.list_due_destinations()") == 0
    story.arm()
    assert len(story.claim()) == 18


def test_the_last_of_a_limited_arm_is_still_tried_again(story: Story) -> None:
    destination = due(story, 3)
    story.arm(limit=1)
    story.send("ambiguous")
    story.pass_time("6 seconds")
    assert story.value("select count(*) from jobsync.list_due_destinations()") == 1
    assert story.send() == [1]
    assert (story.claim(), story.value("select arm_remaining from jobsync.tenants")) == ([], 0)
    assert story.value("select jobsync.destination_state('default', %s) ->> 'refusal'", destination) == "limit_reached"


def test_the_limit_of_an_arm_comes_before_the_cap_and_disarms_nobody(story: Story) -> None:
    due(story, 5)
    story.arm(limit=2, cap_hour=2)
    assert len(story.send()) == 2
    assert (story.claim(), story.mode()) == ([], "live")


def test_one_record_that_changes_all_day_is_held_until_tomorrow_and_others_go(story: Story) -> None:
    due(story, 1, events="all")
    assert story.send() == [1]
    minute = 0
    while True:
        minute += 1
        story.page(job(1, summary=f"Change {minute}", modifiedOn=f"2026-03-02T10:{minute:02}:00Z"))
        story.parents(100 + minute)
        story.page(job(100 + minute))
        sent = story.send()
        assert 100 + minute in sent
        if 1 not in sent:
            break
    assert minute == 5
    row = story.outbox(1)
    assert row is not None
    assert row["waiting_for"] == "record_cap"
    assert (
        story.value(
            "select next_attempt_at = date_trunc('day', jobsync.now(), 'UTC') + interval '1 day' from jobsync.outbox"
        )
        is True
    )
    story.pass_time("1 day")
    assert story.send() == [1]
    assert story.claimed[0]["summary"] == "Change 5"


def test_the_environment_sets_the_first_mode_and_later_only_lowers_it(story: Story) -> None:
    initialise = "select mode, deliver_from, cap_hour from jobsync.initialise_tenant('default', %s, %s, 60, 7, null)"
    found = story.row(initialise, "live", None)
    assert (found["mode"], found["deliver_from"] is not None, found["cap_hour"]) == ("live", True, 7)
    assert story.row(initialise, "observe", None)["mode"] == "observe"
    assert story.row(initialise, "live", None)["mode"] == "observe"
    assert story.row(initialise, None, "2001-01-01T00:00:00Z")["deliver_from"] == found["deliver_from"]


def test_initialising_twice_writes_nothing(story: Story) -> None:
    story.live()
    before = story.traces("jobsync.tenants", "jobsync.audit")
    story.live()
    assert story.traces("jobsync.tenants", "jobsync.audit") == before
