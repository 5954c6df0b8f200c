"""simulate: the two upstreams alone, for trying things out and for other people's tests."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from jobsync.cli.output import print_lines
from jobsync.cli.shared import run, settings_of


def simulate(
    context: typer.Context,
    jobs: Annotated[int, typer.Option(min=1, max=1_000_000, help="Jobs in the simulated ServiceTitan.")] = 240,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data.")] = 1,
    servicetitan_port: Annotated[int, typer.Option(min=0, max=65535)] = 4010,
    gohighlevel_port: Annotated[int, typer.Option(min=0, max=65535)] = 4020,
) -> None:
    """Run the ServiceTitan and GoHighLevel simulators until Ctrl-C."""
    settings_of(context)
    run(_simulate(jobs, seed, servicetitan_port, gohighlevel_port))


async def _simulate(jobs: int, seed: int, servicetitan_port: int, gohighlevel_port: int) -> None:
    from jobsync.cli.stage import open_upstreams

    async with open_upstreams(
        jobs=jobs, seed=seed, servicetitan_port=servicetitan_port, gohighlevel_port=gohighlevel_port
    ) as upstreams:
        print_lines([*(f"{name}={value}" for name, value in upstreams.environment().items()), "# Stop: Ctrl-C"])
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()
