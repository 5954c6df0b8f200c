-- Tenants, their sealed connections, the destinations and the routes: who may be told what, and by whom.

create table jobsync.tenants (
  tenant_id text primary key constraint tenant_id_is_a_slug check (tenant_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  name text not null,
  time_zone text not null default 'UTC',
  mode text not null default 'observe' constraint mode_is_known check (mode in ('observe', 'shadow', 'live')),
  mode_set_at timestamptz,
  mode_reason text,
  deliver_from timestamptz,
  arm_remaining integer,
  paused_at timestamptz,
  pause_reason text,
  paused_with_all boolean not null default false,
  restored_at timestamptz,
  cap_hour integer not null default 2000 constraint cap_hour_is_not_negative check (cap_hour >= 0),
  cap_day integer not null default 20000 constraint cap_day_is_not_negative check (cap_day >= 0),
  poll_seconds integer not null default 300 constraint poll_is_at_least_5_seconds check (poll_seconds >= 5),
  next_pull_at timestamptz,
  next_reconcile_at timestamptz,
  quarantine_tried_with text,
  execution_price numeric not null default 0.01,
  verify_minutes integer not null default 30 constraint verify_minutes_is_positive check (verify_minutes > 0),
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now()
);
comment on table jobsync.tenants is 'One contractor each: one ServiceTitan tenant and one GoHighLevel location.';
comment on column jobsync.tenants.mode is 'observe: send nothing; shadow: also compare with the old flow; live: deliver.';
comment on column jobsync.tenants.deliver_from is 'Jobs created before this are skipped (before_start). Set at the first arm; null: never armed.';
comment on column jobsync.tenants.arm_remaining is 'Sends left of a limited arm; null: not limited.';
comment on column jobsync.tenants.paused_with_all is 'True: paused by pause_all_tenants, and goes on with resume_all_tenants; a pause of its own stays.';
comment on column jobsync.tenants.restored_at is 'When the database was restored from a backup; for the settle time after it nothing is created by API that a search may not show yet.';
comment on column jobsync.tenants.cap_hour is 'Accepted sends an hour before JobSync disarms itself; 0: none.';
comment on column jobsync.tenants.execution_price is 'What GoHighLevel bills for one workflow execution, in the account''s currency.';
comment on column jobsync.tenants.verify_minutes is 'An accepted delivery that was not found in GoHighLevel for so long is an alert.';
comment on column jobsync.tenants.next_reconcile_at is 'When the daily comparison with ServiceTitan is due; null: not booked yet.';
comment on column jobsync.tenants.quarantine_tried_with is 'Version of the software that last tried the quarantined records again; another one tries them once more.';
insert into jobsync.tenants (tenant_id, name) values ('default', 'default');

create table jobsync.connections (
  tenant_id text not null references jobsync.tenants on delete cascade,
  kind text not null constraint connection_kind_is_known check (kind in ('servicetitan', 'gohighlevel')),
  sealed bytea not null,
  key_id text not null,
  settings jsonb not null default '{}',
  state text not null default 'ok',
  state_reason text,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, kind)
);
comment on table jobsync.connections is 'Credentials of a tenant, sealed by the program (never readable in SQL); settings holds only what is no secret.';

create table jobsync.access_tokens (
  tenant_id text not null references jobsync.tenants on delete cascade,
  kind text not null,
  sealed bytea,
  key_id text,
  credential text not null default '',
  expires_at timestamptz,
  refresh_after timestamptz,
  refresh_lease_until timestamptz,
  primary key (tenant_id, kind)
);
comment on table jobsync.access_tokens is 'The current access token per connection, sealed; refresh_lease_until makes the refresh single-flight over all workers.';

create table jobsync.budgets (
  tenant_id text not null,
  budget_key text not null,
  rate double precision not null,
  burst double precision not null,
  tokens double precision not null,
  refilled_at timestamptz not null default clock_timestamp(),
  blocked_until timestamptz,
  slowness double precision not null default 1,
  slowed_at timestamptz,
  primary key (tenant_id, budget_key)
);
comment on column jobsync.budgets.slowness is 'Share of the rate that was left after the last 429; grows back within a minute of slowed_at.';
comment on table jobsync.budgets is 'Token buckets shared by all workers: requests a second to ServiceTitan, to a GoHighLevel location, to a hook.';

