"""Clients: an agency sees all its contractors, the worst first, what they share, opens one, stops one or all."""

from __future__ import annotations

import re

import psycopg
import pytest

from jobsync.db.pool import Database
from jobsync.engine.survey import survey_tenants
from jobsync.engine.tenants import add_tenant
from tests.web.conftest import Api
from tests.web.visitor import let_in, words

pytestmark = pytest.mark.anyio


async def three_clients(database: Database, dsn: str) -> None:
    """default is well and sent 3 for 0.03; north and south have a scope lost, north has 2 jobs refused, too."""
    for tenant, name in (("north", "North Pools"), ("south", "South Plumbing")):
        await add_tenant(database, tenant, name, actor="a test")
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("update jobsync.tenants set mode = 'live', deliver_from = '2000-01-01'")
        owner.execute(
            "insert into jobs (tenant_id, st_job_id, st_customer_id, business_unit_id, ghl_sync_status, ghl_sync_reason, created_on) "
            "select 'north', n, n, 1314, 'failed', 'rejected', now() from generate_series(1, 2) n"
        )
        for tenant in ("north", "south"):
            owner.execute(
                "select jobsync.set_upstream_state(%s, 'gohighlevel', 'access_denied', 'opportunities.write is missing')",
                (tenant,),
            )
        owner.execute("select jobsync.refresh_alerts()")
        owner.execute(
            "insert into jobsync.send_counts (tenant_id, hour, sends, executions) values ('default', date_trunc('hour', jobsync.now()), 3, 3)"
        )


async def test_the_worst_client_stands_first_with_the_sentence_of_its_own_overview(
    api: Api, database: Database, dsn: str
) -> None:
    await three_clients(database, dsn)
    ann = let_in(api, dsn, all_tenants=True)
    page = (await ann.get("/ui/clients")).text
    order = re.findall(r'action="/ui/clients/(\w+)/open"', page)
    assert order == ["north", "south", "default"]
    told = words(page)
    assert "2 clients: access to GoHighLevel is refused: a credential or a scope was lost" in told
    assert "opportunities.write is missing" in told and "North Pools, South Plumbing" in told
    assert (
        "Live; 2 jobs need you. GoHighLevel denies JobSync access and 1 more." in told
        and "Live: every job is where it belongs." in told
    )
    assert "Sent in 24 hours 3" in told and "Cost this month 0.03" in told
    found = words((await ann.get("/ui/clients?find=SOUTH")).text)
    assert "South Plumbing" in found and "Live; 2 jobs" not in found
    assert "No client is called so" in words((await ann.get("/ui/clients?find=%25")).text)

    opened = await ann.send("/ui/clients/north/open")
    assert (opened.status, opened.headers["Location"]) == (303, "/ui/")
    overview = words((await ann.get("/ui/")).text)
    assert "North Pools" in overview and "Live; 2 jobs need you." in overview
    assert "API & SQL Clients" in overview
    assert (await ann.send("/ui/clients/nobody/open")).status == 404


async def test_where_there_is_one_client_nobody_is_shown_a_list_of_them(api: Api, dsn: str) -> None:
    ann = let_in(api, dsn, all_tenants=True)
    assert "/ui/clients" not in (await ann.get("/ui/")).text
    assert "Live" not in words((await ann.get("/ui/clients")).text)


async def test_one_client_and_all_are_stopped_and_go_on(api: Api, database: Database, dsn: str) -> None:
    await three_clients(database, dsn)
    ann = let_in(api, dsn, all_tenants=True)

    async def paused() -> list[str]:
        found = (await survey_tenants(database))["tenants"]
        return sorted(one["tenant_id"] for one in found if one["paused_at"])

    await ann.send("/ui/clients/south/pause")
    assert await paused() == ["south"]
    stopped = await ann.follow(await ann.send("/ui/clients/pause"))
    assert "Paused 2 clients: nothing is sent." in words(stopped.text)
    assert await paused() == ["default", "north", "south"]
    with psycopg.connect(dsn, autocommit=True) as owner:
        for tenant in ("north", "south"):
            owner.execute(
                "with hook as (insert into jobsync.destinations (tenant_id, kind, label, fingerprint, masked)"
                " values (%(tenant)s, 'webhook', 'hook', 'x', 'x') returning id)"
                " insert into jobsync.outbox (tenant_id, st_job_id, destination_id, event, version, planned_at, next_attempt_at)"
                " select %(tenant)s, 1, hook.id, 'created', 1, now(), now() from hook",
                {"tenant": tenant},
            )
    asked = words((await ann.get("/ui/clients/resume")).text)
    assert "Resume 2 clients" in asked and "Clients that stay paused 1" in asked
    assert "Jobs waiting 1 " in asked and "Paid workflow triggers, up to 1 " in asked, "south stays paused"
    await ann.send("/ui/clients/resume")
    assert await paused() == ["south"], "what was paused alone stays so"
    assert "Paid workflow triggers, up to 1 " in words((await ann.get("/ui/clients/south/resume")).text)
    await ann.send("/ui/clients/south/resume")
    assert await paused() == []
    with psycopg.connect(dsn) as owner:
        said = owner.execute(
            "select tenant_id, action from jobsync.audit where actor = 'user:the.admin' order by tenant_id, id"
        ).fetchall()
    assert said == [
        ("default", "paused"),
        ("default", "resumed"),
        ("north", "paused"),
        ("north", "resumed"),
        ("south", "paused"),
        ("south", "resumed"),
    ]


async def test_an_administrator_of_one_client_sees_no_other(api: Api, database: Database, dsn: str) -> None:
    await three_clients(database, dsn)
    bob = let_in(api, dsn, "admin", name="bob", tenant="north")
    assert "/ui/clients" not in (await bob.get("/ui/")).text
    for answer in (
        await bob.get("/ui/clients"),
        await bob.send("/ui/clients/pause"),
        await bob.send("/ui/clients/south/open"),
    ):
        assert answer.status == 403 and "administrators of all clients" in words(answer.text)
    # Whoever may no longer see all falls back to the client of the account, also with a session that was opened before.
    ann = let_in(api, dsn, all_tenants=True)
    await ann.send("/ui/clients/south/open")
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("update jobsync.users set all_tenants = false where name = 'the.admin'")
    assert "South Plumbing" not in (await ann.get("/ui/")).text
