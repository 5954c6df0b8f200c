-- Access: the tables belong to the role that migrates; the program works as jobsync_app and sees one tenant per
-- transaction (set local role + the setting jobsync.tenant). Row-level security is enabled, not forced: owner, psql and
-- pg_dump see all rows. Unset tenant: no rows.

do $access$
declare
  v_table record;
begin
  for v_table in
    select n.nspname, c.relname
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
     where c.relkind = 'r' and (n.nspname = 'jobsync'
        or n.nspname = 'public' and c.relname in ('sync_state', 'customers', 'jobs', 'sync_logs', 'business_units'))
  loop
    execute pg_catalog.format('alter table %I.%I enable row level security', v_table.nspname, v_table.relname);
    execute pg_catalog.format(
      'create policy tenant_rows on %I.%I using (tenant_id = (select nullif(pg_catalog.current_setting(''jobsync.tenant'', true), '''')))'
      ' with check (tenant_id = (select nullif(pg_catalog.current_setting(''jobsync.tenant'', true), '''')))', v_table.nspname, v_table.relname);
  end loop;
  if exists (select from pg_catalog.pg_roles where rolname = 'jobsync_app') then
    grant usage on schema public, jobsync to jobsync_app;
    grant select, insert, update, delete on public.sync_state, public.customers, public.jobs, public.sync_logs, public.business_units to jobsync_app;
    grant select on public.sync_statistics, public.jobs_pending_ghl_sync to jobsync_app;
    grant select, insert, update, delete on all tables in schema jobsync to jobsync_app;
    revoke insert, update, delete on jobsync.clock, jobsync.migrations from jobsync_app;
    revoke update, delete on jobsync.audit from jobsync_app;
  end if;
  -- Nobody moves the clock, not even the owner: tests grant it to a role that only they have.
  execute pg_catalog.format('revoke insert, update, delete, truncate on jobsync.clock from %I', current_user);
end
$access$;
