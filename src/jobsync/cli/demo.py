"""demo: the whole of JobSync against simulators on this machine, with failures planted on purpose.

It has a database of its own in the embedded cluster, reads no DATABASE_URL, `.env` or credentials, and nothing leaves the
machine. `--once` ends after the first pass; without it the service stays up and a job is booked every 20 seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack
from typing import Annotated, Any

import typer

from jobsync import __version__
from jobsync.cli.output import print_json, print_lines
from jobsync.cli.passes import shape_report
from jobsync.cli.shared import ACTOR, AsJson, run, settings_of
from jobsync.cli.stage import Upstreams, open_upstreams
from jobsync.config import Settings
from jobsync.db.databases import drop_demo_database
from jobsync.db.embedded import start_embedded
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.opening import DEMO, open_engine
from jobsync.engine.pipelines import refresh_pipelines
from jobsync.engine.route import route_unit
from jobsync.engine.sending import read_status
from jobsync.engine.sign_in import make_demo_link
from jobsync.errors import ConfigError
from jobsync.tasks.worker import sync_once, work

BOOK_EVERY_SECONDS = 20.0


def demo(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End after the first pass.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Forget the demo's data first.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the service; a busy one gives way to the next free one.")
    ] = 3001,
    jobs: Annotated[int, typer.Option(min=1, max=200_000, help="Jobs in the simulated ServiceTitan.")] = 240,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data.")] = 1,
    as_json: AsJson = False,
) -> None:
    """See jobs travel from a simulated ServiceTitan into a simulated GoHighLevel."""
    base = settings_of(context, LOG_LEVEL=context.obj.log_level or "ERROR")
    show = Show(quiet=as_json)
    run(_demo(base, show, once=once or as_json, reset=reset, port=port, jobs=jobs, seed=seed))


class Show:
    """The demo's talk: steps with their time on stdout, nothing at all with --json."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._since = time.monotonic()

    def line(self, text: str = "") -> None:
        """One line."""
        if not self.quiet:
            print(text, flush=True)

    def step(self, name: str, text: str) -> None:
        """One finished step and the seconds since the last one."""
        now = time.monotonic()
        mark = "✓" if (sys.stdout.encoding or "").lower().startswith("utf") else "+"
        self.line(f"  {mark} {name:<14} {text:<66} {now - self._since:>5.1f} s")
        self._since = now


def demo_settings(base: Settings, upstreams: Upstreams) -> Settings:
    """Settings of the demo: its own, whatever the environment says, save the data dir."""
    return Settings.model_validate(
        {
            **upstreams.environment(),
            "JOBSYNC_DATA_DIR": base.data_dir,
            "JOBSYNC_MODE": "live",
            "JOBSYNC_DELIVER_FROM": "1970-01-01T00:00:00Z",
            "JOBSYNC_POLL_SECONDS": 20,
            "JOBSYNC_GHL_PACE": 0,
            "JOBSYNC_CAP_HOUR": 0,
            "JOBSYNC_CAP_DAY": 0,
            "LOG_LEVEL": base.log_level,
        }
    )


async def _demo(base: Settings, show: Show, *, once: bool, reset: bool, port: int, jobs: int, seed: int) -> None:
    show.line(f"JobSync {__version__}   demo: simulators only, nothing leaves this computer")
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        # A demo starts from nothing: the simulators are new each time, so old rows would not match them.
        await _drop_demo_database(base)
        upstreams = await stack.enter_async_context(
            open_upstreams(jobs=jobs, seed=seed, servicetitan_port=4010, gohighlevel_port=4020)
        )
        settings = demo_settings(base, upstreams)
        engine = await stack.enter_async_context(open_engine(settings, database=DEMO))
        show.step("database", f"PostgreSQL in {base.data_dir}, database {DEMO}")
        show.step("ServiceTitan", f"simulator on {upstreams.servicetitan.url.removeprefix('http://')}  ({jobs} jobs)")
        show.step(
            "GoHighLevel",
            f"simulator on {upstreams.gohighlevel.url.removeprefix('http://')}  ({len(upstreams.hooks)} hooks)",
        )
        await _route(engine, upstreams)
        show.step("routes", f"{len(upstreams.hooks)} business units have a hook, the others are an inbox")
        report = await sync_once(engine, DEFAULT_TENANT)
        report["duration_s"] = round(time.monotonic() - started, 3)
        status = await read_status(engine, DEFAULT_TENANT)
        show.step(
            "first pull",
            f"{report['pulled']} jobs with customers, locations, contacts ({report['servicetitan_requests']} requests)",
        )
        # Of each job of the demo it says what became of it: what waits does so behind a hook that was paused.
        waiting = report["pulled"] - report["delivered"] - report["skipped"] - report["failed"]
        show.step(
            "delivered",
            f"{report['delivered']} sent, {report['skipped']} skipped, {waiting} waiting, "
            f"{report['failed']} failed (on purpose, have a look)",
        )
        planted = _describe_planted(upstreams, status)
        if show.quiet:
            print_json({**shape_report(report), "planted": planted})
            return
        show.line()
        show.line("  Planted failures")
        for entry in planted:
            show.line(f"    {entry['jobs']:>4} jobs of {entry['unit_name']}: {entry['what']}")
            if entry["sample"]:
                show.line(f"         jobsync why {entry['sample']}")
        if once:
            show.line()
            show.line(
                "  Next   jobsync demo   keeps it running; or put your credentials into .env and run: jobsync sync"
            )
            return
        await _stay(engine, upstreams, show, port, planted)


