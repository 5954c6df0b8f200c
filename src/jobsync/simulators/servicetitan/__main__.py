"""`python -m jobsync.simulators.servicetitan`: a simulator in a process of its own, for benches and for trying by hand.

Prints one JSON line with its URL and credentials once it listens, and runs until it is interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime

from . import Dataset, SimClock, Simulator, Switches, serve
from .clock import DEFAULT_NOW


async def _run(options: argparse.Namespace) -> None:
    now = datetime.now(UTC) if options.now == "now" else options.now
    switches = Switches()
    switches.turn(**{name: json.loads(value) for name, _, value in (each.partition("=") for each in options.switch)})
    data = Dataset.generate(options.seed, options.jobs, now=now, activity=not options.no_activity, switches=switches)
    simulator = Simulator(data, clock=SimClock(now, running=options.now == "now"))
    async with await serve(simulator, options.host, options.port) as served:
        simulator.live(options.every)
        sys.stdout.write(json.dumps({"url": served.url, **asdict(simulator.account())}) + "\n")
        sys.stdout.flush()
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(name, stop.set)
        await stop.wait()


def main() -> None:
    """Reads the flags and serves."""
    parser = argparse.ArgumentParser(prog="jobsync.simulators.servicetitan", description="A simulated ServiceTitan.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=240)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--now", default=DEFAULT_NOW, help="where the clock stands; 'now' lets it run with the machine's"
    )
    parser.add_argument("--every", type=float, default=0, help="book a job every so many seconds")
    parser.add_argument("--no-activity", action="store_true", help="no appointments, estimates, invoices")
    parser.add_argument("--switch", action="append", default=[], metavar="NAME=JSON", help="turn a switch")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
