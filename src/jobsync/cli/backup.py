"""db backup, db restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines
from jobsync.cli.shared import AsJson, Yes, run, settings_of
from jobsync.db.backup import back_up, restore
from jobsync.engine.opening import open_dsn
from jobsync.errors import ConfirmationNeeded


def backup_database(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A new file, e.g. jobsync-2026-11-24.sql.gz.")],
    as_json: AsJson = False,
) -> None:
    """Write a backup of everything while JobSync runs. Keep the key file elsewhere: credentials are only sealed in it."""
    settings = settings_of(context)

    async def act() -> int:
        async with open_dsn(settings) as dsn:
            return await back_up(settings.database_direct_url or dsn, path)

    size = run(act())
    if as_json:
        print_json({"file": str(path), "bytes": size})
        return
    key = "JOBSYNC_SECRET_KEY" if settings.secret_key else f"{settings.data_dir}/secret.key"
    print_lines(
        [
            f"Wrote {path} ({size:,} bytes).",
            f"Keep {key} apart from it: without it the credentials inside cannot be opened.",
        ]
    )


def restore_database(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A file that `jobsync db backup` wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace what the database holds.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup back, whole or not at all. Sending is off afterwards, until you arm."""
    if replace and not yes:
        raise ConfirmationNeeded("--replace throws away what the database holds now.", hint="Add --yes.")
    settings = settings_of(context)

    async def act() -> dict[str, Any]:
        async with open_dsn(settings) as dsn:
            return await restore(settings.database_direct_url or dsn, path, replace=replace)

    found = run(act())
    if as_json:
        print_json(found)
        return
    print_lines(
        [
            f"Restored: {found['jobs']} jobs, the newest changed {found['newest'] or 'never'}; {found['planned']} deliveries planned.",
            "Sending is off: what was sent after the backup is not known to it.",
            "Next: jobsync pull   then look at: jobsync plan   then: jobsync arm",
        ]
    )
