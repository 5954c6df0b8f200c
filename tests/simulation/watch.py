"""What an onlooker of a run writes down while it happens: who went back where it must not."""

from __future__ import annotations

from typing import Any

from tests.simulation.loop import PROCESS, Process
from tests.simulation.wire import run_now


class Watch:
    """Told of statements, arrivals and deaths by the world; the ledgers ask it afterwards."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.claimed_at: dict[int, float] = {}
        self.booked_at: dict[int, float] = {}
        # Which statement of the run it was: time stands still between many of them.
        self.claimed_as: dict[int, int] = {}
        self.booked_as: dict[int, int] = {}
        self.claimed_by: dict[int, Process] = {}
        self._statements = 0
        self.arrivals: list[tuple[float, str]] = []
        # When a process was killed, or put to sleep.
        self.misfortunes: list[tuple[float, Process]] = []
        # Claims that were kept, and whose worker never heard of it.
        self.unheard: set[int] = set()
        self._claimed_on: dict[Any, list[int]] = {}
        self.reached: dict[tuple[str, str], tuple[int, str]] = {}

    def statement(self, connection: Any, name: str, params: Any, cursor: Any) -> None:
        """A statement of a process has run (its transaction may still be undone)."""
        self._statements += 1
        if name == "claim_deliveries":
            # Stored times are those of a transaction's begin; a process may have slept since.
            rows = run_now(cursor.fetchall())
            self._claimed_on[connection] = [row["attempt_id"] for row in rows]
            for row in rows:
                self.claimed_at[row["attempt_id"]] = self._world.now().timestamp()
                self.claimed_as[row["attempt_id"]] = self._statements
                process = PROCESS.get()
                if process is not None:
                    self.claimed_by[row["attempt_id"]] = process
            if cursor.rowcount > 0:
                run_now(cursor.scroll(0, mode="absolute"))
        elif name == "finish_deliveries":
            self._check_fences(params, cursor)

    def _check_fences(self, params: Any, cursor: Any) -> None:
        """I4: a result whose row was claimed by somebody else meanwhile changes nothing."""
        for result in params["results"].obj:
            self.booked_at.setdefault(result["attempt_id"], self._world.now().timestamp())
            # The last one counts: what was undone before it is booked again.
            self.booked_as[result["attempt_id"]] = self._statements
        [row] = run_now(cursor.fetchall())
        run_now(cursor.scroll(0, mode="absolute"))
        stale = row["finish_deliveries"]["stale"]
        # The checker's session sees what stood before this transaction.
        waiting = {
            one["st_job_id"]: one
            for one in self._world.home.rows(
                "select st_job_id, fence, version, lease_until is null and not forced as is_free from jobsync.outbox where tenant_id = %s", params["tenant"]
            )
        }  # fmt: skip
        versions = {
            one["id"]: one["version"]
            for one in self._world.home.rows(
                "select id, version from jobsync.attempts where tenant_id = %s and id = any (%s)",
                params["tenant"], [result["attempt_id"] for result in params["results"].obj],
            )
        }  # fmt: skip
        gone = sum(
            not self._may_book(result, waiting.get(result["st_job_id"]), versions) for result in params["results"].obj
        )
        if stale < gone:
            self._world.find(f"I4 {gone} results came after their lease was lost, {gone - stale} of them were booked")

    def arrived(self, call: tuple[str, str, dict[str, str], bytes]) -> None:
        """A request has reached GoHighLevel."""
        self.arrivals.append((self._world.loop.time(), call[1]))

    def note_misfortune(self, process: Process) -> None:
        """A process was killed, or put to sleep."""
        self.misfortunes.append((self._world.now().timestamp(), process))

    def note_commit(self, connection: Any, *, heard: bool) -> None:
        """A transaction was kept; the connection may have broken before anybody heard of it."""
        claimed = self._claimed_on.pop(connection, ())
        if not heard:
            self.unheard.update(claimed)

    def was_able_to_book(self, attempt: int) -> bool:
        """Whether the process that claimed this attempt knew of it, and was awake from then on."""
        process, claimed = self.claimed_by.get(attempt), self.claimed_at.get(attempt, 0.0)
        struck = any(when >= claimed and who is process for when, who in self.misfortunes)
        return process is not None and attempt not in self.unheard and not struck

    @staticmethod
    def _may_book(result: dict[str, Any], row: dict[str, Any] | None, versions: dict[int, int]) -> bool:
        """Whether its row is still its own; or it says, late, that this very version is told while nobody is sending it."""
        if row is None:
            return False
        tells = result["outcome"].startswith("accepted") and row["version"] == versions.get(result["attempt_id"])
        return row["fence"] == result["fence"] or (tells and row["is_free"])

    def was_booked_before(self, settled: dict[str, Any], later: dict[str, Any]) -> bool:
        """Whether the first of these attempts was booked when the other one was claimed."""
        if settled["ended"] != later["claimed"]:
            return bool(settled["ended"] < later["claimed"])
        return self.booked_as.get(settled["id"], 0) < self.claimed_as.get(later["id"], 1)
