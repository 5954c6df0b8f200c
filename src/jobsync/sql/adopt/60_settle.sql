-- Adopting, step 8: who delivers, the watermark, the counts, the report. Then the scaffolding goes.

insert into jobsync.routes (tenant_id, st_business_unit_id, deliverer)
select 'default', u.st_business_unit_id, 'external' from public.business_units u where exists (select from jobsync_adopting.units a where a.st_business_unit_id = u.st_business_unit_id);

do $settle$
declare
  v_now timestamptz := jobsync.now();
  v_value text;
  v_newest timestamptz;
  v_oldest timestamptz;
  v_found record;
  v_rows bigint;
begin
  insert into jobsync_adopting.notes (kind, items, note)
  select 'repaired', count(*), 'business units stay with the old flow (external) until you give them a route' from jobsync.routes r having count(*) > 0;
  insert into jobsync_adopting.notes (kind, items, note)
  select 'unknown', count(*), 'jobs are pending: if the old flow pushed them without marking them, that is not seen here. They stay with the old flow; jobs created before you arm are not sent by JobSync'
    from public.jobs j where j.ghl_sync_status = 'pending' having count(*) > 0;
  insert into jobsync_adopting.notes (kind, items, note)
  select 'unknown', count(*), format('jobs of unit %s were stored and never shown to the old flow, as the unit is %s; they are skipped (%s)',
           coalesce(j.business_unit_id::text, '(none)'), case j.ghl_sync_reason when 'unit_off' then 'switched off' else 'not in business_units' end, j.ghl_sync_reason)
    from public.jobs j where j.ghl_sync_status = 'skipped' and j.ghl_sync_reason in ('unit_off', 'unmapped') group by j.business_unit_id, j.ghl_sync_reason order by count(*) desc limit 50;

  -- The watermark is the old flow's: JobSync leaves it alone, but no reader may stumble over it.
  select max(j.created_on), min(j.created_on) into v_newest, v_oldest from public.jobs j where j.created_on between '2000-01-01' and v_now;
  if exists (select from jobsync_adopting.counts c where c.name = 'sync_state') then
    select s.value into v_value from public.sync_state s where s.tenant_id = 'default' and s.key = 'lastJobPull';
    if v_value is not null and coalesce(jobsync.try_timestamptz_text(v_value) not between '2000-01-01' and v_now + interval '1 day', true) then
      update public.sync_state s set value = to_char(coalesce(v_newest, '2025-01-01') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), updated_at = v_now,
             metadata = coalesce(s.metadata, '{}') || jsonb_build_object('value_before_adoption', left(v_value, 200))
       where s.tenant_id = 'default' and s.key = 'lastJobPull';
      insert into jobsync_adopting.notes (kind, note)
      select 'repaired', format('lastJobPull was "%s", which is no usable time; it is %s now, the newest job''s creation', left(v_value, 100), s.value)
        from public.sync_state s where s.tenant_id = 'default' and s.key = 'lastJobPull';
    end if;
  end if;
  v_oldest := least(v_oldest, (select jobsync.try_timestamptz_text(s.value) from public.sync_state s where s.tenant_id = 'default' and s.key = 'lastJobPull'));
  insert into jobsync_adopting.notes (kind, note)
  select 'unknown', format('jobs that the old flow missed are not here; the first pull reads from %s on and brings them. Those that are older than today are stored and not offered to the old flow',
           to_char(v_oldest at time zone 'UTC', 'YYYY-MM-DD')) where v_oldest is not null;

  for v_found in select c.name, c.rows from jobsync_adopting.counts c loop
    execute format('select count(*) from public.%I', v_found.name) into v_rows;
    if v_rows <> v_found.rows then
      raise exception '% held % rows and holds % now.', v_found.name, v_found.rows, v_rows using errcode = 'JS001', hint = 'Nothing was changed. Please report this.';
    end if;
  end loop;
  perform jobsync.recount_tallies('default');
  insert into jobsync.adoptions (tenant_id, adopted_at, pull_from, report)
  select 'default', v_now, v_oldest, jsonb_build_object('adopted_at', v_now, 'pull_from', v_oldest,
    'rows', (select jsonb_object_agg(c.name, c.rows) from jobsync_adopting.counts c))
    || (select jsonb_object_agg(k.kind, (select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('items', n.items, 'note', n.note)) order by n.n), '[]')
                                           from jobsync_adopting.notes n where n.kind = k.kind))
          from (values ('repaired'), ('unknown'), ('kept')) k(kind));
  perform jobsync.write_audit('default', 'jobsync', 'adopted', 'database', (select jsonb_build_object('rows', a.report -> 'rows') from jobsync.adoptions a));
end
$settle$;

select pg_catalog.set_config('search_path', (select s.search_path from jobsync_adopting.session s), true);
drop schema jobsync_adopting cascade;
analyze public.jobs, public.customers, public.business_units, public.sync_logs, public.sync_state;
