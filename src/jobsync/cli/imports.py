"""import: CSV files of an Airtable base into the database. Dry by default; --apply writes; nothing is ever sent."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from jobsync.cli.import_words import describe_import, describe_list, describe_reconciliation, shape_import
from jobsync.cli.output import print_json, print_lines, say
from jobsync.cli.progress import open_counter
from jobsync.cli.shared import ACTOR, AsJson, Yes, run, settings_of, tenant_of
from jobsync.engine.context import Engine
from jobsync.engine.opening import open_engine
from jobsync.errors import ConfirmationNeeded, InvalidInput
from jobsync.intake import airtable as intake
from jobsync.intake.cell_dates import ORDER_NAMES
from jobsync.intake.columns import describe_field
from jobsync.intake.errors_file import write_errors_files
from jobsync.intake.examine import Progress, Reading
from jobsync.intake.reconciliation import make_reconciliation
from jobsync.intake.reconciliation_files import save_reconciliation
from jobsync.intake.wishes import Wishes, read_map, read_wishes

app = typer.Typer(help="Move in from an old flow: CSV files of an Airtable base.", no_args_is_help=True)
Number = Annotated[str, typer.Argument(metavar="ID", help="The import's id, as `jobsync import list` shows it.")]


@dataclass(frozen=True)
class _Asked:
    """What the command was given."""

    files: dict[str, Path]
    wishes: dict[str, Any]
    map_file: Path | None
    apply: bool
    resume: str | None
    yes: bool
    quiet: bool


@app.command("airtable")
def airtable(
    context: typer.Context,
    customers: Annotated[Path | None, typer.Option(help="The CSV file of the customers table.")] = None,
    jobs: Annotated[Path | None, typer.Option(help="The CSV file of the jobs table.")] = None,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help="A YAML file that says what columns mean; made where it does not exist."),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Write; without it everything is only counted.")
    ] = False,
    resume: Annotated[str | None, typer.Option(metavar="ID", help="Go on with an import that was broken off.")] = None,
    prefer: Annotated[str | None, typer.Option(help="csv: replace what the database says otherwise, too.")] = None,
    date_order: Annotated[str | None, typer.Option(help="mdy or dmy, for date columns that could be either.")] = None,
    tz: Annotated[str | None, typer.Option(help="Time zone of times without one. Default: the tenant's.")] = None,
    region: Annotated[str, typer.Option(help="Country of phones without a country code.")] = "US",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Import customers and jobs. Fills blanks, never overwrites what is newer, never sends; safe to run again."""
    files = {name: path for name, path in (("customers", customers), ("jobs", jobs)) if path is not None}
    if not files and resume is None:
        raise InvalidInput(
            "No file was given.",
            hint="jobsync import airtable --customers customers.csv --jobs jobs.csv",
            code="no_file",
        )
    wishes = {"date_order": date_order, "time_zone": tz, "region": region, "prefer": prefer}
    read_wishes(**wishes)
    asked = _Asked(files, wishes, map_file, apply, resume, yes, as_json)
    settings, tenant = settings_of(context), tenant_of(context)
    number: list[str] = []

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await _import(engine, tenant, asked, number)

    try:
        answer = run(act())
    except (KeyboardInterrupt, asyncio.CancelledError):
        where = f"jobsync import airtable --resume {number[0]}" if number else "the same command"
        say(f"Interrupted. What was written is stored; go on with: {where}")
        raise typer.Exit(130) from None
    _tell(answer, as_json=as_json, describe=describe_import, shape=shape_import)
    if not answer["balanced"] or (answer["applied"] and answer["failed"]):
        raise typer.Exit(4)


