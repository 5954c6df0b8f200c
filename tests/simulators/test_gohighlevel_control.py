"""The control API, the clock, the switches, and the simulator in a process of its own."""

from __future__ import annotations

import ast
import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import pytest

import jobsync.simulators.gohighlevel as package
from jobsync.simulators.gohighlevel import GoHighLevelSimulator, MovableClock, Switches, furnish, serve
from tests.simulators.gohighlevel_site import open_site

pytestmark = pytest.mark.anyio


async def test_everything_can_be_driven_over_http() -> None:
    async with open_site() as site:
        hook = await site.control("POST", "/acts/add_hook", {"mode": "draft", "pipeline": "Install Pipeline"})
        await site.control("POST", "/acts/set_hook", {"uuid": hook["id"], "mode": "live"})
        await site.control("POST", "/faults", {"kind": "slow", "path": "/hooks/", "seconds": 0, "times": 2})
        lead = {"st_job_id": 9001, "email": "ann@example.com", "opportunity_name": "Pump"}
        for _ in range(2):
            async with site.session.post(site.url + hook["path"], json=lead) as answer:
                assert answer.status == 200
        [first, second] = await site.control("GET", f"/posts?hook={hook['id']}&job=9001")
        assert first["body"] == lead and first["outcome"] == "created" and first["fault"] == "slow"
        assert await site.control("GET", f"/posts?after={first['number']}") == [second]
        assert len(await site.control("GET", "/opportunities?job=9001")) == 2
        [contact] = await site.control("GET", "/contacts")
        assert contact["email"] == "ann@example.com" and contact["notes"] == []
        assert (await site.control("GET", "/faults"))[0]["hits"] == 2
        assert await site.control("DELETE", "/faults") == []


async def test_the_overview_names_locations_hooks_tokens_and_switches() -> None:
    async with open_site() as site:
        hook = site.simulator.add_hook()
        overview = await site.control("GET", "")
        [location] = overview["locations"]
        assert (location["id"], location["tokens"]) == (site.place, [site.office.token])
        assert location["hooks"] == [{"id": hook.id, "mode": "live", "path": site.simulator.hook_path(hook)}]
        assert overview["url"] == site.url and overview["switches"]["burst_limit"] == 100


async def test_the_clock_is_moved_and_started_over_http() -> None:
    async with open_site() as site:
        assert (await site.control("POST", "/clock", {"advance": 90}))["now"] == "2026-03-02T12:01:30.000Z"
        assert (await site.control("POST", "/clock", {"set": "2026-06-01T00:00:00+00:00"}))["now"].startswith(
            "2026-06-01"
        )
        assert (await site.control("POST", "/clock", {"running": True}))["running"] is True


async def test_requests_are_listed_with_route_and_status() -> None:
    async with open_site() as site:
        contact = await site.contact()
        await site.call("GET", f"/contacts/{contact}")
        listed = await site.control("GET", "/requests?path=/contacts")
        assert [(each["route"], each["status"]) for each in listed] == [
            ("POST /contacts/upsert", 200),
            ("GET /contacts/*", 200),
        ]
        ledger = await site.control("GET", "/ledger")
        assert ledger["requests_by_route"] == {"POST /contacts/upsert": 1, "GET /contacts/*": 1}


async def test_wrong_control_requests_get_one_sentence() -> None:
    async with open_site() as site:
        wrongs = [
            ("PATCH", "/switches", {"gravity": 1}),
            ("PATCH", "/switches", {"retry_after": "sometimes"}),
            ("PATCH", "/switches", {"burst_limit": "many"}),
            ("POST", "/acts/fly", {}),
            ("POST", "/acts/rename_stage", {"stage": "New Lead"}),
            ("POST", "/acts/delete_stage", {"stage": "No such"}),
            ("POST", "/faults", {"kind": "earthquake"}),
            ("POST", "/clock", {"jump": 1}),
        ]
        for method, path, body in wrongs:
            answer = await site.control(method, path, body)
            assert answer["statusCode"] == 400 and isinstance(answer["message"], str), path
        assert (await site.control("GET", "/nothing"))["statusCode"] == 404


async def test_every_switch_is_documented_and_its_default_is_one_of_its_choices() -> None:
    tree = ast.parse(Path(package.__file__).with_name("switches.py").read_text())
    body = next(each for each in tree.body if isinstance(each, ast.ClassDef)).body
    documented = set()
    waiting: list[str] = []
    for line in body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            waiting.append(line.target.id)
        elif isinstance(line, ast.Expr) and waiting:
            documented.update(waiting)
            waiting = []
    switches = Switches()
    assert documented >= set(switches.as_dict())
    switches.turn(**switches.as_dict())


async def test_the_simulator_imports_nothing_of_the_program() -> None:
    for file in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, file.name
                names.append(node.module or "")
            assert not any(name.split(".")[0] == "jobsync" for name in names), file.name


async def test_the_same_seed_makes_the_same_ids() -> None:
    first, second = (furnish(GoHighLevelSimulator(seed=3, clock=MovableClock(0.0, running=False))) for _ in range(2))
    assert first.location.id == second.location.id and first.token == second.token
    assert first.location.pipelines == second.location.pipelines


async def test_a_taken_port_is_refused() -> None:
    async with open_site() as site:
        port = int(site.url.rsplit(":", 1)[1])
        with pytest.raises(OSError):
            await serve(GoHighLevelSimulator(), port=port)


async def test_it_runs_alone_in_a_process_of_its_own() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jobsync.simulators.gohighlevel", "--hooks", "2", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        started = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        assert len(started["hooks"]) == 2
        async with (
            aiohttp.ClientSession() as session,
            session.post(started["hooks"][0], json={"job_id": "1"}) as answer,
        ):
            assert (await answer.json())["id"]
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
