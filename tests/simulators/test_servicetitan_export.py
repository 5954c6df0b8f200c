"""Export feeds: opaque keyset cursor, lag, repeats, inactive rows (ServiceTitan contract, section 2.2)."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from jobsync.simulators.servicetitan import read_instant, write_instant
from tests.simulators.servicetitan_site import open_site

pytestmark = pytest.mark.anyio

FEEDS = (
    "jpm/export/jobs", "jpm/export/appointments", "jpm/export/projects", "jpm/export/job-history",
    "jpm/export/job-canceled-logs", "jpm/export/job-notes", "jpm/export/project-notes", "crm/export/customers",
    "crm/export/customers/contacts", "crm/export/locations", "crm/export/locations/contacts", "crm/export/leads",
    "crm/export/bookings", "settings/export/business-units", "settings/export/technicians", "settings/export/employees",
    "settings/export/tag-types", "accounting/export/invoices", "accounting/export/invoice-items",
    "accounting/export/payments", "accounting/export/inventory-bills", "sales/export/estimates",
    "sales/estimates/export", "sales/export/opportunities", "dispatch/export/appointment-assignments",
)  # fmt: skip


async def test_every_documented_feed_answers_its_three_members() -> None:
    async with open_site() as site:
        for feed in FEEDS:
            body = await site.read(feed)
            assert list(body) == ["hasMore", "continueFrom", "data"], feed
            assert isinstance(body["continueFrom"], str) and body["continueFrom"]


async def test_pages_follow_modified_on_and_lose_or_repeat_nothing() -> None:
    async with open_site(export_rows_per_call=7) as site:
        rows = await site.read_feed("jpm/export/jobs")
        assert Counter(row["id"] for row in rows) == Counter(site.data.tables["jobs"].keys())
        moments = [read_instant(row["modifiedOn"]) for row in rows]
        assert moments == sorted(moments)
        assert len(set(moments)) < len(moments)  # ties exist, and a page boundary inside them lost nothing


async def test_rows_of_jobs_carry_active_and_inactive_rows_of_others_are_there() -> None:
    async with open_site() as site:
        assert {row["active"] for row in await site.read_feed("jpm/export/jobs")} == {True}
        customers = await site.read_feed("crm/export/customers")
        assert any(not row["active"] and row["mergedToId"] for row in customers)
        visits = await site.read_feed("jpm/export/appointments")
        assert {row["active"] for row in visits} == {True, False}
        assert all(row["active"] for row in await site.read_feed("jpm/export/appointments", active="True"))


async def test_from_takes_a_date_inclusively_and_a_token_exclusively() -> None:
    async with open_site(export_rows_per_call=10) as site:
        page = await site.read("jpm/export/jobs")
        last = page["data"][-1]
        again = await site.read("jpm/export/jobs", from_=last["modifiedOn"])
        assert last["id"] in [row["id"] for row in again["data"]]
        onwards = await site.read("jpm/export/jobs", from_=page["continueFrom"])
        assert last["id"] not in [row["id"] for row in onwards["data"]]
        day = await site.read_feed("jpm/export/jobs", from_="2025-06-01")
        assert min(read_instant(row["modifiedOn"]) for row in day) >= read_instant("2025-06-01")


async def test_the_token_is_28_characters_and_the_last_page_gives_one_too() -> None:
    async with open_site() as site:
        page = await site.read("jpm/export/jobs")
        assert page["hasMore"] is False and len(page["continueFrom"]) == 28
        after = await site.read("jpm/export/jobs", from_=page["continueFrom"])
        assert (after["data"], after["hasMore"], after["continueFrom"]) == ([], False, page["continueFrom"])


async def test_a_changed_row_moves_to_the_tail_and_only_its_newest_version_comes() -> None:
    async with open_site() as site:
        token = (await site.read("jpm/export/jobs"))["continueFrom"]
        job = site.data.tables["jobs"].keys()[3]
        site.act.change_job(job=job, priority="Low")
        site.act.change_job(job=job, priority="Urgent")
        site.simulator.clock.advance(301)
        rows = (await site.read("jpm/export/jobs", from_=token))["data"]
        assert [(row["id"], row["priority"]) for row in rows] == [(job, "Urgent")]


async def test_without_include_recent_changes_the_feed_trails_by_the_lag() -> None:
    async with open_site(export_lag_seconds=300) as site:
        token = (await site.read("jpm/export/jobs"))["continueFrom"]
        job = site.act.book_job()
        assert (await site.read("jpm/export/jobs", from_=token))["data"] == []
        fresh = await site.read("jpm/export/jobs", from_=token, includeRecentChanges="true")
        assert [row["id"] for row in fresh["data"]] == [job]
        site.simulator.clock.advance(301)
        assert [row["id"] for row in (await site.read("jpm/export/jobs", from_=token))["data"]] == [job]


async def test_with_include_recent_changes_young_rows_come_again_until_they_are_older_than_the_lag() -> None:
    async with open_site() as site:
        token = (await site.read("jpm/export/jobs", includeRecentChanges="true"))["continueFrom"]
        job = site.act.book_job()
        for _ in range(2):
            page = await site.read("jpm/export/jobs", from_=token, includeRecentChanges="true")
            assert [row["id"] for row in page["data"]] == [job]
            token = page["continueFrom"]
        site.simulator.clock.advance(301)
        page = await site.read("jpm/export/jobs", from_=token, includeRecentChanges="true")
        assert [row["id"] for row in page["data"]] == [job]  # once more, for it was young when the token was given
        page = await site.read("jpm/export/jobs", from_=page["continueFrom"], includeRecentChanges="true")
        assert page["data"] == []


async def test_a_row_committed_late_with_an_earlier_modified_on_is_caught_by_the_repeats() -> None:
    async with open_site() as site:
        token = (await site.read("jpm/export/jobs"))["continueFrom"]
        late = site.act.book_job(visible_after=60)
        prompt = site.act.book_job()
        page = await site.read("jpm/export/jobs", from_=token, includeRecentChanges="true")
        assert [row["id"] for row in page["data"]] == [prompt]
        site.simulator.clock.advance(61)
        page = await site.read("jpm/export/jobs", from_=page["continueFrom"], includeRecentChanges="true")
        assert [row["id"] for row in page["data"]] == [late, prompt]


@pytest.mark.parametrize(("choice", "status"), [("reject", 400), ("not_found", 404)])
async def test_a_bad_token_is_refused_as_the_switch_says(choice: str, status: int) -> None:
    async with open_site(bad_cursor=choice) as site:
        body = await site.read("jpm/export/jobs", status=status, from_="AQbadbadbad")
        assert "From" in body["errors"]


async def test_a_bad_token_may_silently_restart_the_feed() -> None:
    async with open_site(bad_cursor="restart") as site:
        assert len((await site.read("jpm/export/jobs", from_="AQbadbadbad"))["data"]) == 120


async def test_a_token_of_another_feed_is_no_token() -> None:
    async with open_site() as site:
        token = (await site.read("crm/export/customers"))["continueFrom"]
        await site.read("jpm/export/jobs", status=400, from_=token)


async def test_tokens_can_be_given_a_life() -> None:
    async with open_site(cursor_life_seconds=3600) as site:
        token = (await site.read("jpm/export/jobs"))["continueFrom"]
        site.simulator.clock.advance(timedelta(minutes=59).total_seconds())
        await site.log_in()
        await site.read("jpm/export/jobs", from_=token)
        site.simulator.clock.advance(120)
        await site.read("jpm/export/jobs", status=400, from_=token)


async def test_contact_rows_that_share_an_id_and_an_instant_are_never_torn_apart() -> None:
    async with open_site(export_rows_per_call=1) as site:
        table = site.data.tables["customers/contacts"]
        shared = next(key for key, many in Counter(record.id for record in table).items() if many > 1)
        parents = [record.key[1] for record in table if record.id == shared]
        token = (await site.read("crm/export/customers/contacts", from_=write_instant(site.simulator.clock.now())))[
            "continueFrom"
        ]
        moment = site.simulator.clock.now()
        for parent in parents:  # both at one instant
            site.simulator.clock.set(moment)
            site.act.change_contact(owner="customers", parent=parent, contact=shared, memo="both")
        page = await site.read("crm/export/customers/contacts", from_=token, includeRecentChanges="true")
        assert sorted(row["customerId"] for row in page["data"]) == sorted(parents)


async def test_job_history_is_nested_and_has_no_modified_on() -> None:
    async with open_site() as site:
        row = (await site.read("jpm/export/job-history"))["data"][0]
        assert set(row) == {"jobId", "history"} and row["history"][0]["eventType"] == "Job Booked"
