"""List endpoints: envelope, paging, ids, active, windows, filters, sort (ServiceTitan contract, sections 2.1, 4)."""

from __future__ import annotations

from typing import Any

import pytest

from jobsync.simulators.servicetitan import read_instant, write_instant
from tests.simulators.servicetitan_site import Site, open_site

pytestmark = pytest.mark.anyio


async def read_all(site: Site, where: str, **query: Any) -> list[dict[str, Any]]:
    rows, page = [], 1
    while True:
        body = await site.read(where, page=page, **query)
        rows += body["data"]
        if not body["hasMore"]:
            return rows
        page += 1


async def test_the_envelope_has_50_rows_by_default_and_a_null_total() -> None:
    async with open_site() as site:
        body = await site.read("jpm/jobs")
        assert list(body) == ["page", "pageSize", "hasMore", "totalCount", "data"]
        assert (body["page"], body["pageSize"], body["hasMore"], body["totalCount"]) == (1, 50, True, None)
        assert len(body["data"]) == 50
        last = await site.read("jpm/jobs", page=3, includeTotal="true")
        assert (last["hasMore"], last["totalCount"], len(last["data"])) == (False, 120, 20)
        full = await site.read("jpm/jobs", page=3, pageSize=40)
        assert (full["hasMore"], len(full["data"])) == (False, 40)
        beyond = await site.read("jpm/jobs", page=9)
        assert (beyond["hasMore"], beyond["data"]) == (False, [])
        assert (await site.read("jpm/jobs", page=0))["page"] == 1


async def test_page_size_may_be_5000_but_not_5001() -> None:
    async with open_site() as site:
        assert len((await site.read("jpm/jobs", pageSize=5000))["data"]) == 120
        body = await site.read("jpm/jobs", status=400, pageSize=5001)
        assert "PageSize" in body["errors"]
        site.simulator.switches.turn(over_page_size="clamp")
        assert (await site.read("jpm/jobs", pageSize=5001))["pageSize"] == 5000


async def test_fifty_ids_are_looked_up_and_51_are_refused() -> None:
    async with open_site() as site:
        ids = site.data.tables["jobs"].keys()
        found = await site.read("jpm/jobs", ids=",".join(map(str, ids[:50])), pageSize=100)
        assert {row["id"] for row in found["data"]} == set(ids[:50])
        assert "Ids" in (await site.read("jpm/jobs", status=400, ids=",".join(map(str, ids[:51]))))["errors"]


async def test_every_bad_value_is_named_in_one_400() -> None:
    async with open_site() as site:
        body = await site.read("jpm/jobs", status=400, page="x", modifiedOnOrAfter="yesterday", jobStatus="Nope")
        assert body.keys() == {"type", "title", "status", "traceId", "errors", "data"}
        assert set(body["errors"]) == {"Page", "ModifiedOnOrAfter", "JobStatus"}


async def test_unknown_query_names_are_ignored_and_known_ones_read_in_any_case() -> None:
    async with open_site() as site:
        assert len((await site.read("jpm/jobs", modifiedOnStart="2030-01-01", PAGESIZE=200))["data"]) == 120
        site.simulator.switches.turn(unknown_query="reject")
        assert "ModifiedOnStart" in (await site.read("jpm/jobs", status=400, modifiedOnStart="x"))["errors"]


@pytest.mark.parametrize(
    "where",
    ["crm/customers", "crm/locations", "jpm/appointments", "jpm/job-types", "settings/business-units",
     "settings/tag-types", "settings/technicians", "marketing/campaigns", "sales/estimates"],
)  # fmt: skip
async def test_lists_show_active_rows_only_unless_asked_otherwise(where: str) -> None:
    async with open_site(jobs=400) as site:
        shown = await read_all(site, where, pageSize=5000)
        every = await read_all(site, where, pageSize=5000, active="Any")
        hidden = await read_all(site, where, pageSize=5000, active="False")
        assert hidden and all(row["active"] for row in shown)
        assert len(shown) + len(hidden) == len(every)


async def test_a_merged_customer_is_hidden_from_a_look_up_by_ids_unless_active_is_any() -> None:
    async with open_site() as site:
        merged = next(record for record in site.data.tables["customers"] if record.fields()["mergedToId"])
        assert (await site.read("crm/customers", ids=merged.id))["data"] == []
        found = (await site.read("crm/customers", ids=merged.id, active="Any"))["data"]
        assert [row["active"] for row in found] == [False]
        assert (await site.read(f"crm/customers/{merged.id}"))["mergedToId"] == found[0]["mergedToId"]


