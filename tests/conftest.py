"""Fixtures of all tests: one real PostgreSQL for the whole run, one database from a template per test.

The server is the bundled one (or the one of JOBSYNC_TEST_DATABASE_URL, whose user may create databases); xdist workers
share it. Each database is made from a migrated template, so a test gets a fresh, complete schema in milliseconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from xdist.scheduler import LoadScopeScheduling

from jobsync.db.embedded import start_embedded
from jobsync.db.migrate import migrate
from jobsync.db.pool import Database

# Without autovacuum: its workers would hold a database that a test is about to drop.
TEST_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "autovacuum": "off",
    # Each of the many connections maps what it touches of these anew.
    "shared_buffers": "24MB",
    # Thousands of logins, each of which would hash its password 4,096 times.
    "scram_iterations": "1",
}

SHARED_MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30


def find_folder() -> Path:
    """Where the test server keeps its data: in memory where there is room for it, for making and dropping thousands of
    databases is most of what a disk would do; else below the temporary folder.

    Never below pytest's own folder: that one is closed to the user PostgreSQL runs as when the tests run as root.
    """
    with contextlib.suppress(OSError):
        room = os.statvfs(SHARED_MEMORY)
        runs_programs = not room.f_flag & os.ST_NOEXEC
        if runs_programs and room.f_bavail * room.f_frsize >= ROOM and os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
            return SHARED_MEMORY
    return Path(tempfile.gettempdir())


def copy_database(connection: psycopg.Connection, name: str, template: str) -> None:
    """Makes a database from a template, file by file: in memory that is cheaper than through the log."""
    connection.execute(f'create database "{name}" template "{template}" strategy file_copy'.encode())


def drop_database(connection: psycopg.Connection, name: str) -> None:
    """Drops a test's database with whoever is connected to it; a vacuum worker is not ours to end, but gives way."""
    try:
        connection.execute(f'drop database "{name}" with (force)'.encode())
    except psycopg.errors.InsufficientPrivilege:
        connection.execute(f'drop database "{name}"'.encode())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test begins first, so that nobody waits for it in the end."""
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)


class FileByFile(LoadScopeScheduling):
    """A file's tests run on one worker, and all that drive the browser on one, for they share what is costly to make."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "browser" if "/test_browser" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileByFile:
    """How workers share the tests."""
    config.option.loadscopereorder = False
    return FileByFile(config, log)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Server:
    """The test run's PostgreSQL: `dsn` logs in as the owner, `superuser_dsn` as the superuser (None: not ours)."""

    dsn: str
    superuser_dsn: str | None

    def named(self, database: str) -> str:
        """The owner's DSN for another database of this server."""
        return make_conninfo(**{**conninfo_to_dict(self.dsn), "dbname": database})


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    given = os.environ.get("JOBSYNC_TEST_DATABASE_URL")
    if given:
        yield Server(given, None)
        return
    folder = find_folder() / f"jobsync-tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID', uuid.uuid4().hex)}"
    folder.mkdir(mode=0o755, exist_ok=True)

    async def start() -> object:
        return await start_embedded(folder, database="jobsync_tests", settings=TEST_SETTINGS, timeout=60)

    # Workers begin at the same instant; one after another they find the folder as the one before left it.
    with open(Path(tempfile.gettempdir()) / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        embedded = anyio.run(start)
    yield Server(embedded.dsn("jobsync_tests"), embedded.superuser_dsn())  # type: ignore[attr-defined]
    anyio.run(embedded.stop)  # type: ignore[attr-defined]
    if not embedded.is_alive():  # type: ignore[attr-defined]
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """Name of a migrated database that nobody connects to; one per worker."""
    name = f"template_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f'create database "{name}"'.encode())
    anyio.run(migrate, server.named(name))
    return name


@pytest.fixture(scope="session")
def maintenance(server: Server) -> Iterator[psycopg.Connection]:
    """The worker's own connection, which makes and drops databases."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def dsn(server: Server, template: str, maintenance: psycopg.Connection) -> Iterator[str]:
    """DSN of a fresh, migrated database of this test alone."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    copy_database(maintenance, name, template)
    yield server.named(name)
    drop_database(maintenance, name)


@pytest.fixture
def empty_dsn(server: Server) -> Iterator[str]:
    """DSN of an empty database of this test alone."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f'create database "{name}"'.encode())
        yield server.named(name)
        drop_database(connection, name)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """An open pool on a fresh database."""
    async with Database(dsn, max_connections=8) as opened:
        yield opened
