-- The plan as people see it: exactly what waits to be sent, what is skipped and why, and what it costs.

-- A hook takes one request a job. By API a job of a new contact takes three (search, contact, card), one of a known contact two
-- (search, card), a change one. Looked up for the first 1,000 that wait at each location; those beyond count like them.
create function jobsync.planned_requests(p_tenant text) returns bigint
language sql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
  select coalesce(sum(case d.kind when 'webhook' then w.waiting
                           else ceil(k.requests * greatest(1, w.waiting / greatest(k.looked_up, 1)::numeric)) end), 0)::bigint
    from (select o.destination_id, sum(o.rows) as waiting from v_tallies o where o.tenant_id = p_tenant and o.topic = 'outbox' group by 1) w
    join destinations d on d.tenant_id = p_tenant and d.id = w.destination_id
    left join lateral (
      select count(*) as looked_up, coalesce(sum(case when f.linked then 1 else 2 end), 0)
               + count(distinct f.st_customer_id) filter (where not f.linked and not f.known) as requests
        from (select o.st_customer_id,
                     coalesce((select true from opportunity_links l where l.tenant_id = p_tenant and l.destination_id = d.id and l.st_job_id = o.st_job_id), false) as linked,
                     coalesce((select true from contact_links c where c.tenant_id = p_tenant and c.destination_id = d.id and c.st_customer_id = o.st_customer_id), false) as known
                from (select x.st_job_id, coalesce((select resolve_customer(p_tenant, m.st_customer_id) from customers m where m.tenant_id = p_tenant
                                                     and m.st_customer_id = x.st_customer_id and m.merged_to_id is not null), x.st_customer_id) as st_customer_id
                        from outbox x where x.tenant_id = p_tenant and x.destination_id = d.id
                       order by x.destination_id, x.next_attempt_at, x.st_job_id limit 1000) o) f) k on d.kind = 'api'
$$;
comment on function jobsync.planned_requests(text) is
  'Requests that what waits will take of GoHighLevel: without tags, notes and the read-back. Exact for up to 1,000 jobs at each location; of more, the first 1,000 say how many all will take.';

-- Counts come from the tallies: a plan of a million jobs is told at once.
create function jobsync.show_plan(p_tenant text, p_since timestamptz) returns jsonb
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_plan jsonb := count_planned(p_tenant);
  v_price numeric;
  v_mode text;
begin
  select t.execution_price, t.mode into v_price, v_mode from tenants t where t.tenant_id = p_tenant;
  return v_plan || jsonb_build_object(
    'mode', v_mode, 'since', p_since,
    'held', (select coalesce(sum(o.rows), 0) from v_tallies o join destinations d on d.tenant_id = o.tenant_id and d.id = o.destination_id and d.paused_at is not null
              where o.tenant_id = p_tenant and o.topic = 'outbox'),
    'same', (select count(*) from (select from jobs j where j.tenant_id = p_tenant and j.modified_on >= p_since and j.ghl_sync_status = 'synced' limit 1000) x),
    'skip', (select coalesce(jsonb_agg(jsonb_build_object('reason', s.reason, 'jobs', s.jobs) order by s.jobs desc, s.reason), '[]')
               from (select v.reason, sum(v.rows) as jobs from v_tallies v where v.tenant_id = p_tenant and v.topic = 'jobs' and v.class = 'skipped' group by 1) s),
    'units', (select coalesce(jsonb_agg(jsonb_build_object('business_unit_id', g.business_unit_id, 'name', u.name, 'kind', u.destination_kind, 'destination',
                         u.destination_masked, 'armed', u.armed, 'paused', u.destination_paused_at is not null, 'jobs', g.jobs) order by g.jobs desc, g.business_unit_id), '[]')
                from (select v.business_unit_id, sum(v.rows) as jobs from v_tallies v where v.tenant_id = p_tenant and v.topic = 'jobs' and v.class = 'pending' group by 1) g
                join unit_routes u on u.tenant_id = p_tenant and u.st_business_unit_id = g.business_unit_id and u.deliverer = 'jobsync'),
    'requests', planned_requests(p_tenant),
    'execution_price', v_price, 'cost', (v_plan ->> 'webhook_executions')::numeric * v_price);
end
$$;
comment on function jobsync.show_plan(text, timestamptz) is
  'What would be sent: counts by event and unit, skips by reason, requests, paid executions and their price. same: delivered jobs that changed since p_since and need nothing (1,000: or more). Changes nothing.';

