"""The database as the program sees it: a pool, and transactions in which named statements run.

`Database.transaction(tenant)` is the only place that commits. With a tenant, the transaction works as role jobsync_app
and sees that tenant's rows only (row-level security); without one it works as the owner, which only the schedule's
sweeps and migrations do. In: a DSN. Out: `Session` objects. Raises the errors of `db.failures`.
"""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import msgspec
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb, set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool

from jobsync.db.failures import translate
from jobsync.db.queries import get_query, get_transaction
from jobsync.errors import DatabaseUnavailable

Row = dict[str, Any]
_CONNECTION = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "application_name": "jobsync",
}


def as_jsonb(value: object) -> Jsonb:
    """A value to pass as a jsonb parameter."""
    return Jsonb(value, dumps=_dump)


def as_jsonb_text(text: bytes) -> Jsonb:
    """JSON that is written already, to pass as a jsonb parameter byte for byte."""
    return Jsonb(text, dumps=bytes)


def _dump(value: object) -> bytes:
    return msgspec.json.encode(value)


class PooledConnection(psycopg.AsyncConnection[Row]):
    """A connection that sends several statements in one message; their parameters are quoted here, for such a message takes none."""

    async def begin(self, name: str, parameters: Mapping[str, object] | None) -> None:
        """Runs one of the `begin` statements."""
        await psycopg.AsyncClientCursor(self).execute(get_query(name), parameters)

    async def call(self, begin: str, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """A whole transaction of one statement; its rows. What it raises leaves the transaction to be rolled back."""
        cursor = psycopg.AsyncClientCursor(self)
        await cursor.execute(get_transaction(begin, name), parameters)
        rows: list[Row] = []
        more: bool | None = True
        while more:
            if cursor.description is not None:
                rows = await cursor.fetchall()
            more = cursor.nextset()
        return rows

    def is_silent(self) -> bool:
        """False where something came in although nothing was asked: a server that ended says so first."""
        if self.closed:
            return False
        quick = select.poll()
        quick.register(self.pgconn.socket, select.POLLIN)
        return not quick.poll(0)


class WarmPool(AsyncConnectionPool[PooledConnection]):
    """Lends the connection that came back last, not the one that rests longest: it has planned already what it is asked,
    which costs about 6 % of PostgreSQL's CPU in a pull where each of many connections does it anew."""

    async def _get_ready_connection(self, timeout: float | None) -> PooledConnection | None:
        self._pool.rotate(1)
        return await super()._get_ready_connection(timeout)


class Session:
    """One open transaction. Statements are called by their name in `sql/queries`."""

    def __init__(self, connection: psycopg.AsyncConnection[Row]) -> None:
        self._connection = connection

    async def rows(self, name: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """All rows of the statement."""
        cursor = await self._connection.execute(get_query(name), parameters)
        return await cursor.fetchall()

    async def row(self, name: str, parameters: Mapping[str, object] | None = None) -> Row | None:
        """The first row, or None."""
        cursor = await self._connection.execute(get_query(name), parameters)
        return await cursor.fetchone()

    async def value(self, name: str, parameters: Mapping[str, object] | None = None) -> Any:
        """The first column of the first row, or None when there is no row."""
        found = await self.row(name, parameters)
        return None if found is None else next(iter(found.values()))

    async def run(self, name: str, parameters: Mapping[str, object] | None = None) -> int:
        """Runs the statement; the number of rows it touched."""
        cursor = await self._connection.execute(get_query(name), parameters)
        return cursor.rowcount

    async def copy(self, name: str, rows: Iterable[Sequence[Any]]) -> None:
        """Rows into the COPY statement of this name, one after another."""
        async with self._connection.cursor().copy(get_query(name)) as copy:
            for row in rows:
                await copy.write_row(row)

    @asynccontextmanager
    async def stream(
        self, name: str, parameters: Mapping[str, object] | None = None, *, size: int = 1000
    ) -> AsyncIterator[AsyncIterator[Row]]:
        """The rows of the statement by a server-side cursor, `size` a fetch: flat memory whatever the count."""
        async with self._connection.cursor(name="jobsync_stream") as cursor:
            cursor.itersize = size
            await cursor.execute(get_query(name), parameters)
            yield cursor

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What fails inside is undone alone; the transaction goes on."""
        async with self._connection.transaction():
            yield


class Database:
    """A pool of connections to one PostgreSQL. Use as `async with`, or call `open` and `close`."""

    def __init__(
        self, dsn: str, *, direct_dsn: str | None = None, max_connections: int = 10, open_timeout: float = 10.0
    ) -> None:
        self.dsn = dsn
        self.direct_dsn = direct_dsn or dsn
        self._open_timeout = open_timeout
        self.has_app_role = True
        kwargs: dict[str, Any] = {**_CONNECTION, "row_factory": dict_row, "autocommit": True}
        if direct_dsn is not None and direct_dsn != dsn:
            # A transaction pooler in front cannot keep prepared statements.
            kwargs["prepare_threshold"] = None
        self._most_connections = max(2, max_connections)
        self._pool = WarmPool(
            dsn,
            connection_class=PooledConnection,
            min_size=1,
            max_size=self._most_connections,
            open=False,
            timeout=15.0,
            max_idle=120.0,
            reconnect_timeout=30.0,
            kwargs=kwargs,
            configure=_configure,
        )

    async def open(self) -> Self:
        """Opens the pool after one connection succeeded. Raises DatabaseUnavailable with the cause in one sentence."""
        try:
            async with await psycopg.AsyncConnection.connect(self.dsn, **_CONNECTION) as probe:
                cursor = await probe.execute(get_query("has_app_role"))
                found = await cursor.fetchone()
                self.has_app_role = bool(found and found[0])
        except psycopg.Error as error:
            raise translate(error) or DatabaseUnavailable("PostgreSQL cannot be used.") from None
        await self._pool.open(wait=False)
        return self

    async def close(self) -> None:
        """Closes the pool; may be called twice."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def pool_numbers(self) -> dict[str, int]:
        """Connections in use, idle and waited for, for /metrics."""
        return self._pool.get_stats()

    @asynccontextmanager
    async def transaction(self, tenant: str | None) -> AsyncIterator[Session]:
        """One transaction, committed when the block ends and rolled back when it raises.

        `tenant`: whose rows are seen, as role jobsync_app; None: as the owner (sweeps over all tenants, migrations).
        Raises the errors of `db.failures`; anything else passes through unchanged.
        """
        async with self._lent(self._begin(tenant)) as connection:
            yield Session(connection)
            await connection.commit()

    async def call(self, tenant: str, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """One statement as a transaction of its own, in one round trip; its rows. `parameters` hold the tenant, too.

        Raises as `transaction`. Where the connection breaks off, nobody can say whether it was done.
        """
        async with self._lent(self._take(tenant)) as connection:
            return await connection.call(self._beginning(tenant), name, parameters)

    @asynccontextmanager
    async def _lent(self, taken: Awaitable[PooledConnection]) -> AsyncIterator[PooledConnection]:
        """A connection until the block ends. Where it raises, what is open is undone and the error is told as `db.failures` says."""
        try:
            connection = await taken
            try:
                yield connection
            except BaseException:
                # Where the connection is gone, the server undoes it.
                with suppress(psycopg.Error):
                    await connection.rollback()
                raise
            finally:
                await self._pool.putconn(connection)
        except Exception as error:
            known = translate(error)
            if known is None:
                raise
            raise known from error

    async def _take(self, tenant: str | None) -> PooledConnection:
        """A connection outside of a transaction, which nothing says is lost."""
        connection = await self._pool.getconn()
        if connection.is_silent():
            return connection
        await self._pool.putconn(connection)
        connection = await self._begin(tenant)
        try:
            await connection.rollback()
        except BaseException:
            await self._pool.putconn(connection)
            raise
        return connection

    def _beginning(self, tenant: str | None) -> str:
        if tenant is None:
            return "begin_as_owner"
        return "begin_as_tenant" if self.has_app_role else "begin_as_owner_of_tenant"

    async def _begin(self, tenant: str | None) -> PooledConnection:
        """A connection inside a transaction. What a restart of the server ended is replaced here, with nothing lost by it."""
        name = self._beginning(tenant)
        tries = self._most_connections + 1
        while True:
            tries -= 1
            connection = await self._pool.getconn()
            try:
                await connection.begin(name, None if tenant is None else {"tenant": tenant})
                return connection
            except BaseException as error:
                await self._pool.putconn(connection)
                is_lost = isinstance(error, psycopg.OperationalError) and connection.closed
                if not is_lost or tries == 0:
                    raise


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    set_json_dumps(_dump, connection)
    set_json_loads(msgspec.json.decode, connection)
    await connection.execute(get_query("limit_statements"))
