"""When a card is told again, where it may be moved, and whose card an install job goes on with."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sql.cards import card, estimate, install_after_sale, invoice, location, pull, rule, stage_of, target, visit
from tests.sql.story import INSTALL, SALES, Story, job

LATER = "2026-03-02T10:00:00Z"


def told(story: Story, *numbers: int, **more: Any) -> None:
    """These jobs, accepted once by the API."""
    story.parents(*numbers)
    story.page(*(job(number, **more) for number in numbers))
    sent: list[int] = []
    while len(sent) < len(numbers):
        sent += story.send() or [-1]
    assert sent == list(numbers)


def delivered(story: Story, *numbers: int) -> None:
    location(story)
    story.live()
    told(story, *numbers)


def test_an_estimate_plans_the_job_again_only_if_a_rule_says_something_new(story: Story) -> None:
    delivered(story, 1)
    estimate(story, 21, 1)
    assert story.waiting() == [], "no rule is about it"
    rule(story, "sold", "estimate_sold", "sales-sold")
    estimate(story, 21, 1, "Sold")
    assert (story.waiting(), story.status(1)) == ([1], ("pending", "update"))
    assert (story.send(), story.claimed[0]["event"]) == ([1], "updated")
    estimate(story, 22, 1, "Sold", 50)
    estimate(story, 21, 1, "Sold", active=False)
    assert (story.waiting(), story.status(1)) == ([], ("synced", None)), "still sold: the same card"


def test_visits_and_invoices_plan_the_job_again_too(story: Story) -> None:
    delivered(story, 1)
    rule(story, "booked", "appointment_scheduled", custom_fields={"f-visit": {"fact": "first_appointment"}})
    rule(story, "billed", "invoiced", status="won")
    visit(story, 11, 1, start="2026-03-04T10:00:00Z")
    assert story.send() == [1]
    visit(story, 11, 1, start="2026-03-05T10:00:00Z", modifiedOn=LATER)
    assert story.send() == [1], "it was rescheduled"
    visit(story, 11, 1, start="2026-03-05T10:00:00Z", modifiedOn=LATER, specialInstructions="Ring twice")
    assert story.waiting() == []
    invoice(story, 31, 1)
    assert story.waiting() == []
    invoice(story, 31, 1, modifiedOn=LATER, syncStatus="Posted")
    assert story.send() == [1]


def test_there_and_back_before_it_was_sent_sends_nothing(story: Story) -> None:
    delivered(story, 1)
    rule(story, "sent", "estimate_sent", "sales-sent")
    estimate(story, 21, 1)
    assert story.waiting() == [1]
    estimate(story, 21, 1, active=False)
    assert (story.claim(), story.waiting(), story.status(1)) == ([], [], ("synced", None))


def test_what_comes_while_a_send_is_under_way_is_told_after_it(story: Story) -> None:
    delivered(story, 1)
    rule(story, "sent", "estimate_sent", "sales-sent")
    rule(story, "sold", "estimate_sold", "sales-sold")
    estimate(story, 21, 1)
    assert story.claim() == [1]
    estimate(story, 21, 1, "Sold")
    story.finish()
    assert story.waiting() == [1]
    assert story.send() == [1]
    assert (story.send(), story.value("select told ->> 'stage_id' from jobsync.card_plans")) == ([], "sales-sold")


def test_a_failed_send_has_told_nothing(story: Story) -> None:
    delivered(story, 1)
    rule(story, "sent", "estimate_sent", "sales-sent")
    estimate(story, 21, 1)
    assert story.send("ambiguous") == [1]
    assert story.value("select told ->> 'stage_id' from jobsync.card_plans") == "sales-new"
    assert story.waiting() == [1]


@pytest.mark.parametrize("events", ["created", "all"])
def test_a_webhook_route_sends_no_more_than_before(story: Story, events: str) -> None:
    pull(story)
    story.hook(events=events)
    story.live()
    told(story, 1)
    rule(story, "sold", "estimate_sold", "sales-sold", status="won")
    estimate(story, 21, 1, "Sold")
    visit(story, 11, 1)
    invoice(story, 31, 1, syncStatus="Posted")
    assert story.waiting() == []
    assert story.rows("select * from jobsync.card_plans") == []


def test_a_unit_that_went_to_a_webhook_since_is_not_planned_by_visits(story: Story) -> None:
    delivered(story, 1)
    rule(story, "sold", "estimate_sold", "sales-sold")
    story.page(job(1, summary="Louder", modifiedOn=LATER))
    assert story.send("rejected") == [1]
    story.hook(SALES, events="all")
    assert story.status(1)[0] == "failed"
    estimate(story, 21, 1, "Sold")
    assert (story.status(1)[0], story.waiting()) == ("failed", [])


def test_an_edited_rule_sends_nothing_until_a_person_asks(story: Story) -> None:
    delivered(story, 1, 2, 3)
    answer = rule(story, "new", "created", "sales-working", tags=["st"])
    assert (answer["differ"], story.waiting()) == (3, [])
    estimate(story, 21, 1)
    visit(story, 11, 2)
    assert story.waiting() == [], "what no rule is about plans nothing"
    shown = story.rows(
        "select st_job_id, told ->> 'stage_id' as told, wanted ->> 'stage_id' as wanted from jobsync.list_rebaselined('default')"
    )
    assert [tuple(row.values()) for row in shown] == [(n, "sales-new", "sales-working") for n in (1, 2, 3)]
    assert story.value("select jobsync.send_rebaselined('default', '{2}', 'a test')") == 1
    assert story.send() == [2]
    assert rule(story, "new", "created", "sales-new")["differ"] == 1, "1 and 3 stand there already"
    assert story.value("select jobsync.send_rebaselined('default', null, 'a test')") == 1
    assert (story.send(), story.rows("select * from jobsync.list_rebaselined('default')")) == ([2], [])


def test_an_edited_rule_over_a_thousand_delivered_jobs_plans_nothing(story: Story) -> None:
    location(story)
    story.live()
    story.page(job(1))
    story.owner(
        "insert into public.jobs (st_job_id, business_unit_id, job_status, created_on, source, ghl_sync_status, job_hash, job_hash_version, "
        "delivered_hash, total, st_raw_data) select n, 1314, 'Scheduled', now(), 'servicetitan', 'synced', 'h', 1, 'h', 5, '{}' "
        "from generate_series(2, 1000) n"
    )
    story.value(
        "select jobsync.note_cards('default', array(select st_job_id from public.jobs where ghl_sync_status = 'synced'))"
    )
    story.value(
        "select jobsync.tell_cards('default', array(select st_job_id from public.jobs where ghl_sync_status = 'synced'))"
    )
    before = story.waiting()
    assert rule(story, "new", "created", "sales-working")["differ"] == 999
    story.page({"id": SALES, "name": "Renamed", "active": True}, stream="business_units")
    assert story.waiting() == before == [1]
    assert story.value("select jobsync.send_rebaselined('default', null, 'a test')") == 999


def test_after_an_edit_a_real_change_tells_the_whole_card(story: Story) -> None:
    delivered(story, 1)
    rule(story, "new", "created", "sales-working")
    story.page(job(1, summary="Louder", modifiedOn=LATER))
    assert story.send() == [1]
    assert story.value("select told ->> 'stage_id' from jobsync.card_plans") == "sales-working"
    assert story.rows("select * from jobsync.list_rebaselined('default')") == []


def test_an_edit_does_not_swallow_what_was_waiting(story: Story) -> None:
    delivered(story, 1)
    rule(story, "sold", "estimate_sold", "sales-sold")
    estimate(story, 21, 1, "Sold")
    rule(story, "new", "created", "sales-sent")
    assert story.send() == [1]
    assert story.value("select told ->> 'stage_id' from jobsync.card_plans") == "sales-sold"


def test_another_stage_for_the_route_and_a_gone_stage_send_nothing(story: Story) -> None:
    delivered(story, 1, 2)
    assert target(story, SALES, "sales-sent")["differ"] == 2
    pull(story, {"sales": ("New", "Sold")})
    assert story.waiting() == []
    assert {
        row["wanted"]["stage_id"] for row in story.rows("select wanted from jobsync.list_rebaselined('default')")
    } == {None}


WANTED = ("sales", "sales-sold")


@pytest.mark.parametrize(
    ("written", "seen", "wanted", "expected"),
    [
        (None, None, "sold", ("sold", None)),
        ("sent", None, "sold", ("sold", None)),
        ("sent", "sent", "sold", ("sold", None)),
        ("sold", "sold", "sold", ("sold", "there")),
        ("working", "working", "sent", ("working", "forward_only")),
        ("sent", "new", "sent", ("new", "moved_by_hand")),
        ("sent", "working", "sent", ("working", "moved_by_hand")),
        ("sent", "working", "sold", ("working", "moved_by_hand")),
        ("sent", "new", "sold", ("sold", None)),
        ("sent", "sold", "done", ("done", None)),
        (None, "sold", "sent", ("sold", "forward_only")),
        ("sent", "lost", "done", ("lost", "protected_stage")),
    ],
)
def test_a_card_goes_forward_and_what_a_person_moved_is_not_moved_back(
    story: Story, written: str | None, seen: str | None, wanted: str, expected: tuple[str, str | None]
) -> None:
    pull(story)
    assert story.value("select jobsync.protect_stage('default', 'sales', 'sales-lost', true, 'a test')") is True

    def at(stage: str | None) -> tuple[str | None, str | None]:
        return ("sales", f"sales-{stage}") if stage else (None, None)

    found = story.row(
        "select * from jobsync.choose_stage('default', %s, %s, false, %s, %s, %s, %s)",
        *at(wanted),
        *at(written),
        *at(seen),
    )
    assert (found["pipeline_id"], found["stage_id"], found["reason"]) == ("sales", f"sales-{expected[0]}", expected[1])


def test_between_pipelines_a_rule_moves_a_card_but_not_one_that_a_person_took_elsewhere(story: Story) -> None:
    pull(story)
    ask = "select stage_id, reason from jobsync.choose_stage('default', 'install', 'install-approved', %s, %s, %s, %s, %s)"

    def choose(written: str, seen: str, backwards: bool = False) -> tuple[str, str | None]:
        found = story.row(ask, backwards, written.split("-")[0], written, seen.split("-")[0], seen)
        return found["stage_id"], found["reason"]

    assert choose("sales-sold", "sales-sold") == ("install-approved", None)
    assert choose("sales-sent", "sales-working") == ("install-approved", None), "moved inside the pipeline it leaves"
    assert choose("sales-sent", "other-x") == ("other-x", "moved_by_hand")
    assert choose("install-approved", "sales-sold") == ("sales-sold", "moved_by_hand")
    assert choose("install-scheduled", "install-scheduled") == ("install-scheduled", "forward_only")
    assert choose("install-scheduled", "install-scheduled", backwards=True) == ("install-approved", None)
    assert choose("install-scheduled", "install-completed", backwards=True) == ("install-completed", "moved_by_hand")


@pytest.mark.parametrize(
    ("wanted", "written", "seen", "expected"),
    [
        ("open", None, None, ("open", None)),
        ("won", "open", "open", ("won", None)),
        ("open", "lost", "lost", ("open", None)),
        ("open", "open", "won", ("won", "set_by_hand")),
        ("open", "lost", "abandoned", ("abandoned", "set_by_hand")),
        ("won", "open", "lost", ("won", None)),
        ("won", "won", "lost", ("lost", "set_by_hand")),
        ("won", "open", "won", ("won", "there")),
    ],
)
def test_what_a_person_closed_is_not_opened_again(
    story: Story, wanted: str, written: str | None, seen: str | None, expected: tuple[str, str | None]
) -> None:
    found = story.row("select * from jobsync.choose_status(%s, %s, %s)", wanted, written, seen)
    assert (found["status"], found["reason"]) == expected


def install(number: int, **more: Any) -> dict[str, Any]:
    return job(number, businessUnitId=INSTALL, total=9000, **more)


def test_an_install_job_goes_on_with_the_card_of_the_job_its_estimate_was_sold_in(story: Story) -> None:
    install_after_sale(story)
    # The customer's newest job is another one: it must not be taken.
    told(story, 1, 2, customerId=601, total=0)
    estimate(story, 21, 1, "Sold")
    story.page(install(3, customerId=601, createdFromEstimateId=21))
    assert (story.status(3), story.waiting()) == (("skipped", "on_sales_card"), [1])
    found = card(story, 1)
    assert (found["stage_id"], found["continued_by"], int(found["value"])) == ("install-approved", 3, 9000)
    assert stage_of(story, 2) == "sales-new"
    assert story.send() == [1]
    rule(story, "installed", "completed", "install-completed", unit_ids=[INSTALL], status="won")
    story.page(install(3, customerId=601, createdFromEstimateId=21, jobStatus="Completed", modifiedOn=LATER))
    assert story.waiting() == [1]
    assert (stage_of(story, 1), card(story, 1)["status"]) == ("install-completed", "won")


def test_without_an_estimate_the_project_links_but_never_two_sold_jobs_of_it(story: Story) -> None:
    install_after_sale(story)
    told(story, 1, 2)
    estimate(story, 21, 1, "Sold", projectId=77)
    estimate(story, 22, 2, "Open", projectId=77)
    story.page(install(3, projectId=77))
    assert (story.status(3), card(story, 1)["continued_by"]) == (("skipped", "on_sales_card"), 3)
    estimate(story, 23, 2, "Sold", projectId=78)
    estimate(story, 24, 1, "Sold", projectId=78)
    story.page(install(4, projectId=78))
    assert story.status(4)[0] == "pending", "which of the two is not guessed: it has a card of its own"
    assert [(row["kind"], row["subject"]) for row in story.rows("select * from jobsync.v_card_problems")] == [
        ("install", "4")
    ]


def test_an_estimate_that_comes_after_its_install_job_links_it_as_long_as_it_has_no_card(story: Story) -> None:
    install_after_sale(story)
    told(story, 1)
    story.page(install(3, createdFromEstimateId=21))
    assert (story.status(3)[0], story.waiting()) == ("pending", [3])
    estimate(story, 21, 1, "Sold")
    assert (story.status(3), story.waiting()) == (("skipped", "on_sales_card"), [1])


def test_an_install_job_that_has_a_card_keeps_it(story: Story) -> None:
    install_after_sale(story)
    told(story, 1)
    story.parents(3)
    story.page(install(3, createdFromEstimateId=21))
    assert story.send() == [3]
    estimate(story, 21, 1, "Sold")
    assert (story.status(3), card(story, 1)["continued_by"]) == (("synced", None), None)


def test_giving_later_installs_their_own_cards_leaves_what_is_linked_linked(story: Story) -> None:
    install_after_sale(story)
    told(story, 1)
    estimate(story, 21, 1, "Sold")
    story.page(install(3, createdFromEstimateId=21))
    assert story.send() == [1]
    target(story, INSTALL, "install-approved", "own")
    assert (story.status(3), story.waiting()) == (("skipped", "on_sales_card"), [])
    story.page(install(4, createdFromEstimateId=21))
    assert (story.status(3), story.status(4)[0], card(story, 1)["continued_by"]) == (
        ("skipped", "on_sales_card"),
        "pending",
        3,
    )


def test_an_install_job_without_a_sale_has_a_card_of_its_own(story: Story) -> None:
    install_after_sale(story)
    story.parents(3)
    story.page(install(3))
    assert (story.send(), stage_of(story, 3)) == ([3], "install-approved")
