"""One token for all: kept to 80 % of its life, fetched once however many ask, replaced once when refused (F15)."""

from __future__ import annotations

import asyncio

import pytest

from jobsync.errors import CredentialsRejected, UpstreamUnavailable
from jobsync.servicetitan.auth import MemoryTokenStore, Token
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.streams import STREAMS
from tests.servicetitan.stand_in import StandIn, page_body

pytestmark = pytest.mark.anyio


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Fetcher:
    """Gives t1, t2, ... of 100 s life; waits for `gate` if there is one; fails with `error` if there is one."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def __call__(self) -> Token:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Token(f"t{self.calls}", 100)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryTokenStore:
    return MemoryTokenStore(clock=clock)


async def test_a_token_is_kept_until_four_fifths_of_its_life(store: MemoryTokenStore, clock: Clock) -> None:
    fetch = Fetcher()
    assert await store.get(fetch) == "t1"
    clock.now += 79.9
    assert await store.get(fetch) == "t1"
    clock.now += 0.1
    assert await store.get(fetch) == "t2"


async def test_callers_at_the_same_time_cause_one_fetch(store: MemoryTokenStore) -> None:
    fetch = Fetcher()
    assert await asyncio.gather(*(store.get(fetch) for _ in range(50))) == ["t1"] * 50
    assert fetch.calls == 1


async def test_a_refused_token_is_replaced_once_for_all_who_were_refused(store: MemoryTokenStore) -> None:
    fetch = Fetcher()
    await store.get(fetch)

    assert await asyncio.gather(*(store.get(fetch, rejected="t1") for _ in range(8))) == ["t2"] * 8
    assert await store.get(fetch, rejected="t1") == "t2"
    assert fetch.calls == 2


async def test_a_failed_fetch_is_shared_and_the_next_caller_tries_anew(store: MemoryTokenStore) -> None:
    fetch = Fetcher()
    fetch.error = CredentialsRejected("no")
    results = await asyncio.gather(*(store.get(fetch) for _ in range(8)), return_exceptions=True)

    assert all(isinstance(result, CredentialsRejected) for result in results)
    assert fetch.calls == 1
    fetch.error = None
    assert await store.get(fetch) == "t2"


async def test_a_caller_that_gives_up_does_not_take_the_token_from_the_others(store: MemoryTokenStore) -> None:
    fetch = Fetcher()
    fetch.gate = asyncio.Event()
    first = asyncio.create_task(store.get(fetch))
    second = asyncio.create_task(store.get(fetch))
    await asyncio.sleep(0)  # lets both begin to wait
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    fetch.gate.set()

    assert await second == "t1"
    assert fetch.calls == 1


async def test_a_token_with_life_left_is_used_while_the_sign_in_is_away(store: MemoryTokenStore, clock: Clock) -> None:
    fetch = Fetcher()
    await store.get(fetch)
    fetch.error = UpstreamUnavailable("away")
    clock.now += 85

    assert await store.get(fetch) == "t1"
    assert await store.get(fetch) == "t1"
    assert fetch.calls == 2, "the sign-in is not asked again at once"
    clock.now += 10
    assert await store.get(fetch) == "t1"
    assert fetch.calls == 3
    clock.now += 5
    with pytest.raises(UpstreamUnavailable):
        await store.get(fetch)


async def test_a_refused_token_is_not_used_on_while_the_sign_in_is_away(store: MemoryTokenStore) -> None:
    fetch = Fetcher()
    await store.get(fetch)
    fetch.error = UpstreamUnavailable("away")

    with pytest.raises(UpstreamUnavailable):
        await store.get(fetch, rejected="t1")


async def test_a_token_does_not_show_in_its_repr() -> None:
    assert "canary" not in repr(Token("canary", 900))


async def test_eight_requests_with_a_dead_token_cause_one_sign_in(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(200, page_body())]
    await client.list_page(STREAMS["jobs"])
    titan.answers = [(401, b"")] * 8 + [(200, page_body())]

    await asyncio.gather(*(client.list_page(STREAMS["jobs"]) for _ in range(8)))

    assert len(titan.token_asked) == 2
