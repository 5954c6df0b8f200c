"""Why a job is where it is: each reason that can be written has its words."""

from __future__ import annotations

import ast
import re
from importlib import resources
from pathlib import Path

import jobsync.engine
from jobsync.engine.causes import API_CAUSES, CAUSES, FLAGS, UNFOUND
from jobsync.engine.why import find_cause

SCHEMA = resources.files("jobsync.sql") / "schema"
ENGINE = Path(jobsync.engine.__file__ or "").parent
WORD = r"'([a-z_]+)'"
# Words of the expressions that stand beside reasons and are none.
STATUSES = {"destination_", "pending", "synced", "failed", "skipped", "waiting"}


def schema_text() -> str:
    return "\n".join(file.read_text("utf-8") for file in SCHEMA.iterdir() if file.name.endswith(".sql"))


def body_of(function: str) -> str:
    (found,) = re.findall(rf"create function jobsync\.{function}\(.*?\$\$(.*?)\$\$;", schema_text(), re.S)
    return found


def written_by_updates() -> set[str]:
    """Literals of every `ghl_sync_reason = ...` in an update."""
    found: set[str] = set()
    for text in re.findall(
        r"\bset\b[^;]*?ghl_sync_reason = (.*?)(?:,\s*(?:ghl_|updated_at)|\s(?:from|where)\s)", schema_text(), re.S
    ):
        found |= set(re.findall(rf"(?:then|else|^)\s*{WORD}", text))
    return found


def written_by_booking() -> set[str]:
    """What finish_deliveries writes: its own words, and one for each outcome that is tried again later."""
    body = body_of("finish_deliveries")
    (expression,) = re.findall(r"ghl_sync_reason = (case g\.verdict.*?end),\s*ghl_sync_error", body, re.S)
    found = set(re.findall(rf"(?:then|else) {WORD}", expression)) - {"destination_"}
    for outcomes in re.findall(r"g\.outcome in \((.*?)\) then g\.outcome", expression):
        found |= set(re.findall(WORD, outcomes))
    (later,) = re.findall(r"r\.outcome in \(([^)]*)\) then 'later'", body)
    return found | {f"destination_{name}" for name in re.findall(WORD, later) if name not in found}


def written_by_planning() -> set[str]:
    reasons = set(re.findall(rf"then {WORD}", body_of("skip_reason")))
    plan = body_of("plan_jobs")
    reasons |= set(re.findall(r"select '([a-z_]+)' from install_links", plan))
    (marks,) = re.findall(r"as status,\s*(case d\.decision when 'skip' then d\.skip.*?end end) as reason", plan, re.S)
    return reasons | set(re.findall(rf"then {WORD}", marks))


def written_by_holding() -> set[str]:
    """What a backfill or an import holds its new jobs with."""
    found = re.findall(r"ghl_sync_reason in \(([^)]*)\)", schema_text())
    return {name for text in found for name in re.findall(WORD, text)}


def written_by_the_sender() -> set[str]:
    """`skip("reason", ...)` of the API's sender."""
    found: set[str] = set()
    for path in ENGINE.glob("api_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "skip":
                assert isinstance(node.args[0], ast.Constant), "a reason is written out, so that it can be found"
                found.add(str(node.args[0].value))
    return found


def facts(reason: str | None, status: str, kind: str) -> dict[str, object]:
    return {
        "ghl_sync_status": status, "ghl_sync_reason": reason, "ghl_sync_flags": [], "state": "accepted", "verify_result": None, "deliverer": "jobsync",
        "mode": "live", "mode_reason": None, "tenant_paused_at": None, "destination_paused_at": None, "armed": True, "arm_remaining": None,
        "waiting_for": None, "destination_kind": kind, "business_unit_id": 1314, "st_job_id": 7, "st_customer_id": 9,
    }  # fmt: skip


def test_each_reason_that_can_be_written_has_a_sentence_and_a_fix() -> None:
    parts = [
        written_by_updates(),
        written_by_booking(),
        written_by_planning(),
        written_by_holding(),
        written_by_the_sender(),
    ]
    assert all(parts), "one of the readers finds nothing any more: the SQL was written otherwise"
    reasons = set().union(*parts) - STATUSES
    assert {
        "settling",
        "stopped",
        "contact",
        "retrying",
        "destination_unauthorized",
        "no_pipeline",
        "backfilled",
        "worker_died",
    } <= reasons
    without = sorted(reasons - set(CAUSES))
    assert without == [], "these need words in engine/causes.py"


def test_words_for_a_location_never_speak_of_a_hook_and_each_names_what_to_do() -> None:
    for reason in sorted(set(CAUSES) | set(API_CAUSES)):
        status = "pending" if reason in ("settling", "stopped", "contact", "retrying", "update", "replay") else "failed"
        cause, fix = find_cause(facts(reason, status, "api"))
        assert cause and fix
        assert "{" not in cause + fix
        assert "hook" not in cause + fix or reason in ("unmapped", "unit_off", "test_only"), reason
        cause, fix = find_cause(facts(reason, status, "webhook"))
        assert cause and fix


def test_a_delivered_job_tells_what_a_person_should_know_of_it() -> None:
    for flag in FLAGS:
        told = {**facts(None, "synced", "api"), "ghl_sync_flags": [flag], "state": "verified"}
        assert find_cause(told)[0] == FLAGS[flag][0]
    assert all(UNFOUND.values())
