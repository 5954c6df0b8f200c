-- Planning: what is to be delivered. Called with the jobs that a page touched, or with a unit whose route changed.
-- The only thing that makes a delivered job due again is a change of the job's own facts (p_changed): a change of rule,
-- route, template or software plans nothing by itself, and a unit that is switched on again gets what its jobs' facts owe it.

-- Reasons that a person or an import gave: planning never takes them back.
create function jobsync.is_sticky_reason(p_reason text) returns boolean language sql immutable parallel safe as $$
  select p_reason in ('imported', 'backfilled', 'by_hand', 'deleted_in_ghl', 'before_start_kept')
$$;
comment on function jobsync.is_sticky_reason(text) is 'True for skip reasons that only a person takes back.';

create function jobsync.mark_planned(p_tenant text, p_jobs bigint[], p_statuses text[], p_reasons text[]) returns void
-- Hashed, whatever the callers may not do: else each job of a page is held against each mark.
language sql volatile set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = on set enable_nestloop = off set enable_mergejoin = off as $$
  update jobs j set ghl_sync_status = m.status, ghl_sync_reason = m.reason, ghl_sync_error = null, updated_at = (select jobsync.now())
    from unnest(p_jobs, p_statuses, p_reasons) m(id, status, reason)
   where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and j.st_job_id = m.id
$$;
comment on function jobsync.mark_planned(text, bigint[], text[], text[]) is 'Writes where jobs stand after planning: three lists side by side.';

create type jobsync.owed_again as (st_job_id bigint, destination_id uuid, st_customer_id bigint, waits boolean, changed boolean, arrived boolean);
comment on type jobsync.owed_again is 'A job whose delivery waits already, and what became of it since: where to, whose, whether its parents are known, whether its facts changed, whether the first pull has brought it.';

-- Apart from plan_jobs, for its plan: many rows against many rows are hashed, which plan_jobs forbids itself.
create function jobsync.refresh_waiting(p_tenant text, p_owed jobsync.owed_again[], p_now timestamptz) returns void
language sql volatile set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = on set enable_nestloop = off set enable_mergejoin = off as $$
  update outbox o set
      destination_id = d.destination_id, st_customer_id = d.st_customer_id,
      -- What was tried already may have arrived: the newer content is a version of its own. What never was tried keeps its place.
      version = case when d.changed and o.attempts > 0 then o.version + 1 else o.version end,
      attempts = case when d.changed and o.lease_until is null then 0 else o.attempts end,
      counted_at = case when d.changed and o.lease_until is null then null else o.counted_at end,
      next_attempt_at = case when d.arrived then case when d.waits then p_now + interval '15 minutes' else p_now end
                             when o.lease_until is not null or o.waiting_for is not null then o.next_attempt_at
                             when o.attempts > 0 then case when d.changed then p_now else o.next_attempt_at end
                             when d.waits and o.st_customer_id is distinct from d.st_customer_id then p_now + interval '15 minutes'
                             else o.next_attempt_at end,
      waiting_for = case when d.arrived then case when d.waits then 'parents' end
                         when d.waits and o.st_customer_id is distinct from d.st_customer_id and o.attempts = 0 and o.lease_until is null
                         then coalesce(o.waiting_for, 'parents') else o.waiting_for end
    from unnest(p_owed) d
   where o.tenant_id = p_tenant and o.st_job_id = any (array(select q.st_job_id from unnest(p_owed) q)) and o.st_job_id = d.st_job_id
     and (o.destination_id is distinct from d.destination_id or o.st_customer_id is distinct from d.st_customer_id or d.changed and o.attempts > 0 or d.arrived)
$$;
comment on function jobsync.refresh_waiting(text, jobsync.owed_again[], timestamptz) is
  'Deliveries that wait get the job''s new destination and customer; what was tried and changed since is a version of its own, due now; what waited for the first pull and was read is due as well.';

-- The caller holds the rows of `jobs` (they were written in this transaction, or locked by lock_jobs).
create function jobsync.plan_jobs(p_tenant text, p_touched bigint[], p_changed boolean[]) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_queued integer;
  v_marked bigint[];
  v_statuses text[];
  v_reasons text[];
  v_stale owed_again[];
  v_sales bigint[] := link_installs(p_tenant, p_touched);
  v_linked boolean := exists (select from install_links l where l.tenant_id = p_tenant);
  v_adopted timestamptz := adopted_at(p_tenant);
  -- What the old flow stored is told once ServiceTitan's own record of it was read: else it would be told, and then corrected.
  v_unread boolean := v_adopted is not null and is_first_load(p_tenant);
