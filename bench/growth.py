"""Buffers touched by a poll and by a delivery at a thousand, a hundred thousand and (asked for) a million stored jobs.

Counted by EXPLAIN (ANALYZE, BUFFERS) as the program's role, functions seen through; never timed. A poll stores one page of 10
jobs, 9 of them unchanged, moves the cursor, resolves what waits and publishes the watermark; a delivery claims and
books 16 of the waiting jobs. Each is told warm: once before it counts.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from bench.records import make_job
from bench.store_page import ENTER, ROUTE

FILL = """
with customers as (
  insert into public.customers (st_customer_id, first_name, source, contacts_read_at) select 500000 + n, 'Ada', 'servicetitan', now() from generate_series(0, %(jobs)s) n),
locations as (
  insert into jobsync.locations (tenant_id, st_location_id, contacts_read_at) select 'default', 700000 + n, now() from generate_series(0, %(jobs)s) n)
insert into public.jobs (st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, created_on, modified_on, source, ghl_sync_status, job_hash,
    job_hash_version, delivered_hash, st_raw_data)
  select 10000000 + n, n::text, 500000 + n * 6 / 10, 700000 + n * 7 / 10, 1314, now() - n * interval '1 minute', now() - n * interval '1 minute', 'servicetitan',
    'synced', 'h', jobsync.hash_version(), 'h', jsonb_build_object('id', 10000000 + n) from generate_series(1000, %(jobs)s) n"""
LIVE = "select jobsync.initialise_tenant('default', 'live', '2000-01-01', null, 0, 0)"
CURSOR = "select jobsync.read_cursor('default', 'jobs', 'export', null)"
POLL = (
    "select jobsync.store_page('default', 'jobs', %(page)s::jsonb), jobsync.move_cursor('default', 'jobs', %(revision)s, 'export', 't', null, true), "
    "jobsync.resolve_wanted('default'), jobsync.publish_watermark('default')"
)
CLAIM = "select * from jobsync.claim_deliveries('default', (select id from jobsync.destinations), 16, 60, 0, 1)"


def count_buffers(connection: psycopg.Connection[Any], statement: str, values: Any = None) -> int:
    """Shared buffers that the statement touched, found or read."""
    row = connection.execute(f"explain (analyze, buffers, format json) {statement}".encode(), values).fetchone()
    assert row is not None
    plan = (json.loads(row[0]) if isinstance(row[0], str) else row[0])[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def measure(dsn: str, jobs: int) -> dict[str, float]:
    """Buffers a poll and a delivered job touch with so many jobs stored."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(ROUTE.encode())
        connection.execute(LIVE.encode())
        connection.execute(FILL.encode(), {"jobs": jobs})
        # The first thousand come by pages: their records are what a poll finds unchanged, and they wait to be sent.
        for start in range(0, 1000, 500):
            page = json.dumps([make_job(number, 0) for number in range(start, start + 500)])
            with connection.transaction():
                connection.execute(ENTER)
                connection.execute("select jobsync.store_page('default', 'jobs', %s::jsonb)", (page,))
        connection.execute(CURSOR.encode())
        connection.execute("vacuum analyze")
        polls, sends = [], []
        for turn in range(3):
            page = json.dumps(
                [make_job(number, 1 if number == 900 + turn else 0) for number in (*range(9), 900 + turn)]
            )
            with connection.transaction():
                connection.execute(ENTER)
                polls.append(count_buffers(connection, POLL, {"page": page, "revision": turn}))
            with connection.transaction():
                connection.execute(ENTER)
                claimed = count_buffers(connection, CLAIM)
                rows = connection.execute(
                    "select a.id, a.st_job_id, o.fence from jobsync.attempts a join jobsync.outbox o using (tenant_id, st_job_id) where a.outcome is null"
                ).fetchall()
                results = [
                    {"attempt_id": r[0], "st_job_id": r[1], "fence": r[2], "outcome": "accepted", "status": 200}
                    for r in rows
                ]
                to = connection.execute("select id from jobsync.destinations").fetchone()
                assert to is not None and isinstance(to[0], UUID)
                booked = count_buffers(
                    connection, "select jobsync.finish_deliveries('default', %s, %s)", (to[0], Jsonb(results))
                )
                sends.append((claimed + booked) / max(len(rows), 1))
    return {"poll": polls[-1], "delivery": sends[-1]}
