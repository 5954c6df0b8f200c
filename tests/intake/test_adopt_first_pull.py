"""The first pull on an adopted database: it brings the truth, and nothing of what the old flow delivered is sent again."""

from __future__ import annotations

import json
from typing import Any, cast

import psycopg
import pytest
from psycopg.rows import dict_row

from jobsync.intake.adopt import migrate_or_adopt
from tests.intake.guide_database import make_guide_database
from tests.sql.story import job

pytestmark = pytest.mark.anyio
SYNCED, PENDING, UNIT, LEFT_TO_OLD = 1010, 1015, 1314, 4622
LATER, LATEST = "2026-04-01T10:00:00Z", "2026-04-02T10:00:00Z"


class Base:
    """An adopted database, one statement at a time."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self.connection = connection

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self.connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def page(self, *jobs: dict[str, Any]) -> None:
        self.rows("select jobsync.store_page('default', 'jobs', %s::jsonb)", json.dumps(jobs))

    def take_over(self, kind: str) -> None:
        """JobSync delivers the unit from now on, changes as well, to a new destination of this kind."""
        self.rows(
            "insert into jobsync.destinations (tenant_id, kind, label, fingerprint, masked) values ('default', %s, 'new', 'x', 'x')",
            kind,
        )
        self.rows(
            "select jobsync.set_route('default', %s, 'jobsync', (select id from jobsync.destinations), 'all', 'Sales', null, true, true, 'test')",
            UNIT,
        )

    def job(self, number: int) -> dict[str, Any]:
        return self.rows("select * from jobs where st_job_id = %s", number)[0]

    def waits(self) -> dict[int, str | None]:
        """What each waits for; None: it is due."""
        found = self.rows("select st_job_id, waiting_for, next_attempt_at <= jobsync.now() as due from jobsync.outbox")
        assert all(row["due"] == (row["waiting_for"] is None) for row in found)
        return {row["st_job_id"]: row["waiting_for"] for row in found}

    def waiting(self) -> dict[int, str]:
        return {row["st_job_id"]: row["event"] for row in self.rows("select st_job_id, event from jobsync.outbox")}


async def test_the_first_record_of_an_adopted_job_is_the_baseline_and_what_changes_after_it_is_sent(
    empty_dsn: str,
) -> None:
    make_guide_database(empty_dsn, jobs=40)
    await migrate_or_adopt(empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True, row_factory=cast(Any, dict_row)) as connection:
        base = Base(cast(Any, connection))
        base.take_over("api")
        assert base.waiting() == dict.fromkeys((1005, PENDING, PENDING + 10, PENDING + 20), "created")
        # Number, type and status are other than the old flow stored; that is no change of the job.
        told = {
            "businessUnitId": UNIT,
            "customerId": 1610,
            "jobNumber": "70-0412",
            "jobStatus": "Completed",
            "createdOn": "2026-03-01T00:10:00Z",
        }
        base.page(job(SYNCED, **told, modifiedOn=LATER))
        stored = base.job(SYNCED)
        assert (stored["st_job_number"], stored["job_status"], stored["source"]) == (
            "70-0412",
            "Completed",
            "servicetitan",
        )
        assert stored["job_hash"] == stored["delivered_hash"] and stored["job_hash_version"] > 0
        assert SYNCED not in base.waiting()
        base.page(job(SYNCED, **{**told, "jobStatus": "Canceled"}, modifiedOn=LATEST))
        assert base.waiting()[SYNCED] == "updated"


async def test_what_the_old_flow_missed_is_stored_and_not_given_to_it_to_push(empty_dsn: str) -> None:
    make_guide_database(empty_dsn, jobs=20)
    await migrate_or_adopt(empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True, row_factory=cast(Any, dict_row)) as connection:
        base = Base(cast(Any, connection))
        now = base.rows(
            "select to_char((jobsync.now() + interval '1 second') at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as at"
        )[0]["at"]
        base.page(
            job(5001, businessUnitId=LEFT_TO_OLD), job(5002, businessUnitId=LEFT_TO_OLD, createdOn=now, modifiedOn=now)
        )
        # Pending when it was adopted: still the old flow's to push, also after ServiceTitan's record came.
        base.page(job(1007, businessUnitId=LEFT_TO_OLD, modifiedOn=LATER))
        missed, fresh, offered = (base.job(number) for number in (5001, 5002, 1007))
        assert (missed["ghl_sync_status"], missed["ghl_sync_reason"]) == ("skipped", "before_start")
        assert (fresh["ghl_sync_status"], offered["ghl_sync_status"]) == ("pending", "pending")
        pending = {row["st_job_id"] for row in base.rows("select st_job_id from jobs_pending_ghl_sync")}
        assert {5002, 1007} <= pending and 5001 not in pending


async def test_what_the_old_flow_left_pending_is_told_when_it_was_read_and_what_the_first_pull_does_not_bring_after_it(
    empty_dsn: str,
) -> None:
    make_guide_database(empty_dsn, jobs=40)
    await migrate_or_adopt(empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True, row_factory=cast(Any, dict_row)) as connection:
        base = Base(cast(Any, connection))
        base.take_over("webhook")
        assert base.waits() == dict.fromkeys((1005, PENDING, PENDING + 10, PENDING + 20), "first_pull")

        # Its record came, its customer is not read yet; the other's record came without one.
        base.page(
            job(PENDING, businessUnitId=UNIT, customerId=1615, modifiedOn=LATER),
            job(PENDING + 10, businessUnitId=UNIT, customerId=None, locationId=None, modifiedOn=LATER),
        )
        assert base.waits() == {
            1005: "first_pull",
            PENDING: "parents",
            PENDING + 10: None,
            PENDING + 20: "first_pull",
        }
        # What a script writes is not ServiceTitan's record.
        base.rows(
            "select jobsync.store_jobs('default', %s::jsonb, 'api')", json.dumps([job(1005, businessUnitId=UNIT)])
        )
        assert base.waits()[1005] == "first_pull"

        # The feed is read to its end and did not hold these two: they go out as they stand.
        base.rows(
            "insert into jobsync.cursors (tenant_id, stream, caught_up_at) values ('default', 'jobs', jobsync.now())"
        )
        base.rows("delete from jobsync.wanted")
        base.rows("select jobsync.resolve_wanted('default')")
        assert base.waits() == dict.fromkeys((1005, PENDING, PENDING + 10, PENDING + 20))
