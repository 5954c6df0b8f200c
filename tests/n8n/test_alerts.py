"""What the two workflows for people say, as Slack and a mail server receive it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.alerts.outlets import Mailbox, open_hook, open_mailbox
from tests.n8n.conftest import open_service, prepare
from tests.n8n.runtime import N8n
from tests.upstreams import open_stage

pytestmark = [pytest.mark.anyio, pytest.mark.n8n, pytest.mark.timeout(3600)]


def mail_account(box: Mailbox) -> dict[str, Any]:
    data = {"user": "", "password": "", "host": "127.0.0.1", "port": box.port, "secure": False, "disableStartTls": True}
    return {"id": "jobsyncSmtp00001", "name": "JobSync mail", "type": "smtp", "data": data}


async def test_failed_runs_of_the_last_hour_are_told_in_slack_and_by_mail(n8n: N8n, dsn: str, tmp_path: Path) -> None:
    async with (
        open_stage(dsn, tmp_path, jobs=0) as stage,
        open_service(stage) as url,
        open_hook() as slack,
        open_mailbox() as box,
    ):
        people: dict[str, Any] = {"slackUrl": f"{slack.root}/slack", "emailTo": "office@example.com"}
        await n8n.add_credentials(mail_account(box))
        await n8n.add(
            await prepare(stage, "failed-sync-alert", url, **people),
            await prepare(stage, "health-digest", url, **people, pingUrl=f"{slack.root}/ping"),
        )
        log = "insert into sync_logs (sync_type, status, error_message, started_at, completed_at) values (%s, %s, %s, now() - %s::interval, now() - %s::interval)"
        stage.run(log, "n8n_push", "completed", None, "5 minutes", "5 minutes")
        stage.run(log, "job_pull", "failed", "long ago", "3 hours", "3 hours")
        quiet = await n8n.execute("jobsyncFailedAlert")
        assert (quiet.status, slack.posts, box.mails) == ("success", [], []), quiet.error

        for _ in range(2):
            stage.run(log, "n8n_push", "failed", "The hook refused (HTTP 500). (3 jobs)", "90 minutes", "10 minutes")
        told = await n8n.execute("jobsyncFailedAlert")
        assert told.status == "success", told.error
        (post,), (mail,) = slack.posts, box.mails
        assert post["text"].startswith("JobSync: 2 failed runs in the last 60 minutes")
        assert "The hook refused (HTTP 500). (3 jobs) (2 runs)" in post["text"] and "long ago" not in post["text"]
        assert mail["subject"] == "JobSync: 2 failed runs in the last 60 minutes"
        assert mail["to"] == "office@example.com" and "HTTP 500" in mail.get_content()  # type: ignore[attr-defined]

        digest = await n8n.execute("jobsyncDigest")
        assert digest.status == "success", digest.error
        text = slack.posts[1]["text"]
        assert text.startswith("JobSync needs you: 3 failed runs in 24 hours")
        assert "n8n_push failed: 2 runs" in text and "Waiting for n8n: 0 jobs." in text
        assert "/ping" not in slack.posts, "only while all is well"
        assert len(box.mails) == 2

        stage.run("delete from sync_logs where status = 'failed'")
        slack.posts.clear()
        well = await n8n.execute("jobsyncDigest")
        assert well.status == "success", well.error
        assert "/ping" in slack.posts
        assert any("JobSync is well" in post["text"] for post in slack.posts if isinstance(post, dict))


async def test_a_jobsync_that_does_not_answer_is_told_too(n8n: N8n, dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=0) as stage, open_hook() as slack:
        for name, identity in (("failed-sync-alert", "jobsyncFailedAlert"), ("health-digest", "jobsyncDigest")):
            await n8n.add(await prepare(stage, name, "http://127.0.0.1:9", slackUrl=f"{slack.root}/slack"))
            run = await n8n.execute(identity)
            assert run.status == "success", run.error
        assert [post["text"].split(" at ")[0] for post in slack.posts] == ["JobSync does not answer"] * 2
