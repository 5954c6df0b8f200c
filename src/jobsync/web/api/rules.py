"""/admin/rules and /admin/pipelines: where a job's card stands in GoHighLevel. Saving a rule sends nothing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field

from jobsync.engine.pipelines import list_pipelines
from jobsync.engine.rule_changes import change_rules, drop_rule
from jobsync.engine.rules import MOST_DAYS, list_rules, try_rules
from jobsync.web.answers import JsonAnswer
from jobsync.web.api.fields import Body
from jobsync.web.api.rows import Row
from jobsync.web.calls import GuardedRoute, ThisCall, needs

router = APIRouter(route_class=GuardedRoute, tags=["admin"])

_EXAMPLE = {
    "name": "Estimate sold",
    "event": "estimate_sold",
    "when": {"units": ["Sales & Service"], "amount_from": 500},
    "then": {"stage": "Estimate Approved", "pipeline": "Sales Pipeline", "status": "won", "value": "sold_estimates"},
}
Documents = Annotated[list[dict[str, Any]], Field(max_length=500)]


class RuleSet(Body):
    """Rules as documents, in names. `replace`: all others are removed."""

    model_config = {"json_schema_extra": {"examples": [{"rules": [_EXAMPLE]}]}}
    rules: Documents
    replace: Annotated[bool, Field(strict=True)] = False


class RuleTrial(Body):
    """Over how many days, and with which rules (none: the saved ones)."""

    model_config = {"json_schema_extra": {"examples": [{"days": 30}]}}
    days: Annotated[int, Field(ge=1, le=MOST_DAYS, strict=True)] = 30
    rules: Documents | None = None


class RulesChanged(Row):
    """What changed; `differ` counts delivered jobs that now stand elsewhere than GoHighLevel was told."""

    differ: int


class Tried(Row):
    """What the rules say about the jobs of these days."""


class Pipelines(Row):
    """Pipelines with their stages, as last read from GoHighLevel."""


class RuleDocument(Row):
    """A rule; `problem` says what is wrong with it in GoHighLevel."""

    name: str
    event: str


@router.get("/admin/rules", operation_id="listRules", response_model=list[RuleDocument])
@needs("admin")
async def show_rules(call: ThisCall) -> JsonAnswer:
    """All rules, the one that decides last at the end."""
    return JsonAnswer(await list_rules(call.web.engine, call.tenant))


@router.put("/admin/rules", operation_id="saveRules", response_model=RulesChanged)
@needs("admin", body="json")
async def save(call: ThisCall, body: RuleSet) -> JsonAnswer:
    """Saves rules, all of them or none. Delivered jobs are re-baselined; nothing is sent."""
    saved = await change_rules(call.web.engine, call.tenant, body.rules, actor=call.actor, replace=body.replace)
    return JsonAnswer(saved)


@router.post("/admin/rules/test", operation_id="tryRules", response_model=Tried)
@needs("admin", body="optional")
async def try_out(call: ThisCall, body: RuleTrial | None = None) -> JsonAnswer:
    """What rules would say about the last days. Nothing is written or sent."""
    wish = body or RuleTrial()
    return JsonAnswer(await try_rules(call.web.engine, call.tenant, days=wish.days, documents=wish.rules))


@router.delete("/admin/rules/{name}", operation_id="removeRule", response_model=RulesChanged)
@needs("admin")
async def remove(call: ThisCall, name: Annotated[str, Path(min_length=1, max_length=100)]) -> JsonAnswer:
    """Removes a rule; nothing is sent."""
    return JsonAnswer(await drop_rule(call.web.engine, call.tenant, name, actor=call.actor))


@router.get("/admin/pipelines", operation_id="listPipelines", response_model=Pipelines)
@needs("admin")
async def show_pipelines(call: ThisCall) -> JsonAnswer:
    """Pipelines, stages and fields that rules may name."""
    return JsonAnswer(await list_pipelines(call.web.engine, call.tenant))
