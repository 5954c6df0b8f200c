"""Inbound webhooks of the simulator: two kinds of 200, and what a workflow makes of a post."""

from __future__ import annotations

from typing import Any

import pytest

from jobsync.simulators.gohighlevel import bill
from tests.simulators.gohighlevel_site import Site, open_site

pytestmark = pytest.mark.anyio
QUEUED = "Success: request sent to trigger execution server"
TEST_ONLY = "Success: test request received"


def lead(job: int = 9001, **changes: Any) -> dict[str, Any]:
    return {
        "job_id": f"J{job}",
        "st_job_id": job,
        "st_customer_id": 77,
        "first_name": "Ann",
        "last_name": "Example",
        "email": "ann@example.com",
        "phone": "(602) 555-0101",
        "street": "1 Invented Way",
        "city": "Mesa",
        "opportunity_name": "Job Type: Pump",
        "total": 120.5,
        **changes,
    }


async def post(site: Site, path: str, body: Any, method: str = "POST") -> tuple[int, Any]:
    async with site.session.request(method, site.url + path, json=body) as answer:
        return answer.status, await answer.json()


async def test_a_saved_trigger_answers_an_id_of_twenty_characters() -> None:
    async with open_site() as site:
        path = site.simulator.hook_path(site.simulator.add_hook())
        for method in ("POST", "PUT"):
            status, answer = await post(site, path, lead(), method)
            assert (status, answer["status"], len(answer["id"])) == (200, QUEUED, 20)
        async with site.session.get(site.url + path, params={"job_id": "5", "email": "bob@example.com"}) as answer:
            assert (await answer.json())["status"] == QUEUED
        assert [each.method for each in site.simulator.ledger.posts] == ["POST", "PUT", "GET"]
        assert site.simulator.ledger.posts[-1].content() == {"job_id": "5", "email": "bob@example.com"}


@pytest.mark.parametrize("mode", ["unknown", "test", "deleted"])
async def test_an_unknown_unsaved_or_deleted_trigger_answers_200_without_id(mode: str) -> None:
    async with open_site() as site:
        hook = site.simulator.add_hook(mode="live" if mode == "unknown" else mode)
        path = site.simulator.hook_path(hook) + ("x" if mode == "unknown" else "")
        assert await post(site, path, lead()) == (200, {"status": TEST_ONLY})
        assert site.simulator.ledger.posts[0].answered == "test"
        assert not site.office.location.contacts.records


@pytest.mark.parametrize(("setting", "status"), [("test", 200), ("404", 404)])
async def test_what_an_unknown_location_answers_is_a_switch(setting: str, status: int) -> None:
    async with open_site(hook_unknown_location=setting) as site:
        hook = site.simulator.add_hook()
        assert (await post(site, f"/hooks/elsewhere/webhook-trigger/{hook.id}", lead()))[0] == status


async def test_a_live_hook_makes_a_contact_and_an_opportunity_that_the_api_reads_back() -> None:
    async with open_site(search_lag_min_seconds=0.0, search_lag_max_seconds=0.0) as site:
        hook = site.simulator.add_hook(pipeline="Service Pipeline", stage="Scheduled")
        await post(site, site.simulator.hook_path(hook), lead())
        [contact] = site.office.location.contacts.records.values()
        assert (contact["name"], contact["phone"], contact["city"]) == ("Ann Example", "+16025550101", "Mesa")
        found = await site.call(
            "GET", "/opportunities/search", location_id=site.place, contact_id=contact["id"], status="all"
        )
        [card] = found.body["opportunities"]
        assert (card["name"], card["monetaryValue"]) == ("Job Type: Pump", 120.5)
        assert {each["fieldValueString"] for each in card["customFields"]} == {"9001", "77"}
        read = await site.call("GET", f"/opportunities/{card['id']}")
        assert read.body["opportunity"]["pipelineStageId"] == hook.stage_id


async def test_each_post_is_an_execution_of_its_own_and_doubles_show_per_job() -> None:
    async with open_site() as site:
        path = site.simulator.hook_path(site.simulator.add_hook())
        for job in (9001, 9002, 9001):
            await post(site, path, lead(job))
        ledger = await site.control("GET", "/ledger")
        assert ledger["posts_by_job"] == {"9001": 2, "9002": 1}
        assert ledger["posted_more_than_once"] == {"9001": 2}
        assert ledger["creates_by_job"] == {"9001": 2, "9002": 1}
        assert list(ledger["doubled"]) == ["9001"] and len(ledger["doubled"]["9001"]) == 2
        assert ledger["bill"] == {"executions": 3, "paid": 0, "dollars": 0}


