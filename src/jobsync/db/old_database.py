"""The old flow's own database, for looking only: every transaction on it is read-only, whatever its user may do.

In: the DSN of JOBSYNC_OLD_DATABASE_URL. Out: a `Session` of named statements. Raises ConfigError when it is no such database
and DatabaseUnavailable when it cannot be reached; the messages name the setting, never its value.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from jobsync.db.failures import translate
from jobsync.db.pool import Session
from jobsync.db.queries import get_query
from jobsync.errors import ConfigError, DatabaseUnavailable, JobSyncError

SETTING = "JOBSYNC_OLD_DATABASE_URL"
NO_LONGER = f"Take {SETTING} away if the old flow is gone."


@asynccontextmanager
async def open_old_database(dsn: str) -> AsyncIterator[Session]:
    """One read-only transaction on the old flow's database; nothing is ever written there."""
    try:
        connection = await psycopg.AsyncConnection[dict[str, Any]].connect(
            dsn, row_factory=dict_row, connect_timeout=5, application_name="jobsync shadow"
        )
    except psycopg.Error as error:
        raise _retell(error) from None
    try:
        async with connection:
            await connection.set_read_only(True)
            await connection.execute(get_query("limit_statements"))
            session = Session(connection)
            found = await session.row("look_at_old_database")
            assert found is not None and found["read_only"] == "on"
            if found["is_ours"]:
                raise ConfigError(
                    f"{SETTING} points at a database of JobSync, not at one that the old flow writes on its own.",
                    hint="On an adopted database there is nothing to compare: its units are external until you switch them.",
                )
            if not found["has_jobs"]:
                raise ConfigError(f"{SETTING} points at a database without a table jobs.", hint=f"Check {SETTING}.")
            yield session
    except psycopg.Error as error:
        raise _retell(error) from error


def _retell(error: psycopg.Error) -> JobSyncError:
    known = translate(error)
    if known is None or isinstance(known, DatabaseUnavailable):
        said = str(known) if known is not None else "PostgreSQL refused a statement."
        return DatabaseUnavailable(
            f"The old flow's database: {said.replace('DATABASE_URL', SETTING)}",
            hint=f"Check {SETTING}. {NO_LONGER}",
        )
    return ConfigError(
        f"The old flow's database: {known.message.replace('DATABASE_URL', SETTING)}", hint=f"Check {SETTING}."
    )
