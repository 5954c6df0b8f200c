-- The smoke test's tenant: invented, there for seconds, removed whole. Run as the owner.
-- It is made without add_tenant: its ids are far above ServiceTitan's, so the indexes of a single tenant may stay.

create function jobsync.open_smoke(p_tenant text) returns void language plpgsql set search_path = jobsync, public as $$
begin
  if p_tenant !~ '^smoke-[0-9a-f]{12}$' then
    raise exception 'a smoke test''s tenant is called smoke- and twelve hexadecimal digits' using errcode = 'JS001';
  end if;
  -- Nobody's schedule takes it up: no pull, no comparison, no digest, and the sweep of due sends leaves it out.
  insert into tenants (tenant_id, name, mode, mode_reason, mode_set_at, deliver_from, next_pull_at, next_reconcile_at)
  values (p_tenant, 'Smoke test', 'live', 'smoke', jobsync.now(), '-infinity', 'infinity', 'infinity');
  insert into alert_settings (tenant_id, digest_at) values (p_tenant, null);
end
$$;
comment on function jobsync.open_smoke(text) is 'Makes the tenant of one smoke test: live, known to no schedule. The owner''s alone.';

create function jobsync.remove_smoke(p_tenant text) returns integer language plpgsql set search_path = jobsync, public as $$
declare
  v_tenants text[];
  v_table record;
  v_removed bigint;
  v_total integer := 0;
  v_again boolean := true;
begin
  -- Also those that a crash left behind; one that is younger may be at work.
  select array_agg(t.tenant_id) into v_tenants from tenants t
   where t.mode_reason = 'smoke' and (t.tenant_id = p_tenant or t.created_at < jobsync.now() - interval '10 minutes');
  if v_tenants is null then
    return 0;
  end if;
  -- Rounds, because tables point at each other, and removing rows writes tallies of its own.
  while v_again loop
    v_again := false;
    for v_table in
      select n.nspname, c.relname from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
       where c.relkind = 'r' and n.nspname in ('jobsync', 'public') and c.oid <> 'jobsync.tenants'::regclass
    loop
      begin
        execute format('delete from %I.%I where tenant_id = any ($1)', v_table.nspname, v_table.relname) using v_tenants;
        get diagnostics v_removed = row_count;
        v_total := v_total + v_removed;
        v_again := v_again or v_removed > 0;
      exception when foreign_key_violation then
        v_again := true;
      end;
    end loop;
  end loop;
  delete from tenants t where t.tenant_id = any (v_tenants);
  return v_total;
end
$$;
comment on function jobsync.remove_smoke(text) is
  'Removes every row of a smoke test''s tenant, and of those that a crash left behind. Never another tenant''s. Answers how many rows.';
