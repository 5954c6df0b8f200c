"""The product's side of the benchmark: the verbs that `jobsync sync` calls, on a database of its own.

    python -m bench.ours {prepare|pull|deliver|pass} --dsn DSN --url URL --hook URL --folder DIR     prints one JSON object

`prepare` migrates the database, reads the units and routes them all to the hook. Seconds leave out the start of the
interpreter and the opening of the pool. Unpaced towards GoHighLevel and without caps, as nothing else would be a measure of speed;
towards ServiceTitan the product keeps to its 50 requests a second.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

from bench.upstream import TENANT
from jobsync.config import Settings, read_settings
from jobsync.engine.event_loop import run_to_end
from jobsync.engine.opening import PASS_CONNECTIONS, open_engine
from jobsync.engine.route import list_units, route_unit
from jobsync.log import set_up_logs
from jobsync.tasks.worker import sync_once

HOW: dict[str, dict[str, Any]] = {"pull": {"deliver": False}, "deliver": {"pull": False}, "pass": {}}


def make_settings(dsn: str, url: str, folder: Path) -> Settings:
    """Settings of a live tenant towards the stand-in."""
    return read_settings(
        environ={
            "DATABASE_URL": dsn, "SERVICE_TITAN_TENANT_ID": TENANT, "SERVICE_TITAN_CLIENT_ID": "bench", "SERVICE_TITAN_CLIENT_SECRET": "bench",
            "SERVICE_TITAN_APP_KEY": "bench", "SERVICE_TITAN_API_URL": url, "SERVICE_TITAN_AUTH_URL": url, "JOBSYNC_ALLOW_HOSTS": "127.0.0.1",
            "JOBSYNC_MODE": "live", "JOBSYNC_DELIVER_FROM": "2000-01-01T00:00:00Z", "JOBSYNC_GHL_PACE": "0", "JOBSYNC_CAP_HOUR": "0", "JOBSYNC_CAP_DAY": "0",
            "JOBSYNC_DATA_DIR": str(folder), "LOG_LEVEL": "ERROR",
        },
        directory=folder,
    )  # fmt: skip


async def run(what: str, dsn: str, url: str, hook: str, folder: Path) -> dict[str, Any]:
    """One measured verb: seconds and its report."""
    async with open_engine(make_settings(dsn, url, folder), most_connections=PASS_CONNECTIONS) as engine:
        if what == "prepare":
            await sync_once(engine, "default", deliver=False, streams=("business_units",))
            for unit in await list_units(engine, "default"):
                await route_unit(engine, "default", unit["st_business_unit_id"], actor="bench", webhook_url=hook)
            return {}
        started, cpu = time.perf_counter(), time.process_time()
        report = await sync_once(engine, "default", **HOW[what])
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    kept = (
        "pulled",
        "stored",
        "planned",
        "delivered",
        "failed",
        "servicetitan_requests",
        "gohighlevel_requests",
        "status",
        "error",
    )
    return {"seconds": seconds, "cpu_seconds": cpu, **{name: report.get(name) for name in kept}}


def main() -> None:
    """Runs one verb and prints what it took."""
    parser = argparse.ArgumentParser(prog="python -m bench.ours", description="The product's side.")
    parser.add_argument("what", choices=("prepare", *HOW))
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--hook", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--profile", help="write a cProfile of the run there")
    given = parser.parse_args()
    set_up_logs("ERROR")
    profile = None
    if given.profile:
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
    found = run_to_end(run(given.what, given.dsn, given.url, given.hook, given.folder))
    if profile is not None:
        profile.disable()
        profile.dump_stats(given.profile)
    if found.get("status") not in (None, "completed") or found.get("error") or found.get("failed"):
        # What failed in part may look fast.
        raise SystemExit(f"{given.what}: {found.get('error') or found}")
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**found, "peak_mb": round(usage.ru_maxrss / 1024, 1)}))


if __name__ == "__main__":
    main()
