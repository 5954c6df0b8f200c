"""What the rules say about a job's card: which events hold, which rule decides, and what is never guessed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.sql.cards import card, estimate, invoice, location, pull, rule, stage_of, target, visit
from tests.sql.story import DAY, PLUMBING, POOL, SALES, Story, job


def events(story: Story, number: int) -> list[str]:
    return story.value("select events from jobsync.card_facts(%s, array[%s]::bigint[])", story.tenant, number)


def test_without_rules_a_card_stands_where_the_route_says_with_the_jobs_total(story: Story) -> None:
    location(story, stage="sales-sent")
    story.page(job(1), job(2, businessUnitId=POOL))
    found = story.rows("select * from jobsync.plan_opportunities('default', '{2,1,99}')")
    assert [tuple(row.values()) for row in found] == [
        (1, "sales", "sales-sent", "open", Decimal("120.5"), [], {}),
        (2, None, None, "open", Decimal("120.5"), [], {}),
    ]
    assert card(story, 2)["problem"] == "no_pipeline"


def test_a_route_without_a_stage_means_the_first_one_that_is_there(story: Story) -> None:
    location(story)
    story.value("select jobsync.set_route_target('default', 1314, 'sales', null, null, 'a test')")
    story.page(job(1))
    assert stage_of(story, 1) == "sales-new"
    pull(story, {"sales": ("Sent", "Sold")})
    assert stage_of(story, 1) == "sales-sent"


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("Dispatched", "dispatched"),
        ("InProgress", "working"),
        ("In Progress", "working"),
        ("Working", "working"),
        ("Hold", "hold"),
        ("Completed", "completed"),
        ("Canceled", "canceled"),
        ("Scheduled", None),
        (None, None),
    ],
)
def test_a_jobs_status_is_an_event_while_it_lasts(story: Story, status: str | None, event: str | None) -> None:
    story.page(job(1, jobStatus=status, appointmentCount=0))
    assert events(story, 1) == ["created", event] if event else ["created"]


def test_a_job_that_ServiceTitan_took_away_counts_as_canceled(story: Story) -> None:
    story.page(job(1, active=False, appointmentCount=0))
    assert events(story, 1) == ["created", "canceled"]


def test_an_appointment_is_scheduled_until_all_visits_are_deleted_unused_or_canceled(story: Story) -> None:
    story.page(job(1))
    assert events(story, 1) == ["created", "appointment_scheduled"], "visits are not read: the job's own count is taken"
    visit(story, 11, 1)
    assert events(story, 1) == ["created", "appointment_scheduled"]
    for gone in ({"active": False}, {"unused": True}, {"status": "Canceled"}):
        visit(story, 11, 1, modifiedOn="2026-03-02T10:00:00Z", **gone)
        assert events(story, 1) == ["created"]
        visit(story, 11, 1, modifiedOn="2026-03-02T10:00:00Z", status="Done")
        assert events(story, 1) == ["created", "appointment_scheduled"]


def test_estimates_are_sent_then_sold_or_dismissed_and_one_open_keeps_the_job_undecided(story: Story) -> None:
    story.page(job(1, appointmentCount=0))
    estimate(story, 21, 1)
    assert events(story, 1) == ["created", "estimate_sent"]
    estimate(story, 22, 1, "Dismissed")
    assert events(story, 1) == ["created", "estimate_sent"]
    estimate(story, 21, 1, "Dismissed")
    assert events(story, 1) == ["created", "estimate_dismissed"]
    estimate(story, 21, 1, "Sold")
    assert events(story, 1) == ["created", "estimate_sold"]
    estimate(story, 21, 1, "Sold", active=False)
    assert events(story, 1) == ["created", "estimate_dismissed"]


@pytest.mark.parametrize(
    "done", [{"syncStatus": "Posted"}, {"syncStatus": "Exported"}, {"sentStatus": "Sent"}, {"reviewStatus": "Invoiced"}]
)
def test_an_invoice_counts_once_it_was_posted_or_sent_not_from_the_first_day(
    story: Story, done: dict[str, Any]
) -> None:
    story.page(job(1, appointmentCount=0))
    invoice(story, 31, 1)
    assert events(story, 1) == ["created"]
    invoice(story, 31, 1, modifiedOn="2026-03-02T10:00:00Z", **done)
    assert events(story, 1) == ["created", "invoiced"]


def test_an_invoice_that_names_no_job_belongs_to_the_job_that_names_it(story: Story) -> None:
    story.page(job(1, appointmentCount=0, invoiceId=31))
    story.page({"id": 31, "job": None, "total": "5.00", "syncStatus": "Posted", "active": True}, stream="invoices")
    assert events(story, 1) == ["created", "invoiced"]


def test_the_later_event_decides_whatever_the_order_in_which_rules_were_written(story: Story) -> None:
    location(story)
    story.page(job(1, jobStatus="Completed"))
    estimate(story, 21, 1, "Sold")
    rule(story, "done", "completed", "sales-done", status="won")
    rule(story, "sent", "estimate_sent", "sales-sent")
    rule(story, "sold", "estimate_sold", "sales-sold")
    found = card(story, 1)
    assert (found["stage_id"], found["status"], found["stage_rule"], found["rules"]) == (
        "sales-done",
        "won",
        "done",
        ["sold", "done"],
    )


def test_of_two_rules_at_one_place_the_narrower_decides_then_the_name(story: Story) -> None:
    location(story)
    story.page(job(1), job(2, jobTypeId=82))
    rule(story, "zz", "created", "sales-new")
    rule(story, "narrow", "created", "sales-sold", job_type_ids=[81])
    assert (stage_of(story, 1), stage_of(story, 2)) == ("sales-sold", "sales-new")
    rule(story, "zzz", "created", "sales-done")
    assert (stage_of(story, 1), stage_of(story, 2)) == ("sales-sold", "sales-done")


def test_each_thing_is_decided_by_the_last_rule_that_names_it(story: Story) -> None:
    location(story)
    story.page(job(1, jobStatus="Completed", total=100))
    estimate(story, 21, 1, "Sold", 900)
    rule(
        story,
        "sold",
        "estimate_sold",
        "sales-sold",
        value="sold_estimates",
        tags=["sold", "st"],
        custom_fields={"f-visit": "first"},
    )
    rule(
        story, "done", "completed", status="won", tags=["done", "st"], custom_fields={"f-visit": {"fact": "job_status"}}
    )
    found = card(story, 1)
    assert (found["stage_id"], found["stage_rule"]) == ("sales-sold", "sold")
    assert (found["status"], found["status_rule"], found["value"]) == ("won", "done", Decimal(900))
    assert (found["tags"], found["custom_fields"]) == (["done", "sold", "st"], {"f-visit": "Completed"})


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"unit_ids": [SALES]}, True),
        ({"unit_ids": [PLUMBING]}, False),
        ({"job_type_ids": [81, 82]}, True),
        ({"tag_type_ids": [12, 99]}, True),
        ({"tag_type_ids": [99]}, False),
        ({"campaign_ids": [91]}, True),
        ({"campaign_ids": [92]}, False),
        ({"amount_from": 120.5}, True),
        ({"amount_from": 120.51}, False),
        ({"amount_below": 120.5}, False),
        ({"amount_from": 100, "amount_below": 200}, True),
        ({"unit_ids": [SALES], "campaign_ids": [92]}, False),
        ({"enabled": False}, False),
    ],
)
def test_a_rule_holds_only_where_all_its_conditions_do(story: Story, condition: dict[str, Any], holds: bool) -> None:
    location(story)
    story.page(job(1))
    rule(story, "big", "created", "sales-sold", **condition)
    assert (stage_of(story, 1) == "sales-sold") is holds


def test_the_amount_of_an_estimate_rule_is_that_of_the_estimates(story: Story) -> None:
    location(story)
    story.page(job(1, total=0))
    estimate(story, 21, 1, "Open", 4000)
    estimate(story, 22, 1, "Open", 2000)
    rule(story, "big", "estimate_sent", "sales-sent", amount_from=5000, value="open_estimates")
    assert (stage_of(story, 1), card(story, 1)["value"]) == ("sales-sent", Decimal(6000))
    estimate(story, 22, 1, "Dismissed", 2000)
    assert stage_of(story, 1) == "sales-new"


def test_a_job_without_a_total_meets_no_amount(story: Story) -> None:
    location(story)
    story.page(job(1, total=None))
    rule(story, "small", "created", "sales-sold", amount_below=10)
    assert stage_of(story, 1) == "sales-new"


def test_a_stage_that_is_gone_is_never_replaced_by_a_guess(story: Story) -> None:
    location(story)
    story.page(job(1, jobStatus="Completed"))
    rule(story, "done", "completed", "sales-done")
    answer = pull(story, {"sales": ("New", "Sent")})
    assert {(change["what"], change["change"], change["name"]) for change in answer["changes"]} >= {
        ("stage", "gone", "Done"),
        ("pipeline", "gone", "Install pipeline"),
    }
    assert answer["problems"] == [
        {
            "kind": "rule",
            "subject": "done",
            "name": "done",
            "problem": 'stage "Done" is gone from pipeline "Sales pipeline" in GoHighLevel',
        }
    ]
    found = card(story, 1)
    assert (found["pipeline_id"], found["stage_id"], found["problem"]) == (None, None, "stage_gone")
    assert [
        row["action"]
        for row in story.rows(
            "select distinct action from jobsync.audit where action like 'stage_%%' or action like 'pipeline_%%' order by 1"
        )
    ] == ["pipeline_gone", "stage_gone"]
    assert pull(story)["problems"] == []
    assert stage_of(story, 1) == "sales-done"


def test_a_pipeline_that_is_gone_is_called_so(story: Story) -> None:
    location(story, stage="install-scheduled")
    story.page(job(1))
    pull(story, {"sales": ("New",)})
    found = card(story, 1)
    assert (found["pipeline_id"], found["stage_id"], found["problem"]) == (None, None, "pipeline_gone")


def test_a_renamed_stage_is_the_same_stage_and_the_route_follows(story: Story) -> None:
    location(story)
    story.page(job(1))
    answer = pull(story, sales_new="Fresh")
    (change,) = answer["changes"]
    assert (change["change"], change["before"], change["name"], answer["problems"]) == ("renamed", "New", "Fresh", [])
    assert stage_of(story, 1) == "sales-new"
    assert story.row("select stage_name, problem from jobsync.unit_routes where st_business_unit_id = 1314") == {
        "stage_name": "Fresh",
        "problem": None,
    }
    assert [
        (row["what"], row["change"], row["before"]) for row in story.rows("select * from jobsync.v_pipeline_changes")
    ] == [("stage", "renamed", "New")]
    assert pull(story, sales_new="Fresh")["changes"] == []


def test_a_routes_stage_that_is_gone_is_said_on_the_route(story: Story) -> None:
    location(story, stage="sales-done")
    pull(story, {"sales": ("New", "Sent")})
    assert story.row("select problem from jobsync.unit_routes where st_business_unit_id = 1314")["problem"].startswith(
        'stage "Done" is gone'
    )
    assert [row["kind"] for row in story.rows("select kind from jobsync.v_card_problems")] == ["route"]
    target(story, SALES, "sales-sent")
    assert story.rows("select * from jobsync.v_card_problems") == []


def test_saving_what_stands_changes_nothing_and_replacing_removes_the_others(story: Story) -> None:
    location(story)
    assert rule(story, "a", "created", "sales-new")["saved"] == ["a"]
    rule(story, "b", "completed", "sales-done")
    before = story.traces("jobsync.rules")
    assert rule(story, "a", "created", "sales-new")["saved"] == []
    assert story.traces("jobsync.rules") == before
    answer = story.value(
        'select jobsync.save_rules(\'default\', \'[{"name": "b", "event": "completed", "status": "won"}]\', true, \'a test\')'
    )
    assert (answer["saved"], answer["removed"]) == (["b"], ["a"])
    assert story.refusal("select jobsync.remove_rule('default', 'a', 'a test')").sqlstate == "JS004"
    assert story.value("select count(*) from jobsync.audit where action in ('rule_set', 'rule_removed')") == 4


def test_trying_the_rules_counts_what_each_decides_and_writes_nothing(story: Story) -> None:
    location(story)
    story.page(
        job(1, jobStatus="Completed", createdOn="2026-02-01T00:00:00Z"),
        *(job(n, jobStatus="Completed") for n in (2, 3)),
        job(4),
        job(5, businessUnitId=POOL),
    )
    rule(story, "new", "created", "sales-new")
    rule(story, "done", "completed", "sales-done", status="won")
    before = story.traces("public.jobs", "jobsync.rules", "jobsync.card_plans")
    found = story.value("select jobsync.test_rules('default', %s::timestamptz, 10)", DAY)
    assert found["jobs"] == 4
    assert [(each["name"], each["jobs"], each["decides_stage"], each["decides_status"]) for each in found["rules"]] == [
        ("new", 4, 2, 0),
        ("done", 2, 2, 2),
    ]
    assert [(each["stage"], each["status"], each["jobs"]) for each in found["outcomes"]] == [
        ("New", "open", 2),
        ("Done", "won", 2),
    ]
    assert (found["told"], found["differ"], found["differences"], found["problems"]) == (0, 0, [], {})
    assert story.traces("public.jobs", "jobsync.rules", "jobsync.card_plans") == before


def test_trying_the_rules_shows_which_delivered_cards_would_stand_elsewhere(story: Story) -> None:
    location(story)
    story.live()
    story.parents(1, 2)
    story.page(job(1), job(2, jobTypeId=82))
    assert story.send() == [1, 2]
    rule(story, "other", "created", "sales-sold", job_type_ids=[82], status="won")
    found = story.value("select jobsync.test_rules('default', %s::timestamptz, 10)", DAY)
    assert (found["told"], found["differ"]) == (2, 1)
    (difference,) = found["differences"]
    assert (difference["st_job_id"], difference["stage_now"], difference["status_now"]) == (2, "New", "open")
    assert (difference["stage"], difference["status"], difference["rule"]) == ("Sold", "won", "other")
