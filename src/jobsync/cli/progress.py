"""Progress of a backfill on stderr: bars with rate and ETA on a terminal, else a plain line now and then.

In: what `engine.backfill.read_backfill` answers, again and again. Rates are of this command, not of the whole run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from jobsync.cli.output import say

ShowProgress = Callable[[dict[str, Any]], None]
LINE_EVERY_SECONDS = 5.0


@contextmanager
def open_display(*, quiet: bool = False) -> Iterator[ShowProgress]:
    """Gives a function that shows the state of a backfill; `quiet` shows nothing."""
    if quiet:
        yield lambda found: None
    elif sys.stderr.isatty():
        with _Bars() as bars:
            yield bars.show
    else:
        yield _Lines().show


def describe_places(found: dict[str, Any]) -> str:
    """Where each stream stands, in a few words: `customers done, jobs 8,412 of 12,960`."""
    return ", ".join(_describe_place(stream) for stream in found["streams"])


def _describe_place(stream: dict[str, Any]) -> str:
    name = stream["stream"].replace("_", " ")
    if stream["status"] in ("completed", "not granted"):
        return f"{name} {'done' if stream['status'] == 'completed' else 'not granted'}"
    if stream["status"] == "waiting":
        return f"{name} waiting"
    total = "" if stream["total"] is None else f" of {stream['total']:,}"
    return f"{name} {stream['pulled']:,}{total}"


def _describe_cost(stream: dict[str, Any]) -> str:
    return "rows" if stream["requests"] is None else f"read, {stream['requests']} requests"


class _Pace:
    """Records a second of one stream since this command first saw it, and how long the rest takes."""

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, int]] = {}

    def measure(self, stream: dict[str, Any]) -> tuple[float | None, float | None]:
        at, pulled = self._began.setdefault(stream["stream"], (time.monotonic(), stream["pulled"]))
        seconds = time.monotonic() - at
        rate = (stream["pulled"] - pulled) / seconds if seconds > 0.2 and stream["pulled"] > pulled else None
        left = None if stream["total"] is None else max(stream["total"] - stream["pulled"], 0)
        return rate, left / rate if rate and left is not None else None


class _Lines:
    """One plain line every few seconds, and one whenever a stream is done."""

    def __init__(self) -> None:
        self._pace = _Pace()
        self._said_at = time.monotonic()
        self._done: set[str] = set()

    def show(self, found: dict[str, Any]) -> None:
        due = time.monotonic() - self._said_at >= LINE_EVERY_SECONDS
        for stream in found["streams"]:
            rate, eta = self._pace.measure(stream)
            over = stream["status"] in ("completed", "not granted")
            if over and stream["stream"] not in self._done:
                self._done.add(stream["stream"])
                say(f"{_describe_place(stream)}: {stream['pulled']:,} {_describe_cost(stream)}")
            elif due and stream["status"] == "running":
                self._said_at = time.monotonic()
                speed = f", {rate:,.0f}/s" if rate else ""
                cost = f", {_describe_cost(stream)}" if stream["requests"] is not None else ""
                say(f"{_describe_place(stream)}{speed}, ETA {describe_seconds(eta)}{cost}")


class _Bars:
    """A bar for each stream."""

    def __init__(self, note: str = "Live jobs go first. Ctrl-C is safe; go on with --resume.") -> None:
        self._pace = _Pace()
        self._note = note
        self._bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Told(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        self._bars.console.print(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, found: dict[str, Any]) -> None:
        for stream in found["streams"]:
            name = stream["stream"]
            rate, eta = self._pace.measure(stream)
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name.replace("_", " "), total=None)
            self._bars.update(
                self._tasks[name],
                completed=stream["pulled"],
                total=stream["total"] if stream["status"] != "waiting" else None,
                told=stream["status"]
                if stream["status"] != "running"
                else f"{rate or 0:,.0f}/s  ETA {describe_seconds(eta)}"
                + (f"  {stream['requests']} requests" if stream["requests"] is not None else ""),
            )


CountProgress = Callable[[str, int, int | None], None]


@contextmanager
def open_counter(*, quiet: bool = False) -> Iterator[CountProgress]:
    """Gives a function that shows work that is counted in rows, one step after another: (what, done, total)."""
    steps: dict[str, dict[str, Any]] = {}

    def note(show: ShowProgress) -> CountProgress:
        def told(what: str, done: int, total: int | None) -> None:
            for step in steps.values():
                step["status"] = "completed"
            status = "completed" if total is not None and done >= total else "running"
            steps.pop(what, None)
            steps[what] = {"stream": what, "pulled": done, "total": total, "status": status, "requests": None}
            show({"streams": list(steps.values())})

        return told

    if quiet:
        yield lambda what, done, total: None
    elif sys.stderr.isatty():
        with _Bars(note="Ctrl-C is safe; go on with --resume.") as bars:
            yield note(bars.show)
    else:
        yield note(_Lines().show)


class _Told(ProgressColumn):
    """What the backfill says about a stream: rate, ETA, requests."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("told", "")))


def describe_seconds(seconds: float | None) -> str:
    """`1 h 4 min`, `3 min 20 s`, `12 s`, or `-` where it is not known."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
