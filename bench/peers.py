"""Peers: published tools that pull the same records from the same stand-in into the same server.

    python -m bench.peers [--jobs 10000]        the peers alone; beside ours: python -m bench --only peers

Each peer is installed with its exact version into an environment of its own in a temporary folder, from the package
registry that pip is set up for; one that cannot be installed is skipped and says so. They do the pull half only: no merge
of jobs with customers, no plan, no quarantine. Compared are jobs per CPU second (the tool from its start to its end and
PostgreSQL together), as wall time says little on a shared machine. Linux only.

Each is measured twice: with the five feeds that our pull reads, and with three of them (no contacts), which is less work.

* dlt, tuned: list pages of 5,000, CSV files by COPY, merge by upsert, nested values as JSON.
* Singer: tap-service-titan (export feeds) into target-postgres with COPY. The tap is published as source code on GitHub
  alone; BENCH_TAP names another place to install it from.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench.process import children_seconds, cpu_seconds, postmaster_of
from bench.upstream import TENANT

TAP = "tap-service-titan @ git+https://github.com/archdotdev/tap-service-titan@0001e257eb9257866a0f845a82299edf8faa1eec"
PACKAGES = {
    "dlt": ["dlt[postgres]==1.31.0"],
    "tap": [TAP],
    "target": ["meltanolabs-target-postgres==0.8.1"],
}
THREE = ("jobs", "customers", "locations")
FIVE = (*THREE, "customers/contacts", "locations/contacts")
LONGEST_SECONDS = 900


class NotInstalled(Exception):
    """A peer that could not be installed here; the text says which and why."""


def install(name: str, folder: Path) -> Path:
    """The folder of a new environment's commands with this peer in it. Raises NotInstalled."""
    packages = [os.environ["BENCH_TAP"]] if name == "tap" and os.environ.get("BENCH_TAP") else PACKAGES[name]
    place = folder / name
    commands = place / "bin"
    for words in (
        [sys.executable, "-m", "venv", str(place)],
        [str(commands / "pip"), "install", "--quiet", "--disable-pip-version-check", *packages],
    ):
        done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"})  # fmt: skip
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise NotInstalled(f"{packages[0]} cannot be installed: {said[-1] if said else 'pip said nothing'}"[:300])
    return commands


@contextmanager
def empty_database(server: str) -> Iterator[str]:
    """A database without anything in it, as a URL. Dropped without force, which an autovacuum worker in it would refuse."""
    given = conninfo_to_dict(server)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("drop database if exists bench_peer")
        connection.execute("create database bench_peer")
        try:
            user, word = quote(str(given.get("user", "")), safe=""), quote(str(given.get("password", "")), safe="")
            yield f"postgresql://{user}:{word}@{given['host']}:{given.get('port', 5432)}/bench_peer"
        finally:
            connection.execute("drop database if exists bench_peer")


def count_jobs(url: str, schema: str) -> int:
    """How many jobs the peer stored."""
    with psycopg.connect(url) as connection:
        row = connection.execute(f"select count(*) from {schema}.jobs".encode()).fetchone()
    assert row is not None
    return int(row[0])


def spend(postmaster: int, words: list[list[str]], **more: Any) -> float:
    """Runs a pipe of commands to its end: CPU seconds of all of them and of PostgreSQL. Raises RuntimeError."""
    before = cpu_seconds(postmaster) + children_seconds()
    running: list[subprocess.Popen[bytes]] = []
    source: Any = subprocess.DEVNULL
    for place, one in enumerate(words):
        last = place == len(words) - 1
        process = subprocess.Popen(
            one, stdin=source, stdout=subprocess.DEVNULL if last else subprocess.PIPE, stderr=subprocess.PIPE if last else subprocess.DEVNULL, **more
        )  # fmt: skip
        if source is not subprocess.DEVNULL:
            source.close()
        source = process.stdout
        running.append(process)
    _, said = running[-1].communicate(timeout=LONGEST_SECONDS)
    codes = [process.wait(LONGEST_SECONDS) for process in running]
    if any(codes):
        raise RuntimeError(f"{words[0][0]} ended with {codes}: {said.decode(errors='replace')[-500:]}")
    return cpu_seconds(postmaster) + children_seconds() - before


