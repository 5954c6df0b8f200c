"""A tenant that lives: every so often a new job is booked and older ones move on."""

from __future__ import annotations

import asyncio

from .actions import Actions
from .dataset import Dataset

MOVES = ("Scheduled", "Dispatched", "InProgress")


class Life:
    """Turns of an office day. One turn books a job; every second turn an older job moves on, too.

    Nothing here is timed but `run`, which lives in real time; a test calls `turn` as often as it likes.
    """

    def __init__(self, data: Dataset, actions: Actions) -> None:
        self._data = data
        self._actions = actions
        self.turns = 0

    def turn(self) -> dict[str, int | str]:
        """Books one job (every fourth for a new customer), moves an older one; answers what was done."""
        self.turns += 1
        done: dict[str, int | str] = {"booked": self._actions.book_job(new_customer=self.turns % 4 == 0)}
        if self.turns % 2 == 0:
            done.update(self._move())
        return done

    async def run(self, every: float) -> None:
        """A turn every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(every)
            self.turn()

    def _move(self) -> dict[str, int | str]:
        jobs = self._data.tables["jobs"]
        keys = jobs.keys()
        job = keys[-1 - self._data.dice.below(min(60, len(keys)))]
        record = jobs.get(job)
        status = record.fields()["jobStatus"] if record else None
        if status not in MOVES:
            self._actions.change_job(job=job, customerPo=f"PO {self.turns}")
            return {"edited": job}
        if self.turns % 10 == 0:
            self._actions.cancel_job(job=job)
            return {"canceled": job}
        if self.turns % 6 == 0:
            self._actions.reschedule_job(job=job)
            return {"rescheduled": job}
        if status == "InProgress":
            self._actions.complete_job(job=job)
            return {"completed": job}
        self._actions.change_job(job=job, jobStatus=MOVES[MOVES.index(status) + 1])
        return {"moved": job}
