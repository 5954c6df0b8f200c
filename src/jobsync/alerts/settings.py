"""What people see and change of alerts: the list, mutes, quiet hours, the digest's hour, the channels. One call each.

`actor` names who asked, for the audit. Times are local times of the tenant, written `07:00`.
"""

from __future__ import annotations

from typing import Any

from jobsync.alerts.channels import Channel, name_channels, read_channels, read_urls, write_urls
from jobsync.alerts.messages import tell_digest
from jobsync.db.pool import Row
from jobsync.engine.context import Engine
from jobsync.errors import InvalidInput, RecordMissing


async def list_alerts(engine: Engine, tenant: str, *, everything: bool = False) -> list[Row]:
    """Open alerts, worst first; with `everything` also those of the last 30 days that are over."""
    async with engine.database.transaction(tenant) as session:
        return await session.rows("list_alerts", {"tenant": tenant, "all": everything})


async def list_channels(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """Every channel by name with its failures in a row and when it last refused or took a message (UTC; None: never)."""
    async with engine.database.transaction(tenant) as session:
        known = {row["channel"]: row for row in await session.rows("list_alert_channels", {"tenant": tenant})}
    blank = {"failures": 0, "failed_at": None, "succeeded_at": None}
    return [
        {"channel": channel.name, **{key: known.get(channel.name, blank)[key] for key in blank}}
        for channel in await read_channels(engine, tenant)
    ]


async def add_channel(engine: Engine, tenant: str, url: str) -> Channel:
    """Adds a channel, sealed, and answers it. Raises InvalidInput for a URL that cannot be read. Twice is once."""
    return (await write_urls(engine, tenant, [*await read_urls(engine, tenant), url]))[-1]


async def read_settings(engine: Engine, tenant: str) -> Row:
    """When people are told: time_zone, quiet_from, quiet_until, digest_at (local; None: none), silence_hours, repeat_hours."""
    async with engine.database.transaction(tenant) as session:
        row = await session.row("read_alert_settings", {"tenant": tenant})
    if row is None:
        raise RecordMissing(f"There is no tenant {tenant}.")
    return row


async def preview_digest(engine: Engine, tenant: str) -> tuple[str, str]:
    """Title and text of the daily digest as it would be sent now. Sends and claims nothing."""
    async with engine.database.transaction(tenant) as session:
        row = await session.row("preview_digest", {"tenant": tenant})
    if row is None:
        raise RecordMissing(f"There is no tenant {tenant}.")
    return tell_digest(row)


async def remove_channel(engine: Engine, tenant: str, name: str) -> list[Channel]:
    """Takes one of the tenant's own channels away; answers those that are left. RecordMissing when there is no such one."""
    own = name_channels(await read_urls(engine, tenant), engine.keyring)
    left = [channel for channel in own if channel.name != name]
    if len(left) == len(own):
        raise RecordMissing(
            f"No channel {name[:60]} was added here.",
            hint="See: jobsync alerts channels (those of JOBSYNC_ALERT_URLS stay).",
        )
    return await write_urls(engine, tenant, [channel.url for channel in left])


async def mute_alert(engine: Engine, tenant: str, code: str, *, subject: str | None, hours: int, actor: str) -> int:
    """Keeps an alert quiet for so many hours; answers how many rows. RecordMissing when there is none."""
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "mute_alert", {"tenant": tenant, "code": code, "subject": subject, "hours": hours, "actor": actor}
        )


async def change_settings(
    engine: Engine,
    tenant: str,
    *,
    actor: str,
    time_zone: str | None = None,
    quiet: str | None = None,
    digest: str | None = None,
    silence_hours: int | None = None,
    repeat_hours: int | None = None,
) -> dict[str, Any]:
    """Changes what is given and answers all settings. InvalidInput for a time or zone that does not exist."""
    start, end = _read_span(quiet)
    async with engine.database.transaction(tenant) as session:
        return await session.value(
            "set_alert_settings",
            {
                "tenant": tenant,
                "time_zone": time_zone,
                "quiet_from": start,
                "quiet_until": end,
                "digest_at": "" if digest == "none" else digest,
                "silence_hours": silence_hours,
                "repeat_hours": repeat_hours,
                "actor": actor,
            },
        )


def _read_span(text: str | None) -> tuple[str | None, str | None]:
    if text is None:
        return None, None
    if text == "none":
        return "", ""
    start, dash, end = text.partition("-")
    if not dash or not start.strip() or not end.strip():
        raise InvalidInput(f"Quiet hours {text[:30]} are no span.", hint="Write them as 22:00-07:00, or none.")
    return start.strip(), end.strip()
