"""A stand-in for ServiceTitan that answers what a test tells it to, over real HTTP on loopback.

`StandIn` speaks proper HTTP and keeps what it was asked; `serve_bytes` writes raw bytes, for answers that no HTTP
server would give. It shares no names with the client: paths and fields are spelled as ServiceTitan has them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """One request as it arrived. `query` is the raw query text."""

    method: str
    path: str
    query: str
    params: list[tuple[str, str]]
    headers: dict[str, str]
    form: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return dict(self.params)[name]


@dataclass
class StandIn:
    """Answers data requests with `answers` in turn, the last one for ever; token requests with `tokens` likewise.

    An answer is (status, body, headers) or a function of the request. Bodies that are not bytes become JSON.
    """

    answers: list[Any] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    token_asked: list[Asked] = field(default_factory=list)
    url: str = ""
    issued: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {str(k): str(v) for k, v in (await request.post()).items()} if request.method == "POST" else {}
        asked = Asked(
            request.method,
            request.rel_url.raw_path,
            request.rel_url.raw_query_string,
            list(request.query.items()),
            dict(request.headers),
            form,
        )
        if request.path == "/connect/token":
            self.token_asked.append(asked)
            if not self.tokens:
                self.issued += 1
                return web.json_response({"access_token": f"token-{self.issued}", "expires_in": 900})
            answer = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        else:
            self.asked.append(asked)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            act: Any = answer
            return await act(request)
        status, body, headers = answer if len(answer) == 3 else (*answer, {})
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=status, body=payload, headers={"Content-Type": "application/json", **headers})


def page_body(*records: Any, has_more: bool = False, **members: Any) -> dict[str, Any]:
    """Return a list page's body."""
    return {"page": 1, "pageSize": 5000, "hasMore": has_more, "totalCount": None, "data": list(records), **members}


def feed_body(*records: Any, has_more: bool = False, continue_from: str | None = "next") -> dict[str, Any]:
    """Return an export feed's body."""
    return {"hasMore": has_more, "continueFrom": continue_from, "data": list(records)}


@asynccontextmanager
async def stand_in() -> AsyncIterator[StandIn]:
    """Serve a StandIn on a free port of loopback."""
    served = StandIn()
    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{path:.*}", served.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield served
    finally:
        await runner.cleanup()


RawAnswer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serve_bytes(answer: RawAnswer) -> AsyncIterator[str]:
    """Serve raw bytes: `answer` is called once a request's head has arrived, and the connection is closed after it."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
