"""Searches of the simulator: they trail, they page, they insist on their spelling."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulators.gohighlevel_site import ANN, Reply, Site, open_site

pytestmark = pytest.mark.anyio
AT_ONCE = {"search_lag_min_seconds": 0.0, "search_lag_max_seconds": 0.0}


async def search(site: Site, **query: Any) -> Reply:
    return await site.call("GET", "/opportunities/search", **{"location_id": site.place, "status": "all", **query})


async def test_a_search_sees_a_write_after_the_lag_and_not_before() -> None:
    async with open_site(search_lag_min_seconds=40.0, search_lag_max_seconds=40.0) as site:
        contact = await site.contact()
        card = await site.opportunity(contact)
        assert (await search(site, contact_id=contact)).body["opportunities"] == []
        assert (await site.call("GET", f"/opportunities/{card}")).status == 200
        site.simulator.clock.advance(39)
        assert (await search(site, contact_id=contact)).body["meta"]["total"] == 0
        site.simulator.clock.advance(2)
        assert [each["id"] for each in (await search(site, contact_id=contact)).body["opportunities"]] == [card]
        await site.call("DELETE", f"/opportunities/{card}")
        assert (await search(site, contact_id=contact)).body["meta"]["total"] == 1
        site.simulator.clock.advance(41)
        assert (await search(site, contact_id=contact)).body["meta"]["total"] == 0


async def test_an_older_state_never_overtakes_a_newer_one_although_lags_vary() -> None:
    async with open_site(search_lag_min_seconds=0.0, search_lag_max_seconds=45.0) as site:
        card = await site.opportunity(await site.contact())
        seen = 0
        for value in range(1, 30):
            await site.call("PUT", f"/opportunities/{card}", {"monetaryValue": value})
            site.simulator.clock.advance(3)
            found = (await search(site)).body["opportunities"]
            assert not found or found[0]["monetaryValue"] >= seen
            seen = found[0]["monetaryValue"] if found else 0
        site.simulator.clock.advance(46)
        assert (await search(site)).body["opportunities"][0]["monetaryValue"] == 29


@pytest.mark.parametrize("name", ["contactId", "pipelineId", "pipelineStageId", "assignedTo"])
async def test_camel_case_is_422_under_the_dated_versions(name: str) -> None:
    async with open_site() as site:
        reply = await search(site, **{name: "x"})
        assert (reply.status, reply.body["message"]) == (422, [f"property {name} should not exist"])


async def test_camel_case_alone_also_misses_the_location() -> None:
    async with open_site() as site:
        reply = await site.call("GET", "/opportunities/search", locationId=site.place)
        assert reply.status == 422
        assert {"property locationId should not exist", "location_id must be a string"} <= set(reply.body["message"])


async def test_version_three_wants_camel_case_and_writes_field_value_in_camel_case() -> None:
    async with open_site(**AT_ONCE) as site:
        contact = await site.contact()
        item = {"id": site.field("opportunity.st_job_id"), "fieldValue": "9001"}
        made = await site.call("POST", "/opportunities/", site.card(contact, customFields=[item]), version="v3")
        assert len(made.body["opportunity"]["customFields"]) == 1
        query = {"locationId": site.place, "contactId": contact, "status": "all"}
        assert (await site.call("GET", "/opportunities/search", version="v3", **query)).body["meta"]["total"] == 1
        snake = await site.call("GET", "/opportunities/search", version="v3", location_id=site.place)
        assert snake.status == 422


async def test_pages_by_start_after_bring_every_card_once() -> None:
    async with open_site(**AT_ONCE) as site:
        contact = await site.contact()
        made = []
        for job in range(45):
            site.simulator.clock.advance(1 if job % 30 == 0 else 0)
            made.append(await site.opportunity(contact, str(job)))
        first = await search(site, contact_id=contact)
        assert len(first.body["opportunities"]) == 20 and first.body["meta"]["total"] == 45
        assert first.body["meta"]["nextPage"] == 2 and "/opportunities/search?" in first.body["meta"]["nextPageUrl"]
        seen, meta = [each["id"] for each in first.body["opportunities"]], first.body["meta"]
        while "startAfterId" in meta:
            page = await search(
                site, contact_id=contact, startAfter=meta["startAfter"], startAfterId=meta["startAfterId"]
            )
            seen += [each["id"] for each in page.body["opportunities"]]
            meta = page.body["meta"]
        assert sorted(seen) == sorted(made) and len(seen) == 45
        third = await search(site, contact_id=contact, page=3)
        assert len(third.body["opportunities"]) == 5 and third.body["meta"]["prevPage"] == 2


@pytest.mark.parametrize(("setting", "status"), [("refuse", 422), ("clamp", 200)])
async def test_a_limit_above_a_hundred_is_a_switch(setting: str, status: int) -> None:
    async with open_site(over_limit=setting) as site:
        assert (await search(site, limit=100)).status == 200
        assert (await search(site, limit=101)).status == status


async def test_a_long_q_and_an_unknown_status_are_422_and_a_search_without_status_sees_open_cards_only() -> None:
    async with open_site(**AT_ONCE) as site:
        assert (await search(site, q="x" * 76)).status == 422
        assert (await search(site, status="sold")).status == 422
        await site.opportunity(await site.contact(), status="won")
        without = await site.call("GET", "/opportunities/search", location_id=site.place)
        assert without.body["meta"]["total"] == 0
        site.simulator.switches.turn(search_status_default="all")
        without = await site.call("GET", "/opportunities/search", location_id=site.place)
        assert without.body["meta"]["total"] == 1


async def test_a_card_that_moved_is_found_without_a_pipeline_filter_only() -> None:
    async with open_site(**AT_ONCE) as site:
        contact = await site.contact()
        card = await site.opportunity(contact)
        first = site.office.location.pipelines[0]["id"]
        site.simulator.act("move_opportunity", opportunity=card, pipeline="Install Pipeline")
        assert (await search(site, contact_id=contact, pipeline_id=first)).body["meta"]["total"] == 0
        assert (await search(site, contact_id=contact)).body["meta"]["total"] == 1


@pytest.mark.parametrize(("setting", "key"), [("typed", "fieldValueString"), ("spec", "fieldValue"), ("absent", None)])
async def test_how_a_search_shows_custom_fields_is_a_switch(setting: str, key: str | None) -> None:
    async with open_site(search_field_shape=setting, **AT_ONCE) as site:
        await site.opportunity(await site.contact())
        [found] = (await search(site)).body["opportunities"]
        assert key is None or found["customFields"][0][key] == "9001"
        assert ("customFields" in found) is (key is not None)


@pytest.mark.parametrize(("setting", "total"), [("contact", 0), ("contact_and_name", 1)])
async def test_whether_q_looks_into_the_name_is_a_switch(setting: str, total: int) -> None:
    async with open_site(q_matches=setting, **AT_ONCE) as site:
        await site.opportunity(await site.contact(), "9001")
        assert (await search(site, q="ann@example.com")).body["meta"]["total"] == 1
        assert (await search(site, q="#9001")).body["meta"]["total"] == total


@pytest.mark.parametrize(("setting", "status", "total"), [("refuse", 401, 0), ("ignore", 200, 2), ("honour", 200, 1)])
async def test_a_filter_on_custom_fields_is_not_to_be_counted_on(setting: str, status: int, total: int) -> None:
    async with open_site(post_search_filters=setting, **AT_ONCE) as site:
        contact = await site.contact()
        for job in ("1", "2"):
            await site.opportunity(contact, job)
        field = f"custom_fields.{site.field('opportunity.st_job_id')}"
        details = dict.fromkeys(("notes", "tasks", "calendarEvents", "unReadConversations"), False)
        body = {"locationId": site.place, "query": "", "limit": 20, "page": 1, "searchAfter": []}
        body |= {"additionalDetails": details, "filters": [{"field": field, "operator": "eq", "value": "2"}]}
        reply = await site.call("POST", "/opportunities/search", body)
        assert reply.status == status
        assert status == 401 or reply.body["total"] == total
        del body["additionalDetails"]
        assert (await site.call("POST", "/opportunities/search", body)).status == 422


async def find_contacts(site: Site, field: str, value: str) -> list[str]:
    filters = [{"field": field, "operator": "eq", "value": value}]
    reply = await site.call(
        "POST", "/contacts/search", {"locationId": site.place, "pageLimit": 100, "filters": filters}
    )
    assert reply.status == 200, reply.body
    return [each["id"] for each in reply.body["contacts"]]


async def test_contacts_are_found_by_email_phone_and_custom_field_id_after_the_lag() -> None:
    async with open_site() as site:
        customer = site.field("contact.st_customer_id")
        contact = await site.contact(customFields=[{"id": customer, "field_value": "77"}])
        wanted = (("email", "ANN@example.com"), ("phone", ANN["phone"]), (f"customFields.{customer}", "77"))
        assert [await find_contacts(site, *each) for each in wanted] == [[], [], []]
        site.simulator.clock.advance(6)
        assert [await find_contacts(site, *each) for each in wanted] == [[contact]] * 3
        by_name = [{"field": "customFields.st_customer_id", "operator": "eq", "value": "77"}]
        body = {"locationId": site.place, "pageLimit": 10, "filters": by_name}
        assert (await site.call("POST", "/contacts/search", body)).status == 422


async def test_contacts_page_by_search_after() -> None:
    async with open_site(**AT_ONCE) as site:
        made = [await site.contact(email=f"c{n}@example.com", phone=f"+1602555{n:04d}") for n in range(100, 107)]
        seen: list[str] = []
        after: list[Any] = []
        for _ in range(4):
            body = {"locationId": site.place, "pageLimit": 3} | ({"searchAfter": after} if after else {})
            page = (await site.call("POST", "/contacts/search", body)).body
            assert page["total"] == 7
            seen += [each["id"] for each in page["contacts"]]
            after = page["contacts"][-1]["searchAfter"] if page["contacts"] else after
        assert sorted(seen) == sorted(made)


@pytest.mark.parametrize("lags", [False, True])
async def test_whether_the_duplicate_look_up_trails_is_a_switch(lags: bool) -> None:
    async with open_site(duplicate_search_lags=lags) as site:
        contact = await site.contact()
        query = {"locationId": site.place, "number": ANN["phone"]}
        found = (await site.call("GET", "/contacts/search/duplicate", **query)).body["contact"]
        assert (found is None) is lags
        site.simulator.clock.advance(6)
        assert (await site.call("GET", "/contacts/search/duplicate", **query)).body["contact"]["id"] == contact
        other = {**query, "number": "+16025550199"}
        assert (await site.call("GET", "/contacts/search/duplicate", **other)).body["contact"] is None
