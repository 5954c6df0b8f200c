"""Two runs of an outside deliverer never get the same job while one of them holds it."""

from __future__ import annotations

import asyncio

import pytest

from tests.clock import move_clock
from tests.web.conftest import Api, a_customer, a_job

pytestmark = pytest.mark.anyio


async def store_jobs(api: Api, count: int) -> None:
    jobs = [
        {"job": a_job(number, createdOn=f"2026-01-01T00:00:{number:02}Z"), "customer": a_customer()}
        for number in range(1, count + 1)
    ]
    assert (await api.post("/db/jobs/upsert-batch", {"jobs": jobs})).body["failed"] == 0


async def lease(api: Api, limit: int, seconds: int = 60) -> list[int]:
    answer = await api.get("/db/jobs/pending-ghl-sync", params={"limit": str(limit), "lease": str(seconds)})
    assert answer.status == 200
    return [job["st_job_id"] for job in answer.body["jobs"]]


async def test_runs_at_the_same_moment_share_the_jobs_without_overlap(api: Api) -> None:
    await store_jobs(api, 40)
    taken = await asyncio.gather(*(lease(api, 10) for _ in range(6)))
    everything = sorted(job for jobs in taken for job in jobs)
    assert everything == list(range(1, 41))


async def test_a_lease_ends_with_a_mark_or_its_time(api: Api, dsn: str) -> None:
    await store_jobs(api, 3)
    assert await lease(api, 2) == [1, 2]
    assert await lease(api, 10) == [3]
    assert await lease(api, 10) == []
    listed = (await api.get("/db/jobs/pending-ghl-sync")).body
    assert listed["count"] == 3
    assert all(job["leased_until"] and "leased" in job["why_pending"] for job in listed["jobs"])
    await api.patch("/db/jobs/1/ghl-sync", {"status": "pending"})
    assert await lease(api, 10) == [1]
    move_clock(dsn, "61 seconds")
    assert await lease(api, 10) == [1, 2, 3]


async def test_many_jobs_are_marked_at_once_and_an_unknown_one_fails_alone(api: Api) -> None:
    await store_jobs(api, 2)
    marks = [
        {"stJobId": 1, "status": "synced"},
        {"stJobId": 99, "status": "synced"},
        {"stJobId": "2", "status": "failed", "error": "no"},
    ]
    answer = await api.patch("/db/jobs/ghl-sync", {"jobs": marks})
    assert (answer.body["succeeded"], answer.body["failed"]) == (2, 1)
    assert answer.body["errors"] == [{"stJobId": 99, "index": 1, "error": "Job not found"}]
    assert (await api.get("/db/jobs/2")).body["ghl_sync_error"] == "no"
    assert (await api.get("/db/jobs/pending-ghl-sync")).body["count"] == 0


async def offered(api: Api, **asked: str) -> list[int]:
    answer = await api.get("/db/jobs/pending-ghl-sync", params={"retry": "true", **asked})
    return [job["st_job_id"] for job in answer.body["jobs"]]


async def test_a_failed_job_is_offered_again_when_it_is_due_and_only_to_who_asks(api: Api, dsn: str) -> None:
    await store_jobs(api, 3)
    await api.patch("/db/jobs/1/ghl-sync", {"status": "failed", "error": "HTTP 500"})
    assert await offered(api) == [2, 3]
    move_clock(dsn, "6 minutes")
    assert await offered(api) == [2, 3, 1], "what never failed goes first"
    assert await offered(api, businessUnitId="4622") == []
    assert await lease(api, 10) == [2, 3], "who does not ask for retries gets none"
    assert await offered(api, lease="60") == [1]
    assert await offered(api, lease="60") == []
    why = (await api.get("/db/jobs/pending-ghl-sync?retry=true")).body["jobs"][-1]["why_pending"]
    assert "leased" in why
    await api.patch("/db/jobs/1/ghl-sync", {"status": "synced"})
    move_clock(dsn, "1 day")
    assert 1 not in await offered(api)


async def test_a_failed_job_that_moved_is_offered_with_the_jobs_of_its_new_unit(api: Api, dsn: str) -> None:
    await store_jobs(api, 1)
    await api.patch("/db/jobs/1/ghl-sync", {"status": "failed", "error": "HTTP 500"})
    move_clock(dsn, "6 minutes")
    assert (await offered(api, businessUnitId="1314"), await offered(api, businessUnitId="4622")) == ([1], [])
    await api.post("/db/jobs/upsert", {"job": a_job(1, businessUnitId=4622), "customer": a_customer()})
    assert (await offered(api, businessUnitId="1314"), await offered(api, businessUnitId="4622")) == ([], [1])


async def test_after_seven_failures_a_job_waits_for_a_person(api: Api, dsn: str) -> None:
    await store_jobs(api, 1)
    for tries in range(1, 8):
        assert await offered(api, lease="60") == [1], tries
        await api.patch("/db/jobs/1/ghl-sync", {"status": "failed", "error": "HTTP 500"})
        move_clock(dsn, f"{tries * 12} hours")
    assert await offered(api) == []
    await api.patch("/db/jobs/1/ghl-sync", {"status": "pending"})
    assert await offered(api) == [1]


async def test_pending_jobs_as_a_sheet_hold_no_formula(api: Api) -> None:
    job = a_job(1, summary="=HYPERLINK(1)", jobNumber="-12")
    await api.post("/db/jobs/upsert", {"job": job, "customer": a_customer(firstName="@Ana", phone="+16025550100")})
    answer = await api.get("/db/jobs/pending-ghl-sync?format=csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    head, row = answer.text.splitlines()[:2]
    cells = dict(zip(head.split(","), row.split(","), strict=False))
    assert (cells["st_job_number"], cells["summary"]) == ("-12", "'=HYPERLINK(1)")
    assert "'@Ana" in row and "+16025550100" in row and "'+1602" not in row
