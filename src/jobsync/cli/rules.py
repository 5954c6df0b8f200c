"""rules list, set, remove, test, export, import: what a card becomes when something happened to its job."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines, print_table
from jobsync.cli.shared import ACTOR, AsJson, run, settings_of, tenant_of
from jobsync.engine import rule_changes, rule_files, rules
from jobsync.engine.opening import open_engine
from jobsync.errors import InvalidInput

app = typer.Typer(help="Rules: what a card becomes, and when.", no_args_is_help=True, rich_markup_mode=None)
RuleName = Annotated[str, typer.Argument(help="The rule's name.")]
Many = Annotated[list[str] | None, typer.Option(help="Only these (name or id); may be given several times.")]


@app.command("list")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """List the rules in the order in which they decide: the last one that holds wins."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> list[dict[str, Any]]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await rules.list_rules(engine, tenant)

    found = run(act())
    if as_json:
        print_json({"rules": found})
        return
    if not found:
        print_lines(
            [
                "There are no rules: a card stays where its unit's route puts it.",
                "Next: jobsync rules set NAME --event EVENT ...",
            ]
        )
        return
    print_table(("rule", "event", "when", "then", "state"), [_row(rule) for rule in found])


@app.command("set")
def set_rule(
    context: typer.Context,
    name: RuleName,
    event: Annotated[str, typer.Option(help="What must have happened, such as estimate_sold.")],
    unit: Many = None,
    job_type: Many = None,
    tag: Many = None,
    campaign: Many = None,
    amount_from: Annotated[str | None, typer.Option(help="Only from this amount.")] = None,
    amount_below: Annotated[str | None, typer.Option(help="Only below this amount.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="The pipeline's name.")] = None,
    stage: Annotated[str | None, typer.Option(help="The stage's name.")] = None,
    status: Annotated[str | None, typer.Option(help="open, won or lost.")] = None,
    value: Annotated[str | None, typer.Option(help="job_total, open_estimates, sold_estimates or invoices.")] = None,
    add_tag: Annotated[list[str] | None, typer.Option(help="A tag to add in GoHighLevel.")] = None,
    field: Annotated[list[str] | None, typer.Option(help='A custom field: "Name=text" or "Name=@fact".')] = None,
    position: Annotated[int | None, typer.Option(help="Its place; by itself the event's.")] = None,
    backwards: Annotated[bool, typer.Option("--backwards", help="May move a card to an earlier stage.")] = False,
    off: Annotated[bool, typer.Option("--off", help="Keep the rule, but do not follow it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a rule, or replace the one of this name. Sends nothing by itself."""
    settings, tenant = settings_of(context), tenant_of(context)
    document = {
        "name": name,
        "event": event,
        "when": {"units": unit, "job_types": job_type, "tags": tag, "campaigns": campaign,
                 "amount_from": amount_from, "amount_below": amount_below},
        "then": {"pipeline": pipeline, "stage": stage, "status": status, "value": value, "tags": add_tag,
                 "fields": _read_fields(field or [])},
        "position": position,
        "backwards": backwards,
        "enabled": not off,
    }  # fmt: skip

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await rule_changes.change_rules(engine, tenant, [document], actor=ACTOR)

    _tell(run(act()), as_json)


@app.command()
def remove(context: typer.Context, name: RuleName, as_json: AsJson = False) -> None:
    """Remove a rule. Sends nothing by itself."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            return await rule_changes.drop_rule(engine, tenant, name, actor=ACTOR)

    _tell(run(act()), as_json)


@app.command("test")
def test_rules(
    context: typer.Context,
    last: Annotated[str, typer.Option(help="How far back, by the jobs' creation: 30d.")] = "30d",
    file: Annotated[Path | None, typer.Option(help="Try the rules of this file instead of the saved ones.")] = None,
    limit: Annotated[int, typer.Option(min=0, max=1000, help="Show so many differences.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Try the rules on your own history: what each would decide. Writes and sends nothing."""
    days = re.fullmatch(r"([0-9]{1,5})d?", last.strip())
    if days is None:
        raise InvalidInput(f"--last {last} is no number of days.", hint="Write it as 30d.")
    settings, tenant = settings_of(context), tenant_of(context)
    documents = None if file is None else rule_files.read_text(_read_file(file))["rules"]

    async def act() -> dict[str, Any]:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await rules.try_rules(engine, tenant, days=int(days[1]), documents=documents, limit=limit)

    found = run(act())
    if as_json:
        print_json(found)
        return
    print_lines([f"{found['jobs']} jobs of the last {days[1]} days. Nothing was written or sent."])
    print_table(
        ("rule", "event", "holds for", "decides stage", "decides status"),
        [(r["name"], r["event"], r["jobs"], r["decides_stage"], r["decides_status"]) for r in found["rules"]],
    )
    print_table(
        ("pipeline", "stage", "status", "jobs", "value"),
        [(o["pipeline"], o["stage"], o["status"], o["jobs"], o["value"]) for o in found["outcomes"]],
    )
    print_lines(f"! {jobs} jobs: {problem}" for problem, jobs in found["problems"].items())
    print_lines(
        [f"{found['differ']} of {found['told']} delivered cards would stand elsewhere than GoHighLevel was told."]
    )
    print_lines(
        f"  job {d['st_job_id']}: {d['stage_now']} ({d['status_now']}) -> {d['stage']} ({d['status']})   {d['rule'] or 'route'}"
        for d in found["differences"]
    )


@app.command()
def export(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="Where to; without it: to stdout.")] = None,
) -> None:
    """Write routes and rules as YAML; hooks' URLs are secrets and are masked."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> str:
        async with open_engine(settings, look_only=True, initialise=False) as engine:
            return await rule_files.export_rules(engine, tenant)

    text = run(act())
    if file is None:
        sys.stdout.write(text)
        return
    try:
        file.write_text(text, "utf-8")
    except OSError:
        raise InvalidInput(f"{file} cannot be written.", hint="Check the folder and its rights.") from None


@app.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The YAML file.")],
    replace: Annotated[bool, typer.Option("--replace", help="Remove rules that are not in it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it and say what it would do.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make routes and rules as a file says. Sends nothing by itself."""
    settings, tenant = settings_of(context), tenant_of(context)
    text = _read_file(file)

    async def act() -> dict[str, Any]:
        async with open_engine(settings) as engine:
            if dry_run:
                return await rule_files.import_rules(engine, tenant, text, actor=ACTOR, replace=replace, dry_run=True)
            return await rule_changes.read_in(engine, tenant, text, actor=ACTOR, replace=replace)

    _tell(run(act()), as_json)


@app.command()
def undo(
    context: typer.Context,
    change: Annotated[int | None, typer.Argument(help="The number of the change; without it: the list.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make rules, and routes to pipelines, as they stood before a change. Sends nothing by itself."""
    settings, tenant = settings_of(context), tenant_of(context)

    async def act() -> Any:
        async with open_engine(settings) as engine:
            if change is None:
                return await rule_changes.list_versions(engine, tenant)
            return await rule_changes.undo_change(engine, tenant, change, actor=ACTOR)

    found = run(act())
    if change is not None:
        _tell(found, as_json)
    elif as_json:
        print_json({"changes": found})
    else:
        rows = [(row["id"], row["replaced_at"], row["actor"], row["what"]) for row in found]
        print_table(("change", "at", "who", "what"), rows)


def _tell(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    said = {"routes": "routes set", "saved": "rules saved", "removed": "rules removed"}
    words = [f"{len(answer[key])} {word}" for key, word in said.items() if answer.get(key)]
    line = ", ".join(words) or "Nothing changed"
    if answer.get("dry_run"):
        print_lines([f"{line}: would be done; nothing was."])
        return
    lines = [f"{line}; nothing was sent by this."]
    if answer.get("differ"):
        lines.append(
            f"{answer['differ']} delivered jobs now differ from what GoHighLevel was told. Next: jobsync plan --rebaseline"
        )
    print_lines(lines)


def _row(rule: dict[str, Any]) -> tuple[Any, ...]:
    then = dict(rule.get("then", {}))
    place = " / ".join(str(then.pop(key)) for key in ("pipeline", "stage") if key in then)
    state = rule.get("problem") or ("off" if rule.get("enabled") is False else "on")
    return (
        rule["name"],
        rule["event"],
        _words(rule.get("when", {})),
        "; ".join(filter(None, (place, _words(then)))),
        state,
    )


def _words(table: dict[str, Any]) -> str:
    def say(value: object) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{key}={entry}" for key, entry in value.items())
        return ", ".join(str(entry) for entry in value) if isinstance(value, list) else str(value)

    return "; ".join(f"{key} {say(value)}" for key, value in table.items())


def _read_fields(pairs: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f'--field "{pair}" names no field.', hint='Write it as "Name=text" or "Name=@fact".')
        fields[name.strip()] = text
    return fields


def _read_file(file: Path) -> str:
    try:
        if file.stat().st_size > rule_files.LARGEST:
            raise InvalidInput(f"{file} is larger than 1 MB.", hint="It holds routes and rules only.")
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(f"{file} cannot be read.", hint="It must be a file of UTF-8 text.") from None
