"""Proxy: a read of ServiceTitan passed on to a caller, with our credentials and inside the budget that all workers share.

A single page is an interactive call: it may use the fifth of the budget that pulls leave alone. `all` follows every page
and waits its turn like a pull.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing

from jobsync.engine.connections import open_servicetitan
from jobsync.engine.context import Engine
from jobsync.errors import AccessDenied, CallRefused, MalformedAnswer, RateLimited, RecordMissing, UpstreamUnavailable
from jobsync.servicetitan.client import ReadAnswer, ServiceTitanClient
from jobsync.servicetitan.proxy import Filters, check_filters, find_path, read_all_pages


async def open_read(
    engine: Engine, tenant: str, name: str, record: int | None, filters: Filters, *, everything: bool
) -> AsyncIterator[bytes]:
    """Asks ServiceTitan and answers the body in pieces, once the first of them is here: what fails before raises.

    `name`: an entry of `servicetitan.proxy.READABLE`; `record`: the id it takes, else None; `everything`: all pages as one.
    Raises InvalidInput (nothing was asked), ConfigError (not connected), and for ServiceTitan's refusals CallRefused with
    its status 400 or 409, RecordMissing (404), AccessDenied (403), RateLimited, UpstreamUnavailable, MalformedAnswer. An
    error while the pieces are read ends them.
    """
    path, wanted = find_path(name, record), check_filters(filters)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await open_servicetitan(engine, tenant, interactive=not everything))
        if everything:

            async def read_page(asked: Filters) -> bytes:
                async with client.read(path, asked) as answer:
                    _refuse(answer)
                    return b"".join([piece async for piece in answer.body])

            pieces = read_all_pages(read_page, wanted)
        else:
            pieces = await _read_one(stack, client, path, wanted)
        await stack.enter_async_context(aclosing(pieces))
        first = await anext(pieces, b"")
        if first.lstrip()[:1] not in (b"{", b"["):
            raise MalformedAnswer("ServiceTitan's answer is not JSON.")
        return _give(first, pieces, stack.pop_all())
    raise AssertionError("unreachable")


async def _read_one(stack: AsyncExitStack, client: ServiceTitanClient, path: str, filters: Filters):
    answer = await stack.enter_async_context(client.read(path, filters))
    _refuse(answer)

    async def give() -> AsyncGenerator[bytes, None]:
        async for piece in answer.body:
            yield piece

    return give()


async def _give(first: bytes, rest: AsyncIterator[bytes], stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        yield first
        async for piece in rest:
            yield piece


def _refuse(answer: ReadAnswer) -> None:
    """Raises what stands for an answer that is not 200. Its body is never passed on: it may repeat what was sent."""
    status = answer.status
    if status == 200:
        return
    if status in (400, 409, 422):
        raise CallRefused(
            400 if status == 422 else status,
            "ServiceTitan refuses this request as it stands.",
            code="servicetitan_refused",
            hint="Check names and values of the filters against ServiceTitan's reference.",
            servicetitan_status=status,
        )
    if status in (404, 410):
        raise RecordMissing("ServiceTitan has no such record.", hint="Check the id.", servicetitan_status=status)
    if status == 403:
        raise AccessDenied("ServiceTitan does not let this app read that.", hint="Check the app's scopes there.")
    if status == 429:
        after = answer.headers.get("Retry-After", "")
        raise RateLimited(
            "ServiceTitan asks to slow down.",
            retry_after=float(after) if after.replace(".", "", 1).isdigit() else None,
            servicetitan_status=status,
        )
    raise UpstreamUnavailable("ServiceTitan did not answer properly.", servicetitan_status=status)
