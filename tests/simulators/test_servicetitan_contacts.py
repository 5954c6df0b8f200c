"""Contacts of customers and locations, with the traps of sections 2.3, 5 and 6 of the ServiceTitan contract."""

from __future__ import annotations

from collections import Counter

import pytest

from jobsync.simulators.servicetitan import Dataset, Switches, write_instant
from tests.simulators.servicetitan_site import open_site

pytestmark = pytest.mark.anyio


async def test_a_customers_contacts_lack_its_id_bulk_rows_add_it_and_export_rows_add_active() -> None:
    async with open_site() as site:
        parent = next(iter(site.data.tables["customers/contacts"])).key[1]
        own = (await site.read(f"crm/customers/{parent}/contacts"))["data"]
        bulk = (await site.read("crm/customers/contacts", customerIds=parent))["data"]
        feed = [row for row in await site.read_feed("crm/export/customers/contacts") if row["customerId"] == parent]
        assert own and "customerId" not in own[0] and "active" not in own[0]
        assert {row["customerId"] for row in bulk} == {parent} and "active" not in bulk[0]
        assert all(row["active"] for row in feed)
        assert (
            sorted(row["id"] for row in own) == sorted(row["id"] for row in bulk) == sorted(row["id"] for row in feed)
        )


async def test_locations_have_contacts_of_their_own() -> None:
    async with open_site() as site:
        parent = next(iter(site.data.tables["locations/contacts"])).key[1]
        rows = (await site.read("crm/locations/contacts", locationIds=parent))["data"]
        assert rows and {row["locationId"] for row in rows} == {parent}
        assert len((await site.read(f"crm/locations/{parent}/contacts"))["data"]) == len(rows)


async def test_an_unknown_customer_answers_404_and_one_without_contacts_an_empty_page() -> None:
    async with open_site() as site:
        await site.read("crm/customers/1/contacts", status=404)
        having = {record.key[1] for record in site.data.tables["customers/contacts"]}
        silent = next(key for key in list(site.data.tables["customers"].keys()) if key not in having)
        assert (await site.read(f"crm/customers/{silent}/contacts"))["data"] == []


async def test_the_bulk_list_needs_ids_or_a_modified_bound() -> None:
    async with open_site() as site:
        await site.read("crm/customers/contacts", status=400)
        await site.read("crm/customers/contacts", status=400, createdOnOrAfter="2020-01-01")
        await site.read("crm/locations/contacts", status=400)
        await site.read("crm/locations/contacts", createdOnOrAfter="2020-01-01")
        await site.read("crm/customers/contacts", modifiedBefore="2030-01-01")
        ids = ",".join(map(str, site.data.tables["customers"].keys()[:51]))
        assert "CustomerIds" in (await site.read("crm/customers/contacts", status=400, customerIds=ids))["errors"]


async def test_contact_ids_are_not_unique_alone() -> None:
    async with open_site(jobs=240) as site:
        rows = await site.read_feed("crm/export/customers/contacts")
        assert max(Counter(row["id"] for row in rows).values()) == 2
        assert max(Counter((row["id"], row["customerId"]) for row in rows).values()) == 1


async def test_the_people_are_as_real_ones_are() -> None:
    async with open_site(jobs=1000) as site:
        rows = (await site.read("crm/customers/contacts", modifiedBefore="2030-01-01", pageSize=5000))["data"]
        kinds = Counter(row["type"] for row in rows)
        assert set(kinds) == {"Phone", "MobilePhone", "Email", "Fax"}
        assert any(row["createdOn"] == "0001-01-01T00:00:00Z" for row in rows)
        assert all(row["phoneSettings"] is None for row in rows if row["type"] == "Email")
        phones = [row for row in rows if row["type"] != "Email"]
        assert any(row["phoneSettings"]["doNotText"] for row in phones)
        shapes = {"".join("9" if char.isdigit() else char for char in row["value"]) for row in phones}
        assert len(shapes) >= 10
        assert all("55501" in "".join(filter(str.isdigit, row["value"])) for row in phones)
        mails = [row["value"] for row in rows if row["type"] == "Email"]
        assert all("example.com" in mail.lower() or mail == "none" for mail in mails)
        by_owner = Counter(row["customerId"] for row in rows)
        everyone = site.data.tables["customers"].keys()
        assert any(by_owner[key] == 0 for key in everyone) and any(by_owner[key] >= 4 for key in everyone)
        only_fax = {row["customerId"] for row in rows} - {row["customerId"] for row in rows if row["type"] != "Fax"}
        assert only_fax
        assert any(row["memo"] for row in rows if row["type"] == "Fax")


@pytest.mark.parametrize(("choice", "expected"), [("empty", {"phoneNumber": "", "doNotText": False}), ("missing", "")])
async def test_phone_settings_of_an_email_are_a_switch(choice: str, expected: object) -> None:
    switches = Switches()
    switches.turn(email_phone_settings=choice)
    async with open_site(Dataset.generate(seed=7, jobs=20, switches=switches)) as site:
        rows = (await site.read("crm/customers/contacts", modifiedBefore="2030-01-01"))["data"]
        mails = [row for row in rows if row["type"] == "Email"]
        assert mails and all(row.get("phoneSettings", "") == expected for row in mails)


async def test_an_edited_contact_shows_in_the_contacts_only_never_in_the_customer() -> None:
    async with open_site() as site:
        contact, parent = next(iter(site.data.tables["customers/contacts"])).key
        since = write_instant(site.simulator.clock.now())
        site.act.change_contact(owner="customers", parent=parent, contact=contact, value="new@example.com")
        rows = (await site.read("crm/customers/contacts", modifiedOnOrAfter=since))["data"]
        assert [(row["id"], row["value"]) for row in rows] == [(contact, "new@example.com")]
        assert (await site.read("crm/customers", modifiedOnOrAfter=since, active="Any"))["data"] == []
        site.simulator.switches.turn(contact_edit_touches_parent=True)
        site.act.change_contact(owner="customers", parent=parent, contact=contact, do_not_text=True)
        assert len((await site.read("crm/customers", modifiedOnOrAfter=since, active="Any"))["data"]) == 1


async def test_a_removed_contact_is_seen_only_in_the_feed() -> None:
    async with open_site() as site:
        contact, parent = next(iter(site.data.tables["customers/contacts"])).key
        since = write_instant(site.simulator.clock.now())
        site.act.remove_contact(owner="customers", parent=parent, contact=contact)
        assert contact not in [row["id"] for row in (await site.read(f"crm/customers/{parent}/contacts"))["data"]]
        assert (await site.read("crm/customers/contacts", modifiedOnOrAfter=since))["data"] == []
        feed = await site.read("crm/export/customers/contacts", from_=since, includeRecentChanges="true")
        assert [(row["id"], row["active"]) for row in feed["data"]] == [(contact, False)]


async def test_customers_are_found_by_the_digits_of_a_phone() -> None:
    async with open_site() as site:
        active = {record.id for record in site.data.tables["customers"] if record.active}
        record = next(
            record
            for record in site.data.tables["customers/contacts"]
            if record.fields()["type"] == "MobilePhone" and record.key[1] in active
        )
        digits = "".join(filter(str.isdigit, record.fields()["value"]))[:10].lstrip("1")
        found = await site.read("crm/customers", phone=digits)
        assert record.key[1] in [row["id"] for row in found["data"]]