begin
  with facts as materialized (
    select j.st_job_id, j.st_customer_id, j.st_location_id, j.ghl_sync_status as status, j.ghl_sync_reason as reason,
           j.delivered_hash is not null as delivered, j.job_hash is distinct from j.delivered_hash or d.kind = 'api' and card_differs(p_tenant, j.st_job_id) as differs, coalesce(x.changed, false) as changed,
           j.ghl_version, v_unread and j.job_hash_version = 0 as unread, coalesce(r.deliverer, 'none') as deliverer, r.destination_id,
           d.kind = 'webhook' and coalesce(r.events, 'created') = 'created' as once,
           coalesce(skip_reason(coalesce(r.deliverer, 'none'), u.sync_enabled, u.sync_to_ghl, j.source, j.created_on,
                                -- What came after an adoption and is older was missed by the old flow: it is not made to push it now.
                                coalesce(t.deliver_from, case when r.deliverer = 'external' and j.created_at > v_adopted then v_adopted end)),
                    case when v_linked then (select 'on_sales_card' from install_links l where l.tenant_id = p_tenant and l.st_job_id = j.st_job_id
                                                        and l.sales_job_id is not null limit 1) end) as skip,
           o.st_job_id is not null as queued, o.destination_id as queued_destination, o.st_customer_id as queued_customer, o.attempts > 0 as tried,
           o.waiting_for = 'first_pull' and o.lease_until is null as held_for_pull,
           coalesce(o.forced, false) as forced, coalesce(o.lease_until > v_now, false) as in_flight
      from unnest(p_touched, p_changed) x(id, changed)
      cross join lateral (select k.* from jobs k where k.tenant_id = p_tenant and k.st_job_id = x.id offset 0) j
      join tenants t on t.tenant_id = p_tenant
      left join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = j.business_unit_id
      left join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
      left join destinations d on d.tenant_id = p_tenant and d.id = r.destination_id
      left join lateral (select k.* from outbox k where k.tenant_id = p_tenant and k.st_job_id = x.id offset 0) o on true
  ), decided as materialized (
    -- queue: owed, so it has a row in the outbox; leave: delivered, nothing more is owed; skip, offer: never delivered.
    select f.*, case
        when f.status = 'skipped' and is_sticky_reason(f.reason) then 'keep'
        -- What is owed to a unit that is switched off is told when it is on again, an update as well as a new job.
        when f.delivered and f.skip = 'unit_off' and f.deliverer = 'jobsync' and not f.once and f.differs and (f.queued or f.changed or f.held) then 'skip'
        when f.delivered and (f.skip is not null or f.deliverer <> 'jobsync') then 'leave'
        when f.delivered and f.once then case when f.queued and not f.forced or f.held then 'leave' else 'keep' end
        when f.delivered and (f.differs and (f.changed or f.held) or f.queued) then 'queue'
        when f.delivered then case when f.held then 'leave' else 'keep' end
        -- Asked for by a person although it is old.
        when f.skip = 'before_start' and f.queued and f.forced then 'queue'
        when f.skip is not null then 'skip'
        when f.deliverer = 'external' then case when f.status in ('synced', 'failed') then 'keep' else 'offer' end
        when f.status = 'failed' and not f.changed then 'keep'
        when f.status = 'synced' then 'keep'
        else 'queue' end as decision
      from (select g.*, g.status = 'skipped' and g.reason = 'unit_off' as held from facts g) f
  ), parked as (
    delete from outbox o
     where o.tenant_id = p_tenant and o.st_job_id = any (array(select d.st_job_id from decided d where d.queued and d.decision in ('skip', 'offer', 'leave')))
       and (o.lease_until is null or o.lease_until <= v_now)
    returning 1
  ), owed as (
    -- limit 1, not exists: looked up for each job, never hashed as a whole.
    select d.*, coalesce(
        (select true from wanted n where n.tenant_id = p_tenant and n.stream in ('customers', 'customer_contacts') and n.id = d.st_customer_id limit 1),
        (select true from wanted n where n.tenant_id = p_tenant and n.stream in ('locations', 'location_contacts') and n.id = d.st_location_id limit 1),
        false) as waits,
        coalesce(d.held_for_pull and not d.unread, false) as arrived
      from decided d where d.decision = 'queue'
  ), stale as (
    select d.* from owed d
     where d.queued and (d.arrived or d.queued_destination is distinct from d.destination_id or d.queued_customer is distinct from d.st_customer_id or d.changed and d.tried)
  ), queued as (
    insert into outbox (tenant_id, st_job_id, st_customer_id, destination_id, version, event, planned_at, next_attempt_at, waiting_for)
    select p_tenant, d.st_job_id, d.st_customer_id, d.destination_id, d.ghl_version + 1, case when d.delivered then 'updated' else 'created' end, v_now,
           case when d.unread then v_now + interval '6 hours' when d.waits then v_now + interval '15 minutes' else v_now end,
           case when d.unread then 'first_pull' when d.waits then 'parents' end
      from owed d where not d.queued order by d.st_job_id
    on conflict (tenant_id, st_job_id) do nothing
    returning 1
  ), marks as (
    select d.st_job_id, case d.decision when 'skip' then 'skipped' when 'leave' then 'synced' else 'pending' end as status,
           case d.decision when 'skip' then d.skip when 'queue' then case when d.delivered then 'update' end end as reason
      from decided d
     where case d.decision
             when 'skip' then (d.status, d.reason) is distinct from ('skipped', d.skip)
             when 'offer' then (d.status, d.reason) is distinct from ('pending', null)
             when 'queue' then d.status <> 'pending' or d.changed and d.reason is distinct from case when d.delivered then 'update' end
             -- The route went away while an update waited: the job stays as delivered.
             when 'leave' then d.status = 'pending' or d.held
             else false end
  )
  select (select count(*) from queued), array_agg(m.st_job_id), array_agg(m.status), array_agg(m.reason), (select array_agg(row(t.st_job_id, t.destination_id, t.st_customer_id, t.waits, t.changed, t.arrived)::owed_again) from stale t)
    into v_queued, v_marked, v_statuses, v_reasons, v_stale
    from marks m;
  if v_stale is not null then
    perform refresh_waiting(p_tenant, v_stale, v_now);
  end if;
  if v_marked is not null then
    perform mark_planned(p_tenant, v_marked, v_statuses, v_reasons);
  end if;
  if v_sales <> '{}' then
    v_queued := v_queued + replan_cards(p_tenant, v_sales);
  end if;
  return v_queued;
