"""Two contractors on one database: neither sees, changes or blocks the other, and nobody without a tenant sees anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.sql.story import SALES, Story, customer, job

TABLES = (
    "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped "
    "where n.nspname in ('public', 'jobsync') and c.relkind = any (%s) order by 1"
)


@pytest.fixture
def both(story: Story) -> tuple[Story, Story]:
    """Two tenants with the same ids and different words, each with something in most tables."""
    story.owner("select jobsync.add_tenant('other', 'Other Pools', 'a test')")
    other = Story(story.connection, "other")
    for told, word in ((story, "Mine"), (other, "Theirs")):
        told.page({"id": SALES, "name": f"{word} unit", "active": True}, stream="business_units")
        told.page(*(customer(number, name=f"{word} Customer") for number in (601, 602)), stream="customers")
        told.hook()
        told.live()
        told.parents(1)
        told.page(job(1, summary=word), job(2, summary=word), job(3, total="x"))
        told.claim()
        told.finish()
        told.value("select jobsync.open_pass(%s, '{jobs}', 'schedule')", told.tenant)
        told.value("select (jobsync.read_cursor(%s, 'jobs', 'export', null)).revision", told.tenant)
        told.rows("select jobsync.take_budget(%s, 'x', 1, 1, 1)", told.tenant)
    return story, other


@contextmanager
def nobody(story: Story) -> Iterator[None]:
    """The app role without a tenant."""
    with story.connection.transaction(force_rollback=True):
        story.connection.execute(
            "select set_config('role', 'jobsync_app', true), set_config('jobsync.tenant', '', true)"
        )
        yield


def tables(story: Story, kinds: str = "rv") -> list[str]:
    return [row["name"] for row in story.owner(TABLES, list(kinds))]


def test_each_tenant_sees_its_own_rows_and_no_others_in_every_table_and_view(both: tuple[Story, Story]) -> None:
    mine, theirs = both
    filled = 0
    for name in tables(mine):
        for told in both:
            assert told.value(f"select count(*) from {name} where tenant_id is distinct from %s", told.tenant) == 0, (
                name
            )
        filled += mine.value(f"select count(*) from {name}") > 0 and theirs.value(f"select count(*) from {name}") > 0
    assert filled >= 18


def test_without_a_tenant_every_table_and_view_is_empty(both: tuple[Story, Story]) -> None:
    for name in [*tables(both[0]), "public.sync_statistics"]:
        with nobody(both[0]):
            assert both[0].connection.execute(f"select count(*) as n from {name}".encode()).fetchone() == {"n": 0}, name


def test_a_row_of_another_tenant_cannot_be_written(both: tuple[Story, Story]) -> None:
    mine, _ = both
    for name in tables(mine, "r"):
        error = mine.refusal(f"insert into {name} (tenant_id) values ('other')")
        assert error.sqlstate == "42501", (name, error)
    for name in (
        "public.jobs",
        "public.customers",
        "public.sync_state",
        "jobsync.outbox",
        "jobsync.tenants",
        "jobsync.routes",
    ):
        assert mine.refusal(f"update {name} set tenant_id = 'other'").sqlstate == "42501", name


def test_changing_or_deleting_without_a_condition_touches_only_ones_own(both: tuple[Story, Story]) -> None:
    mine, theirs = both
    before = theirs.rows("select st_job_id, summary from public.jobs order by 1")
    mine.rows("update public.jobs set summary = 'gone' returning 1")
    mine.rows("delete from public.jobs returning 1")
    assert theirs.rows("select st_job_id, summary from public.jobs order by 1") == before


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("select jobsync.store_page('other', 'jobs', %s)", [Jsonb([job(9)])]),
        ("select jobsync.store_page('other', 'customers', %s)", [Jsonb([customer(9)])]),
        ("select jobsync.upsert_items('other', %s)", [Jsonb([{"job": job(9), "customer": {"customerId": 9}}])]),
        ("select jobsync.write_sync_state('other', 'k', 'v')", []),
        ("select jobsync.set_mode('other', 'live', null, 'x')", []),
    ],
)
def test_functions_called_for_another_tenant_are_refused(
    both: tuple[Story, Story], statement: str, values: list[Any]
) -> None:
    assert both[0].refusal(statement, *values).sqlstate == "42501"


def test_functions_asked_about_another_tenant_find_nothing(both: tuple[Story, Story]) -> None:
    mine, theirs = both
    destination = theirs.value("select id from jobsync.destinations")
    assert mine.rows("select * from jobsync.claim_deliveries('other', %s, 64, 60, 0, 1)", destination) == []
    assert mine.rows("select * from jobsync.mark_job('other', 1, null, null, null)") == []
    assert mine.value("select jobsync.count_planned('other') ->> 'planned'") == "0"
    assert mine.value("select jobsync.destination_state('other', %s)", destination) is None
    assert mine.rows("select tenant_id from jobsync.list_due_destinations() where tenant_id = 'other'") == []


def test_the_same_ids_live_side_by_side(both: tuple[Story, Story]) -> None:
    mine, theirs = both
    assert (mine.job(1)["summary"], theirs.job(1)["summary"]) == ("Mine", "Theirs")
    assert mine.value("select business_unit_name from jobsync.projections where st_job_id = 1") == "Mine unit"
    assert theirs.value("select business_unit_name from jobsync.projections where st_job_id = 1") == "Theirs unit"
    mine.page(job(1, summary="Mine, changed", modifiedOn="2026-03-09T10:00:00Z"))
    assert theirs.job(1)["summary"] == "Theirs"


def test_the_guides_functions_work_for_the_tenant_of_the_session(both: tuple[Story, Story]) -> None:
    mine, theirs = both
    theirs.rows("select public.update_sync_state('k', 'theirs')")
    theirs.rows("select public.upsert_job_from_st(%s, %s)", Jsonb(job(7)), Jsonb({"customerId": 9}))
    assert mine.rows("select * from sync_state where key = 'k'") == []
    assert mine.rows("select * from jobs where st_job_id = 7") == []
    assert theirs.value("select value from sync_state where key = 'k'") == "theirs"


def test_adding_a_tenant_twice_changes_nothing_and_a_bad_id_is_refused(story: Story) -> None:
    first = story.owner("select (jobsync.add_tenant('other', 'Other Pools', 'a test')).*")
    assert story.owner("select (jobsync.add_tenant('other', 'Renamed', 'a test')).*") == first
    assert (first[0]["mode"], first[0]["deliver_from"]) == ("observe", None)
    with pytest.raises(Exception, match="small letters"):
        story.owner("select jobsync.add_tenant('Other Pools', null, 'a test')")
    assert story.refusal("select jobsync.add_tenant('third', null, 'a test')").sqlstate == "42501"


def test_locks_of_one_tenant_do_not_stop_another(both: tuple[Story, Story]) -> None:
    """The advisory locks are of a tenant: their keys differ."""
    keys = both[0].owner("select hashtext('default') as a, hashtext('other') as b")[0]
    assert keys["a"] != keys["b"]
