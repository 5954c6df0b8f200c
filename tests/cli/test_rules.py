"""pipelines, rules and units --pipeline as commands: what they check, what they change, and that nothing is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from jobsync.simulators import gohighlevel
from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio

SERVICE = "Service Pipeline"


@asynccontextmanager
async def connected(dsn: str, directory: Path, **how: Any) -> AsyncIterator[Stage]:
    """A stage whose GoHighLevel location is connected; ServiceTitan's jobs are stored."""
    async with open_stage(dsn, directory, jobs=30, more={"JOBSYNC_MODE": "observe"}, **how) as stage:
        location = next(iter(stage.level.locations.values()))
        token = stage.level.tokens.issue_pit(location.id)
        stage.more |= {"GHL_API_KEY": token, "GHL_LOCATION_ID": location.id, "GHL_API_URL": stage.level_url}
        await stage.sync(deliver=False)
        yield stage


def pipelines_of(stage: Stage) -> list[dict[str, Any]]:
    """The pipelines of the simulated location."""
    return next(iter(stage.level.locations.values())).pipelines


def writes(stage: Stage) -> list[str]:
    """Requests of the API that change something."""
    return [each.path for each in stage.level.ledger.requests if each.method != "GET"]


async def test_a_unit_is_routed_by_names_that_are_checked_and_the_nearest_are_named(dsn: str, tmp_path: Path) -> None:
    async with connected(dsn, tmp_path) as stage:
        wrong = await stage.jobsync("units", "set", "1314", "--pipeline", "Servise pipeline")
        assert (wrong.code, wrong.out) == (2, "")
        assert 'Pipeline "Servise pipeline" is not known' in wrong.err
        assert "Nearest: Service Pipeline" in wrong.err
        wrong = await stage.jobsync("units", "set", "1314", "--pipeline", SERVICE, "--stage", "Dispached")
        assert wrong.code == 2
        assert "Nearest: Dispatched" in wrong.err
        assert stage.value("select count(*) from jobsync.routes") == 0
        told = await stage.jobsync("units", "set", "1314", "--pipeline", "service pipeline", "--stage", "new job")
        assert told.code == 0, told.err
        assert "Service Pipeline / New Job" in told.out
        route = stage.rows("select * from jobsync.unit_routes where st_business_unit_id = 1314")[0]
        service = next(each for each in pipelines_of(stage) if each["name"] == SERVICE)
        assert (route["deliverer"], route["destination_kind"], route["ghl_pipeline_name"]) == (
            "jobsync",
            "api",
            SERVICE,
        )
        assert (route["pipeline_id"], route["stage_id"]) == (service["id"], service["stages"][0]["id"])
        moved = await stage.jobsync("units", "set", "1314", "--stage", "Scheduled", "--json")
        assert (moved.json["stage_name"], moved.json["pipeline_name"]) == ("Scheduled", SERVICE)
        location_id = stage.more["GHL_LOCATION_ID"]
        assert location_id not in moved.out
        assert writes(stage) == []


async def test_without_a_connection_a_pipeline_is_a_label_and_says_so(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=5) as stage:
        told = await stage.jobsync("units", "set", "1314", "--pipeline", "Anything")
        assert told.code == 0
        assert "label only" in told.out
        refused = await stage.jobsync("pipelines", "refresh")
        assert refused.code == 6
        assert "GHL_API_KEY" in refused.err
        refused = await stage.jobsync("units", "set", "1314", "--card", "sales")
        assert refused.code == 2


async def test_a_renamed_and_a_deleted_stage_are_noticed(dsn: str, tmp_path: Path) -> None:
    async with connected(dsn, tmp_path) as stage:
        first = await stage.jobsync("pipelines", "refresh")
        assert first.out.startswith("3 pipelines, 15 stages, 4 custom fields.")
        await stage.jobsync("units", "set", "1314", "--pipeline", SERVICE, "--stage", "Working")
        await stage.jobsync(
            "rules", "set", "Done", "--event", "completed", "--pipeline", SERVICE, "--stage", "Completed"
        )
        service = next(each for each in pipelines_of(stage) if each["name"] == SERVICE)
        stages = {each["name"]: each for each in service["stages"]}
        stages["Working"]["name"] = "On site"
        service["stages"].remove(stages["Completed"])
        told = await stage.jobsync("pipelines", "refresh")
        assert told.code == 0, told.err
        assert 'Stage "Working" of "Service Pipeline" is now called "On site".' in told.out
        assert 'Stage "Completed" of "Service Pipeline" is gone.' in told.out
        assert '! rule Done: stage "Completed" is gone from pipeline "Service Pipeline"' in told.out
        listed = await stage.jobsync("units", "list")
        assert "Service Pipeline / On site" in listed.out
        shown = (await stage.jobsync("pipelines", "list", "--json")).json
        assert [(row["kind"], row["subject"]) for row in shown["problems"]] == [("rule", "Done")]
        assert {change["change"] for change in shown["changes"]} == {"renamed", "gone"}
        again = await stage.jobsync("pipelines", "refresh", "--json")
        assert again.json["changes"] == []
        text = await stage.jobsync("pipelines", "list")
        assert "gone" in text.out
        assert writes(stage) == []


