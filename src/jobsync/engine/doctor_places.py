"""The doctor's look at this machine and its database: disk, key file, clock, PostgreSQL's reach, rights and versions.

Nothing here raises for what it finds, and nothing changes anything except `mend`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from jobsync.config import Settings
from jobsync.db.migrate import migrate, read_status
from jobsync.db.pool import Database, Row
from jobsync.db.sealing import KEY_FILE
from jobsync.engine.findings import Finding
from jobsync.engine.opening import open_dsn
from jobsync.errors import JobSyncError

OLDEST, NEWEST = 150000, 190000
SKEW_SECONDS = 60.0
REACH_SECONDS = 5.0
LOW_BYTES = 1 << 30


def look_at_machine(settings: Settings) -> list[Finding]:
    """Data folder, disk, and the key file's rights."""
    findings = []
    folder = settings.data_dir
    place = folder if folder.exists() else folder.absolute().parent
    if not os.access(place, os.W_OK):
        findings.append(
            Finding(
                "machine",
                "data folder",
                "problem",
                f"{folder} cannot be written",
                "Another user owns it.",
                f"chown it to {_user()}, or set JOBSYNC_DATA_DIR",
            )
        )
    else:
        findings.append(Finding("machine", "data folder", "ok", f"{folder} is writable"))
    with_room = shutil.disk_usage(place)
    free = f"{with_room.free / (1 << 30):.1f} GB free"
    if with_room.free < LOW_BYTES:
        findings.append(
            Finding(
                "machine",
                "disk",
                "problem",
                free,
                "PostgreSQL stops when it can write no more, and JobSync with it.",
                "free space on this disk",
            )
        )
    else:
        findings.append(Finding("machine", "disk", "ok", free))
    findings += _look_at_secrets(settings, folder)
    return findings


def _look_at_secrets(settings: Settings, folder: Path) -> list[Finding]:
    findings = []
    for name, path in (
        ("key file", folder / KEY_FILE),
        ("env file", Path(".env")),
        ("config file", Path("jobsync.yaml")),
    ):
        if name == "config file" and not _holds_secrets(path):
            continue
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        if mode & 0o077 and (name != "env file" or settings.servicetitan_given or settings.ghl_api_key):
            findings.append(
                Finding(
                    "secrets",
                    name,
                    "problem" if name == "key file" else "warning",
                    f"{path} can be read by others (mode {mode:o})",
                    "It holds secrets." if name != "key file" else "Whoever has it opens every sealed credential.",
                    f"chmod 600 {path}   (or: jobsync doctor --fix)",
                )
            )
        else:
            findings.append(Finding("secrets", name, "ok", f"{path} is private"))
    if settings.secret_key is not None:
        findings.append(Finding("secrets", "key", "ok", "JOBSYNC_SECRET_KEY is given"))
    return findings


async def look_at_database(settings: Settings) -> tuple[list[Finding], bool]:
    """Reach, login, version, rights, schema, clock; and whether further questions can be asked of it."""
    findings: list[Finding] = []
    if settings.database_url:
        reach = await _reach(settings.database_url)
        findings.append(reach)
        if reach.state == "problem":
            return findings, False
    try:
        async with open_dsn(settings, look_only=True) as dsn:
            found = await read_status(settings.database_direct_url or dsn)
            version = found["server_version"]
            shown = (
                f"PostgreSQL {version // 10000}.{version % 10000}, database {found['database']}, user {found['user']}"
            )
            if not OLDEST <= version < NEWEST:
                findings.append(
                    Finding(
                        "database",
                        "version",
                        "problem",
                        shown,
                        "JobSync works with PostgreSQL 15 to 18.",
                        "move to a supported version",
                    )
                )
            else:
                findings.append(Finding("database", "login", "ok", shown))
            if found["pending"]:
                findings.append(
                    Finding(
                        "database",
                        "schema",
                        "problem",
                        f"{len(found['pending'])} migrations are missing",
                        "This version of JobSync needs them.",
                        "jobsync db migrate   (or: jobsync doctor --fix)",
                    )
                )
                return findings, False
            findings.append(
                Finding(
                    "database",
                    "schema",
                    "ok",
                    f"up to date, {len(found['tables'])} of 5 guide tables, {len(found['functions'])} of 3 functions",
                )
            )
            findings += await _look_inside(dsn, settings.database_max_connections)
    except JobSyncError as error:
        findings.append(
            Finding("database", "login", "problem", error.message, None, error.hint or "check DATABASE_URL")
        )
        return findings, False
    return findings, True


async def _reach(url: str) -> Finding:
    try:
        given = conninfo_to_dict(url)
    except Exception:
        return Finding(
            "database",
            "reach",
            "problem",
            "DATABASE_URL cannot be read",
            None,
            "write it as postgresql://user:password@host:5432/database",
        )
    host, port = str(given.get("host") or "localhost").split(",")[0], int(str(given.get("port") or 5432).split(",")[0])
    if host.startswith("/"):
        return Finding("database", "reach", "ok", f"by the socket in {host}")
    return await reach_host("database", "reach", host, port, "DATABASE_URL")


