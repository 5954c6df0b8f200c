"""The parser: options every command shares, and the commands by group. Exit codes:

0 done, 1 unexpected error, 2 usage, 3 a check failed, 4 finished with record failures, 5 nothing done because disarmed or
paused, 6 configuration or credentials, 7 upstream down, 8 changes found, 9 refused without --yes, 75 another run holds
the lock, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from jobsync import __version__
from jobsync.cli.shared import Shared

EPILOG = (
    "Exit codes: 0 done, 1 unexpected, 2 usage, 3 check failed, 4 record failures, 5 disarmed or paused, 6 configuration, "
    "7 upstream down, 9 needs --yes, 75 another run, 130 interrupted."
)
# In the order of the help: the module of jobsync.cli, and its function; a module's `app` is a group of commands.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "demo"),
    "init": ("init", "init"),
    "up": ("up", "up"),
    "doctor": ("doctor", "doctor"),
    "status": ("sending", "status"),
    "sync": ("passes", "sync"),
    "pull": ("passes", "pull"),
    "deliver": ("passes", "deliver"),
    "verify": ("verify", "verify"),
    "backfill": ("backfill", "backfill"),
    "reconcile": ("reconcile", "reconcile"),
    "import": ("imports", "app"),
    "send-test": ("verify", "send_test_job"),
    "plan": ("sending", "plan"),
    "arm": ("sending", "arm"),
    "disarm": ("sending", "disarm"),
    "pause": ("sending", "pause"),
    "resume": ("sending", "resume"),
    "jobs": ("jobs", "app"),
    "customers": ("customers", "app"),
    "why": ("jobs", "why"),
    "replay": ("jobs", "replay"),
    "units": ("units", "app"),
    "pipelines": ("pipelines", "app"),
    "rules": ("rules", "app"),
    "alerts": ("alerts", "app"),
    "tenants": ("tenants", "app"),
    "tokens": ("tokens", "app"),
    "users": ("users", "app"),
    "erase": ("personal", "app"),
    "export": ("export", "app"),
    "db": ("database", "app"),
    "smoke": ("smoke", "smoke"),
    "simulate": ("simulate", "simulate"),
    "openapi": ("openapi", "openapi"),
}


def build_app(words: Sequence[str] | None = None) -> typer.Typer:
    """The parser. With `words` (what was typed) only the commands named in them are loaded, which is what makes a command
    start fast; all of them where none is named (help, completion, a word that is no command) and without `words`."""
    app = typer.Typer(
        help="Keeps GoHighLevel equal to what ServiceTitan says about your jobs.",
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=True,
    )
    app.callback()(options)
    app.command()(version)
    named = (COMMANDS.keys() | {"version", "--version"}) & set(words or ())
    for name, (module, attribute) in COMMANDS.items():
        if named and name not in named:
            continue
        found = getattr(import_module(f"jobsync.cli.{module}"), attribute)
        if attribute == "app":
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _tell_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


def options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="A configuration file instead of ./jobsync.yaml.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where JobSync keeps its data (JOBSYNC_DATA_DIR).")] = None,
    tenant: Annotated[str, typer.Option(help="The tenant to work on.")] = "default",
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR (LOG_LEVEL).")] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.", hidden=True)
    ] = False,
    told: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""
    context.obj = Shared(config=config, data_dir=data_dir, tenant=tenant, log_level=log_level)


def version() -> None:
    """Print the version."""
    print(f"jobsync {__version__}")
