-- Foundation: the schemas, the roles, the clock and the tenant of a session.
--
-- Reading order of this folder: 10 foundation -> 12 casts -> 20 guide tables -> 25 tenants and routes ->
-- 30 records -> 35 runs -> 40 outbox -> 45 projections -> 50..58 store -> 60 plan -> 65 deliver -> 70 guide functions ->
-- 80 views -> 90 access.
-- Every statement here may only assume what an earlier file made. SQLSTATEs raised on purpose:
--   JS001  bad input (the message names the field)          -> InvalidInput
--   JS002  the cursor is not the one that was read           -> LockHeld
--   JS003  too many records of a page do not fit             -> SchemaDrift
--   JS004  no such record                                    -> RecordMissing
--   JS005  sending refused                                   -> SendingRefused

create schema if not exists jobsync;
comment on schema jobsync is 'JobSync: everything beside the five tables, three functions and two views of the guide in public.';

-- A managed PostgreSQL may not let the owner create roles. Then JobSync serves one tenant, as the owner, and says so.
do $roles$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'jobsync_app') then
    create role jobsync_app nologin;
  end if;
  -- The program works as this role inside each transaction (set local role).
  if not pg_catalog.pg_has_role(current_user, 'jobsync_app', 'member') then
    execute pg_catalog.format('grant jobsync_app to %I', current_user);
  end if;
exception when insufficient_privilege then
  raise notice 'role jobsync_app cannot be created here: one tenant only';
end
$roles$;

create table jobsync.clock (
  only_row boolean primary key default true constraint one_clock check (only_row),
  shift interval not null default interval '0'
);
comment on table jobsync.clock is 'How far jobsync.now() stands from the server clock. Zero; only the test role may write it.';
insert into jobsync.clock default values;

-- Not `set search_path`: that would keep PostgreSQL from inlining it into every query that asks the time.
create function jobsync.now() returns timestamptz language sql stable parallel safe as $$
  select pg_catalog.now() + coalesce((select c.shift from jobsync.clock c), interval '0')
$$;
comment on function jobsync.now() is 'The time that JobSync stores: the transaction''s, moved only by tests.';

create function jobsync.current_tenant() returns text language sql stable parallel safe as $$
  select coalesce(nullif(pg_catalog.current_setting('jobsync.tenant', true), ''), 'default')
$$;
comment on function jobsync.current_tenant() is
  'Tenant of this session: the setting jobsync.tenant, else ''default'', so that plain psql recipes work as printed.';

create function jobsync.touch_updated_at() returns trigger language plpgsql as $$
begin
  new.updated_at := jobsync.now();
  return new;
end
$$;
comment on function jobsync.touch_updated_at() is 'Trigger: keeps updated_at true for rows that people change by hand.';

create table jobsync.migrations (
  version text primary key,
  checksum text not null,
  applied_at timestamptz not null default pg_catalog.now()
);
comment on table jobsync.migrations is 'Ledger of applied migrations; "0001" is the schema as first installed.';
