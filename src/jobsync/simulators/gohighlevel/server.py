"""Putting the simulator on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .app import GoHighLevelSimulator


class _OpenProtocol(HttpToolsProtocol):
    """Hands the connection over, so that a fault can break it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"simulator.transport": self.transport}  # type: ignore[typeddict-item]


class _QuietServer(uvicorn.Server):
    """uvicorn without signal handlers; says when it listens and ends when told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        await self.ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Without uvicorn's pauses: a test stops a simulator hundreds of times."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.close()
        tasks = set(self.server_state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=1)
            for task in late:
                task.cancel()
        for _ in range(50):
            if not self.server_state.connections:
                break
            await asyncio.sleep(0)


class Serving:
    """A simulator that listens; an async context manager, or `stop` it yourself."""

    def __init__(
        self, app: GoHighLevelSimulator, server: _QuietServer, task: asyncio.Task[None], host: str, port: int
    ) -> None:
        self.app = app
        self.port = port
        self.url = f"http://{host}:{port}"
        app.public_url = self.url
        self._server = server
        self._task = task

    async def stop(self) -> None:
        """Ends held answers, closes every connection and the socket; twice is as good as once."""
        self.app.holds.release()
        self._server.ending.set()
        await asyncio.wait({self._task})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


async def serve(app: GoHighLevelSimulator, host: str = "127.0.0.1", port: int = 0) -> Serving:
    """Serves in the running event loop and returns once it listens. Port 0 takes a free one; `port`, `url` and `stop()`
    stand on what comes back. Raises OSError when the port is taken."""
    # The protocol number is what makes asyncio turn Nagle off on accepted connections (40 ms an answer otherwise).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    config = uvicorn.Config(
        app,
        http=_OpenProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        backlog=1024,
    )
    server = _QuietServer(config)
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    listening = asyncio.ensure_future(server.listening.wait())
    await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        listening.cancel()
        task.result()
    return Serving(app, server, task, host, listener.getsockname()[1])
