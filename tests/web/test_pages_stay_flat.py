"""With twenty times the jobs, no page of the dashboard and no answer of the API touches noticeably more of the database."""

from __future__ import annotations

import re

import pytest

from jobsync.engine.tokens import create_token
from tests.conftest import Server
from tests.sql.big_world import big_world
from tests.web.conftest import ALL_SCOPES, StartApi, list_routes
from tests.web.page_costs import ANSWERS, PAGES, Cost, CountingDatabase, weigh_pages
from tests.web.visitor import let_in

pytestmark = pytest.mark.anyio

# A plan looks up what the first thousand that wait at a location take, and counts the others like them.
# The answer with retries holds as many failed jobs as waiting ones: a hundred, where the small world has five.
BOUNDED = {
    "/ui/arm": 15_000,
    "/admin/plan": 15_000,
    "/admin/plan?show=50": 15_000,
    "/db/jobs/pending-ghl-sync?businessUnitId=4622&retry=true": 4_500,
}


async def weigh(start_api: StartApi, dsn: str) -> dict[str, Cost]:
    async with CountingDatabase(dsn) as counting:
        api = await start_api(database=counting)
        visitor = let_in(api, dsn, all_tenants=True)
        costs = await weigh_pages(counting, visitor, PAGES)
        made = await create_token(counting, "default", "tests", ALL_SCOPES, actor="tests", all_tenants=True)
        api.headers["X-API-Key"] = made["token"]
        costs += await weigh_pages(counting, api, ANSWERS)
    return {cost.path: cost for cost in costs}


async def test_pages_touch_no_more_of_twenty_thousand_jobs_than_of_a_thousand(
    start_api: StartApi, server: Server, template: str
) -> None:
    with big_world(server, template, 1000, imports=False) as dsn:
        few = await weigh(start_api, dsn)
    with big_world(server, template, 20_000, imports=False) as dsn:
        many = await weigh(start_api, dsn)
    grown = {path: (few[path].buffers, many[path].buffers) for path in few if many[path].buffers > most(few[path])}
    assert grown == {}
    assert all(cost.statements <= 13 for cost in many.values()), "a page asks a dozen questions at most"


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_million_jobs_make_no_page_heavy(start_api: StartApi, server: Server, template: str) -> None:
    with big_world(server, template, 1_000_000, imports=False) as dsn:
        costs = await weigh(start_api, dsn)
    for cost in costs.values():
        print(cost.tell())
    assert {path: cost.buffers for path, cost in costs.items() if cost.buffers > BOUNDED.get(path, 9000)} == {}


def test_every_answer_out_of_the_database_is_weighed() -> None:
    # ServiceTitan's own records come from there; a run is read by its key; events are one long answer.
    elsewhere = {"/admin/runs/{run}", "/admin/backfill", "/admin/backfill/{run}", "/admin/events"}
    asked = {
        route.path
        for route in list_routes()
        if "GET" in (route.methods or ()) and route.path.startswith(("/db/", "/admin/"))
    }
    weighed = {re.sub(r"/(77|4622|lastJobPull)(?=/|$)", "/{}", path.partition("?")[0]) for path in ANSWERS}
    assert {re.sub(r"{\w+}", "{}", path) for path in asked - elsewhere} <= weighed


def most(few: Cost) -> float:
    """A list of fifty rows touches more than one of five; nothing else grows."""
    return BOUNDED.get(few.path, 1.2 * few.buffers + 800)
