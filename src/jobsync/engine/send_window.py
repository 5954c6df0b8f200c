"""The sends of a drain that are under way or not booked yet: never more than the window is wide.

A worker that dies leaves at most so many sends that were accepted and are not marked. Within that, sending and booking
do not wait for each other: half of a window is booked while the other half is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Result = dict[str, Any]
# So many sends are written between two looks at what else has come.
TURN = 8


class SendWindow:
    """Starts sends, gathers their results and has them booked, one batch after another.

    `book` is given the results of a batch. What it raises is raised by the next call here; what else was sent is booked
    all the same.
    """

    def __init__(self, book: Callable[[list[Result]], Awaitable[None]], width: int) -> None:
        self._book = book
        self._half = max(1, width // 2)
        self._free = width
        self._entered = 0
        self._sends: dict[asyncio.Task[Result], None] = {}
        self._results: list[Result] = []
        self._booking: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._moved = asyncio.Event()

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way or not booked yet."""
        return bool(self._sends or self._results or self._booking)

    async def enter(self) -> None:
        """Returns when one more send may start; the caller starts it with `start`, at once."""
        self._entered += 1
        if self._entered % TURN == 0:
            # A turn for everybody else: what the database answered is not to wait until a whole group was written.
            await asyncio.sleep(0)
        while self._free == 0:
            await self.move()
        self._raise()
        self._free -= 1

    def start(self, send: Awaitable[Result]) -> None:
        """Starts a send, which never raises for an answer."""
        task = asyncio.ensure_future(send)
        self._sends[task] = None
        task.add_done_callback(self._sent)

    async def move(self) -> None:
        """Returns when a batch was booked. To be called only while anything is under way."""
        self._moved.clear()
        await self._moved.wait()
        self._raise()

    async def finish(self) -> None:
        """Returns when all that was started is booked."""
        while self.is_busy:
            self._moved.clear()
            await self._moved.wait()
        self._raise()

    def abandon(self) -> None:
        """Breaks off what is under way; what was answered is still booked by `finish`."""
        for task in list(self._sends):
            task.cancel()

    def _sent(self, task: asyncio.Task[Result]) -> None:
        self._sends.pop(task, None)
        if task.cancelled():
            self._free += 1
        elif (error := task.exception()) is not None:
            self._free += 1
            self._failure = self._failure or error
        else:
            self._results.append(task.result())
        self._book_next()

    def _book_next(self) -> None:
        if self._booking is None and self._results and (len(self._results) >= self._half or not self._sends):
            batch, self._results = self._results, []
            self._booking = asyncio.ensure_future(self._book_batch(batch))
        elif not self.is_busy:
            self._moved.set()

    async def _book_batch(self, batch: list[Result]) -> None:
        try:
            await self._book(batch)
        except BaseException as error:
            self._failure = self._failure or error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._free += len(batch)
            self._booking = None
            self._moved.set()
            self._book_next()

    def _raise(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
