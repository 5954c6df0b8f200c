"""What happens in the simulated office, and where it shows."""

from __future__ import annotations

from typing import Any

import pytest

from jobsync.simulators.servicetitan import list_versions, read_instant, write_instant
from tests.simulators.servicetitan_site import Site, open_site

pytestmark = pytest.mark.anyio


async def changed(site: Site, where: str, since: str, **query: Any) -> list[dict[str, Any]]:
    return (await site.read(where, modifiedOnOrAfter=since, pageSize=5000, **query))["data"]


def now(site: Site) -> str:
    return write_instant(site.simulator.clock.now())


async def test_a_booked_job_shows_with_its_appointment_and_assignment() -> None:
    async with open_site() as site:
        since = now(site)
        job = site.act.book_job(unit=1308, summary="<p>Booked</p>")
        row = (await changed(site, "jpm/jobs", since))[0]
        assert (row["id"], row["businessUnitId"], row["summary"], row["jobStatus"]) == (
            job,
            1308,
            "<p>Booked</p>",
            "Scheduled",
        )
        assert row["createdOn"] == row["modifiedOn"]
        visits = await changed(site, "jpm/appointments", since)
        assert [(visit["id"], visit["jobId"]) for visit in visits] == [(row["firstAppointmentId"], job)]
        assert [each["jobId"] for each in await changed(site, "dispatch/appointment-assignments", since)] == [job]
        assert await changed(site, "crm/customers", since) == []


async def test_a_job_for_a_new_customer_brings_customer_location_and_contacts() -> None:
    async with open_site() as site:
        since = now(site)
        job = site.act.book_job(new_customer=True)
        row = await site.read(f"jpm/jobs/{job}")
        assert [each["id"] for each in await changed(site, "crm/customers", since)] == [row["customerId"]]
        assert [each["id"] for each in await changed(site, "crm/locations", since)] == [row["locationId"]]
        contacts = await changed(site, "crm/customers/contacts", since)
        assert {each["type"] for each in contacts} == {"MobilePhone", "Email"}
        assert len(await changed(site, "crm/locations/contacts", since)) == 2


async def test_completing_a_job_bumps_it_prices_it_and_makes_an_invoice() -> None:
    async with open_site() as site:
        job = site.act.book_job()
        site.simulator.clock.advance(600)
        since = now(site)
        site.act.complete_job(job=job, total=199.5)
        row = (await changed(site, "jpm/jobs", since))[0]
        assert (row["jobStatus"], row["total"]) == ("Completed", 199.5) and row["completedOn"] == since
        invoice = (await changed(site, "accounting/invoices", since))[0]
        assert (invoice["id"], invoice["total"], invoice["job"]["id"]) == (row["invoiceId"], "199.50", job)
        assert (await changed(site, "jpm/appointments", since))[0]["status"] == "Done"


async def test_a_canceled_job_keeps_its_row_and_gets_a_line_in_the_log() -> None:
    async with open_site() as site:
        job = site.act.book_job()
        site.act.cancel_job(job=job, reason=72)
        assert (await site.read(f"jpm/jobs/{job}"))["jobStatus"] == "Canceled"
        log = (await site.read(f"jpm/jobs/{job}/canceled-log"))["data"]
        assert [line["reasonId"] for line in log] == [72]


async def test_rescheduling_moves_the_visit_and_touches_the_job() -> None:
    async with open_site() as site:
        job = site.act.book_job()
        before = await site.read(f"jpm/jobs/{job}")
        visit = await site.read(f"jpm/appointments/{before['firstAppointmentId']}")
        site.act.reschedule_job(job=job, days=2)
        after = await site.read(f"jpm/jobs/{job}")
        assert read_instant(after["modifiedOn"]) > read_instant(before["modifiedOn"])
        moved = await site.read(f"jpm/appointments/{visit['id']}")
        assert moved["start"][:10] > visit["start"][:10]


async def test_a_job_can_move_to_another_customer_location_and_unit() -> None:
    async with open_site() as site:
        job = site.act.book_job()
        customer, location = site.data.homes[0]
        site.act.change_job(job=job, customerId=customer, locationId=location, businessUnitId=4623)
        found = await site.read("jpm/jobs", customerId=customer, businessUnitId=4623, pageSize=500)
        assert job in [row["id"] for row in found["data"]]


async def test_a_bulk_edit_gives_many_jobs_one_modified_on() -> None:
    async with open_site() as site:
        since = now(site)
        ids = site.act.bulk_edit(jobs=25, priority="Low")
        rows = await changed(site, "jpm/jobs", since)
        assert {row["id"] for row in rows} == set(ids) and len({row["modifiedOn"] for row in rows}) == 1


