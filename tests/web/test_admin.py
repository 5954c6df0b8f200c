"""/admin: the verbs of the command line over HTTP; what sends asks first."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from jobsync.db.pool import Database
from jobsync.engine.tokens import create_token
from tests.web.conftest import Api, StartApi, a_customer, a_job

pytestmark = pytest.mark.anyio

HOOK = "https://services.leadconnectorhq.com/hooks/location-1/webhook-trigger/invented-hook-0001"


async def route_a_job(admin: Api) -> None:
    await admin.put("/db/business-units/1314", {"ghl_webhook_url": HOOK})
    await admin.post("/db/jobs/upsert", {"job": a_job(), "customer": a_customer()})


async def test_arm_shows_the_count_and_does_nothing_until_it_is_confirmed(admin: Api) -> None:
    await route_a_job(admin)
    for body in (None, {}, {"confirm": False, "limit": 10}):
        asked = await admin.post("/admin/arm", body)
        assert (asked.status, asked.body["code"], asked.body["planned"]) == (409, "confirmation_needed", 1)
    assert (await admin.get("/admin/status")).body["tenant"]["mode"] == "observe"
    armed = await admin.post(
        "/admin/arm", {"confirm": True, "limit": 10, "since": "2026-01-01T00:00:00Z", "capHour": 50}
    )
    assert (armed.status, armed.body["mode"], armed.body["limit"]) == (200, "live", 10)
    # The job was pushed through /db a moment ago: whoever did that may still deliver it.
    assert [route["st_business_unit_id"] for route in armed.body["refused"]] == [1314]
    status = (await admin.get("/admin/status")).body
    assert (status["tenant"]["mode"], status["tenant"]["cap_hour"], status["tenant"]["planned"]) == ("live", 50, 1)
    disarmed = await admin.post("/admin/disarm", {"reason": "a try"})
    assert (disarmed.body["mode"], disarmed.body["planned"]) == ("observe", 1)


async def test_pause_and_resume_work_with_and_without_a_body(admin: Api) -> None:
    assert (await admin.post("/admin/pause")).body["paused"] is True
    ready = (await admin.get("/health/ready")).body
    assert ready["paused"] is True and any("paused" in reason for reason in ready["reasons"])
    assert (await admin.post("/admin/resume", {})).body["paused"] is False
    assert (await admin.post("/admin/pause", {"reason": "maintenance"})).status == 200
    assert (await admin.get("/admin/status")).body["tenant"]["pause_reason"] == "maintenance"


async def test_replay_takes_its_own_scope_and_asks_before_it_sends_delivered_ones_again(
    admin: Api, database: Database
) -> None:
    await route_a_job(admin)
    token = (await create_token(database, "default", "support", ["replay"], actor="tests"))["token"]
    headers = {"X-API-Key": token}
    answer = await admin.post("/admin/replay", {"jobs": [700412, "999"]}, headers=headers)
    assert (answer.status, answer.body) == (200, {"replayed": [700412], "asked": 2})
    asked = await admin.post("/admin/replay", {"jobs": [700412], "force": True}, headers=headers)
    assert (asked.status, asked.body["code"]) == (409, "confirmation_needed")
    assert (
        await admin.post("/admin/replay", {"jobs": [700412], "force": True, "confirm": True}, headers=headers)
    ).status == 200


async def test_sync_answers_202_with_a_run_to_watch(start_api: StartApi, database: Database) -> None:
    started: list[str] = []

    async def start_sync(tenant: str) -> UUID:
        started.append(tenant)
        async with database.transaction(tenant) as session:
            return await session.value(
                "open_pass", {"tenant": tenant, "streams": ["jobs"], "trigger": "api", "held": []}
            )

    made = await create_token(database, "default", "tests", ["admin"], actor="tests")
    admin = await start_api(headers={"X-API-Key": made["token"]}, start_sync=start_sync)
    answer = await admin.post("/admin/sync")
    assert answer.status == 202
    assert started == ["default"]
    run = await admin.get(answer.body["watch"])
    assert (run.body["id"], run.body["sync_type"], run.body["status"]) == (answer.body["run"], "job_pull", "running")
    missing = await admin.get("/admin/runs/00000000-0000-0000-0000-000000000000")
    assert (missing.status, missing.body["run"]) == (404, "00000000-0000-0000-0000-000000000000")


async def test_sync_without_a_worker_says_so(admin: Api) -> None:
    answer = await admin.post("/admin/sync")
    assert (answer.status, answer.body["code"]) == (503, "no_worker")


async def test_a_token_is_made_shown_once_used_and_revoked(admin: Api, dsn: str) -> None:
    made = await admin.post(
        "/admin/tokens", {"name": "n8n", "scopes": ["sync:write", "read"], "expiresAt": "2999-01-01T00:00:00Z"}
    )
    assert made.status == 201
    assert made.body["token"].startswith(f"js_{made.body['id']}_")
    assert made.body["scopes"] == ["read", "sync:write"]
    headers = {"X-API-Key": made.body["token"]}
    assert (await admin.get("/db/sync-state", headers=headers)).status == 200
    assert (await admin.put("/db/sync-state/x", {"value": "1"}, headers=headers)).status == 403
    listed = await admin.get("/admin/tokens")
    assert {token["name"] for token in listed.body} == {"tests", "n8n"}
    assert made.body["token"].split("_", 2)[2] not in listed.text
    revoked = await admin.call("DELETE", f"/admin/tokens/{made.body['id']}")
    assert revoked.body["revoked_at"] is not None
    assert (await admin.call("DELETE", "/admin/tokens/nothing")).status == 404
    with psycopg.connect(dsn) as owner:
        actions = [
            row[0]
            for row in owner.execute(
                "select action from jobsync.audit where subject like 'token:%' order by id"
            ).fetchall()
        ]
    assert actions[-2:] == ["token_created", "token_revoked"]


async def test_a_token_sees_its_own_tenant_only(start_api: StartApi, database: Database, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("insert into jobsync.tenants (tenant_id, name) values ('other', 'other')")
        owner.execute(
            "drop index public.jobs_single_tenant, public.customers_single_tenant, public.business_units_single_tenant"
        )
        owner.execute("drop index public.sync_state_single_tenant")
    mine = (await create_token(database, "default", "mine", ["admin"], actor="tests"))["token"]
    theirs = (await create_token(database, "other", "theirs", ["admin"], actor="tests"))["token"]
    api = await start_api()
    await api.post("/db/jobs/upsert", {"job": a_job(), "customer": a_customer()}, headers={"X-API-Key": mine})
    for path in ("/db/jobs/700412", "/db/customers/88001", "/db/business-units/1314", "/db/sync-state/lastJobPull"):
        assert (await api.get(path, headers={"X-API-Key": mine})).status == 200
        assert (await api.get(path, headers={"X-API-Key": theirs})).status == 404, path
    assert (await api.get("/db/sync-state", headers={"X-API-Key": theirs})).body == []
    await api.post(
        "/db/jobs/upsert", {"job": a_job(summary="theirs"), "customer": a_customer()}, headers={"X-API-Key": theirs}
    )
    assert (await api.get("/db/jobs/700412", headers={"X-API-Key": mine})).body["summary"] == "Replace pump motor"
    assert (await api.get("/db/sync-logs/statistics", headers={"X-API-Key": theirs})).body == []


async def test_the_plan_and_the_reason_of_a_job_are_read_and_change_nothing(admin: Api) -> None:
    await route_a_job(admin)
    plan = await admin.get("/admin/plan")
    assert (plan.status, plan.body["planned"], plan.body["create"]) == (200, 1, 1)
    told = await admin.get("/admin/jobs/700412/why")
    assert (told.status, told.body["job"]["st_job_id"], told.body["why"]) == (
        200,
        700412,
        "nothing is sent: mode is observe",
    )
    missing = await admin.get("/admin/jobs/999/why")
    assert (missing.status, missing.body["stJobId"]) == (404, 999)


async def test_a_backfill_is_asked_for_watched_and_dropped(admin: Api) -> None:
    assert (await admin.get("/admin/backfill")).status == 404
    started = await admin.post("/admin/backfill", {"since": "2026-01-01T00:00:00Z", "entities": ["jobs", "contacts"]})
    assert started.status == 202, started.text
    watched = await admin.get(started.body["watch"])
    assert (watched.status, watched.body["run"], watched.body["state"]) == (200, started.body["run"], "running")
    twice = await admin.post("/admin/backfill", {"since": "2026-01-01T00:00:00Z"})
    assert twice.status == 409
    asked = await admin.post(started.body["watch"] + "/deliver")
    assert (asked.status, asked.body["code"], asked.body["jobs"]) == (409, "confirmation_needed", 0)
    assert (await admin.post(started.body["watch"] + "/resume")).status == 202
    assert (await admin.post(started.body["watch"] + "/cancel")).body["state"] == "cancelled"
    assert (await admin.get("/admin/backfill")).body["state"] == "cancelled"
    assert (await admin.post("/admin/backfill", {"since": "2999-01-01T00:00:00Z"})).status == 400
    assert (await admin.post("/admin/backfill", {"since": "2026-01-01T00:00:00Z", "entities": ["dogs"]})).status == 400


async def test_a_comparison_and_a_reading_back_are_asked_for_once_and_watched(admin: Api, dsn: str) -> None:
    for path, kind, body, wish in (
        ("/admin/reconcile", "reconcile", {"days": 30, "fixMissing": True}, {"days": 30, "fix_missing": True}),
        ("/admin/verify", "verify", None, {"since": None}),
    ):
        started = await admin.post(path, body)
        assert (started.status, started.body["watch"]) == (202, f"/admin/runs/{started.body['run']}"), started.text
        run = (await admin.get(started.body["watch"])).body
        assert (run["sync_type"], run["status"]) == (kind, "running")
        assert run["metadata"].items() >= {**wish, "trigger": "asked"}.items()
        twice = await admin.post(path)
        assert twice.status == 409
        assert started.body["watch"] in twice.body["hint"]
    for path, wrong in (
        ("/admin/reconcile", {"days": 0}),
        ("/admin/reconcile", {"days": "7"}),
        ("/admin/verify", {"since": "x"}),
    ):
        assert (await admin.post(path, wrong)).status == 400, wrong
    with psycopg.connect(dsn) as owner:
        asked = owner.execute("select action from jobsync.audit where action like '%_asked' order by id").fetchall()
    assert asked == [("reconcile_asked",), ("verify_asked",)]


async def test_rules_are_saved_tried_and_removed_by_their_documents(admin: Api) -> None:
    rule = {"name": "Sold", "event": "estimate_sold", "then": {"status": "won"}}
    saved = await admin.put("/admin/rules", {"rules": [rule]})
    assert saved.status == 200, saved.text
    assert [one["name"] for one in (await admin.get("/admin/rules")).body] == ["Sold"]
    assert (await admin.post("/admin/rules/test", {"days": 30})).status == 200
    wrong = await admin.put("/admin/rules", {"rules": [{**rule, "event": "estimate_soled"}]})
    assert (wrong.status, wrong.body["rule"]) == (400, "Sold")
    assert (await admin.call("DELETE", "/admin/rules/Sold")).status == 200
    assert (await admin.call("DELETE", "/admin/rules/Sold")).status == 404
    assert (await admin.get("/admin/pipelines")).status == 200


async def test_a_customer_is_erased_once_it_is_confirmed_and_is_not_taken_in_again(admin: Api) -> None:
    await route_a_job(admin)
    asked = await admin.post("/admin/customers/88001/erase")
    assert (asked.status, asked.body["code"], asked.body["jobs"]) == (409, "confirmation_needed", 1)
    assert (await admin.get("/db/jobs/700412")).status == 200
    erased = await admin.post("/admin/customers/88001/erase", {"confirm": True})
    assert (erased.status, erased.body["erased"]["customers"]) == (200, 1)
    for path in ("/db/jobs/700412", "/db/customers/88001"):
        assert (await admin.get(path)).status == 404
    one = {"job": a_job(), "customer": a_customer()}
    refused = await admin.post("/db/jobs/upsert", one)
    assert (refused.status, refused.body["field"]) == (400, "customer")
    assert (await admin.post("/db/customers/upsert", {"customer": a_customer()})).status == 400
    other = {"job": a_job(2, customerId=2, locationId=3), "customer": a_customer(2)}
    batch = await admin.post(
        "/db/jobs/upsert-batch", {"jobs": [one, other, {"job": a_job(3), "customer": a_customer(2)}]}
    )
    assert batch.status == 200, batch.text
    assert (batch.body["succeeded"], batch.body["failed"]) == (1, 2)
    assert (await admin.post("/admin/customers/999/erase", {"confirm": True})).body["stCustomerId"] == 999


async def test_a_stream_goes_back_only_on_a_second_word_and_with_a_line_in_the_audit(
    admin: Api, database: Database
) -> None:
    async with database.transaction("default") as session:
        await session.row(
            "read_cursor",
            {"tenant": "default", "stream": "jobs", "mode": "list", "since": "2026-03-01T00:00:00.0000000Z"},
        )
    wish = {"stream": "jobs", "to": "2026-02-01T00:00:00Z"}
    asked = await admin.post("/admin/rewind", wish)
    assert (asked.status, asked.body["code"], asked.body["moved"]) == (409, "confirmation_needed", False)
    moved = await admin.post("/admin/rewind", {**wish, "confirm": True})
    assert moved.status == 200 and moved.body["moved"] and moved.body["to"].startswith("2026-02-01T00:00:00")
    forward = await admin.post("/admin/rewind", {"stream": "jobs", "to": "2026-02-20T00:00:00Z", "confirm": True})
    assert forward.status == 400 and "only goes back" in forward.body["error"]
    assert (await admin.post("/admin/rewind", {**wish, "stream": "nothing"})).status == 404
    async with database.transaction("default") as session:
        told = await session.rows(
            "list_job_audit",
            {"tenant": "default", "subject": "stream:jobs", "unit": "-", "since": datetime(2020, 1, 1, tzinfo=UTC)},
        )
    assert [row["action"] for row in told] == ["cursor_rewound"]
