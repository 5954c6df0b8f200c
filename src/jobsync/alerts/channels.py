"""Channels: where alerts go (Slack, email, Teams, a hundred more), by the alert library's URLs.

In: URLs as the library writes them (`mailto://...`, `slack://...`, `https://hooks.slack.com/...`), from
JOBSYNC_ALERT_URLS and, sealed, from the tenant's settings. A URL is a secret: it is never logged, shown or stored in
clear. Out: whether each channel took the message. A channel that is down delays nobody: each has its own deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jobsync.db.sealing import Keyring
from jobsync.engine.context import Engine
from jobsync.errors import InvalidInput

PATIENCE_SECONDS = 30.0
Kind = Literal["info", "success", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to a person. `name` is its kind and a fingerprint: enough to tell two apart, nothing to misuse."""

    name: str
    url: str

    def __repr__(self) -> str:
        return f"Channel({self.name})"


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one message on one channel."""

    channel: str
    ok: bool


def split_urls(text: str) -> list[str]:
    """The URLs of a list as JOBSYNC_ALERT_URLS holds it, separated by blanks or commas."""
    from apprise.utils.parse import parse_urls

    return list(parse_urls(text))


def name_channels(urls: Sequence[str], keyring: Keyring) -> list[Channel]:
    """Channels of these URLs, each once. Raises InvalidInput for one that the library cannot read, by its place."""
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    found: dict[str, Channel] = {}
    for place, url in enumerate(urls, 1):
        plugin = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if plugin is None:
            raise InvalidInput(
                f"Alert URL {place} is none that JobSync can send to.",
                hint="Examples: mailto://user:password@example.com, slack://tokenA/tokenB/tokenC, an incoming hook of Teams.",
            )
        kind = str(plugin.service_name).lower().replace(" ", "-")
        name = f"{kind}:{keyring.fingerprint(url).hex()[:8]}"
        found[name] = Channel(name, url)
    return list(found.values())


async def read_urls(engine: Engine, tenant: str) -> list[str]:
    """The tenant's own channel URLs, opened; none when there are none."""
    async with engine.database.transaction(tenant) as session:
        row = await session.row("read_alert_urls", {"tenant": tenant})
    return [] if row is None else engine.keyring.open(row["sealed"], row["key_id"]).split("\n")


async def write_urls(engine: Engine, tenant: str, urls: Sequence[str]) -> list[Channel]:
    """Replaces the tenant's own channel URLs, sealed. Raises InvalidInput for one that cannot be read."""
    channels = name_channels(urls, engine.keyring)
    sealed = engine.keyring.seal("\n".join(channel.url for channel in channels))
    async with engine.database.transaction(tenant) as session:
        await session.run("write_alert_urls", {"tenant": tenant, "sealed": sealed.content, "key_id": sealed.key_id})
    return channels


async def read_channels(engine: Engine, tenant: str) -> list[Channel]:
    """The environment's channels and the tenant's own."""
    given = engine.settings.alert_urls
    urls = split_urls(given.get_secret_value()) if given is not None else []
    return name_channels([*urls, *await read_urls(engine, tenant)], engine.keyring)


async def send_to_all(channels: Sequence[Channel], title: str, body: str, kind: Kind) -> list[Sent]:
    """Sends to all at once, each within 30 seconds. Never raises: what did not get through is in the answer."""
    return list(await asyncio.gather(*(_send(channel, title, body, kind) for channel in channels)))


async def _send(channel: Channel, title: str, body: str, kind: Kind) -> Sent:
    import apprise

    try:
        outlet = apprise.Apprise()
        outlet.add(channel.url)
        async with asyncio.timeout(PATIENCE_SECONDS):
            ok = await outlet.async_notify(
                body=body,
                title=title,
                notify_type=apprise.NotifyType(kind),
                body_format=apprise.NotifyFormat.TEXT,
            )
    except Exception:  # a library that talks to a hundred services: whatever it raises, this channel did not take it
        return Sent(channel.name, False)
    return Sent(channel.name, bool(ok))
