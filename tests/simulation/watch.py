"""What an onlooker of a run writes down while it happens: who went back where it must not."""

from __future__ import annotations

from typing import Any

from tests.simulation.loop import Process
from tests.simulation.wire import run_now


class Watch:
    """Told of statements, arrivals and deaths by the world; the ledgers ask it afterwards."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.claimed_at: dict[int, float] = {}
        self.booked_at: dict[int, float] = {}
        self.arrivals: list[tuple[float, str]] = []
        self.deaths: list[float] = []
        self.reached: dict[tuple[str, str], tuple[int, str]] = {}

    def statement(self, name: str, params: Any, cursor: Any) -> None:
        """A statement of a process has run (its transaction may still be undone)."""
        if name == "claim_deliveries":
            # Stored times are those of a transaction's begin; a process may have slept since.
            for row in run_now(cursor.fetchall()):
                self.claimed_at[row["attempt_id"]] = self._world.now().timestamp()
            if cursor.rowcount > 0:
                run_now(cursor.scroll(0, mode="absolute"))
        elif name == "finish_deliveries":
            self._check_fences(params, cursor)

    def _check_fences(self, params: Any, cursor: Any) -> None:
        """I4: a result whose row was claimed by somebody else meanwhile changes nothing."""
        for result in params["results"].obj:
            self.booked_at.setdefault(result["attempt_id"], self._world.now().timestamp())
        [row] = run_now(cursor.fetchall())
        run_now(cursor.scroll(0, mode="absolute"))
        stale = row["finish_deliveries"]["stale"]
        # The checker's session sees what stood before this transaction.
        held = {
            (one["st_job_id"], one["fence"])
            for one in self._world.home.rows("select st_job_id, fence from jobsync.outbox where tenant_id = %s", params["tenant"])
        }  # fmt: skip
        gone = sum((one["st_job_id"], one["fence"]) not in held for one in params["results"].obj)
        if stale < gone:
            self._world.find(f"I4 {gone} results came after their lease was lost, {gone - stale} of them were booked")

    def arrived(self, call: tuple[str, str, dict[str, str], bytes]) -> None:
        """A request has reached GoHighLevel."""
        self.arrivals.append((self._world.loop.time(), call[1]))

    def process_died(self, process: Process) -> None:
        """A process was killed."""
        self.deaths.append(self._world.loop.time())
