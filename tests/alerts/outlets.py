"""Stand-ins of the two channels that people use most: an SMTP server and Slack's incoming hooks, on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Any

from aiohttp import web


@dataclass
class Mailbox:
    """What an SMTP server received. `refuses`: it answers every recipient with 550."""

    port: int = 0
    mails: list[Message] = field(default_factory=list)
    refuses: bool = False

    @property
    def url(self) -> str:
        """The channel URL for it."""
        return f"mailto://127.0.0.1:{self.port}?from=jobsync@example.com&to=office@example.com"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One SMTP dialogue."""

        async def say(text: str) -> None:
            writer.write(text.encode() + b"\r\n")
            await writer.drain()

        await say("220 stand-in")
        while line := (await reader.readline()).decode().strip():
            word = line.split(" ")[0].upper()
            if word == "DATA":
                await say("354 go on")
                body = await reader.readuntil(b"\r\n.\r\n")
                self.mails.append(message_from_bytes(body[:-5].replace(b"\r\n..", b"\r\n."), policy=default))
                await say("250 taken")
            elif word == "RCPT" and self.refuses:
                await say("550 no")
            elif word == "QUIT":
                await say("221 bye")
                break
            else:
                await say("250 ok")
        writer.close()


@asynccontextmanager
async def open_mailbox() -> AsyncIterator[Mailbox]:
    """An SMTP server on a free port."""
    box = Mailbox()
    server = await asyncio.start_server(box.serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()


@dataclass
class Hook:
    """What an incoming hook received; `status` is what it answers."""

    root: str = ""
    posts: list[Any] = field(default_factory=list)
    status: int = 200

    def texts(self) -> str:
        """Everything that was posted, as one text."""
        return json.dumps(self.posts, ensure_ascii=False)


@asynccontextmanager
async def open_hook() -> AsyncIterator[Hook]:
    """An HTTP server that takes any POST, and counts GETs as pings."""
    hook = Hook()

    async def take(request: web.Request) -> web.Response:
        hook.posts.append(await request.json() if request.method == "POST" else request.path)
        return web.Response(status=hook.status, text="ok")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hook.root = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield hook
    finally:
        await runner.cleanup()
