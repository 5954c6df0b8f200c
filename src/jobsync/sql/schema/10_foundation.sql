-- Foundation: the schemas, the roles, the clock and the tenant of a session.
--
-- Reading order of this folder: 10 foundation -> 12 casts -> 13 facts -> 20 guide tables and columns -> 25 tenants and routes ->
-- 30 records -> 35 runs -> 40 outbox -> 42 tallies -> 45 projections -> 50..58 store -> 60 plan -> 62 pipelines -> 63 rules ->
-- 64 cards -> 65 deliver -> 68 backfill -> 70 guide functions -> 80 views -> 85 api -> 90 access.
-- Every statement here may only assume what an earlier file made. SQLSTATEs raised on purpose:
--   JS001  bad input (the message names the field)          -> InvalidInput
--   JS002  the cursor is not the one that was read           -> LockHeld
--   JS003  too many records of a page do not fit             -> SchemaDrift
--   JS004  no such record                                    -> RecordMissing
--   JS005  sending refused                                   -> SendingRefused

create schema if not exists jobsync;
comment on schema jobsync is 'JobSync: everything beside the five tables, three functions and two views of the guide in public.';

-- A managed PostgreSQL may not let the owner create roles. Then JobSync serves one tenant, as the owner, and says so.
-- Roles belong to the whole server: another database may be making this one at the same moment.
do $roles$
declare
  v_may text := case when pg_catalog.current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end;
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'jobsync_app') then
    -- Whoever waited for another database that made it sees it in his caches only when he tries once more.
    for v_try in 1..2 loop
      begin
        create role jobsync_app nologin;
        exit;
      exception when duplicate_object or unique_violation then
        null;
      end;
    end loop;
  end if;
  -- The program works as this role inside each transaction (set local role). Since PostgreSQL 16 the maker of a role is
  -- its member but may not become it without a grant of his own.
  if not pg_catalog.pg_has_role(current_user, 'jobsync_app', v_may) then
    begin
      execute pg_catalog.format('grant jobsync_app to %I', current_user);
    exception when unique_violation then
      null;
    end;
  end if;
exception when insufficient_privilege then
  raise notice 'role jobsync_app cannot be created here: one tenant only';
end
$roles$;
do $grants$
begin
  -- The program works as this role inside each transaction (set local role). Granted anew each time: since PostgreSQL 16
  -- whoever creates a role may administer it but not yet become it.
  execute pg_catalog.format('grant jobsync_app to %I', current_user);
exception when insufficient_privilege or undefined_object or invalid_grant_operation then
  raise notice 'role jobsync_app is not granted here';
end
$grants$;

create table jobsync.clock (
  only_row boolean primary key default true constraint one_clock check (only_row),
  shift interval not null default interval '0'
);
comment on table jobsync.clock is 'How far jobsync.now() stands from the server clock. Zero; only the test role may write it.';
insert into jobsync.clock default values;

-- Statements that ask it for many rows take it once, into a variable: a function with a subquery is never inlined.
create function jobsync.now() returns timestamptz language sql stable parallel safe as $$
  select pg_catalog.now() + coalesce((select c.shift from jobsync.clock c), interval '0')
$$;
comment on function jobsync.now() is 'The time that JobSync stores: the transaction''s, moved only by tests.';

create function jobsync.current_tenant() returns text language sql stable parallel safe as $$
  select coalesce(nullif(pg_catalog.current_setting('jobsync.tenant', true), ''), 'default')
$$;
comment on function jobsync.current_tenant() is
  'Tenant of this session: the setting jobsync.tenant, else ''default'', so that plain psql recipes work as printed.';

-- A random one costs a system call for each row where PostgreSQL is built without OpenSSL, six times as long as this.
create function jobsync.row_id(p_tenant text, p_kind text, p_id bigint) returns uuid language sql immutable parallel safe as $$
  select pg_catalog.md5('jobsync:' || p_tenant || ':' || p_kind || ':' || p_id::text)::uuid
$$;
comment on function jobsync.row_id(text, text, bigint) is 'The uuid of a pulled row in the guide''s tables, made of its key.';

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
