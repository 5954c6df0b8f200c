"""A database as the old guide and a year of its flow leave it: its columns, defects and habits, with invented people.

    make_guide_database(dsn)            # 200 jobs
    make_guide_database(dsn, jobs=1_000_000)

Of the jobs, by `n % 10`: 0 synced with the literal 'created' as its opportunity, 1 synced with a real id, 2 failed, 3 skipped,
4 a status that nobody knows, the others pending. The bundled PostgreSQL has no uuid-ossp; a function of its name stands in.
"""

from __future__ import annotations

import psycopg

# Units of the guide, and one (1308) that the flow routed and the table never held.
UNITS = (1314, 54670601, 4622, 26143)
HIDDEN_UNIT = 1308

TABLES = """
create function public.uuid_generate_v4() returns uuid language sql volatile as 'select gen_random_uuid()';
create table sync_state (
  id uuid primary key default public.uuid_generate_v4(), key varchar(100) unique not null, value text not null, metadata jsonb default '{}',
  created_at timestamptz default now(), updated_at timestamptz default now());
create index idx_sync_state_key on sync_state (key);
create table customers (
  id uuid primary key default public.uuid_generate_v4(), st_customer_id bigint unique not null, st_location_id bigint,
  first_name varchar(255), last_name varchar(255), company_name varchar(255), email varchar(255), phone varchar(50),
  street text, city varchar(100), state varchar(50), postal_code varchar(20), country varchar(100), county varchar(100),
  ghl_contact_id varchar(100), ghl_synced_at timestamptz, ghl_sync_status varchar(50) default 'pending', ghl_sync_error text, st_raw_data jsonb,
  created_at timestamptz default now(), updated_at timestamptz default now(), synced_from_st_at timestamptz default now());
create index idx_customers_st_id on customers (st_customer_id);
create index idx_customers_email on customers (email);
create table jobs (
  id uuid primary key default public.uuid_generate_v4(), st_job_id bigint unique not null, st_job_number varchar(50) not null,
  st_customer_id bigint not null, st_location_id bigint, business_unit_id bigint not null, job_type_id bigint, job_type_name varchar(255),
  job_status varchar(50), priority varchar(50), summary text, description text, created_on timestamptz, completed_on timestamptz,
  modified_on timestamptz, first_appointment_id bigint, last_appointment_id bigint, appointment_count integer default 0,
  total decimal(10,2) default 0, invoice_id bigint, estimate_ids bigint[], no_charge boolean default false, campaign_id bigint, lead_call_id bigint,
  tag_type_ids bigint[], ghl_opportunity_id varchar(100), ghl_pipeline varchar(100), ghl_synced_at timestamptz,
  ghl_sync_status varchar(50) default 'pending', ghl_sync_error text, st_raw_data jsonb,
  created_at timestamptz default now(), updated_at timestamptz default now(), synced_from_st_at timestamptz default now());
create index idx_jobs_st_id on jobs (st_job_id);
create index idx_jobs_status on jobs (job_status);
create index idx_jobs_sync_query on jobs (business_unit_id, created_on desc, ghl_sync_status);
create table sync_logs (
  id uuid primary key default public.uuid_generate_v4(), sync_type varchar(50) not null, entity_type varchar(50), entity_id bigint,
  status varchar(50) not null, records_processed integer default 0, records_succeeded integer default 0, records_failed integer default 0,
  error_message text, error_details jsonb, started_at timestamptz default now(), completed_at timestamptz, duration_ms integer,
  workflow_execution_id varchar(100), metadata jsonb default '{}');
create index idx_sync_logs_started on sync_logs (started_at desc);
create table business_units (
  id uuid primary key default public.uuid_generate_v4(), st_business_unit_id bigint unique not null, name varchar(255) not null,
  ghl_pipeline_id varchar(100), ghl_pipeline_name varchar(255), sync_enabled boolean default true, sync_to_ghl boolean default true,
  created_at timestamptz default now(), updated_at timestamptz default now());
"""

BEHAVIOUR = """
create function update_sync_state(p_key varchar(100), p_value text, p_metadata jsonb default '{}') returns void language sql as
  $$ insert into sync_state (key, value, metadata) values (p_key, p_value, p_metadata) on conflict (key) do update set value = excluded.value $$;
create function get_last_job_pull() returns timestamptz language sql as
  $$ select value::timestamptz from sync_state where key = 'lastJobPull' $$;
create function upsert_job_from_st(p_job_data jsonb, p_customer_data jsonb) returns uuid language sql as $$ select null::uuid $$;
create function update_updated_at_column() returns trigger language plpgsql as $$ begin new.updated_at = now(); return new; end $$;
create trigger update_customers_updated_at before update on customers for each row execute function update_updated_at_column();
create trigger update_jobs_updated_at before update on jobs for each row execute function update_updated_at_column();
create trigger update_sync_state_updated_at before update on sync_state for each row execute function update_updated_at_column();
create view jobs_pending_ghl_sync as
  select j.*, c.first_name, c.last_name, c.email, c.phone, c.street, c.city, c.state, c.postal_code, c.county, bu.ghl_pipeline_name
    from jobs j left join customers c on j.st_customer_id = c.st_customer_id left join business_units bu on j.business_unit_id = bu.st_business_unit_id
   where j.ghl_sync_status = 'pending' and bu.sync_to_ghl = true order by j.created_on desc;
create view sync_statistics as
  select sync_type, status, count(*) as count, avg(duration_ms) as avg_duration_ms, max(started_at) as last_sync_at
    from sync_logs group by sync_type, status order by sync_type, status;
"""

