"""The test clock: moves jobsync.now() of one database, as the only role that may."""

from __future__ import annotations

import psycopg


def move_clock(dsn: str, interval: str) -> None:
    """Shifts jobsync.now() by an interval such as '16 minutes' on top of what it is shifted already."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("grant update on jobsync.clock to current_user")
        connection.execute("update jobsync.clock set shift = shift + %s::interval", (interval,))
        connection.execute("revoke update on jobsync.clock from current_user")
