"""A ServiceTitan to sync from without having one: same paths, envelopes, feeds and quirks, over real HTTP.

    simulator = Simulator(Dataset.generate(seed=7, jobs=240))
    async with await serve(simulator) as served:
        ...  # SERVICE_TITAN_API_URL = SERVICE_TITAN_AUTH_URL = served.url, credentials: simulator.account()

It imports nothing of jobsync and shares no names with its client, so that a wrong field name cannot pass its own tests.
"""

from __future__ import annotations

from .actions import Actions
from .app import Simulator
from .auth import Account
from .clock import SimClock, machine_now
from .control import list_versions
from .dataset import Dataset
from .faults import Fault, FaultBox
from .instants import read_instant, write_instant
from .ledger import Call, RequestLedger
from .life import Life
from .server import Served, serve
from .switches import Switches

__all__ = [
    "Account", "Actions", "Call", "Dataset", "Fault", "FaultBox", "Life", "RequestLedger", "Served", "SimClock",
    "Simulator",
    "Switches", "list_versions", "machine_now", "read_instant", "serve", "write_instant",
]  # fmt: skip
