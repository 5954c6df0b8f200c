-- What the doctor asks the database about itself: routes, a running old flow, alerts.

create function jobsync.list_findings(p_tenant text)
returns table (group_name text, name text, state text, what text, why text, fix text)
language sql stable set search_path = jobsync, public as $$
  select 'routing', 'units', case when count(*) filter (where n.jobs > 0) > 0 then 'warning' else 'ok' end,
         case when count(*) = 0 then 'no business units are known yet'
              when count(*) filter (where n.jobs > 0) = 0 then 'every unit with jobs is decided'
              else count(*) filter (where n.jobs > 0) || case count(*) filter (where n.jobs > 0) when 1 then ' unit is unmapped (' else ' units are unmapped (' end || sum(n.jobs) || ' jobs): ' || left(string_agg(u.name, ', ' order by n.jobs desc) filter (where n.jobs > 0), 200) end,
         case when count(*) filter (where n.jobs > 0) > 0 then 'Their jobs wait in an inbox and go nowhere.' end,
         case when count(*) filter (where n.jobs > 0) > 0 then 'jobsync units set ID --webhook URL   (or --external, --skip)' end
    from business_units u
    cross join lateral (select coalesce(sum(r.jobs), 0) as jobs from v_unsynced_reasons r
                         where r.tenant_id = p_tenant and r.business_unit_id = u.st_business_unit_id and r.reason = 'unmapped') n
   where u.tenant_id = p_tenant
  union all
  select 'routing', 'destination', 'problem', 'the destination ' || d.label || ' is paused', d.pause_reason, 'mend it, then: jobsync resume'
    from destinations d where d.tenant_id = p_tenant and d.paused_at is not null
  union all
  -- A flow of the guide that still pushes what JobSync delivers: two deliverers, double leads.
  select 'routing', 'old flow', 'problem', 'somebody else marked jobs of ' || u.name || ' as sent in the last 24 hours', 'JobSync delivers this unit as well.',
         'switch the old workflow off, or: jobsync units set ' || u.st_business_unit_id || ' --external'
    from outside_marks m
    join routes r on r.tenant_id = m.tenant_id and r.st_business_unit_id = m.business_unit_id and r.deliverer = 'jobsync'
    join business_units u on u.tenant_id = m.tenant_id and u.st_business_unit_id = m.business_unit_id
   where m.tenant_id = p_tenant and m.last_marked_at > jobsync.now() - interval '24 hours'
  union all
  select 'routing', 'mode', 'ok', 'mode is ' || t.mode || case when t.paused_at is not null then ', paused' else '' end, null, null from tenants t where t.tenant_id = p_tenant
  union all
  select 'alerts', a.code, case a.severity when 'critical' then 'problem' else 'warning' end, a.title, a.why, a.fix
    from v_alert_conditions a where a.tenant_id = p_tenant
$$;
comment on function jobsync.list_findings(text) is 'What the doctor says about routes and alerts of a tenant: one line each, with why and fix.';
