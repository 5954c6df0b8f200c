"""Opportunities of the simulator: create, update, duplicates, deletions, upsert, stages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulators.gohighlevel_site import open_site

pytestmark = pytest.mark.anyio


async def test_pipelines_carry_stages_with_id_name_and_position() -> None:
    async with open_site() as site:
        listed = (await site.call("GET", "/opportunities/pipelines", locationId=site.place)).body["pipelines"]
        assert len(listed) == 3
        for place, stage in enumerate(listed[0]["stages"]):
            assert {"id", "name", "position"} <= set(stage) and stage["position"] == place


async def test_an_opportunity_reads_back_with_its_fields_at_once() -> None:
    async with open_site() as site:
        contact = await site.contact()
        made = await site.call("POST", "/opportunities/", site.card(contact, "9001", monetaryValue=12.5, source="sync"))
        assert made.status == 201
        read = (await site.call("GET", f"/opportunities/{made.body['opportunity']['id']}")).body["opportunity"]
        assert read["customFields"] == [{"id": site.field("opportunity.st_job_id"), "fieldValue": "9001"}]
        assert (read["monetaryValue"], read["source"], read["contact"]["id"]) == (12.5, "sync", contact)


@pytest.mark.parametrize("name", ["pipelineId", "locationId", "name", "status", "contactId"])
async def test_a_create_without_a_required_property_is_422(name: str) -> None:
    async with open_site() as site:
        body = site.card(await site.contact())
        del body[name]
        reply = await site.call("POST", "/opportunities/", body)
        assert reply.status == 422 and any(name in each for each in reply.body["message"])
        assert not site.office.location.opportunities.records


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"status": "all"}, 422),
        ({"colour": "red"}, 422),
        ({"monetaryValue": "12"}, 422),
        ({"contactId": "nobody"}, 400),
        ({"pipelineId": "nothing"}, 400),
        ({"pipelineStageId": "nothing"}, 400),
    ],
)
async def test_what_a_create_may_not_carry_is_refused(change: dict[str, Any], status: int) -> None:
    async with open_site() as site:
        reply = await site.call("POST", "/opportunities/", site.card(await site.contact(), **change))
        assert reply.status == status
        assert not site.office.location.opportunities.records


async def test_two_creates_make_two_where_duplicates_are_allowed() -> None:
    async with open_site() as site:
        contact = await site.contact()
        ids = {await site.opportunity(contact), await site.opportunity(contact)}
        assert len(ids) == 2
        ledger = await site.control("GET", "/ledger")
        assert ledger["creates_by_job"] == {"9001": 2} and set(ledger["doubled"]["9001"]) == ids


async def test_a_second_card_of_a_contact_in_one_pipeline_is_400_where_duplicates_are_not_allowed() -> None:
    async with open_site() as site:
        site.simulator.act("change_settings", allowDuplicateOpportunity=False)
        contact = await site.contact()
        first = await site.opportunity(contact, "9001")
        reply = await site.call("POST", "/opportunities/", site.card(contact, "9002"))
        assert (reply.status, reply.body["code"]) == (400, "OPPORTUNITY_NO_DUPLICATE")
        assert reply.body["message"] == "Can not create duplicate opportunity for the contact."
        assert (reply.body["meta"], reply.body["error"]) == ({"existingId": first}, "Bad Request")
        elsewhere = site.card(contact, "9002", pipeline=1)
        assert (await site.call("POST", "/opportunities/", elsewhere)).status == 201


@pytest.mark.parametrize(("setting", "status"), [("any_status", 400), ("open", 201)])
async def test_whether_a_won_card_blocks_the_next_is_a_switch(setting: str, status: int) -> None:
    async with open_site(duplicate_counts=setting) as site:
        site.simulator.act("change_settings", allowDuplicateOpportunity=False)
        contact = await site.contact()
        await site.opportunity(contact, status="won")
        assert (await site.call("POST", "/opportunities/", site.card(contact))).status == status


async def test_a_put_changes_what_it_names_and_keeps_the_rest() -> None:
    async with open_site() as site:
        card = await site.opportunity(await site.contact(), monetaryValue=5)
        site.simulator.clock.advance(60)
        stage = site.office.location.pipelines[0]["stages"][2]["id"]
        body = {"pipelineId": site.office.location.pipelines[0]["id"], "pipelineStageId": stage, "status": "won"}
        changed = (await site.call("PUT", f"/opportunities/{card}", body)).body["opportunity"]
        assert (changed["pipelineStageId"], changed["status"], changed["monetaryValue"]) == (stage, "won", 5)
        assert changed["lastStageChangeAt"] > changed["createdAt"] and len(changed["customFields"]) == 1


@pytest.mark.parametrize("name", ["contactId", "locationId"])
async def test_a_put_refuses_contact_and_location(name: str) -> None:
    async with open_site() as site:
        card = await site.opportunity(await site.contact())
        reply = await site.call("PUT", f"/opportunities/{card}", {"name": "x", name: "y"})
        assert (reply.status, reply.body["message"]) == (422, [f"property {name} should not exist"])


async def test_a_status_is_put_by_itself() -> None:
    async with open_site() as site:
        card = await site.opportunity(await site.contact())
        reply = await site.call("PUT", f"/opportunities/{card}/status", {"status": "lost"})
        assert (reply.status, reply.body["succeded"]) == (200, True)
        assert (await site.call("GET", f"/opportunities/{card}")).body["opportunity"]["status"] == "lost"


async def test_a_deleted_opportunity_is_gone_for_get_and_put() -> None:
    async with open_site() as site:
        contact = await site.contact()
        by_api, by_hand = await site.opportunity(contact, "1"), await site.opportunity(contact, "2")
        assert (await site.call("DELETE", f"/opportunities/{by_api}")).body["succeded"] is True
        site.simulator.act("delete_opportunity", opportunity=by_hand)
        for card in (by_api, by_hand):
            assert (await site.call("GET", f"/opportunities/{card}")).status == 404
            assert (await site.call("PUT", f"/opportunities/{card}", {"name": "x"})).status == 404


async def test_a_deleted_or_foreign_stage_is_refused_and_a_renamed_one_keeps_its_id() -> None:
    async with open_site(unknown_stage="422") as site:
        card = await site.opportunity(await site.contact())
        pipeline, other = site.office.location.pipelines[:2]
        gone = site.simulator.act("delete_stage", stage="Estimate Sent")["id"]
        for stage in (gone, other["stages"][0]["id"]):
            body = {"pipelineId": pipeline["id"], "pipelineStageId": stage}
            assert (await site.call("PUT", f"/opportunities/{card}", body)).status == 422
        renamed = site.simulator.act("rename_stage", stage="Estimate Approved", name="Sold")
        body = {"pipelineId": pipeline["id"], "pipelineStageId": renamed["id"]}
        assert (await site.call("PUT", f"/opportunities/{card}", body)).status == 200
        listed = (await site.call("GET", "/opportunities/pipelines", locationId=site.place)).body["pipelines"][0]
        names = [each["name"] for each in listed["stages"]]
        assert "Sold" in names and "Estimate Sent" not in names


async def test_a_card_moved_by_hand_shows_its_new_stage() -> None:
    async with open_site() as site:
        card = await site.opportunity(await site.contact())
        site.simulator.act("move_opportunity", opportunity=card, stage="Estimate Approved", status="won")
        read = (await site.call("GET", f"/opportunities/{card}")).body["opportunity"]
        assert read["pipelineStageId"] == site.office.location.pipelines[0]["stages"][3]["id"]
        assert read["status"] == "won"


@pytest.mark.parametrize(("key", "cards"), [("contact_and_pipeline", 2), ("contact", 1), ("id", 3)])
async def test_an_opportunity_upsert_overwrites_whatever_its_key_finds(key: str, cards: int) -> None:
    async with open_site(upsert_opportunity_key=key) as site:
        contact = await site.contact()
        for job, pipeline in (("1", 0), ("2", 0), ("3", 1)):
            body = site.card(contact, job, pipeline)
            del body["customFields"]
            assert (await site.call("POST", "/opportunities/upsert", body)).status == 200
        assert len(site.office.location.opportunities.records) == cards


async def test_an_opportunity_upsert_takes_no_custom_fields() -> None:
    async with open_site() as site:
        reply = await site.call("POST", "/opportunities/upsert", site.card(await site.contact()))
        assert (reply.status, reply.body["message"]) == (422, ["property customFields should not exist"])


async def test_the_settings_on_duplicates_are_read_from_the_location() -> None:
    async with open_site() as site:
        settings = (await site.call("GET", f"/locations/{site.place}")).body["location"]["settings"]
        assert settings["allowDuplicateOpportunity"] is True and settings["allowDuplicateContact"] is False
        assert settings["contactUniqueIdentifiers"] == ["email", "phone"]


async def test_whether_a_read_shows_custom_fields_and_a_source_is_taken_are_switches() -> None:
    async with open_site(opportunity_get_has_fields=False, opportunity_source_accepted=False) as site:
        contact = await site.contact()
        card = await site.opportunity(contact)
        assert "customFields" not in (await site.call("GET", f"/opportunities/{card}")).body["opportunity"]
        refused = await site.call("POST", "/opportunities/", site.card(contact, source="sync"))
        assert refused.body["message"] == ["property source should not exist"]
