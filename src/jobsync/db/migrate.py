"""Migrations: the schema as plain SQL files, applied once, under a lock, with a lock timeout.

A fresh database gets `sql/schema/*.sql` and the task queue's own SQL in one transaction and is marked as being at the
newest version. An existing one gets the files of `sql/migrations` that its ledger does not list, each in a transaction
of its own. One that holds the old guide's tables is only touched by whoever hands in how (`intake.adopt`). In: a DSN
that may create schemas. Out: a `MigrationReport`. Twice: the second run finds nothing to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import psycopg
from procrastinate.schema import SchemaManager
from psycopg.rows import dict_row

from jobsync.db.failures import translate
from jobsync.db.queries import get_query
from jobsync.errors import ConfigError, DatabaseUnavailable

BASELINE = "0001"
QUEUE_SCHEMA = "jobsync_queue"
LOCK_TIMEOUT_MS = 10_000
OLDEST_SERVER = 150000


@dataclass(frozen=True)
class MigrationReport:
    """What a run of `migrate` did: versions applied now, versions known before, and the guide's objects found."""

    applied: tuple[str, ...]
    known: tuple[str, ...]
    tables: tuple[str, ...]
    functions: tuple[str, ...]
    views: tuple[str, ...]


@dataclass(frozen=True)
class Migration:
    """One file of `sql/migrations`: its version (the digits its name starts with), its text and checksum."""

    version: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


Execute = Callable[[str], Awaitable[Any]]
Adopt = Callable[[Execute, int], Awaitable[None]]


def read_schema() -> str:
    """The whole schema as one SQL text: ours, then the queue's in a schema of its own."""
    return "\n".join((*(text for _, text in read_schema_files()), read_queue_schema()))


def read_schema_files() -> tuple[tuple[str, str], ...]:
    """Name and text of each file of our schema, in their order."""
    return tuple((entry.name, entry.read_text("utf-8")) for entry in _sql_files("schema"))


def read_adoption_steps() -> tuple[str, ...]:
    """The steps that stand around the schema when an existing guide database is adopted, in their order."""
    return tuple(entry.read_text("utf-8") for entry in _sql_files("adopt"))


def read_queue_schema() -> str:
    """The task queue library's own SQL, placed in its schema (search_path set and reset around it)."""
    body = SchemaManager.get_schema()
    head, tail = (entry.read_text("utf-8") for entry in _sql_files("queue"))
    return f"{head}\n{body}\n{tail}"


def read_migrations() -> tuple[Migration, ...]:
    """The migrations after the baseline, in order of their version."""
    return tuple(Migration(entry.name.split("_", 1)[0], entry.read_text("utf-8")) for entry in _sql_files("migrations"))


async def migrate(dsn: str, *, adopt: Adopt | None = None) -> MigrationReport:
    """Brings the database behind `dsn` to this version.

    `adopt`: makes the schema out of the old guide's tables; it is given how to run SQL text in the one transaction, and
    how many rows there are about. Without it such a database is refused and left as it is.
    Raises ConfigError (rights, version, a user named jobsync, a changed migration) and DatabaseUnavailable (not
    reachable, or another session held the lock for 10 s). Nothing is half done: each step is one transaction.
    """
    try:
        async with await psycopg.AsyncConnection[dict[str, Any]].connect(
            dsn, autocommit=True, row_factory=dict_row, connect_timeout=5
        ) as connection:
            target = await _describe(connection)
            _refuse_unfit(target)
            applied: list[str] = []
            async with connection.transaction():
                await connection.execute(get_query("set_lock_timeout"), {"milliseconds": str(LOCK_TIMEOUT_MS)})
                await connection.execute(get_query("take_migration_lock"))
                target = await _describe(connection)
                known = await _ledger(connection) if target["has_ledger"] else {}
                if not target["has_ledger"]:
                    if not target["has_guide_tables"]:
                        await connection.execute(read_schema().encode())
                    elif adopt is None:
                        raise ConfigError(
                            "This database holds the tables of the old guide and was not taken over by JobSync yet.",
                            hint="Next: jobsync db backup before-jobsync.sql.gz   then: jobsync db migrate",
                        )
                    else:
                        await adopt(partial(_run_text, connection), target["guide_rows"])
                    for version, checksum in [
                        (BASELINE, "baseline"),
                        *((m.version, m.checksum) for m in read_migrations()),
                    ]:
                        await connection.execute(
                            get_query("record_migration"), {"version": version, "checksum": checksum}
                        )
                        applied.append(version)
            for migration in read_migrations():
                if migration.version in known or migration.version in applied:
                    continue
                await _apply(connection, migration)
                applied.append(migration.version)
            return await _report(connection, tuple(applied), tuple(known))
    except psycopg.errors.LockNotAvailable:
        raise DatabaseUnavailable(
            "Another session held the database's tables for 10 seconds, so nothing was migrated.",
            hint="Run `jobsync db migrate` again when it is done.",
        ) from None
    except psycopg.Error as error:
        raise translate(error) or DatabaseUnavailable("PostgreSQL refused the migration.") from error