async def test_windows_are_inclusive_below_and_exclusive_above_to_the_tick() -> None:
    async with open_site() as site:
        row = (await site.read("jpm/jobs", pageSize=1))["data"][0]
        moment = read_instant(row["modifiedOn"])
        after, upto = write_instant(moment + 1), row["modifiedOn"]

        async def holds(**window: Any) -> bool:
            found = await site.read("jpm/jobs", ids=row["id"], **window)
            return bool(found["data"])

        assert await holds(modifiedOnOrAfter=upto) and not await holds(modifiedOnOrAfter=after)
        assert await holds(modifiedBefore=after) and not await holds(modifiedBefore=upto)
        created = row["createdOn"]
        assert await holds(createdOnOrAfter=created) and not await holds(createdBefore=created)


async def test_filters_are_anded() -> None:
    async with open_site() as site:
        rows = await read_all(site, "jpm/jobs", pageSize=5000)
        wanted = {row["id"] for row in rows if row["jobStatus"] == "Completed" and row["businessUnitId"] == 1314}
        found = await read_all(site, "jpm/jobs", jobStatus="Completed", businessUnitId=1314)
        assert wanted and {row["id"] for row in found} == wanted


async def test_jobs_are_found_by_number_customer_technician_and_first_visit() -> None:
    async with open_site() as site:
        row = (await site.read("jpm/jobs", pageSize=1))["data"][0]
        assert (await site.read("jpm/jobs", number=row["jobNumber"]))["data"] == [row]
        mine = await site.read("jpm/jobs", customerId=row["customerId"], includeTotal="true")
        assert row in mine["data"] and {each["customerId"] for each in mine["data"]} == {row["customerId"]}
        assignment = (await site.read("dispatch/appointment-assignments", jobId=row["id"]))["data"][0]
        theirs = await site.read("jpm/jobs", technicianId=assignment["technicianId"], pageSize=500)
        assert row in theirs["data"]
        visit = await site.read(f"jpm/appointments/{row['firstAppointmentId']}")
        assert (
            row in (await site.read("jpm/jobs", firstAppointmentStartsOnOrAfter=visit["start"], pageSize=500))["data"]
        )


async def test_sort_needs_its_sign_and_goes_by_id_modified_or_created() -> None:
    async with open_site() as site:
        for field, key in (("Id", "id"), ("ModifiedOn", "modifiedOn"), ("CreatedOn", "createdOn")):
            rows = await read_all(site, "jpm/jobs", sort=f"+{field}")
            values = [row[key] if key == "id" else read_instant(row[key]) for row in rows]
            assert values == sorted(values)
            down = await read_all(site, "jpm/jobs", sort=f"-{field}")
            assert [row[key] for row in down] == [row[key] for row in rows][::-1]
        assert "Sort" in (await site.read("jpm/jobs", status=400, sort="ModifiedOn"))["errors"]
        assert "Sort" in (await site.read("jpm/jobs", status=400, sort="+Total"))["errors"]


async def test_a_plus_that_was_not_encoded_reads_as_a_blank_and_is_refused() -> None:
    async with open_site() as site:
        for sign, status in ((b"%2B", b"200"), (b"+", b"400")):
            head, _ = await site.exchange(site.path("jpm/jobs").encode() + b"?sort=" + sign + b"Id")
            assert head.split()[1] == status


async def test_job_types_take_order_by_instead_of_sort() -> None:
    async with open_site() as site:
        rows = (await site.read("jpm/job-types", orderBy="id", orderByDirection="desc"))["data"]
        assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)


async def test_the_default_order_is_by_id_descending_and_a_switch() -> None:
    async with open_site() as site:
        ids = [row["id"] for row in (await site.read("jpm/jobs"))["data"]]
        assert ids == sorted(ids, reverse=True)
        site.simulator.switches.turn(default_sort="+Id")
        ids = [row["id"] for row in (await site.read("jpm/jobs"))["data"]]
        assert ids == sorted(ids)


