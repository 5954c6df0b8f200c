"""A terminal for stories of people who answer questions: `jobsync` runs on a pseudo-terminal, its talk is read as it comes."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

PATIENCE = 60.0


class Terminal:
    """A command on a terminal. `said` is everything it showed so far."""

    def __init__(self, process: asyncio.subprocess.Process, ours: int) -> None:
        self.said = ""
        self._process = process
        self._ours = ours
        self._from = 0
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(ours, self._read)

    def _read(self) -> None:
        try:
            piece = os.read(self._ours, 65536)
        except OSError:
            piece = b""
        if not piece:
            asyncio.get_running_loop().remove_reader(self._ours)
        self.said += piece.decode(errors="replace")
        self._news.set()

    async def expect(self, words: str) -> None:
        """Waits until it shows these words, after those that were expected before."""
        try:
            async with asyncio.timeout(PATIENCE):
                while (at := self.said.find(words, self._from)) < 0:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"never said {words!r}:\n{self.said}") from None
        self._from = at + len(words)

    async def answer(self, question: str, words: str = "") -> None:
        """Waits for the question, then types the words and Enter. A hidden question ends in `: `: what is typed before its
        last blank is shown is thrown away."""
        await self.expect(question)
        os.write(self._ours, words.encode() + b"\n")

    def interrupt(self) -> None:
        """Types Ctrl-C."""
        os.write(self._ours, b"\x03")

    async def end(self) -> int:
        """Waits for its end; the exit code."""
        return await asyncio.wait_for(self._process.wait(), PATIENCE)


def _take_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@asynccontextmanager
async def open_terminal(directory: Path, environment: dict[str, Any], *words: str) -> AsyncIterator[Terminal]:
    """Starts `jobsync WORDS` on a terminal of its own, with nothing in its environment but what is given."""
    ours, theirs = pty.openpty()
    given = {name: str(value) for name, value in environment.items() if value is not None}
    try:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "jobsync"),
            *words,
            cwd=directory,
            env={
                "PATH": os.environ.get("PATH", ""),
                "HOME": str(directory),
                "TERM": "xterm",
                "PYTHONUTF8": "1",
                **given,
            },
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_take_terminal,
        )
    finally:
        os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