async def test_executions_beyond_the_free_ones_cost_a_cent_each() -> None:
    async with open_site(free_executions=2) as site:
        path = site.simulator.hook_path(site.simulator.add_hook())
        for job in range(5):
            await post(site, path, lead(job))
        assert bill([site.office.location], site.simulator.switches) == {"executions": 5, "paid": 3, "dollars": 0.03}


@pytest.mark.parametrize(
    ("mode", "outcome", "executions"), [("draft", "not_published", 0), ("failing", "action_failed", 1)]
)
async def test_a_draft_or_failing_workflow_answers_queued_and_makes_nothing(
    mode: str, outcome: str, executions: int
) -> None:
    async with open_site() as site:
        path = site.simulator.hook_path(site.simulator.add_hook(mode=mode))
        status, answer = await post(site, path, lead())
        assert (status, answer["status"]) == (200, QUEUED) and answer["id"]
        assert site.simulator.ledger.posts[0].outcome == outcome
        assert site.office.location.executions == executions
        assert not site.office.location.opportunities.records


async def test_a_post_without_email_and_phone_runs_without_contact() -> None:
    async with open_site() as site:
        path = site.simulator.hook_path(site.simulator.add_hook())
        _, answer = await post(site, path, lead(email="", phone=None))
        assert answer["status"] == QUEUED
        assert site.simulator.ledger.posts[0].outcome == "contactless"
        assert not site.office.location.contacts.records


@pytest.mark.parametrize(
    ("options", "outcomes", "cards"),
    [
        ({"repeat": "create"}, ["created", "created", "created"], 3),
        ({"repeat": "update_card"}, ["created", "updated", "updated"], 1),
        ({"repeat": "same_job"}, ["created", "updated", "created"], 2),
        ({"re_entry": False}, ["created", "no_re_entry", "no_re_entry"], 1),
    ],
)
async def test_what_a_second_post_does_is_the_workflow_owners_choice(
    options: dict[str, Any], outcomes: list[str], cards: int
) -> None:
    async with open_site() as site:
        path = site.simulator.hook_path(site.simulator.add_hook(**options))
        for job in (9001, 9001, 9002):
            await post(site, path, lead(job))
        assert [each.outcome for each in site.simulator.ledger.posts] == outcomes
        assert len(site.office.location.opportunities.records) == cards


async def test_a_workflow_may_take_its_time_on_the_clock() -> None:
    async with open_site(workflow_delay_seconds=30.0) as site:
        path = site.simulator.hook_path(site.simulator.add_hook())
        await post(site, path, lead())
        assert (await site.control("GET", "/ledger"))["opportunities"] == 0
        site.simulator.clock.advance(31)
        assert (await site.control("GET", "/ledger"))["opportunities"] == 1


async def test_a_workflow_whose_stage_was_deleted_makes_no_opportunity() -> None:
    async with open_site() as site:
        path = site.simulator.hook_path(site.simulator.add_hook(stage="New Lead"))
        site.simulator.act("delete_stage", stage="New Lead")
        _, answer = await post(site, path, lead())
        assert answer["status"] == QUEUED
        assert site.simulator.ledger.posts[0].outcome == "no_pipeline"


@pytest.mark.parametrize(
    ("switches", "status"),
    [({}, 400), ({"hook_bad_body": "queue"}, 200), ({"hook_body_limit": 1}, 413)],
)
async def test_a_body_that_is_no_object_is_refused_or_queued_by_a_switch(switches: dict[str, Any], status: int) -> None:
    async with open_site(**switches) as site:
        path = site.simulator.hook_path(site.simulator.add_hook())
        assert (await post(site, path, ["a", "list"]))[0] == status
        assert not site.office.location.opportunities.records


async def test_a_hook_limit_is_off_until_switched_on() -> None:
    async with open_site() as site:
        path = site.simulator.hook_path(site.simulator.add_hook())
        assert [(await post(site, path, lead(job)))[0] for job in range(3)] == [200, 200, 200]
        site.simulator.switches.turn(hook_limit=2)
        assert [(await post(site, path, lead(job)))[0] for job in range(3)] == [200, 200, 429]
        site.simulator.clock.advance(11)
        assert (await post(site, path, lead()))[0] == 200


async def test_any_other_path_or_method_under_hooks_is_404() -> None:
    async with open_site() as site:
        path = site.simulator.hook_path(site.simulator.add_hook())
        for method, wrong in (("DELETE", path), ("POST", path + "/more"), ("POST", "/hooks/only")):
            assert (await post(site, wrong, lead(), method))[0] == 404
        assert site.simulator.ledger.post_count == 0
