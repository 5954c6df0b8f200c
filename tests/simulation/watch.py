"""What an onlooker of a run writes down while it happens: who went back where it must not."""

from __future__ import annotations

from typing import Any

from tests.simulation.loop import Process


class Watch:
    """Told of statements, arrivals and deaths by the world; the ledgers ask it afterwards."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.claims = 0
        self.arrivals: list[tuple[float, str]] = []
        self.deaths: list[float] = []
        self.reached: dict[tuple[str, str], tuple[int, str]] = {}

    def statement(self, name: str, params: Any, cursor: Any) -> None:
        """A statement of a process has run (its transaction may still be undone)."""
        if name == "claim_deliveries":
            self.claims += cursor.rowcount
        elif name == "is_pass_queued":
            raise AssertionError("answered by the world's own queue")

    def arrived(self, call: tuple[str, str, dict[str, str], bytes]) -> None:
        """A request has reached GoHighLevel."""
        self.arrivals.append((self._world.loop.time(), call[1]))

    def process_died(self, process: Process) -> None:
        """A process was killed."""
        self.deaths.append(self._world.loop.time())
