"""Real PostgreSQL under simulated processes: the engine's own `Database.transaction` on connections that never yield
inside a call, and that may break or kill their process at every boundary.

The pool alone is replaced: connections are kept over many runs, because a new one costs more than a whole small run.
`jobsync.now()` and `clock_timestamp()` of jobsync's functions read the world's clock, as a setting of each session.
"""

from __future__ import annotations

import asyncio
import select
from contextlib import suppress
from typing import Any, cast

import psycopg
from psycopg import waiting
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from jobsync.db.pool import Database, PooledConnection, _configure
from jobsync.db.queries import get_query, load_queries
from tests.simulation.loop import PROCESS

CALM = 0.004
VACUUM_EVERY = 25

HOME_NAMES = {text: name for name, text in load_queries().items()}
UNORDERED = {"list_due_destinations", "list_due_destinations_of"}


class Said:
    """The answer to a question that the world's own queue answers."""

    def __init__(self, value: Any) -> None:
        self._value = value

    async def fetchone(self) -> dict[str, Any]:
        """The one row."""
        return {"value": self._value}


NOW = """
create or replace function jobsync.now() returns timestamptz language sql stable parallel safe as
  'select pg_catalog.current_setting(''simulation.now'')::timestamptz'
"""
USES_MACHINE_CLOCK = """
select pg_get_functiondef(p.oid) as body from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 where n.nspname in ('jobsync', 'public') and p.prokind = 'f' and p.prosrc ~ 'clock_timestamp\\(\\)'
   and p.prolang <> (select oid from pg_language where lanname = 'c')
"""
SECOND_TENANT = """
create schema simulation;
create sequence simulation.ids;
create function simulation.next_id() returns uuid language sql as 'select md5(nextval(''simulation.ids'')::text)::uuid';
grant usage on schema simulation to jobsync_app;
grant usage on sequence simulation.ids to jobsync_app;
select jobsync.add_tenant('other', 'Other', 'simulation');
insert into public.business_units (tenant_id, st_business_unit_id, name)
  select 'other', st_business_unit_id, name from public.business_units where tenant_id = 'default';
"""
DRAWN_IDS = """
select format('%I.%I', table_schema, table_name) as name, column_name as column from information_schema.columns
 where table_schema in ('public', 'jobsync') and data_type = 'uuid' and column_default like '%gen_random_uuid()%'
"""
KEPT = ("clock", "migrations")
TABLES = """
select format('%I.%I', schemaname, tablename) as name, tablename from pg_tables where schemaname in ('jobsync', 'public') order by 1
"""


