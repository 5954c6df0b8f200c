"""The embedded PostgreSQL: our own launcher for the bundled programs, shared by all JobSync processes of a data dir.

    start_embedded      join the running server of this data dir, or start it; make the login role and the database
    EmbeddedServer      where it is, and `stop`: leave it, and stop it when nobody else uses it

A `jobsync up` and any number of short commands use one server at the same time. Whoever comes first starts it, whoever
leaves last stops it; a killed process counts as gone at once, and a server left over by it is joined, not fought.
The parts: embedded_home (folders, users, port, passwords), embedded_locks (who uses it), embedded_runtime (programs),
embedded_cluster (processes). Decision: docs/decisions/0001-embedded-postgresql.md.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, LiteralString, Self, cast
from urllib.parse import quote

import anyio
import psycopg

from jobsync.db import embedded_cluster as cluster
from jobsync.db.embedded_home import Home, as_config_error, choose_home, read_or_write_password
from jobsync.db.embedded_locks import FileLock, holding
from jobsync.db.embedded_runtime import Runtime, copy_runtime, find_runtime
from jobsync.errors import ConfigError, DatabaseUnavailable, InvalidInput, LockHeld

OWNER = "jobsync_owner"  # never "jobsync": "$user" in a search_path would then put the schema jobsync first
DEFAULT_TIMEOUT = 120.0


class EmbeddedServer:
    """A server that this process uses. Made by `start_embedded`; `stop` it, or use it as `async with`.

    home            its folders; `home.note` as `note`: a sentence to print once, or None
    host, port      loopback only
    bin_dir         the programs that fit the server: psql, pg_dump, pg_restore
    was_started     True when this process started the server, False when it joined one
    """

    def __init__(self, home: Home, runtime: Runtime, settings: Mapping[str, str], database: str) -> None:
        self.home = home
        self.runtime = runtime
        self.database = database
        self.host = cluster.HOST
        self.port = 0
        self.was_started = False
        self._settings = dict(settings)
        self._passwords: dict[str, str] = {}
        self._in_use: FileLock | None = None

    @property
    def note(self) -> str | None:
        """A sentence for a person, when the data is not where one would look for it."""
        return self.home.note

    @property
    def bin_dir(self) -> Path:
        """The folder of the PostgreSQL programs."""
        return self.runtime.bin_dir

    @property
    def psql_path(self) -> Path:
        """The `psql` that fits the server."""
        return self.runtime.program("psql")

    @property
    def pid(self) -> int | None:
        """The server's main process; None when it does not run."""
        running = cluster.read_running(self.home)
        return running.pid if running and self.is_alive() else None

    def is_alive(self) -> bool:
        """True while any process of the server lives. Cheap: one lock is looked at, nothing is sent."""
        return cluster.is_alive(self.home)

    def dsn(self, database: str | None = None) -> str:
        """A connection string for `database` (default: the one given at start) that psql and every driver take.

        The role owns its databases and may create databases and roles; it is no superuser. Holds the password.
        """
        return _dsn(OWNER, self._passwords[OWNER], self.port, database or self.database)

    def superuser_dsn(self, database: str = "postgres") -> str:
        """The same for the superuser `postgres`: for repairs and tests, never for the program's own work."""
        return _dsn(cluster.SUPERUSER, self._passwords[cluster.SUPERUSER], self.port, database)

    async def ensure_database(self, name: str) -> bool:
        """Create the database `name` for the owner role unless it is there; True when it was made now.

        Safe to run twice and from several processes at once. Raises InvalidInput for a name outside [a-z_][a-z0-9_]*,
        DatabaseUnavailable.
        """
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
            raise InvalidInput(f"{name!r} is no name for a database: use a-z, 0-9 and _, up to 63 of them.")
        try:
            return await self._as_superuser("database", name=name, role=OWNER)
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return False  # another process made it in the same moment

    async def drop_database(self, name: str) -> bool:
        """Drop a database of the owner role, cutting off who is connected; False when there is none of that name.

        Raises DatabaseUnavailable. Nothing brings the data back.
        """
        return await self._as_superuser("drop", name=name, role=OWNER)

    async def list_databases(self) -> tuple[str, ...]:
        """The names of the owner role's databases, sorted. Raises DatabaseUnavailable."""
        async with self._superuser() as connection:
            rows = await (await connection.execute(_read_sql("databases"), {"role": OWNER})).fetchall()
        return tuple(name for (name,) in rows)

    async def ensure_running(self) -> bool:
        """Start the server again if it died under us (out of memory, killed); True when it was down.

        The port stays the same unless another program took it meanwhile: read `dsn` again. Raises as `start_embedded`.
        """
        if self.is_alive():
            return False
        async with self._alone():
            await self._join_or_start()
        return True

    async def stop(self) -> None:
        """Leave the server; when no other process uses it, stop it and wait until it is gone. Harmless when repeated.

        Runs to its end even inside a cancelled task. Raises DatabaseUnavailable when the server does not stop.
        """
        if self._in_use is None:
            return
        in_use, self._in_use = self._in_use, None
        with anyio.CancelScope(shield=True):
            try:
                async with self._alone():
                    try:
                        if in_use.take():
                            await cluster.stop_server(self.home)
                    finally:
                        in_use.release()  # under start.lock: who comes next must find it free
            except LockHeld:
                in_use.release()  # somebody is busy starting it: then it is theirs to stop

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _open(self, timeout: float) -> None:
        async with self._alone(timeout):
            with as_config_error(self.home.path):
                in_use = FileLock(self.home.path / "in-use.lock", owner=self.home.file_owner)
            self._in_use = in_use
            try:
                if not in_use.share():  # it is taken exclusively only under start.lock, which we hold
                    raise LockHeld(f"Another program locks {in_use.path}.")
                await self._join_or_start(timeout)
            except BaseException:
                self._in_use = None
                try:
                    with anyio.CancelScope(shield=True):
                        if in_use.take() and self.was_started:
                            await cluster.stop_server(self.home)
                finally:
                    in_use.release()
                raise

    async def _join_or_start(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        superuser_password, _ = read_or_write_password(self.home, cluster.SUPERUSER_FILE)
        owner_password, is_new = read_or_write_password(self.home, "owner")
        self._passwords = {cluster.SUPERUSER: superuser_password, OWNER: owner_password}
        running = await self._find_running(timeout)
        if running is None:
            await self._prepare_files(superuser_password)
            self.was_started = True
            running = await cluster.start_server(self.home, self.runtime, self._settings, timeout=timeout)
        self.port = running.port
        await self._as_superuser("role", role=OWNER, password=owner_password, reset=is_new)
        await self.ensure_database(self.database)

    async def _find_running(self, timeout: float) -> cluster.Running | None:
        if not self.is_alive():
            return None
        try:
            running = await cluster.wait_for_server(self.home, timeout=timeout)
        except DatabaseUnavailable as error:
            if error.code != cluster.UNREACHABLE or not self._is_only_user():
                raise
            await cluster.stop_server(self.home)  # left over in a network that is gone: of use to nobody
            return None
        if running is not None:
            self.port = running.port
        return running

    def _is_only_user(self) -> bool:
        in_use = self._in_use
        if in_use is None:
            return False
        alone = in_use.take()
        in_use.share()
        return alone

    async def _prepare_files(self, password: str) -> None:
        if self.home.run_as is not None and self.runtime.bundled is not None:
            with as_config_error(self.home.path):
                runtime, into = self.runtime, self.home.path / "runtime"
                self.runtime = await anyio.to_thread.run_sync(copy_runtime, runtime, into)
        await cluster.make_cluster(self.home, self.runtime, password)

    async def _as_superuser(self, query_name: str, **parameters: object) -> bool:
        # The files answer the statement to run, quoted by PostgreSQL itself: these statements take no parameters.
        async with self._superuser() as connection:
            row = await (await connection.execute(_read_sql(query_name), parameters)).fetchone()
            if row is not None:
                await connection.execute(row[0])
        return row is not None

    @asynccontextmanager
    async def _superuser(self) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
        try:
            connection = await psycopg.AsyncConnection.connect(
                self.superuser_dsn(), autocommit=True, connect_timeout=10
            )
        except psycopg.OperationalError as error:
            raise _unreachable(self.home, error) from error
        async with connection:
            yield connection

    def _alone(self, timeout: float = DEFAULT_TIMEOUT) -> AbstractAsyncContextManager[None]:
        return holding(self.home.path / "start.lock", owner=self.home.file_owner, timeout=timeout)


async def start_embedded(
    data_dir: Path,
    *,
    database: str = "jobsync_live",
    settings: Mapping[str, str] | None = None,
    binaries: Path | None = None,
    user: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> EmbeddedServer:
    """Join the PostgreSQL of `data_dir`, or start it, with `database` made ready for the role `jobsync_owner`.

    data_dir    JobSync's data dir, made when missing; the server lives in its folder `postgres` (see `choose_home`)
    settings    PostgreSQL parameters on top of our own; they count only when this call starts the server
    binaries    a folder with postgres, initdb and psql (version 15 or newer) instead of the bundled ones
    user        when JobSync is root: the user that PostgreSQL runs as (default: the cluster's owner, else nobody)
    timeout     seconds to wait for another process that starts or stops it, and again for the server itself

    Takes 1 to 2 seconds the first time. Run twice: the second call joins. Raises ConfigError (folder, user or programs
    unfit), DatabaseUnavailable (it does not come up), LockHeld (another process is busy with it for `timeout` seconds).
    """
    home = choose_home(data_dir, user=user)
    server = EmbeddedServer(home, await find_runtime(binaries), settings or {}, database)
    await server._open(timeout)
    return server


def _read_sql(name: str) -> LiteralString:
    return cast(LiteralString, resources.files("jobsync").joinpath(f"sql/embedded/{name}.sql").read_text("utf-8"))


def _dsn(user: str, password: str, port: int, database: str) -> str:
    return f"postgresql://{user}:{quote(password)}@{cluster.HOST}:{port}/{database}?options=-csearch_path%3Dpublic"


def _unreachable(home: Home, error: psycopg.OperationalError) -> ConfigError | DatabaseUnavailable:
    if "password authentication failed" in str(error):
        return ConfigError(
            f"PostgreSQL in {home.path} refuses the password kept in superuser.password there.",
            hint="Restore that file from a backup.",
        )
    return DatabaseUnavailable(
        f"PostgreSQL in {home.path} runs, but this process cannot reach it on {cluster.HOST}.",
        hint="Another container may be using this data dir: run the command there, or give each its own.",
    )