async def read_status(dsn: str) -> dict[str, Any]:
    """Which versions are applied and pending, the guide's objects found, whether they are still to be adopted (`to_adopt`),
    and the report of an adoption (None: it was none).

    Raises like `migrate`.
    """
    try:
        async with await psycopg.AsyncConnection[dict[str, Any]].connect(
            dsn, autocommit=True, row_factory=dict_row, connect_timeout=5
        ) as connection:
            target = await _describe(connection)
            known = await _ledger(connection) if target["has_ledger"] else {}
            report = await _report(connection, (), tuple(known))
            adoption = await _run_text(connection, get_query("find_adoption")) if known else []
    except psycopg.Error as error:
        raise translate(error) or DatabaseUnavailable("PostgreSQL refused to answer.") from error
    wanted = [BASELINE, *(m.version for m in read_migrations())]
    return {
        "server_version": target["version"],
        "database": target["database_name"],
        "user": target["user_name"],
        "applied": list(report.known),
        "pending": [version for version in wanted if version not in report.known],
        "tables": list(report.tables),
        "functions": list(report.functions),
        "views": list(report.views),
        "to_adopt": target["has_guide_tables"] and not target["has_ledger"],
        "adoption": adoption[0]["report"] if adoption else None,
    }


def _sql_files(folder: str) -> list[Any]:
    entries = files("jobsync.sql").joinpath(folder).iterdir()
    return sorted((entry for entry in entries if entry.name.endswith(".sql")), key=lambda entry: entry.name)


async def _run_text(connection: psycopg.AsyncConnection[Any], text: str) -> list[dict[str, Any]]:
    """Runs SQL text of any number of statements; the rows of the last one, if it has some."""
    cursor = await connection.execute(text.encode())
    while cursor.nextset():
        pass
    return await cursor.fetchall() if cursor.description else []


async def _describe(connection: psycopg.AsyncConnection[Any]) -> dict[str, Any]:
    cursor = await connection.execute(get_query("describe_target"))
    found = await cursor.fetchone()
    assert found is not None
    return found


async def _ledger(connection: psycopg.AsyncConnection[Any]) -> dict[str, str]:
    cursor = await connection.execute(get_query("list_migrations"))
    return {row["version"]: row["checksum"] for row in await cursor.fetchall()}


async def _apply(connection: psycopg.AsyncConnection[Any], migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(get_query("set_lock_timeout"), {"milliseconds": str(LOCK_TIMEOUT_MS)})
        await connection.execute(get_query("take_migration_lock"))
        if migration.version in await _ledger(connection):
            return
        await connection.execute(migration.text.encode())
        await connection.execute(
            get_query("record_migration"), {"version": migration.version, "checksum": migration.checksum}
        )


async def _report(
    connection: psycopg.AsyncConnection[Any], applied: tuple[str, ...], known: tuple[str, ...]
) -> MigrationReport:
    cursor = await connection.execute(get_query("list_objects"))
    objects = await cursor.fetchall()
    names = {
        kind: tuple(row["name"] for row in objects if row["kind"] == kind) for kind in ("table", "function", "view")
    }
    return MigrationReport(applied, known, names["table"], names["function"], names["view"])


def _refuse_unfit(target: dict[str, Any]) -> None:
    user = target["user_name"]
    if target["version"] < OLDEST_SERVER:
        raise ConfigError(
            f"PostgreSQL {target['version'] // 10000} is too old: JobSync needs 15 or newer.",
            hint="Upgrade the server, or leave DATABASE_URL empty.",
        )
    if user == "jobsync":
        raise ConfigError(
            'The database user is called "jobsync", like JobSync\'s schema: plain names would then find the wrong tables.',
            hint="Rename it first: ALTER ROLE jobsync RENAME TO jobsync_owner; then change DATABASE_URL.",
        )
    if target["has_ledger"]:
        return
    if not target["may_create_in_public"]:
        raise ConfigError(
            f'The user "{user}" may not create tables in schema public.',
            hint=f'As a superuser: GRANT CREATE ON SCHEMA public TO "{user}";',
        )
    if not target["may_create_schema"] and not target["has_schema"]:
        raise ConfigError(
            f'The user "{user}" may not create schemas in this database.',
            hint=f'As a superuser: GRANT CREATE ON DATABASE "{target["database_name"]}" TO "{user}";',
        )
