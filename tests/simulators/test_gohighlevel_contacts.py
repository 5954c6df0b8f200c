"""Contacts of the simulator: matching, silent drops, duplicates, tags, notes, custom fields."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulators.gohighlevel_site import ANN, Reply, Site, open_site

pytestmark = pytest.mark.anyio


async def upsert(site: Site, **body: Any) -> Reply:
    return await site.call("POST", "/contacts/upsert", {"locationId": site.place, **body})


async def create(site: Site, **body: Any) -> Reply:
    return await site.call("POST", "/contacts/", {"locationId": site.place, **body})


async def read(site: Site, contact_id: str) -> Any:
    return (await site.call("GET", f"/contacts/{contact_id}")).body["contact"]


async def test_an_upsert_creates_once_and_updates_after() -> None:
    async with open_site() as site:
        first = await upsert(site, **ANN)
        assert (first.status, first.body["new"]) == (200, True)
        second = await upsert(site, email="ANN@example.com ".strip(), city="Mesa")
        assert (second.body["new"], second.body["contact"]["id"]) == (False, first.body["contact"]["id"])
        assert second.body["contact"]["firstName"] == "Ann" and second.body["contact"]["city"] == "Mesa"
        assert second.body["contact"]["emailLowerCase"] == "ann@example.com"


@pytest.mark.parametrize(("order", "wins"), [(["email", "phone"], "a"), (["phone", "email"], "b")])
async def test_email_of_one_and_phone_of_another_updates_the_first_in_order_and_drops_the_rest_silently(
    order: list[str], wins: str
) -> None:
    async with open_site() as site:
        site.simulator.act("change_settings", contactUniqueIdentifiers=order)
        ids = {
            "a": await site.contact(email="a@example.com", phone="+16025550111"),
            "b": await site.contact(email="b@example.com", phone="+16025550122"),
        }
        reply = await upsert(site, email="a@example.com", phone="+16025550122", city="Tempe")
        assert (reply.status, reply.body["contact"]["id"]) == (200, ids[wins])
        a, b = await read(site, ids["a"]), await read(site, ids["b"])
        assert (a["email"], a["phone"]) == ("a@example.com", "+16025550111")
        assert (b["email"], b["phone"]) == ("b@example.com", "+16025550122")
        assert (await read(site, ids[wins]))["city"] == "Tempe"


async def test_two_customers_who_share_a_phone_become_one_contact_by_upsert() -> None:
    async with open_site() as site:
        first = await upsert(site, firstName="Ann", phone="+16025550101")
        second = await upsert(site, firstName="Bob", phone="602-555-0101", email="bob@example.com")
        assert second.body["contact"]["id"] == first.body["contact"]["id"]
        assert second.body["contact"]["firstName"] == "Bob"


async def test_a_location_that_only_knows_email_does_not_match_a_phone() -> None:
    async with open_site() as site:
        site.simulator.act("change_settings", contactUniqueIdentifiers=["email"])
        first = await upsert(site, phone="+16025550101", email="ann@example.com")
        second = await upsert(site, phone="+16025550101", email="bob@example.com")
        assert second.body["new"] and second.body["contact"]["id"] != first.body["contact"]["id"]


async def test_create_new_if_duplicate_allowed_makes_a_new_contact_only_where_duplicates_are_allowed() -> None:
    async with open_site() as site:
        await upsert(site, **ANN)
        assert (await upsert(site, **ANN, createNewIfDuplicateAllowed=True)).body["new"] is False
        site.simulator.act("change_settings", allowDuplicateContact=True)
        assert (await upsert(site, **ANN)).body["new"] is False
        assert (await upsert(site, **ANN, createNewIfDuplicateAllowed=True)).body["new"] is True


async def test_tags_and_source_are_replaced_and_gender_is_discarded_by_an_upsert() -> None:
    async with open_site() as site:
        contact = await site.contact(tags=["old", "Kept?"], source="form", gender="female")
        assert sorted((await read(site, contact))["tags"]) == ["kept?", "old"]
        reply = await upsert(site, email=ANN["email"], tags=["new"], source="sync", gender="male")
        changed = reply.body["contact"]
        assert (changed["tags"], changed["source"], changed["gender"]) == (["new"], "sync", "female")


async def test_custom_fields_merge_by_id() -> None:
    async with open_site() as site:
        site.simulator.act("create_field", name="Zone", model="contact")
        customer, zone = site.field("contact.st_customer_id"), site.field("contact.zone")
        contact = await site.contact(customFields=[{"id": customer, "field_value": "77"}])
        reply = await upsert(site, email=ANN["email"], customFields=[{"id": zone, "field_value": "north"}])
        assert reply.body["contact"]["id"] == contact
        held = {each["id"]: each["value"] for each in reply.body["contact"]["customFields"]}
        assert held == {customer: "77", zone: "north"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"email": ""}, "email must be an email"),
        ({"additionalEmails": ["x@example.com"]}, "property additionalEmails should not exist"),
        ({"firstName": 5}, "firstName must be a string"),
        ({"tags": "vip"}, "each value in tags must be a string"),
        ({"locationId": None}, "locationId must be a string"),
        ({"phone": "12"}, "phone must be a valid phone number"),
    ],
)
async def test_what_an_upsert_may_not_carry_is_422(body: dict[str, Any], message: str) -> None:
    async with open_site() as site:
        reply = await upsert(site, **{**ANN, **body})
        assert (reply.status, reply.body["error"]) == (422, "Unprocessable Entity")
        assert message in reply.body["message"]
        assert not site.office.location.contacts.records


@pytest.mark.parametrize(("setting", "status"), [("create", 200), ("refuse", 422)])
async def test_an_upsert_without_email_and_phone_is_a_switch(setting: str, status: int) -> None:
    async with open_site(contact_without_identifiers=setting) as site:
        replies = [await upsert(site, firstName="Ann") for _ in range(2)]
        assert [each.status for each in replies] == [status, status]
        assert len(site.office.location.contacts.records) == (2 if status == 200 else 0)


@pytest.mark.parametrize(
    ("setting", "stored"), [("normalise", "+16025550101"), ("keep", "602 555 0101"), ("drop", None)]
)
async def test_a_phone_without_country_code_is_read_as_the_switch_says(setting: str, stored: str | None) -> None:
    async with open_site(phone_without_plus=setting) as site:
        assert (await upsert(site, email="ann@example.com", phone="602 555 0101")).body["contact"].get(
            "phone"
        ) == stored


async def test_a_second_create_is_400_with_the_contact_that_is_there() -> None:
    async with open_site() as site:
        contact = await site.contact()
        reply = await create(site, phone=ANN["phone"], email="other@example.com")
        assert reply.status == 400
        assert reply.body["message"] == "This location does not allow duplicated contacts."
        meta = {"contactId": contact, "matchingField": "phone", "contactName": "Ann Example"}
        assert reply.body["meta"] == meta
        site.simulator.act("change_settings", allowDuplicateContact=True)
        assert (await create(site, **ANN)).status == 201


@pytest.mark.parametrize("name", ["locationId", "gender", "companyName", "anything"])
async def test_a_put_refuses_what_it_does_not_list(name: str) -> None:
    async with open_site() as site:
        contact = await site.contact()
        reply = await site.call("PUT", f"/contacts/{contact}", {"city": "Mesa", name: "x"})
        assert (reply.status, reply.body["message"]) == (422, [f"property {name} should not exist"])
        assert "city" not in await read(site, contact)


async def test_a_put_that_takes_another_contacts_phone_is_400() -> None:
    async with open_site() as site:
        other = await site.contact(email="a@example.com", phone="+16025550111")
        contact = await site.contact(email="b@example.com", phone="+16025550122")
        reply = await site.call("PUT", f"/contacts/{contact}", {"phone": "+16025550111"})
        assert (reply.status, reply.body["meta"]["contactId"]) == (400, other)


async def test_a_put_is_answered_with_succeded_and_the_contact() -> None:
    async with open_site() as site:
        contact = await site.contact()
        reply = await site.call("PUT", f"/contacts/{contact}", {"city": "Mesa"})
        assert (reply.status, reply.body["succeded"], reply.body["contact"]["city"]) == (200, True, "Mesa")


@pytest.mark.parametrize("status", [404, 400])
async def test_a_dead_contact_id_answers_as_the_switch_says(status: int) -> None:
    async with open_site(missing_record=str(status)) as site:
        contact = await site.contact()
        site.simulator.act("delete_contact", contact=contact)
        for method, body in (("GET", None), ("PUT", {"city": "Mesa"}), ("DELETE", None)):
            assert (await site.call(method, f"/contacts/{contact}", body)).status == status


async def test_merged_contacts_leave_a_dead_id_and_the_other_one_answers_to_both_identities() -> None:
    async with open_site() as site:
        keep = await site.contact(email="a@example.com", phone="+16025550111")
        gone = await site.contact(email="b@example.com", phone="+16025550122")
        card = await site.opportunity(gone)
        site.simulator.act("merge_contacts", keep=keep, gone=gone)
        assert (await site.call("GET", f"/contacts/{gone}")).status == 404
        assert (await site.call("GET", f"/opportunities/{card}")).body["opportunity"]["contactId"] == keep
        reply = await upsert(site, email="b@example.com")
        assert (reply.body["contact"]["id"], reply.body["contact"]["email"]) == (keep, "b@example.com")
        assert reply.body["contact"]["additionalEmails"] == []


async def test_tags_are_added_and_removed_without_touching_the_others() -> None:
    async with open_site() as site:
        contact = await site.contact(tags=["one"])
        added = await site.call("POST", f"/contacts/{contact}/tags", {"tags": ["Two", "one"]})
        assert (added.status, added.body["tags"]) == (201, ["one", "two"])
        removed = await site.call("DELETE", f"/contacts/{contact}/tags", {"tags": ["ONE"]})
        assert (removed.status, removed.body["tags"]) == (200, ["two"])


async def test_whether_unknown_tags_are_made_and_case_is_folded_are_switches() -> None:
    async with open_site(unknown_tags="ignore", fold_tag_case=False) as site:
        site.simulator.act("create_tag", name="VIP")
        contact = await site.contact()
        added = await site.call("POST", f"/contacts/{contact}/tags", {"tags": ["VIP", "unheard of"]})
        assert added.body["tags"] == ["VIP"]


async def test_a_repeated_note_is_there_twice_and_contact_id_in_its_body_is_422() -> None:
    async with open_site() as site:
        contact = await site.contact()
        path = f"/contacts/{contact}/notes"
        for _ in range(2):
            made = await site.call("POST", path, {"body": "[st-job:9001] booked"})
            assert made.status == 201 and made.body["note"]["contactId"] == contact
        assert len((await site.call("GET", path)).body["notes"]) == 2
        wrong = await site.call("POST", path, {"body": "x", "contactId": contact})
        assert (wrong.status, wrong.body["message"]) == (422, ["property contactId should not exist"])


async def test_custom_fields_are_listed_by_model_and_created_with_a_prefixed_key() -> None:
    async with open_site() as site:
        path = f"/locations/{site.place}/customFields"
        made = await site.call("POST", path, {"name": "Gate Code", "dataType": "TEXT", "model": "contact"})
        assert (made.status, made.body["customField"]["fieldKey"]) == (201, "contact.gate_code")
        contact_keys = [
            each["fieldKey"] for each in (await site.call("GET", path, model="contact")).body["customFields"]
        ]
        assert contact_keys == ["contact.st_customer_id", "contact.gate_code"]
        assert len((await site.call("GET", path, model="all")).body["customFields"]) == 5
        again = await site.call("POST", path, {"name": "Gate Code", "dataType": "TEXT", "model": "contact"})
        assert again.status == 400


@pytest.mark.parametrize(("setting", "status"), [("ignore", 200), ("refuse", 422)])
async def test_an_unknown_custom_field_is_dropped_or_refused_by_a_switch(setting: str, status: int) -> None:
    async with open_site(unknown_custom_field=setting) as site:
        known = site.field("contact.st_customer_id")
        for item in ({"id": "nothing", "field_value": "77"}, {"id": known, "fieldValue": "77"}):
            reply = await upsert(site, **ANN, customFields=[item])
            assert reply.status == status
            if status == 200:
                assert reply.body["contact"]["customFields"] == []


async def test_a_date_field_takes_no_epoch_and_a_number_field_no_words() -> None:
    async with open_site() as site:
        when = site.simulator.act("create_field", name="When", model="contact", data_type="DATE")["id"]
        count = site.simulator.act("create_field", name="Count", model="contact", data_type="NUMERICAL")["id"]
        good = [{"id": when, "field_value": "2026-03-02"}, {"id": count, "field_value": 3}]
        assert (await upsert(site, **ANN, customFields=good)).status == 200
        for item in (
            {"id": when, "field_value": 1772452800},
            {"id": when, "field_value": "1772452800"},
            {"id": count, "field_value": "many"},
        ):
            assert (await upsert(site, **ANN, customFields=[item])).status == 422