def pull_with_dlt(feeds: Sequence[str], commands: Path, server: str, url: str, folder: Path) -> tuple[int, float]:
    """(jobs stored, CPU seconds) of one first load."""
    script = Path(__file__).with_name("peer_dlt.py")
    environment = {
        **os.environ, "HOME": str(folder), "DLT_DATA_DIR": str(folder / f"dlt-{len(feeds)}"), "RUNTIME__DLTHUB_TELEMETRY": "false",
        "NORMALIZE__WORKERS": "1", "LOAD__WORKERS": "4", "DATA_WRITER__BUFFER_MAX_ITEMS": "20000", "RUNTIME__LOG_LEVEL": "ERROR",
    }  # fmt: skip
    with empty_database(server) as database:
        spent = spend(
            postmaster_of(server), [[str(commands / "python"), str(script), url, TENANT, database, *feeds]], env=environment, cwd=folder
        )  # fmt: skip
        return count_jobs(database, "bench"), spent


def pull_with_singer(
    feeds: Sequence[str], tap: Path, target: Path, server: str, url: str, folder: Path
) -> tuple[int, float]:
    """(jobs stored, CPU seconds) of one first load: tap | target."""
    config = {
        "client_id": "bench", "client_secret": "bench", "st_app_key": "bench", "tenant_id": TENANT, "api_url": url,
        "auth_url": f"{url}/connect/token", "start_date": "2000-01-01T00:00:00Z",
    }  # fmt: skip
    (folder / "tap.json").write_text(json.dumps(config), "utf-8")
    found = subprocess.run(
        [str(tap / "tap-service-titan"), "--config", str(folder / "tap.json"), "--discover"], capture_output=True, check=True, cwd=folder
    )  # fmt: skip
    catalog = json.loads(found.stdout)
    streams = {feed.replace("s/", "_") for feed in feeds}
    catalog["streams"] = [one for one in catalog["streams"] if one["tap_stream_id"] in streams]
    if len(catalog["streams"]) != len(streams):
        raise RuntimeError(f"the tap has not all of {sorted(streams)}")
    (folder / "catalog.json").write_text(json.dumps(catalog), "utf-8")
    with empty_database(server) as database:
        into = {"sqlalchemy_url": database.replace("postgresql://", "postgresql+psycopg://"), "default_target_schema": "bench", "use_copy": True, "validate_records": False}  # fmt: skip
        (folder / "target.json").write_text(json.dumps(into), "utf-8")
        spent = spend(
            postmaster_of(server),
            [
                [str(tap / "tap-service-titan"), "--config", str(folder / "tap.json"), "--catalog", str(folder / "catalog.json")],
                [str(target / "target-postgres"), "--config", str(folder / "target.json")],
            ],
            cwd=folder,
        )  # fmt: skip
        return count_jobs(database, "bench"), spent


Pull = Callable[[Sequence[str]], float]
Rounds = dict[tuple[str, int], list[tuple[float, float]]]


def install_all(server: str, url: str, jobs: int, folder: Path, say: Any) -> dict[str, Pull]:
    """Each peer that can be installed: a first load of these feeds, in jobs per CPU second. `say` is told of the others."""

    def rate_of(name: str, pull: Callable[..., tuple[int, float]], commands: list[Path]) -> Pull:
        def measure_one(feeds: Sequence[str]) -> float:
            stored, spent = pull(feeds, *commands, server, url, folder)
            if stored != jobs:
                raise RuntimeError(f"{name} stored {stored} of {jobs} jobs")
            return jobs / spent

        return measure_one

    found: dict[str, Pull] = {}
    for name, pull, parts in (("dlt", pull_with_dlt, ("dlt",)), ("Singer", pull_with_singer, ("tap", "target"))):
        try:
            found[name] = rate_of(name, pull, [install(part, folder) for part in parts])
        except NotInstalled as missing:
            say(f"SKIPPED: {name} is not measured: {missing}")
    return found


def measure(peers: dict[str, Pull], rounds: int, ours: Callable[[], float]) -> Rounds:
    """(ours, theirs) of each round, by peer and number of feeds: one right before the other, as a machine's pace changes."""
    found: Rounds = {}
    for _ in range(rounds):
        for name, pull in peers.items():
            for feeds in (FIVE, THREE):
                found.setdefault((name, len(feeds)), []).append((ours(), pull(feeds)))
    return found


def main() -> None:
    """Measures the peers alone."""
    from bench.process import stand_in
    from bench.store_page import bundled_server

    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="jobsync-peers-") as name,
        bundled_server() as server,
        stand_in(given.jobs) as upstream,
    ):
        peers = install_all(server, upstream["url"], given.jobs, Path(name), lambda text: print(text, file=sys.stderr))
        for peer, pull in peers.items():
            for feeds in (FIVE, THREE):
                print(f"{peer:8} {len(feeds)} feeds {pull(feeds):10,.0f} jobs a CPU second")


if __name__ == "__main__":
    main()