end
$$;
comment on function jobsync.plan_jobs(text, bigint[], boolean[]) is
  'Decides for each touched job: deliver, offer to the external deliverer, skip with a reason, or leave. p_changed, beside p_touched: whether its own facts changed. Answers how many outbox rows were added. Idempotent.';

create function jobsync.lock_jobs(p_tenant text, p_jobs bigint[]) returns bigint[]
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_locked bigint[];
begin
  perform lock_stream(p_tenant, 'jobs');
  select array_agg(l.st_job_id) into v_locked
    from (select j.st_job_id from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) order by j.st_job_id for no key update) l;
  return v_locked;
end
$$;
comment on function jobsync.lock_jobs(text, bigint[]) is 'Locks rows of jobs before they are planned, in the order in which everybody locks them. Answers those that exist.';

create function jobsync.plan_unit(p_tenant text, p_unit bigint) returns integer
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_custom_plan as $$
declare
  v_jobs bigint[];
begin
  perform lock_stream(p_tenant, 'jobs');
  select array_agg(j.st_job_id) into v_jobs from jobs j
   where j.tenant_id = p_tenant and j.business_unit_id = p_unit
     and (j.delivered_hash is null and j.ghl_sync_status <> 'synced' or j.ghl_sync_status = 'skipped' and j.ghl_sync_reason = 'unit_off'
          or (select true from outbox o where o.tenant_id = p_tenant and o.st_job_id = j.st_job_id limit 1));
  if v_jobs is null then
    return 0;
  end if;
  v_jobs := lock_jobs(p_tenant, v_jobs);
  perform want_parents(p_tenant, v_jobs);
  return plan_jobs(p_tenant, v_jobs, null);
end
$$;
comment on function jobsync.plan_unit(text, bigint) is 'Plans the jobs of a unit that were never delivered or still wait, after its route or its switches changed.';

-- Whoever flips the switches in SQL gets what the command line would do.
create function jobsync.plan_switched_unit() returns trigger language plpgsql as $$
begin
  perform jobsync.plan_unit(new.tenant_id, new.st_business_unit_id);
  return null;
