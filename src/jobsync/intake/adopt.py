"""Adopt: takes over a database that the old guide's schema made, in place, in one transaction.

In: a DSN whose user owns the old tables. Out: the database as a fresh one of JobSync, with every row, its ids, whatever its
owner added (columns, indexes, views, triggers, rights), and a report of what was repaired and what cannot be known, which is
stored too. Anything that cannot be carried over undoes everything, with one sentence. Twice: the second run finds nothing to
adopt. Called by `jobsync db migrate`; everything else refuses such a database. The SQL stands in `sql/adopt`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from jobsync.db.migrate import (
    Execute,
    MigrationReport,
    migrate,
    read_adoption_steps,
    read_queue_schema,
    read_schema_files,
)
from jobsync.errors import ConfigError

# Files before this one make no tables; the next one makes the guide's.
TABLES_FROM = "20"
TABLES_UNTIL = "21"
# Measured: a million jobs and a million customers took 252 s on two cores that seven others shared (test_adopt_big.py).
SECONDS_AT_LEAST = 2
ROWS_A_SECOND = 10_000


@dataclass(frozen=True)
class Migrated:
    """What `jobsync db migrate` did: the migration, and the report of an adoption that it was (None: it was none)."""

    migration: MigrationReport | None
    adoption: dict[str, Any] | None


class _Rehearsed(Exception):
    """Ends a rehearsal: the transaction is taken back."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__("rehearsed")
        self.report = report


async def migrate_or_adopt(
    dsn: str, *, rehearse: bool = False, tell: Callable[[int, int], None] = lambda rows, seconds: None
) -> Migrated:
    """Migrates the database, adopting it first where it holds the old guide's tables.

    `tell`: is called before an adoption with its rows and seconds, about. `rehearse`: does it all and takes it back; a database
    that needs no adoption is migrated. Raises ConfigError (what cannot be carried over, whose tables they are) and
    DatabaseUnavailable (not reachable; the tables were in use for longer than 10 s): then nothing was changed.
    """
    adopted: dict[str, Any] = {}

    async def adopt(execute: Execute, rows: int) -> None:
        tell(rows, estimate_seconds(rows))
        started = time.monotonic()
        try:
            report = await _adopt(execute)
        except psycopg.errors.LockNotAvailable:
            raise
        except psycopg.Error as error:
            raise _explain(error) from error
        adopted.update(report, seconds=round(time.monotonic() - started, 1))
        if rehearse:
            raise _Rehearsed(dict(adopted))

    try:
        migration = await migrate(dsn, adopt=adopt)
    except _Rehearsed as end:
        return Migrated(None, end.report)
    return Migrated(migration, adopted or None)


def estimate_seconds(rows: int) -> int:
    """How long an adoption of so many rows takes, about; at least 2 s."""
    return max(SECONDS_AT_LEAST, round(rows / ROWS_A_SECOND))


async def _adopt(execute: Execute) -> dict[str, Any]:
    look, room, count, merge, back, settle, read = read_adoption_steps()
    files = read_schema_files()
    await execute(look)
    await execute(room)
    for name, text in files:
        if name < TABLES_FROM:
            await execute(text)
    await execute(count)
    for name, text in files:
        if TABLES_FROM <= name < TABLES_UNTIL:
            await execute(text)
    await execute(merge)
    for name, text in files:
        if name >= TABLES_UNTIL:
            await execute(text)
    await execute(read_queue_schema())
    await execute(back)
    await execute(settle)
    (row,) = await execute(read)
    return row["report"]


def _explain(error: psycopg.Error) -> ConfigError:
    """One sentence for what PostgreSQL could not do to this database."""
    said = error.diag.message_primary or "PostgreSQL refused it"
    if error.sqlstate == "JS001":
        return ConfigError(said, hint=error.diag.message_hint)
    place = ".".join(name for name in (error.diag.schema_name, error.diag.table_name, error.diag.column_name) if name)
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail and error.sqlstate != "23514" else ""
    where = f" in {place.replace('jobsync_adopting', 'public')}" if place else ""
    return ConfigError(
        f"The guide's tables cannot be taken over{where}: {said}{detail}.".replace("jobsync_adopting", "public"),
        hint="Nothing was changed. Mend that, or take it away for the moment, and run `jobsync db migrate` again.",
        code="not_adoptable",
    )
