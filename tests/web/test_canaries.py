"""Secrets and people through every kind of fault, logged at DEBUG: none of them in a log, an error or a kept reason.

Canaries stand in each credential and in each field about a person; the upstreams repeat all of them in their refusals.
What the command line and the service say, and what they write about failures, is then searched for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from jobsync.log import get_log, set_up_logs
from tests.upstreams import Stage, open_stage
from tests.web.conftest import StartApi

pytestmark = pytest.mark.anyio
PERSON = {
    "name": "Canarina Whisperwind", "street": "17 Canarylane", "city": "Canaryville", "zip": "99871",
    "phone": "602-555-0177", "digits": "6025550177", "email": "canarina@canary.example.com", "note": "canarynote gate code 4471",
}  # fmt: skip
SAID = ("name", "street", "city", "phone", "digits", "email", "note")
KEYS = {"API_KEY": "canary-api-key-0000", "JOBSYNC_ALERT_URLS": "json://user:canary-alert-pass@127.0.0.1:9/x",
        "JOBSYNC_PING_URL": "http://127.0.0.1:9/canary-ping-key"}  # fmt: skip
Plan = Callable[[Any, str, str], object]

# One pass each; every stream meets a fault of its own.
TITAN: tuple[dict[str, Plan], ...] = (
    {
        "crm/export/customers": lambda faults, path, echo: faults.plan("status", path, status=500, body=echo, count=9),
        "crm/export/locations": lambda faults, path, echo: faults.plan(
            "status", path, status=502, body="html", count=9
        ),
        "jpm/export/jobs": lambda faults, path, echo: faults.corrupt(path, "invalid_json", count=9),
        "jpm/export/appointments": lambda faults, path, echo: faults.plan(
            "status", path, status=422, body=echo, count=9
        ),
        "sales/export/estimates": lambda faults, path, echo: faults.plan("reset", path, count=9),
        "accounting/export/invoices": lambda faults, path, echo: faults.plan("truncate", path, count=9),
        "jpm/job-types": lambda faults, path, echo: faults.plan("status", path, status=403, body=echo, count=9),
    },
    {"connect/token": lambda faults, path, echo: faults.plan("status", path, status=401, body=echo, count=9)},
    {
        "jpm/export/jobs": lambda faults, path, echo: faults.plan("status", path, status=403, body=echo, count=9),
        "crm/export/customers": lambda faults, path, echo: faults.plant(path, echo, json.dumps({"id": "x", **PERSON})),
        "crm/export/locations": lambda faults, path, echo: faults.plan("status", path, status=401, body=echo, count=9),
        "crm/export/*/contacts": lambda faults, path, echo: faults.plan(
            "status", path, status=429, body=echo, retry_after="0", count=2
        ),
    },
)
HOOKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {"status": 500}), ("status", {"status": 422}), ("status", {"status": 401}), ("status", {"status": 429}),
    ("html", {"status": 502}), ("close", {}), ("did_then_garbage", {}), ("truncated", {}), ("redirect", {"to": "https://canary.example.com/"}),
)  # fmt: skip


def place_person(stage: Stage) -> None:
    """The same invented person behind every job, in every field that is about one."""
    address = {name: PERSON[name] for name in ("street", "city", "zip")} | {
        "state": "AZ",
        "country": "USA",
        "unit": None,
    }
    for table in ("customers", "locations"):
        change = stage.act.change_customer if table == "customers" else stage.act.change_location
        word = table.removesuffix("s")
        for key in [row.id for row in stage.titan.dataset().tables[table]]:
            change(**{word: key}, name=PERSON["name"], address=address)
            for kind, value in (("MobilePhone", PERSON["phone"]), ("Email", PERSON["email"])):
                stage.act.add_contact(owner=table, parent=key, kind=kind, value=value, memo=PERSON["note"])
    for job in stage.job_ids():
        stage.act.change_job(job=job, summary=PERSON["note"])


def list_secrets(stage: Stage, hook: str) -> list[str]:
    """Every credential of the stage."""
    account, given = stage.titan.account(), stage.environment()
    return [
        account.client_secret, account.app_key, str(conninfo_to_dict(stage.dsn)["password"]), given["GHL_API_KEY"], hook.rsplit("/", 1)[1],
        "canary-api-key", "canary-alert-pass", "canary-ping-key",
    ]  # fmt: skip


async def test_no_fault_lets_a_secret_or_a_person_into_a_log_or_a_kept_reason(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], start_api: StartApi
) -> None:
    more = {**KEYS, "LOG_LEVEL": "DEBUG", "JOBSYNC_GHL_PACE": "0"}
    async with open_stage(dsn, tmp_path, jobs=len(HOOKS), connected=True, more=more) as stage:
        place_person(stage)
        hook = await stage.route_all()
        secrets = list_secrets(stage, hook)
        echo = json.dumps(
            {
                "title": " ".join([*secrets, *(PERSON[name] for name in SAID)]),
                "errors": {PERSON["name"]: [PERSON["email"]]},
            }
        )
        said: dict[str, str] = {}
        for plans in TITAN:
            for path, plan in plans.items():
                plan(stage.titan.faults, path, echo)
            ran = await stage.jobsync("pull", "--json")
            said[f"pull, {', '.join(plans)}"] = ran.out + ran.err
            stage.titan.faults.clear()
            stage.run("update jobsync.breakers set open_until = null, probe_until = null, outcomes = '{}'")
            stage.run("delete from jobsync.access_tokens")
            stage.run("update jobsync.cursors set refused_at = null, feed_refused_at = null, next_read_at = null")
        met = "select count(*) from sync_logs, jsonb_each(metadata -> 'streams') s where s.value ->> 'status' in ('failed', 'not granted')"
        assert stage.value(met) >= 8, "faults were met"
        for number, (kind, options) in enumerate(HOOKS):
            # A hook can repeat what it was told and where, and no other secret.
            body = {"body": json.dumps([hook, PERSON]).encode()} if kind == "status" else {}
            stage.break_hook(hook, kind, times=1, after=number, **options, **body)
        for words in (
            ("sync", "--json"),
            ("verify", "--json"),
            ("doctor", "--json"),
            ("status", "--json"),
            ("plan", "--json"),
            ("alerts", "test"),
        ):
            ran = await stage.jobsync(*words)
            said[" ".join(words)] = ran.out + ran.err
        assert sum(stage.posts().values()) >= len(HOOKS) - 3, "the hooks were called"
        for kind, options in (("status", {"status": 500, "body": echo.encode()}), ("unauthorized", {}), ("html", {})):
            stage.level.faults.add(kind, path="/opportunities|/contacts|/locations", times=2, **options)
            for words in (("verify", "--json"), ("doctor", "--only", "gohighlevel")):
                ran = await stage.jobsync(*words)
                said[f"{' '.join(words)}, {kind}"] = ran.out + ran.err
            stage.level.faults.clear()
        said["web"] = await call_service(stage, start_api, capsys, echo)
        assert "service_called" in said["web"]
        kept = "select coalesce(string_agg(t::text, ' '), '') from {} t"
        for table, columns in {
            "sync_logs": "(select error_message, metadata, error_details from sync_logs)",
            "cursors": "(select last_error from jobsync.cursors)", "states": "jobsync.upstream_states", "audit": "jobsync.audit",
            "attempts": "(select status_code, answer, outcome from jobsync.attempts)", "reasons": "(select reason from jobsync.quarantine)",
            "alerts": "jobsync.v_alert_conditions", "jobs": "(select ghl_sync_error from jobs)", "hooks": "(select masked, pause_reason from jobsync.destinations)",
        }.items():  # fmt: skip
            said[f"table {table}"] = stage.value(kept.format(columns))
        canaries = [*secrets, *(PERSON[name] for name in SAID), "canary.example.com"]
        assert [(where, one) for where, text in said.items() for one in canaries if one.lower() in text.lower()] == []
        # The search finds what is there.
        assert PERSON["email"] in stage.value(kept.format("jobsync.contacts"))


async def call_service(stage: Stage, start_api: StartApi, capsys: pytest.CaptureFixture[str], echo: str) -> str:
    """Good, bad and hostile calls of a service at DEBUG; what it logged."""
    capsys.readouterr()
    set_up_logs("DEBUG", for_people=False)
    given = {name: value for name, value in stage.environment().items() if name != "DATABASE_URL"}
    api = await start_api(given, headers={"X-API-Key": KEYS["API_KEY"]})
    person = {"customerId": 1, "firstName": PERSON["name"], "email": PERSON["email"], "phone": PERSON["phone"]}
    get_log(reason="a test").debug("service_called")
    for status in (500, 401):
        stage.titan.faults.plan("status", "crm/customers", status=status, body=echo, count=3)
        await api.get("/customers?name=" + PERSON["name"].replace(" ", "%20"))
        stage.titan.faults.clear()
    await api.post("/db/customers/upsert", {"customer": person})
    await api.post("/db/customers/upsert", {"customer": {**person, "customerId": PERSON["email"]}})
    await api.post(
        "/db/jobs/upsert-batch", {"jobs": [{"job": {"id": PERSON["phone"]}, "customer": person}, PERSON["note"]]}
    )
    await api.call("POST", "/db/jobs/upsert", data=echo.encode()[:-3], headers={"Content-Type": "application/json"})
    await api.get(f"/db/sync-state/{PERSON['email']}")
    await api.get("/db/sync-state", headers={"X-API-Key": "js_canary-api-key_wrong"})
    return capsys.readouterr().err
