"""The task queue: the library's app on a schema of its own.

The library opens its own connections: they log in like everything else, but their search_path is its schema. Task
arguments carry ids only. In: a DSN that keeps sessions (DATABASE_DIRECT_URL behind a transaction pooler).
"""

from __future__ import annotations

from typing import Any

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued
from psycopg.conninfo import conninfo_to_dict, make_conninfo

QUEUE_SCHEMA = "jobsync_queue"


def queue_dsn(dsn: str) -> str:
    """The DSN with the queue's schema as search_path; other options of the DSN are kept."""
    given = str(conninfo_to_dict(dsn).get("options") or "")
    kept = " ".join(part for part in given.split() if "search_path" not in part)
    return make_conninfo(dsn, options=f"{kept} -csearch_path={QUEUE_SCHEMA}".strip())


def build_app(dsn: str, *, max_connections: int = 6) -> App:
    """An app that is not open yet; use `async with app.open_async()`."""
    connector = PsycopgConnector(
        conninfo=queue_dsn(dsn),
        min_size=1,
        max_size=max_connections,
        timeout=15.0,
        kwargs={
            "connect_timeout": 5,
            "keepalives": 1,
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "application_name": "jobsync queue",
        },
    )
    return App(connector=connector)


async def defer_once(
    app: App, task: str, *, lock: str, priority: int = 0, queueing_lock: str | None = None, **ids: Any
) -> bool:
    """Defers a task unless an equal one waits already. True when it was added. Call after the transaction committed."""
    try:
        await app.configure_task(task, lock=lock, queueing_lock=queueing_lock or lock, priority=priority).defer_async(
            **ids
        )
    except AlreadyEnqueued:
        return False
    return True
