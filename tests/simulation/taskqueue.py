"""The task queue's behaviour, as the library documents it, so that the real tasks of `jobsync.tasks.work` run on it.

At most one task a lock is under way; at most one task a queueing lock waits; a worker without a heartbeat for long
enough is stalled, and its task may be put back although the worker may only be asleep. Deferring is no part of anybody's
transaction. Everything outlives a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import psycopg
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, UniqueViolation

from jobsync.errors import JobSyncError
from jobsync.tasks.work import register_tasks
from tests.simulation.loop import PROCESS, Crashed, Process

# What may end a task without being a bug: our own errors, and a database that breaks under it.
EXPECTED = (JobSyncError, psycopg.Error, ConnectorException, Crashed)


@dataclass
class QueuedTask:
    """One task: waiting, or under way in a process."""

    number: int
    name: str
    lock: str
    queueing_lock: str
    priority: int
    task_kwargs: dict[str, Any]
    owner: Process | None = None
    seen_at: float = 0.0

    @property
    def task_name(self) -> str:
        """The name, as the library calls it."""
        return self.name


@dataclass
class TaskQueue:
    """All tasks of the world."""

    world: Any
    tasks: list[QueuedTask] = field(default_factory=list)
    count: int = 0

    def defer(self, name: str, lock: str, queueing_lock: str, priority: int, ids: dict[str, Any]) -> None:
        """Adds a task. Raises AlreadyEnqueued where an equal one waits."""
        if any(task.owner is None and task.queueing_lock == queueing_lock for task in self.tasks):
            raise AlreadyEnqueued
        self.count += 1
        self.tasks.append(QueuedTask(self.count, name, lock, queueing_lock, priority, ids))

    def take(self, process: Process) -> QueuedTask | None:
        """The next task whose lock is free, now under way in this process."""
        held = {task.lock for task in self.tasks if task.owner is not None}
        free = [task for task in self.tasks if task.owner is None and task.lock not in held]
        if not free:
            return None
        task = min(free, key=lambda task: (-task.priority, task.number))
        task.owner, task.seen_at = process, self.world.loop.time()
        return task

    def remove(self, task: QueuedTask) -> None:
        """Ends a task, well or not; nothing if it is gone already."""
        if task in self.tasks:
            self.tasks.remove(task)

    def is_under_way(self, name: str, run: str, stream: str | None = None) -> bool:
        """What the queries `is_pass_queued` and `is_stream_queued` ask the library's table."""
        return any(
            task.name == name
            and task.task_kwargs.get("run") == run
            and stream in (None, task.task_kwargs.get("stream"))
            for task in self.tasks
        )


class QueueApp:
    """What `register_tasks` and `defer_once` see of the library's App, for one process."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.calls: dict[str, Callable[..., Any]] = {}
        self.job_manager = self

    def task(self, *, name: str, **_: Any) -> Callable[[Any], Any]:
        """Registers a task."""

        def keep(call: Any) -> Any:
            self.calls[name] = call
            return call

        return keep

    def periodic(self, **_: Any) -> Callable[[Any], Any]:
        """The process calls it itself, see `run_worker`."""
        return lambda call: call

    def configure_task(self, name: str, *, lock: str, queueing_lock: str, priority: int = 0) -> Any:
        """A task about to be deferred."""

        async def defer_async(**ids: Any) -> None:
            await self.world.point("defer")
            self.world.queue.defer(name, lock, queueing_lock, priority, ids)
            await self.world.point("deferred")

        return SimpleNamespace(defer_async=defer_async)

    async def get_stalled_jobs(self, *, seconds_since_heartbeat: float) -> list[QueuedTask]:
        """Tasks whose process gave no sign for so long."""
        await self.world.point("stalled?")
        now = self.world.loop.time()
        for task in self.world.queue.tasks:
            if task.owner is not None and not task.owner.dead and task.owner.stalled_until <= now:
                task.seen_at = now
        return [
            task
            for task in self.world.queue.tasks
            if task.owner is not None and now - task.seen_at > seconds_since_heartbeat
        ]

    async def retry_job(self, job: QueuedTask) -> None:
        """Puts a stalled task back. Raises UniqueViolation where an equal one waits."""
        await self.world.point("retry")
        queue = self.world.queue
        if job not in queue.tasks or job.owner is None:
            return
        if any(task.owner is None and task.queueing_lock == job.queueing_lock for task in queue.tasks):
            raise UniqueViolation(constraint_name="queueing_lock", queueing_lock=job.queueing_lock)
        # Another number: the asleep worker's end of the old one must not end this one.
        queue.tasks.remove(job)
        queue.defer(job.name, job.lock, job.queueing_lock, job.priority, job.task_kwargs)

    async def finish_job(self, job: QueuedTask, **_: Any) -> None:
        """Takes a task away."""
        await self.world.point("finish")
        self.world.queue.remove(job)


async def run_worker(world: Any, process: Process, engine: Any) -> None:
    """A process as `jobsync up --only worker` is one: tasks side by side, and the schedule's tick."""
    app: Any = QueueApp(world)
    register_tasks(app, engine, stopping=lambda: process.stopping)
    running: dict[asyncio.Task[Any], QueuedTask] = {}
    next_tick = world.loop.time() + world.rng.random() * 20

    async def carry_out(task: QueuedTask) -> None:
        try:
            if task.name == "tick":
                await app.calls["tick"](None, 0)
            else:
                await app.calls[task.name](**task.task_kwargs)
        except Exception as error:
            world.note("task failed", task.name, type(error).__name__)
            if not isinstance(error, EXPECTED):
                world.find(f"the task {task.name} ended in a bug: {error!r}")
        await world.point("done")
        world.queue.remove(task)

    while not (process.stopping and not running):
        now = world.loop.time()
        if not process.stopping:
            if now >= next_tick:
                # Two schedulers tick at the same time: more often than the library lets them.
                running[asyncio.ensure_future(carry_out(QueuedTask(0, "tick", "tick", "tick", 0, {})))] = None  # type: ignore[assignment]
                next_tick = now + world.tick_gap()
            while len(running) < world.concurrency and (task := world.queue.take(process)) is not None:
                world.note("task", process.name, task.name, task.task_kwargs.get("stream"))
                running[asyncio.ensure_future(carry_out(task))] = task
        if running:
            await asyncio.wait(running, timeout=2.0, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(2.0 if not world.is_calm else 5.0)
        for one in [one for one in running if one.done()]:
            del running[one]
            one.result()


def current_process() -> Process | None:
    """The process in whose context this runs."""
    return PROCESS.get()
