"""A first delivery into a database that was never analyzed: what is read for a job does not grow with the jobs before it.

Sessions plan what they ask for while the tables are empty, where reading all rows of a tenant costs no more than looking
one up, and keep that plan. What each index was read for is counted by PostgreSQL itself, over all sessions.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from jobsync.engine.opening import open_engine
from jobsync.engine.route import route_unit
from tests.engine.api_stage import deliver, give_phones
from tests.upstreams import TENANT, UNITS, Stage, open_stage

pytestmark = pytest.mark.anyio

JOBS = 1000
# A job with its parents, its rules and its attempts is looked up in some thirty places; rows read in vain would be hundreds.
MOST_ENTRIES = 60
READ = (
    "select indexrelname as name, idx_tup_read::int as entries from pg_stat_user_indexes "
    "where schemaname in ('public', 'jobsync') union all "
    "select relname, seq_tup_read::int from pg_stat_user_tables where schemaname in ('public', 'jobsync')"
)


async def route_all_by_api(stage: Stage) -> None:
    """Pulls, and gives all units a place in the pipeline."""
    await stage.sync(deliver=False)
    give_phones(stage)
    for unit in UNITS:
        await route_unit(stage.engine, TENANT, unit, actor="test", pipeline="Sales Pipeline", stage="New Lead")


async def route_all_by_hook(stage: Stage) -> None:
    """Gives all units a hook, and pulls."""
    await stage.route_all()
    await stage.sync(deliver=False)


@pytest.mark.parametrize("route", [route_all_by_hook, route_all_by_api])
async def test_what_is_read_for_a_delivery_does_not_grow_with_those_before_it(dsn: str, tmp_path: Path, route) -> None:
    more = {"JOBSYNC_CAP_HOUR": "0", "JOBSYNC_CAP_DAY": "0"}
    by_api = route is route_all_by_api
    async with open_stage(dsn, tmp_path, jobs=JOBS, engine=False, connected=by_api, more=more) as stage:
        stage.level.switches.turn(burst_limit=0)
        # An engine for each part: a session tells what it counted when it ends.
        async with open_engine(stage.settings()) as stage.opened:
            await route(stage)
        stage.close()
        before = {row["name"]: row["entries"] for row in stage.rows(READ)}
        stage.close()
        async with open_engine(stage.settings()) as stage.opened:
            assert (await deliver(stage, rounds=3))["failed"] == 0
        stage.close()
        entries = {row["name"]: (row["entries"] - before[row["name"]]) / JOBS for row in stage.rows(READ)}
        assert stage.value("select count(*) from jobs where ghl_sync_status = 'synced'") == JOBS
    assert {name: round(count) for name, count in entries.items() if count > MOST_ENTRIES} == {}
    assert max(entries.values()) > 1, "nothing was counted"
