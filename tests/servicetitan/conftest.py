"""Fixtures of the ServiceTitan room: a stand-in on loopback and clients that call it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from jobsync.servicetitan.auth import MemoryTokenStore
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.transport import Limits, open_session
from tests.servicetitan.stand_in import StandIn, stand_in

MakeClient = Callable[..., ServiceTitanClient]


class FreePace:
    """Lets everything through at once and keeps the pauses that it was asked for."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def take(self) -> None:
        return None

    def slow_down(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def note(self, answered: bool) -> None:
        return None


@pytest.fixture
async def titan() -> AsyncIterator[StandIn]:
    async with stand_in() as served:
        yield served


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as opened:
        yield opened


@pytest.fixture
def make_client(session: aiohttp.ClientSession) -> MakeClient:
    """Return a function that makes a client for a base URL; settings of the client can be overridden."""

    def make(url: str, **settings: Any) -> ServiceTitanClient:
        values: dict[str, Any] = {
            "tenant_id": "4711",
            "client_id": "canary-client-id",
            "client_secret": "canary-client-secret",
            "app_key": "canary-app-key",
            "api_url": url,
            "auth_url": url,
            "pace": FreePace(),
            "tokens": MemoryTokenStore(),
            "limits": Limits(connect_seconds=1, total_seconds=5),
        }
        return ServiceTitanClient(session, **(values | settings))

    return make


@pytest.fixture
def client(titan: StandIn, make_client: MakeClient) -> ServiceTitanClient:
    return make_client(titan.url)
