"""Metrics: samples of SQL, the queue, the pool and the process, written down in Prometheus' text form.

In: the database and a tenant. Out: bytes and their content type. Names and labels come from `jobsync.list_metrics`; a
sample whose name is not described here is left out, so that each has its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobsync.db.pool import Database

HELP = {
    "jobsync_stream_lag_seconds": "Seconds since a stream was last read to its end.",
    "jobsync_stream_failures": "Readings of a stream that failed in a row.",
    "jobsync_jobs": "Jobs by status of their delivery.",
    "jobsync_outbox": "Deliveries that wait.",
    "jobsync_quarantine": "Records set aside because they do not fit.",
    "jobsync_runs": "Runs by type and status, over all time.",
    "jobsync_attempts_last_hour": "HTTP attempts of the last hour by what came of them.",
    "jobsync_sends_last_24_hours": "Accepted sends of the last 24 hours, which the caps count.",
    "jobsync_cap_day": "Accepted sends a day after which JobSync disarms itself; 0: none.",
    "jobsync_live": "1 while sending is on: mode live and not paused.",
    "jobsync_budget_tokens": "Requests that a shared budget still holds.",
    "jobsync_requests_left_today": "What was left of an upstream's daily quota at its newest answer.",
    "jobsync_clock_ahead_seconds": "Seconds by which PostgreSQL's clock is ahead of an upstream's; below zero: behind.",
    "jobsync_alerts_open": "Open alerts by severity.",
    "jobsync_queue_tasks": "Tasks of the queue, of all tenants.",
    "jobsync_pool_connections": "Connections of this process's pool.",
}
POOL = {"pool_size": "open", "pool_available": "idle", "requests_waiting": "waited_for"}


class _Samples(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        """The families, as the library asks for them."""
        yield from self._families


async def write_metrics(database: Database, tenant: str, *, whole: bool) -> tuple[bytes, str]:
    """The exposition of a tenant and its content type. `whole`: also the queue of all tenants, for who may see it."""
    async with database.transaction(tenant) as session:
        rows = await session.rows("list_metrics", {"tenant": tenant})
    samples = [(row["metric"], {"tenant": tenant, **row["labels"]}, float(row["value"])) for row in rows]
    if whole:
        async with database.transaction(None) as session:
            samples += [
                ("jobsync_queue_tasks", {"queue": row["queue_name"], "status": row["status"]}, float(row["tasks"]))
                for row in await session.rows("count_queue")
            ]
    numbers = database.pool_numbers()
    samples += [
        ("jobsync_pool_connections", {"state": state}, float(numbers.get(key, 0))) for key, state in POOL.items()
    ]
    registry = CollectorRegistry()
    registry.register(_Samples(_group(samples)))
    ProcessCollector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _group(samples: list[tuple[str, dict[str, Any], float]]) -> Iterator[Metric]:
    for name, words in HELP.items():
        found = [(labels, value) for metric, labels, value in samples if metric == name]
        if found:
            family = GaugeMetricFamily(name, words, labels=list(found[0][0]))
            for labels, value in found:
                family.add_metric([str(labels[key]) for key in found[0][0]], value)
            yield family
