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

-- Who only reads: reports, dashboards of others, a curious psql. It sees every tenant (or the one that jobsync.tenant names)
-- and no credential, not even a sealed one. A login for it: create role NAME login password '...' in role jobsync_readonly.
do $reading$
declare
  v_table record;
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'jobsync_readonly') then
    -- Tried twice, as with jobsync_app (10).
    for v_try in 1..2 loop
      begin
        create role jobsync_readonly nologin;
        exit;
      exception when duplicate_object or unique_violation then
        null;
      end;
    end loop;
  end if;
  grant usage on schema public, jobsync to jobsync_readonly;
  for v_table in
    select n.nspname, c.relname
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'v')
       and (n.nspname = 'jobsync' and c.relname not in (
              'connections', 'access_tokens', 'tokens', 'destinations', 'alert_settings', 'users', 'sessions', 'sign_in_links', 'sign_in_failures', 'erasure_keys')
         or n.nspname = 'public' and c.relname in ('sync_state', 'customers', 'jobs', 'sync_logs', 'business_units', 'sync_statistics', 'jobs_pending_ghl_sync'))
  loop
    execute pg_catalog.format('grant select on %I.%I to jobsync_readonly', v_table.nspname, v_table.relname);
  end loop;
  grant select (tenant_id, id, kind, label, masked, paused_at, pause_reason, failures_in_row, probe_at, created_at, updated_at)
    on jobsync.destinations to jobsync_readonly;
  grant select (tenant_id, quiet_from, quiet_until, digest_at, digest_sent_on, silence_hours, repeat_hours, updated_at)
    on jobsync.alert_settings to jobsync_readonly;
  for v_table in
    select p.schemaname, p.tablename from pg_catalog.pg_policies p where p.policyname = 'tenant_rows' and p.schemaname in ('public', 'jobsync')
  loop
    execute pg_catalog.format(
      'create policy readers on %I.%I for select to jobsync_readonly'
      ' using (tenant_id = coalesce((select nullif(pg_catalog.current_setting(''jobsync.tenant'', true), '''')), tenant_id))',
      v_table.schemaname, v_table.tablename);
  end loop;
exception when insufficient_privilege then
  raise notice 'role jobsync_readonly cannot be created here: reports need a login of their own';
end
$reading$;
