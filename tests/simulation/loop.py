"""The clock and the dice of a simulated world: an event loop that runs one step at a time, chosen by a seed.

Time is virtual: it stands while anything can run and jumps to the next timer when nothing can. Of all steps that are
ready, the seed picks the next. A step belongs to the process in whose context it was made; a stalled process (SIGSTOP)
takes no step until it is let go. Database calls block the loop on purpose: each is finished before the next step is
chosen, so that one seed is one run.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from contextvars import ContextVar
from random import Random
from typing import Any

LONGEST_SECONDS = 30 * 86400.0


class Stuck(AssertionError):
    """Nothing can run and no timer is set: somebody waits for ever."""


class Crashed(BaseException):
    """Raised at every await of a process that was killed: it must not do anything any more."""


class Process:
    """What shares one fate: tasks of one simulated operating-system process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.stopping = False
        self.stalled_until = 0.0
        self.tasks: list[asyncio.Task[Any]] = []
        self.connections: list[Any] = []

    def check(self) -> None:
        """Raises Crashed once the process was killed."""
        if self.dead:
            raise Crashed(self.name)


PROCESS: ContextVar[Process | None] = ContextVar("simulated process", default=None)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """See the module's docstring. `steps` counts what ran, `trace` is told of it by whoever wants to."""

    def __init__(self, rng: Random, *, most_steps: int = 60_000) -> None:
        super().__init__()
        self._rng = rng
        self._virtual = 1000.0
        self._most_steps = most_steps
        self.steps = 0
        self.set_task_factory(_enlist)
        self.set_exception_handler(_swallow)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual

    def _run_once(self) -> None:
        # Replaces the base class's step: same queues (`_ready`, `_scheduled`), other order, other time.
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        while True:
            while scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= self._virtual):
                handle = heapq.heappop(scheduled)
                handle._scheduled = False
                if not handle._cancelled:
                    ready.append(handle)
            able = [place for place, handle in enumerate(ready) if not self._is_stalled(handle)]
            if able or self._stopping:  # type: ignore[attr-defined]
                break
            self._wait_for_something(scheduled, ready)
        if not able:
            return
        if self.steps >= self._most_steps:
            # Before the step is taken out: whoever breaks the run off needs it.
            raise Stuck("the run does not end")
        place = able[0] if len(able) == 1 else able[self._rng.randrange(len(able))]
        handle = ready[place]
        del ready[place]
        self.steps += 1
        if not handle._cancelled:
            handle._run()

    def _is_stalled(self, handle: events.Handle) -> bool:
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        return process is not None and process.stalled_until > self._virtual and not process.dead

    def _wait_for_something(self, scheduled: list[Any], ready: Any) -> None:
        times = [scheduled[0]._when] if scheduled else []
        times += [handle._context.get(PROCESS).stalled_until for handle in ready if self._is_stalled(handle)]
        if not times:
            raise Stuck("nothing can run and no timer is set")
        self._virtual = max(self._virtual, min(times))
        if self._virtual > LONGEST_SECONDS:
            raise Stuck("a month has passed")

    def grant_steps(self, steps: int) -> None:
        """So many more, from now on: a run that does not end is to be broken off all the same."""
        self._most_steps = self.steps + steps

    def kill(self, process: Process) -> None:
        """kill -9: nothing of the process has any further effect; its open transactions are rolled back."""
        process.dead = True
        for connection in process.connections:
            connection.hang_up()
        for task in process.tasks:
            if not task.done():
                task.cancel()


def _enlist(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    process = PROCESS.get()
    if process is not None:
        process.tasks.append(task)
    return task


def _swallow(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tasks of killed processes end with errors that nobody reads."""
