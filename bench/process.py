"""Processes of a benchmark run: children that print one JSON object, the stand-in, and PostgreSQL's own CPU seconds."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

LONGEST_SECONDS = 3600


def run_child(module: str, *words: object) -> dict[str, Any]:
    """Runs `python -m MODULE WORDS` to its end; what it printed. Raises RuntimeError when it failed.

    Its modules are compiled once, as those of an installed program are, also where the environment forbids that.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)], stdout=subprocess.PIPE, timeout=LONGEST_SECONDS, check=False, env=environment
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{module} {words[0]} ended with {done.returncode}")
    return json.loads(done.stdout or b"{}")


@contextmanager
def stand_in(jobs: int) -> Iterator[dict[str, str]]:
    """The stand-in of both upstreams in a process of its own; its `url` and `hook`."""
    words = [sys.executable, "-m", "bench.upstream", "--jobs", str(jobs)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(30)


def children_of(parent: int) -> list[tuple[int, list[int]]]:
    """(pid, [own user, own system, children's user, children's system] in ticks) of a process and its children; Linux only."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        if pid == parent or int(rest[1]) == parent:
            found.append((pid, [int(ticks) for ticks in rest[11:15]]))
    return found


def postmaster_of(dsn: str) -> int:
    """Process id of the server behind this DSN; Linux only, and on this machine."""
    with psycopg.connect(dsn) as connection:
        backend = connection.execute("select pg_backend_pid()").fetchone()
        assert backend is not None
        # While it is connected: its process ends with the connection.
        return int(Path(f"/proc/{backend[0]}/stat").read_text().rsplit(")", 1)[1].split()[1])


def cpu_seconds(postmaster: int) -> float:
    """CPU seconds of a PostgreSQL server until now: its processes of today and those that ended."""
    ticks = 0
    for pid, counts in children_of(postmaster):
        ticks += sum(counts) if pid == postmaster else counts[0] + counts[1]
    return ticks / 100


def children_seconds() -> float:
    """CPU seconds of all children of this process that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
