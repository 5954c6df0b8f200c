"""A TCP proxy that breaks connections on purpose, between real processes and a real upstream.

Kinds: `latency` (each piece late by `seconds`), `slicer` (pieces of one byte to `size`), `cut` (the answer ends after
`size` bytes), `reset` (RST instead of the answer's end, the request having arrived), `blackhole` (nothing comes back),
`refuse` (the connection is closed at once), `drip` (the answer one byte every `seconds`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Self
from urllib.parse import urlsplit


@dataclass
class Toxic:
    """One fault: it strikes this share of connections."""

    kind: str
    share: float = 1.0
    seconds: float = 0.05
    size: int = 64


@dataclass
class FaultProxy:
    """Listens on loopback and passes on to `target` (a URL). `toxics` may be changed while it runs."""

    target: str
    toxics: list[Toxic] = field(default_factory=list)
    seed: int = 1
    port: int = 0
    url: str = ""
    struck: Counter[str] = field(default_factory=Counter)
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._rng = Random(self.seed)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def cut(self) -> None:
        """Ends every connection that is open now; new ones meet the toxics."""
        for task in list(self._open):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        toxic = next((each for each in self.toxics if self._rng.random() < each.share), None)
        if toxic is not None:
            self.struck[toxic.kind] += 1
            if toxic.kind == "refuse":
                return
        parts = urlsplit(self.target)
        far_reader, far_writer = await asyncio.open_connection(parts.hostname, parts.port)
        up = asyncio.ensure_future(_copy(reader, far_writer))
        try:
            await self._back(far_reader, writer, toxic)
        finally:
            up.cancel()
            far_writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toxic: Toxic | None) -> None:
        left = toxic.size if toxic is not None else 0
        while piece := await reader.read(65536):
            if toxic is None:
                writer.write(piece)
            elif toxic.kind == "blackhole":
                continue
            elif toxic.kind == "latency":
                await asyncio.sleep(toxic.seconds)
                writer.write(piece)
            elif toxic.kind in ("slicer", "drip"):
                size = 1 if toxic.kind == "drip" else max(1, self._rng.randrange(toxic.size))
                for start in range(0, len(piece), size):
                    writer.write(piece[start : start + size])
                    await writer.drain()
                    if toxic.kind == "drip":
                        await asyncio.sleep(toxic.seconds)
            elif toxic.kind == "reset":
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return
            else:
                writer.write(piece[:left])
                await writer.drain()
                return
            await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()
