"""db rotate-key."""

from __future__ import annotations

from dataclasses import asdict

import typer

from jobsync.cli.output import print_json, print_lines
from jobsync.cli.shared import ACTOR, AsJson, Yes, run, settings_of
from jobsync.engine.opening import open_engine
from jobsync.engine.rotate import Rotated, rotate_key
from jobsync.errors import ConfirmationNeeded


def rotate_stored_keys(context: typer.Context, yes: Yes = False, as_json: AsJson = False) -> None:
    """Seal every credential, hook and channel with a new key, while workers go on. Backups made before keep needing the old one."""
    settings = settings_of(context)
    if not yes:
        raise ConfirmationNeeded(
            "Backups made before this can only be opened with the key of today.",
            hint="Keep a copy of the key with them, then add --yes.",
        )

    async def act() -> Rotated:
        async with open_engine(settings, initialise=False) as engine:
            return await rotate_key(engine, actor=ACTOR)

    done = run(act())
    if as_json:
        print_json(asdict(done))
        return
    lines = [f"{done.resealed} secrets are sealed with key {done.key_id}."]
    if settings.secret_key is None:
        lines.append(
            f"{done.forgotten} old keys are out of {settings.data_dir / 'secret.key'}; running processes follow it."
        )
    else:
        lines.append("Next: take the old key out of JOBSYNC_SECRET_KEY and restart one process after the other.")
    print_lines(lines)
