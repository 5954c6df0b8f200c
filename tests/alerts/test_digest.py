"""The digest comes once per local day, also on the days when the clocks are changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.rows import dict_row

from jobsync.alerts.messages import tell_digest

TENANT = "default"
ZONE = "America/Denver"


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[dict[str, object]]]:
    with psycopg.Connection[dict[str, Any]].connect(dsn, row_factory=dict_row, autocommit=True) as opened:
        opened.execute("grant update on jobsync.clock to current_user")
        yield opened


def stand_at(connection: psycopg.Connection[dict[str, object]], at: datetime) -> None:
    connection.execute("update jobsync.clock set shift = %s - pg_catalog.now()", (at,))


@pytest.mark.parametrize(
    ("start", "digest_at"),
    [
        # The clocks skip 2:00 to 3:00 on 8 March 2026 and repeat 1:00 to 2:00 on 1 November 2026.
        (datetime(2026, 3, 6, tzinfo=UTC), "02:30"),
        (datetime(2026, 3, 6, tzinfo=UTC), "07:00"),
        (datetime(2026, 10, 30, tzinfo=UTC), "01:30"),
        (datetime(2026, 10, 30, tzinfo=UTC), "00:00"),
    ],
)
def test_one_digest_per_local_day_across_both_changes_of_the_clock(
    connection: psycopg.Connection[dict[str, object]], start: datetime, digest_at: str
) -> None:
    connection.execute("update jobsync.tenants set time_zone = %s", (ZONE,))
    connection.execute(
        "select jobsync.set_alert_settings('default', null, null, null, %s, null, null, 'test')", (digest_at,)
    )
    days: list[object] = []
    for step in range(5 * 24 * 4):
        stand_at(connection, start + timedelta(minutes=15 * step))
        days += [row["local_day"] for row in connection.execute("select * from jobsync.claim_digests()").fetchall()]
    first, last = days[0], days[-1]
    assert len(days) == len(set(days))
    assert isinstance(first, type(last))
    assert len(days) == (last - first).days + 1 >= 5  # type: ignore[operator]


def test_a_digest_that_no_channel_took_is_due_again(connection: psycopg.Connection[dict[str, object]]) -> None:
    stand_at(connection, datetime(2026, 6, 1, 12, tzinfo=UTC))
    (row,) = connection.execute("select * from jobsync.claim_digests()").fetchall()
    assert connection.execute("select * from jobsync.claim_digests()").fetchall() == []
    connection.execute("select jobsync.give_back_digest('default', %s)", (row["local_day"],))
    assert len(connection.execute("select * from jobsync.claim_digests()").fetchall()) == 1


def test_the_digest_says_the_state_what_happened_and_what_is_open(
    connection: psycopg.Connection[dict[str, object]],
) -> None:
    at = datetime(2026, 6, 1, 7, 30, tzinfo=ZoneInfo(ZONE))
    connection.execute("update jobsync.tenants set time_zone = %s, name = 'Sunbelt'", (ZONE,))
    stand_at(connection, at)
    connection.execute(
        "insert into sync_logs (sync_type, status, records_processed, started_at) values ('job_pull', 'completed', 40, jobsync.now())"
    )
    connection.execute("update jobsync.tenants set mode_reason = 'cap_day'")
    connection.execute("select jobsync.refresh_alerts()")
    (row,) = connection.execute("select * from jobsync.claim_digests()").fetchall()
    title, body = tell_digest(row)
    assert title == "JobSync (Sunbelt): Monday 2026-06-01"
    assert body.startswith("Disarmed itself")
    assert "1 pulls (0 failed), 40 jobs read" in body
    assert "the cap of the day was reached" in body and "jobsync arm" in body
