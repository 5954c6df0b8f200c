"""The calls that the guide's n8n flow, its curl lines and its scripts make, to the letter, and the answers they rely on."""

from __future__ import annotations

import json
import re

import pytest

from tests.web.conftest import Api, a_customer, a_job

pytestmark = pytest.mark.anyio

GUIDE_JOB_COLUMNS = """id st_job_id st_job_number st_customer_id st_location_id business_unit_id job_type_id job_type_name job_status
 priority summary description created_on completed_on modified_on first_appointment_id last_appointment_id appointment_count total
 invoice_id estimate_ids no_charge campaign_id lead_call_id tag_type_ids ghl_opportunity_id ghl_pipeline ghl_synced_at ghl_sync_status
 ghl_sync_error st_raw_data created_at updated_at synced_from_st_at""".split()
GUIDE_CUSTOMER_COLUMNS = """id st_customer_id st_location_id first_name last_name company_name email phone street city state postal_code
 country county ghl_contact_id ghl_synced_at ghl_sync_status ghl_sync_error st_raw_data created_at updated_at synced_from_st_at""".split()
GUIDE_LOG_COLUMNS = """id sync_type entity_type entity_id status records_processed records_succeeded records_failed error_message
 error_details started_at completed_at duration_ms workflow_execution_id metadata""".split()
GUIDE_UNIT_COLUMNS = "id st_business_unit_id name ghl_pipeline_id ghl_pipeline_name sync_enabled sync_to_ghl created_at updated_at".split()
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


async def test_curl_reads_the_seeded_sync_state_as_the_guide_shows_it(api: Api) -> None:
    answer = await api.get("/db/sync-state", headers={"User-Agent": "curl/8.5.0", "Accept": "*/*"})
    assert answer.status == 200
    assert [(row["key"], row["value"]) for row in answer.body] == [("lastJobPull", "2025-01-01T00:00:00Z")]
    assert {"id", "key", "value", "metadata", "created_at", "updated_at"} <= answer.body[0].keys()


async def test_n8n_reads_the_last_pull_and_writes_the_new_one(api: Api) -> None:
    assert (await api.get("/db/sync-state/lastJobPull")).body["value"] == "2025-01-01T00:00:00Z"
    wish = {"value": "2026-01-31T08:00:00.000Z", "metadata": {"updatedBy": "n8n", "jobsProcessed": 12}}
    written = await api.put("/db/sync-state/lastJobPull", wish)
    assert (written.status, written.body["value"], written.body["metadata"]) == (200, wish["value"], wish["metadata"])
    assert (await api.get("/db/sync-state/lastJobPull")).body["value"] == wish["value"]


async def test_a_key_that_does_not_exist_is_404_with_the_key(api: Api) -> None:
    answer = await api.get("/db/sync-state/lastCustomerPull")
    assert (answer.status, answer.body["key"], answer.body["error"]) == (
        404,
        "lastCustomerPull",
        "Sync state not found",
    )


async def test_a_put_without_a_value_is_400_and_names_it(api: Api) -> None:
    for body in ({}, {"value": None}, {"value": ""}, {"metadata": {}}):
        answer = await api.put("/db/sync-state/lastJobPull", body)
        assert (answer.status, answer.body["field"]) == (400, "value"), body


async def test_last_job_pull_takes_no_nonsense_and_no_future(api: Api) -> None:
    for value in ("banana", "2999-01-01T00:00:00Z", "1970"):
        answer = await api.put("/db/sync-state/lastJobPull", {"value": value})
        assert (answer.status, answer.body["field"]) == (400, "value"), value
    assert (await api.get("/db/sync-state/lastJobPull")).body["value"] == "2025-01-01T00:00:00Z"