class SimulatedConnection(PooledConnection):
    """A connection of a simulated process. `world` is told of each boundary and decides what breaks there."""

    world: Any = None
    told: float | None = None

    async def wait(self, gen: Any, interval: float = 0.0, timeout: float | None = None) -> Any:
        """Finishes the call before anybody else moves, unless it waits for a lock that another process holds."""
        process = PROCESS.get()
        if self.world is None:
            return await super().wait(gen)
        fileno = self.pgconn.socket
        poll = select.poll()
        try:
            wanted = next(gen)
            while True:
                poll.register(fileno, (select.POLLIN if wanted & 1 else 0) | (select.POLLOUT if wanted & 2 else 0))
                came = poll.poll(CALM * 1000)
                if not came:
                    if self.world.is_blocked(self.pgconn.backend_pid):
                        try:
                            await self.world.until_released()
                        except asyncio.CancelledError:
                            # As the library does: who gives up waiting takes the statement back.
                            self._break_off()
                            raise
                        if process is not None:
                            process.check()
                    continue
                flags = came[0][1]
                ready = (1 if flags & ~select.POLLOUT else 0) | (2 if flags & select.POLLOUT else 0)
                wanted = gen.send(waiting.Ready(ready & wanted or wanted))
        except StopIteration as end:
            return end.value

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        """One statement, with a boundary before it."""
        if self.world is not None:
            await self.world.before_statement(HOME_NAMES.get(query))
        name = HOME_NAMES.get(query)
        if self.world is not None and name == "is_pass_queued":
            return Said(self.world.queue.is_under_way(params["task"], params["run"]))
        if self.world is not None and name == "is_stream_queued":
            return Said(self.world.queue.is_under_way("pull_stream", params["run"], params["stream"]))
        if name in UNORDERED:
            # What PostgreSQL may answer in any order comes in one order, so that one seed is one run.
            query = f"select * from ({query}) unordered order by 1, 2".encode()
        elif self.world is not None and "clock_timestamp()" in query:
            query = query.replace("clock_timestamp()", "jobsync.now()").encode()
        cursor = await super().execute(query, params, **options)
        if self.world is not None:
            self.world.after_statement(self, name, params, cursor)
        return cursor

    async def call(self, begin: str, name: str, parameters: Any) -> list[Any]:
        """What is one message else, with the boundaries between its statements."""
        await self.begin(begin, parameters)
        cursor = await self.execute(get_query(name), parameters)
        rows = await cursor.fetchall()
        await self.commit()
        return rows

    def is_silent(self) -> bool:
        """A lost connection is the world's to tell."""
        return True

    async def commit(self) -> None:
        """A commit with boundaries on both sides."""
        if self.world is None:
            return await super().commit()
        await self.world.at_commit(self, before=True)
        await super().commit()
        self._released()
        await self.world.at_commit(self, before=False)

    async def rollback(self) -> None:
        """Undoes what is open, unless its process is gone: then the server does, when it finds the client gone."""
        if not self._is_gone():
            await super().rollback()
            self._released()

    def _is_gone(self) -> bool:
        process = PROCESS.get()
        return process is not None and process.dead

    def _released(self) -> None:
        if self.world is not None:
            self.world.release()

    def hang_up(self) -> None:
        """What the server does when its client is gone: the open transaction is undone."""
        self._break_off()
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            self.pgconn.exec_(b"rollback")
        self._num_transactions = 0
        self._released()

    def _break_off(self) -> None:
        if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
            self.pgconn.get_cancel().cancel()
            while True:
                with suppress(psycopg.Error):
                    waiting.wait(_drain(self.pgconn), self.pgconn.socket)
                if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                    break


def _drain(pgconn: Any) -> Any:
    from psycopg import generators

    return (yield from generators.fetch_many(pgconn))


