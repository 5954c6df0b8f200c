"""export: a stable view as CSV or NDJSON on stdout; export n8n: the workflows for n8n as files."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from jobsync.cli.output import print_json, print_lines, print_sheet_lines, print_table, say
from jobsync.cli.shared import AsJson, run, settings_of, tenant_of
from jobsync.engine.exports import list_views, open_view
from jobsync.engine.opening import open_engine
from jobsync.engine.workflows import CREDENTIAL, NAMES, Workflow, fill_workflows
from jobsync.errors import InvalidInput

app = typer.Typer(help="Views as CSV or NDJSON, and workflows for n8n.", rich_markup_mode=None)
STDOUT = "-"


@app.callback(invoke_without_command=True)
def export(
    context: typer.Context,
    view: Annotated[str | None, typer.Option(help="The view to write out; without it: which ones there are.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="For a spreadsheet (this is the default).")] = False,
    ndjson: Annotated[bool, typer.Option("--ndjson", help="One JSON object a line.")] = False,
) -> None:
    """Write a view to stdout, all rows of one moment; or, with `n8n`, workflows as files."""
    if context.invoked_subcommand is not None:
        if view is not None:
            raise InvalidInput("--view and n8n are two things.", hint="Leave one of them out.")
        return
    if as_csv and ndjson:
        raise InvalidInput("Choose one of --csv and --ndjson.")
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> None:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            if view is None:
                views = await list_views(engine, tenant)
                print_table(("view", "what it shows"), [(name, what) for name, (what, _) in views.items()])
                say("Next: jobsync export --view v_job_status --csv > jobs.csv")
                return
            async with open_view(engine, tenant, view) as (columns, pieces):
                if not ndjson:
                    print_sheet_lines([columns])
                async for rows in pieces:
                    if ndjson:
                        print_lines(msgspec.json.encode(_plain(row), enc_hook=str).decode() for row in rows)
                    else:
                        print_sheet_lines([_cell(row[column]) for column in columns] for row in rows)

    run(act())


@app.command("n8n")
def export_n8n(
    context: typer.Context,
    out: Annotated[str, typer.Option(help="The folder to write to; - for stdout (one workflow).")] = "n8n",
    workflow: Annotated[
        list[str] | None, typer.Option(help=f"Only this one; may be given several times. {', '.join(NAMES)}.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Where n8n reaches JobSync, such as http://127.0.0.1:3001.")] = None,
    webhook: Annotated[
        list[str] | None, typer.Option(help="UNIT=URL: the inbound hook of a unit; may be given several times.")
    ] = None,
    with_webhooks: Annotated[
        bool, typer.Option("--with-webhooks", help="Put in the hooks that JobSync holds. They are secrets.")
    ] = False,
    credential: Annotated[
        bool | None,
        typer.Option(
            "--credential/--no-credential",
            help="Whether the nodes send X-API-Key from a credential of n8n; by itself: as the settings need it.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the workflows for n8n, filled with your address and units. Existing files of these names are replaced."""
    names = tuple(dict.fromkeys(workflow or NAMES))
    if out == STDOUT and len(names) != 1:
        raise InvalidInput("Only one workflow goes to stdout.", hint="Choose it: --workflow drain-pending --out -")
    settings, tenant = settings_of(context), tenant_of(context)
    hooks = _read_hooks(webhook or ())

    async def act() -> list[Workflow]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await fill_workflows(
                engine, tenant, names, url=url, hooks=hooks, with_webhooks=with_webhooks, credential=credential
            )

    filled = run(act())
    if out == STDOUT:
        sys.stdout.write(filled[0].text)
        return
    written = [_write(Path(out), one) for one in filled]
    if as_json:
        print_json({"files": [{"path": str(p), "hooks": one.hooks} for p, one in zip(written, filled, strict=True)]})
        return
    print_lines(str(path) for path in written)
    _advise(filled)


def _advise(filled: Sequence[Workflow]) -> None:
    secret = [one for one in filled if one.is_secret]
    if secret:
        names = ", ".join(f"{one.name}.json" for one in secret)
        say(
            f"Secret   {names}: with the hooks of {', '.join(secret[0].hooks)}. Only you can read it (0600); do not share it."
        )
    elif any("hooks" in one.text for one in filled):
        say(
            "Hooks    none is in these files: paste them in n8n, node Settings (or: --webhook UNIT=URL, --with-webhooks)."
        )
    if any(CREDENTIAL["id"] in one.text for one in filled):
        say(
            f'Key      make a credential "Header Auth" called "{CREDENTIAL["name"]}" in n8n: X-API-Key, and as its value a'
        )
        say('         token: jobsync tokens create n8n --scope read --scope "sync:write" --scope "state:write"')
    say("Next     n8n import:workflow --separate --input=FOLDER   (or Import from File in n8n)")


def _read_hooks(pairs: Sequence[str]) -> Mapping[int, str]:
    hooks: dict[int, str] = {}
    for pair in pairs:
        unit, equals, url = pair.partition("=")
        if not equals or not unit.strip().isdigit() or not url.strip():
            raise InvalidInput("--webhook takes UNIT=URL.", hint="Such as --webhook 1314=https://...")
        hooks[int(unit)] = url.strip()
    return hooks


def _write(folder: Path, workflow: Workflow) -> Path:
    path = folder / f"{workflow.name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Made with its mode: there is no moment at which others could read a hook's URL.
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if workflow.is_secret else 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(workflow.text)
    except OSError:
        raise InvalidInput(f"{path} cannot be written.", hint="Check the folder and its rights.") from None
    return path


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | dict):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)
