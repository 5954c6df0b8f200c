"""The control API: what Python can do to the simulator, another process can do over HTTP."""

from __future__ import annotations

import json
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec

import aiohttp
import pytest

from tests.simulators.servicetitan_site import open_site

pytestmark = pytest.mark.anyio


async def test_requests_are_counted_by_method_path_and_status() -> None:
    async with open_site() as site:
        customer = site.data.tables["customers"].keys()[0]
        await site.read("jpm/export/jobs")
        await site.read("jpm/export/jobs")
        await site.read(f"crm/customers/{customer}/contacts")
        await site.read("crm/customers/1", status=404)
        await site.ask_token()
        counted = await site.control("GET", "requests")
        assert (counted["total"], counted["data"], counted["tokens"]) == (5, 4, 1)
        assert {"method": "GET", "path": "jpm/export/jobs", "status": 200, "count": 2} in counted["requests"]
        assert {"method": "GET", "path": "crm/customers/{id}/contacts", "status": 200, "count": 1} in counted[
            "requests"
        ]
        call = (await site.control("GET", "calls?limit=2"))["calls"][0]
        assert (call["path"], call["status"], call["rows"]) == ("crm/customers/1", 404, 0)
        assert (await site.control("POST", "reset-ledger"))["total"] == 0


async def test_faults_are_planned_listed_and_cleared() -> None:
    async with open_site() as site:
        made = await site.control("POST", "faults", kind="status", path="jpm/export/jobs", status=502, count=None)
        await site.read("jpm/export/jobs", status=502)
        assert [fault["struck"] for fault in (await site.control("GET", "faults"))["faults"]] == [1]
        assert (await site.control("DELETE", f"faults/{made['id']}"))["cleared"] == 1
        await site.read("jpm/export/jobs")


async def test_clock_switches_and_actions_are_reached() -> None:
    async with open_site() as site:
        assert (await site.control("POST", "clock", advance=3600))["now"] == "2025-11-20T16:00:00Z"
        await site.control("POST", "clock", set="2025-12-01T00:00:00Z")
        await site.log_in()
        assert (await site.control("POST", "switches", export_rows_per_call=3))["export_rows_per_call"] == 3
        assert len((await site.read("jpm/export/jobs"))["data"]) == 3
        job = (await site.control("POST", "actions/book_job", unit=4623))["result"]
        assert (await site.read(f"jpm/jobs/{job}"))["createdOn"] == "2025-12-01T00:00:00Z"
        versions = (await site.control("GET", "versions/jobs?body=true"))["versions"]
        assert [(version["id"], version["row"]["businessUnitId"]) for version in versions] == [(job, 4623)]
        assert (await site.control("GET", "tables"))["jobs"]["rows"] == 121
        assert "booked" in await site.control("POST", "turn")


async def test_a_living_tenant_is_started_and_stopped() -> None:
    async with open_site() as site:
        await site.control("POST", "live", every=0.01)
        for _ in range(500):
            if (await site.control("GET", "tables"))["jobs"]["rows"] > 121:
                break
        else:
            pytest.fail("nothing was booked")
        await site.control("POST", "live", every=0)
        rows = (await site.control("GET", "tables"))["jobs"]["rows"]
        for _ in range(20):
            assert (await site.control("GET", "tables"))["jobs"]["rows"] == rows


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "actions/explode", {}, 400, "no action is called explode"),
        ("POST", "actions/change_job", {"job": 1}, 400, "no row 1 in jobs"),
        ("POST", "actions/change_job", {"nobody": 1}, 400, "job"),
        ("POST", "switches", {"nope": 1}, 400, "no switch is called nope"),
        ("POST", "faults", {"kind": "flood"}, 400, "no fault is called flood"),
        ("GET", "versions/robots", None, 400, "no table is called robots"),
        ("GET", "tables?tenant=5", None, 400, "no tenant 5"),
        ("GET", "nothing", None, 404, "no control is called"),
    ],
)
async def test_bad_input_is_one_sentence(method: str, path: str, body: dict | None, status: int, said: str) -> None:
    async with open_site() as site:
        assert said in (await site.control(method, path, status, **(body or {})))["error"]


async def test_control_is_never_counted_nor_broken() -> None:
    async with open_site() as site:
        site.simulator.faults.plan("status", "*", status=500, count=None)
        await site.control("GET", "requests")
        assert site.simulator.ledger.count() == 0


async def test_it_runs_as_a_process_of_its_own() -> None:
    process = await create_subprocess_exec(
        sys.executable, "-m", "jobsync.simulators.servicetitan", "--jobs", "12", "--switch", "rate_limit=0", stdout=PIPE
    )  # fmt: skip
    try:
        assert process.stdout is not None
        told = json.loads(await process.stdout.readline())
        async with aiohttp.ClientSession(told["url"]) as session, session.get("/_control/tables") as answer:
            assert (await answer.json())["jobs"]["rows"] == 12
    finally:
        process.terminate()
        assert await process.wait() == 0
