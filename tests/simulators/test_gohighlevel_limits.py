"""Rate limits of the simulator: headers, the burst, the day."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulators.gohighlevel_site import Reply, Site, open_site

pytestmark = pytest.mark.anyio


async def ask(site: Site, **how: Any) -> Reply:
    return await site.call("GET", "/opportunities/pipelines", locationId=site.place, **how)


async def test_every_answer_carries_the_five_headers() -> None:
    async with open_site() as site:
        await ask(site)
        reply = await ask(site)
        assert reply.headers["x-ratelimit-max"] == "100"
        assert reply.headers["x-ratelimit-remaining"] == "98"
        assert reply.headers["x-ratelimit-interval-milliseconds"] == "10000"
        assert reply.headers["x-ratelimit-limit-daily"] == "200000"
        assert reply.headers["x-ratelimit-daily-remaining"] == "199998"
        assert "x-ratelimit-max" in (await ask(site, token="pit-wrong")).headers


async def test_the_hundred_and_first_request_in_ten_seconds_is_429() -> None:
    async with open_site() as site:
        assert [(await ask(site)).status for _ in range(100)] == [200] * 100
        refused = await ask(site)
        assert refused.status == 429 and "retry-after" not in refused.headers
        assert refused.headers["x-ratelimit-remaining"] == "0"
        site.simulator.clock.advance(10)
        assert (await ask(site)).status == 200
        ledger = await site.control("GET", "/ledger")
        assert ledger["peak_in_window"] == {site.place: 100} and ledger["refused_429"] == {site.place: 1}


async def test_the_window_slides() -> None:
    async with open_site(burst_limit=4) as site:
        statuses = []
        for _ in range(4):
            statuses += [(await ask(site)).status for _ in range(2)]
            site.simulator.clock.advance(4)
        assert statuses == [200, 200, 200, 200, 429, 429, 200, 200]


async def test_each_location_has_a_budget_of_its_own_and_its_tokens_share_it() -> None:
    async with open_site(burst_limit=2) as site:
        second = site.simulator.act("issue_token")["token"]
        other = site.simulator.act("add_location")["id"]
        elsewhere = site.simulator.act("issue_token", location=other)["token"]
        assert (await ask(site)).status == (await ask(site, token=second)).status == 200
        assert (await ask(site)).status == (await ask(site, token=second)).status == 429
        there = await site.call("GET", "/opportunities/pipelines", token=elsewhere, locationId=other)
        assert there.status == 200


@pytest.mark.parametrize("boundary", ["utc", "rolling"])
async def test_the_day_ends_at_midnight_or_rolls_by_a_switch(boundary: str) -> None:
    async with open_site(daily_limit=3, daily_boundary=boundary) as site:
        assert [(await ask(site)).status for _ in range(4)] == [200, 200, 200, 429]
        site.simulator.clock.advance(12 * 3600)
        assert (await ask(site)).status == (200 if boundary == "utc" else 429)
        site.simulator.clock.advance(12 * 3600 + 1)
        assert (await ask(site)).status == 200


async def test_a_used_up_day_refuses_everything() -> None:
    async with open_site() as site:
        site.simulator.act("use_up_day")
        reply = await ask(site)
        assert (reply.status, reply.headers["x-ratelimit-daily-remaining"]) == (429, "0")


@pytest.mark.parametrize(("setting", "shown"), [("seconds", "11"), ("date", "Mon, 02 Mar 2026 12:00:11 GMT")])
async def test_retry_after_is_a_switch(setting: str, shown: str) -> None:
    async with open_site(retry_after=setting, burst_limit=1) as site:
        await ask(site)
        assert (await ask(site)).headers["retry-after"] == shown


async def test_a_limit_per_second_can_bite_below_the_published_one() -> None:
    async with open_site(short_burst_limit=2) as site:
        assert [(await ask(site)).status for _ in range(3)] == [200, 200, 429]
        site.simulator.clock.advance(1)
        assert (await ask(site)).status == 200


async def test_the_date_header_follows_the_clock_and_its_skew() -> None:
    async with open_site() as site:
        assert (await ask(site)).headers["date"] == "Mon, 02 Mar 2026 12:00:00 GMT"
        site.simulator.switches.turn(date_skew_seconds=-3600)
        assert (await ask(site)).headers["date"] == "Mon, 02 Mar 2026 11:00:00 GMT"
