"""Faults on demand: what was done and what the caller hears are two things."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.simulators.gohighlevel_site import Site, open_site

pytestmark = pytest.mark.anyio
BROKEN = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)


async def create(site: Site, contact: str, job: str = "9001", timeout: float = 30) -> int:
    """The status of a create; raises what the wire does."""
    headers = {"Authorization": f"Bearer {site.office.token}", "Version": "2021-07-28"}
    limit = aiohttp.ClientTimeout(total=timeout)
    body = site.card(contact, job)
    async with site.session.post(
        site.url + "/opportunities/", json=body, headers=headers, timeout=limit, allow_redirects=False
    ) as answer:
        await answer.read()
        return answer.status


def cards(site: Site) -> int:
    return len(site.office.location.opportunities.records)


@pytest.mark.parametrize("status", [400, 422, 500, 502, 504])
async def test_the_work_is_done_and_then_the_answer_is_an_error(status: int) -> None:
    async with open_site() as site:
        contact = await site.contact()
        site.simulator.faults.add("did_then_status", "/opportunities/$", status=status)
        assert (await create(site, contact), cards(site)) == (status, 1)
        assert (await create(site, contact), cards(site)) == (201, 2)


@pytest.mark.parametrize("status", [500, 503, 400])
async def test_an_error_before_the_work_leaves_nothing(status: int) -> None:
    async with open_site() as site:
        contact = await site.contact()
        site.simulator.faults.add("status", "/opportunities/$", status=status)
        assert (await create(site, contact), cards(site)) == (status, 0)


@pytest.mark.parametrize(("kind", "left"), [("did_then_close", 1), ("close", 0), ("truncated", 1)])
async def test_a_closed_socket_says_nothing_about_the_work(kind: str, left: int) -> None:
    async with open_site() as site:
        contact = await site.contact()
        site.simulator.faults.add(kind, "/opportunities/$")
        with pytest.raises(BROKEN):
            await create(site, contact)
        assert cards(site) == left
        assert await create(site, contact) == 201


@pytest.mark.parametrize(("kind", "left"), [("did_then_hang", 1), ("hang", 0)])
async def test_silence_lasts_until_the_caller_gives_up(kind: str, left: int) -> None:
    async with open_site() as site:
        contact = await site.contact()
        site.simulator.faults.add(kind, "/opportunities/$", seconds=30)
        with pytest.raises(asyncio.TimeoutError):
            await create(site, contact, timeout=0.1)
        assert cards(site) == left


async def test_held_answers_can_be_released() -> None:
    async with open_site() as site:
        contact = await site.contact()
        site.simulator.faults.add("slow", "/opportunities/$", seconds=30)
        asked = asyncio.ensure_future(create(site, contact))
        while not site.simulator.holds.waiting:
            await asyncio.sleep(0)
        await site.control("POST", "/release")
        assert await asked == 201


async def test_a_simulator_stops_although_an_answer_hangs() -> None:
    async with open_site() as site:
        contact = await site.contact()
        site.simulator.faults.add("hang", "/opportunities/$", seconds=30)
        asked = asyncio.ensure_future(create(site, contact))
        while not site.simulator.holds.waiting:
            await asyncio.sleep(0)
    with pytest.raises(BROKEN):
        await asked


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("unauthorized", 401),
        ("forbidden", 403),
        ("not_found", 404),
        ("gone", 410),
        ("too_many", 429),
        ("redirect", 302),
    ],
)
async def test_refusals_by_name_do_no_work(kind: str, status: int) -> None:
    async with open_site() as site:
        contact = await site.contact()
        site.simulator.faults.add(kind, "/opportunities/$")
        assert (await create(site, contact), cards(site)) == (status, 0)


async def test_a_429_carries_any_retry_after_text() -> None:
    async with open_site() as site:
        for text in ("0", "garbage", "9999999"):
            site.simulator.faults.add("too_many", retry_after=text)
            assert (await site.call("GET", "/opportunities/pipelines")).headers["retry-after"] == text


async def test_401_strikes_once_or_for_good() -> None:
    async with open_site() as site:
        site.simulator.faults.add("unauthorized", "/opportunities/search", times=1)
        query = {"location_id": site.place}
        statuses = [(await site.call("GET", "/opportunities/search", **query)).status for _ in range(2)]
        assert statuses == [401, 200]
        rule = site.simulator.faults.add("unauthorized", "/opportunities/search", times=None)
        statuses = [(await site.call("GET", "/opportunities/search", **query)).status for _ in range(3)]
        assert statuses == [401, 401, 401] and rule.hits == 3
        assert site.simulator.faults.remove(rule.number) and not site.simulator.faults.remove(rule.number)
        assert (await site.call("GET", "/opportunities/search", **query)).status == 200


@pytest.mark.parametrize(("kind", "left"), [("html", 0), ("did_then_html", 1)])
async def test_an_html_page_comes_with_200(kind: str, left: int) -> None:
    async with open_site() as site:
        contact = await site.contact()
        site.simulator.faults.add(kind, "/opportunities/$")
        headers = {"Authorization": f"Bearer {site.office.token}", "Version": "2021-07-28"}
        async with site.session.post(site.url + "/opportunities/", json=site.card(contact), headers=headers) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert (await answer.text()).startswith("<!DOCTYPE html>")
        assert cards(site) == left


async def test_a_body_may_be_cut_off_garbled_or_come_drop_by_drop() -> None:
    async with open_site() as site:
        path = site.simulator.hook_path(site.simulator.add_hook())
        site.simulator.faults.add("did_then_garbage", "^/hooks/")
        async with site.session.post(site.url + path, json={"job_id": "1"}) as answer:
            assert (answer.status, await answer.text()) == (200, '{"status": "Succ')
        site.simulator.faults.add("drip", "^/hooks/", seconds=0.0005)
        async with site.session.post(site.url + path, json={"job_id": "1"}) as answer:
            assert len((await answer.json())["id"]) == 20


@pytest.mark.parametrize(("kind", "size"), [("huge", 2), ("endless", 2), ("gzip_bomb", 2)])
async def test_a_body_may_be_far_too_large(kind: str, size: int) -> None:
    async with open_site() as site:
        site.simulator.faults.add(kind, megabytes=size)
        async with site.session.get(site.url + "/opportunities/pipelines") as answer:
            assert len(await answer.read()) >= size * 1_048_576


async def test_faults_wait_for_their_turn_and_strike_by_seeded_chance() -> None:
    async def pattern(seed: int) -> list[int]:
        async with open_site() as site:
            site.simulator.faults.add("status", after=3, times=None, probability=0.5, seed=seed)
            return [(await site.call("GET", f"/locations/{site.place}")).status for _ in range(30)]

    first, again, other = await pattern(1), await pattern(1), await pattern(2)
    assert first == again != other
    assert first[:3] == [200] * 3 and 5 < first.count(500) < 22


async def test_a_hook_that_worked_and_then_failed_is_told_apart_in_the_ledger() -> None:
    async with open_site() as site:
        hook = site.simulator.add_hook()
        path = site.simulator.hook_path(hook)
        lead = {"job_id": "1", "email": "ann@example.com"}
        site.simulator.faults.add("status", hook.id, status=503)
        site.simulator.faults.add("did_then_status", hook.id)
        statuses = []
        for _ in range(3):
            async with site.session.post(site.url + path, json=lead) as answer:
                statuses.append(answer.status)
        assert statuses == [503, 500, 200]
        posts = [(each.answered, each.fault) for each in site.simulator.ledger.posts]
        assert posts == [("refused", "status"), ("queued", "did_then_status"), ("queued", None)]
        assert site.simulator.ledger.posts_by_job == {"1": 3} and site.simulator.ledger.queued_by_job == {"1": 2}
        assert cards(site) == 2


@pytest.mark.parametrize("status", [404, 410])
async def test_a_hook_can_be_gone_for_good(status: int) -> None:
    async with open_site() as site:
        hook = site.simulator.add_hook()
        site.simulator.faults.add("status", hook.id, status=status, times=None)
        for _ in range(2):
            async with site.session.post(site.url + site.simulator.hook_path(hook), json={"job_id": "1"}) as answer:
                assert answer.status == status


async def test_a_2xx_without_id_of_another_kind_can_be_answered() -> None:
    async with open_site() as site:
        hook = site.simulator.add_hook()
        site.simulator.faults.add("did_then_status", hook.id, status=202, body={"ok": True})
        async with site.session.post(site.url + site.simulator.hook_path(hook), json={"job_id": "1"}) as answer:
            assert (answer.status, await answer.json()) == (202, {"ok": True})


@pytest.mark.parametrize(
    ("act", "arguments", "status"),
    [("rotate_token", {"grace_seconds": 0}, 401), ("delete_stage", {"stage": "New Lead"}, 400)],
)
async def test_something_happens_in_gohighlevel_in_mid_run(act: str, arguments: dict[str, Any], status: int) -> None:
    async with open_site() as site:
        contact = await site.contact()
        body = site.card(contact)
        rule = site.simulator.faults.add("act", "/opportunities/$", after=1, act=act, args=arguments)
        statuses = [(await site.call("POST", "/opportunities/", body)).status for _ in range(2)]
        assert statuses == [201, status]
        if act == "rotate_token":
            new = rule.options["result"]["token"]
            assert (await site.call("POST", "/opportunities/", body, token=new)).status == 201


async def test_an_opportunity_deleted_in_mid_run_is_404_for_the_next_put() -> None:
    async with open_site() as site:
        card = await site.opportunity(await site.contact())
        site.simulator.faults.add("act", card, method="put", act="delete_opportunity", args={"opportunity": card})
        assert (await site.call("GET", f"/opportunities/{card}")).status == 200
        assert (await site.call("PUT", f"/opportunities/{card}", {"name": "x"})).status == 404


async def test_a_fault_that_makes_no_sense_is_refused_with_a_sentence() -> None:
    async with open_site() as site:
        wrongs: list[dict[str, Any]] = [{"kind": "earthquake"}, {"kind": "close", "probability": 0}]
        for wrong in [*wrongs, {"kind": "close", "path": "("}]:
            with pytest.raises(ValueError):
                site.simulator.faults.add(**wrong)
        assert site.simulator.faults.rules == []
