-- What `jobsync db migrate` asks.

-- name: take_migration_lock
select pg_advisory_xact_lock(7470100, 1);

-- name: set_lock_timeout
select set_config('lock_timeout', %(milliseconds)s || 'ms', true);

-- name: describe_target
select current_user as user_name, current_database() as database_name, current_setting('server_version_num')::int as version,
       to_regclass('jobsync.migrations') is not null as has_ledger,
       exists (select from pg_class c where c.relnamespace = to_regnamespace('public') and c.relkind in ('r', 'v', 'm', 'p', 'f')
                  and c.relname in ('business_units', 'customers', 'jobs', 'sync_logs', 'sync_state')) as has_guide_tables,
       -- As the statistics have it; a table that was never analysed is taken for rows of 400 bytes.
       (select coalesce(sum(case when c.reltuples >= 0 then c.reltuples else pg_relation_size(c.oid) / 400 end), 0)::bigint from pg_class c
         where c.relnamespace = to_regnamespace('public') and c.relkind = 'r'
           and c.relname in ('business_units', 'customers', 'jobs', 'sync_logs', 'sync_state')) as guide_rows,
       has_schema_privilege('public', 'CREATE') as may_create_in_public,
       has_database_privilege(current_database(), 'CREATE') as may_create_schema,
       exists (select from pg_namespace where nspname = 'jobsync') as has_schema;

-- name: list_migrations
select version, checksum, applied_at from jobsync.migrations order by version;

-- name: record_migration
insert into jobsync.migrations (version, checksum) values (%(version)s, %(checksum)s);

-- name: find_adoption
select a.report from jobsync.adoptions a where a.tenant_id = 'default';

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

-- name: look_before_restore
select (select count(*) from (select from public.jobs limit 1000000) j) as jobs,
       (select count(*) from pg_stat_activity a where a.datname = current_database() and a.pid <> pg_backend_pid() and a.application_name = 'jobsync queue') as workers;

-- name: disarm_restored
-- What left after the backup was taken is not known to it: a person looks before anything is sent again.
update jobsync.tenants set restored_at = jobsync.now();
update jobsync.tenants set mode = 'observe', mode_reason = 'restored', mode_set_at = jobsync.now() where mode <> 'observe';
update jobsync.outbox set lease_until = null where lease_until is not null;

-- name: look_after_restore
select (select count(*) from public.jobs) as jobs, (select count(*) from jobsync.outbox) as planned, (select max(j.modified_on) from public.jobs j) as newest;
