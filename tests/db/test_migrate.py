"""Migrations on a real PostgreSQL: once, twice, at the same time, and when they may not."""

from __future__ import annotations

import anyio
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from jobsync.db.embedded import start_embedded
from jobsync.db.migrate import BASELINE, migrate, read_status
from jobsync.errors import ConfigError, DatabaseUnavailable
from jobsync.intake.adopt import migrate_or_adopt
from tests.conftest import TEST_SETTINGS
from tests.db.folders import open_folder
from tests.intake.guide_database import make_guide_database

pytestmark = pytest.mark.anyio


async def test_a_fresh_database_gets_exactly_the_guides_tables_functions_and_views(empty_dsn: str) -> None:
    report = await migrate(empty_dsn)

    assert report.applied == (BASELINE,)
    with psycopg.connect(empty_dsn) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'public' order by 1").fetchall()
        functions = connection.execute(
            "select proname from pg_proc where pronamespace = 'public'::regnamespace order by 1"
        ).fetchall()
    assert [name for (name,) in tables] == ["business_units", "customers", "jobs", "sync_logs", "sync_state"]
    assert [name for (name,) in functions] == ["get_last_job_pull", "update_sync_state", "upsert_job_from_st"]


async def test_a_second_migration_finds_nothing_to_do(dsn: str) -> None:
    assert (await migrate(dsn)).applied == ()
    assert (await read_status(dsn))["pending"] == []


async def test_two_migrations_at_the_same_time_apply_the_schema_once(empty_dsn: str) -> None:
    applied: list[tuple[str, ...]] = []

    async def run() -> None:
        applied.append((await migrate(empty_dsn)).applied)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(run)

    assert sorted(applied) == [(), (BASELINE,)]


async def test_two_databases_of_a_server_that_never_had_jobsync_are_adopted_at_the_same_moment() -> None:
    # Its roles belong to the whole server: whoever comes second waits for them and goes on with them.
    with open_folder() as folder:
        server = await start_embedded(folder, settings=TEST_SETTINGS)
        try:
            dsns = [server.dsn(f"contractor_{number}") for number in range(3)]
            with psycopg.connect(server.dsn("jobsync_live"), autocommit=True) as connection:
                for number, dsn in enumerate(dsns):
                    connection.execute(f"create database contractor_{number}".encode())
                    make_guide_database(dsn, jobs=5)
            async with anyio.create_task_group() as group:
                for dsn in dsns:
                    group.start_soon(migrate_or_adopt, dsn)
            assert [(await read_status(dsn))["pending"] for dsn in dsns] == [[], [], []]
        finally:
            await server.stop()


async def test_a_user_without_create_on_public_gets_the_grant_to_run(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("create role weak login password 'weak'")
        try:
            weak = make_conninfo(empty_dsn, user="weak", password="weak")
            with pytest.raises(ConfigError) as caught:
                await migrate(weak)
        finally:
            connection.execute("drop role weak")
    assert caught.value.hint == 'As a superuser: GRANT CREATE ON SCHEMA public TO "weak";'


async def test_a_user_named_jobsync_is_refused_with_the_statement_to_run(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("create role jobsync login password 'x'")
        try:
            with pytest.raises(ConfigError) as caught:
                await migrate(make_conninfo(empty_dsn, user="jobsync", password="x"))
        finally:
            connection.execute("drop role jobsync")
    assert "ALTER ROLE jobsync RENAME TO" in (caught.value.hint or "")


async def test_an_unreachable_database_is_one_sentence_without_the_password() -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await migrate("postgresql://someone:s3cret-canary@127.0.0.1:1/none")
    assert "s3cret-canary" not in str(caught.value) and "\n" not in caught.value.message
