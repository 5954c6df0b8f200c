"""One prepared database per test worker, for all runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import anyio
import psycopg
import pytest

from tests.conftest import Server, copy_database, drop_database
from tests.simulation.postgres import Home


@pytest.fixture(scope="session")
def home(server: Server, template: str) -> Iterator[Home]:
    """The database and connections that all simulated worlds of this test worker share, one after the other."""
    name = f"simulation_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        copy_database(connection, name, template)
        home = Home(server.named(name))
        anyio.run(home.open)
        yield home
        home.close()
        drop_database(connection, name)
