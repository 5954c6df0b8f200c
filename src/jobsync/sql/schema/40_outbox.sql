-- The outbox: one row per (tenant, job) waiting to be delivered; the newest content wins because the content is read
-- when the row is claimed. The attempts: every HTTP try, opened before the request leaves.
--
--   waiting (parents, or an adopted job itself, not read yet) -> due -> claimed (lease, fence) -> accepted: row deleted, job synced
--                                       ^         |-> try again: next_attempt_at by the retry schedule
--                                       |_________|-> no attempts left or terminal: row deleted, job failed (dead letter)

create table jobsync.outbox (
  tenant_id text not null,
  st_job_id bigint not null,
  st_customer_id bigint,
  destination_id uuid not null,
  version integer not null,
  event text not null constraint event_is_known check (event in ('created', 'updated', 'replayed', 'contact')),
  planned_at timestamptz not null default jobsync.now(),
  next_attempt_at timestamptz not null,
  waiting_for text,
  attempts integer not null default 0,
  lease_until timestamptz,
  fence bigint not null default 0,
  rescues integer not null default 0,
  sent_hash bytea,
  flags text[] not null default '{}',
  forced boolean not null default false,
  counted_at timestamptz,
  tried_at timestamptz,
  primary key (tenant_id, st_job_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- The whole order of a claim: a first load makes a million rows due at one moment.
create index outbox_due on jobsync.outbox (destination_id, next_attempt_at, st_job_id);
-- Looked through whenever parents arrive: the others of a long queue are not.
create index outbox_waiting on jobsync.outbox (tenant_id, st_job_id) where waiting_for in ('parents', 'first_pull');
create index outbox_in_flight on jobsync.outbox (tenant_id, st_customer_id) where lease_until is not null;
comment on table jobsync.outbox is 'Deliveries waiting: one row per job, deleted when accepted or given up.';
comment on column jobsync.outbox.waiting_for is 'parents: customer, location or contacts not read yet (goes out flagged after 15 minutes); first_pull: held in an adopted database and not read from ServiceTitan yet (goes out after 6 hours); record_cap: sent as often today as one job may be; null: due at next_attempt_at.';
comment on column jobsync.outbox.event is 'created, updated, replayed; contact: only the customer''s facts changed (API routes only).';
comment on column jobsync.outbox.sent_hash is 'job_hash when the row was last claimed: what is being told.';
comment on column jobsync.outbox.rescues is 'How often a worker died with this row; five times and it is given up.';
comment on column jobsync.outbox.counted_at is 'The hour under which this version was counted against the caps; null: not counted. A retry of the same version is not counted again.';
comment on column jobsync.outbox.tried_at is 'When it was last claimed, unless it was given back unsent: a pass tries no row twice.';
comment on column jobsync.outbox.fence is 'Counts the claims; a result carrying an older fence is refused.';

create table jobsync.attempts (
  tenant_id text not null,
  id bigint generated always as identity,
  st_job_id bigint not null,
  version integer not null,
  destination_id uuid not null,
  delivery_id uuid not null,
  event text not null,
  started_at timestamptz not null default jobsync.now(),
  finished_at timestamptz,
  outcome text,
  status_code integer,
  execution_id text,
  duration_ms integer,
  requests integer not null default 1,
  answer text,
  error text,
  primary key (tenant_id, id)
) with (fillfactor = 35); -- an attempt is closed in its place: it grows threefold then, and no index is written anew
create index attempts_by_job on jobsync.attempts (tenant_id, st_job_id, id desc);
-- Holds for all; it keeps this index away from who asks for attempts by id: in a plan made while the table was empty, reading all
-- of a tenant would cost no more than looking each up.
create index attempts_by_time on jobsync.attempts (tenant_id, started_at desc) where started_at is not null;
comment on table jobsync.attempts is 'Every HTTP attempt: opened before it leaves, closed with what came back (redacted, at most 2 KB). outcome null: never closed, so ambiguous.';

comment on column jobsync.attempts.requests is 'HTTP requests that the attempt took: one for a hook; by API as many as it needed, 0 where nothing had changed.';

create table jobsync.send_counts (
  tenant_id text not null,
  hour timestamptz not null,
  sends integer not null default 0,
  executions integer not null default 0,
  primary key (tenant_id, hour)
);
comment on table jobsync.send_counts is 'Accepted sends per hour: what the caps count.';
comment on column jobsync.send_counts.executions is 'How many of them went to a hook: each starts a workflow, which GoHighLevel bills.';

create table jobsync.outside_marks (
  tenant_id text not null,
  business_unit_id bigint not null,
  last_marked_at timestamptz not null,
  primary key (tenant_id, business_unit_id)
);
comment on table jobsync.outside_marks is 'When jobs of a unit were last pushed or marked by somebody else (PATCH ghl-sync, POST upsert).';

create function jobsync.delivery_id(p_tenant text, p_job bigint, p_version integer) returns uuid
language sql immutable parallel safe as $$
  select pg_catalog.md5('jobsync:' || p_tenant || ':' || p_job::text || ':' || p_version::text)::uuid
$$;
comment on function jobsync.delivery_id(text, bigint, integer) is 'Stable id of one version of one job''s delivery: the same at every retry.';

-- Looked up job by job (offset 0 keeps it apart): joined freely, and before the tables were ever analyzed, all jobs of each routed
-- unit are read for each row that waits.
create function jobsync.armed_job(p_tenant text, p_job bigint) returns table (job_hash bytea, delivered_hash bytea)
language sql stable parallel safe rows 1 as $$
  select j.job_hash, j.delivered_hash from public.jobs j
   where j.tenant_id = p_tenant and j.st_job_id = p_job
     and (select true from jobsync.routes r where r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id and r.armed and r.deliverer = 'jobsync')
  offset 0
$$;
comment on function jobsync.armed_job(text, bigint) is 'The hashes of a job that JobSync may deliver: its unit is routed to it and armed. Nothing otherwise.';