@app.command("list")
def list_all(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the imports, newest first."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[dict[str, Any]]:
        async with open_engine(settings, initialise=False) as engine:
            return await intake.list_imports(engine, tenant)

    found = run(act())
    if as_json:
        print_json({"imports": found})
    else:
        print_lines(describe_list(found))


@app.command("undo")
def undo(context: typer.Context, number: Number, yes: Yes = False, as_json: AsJson = False) -> None:
    """Take an import back: what it made is deleted, what it filled gets its old value; later changes stay."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            found = await intake.read_import(engine, tenant, number)
            counts = [intake.count_outcomes(file) for file in found["files"]]
            made, filled = (sum(count[name] for count in counts) for name in ("new", "filled"))
            if not yes and found["state"] in ("applying", "applied"):
                _confirm(
                    f"Undo import {found['id']}: delete {made:,} records, take back fields of {filled:,}?",
                    "Nothing was changed.",
                )
            with open_counter(quiet=as_json) as progress:
                done = await intake.undo_import(engine, tenant, found["id"], progress, actor=ACTOR)
            return {"import": found["id"], **{name: done.get(name, 0) for name in ("deleted", "restored", "kept")}}

    done = run(act())
    if as_json:
        print_json(done)
    else:
        print_lines(
            (
                f"Undone   import {done['import']}: {done['deleted']:,} deleted, {done['restored']:,} restored, "
                f"{done['kept']:,} kept because somebody else changed them since",
                "Next: jobsync import list",
            )
        )


async def reconcile_import(engine: Engine, tenant: str, number: str, folder: Path) -> dict[str, Any]:
    """Makes the reconciliation of an import, and its three files; answers {report, files}."""
    report = await make_reconciliation(engine, tenant, number)
    return {"report": report, "files": save_reconciliation(report, folder)}


def tell_reconciliation(answer: dict[str, Any], *, as_json: bool) -> None:
    """Prints a reconciliation; exit 4 while it is not safe to retire Airtable."""
    _tell(answer, as_json=as_json, describe=describe_reconciliation, shape=lambda given: given["report"])
    if not answer["report"]["safe"]:
        raise typer.Exit(4)


async def _import(engine: Engine, tenant: str, asked: _Asked, number: list[str]) -> dict[str, Any]:
    started = time.monotonic()
    with open_counter(quiet=asked.quiet) as progress:
        if asked.resume is not None:
            found = await intake.read_import(engine, tenant, asked.resume)
            number.append(found["id"])
            found = await intake.resume_import(engine, tenant, found["id"], progress)
        else:
            found = await _begin(engine, tenant, asked, progress)
            number.append(found["id"])
            if asked.apply:
                _ask_before_replacing(found, asked)
                found = await intake.apply_import(engine, tenant, found["id"], progress)
    folder = Path.cwd()
    answer: dict[str, Any] = {
        "import": found,
        "applied": found["state"] == "applied",
        "issues": await intake.count_issues(engine, tenant, found["id"]),
        "shared": await intake.list_shared_ways(engine, tenant, found["id"]),
        "errors": await write_errors_files(engine, tenant, found, folder),
        "balanced": all(intake.is_balanced(file) for file in found["files"]),
        "failed": sum(intake.count_outcomes(file)["error"] for file in found["files"]),
        "paths": {entity: str(path) for entity, path in asked.files.items()},
    }
    if answer["applied"]:
        answer["reconciliation"] = await reconcile_import(engine, tenant, found["id"], folder)
    return {**answer, "duration_s": round(time.monotonic() - started, 3)}


async def _begin(engine: Engine, tenant: str, asked: _Asked, progress: Progress) -> dict[str, Any]:
    given = read_map(asked.map_file) if asked.map_file is not None and asked.map_file.exists() else None
    recalled = given is None
    if given is None:
        given = await intake.recall_map(engine, tenant)
        if given:
            say("The map of the last import is used again.")
    wishes = read_wishes(**asked.wishes, map_given=given, map_is_recalled=recalled)
    readings = await intake.examine_files(asked.files, wishes, progress)
    await intake.learn_from_parents(engine, tenant, readings)
    wishes, readings = await _ask_about_dates(readings, asked, wishes, progress)
    if asked.map_file is not None and not asked.map_file.exists():
        _write_map(asked.map_file, readings)
    return await intake.run_dry(engine, tenant, asked.files, wishes, progress, actor=ACTOR, readings=readings)


async def _ask_about_dates(
    readings: dict[str, Reading], asked: _Asked, wishes: Wishes, progress: Progress
) -> tuple[Wishes, dict[str, Reading]]:
    """Where a person is there, he says how undecided dates are meant; else the import is refused."""
    open_questions = [question for reading in readings.values() for question in reading.questions]
    if not open_questions or not sys.stdin.isatty() or asked.quiet:
        return wishes, readings
    for question in open_questions:
        shown = ", ".join(question["examples"])
        say(f'The dates in "{question["column"]}" can be read in two ways ({shown}).')
    order = typer.prompt("mdy (3/31/2026) or dmy (31/3/2026)", type=str, err=True).strip().lower()
    wishes = read_wishes(
        **{**asked.wishes, "date_order": order}, map_given=wishes.map, map_is_recalled=wishes.map_is_recalled
    )
    return wishes, await intake.examine_files(asked.files, wishes, progress)


def _ask_before_replacing(found: dict[str, Any], asked: _Asked) -> None:
    replaced = sum(file["judged"].get("replaced", 0) for file in found["files"])
    if replaced and not asked.yes:
        _confirm(
            f"--prefer csv replaces what ServiceTitan says of {replaced:,} record{'' if replaced == 1 else 's'}. Do it?",
            "Nothing was written.",
        )


def _confirm(question: str, otherwise: str) -> None:
    if not sys.stdin.isatty():
        raise ConfirmationNeeded(question.removesuffix(" Do it?"), hint=f"Add --yes. {otherwise}")
    if not typer.confirm(question, err=True):
        say(otherwise)
        raise typer.Exit(9)


def _write_map(path: Path, readings: dict[str, Reading]) -> None:
    """The mapping as it was found, for a person to change and use again."""
    found: dict[str, Any] = {}
    for entity, reading in readings.items():
        header = reading.table.header
        columns = {
            header[at]: describe_field(entity, name) for name, places in reading.columns.fields.items() for at in places
        }
        columns |= {header[at]: "keep" for at in reading.columns.extra if header[at]}
        dates = {
            header[reading.columns.fields[name][0]]: order
            for name, order in reading.orders.items()
            if order in ORDER_NAMES
        }
        found[entity] = {"columns": columns, **({"dates": dates} if dates else {})}
    path.write_text(yaml.safe_dump(found, sort_keys=False, allow_unicode=True), "utf-8")
    say(f"The columns as they were read stand in {path}.")


def _tell(
    answer: dict[str, Any],
    *,
    as_json: bool,
    describe: Callable[[dict[str, Any]], list[str]],
    shape: Callable[[dict[str, Any]], Any],
) -> None:
    if as_json:
        print_json(shape(answer))
    else:
        print_lines(describe(answer))
