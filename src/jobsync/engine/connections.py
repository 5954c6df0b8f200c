"""Connections: a tenant's credentials, from the environment (tenant `default`, these win) or sealed in the database.

Out: clients that are ready to use, sharing token and pace with all other workers. Raises ConfigError naming what is
missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass

import aiohttp
import msgspec

from jobsync.db.pool import as_jsonb
from jobsync.engine.access_tokens import SharedTokenStore
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.pacing import RESERVE, SharedPace
from jobsync.errors import ConfigError
from jobsync.servicetitan.client import ServiceTitanClient


@dataclass(frozen=True)
class ServiceTitanCredentials:
    """The four values of ServiceTitan and where it stands. Never logged, never shown."""

    tenant_id: str
    client_id: str
    client_secret: str
    app_key: str
    environment: str = "production"
    api_url: str | None = None
    auth_url: str | None = None


async def read_servicetitan_credentials(engine: Engine, tenant: str) -> ServiceTitanCredentials | None:
    """The tenant's credentials, or None when there are none. Raises ConfigError when some of the four are missing."""
    settings = engine.settings
    if tenant == DEFAULT_TENANT and settings.servicetitan_given:
        if settings.servicetitan_missing:
            raise ConfigError(
                f"ServiceTitan's credentials are incomplete: {', '.join(settings.servicetitan_missing)} not set.",
                hint="Set all four (or none, to run without pulling).",
            )
        assert settings.servicetitan_client_secret is not None and settings.servicetitan_app_key is not None
        return ServiceTitanCredentials(
            tenant_id=settings.servicetitan_tenant_id or "",
            client_id=settings.servicetitan_client_id or "",
            client_secret=settings.servicetitan_client_secret.get_secret_value(),
            app_key=settings.servicetitan_app_key.get_secret_value(),
            environment=settings.servicetitan_environment,
            api_url=settings.servicetitan_api_url,
            auth_url=settings.servicetitan_auth_url,
        )
    async with engine.database.transaction(tenant) as session:
        row = await session.row("read_connection", {"tenant": tenant, "kind": "servicetitan"})
    if row is None:
        return None
    return msgspec.json.decode(engine.keyring.open(row["sealed"], row["key_id"]), type=ServiceTitanCredentials)


async def store_servicetitan_credentials(engine: Engine, tenant: str, credentials: ServiceTitanCredentials) -> None:
    """Seals and stores the credentials; replaces what stood there."""
    sealed = engine.keyring.seal(msgspec.json.encode(asdict(credentials)).decode())
    async with engine.database.transaction(tenant) as session:
        await session.run(
            "write_connection",
            {
                "tenant": tenant,
                "kind": "servicetitan",
                "sealed": sealed.content,
                "key_id": sealed.key_id,
                "settings": as_jsonb({"environment": credentials.environment}),
            },
        )


def find_breaker(engine: Engine, credentials: ServiceTitanCredentials) -> bytes:
    """The key of the circuit breaker that these credentials' requests pass: one for each app and environment."""
    return engine.keyring.fingerprint(
        "\x1f".join(("breaker", credentials.environment, credentials.api_url or "", credentials.app_key))
    )


async def open_servicetitan(
    engine: Engine,
    tenant: str,
    *,
    session: aiohttp.ClientSession | None = None,
    on_request: Callable[..., None] | None = None,
    insist: bool = False,
    interactive: bool = False,
    credentials: ServiceTitanCredentials | None = None,
) -> ServiceTitanClient:
    """A client for the tenant, to be used as `async with`. Raises ConfigError when the tenant has no credentials.

    `credentials`: these instead of the tenant's own, to try them before they are stored. `insist`: it asks also while the
    circuit breaker is open, one request at a time. `interactive`: somebody waits for the answer, so that it may use the
    part of the budget that pulls leave alone.
    """
    credentials = credentials or await read_servicetitan_credentials(engine, tenant)
    if credentials is None:
        raise ConfigError(
            "ServiceTitan is not connected.",
            hint="Set SERVICE_TITAN_TENANT_ID, _CLIENT_ID, _CLIENT_SECRET and _APP_KEY, or try `jobsync demo`.",
        )
    identity = "\x1f".join(
        (credentials.tenant_id, credentials.client_id, credentials.client_secret, credentials.auth_url or "")
    )
    return ServiceTitanClient(
        session,
        tenant_id=credentials.tenant_id,
        client_id=credentials.client_id,
        client_secret=credentials.client_secret,
        app_key=credentials.app_key,
        environment="integration" if credentials.environment == "integration" else "production",
        api_url=credentials.api_url,
        auth_url=credentials.auth_url,
        pace=SharedPace(
            engine.database,
            tenant,
            insist=insist,
            reserve=0.0 if interactive else RESERVE,
            breaker=find_breaker(engine, credentials),
        ),
        tokens=SharedTokenStore(
            engine.database, engine.keyring, tenant, "servicetitan", hashlib.sha256(identity.encode()).hexdigest()
        ),
        on_request=on_request,
    )
