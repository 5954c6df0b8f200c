"""Opening: from settings to a ready engine. The embedded PostgreSQL or DATABASE_URL, migrated, with its keys.

The demo has a database of its own in the embedded cluster and never reads DATABASE_URL; commands that only look use it
while there is no real one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext

from psycopg.conninfo import conninfo_to_dict

from jobsync.config import Settings
from jobsync.db.databases import list_databases
from jobsync.db.embedded import start_embedded
from jobsync.db.keep_running import kept_running
from jobsync.db.migrate import migrate
from jobsync.db.pool import Database
from jobsync.db.sealing import load_keyring
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.sending import initialise_tenant

LIVE = "jobsync_live"
DEMO = "jobsync_demo"
# Each connection plans anew what it is asked, some 25 ms of PostgreSQL's CPU in a pass; its streams take turns at few of them.
PASS_CONNECTIONS = 4


@asynccontextmanager
async def open_dsn(
    settings: Settings, *, database: str = LIVE, look_only: bool = False, restart: bool = False
) -> AsyncIterator[str]:
    """The DSN of the database to use; keeps the embedded server running meanwhile.

    `look_only`: the demo's database while it is the only one. `restart`: an embedded server that dies meanwhile is started
    again (for processes that live long). Raises ConfigError and DatabaseUnavailable.
    """
    if settings.database_url and database == LIVE:
        yield settings.database_url
        return
    async with await start_embedded(settings.data_dir, database="postgres" if look_only else database) as server:
        if look_only:
            names = await list_databases(server.dsn("postgres"))
            database = DEMO if DEMO in names and LIVE not in names else LIVE
            await server.ensure_database(database)
        async with kept_running(server) if restart else nullcontext():
            yield server.dsn(database)


@asynccontextmanager
async def open_engine(
    settings: Settings,
    *,
    database: str = LIVE,
    look_only: bool = False,
    initialise: bool = True,
    restart: bool = False,
    most_connections: int | None = None,
) -> AsyncIterator[Engine]:
    """An engine on a migrated database. `initialise` False: the environment's mode is not applied (commands that look).

    `look_only`, `restart`: see `open_dsn`. `most_connections`: no more than these, also where the settings allow more.
    """
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(
            open_dsn(settings, database=database, look_only=look_only, restart=restart)
        )
        direct = settings.database_direct_url if settings.database_url and database == LIVE else None
        await migrate(direct or dsn)
        connections = min(settings.database_max_connections, most_connections or settings.database_max_connections)
        opened = await stack.enter_async_context(Database(dsn, direct_dsn=direct, max_connections=connections))
        secret = settings.secret_key.get_secret_value() if settings.secret_key else None
        engine = Engine(settings, opened, load_keyring(secret, settings.data_dir))
        if initialise:
            await initialise_tenant(engine, DEFAULT_TENANT)
        yield engine


def with_public_path(dsn: str) -> str:
    """The DSN with search_path public, as psql recipes expect it; a DSN that sets options keeps them."""
    if "search_path" in str(conninfo_to_dict(dsn).get("options") or ""):
        return dsn
    if dsn.startswith(("postgres://", "postgresql://")) and "options=" not in dsn:
        return f"{dsn}{'&' if '?' in dsn else '?'}options=-csearch_path%3Dpublic"
    return dsn