async def test_a_protected_stage_is_marked_and_freed_by_name(dsn: str, tmp_path: Path) -> None:
    async with connected(dsn, tmp_path) as stage:
        await stage.jobsync("pipelines", "refresh")
        told = await stage.jobsync("pipelines", "protect", "sales pipeline", "Lost")
        assert (told.code, "only people move its cards" in told.out) == (0, True)
        assert stage.value("select name from jobsync.pipeline_stages where protected") == "Lost"
        assert (await stage.jobsync("pipelines", "protect", "sales pipeline", "Lost", "--off")).code == 0
        assert stage.value("select count(*) from jobsync.pipeline_stages where protected") == 0
        assert (await stage.jobsync("pipelines", "protect", "sales pipeline", "Lots")).code == 2


WRONG_RULES = [
    (("--event", "estimate_sould", "--status", "won"), 'Event "estimate_sould" is not known', "estimate_sold"),
    (("--event", "created", "--status", "win"), 'Status "win" is not known', "won"),
    (("--event", "created", "--value", "total"), 'Value "total" is not known', "job_total"),
    (("--event", "created", "--unit", "Pool Servise", "--status", "won"), "Business unit", "Pool Service"),
    (
        ("--event", "created", "--pipeline", "Sales", "--stage", "New Lead"),
        'Pipeline "Sales" is not known',
        "Sales Pipeline",
    ),
    (("--event", "created", "--pipeline", "Sales Pipeline", "--stage", "New Leed"), "Stage of", "New Lead"),
    (("--event", "created", "--stage", "New Lead"), "a stage needs its pipeline", ""),
    (("--event", "created", "--field", "st_job_nr=1"), 'Custom field "st_job_nr" is not known', "st_job_number"),
    (("--event", "created", "--field", "st_job_number=@total"), 'Fact "total" is not known', "invoice_total"),
    (("--event", "created", "--field", "nothing"), "names no field", ""),
    (("--event", "created", "--amount-from", "lots", "--status", "won"), "amount_from lots is no amount", "500"),
    (("--event", "created"), "it does nothing", "pipeline"),
    (("--event", "created", "--job-type", "Nothing like it", "--status", "won"), "Job type", "Nearest"),
]


async def test_what_a_rule_names_wrongly_is_refused_with_the_nearest_names(dsn: str, tmp_path: Path) -> None:
    async with connected(dsn, tmp_path) as stage:
        await stage.jobsync("pipelines", "refresh")
        for words, says, near in WRONG_RULES:
            ran = await stage.jobsync("rules", "set", "A rule", *words)
            assert (ran.code, ran.out) == (2, ""), (words, ran.err)
            assert says in ran.err
            assert near in ran.err
        assert stage.value("select count(*) from jobsync.rules") == 0


async def test_rules_are_set_listed_tried_and_removed_and_nothing_is_sent(dsn: str, tmp_path: Path) -> None:
    async with connected(dsn, tmp_path) as stage:
        await stage.jobsync("units", "set", "1314", "--pipeline", SERVICE)
        told = await stage.jobsync(
            "rules", "set", "Done", "--event", "completed", "--unit", "1314", "--pipeline", SERVICE, "--stage", "Completed",
            "--status", "won", "--add-tag", "st done", "--field", "st_job_number=@job_number", "--amount-from", "0",
        )  # fmt: skip
        assert (told.code, told.out) == (0, "1 rules saved; nothing was sent by this.\n"), told.err
        again = await stage.jobsync("rules", "set", "Lost", "--event", "canceled", "--status", "lost", "--json")
        assert again.json.pop("version") > 0
        assert again.json == {"saved": ["Lost"], "removed": [], "differ": 0, "version": 3}
        listed = (await stage.jobsync("rules", "list", "--json")).json["rules"]
        assert listed == [
            {
                "name": "Done",
                "event": "completed",
                "when": {"units": ["Sales & Service"], "amount_from": 0},
                "then": {"pipeline": SERVICE, "stage": "Completed", "status": "won", "tags": ["st done"], "fields": {"st_job_number": "@job_number"}},
            },
            {"name": "Lost", "event": "canceled", "then": {"status": "lost"}},
        ]  # fmt: skip
        text = await stage.jobsync("rules", "list")
        assert "Service Pipeline / Completed" in text.out
        tried = (await stage.jobsync("rules", "test", "--last", "3650d", "--json")).json
        counts = {each["name"]: each["jobs"] for each in tried["rules"]}
        completed = stage.value(
            "select count(*) from jobs where job_status = 'Completed' and business_unit_id = 1314 and total >= 0"
        )
        assert counts["Done"] == completed > 0
        assert tried["jobs"] == 30
        shown = await stage.jobsync("rules", "test")
        assert "Nothing was written or sent." in shown.out
        assert (await stage.jobsync("rules", "test", "--last", "soon")).code == 2
        missing = await stage.jobsync("rules", "remove", "Dome")
        assert (missing.code, "Nearest: Done" in missing.err) == (4, True)
        assert (await stage.jobsync("rules", "remove", "Done")).code == 0
        assert stage.value("select count(*) from jobsync.rules") == 1
        assert writes(stage) == []


