"""What people are shown before they send: the plan with what changed, the price, replays counted first, one search."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.sql.story import INSTALL, POOL, SALES, Story, contact, customer, job


def plan(story: Story) -> dict[str, Any]:
    return story.value("select jobsync.show_plan(%s, '2020-01-01')", story.tenant)


def planned(story: Story) -> list[dict[str, Any]]:
    return story.rows("select * from jobsync.show_planned_jobs(%s, null, 100)", story.tenant)


def outdated(story: Story) -> dict[int, dict[str, Any]]:
    rows = story.rows("select * from jobsync.show_outdated(%s, null, 100)", story.tenant)
    return {row["st_job_id"]: row["changes"] for row in rows}


def preview(story: Story, *jobs: int, force: bool = False) -> dict[str, Any]:
    return story.value("select jobsync.preview_replay(%s, %s, %s)", story.tenant, list(jobs), force)


def chosen(story: Story, status: str | None = None, reason: str | None = None, unit: int | None = None) -> list[int]:
    rows = story.rows(
        "select * from jobsync.choose_jobs(%s, %s, %s, %s, null, 100) c(id)", story.tenant, status, reason, unit
    )
    return [row["id"] for row in rows]


def found(story: Story, text: str, phone: str | None = None) -> dict[str, list[int]]:
    number = int(text) if text.isdigit() else None
    rows = story.rows("select * from jobsync.search_jobs(%s, %s, %s, %s, 20)", story.tenant, text, number, phone)
    answer: dict[str, list[int]] = {}
    for row in rows:
        answer.setdefault(row["matched"], []).append(row["st_job_id"])
    return answer


def accept(story: Story) -> list[int]:
    sent: list[int] = []
    while claimed := story.send():
        sent += claimed
    return sent


def test_a_plan_counts_what_would_be_sent_what_is_skipped_and_what_it_costs(story: Story) -> None:
    story.hook(SALES, events="all")
    story.hook(INSTALL, kind="api")
    story.live()
    story.parents(1, 2, 3, 4)
    story.page(job(1), job(2), job(3, businessUnitId=INSTALL), job(4, businessUnitId=POOL))
    shown = plan(story)
    assert (shown["create"], shown["update"], shown["same"]) == (3, 0, 0)
    assert shown["skip"] == [{"reason": "unmapped", "jobs": 1}]
    assert {(unit["business_unit_id"], unit["kind"], unit["jobs"]) for unit in shown["units"]} == {
        (SALES, "webhook", 2),
        (INSTALL, "api", 1),
    }
    # Two hooks take a request each, a new contact by API three.
    assert (shown["requests"], shown["webhook_executions"], float(shown["cost"])) == (5, 2, 0.02)
    assert [row["changes"] for row in planned(story)] == [None, None, None], "nothing was told before"


def test_a_change_is_planned_with_the_fields_that_changed_and_their_old_values(story: Story) -> None:
    story.hook(SALES, events="all")
    story.live()
    story.parents(1)
    story.page(job(1))
    assert accept(story) == [1]
    assert plan(story)["same"] == 1
    later = "2026-03-02T10:00:00Z"
    story.page(job(1, jobStatus="Completed", total=99, summary="Quiet again", modifiedOn=later))
    (row,) = planned(story)
    assert row["event"] == "updated"
    assert row["changes"] == {"status": ["Scheduled", "Completed"], "total": [120.5, 99], "summary": ["changed"]}
    facts = story.value("select facts::text from jobsync.delivered_facts")
    assert "Pump" not in facts, "no text of the job is kept"
    accept(story)
    story.page(job(1, jobStatus="Completed", total=99, summary="Quiet again", modifiedOn="2026-03-03T10:00:00Z"))
    assert planned(story) == []


def test_what_changed_while_it_was_under_way_is_not_shown_as_told(story: Story) -> None:
    story.hook(SALES, events="all")
    story.live()
    story.parents(1)
    story.page(job(1))
    story.claim()
    story.page(job(1, jobStatus="Hold", modifiedOn="2026-03-02T10:00:00Z"))
    story.finish()
    (row,) = planned(story)
    assert (row["event"], row["changes"]) == ("updated", None)


def test_a_renamed_unit_and_another_route_are_shown_and_make_nothing_due(story: Story) -> None:
    story.hook(SALES)
    story.live()
    story.parents(1)
    story.page(job(1))
    accept(story)
    assert outdated(story) == {}
    story.owner("update business_units set name = 'Renamed' where st_business_unit_id = %s", SALES)
    assert outdated(story)[1]["unit_name"][1] == "Renamed"
    other = story.hook(SALES)
    assert outdated(story)[1]["destination"][1] == str(other)
    assert story.outbox() is None
    story.value("select jobsync.replay_jobs(%s, '{1}', true, 'a test')", story.tenant)
    accept(story)
    assert outdated(story) == {}, "what was told anew is up to date"


def test_a_replay_is_counted_first_and_says_what_it_leaves_alone(story: Story) -> None:
    story.hook(SALES)
    story.live()
    story.parents(1, 2, 3)
    story.page(job(1), job(2), job(3, businessUnitId=POOL))
    story.claim()
    story.finish("rejected", only=[1])
    story.finish(only=[2])
    assert chosen(story) == [1]
    assert chosen(story, reason="rejected", unit=SALES) == [1]
    assert chosen(story, reason="test_only") == chosen(story, unit=POOL) == []
    assert chosen(story, status="synced") == [2]
    shown = preview(story, 1, 2, 3)
    assert shown["would_replay"] == [1]
    assert (shown["webhook_executions"], float(shown["cost"])) == (1, 0.01)
    assert shown["refused"] == {
        "it is synced (only with --force)": 1,
        "JobSync does not deliver its unit": 1,
    }
    assert preview(story, 1, 2, force=True)["would_replay"] == [1, 2]
    assert story.waiting() == [], "counting changes nothing"
    answer = story.value("select jobsync.replay_jobs(%s, '{1,2,3}', false, 'a test')", story.tenant)
    assert answer["replayed"] == shown["would_replay"], "and does what was counted"


def test_one_search_finds_a_job_by_whatever_people_hold(story: Story) -> None:
    story.page(customer(601, name="Ada Lovelace"), customer(602, name="Bob Lovelace"), stream="customers")
    story.page(
        contact(1, 601, "(602) 555-0101"), stream="customer_contacts", owners=[601, 602], phones=["+16025550101"]
    )
    story.page(job(1), job(2), job(3, customerId=601))
    story.owner("update jobs set ghl_opportunity_id = 'Opp7' where st_job_id = 2")
    story.owner("update customers set ghl_contact_id = 'Con9' where st_customer_id = 602")
    assert found(story, "1") == {"id": [1]}
    assert found(story, "40002") == {"number": [2]}
    assert found(story, "Opp7") == {"opportunity": [2]}
    assert found(story, "Con9") == {"contact": [2]}
    assert found(story, "602 555 0101", phone="+16025550101") == {"phone": [3, 1]}
    assert found(story, "lovelace") == {"name": [3, 2, 1]}
    assert found(story, "Ada Lovel") == {"name": [3, 1]}
    for nothing in ("Nobody", "%", "_", "x", "\\", "' or true --"):
        assert found(story, nothing) == {}


def test_a_cap_disarms_and_says_so_where_alerts_look(story: Story) -> None:
    story.hook(SALES)
    story.live()
    story.owner("update jobsync.tenants set cap_hour = 2")
    story.parents(1, 2, 3)
    story.page(job(1), job(2), job(3))
    assert len(accept(story)) == 2
    assert story.mode() == "observe"
    (stopped,) = story.rows("select cause, why, fix from jobsync.v_stopped_sends")
    assert stopped["cause"] == "cap_hour"
    assert "2 sends in an hour" in stopped["why"]
    month = story.row("select executions_this_month, cost_this_month from jobsync.v_tenant_status")
    assert (month["executions_this_month"], float(month["cost_this_month"])) == (2, 0.02)


def test_an_unverified_unit_with_two_hooks_is_one_alert(story: Story) -> None:
    first, second = story.hook(SALES), story.hook(SALES)
    story.page(job(1), job(2))
    story.owner(
        "insert into jobsync.verifications (tenant_id, st_job_id, destination_id, version, accepted_at, result) "
        "values (%s, 1, %s, 1, jobsync.now() - interval '2 hours', 'missing'), (%s, 2, %s, 1, jobsync.now() - interval '2 hours', 'missing')",
        story.tenant, first, story.tenant, second,
    )  # fmt: skip
    alerts = story.rows("select * from jobsync.v_alert_conditions where code = 'unverified'")
    assert [(alert["subject"], alert["items"]) for alert in alerts] == [(f"{SALES}:missing", 2)]
    assert story.owner("select jobsync.refresh_alerts(%s) as open", Jsonb([]))[0]["open"] >= 1


def test_one_tenants_backlog_takes_nothing_from_another(story: Story) -> None:
    """Claims look at one tenant's hook only, and each tenant has caps, pauses and budgets of its own."""
    story.hook(SALES)
    story.live()
    story.parents(*range(1, 41))
    story.page(*(job(number) for number in range(1, 41)))
    story.owner("select jobsync.add_tenant('other', 'Other', 'a test')")
    other = Story(story.connection, "other")
    other.page({"id": SALES, "name": "Sales", "active": True}, stream="business_units")
    other.hook(SALES)
    other.live()
    other.parents(1)
    other.page(job(1))
    assert len(story.claim()) == 40
    story.owner("update jobsync.tenants set paused_at = jobsync.now() where tenant_id = 'default'")
    assert other.claim() == [1], "neither a full hook nor a pause of somebody else's"
    assert other.finish()["delivered"] == 1
