-- A second tenant. Run as the owner: the single-column unique indexes, which keep people's own `on conflict (st_job_id)`
-- working while there is one tenant, go then, because two contractors may have the same ids.

create function jobsync.add_tenant(p_tenant text, p_name text, p_actor text) returns jobsync.tenants
language plpgsql set search_path = jobsync, public as $$
declare
  v_tenant jobsync.tenants;
begin
  select * into v_tenant from tenants t where t.tenant_id = p_tenant;
  if found then
    return v_tenant;
  end if;
  if p_tenant is null or p_tenant !~ '^[a-z0-9][a-z0-9_-]{0,62}$' then
    raise exception 'a tenant''s id is made of small letters, digits, - and _, at most 63' using errcode = 'JS001';
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'jobsync_app') then
    raise exception 'this database serves one tenant only: the role jobsync_app, which keeps tenants apart, is missing'
      using errcode = 'JS001', hint = format('As a superuser: CREATE ROLE jobsync_app NOLOGIN; GRANT jobsync_app TO %I; then `jobsync db migrate` on a new database.', current_user);
  end if;
  drop index if exists public.sync_state_single_tenant, public.customers_single_tenant, public.jobs_single_tenant, public.business_units_single_tenant;
  insert into tenants (tenant_id, name) values (p_tenant, coalesce(nullif(btrim(p_name), ''), p_tenant)) returning * into v_tenant;
  insert into sync_state (key, value, tenant_id) values ('lastJobPull', '2025-01-01T00:00:00Z', p_tenant);
  perform write_audit(p_tenant, p_actor, 'tenant_added', 'tenant', jsonb_build_object('name', v_tenant.name));
  return v_tenant;
end
$$;
comment on function jobsync.add_tenant(text, text, text) is
  'Adds a tenant, observing and without units, and drops the indexes that only one tenant allows. Only the owner of the tables may. Twice changes nothing.';
