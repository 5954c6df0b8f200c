"""Rules: edited as a form, tried on the tenant's own jobs before they are saved, read in and written out, undone."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi import Path as InPath

from jobsync.engine.pipelines import list_card_names
from jobsync.engine.rule_changes import change_rules, drop_rule, read_in, read_version, undo_change
from jobsync.engine.rule_documents import STATUSES, VALUES
from jobsync.engine.rule_files import export_rules, import_rules
from jobsync.engine.rules import list_rules, try_rules
from jobsync.errors import InvalidInput, RecordMissing
from jobsync.web.dashboard.rendering import confirm, page, show_count
from jobsync.web.dashboard.routing import HERE
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

DAYS = (7, 30, 90, 365)
SHOWN = 20
MOST_TEXT = 100_000
RuleName = Annotated[str, Query(max_length=100)]
Given = Annotated[str, Form(max_length=20_000)]
Text = Annotated[str, Form(max_length=MOST_TEXT)]
Version = Annotated[int, InPath(ge=1, le=2**63 - 1)]
_LISTS = ("units", "job_types", "tags", "campaigns")


@router.get("/ui/routing/rules/edit")
@seen_by("admin")
async def edit_rule(visit: ThisVisit, name: RuleName = "") -> Response:
    """The form of a rule; without a name a new one."""
    return await _show_form(visit, await _find(visit, name) if name else {})


@router.post("/ui/routing/rules/try")
@seen_by("admin")
async def try_rule(visit: ThisVisit, request: Request) -> Response:
    """What the rule would change, on the jobs of the last days. Writes and sends nothing."""
    form = await request.form()
    try:
        document = _read_form(form)
        days = int(str(form.get("days") or 30))
        before = await list_rules(visit.engine, visit.tenant)
        after = [_bare(rule) for rule in before if rule["name"] not in (document["name"], form.get("was"))]
        now = await try_rules(visit.engine, visit.tenant, days=days, limit=0)
        then = await try_rules(visit.engine, visit.tenant, days=days, documents=[*after, document], limit=SHOWN)
    except ValueError:
        raise InvalidInput("The days are a whole number.") from None
    except InvalidInput as error:
        return await _show_form(visit, _echo(form), error=error)
    was = str(form.get("was") or "")
    return page(
        visit,
        "rule_tried.html",
        title=f"What {document['name']} would change",
        here=HERE,
        document=document,
        given=json.dumps(document),
        was=was if was != document["name"] else "",
        days=days,
        held=next((rule for rule in then["rules"] if rule["name"] == document["name"]), None),
        outcomes=_compare(now["outcomes"], then["outcomes"]),
        then=then,
        now=now,
        shown=SHOWN,
        echo=form,
    )


@router.post("/ui/routing/rules/save")
@seen_by("admin")
async def save_rule(visit: ThisVisit, document: Given, was: Annotated[str, Form(max_length=100)] = "") -> Response:
    """Saves what was tried. Sends nothing."""
    try:
        rule = json.loads(document)
    except ValueError:
        raise InvalidInput("The rule cannot be read.", hint="Go back and try it again.") from None
    if was:
        kept = [_bare(one) for one in await list_rules(visit.engine, visit.tenant) if one["name"] != was]
        answer = await change_rules(visit.engine, visit.tenant, [*kept, rule], actor=visit.actor, replace=True)
    else:
        answer = await change_rules(visit.engine, visit.tenant, [rule], actor=visit.actor)
    return await visit.go(HERE, f"Rule saved. {_tell_differ(answer)}", kind="warn" if answer["differ"] else "ok")


@router.get("/ui/routing/rules/remove")
@seen_by("admin")
async def ask_to_remove(visit: ThisVisit, name: RuleName) -> Response:
    """What changes without it."""
    await _find(visit, name)
    left = [_bare(rule) for rule in await list_rules(visit.engine, visit.tenant) if rule["name"] != name]
    found = await try_rules(visit.engine, visit.tenant, documents=left, limit=0)
    return confirm(
        visit,
        title=f"Remove the rule {name}?",
        sentence="Nothing is sent by this. It can be undone.",
        action="/ui/routing/rules/remove",
        button="Remove the rule",
        facts=[
            ("Jobs of 30 days looked at", show_count(found["jobs"])),
            ("Delivered cards that would stand elsewhere", show_count(found["differ"])),
        ],
        fields=[("name", name)],
        back=HERE,
        danger=True,
        here=HERE,
    )


@router.post("/ui/routing/rules/remove")
@seen_by("admin")
async def remove_rule(visit: ThisVisit, name: Annotated[str, Form(max_length=100)]) -> Response:
    """Removes it."""
    answer = await drop_rule(visit.engine, visit.tenant, name, actor=visit.actor)
    return await visit.go(HERE, f"Rule {name} removed. {_tell_differ(answer)}")


@router.get("/ui/routing/routes.yaml")
@seen_by("viewer")
async def download(visit: ThisVisit) -> Response:
    """Routes and rules as YAML; hooks' URLs are secrets and are masked."""
    return _file(await export_rules(visit.engine, visit.tenant), "jobsync-routes-and-rules.yaml")


