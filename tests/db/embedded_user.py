"""A process of its own that uses an embedded PostgreSQL: python -m tests.db.embedded_user DATA_DIR

Prints one JSON line when it is in, leaves when its stdin is closed, then prints `left`. Signals come from the tests.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import anyio

from jobsync.db.embedded import start_embedded
from jobsync.errors import JobSyncError


async def use(data_dir: Path) -> None:
    """Join or start the server of `data_dir`, tell what was found, and stay until stdin ends."""
    try:
        server = await start_embedded(data_dir)
    except JobSyncError as error:
        print(json.dumps({"error": type(error).__name__, "message": error.message}), flush=True)
        return
    told = {
        "server": server.pid, "port": server.port, "dsn": server.dsn(), "uid": os.geteuid(),
        "was_started": server.was_started, "home": str(server.home.path),
    }  # fmt: skip
    print(json.dumps(told), flush=True)
    await anyio.wait_readable(sys.stdin)
    await server.stop()
    print("left", flush=True)


if __name__ == "__main__":
    # A shell that runs the tests in the background has its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    anyio.run(use, Path(sys.argv[1]))
