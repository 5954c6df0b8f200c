"""The parser: options every command shares, and the commands by group. Exit codes:

0 done, 1 unexpected error, 2 usage, 3 a check failed, 4 finished with record failures, 5 nothing done because disarmed or
paused, 6 configuration or credentials, 7 upstream down, 8 changes found, 9 refused without --yes, 75 another run holds
the lock, 130 interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobsync import __version__
from jobsync.cli import (
    alerts,
    backfill,
    customers,
    database,
    demo,
    doctor,
    export,
    imports,
    init,
    jobs,
    openapi,
    passes,
    personal,
    pipelines,
    reconcile,
    rules,
    sending,
    simulate,
    smoke,
    tenants,
    tokens,
    units,
    up,
    verify,
)
from jobsync.cli.shared import Shared

EPILOG = (
    "Exit codes: 0 done, 1 unexpected, 2 usage, 3 check failed, 4 record failures, 5 disarmed or paused, 6 configuration, "
    "7 upstream down, 9 needs --yes, 75 another run, 130 interrupted."
)
app = typer.Typer(
    help="Keeps GoHighLevel equal to what ServiceTitan says about your jobs.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
)


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="A configuration file instead of ./jobsync.yaml.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where JobSync keeps its data (JOBSYNC_DATA_DIR).")] = None,
    tenant: Annotated[str, typer.Option(help="The tenant to work on.")] = "default",
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR (LOG_LEVEL).")] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.", hidden=True)
    ] = False,
) -> None:
    """Options before the command."""
    context.obj = Shared(config=config, data_dir=data_dir, tenant=tenant, log_level=log_level)


@app.command()
def version() -> None:
    """Print the version."""
    print(f"jobsync {__version__}")


app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("up")(up.up)
app.command("doctor")(doctor.doctor)
app.command("status")(sending.status)
app.command("sync")(passes.sync)
app.command("pull")(passes.pull)
app.command("deliver")(passes.deliver)
app.command("verify")(verify.verify)
app.command("backfill")(backfill.backfill)
app.command("reconcile")(reconcile.reconcile)
app.add_typer(imports.app, name="import")
app.command("send-test")(verify.send_test_job)
app.command("plan")(sending.plan)
app.command("arm")(sending.arm)
app.command("disarm")(sending.disarm)
app.command("pause")(sending.pause)
app.command("resume")(sending.resume)
app.add_typer(jobs.app, name="jobs")
app.add_typer(customers.app, name="customers")
app.command("why")(jobs.why)
app.command("replay")(jobs.replay)
app.add_typer(units.app, name="units")
app.add_typer(pipelines.app, name="pipelines")
app.add_typer(rules.app, name="rules")
app.add_typer(alerts.app, name="alerts")
app.add_typer(tenants.app, name="tenants")
app.add_typer(tokens.app, name="tokens")
app.add_typer(personal.app, name="erase")
app.add_typer(export.app, name="export")
app.add_typer(database.app, name="db")
app.command("smoke")(smoke.smoke)
app.command("simulate")(simulate.simulate)
app.command("openapi")(openapi.openapi)
