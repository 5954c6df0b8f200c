"""`jobsync sync` as a process: one JSON object, the exit codes, and what it says when something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.upstreams import FEEDS, call_jobsync, open_stage

pytestmark = pytest.mark.anyio

KEYS = {
    "pulled",
    "stored",
    "unchanged",
    "quarantined",
    "planned",
    "delivered",
    "verified",
    "skipped",
    "failed",
    "requests",
    "duration_s",
}


async def test_sync_on_an_empty_database_prints_one_object_with_exactly_the_promised_keys(
    empty_dsn: str, tmp_path: Path
) -> None:
    async with open_stage(empty_dsn, tmp_path, jobs=40, engine=False) as stage:
        ran = await stage.process("sync", "--json")
        assert (ran.code, ran.err) == (0, "")
        assert set(ran.json) == KEYS
        assert set(ran.json["requests"]) == {"servicetitan", "gohighlevel"}
        assert (ran.json["pulled"], ran.json["stored"], ran.json["unchanged"]) == (40, 40, 0)
        assert ran.json["skipped"] == 40
        hook = stage.add_hook()
        ran = await stage.jobsync("units", "set", "1314", "--webhook", hook)
        assert (ran.code, ran.err) == (0, "")
        assert hook not in ran.out
        again = await stage.process("sync", "--json")
        assert again.code == 0
        assert again.json["delivered"] == len(stage.jobs_of(1314))
        assert stage.posts() == dict.fromkeys(stage.jobs_of(1314), 1)


async def test_sync_in_observe_mode_sends_nothing_and_says_so(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, more={"JOBSYNC_MODE": None}) as stage:
        await stage.route_all()
        ran = await stage.process("sync", "--json")
        assert ran.code == 0
        assert (ran.json["pulled"], ran.json["planned"], ran.json["delivered"]) == (30, 30, 0)
        assert "30 planned, nothing sent: mode is observe. Next: jobsync arm" in ran.err
        told = await stage.jobsync("sync")
        assert "30 planned, nothing sent: mode is observe. Next: jobsync arm" in told.out
        refused = await stage.jobsync("deliver")
        assert refused.code == 5
        assert "mode is observe" in refused.err
        assert stage.posts() == {}


async def test_failed_jobs_make_exit_code_4_and_the_last_try_counts(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30) as stage:
        await stage.sync(deliver=False)
        failing = stage.add_hook()
        stage.break_hook(failing, "status", status=500)
        await stage.route(1314, failing)
        await stage.route(4622)
        ran = await stage.process("sync", "--json")
        assert ran.code == 4
        assert ran.json["failed"] == len(stage.jobs_of(1314))
        assert ran.json["delivered"] == len(stage.jobs_of(4622))
        assert stage.posts() == dict.fromkeys(stage.jobs_of(1314, 4622), 1)
        # However slow this machine is: the first retry, 5 s later, is not due yet.
        stage.run("update jobsync.outbox set next_attempt_at = next_attempt_at + interval '1 hour'")
        again = await stage.process("sync", "--json")
        assert again.code == 0, "what is not due yet has not failed in this pass"


@pytest.mark.parametrize("words", [("sync", "--json"), ("pull",)], ids=["sync", "pull"])
async def test_missing_servicetitan_variables_are_named(dsn: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    given = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": tmp_path, "SERVICE_TITAN_TENANT_ID": "1"}
    ran = await call_jobsync(tmp_path, given, *words)
    assert ran.code == 6
    assert ran.out == ""
    for name in ("SERVICE_TITAN_CLIENT_ID", "SERVICE_TITAN_CLIENT_SECRET", "SERVICE_TITAN_APP_KEY"):
        assert name in ran.err
    assert "SERVICE_TITAN_TENANT_ID" not in ran.err.split("not set")[0]
    assert "Traceback" not in ran.err


async def test_sync_without_any_credentials_says_what_to_set(dsn: str, tmp_path: Path) -> None:
    ran = await call_jobsync(tmp_path, {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": tmp_path}, "sync", "--json")
    assert ran.code == 6
    assert ran.out == ""
    assert "SERVICE_TITAN_APP_KEY" in ran.err
    assert "jobsync demo" in ran.err


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        ({"SERVICE_TITAN_CLIENT_SECRET": "wrong"}, 6, "ServiceTitan refused to sign in"),
        ({"SERVICE_TITAN_APP_KEY": "ak1.wrong"}, 6, "ServiceTitan"),
        ({"SERVICE_TITAN_API_URL": "http://127.0.0.1:1"}, 7, "ServiceTitan"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}, 6, "PostgreSQL"),
        ({"DATABASE_URL": "this is no url"}, 6, "DATABASE_URL"),
        ({"DATABASE_URL": "mysql://a:topsecret@127.0.0.1/b"}, 6, "DATABASE_URL"),
        ({"JOBSYNC_MODE": "loud"}, 6, "JOBSYNC_MODE"),
        ({"JOBSYNC_DELIVER_FROM": "yesterday"}, 6, "JOBSYNC_DELIVER_FROM"),
    ],
    ids=["secret", "app key", "no ServiceTitan", "no server", "no url", "another database", "mode", "date"],
)
async def test_bad_settings_end_in_one_sentence_and_the_documented_code(
    dsn: str, tmp_path: Path, change: dict[str, str], code: int, sentence: str
) -> None:
    async with open_stage(dsn, tmp_path, jobs=5, engine=False) as stage:
        ran = await stage.jobsync("sync", **change)
        assert ran.code == code, ran.err
        assert sentence in ran.err
        assert_plain(ran.err)
        assert ran.err.count("jobsync: ") == 1
        assert "topsecret" not in ran.err
        assert stage.posts() == {}


async def test_a_wrong_database_password_is_named_and_not_shown(dsn: str, tmp_path: Path) -> None:
    from psycopg.conninfo import make_conninfo

    wrong = make_conninfo(dsn, password="not-the-right-one")
    ran = await call_jobsync(tmp_path, {"DATABASE_URL": wrong, "JOBSYNC_DATA_DIR": tmp_path}, "status")
    assert ran.code == 6
    assert "refused the user or the password" in ran.err
    assert "not-the-right-one" not in ran.err
    assert_plain(ran.err)


async def test_an_unreadable_env_file_is_named(dsn: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00broken")
    ran = await call_jobsync(tmp_path, {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": tmp_path}, "status")
    assert ran.code == 6
    assert ".env" in ran.err
    assert_plain(ran.err)


@pytest.mark.parametrize("words", [("sync", "--loud"), ("syncc",), ("arm", "--limit", "none"), ("units", "set", "x")])
async def test_wrong_words_end_with_usage_and_exit_code_2(tmp_path: Path, words: tuple[str, ...]) -> None:
    ran = await call_jobsync(tmp_path, {"JOBSYNC_DATA_DIR": tmp_path}, *words)
    assert ran.code == 2
    assert ran.out == ""
    assert_plain(ran.err)


async def test_a_stream_that_cannot_be_read_is_said_and_the_others_are_stored(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20) as stage:
        stage.titan.faults.refuse(FEEDS)
        stage.titan.faults.plan("status", "jpm/jobs", status=400, count=None)
        ran = await stage.jobsync("sync", "--json")
        assert ran.code == 7
        assert set(ran.json) == KEYS
        assert ran.json["pulled"] == 0
        assert "list of jobs" in ran.err
        log = stage.rows("select status, error_message from sync_logs where sync_type = 'job_pull'")[-1]
        assert log["status"] == "failed"
        assert "jobs" in log["error_message"]


def assert_plain(text: str) -> None:
    assert "Traceback" not in text
    assert "unexpected error" not in text
    assert text.strip()