async def reach_host(group: str, name: str, host: str, port: int, setting: str) -> Finding:
    """DNS and TCP of one host."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(REACH_SECONDS):
            await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return Finding(
            group,
            name,
            "problem",
            f"the name {host} is not found",
            "DNS does not know it, or there is no network.",
            f"check {setting}",
        )
    try:
        async with asyncio.timeout(REACH_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        why = (
            "Nothing listens there."
            if isinstance(error, ConnectionRefusedError)
            else "It did not answer within 5 seconds; a firewall may be in between."
        )
        return Finding(
            group, name, "problem", f"{host}:{port} cannot be reached", why, f"check {setting} and the network"
        )
    writer.close()
    return Finding(group, name, "ok", f"{host}:{port} answers")


async def _look_inside(dsn: str, pool: int) -> list[Finding]:
    """Rights, room for connections, clock."""
    async with Database(dsn, max_connections=2) as database, database.transaction(None) as session:
        found = await session.row("look_at_rights")
        now = await session.value("read_now")
    assert found is not None
    ahead = (datetime.now(UTC) - now).total_seconds()  # real clock: this machine's is what is looked at
    skew = tell_skew("database", "clock", ahead, "PostgreSQL's server")
    return [_tell_rights(found), _tell_room(found, pool), skew]


def _tell_rights(found: Row) -> Finding:
    if found["read_only"]:
        return Finding(
            "database",
            "rights",
            "problem",
            "this server takes no writes",
            "It is a standby, or set to read-only; nothing can be stored or recorded there.",
            "point DATABASE_URL at the primary",
        )
    if not found["keeps_tenants_apart"]:
        return Finding(
            "database",
            "rights",
            "warning",
            "the user may not act as role jobsync_app: one tenant only",
            "Row-level security, which keeps tenants apart, needs that role.",
            "as a superuser: CREATE ROLE jobsync_app NOLOGIN; GRANT jobsync_app TO the user of DATABASE_URL",
        )
    if found["superuser"]:
        return Finding(
            "database",
            "rights",
            "warning",
            "the user is a superuser",
            "Whoever takes over JobSync takes over the whole server.",
            "make a user that only owns this database (deploy/postgres/10-jobsync.sh shows how)",
        )
    return Finding("database", "rights", "ok", f"owner without superuser rights, {found['size']} used")


def _tell_room(found: Row, pool: int) -> Finding:
    # A process holds its pool and a few sessions of the queue.
    left = found["connections"] - found["connected"]
    what = f"{left} of {found['connections']} connections are free, this process may take {pool}"
    if left >= pool:
        return Finding("database", "connections", "ok", what)
    return Finding(
        "database",
        "connections",
        "warning",
        what,
        "When they are used up, work waits and pages answer 503.",
        "lower DATABASE_MAX_CONNECTIONS, raise the server's max_connections, or put a pooler in between",
    )


def tell_skew(group: str, name: str, seconds: float, whose: str) -> Finding:
    """A finding about how far this machine's clock stands from another's."""
    if abs(seconds) > SKEW_SECONDS:
        return Finding(
            group,
            name,
            "warning",
            f"this machine's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} {whose}",
            "Stored times are PostgreSQL's and reading positions ServiceTitan's, so nothing is lost; shown ages are off.",
            "set the clock by NTP",
        )
    return Finding(group, name, "ok", f"within {abs(seconds):.0f} s of {whose}")


@asynccontextmanager
async def open_as_it_is(settings: Settings) -> AsyncIterator[Database]:
    """The database without migrating it, for looking only."""
    async with open_dsn(settings, look_only=True) as dsn, Database(dsn, max_connections=4) as database:
        yield database


async def mend(settings: Settings) -> list[str]:
    """Does what can be done without asking: rights of secret files, missing migrations. Answers what it did; twice does nothing."""
    done = []
    for path in (settings.data_dir / KEY_FILE, Path(".env"), Path("jobsync.yaml")):
        if path.name == "jobsync.yaml" and not _holds_secrets(path):
            continue
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
            done.append(f"{path} is private now")
    try:
        async with open_dsn(settings) as dsn:
            report = await migrate(settings.database_direct_url or dsn)
    except JobSyncError:
        # The look that follows finds out why, and says what to do.
        return done
    if report.applied:
        done.append(f"applied {len(report.applied)} migrations")
    return done


def _holds_secrets(path: Path) -> bool:
    """True where a configuration file names a setting that is one (a secret, or an address with a password in it)."""
    secret = {str(field.alias) for field in Settings.model_fields.values() if SecretStr in get_args(field.annotation)}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return any(line.split(":", 1)[0].strip().upper() in secret | {"DATABASE_URL"} for line in lines)


def _user() -> str:
    return os.environ.get("USER") or str(os.getuid())
