"""What all commands share: reading settings from the options before the command, and the one entry into async code."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from jobsync.config import Settings, read_settings
from jobsync.engine.event_loop import run_to_end
from jobsync.errors import InvalidInput
from jobsync.log import set_up_logs

T = TypeVar("T")
ACTOR = "cli"
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


@dataclass(frozen=True)
class Shared:
    """The options before the command."""

    config: Path | None = None
    data_dir: Path | None = None
    tenant: str = "default"
    log_level: str | None = None


def settings_of(context: typer.Context, **flags: object) -> Settings:
    """The settings of this run: flags over environment over .env over jobsync.yaml. Sets up the logs."""
    shared: Shared = context.obj
    settings = read_settings(
        config_file=shared.config, **{"JOBSYNC_DATA_DIR": shared.data_dir, "LOG_LEVEL": shared.log_level, **flags}
    )
    set_up_logs(settings.log_level)
    return settings


def tenant_of(context: typer.Context) -> str:
    """The tenant to work on."""
    return context.obj.tenant


def read_moment(text: str | None, option: str) -> datetime | None:
    """An ISO date or time as an option gives it, in UTC where it names no zone; None stays None. Raises InvalidInput."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{option} {text} is no date.", hint="Write it as 2026-01-31 or 2026-01-31T08:00:00Z."
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs the command's coroutine; the only way into async code."""
    return run_to_end(work)
