"""A unit is routed to a pipeline over the API: a name that is not there is refused, a webhook unit keeps its hook."""

from __future__ import annotations

import pytest

from jobsync.simulators import gohighlevel
from tests.web.conftest import StartApi

pytestmark = pytest.mark.anyio


async def test_a_name_alone_routes_to_the_pipeline_and_an_unknown_one_is_refused_with_the_nearest(
    start_api: StartApi,
) -> None:
    level = gohighlevel.GoHighLevelSimulator(seed=7)
    furnished = gohighlevel.furnish(level)
    async with await gohighlevel.serve(level) as serving:
        api = await start_api(
            {
                "GHL_API_KEY": furnished.token,
                "GHL_LOCATION_ID": furnished.location.id,
                "GHL_API_URL": serving.url,
                "JOBSYNC_ALLOW_HOSTS": "127.0.0.1",
                "JOBSYNC_GHL_PACE": "0",
            }
        )
        refused = await api.put(
            "/db/business-units/1314", {"ghl_pipeline_name": "Sales Pipeline", "ghl_stage_name": "New"}
        )
        assert refused.status == 400
        assert refused.body["error"] == 'Stage of "Sales Pipeline" "New" is not known.'
        assert refused.body["hint"].startswith("Nearest: New Lead")
        assert refused.body["code"] == "invalid_input"
        assert (await api.get("/db/business-units/1314")).body["deliverer"] == "none"

        routed = await api.put(
            "/db/business-units/1314", {"ghl_pipeline_name": "sales pipeline", "ghl_stage_name": "New Lead"}
        )
        assert (routed.status, routed.body["deliverer"], routed.body["ghl_pipeline_name"]) == (
            200,
            "jobsync",
            "Sales Pipeline",
        )

        hook = serving.url + level.hook_path(level.add_hook())
        await api.put("/db/business-units/4622", {"ghl_webhook_url": hook})
        labelled = await api.put("/db/business-units/4622", {"ghl_pipeline_name": "Whatever we call it"})
        assert (labelled.status, labelled.body["ghl_pipeline_name"]) == (200, "Whatever we call it")
        assert labelled.body["ghl_webhook"] is not None
        assert [each.path for each in level.ledger.requests if each.method != "GET"] == []