create function jobsync.show_planned_jobs(p_tenant text, p_unit bigint, p_limit integer) returns table (
  st_job_id bigint, st_job_number text, business_unit_name text, job_status text, event text, version integer, kind text, destination text,
  pipeline_name text, stage_name text, waiting_for text, next_attempt_at timestamptz, changes jsonb)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
#variable_conflict use_column
begin
  return query select o.st_job_id, j.st_job_number, u.name, j.job_status, o.event, o.version, d.kind, d.masked, coalesce(r.pipeline_name, u.ghl_pipeline_name), r.stage_name,
         o.waiting_for, o.next_attempt_at,
         case when f.st_job_id is not null then changed_facts(coalesce(f.facts, job_facts(j)), job_facts(j)) || changed_facts(f.told_as, told_as(p_tenant, j.business_unit_id, j.job_type_id)) end
    from outbox o
    join jobs j on j.tenant_id = o.tenant_id and j.st_job_id = o.st_job_id
    join destinations d on d.tenant_id = o.tenant_id and d.id = o.destination_id
    left join business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
    left join routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id
    left join delivered_facts f on f.tenant_id = o.tenant_id and f.st_job_id = o.st_job_id
   where o.tenant_id = p_tenant and (p_unit is null or j.business_unit_id = p_unit)
   order by o.st_job_id limit p_limit;
end
$$;
comment on function jobsync.show_planned_jobs(text, bigint, integer) is
  'The jobs that wait to be sent, by id, and what changed since they were last told (null: never told, or not known any more).';

create function jobsync.show_outdated(p_tenant text, p_unit bigint, p_limit integer) returns table (
  st_job_id bigint, business_unit_id bigint, business_unit_name text, kind text, changes jsonb)
language sql stable set search_path = jobsync, public as $$
  with outdated as (
    select f.st_job_id, changed_facts(f.told_as, told_as(p_tenant, j.business_unit_id, j.job_type_id)) as changes
      from delivered_facts f
      join jobs j on j.tenant_id = f.tenant_id and j.st_job_id = f.st_job_id
     where f.tenant_id = p_tenant
    union all
    -- API routes: the rules were edited, and would make something else of the card.
    select r.st_job_id, changed_facts(r.told, r.wanted) from list_rebaselined(p_tenant) r
  )
  select j.st_job_id, j.business_unit_id, u.name, d.kind, x.changes
    from (select o.st_job_id, jsonb_object_agg(e.key, e.value) as changes from outdated o cross join lateral jsonb_each(o.changes) e group by o.st_job_id) x
    join jobs j on j.tenant_id = p_tenant and j.st_job_id = x.st_job_id and j.ghl_sync_status = 'synced'
    join routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
    join destinations d on d.tenant_id = r.tenant_id and d.id = r.destination_id
    left join business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
   where p_unit is null or j.business_unit_id = p_unit
   order by j.st_job_id limit p_limit
$$;
comment on function jobsync.show_outdated(text, bigint, integer) is
  'Delivered jobs that would be told differently today: a renamed unit or type, another route or rule, another body. They are never sent by themselves.';

create view jobsync.v_stopped_sends with (security_invoker = true) as
  select t.tenant_id, case when t.mode_reason in ('cap_hour', 'cap_day') then t.mode_reason else 'mode' end as cause, 'tenant' as subject, t.mode_set_at as since,
         case t.mode_reason when 'cap_hour' then 'JobSync disarmed itself: ' || t.cap_hour || ' sends in an hour were reached.'
                            when 'cap_day' then 'JobSync disarmed itself: ' || t.cap_day || ' sends in a day were reached.' end as why, 'jobsync arm' as fix
    from jobsync.tenants t where t.mode <> 'live' and t.mode_reason in ('cap_hour', 'cap_day')
  union all
  select t.tenant_id, 'paused', 'tenant', t.paused_at, coalesce('Sending is paused: ' || t.pause_reason, 'Sending is paused.'), 'jobsync resume'
    from jobsync.tenants t where t.paused_at is not null
  union all
  select d.tenant_id, 'destination_paused', 'destination:' || d.id, d.paused_at, d.masked || ': ' || d.pause_reason, 'mend it, then: jobsync resume'
    from jobsync.destinations d where d.paused_at is not null
  union all
  select r.tenant_id, 'not_armed', 'unit:' || r.st_business_unit_id, r.updated_at, r.armed_reason, 'switch the old flow off, then: jobsync arm'
    from jobsync.routes r where not r.armed and r.deliverer = 'jobsync';
comment on view jobsync.v_stopped_sends is
  'Alert condition: why nothing (or not everything) is sent although somebody wants it sent: a cap disarmed it, a pause, a paused hook, a contested unit.';
