"""What a database error means: SQLSTATE -> class of `jobsync.errors`, decided here once.

In: an exception of psycopg or its pool. Out: the JobSync error to raise in its place. The list of JS codes stands at
the head of `sql/schema/10_foundation.sql`; a house test holds both equal.
"""

from __future__ import annotations

import psycopg
from psycopg_pool import PoolTimeout

from jobsync.errors import (
    ConfigError,
    DatabaseUnavailable,
    InvalidInput,
    JobSyncError,
    LockHeld,
    RecordMissing,
    SchemaDrift,
    SendingRefused,
)

CODES: dict[str, type[JobSyncError]] = {
    "JS001": InvalidInput,
    "JS002": LockHeld,
    "JS003": SchemaDrift,
    "JS004": RecordMissing,
    "JS005": SendingRefused,
}
_NOT_SET_UP = {"42P01", "3F000", "42883"}  # undefined table, schema, function
_RETRYABLE = {"40001", "40P01", "55P03", "57014"}  # serialization, deadlock, lock timeout, statement timeout
# Pulled rows are written without asking twice whether they are there; somebody's own SQL may be first with one of them.
_PULLED_KEYS = {
    *("jobs_pkey", "customers_pkey", "locations_pkey", "contacts_pkey"),
    *("jobs_single_tenant", "customers_single_tenant"),
}
_FULL = {"53100", "53200", "53300", "53400", "25006"}  # disk full, memory, connections, limits, read-only


def translate(error: BaseException) -> JobSyncError | None:
    """The JobSync error that stands for a database error; None when it is not one or is a bug of ours."""
    if isinstance(error, PoolTimeout):
        return DatabaseUnavailable(
            "PostgreSQL gave no connection in time.",
            hint="Check that it runs and that DATABASE_MAX_CONNECTIONS is not too low.",
        )
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate
    if state in CODES:
        return CODES[state](error.diag.message_primary or "refused", hint=error.diag.message_hint)
    if isinstance(error, psycopg.DataError | psycopg.errors.ProgramLimitExceeded):
        # What was handed in does not fit any column: a NUL, a number out of range, a text too long for an index.
        return InvalidInput(
            "A value cannot be stored: out of range, too long, or with a NUL character.", code="value_unstorable"
        )
    if state in _NOT_SET_UP:
        return ConfigError("The database is not set up for this version of JobSync.", hint="Run `jobsync db migrate`.")
    if state in _RETRYABLE or state == "23505" and error.diag.constraint_name in _PULLED_KEYS:
        return DatabaseUnavailable(
            "PostgreSQL was busy with the same rows and gave up; the work is repeated.", code="database_busy"
        )
    if state in _FULL:
        return DatabaseUnavailable(
            "PostgreSQL cannot write: disk full, read-only or out of connections.",
            hint="Free space or connections; JobSync goes on by itself.",
        )
    if state == "42501":
        return ConfigError(
            f"The database user lacks a right: {error.diag.message_primary}.",
            hint="See `jobsync doctor --only database`.",
        )
    if state is not None and state.startswith(("08", "57P")) or isinstance(error, psycopg.OperationalError):
        return DatabaseUnavailable(
            describe_connection_error(error), hint="Check DATABASE_URL and that PostgreSQL runs there."
        )
    return None


def describe_connection_error(error: psycopg.Error) -> str:
    """One sentence about a failed connection, without the DSN (it may hold a password)."""
    text = str(error).lower()
    if "password authentication failed" in text or "no password supplied" in text:
        return "PostgreSQL refused the user or the password of DATABASE_URL."
    if "does not exist" in text and "database" in text:
        return "The database named in DATABASE_URL does not exist."
    if "does not exist" in text and "role" in text:
        return "The user named in DATABASE_URL does not exist."
    if "could not translate host" in text or "name or service not known" in text or "failed to resolve" in text:
        return "The host named in DATABASE_URL is not known."
    if "timeout" in text:
        return "PostgreSQL did not answer in time."
    return "PostgreSQL cannot be reached, or the connection broke off."
