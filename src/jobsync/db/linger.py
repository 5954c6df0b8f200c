"""Keeps the embedded PostgreSQL up for somebody who was given its DSN: `python -m jobsync.db.linger DATA_DIR`.

A short command stops the server when it ends; a psql that got the DSN from `jobsync db url` comes just after that. This
process joins the server, says `ready`, and leaves when nobody else was connected for five minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import psycopg

from jobsync.db.embedded import start_embedded
from jobsync.db.queries import get_query

LOOK_EVERY_SECONDS = 5.0
LEAVE_AFTER_SECONDS = 300.0


async def linger(data_dir: Path) -> None:
    """Joins the server of `data_dir` and leaves it when nobody else was connected for five minutes."""
    async with await start_embedded(data_dir, database="postgres") as server:
        print("ready", flush=True)
        idle = 0.0
        while idle < LEAVE_AFTER_SECONDS and server.is_alive():
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            with contextlib.suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(
                    server.dsn("postgres"), connect_timeout=5
                ) as connection:
                    row = await (await connection.execute(get_query("count_other_sessions"))).fetchone()
                idle = idle + LOOK_EVERY_SECONDS if row is None or row[0] == 0 else 0.0


async def keep_up(data_dir: Path) -> None:
    """Starts a lingering process for the data dir and returns when it has joined the server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "jobsync.db.linger",
        str(data_dir),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 60)


if __name__ == "__main__":
    asyncio.run(linger(Path(sys.argv[1])))
