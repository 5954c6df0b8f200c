"""A stand-in for GoHighLevel that answers what a test tells it to, over real HTTP on loopback.

`serve` speaks proper HTTP and keeps what it was asked; `serve_bytes` writes raw bytes and breaks off, as no HTTP server
would; `Canary` counts connections that should never come. Paths and fields are spelled by the tests as GoHighLevel
spells them; nothing is imported from the client but the session under test.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

Handler = Callable[["Asked"], Awaitable[web.StreamResponse] | web.StreamResponse]


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Site:
    """What listens: `answers` are given in turn, the last one for ever."""

    answers: list[Any]
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        """The address by number."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def hook(self) -> str:
        """A hook's URL of the usual form."""
        return f"{self.url}/hooks/loc5550100/webhook-trigger/0f1e2d3c-aaaa-bbbb-cccc-ddddeeeeffff"


def answer(body: object = None, status: int = 200, **headers: str) -> Callable[[Asked], web.Response]:
    """An answer: bytes and text as they are, anything else as JSON; `Retry_After="3"` becomes `Retry-After: 3`."""
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def give(_: Asked) -> web.Response:
        return web.Response(status=status, body=content, headers={"Content-Type": "application/json", **named})

    return give


@asynccontextmanager
async def serve(*answers: Handler | web.StreamResponse, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """Listens on a free port until the block ends."""
    site = Site(list(answers), scheme="https" if tls else "http")

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = Asked(request.method, request.path, dict(request.query), dict(request.headers), await request.read())
        site.asked.append(asked)
        given = site.answers.pop(0) if len(site.answers) > 1 else site.answers[0]
        found = given(asked)
        return await found if isinstance(found, Awaitable) else found

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await listener.start()
    site.port = runner.addresses[0][1]
    try:
        yield site
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serve_bytes(raw: bytes, *, reset: bool = False, hold: bool = False) -> AsyncIterator[Site]:
    """Reads a request's head and writes `raw`, then closes (`reset`: by RST; `hold`: never)."""
    site = Site([])
    held: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        site.asked.append(Asked(head.split(b" ", 1)[0].decode(), "", {}, {}, b""))
        writer.write(raw)
        await writer.drain()
        if hold:
            held.append(writer)
            return
        if reset:
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        for writer in held:
            writer.close()
        server.close()
        await server.wait_closed()


@dataclass
class Canary:
    """Counts connections; there should be none."""

    port: int = 0
    connections: int = 0


@asynccontextmanager
async def listen_for_canary() -> AsyncIterator[Canary]:
    """A socket on loopback that nobody should connect to."""
    canary = Canary()

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        canary.connections += 1
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    canary.port = server.sockets[0].getsockname()[1]
    try:
        yield canary
    finally:
        server.close()
        await server.wait_closed()


class Names(AbstractResolver):
    """A name server: each name leads to its lists of (address, port) in turn, the last one for ever."""

    def __init__(self, *answers: list[tuple[str, int]]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=to_port or port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address, to_port in found
        ]

    async def close(self) -> None:
        """Nothing to close."""


async def free_port() -> int:
    """A port on which nothing listens."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