async def test_sort_can_be_dishonoured_and_ties_can_come_in_any_order() -> None:
    async with open_site() as site:
        site.act.bulk_edit(jobs=40)
        first = await site.read("jpm/jobs", sort="-ModifiedOn", pageSize=40)
        site.simulator.switches.turn(tie_order="random")
        orders = {
            tuple(row["id"] for row in (await site.read("jpm/jobs", sort="-ModifiedOn", pageSize=40))["data"])
            for _ in range(5)
        }
        assert len(orders) > 1
        assert {frozenset(order) for order in orders} == {frozenset(row["id"] for row in first["data"])}
        site.simulator.switches.turn(sort_honoured=False)
        ids = [row["id"] for row in (await site.read("jpm/jobs", sort="+ModifiedOn"))["data"]]
        assert ids == sorted(ids, reverse=True)


async def test_a_row_that_changes_between_two_pages_hides_another_from_an_offset_reader() -> None:
    async with open_site() as site:
        first = await site.read("jpm/jobs", sort="+ModifiedOn", pageSize=10)
        site.act.change_job(job=first["data"][0]["id"], summary="moved to the end")
        second = await site.read("jpm/jobs", sort="+ModifiedOn", pageSize=10, page=2)
        order = [key for _, key in site.data.tables["jobs"].by_modified()]
        skipped = order[9]
        seen = {row["id"] for row in first["data"] + second["data"]}
        assert skipped not in seen


async def test_jobs_list_has_no_active_member_and_the_row_is_the_same_by_id() -> None:
    async with open_site() as site:
        row = (await site.read("jpm/jobs", pageSize=1))["data"][0]
        assert "active" not in row and "customer" not in row
        assert await site.read(f"jpm/jobs/{row['id']}") == row
        assert (await site.read("jpm/jobs/1", status=404))["status"] == 404


async def test_invoices_have_string_amounts_active_state_and_repeatable_statuses() -> None:
    async with open_site(jobs=240) as site:
        rows = await read_all(site, "accounting/invoices", pageSize=5000)
        assert all(isinstance(row["total"], str) for row in rows)
        every = await read_all(site, "accounting/invoices", pageSize=5000, activeState="All")
        assert len(every) > len(rows)
        assert any(row["job"] is None for row in every) and any(row["modifiedOn"] is None for row in every)
        url = f"{site.path('accounting/invoices')}?statuses=Pending&statuses=Posted&pageSize=5000"
        async with site.session.get(url, headers=site.headers) as answer:
            found = (await answer.json())["data"]
        assert {row["syncStatus"] for row in found} == {"Pending", "Posted"}
        windowed = await read_all(site, "accounting/invoices", pageSize=5000, modifiedOnOrAfter="2000-01-01")
        assert all(row["modifiedOn"] for row in windowed)


async def test_cancel_reasons_need_ids() -> None:
    async with open_site() as site:
        job = site.data.tables["jobs"].keys()[0]
        site.act.cancel_job(job=job, reason=72)
        found = (await site.read("jpm/jobs/cancel-reasons", ids=job))["data"]
        assert found == [{"jobId": job, "reasonId": 72, "name": "Weather", "text": "called in"}]
        await site.read("jpm/jobs/cancel-reasons", status=400)


async def test_notes_history_and_canceled_log_hang_on_a_job() -> None:
    async with open_site() as site:
        job = site.data.tables["jobs"].keys()[0]
        assert (await site.read(f"jpm/jobs/{job}/notes"))["data"][0]["text"] == "Left voicemail"
        assert len((await site.read(f"jpm/jobs/{job}/history"))["history"]) == 2
        await site.read("jpm/jobs/1/notes", status=404)


async def test_a_balance_change_bumps_the_customer_but_not_for_those_who_exclude_accounting() -> None:
    async with open_site() as site:
        customer = next(record.id for record in site.data.tables["customers"] if record.active)
        since = write_instant(site.simulator.clock.now())
        site.act.change_balance(customer=customer, balance=12.5)
        found = await site.read("crm/customers", modifiedOnOrAfter=since)
        assert [(row["id"], row["balance"]) for row in found["data"]] == [(customer, 12.5)]
        silent = await site.read(
            "crm/customers", modifiedOnOrAfter=since, excludeAccountingChangesFromModifiedDateRange="true"
        )
        assert silent["data"] == []
