"""One database for all stories of a worker; each story is rolled back."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Server, drop_database
from tests.sql.story import Story, committed, told


@pytest.fixture(scope="session")
def stories_dsn(server: Server, template: str) -> Iterator[str]:
    """DSN of a migrated database in which nothing is ever committed."""
    name = f"stories_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{template}"'.encode())
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
