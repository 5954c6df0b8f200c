"""Backup and restore: one gzipped SQL file that psql alone can read, made and put back by PostgreSQL's own programs.

A backup is one consistent snapshot, taken while everything runs. It holds credentials only sealed: without the key
(JOBSYNC_SECRET_KEY or the key file) they cannot be opened, so the key is to be kept elsewhere. Passwords travel in the
environment of the programs, never on their command line.
"""

from __future__ import annotations

import asyncio
import gzip
import os
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from jobsync.db.embedded_runtime import find_runtime
from jobsync.db.migrate import migrate
from jobsync.db.pool import Database
from jobsync.db.queries import get_query
from jobsync.errors import ConfigError, ConfirmationNeeded, InvalidInput, LockHeld

CHUNK = 1 << 16
# Settings of newer servers that a dump sets and an older server does not know.
_NEWER_SETTINGS = (b"SET transaction_timeout",)


async def back_up(dsn: str, path: Path) -> int:
    """Writes a backup of the whole database to `path` and answers its size in bytes. Raises ConfigError, InvalidInput.

    The file appears under its name only when it is whole; one that exists is never overwritten.
    """
    if path.exists():
        raise InvalidInput(f"{path} exists already.", hint="Give another name; a backup is never overwritten.")
    part = path.with_name(path.name + ".part")
    command = ["pg_dump", "--no-owner", "--clean", "--if-exists", "--compress=gzip:6", "--file", str(part)]
    process = await _start(dsn, command)
    _, said = await process.communicate()
    if process.returncode != 0:
        part.unlink(missing_ok=True)
        raise ConfigError("PostgreSQL could not be backed up.", hint=_last_line(said))
    part.chmod(0o600)
    part.rename(path)
    return path.stat().st_size


async def restore(dsn: str, path: Path, *, replace: bool) -> dict[str, Any]:
    """Puts a backup back, whole or not at all, disarmed; answers {jobs, planned, newest}: what is there then.

    The database must be empty unless `replace`. Nothing may work on it meanwhile (LockHeld). Every tenant observes
    afterwards: what was sent after the backup was taken is not known to it. Raises InvalidInput for another file.
    """
    _check_file(path)
    # Makes the role that the grants name, and the empty schema that an empty database lacks.
    await migrate(dsn)
    async with Database(dsn, max_connections=2) as database:
        async with database.transaction(None) as session:
            before = await session.row("look_before_restore")
        assert before is not None
        if before["workers"]:
            raise LockHeld("JobSync is at work on this database.", hint="Stop `jobsync up` first, then restore.")
        if before["jobs"] and not replace:
            raise ConfirmationNeeded(
                f"The database holds {before['jobs']} jobs, which the backup would replace.",
                hint="Add --replace --yes, or restore into an empty database.",
            )
    await _feed(dsn, path)
    await migrate(dsn)
    async with Database(dsn, max_connections=2) as database, database.transaction(None) as session:
        row = await session.row("look_after_restore")
    assert row is not None
    return row


async def _feed(dsn: str, path: Path) -> None:
    command = [
        "psql",
        "--no-psqlrc",
        "--quiet",
        "--single-transaction",
        "--set",
        "ON_ERROR_STOP=1",
        "--output",
        os.devnull,
    ]
    process = await _start(dsn, command, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None and process.stderr is not None
    said = asyncio.ensure_future(process.stderr.read())
    try:
        with gzip.open(path, "rb") as source:
            in_head = True
            while True:
                # Only the dump's head holds settings; the rest goes through in large pieces.
                piece = source.readline() if in_head else source.read(CHUNK)
                if not piece:
                    break
                if in_head and piece.startswith((b"DROP ", b"ALTER ", b"CREATE ")):
                    in_head = False
                if not piece.startswith(_NEWER_SETTINGS):
                    process.stdin.write(piece)
                    await process.stdin.drain()
        process.stdin.write(f"\n{get_query('disarm_restored')}\n".encode())
        await process.stdin.drain()
        process.stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        pass
    except (OSError, EOFError) as error:
        process.kill()
        await process.wait()
        raise InvalidInput(
            f"{path} is damaged: it cannot be unpacked to its end.", hint="Nothing was changed."
        ) from error
    text = await said
    if await process.wait() != 0:
        raise ConfigError("The backup was not restored; nothing was changed.", hint=_last_line(text))


async def _start(dsn: str, command: list[str], **options: Any) -> asyncio.subprocess.Process:
    program = (await find_runtime(None)).program(command[0])
    return await asyncio.create_subprocess_exec(
        str(program),
        *command[1:],
        env={**_environment(dsn), "PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        stderr=asyncio.subprocess.PIPE,
        **options,
    )


def _environment(dsn: str) -> dict[str, str]:
    names = {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "dbname": "PGDATABASE",
        "sslmode": "PGSSLMODE",
    }
    given = conninfo_to_dict(dsn)
    return {variable: str(given[name]) for name, variable in names.items() if given.get(name) is not None}


def _check_file(path: Path) -> None:
    try:
        with gzip.open(path, "rb") as source:
            head = source.read(200)
    except (OSError, EOFError):
        raise InvalidInput(
            f"{path} is no backup of JobSync.", hint="Backups are made by: jobsync db backup FILE"
        ) from None
    if b"PostgreSQL database dump" not in head:
        raise InvalidInput(f"{path} is no backup of JobSync.", hint="Backups are made by: jobsync db backup FILE")


def _last_line(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "The program said nothing."
