"""Putting a reply on the wire: as it should be, or broken the way a fault wants it.

Broken sending needs the connection itself, which server.py hands over in the ASGI scope; without it (an in-process ASGI
client) a cut body is an answer that never completes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from .faults import Fault, bomb
from .replies import HTML, Reply

TRANSPORT = "simulator.transport"
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
DRIP_AT_ONCE = 1
ENDLESS_BLANKS = b" " * 1024


async def send_reply(send: Send, reply: Reply, date: str) -> None:
    """A whole answer in one piece."""
    body = reply.encode()
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply, date, len(body))})
    await send({"type": "http.response.body", "body": body})


async def send_broken(
    scope: dict[str, Any], receive: Receive, send: Send, fault: Fault, reply: Reply, date: str, closing: asyncio.Event
) -> None:
    """Sends the reply the way a SENDING fault (or `hang`, `reset`) says. closing: set when the simulator stops, so
    that no endless answer outlives it."""
    transport = (scope.get("extensions") or {}).get(TRANSPORT)
    body = bomb(fault.megabytes) if fault.kind == "gzip_bomb" else reply.encode()
    if fault.kind == "hang":
        await _until_gone(receive, closing)
    elif fault.kind == "reset":
        _reset(transport)
        await _until_gone(receive, closing)
    elif fault.kind == "gzip_bomb":
        reply.headers["Content-Encoding"] = "gzip"
        await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply, date, len(body))})
        await send({"type": "http.response.body", "body": body})
    elif fault.kind == "wrong_type":
        reply.content_type = HTML
        await send_reply(send, reply, date)
    elif fault.kind in ("truncate", "reset_midway", "short_length"):
        cut = int(len(body) * fault.share)
        declared = cut if fault.kind == "short_length" else len(body)
        sent = body if fault.kind == "short_length" else body[:cut]
        if transport is not None:
            transport.write(_raw_head(reply, date, declared) + sent)
            if fault.kind == "reset_midway":
                await asyncio.sleep(0)
                _reset(transport)
            else:
                transport.close()
        await _until_gone(receive, closing)
    elif fault.kind == "drip":
        await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply, date, len(body))})
        gone = asyncio.ensure_future(_until_gone(receive, closing))
        for start in range(0, len(body), DRIP_AT_ONCE):
            if gone.done():
                return
            await send({"type": "http.response.body", "body": body[start : start + DRIP_AT_ONCE], "more_body": True})
            await asyncio.wait({gone}, timeout=fault.pause)
        gone.cancel()
        await send({"type": "http.response.body", "body": b""})
    else:  # endless
        await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply, date, None)})
        gone = asyncio.ensure_future(_until_gone(receive, closing))
        await send({"type": "http.response.body", "body": body[:-1], "more_body": True})
        while not gone.done():
            await send({"type": "http.response.body", "body": ENDLESS_BLANKS, "more_body": True})
            await asyncio.wait({gone}, timeout=fault.pause)


def _headers(reply: Reply, date: str, length: int | None) -> list[tuple[bytes, bytes]]:
    named = {"Content-Type": reply.content_type, "Date": date, **reply.headers}
    if length is not None:
        named["Content-Length"] = str(length)
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in named.items()]


def _raw_head(reply: Reply, date: str, length: int) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} OK".encode()]
    lines += [name + b": " + value for name, value in _headers(reply, date, length)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _reset(transport: Any) -> None:
    """Closes with RST instead of FIN."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _until_gone(receive: Receive, closing: asyncio.Event) -> None:
    """Waits until the caller hangs up or the simulator stops."""

    async def hung_up() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    waits = [asyncio.ensure_future(hung_up()), asyncio.ensure_future(closing.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
