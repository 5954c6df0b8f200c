"""How fast a backfill stores history, against a plain decode + COPY + upsert loop of the same tables in the same run.

    python -m bench.backfill [--jobs 100000] [--size 5000] [--rounds 1] [--dsn DSN] [--json]

Jobs with their customers, locations and contacts come from a stand-in in a process of its own (bench.stand_in). JobSync's
side is the real command `jobsync backfill`, the plain side `python -m bench.plain_backfill`: each a process of its own,
one after the other, start-up counted on both. Prints records and jobs a second, their ratio, the requests, and the
largest resident memory of JobSync's process. Without --dsn a bundled PostgreSQL with its stock settings is started in a
temporary folder; the database that is made is dropped at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench.store_page import bundled_server, fresh_database

ENTITIES = "customers,locations,contacts,jobs"
TABLES = {
    "jobs": "public.jobs",
    "customers": "public.customers",
    "locations": "jobsync.locations",
    "contacts": "jobsync.contacts",
}


@contextmanager
def stand_in(jobs: int) -> Iterator[str]:
    """The stand-in's URL while it runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.stand_in", "--jobs", str(jobs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=30)


def run_process(words: Sequence[str], **more: Any) -> tuple[Any, float, float, float]:
    """Runs a process to its end: (its JSON, seconds, CPU seconds, MB of resident memory at most). Raises on failure."""
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, **more)
    assert process.stdout is not None
    peak = 0.0
    ended = 0
    while not ended:
        peak = max(peak, read_peak(process.pid))
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        time.sleep(0 if ended else 0.01)
    with process.stdout:
        out = process.stdout.read()
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{words[0]} ended with {process.returncode}")
    return json.loads(out), seconds, used.ru_utime + used.ru_stime, peak or used.ru_maxrss / 1024


def read_peak(process: int) -> float:
    """MB of resident memory at most so far, 0 where nothing says. (What `wait4` says counts the parent that forked it, too.)"""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) / 1024 if found else 0.0


def run_jobsync(url: str, dsn: str, folder: Path, size: int) -> tuple[Any, float, float, float]:
    """`jobsync backfill` of everything in the stand-in."""
    environment = {
        "PATH": os.environ.get("PATH", ""), "HOME": str(folder), "DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": str(folder), "LOG_LEVEL": "ERROR",
        "SERVICE_TITAN_TENANT_ID": "1", "SERVICE_TITAN_CLIENT_ID": "c", "SERVICE_TITAN_CLIENT_SECRET": "s", "SERVICE_TITAN_APP_KEY": "k",
        "SERVICE_TITAN_API_URL": url, "SERVICE_TITAN_AUTH_URL": url,
    }  # fmt: skip
    words = [
        str(Path(sys.executable).parent / "jobsync"),
        "backfill",
        "--since",
        "2024-12-31",
        "--entity",
        ENTITIES,
        "--page-size",
        str(size),
        "--json",
    ]
    return run_process(words, env=environment, cwd=folder)


def count_rows(dsn: str, prefix: str) -> dict[str, int]:
    """Rows by table, of JobSync's tables or the plain ones."""
    with psycopg.connect(dsn) as connection:
        found = {}
        for name, table in TABLES.items():
            row = connection.execute(
                f"select count(*) from {'public.' + prefix + name if prefix else table}".encode()
            ).fetchone()
            assert row is not None
            found[name] = row[0]
        return found


def measure(dsn: str, jobs: int, size: int) -> dict[str, Any]:
    """One round of both sides on one fresh database."""
    with stand_in(jobs) as url, tempfile.TemporaryDirectory(prefix="jobsync-bench-") as folder:
        plain, plain_seconds, plain_cpu, _ = run_process(
            [sys.executable, "-m", "bench.plain_backfill", url, dsn, "--size", str(size)]
        )
        report, seconds, cpu, memory = run_jobsync(url, dsn, Path(folder), size)
    ours, theirs = count_rows(dsn, ""), count_rows(dsn, "plain_")
    if ours != theirs or ours["jobs"] != jobs:
        raise SystemExit(f"not the same rows: {ours} and {theirs}")
    return {
        "jobs": jobs, "size": size, "records": sum(ours.values()), "plain_s": plain_seconds, "jobsync_s": seconds, "ratio": plain_seconds / seconds,
        "plain_jobs_per_s": jobs / plain_seconds, "jobsync_jobs_per_s": jobs / seconds, "plain_cpu_s": plain_cpu, "jobsync_cpu_s": cpu,
        "memory_mb": memory, "requests": report["requests"]["servicetitan"], "pages": report["pages"],
        "plain_by_list": {path: round(told["seconds"], 2) for path, told in plain.items()},
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark and writes its figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.backfill", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=5000, help="records a page")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dsn", help="a server whose user may create databases; default: the bundled one")
    parser.add_argument("--json", action="store_true", help="one JSON object a round")
    given = parser.parse_args(arguments)

    def play(server: str) -> None:
        for _ in range(given.rounds):
            with fresh_database(server) as dsn:
                tell(measure(dsn, given.jobs, given.size), given.json)

    if given.dsn:
        play(given.dsn)
    else:
        with bundled_server() as server:
            play(server)


def tell(figures: dict[str, Any], as_json: bool) -> None:
    """Writes one round."""
    if as_json:
        print(
            json.dumps(
                {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
            )
        )
        return
    print(f"{figures['records']:,} records, {figures['jobs']:,} of them jobs, pages of {figures['size']:,}")
    print(
        f"plain loop      {figures['plain_s']:7.1f} s   {figures['plain_jobs_per_s']:9,.0f} jobs/s   (its process: {figures['plain_cpu_s']:.1f} s CPU)"
    )
    print(
        f"jobsync         {figures['jobsync_s']:7.1f} s   {figures['jobsync_jobs_per_s']:9,.0f} jobs/s   (its process: {figures['jobsync_cpu_s']:.1f} s CPU, "
        f"{figures['memory_mb']:.0f} MB at most, {figures['requests']} requests for {figures['pages']} pages)"
    )
    print(f"ratio           {figures['ratio']:7.2f}     (bar: 0.60; memory bar: 250 MB)")


if __name__ == "__main__":
    main()
