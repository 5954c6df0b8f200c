"""The benchmark: one table, every figure a ratio against named reference work of the same run.

    make bench [ARGS='--jobs 20000 --million --svg bench.svg --json']        = python -m bench

A bundled PostgreSQL with stock settings is started in a temporary folder; each measured side runs in a process of its own.
Both sides of a figure share machine, server, data and minute, so that a busy machine slows both; absolute numbers are
printed and mean nothing elsewhere. Exit code 1 where a bar is not reached. `--rounds` measures each figure that often and takes
the median. `--only peers` installs published tools (bench.peers) and measures them; without it the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import api_batch, growth, peers, store_page
from bench.process import children_seconds, cpu_seconds, postmaster_of, run_child, stand_in
from bench.store_page import bundled_server, fresh_database
from bench.table import Figure, as_records, as_svg, as_text

MOST_MB = 250
PEER_BARS = {"dlt": 1.5, "Singer": 5.0}
PARTS = ("store_page", "loops", "api", "growth", "peers")


def rate(count: float, seconds: float) -> str:
    """How it is printed: so many a second."""
    return f"{count / seconds:,.0f} jobs/s"


def say(text: str) -> None:
    """A line for who watches, beside the table."""
    print(text, file=sys.stderr, flush=True)


def ratio_of(fast: list[float], slow: list[float]) -> float:
    """Median of the ratios of the rounds."""
    return statistics.median(a / b for a, b in zip(fast, slow, strict=True))


class Bench:
    """One run: what all its parts share."""

    def __init__(self, server: str, upstream: dict[str, str], jobs: int, rounds: int, folder: Path) -> None:
        self.server, self.upstream, self.jobs, self.rounds, self.folder = server, upstream, jobs, rounds, folder
        self.postmaster = postmaster_of(server)

    def side(self, dsn: str) -> list[str]:
        """What both sides are told."""
        return ["--dsn", dsn, "--url", self.upstream["url"], "--hook", self.upstream["hook"]]

    def ours(self, what: str, dsn: str) -> dict[str, Any]:
        """The product's side of one loop."""
        return self._count("bench.ours", what, *self.side(dsn), "--folder", self.folder)

    def plain(self, what: str, dsn: str) -> dict[str, Any]:
        """The reference's side of one loop."""
        return self._count("bench.plain", what, *self.side(dsn), "--jobs", self.jobs)

    def _count(self, *words: object) -> dict[str, Any]:
        """The loop with the CPU seconds of both its process and the server."""
        before = cpu_seconds(self.postmaster)
        done = run_child(*words)  # type: ignore[arg-type]
        return {**done, "cpu_seconds": done.get("cpu_seconds", 0.0) + cpu_seconds(self.postmaster) - before}

    def store_page(self) -> list[Figure]:
        """New, changed and unchanged pages beside COPY and one upsert."""
        size = min(self.jobs, 5000)
        found = []
        for _ in range(self.rounds):
            with fresh_database(self.server) as dsn:
                found.append(store_page.measure(dsn, 3, size, routed=False, orphans=False))

        def middle(name: str) -> float:
            return statistics.median(one[name] for one in found)

        def sides(kind: str) -> tuple[str, str]:
            return (
                f"{middle(f'jobsync {kind}'):,.0f} rows/s",
                f"COPY + one upsert, {middle(f'plain {kind}'):,.0f} rows/s",
            )

        return [
            Figure("store_page, new rows", middle("ratio new"), None, False, *sides("new")),
            Figure("store_page, changed rows", middle("ratio changed"), 0.5, False, *sides("changed")),
            Figure("store_page, unchanged / changed", middle("unchanged / changed"), 3, False, sides("unchanged")[0], "its own changed rows"),
            Figure("dead tuples of unchanged pages", middle("dead tuples of unchanged pages"), 0, True, "", "none"),
        ]  # fmt: skip

    def loops(self) -> list[Figure]:
        """Pull, deliver and the whole pass beside the plain loops."""
        pulls, sends, passes = [], [], []
        for _ in range(self.rounds):
            with fresh_database(self.server) as dsn:
                plain = self.plain("pull", dsn)
                self.ours("prepare", dsn)
                pulls.append((plain, self.ours("pull", dsn)))
                sends.append((self.plain("deliver", dsn), self.ours("deliver", dsn)))
            with fresh_database(self.server) as dsn:
                plain = self.plain("pass", dsn)
                self.ours("prepare", dsn)
                passes.append((plain, self.ours("pass", dsn)))
        for _, done in (*sends, *passes):
            if done["delivered"] != self.jobs:
                raise RuntimeError(f"{done['delivered']} of {self.jobs} jobs were delivered: {done}")

        def figure(name: str, bar: float, reference: str, found: list[tuple[Any, Any]]) -> Figure:
            value = statistics.median(plain["seconds"] / ours["seconds"] for plain, ours in found)
            cpu = statistics.median(plain["cpu_seconds"] / ours["cpu_seconds"] for plain, ours in found)
            plain, ours = found[-1]
            return Figure(
                name, value, bar, False, f"{rate(self.jobs, ours['seconds'])}, by CPU seconds {cpu:.2f}", f"{reference}, {rate(self.jobs, plain['seconds'])}"
            )  # fmt: skip

        last = passes[-1][1]
        peak = max(done["peak_mb"] for _, done in (*pulls, *sends, *passes))
        return [
            figure("pull", 0.6, "decode + COPY + upsert, one loop", pulls),
            figure("deliver", 0.3, "bare aiohttp, 64 in flight", sends),
            figure("whole pass", 0.6, "plain pull, post, mark by 500", passes),
            Figure("worker's peak memory, MB", peak, MOST_MB, True, f"{self.jobs:,} jobs", f"plain loop {passes[-1][0]['peak_mb']:.0f} MB"),
            Figure("ServiceTitan requests / 1,000 jobs", last["servicetitan_requests"] * 1000 / self.jobs, None, True, "", f"plain loop {passes[-1][0]['requests'] * 1000 / self.jobs:.2f}"),
            Figure("hook posts / job", last["gohighlevel_requests"] / self.jobs, 1, True, "", "1"),
        ]  # fmt: skip

    def api(self) -> list[Figure]:
        """The batch endpoint beside one statement and one commit per item."""
        fast, slow = [], []
        for _ in range(self.rounds):
            with fresh_database(self.server) as dsn:
                one = api_batch.measure(dsn, self.folder, min(self.jobs, 5000))
                fast.append(one[0])
                slow.append(one[1])
        return [
            Figure("upsert-batch by HTTP", ratio_of(fast, slow), 3, False, f"{fast[-1]:,.0f} items/s", f"one select + commit per item, no HTTP, {slow[-1]:,.0f} items/s")
        ]  # fmt: skip

    def peers(self) -> list[Figure]:
        """Our pull beside that of published tools, in jobs per CPU second; those that cannot be installed are skipped."""
        found = peers.measure(
            peers.install_all(self.server, self.upstream["url"], self.jobs, self.folder, say),
            self.rounds,
            self._pull_alone,
        )

        def figure(name: str, feeds: int, pairs: list[tuple[float, float]]) -> Figure:
            mine, theirs = pairs[-1]
            return Figure(
                f"pull per CPU second / {name}{'' if feeds == 5 else ', less its contacts'}", statistics.median(mine / theirs for mine, theirs in pairs),
                PEER_BARS[name], False, f"{mine:,.0f} jobs/CPU s", f"{name}, {feeds} of our 5 feeds, {theirs:,.0f} jobs/CPU s",
            )  # fmt: skip

        return [figure(name, feeds, pairs) for (name, feeds), pairs in found.items()]

    def _pull_alone(self) -> float:
        """Jobs per CPU second of our pull: from the start of its process to its end, as a peer's is counted."""
        with fresh_database(self.server) as dsn:
            self.ours("prepare", dsn)
            before = cpu_seconds(self.postmaster) + children_seconds()
            run_child("bench.ours", "pull", *self.side(dsn), "--folder", self.folder)
            return self.jobs / (cpu_seconds(self.postmaster) + children_seconds() - before)

    def growth(self, sizes: list[int]) -> list[Figure]:
        """Buffers at each size beside those at a thousand jobs."""
        found = {}
        for jobs in sizes:
            with fresh_database(self.server) as dsn:
                found[jobs] = growth.measure(dsn, jobs)
        first = found[sizes[0]]
        return [
            Figure(f"buffers a {what}, {jobs:,} jobs", found[jobs][what] / first[what], 1.2, True, f"{found[jobs][what]:,.0f} buffers", f"1,000 jobs: {first[what]:,.0f}")
            for jobs in sizes[1:]
            for what in ("poll", "delivery")
        ]  # fmt: skip


