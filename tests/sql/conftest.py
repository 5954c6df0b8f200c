"""One database for all stories of a worker; each story is rolled back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import anyio
import psycopg
import pytest

from jobsync.db.embedded_runtime import find_runtime
from tests.conftest import Server, copy_database, drop_database
from tests.sql.story import Story, committed, told

Program = Callable[..., str]


def _program(name: str, *options: str) -> Program:
    path = anyio.run(find_runtime, None).program(name)

    def run(dsn: str, *arguments: str, script: str | None = None) -> str:
        command = [path, *options, dsn, *arguments]
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def psql() -> Program:
    """psql(dsn, *arguments, script=None): what it prints; fails at the first error."""
    return _program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1")


@pytest.fixture(scope="session")
def pg_dump() -> Program:
    """pg_dump(dsn, *arguments): the dump as SQL."""
    return _program("pg_dump", "--no-owner")


@pytest.fixture(scope="session")
def stories_dsn(server: Server, template: str) -> Iterator[str]:
    """DSN of a migrated database in which nothing is ever committed."""
    name = f"stories_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        copy_database(connection, name, template)
        yield server.named(name)
        drop_database(connection, name)


@pytest.fixture
def story(stories_dsn: str) -> Iterator[Story]:
    """A story of the tenant `default`, rolled back at its end."""
    with told(stories_dsn) as opened:
        yield opened


@pytest.fixture
def committed_story(dsn: str) -> Iterator[Story]:
    """A story on a database of its own, where each call commits."""
    with committed(dsn) as opened:
        yield opened