async def test_n8n_upserts_a_job_with_its_customer(api: Api) -> None:
    answer = await api.post("/db/jobs/upsert", {"job": a_job(), "customer": a_customer()})
    assert answer.status == 200
    assert answer.body["success"] is True
    assert (answer.body["stJobId"], answer.body["stCustomerId"]) == (700412, 88001)
    job = (await api.get("/db/jobs/700412")).body
    assert job["id"] == answer.body["jobId"]
    assert set(GUIDE_JOB_COLUMNS) <= job.keys()
    assert set(GUIDE_CUSTOMER_COLUMNS) <= job["customer"].keys()
    assert (job["total"], job["st_job_id"], job["customer"]["first_name"]) == (1234.5, 700412, "Ana")
    assert job["id"] != job["customer"]["id"]
    assert all(
        UTC_TIME.fullmatch(job[name]) for name in ("created_on", "created_at", "updated_at", "synced_from_st_at")
    )
    assert not any("hash" in name for name in [*job, *job["customer"]])


async def test_an_upsert_without_job_or_customer_is_400(api: Api) -> None:
    cases = [
        ({"job": {"id": 1}}, "customer"),
        ({"customer": {"customerId": 1}}, "job"),
        ({}, "job"),
        ({"job": {}, "customer": {}}, "job.id"),
        ({"job": {"id": 1}, "customer": {}}, "customer.customerId"),
        ([], "job"),
    ]
    for body, field in cases:
        answer = await api.post("/db/jobs/upsert", body)
        assert (answer.status, answer.body["field"]) == (400, field), body


async def test_sixty_four_bit_ids_survive_as_numbers_and_are_taken_as_strings(api: Api) -> None:
    big = 2**63 - 1
    answer = await api.post("/db/jobs/upsert", {"job": a_job(str(big)), "customer": a_customer("9007199254740993")})  # type: ignore[arg-type]
    assert (answer.status, answer.body["stJobId"], answer.body["stCustomerId"]) == (200, big, 9007199254740993)
    text = (await api.get(f"/db/jobs/{big}")).text
    assert f'"st_job_id": {big}' in text or f'"st_job_id":{big}' in text


async def test_the_batch_of_the_guide_answers_per_item(api: Api) -> None:
    jobs = [
        {"job": a_job(1), "customer": a_customer()},
        {"customer": a_customer()},
        {"job": a_job(3), "customer": a_customer()},
    ]
    answer = await api.post("/db/jobs/upsert-batch", {"jobs": jobs})
    assert answer.status == 200
    assert (answer.body["total"], answer.body["succeeded"], answer.body["failed"]) == (3, 2, 1)
    assert [(result["stJobId"], result["success"]) for result in answer.body["results"]] == [(1, True), (3, True)]
    assert answer.body["results"][0]["dbJobId"] == (await api.get("/db/jobs/1")).body["id"]
    assert answer.body["errors"] == [{"stJobId": None, "index": 1, "error": "job is missing or not an object"}]


async def test_n8n_asks_for_pending_jobs_pushes_and_marks_them(api: Api) -> None:
    for number, unit in ((1, 1314), (2, 1314), (3, 4622)):
        job = a_job(number, businessUnitId=unit, createdOn=f"2026-01-0{4 - number}T00:00:00Z")
        await api.post("/db/jobs/upsert", {"job": job, "customer": a_customer()})
    pending = await api.get("/db/jobs/pending-ghl-sync", params={"limit": "500"})
    assert (pending.status, pending.body["count"]) == (200, 3)
    assert [job["st_job_id"] for job in pending.body["jobs"]] == [3, 2, 1]
    first = pending.body["jobs"][0]
    contact = [
        "first_name",
        "last_name",
        "email",
        "phone",
        "street",
        "city",
        "state",
        "postal_code",
        "county",
        "ghl_pipeline_name",
    ]
    values = [
        "Ana",
        "Example",
        "ana@example.com",
        "555-0100",
        "1 Main St",
        "Phoenix",
        "AZ",
        "85001",
        "Maricopa",
        "Pool Service",
    ]
    assert [first[name] for name in contact] == values
    assert first["why_pending"]
    of_unit = await api.get("/db/jobs/pending-ghl-sync?businessUnitId=1314&limit=1")
    assert [job["st_job_id"] for job in of_unit.body["jobs"]] == [2]

    marked = await api.patch("/db/jobs/3/ghl-sync", {"status": "synced", "opportunityId": "opp-1"})
    assert (marked.status, marked.body["ghl_sync_status"], marked.body["ghl_opportunity_id"]) == (
        200,
        "synced",
        "opp-1",
    )
    assert marked.body["ghl_synced_at"]
    failed = await api.patch("/db/jobs/2/ghl-sync", {"status": "failed", "error": "hook answered 500"})
    assert (failed.body["ghl_sync_status"], failed.body["ghl_sync_error"]) == ("failed", "hook answered 500")
    assert [job["st_job_id"] for job in (await api.get("/db/jobs/pending-ghl-sync")).body["jobs"]] == [1]


