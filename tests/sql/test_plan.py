"""What is planned: once, when it may, and never because of anything but the job's own facts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sql.story import INSTALL, PLUMBING, POOL, SALES, Story, job

LATER = "2026-03-02T10:00:00Z"


def changed(number: int, **more: Any) -> dict[str, Any]:
    return job(number, **{"summary": "Changed", "modifiedOn": LATER, **more})


def delivered(story: Story, *numbers: int, events: str | None = None, kind: str = "webhook") -> None:
    """These jobs, accepted once."""
    story.hook(events=events, kind=kind)
    story.live()
    story.parents(*numbers)
    story.page(*(job(number) for number in numbers))
    assert story.send() == list(numbers)


def test_observing_plans_and_sends_nothing(story: Story) -> None:
    story.hook()
    assert story.page(job(1), job(2))["planned"] == 2
    assert (story.mode(), story.claim(), story.waiting()) == ("observe", [], [1, 2])
    assert story.value("select jobsync.count_planned('default') -> 'webhook_executions'") == 2


def test_an_unmapped_unit_is_an_inbox_and_routing_it_queues_each_job_once(story: Story) -> None:
    story.page(job(1), job(2), job(3, businessUnitId=POOL))
    assert (story.status(1), story.waiting()) == (("skipped", "unmapped"), [])
    destination = story.hook(POOL)
    assert story.waiting() == [3]
    answer = story.route(SALES, "jobsync", destination)
    assert answer["planned"] == 2
    assert (story.waiting(), story.status(1)) == ([1, 2, 3], ("pending", None))
    assert story.route(SALES, "jobsync", destination)["planned"] == 0


def test_a_job_without_a_unit_or_of_an_unknown_one_is_unmapped_never_invisible(story: Story) -> None:
    story.hook()
    story.page(job(1, businessUnitId=None), job(2, businessUnitId=777))
    assert (story.status(1), story.status(2)) == (("skipped", "unmapped"), ("skipped", "unmapped"))


@pytest.mark.parametrize("switch", ["sync_enabled", "sync_to_ghl"])
def test_switching_a_unit_off_parks_its_jobs_and_on_brings_them_back(story: Story, switch: str) -> None:
    story.hook()
    story.page(job(1))
    off: dict[str, Any] = {switch: False}
    on: dict[str, Any] = {switch: True}
    story.route(SALES, **off)
    assert (story.status(1), story.waiting()) == (("skipped", "unit_off"), [])
    story.page(job(2))
    assert story.status(2) == ("skipped", "unit_off")
    story.route(SALES, **on)
    assert (story.status(1), story.waiting()) == (("pending", None), [1, 2])


def test_the_switch_flipped_in_plain_sql_does_the_same(story: Story) -> None:
    story.hook()
    story.page(job(1))
    story.owner("update business_units set sync_to_ghl = false where st_business_unit_id = 1314")
    assert (story.status(1), story.waiting()) == (("skipped", "unit_off"), [])
    story.owner("update business_units set sync_to_ghl = true where st_business_unit_id = 1314")
    assert story.waiting() == [1]


def test_an_update_that_waits_when_its_unit_is_switched_off_is_told_when_it_is_on_again(story: Story) -> None:
    """Found by world 118: it counted as delivered, and nobody ever heard of the change."""
    delivered(story, 1, events="all")
    story.page(changed(1))
    assert story.waiting() == [1]
    story.route(SALES, sync_to_ghl=False)
    assert (story.waiting(), story.status(1)) == ([], ("skipped", "unit_off"))
    story.route(SALES, sync_to_ghl=True)
    assert (story.waiting(), story.status(1)) == ([1], ("pending", "update"))


def test_a_change_while_the_unit_is_off_is_told_when_it_is_on_again_and_one_that_was_taken_back_is_not(
    story: Story,
) -> None:
    delivered(story, 1, events="all")
    story.route(SALES, sync_enabled=False)
    assert story.status(1) == ("synced", None), "nothing is owed"
    story.page(changed(1))
    assert (story.waiting(), story.status(1)) == ([], ("skipped", "unit_off"))
    story.page(job(1, modifiedOn=LATER))
    assert story.status(1) == ("synced", None), "it is again as it was told"
    story.page(changed(1, modifiedOn="2026-03-02T11:00:00Z"))
    story.route(SALES, sync_enabled=True, events="created")
    assert (story.waiting(), story.status(1)) == ([], ("synced", None)), "each job is told once there"


def test_jobs_booked_before_deliver_from_are_skipped_and_arm_since_takes_them_in(story: Story) -> None:
    story.hook()
    story.parents(1, 2, 3)
    story.page(job(1, createdOn="2026-02-01T10:00:00Z"), job(2, createdOn="2026-02-20T10:00:00Z"), job(3))
    assert story.waiting() == [1, 2, 3]
    story.live("2026-03-01T00:00:00Z")
    assert (story.waiting(), story.status(1)) == ([3], ("skipped", "before_start"))
    story.page(job(4, createdOn="2026-01-01T10:00:00Z"))
    assert story.status(4) == ("skipped", "before_start")
    story.page(changed(1, createdOn="2026-02-01T10:00:00Z"))
    assert story.waiting() == [3]
    answer = story.arm(since="2026-02-15T00:00:00Z")
    assert (story.waiting(), answer["deliver_from"]) == ([2, 3], "2026-02-15T00:00:00+00:00")


def test_the_first_arm_sets_deliver_from_to_now(story: Story) -> None:
    story.hook()
    story.page(job(1))
    story.arm()
    assert story.waiting() == []
    assert story.value("select deliver_from = jobsync.now() from jobsync.tenants") is True


def test_a_webhook_route_sends_each_job_once_whatever_changes(story: Story) -> None:
    delivered(story, 1)
    assert story.page(changed(1))["planned"] == 0
    assert (story.waiting(), story.status(1)) == ([], ("synced", None))


def test_events_all_sends_nothing_by_itself_and_one_update_for_each_later_change(story: Story) -> None:
    delivered(story, 1, 2, 3)
    story.page(changed(1))
    story.route(SALES, events="all")
    assert (story.waiting(), story.claim()) == ([], [])
    story.page(changed(2, modifiedOn="2026-03-03T10:00:00Z"))
    assert story.waiting() == [2]
    assert story.status(2) == ("pending", "update")
    assert story.send() == [2]
    row = story.claimed[0]
    assert (row["event"], row["version"]) == ("updated", 2)
    story.page(changed(2, modifiedOn="2026-03-03T10:00:00Z"))
    assert story.claim() == []
    story.page(changed(2, summary="Again", modifiedOn="2026-03-04T10:00:00Z"))
    assert (story.send(), story.claimed[0]["version"]) == ([2], 3)


def test_back_to_created_takes_waiting_updates_away(story: Story) -> None:
    delivered(story, 1, events="all")
    story.page(changed(1))
    story.route(SALES, events="created")
    assert (story.waiting(), story.status(1)) == ([], ("synced", None))


def test_an_api_route_is_told_of_changes_without_being_asked(story: Story) -> None:
    delivered(story, 1, kind="api")
    story.page(changed(1))
    assert story.waiting() == [1]


def test_a_change_and_back_before_it_was_sent_sends_nothing(story: Story) -> None:
    delivered(story, 1, events="all")
    story.page(changed(1))
    story.page(job(1, modifiedOn="2026-03-03T10:00:00Z"))
    assert story.claim() == []
    assert (story.waiting(), story.status(1)) == ([], ("synced", None))


@pytest.mark.parametrize(
    "fact", [{"soldById": 7}, {"modifiedOn": LATER}, {"externalData": [1]}, {"invoiceId": 5}, {"noCharge": True}]
)
def test_what_nobody_is_told_of_is_stored_but_sends_nothing(story: Story, fact: dict[str, Any]) -> None:
    delivered(story, 1, events="all")
    report = story.page(job(1, **{"modifiedOn": LATER, **fact}))
    assert (report["stored"], report["planned"], story.waiting()) == (1, 0, [])


def test_renaming_a_unit_a_job_type_or_a_customer_sends_nothing(story: Story) -> None:
    delivered(story, 1, events="all")
    story.page({"id": SALES, "name": "Renamed", "active": True}, {"id": 9, "name": "New"}, stream="business_units")
    story.page({"id": 81, "name": "Renamed type"}, stream="job_types")
    story.owner("update customers set first_name = 'Grace', phone = '+16025550199'")
    assert story.waiting() == []
    assert (
        story.value("select business_unit_name || '/' || job_type_name || '/' || first_name from jobsync.projections")
        == "Renamed/Renamed type/Grace"
    )


def test_another_hook_for_a_unit_re_sends_nothing_and_takes_over_what_waits(story: Story) -> None:
    delivered(story, 1, 2, events="all")
    story.page(job(3), changed(1))
    new = story.hook(SALES)
    assert story.waiting() == [1, 3]
    assert {row["destination_id"] for row in story.rows("select destination_id from jobsync.outbox")} == {new}


def test_external_units_have_no_outbox_and_only_they_are_offered(story: Story) -> None:
    story.hook(SALES)
    story.route(INSTALL, "external")
    story.page(job(1), job(2, businessUnitId=INSTALL), job(3, businessUnitId=POOL))
    assert story.waiting() == [1]
    assert [row["st_job_id"] for row in story.owner("select st_job_id from jobs_pending_ghl_sync")] == [2]
    story.route(SALES, "external")
    assert story.waiting() == []
    assert [row["st_job_id"] for row in story.owner("select st_job_id from jobs_pending_ghl_sync")] == [1, 2]
    story.route(SALES, "none")
    assert (story.status(1), story.waiting()) == (("skipped", "unmapped"), [])


def test_a_job_pushed_through_db_makes_an_unrouted_unit_external_and_no_other(story: Story) -> None:
    story.hook(SALES)
    story.page(job(5, businessUnitId=PLUMBING))
    story.upsert(
        (job(1), {"customerId": 601}),
        (job(2, businessUnitId=PLUMBING), {"customerId": 602}),
        (job(3, businessUnitId=555), {"customerId": 603}),
    )
    found = {
        row["st_business_unit_id"]: row["deliverer"]
        for row in story.rows("select st_business_unit_id, deliverer from jobsync.routes")
    }
    assert found == {SALES: "jobsync", PLUMBING: "external", 555: "external"}
    assert story.waiting() == [1]
    pending = [row["st_job_id"] for row in story.owner("select st_job_id from jobs_pending_ghl_sync order by 1")]
    assert pending == [2, 3, 5]


def test_a_patch_synced_baselines_the_content(story: Story) -> None:
    story.route(SALES, "external")
    story.page(job(1))
    marked = story.row("select * from jobsync.mark_job('default', 1, 'synced', 'opp-1', null)")
    assert (marked["ghl_sync_status"], marked["ghl_opportunity_id"]) == ("synced", "opp-1")
    story.owner("delete from jobsync.outside_marks")
    story.hook(SALES, events="all")
    assert story.waiting() == []
    story.page(changed(1))
    assert story.waiting() == [1]


def test_what_was_brought_through_db_for_an_external_unit_is_offered_however_old(story: Story) -> None:
    story.route(SALES, "external")
    story.live("2026-01-01T00:00:00Z")
    old = "2025-06-01T10:00:00Z"
    story.upsert((job(1, createdOn=old), {"customerId": 601}))
    story.page(job(2, createdOn=old))
    assert (story.status(1), story.status(2)) == (("pending", None), ("skipped", "before_start"))


def test_arming_refuses_a_unit_whose_jobs_were_marked_from_outside_lately(story: Story) -> None:
    story.hook(SALES)
    story.hook(POOL)
    story.parents(1, 2)
    story.live()
    story.page(job(1), job(2, businessUnitId=POOL))
    story.rows("select * from jobsync.mark_job('default', 1, 'pending', null, null)")
    answer = story.arm()
    assert [row["st_business_unit_id"] for row in answer["refused"]] == [SALES]
    sales, pool = (
        story.value("select destination_id from jobsync.routes where st_business_unit_id = %s", unit)
        for unit in (SALES, POOL)
    )
    assert story.claim(sales) == []
    assert story.claim(pool) == [2]
    assert [
        row["destination_id"] for row in story.rows("select destination_id from jobsync.list_due_destinations()")
    ] == []
    story.pass_time("25 hours")
    assert story.arm()["refused"] == []
    assert story.claim(sales) == [1]


def test_planning_again_changes_nothing(story: Story) -> None:
    story.hook()
    story.route(INSTALL, "external")
    story.page(job(1), job(2, businessUnitId=INSTALL), job(3, businessUnitId=POOL))
    before = story.traces()
    for _ in range(2):
        assert story.value("select jobsync.plan_jobs('default', '{1,2,3}', null)") == 0
    assert story.traces() == before


def test_a_sticky_skip_stays_until_a_person_takes_it_back(story: Story) -> None:
    story.hook()
    story.page(job(1))
    story.rows("select * from jobsync.mark_job('default', 1, 'skipped', null, null)")
    story.page(changed(1))
    assert (story.status(1), story.waiting()) == (("skipped", "by_hand"), [])
    story.rows("select * from jobsync.mark_job('default', 1, 'pending', null, null)")
    assert story.waiting() == [1]


def test_an_unknown_unit_cannot_be_routed(story: Story) -> None:
    error = story.refusal(
        "select jobsync.set_route('default', 424242, 'external', null, null, null, null, null, null, 'a test')"
    )
    assert error.sqlstate == "JS004"