def main() -> int:
    """Runs what was asked for and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="The benchmark; see docs/proof.md.")
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs in the loops")
    parser.add_argument("--rounds", type=int, default=1, help="measure each ratio this often, take the median")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated")
    parser.add_argument("--million", action="store_true", help="growth up to a million jobs, too")
    parser.add_argument("--svg", type=Path, help="write the plot there")
    parser.add_argument("--json", action="store_true", help="one JSON array on stdout")
    given = parser.parse_args()
    parts = given.only or [part for part in PARTS if part != "peers"]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="jobsync-bench-") as name, bundled_server() as server:
        with stand_in(given.jobs) as upstream:
            bench = Bench(server, upstream, given.jobs, given.rounds, Path(name))
            sizes = [1000, 100_000, *([1_000_000] if given.million else [])]
            measures: dict[str, Callable[[], list[Figure]]] = {
                "store_page": bench.store_page, "loops": bench.loops, "api": bench.api, "growth": lambda: bench.growth(sizes), "peers": bench.peers,
            }  # fmt: skip
            for part in parts:
                say(f"measuring {part} ...")
                figures += measures[part]()
    if given.svg:
        given.svg.write_text(as_svg(figures), "utf-8")
    if given.json:
        print(json.dumps(as_records(figures)))
    else:
        print(as_text(figures))
        unmeasured = "" if "peers" in parts else "; the peers dlt and Singer are measured by --only peers"
        print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}{unmeasured}.")
    return 1 if any(one.holds is False for one in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
