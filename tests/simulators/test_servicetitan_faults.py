"""Faults on demand: every kind, over a real socket, as often and where it was asked for."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from jobsync.simulators.servicetitan import Fault, serve
from jobsync.simulators.servicetitan.corruptions import BODIES, ROWS
from tests.simulators.servicetitan_site import Site, open_site

pytestmark = pytest.mark.anyio
JOBS = "jpm/export/jobs"


async def raw(site: Site, where: str = JOBS, **query: Any) -> tuple[int, dict[str, str], bytes]:
    async with site.get(where, **query) as answer:
        return answer.status, dict(answer.headers), await answer.read()


async def test_a_fault_strikes_its_path_only_as_often_as_told_after_those_it_lets_pass() -> None:
    async with open_site() as site:
        site.simulator.faults.plan("status", "jpm/*", status=503, count=2, skip=1)
        await site.read("crm/customers")
        assert [(await raw(site))[0] for _ in range(4)] == [200, 503, 503, 200]
        assert site.simulator.ledger.count(JOBS, status=503) == 2


@pytest.mark.parametrize(
    ("told", "header"),
    [("seconds", "7"), ("absent", None), ("garbage", "soon, please"), ("0", "0"), ("9999999", "9999999")],
)
async def test_a_429_tells_its_wait_as_asked(told: str, header: str | None) -> None:
    async with open_site() as site:
        site.simulator.faults.throttle(JOBS, seconds=7, retry_after=told)
        status, headers, body = await raw(site)
        assert (status, headers.get("Retry-After")) == (429, header)
        assert json.loads(body)["title"].endswith(" 7 seconds.")


async def test_a_429_can_tell_its_wait_as_a_date() -> None:
    async with open_site() as site:
        site.simulator.faults.throttle(JOBS, seconds=90, retry_after="date")
        _, headers, _ = await raw(site)
        wait = parsedate_to_datetime(headers["Retry-After"]) - parsedate_to_datetime(headers["Date"])
        assert wait.total_seconds() == 90


async def test_a_503_can_be_a_page_of_html() -> None:
    async with open_site() as site:
        site.simulator.faults.plan("status", JOBS, status=503, body="html")
        status, headers, body = await raw(site)
        assert (status, headers["Content-Type"]) == (503, "text/html") and body.startswith(b"<!DOCTYPE")


async def test_a_redirect_and_a_refused_feed() -> None:
    async with open_site() as site:
        site.simulator.faults.plan("redirect", JOBS)
        status, headers, _ = await raw(site)
        assert (status, headers["Location"]) == (302, "https://login.example.com/")
        site.simulator.faults.refuse(JOBS, status=404)
        assert [(await raw(site))[0] for _ in range(2)] == [404, 404]
        await site.read("jpm/jobs")


async def test_a_rejected_token_does_not_reject_a_date() -> None:
    async with open_site() as site:
        token = (await site.read(JOBS))["continueFrom"]
        site.simulator.faults.reject_token(JOBS, count=None)
        assert (await raw(site, from_=token))[0] == 400
        assert (await raw(site, from_="2025-01-01"))[0] == 200


@pytest.mark.parametrize("kind", ["truncate", "reset_midway", "reset"])
async def test_a_cut_answer_breaks_off_and_the_next_one_is_whole(kind: str) -> None:
    async with open_site() as site:
        count = 2 if kind == "reset" else 1  # aiohttp itself tries again when a kept connection dies unanswered
        site.simulator.faults.plan(kind, JOBS, count=count)
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
            await raw(site)
        assert len((await site.read(JOBS))["data"]) == 120


async def test_a_content_length_that_is_too_small_is_followed_by_the_rest_all_the_same() -> None:
    async with open_site() as site:
        whole = (await raw(site))[2]
        site.simulator.faults.plan("short_length", JOBS)
        head, body = await site.exchange(site.path(JOBS).encode())
        declared = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert body == whole and declared == len(whole) // 2


@pytest.mark.parametrize("kind", ["hang", "drip", "endless"])
async def test_an_answer_that_does_not_end_ends_with_the_callers_patience(kind: str) -> None:
    async with open_site() as site:
        site.simulator.faults.plan(kind, JOBS, pause=0.01)
        with pytest.raises(TimeoutError):
            async with site.session.get(
                site.path(JOBS), headers=site.headers, timeout=aiohttp.ClientTimeout(total=0.15)
            ) as answer:
                await answer.read()
        assert len((await site.read(JOBS))["data"]) == 120


async def test_stopping_ends_an_answer_that_hangs() -> None:
    async with open_site() as site:
        site.simulator.faults.plan("hang", JOBS)
        with pytest.raises(TimeoutError):
            await site.session.get(site.path(JOBS), timeout=aiohttp.ClientTimeout(total=0.05))
        await site.served.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await raw(site)


async def test_a_gzip_bomb_is_small_on_the_wire() -> None:
    async with open_site() as site:
        site.simulator.faults.plan("gzip_bomb", JOBS, megabytes=3)
        async with site.get(JOBS) as answer:
            assert answer.headers["Content-Encoding"] == "gzip" and int(answer.headers["Content-Length"]) < 60_000
            assert len(await answer.read()) > 3 << 20


async def test_json_can_come_as_text_html() -> None:
    async with open_site() as site:
        site.simulator.faults.plan("wrong_type", JOBS)
        _, headers, body = await raw(site)
        assert headers["Content-Type"] == "text/html" and json.loads(body)["data"]


async def test_a_page_can_come_twice() -> None:
    async with open_site(export_rows_per_call=10) as site:
        first = await site.read(JOBS)
        site.simulator.faults.plan("duplicate_page", JOBS)
        assert await site.read(JOBS, from_=first["continueFrom"]) == first


async def test_raw_texts_can_be_planted_between_the_rows() -> None:
    async with open_site() as site:
        site.simulator.faults.plant(JOBS, '{"id":"x"}', "null", at=1)
        rows = (await site.read(JOBS))["data"]
        assert len(rows) == 122 and rows[1:3] == [{"id": "x"}, None]


@pytest.mark.parametrize("how", sorted(ROWS))
async def test_a_spoiled_row_leaves_the_others_as_they_were(how: str) -> None:
    async with open_site(jobs=5) as site:
        good = (await raw(site))[2]
        site.simulator.faults.corrupt(JOBS, how, row=2)
        bad = (await raw(site))[2]
        assert bad != good
        rows = [record.body[:-1] for record in sorted(site.data.tables["jobs"], key=lambda record: record.modified)]
        assert all(row in bad for number, row in enumerate(rows) if number != 2)
        assert (await raw(site))[2] == good


@pytest.mark.parametrize("how", sorted(BODIES))
async def test_a_spoiled_body_is_not_the_promised_one(how: str) -> None:
    async with open_site(jobs=5) as site:
        good = (await raw(site))[2]
        site.simulator.faults.corrupt(JOBS, how)
        status, _, bad = await raw(site)
        assert status == 200 and bad != good
        assert (await raw(site))[2] == good


def test_the_corpus_has_at_least_60_entries() -> None:
    assert len(ROWS) + len(BODIES) >= 60


async def test_the_token_endpoint_can_fail_too() -> None:
    async with open_site() as site:
        site.simulator.faults.plan("status", "connect/token", status=500)
        assert (await site.ask_token())[0] == 500
        assert (await site.ask_token())[0] == 200
        assert (site.simulator.ledger.tokens, site.simulator.ledger.data) == (2, 0)


async def test_a_token_answer_can_be_spoiled() -> None:
    async with open_site() as site:
        site.simulator.faults.corrupt("connect/token", "html")
        async with site.session.post("/connect/token", data={"grant_type": "client_credentials"}) as answer:
            assert (await answer.text()).startswith("<!DOCTYPE")


async def test_an_outage_is_a_stop_and_a_new_start_on_the_same_port() -> None:
    async with open_site() as site:
        await site.served.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await raw(site)
        async with await serve(site.simulator, port=site.served.port) as again:
            assert again.url == site.served.url
            assert len((await site.read(JOBS))["data"]) == 120


def test_a_fault_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no fault is called flood"):
        Fault("flood")
    with pytest.raises(ValueError, match="takes how = one of"):
        Fault("row", how="nope")


async def test_a_test_can_change_rows_just_before_a_page_is_read() -> None:
    async with open_site() as site:
        paths: list[str] = []

        def note(path: str) -> None:
            paths.append(path)
            site.act.book_job()

        site.simulator.before_answer = note
        assert (await site.read("jpm/jobs", includeTotal="true"))["totalCount"] == 121
        assert paths == ["jpm/jobs"]
