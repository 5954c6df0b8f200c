"""GoHighLevel over real HTTP, with its traps and with faults on demand (GoHighLevel contract).

    simulator = GoHighLevelSimulator(seed=1)
    office = furnish(simulator)                        # a location, three pipelines, custom fields, a token
    hook = simulator.add_hook(mode="live")
    async with await serve(simulator) as served:       # served.url, served.port
        ...POST served.url + simulator.hook_path(hook)...
    simulator.ledger.posts_by_job

It shares no code and no names with the program that talks to it, so that a wrong field name cannot pass its own tests.
"""

from __future__ import annotations

from .app import GoHighLevelSimulator
from .clock import MovableClock
from .furnish import Furnished, furnish
from .ledger import bill, doubled, live_by_job, summarise
from .server import Serving, serve
from .switches import Switches

__all__ = [
    "Furnished",
    "GoHighLevelSimulator",
    "MovableClock",
    "Serving",
    "Switches",
    "bill",
    "doubled",
    "furnish",
    "live_by_job",
    "serve",
    "summarise",
]