create table jobsync.destinations (
  tenant_id text not null references jobsync.tenants on delete cascade,
  id uuid not null default gen_random_uuid(),
  kind text not null constraint destination_kind_is_known check (kind in ('webhook', 'api')),
  label text not null,
  sealed bytea,
  key_id text,
  fingerprint bytea not null,
  masked text not null,
  paused_at timestamptz,
  pause_reason text,
  failures_in_row integer not null default 0,
  probe_at timestamptz,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, id),
  constraint destination_is_stored_once unique (tenant_id, fingerprint)
);
create unique index destinations_by_id on jobsync.destinations (id);
comment on table jobsync.destinations is 'Where jobs are delivered: an inbound hook (its URL is a secret, sealed) or a location by API.';
comment on column jobsync.destinations.fingerprint is 'HMAC of the URL or location id, so that the same hook is one destination without being readable.';
comment on column jobsync.destinations.masked is 'What may be shown: host and the last four characters.';

create table jobsync.routes (
  tenant_id text not null references jobsync.tenants on delete cascade,
  st_business_unit_id bigint not null,
  deliverer text not null default 'none' constraint deliverer_is_known check (deliverer in ('jobsync', 'external', 'none')),
  destination_id uuid,
  events text not null default 'created' constraint events_are_known check (events in ('created', 'all')),
  pipeline_id text,
  pipeline_name text,
  stage_id text,
  stage_name text,
  card text not null default 'own' constraint route_card_is_known check (card in ('own', 'sales')),
  problem text,
  armed boolean not null default true,
  armed_reason text,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_business_unit_id),
  foreign key (tenant_id, destination_id) references jobsync.destinations (tenant_id, id),
  constraint jobsync_delivers_somewhere check (deliverer <> 'jobsync' or destination_id is not null)
);
-- Only for who asks by destination: a unit's route is looked up by its key (see attempts_by_time).
create index routes_by_destination on jobsync.routes (tenant_id, destination_id) where destination_id is not null;
comment on table jobsync.routes is 'Business unit -> destination, and who delivers: jobsync, external (n8n, a script) or none.';
comment on column jobsync.routes.events is 'Webhook only. created: one POST per job, ever; all: also one per later change.';
comment on column jobsync.routes.card is 'own: each job its own card; sales: a job made from a sold estimate goes on with the card of the job it was sold in.';
comment on column jobsync.routes.problem is 'What is wrong with the route''s pipeline or stage in GoHighLevel (renamed, gone); null: nothing.';
comment on column jobsync.routes.armed is 'False: arm refused this route (jobs were pushed from outside in the last 24 h).';

create table jobsync.audit (
  tenant_id text not null,
  id bigint generated always as identity,
  at timestamptz not null default jobsync.now(),
  actor text not null,
  action text not null,
  subject text,
  details jsonb not null default '{}',
  primary key (tenant_id, id)
);
create index audit_by_subject on jobsync.audit (tenant_id, subject, id desc);
comment on table jobsync.audit is 'Append-only: what people and the program decided (mode, routes, pauses, rewinds), never personal data.';

create table jobsync.tokens (
  tenant_id text not null references jobsync.tenants on delete cascade,
  id text not null,
  name text not null,
  secret_hash bytea not null,
  scopes text[] not null,
  all_tenants boolean not null default false,
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz,
  created_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, id)
);
create unique index tokens_by_id on jobsync.tokens (id);
comment on column jobsync.tokens.all_tenants is 'True: with the scope admin it may act for any tenant that X-JobSync-Tenant names.';
comment on table jobsync.tokens is 'API tokens js_<id>_<secret>: only the SHA-256 of the secret is stored.';

create function jobsync.write_audit(p_tenant text, p_actor text, p_action text, p_subject text, p_details jsonb default '{}')
returns void language sql volatile as $$
  insert into jobsync.audit (tenant_id, actor, action, subject, details)
  values (p_tenant, p_actor, p_action, p_subject, coalesce(p_details, '{}'))
