-- Statements that every connection and transaction begins with.

-- name: has_app_role
select coalesce((select pg_catalog.pg_has_role(current_user, r.oid, 'member') from pg_catalog.pg_roles r where r.rolname = 'jobsync_app'), false);

-- name: enter_tenant
select set_config('role', 'jobsync_app', true), set_config('jobsync.tenant', %(tenant)s, true);

-- name: enter_tenant_as_owner
select set_config('jobsync.tenant', %(tenant)s, true);

-- name: limit_statements
select set_config('statement_timeout', '120s', false), set_config('idle_in_transaction_session_timeout', '300s', false), set_config('timezone', 'UTC', false);

-- name: read_now
select jobsync.now();