class KeptPool:
    """Stands in for the library's pool inside `Database`: hands out kept connections and takes them back."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def getconn(self) -> SimulatedConnection:
        """One connection for one transaction."""
        world = self._home.world
        process = PROCESS.get()
        await world.before_checkout()
        connection = await self._home.take()
        connection.world = world
        if process is not None:
            process.connections.append(connection)
        self._home.tell_time(connection)
        return connection

    async def putconn(self, connection: SimulatedConnection) -> None:
        """Takes it back; what a process that died left open is undone."""
        process = PROCESS.get()
        if process is not None:
            if process.dead:
                connection.hang_up()
            process.connections.remove(connection)
        connection.world = None
        self._home.give_back(connection)


class Home:
    """One prepared database and its kept connections, for as many runs as one likes."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.world: Any = None
        self._free: list[SimulatedConnection] = []
        self._all: list[SimulatedConnection] = []
        self._owner: psycopg.Connection[Any] = psycopg.connect(dsn, autocommit=True, row_factory=cast(Any, dict_row))
        self._owner.execute(NOW.encode())
        for row in self._owner.execute(USES_MACHINE_CLOCK.encode()).fetchall():
            self._owner.execute(
                row["body"]
                .replace("pg_catalog.clock_timestamp()", "clock_timestamp()")
                .replace("clock_timestamp()", "jobsync.now()")
                .encode()
            )
        self._owner.execute("set simulation.now = '2026-03-01 12:00:00+00'")
        self._owner.execute(SECOND_TENANT.encode())
        for row in self._owner.execute(DRAWN_IDS.encode()).fetchall():
            self._owner.execute(
                f"alter table {row['name']} alter column {row['column']} set default simulation.next_id()".encode()
            )
        found = self._owner.execute(TABLES.encode()).fetchall()
        last = {"destinations": 1, "tallies": 2, "events": 2, "tenants": 3}
        tables = sorted(
            (row for row in found if row["tablename"] not in KEPT), key=lambda row: last.get(row["tablename"], 0)
        )
        fill = ""
        for row in reversed(tables):
            count = self._owner.execute(f"select count(*) as n from {row['name']}".encode()).fetchone()
            if count and count["n"]:
                copy = f"simulation.{row['tablename']}"
                self._owner.execute(f"create table {copy} as table {row['name']}".encode())
                fill += f"insert into {row['name']} overriding system value select * from {copy};"
        wipe = "".join(f"delete from {row['name']};" for row in tables)
        self._refill = f"begin; {wipe} {fill} commit"
        self._names = [row["name"] for row in tables]
        self._runs = 0

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """What the database says, as its owner."""
        return self._owner.execute(statement.encode(), parameters or None).fetchall()

    def run(self, statement: str) -> None:
        """Changes the database, as its owner; several statements at once."""
        self._owner.execute(statement.encode())

    def try_run(self, statement: str) -> bool:
        """The same for what a process may hold locked; False where one does: it can let go only when it is its turn."""
        try:
            self._owner.execute(f"set lock_timeout = '200ms'; {statement}".encode())
        except psycopg.errors.LockNotAvailable:
            return False
        finally:
            self._owner.execute("set lock_timeout = 0")
        return True

    def reset(self, seed: int) -> None:
        """An empty database as it is after installing."""
        self._runs += 1
        # What a step of the world before never gave back, because it was thrown away where it stood, holds locks.
        for connection in self._all:
            if not connection.closed and connection.pgconn.transaction_status != TransactionStatus.IDLE:
                connection.hang_up()
        self._free = list(self._all)
        self.run(self._refill)
        self.run("alter sequence simulation.ids restart")
        if self._runs % VACUUM_EVERY == 0:
            for name in self._names:
                self.run(f"vacuum {name}")
        self._replace_lost()
        for connection in self._all:
            connection.told = None
            connection.pgconn.exec_(f"select setseed({(seed % 1000) / 1000})".encode())

    def _replace_lost(self) -> None:
        """A world in which a process stands still for long, by the machine's clock, may have cost it its connection."""
        lost = [connection for connection in self._all if connection.closed]
        if lost:
            self._all = [connection for connection in self._all if connection not in lost]
            self._free = [connection for connection in self._free if connection not in lost]
            asyncio.run(self.open(len(lost)))

    def forget_plans(self) -> None:
        """After a function was replaced: nothing that was planned with the old one is kept."""
        for connection in self._all:
            connection.pgconn.exec_(b"discard plans")

    async def take(self) -> SimulatedConnection:
        """A free connection."""
        return self._free.pop()

    async def open(self, count: int = 40) -> Home:
        """Opens the connections of all runs to come, in an ordinary event loop."""
        for _ in range(count):
            self._free.append(await self._connect())
        return self

    async def _connect(self) -> SimulatedConnection:
        connection = await SimulatedConnection.connect(
            self.dsn, autocommit=True, row_factory=dict_row, options="-c simulation.now=2026-03-01"
        )
        await _configure(connection)
        # How long a process stands still is the world's to say, not the machine's.
        connection.pgconn.exec_(b"set idle_in_transaction_session_timeout = 0")
        self._all.append(connection)
        return connection

    def give_back(self, connection: SimulatedConnection) -> None:
        """Puts a connection back for the next transaction; one that was taken back already stays where it is."""
        if connection not in self._free:
            self._free.append(connection)

    def tell_time(self, connection: SimulatedConnection) -> None:
        """Sets the session's time to the world's."""
        now = self.world.loop.time()
        if connection.told != now:
            connection.pgconn.exec_(f"set simulation.now = '{self.world.timestamp()}'".encode())
            connection.told = now

    def tell_owner(self, timestamp: str) -> None:
        """The same for the checker's own session."""
        self._owner.execute(f"set simulation.now = '{timestamp}'".encode())

    def blockers(self, pid: int) -> list[int]:
        """Who holds what this backend waits for."""
        found = self._owner.execute(b"select pg_blocking_pids(%s) as pids", (pid,)).fetchone()
        return found["pids"] if found else []

    def database(self) -> Database:
        """A Database of a process: the real one, over the kept connections."""
        database = Database(self.dsn)
        database._pool = KeptPool(self)  # type: ignore[assignment]
        database.has_app_role = True
        return database

    def close(self) -> None:
        """Closes everything."""
        for connection in self._all:
            connection.pgconn.finish()
        self._owner.close()
