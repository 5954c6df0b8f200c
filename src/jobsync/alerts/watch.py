"""Watch: one round of alerting over all tenants: look, tell, digest, ping. Called every minute by the schedule.

SQL decides what is wrong and who has to be told; this sends and reports back. What no channel took is told in the next
round, so a message may come twice where a worker dies between sending and noting it, never not at all. Nothing here
touches a sync: a channel that hangs delays only the next round.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from jobsync.alerts.channels import Channel, Kind, Sent, read_channels, send_to_all
from jobsync.alerts.messages import tell_alerts, tell_digest, tell_recoveries
from jobsync.db.pool import Row, as_jsonb
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.errors import JobSyncError
from jobsync.log import get_log

DISK_LEFT_SHARE = 0.05
DISK_LEFT_BYTES = 1 << 30
PING_SECONDS = 10.0


@dataclass
class WatchReport:
    """What a round did."""

    open: int = 0
    told: int = 0
    digests: int = 0
    failed: int = 0
    pinged: bool = False


async def watch(engine: Engine) -> WatchReport:
    """One round. Raises DatabaseUnavailable; a channel that fails is counted and reported as an alert of its own."""
    report = WatchReport()
    async with engine.database.transaction(None) as session:
        report.open = await session.value("refresh_alerts", {"found": as_jsonb(look_at_disk(engine))})
        untold = await session.rows("list_untold_alerts")
        digests = await session.rows("claim_digests")
    by_tenant: dict[str, list[Row]] = defaultdict(list)
    for row in untold:
        by_tenant[row["tenant_id"]].append(row)
    channels = {name: await _channels_of(engine, name) for name in {*by_tenant, *(row["tenant_id"] for row in digests)}}
    for tenant, rows in by_tenant.items():
        await _tell(engine, tenant, channels[tenant], rows, report)
    for row in digests:
        await _send_digest(engine, channels[row["tenant_id"]], row, report)
    report.pinged = await ping(engine)
    return report


async def _channels_of(engine: Engine, tenant: str) -> list[Channel]:
    try:
        return await read_channels(engine, tenant)
    except JobSyncError as error:
        get_log(tenant=tenant).warning("alert_channels_unreadable", code=error.code)
        return []


async def _tell(
    engine: Engine, tenant: str, channels: Sequence[Channel], rows: Sequence[Row], report: WatchReport
) -> None:
    groups: tuple[tuple[str, Kind, Any], ...] = (
        ("opened", "failure", tell_alerts),
        ("recovered", "success", tell_recoveries),
    )
    for kind, look, tell in groups:
        found = [row for row in rows if row["kind"] == kind]
        if not found:
            continue
        title, body = tell(found[0]["tenant_name"], found)
        # Without a channel the face shows them; they count as told, or each round would go over them again.
        sent = await send_to_all(channels, title, body, look)
        await _note(engine, tenant, sent, report)
        if not sent or any(one.ok for one in sent):
            async with engine.database.transaction(tenant) as session:
                await session.run(
                    "mark_alerts_told",
                    {
                        "tenant": tenant,
                        "codes": [row["code"] for row in found],
                        "subjects": [row["subject"] for row in found],
                    },
                )
            report.told += len(found) if sent else 0


async def _send_digest(engine: Engine, channels: Sequence[Channel], row: Row, report: WatchReport) -> None:
    title, body = tell_digest(row)
    sent = await send_to_all(channels, title, body, "info")
    await _note(engine, row["tenant_id"], sent, report)
    if sent and not any(one.ok for one in sent):
        async with engine.database.transaction(row["tenant_id"]) as session:
            await session.run("give_back_digest", {"tenant": row["tenant_id"], "day": row["local_day"]})
    elif sent:
        report.digests += 1


async def _note(engine: Engine, tenant: str, sent: Sequence[Sent], report: WatchReport) -> None:
    if not sent:
        return
    async with engine.database.transaction(tenant) as session:
        for one in sent:
            await session.run("report_channel", {"tenant": tenant, "channel": one.channel, "sent": one.ok})
    report.failed += sum(not one.ok for one in sent)


async def send_test(engine: Engine, tenant: str) -> list[Sent]:
    """Sends a test message to every channel of the tenant and notes what came of it. Empty: there is no channel."""
    channels = await read_channels(engine, tenant)
    body = (
        "This is a test: alerts of JobSync get here.\n   Why  somebody ran: jobsync alerts test\n   Fix  nothing to do"
    )
    sent = await send_to_all(channels, "JobSync: a test of this channel", body, "info")
    await _note(engine, tenant, sent, WatchReport())
    return sent


def look_at_disk(engine: Engine) -> list[dict[str, Any]]:
    """An alert condition when the disk of the data folder is nearly full, as `refresh_alerts` takes it."""
    try:
        usage = shutil.disk_usage(engine.settings.data_dir)
    except OSError:
        return []
    if usage.free >= DISK_LEFT_BYTES or usage.free / usage.total >= DISK_LEFT_SHARE:
        return []
    return [
        {
            "tenant_id": DEFAULT_TENANT,
            "code": "disk_low",
            "subject": "",
            "severity": "critical",
            "title": f"The disk is nearly full: {usage.free >> 20} MB are left",
            "why": "JobSync stops sending when PostgreSQL can no longer record what was sent.",
            "fix": "free space on the disk of the data folder",
            "items": 1,
        }
    ]


async def ping(engine: Engine) -> bool:
    """Tells the dead-man switch (JOBSYNC_PING_URL) that the pull is alive; silent while it is not. True when it was told."""
    url = engine.settings.ping_url
    if url is None:
        return False
    async with engine.database.transaction(None) as session:
        if not await session.value("is_pull_healthy"):
            return False
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PING_SECONDS)) as client,
            client.get(url.get_secret_value(), allow_redirects=False) as answer,
        ):
            return answer.status < 300
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        get_log().warning("ping_failed")
        return False
