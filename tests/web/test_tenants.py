"""Two contractors over the API: tokens of one, a token for all, and the header that names the one that is meant."""

from __future__ import annotations

import pytest

from jobsync.db.pool import Database
from jobsync.engine.tenants import add_tenant
from jobsync.engine.tokens import create_token
from tests.web.conftest import ALL_SCOPES, Api, StartApi, a_customer, a_job, pass_time

pytestmark = pytest.mark.anyio


@pytest.fixture
async def agency(start_api: StartApi, database: Database) -> Api:
    """A service with two tenants, called with a token for all of them."""
    await add_tenant(database, "other", "Other Pools", actor="tests")
    made = await create_token(database, "default", "agency", ALL_SCOPES, actor="tests", all_tenants=True)
    return await start_api(headers={"X-API-Key": made["token"]})


async def test_a_token_for_all_tenants_acts_for_the_one_that_the_header_names(agency: Api) -> None:
    theirs = {"X-JobSync-Tenant": "other"}
    await agency.post("/db/jobs/upsert", {"job": a_job(), "customer": a_customer()}, headers=theirs)
    assert (await agency.get("/db/jobs/700412")).status == 404
    assert (await agency.get("/db/jobs/700412", headers=theirs)).body["summary"] == "Replace pump motor"
    assert (await agency.post("/admin/pause", headers=theirs)).body["paused"] is True
    assert (await agency.get("/admin/status")).body["tenant"]["paused_at"] is None
    missing = await agency.get("/db/sync-state", headers={"X-JobSync-Tenant": "nobody"})
    assert (missing.status, missing.body["code"], missing.body["tenant"]) == (404, "unknown_tenant", "nobody")


async def test_tenants_are_listed_and_added_by_a_token_for_all(agency: Api) -> None:
    assert [one["id"] for one in (await agency.get("/admin/tenants")).body] == ["default", "other"]
    added = await agency.post("/admin/tenants", {"id": "third", "name": "Third Plumbing"})
    assert (added.status, added.body["mode"], added.body["connected"]) == (201, "observe", False)
    assert (await agency.post("/admin/tenants", {"id": "third", "name": "Renamed"})).body["name"] == "Third Plumbing"
    for bad in ("Third Plumbing", "", "a" * 64, "-x", "x\n"):
        answer = await agency.post("/admin/tenants", {"id": bad})
        assert (answer.status, answer.body["field"]) == (400, "id"), bad


async def test_an_administrator_of_one_tenant_reaches_no_other(agency: Api, database: Database) -> None:
    token = (await create_token(database, "other", "theirs", ALL_SCOPES, actor="tests"))["token"]
    mine = {"X-API-Key": token}
    assert [one["id"] for one in (await agency.get("/admin/tenants", headers=mine)).body] == ["other"]
    for answer in (
        await agency.get("/admin/status", headers={**mine, "X-JobSync-Tenant": "default"}),
        await agency.post("/admin/tenants", {"id": "fourth"}, headers=mine),
        await agency.post("/admin/tokens", {"name": "x", "scopes": ["admin"], "allTenants": True}, headers=mine),
    ):
        assert (answer.status, answer.body["code"]) == (403, "other_tenant")
    reaching = await create_token(database, "other", "agency", ["admin"], actor="tests", all_tenants=True)
    stolen = await agency.post(f"/admin/tokens/{reaching['id']}/rotate", headers=mine)
    assert (stolen.status, stolen.body["code"]) == (403, "other_tenant")


async def test_a_token_for_all_tenants_needs_the_scope_admin(agency: Api) -> None:
    answer = await agency.post("/admin/tokens", {"name": "x", "scopes": ["read"], "allTenants": True})
    assert (answer.status, answer.body["field"]) == (400, "scopes")
    assert (await agency.post("/admin/tokens", {"name": "x", "scopes": ["admin"], "allTenants": True})).status == 201


async def test_a_rotated_token_and_its_follower_both_work_until_the_grace_ends(agency: Api) -> None:
    old = (await agency.post("/admin/tokens", {"name": "n8n", "scopes": ["read"]})).body
    new = (await agency.post(f"/admin/tokens/{old['id']}/rotate", {"graceSeconds": 3600})).body
    assert (new["name"], new["scopes"], new["replaces"]) == ("n8n", ["read"], old["id"])
    for made in (old, new):
        assert (await agency.get("/db/sync-state", headers={"X-API-Key": made["token"]})).status == 200
    last = (await agency.post(f"/admin/tokens/{new['id']}/rotate", {"graceSeconds": 0})).body
    pass_time(agency)
    assert (await agency.get("/db/sync-state", headers={"X-API-Key": new["token"]})).status == 401
    assert (await agency.get("/db/sync-state", headers={"X-API-Key": last["token"]})).status == 200
    assert (await agency.post(f"/admin/tokens/{new['id']}/rotate")).status == 404