async def _drop_demo_database(base: Settings) -> None:
    async with await start_embedded(base.data_dir, database="postgres") as server:
        await drop_demo_database(server.dsn("postgres"))


async def _route(engine: Engine, upstreams: Upstreams) -> None:
    await sync_once(engine, DEFAULT_TENANT, deliver=False, streams=("business_units",))
    await refresh_pipelines(engine, DEFAULT_TENANT, actor=ACTOR)
    for unit, hook in upstreams.hooks.items():
        await route_unit(engine, DEFAULT_TENANT, unit, actor=ACTOR, webhook_url=hook)


def _describe_planted(upstreams: Upstreams, status: dict[str, Any]) -> list[dict[str, Any]]:
    described = []
    for planted in upstreams.planted:
        # The story to tell is of a job that was tried, not of one that still stands in line behind it.
        rows = sorted(
            (row for row in status["reasons"] if row["business_unit_id"] == planted.unit),
            key=lambda row: (row["ghl_sync_status"] != "failed", row["reason"] == "waiting"),
        )
        described.append(
            {
                "business_unit_id": planted.unit,
                "unit_name": rows[0]["business_unit_name"] if rows else str(planted.unit),
                "what": planted.what,
                "fix": planted.fix,
                "jobs": sum(row["jobs"] for row in rows),
                "reason": rows[0]["reason"] if rows else None,
                "sample": rows[0]["sample_st_job_id"] if rows else None,
            }
        )
    return described


async def _stay(engine: Engine, upstreams: Upstreams, show: Show, port: int, planted: list[dict[str, Any]]) -> None:
    from jobsync.tasks.worker import defer_pass_now
    from jobsync.web.server import serve_web

    sock = _open_next_free(port)
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    if sock.getsockname()[1] != port:
        show.line(f"  Port {port} is busy: this demo is on {address}.")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    upstreams.servicetitan.simulator.live(BOOK_EVERY_SECONDS)
    key = await make_demo_link(engine.database)
    print_lines(
        [
            "",
            f"  Open   http://{address}/ui/first?key={key}",
            "         signs you in to the dashboard of this demo",
            f"  Try    curl {address}/db/sync-state",
            "         psql \"$(jobsync db url)\" -c 'select * from sync_statistics'",
            f"  Live   a job is booked every {BOOK_EVERY_SECONDS:.0f} s and pulled within {engine.settings.poll_seconds} s",
            "  Next   put your credentials into .env (see .env.example) and run: jobsync sync",
            "  Stop   Ctrl-C   (the next demo starts over)",
        ]
    )
    sys.stdout.flush()
    jobs = [
        asyncio.ensure_future(work(engine, stop)),
        asyncio.ensure_future(
            serve_web(engine, sock, stop, start_sync=lambda name: defer_pass_now(engine, name), demo=True)
        ),
        asyncio.ensure_future(stop.wait()),
    ]
    await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*jobs)


def _open_next_free(port: int) -> socket.socket:
    from jobsync.web.binding import open_socket

    for candidate in range(port, min(port + 50, 65536)):
        try:
            return open_socket("127.0.0.1", candidate)
        except ConfigError as error:
            if error.code != "port_busy":
                raise
    return open_socket("127.0.0.1", 0)
