"""A database that holds so many of everything: jobs, customers, runs, attempts. Sales is delivered by JobSync, Pool by somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.conftest import Server, copy_database, drop_database
from tests.sql import import_statements
from tests.sql.story import POOL, SALES, committed

LOAD = f"""
insert into public.customers (st_customer_id, first_name, source, contacts_read_at, modified_on, phone, st_raw_data)
  select n, 'Ada', 'servicetitan', now(), now(), '+1602' || lpad((case when n % 500 = 1 then n - 1 else n end)::text, 7, '0'), '{{{{}}}}' from generate_series(1, {{jobs}}) n;
insert into jobsync.locations (tenant_id, st_location_id, st_customer_id, contacts_read_at, modified_on, st_raw_data)
  select 'default', n, n, now(), now(), '{{{{}}}}' from generate_series(1, {{jobs}}) n;
insert into jobsync.contacts (tenant_id, owner_kind, owner_id, st_contact_id, type, value, phone)
  select 'default', k, n, n, 'MobilePhone', 'x', case when k = 'location' then '+1480' || lpad((5550000 + n)::text, 7, '0') end
    from generate_series(1, {{jobs}}) n, unnest(array['customer', 'location']) k;
insert into public.jobs (st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, job_type_id, created_on, modified_on, source,
    ghl_sync_status, ghl_sync_reason, job_hash, job_hash_version, delivered_hash, ghl_opportunity_id, st_raw_data)
  select n, n::text, n, n, case when n % 2 = 0 then {SALES} else {POOL} end, 81, now() - n * interval '1 minute', now() - n * interval '1 minute',
    'servicetitan', case when n % 10 < 7 then 'synced' when n % 10 < 9 then 'pending' when n % 200 = 9 then 'failed' else 'skipped' end,
    case when n % 10 = 9 then case when n % 200 = 9 then 'rejected' else 'before_start' end end, 'h', 1, case when n % 10 < 7 then 'h'::bytea end,
    case when n % 10 < 7 then 'opp-' || n end, jsonb_build_object('summary', repeat('x', 900)) from generate_series(1, {{jobs}}) n;
insert into jobsync.attempts (tenant_id, st_job_id, version, destination_id, delivery_id, event, outcome, started_at)
  select 'default', n, 1, gen_random_uuid(), gen_random_uuid(), 'created', 'accepted', now() - interval '2 days' from generate_series(1, {{jobs}}) n;
insert into jobsync.audit (tenant_id, actor, action, subject) select 'default', 'x', 'job_marked', 'job:' || n from generate_series(1, {{jobs}}) n;
insert into jobsync.outside_retries (tenant_id, st_job_id, business_unit_id, failures, due_at)
  select 'default', st_job_id, business_unit_id, 1, now() - interval '1 minute' from public.jobs where ghl_sync_status = 'failed';
insert into jobsync.wanted (tenant_id, stream, id) select 'default', 'customers', 900000 + n from generate_series(1, {{jobs}}) n;
insert into jobsync.quarantine (tenant_id, stream, record_id, reason, raw, raw_hash, resolved_at)
  select 'default', 'jobs', n::text, 'x', '', n::text::bytea, case when n > 20 then now() end from generate_series(1, {{jobs}}) n;
insert into public.sync_logs (sync_type, status, started_at, duration_ms)
  select 'job_pull', 'completed', now() - n * interval '1 minute', 5 from generate_series(1, {{jobs}}) n;
"""


@contextmanager
def big_world(server: Server, template: str, jobs: int, *, imports: bool = True) -> Iterator[str]:
    """A database of its own with so many jobs, and the rows of an import, vacuumed; dropped afterwards."""
    name = f"loaded_{jobs}_{template}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        copy_database(connection, name, template)
        try:
            fill(server.named(name), jobs, imports)
            yield server.named(name)
        finally:
            drop_database(connection, name)


def fill(dsn: str, jobs: int, imports: bool) -> None:
    """Fills a migrated database: one customer, location, attempt and run a job; a fifth of the jobs wait."""
    with committed(dsn) as story:
        # Rows of an asynchronous commit are not yet known as visible to all when the vacuum comes.
        story.connection.execute("set synchronous_commit = on")
        story.connection.execute("set statement_timeout = 0")
        destination = story.hook(SALES)
        story.route(POOL, "external")
        story.live()
        story.connection.execute(LOAD.format(jobs=jobs).encode())
        if imports:
            story.connection.execute(import_statements.LOAD.encode())
        story.owner(
            "insert into jobsync.outbox (tenant_id, st_job_id, st_customer_id, destination_id, version, event, next_attempt_at) "
            "select 'default', st_job_id, st_customer_id, %s, 1, 'created', now() - interval '1 hour' from jobs "
            "where ghl_sync_status = 'pending' and business_unit_id = 1314",
            destination,
        )
        story.connection.execute("vacuum analyze")