@router.post("/ui/routing/import/preview")
@seen_by("admin")
async def preview_import(visit: ThisVisit, text: Text, replace: Annotated[str, Form(max_length=5)] = "") -> Response:
    """What reading the text in would set and remove."""
    found = await import_rules(visit.engine, visit.tenant, text, actor=visit.actor, replace=bool(replace), dry_run=True)
    return confirm(
        visit,
        title="Read this in?",
        sentence="Nothing is sent by this. It can be undone.",
        action="/ui/routing/import",
        button="Read it in",
        facts=[
            ("Routes that change", _tell_names(found["routes"])),
            ("Rules that are set", _tell_names(found["saved"])),
            ("Rules that are removed", _tell_names(found["removed"])),
        ],
        fields=[("text", text), ("replace", replace)],
        back=HERE,
        here=HERE,
    )


@router.post("/ui/routing/import")
@seen_by("admin")
async def read_text_in(visit: ThisVisit, text: Text, replace: Annotated[str, Form(max_length=5)] = "") -> Response:
    """Reads the text in, all of its rules or none."""
    answer = await read_in(visit.engine, visit.tenant, text, actor=visit.actor, replace=bool(replace))
    counts = f"{len(answer['routes'])} routes and {len(answer['saved'])} rules set, {len(answer['removed'])} removed."
    return await visit.go(HERE, f"{counts} {_tell_differ(answer)}")


@router.get("/ui/routing/undo/{version}")
@seen_by("admin")
async def ask_to_undo(visit: ThisVisit, version: Version) -> Response:
    """How everything stood before that change."""
    text = await read_version(visit.engine, visit.tenant, version)
    return page(visit, "undo.html", title=f"Undo change {version}?", here=HERE, version=version, text=text)


@router.post("/ui/routing/undo/{version}")
@seen_by("admin")
async def undo(visit: ThisVisit, version: Version) -> Response:
    """Makes it so again."""
    answer = await undo_change(visit.engine, visit.tenant, version, actor=visit.actor)
    return await visit.go(HERE, f"Undone. {_tell_differ(answer)}")