$$;
comment on function jobsync.write_audit(text, text, text, text, jsonb) is 'Adds one line to the audit, in the caller''s transaction.';

create function jobsync.left_speed(p_slowness double precision, p_slowed_at timestamptz, p_now timestamptz) returns double precision
language sql immutable parallel safe as $$
  select case when p_slowed_at is null then 1 else least(1, p_slowness + greatest(0, extract(epoch from p_now - p_slowed_at)) / 60) end
$$;
comment on function jobsync.left_speed(double precision, timestamptz, timestamptz) is
  'Share of a bucket''s rate that may be used: what a 429 left of it, whole again a minute after the pause.';

-- A bucket is refilled by the server's real clock, not jobsync.now(): a moved test clock must not hand out requests.
create function jobsync.take_budget(p_tenant text, p_key text, p_rate double precision, p_burst double precision, p_want integer)
returns table (granted integer, wait_seconds double precision)
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_row budgets;
  v_tokens double precision;
  v_rate double precision;
  v_now timestamptz := clock_timestamp();
begin
  if p_rate <= 0 then
    return query select p_want, 0::double precision;
    return;
  end if;
  insert into budgets (tenant_id, budget_key, rate, burst, tokens)
  values (p_tenant, p_key, p_rate, p_burst, p_burst)
  on conflict (tenant_id, budget_key) do nothing;
  select * into v_row from budgets b where b.tenant_id = p_tenant and b.budget_key = p_key for update;
  if v_row.blocked_until > v_now then
    return query select 0, extract(epoch from v_row.blocked_until - v_now)::double precision;
    return;
  end if;
  v_rate := p_rate * left_speed(v_row.slowness, v_row.slowed_at, v_now);
  v_tokens := least(p_burst, v_row.tokens + v_rate * greatest(0, extract(epoch from v_now - v_row.refilled_at)));
  granted := least(p_want, floor(v_tokens + 1e-9)::integer);
  wait_seconds := case when granted > 0 then 0 else (1 - v_tokens) / v_rate end;
  update budgets b set tokens = v_tokens - granted, refilled_at = v_now, rate = p_rate, burst = p_burst, blocked_until = null
   where b.tenant_id = p_tenant and b.budget_key = p_key;
  return next;
end
$$;
comment on function jobsync.take_budget(text, text, double precision, double precision, integer) is
  'Takes up to p_want requests from a shared bucket; grants 0 and a wait when it is empty or blocked. Rate 0: unpaced.';

create function jobsync.block_budget(p_tenant text, p_key text, p_seconds double precision) returns void
language sql volatile as $$
  update jobsync.budgets b
     set blocked_until = greatest(coalesce(b.blocked_until, '-infinity'), pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => p_seconds)),
         tokens = 0
   where b.tenant_id = p_tenant and b.budget_key = p_key
$$;
comment on function jobsync.block_budget(text, text, double precision) is 'Nobody takes from this bucket for p_seconds. A longer pause stays.';

create function jobsync.slow_budget(p_tenant text, p_key text, p_seconds double precision) returns void
language sql volatile as $$
  -- Requests that were under way together are refused together: half the speed once for a pause, not once for each of them.
  update jobsync.budgets b
     set slowness = greatest(1 / 64.0, jobsync.left_speed(b.slowness, b.slowed_at, pg_catalog.clock_timestamp()) / 2),
         slowed_at = greatest(b.slowed_at, pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => greatest(p_seconds, 1)))
   where b.tenant_id = p_tenant and b.budget_key = p_key and (b.slowed_at is null or b.slowed_at <= pg_catalog.clock_timestamp());
  select jobsync.block_budget(p_tenant, p_key, p_seconds * (1 + 0.2 * pg_catalog.random()))
$$;
comment on function jobsync.slow_budget(text, text, double precision) is
  'After a 429: nobody takes from this bucket for p_seconds and up to a fifth more, and then at half the speed, which grows back within a minute.';
