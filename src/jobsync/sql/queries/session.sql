-- Statements that every connection and transaction begins with.

-- name: has_app_role
select exists (
  select from pg_catalog.pg_roles r
   where r.rolname = 'jobsync_app'
     and ((select u.rolsuper from pg_catalog.pg_roles u where u.rolname = current_user)
          -- set_option exists since PostgreSQL 16; before, every member may become the role.
          or exists (select from pg_catalog.pg_auth_members m
                      where m.roleid = r.oid and m.member = current_user::regrole and coalesce((to_jsonb(m) ->> 'set_option')::boolean, true))));

-- name: begin_as_owner
begin;

-- name: begin_as_tenant
-- Two statements in one message: a round trip less for each transaction.
begin; select set_config('role', 'jobsync_app', true), set_config('jobsync.tenant', %(tenant)s, true);

-- name: begin_as_owner_of_tenant
begin; select set_config('jobsync.tenant', %(tenant)s, true);

-- name: end_transaction
commit;

-- name: limit_statements
-- No transaction waits for anybody: one that idles belongs to a process that stands still, and what it holds (a tenant's sends)
-- is given up well within a lease.
select set_config('statement_timeout', '120s', false), set_config('idle_in_transaction_session_timeout', '30s', false), set_config('timezone', 'UTC', false);

-- name: read_now
select jobsync.now();
