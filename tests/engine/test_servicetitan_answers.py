"""What happens on each answer of ServiceTitan: one test by the name of each row of that table, through the engine, over
real HTTP. What is the same for all: a page that failed leaves its cursor where it was, and nothing is ever taken for
"0 records"."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jobsync.engine.connections import open_servicetitan
from jobsync.engine.doctor import look_at_state
from jobsync.engine.lookup import look_up_parents
from jobsync.engine.passes import open_pass, read_pass, run_stream
from jobsync.engine.store import Counts
from jobsync.tasks.work import open_due_passes
from jobsync.tasks.worker import run_in_foreground
from tests.upstreams import FEEDS, TENANT, Stage, open_stage

pytestmark = pytest.mark.anyio

JOBS = 12
FEED = "jpm/export/jobs"
LIST = "jpm/jobs"
FIVE_FEEDS = {
    "jobs": FEED,
    "customers": "crm/export/customers",
    "locations": "crm/export/locations",
    "customer_contacts": "crm/export/customers/contacts",
    "location_contacts": "crm/export/locations/contacts",
}


async def pull(stage: Stage, *names: str) -> dict[str, dict[str, Any]]:
    """Reads these streams (jobs) side by side; what the pass says of each."""
    names = names or ("jobs",)
    run, _ = await open_pass(stage.engine, TENANT, "test", streams=names)
    await asyncio.gather(*(run_stream(stage.engine, TENANT, name, run) for name in names))
    row = await read_pass(stage.engine, TENANT, run)
    assert row is not None
    return row["metadata"]["streams"]


async def pull_jobs(stage: Stage) -> dict[str, Any]:
    return (await pull(stage))["jobs"]


def cursor(stage: Stage, name: str = "jobs") -> dict[str, Any]:
    return stage.rows("select * from jobsync.cursors where stream = %s", name)[0]


def stored(stage: Stage, table: str = "jobs") -> int:
    return stage.value(f"select count(*) from {table}")


def asked(stage: Stage, path: str) -> list[Any]:
    return [call for call in stage.titan.ledger.calls if call.path == path]


def state(stage: Stage) -> list[str]:
    return [row["state"] for row in stage.rows("select state from jobsync.upstream_states")]


def alerts(stage: Stage) -> set[str]:
    return {row["code"] for row in stage.rows("select code from jobsync.v_alert_conditions")}


async def valid(stage: Stage) -> None:
    entry = await pull_jobs(stage)
    assert (entry["status"], entry["pulled"], entry["stored"]) == ("completed", JOBS, JOBS)
    assert (cursor(stage)["revision"], cursor(stage)["failures"], stored(stage)) == (1, 0, JOBS)


async def no_page(stage: Stage) -> None:
    broken = dict(zip(FIVE_FEEDS, ("html", "invalid_json", "no_data", "truncate", "gzip_bomb"), strict=True))
    for name, how in broken.items():
        if how in ("truncate", "gzip_bomb"):
            stage.titan.faults.plan(how, FIVE_FEEDS[name], count=3, megabytes=65)
        else:
            stage.titan.faults.plan("body", FIVE_FEEDS[name], how=how, count=3)
    entries = await pull(stage, *FIVE_FEEDS)
    for name in FIVE_FEEDS:
        assert entries[name]["status"] == "failed", name
        assert (entries[name]["requests"], entries[name]["pulled"]) == (3, 0), name
        assert (cursor(stage, name)["revision"], cursor(stage, name)["failures"]) == (0, 1)
    assert stored(stage) == stored(stage, "customers") == 0
    stage.run("update jobsync.cursors set failures = 3")
    assert "stream_failing" in alerts(stage)
    entries = await pull(stage, *FIVE_FEEDS)
    assert {entries[name]["status"] for name in FIVE_FEEDS} == {"completed"}
    assert stored(stage) == JOBS
    assert "stream_failing" not in alerts(stage)


async def redirect(stage: Stage) -> None:
    elsewhere = f"{stage.titan_url}/jpm/v2/tenant/{stage.titan.account().tenant}/jobs"
    stage.titan.faults.plan("redirect", FEED, to=elsewhere, count=None)
    entry = await pull_jobs(stage)
    assert (entry["status"], entry["code"], entry["requests"]) == ("failed", "redirect_refused", 1)
    assert asked(stage, LIST) == []
    assert cursor(stage)["revision"] == 0


async def rejected(stage: Stage) -> None:
    for status in (400, 422):
        stage.titan.faults.plan("status", FEED, status=status, count=1)
        entry = await pull_jobs(stage)
        assert (entry["status"], entry["code"], entry["requests"]) == ("failed", "request_rejected", 1)
        assert cursor(stage)["revision"] == 0
    await pull(stage, *FIVE_FEEDS)
    # A token that is not taken: by time, with the overlap; and only this feed rests.
    for status, changed in ((400, 3), (422, 5)):
        stage.run("update jobsync.cursors set feed_refused_at = null, mode = 'export', token = coalesce(token, 'A')")
        stage.titan.faults.reject_token(FEED, status=status, count=1)
        for job in stage.job_ids()[:changed]:
            stage.act.change_job(job=job, summary=f"changed {changed}")
        entry = await pull_jobs(stage)
        assert (entry["status"], entry["stored"]) == ("completed", changed)
        assert cursor(stage)["mode"] == "list"
        assert "modifiedOnOrAfter" in asked(stage, LIST)[-1].query
    stage.titan.ledger.reset()
    entries = await pull(stage, *FIVE_FEEDS)
    assert {entry["status"] for name, entry in entries.items() if name in FIVE_FEEDS} == {"completed"}
    assert [len(asked(stage, path)) for path in FIVE_FEEDS.values()] == [0, 1, 1, 1, 1]


async def unauthorised(stage: Stage) -> None:
    stage.titan.faults.plan("status", FEED, status=401, count=1)
    assert (await pull_jobs(stage))["status"] == "completed"
    assert (len(asked(stage, "connect/token")), state(stage)) == (2, [])
    stage.titan.faults.plan("status", FEED, status=401, count=None)
    stage.titan.ledger.reset()
    entry = await pull_jobs(stage)
    assert (entry["code"], len(asked(stage, FEED)), len(asked(stage, "connect/token"))) == (
        "credentials_rejected",
        2,
        1,
    )
    assert state(stage) == ["auth_failed"]
    assert "upstream_refused" in alerts(stage)
    await asks_less_often(stage)
    stage.titan.faults.clear()
    await pull_jobs(stage)
    assert state(stage) == ["ok"]
    told = stage.rows("select action from jobsync.audit where subject = 'servicetitan' order by id")
    assert [row["action"] for row in told] == ["upstream_auth_failed", "upstream_ok"]


async def forbidden(stage: Stage) -> None:
    stage.titan.faults.refuse("jpm/*", status=403)
    entry = await pull_jobs(stage)
    assert (entry["status"], entry["code"], state(stage)) == ("failed", "access_denied", ["access_denied"])
    assert "Grant the scope" in entry["hint"]
    assert "upstream_refused" in alerts(stage)
    assert stored(stage) == 0
    await asks_less_often(stage)
    # The feed of jobs alone is not granted: jobs are read by list, and every other feed goes on as a feed.
    stage.titan.faults.clear()
    stage.titan.faults.refuse(FEED, status=403)
    assert (await pull_jobs(stage))["stored"] == JOBS
    assert cursor(stage)["mode"] == "list"
    entries = await pull(stage, *FIVE_FEEDS)
    assert {entry["status"] for name, entry in entries.items() if name in FIVE_FEEDS} == {"completed"}
    modes = stage.rows("select stream, mode from jobsync.cursors where stream = any (%s)", list(FIVE_FEEDS))
    assert {row["stream"] for row in modes if row["mode"] == "list"} == {"jobs"}
    refused = len(asked(stage, FEED))
    await pull(stage, *FIVE_FEEDS)
    assert len(asked(stage, FEED)) == refused, "the refused one rests for a day"


async def asks_less_often(stage: Stage) -> None:
    """The tenant is paused, but for one look in a quarter of an hour."""
    await run_in_foreground(stage.engine, open_due_passes)
    assert stage.value("select next_pull_at - now() > interval '14 minutes' from jobsync.tenants")


async def missing(stage: Stage) -> None:
    stage.titan.faults.refuse(FEEDS, status=410, count=1)
    stage.titan.faults.plan("status", LIST, status=404, count=1)
    entry = await pull_jobs(stage)
    assert (entry["status"], entry["code"]) == ("failed", "not_found")
    assert "SERVICE_TITAN_TENANT_ID" in entry["hint"]
    assert stored(stage) == 0
    assert (await pull_jobs(stage))["stored"] == JOBS
    # By id: what ServiceTitan does not show is not taken for deleted, and asked for ever more rarely.
    stage.run("insert into jobsync.wanted (tenant_id, stream, id) values ('default', 'customers', 1)")
    for _ in range(2):
        async with await open_servicetitan(stage.engine, TENANT) as client:
            await look_up_parents(stage.engine, client, TENANT, Counts())
    assert stage.rows("select times_asked from jobsync.wanted where id = 1") == [{"times_asked": 1}]
    assert stage.value("select bool_and(active) from jobs")


async def too_slow(stage: Stage) -> None:
    for fault in ({"kind": "status", "status": 408}, {"kind": "reset"}, {"kind": "reset_midway"}):
        stage.titan.faults.plan(path=FEED, count=1, **fault)
        stage.act.book_job()
        entry = await pull_jobs(stage)
        # The HTTP library itself repeats a GET on a connection that was closed before a byte of the answer came.
        assert (entry["status"], entry["requests"]) == ("completed", 1 if fault["kind"] == "reset" else 2)
    assert stored(stage) == JOBS + 3
    await reads_smaller_pages(stage, status=408)


async def too_large(stage: Stage) -> None:
    for status in (413, 414):
        await reads_smaller_pages(stage, status=status)
        stage.titan.faults.clear()
    assert stored(stage) == JOBS + 2


async def reads_smaller_pages(stage: Stage, *, status: int) -> None:
    stage.titan.faults.refuse(FEEDS)
    stage.titan.faults.plan("status", LIST, status=status, query="pageSize=5000", count=None)
    stage.act.book_job()
    assert (await pull_jobs(stage))["status"] == "completed"
    assert "pageSize=1000" in asked(stage, LIST)[-1].query


async def limited(stage: Stage) -> None:
    for how in ("seconds", "absent", "garbage", "date"):
        # More often than a failure would be tried again: it uses up no attempt.
        stage.titan.faults.throttle(FEED, seconds=0.1, retry_after=how, count=1)
    entry = await pull_jobs(stage)
    assert (entry["status"], entry["requests"], entry["stored"]) == ("completed", 5, JOBS)
    slowed = stage.rows("select slowness, slowed_at > now() - interval '1 minute' as lately from jobsync.budgets")
    assert len(slowed) == 1
    assert slowed[0]["slowness"] <= 0.5
    assert slowed[0]["lately"]
    # A pause that is too long to wait for ends the reading; everybody keeps to it.
    stage.titan.faults.throttle(FEED, seconds=3600, count=1)
    assert (await pull_jobs(stage))["code"] == "rate_limited"
    before = len(stage.titan.ledger.calls)
    entries = await pull(stage, "jobs", "customers")
    assert (entries["jobs"]["code"], entries["customers"]["code"]) == ("rate_limited", "rate_limited")
    assert len(stage.titan.ledger.calls) == before
    assert stage.value("select blocked_until > now() + interval '59 minutes' from jobsync.budgets")


async def failing(stage: Stage) -> None:
    stage.titan.faults.plan("status", FEED, status=503, body="html", count=2)
    entry = await pull_jobs(stage)
    assert (entry["status"], entry["requests"]) == ("completed", 3)
    names = (*FIVE_FEEDS, "appointments", "estimates", "invoices", "technician_assignments")
    down = stage.titan.faults.plan("status", FEEDS, status=500, count=None)
    await pull(stage, *names)
    assert stage.value("select open_until > now() from jobsync.breakers")
    assert "requests to ServiceTitan are held back for " in await breaker(stage)
    struck = down.struck
    entry = (await pull(stage, "customers"))["customers"]
    assert (entry["code"], entry["requests"], down.struck) == ("breaker_open", 0, struck)
    # When the time is over, one request tries; it fails, and everybody waits longer.
    over = "update jobsync.breakers set open_until = clock_timestamp()"
    stage.run(over)
    entries = await pull(stage, *names[1:])
    assert down.struck == struck + 1
    assert {entries[name]["status"] for name in names[1:]} == {"failed"}
    assert stage.value("select open_until > now() + interval '10 seconds' from jobsync.breakers")
    # Jobs try all the same, so that the failures of other streams never delay them; what tries closes it for all.
    stage.titan.faults.clear()
    assert (await pull_jobs(stage))["status"] == "completed"
    entries = await pull(stage, *names[1:])
    assert {entries[name]["status"] for name in names[1:]} == {"completed"}
    told = stage.rows("select action from jobsync.audit where subject = 'servicetitan' order by id")
    assert [row["action"] for row in told] == ["breaker_opened", "breaker_closed"]
    assert await breaker(stage) == ""


async def breaker(stage: Stage) -> str:
    """What the doctor and the page Health say of the breaker without asking anybody outside."""
    return "".join(one.what for one in await look_at_state(stage.engine, "default") if one.name == "breaker")


ANSWERS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "2xx valid": valid,
    "2xx not JSON / HTML / no data / truncated / > 64 MB": no_page,
    "3xx": redirect,
    "400 / 422": rejected,
    "401": unauthorised,
    "403": forbidden,
    "404 / 410": missing,
    "408 / timeout / reset": too_slow,
    "413 / 414": too_large,
    "429": limited,
    "5xx": failing,
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_happens_on_each_answer(dsn: str, tmp_path: Path, answer: str) -> None:
    async with open_stage(dsn, tmp_path, jobs=JOBS) as stage:
        await ANSWERS[answer](stage)
