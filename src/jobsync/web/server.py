"""The server: where it may listen, the socket, and serving until told to stop.

An API without a key must not be reachable from other machines (security bar X1): `check_binding` refuses before
anything is opened. Whoever sends headers too slowly or without end is cut off before the app sees a request (X13).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jobsync.config import Settings
from jobsync.engine.context import Engine
from jobsync.errors import ConfigError
from jobsync.web.app import create_app
from jobsync.web.calls import StartSync

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
HEADERS_SECONDS = 15.0
MOST_HEAD_BYTES = 64 * 1024
GRACE_SECONDS = 8


def check_binding(settings: Settings) -> None:
    """Raises ConfigError (exit 6) when the API would be open to other machines without a key."""
    everyone = [network for network in settings.trusted_networks if ip_network(network, strict=False).prefixlen == 0]
    if everyone and settings.api_key is None:
        raise ConfigError(
            f"JOBSYNC_TRUSTED_NETWORKS holds {everyone[0]}, which is everybody: the API would be open to the world.",
            hint="Name the networks you mean, or set API_KEY.",
        )
    if _is_loopback(settings.host) or settings.api_key is not None or settings.trusted_networks:
        return
    raise ConfigError(
        f"JobSync does not listen on {settings.host}: other machines could use the API without a key.",
        hint="Set API_KEY, or JOBSYNC_TRUSTED_NETWORKS to the networks that may use it, or HOST=127.0.0.1.",
    )


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError: code `port_busy` when another program has the port."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ConfigError(f"The host {host} is not known here.", hint="Check HOST.") from None
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    # The protocol is named because asyncio sends small answers at once (TCP_NODELAY) only on sockets that say TCP.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise _explain(error, host, port) from None
    return opened


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


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _explain(error: OSError, host: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"Port {port} on {host} is used by another program.",
            hint=f"Stop it, or choose another port: PORT={port + 1 if port < 65535 else 3001} or --port.",
            code="port_busy",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(f"This user may not listen on port {port}.", hint="Choose a PORT of 1024 or more.")
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"This machine has no address {host}.", hint="Check HOST.")
    return ConfigError(f"JobSync cannot listen on {host} port {port}: {error.strerror}.", hint="Check HOST and PORT.")