async def test_the_old_flows_made_up_opportunity_id_is_not_stored(api: Api) -> None:
    await api.post("/db/jobs/upsert", {"job": a_job(), "customer": a_customer()})
    answer = await api.patch("/db/jobs/700412/ghl-sync", {"status": "synced", "opportunityId": "created"})
    assert (answer.status, answer.body["ghl_opportunity_id"]) == (200, None)


async def test_the_old_flows_undefined_job_id_is_400_and_not_500(api: Api) -> None:
    answer = await api.patch("/db/jobs/undefined/ghl-sync", {"status": "synced"})
    assert (answer.status, answer.body["field"]) == (400, "stJobId")


async def test_a_job_that_does_not_exist_is_404_with_its_id(api: Api) -> None:
    for answer in (await api.get("/db/jobs/424242"), await api.patch("/db/jobs/424242/ghl-sync", {"status": "synced"})):
        assert (answer.status, answer.body["error"], answer.body["stJobId"]) == (404, "Job not found", 424242)


async def test_the_migration_script_upserts_customers(api: Api) -> None:
    answer = await api.post("/db/customers/upsert", {"customer": a_customer()})
    assert answer.status == 200
    assert set(GUIDE_CUSTOMER_COLUMNS) <= answer.body.keys()
    assert (answer.body["st_customer_id"], answer.body["postal_code"]) == (88001, "85001")
    assert (await api.get("/db/customers/88001")).body == answer.body
    blank = {
        "customerId": 88001,
        "firstName": "",
        "email": "",
        "phone": "555-0101",
        "address": {"street": "", "city": "Mesa"},
    }
    again = (await api.post("/db/customers/upsert", {"customer": blank})).body
    assert [again[name] for name in ("first_name", "email", "phone", "street", "city")] == [
        "Ana",
        "ana@example.com",
        "555-0101",
        "1 Main St",
        "Mesa",
    ]
    marked = await api.patch("/db/customers/88001/ghl-sync", {"status": "synced", "contactId": "contact-1"})
    assert (marked.body["ghl_sync_status"], marked.body["ghl_contact_id"]) == ("synced", "contact-1")
    missing = await api.get("/db/customers/5")
    assert (missing.status, missing.body["stCustomerId"]) == (404, 5)


async def test_n8n_writes_and_reads_sync_logs(api: Api) -> None:
    body = {
        "syncType": "job_pull", "status": "completed", "recordsProcessed": 12, "recordsSucceeded": 11, "recordsFailed": 1, "durationMs": 100,
        "workflowExecutionId": "4711", "metadata": {"pipeline": "Install"}, "entityType": "job", "entityId": "700412",
        "errorMessage": "one failed", "errorDetails": [{"job": 1}],
    }  # fmt: skip
    answer = await api.post("/db/sync-logs", body)
    assert answer.status == 201
    assert set(GUIDE_LOG_COLUMNS) <= answer.body.keys()
    assert (answer.body["records_succeeded"], answer.body["duration_ms"], answer.body["entity_id"]) == (11, 100, 700412)
    assert answer.body["completed_at"] > answer.body["started_at"]
    await api.post("/db/sync-logs", {"syncType": "ghl_push", "status": "failed"})
    listed = await api.get("/db/sync-logs?limit=10")
    assert (listed.body["count"], [log["sync_type"] for log in listed.body["logs"]]) == (2, ["ghl_push", "job_pull"])
    filtered = await api.get(
        "/db/sync-logs", params={"syncType": "job_pull", "status": "completed", "limit": "5", "offset": "0"}
    )
    assert [log["id"] for log in filtered.body["logs"]] == [answer.body["id"]]
    statistics = (await api.get("/db/sync-logs/statistics")).body
    assert isinstance(statistics, list)
    assert {(row["sync_type"], row["status"], row["count"], row["avg_duration_ms"]) for row in statistics} == {
        ("job_pull", "completed", 1, 100), ("ghl_push", "failed", 1, None)
    }  # fmt: skip