async def _show_form(visit: ThisVisit, rule: dict[str, Any], error: InvalidInput | None = None) -> Response:
    names = await list_card_names(visit.engine, visit.tenant)
    return page(
        visit,
        "rule.html",
        title=f"Rule {rule['name']}" if rule.get("name") else "New rule",
        here=HERE,
        status=400 if error else 200,
        rule={"when": {}, "then": {}, **rule},
        was=rule.get("was", rule.get("name", "")),
        place="\x1f".join(str(rule.get("then", {}).get(key) or "") for key in ("pipeline", "stage")),
        names=names,
        events=[(event, event.replace("_", " ")) for event in sorted(names["events"], key=names["events"].get)],
        places=[
            (f"{pipeline['name']}\x1f{stage['name']}", f"{pipeline['name']} / {stage['name']}")
            for pipeline in names["pipelines"]
            for stage in pipeline["stages"]
        ],
        statuses=[("", "As it is"), *((one, one) for one in STATUSES)],
        values=[("", "As it is"), *((one, one.replace("_", " ")) for one in VALUES)],
        days=[(days, f"{days} days") for days in DAYS],
        error=error,
    )


async def _find(visit: ThisVisit, name: str) -> dict[str, Any]:
    for rule in await list_rules(visit.engine, visit.tenant):
        if rule["name"] == name:
            return rule
    raise RecordMissing(f'There is no rule "{name}".', hint="It may have been removed or renamed.")


def _echo(form: Any) -> dict[str, Any]:
    """What was typed, for the form that is shown again; what cannot be read is left out."""
    try:
        return {**_read_form(form), "was": str(form.get("was") or "")}
    except InvalidInput:
        return {"name": str(form.get("name") or ""), "was": str(form.get("was") or "")}


def _read_form(form: Any) -> dict[str, Any]:
    """The document of the form, in names; `rule_documents` checks them."""

    def text(key: str) -> str | None:
        return str(form.get(key) or "").strip() or None

    pipeline, _, stage = (text("place") or "").partition("\x1f")
    document: dict[str, Any] = {
        "name": text("name") or "",
        "event": text("event"),
        "when": {
            **{key: [str(one) for one in form.getlist(key)] for key in _LISTS},
            "amount_from": text("amount_from"),
            "amount_below": text("amount_below"),
        },
        "then": {
            "pipeline": pipeline or None,
            "stage": stage or None,
            "status": text("status"),
            "value": text("value"),
            "tags": [tag.strip() for tag in (text("tags_added") or "").split(",") if tag.strip()],
            "fields": _read_fields(text("fields") or ""),
        },
        "backwards": form.get("backwards") == "yes",
        "enabled": form.get("off") != "yes",
    }
    if not document["name"]:
        raise InvalidInput("A rule needs a name.", field="name")
    if text("position") is not None:
        if not (text("position") or "").isascii() or not (text("position") or "").isdigit():
            raise InvalidInput("The place is a whole number.", field="position")
        document["position"] = int(text("position") or 0)
    for part in ("when", "then"):
        document[part] = {key: value for key, value in document[part].items() if value not in (None, [], {})}
    return document


def _read_fields(lines: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in filter(str.strip, lines.splitlines()):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(
                f'"{line.strip()[:60]}" names no field.', hint="Write a line as: Name = text, or Name = @fact."
            )
        fields[name.strip()] = value.strip()
    return fields


def _bare(rule: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if key != "problem"}


def _compare(now: list[dict[str, Any]], then: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where cards stand now and would stand then, each {pipeline, stage, status, before, after}."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, rows in (("before", now), ("after", then)):
        for row in rows:
            place = (row["pipeline"], row["stage"], row["status"])
            entry = found.setdefault(
                place, {"pipeline": place[0], "stage": place[1], "status": place[2], "before": 0, "after": 0}
            )
            entry[key] += row["jobs"]
    return sorted(found.values(), key=lambda row: tuple(str(row[key] or "") for key in ("pipeline", "stage", "status")))


def _tell_differ(answer: dict[str, Any]) -> str:
    if not answer.get("differ"):
        return "Nothing was sent."
    return f"Nothing was sent; {show_count(answer['differ'])} delivered cards now stand elsewhere than GoHighLevel was told."


def _tell_names(names: list[Any]) -> str:
    return f"{len(names)}: {', '.join(str(name) for name in names[:10])}" if names else "none"


def _file(text: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text.encode(), media_type="application/yaml; charset=utf-8", headers=headers)
