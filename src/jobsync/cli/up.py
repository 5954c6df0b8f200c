"""up: service, worker and schedule in one process; --only web or worker splits them over machines."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable
from enum import StrEnum
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer

from jobsync.alerts.outage import watch_workers
from jobsync.cli.output import say
from jobsync.cli.shared import run, settings_of, tenant_of
from jobsync.config import Settings
from jobsync.engine.connections import read_servicetitan_credentials
from jobsync.engine.context import Engine
from jobsync.engine.opening import open_engine
from jobsync.engine.sending import read_status
from jobsync.engine.sign_in import make_first_link
from jobsync.tasks.worker import count_workers, defer_pass_now, work
from jobsync.web.binding import check_binding, open_socket


class Part(StrEnum):
    """What this process does."""

    web = "web"
    worker = "worker"


class FirstMode(StrEnum):
    """The mode a fresh tenant starts in."""

    observe = "observe"
    shadow = "shadow"
    live = "live"


def up(
    context: typer.Context,
    only: Annotated[Part | None, typer.Option(help="Only the web service, or only worker and schedule.")] = None,
    mode: Annotated[
        FirstMode | None, typer.Option(help="The first mode; later it only lowers (only arm raises).")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on (PORT).")] = None,
) -> None:
    """Run JobSync: service on port 3001, worker, and a pull every 5 minutes."""
    settings = settings_of(context, JOBSYNC_MODE=mode.value if mode else None, HOST=host, PORT=port)
    run(serve(settings, tenant_of(context), only))


async def serve(settings: Settings, tenant: str, only: Part | None) -> None:
    """Runs until SIGTERM or SIGINT; what is under way is finished or released within ten seconds."""
    if only is not Part.worker:
        check_binding(settings)
    sock = None if only is Part.worker else open_socket(settings.host, settings.port)
    # What the service is made of takes a second to load: meanwhile the database starts, and the worker begins.
    loading = asyncio.ensure_future(asyncio.to_thread(import_module, "jobsync.web.server")) if sock else None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with open_engine(settings, restart=True) as engine:
            await _tell_start(engine, tenant, sock.getsockname() if sock else None, only)
            jobs = []
            if only is not Part.web:
                jobs.append(asyncio.ensure_future(work(engine, stop)))
            if sock is not None and loading is not None:
                jobs.append(asyncio.ensure_future(_serve_web(loading, engine, sock, stop)))
            if only is Part.web:
                # It pulls and sends nothing itself: somebody must notice when nobody does.
                seen = partial(count_workers, engine)
                jobs.append(asyncio.ensure_future(watch_workers(engine, seen, stop, every=30.0, patience=120.0)))
            jobs.append(asyncio.ensure_future(stop.wait()))
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            done = await asyncio.gather(*jobs, return_exceptions=True)
            for result in done:
                if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                    raise result
    finally:
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()


async def _serve_web(loading: Awaitable[Any], engine: Engine, sock: socket.socket, stop: asyncio.Event) -> None:
    server = await loading
    await server.serve_web(engine, sock, stop, start_sync=lambda name: defer_pass_now(engine, name))


def first_address(host: str, port: int) -> str:
    """The address to open on this machine: what listens everywhere is reached by the loopback."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "127.0.0.1") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


async def _tell_start(engine: Engine, tenant: str, address: tuple[str, int] | None, only: Part | None) -> None:
    pulls = await read_servicetitan_credentials(engine, tenant) is not None
    found = (await read_status(engine, tenant))["tenant"]
    if address is not None:
        say(
            f"JobSync on http://{address[0]}:{address[1]}   API under /db, health under /health/ready, reference under /docs"
        )
        key = await make_first_link(engine.database, tenant)
        say(
            f"Dashboard {first_address(*address[:2])}/ui/"
            + (f"first?key={key}   (works once: the first account)" if key else "")
        )
    if only is not Part.web:
        say(
            f"Pull      every {found['poll_seconds']} s"
            if pulls
            else "Pull      off: no ServiceTitan credentials (see .env.example)"
        )
    say(
        "Send      on: mode is live"
        if found["mode"] == "live"
        else f"Send      off: {found['planned']} planned, nothing sent: mode is {found['mode']}. Next: jobsync arm"
    )
    say("Stop      Ctrl-C")