async def test_business_units_are_a_bare_array_of_the_guides_four_with_numbers_for_ids(api: Api) -> None:
    answer = await api.get("/db/business-units")
    assert {row["st_business_unit_id"] for row in answer.body} == {1314, 54670601, 4622, 26143}
    assert set(GUIDE_UNIT_COLUMNS) <= answer.body[0].keys()
    assert {row["deliverer"] for row in answer.body} == {"none"}
    await api.patch("/db/business-units/1314", {"sync_enabled": False})
    assert 1314 not in {
        row["st_business_unit_id"] for row in (await api.get("/db/business-units?syncEnabled=true")).body
    }
    assert [row["st_business_unit_id"] for row in (await api.get("/db/business-units?syncEnabled=false")).body] == [
        1314
    ]
    assert (await api.get("/db/business-units/4622")).body["name"] == "Pool Service"
    missing = await api.get("/db/business-units/9")
    assert (missing.status, missing.body["stBusinessUnitId"]) == (404, 9)


async def test_the_old_ways_to_write_a_call_still_work(api: Api) -> None:
    assert (await api.get("/db/sync-state/")).status == 200
    assert (await api.call("HEAD", "/db/sync-state")).status == 200
    raw = json.dumps({"value": "2026-01-01T00:00:00Z"})
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        assert (
            await api.call("PUT", "/db/sync-state/lastJobPull", data=raw, headers={"Content-Type": kind})
        ).status == 200
    with_key = await api.get("/db/sync-state", headers={"X-API-Key": "left over from the old service"})
    assert with_key.status == 200


async def test_old_clients_with_a_key_send_it_either_way(start_api, database) -> None:
    api = await start_api({"API_KEY": "invented-key"})
    assert (await api.get("/db/sync-state")).status == 401
    for headers in ({"X-API-Key": "invented-key"}, {"Authorization": "Bearer invented-key"}):
        assert (await api.get("/db/sync-state", headers=headers)).status == 200


async def test_runs_are_paged_by_offset_as_before_and_by_place_without_shifting(api: Api) -> None:
    for number in range(7):
        await api.post("/db/sync-logs", {"syncType": f"run-{number}", "status": "completed"})
    by_offset = (await api.get("/db/sync-logs", params={"limit": "3", "offset": "3"})).body["logs"]
    first = (await api.get("/db/sync-logs", params={"limit": "3"})).body
    await api.post("/db/sync-logs", {"syncType": "in between", "status": "completed"})
    second = (await api.get("/db/sync-logs", params={"limit": "3", **first["next"]})).body
    third = (await api.get("/db/sync-logs", params={"limit": "3", **second["next"]})).body
    assert (
        [log["sync_type"] for log in second["logs"]]
        == [log["sync_type"] for log in by_offset]
        == ["run-3", "run-2", "run-1"]
    )
    assert ([log["sync_type"] for log in third["logs"]], third["next"]) == (["run-0"], None)


async def test_the_last_pull_is_read_with_how_long_ago_it_was(api: Api) -> None:
    await api.put("/db/sync-state/other", {"value": "x"})
    listed = {row["key"]: row for row in (await api.get("/db/sync-state")).body}
    assert listed["lastJobPull"]["lag_seconds"] > 86_400 and "lag_seconds" not in listed["other"]
    assert (await api.get("/db/sync-state/lastJobPull")).body["lag_seconds"] > 86_400
