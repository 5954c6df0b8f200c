"""init: from credentials to a JobSync that observes; nothing is sent, no secret is shown or written in clear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from jobsync.engine.setup import guess_routes
from jobsync.gohighlevel.records import Pipeline, Stage
from tests.terminal import open_terminal
from tests.upstreams import Stage as Theatre
from tests.upstreams import call_jobsync, open_stage

pytestmark = pytest.mark.anyio
CREDENTIALS = (
    "SERVICE_TITAN_TENANT_ID",
    "SERVICE_TITAN_CLIENT_ID",
    "SERVICE_TITAN_CLIENT_SECRET",
    "SERVICE_TITAN_APP_KEY",
    "GHL_API_KEY",
    "GHL_LOCATION_ID",
)
WITHOUT: dict[str, Any] = dict.fromkeys((*CREDENTIALS, "JOBSYNC_MODE", "JOBSYNC_DELIVER_FROM"))


def secrets_of(stage: Theatre) -> list[str]:
    account = stage.titan.account()
    return [
        account.client_secret,
        account.app_key,
        *([stage.more["GHL_API_KEY"]] if "GHL_API_KEY" in stage.more else []),
    ]


async def test_from_the_environment_everything_is_tried_sealed_and_routed_and_nothing_is_sent(
    dsn: str, tmp_path: Path
) -> None:
    observe = {"JOBSYNC_MODE": None, "JOBSYNC_DELIVER_FROM": None}
    async with open_stage(dsn, tmp_path, jobs=20, engine=False, connected=True, more=observe) as stage:
        ran = await stage.jobsync("init", "--from-env", "--yes", "--json")
        assert ran.code == 0, ran.err
        assert (ran.json["servicetitan"]["units"], ran.json["mode"]) == (7, "observe")
        assert "jobs" in ran.json["servicetitan"]["may_read"]
        assert len(ran.json["gohighlevel"]["pipelines"]) == 3
        routed = {route["name"]: route for route in ran.json["routes"] if route["decision"] == "routed"}
        assert routed and all(route["pipeline"] and route["stage"] for route in routed.values())
        assert sum(route["jobs"] for route in ran.json["routes"]) == ran.json["servicetitan"]["jobs"] > 0
        assert "Nothing will be sent yet: mode is OBSERVE.   Next: jobsync doctor" in ran.err

        saved = (tmp_path / "jobsync.yaml").read_text()
        assert yaml.safe_load(saved)["GHL_API_URL"] == stage.level_url
        assert (tmp_path / "secret.key").stat().st_mode & 0o077 == 0
        for secret in secrets_of(stage):
            assert secret not in ran.out + ran.err + saved
            assert (
                stage.value(
                    "select count(*) from jobsync.connections where position(%s::bytea in sealed) > 0", secret.encode()
                )
                == 0
            )

        # From here on the environment is not needed any more: what was sealed is used.
        looked = await stage.jobsync("doctor", "--json", "--only", "servicetitan,gohighlevel", **WITHOUT)
        assert looked.code == 0, looked.out
        assert (await stage.jobsync("pull", **WITHOUT)).code == 0
        assert stage.value("select count(*) from jobs") == 20
        assert stage.posts() == {}

        again = await stage.jobsync("init", "--from-env", "--yes", "--json")
        assert again.code == 0 and {route["name"] for route in again.json["routes"]}.isdisjoint(routed)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"SERVICE_TITAN_CLIENT_SECRET": "wrong-secret-x"}, "SERVICE_TITAN_CLIENT_ID, _CLIENT_SECRET"),
        ({"SERVICE_TITAN_APP_KEY": None}, "SERVICE_TITAN_APP_KEY not set"),
        ({"SERVICE_TITAN_API_URL": "http://127.0.0.1:9"}, "127.0.0.1:9 cannot be reached"),
        ({"GHL_API_KEY": "pit-wrong-token-x"}, "GHL_API_KEY"),
        (dict.fromkeys(CREDENTIALS), "ServiceTitan's credentials are not set"),
    ],
    ids=["secret", "app key", "host", "token", "none"],
)
async def test_what_does_not_work_is_one_sentence_and_is_not_saved(
    dsn: str, tmp_path: Path, given: dict[str, Any], sentence: str
) -> None:
    async with open_stage(dsn, tmp_path, jobs=2, engine=False, connected=True) as stage:
        ran = await stage.jobsync("init", "--from-env", **given)
        assert ran.code == 6, ran.err
        assert sentence in ran.err and "Traceback" not in ran.err and "wrong-" not in ran.err
        assert not (tmp_path / "jobsync.yaml").exists()
        stored = 1 if "GHL_API_KEY" in given and len(given) == 1 else 0
        assert stage.value("select count(*) from jobsync.connections") == stored


async def test_a_missing_scope_is_named_and_the_exit_code_says_whether_jobs_need_it(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=2, engine=False) as stage:
        stage.titan.faults.refuse("accounting/invoices")
        ran = await stage.jobsync("init", "--from-env")
        assert ran.code == 0, ran.err
        assert "! may not read     invoices" in ran.err
        stage.titan.faults.refuse("crm/customers")
        ran = await stage.jobsync("init", "--from-env")
        assert ran.code == 3 and "✗ may not read     customers" in ran.err


async def test_without_a_terminal_it_says_how_else(dsn: str, tmp_path: Path) -> None:
    ran = await call_jobsync(tmp_path, {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": tmp_path}, "init")
    assert (ran.code, ran.out) == (2, "")
    assert "jobsync init --from-env" in ran.err


async def test_a_config_file_that_says_something_else_is_left_alone_without_force(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "jobsync.yaml").write_text("PORT: 4001\n")
    async with open_stage(dsn, tmp_path, jobs=2, engine=False) as stage:
        ran = await stage.jobsync("init", "--from-env")
        assert ran.code == 0 and "--force replaces it" in ran.err
        assert (tmp_path / "jobsync.yaml").read_text() == "PORT: 4001\n"
        ran = await stage.jobsync("init", "--from-env", "--force")
        assert ran.code == 0 and yaml.safe_load((tmp_path / "jobsync.yaml").read_text())["PORT"] == 4001


async def test_a_person_is_guided_may_err_and_ends_with_a_connected_jobsync(empty_dsn: str, tmp_path: Path) -> None:
    more = {**WITHOUT, "DATABASE_URL": None}
    async with open_stage(empty_dsn, tmp_path, jobs=12, engine=False) as stage:
        stage.connect_location()
        account, token, location = stage.titan.account(), stage.more["GHL_API_KEY"], stage.location.id
        async with open_terminal(tmp_path, {**stage.environment(), **more}, "init") as terminal:
            await terminal.answer("Database", empty_dsn)
            for secret in ("not-the-secret", account.client_secret):
                await terminal.answer("Environment", "")
                await terminal.answer("Tenant ID", str(account.tenant))
                await terminal.answer("Client ID", account.client_id)
                await terminal.answer("Client secret (hidden): ", secret)
                await terminal.answer("App key (hidden): ", account.app_key)
            await terminal.expect("signed in        tenant")
            await terminal.answer("GHL location ID", location)
            await terminal.answer("token (hidden): ", token)
            await terminal.expect('signed in        location "')
            await terminal.answer(" jobs   -> ", "No Such Pipeline")
            await terminal.expect("is not known")
            for answer in ("s", "l", "", "", "", "", ""):
                await terminal.answer(" jobs   -> ", answer)
            await terminal.expect("Nothing will be sent yet: mode is OBSERVE")
            assert await terminal.end() == 0, terminal.said
        for secret in ("not-the-secret", account.client_secret, account.app_key, token):
            assert secret not in terminal.said
        assert stage.value("select count(*) from jobsync.connections") == 2
        assert stage.value("select count(*) from business_units where not sync_to_ghl") == 1
        assert (tmp_path / ".env").exists() == (
            "password" in empty_dsn or ":" in empty_dsn.split("//")[-1].split("@")[0]
        )
        assert stage.posts() == {}


def pipeline(name: str, *stages: str) -> Pipeline:
    return Pipeline(name.casefold(), name, tuple(Stage(stage, stage) for stage in stages))


async def test_a_guess_is_the_pipeline_that_shares_most_words_and_a_tie_is_none() -> None:
    pipelines = [
        pipeline("INSTALL PIPELINE", "Estimate Approved", "Sold"),
        pipeline("Pool Services"),
        pipeline("Pool Sales"),
    ]
    units = [
        {"st_business_unit_id": at, "name": name, "deliverer": "none", "sync_to_ghl": True}
        for at, name in enumerate(("Install", "Pool Service", "Pool", "Plumbing"))
    ]
    guesses = {guess.name: (guess.pipeline, guess.stage) for guess in guess_routes(units, pipelines)}
    assert guesses == {
        "Install": ("INSTALL PIPELINE", "Estimate Approved"),
        "Pool Service": ("Pool Services", None),
        "Pool": (None, None),
        "Plumbing": (None, None),
    }
    assert guess_routes([{**units[0], "deliverer": "external"}], pipelines) == []
