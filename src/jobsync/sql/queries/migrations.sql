-- What `jobsync db migrate` asks.

-- name: take_migration_lock
select pg_advisory_xact_lock(7470100, 1);

-- name: set_lock_timeout
select set_config('lock_timeout', %(milliseconds)s || 'ms', true);

-- name: describe_target
select current_user as user_name, current_database() as database_name, current_setting('server_version_num')::int as version,
       to_regclass('jobsync.migrations') is not null as has_ledger,
       to_regclass('public.jobs') is not null as has_guide_tables,
       has_schema_privilege('public', 'CREATE') as may_create_in_public,
       has_database_privilege(current_database(), 'CREATE') as may_create_schema,
       exists (select from pg_namespace where nspname = 'jobsync') as has_schema;

-- name: list_migrations
select version, checksum, applied_at from jobsync.migrations order by version;

-- name: record_migration
insert into jobsync.migrations (version, checksum) values (%(version)s, %(checksum)s);

-- name: list_objects
select 'table' as kind, c.relname as name from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
   and c.relname in ('business_units', 'customers', 'jobs', 'sync_logs', 'sync_state')
union all
select 'function', p.proname from pg_proc p where p.pronamespace = 'public'::regnamespace
   and p.proname in ('update_sync_state', 'get_last_job_pull', 'upsert_job_from_st')
union all
select 'view', c.relname from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'v'
   and c.relname in ('sync_statistics', 'jobs_pending_ghl_sync')
order by 1, 2;

-- name: count_other_sessions
select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid();

-- name: drop_demo_database
drop database if exists jobsync_demo with (force);
