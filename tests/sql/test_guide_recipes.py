"""Every statement that the guide prints works as printed, typed into psql by the owner."""

from __future__ import annotations

import psycopg
import pytest

from tests.sql.conftest import Program
from tests.sql.story import Story, job

RECIPES = [
    "SELECT COUNT(*) FROM customers;",
    "SELECT COUNT(*) FROM jobs;",
    "SELECT COUNT(*) FROM jobs WHERE ghl_sync_status = 'pending';",
    "SELECT ghl_sync_status, COUNT(*) FROM jobs GROUP BY ghl_sync_status;",
    "SELECT * FROM sync_state WHERE key='lastJobPull';",
    "SELECT * FROM sync_logs ORDER BY started_at DESC LIMIT 5;",
    "SELECT * FROM sync_logs WHERE status = 'failed' AND started_at > NOW() - INTERVAL '1 hour';",
    "SELECT * FROM jobs WHERE ghl_sync_status='failed' ORDER BY updated_at DESC LIMIT 20;",
    "INSERT INTO business_units (st_business_unit_id, name, ghl_pipeline_name, sync_enabled) VALUES (12345,'New Business Unit','New Pipeline',TRUE);",
    "SELECT * FROM business_units;",
    "SELECT * FROM sync_statistics;",
    "SELECT * FROM jobs_pending_ghl_sync LIMIT 10;",
    "SELECT update_sync_state('lastJobPull', '2026-01-01T00:00:00Z', '{}');",
    "SELECT update_sync_state('other', 'value');",
    "SELECT get_last_job_pull();",
    'SELECT upsert_job_from_st(\'{"id": 5, "jobNumber": "5"}\'::jsonb, \'{"customerId": 6, "firstName": "Ada"}\'::jsonb);',
    "INSERT INTO jobs (st_job_id, st_job_number) VALUES (5, 'changed') ON CONFLICT (st_job_id) DO UPDATE SET st_job_number = EXCLUDED.st_job_number;",
    "INSERT INTO customers (st_customer_id, first_name) VALUES (6, 'Grace') ON CONFLICT (st_customer_id) DO UPDATE SET first_name = EXCLUDED.first_name;",
    "INSERT INTO business_units (st_business_unit_id, name) VALUES (12345, 'Renamed') ON CONFLICT (st_business_unit_id) DO UPDATE SET name = EXCLUDED.name;",
    "INSERT INTO sync_state (key, value) VALUES ('other', 'x') ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value;",
    "INSERT INTO sync_logs (sync_type, status) VALUES ('mine', 'completed');",
    "UPDATE business_units SET sync_enabled = FALSE WHERE st_business_unit_id = 12345;",
    "UPDATE jobs SET ghl_sync_status = 'pending' WHERE st_job_id = 5;",
    "DELETE FROM jobs WHERE st_job_id = 5;",
]


def test_every_recipe_runs_in_psql(dsn: str, psql: Program) -> None:
    psql(dsn, *(part for recipe in RECIPES for part in ("-c", recipe)))


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_runs_alone_or_after_the_others(story: Story, recipe: str) -> None:
    story.page(job(5))
    story.owner(recipe)


def test_a_fresh_database_answers_as_the_guide_shows_it(dsn: str, psql: Program) -> None:
    assert [line.split("|")[1] for line in psql(dsn, "-At", "-c", "\\dt").splitlines()] == [
        "business_units", "customers", "jobs", "sync_logs", "sync_state",
    ]  # fmt: skip
    assert sorted(line.split("|")[1] for line in psql(dsn, "-At", "-c", "\\df").splitlines()) == [
        "get_last_job_pull", "update_sync_state", "upsert_job_from_st",
    ]  # fmt: skip
    assert [line.split("|")[1] for line in psql(dsn, "-At", "-c", "\\dv").splitlines()] == [
        "jobs_pending_ghl_sync",
        "sync_statistics",
    ]
    assert (
        psql(dsn, "-At", "-c", "SELECT value FROM sync_state WHERE key='lastJobPull'").strip() == "2025-01-01T00:00:00Z"
    )
    units = psql(dsn, "-At", "-c", "SELECT st_business_unit_id, name FROM business_units ORDER BY name").splitlines()
    assert units == ["54670601|Install", "26143|Plumbing", "4622|Pool Service", "1314|Sales & Service"]


def test_a_row_that_people_change_gets_a_new_updated_at(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        before = connection.execute("select updated_at from business_units where st_business_unit_id = 1314").fetchone()
        connection.execute("update business_units set ghl_pipeline_name = 'Other' where st_business_unit_id = 1314")
        after = connection.execute("select updated_at from business_units where st_business_unit_id = 1314").fetchone()
    assert before is not None
    assert after is not None
    assert after[0] > before[0]


def test_a_unit_inserted_in_sql_is_never_routed_by_itself(story: Story) -> None:
    story.owner(
        "insert into business_units (st_business_unit_id, name, ghl_pipeline_name, sync_enabled) values (12345, 'New', 'New Pipeline', true)"
    )
    story.page(job(1, businessUnitId=12345))
    assert story.status(1) == ("skipped", "unmapped")