end
$$;
comment on function jobsync.plan_switched_unit() is 'Trigger: plans a unit''s jobs anew after sync_enabled or sync_to_ghl changed.';
create trigger plan_switched_unit after update of sync_enabled, sync_to_ghl on public.business_units for each row
  when ((old.sync_enabled, old.sync_to_ghl) is distinct from (new.sync_enabled, new.sync_to_ghl)) execute function jobsync.plan_switched_unit();

-- One unit's route. Null parameters leave what stands.
create function jobsync.set_route(
  p_tenant text, p_unit bigint, p_deliverer text, p_destination uuid, p_events text, p_pipeline_name text, p_stage_name text,
  p_sync_enabled boolean, p_sync_to_ghl boolean, p_actor text
) returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_planned integer;
  v_contested text;
  v_old jobsync.routes;
  v_events text;
begin
  perform from business_units u where u.tenant_id = p_tenant and u.st_business_unit_id = p_unit for update;
  if not found then
    raise exception 'business unit % is not known', p_unit using errcode = 'JS004';
  end if;
  update business_units u set sync_enabled = coalesce(p_sync_enabled, u.sync_enabled), sync_to_ghl = coalesce(p_sync_to_ghl, u.sync_to_ghl),
         ghl_pipeline_name = coalesce(p_pipeline_name, u.ghl_pipeline_name), updated_at = jobsync.now()
   where u.tenant_id = p_tenant and u.st_business_unit_id = p_unit
     and (u.sync_enabled, u.sync_to_ghl, u.ghl_pipeline_name)
         is distinct from (coalesce(p_sync_enabled, u.sync_enabled), coalesce(p_sync_to_ghl, u.sync_to_ghl), coalesce(p_pipeline_name, u.ghl_pipeline_name));
  select * into v_old from routes r where r.tenant_id = p_tenant and r.st_business_unit_id = p_unit;
  if p_deliverer = 'jobsync' then
    v_contested := contested_reason(p_tenant, p_unit);
  end if;
  if p_deliverer is not null or p_destination is not null or p_events is not null or p_pipeline_name is not null or p_stage_name is not null then
    insert into routes as r (tenant_id, st_business_unit_id, deliverer, destination_id, events, pipeline_name, stage_name, armed, armed_reason)
    values (p_tenant, p_unit, coalesce(p_deliverer, 'none'), p_destination, coalesce(p_events, 'created'), p_pipeline_name, p_stage_name,
            v_contested is null, v_contested)
    on conflict (tenant_id, st_business_unit_id) do update set
      deliverer = coalesce(p_deliverer, r.deliverer),
      destination_id = case when p_deliverer in ('external', 'none') then null else coalesce(p_destination, r.destination_id) end,
      events = coalesce(p_events, r.events), pipeline_name = coalesce(p_pipeline_name, r.pipeline_name),
      stage_name = coalesce(p_stage_name, r.stage_name),
      armed = case when p_deliverer is null then r.armed else excluded.armed end,
      armed_reason = case when p_deliverer is null then r.armed_reason else excluded.armed_reason end, updated_at = jobsync.now();
  end if;
  perform write_audit(p_tenant, p_actor, 'route_set', 'unit:' || p_unit, jsonb_strip_nulls(jsonb_build_object('deliverer', p_deliverer,
    'destination_id', p_destination, 'events', p_events, 'pipeline_name', p_pipeline_name, 'stage_name', p_stage_name,
    'sync_enabled', p_sync_enabled, 'sync_to_ghl', p_sync_to_ghl, 'before', to_jsonb(v_old) - 'tenant_id')));
  v_planned := plan_unit(p_tenant, p_unit);
  return (select to_jsonb(x) from unit_routes x where x.tenant_id = p_tenant and x.st_business_unit_id = p_unit)
    || jsonb_build_object('planned', v_planned);
end
$$;
comment on function jobsync.set_route(text, bigint, text, uuid, text, text, text, boolean, boolean, text) is
  'Sets a unit''s route and plans its jobs that were never delivered. Sends nothing by itself and re-sends nothing that was delivered.';

-- Two deliverers on one unit would send twice: a unit whose jobs were pushed or marked from outside lately is contested.
create function jobsync.contested_reason(p_tenant text, p_unit bigint) returns text language sql stable as $$
  select 'jobs of this unit were marked from outside in the last 24 hours: the old flow still runs'
   where exists (
     select from jobsync.outside_marks m
      where m.tenant_id = p_tenant and m.business_unit_id = p_unit and m.last_marked_at > jobsync.now() - interval '24 hours')
$$;
comment on function jobsync.contested_reason(text, bigint) is 'Why a unit must not be armed yet, or null.';
