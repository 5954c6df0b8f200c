"""/metrics is what Prometheus reads: samples of the caller's tenant, in words and numbers that hold."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.web.conftest import Api

pytestmark = pytest.mark.anyio


def read_samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_count_jobs_runs_and_connections_of_the_tenant(api: Api) -> None:
    for number in (1, 2, 3):
        await api.call(
            "POST",
            "/db/jobs/upsert",
            json={"job": {"id": number, "businessUnitId": 1314}, "customer": {"customerId": 9}},
        )
    await api.call("POST", "/db/sync-logs", json={"syncType": "job_pull", "status": "failed"})
    answer = await api.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    samples = read_samples(answer.text)
    assert samples["jobsync_jobs", (("status", "pending"), ("tenant", "default"))] == 3
    assert samples["jobsync_runs", (("status", "failed"), ("tenant", "default"), ("type", "job_pull"))] == 1
    assert samples["jobsync_live", (("tenant", "default"),)] == 0
    assert samples["jobsync_pool_connections", (("state", "open"),)] >= 1
    assert ("process_resident_memory_bytes", ()) in samples
