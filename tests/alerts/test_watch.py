"""Alerts reach Slack and a mailbox once, repeat when they should, and never stand in the way of a sync."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from apprise.plugins.slack import NotifySlack

from jobsync.alerts.channels import write_urls
from jobsync.alerts.settings import change_settings, list_alerts, list_channels, mute_alert, remove_channel
from jobsync.alerts.watch import send_test, watch
from jobsync.config import Settings
from jobsync.engine.context import Engine
from jobsync.engine.opening import open_engine
from jobsync.errors import InvalidInput, RecordMissing
from tests.alerts.outlets import Hook, Mailbox, open_hook, open_mailbox
from tests.clock import move_clock
from tests.docs.walk import on_stage, walk_page
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio
TENANT = "default"
KEY = "made-up-key-made-up-key0".replace("-", "")
SLACK = f"slack://T1JJ3T3L2/A1BRTD4JD/{KEY:x<24}"


@asynccontextmanager
async def open_here(dsn: str, folder: Path, **more: Any) -> AsyncIterator[Engine]:
    given = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": folder, "LOG_LEVEL": "ERROR", **more}
    async with open_engine(Settings.model_validate(given)) as engine:
        # A digest of the first round would be one message more.
        await change_settings(engine, TENANT, actor="test", digest="none")
        yield engine


def change(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


def fail_a_sync(dsn: str) -> None:
    """What an n8n flow of the guide writes when it failed."""
    change(
        dsn,
        "insert into sync_logs (sync_type, status, error_message) values ('job_pull', 'failed', 'node Get Jobs failed')",
    )


@pytest.fixture
async def slack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hook]:
    async with open_hook() as hook:
        # The library knows one address of Slack only; the stand-in takes its place.
        monkeypatch.setattr(NotifySlack, "webhook_url", hook.root + "/services")
        monkeypatch.setattr(NotifySlack, "request_rate_per_sec", 0)
        yield hook


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with open_mailbox() as box:
        yield box


async def test_a_failed_sync_is_told_once_by_slack_and_by_mail_with_why_and_fix(
    dsn: str, tmp_path: Path, slack: Hook, mailbox: Mailbox
) -> None:
    async with open_here(dsn, tmp_path, JOBSYNC_ALERT_URLS=f"{SLACK} {mailbox.url}") as engine:
        assert (await watch(engine)).told == 0
        fail_a_sync(dsn)
        assert (await watch(engine)).told == 1
        assert (await watch(engine)).told == 0
    (mail,) = mailbox.mails
    assert "1 pull run failed in the last hour" in str(mail["subject"])
    for text in (mail.get_content(), slack.texts()):  # type: ignore[attr-defined]
        assert "node Get Jobs failed" in text
        assert "jobsync status" in text
    assert len(slack.posts) == 1


async def test_an_open_alert_is_told_again_after_a_day_and_its_end_once(dsn: str, tmp_path: Path, slack: Hook) -> None:
    async with open_here(dsn, tmp_path, JOBSYNC_ALERT_URLS=SLACK) as engine:
        change(dsn, "update jobsync.tenants set mode_reason = 'cap_hour'")
        assert (await watch(engine)).told == 1
        move_clock(dsn, "23 hours")
        assert (await watch(engine)).told == 0
        move_clock(dsn, "2 hours")
        assert (await watch(engine)).told == 1
        change(dsn, "update jobsync.tenants set mode_reason = null")
        assert (await watch(engine)).told == 0
        move_clock(dsn, "6 minutes")
        assert (await watch(engine)).told == 1
        assert (await watch(engine)).told == 0
        assert await list_alerts(engine, TENANT) == []
        assert [row["code"] for row in await list_alerts(engine, TENANT, everything=True)] == ["cap_reached"]
    assert "mended" in slack.texts()
    assert len(slack.posts) == 3


async def test_what_flaps_is_told_once(dsn: str, tmp_path: Path, slack: Hook) -> None:
    async with open_here(dsn, tmp_path, JOBSYNC_ALERT_URLS=SLACK) as engine:
        for _ in range(4):
            change(dsn, "update jobsync.tenants set mode_reason = 'cap_day'")
            await watch(engine)
            change(dsn, "update jobsync.tenants set mode_reason = null")
            await watch(engine)
            move_clock(dsn, "2 minutes")
    assert len(slack.posts) == 1


async def test_a_warning_waits_for_the_end_of_the_quiet_hours_and_a_critical_one_does_not(
    dsn: str, tmp_path: Path, slack: Hook
) -> None:
    async with open_here(dsn, tmp_path, JOBSYNC_ALERT_URLS=SLACK) as engine:
        await change_settings(engine, TENANT, actor="test", time_zone="America/Phoenix", quiet="00:00-23:59")
        fail_a_sync(dsn)
        change(dsn, "update jobsync.tenants set mode_reason = 'cap_hour'")
        await watch(engine)
        assert len(slack.posts) == 1 and "disarmed itself" in slack.texts()
        await change_settings(engine, TENANT, actor="test", quiet="none")
        await watch(engine)
    assert len(slack.posts) == 2 and "pull run failed" in slack.texts()


async def test_a_muted_alert_stays_in_the_list_and_is_not_told(dsn: str, tmp_path: Path, slack: Hook) -> None:
    async with open_here(dsn, tmp_path) as engine:
        fail_a_sync(dsn)
        assert (await watch(engine)).told == 0
        assert await mute_alert(engine, TENANT, "failed_syncs", subject=None, hours=72, actor="test") == 1
        with pytest.raises(RecordMissing):
            await mute_alert(engine, TENANT, "nothing", subject=None, hours=1, actor="test")
        await write_urls(engine, TENANT, [SLACK])
        move_clock(dsn, "25 hours")
        fail_a_sync(dsn)
        await watch(engine)
        assert slack.posts == []
        assert [row["code"] for row in await list_alerts(engine, TENANT)] == ["failed_syncs"]


async def test_a_channel_that_is_down_is_itself_an_alert_and_the_others_are_told(
    dsn: str, tmp_path: Path, slack: Hook, mailbox: Mailbox
) -> None:
    slack.status = 500
    async with open_here(dsn, tmp_path, JOBSYNC_ALERT_URLS=f"{SLACK} {mailbox.url}") as engine:
        for _ in range(3):
            await send_test(engine, TENANT)
        await watch(engine)
        (down,) = await list_alerts(engine, TENANT)
        assert down["code"] == "channel_down" and down["subject"].startswith("slack:")
        assert SLACK.rsplit("/", 1)[1] not in str(down)
        shown = {row["channel"].split(":")[0]: row["failures"] for row in await list_channels(engine, TENANT)}
        assert shown["slack"] >= 3 and min(shown.values()) == 0
    assert "do not get through to slack" in str(mailbox.mails[-1]["subject"])


async def test_what_no_channel_took_is_told_by_the_next_round(dsn: str, tmp_path: Path, slack: Hook) -> None:
    async with open_here(dsn, tmp_path, JOBSYNC_ALERT_URLS=SLACK) as engine:
        slack.status = 500
        fail_a_sync(dsn)
        report = await watch(engine)
        assert (report.told, report.failed) == (0, 1)
        slack.status = 200
        assert (await watch(engine)).failed == 0
        assert slack.texts().count("node Get Jobs failed") == 2
        assert (await watch(engine)).told == 0


async def test_channels_are_sealed_named_without_their_secret_and_removed_by_name(dsn: str, tmp_path: Path) -> None:
    async with open_here(dsn, tmp_path) as engine:
        (channel,) = await write_urls(engine, TENANT, [SLACK])
        assert KEY not in repr(channel)
        with psycopg.connect(dsn) as connection:
            (sealed,) = connection.execute("select sealed from jobsync.alert_settings").fetchone() or (b"",)
        assert KEY.encode() not in sealed
        with pytest.raises(InvalidInput, match="Alert URL 2") as refused:
            await write_urls(engine, TENANT, [SLACK, "nonsense-secret"])
        assert "secret" not in refused.value.message
        with pytest.raises(RecordMissing):
            await remove_channel(engine, TENANT, "slack:00000000")
        assert await remove_channel(engine, TENANT, channel.name) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"time_zone": "Mars/Base"}, "time zone Mars/Base is not known"),
        ({"quiet": "late"}, "no span"),
        ({"quiet": "25:00-07:00"}, "22:00"),
        ({"digest": "noon-ish"}, "22:00"),
        ({"silence_hours": 0}, "1 to 720"),
    ],
)
async def test_a_setting_that_cannot_be_is_one_sentence(
    dsn: str, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    async with open_here(dsn, tmp_path) as engine:
        with pytest.raises(InvalidInput, match=message):
            await change_settings(engine, TENANT, actor="test", **given)


async def test_the_dead_man_switch_is_pinged_while_the_pull_is_alive_and_only_then(dsn: str, tmp_path: Path) -> None:
    async with (
        open_hook() as switch,
        open_stage(dsn, tmp_path, jobs=6, more={"JOBSYNC_PING_URL": f"{switch.root}/ping"}) as stage,
    ):
        assert not (await watch(stage.engine)).pinged
        await stage.sync(deliver=False)
        assert (await watch(stage.engine)).pinged
        move_clock(dsn, "16 minutes")
        assert not (await watch(stage.engine)).pinged
        assert switch.posts == ["/ping"]
        assert {row["code"] for row in await list_alerts(stage.engine, TENANT)} >= {"lag", "unmapped_unit"}


async def test_a_hook_that_fails_is_paused_and_told_with_the_jobs_that_wait(
    dsn: str, tmp_path: Path, slack: Hook
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, more={"JOBSYNC_ALERT_URLS": SLACK}) as stage:
        await stage.sync(deliver=False)
        hook = stage.add_hook(mode="test")
        await stage.route(1314, hook)
        await stage.sync(pull=False)
        await watch(stage.engine)
        codes = {row["code"] for row in await list_alerts(stage.engine, TENANT)}
        assert {"destination_paused", "dead_letters"} <= codes
    assert "not saved or not published" in slack.texts()
    assert hook.rsplit("/", 1)[1] not in slack.texts()


async def test_a_disk_that_is_nearly_full_is_told_until_there_is_room(
    dsn: str, tmp_path: Path, slack: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 40 << 20
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100 << 30, (100 << 30) - left, left))
    async with open_here(dsn, tmp_path, JOBSYNC_ALERT_URLS=SLACK) as engine:
        await watch(engine)
        (found,) = await list_alerts(engine, TENANT)
        assert (found["code"], found["severity"]) == ("disk_low", "critical")
        left = 60 << 30
        await watch(engine)
        assert await list_alerts(engine, TENANT) == []
        move_clock(dsn, "6 minutes")
        await watch(engine)
    assert "40 MB are left" in slack.texts() and "mended" in slack.texts()


async def test_the_page_about_alerts_is_true(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=2) as stage:
        fail_a_sync(dsn)
        await watch(stage.engine)
        done = await walk_page("docs/alerts.md", on_stage(stage))
        (listed,) = [one.ran.out for one in done if one.command == "jobsync alerts list"]
        assert "failed_syncs" in listed
