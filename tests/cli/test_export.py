"""export: views as CSV and NDJSON, workflows for n8n with and without what is secret."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from jobsync.engine.workflows import CREDENTIAL
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio


def settings_of(path: Path) -> dict[str, Any]:
    nodes = json.loads(path.read_text())["nodes"]
    return json.loads(next(node for node in nodes if node["name"] == "Settings")["parameters"]["jsonOutput"])


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_hook_is_only_written_when_asked_for_and_then_for_its_owner_alone(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=0) as stage:
        held, given = stage.add_hook(), stage.add_hook()
        await stage.route(1314, held)
        plain = await stage.jobsync("export", "n8n", "--url", "http://127.0.0.1:3007/")
        assert plain.code == 0 and "none is in these files" in plain.err
        flow = tmp_path / "n8n" / "get-jobs-modernized-v2.json"
        assert plain.out.splitlines()[0] == "n8n/get-jobs-modernized-v2.json"
        assert settings_of(flow)["jobsyncUrl"] == "http://127.0.0.1:3007"
        assert settings_of(flow)["hooks"]["1314"] == {"unit": "Sales & Service", "url": ""}
        assert mode_of(flow) & 0o077
        for file in (tmp_path / "n8n").iterdir():
            assert held not in file.read_text() and CREDENTIAL["id"] not in file.read_text()

        secret = await stage.jobsync(
            "export",
            "n8n",
            "--with-webhooks",
            "--webhook",
            f"4622={given}",
            "--workflow",
            "drain-pending",
            "--out",
            "s",
        )
        assert (
            secret.code == 0 and "Sales & Service, Pool Service" in secret.err and held not in secret.out + secret.err
        )
        drain = tmp_path / "s" / "drain-pending.json"
        assert {unit: hook["url"] for unit, hook in settings_of(drain)["hooks"].items() if hook["url"]} == {
            "1314": held,
            "4622": given,
        }
        assert mode_of(drain) == 0o600
        (tmp_path / "s").joinpath("drain-pending.json").chmod(0o644)
        await stage.jobsync("export", "n8n", "--with-webhooks", "--workflow", "drain-pending", "--out", "s")
        assert mode_of(drain) == 0o600, "also where an open file stood before"


async def test_a_key_is_named_and_never_written(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=0, more={"API_KEY": "invented-key"}) as stage:
        ran = await stage.jobsync("export", "n8n", "--workflow", "drain-pending", "--out", "-")
        nodes = {node["name"]: node for node in json.loads(ran.out)["nodes"]}
        assert nodes["Get Units"]["credentials"] == {"httpHeaderAuth": CREDENTIAL}
        assert "credentials" not in nodes["Push to GoHighLevel"], "a hook is told no key"
        assert "invented-key" not in ran.out
        without = await stage.jobsync("export", "n8n", "--no-credential", "--workflow", "drain-pending", "--out", "-")
        assert CREDENTIAL["id"] not in without.out


REFUSED: dict[tuple[str, ...], str] = {
    ("n8n", "--workflow", "drain"): "Nearest: drain-pending",
    ("n8n", "--out", "-"): "Only one workflow",
    ("n8n", "--webhook", "1314"): "UNIT=URL",
    ("n8n", "--webhook", "77=https://services.leadconnectorhq.com/hooks/a/webhook-trigger/b"): "77 is not known",
    ("n8n", "--webhook", "1314=http://10.0.0.1/x"): "jobsync: ",
    ("n8n", "--url", "jobsync:3001"): "is no address",
    ("--view", "v_job_statu"): "v_job_status",
    ("--view", "jobs", "--csv", "--ndjson"): "Choose one",
}


async def test_what_cannot_be_exported_is_said_in_a_sentence(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=0) as stage:
        for words, said in REFUSED.items():
            ran = await stage.jobsync("export", *words)
            assert (ran.code, ran.out) == (2, ""), words
            assert said in ran.err and "Traceback" not in ran.err, words


async def test_a_view_goes_out_row_by_row_as_csv_and_ndjson(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=0) as stage:
        empty = await stage.jobsync("export", "--view", "v_job_status")
        assert empty.code == 0 and empty.out.startswith("tenant_id,st_job_id,") and len(empty.out.splitlines()) == 1
        stage.run(
            "insert into jobs (st_job_id, st_job_number, job_status, created_on, source, st_raw_data) "
            "select n, case when n = 7 then '=HYPERLINK(1)' else n::text end, 'Scheduled', '2026-01-31 08:00+00', 'servicetitan', '{}' "
            "from generate_series(1, 1100) n"
        )
        sheet = await stage.jobsync("export", "--view", "v_job_status", "--csv")
        rows = list(csv.DictReader(io.StringIO(sheet.out)))
        assert len(rows) == 1100 and {int(row["st_job_id"]) for row in rows} == set(range(1, 1101))
        assert [row["st_job_number"] for row in rows if row["st_job_id"] == "7"] == ["'=HYPERLINK(1)"]
        assert rows[0]["created_on"] == "2026-01-31T08:00:00Z"
        lines = await stage.jobsync("export", "--view", "jobs", "--ndjson")
        jobs = [json.loads(line) for line in lines.out.splitlines()]
        assert len(jobs) == 1100 and jobs[0]["created_on"].startswith("2026-01-31T08:00:00")
        listed = await stage.jobsync("export")
        assert "v_job_status" in listed.out and "jobs_pending_ghl_sync" in listed.out
