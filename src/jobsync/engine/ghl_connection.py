"""The tenant's GoHighLevel connection: location and token, from the environment (tenant `default`, these win) or sealed.

Out: clients that are ready to use and share the location's budget with all other workers. Raises ConfigError naming
what is missing. The token is read anew when GoHighLevel refuses it, so that a rotated one is taken up at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import aiohttp
import msgspec

from jobsync.db.pool import as_jsonb
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.location_pace import LocationPace
from jobsync.errors import ConfigError, DatabaseUnavailable
from jobsync.gohighlevel.caller import OnRequest, check_api_url
from jobsync.gohighlevel.client import GoHighLevelClient
from jobsync.gohighlevel.destination_guard import Guard, make_session
from jobsync.gohighlevel.pace import Pace


@dataclass(frozen=True)
class GoHighLevelCredentials:
    """One location and the private integration token for it. Never logged, never shown."""

    location_id: str
    token: str


async def read_gohighlevel_credentials(engine: Engine, tenant: str) -> GoHighLevelCredentials | None:
    """The tenant's credentials, None when it has none. Raises ConfigError when only one of the two is set."""
    settings = engine.settings
    if tenant == DEFAULT_TENANT and (settings.ghl_api_key or settings.ghl_location_id):
        if settings.ghl_api_key is None or settings.ghl_location_id is None:
            missing = "GHL_API_KEY" if settings.ghl_api_key is None else "GHL_LOCATION_ID"
            raise ConfigError(
                f"GoHighLevel's credentials are incomplete: {missing} is not set.",
                hint="Set both GHL_API_KEY and GHL_LOCATION_ID, or none.",
            )
        return GoHighLevelCredentials(settings.ghl_location_id, settings.ghl_api_key.get_secret_value())
    async with engine.database.transaction(tenant) as session:
        row = await session.row("read_connection", {"tenant": tenant, "kind": "gohighlevel"})
    if row is None:
        return None
    return msgspec.json.decode(engine.keyring.open(row["sealed"], row["key_id"]), type=GoHighLevelCredentials)


async def require_gohighlevel_credentials(engine: Engine, tenant: str) -> GoHighLevelCredentials:
    """The same, but raises ConfigError when the tenant has none."""
    credentials = await read_gohighlevel_credentials(engine, tenant)
    if credentials is None:
        raise ConfigError(
            "GoHighLevel is not connected.", hint="Set GHL_API_KEY (a private integration token) and GHL_LOCATION_ID."
        )
    return credentials


async def store_gohighlevel_credentials(engine: Engine, tenant: str, credentials: GoHighLevelCredentials) -> None:
    """Seals and stores the credentials; replaces what stood there."""
    sealed = engine.keyring.seal(msgspec.json.encode(asdict(credentials)).decode())
    async with engine.database.transaction(tenant) as session:
        await session.run(
            "write_connection",
            {
                "tenant": tenant,
                "kind": "gohighlevel",
                "sealed": sealed.content,
                "key_id": sealed.key_id,
                "settings": as_jsonb({"location_id": credentials.location_id}),
            },
        )


class StoredToken:
    """Implements `gohighlevel.caller.TokenSource`: the tenant's token, read anew when it was refused."""

    def __init__(self, engine: Engine, tenant: str, token: str) -> None:
        self._engine = engine
        self._tenant = tenant
        self._token = token

    async def __call__(self, rejected: str | None = None) -> str:
        """The token to use now; the refused one again where there is no other."""
        if rejected is not None and rejected == self._token:
            found = await read_gohighlevel_credentials(self._engine, self._tenant)
            if found is not None:
                self._token = found.token
        return self._token


@dataclass(frozen=True)
class LocationAccess:
    """What clients for one location are made of; they share session, token and pace."""

    session: aiohttp.ClientSession
    credentials: GoHighLevelCredentials
    token: StoredToken
    pace: Pace
    api_url: str

    def client(self, on_request: OnRequest | None = None) -> GoHighLevelClient:
        """A client; `on_request` is told of each of its requests. Costs nothing to make."""
        return GoHighLevelClient(
            self.session,
            location_id=self.credentials.location_id,
            token_source=self.token,
            api_url=self.api_url,
            pace=self.pace,
            on_request=on_request,
        )


async def access_location(
    engine: Engine, tenant: str, *, pace: Pace | None = None, credentials: GoHighLevelCredentials | None = None
) -> LocationAccess:
    """Access to the tenant's location, or with `credentials` that are only tried. The caller closes `session`. Raises
    ConfigError."""
    credentials = credentials or await require_gohighlevel_credentials(engine, tenant)
    api_url = check_api_url(engine.settings.ghl_api_url)
    host = urlsplit(api_url).hostname or ""
    return LocationAccess(
        session=make_session(Guard((*engine.settings.allow_hosts, host))),
        credentials=credentials,
        token=StoredToken(engine, tenant, credentials.token),
        pace=pace or LocationPace(engine.database, tenant, engine.settings.ghl_pace),
        api_url=api_url,
    )


@asynccontextmanager
async def open_gohighlevel(
    engine: Engine,
    tenant: str,
    *,
    on_request: OnRequest | None = None,
    credentials: GoHighLevelCredentials | None = None,
    pace: Pace | None = None,
) -> AsyncIterator[GoHighLevelClient]:
    """A client for the tenant's location, paced by the shared budget. Raises ConfigError when it is not connected.

    `credentials`: these instead of the tenant's own, to try them before they are stored. `pace`: instead of the budget.
    """
    access = await access_location(engine, tenant, credentials=credentials, pace=pace)
    async with access.session:
        try:
            yield access.client(on_request)
        finally:
            if isinstance(access.pace, LocationPace):
                # What the last answer told, such as a pause, is for the others, too.
                with contextlib.suppress(DatabaseUnavailable):
                    await access.pace.flush()
