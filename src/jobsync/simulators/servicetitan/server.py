"""Putting a simulator on a real loopback socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .app import Simulator
from .delivery import TRANSPORT


class _OpenProtocol(HttpToolsProtocol):
    """Hands the connection to the app, which breaks it on purpose when a fault says so."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[typeddict-item]


class _Server(uvicorn.Server):
    """uvicorn without signal handlers, that says when it listens and stops at once when told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.told_to_stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        await self.told_to_stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Without uvicorn's pauses: what is being answered gets a second, then it is cancelled."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            _, left = await asyncio.wait(self.server_state.tasks, timeout=1)
            for task in left:
                task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.close()
        for server in self.servers:
            await server.wait_closed()


class Served:
    """A simulator that listens. Use it as an async context manager, or call `stop` yourself."""

    def __init__(self, simulator: Simulator, server: _Server, task: asyncio.Task[None], host: str, port: int) -> None:
        self.simulator = simulator
        self.host = host
        self.port = port
        self._server = server
        self._task = task

    @property
    def url(self) -> str:
        """Base of API, token endpoint and control API."""
        return f"http://{self.host}:{self.port}"

    async def stop(self) -> None:
        """Stops listening, ends what hangs, waits until the socket is closed. Twice is as good as once."""
        self.simulator.close()
        self._server.told_to_stop.set()
        await asyncio.wait({self._task})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


async def serve(simulator: Simulator, host: str = "127.0.0.1", port: int = 0) -> Served:
    """Serves on a socket of its own, in the running event loop; returns once it listens. Port 0 takes a free one.

    A stopped simulator may be served again, on the same port too: that is an outage. Raises OSError if the port is
    taken.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only then
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    simulator.closing = asyncio.Event()
    config = uvicorn.Config(
        simulator, http=_OpenProtocol, ws="none", lifespan="off", log_config=None, log_level="critical",
        access_log=False,
        date_header=False, server_header=False, timeout_keep_alive=75, timeout_graceful_shutdown=1, backlog=512,
    )  # fmt: skip
    server = _Server(config)
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[sock]))
    listening = asyncio.ensure_future(server.listening.wait())
    await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        listening.cancel()
        task.result()
    return Served(simulator, server, task, host, sock.getsockname()[1])
