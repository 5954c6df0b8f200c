"""With twenty times the jobs, no page of the dashboard touches noticeably more of the database."""

from __future__ import annotations

import pytest

from tests.conftest import Server
from tests.sql.big_world import big_world
from tests.web.conftest import StartApi
from tests.web.page_costs import PAGES, Cost, CountingDatabase, weigh_pages
from tests.web.visitor import let_in

pytestmark = pytest.mark.anyio

# A plan looks up what the first thousand that wait at a location take, and counts the others like them.
BOUNDED = {"/ui/arm": 15_000}


async def weigh(start_api: StartApi, dsn: str) -> dict[str, Cost]:
    async with CountingDatabase(dsn) as counting:
        api = await start_api(database=counting)
        visitor = let_in(api, dsn, all_tenants=True)
        costs = await weigh_pages(counting, visitor, PAGES)
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


def most(few: Cost) -> float:
    """A list of fifty rows touches more than one of five; nothing else grows."""
    return BOUNDED.get(few.path, 1.2 * few.buffers + 800)
