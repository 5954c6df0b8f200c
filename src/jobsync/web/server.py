"""The server: serving on a socket until told to stop; where it may listen is decided in `web.binding`.

Whoever sends headers too slowly or without end is cut off before the app sees a request (security bar X13).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jobsync.engine.context import Engine
from jobsync.web.app import create_app
from jobsync.web.calls import StartSync

KEEP_ALIVE_SECONDS = 75
HEADERS_SECONDS = 15.0
MOST_HEAD_BYTES = 64 * 1024
GRACE_SECONDS = 8


async def serve(app: Any, sock: socket.socket, stop: asyncio.Event) -> None:
    """Serves `app` on a listening socket until `stop` is set; requests under way get 8 seconds. Closes the socket."""
    if isinstance(app, FastAPI):
        # Answers without an end look at it, so that they do not hold up the end of the service.
        app.state.stop = stop
    config = uvicorn.Config(
        app,
        http=HurriedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        await _StoppableServer(config, stop).serve(sockets=[sock])
    finally:
        sock.close()


async def serve_web(
    engine: Engine,
    sock: socket.socket,
    stop: asyncio.Event,
    *,
    start_sync: StartSync | None = None,
    demo: bool = False,
) -> None:
    """Serves API and dashboard of an engine until `stop` is set. `start_sync(tenant)`: what POST /admin/sync does."""
    app = create_app(engine.settings, engine.database, keyring=engine.keyring, start_sync=start_sync, demo=demo)
    await serve(app, sock, stop)


class HurriedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a deadline and a size for the head of each request; the body's stand in `web.bodies`."""

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection has 15 seconds for the head of its first request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to wait for."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes between two requests start the next head's deadline."""
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start_timer()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A new head begins."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Counts towards the head."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts towards the head."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: its deadline ends."""
        self._stop_timer()
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.transport.abort()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(HEADERS_SECONDS, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.abort()


class _StoppableServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    async def main_loop(self) -> None:
        """Waits for `stop`; looks once a second after what the library does on its ticks (the Date header)."""
        ticks = 0
        while not (self._stop.is_set() or await self.on_tick(ticks)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1.0)
            ticks += 10

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the command that runs everything."""
        yield
