"""The guide's three functions and what the /db endpoints call."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.sql.story import SALES, Story, customer, job

GUIDE_CUSTOMER = {"customerId": 601, "firstName": "Ada", "lastName": "Lovelace", "phone": "+16025550101"}


def test_upsert_job_from_st_answers_the_id_of_the_row(story: Story) -> None:
    found = story.owner("select upsert_job_from_st(%s, %s) as id", Jsonb(job(1)), Jsonb(GUIDE_CUSTOMER))
    assert found[0]["id"] == story.job(1)["id"]
    again = story.owner("select upsert_job_from_st(%s, %s) as id", Jsonb(job(1)), Jsonb(GUIDE_CUSTOMER))
    assert again == found


@pytest.mark.parametrize(
    ("body", "who", "message"),
    [
        (None, GUIDE_CUSTOMER, "job is missing or not an object"),
        (job(1), None, "customer is missing or not an object"),
        ([1], GUIDE_CUSTOMER, "job is missing or not an object"),
        ({"jobNumber": "1"}, GUIDE_CUSTOMER, "job.id must be a positive whole number"),
        (job(1, id="abc"), GUIDE_CUSTOMER, "job.id must be a positive whole number"),
        (job(1), {"firstName": "Ada"}, "customer.customerId (or customer.id) must be a positive whole number"),
    ],
)
def test_what_is_missing_is_named(story: Story, body: Any, who: Any, message: str) -> None:
    error = story.refusal("select upsert_job_from_st(%s, %s)", Jsonb(body), Jsonb(who))
    assert (error.sqlstate, error.diag.message_primary) == ("JS001", message)


def test_one_bad_item_never_fails_the_others(story: Story) -> None:
    report = story.upsert(
        (job(1), GUIDE_CUSTOMER), (None, None), ({"id": "x"}, GUIDE_CUSTOMER), (job(2), {"customerId": 602}), ([], {})
    )
    assert (report["total"], report["succeeded"], report["failed"]) == (5, 2, 3)
    assert [(row["stJobId"], row["success"]) for row in report["results"]] == [(1, True), (2, True)]
    assert [row["index"] for row in report["errors"]] == [1, 2, 4]
    assert report["results"][0]["dbJobId"] == str(story.job(1)["id"])


def test_items_that_are_no_objects_are_errors_not_failures(story: Story) -> None:
    answer = story.value("select jobsync.upsert_items('default', %s)", Jsonb([1, "x", None, [], {"job": 1}, {}]))
    assert (answer["succeeded"], answer["failed"]) == (0, 6)


def test_a_batch_twice_changes_nothing(story: Story) -> None:
    items = [(job(number), {"customerId": 600 + number, "firstName": "Ada"}) for number in range(1, 20)]
    story.upsert(*items)
    before = story.traces()
    assert story.upsert(*items)["succeeded"] == 19
    assert story.traces() == before


def test_a_field_of_the_wrong_kind_is_left_out_with_a_warning(story: Story) -> None:
    report = story.upsert(
        (job(1, total="free", createdOn="soon"), {"customerId": 601, "address": "1 Pool Lane", "firstName": "Ada"})
    )
    assert report["results"][0]["warnings"] == ["job.createdOn", "job.total", "customer.address"]
    assert (story.job(1)["total"], story.job(1)["summary"]) == (None, "Pump is loud")


def test_a_job_without_a_customer_id_gets_the_one_of_its_customer(story: Story) -> None:
    story.upsert((job(1, customerId=...), customer(650)), (job(2, customerId=640), {"customerId": 602}))
    assert (story.job(1)["st_customer_id"], story.job(2)["st_customer_id"]) == (650, 640)


def test_a_customer_in_servicetitans_form_is_stored_under_the_id_the_job_is_linked_to(story: Story) -> None:
    story.upsert((job(1, customerId=...), {"id": 650, "customerId": 651, "name": "Ada Lovelace"}))
    assert story.job(1)["st_customer_id"] == 650
    assert story.value("select st_customer_id from public.customers") == 650


def test_the_same_job_twice_in_one_batch_is_stored_once_and_answered_twice(story: Story) -> None:
    report = story.upsert((job(1, summary="A"), GUIDE_CUSTOMER), (job(1, summary="B"), GUIDE_CUSTOMER))
    assert (report["succeeded"], len(report["results"]), story.job(1)["summary"]) == (2, 2, "B")


def test_update_sync_state_writes_and_owns_the_key(story: Story) -> None:
    story.owner("select update_sync_state('mine', 'a')")
    story.owner("select update_sync_state('mine', 'b', '{\"by\": \"n8n\"}')")
    assert story.row("select value, metadata, owner from sync_state where key = 'mine'") == {
        "value": "b",
        "metadata": {"by": "n8n"},
        "owner": "external",
    }


@pytest.mark.parametrize("value", ["banana", "", "2999-01-01T00:00:00Z", "now", None])
def test_last_job_pull_must_be_a_time_that_has_been(story: Story, value: str | None) -> None:
    assert story.refusal("select update_sync_state('lastJobPull', %s)", value).sqlstate == "JS001"
    assert story.value("select value from sync_state where key = 'lastJobPull'") == "2025-01-01T00:00:00Z"


def test_jobsync_publishes_last_job_pull_until_somebody_else_writes_it(story: Story) -> None:
    story.page(job(1, modifiedOn="2026-03-05T10:00:00.1234567Z"))
    assert story.value("select jobsync.publish_watermark('default')") == "2026-03-05T10:00:00.123Z"
    assert story.owner("select get_last_job_pull()::text as at") == [{"at": "2026-03-05 10:00:00.123+00"}]
    before = story.traces("public.sync_state")
    story.value("select jobsync.publish_watermark('default')")
    assert story.traces("public.sync_state") == before
    story.owner("select update_sync_state('lastJobPull', '2026-01-01T00:00:00Z')")
    story.page(job(2, modifiedOn="2026-03-06T10:00:00Z"))
    story.value("select jobsync.publish_watermark('default')")
    assert story.value("select value from sync_state where key = 'lastJobPull'") == "2026-01-01T00:00:00Z"


def test_the_published_watermark_never_lies_in_the_future(story: Story) -> None:
    story.page(job(1, modifiedOn="2999-01-01T00:00:00Z"))
    story.value("select jobsync.publish_watermark('default')")
    assert story.value("select get_last_job_pull() <= jobsync.now()") is True


def test_the_first_pull_starts_at_last_job_pull_and_ninety_days_back_only_without_it(story: Story) -> None:
    assert story.value("select jobsync.first_pull_start('default')") == "2025-01-01T00:00:00.000000Z"
    story.owner("delete from sync_state")
    assert (
        story.value("select jobsync.first_pull_start('default')::timestamptz = jobsync.now() - interval '90 days'")
        is True
    )


def test_a_mark_with_an_unknown_status_is_refused_and_of_an_unknown_job_is_no_row(story: Story) -> None:
    assert story.refusal("select jobsync.mark_job('default', 1, 'done', null, null)").sqlstate == "JS001"
    assert story.rows("select * from jobsync.mark_job('default', 1, 'synced', null, null)") == []
    assert story.rows("select * from jobsync.mark_customer('default', 1, 'synced', null, null)") == []


@pytest.mark.parametrize("made_up", ["created", "undefined", "null", "", "  ", "Created"])
def test_made_up_opportunity_ids_are_not_stored(story: Story, made_up: str) -> None:
    story.page(job(1))
    story.rows("select * from jobsync.mark_job('default', 1, 'synced', 'real-1', null)")
    story.rows("select * from jobsync.mark_job('default', 1, 'synced', %s, null)", made_up)
    assert story.job(1)["ghl_opportunity_id"] == "real-1"


def test_marks_keep_error_and_time_as_the_guide_has_them(story: Story) -> None:
    story.route(SALES, "external")
    story.page(job(1))
    failed = story.row("select * from jobsync.mark_job('default', 1, 'failed', null, 'hook is gone')")
    assert (failed["ghl_sync_status"], failed["ghl_sync_error"], failed["ghl_synced_at"]) == (
        "failed",
        "hook is gone",
        None,
    )
    synced = story.row("select * from jobsync.mark_job('default', 1, 'synced', 'opp', null)")
    assert (synced["ghl_sync_error"], synced["ghl_synced_at"] is not None) == (None, True)
    assert story.owner("select st_job_id from jobs_pending_ghl_sync") == []
    story.rows("select * from jobsync.mark_job('default', 1, 'pending', null, null)")
    assert len(story.owner("select st_job_id from jobs_pending_ghl_sync")) == 1


def test_a_mark_is_in_the_audit_without_personal_data(story: Story) -> None:
    story.page(job(1))
    story.rows("select * from jobsync.mark_job('default', 1, 'failed', null, 'Ada Lovelace +16025550101')")
    assert story.row("select actor, action, subject, details from jobsync.audit where action = 'job_marked'") == {
        "actor": "api", "action": "job_marked", "subject": "job:1", "details": {"status": "failed"},
    }  # fmt: skip
