"""alerts: what is open, where it is told, a test of each channel."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobsync.alerts import channels as outlets
from jobsync.alerts import settings as alert_settings
from jobsync.alerts.watch import send_test
from jobsync.cli.output import print_json, print_lines, print_table
from jobsync.cli.shared import ACTOR, AsJson, run, settings_of, tenant_of
from jobsync.engine.opening import open_engine
from jobsync.errors import ConfigError

app = typer.Typer(help="Alerts: what is wrong, and who is told.", no_args_is_help=True, rich_markup_mode=None)
HEAD = ("severity", "code", "what", "why", "fix", "since", "told")


@app.command("list")
def list_alerts(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also those of the last 30 days that are over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is wrong right now, why, and what to do."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[dict[str, Any]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await alert_settings.list_alerts(engine, tenant, everything=everything)

    found = run(act())
    if as_json:
        print_json(found)
    elif found:
        print_table(
            HEAD,
            [
                (row["severity"], row["code"], row["title"], row["why"], row["fix"], row["opened_at"], row["told_at"])
                for row in found
            ],
        )
    else:
        print_lines(["Nothing is wrong."])


@app.command("test")
def test_channels(context: typer.Context, as_json: AsJson = False) -> None:
    """Send a test message to every channel and say which took it."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[outlets.Sent]:
        async with open_engine(settings, initialise=False) as engine:
            return await send_test(engine, tenant)

    sent = run(act())
    if not sent:
        raise ConfigError(
            "There is no channel to test.",
            hint="Set JOBSYNC_ALERT_URLS, or add one: jobsync alerts add 'mailto://user:password@example.com'",
        )
    if as_json:
        print_json([{"channel": one.channel, "ok": one.ok} for one in sent])
    else:
        print_lines(f"{'✓ took it   ' if one.ok else '✗ refused it'}  {one.channel}" for one in sent)
    if not all(one.ok for one in sent):
        raise typer.Exit(3)


@app.command("add")
def add_channel(
    context: typer.Context, url: Annotated[str, typer.Argument(help="A channel URL (see docs/alerts.md).")]
) -> None:
    """Add a channel; its URL is sealed and never shown again."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> outlets.Channel:
        async with open_engine(settings, initialise=False) as engine:
            return await alert_settings.add_channel(engine, tenant, url)

    print_lines([f"Added {run(act()).name}.", "Next: jobsync alerts test"])


@app.command("remove")
def remove_channel(
    context: typer.Context, channel: Annotated[str, typer.Argument(help="Its name, as `alerts channels` shows it.")]
) -> None:
    """Remove a channel that was added here (not one of JOBSYNC_ALERT_URLS)."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[outlets.Channel]:
        async with open_engine(settings, initialise=False) as engine:
            return await alert_settings.remove_channel(engine, tenant, channel)

    print_lines([f"Removed. {len(run(act()))} left."])


@app.command("channels")
def list_channels(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the channels by name, and whether they took what was last sent."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[dict[str, Any]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await alert_settings.list_channels(engine, tenant)

    found = run(act())
    if as_json:
        print_json(found)
        return
    print_table(
        ("channel", "failures", "last refused", "last taken"),
        [(row["channel"], row["failures"], row["failed_at"], row["succeeded_at"]) for row in found],
    )


@app.command("mute")
def mute(
    context: typer.Context,
    code: Annotated[str, typer.Argument(help="The code, as `alerts list` shows it.")],
    subject: Annotated[str | None, typer.Option(help="Only this subject of it.")] = None,
    hours: Annotated[int, typer.Option(min=1, max=720, help="For so many hours.")] = 24,
) -> None:
    """Keep an alert quiet for a while; it stays in the list."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> int:
        async with open_engine(settings, initialise=False) as engine:
            return await alert_settings.mute_alert(engine, tenant, code, subject=subject, hours=hours, actor=ACTOR)

    print_lines([f"Muted {run(act())} for {hours} hours."])


@app.command("set")
def change_settings(
    context: typer.Context,
    time_zone: Annotated[str | None, typer.Option(help="The tenant's time zone, e.g. America/Phoenix.")] = None,
    quiet: Annotated[str | None, typer.Option(help="Hours without warnings, e.g. 22:00-07:00; 'none'.")] = None,
    digest: Annotated[str | None, typer.Option(help="Local time of the daily digest, e.g. 07:00; 'none'.")] = None,
    silence_hours: Annotated[int | None, typer.Option(help="Hours without a new job that are an alert.")] = None,
    repeat_hours: Annotated[int | None, typer.Option(help="Hours after which an open alert is told again.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set when people are told."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings, initialise=False) as engine:
            return await alert_settings.change_settings(
                engine,
                tenant,
                actor=ACTOR,
                time_zone=time_zone,
                quiet=quiet,
                digest=digest,
                silence_hours=silence_hours,
                repeat_hours=repeat_hours,
            )

    found = run(act())
    if as_json:
        print_json(found)
    else:
        print_table(("setting", "value"), list(found.items()))
