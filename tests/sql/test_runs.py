"""Runs: opened when work starts, always closed, one row a pass and one a run of drains."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.sql.story import Story, job

FINISH = "select jobsync.finish_stream('default', %s, %s, %s, %s)"


def run(story: Story, number: Any) -> dict[str, Any]:
    return story.row("select * from sync_logs where id = %s", number)


def test_a_pass_is_closed_by_its_last_stream_with_the_counts_of_jobs(story: Story) -> None:
    number = story.value("select jobsync.open_pass('default', '{jobs,customers}', 'schedule')")
    opened = run(story, number)
    assert (opened["sync_type"], opened["status"], opened["completed_at"]) == ("job_pull", "running", None)
    assert opened["metadata"]["streams"] == {"jobs": {"status": "waiting"}, "customers": {"status": "waiting"}}
    counts = {"pulled": 7, "stored": 4, "unchanged": 2, "quarantined": 1}
    assert story.value(FINISH, number, "jobs", Jsonb(counts), None) is False
    story.pass_time("2 seconds")
    assert story.value(FINISH, number, "customers", Jsonb({}), None) is True
    closed = run(story, number)
    assert (closed["status"], closed["records_processed"], closed["records_succeeded"], closed["records_failed"]) == (
        "completed",
        7,
        6,
        1,
    )
    assert closed["duration_ms"] == 2000


def test_a_failed_stream_fails_the_pass_and_says_which_and_why(story: Story) -> None:
    number = story.value("select jobsync.open_pass('default', '{jobs,customers}', 'schedule')")
    story.value(FINISH, number, "customers", Jsonb({}), "ServiceTitan is down")
    assert story.value(FINISH, number, "jobs", Jsonb({"pulled": 1, "stored": 1}), None) is True
    closed = run(story, number)
    assert (closed["status"], closed["error_message"]) == ("failed", "customers: ServiceTitan is down")


def test_finishing_a_stream_of_a_closed_pass_changes_nothing(story: Story) -> None:
    number = story.value("select jobsync.open_pass('default', '{jobs}', 'schedule')")
    story.value(FINISH, number, "jobs", Jsonb({"pulled": 1}), None)
    before = story.traces("public.sync_logs")
    assert story.value(FINISH, number, "jobs", Jsonb({"pulled": 9}), None) is False
    assert story.traces("public.sync_logs") == before


def test_a_run_whose_process_died_is_closed_as_abandoned_and_a_callers_own_is_not(story: Story) -> None:
    number = story.value("select jobsync.open_pass('default', '{jobs}', 'schedule')")
    story.owner("insert into sync_logs (sync_type, status) values ('mine', 'running')")
    story.owner('update sync_logs set metadata = metadata || \'{"alive_s": "not a number"}\'')
    assert story.value("select jobsync.abandon_runs('default', interval '1 hour')") == 0
    story.pass_time("2 hours")
    assert story.value("select jobsync.abandon_runs('default', interval '1 hour')") == 1
    assert (run(story, number)["status"], run(story, number)["error_message"]) == ("failed", "abandoned")
    assert story.value("select status from sync_logs where sync_type = 'mine'") == "running"


def test_drains_at_the_same_time_share_one_row_which_the_last_one_closes(story: Story) -> None:
    story.hook()
    story.live()
    story.parents(1, 2)
    story.page(job(1), job(2))
    report = "select jobsync.report_delivery_run('default', %s, %s, %s, %s, %s)"
    story.claim(limit=1)
    number = story.value("select jobsync.open_delivery_run('default')")
    assert story.value("select jobsync.open_delivery_run('default')") == number
    assert story.value(report, number, 0, 0, None, True) is False
    story.finish()
    story.send("rejected")
    assert story.value(report, number, 1, 1, "refused", True) is True
    closed = run(story, number)
    assert (closed["status"], closed["records_processed"], closed["records_succeeded"], closed["records_failed"]) == (
        "completed",
        2,
        1,
        1,
    )
    assert story.value("select jobsync.open_delivery_run('default')") != number


@pytest.mark.parametrize(
    ("delivered", "failed", "status"), [(0, 3, "failed"), (1, 3, "completed"), (0, 0, "completed")]
)
def test_a_run_of_drains_has_failed_only_when_nothing_was_delivered(
    story: Story, delivered: int, failed: int, status: str
) -> None:
    number = story.value("select jobsync.open_delivery_run('default')")
    story.value("select jobsync.report_delivery_run('default', %s, %s, %s, null, true)", number, delivered, failed)
    assert run(story, number)["status"] == status


def test_a_cursor_that_another_run_moved_is_not_moved_again(story: Story) -> None:
    story.value("select (jobsync.read_cursor('default', 'jobs', 'export', null)).revision")
    move = "select jobsync.move_cursor('default', 'jobs', %s, 'export', %s, null, false)"
    assert story.value(move, 0, "a") == 1
    assert story.refusal(move, 0, "b").sqlstate == "JS002"
    assert story.row("select token, revision from jobsync.cursors") == {"token": "a", "revision": 1}


def test_reading_a_cursor_twice_makes_it_once(story: Story) -> None:
    read = "select (jobsync.read_cursor('default', 'jobs', %s, %s)).*"
    first = story.row(read, "list", "2025-01-01T00:00:00Z")
    assert story.row(read, "export", None) == first
    assert (first["mode"], first["since"], first["complete_from_start"]) == ("list", "2025-01-01T00:00:00Z", False)


def test_two_schedulers_never_take_the_same_tenant(story: Story) -> None:
    claim = "select tenant_id from jobsync.claim_due_tenants('{default}')"
    assert story.rows(claim) == [{"tenant_id": "default"}]
    assert story.rows(claim) == []
    story.pass_time("6 minutes")
    assert len(story.rows(claim)) == 1