async def test_a_deleted_appointment_vanishes_from_the_list_and_is_inactive_in_the_feed() -> None:
    async with open_site() as site:
        since = now(site)
        job = site.act.book_job()
        visit = (await site.read(f"jpm/jobs/{job}"))["firstAppointmentId"]
        site.act.delete_appointment(appointment=visit)
        assert await changed(site, "jpm/appointments", since) == []
        feed = await site.read("jpm/export/appointments", from_=since, includeRecentChanges="true")
        assert [(row["id"], row["active"]) for row in feed["data"]] == [(visit, False)]
        assert (await site.read(f"jpm/jobs/{job}"))["appointmentCount"] == 0


async def test_a_merge_deactivates_and_leaves_the_jobs_alone_unless_the_switch_says_otherwise() -> None:
    async with open_site() as site:
        a, b, c = (site.act.add_customer()[0] for _ in range(3))
        job = site.act.book_job(customer=a)
        since = now(site)
        site.act.merge_customer(customer=a, into=b)
        gone = await site.read(f"crm/customers/{a}")
        assert (gone["active"], gone["mergedToId"]) == (False, b)
        assert (await site.read(f"jpm/jobs/{job}"))["customerId"] == a
        assert await changed(site, "jpm/jobs", since) == []
        site.simulator.switches.turn(merge_repoints_jobs=True)
        other = site.act.book_job(customer=b)
        site.act.merge_customer(customer=b, into=c)
        assert (await site.read(f"jpm/jobs/{other}"))["customerId"] == c


async def test_an_estimate_is_sold_silently_by_default() -> None:
    async with open_site() as site:
        job = site.act.book_job()
        estimate = site.act.add_estimate(job=job)
        assert (await site.read(f"jpm/jobs/{job}"))["estimateIds"] == [estimate]
        site.simulator.clock.advance(86_400)
        await site.log_in()
        since = now(site)
        site.act.sell_estimate(estimate=estimate)
        assert await changed(site, "sales/estimates", since) == []
        sold = (await site.read("sales/estimates", soldAfter=since))["data"]
        assert [(row["id"], row["status"]["name"]) for row in sold] == [(estimate, "Sold")]
        versions = list(list_versions(site.data.tables["estimates"]))
        assert [version["silent"] for version in versions] == [False, True]


async def test_the_version_ledger_holds_every_version_that_was_ever_visible() -> None:
    async with open_site() as site:
        assert list(list_versions(site.data.tables["jobs"])) == []
        job = site.act.book_job()
        site.act.change_job(job=job, priority="Urgent")
        late = site.act.book_job(visible_after=600)
        seen = [(version["id"], version["active"]) for version in list_versions(site.data.tables["jobs"])]
        assert seen == [(job, True), (job, True)]
        site.simulator.clock.advance(601)
        await site.read("jpm/jobs")
        versions = list(list_versions(site.data.tables["jobs"], bodies=True))
        assert [version["id"] for version in versions] == [job, job, late]
        assert versions[2]["modifiedOn"] < versions[2]["visibleAt"]
        assert len(list(list_versions(site.data.tables["jobs"], -1))) == 123


async def test_a_late_change_shows_in_its_time_unless_a_newer_one_came_first() -> None:
    async with open_site() as site:
        job, other = site.act.book_jobs(count=2, priority="Normal")
        site.act.change_job(job=job, priority="Urgent", visible_after=60)
        site.act.change_job(job=other, priority="Urgent", visible_after=60)
        site.act.change_job(job=other, priority="Low")
        assert (await site.read(f"jpm/jobs/{job}"))["priority"] == "Normal"
        site.simulator.clock.advance(61)
        assert (await site.read(f"jpm/jobs/{job}"))["priority"] == "Urgent"
        assert (await site.read(f"jpm/jobs/{other}"))["priority"] == "Low"


async def test_a_living_office_books_and_moves_jobs() -> None:
    async with open_site() as site:
        since = now(site)
        done = [site.simulator.life().turn() for _ in range(24)]
        booked = {turn["booked"] for turn in done}
        assert len(booked) == 24
        assert {"moved", "canceled", "rescheduled"} & {name for turn in done for name in turn}
        assert booked <= {row["id"] for row in await changed(site, "jpm/jobs", since)}


async def test_unknown_rows_are_named() -> None:
    async with open_site() as site:
        with pytest.raises(LookupError, match="no row 5 in jobs"):
            site.act.change_job(job=5)
        with pytest.raises(LookupError, match="no row 5 in customers"):
            site.act.add_contact(owner="customers", parent=5, kind="Email", value="x@example.com")
