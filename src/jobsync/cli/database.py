"""db migrate, status, url, psql; backup and restore stand in backup.py."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import Annotated, Any

import typer

from jobsync.cli.adoption import tell_adoption
from jobsync.cli.backup import backup_database, restore_database
from jobsync.cli.keys import rotate_stored_keys
from jobsync.cli.output import print_json, print_lines, say
from jobsync.cli.personal import prune_database
from jobsync.cli.shared import AsJson, run, settings_of
from jobsync.config import Settings
from jobsync.db.linger import keep_up
from jobsync.db.migrate import migrate, read_status
from jobsync.engine.opening import open_dsn, with_public_path
from jobsync.errors import CheckFailed, ConfigError, InvalidInput
from jobsync.intake.adopt import Migrated, migrate_or_adopt

app = typer.Typer(help="The database.", no_args_is_help=True, rich_markup_mode=None)
app.command("backup")(backup_database)
app.command("restore")(restore_database)
app.command("prune")(prune_database)
app.command("rotate-key")(rotate_stored_keys)


@app.command("migrate")
def migrate_database(
    context: typer.Context,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Of a database of the old guide: adopt it, report, and take it all back."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database to this version, adopting one of the old guide in place. Twice changes nothing."""
    settings = settings_of(context)

    async def act() -> Migrated:
        async with open_dsn(settings) as dsn:
            direct = settings.database_direct_url or dsn
            if dry_run and not (await read_status(direct))["to_adopt"]:
                raise InvalidInput(
                    "There is nothing to rehearse: this database holds no tables of the old guide.",
                    hint="See: jobsync db status",
                )
            return await migrate_or_adopt(direct, rehearse=dry_run, tell=_announce)

    done = run(act())
    report = done.migration
    if as_json:
        names = ("applied", "known", "tables", "functions", "views")
        print_json(
            {name: () if report is None else getattr(report, name) for name in names} | {"adoption": done.adoption}
        )
        return
    if done.adoption is not None:
        print_lines(tell_adoption(done.adoption, rehearsed=report is None))
    elif report is not None:
        print_lines(
            [
                f"Applied {len(report.applied)}: {', '.join(report.applied)}"
                if report.applied
                else "Up to date: nothing to apply.",
                f"Guide tables {len(report.tables)}/5, functions {len(report.functions)}/3, views {len(report.views)}/2.",
            ]
        )


def _announce(rows: int, seconds: int) -> None:
    say(
        f"Adopting the old guide's database: about {rows:,} rows, about {seconds} s. Its tables are locked meanwhile; "
        "it is one transaction, Ctrl-C undoes it."
    )


@app.command("status")
def show_status(
    context: typer.Context,
    as_json: AsJson = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 3 when something is pending.")] = False,
    adoption: Annotated[
        bool, typer.Option("--adoption", help="Also what was found when the old guide's database was taken over.")
    ] = False,
) -> None:
    """Show versions applied and pending."""
    settings = settings_of(context)

    async def act() -> dict[str, Any]:
        async with open_dsn(settings, look_only=True) as dsn:
            return await read_status(settings.database_direct_url or dsn)

    found = run(act())
    if as_json:
        print_json(found)
    else:
        print_lines(
            [
                f"PostgreSQL {found['server_version'] // 10000}.{found['server_version'] % 10000}, "
                f"database {found['database']}, user {found['user']}",
                f"applied: {', '.join(found['applied']) or 'nothing'}   pending: {', '.join(found['pending']) or 'nothing'}",
                f"guide tables {len(found['tables'])}/5, functions {len(found['functions'])}/3, views {len(found['views'])}/2",
                *(["It holds the tables of the old guide. Next: jobsync db migrate"] if found["to_adopt"] else []),
                *_tell_taken_over(found["adoption"], adoption),
            ]
        )
    if check and found["pending"]:
        raise CheckFailed("The database is behind this version.", hint="Next: jobsync db migrate")


def _tell_taken_over(report: dict[str, Any] | None, whole: bool) -> list[str]:
    if report is None:
        return ["No old database was taken over."] if whole else []
    if whole:
        return tell_adoption(report)
    return [f"Taken over from the old guide on {report['adopted_at'][:10]}: jobsync db status --adoption"]


@app.command("url")
def show_url(context: typer.Context) -> None:
    """Print a DSN that psql takes. The embedded server is kept up while somebody uses it."""
    settings = settings_of(context)

    async def act() -> str:
        return await url_for_psql(settings)

    print(run(act()))


async def url_for_psql(settings: Settings) -> str:
    """The DSN, with search_path public; an embedded server is kept up for the psql that follows."""
    if settings.database_url:
        return with_public_path(settings.database_url)
    async with open_dsn(settings, look_only=True) as dsn:
        await migrate(dsn)
        await keep_up(settings.data_dir)
        return with_public_path(dsn)


@app.command("psql", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def open_psql(context: typer.Context) -> None:
    """Open psql on the database; everything after `psql` is passed on."""
    settings = settings_of(context)

    async def act() -> int:
        async with open_dsn(settings, look_only=True) as dsn:
            program = await _find_psql(settings)
            environment = {**os.environ, "PGAPPNAME": "jobsync psql"}
            process = await asyncio.create_subprocess_exec(
                program, *context.args, with_public_path(dsn), env=environment
            )
            return await process.wait()

    raise typer.Exit(run(act()))


async def _find_psql(settings: Settings) -> str:
    from jobsync.db.embedded import start_embedded

    found = shutil.which("psql")
    if found:
        return found
    if settings.database_url:
        raise ConfigError(
            "psql is not installed here.", hint="Install postgresql-client, or take the DSN: jobsync db url"
        )
    async with await start_embedded(settings.data_dir, database="postgres") as server:
        return str(server.psql_path)
