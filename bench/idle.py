"""What JobSync costs while it has nothing to do, and how soon it begins: python -m bench.idle [--seconds 30] [--json]

Runs `jobsync up` (service, worker and schedule) on a database that is there already, against a simulated ServiceTitan with
nothing new. Prints seconds from the start of the process to its first request for data, its resident memory and its share
of a core once it idles, and seconds from SIGTERM to its end. Linux only: the figures come from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jobsync.cli.stage import Upstreams, open_upstreams

LIMITS = {"memory_mb": 200.0, "cpu_percent": 1.0, "first_poll_s": 5.0, "stop_s": 10.0}
QUIET_SECONDS = 3.0
LONGEST_SECONDS = 120.0


async def measure(seconds: float) -> dict[str, float]:
    """The four figures."""
    with tempfile.TemporaryDirectory(prefix="jobsync-idle-") as folder:
        Path(folder).chmod(0o755)
        async with open_upstreams(jobs=60, seed=1, live=False) as upstreams:
            environment = {
                "PATH": os.environ.get("PATH", ""),
                "HOME": folder,
                "JOBSYNC_DATA_DIR": f"{folder}/data",
                "PORT": "0",
                "LOG_LEVEL": "WARNING",
                **({"DATABASE_URL": os.environ["DATABASE_URL"]} if "DATABASE_URL" in os.environ else {}),
                **upstreams.environment(),
            }
            warming = await _start(folder, environment, "pull")
            if await warming.wait() != 0:
                raise RuntimeError("the first pull did not end well")
            before = _requests(upstreams)
            started = time.monotonic()
            process = await _start(folder, environment, "up")
            try:
                await _until(lambda: _requests(upstreams) > before)
                first_poll = time.monotonic() - started
                await _until_quiet(upstreams)
                ticks = _ticks(process.pid)
                began = time.monotonic()
                await asyncio.sleep(seconds)
                share = (_ticks(process.pid) - ticks) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)
                memory = _resident(process.pid)
            finally:
                stopping = time.monotonic()
                process.terminate()
                await process.wait()
    return {
        "memory_mb": round(memory / 1e6, 1),
        "cpu_percent": round(100 * share, 2),
        "first_poll_s": round(first_poll, 2),
        "stop_s": round(time.monotonic() - stopping, 2),
    }


async def _start(folder: str, environment: dict[str, str], *words: str) -> asyncio.subprocess.Process:
    program = Path(sys.executable).parent / "jobsync"
    nowhere = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        str(program), *words, cwd=folder, env=environment, stdin=nowhere, stdout=nowhere
    )


async def _until(holds: Any) -> None:
    async with asyncio.timeout(LONGEST_SECONDS):
        while not holds():
            await asyncio.sleep(0.02)


async def _until_quiet(upstreams: Upstreams) -> None:
    """No request for a while: the first pass is over."""
    seen, since = -1, time.monotonic()
    async with asyncio.timeout(LONGEST_SECONDS):
        while time.monotonic() - since < QUIET_SECONDS:
            if (count := _requests(upstreams)) != seen:
                seen, since = count, time.monotonic()
            await asyncio.sleep(0.1)


def _requests(upstreams: Upstreams) -> int:
    counts = upstreams.servicetitan.simulator.ledger.counts
    return sum(count for (_, path, _), count in counts.items() if path != "connect/token")


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc")


def main() -> int:
    """Prints the figures; 1 where one is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the idle time is measured")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = asyncio.run(measure(given.seconds))
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        for name, value in found.items():
            word = "ok" if value <= LIMITS[name] else "OVER"
            sys.stdout.write(f"{name:<14} {value:>8}   limit {LIMITS[name]:>6}   {word}\n")
    return int(any(value > LIMITS[name] for name, value in found.items()))


if __name__ == "__main__":
    sys.exit(main())
