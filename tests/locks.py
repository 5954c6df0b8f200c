"""Waiting until two transactions have met at a lock."""

from __future__ import annotations

from typing import Any

import psycopg


def wait_until_awaited(dsn: str, holder: psycopg.AsyncConnection[Any]) -> None:
    """Returns once a session of this database waits for what `holder` has locked."""
    waits = b"select 1 from pg_stat_activity where datname = current_database() and %s = any (pg_blocking_pids(pid))"
    with psycopg.connect(dsn, autocommit=True) as watcher:
        while watcher.execute(waits, (holder.info.backend_pid,)).fetchone() is None:
            pass
