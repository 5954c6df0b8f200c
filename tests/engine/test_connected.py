"""Connections, caps, the audit and facts about the database, as an administrator sees and changes them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobsync.alerts.settings import add_channel, list_channels, preview_digest, read_settings
from jobsync.config import Settings
from jobsync.engine.audit import list_audit
from jobsync.engine.connected import change_connection, list_connections, mask
from jobsync.engine.connections import read_servicetitan_credentials
from jobsync.engine.customers import browse_shared, browse_unreachable
from jobsync.engine.health_facts import list_views, read_health_facts
from jobsync.engine.opening import open_engine
from jobsync.engine.sending import change_limits
from jobsync.errors import InvalidInput

pytestmark = pytest.mark.anyio
TENANT = "default"
TITAN = {
    "tenant_id": "900000001",
    "client_id": "cid.made-up-0001",
    "client_secret": "made-up-secret-9f31",
    "app_key": "ak1.made-up-7c22",
}


def settings_for(dsn: str, folder: Path, **more: Any) -> Settings:
    return Settings.model_validate({"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": folder, "LOG_LEVEL": "ERROR", **more})


def shown(connection: dict[str, Any]) -> dict[str, str | None]:
    return {value["name"]: value["shown"] for value in connection["values"]}


async def test_secrets_go_in_and_never_come_out(dsn: str, tmp_path: Path) -> None:
    async with open_engine(settings_for(dsn, tmp_path)) as engine:
        titan, level = await list_connections(engine, TENANT)
        assert (titan["kind"], titan["source"], level["kind"], level["source"]) == (
            "servicetitan", None, "gohighlevel", None,
        )  # fmt: skip
        with pytest.raises(InvalidInput, match="App key missing"):
            await change_connection(engine, TENANT, "servicetitan", {**TITAN, "app_key": " "}, actor="user:ann")
        changed = await change_connection(engine, TENANT, "servicetitan", TITAN, actor="user:ann", look=False)
        assert sorted(changed) == sorted(TITAN)

        titan = (await list_connections(engine, TENANT))[0]
        assert titan["source"] == "stored"
        assert shown(titan)["client_secret"] == "****9f31"
        assert shown(titan)["tenant_id"] == "****"

        # A blank leaves what stands; the same again is no change.
        only = await change_connection(
            engine,
            TENANT,
            "servicetitan",
            {"client_secret": "made-up-secret-0000", "app_key": ""},
            actor="user:ann",
            look=False,
        )
        assert only == ["client_secret"]
        assert await change_connection(engine, TENANT, "servicetitan", {"app_key": ""}, actor="user:ann") == []
        stored = await read_servicetitan_credentials(engine, TENANT)
        assert stored is not None
        assert (stored.client_secret, stored.app_key) == ("made-up-secret-0000", TITAN["app_key"])

        lines = (await list_audit(engine, TENANT))["lines"]
        assert [(line["action"], line["subject"], line["actor"]) for line in lines] == [
            ("connection_set", "servicetitan", "user:ann")
        ] * 2
    with psycopg.connect(dsn) as connection:
        told = connection.execute("select string_agg(to_jsonb(c)::text, '') from jobsync.connections c").fetchone()
        told = str(told) + str(connection.execute("select array_agg(details::text) from jobsync.audit").fetchone())
    assert not any(value in told for value in TITAN.values())


async def test_what_comes_from_the_environment_is_changed_there(dsn: str, tmp_path: Path) -> None:
    given = {"GHL_API_KEY": "pit-made-up-0000-abcd", "GHL_LOCATION_ID": "locMadeUp0000000001"}
    async with open_engine(settings_for(dsn, tmp_path, **given)) as engine:
        level = (await list_connections(engine, TENANT))[1]
        assert (level["source"], shown(level)) == ("environment", {"location_id": "****0001", "token": "****abcd"})
        with pytest.raises(InvalidInput, match="environment"):
            await change_connection(engine, TENANT, "gohighlevel", {"token": "x" * 20}, actor="user:ann")
    assert mask("short") == "****"


async def test_caps_the_audit_and_what_the_database_says(dsn: str, tmp_path: Path) -> None:
    async with open_engine(settings_for(dsn, tmp_path)) as engine:
        answer = await change_limits(engine, TENANT, actor="user:ann", cap_hour=50, price=Decimal("0.02"))
        assert (answer["cap_hour"], answer["cap_day"], answer["execution_price"]) == (50, 20000, 0.02)
        for cap in range(1, 8):
            await change_limits(engine, TENANT, actor="user:ann", cap_hour=cap)
        await change_limits(engine, TENANT, actor="user:ann", cap_hour=7)
        first = await list_audit(engine, TENANT, limit=5)
        rest = await list_audit(engine, TENANT, before=first["next"], limit=5)
        caps = [line["details"]["cap_hour"] for line in (*first["lines"], *rest["lines"])]
        assert caps == [7, 6, 5, 4, 3, 2, 1, 50]
        assert rest["next"] is None

        facts = await read_health_facts(engine, TENANT)
        assert facts["database"]["bytes"] > 0
        assert len(facts["tables"]) == 8
        views = {view["name"]: view for view in await list_views(engine, TENANT)}
        assert all(view["comment"] for view in views.values())
        assert {"jobs", "sync_statistics", "v_job_status", "v_unsynced_reasons"} <= set(views)
        columns = {column["name"]: column for column in views["v_job_status"]["columns"]}
        assert columns["st_job_id"]["type"] == "bigint"


async def test_a_channel_is_added_once_and_the_digest_is_read_without_being_sent(dsn: str, tmp_path: Path) -> None:
    async with open_engine(settings_for(dsn, tmp_path)) as engine:
        for _ in range(2):
            added = await add_channel(engine, TENANT, "json://alerts.example.com/made-up")
        assert [row["channel"] for row in await list_channels(engine, TENANT)] == [added.name]
        assert str((await read_settings(engine, TENANT))["digest_at"]) == "07:00:00"
        title, text = await preview_digest(engine, TENANT)
        assert title.startswith("JobSync (default)")
        assert "In 24 hours: 0 pulls" in text
        assert (await read_settings(engine, TENANT))["digest_sent_on"] is None


async def test_who_cannot_be_reached_is_listed_by_key(dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into customers (st_customer_id, first_name, last_name, phone, contacts_read_at) "
            "select n, 'Ada', 'No ' || n, case when n % 2 = 0 then '+16025550101' end, jobsync.now() from generate_series(1, 9) n"
        )
    async with open_engine(settings_for(dsn, tmp_path)) as engine:
        first = await browse_unreachable(engine, TENANT, limit=3)
        rest = await browse_unreachable(engine, TENANT, after=first["next"])
        assert [row["st_customer_id"] for row in first["customers"] + rest["customers"]] == [1, 3, 5, 7, 9]
        assert {row["reason"] for row in first["customers"]} == {"no_contact"}
        assert (first["next"], rest["next"]) == (5, None)


async def test_who_shares_a_phone_is_listed_by_phone_a_page_at_a_time(dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        # Five phones of three customers each; one of 12; 30,000 of one customer each between them, and one pair behind these.
        connection.execute(
            "insert into customers (st_customer_id, first_name, last_name, phone, email) "
            "select n, 'Ada', 'No ' || n, '+1602000000' || n % 5, 'a@example.com' from generate_series(1, 15) n "
            "union all select 100 + n, 'Bo', null, '+16021', null from generate_series(1, 12) n "
            "union all select 1000 + n, 'Cy', null, '+1603' || lpad(n::text, 7, '0'), null from generate_series(1, 30000) n "
            "union all select 90000 + n, 'Di', null, '+1700', null from generate_series(1, 2) n "
            "union all select 91000 + n, 'Ed', null, '+1701', null from generate_series(1, 2) n"
        )
        connection.execute("update customers set merged_to_id = 91001 where st_customer_id = 91002")
    async with open_engine(settings_for(dsn, tmp_path)) as engine:
        pages, after = [], 0
        while after is not None:
            found = await browse_shared(engine, TENANT, "phone", after=after, limit=4)
            pages.append([group["value"] for group in found["groups"]])
            after = found["next"]
        emails = await browse_shared(engine, TENANT, "email")
    assert pages[0] == [f"+1602000000{n}" for n in range(4)]
    assert [value for page in pages for value in page][4:] == ["+16020000004", "+16021", "+1700"]
    # Twice nothing but 20,000 that share with nobody.
    assert len(pages) == 3
    (group,) = emails["groups"]
    assert ([one["id"] for one in group["customers"]], group["has_more"]) == (list(range(1, 11)), True)
