-- What the doctor asks of PostgreSQL itself.

-- name: look_at_rights
select r.rolsuper as superuser,
       exists (select from pg_catalog.pg_roles a where a.rolname = 'jobsync_app' and pg_catalog.pg_has_role(current_user, a.oid, 'member')) as keeps_tenants_apart,
       pg_catalog.pg_is_in_recovery() or pg_catalog.current_setting('default_transaction_read_only')::boolean as read_only,
       pg_catalog.current_setting('max_connections')::integer - pg_catalog.current_setting('superuser_reserved_connections')::integer as connections,
       (select count(*)::integer from pg_catalog.pg_stat_activity s where s.backend_type = 'client backend') as connected,
       pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(pg_catalog.current_database())) as size
  from pg_catalog.pg_roles r where r.rolname = current_user;
