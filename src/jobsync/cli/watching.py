"""status --watch: the status again and again. On a terminal in place; elsewhere a block whenever it changed.

An outage of the database is said and waited out; Ctrl-C ends it with 0, for that is how it is meant to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from jobsync.config import Settings
from jobsync.engine.opening import open_engine
from jobsync.engine.sending import read_status
from jobsync.errors import DatabaseUnavailable

Show = Callable[[dict[str, Any] | None, str | None], None]


async def watch_status(
    settings: Settings,
    tenant: str,
    describe: Callable[[dict[str, Any]], list[str]],
    *,
    every: float,
    as_json: bool,
) -> None:
    """Shows the status every so many seconds until SIGINT or SIGTERM. Raises only when the first look fails."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_engine(settings, look_only=True, initialise=False) as engine:
        with _open_display(describe, as_json=as_json) as show:
            while not stop.is_set():
                try:
                    show(await read_status(engine, tenant), None)
                except DatabaseUnavailable as error:
                    show(None, error.message)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), every)


@contextmanager
def _open_display(describe: Callable[[dict[str, Any]], list[str]], *, as_json: bool) -> Iterator[Show]:
    if as_json:
        yield _show_json
    elif (console := Console(highlight=False)).is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:

            def show(found: dict[str, Any] | None, away: str | None) -> None:
                lines = describe(found) if found is not None else [f"{away} Trying again ..."]
                live.update(Text("\n".join([*lines, "", f"{_now()}   Ctrl-C ends"])), refresh=True)

            yield show
    else:
        yield _Blocks(describe)


class _Blocks:
    """Plain text: what was shown last is not shown again."""

    def __init__(self, describe: Callable[[dict[str, Any]], list[str]]) -> None:
        self._describe = describe
        self._last: list[str] = []

    def __call__(self, found: dict[str, Any] | None, away: str | None) -> None:
        lines = self._describe(found) if found is not None else [f"{away} Trying again ..."]
        if lines != self._last:
            print(_now(), *lines, sep="\n", flush=True)
            self._last = lines


def _show_json(found: dict[str, Any] | None, away: str | None) -> None:
    at = datetime.now(UTC)  # real clock: when it was seen
    line = {"at": at, **(found if found is not None else {"error": away})}
    print(msgspec.json.encode(line, enc_hook=str).decode(), flush=True)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")  # real clock: when it was seen
