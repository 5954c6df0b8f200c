-- Tenants as whole: run as the owner of the tables, who sees them all.

-- name: show_tenants
select t.tenant_id as id, t.name, t.time_zone, t.mode, t.paused_at, t.pause_reason, t.poll_seconds, t.created_at,
       exists (select from jobsync.connections c where c.tenant_id = t.tenant_id and c.kind = 'servicetitan') as connected
  from jobsync.tenants t where %(tenant)s::text is null or t.tenant_id = %(tenant)s order by t.tenant_id;

-- name: add_tenant
select t.tenant_id as id from jobsync.add_tenant(%(tenant)s, %(name)s, %(actor)s) t;

-- name: has_tenant
select exists (select from jobsync.tenants t where t.tenant_id = %(tenant)s);
