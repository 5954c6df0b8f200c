-- The five tables of the guide, in public, with the guide's column names and meanings; JobSync's own columns follow.
-- Widths of the original (varchar(255), decimal(10,2)) lost data; here they are text and numeric.
-- tenant_id leads every key. The single-column unique indexes keep users' own `on conflict (st_job_id)` working while
-- there is one tenant; jobsync.add_tenant() drops them.

create table public.sync_state (
  id uuid not null default gen_random_uuid(),
  key text not null,
  value text not null,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  tenant_id text not null default jobsync.current_tenant(),
  owner text not null default 'jobsync' constraint sync_state_owner_is_known check (owner in ('jobsync', 'external')),
  primary key (tenant_id, key)
);
create unique index sync_state_single_tenant on public.sync_state (key);
comment on table public.sync_state is 'Key-value state. lastJobPull is the readable watermark: JobSync publishes it, until an outside puller writes it.';
comment on column public.sync_state.owner is 'jobsync: published by JobSync; external: an outside puller wrote it, JobSync leaves it alone.';

create table public.customers (
  id uuid not null default gen_random_uuid(),
  st_customer_id bigint not null,
  st_location_id bigint,
  first_name text,
  last_name text,
  company_name text,
  email text,
  phone text,
  street text,
  city text,
  state text,
  postal_code text,
  country text,
  county text,
  ghl_contact_id text,
  ghl_synced_at timestamptz,
  ghl_sync_status text default 'pending',
  ghl_sync_error text,
  st_raw_data jsonb,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  synced_from_st_at timestamptz default jobsync.now(),
  tenant_id text not null default jobsync.current_tenant(),
  modified_on timestamptz,
  active boolean not null default true,
  merged_to_id bigint,
  source text not null default 'api',
  do_not_service boolean,
  do_not_mail boolean,
  do_not_text boolean,
  contacts_read_at timestamptz,
  contact_hash bytea,
  primary key (tenant_id, st_customer_id),
  constraint customers_ghl_sync_status_is_known check (ghl_sync_status in ('pending', 'synced', 'failed', 'skipped'))
);
create unique index customers_single_tenant on public.customers (st_customer_id);
create index customers_by_contact on public.customers (tenant_id, ghl_contact_id) where ghl_contact_id is not null;
-- tenant_id second: led by it, a look-up by key would be planned over this index while the table is empty, and a first page
-- of 5,000 would then be read 5,000 times.
create index customers_by_modified on public.customers (modified_on, tenant_id);
create index customers_by_phone on public.customers (tenant_id, phone, st_customer_id) where phone is not null;
create index customers_by_email on public.customers (tenant_id, email, st_customer_id) where email is not null;
comment on table public.customers is 'One row per ServiceTitan customer (who pays); phone and email are the best of the customer''s contacts.';
comment on column public.customers.source is 'servicetitan (pulled), api (came through /db) or import.';
comment on column public.customers.contacts_read_at is 'When this customer''s contact list was read; null: not yet.';

create table public.jobs (
  id uuid not null default gen_random_uuid(),
  st_job_id bigint not null,
  st_job_number text,
  st_customer_id bigint,
  st_location_id bigint,
  business_unit_id bigint,
  job_type_id bigint,
  job_type_name text,
  job_status text,
  priority text,
  summary text,
  description text,
  created_on timestamptz,
  completed_on timestamptz,
  modified_on timestamptz,
  first_appointment_id bigint,
  last_appointment_id bigint,
  appointment_count integer default 0,
  total numeric,
  invoice_id bigint,
  estimate_ids bigint[],
  no_charge boolean,
  campaign_id bigint,
  lead_call_id bigint,
  tag_type_ids bigint[],
  ghl_opportunity_id text,
  ghl_pipeline text,
  ghl_synced_at timestamptz,
  ghl_sync_status text default 'pending',
  ghl_sync_error text,
  st_raw_data jsonb,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  synced_from_st_at timestamptz default jobsync.now(),
  tenant_id text not null default jobsync.current_tenant(),
  ghl_sync_reason text,
  ghl_sync_flags text[],
  ghl_accepted_at timestamptz,
  ghl_verified_at timestamptz,
  ghl_version integer not null default 0,
  source text not null default 'api',
  active boolean not null default true,
  job_hash bytea,
  job_hash_version smallint,
  delivered_hash bytea,
  primary key (tenant_id, st_job_id),
  constraint jobs_ghl_sync_status_is_known check (ghl_sync_status in ('pending', 'synced', 'failed', 'skipped'))
) with (fillfactor = 85);
-- id is random and nobody's key: a unique index on it would cost every insert and serve no query.
create unique index jobs_single_tenant on public.jobs (st_job_id);
create index jobs_by_number on public.jobs (tenant_id, st_job_number);
create index jobs_by_modified on public.jobs (tenant_id, modified_on);
create index jobs_by_customer on public.jobs (tenant_id, st_customer_id);
create index jobs_by_sync_time on public.jobs (tenant_id, synced_from_st_at);
create index jobs_by_unit on public.jobs (tenant_id, business_unit_id, created_on);
-- What is not delivered; delivered jobs, nearly all in the end, are in neither. The first is the order of the pending view,
-- the second finds the oldest of each reason and unit.
create index jobs_pending on public.jobs (tenant_id, created_on, st_job_id) include (business_unit_id) where ghl_sync_status = 'pending';
-- case, not coalesce: under row-level security PostgreSQL does not look coalesce up in an index.
create index jobs_unsynced on public.jobs (tenant_id, ghl_sync_status, (case when ghl_sync_reason is null then 'waiting' else ghl_sync_reason end),
    (case when business_unit_id is null then 0 else business_unit_id end), created_on, st_job_id)
  where ghl_sync_status <> 'synced';
