"""reconcile: is anything missing here that ServiceTitan shows?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from jobsync.cli.imports import reconcile_import, tell_reconciliation
from jobsync.cli.output import print_json, print_lines
from jobsync.cli.shared import AsJson, run, settings_of, tenant_of
from jobsync.config import Settings
from jobsync.engine.opening import open_engine
from jobsync.engine.reconcile import DAYS, OPEN_FINDINGS
from jobsync.engine.reconcile import reconcile as compare

WORDS = (
    ("equal", "equal"),
    ("missing", "missing"),
    ("differing", "differing"),
    ("gone", "gone"),
    ("quarantined", "quarantined"),
    ("not_read_yet", "newer than the last pull"),
    ("before_start", "older than the first pull"),
)


def reconcile(
    context: typer.Context,
    days: Annotated[int, typer.Option(help="Compare what was modified within so many days.")] = DAYS,
    fix_missing: Annotated[
        bool, typer.Option("--fix-missing", help="Store what is missing, and newer versions of what differs.")
    ] = False,
    number: Annotated[
        str | None,
        typer.Option(
            "--import", metavar="ID", help="Compare the files of this import instead, and say whether Airtable can go."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the whole report into this file, as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare jobs and customers with ServiceTitan; exit 4 when something is missing or differs."""
    settings, tenant = settings_of(context), tenant_of(context)
    if number is not None:
        _reconcile_import(settings, tenant, number, as_json=as_json)
        return

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await compare(engine, tenant, days=days, fix_missing=fix_missing)

    found = run(act())
    if report is not None:
        report.write_bytes(msgspec.json.format(msgspec.json.encode(found, enc_hook=str), indent=2) + b"\n")
    if as_json:
        print_json(found)
    else:
        print_lines(describe_reconcile(found))
    if is_open(found):
        raise typer.Exit(4)


def _reconcile_import(settings: Settings, tenant: str, number: str, *, as_json: bool) -> None:
    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await reconcile_import(engine, tenant, number, Path.cwd())

    tell_reconciliation(run(act()), as_json=as_json)


def is_open(found: dict[str, Any]) -> bool:
    """True when something is missing or differs and was not mended."""
    return found["missing"] + found["differing"] > found["fixed"]


def describe_reconcile(found: dict[str, Any]) -> list[str]:
    """The comparison in words, ending in one Next line."""
    streams = ", ".join(f"{entry['compared']} {name}" for name, entry in found["streams"].items())
    days = "1 day" if found["days"] == 1 else f"{found['days']} days"
    lines = [
        f"Compared  {streams} of the last {days}   ({found['requests']} requests)",
        "Found     "
        + ", ".join(f"{found[name]} {word}" for name, word in WORDS if found[name] or name in OPEN_FINDINGS),
    ]
    for name, entry in found["streams"].items():
        for finding in (*OPEN_FINDINGS, "gone"):
            ids = entry["ids"].get(finding)
            if ids:
                more = f" and {entry[finding] - len(ids)} more" if entry[finding] > len(ids) else ""
                lines.append(f"  {finding:<9} {name} {', '.join(map(str, ids))}{more}")
    if found["fixed"]:
        lines.append(f"Stored    {found['fixed']} of them")
    if is_open(found) and not found["fix_missing"]:
        lines.append(f"Next: jobsync reconcile --days {found['days']} --fix-missing")
    elif is_open(found):
        lines.append("Next: jobsync status shows what holds them up")
    else:
        lines.append("Next: nothing to do; jobsync up compares once a day")
    return lines