ROWS = """
insert into business_units (st_business_unit_id, name, ghl_pipeline_name) values
  (1314, 'Sales & Service', 'Sales & Service'), (54670601, 'Install', 'Install'), (4622, 'Pool Service', 'Pool Service'), (26143, 'Plumbing', 'Plumbing');
insert into sync_state (key, value, metadata) values ('lastJobPull', %(cursor)s, '{"workflow": "get_jobs", "version": "2.0"}'), ('note', 'mine', '{}');
insert into customers (st_customer_id, st_location_id, first_name, last_name, email, phone, street, city, state, postal_code, county, st_raw_data)
  select 600 + n, 700 + n, case when n %% 3 = 0 then '' else 'Ada' end, case when n %% 3 = 0 then '' else 'Lovelace ' || n end,
         case when n %% 3 = 0 then '' else 'ada' || n || '@example.com' end, case when n %% 3 = 0 then '' else '602-555-01' || lpad((n %% 100)::text, 2, '0') end,
         n || ' Pool Lane', 'Springfield', 'AZ', '85001', '', jsonb_build_object('customerId', 600 + n, 'firstName', 'Ada')
    from generate_series(1, %(jobs)s) n;
insert into jobs (st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, job_type_id, job_type_name, job_status, priority, summary,
                  created_on, modified_on, appointment_count, total, tag_type_ids, ghl_opportunity_id, ghl_synced_at, ghl_sync_status, st_raw_data)
  select 1000 + n, (1000 + n)::text, 600 + n, 700 + n, (array[1314, 54670601, 4622, 26143, 1308])[1 + n %% 5], 81, 'Unknown', 'Scheduled', 'Normal', repeat('Pump is loud. ', %(words)s),
         '2026-03-01'::timestamptz + n * interval '1 minute', '2026-03-02'::timestamptz + n * interval '1 minute', 1, 120.50, '{11,12}',
         case n %% 10 when 0 then 'created' when 1 then 'opp' || n end, case when n %% 10 < 2 then '2026-03-02'::timestamptz end,
         (array['synced', 'synced', 'failed', 'skipped', 'done?'])[1 + n %% 10], jsonb_build_object('id', 1000 + n, 'jobStatus', 'Scheduled', 'summary', 'Pump is loud')
    from generate_series(1, %(jobs)s) n;
update jobs set ghl_sync_status = 'pending' where ghl_sync_status is null;
insert into sync_logs (sync_type, status, records_processed, duration_ms, completed_at, started_at)
  select 'job_pull', 'completed', 50, 100, now(), now() - n * interval '5 minutes' from generate_series(1, least(%(jobs)s, 300)) n;
"""

# What their owners add to such a database in time.
OWN_ADDITIONS = """
create schema reports;
alter table jobs add column crew text, add column priority_score integer not null default 5;
update jobs set crew = 'blue' where st_job_id %% 2 = 0;
create index jobs_of_a_crew on jobs (crew) where crew is not null;
create view reports.open_jobs as select j.st_job_id, j.summary, j.total, c.phone from jobs j join customers c using (st_customer_id) where j.job_status <> 'Completed';
comment on view reports.open_jobs is 'for the office';
create view reports.open_jobs_of_units as select u.name, count(*) as jobs from reports.open_jobs o join jobs j using (st_job_id) join business_units u on u.st_business_unit_id = j.business_unit_id group by 1;
create view reports.due as select st_job_id, email from jobs_pending_ghl_sync;
create materialized view reports.totals as select business_unit_id, sum(total) as total from jobs group by 1;
create unique index totals_of_units on reports.totals (business_unit_id);
create table reports.visits (visit integer primary key, job uuid references jobs (id), st_job_id bigint references jobs (st_job_id));
insert into reports.visits select n, j.id, j.st_job_id from generate_series(1, 5) n join jobs j on j.st_job_id = 1000 + n;
create table reports.noticed (st_job_id bigint, at timestamptz default now());
create function reports.notice() returns trigger language plpgsql as $$ begin insert into reports.noticed (st_job_id) values (new.st_job_id); return new; end $$;
create trigger notice_completion after update of job_status on jobs for each row when (new.job_status = 'Completed') execute function reports.notice();
"""


def make_guide_database(
    dsn: str, *, jobs: int = 200, cursor: str = "banana", additions: bool = False, words: int = 1
) -> None:
    """Makes the old database in an empty one. `cursor`: lastJobPull; `additions`: with what its owners added."""
    values = {"jobs": jobs, "cursor": cursor, "words": words}
    with psycopg.connect(dsn) as connection:
        for text in (TABLES, BEHAVIOUR):
            connection.execute(text.encode())
        for text in (ROWS, *((OWN_ADDITIONS,) if additions else ())):
            for statement in _split(text):
                connection.execute(statement.encode(), values)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("analyze")


def _split(text: str) -> list[str]:
    """Statements of a text, so that each can have parameters; a body in $$ stays whole."""
    statements, current, inside = [], "", False
    for piece in text.split(";"):
        current += piece
        inside ^= piece.count("$$") % 2 == 1
        if inside:
            current += ";"
        elif current.strip():
            statements.append(current)
            current = ""
    return statements