create index jobs_by_opportunity on public.jobs (tenant_id, ghl_opportunity_id) where ghl_opportunity_id is not null;
comment on table public.jobs is 'One row per ServiceTitan job, with where it stands on its way into GoHighLevel.';
comment on column public.jobs.ghl_sync_status is 'pending, synced, failed or skipped; why stands in ghl_sync_reason.';
comment on column public.jobs.ghl_sync_reason is 'Why the job has its status: unmapped, unit_off, before_start, imported, test_only, no_contact, ...; null when there is nothing to explain.';
comment on column public.jobs.ghl_sync_flags is 'Facts about the last send a person should know: incomplete, no_contact, ambiguous, no_execution_id.';
comment on column public.jobs.ghl_accepted_at is 'When GoHighLevel answered 2xx.';
comment on column public.jobs.ghl_verified_at is 'When the job was read back from GoHighLevel.';
comment on column public.jobs.source is 'servicetitan (pulled), api (came through /db) or import.';
comment on column public.jobs.job_hash is 'Hash of what GoHighLevel would be told about the job itself; a change of it is a change worth sending.';
comment on column public.jobs.delivered_hash is 'job_hash at the last accepted send or baseline; null: never delivered.';

create table public.sync_logs (
  id uuid not null default gen_random_uuid(),
  sync_type text not null,
  entity_type text,
  entity_id bigint,
  status text not null,
  records_processed integer default 0,
  records_succeeded integer default 0,
  records_failed integer default 0,
  error_message text,
  error_details jsonb,
  started_at timestamptz not null default jobsync.now(),
  completed_at timestamptz,
  duration_ms integer,
  workflow_execution_id text,
  metadata jsonb default '{}',
  tenant_id text not null default jobsync.current_tenant(),
  primary key (tenant_id, id)
);
create index sync_logs_by_start on public.sync_logs (tenant_id, started_at desc);
create index sync_logs_by_type on public.sync_logs (tenant_id, sync_type, status, started_at desc);
create index sync_logs_running on public.sync_logs (tenant_id, sync_type) where status = 'running';
comment on table public.sync_logs is 'Every run: opened when it starts, always closed (running, completed, failed; a crash closes as failed, abandoned).';

create table public.business_units (
  id uuid not null default gen_random_uuid(),
  st_business_unit_id bigint not null,
  name text not null,
  ghl_pipeline_id text,
  ghl_pipeline_name text,
  sync_enabled boolean default true,
  sync_to_ghl boolean default true,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  tenant_id text not null default jobsync.current_tenant(),
  active boolean not null default true,
  modified_on timestamptz,
  st_raw_data jsonb,
  primary key (tenant_id, st_business_unit_id)
);
create unique index business_units_single_tenant on public.business_units (st_business_unit_id);
comment on table public.business_units is 'ServiceTitan business units; whether and under which pipeline name their jobs are synced. Routes: jobsync.routes.';

create trigger touch_updated_at before update on public.sync_state for each row
  when (old.updated_at = new.updated_at) execute function jobsync.touch_updated_at();
create trigger touch_updated_at before update on public.customers for each row
  when (old.updated_at = new.updated_at) execute function jobsync.touch_updated_at();
create trigger touch_updated_at before update on public.jobs for each row
  when (old.updated_at = new.updated_at) execute function jobsync.touch_updated_at();
create trigger touch_updated_at before update on public.business_units for each row
  when (old.updated_at = new.updated_at) execute function jobsync.touch_updated_at();

insert into public.sync_state (key, value, metadata, tenant_id)
values ('lastJobPull', '2025-01-01T00:00:00Z', '{}', 'default');

insert into public.business_units (st_business_unit_id, name, ghl_pipeline_name, tenant_id) values
  (1314, 'Sales & Service', 'Sales & Service', 'default'),
  (54670601, 'Install', 'Install', 'default'),
  (4622, 'Pool Service', 'Pool Service', 'default'),
  (26143, 'Plumbing', 'Plumbing', 'default');