async def test_what_is_exported_can_be_imported_elsewhere_and_changes_nothing_here(dsn: str, tmp_path: Path) -> None:
    async with connected(dsn, tmp_path) as stage:
        await stage.jobsync("units", "set", "1314", "--pipeline", SERVICE, "--stage", "Scheduled")
        await stage.jobsync("units", "set", "54670601", "--pipeline", "Install Pipeline", "--card", "sales")
        await stage.jobsync("units", "set", "4622", "--webhook", stage.add_hook())
        await stage.jobsync("units", "set", "26143", "--external")
        await stage.jobsync(
            "rules",
            "set",
            "Sold",
            "--event",
            "estimate_sold",
            "--unit",
            "Install",
            "--status",
            "won",
            "--position",
            "5",
            "--backwards",
        )
        exported = await stage.jobsync("rules", "export")
        assert "webhook-trigger/" not in exported.out.replace("webhook-trigger/****", "")
        file = tmp_path / "rules.yaml"
        assert (await stage.jobsync("rules", "export", str(file))).code == 0
        assert file.read_text() == exported.out
        same = await stage.jobsync("rules", "import", str(file), "--replace")
        assert (same.code, same.out) == (0, "Nothing changed; nothing was sent by this.\n"), same.err

        # Gone, and brought back by the file.
        await stage.jobsync("units", "set", "1314", "--pipeline", "Sales Pipeline")
        await stage.jobsync("rules", "remove", "Sold")
        await stage.jobsync("rules", "set", "Other", "--event", "created", "--status", "open")
        planned = await stage.jobsync("rules", "import", str(file), "--replace", "--dry-run", "--json")
        assert planned.json == {"routes": [1314], "saved": ["Sold"], "removed": ["Other"], "dry_run": True}
        assert stage.value("select name from jobsync.rules") == "Other"
        done = await stage.jobsync("rules", "import", str(file), "--replace", "--json")
        assert (done.json["routes"], done.json["saved"], done.json["removed"]) == ([1314], ["Sold"], ["Other"])
        assert (await stage.jobsync("rules", "export")).out == exported.out
        tried = await stage.jobsync("rules", "test", "--file", str(file), "--json")
        assert [each["name"] for each in tried.json["rules"]] == ["Sold"]
        assert writes(stage) == []


WRONG_FILES = [
    ("rules: [", "not readable YAML (line 1)"),
    ("- a", "neither routes nor rules"),
    ("rulez: []", 'The part "rulez" is not known'),
    ("rules: {a: b}", "`rules` is a list"),
    ("rules: [{name: X, event: created, than: {}}]", 'The key "than" is not known'),
    ("rules: [{name: X, event: created, then: {stat: won}}]", 'The key of `then` "stat" is not known'),
    ("rules: [{name: X, event: created, then: {status: won}, backwards: 'no'}]", "backwards is true or false"),
    ("rules: [{event: created, then: {status: won}}]", "a rule needs a name"),
    (
        "rules: [{name: X, event: created, then: {status: won}}, {name: X, event: hold, then: {status: won}}]",
        "Two rules are called",
    ),
    ("routes: [{unit: Sales & Servis, pipeline: A}]", "Business unit"),
    ("routes: [{unit: Install}]", "names no pipeline"),
    ("routes: [{unit: Install, webhook: 'https://x.test/hooks/1'}]", "a hook's URL is a secret"),
    ("routes: [{unit: Install, pipelin: A}]", 'The key of a route "pipelin" is not known'),
]


async def test_a_file_that_cannot_be_right_changes_nothing(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=1, engine=False) as stage:
        file = tmp_path / "rules.yaml"
        for text, says in WRONG_FILES:
            file.write_text(text)
            ran = await stage.jobsync("rules", "import", str(file))
            assert (ran.code, ran.out) == (2, ""), (text, ran.err)
            assert says in ran.err
            assert "Traceback" not in ran.err
        assert stage.value("select (select count(*) from jobsync.rules) + (select count(*) from jobsync.routes)") == 0


def test_the_simulated_location_is_the_one_these_stories_speak_of() -> None:
    assert SERVICE in gohighlevel.furnish.__globals__["PIPELINES"]
