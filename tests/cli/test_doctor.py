"""doctor names what is wrong, why and what to do, and exits 3 for what stops JobSync."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cli.test_rules import SERVICE, connected, pipelines_of, writes
from tests.conftest import Server
from tests.docs.walk import on_stage
from tests.upstreams import Ran, Stage, call_jobsync, open_stage

pytestmark = pytest.mark.anyio


def by_name(ran: Ran) -> dict[str, Any]:
    return {f"{finding['group']} {finding['name']}": finding for finding in ran.json["findings"]}


async def examine(stage: Stage, *words: str, **changes: Any) -> Ran:
    return await stage.jobsync("doctor", "--json", *words, **changes)


async def test_a_healthy_installation_has_no_problem_and_every_scope_is_named(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=6) as stage:
        await stage.sync(deliver=False)
        ran = await examine(stage)
        assert ran.code == 0, ran.out
        found = by_name(ran)
        for name in (
            "database login",
            "database schema",
            "servicetitan scope jobs",
            "servicetitan scope invoices",
            "servicetitan clock",
        ):
            assert found[name]["state"] == "ok", found[name]
        assert found["routing units"]["state"] == "warning" and "unmapped" in found["routing units"]["what"]
        assert found["worker worker"]["state"] == "warning"
        shown = await stage.jobsync("doctor")
        assert "fix: jobsync up" in shown.out and "0 problems" in shown.out


@pytest.mark.parametrize(
    ("given", "group", "name", "what"),
    [
        ({"DATABASE_URL": "postgresql://u:p@no-such-host.invalid/x"}, "database", "reach", "no-such-host.invalid"),
        ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:9/x"}, "database", "reach", "127.0.0.1:9 cannot be reached"),
        ({"SERVICE_TITAN_CLIENT_SECRET": None}, "servicetitan", "credentials", "SERVICE_TITAN_CLIENT_SECRET"),
        ({"SERVICE_TITAN_CLIENT_SECRET": "wrong"}, "servicetitan", "login", ""),
        ({"SERVICE_TITAN_API_URL": "http://127.0.0.1:9"}, "servicetitan", "API host", "127.0.0.1:9 cannot be reached"),
    ],
)
async def test_what_stops_jobsync_is_a_problem_with_its_fix(
    dsn: str, tmp_path: Path, given: dict[str, Any], group: str, name: str, what: str
) -> None:
    async with open_stage(dsn, tmp_path, jobs=2, engine=False) as stage:
        assert (await stage.jobsync("db", "migrate")).code == 0
        ran = await examine(stage, **given)
        assert ran.code == 3
        found = by_name(ran)[f"{group} {name}"]
        assert found["state"] == "problem" and what in found["what"]
        assert found["fix"]
        assert "wrong" not in ran.out or "are wrong" in ran.out


async def test_a_missing_scope_that_jobs_need_is_a_problem_and_an_optional_one_a_warning(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=2) as stage:
        stage.titan.faults.refuse("accounting/invoices")
        stage.titan.faults.refuse("crm/customers")
        found = by_name(await examine(stage, "--only", "servicetitan"))
        assert found["servicetitan scope invoices"]["state"] == "warning"
        assert found["servicetitan scope customers"]["state"] == "problem"
        assert found["servicetitan scope locations"]["state"] == "ok"


async def test_an_old_flow_that_still_marks_jobs_of_our_unit_is_found(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=4) as stage:
        await stage.route_all()
        stage.run("insert into jobsync.outside_marks values ('default', 1314, jobsync.now())")
        ran = await examine(stage, "--only", "routing")
        assert ran.code == 3
        assert "--external" in by_name(ran)["routing old flow"]["fix"]


async def test_fix_makes_the_key_file_private_and_migrates_an_empty_database(empty_dsn: str, tmp_path: Path) -> None:
    given = {"DATABASE_URL": empty_dsn, "JOBSYNC_DATA_DIR": tmp_path}
    key = tmp_path / "secret.key"
    key.write_text(base64.b64encode(bytes(32)).decode())
    key.chmod(0o644)
    before = await call_jobsync(tmp_path, given, "doctor", "--json", "--only", "secrets,database")
    assert before.code == 3
    assert {f["name"] for f in before.json["findings"] if f["state"] == "problem"} == {"key file", "schema"}
    after = await call_jobsync(tmp_path, given, "doctor", "--fix", "--json", "--only", "secrets,database")
    assert after.code == 0, after.out
    assert "is private now" in after.err and "migrations" in after.err
    assert key.stat().st_mode & 0o077 == 0


async def test_stages_that_moved_away_under_a_route_and_a_quota_that_runs_out_are_found_by_reads(
    dsn: str, tmp_path: Path
) -> None:
    async with connected(dsn, tmp_path) as stage:
        for unit, name in (("1314", "Working"), ("4622", "Completed")):
            assert (await stage.jobsync("units", "set", unit, "--pipeline", SERVICE, "--stage", name)).code == 0
        well = by_name(await examine(stage, "--only", "ghl"))
        assert well["gohighlevel stages"]["what"] == "2 routes point at stages that exist"
        assert well["gohighlevel quota"]["state"] == "ok"
        service = next(each for each in pipelines_of(stage) if each["name"] == SERVICE)
        stages = {each["name"]: each for each in service["stages"]}
        stages["Working"]["name"] = "On site"
        service["stages"].remove(stages["Completed"])
        left = int(well["gohighlevel quota"]["what"].split(" ")[0].replace(",", ""))
        # Four reads of this look, and one or two are left.
        stage.level.switches.turn(daily_limit=200_000 - left + 5)
        ran = await examine(stage, "--only", "ghl")
        assert ran.code == 3
        drift = {one["state"]: one for one in ran.json["findings"] if one["name"] == "stages"}
        assert 'is now called "On site"' in drift["warning"]["what"]
        assert 'the stage "Completed"' in drift["problem"]["what"] and "units set 4622" in drift["problem"]["fix"]
        assert by_name(ran)["gohighlevel quota"]["state"] == "warning"
        assert writes(stage) == []


async def test_rights_and_room_of_the_database_are_looked_at(dsn: str, server: Server, tmp_path: Path) -> None:
    given = {"JOBSYNC_DATA_DIR": tmp_path}
    ran = await call_jobsync(tmp_path, {**given, "DATABASE_URL": dsn}, "doctor", "--json", "--only", "database")
    found = by_name(ran)
    assert found["database rights"]["state"] == "ok" and found["database connections"]["state"] == "ok"
    most = {**given, "DATABASE_URL": dsn, "DATABASE_MAX_CONNECTIONS": "499"}
    ran = await call_jobsync(tmp_path, most, "doctor", "--json", "--only", "database")
    assert by_name(ran)["database connections"]["state"] == "warning"
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'alter database "{name}" set default_transaction_read_only = on'.encode())
    ran = await call_jobsync(tmp_path, {**given, "DATABASE_URL": dsn}, "doctor", "--json", "--only", "database")
    assert ran.code == 3 and by_name(ran)["database rights"]["what"] == "this server takes no writes"
    if server.superuser_dsn is not None:
        above = make_conninfo(server.superuser_dsn, dbname=name, options="-cdefault_transaction_read_only=off")
        ran = await call_jobsync(tmp_path, {**given, "DATABASE_URL": above}, "doctor", "--json", "--only", "database")
        assert by_name(ran)["database rights"]["what"] == "the user is a superuser"


async def test_a_config_file_with_secrets_that_others_may_read_is_found_and_made_private(
    dsn: str, tmp_path: Path
) -> None:
    given = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": tmp_path}
    file = tmp_path / "jobsync.yaml"
    file.write_text("port: 3001\n")
    file.chmod(0o644)
    ran = await call_jobsync(tmp_path, given, "doctor", "--json", "--only", "secrets")
    assert "secrets config file" not in by_name(ran), "a port is no secret"
    file.write_text("ghl_api_key: made-up\n")
    ran = await call_jobsync(tmp_path, given, "doctor", "--json", "--only", "secrets")
    assert by_name(ran)["secrets config file"]["state"] == "warning" and "made-up" not in ran.out
    await call_jobsync(tmp_path, given, "doctor", "--fix", "--only", "secrets")
    assert file.stat().st_mode & 0o077 == 0


async def test_fix_with_the_database_away_still_ends_in_findings(tmp_path: Path) -> None:
    given = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:9/x", "JOBSYNC_DATA_DIR": tmp_path}
    ran = await call_jobsync(tmp_path, given, "doctor", "--fix", "--json")
    assert ran.code == 3 and by_name(ran)["database reach"]["state"] == "problem"


async def test_an_unknown_group_is_one_sentence(dsn: str, tmp_path: Path) -> None:
    ran = await call_jobsync(
        tmp_path, {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": tmp_path}, "doctor", "--only", "weather"
    )
    assert ran.code == 2 and "weather is no group" in ran.err


async def test_only_database_takes_the_place_of_the_guides_connection_test(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=2, engine=False) as stage:
        reader = on_stage(stage)
        ran = await reader.jobsync("doctor", "--only", "database")
        assert ran.code == 0 and "PostgreSQL" in ran.out and "5 of 5 guide tables" in ran.out
