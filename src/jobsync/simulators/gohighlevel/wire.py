"""How an answer leaves: whole, late, drop by drop, cut off, or not at all.

The server hands the connection's transport over in `scope["extensions"]["simulator.transport"]`; without it (an ASGI
client in process) a reset shows as ConnectionResetError.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from .answers import Answer
from .faults import Fault

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_MEGABYTE = 1_048_576


class Holds:
    """Requests that are being kept waiting; `release` ends them all."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.waiting = 0

    def release(self) -> None:
        """Ends every wait that is going on now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, receive: Receive, seconds: float) -> bool:
        """Waits until released, the real seconds are over, or the caller hung up; true when the caller hung up."""
        gone = asyncio.ensure_future(_hung_up(receive))
        released = asyncio.ensure_future(self._event.wait())
        self.waiting += 1
        try:
            await asyncio.wait((gone, released), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return gone.done()
        finally:
            self.waiting -= 1
            for task in (gone, released):
                task.cancel()
            await asyncio.gather(gone, released, return_exceptions=True)


async def transmit(
    answer: Answer, fault: Fault | None, scope: dict[str, Any], receive: Receive, send: Send, holds: Holds
) -> None:
    """Sends an answer as the fault has it. The body was read before, so `receive` only tells that the caller left."""
    if fault is None:
        await send_whole(send, answer)
        return
    kind, options = fault.kind.removeprefix("did_then_"), fault.options
    if kind == "close":
        await _reset(scope, receive)
    elif kind == "hang":
        await holds.wait(receive, float(options.get("seconds", 30)))
        await _reset(scope, receive)
    elif kind == "slow":
        if not await holds.wait(receive, float(options.get("seconds", 1))):
            await send_whole(send, answer)
    elif kind == "truncated":
        body = answer.encoded()
        await _start(send, answer, len(body))
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await _close(scope, receive)
    elif kind == "drip":
        body = answer.encoded()
        await _start(send, answer, len(body))
        for place in range(len(body)):
            more = place + 1 < len(body)
            await send({"type": "http.response.body", "body": body[place : place + 1], "more_body": more})
            if await holds.wait(receive, float(options.get("seconds", 1))):
                return
    elif kind in ("endless", "huge", "gzip_bomb"):
        await _send_much(kind, int(options.get("megabytes", 64)), send)
    else:
        await send_whole(send, answer)


async def send_whole(send: Send, answer: Answer) -> None:
    """An answer as it should be."""
    body = answer.encoded()
    await _start(send, answer, len(body))
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, answer: Answer, length: int) -> None:
    headers = [(b"content-type", answer.content_type.encode("latin-1")), (b"content-length", b"%d" % length)]
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})


async def _send_much(kind: str, megabytes: int, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    if kind == "gzip_bomb":
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        body = b"".join(packer.compress(bytes(_MEGABYTE)) for _ in range(megabytes)) + packer.flush()
        headers += [(b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"padding":"', "more_body": True})
    for _ in range(megabytes):
        await send({"type": "http.response.body", "body": b"x" * _MEGABYTE, "more_body": True})
    await send({"type": "http.response.body", "body": b'"}' if kind == "huge" else b""})


async def _reset(scope: dict[str, Any], receive: Receive) -> None:
    transport = scope.get("extensions", {}).get("simulator.transport")
    if transport is None:
        raise ConnectionResetError("the simulator reset the connection")
    transport.abort()
    await _hung_up(receive)


async def _close(scope: dict[str, Any], receive: Receive) -> None:
    transport = scope.get("extensions", {}).get("simulator.transport")
    if transport is None:
        raise ConnectionResetError("the simulator closed the connection")
    transport.close()
    await _hung_up(receive)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
