"""The databases of the embedded cluster: which ones there are, and starting the demo's over."""

from __future__ import annotations

import psycopg

from jobsync.db.failures import translate
from jobsync.db.queries import get_query
from jobsync.errors import DatabaseUnavailable


async def list_databases(dsn: str) -> set[str]:
    """Names of JobSync's databases in the cluster behind `dsn`. Raises DatabaseUnavailable."""
    try:
        async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=5) as connection:
            cursor = await connection.execute(get_query("list_databases"))
            return {name for (name,) in await cursor.fetchall()}
    except psycopg.Error as error:
        raise translate(error) or DatabaseUnavailable("PostgreSQL refused to answer.") from error


async def drop_demo_database(dsn: str) -> None:
    """Drops the demo's database, with whoever is connected to it. Nothing when there is none."""
    try:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, connect_timeout=5) as connection:
            await connection.execute(get_query("drop_demo_database"))
    except psycopg.Error as error:
        raise translate(error) or DatabaseUnavailable("PostgreSQL refused to drop the demo's database.") from error
