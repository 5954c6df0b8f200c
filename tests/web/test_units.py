"""Business units are routed over the API; a hook's URL goes in and never comes out."""

from __future__ import annotations

import psycopg
import pytest

from tests.web.conftest import Api, StartApi, a_customer, a_job

pytestmark = pytest.mark.anyio

HOOK = "https://hooks.example.test/hooks/location-1/webhook-trigger/canary-8f3a-9c21"


@pytest.fixture
async def units(start_api: StartApi) -> Api:
    return await start_api({"JOBSYNC_ALLOW_HOSTS": "hooks.example.test"})


async def test_a_put_with_a_url_makes_jobsync_deliver_and_shows_the_url_masked(units: Api, dsn: str) -> None:
    await units.post("/db/jobs/upsert", {"job": a_job(), "customer": a_customer()})
    assert (await units.get("/db/business-units/1314")).body["deliverer"] == "external"
    answer = await units.put("/db/business-units/1314", {"ghl_webhook_url": HOOK, "ghl_pipeline_name": "Sales"})
    assert answer.status == 200
    assert (answer.body["deliverer"], answer.body["ghl_pipeline_name"], answer.body["ghl_events"]) == (
        "jobsync",
        "Sales",
        "created",
    )
    assert answer.body["ghl_webhook"] == "hooks.example.test/...9c21"
    everything = answer.text + "".join(
        [(await units.get(path)).text for path in ("/db/business-units", "/db/sync-logs", "/db/jobs/700412")]
    )
    assert "canary" not in everything
    assert (await units.get("/db/jobs/pending-ghl-sync")).body["count"] == 0
    with psycopg.connect(dsn) as owner:
        stored = str(owner.execute("select * from jobsync.destinations").fetchall()) + str(
            owner.execute("select * from jobsync.audit").fetchall()
        )
        assert owner.execute("select count(*) from jobsync.outbox").fetchone() == (1,)
    assert "canary" not in stored


async def test_the_same_hook_is_one_destination(units: Api, dsn: str) -> None:
    for unit in (1314, 4622, 1314):
        assert (await units.patch(f"/db/business-units/{unit}", {"ghlWebhookUrl": HOOK})).status == 200
    with psycopg.connect(dsn) as owner:
        assert owner.execute("select count(*) from jobsync.destinations").fetchone() == (1,)


async def test_what_is_not_named_stays(units: Api) -> None:
    await units.put("/db/business-units/1314", {"ghl_webhook_url": HOOK, "ghl_events": "all"})
    answer = await units.put("/db/business-units/1314", {"sync_enabled": False, "ghl_pipeline_name": None})
    assert (answer.body["sync_enabled"], answer.body["deliverer"], answer.body["ghl_events"]) == (
        False,
        "jobsync",
        "all",
    )
    assert answer.body["ghl_pipeline_name"] == "Sales & Service"
    external = await units.put("/db/business-units/1314", {"deliverer": "external"})
    assert (external.body["deliverer"], external.body["ghl_webhook"]) == ("external", None)


async def test_urls_that_must_not_be_called_are_refused_without_being_repeated(units: Api) -> None:
    for url in (
        "http://169.254.169.254/latest/canary", "https://127.0.0.1/canary", "https://canary.example.net/hook", "ftp://hooks.example.test/canary",
        "https://user:canary@hooks.example.test/x", "https://[::ffff:127.0.0.1]/canary", "https://2130706433/canary", "canary",
    ):  # fmt: skip
        answer = await units.put("/db/business-units/1314", {"ghl_webhook_url": url})
        assert (answer.status, answer.body["code"]) == (400, "destination_refused"), url
        assert "canary" not in answer.text
    assert (await units.get("/db/business-units/1314")).body["deliverer"] == "none"


async def test_an_unknown_unit_is_404_with_the_nearest_names(units: Api) -> None:
    answer = await units.put("/db/business-units/1315", {"sync_enabled": True})
    assert (answer.status, answer.body["stBusinessUnitId"]) == (404, 1315)
    assert "1314 (Sales & Service)" in answer.body["hint"]
    nothing = await units.put("/db/business-units/1314", {})
    assert nothing.status == 400
