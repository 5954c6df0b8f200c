"""The simulator alone, in a process of its own: `python -m jobsync.simulators.gohighlevel --port 4020 --hooks 3`.

Prints one line of JSON when it listens: `{url, locationId, token, hooks: [url, ...]}`. Ends on SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys

import uvloop

from .app import GoHighLevelSimulator
from .furnish import furnish
from .server import serve


async def run(port: int, seed: int, hooks: int, unlimited: bool) -> None:
    """Serves one furnished location until a signal comes."""
    simulator = GoHighLevelSimulator(seed=seed)
    if unlimited:
        simulator.switches.turn(burst_limit=0, daily_limit=0)
    office = furnish(simulator)
    made = [simulator.add_hook() for _ in range(hooks)]
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with await serve(simulator, port=port) as served:
        started = {
            "url": served.url,
            "locationId": office.location.id,
            "token": office.token,
            "hooks": [served.url + simulator.hook_path(each) for each in made],
        }
        sys.stdout.write(json.dumps(started) + "\n")
        sys.stdout.flush()
        await ended.wait()


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description="GoHighLevel simulator")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hooks", type=int, default=1)
    parser.add_argument("--unlimited", action="store_true", help="no rate limits")
    given = parser.parse_args()
    uvloop.run(run(given.port, given.seed, given.hooks, given.unlimited))


if __name__ == "__main__":
    main()
