-- Whether anything is sent at all: mode, arm, pause; the runs of deliveries; replay.

create function jobsync.mode_rank(p_mode text) returns integer language sql immutable parallel safe as $$
  select case p_mode when 'observe' then 0 when 'shadow' then 1 when 'live' then 2 end
$$;
comment on function jobsync.mode_rank(text) is 'observe < shadow < live.';

create function jobsync.set_mode(p_tenant text, p_mode text, p_reason text, p_actor text) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  update tenants t set mode = p_mode, mode_set_at = jobsync.now(), mode_reason = p_reason, updated_at = jobsync.now() where t.tenant_id = p_tenant;
  perform write_audit(p_tenant, p_actor, 'mode_set', 'tenant', jsonb_build_object('mode', p_mode, 'reason', p_reason));
end
$$;
comment on function jobsync.set_mode(text, text, text, text) is 'Sets the mode and says so in the audit.';

-- The environment may give the first mode and deliver_from; afterwards it only lowers the mode. Only arm raises it.
create function jobsync.initialise_tenant(p_tenant text, p_mode text, p_deliver_from timestamptz, p_poll_seconds integer, p_cap_hour integer, p_cap_day integer)
returns jobsync.tenants language plpgsql set search_path = jobsync, public as $$
declare
  v_tenant jobsync.tenants;
begin
  select * into v_tenant from tenants t where t.tenant_id = p_tenant for no key update;
  if v_tenant.tenant_id is null then
    raise exception 'tenant % is not known', p_tenant using errcode = 'JS004';
  end if;
  if p_mode is not null and v_tenant.mode_set_at is null then
    perform set_mode(p_tenant, p_mode, 'first value', 'environment');
  elsif mode_rank(p_mode) < mode_rank(v_tenant.mode) then
    perform set_mode(p_tenant, p_mode, 'lowered by JOBSYNC_MODE', 'environment');
  end if;
  update tenants t set
      deliver_from = case when t.deliver_from is not null then t.deliver_from when p_deliver_from is not null then p_deliver_from
                          when t.mode = 'live' then jobsync.now() end,
      poll_seconds = coalesce(p_poll_seconds, t.poll_seconds), cap_hour = coalesce(p_cap_hour, t.cap_hour), cap_day = coalesce(p_cap_day, t.cap_day)
   where t.tenant_id = p_tenant
     and (t.deliver_from is null and (p_deliver_from is not null or t.mode = 'live')
          or t.poll_seconds is distinct from coalesce(p_poll_seconds, t.poll_seconds)
          or t.cap_hour is distinct from coalesce(p_cap_hour, t.cap_hour) or t.cap_day is distinct from coalesce(p_cap_day, t.cap_day));
  if found then
    perform plan_older_jobs(p_tenant);
  end if;
  select * into v_tenant from tenants t where t.tenant_id = p_tenant;
  return v_tenant;
end
$$;
comment on function jobsync.initialise_tenant(text, text, timestamptz, integer, integer, integer) is
  'Applies what the environment says about a tenant: first mode and deliver_from, later only a lower mode; poll and caps. Idempotent.';

create function jobsync.plan_older_jobs(p_tenant text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  select array_agg(j.st_job_id) into v_jobs
    from outbox o join jobs j on j.tenant_id = o.tenant_id and j.st_job_id = o.st_job_id
    join tenants t on t.tenant_id = o.tenant_id
   where o.tenant_id = p_tenant and j.created_on < t.deliver_from and j.delivered_hash is null;
  if v_jobs is null then
    return 0;
  end if;
  perform plan_jobs(p_tenant, lock_jobs(p_tenant, v_jobs), null);
  return cardinality(v_jobs);
end
$$;
comment on function jobsync.plan_older_jobs(text) is 'After deliver_from is set: planned jobs created before it become skipped (before_start). Answers how many.';

create function jobsync.count_planned(p_tenant text) returns jsonb language sql stable set search_path = jobsync, public as $$
  select jsonb_build_object('planned', coalesce(sum(o.rows), 0), 'create', coalesce(sum(o.rows) filter (where o.class = 'created'), 0),
      'update', coalesce(sum(o.rows) filter (where o.class = 'updated'), 0), 'replay', coalesce(sum(o.rows) filter (where o.class = 'replayed'), 0),
      'waiting', coalesce(sum(o.rows) filter (where o.reason is not null), 0), 'webhook_executions', coalesce(sum(o.rows) filter (where d.kind = 'webhook'), 0))
    from v_tallies o join destinations d on d.tenant_id = o.tenant_id and d.id = o.destination_id
   where o.tenant_id = p_tenant and o.topic = 'outbox'
$$;
comment on function jobsync.count_planned(text) is 'What the outbox holds: creates, updates, paid executions.';

create function jobsync.arm_tenant(p_tenant text, p_limit integer, p_since timestamptz, p_cap_hour integer, p_cap_day integer, p_actor text)
returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_refused jsonb;
begin
  update routes r set armed = c.reason is null, armed_reason = c.reason, updated_at = jobsync.now()
    from (select x.st_business_unit_id, contested_reason(p_tenant, x.st_business_unit_id) as reason
            from routes x where x.tenant_id = p_tenant and x.deliverer = 'jobsync') c
   where r.tenant_id = p_tenant and r.st_business_unit_id = c.st_business_unit_id
     and (r.armed, r.armed_reason) is distinct from (c.reason is null, c.reason);
  update tenants t set arm_remaining = p_limit, deliver_from = coalesce(p_since, t.deliver_from, jobsync.now()),
         cap_hour = coalesce(p_cap_hour, t.cap_hour), cap_day = coalesce(p_cap_day, t.cap_day), updated_at = jobsync.now()
   where t.tenant_id = p_tenant;
  perform set_mode(p_tenant, 'live', case when p_limit is null then 'armed' else 'armed for ' || p_limit end, p_actor);
  perform plan_older_jobs(p_tenant);
  if p_since is not null then
    perform plan_skipped_since(p_tenant, p_since);
  end if;
  select coalesce(jsonb_agg(jsonb_build_object('st_business_unit_id', u.st_business_unit_id, 'name', u.name, 'reason', u.armed_reason)), '[]') into v_refused
    from unit_routes u where u.tenant_id = p_tenant and u.deliverer = 'jobsync' and not u.armed;
  return count_planned(p_tenant) || jsonb_build_object('mode', 'live', 'limit', p_limit, 'refused', v_refused,
    'deliver_from', (select t.deliver_from from tenants t where t.tenant_id = p_tenant));
end
$$;
comment on function jobsync.arm_tenant(text, integer, timestamptz, integer, integer, text) is
  'Goes live, at most p_limit sends (null: no limit); routes that the old flow still serves stay unarmed and are listed.';

create function jobsync.set_limits(p_tenant text, p_cap_hour integer, p_cap_day integer, p_execution_price numeric, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_old tenants;
  v_new tenants;
begin
  select * into v_old from tenants t where t.tenant_id = p_tenant for no key update;
  update tenants t set cap_hour = coalesce(p_cap_hour, t.cap_hour), cap_day = coalesce(p_cap_day, t.cap_day),
         execution_price = coalesce(p_execution_price, t.execution_price), updated_at = jobsync.now()
   where t.tenant_id = p_tenant returning * into v_new;
  if (v_old.cap_hour, v_old.cap_day, v_old.execution_price) is distinct from (v_new.cap_hour, v_new.cap_day, v_new.execution_price) then
    perform write_audit(p_tenant, p_actor, 'limits_set', 'tenant', jsonb_build_object('cap_hour', v_new.cap_hour, 'cap_day', v_new.cap_day,
      'execution_price', v_new.execution_price));
  end if;
  return jsonb_build_object('cap_hour', v_new.cap_hour, 'cap_day', v_new.cap_day, 'execution_price', v_new.execution_price);
end
$$;
comment on function jobsync.set_limits(text, integer, integer, numeric, text) is
  'Sets the caps an hour and a day (0: none) and the price of one paid execution; null leaves what stands. Answers all three.';

create function jobsync.plan_skipped_since(p_tenant text, p_since timestamptz) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  select array_agg(j.st_job_id) into v_jobs from jobs j
   where j.tenant_id = p_tenant and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason in ('before_start', 'backfilled') and j.created_on >= p_since;
  if v_jobs is null then
    return 0;
  end if;
  v_jobs := lock_jobs(p_tenant, v_jobs);
  update jobs j set ghl_sync_reason = 'before_start' where j.tenant_id = p_tenant and j.st_job_id = any (v_jobs) and j.ghl_sync_reason = 'backfilled';
  perform want_parents(p_tenant, v_jobs);
  return plan_jobs(p_tenant, v_jobs, null);
end
$$;
comment on function jobsync.plan_skipped_since(text, timestamptz) is 'Plans jobs that were skipped as older, created since the given time. Answers how many were added.';

create function jobsync.disarm_tenant(p_tenant text, p_reason text, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
begin
  perform set_mode(p_tenant, 'observe', coalesce(p_reason, 'disarmed'), p_actor);
  return count_planned(p_tenant) || '{"mode": "observe"}';
end
$$;
comment on function jobsync.disarm_tenant(text, text, text) is 'Back to observe: nothing more is sent, everything stays planned.';

create function jobsync.pause_tenant(p_tenant text, p_reason text, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
begin
  update tenants t set paused_at = coalesce(t.paused_at, jobsync.now()), pause_reason = coalesce(p_reason, t.pause_reason), paused_with_all = false, updated_at = jobsync.now()
   where t.tenant_id = p_tenant;
  perform write_audit(p_tenant, p_actor, 'paused', 'tenant', jsonb_build_object('reason', p_reason));
  return count_planned(p_tenant) || '{"paused": true}';
end
$$;
comment on function jobsync.pause_tenant(text, text, text) is 'Stops all sends of the tenant within a second; pulls go on. Nothing is dropped.';

create function jobsync.resume_tenant(p_tenant text, p_destination uuid, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
begin
  if p_destination is null then
    update tenants t set paused_at = null, pause_reason = null, paused_with_all = false, updated_at = jobsync.now() where t.tenant_id = p_tenant;
  end if;
  update destinations d set paused_at = null, pause_reason = null, probe_at = null, failures_in_row = 0, updated_at = jobsync.now()
   where d.tenant_id = p_tenant and d.paused_at is not null and (p_destination is null or d.id = p_destination);
  perform write_audit(p_tenant, p_actor, 'resumed', coalesce('destination:' || p_destination, 'tenant'), '{}');
  return count_planned(p_tenant) || '{"paused": false}';
end
$$;
comment on function jobsync.resume_tenant(text, uuid, text) is 'Ends a pause of the tenant and of its destinations (or of one destination).';

-- Sweep of all tenants: run by the schedule as the owner, answers ids only.
create function jobsync.list_due_destinations() returns table (tenant_id text, destination_id uuid)
language sql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off
set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off as $$
  -- limit 1 and offset 0: the first due row of each destination is enough, and the time is asked for once. In the order of
  -- the index alone: of a young table all that wait would be gathered and sorted for the sake of one.
  select d.tenant_id, d.id from (select jobsync.now() as at offset 0) n
    cross join destinations d
    join tenants t on t.tenant_id = d.tenant_id and t.mode = 'live' and t.paused_at is null and t.mode_reason is distinct from 'smoke'
    cross join lateral (
      select 1 from outbox o cross join lateral armed_job(o.tenant_id, o.st_job_id) j
       where o.destination_id = d.id and o.tenant_id = d.tenant_id and o.next_attempt_at <= n.at
         and (o.lease_until is null or o.lease_until <= n.at)
         -- The last of a limited arm may still be tried again.
         and (coalesce(t.arm_remaining, 1) > 0 or o.counted_at is not null)
       order by o.next_attempt_at, o.st_job_id limit 1) due
   where (d.paused_at is null or d.probe_at <= n.at)
     and exists (select from routes r where r.tenant_id = d.tenant_id and r.destination_id = d.id and r.armed and r.deliverer = 'jobsync')
$$;
comment on function jobsync.list_due_destinations() is 'Destinations with something due that may be sent now.';

create function jobsync.open_delivery_run(p_tenant text) returns uuid
language plpgsql set search_path = jobsync, public as $$
declare
  v_id uuid;
begin
  -- One run while drains have work: concurrent drains share the row. The tenant row serialises the look and the insert.
  perform from tenants t where t.tenant_id = p_tenant for no key update;
  select l.id into v_id from sync_logs l where l.tenant_id = p_tenant and l.sync_type = 'ghl_delivery' and l.status = 'running' limit 1;
  if v_id is null then
    insert into sync_logs (tenant_id, sync_type, entity_type, status) values (p_tenant, 'ghl_delivery', 'job', 'running') returning id into v_id;
  end if;
  return v_id;
end
$$;
comment on function jobsync.open_delivery_run(text) is 'The running ghl_delivery row of the tenant, opened if there is none.';

create function jobsync.report_delivery_run(p_tenant text, p_run uuid, p_delivered integer, p_failed integer, p_error text, p_final boolean) returns boolean
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_more boolean := false;
begin
  if p_final then
    v_more := exists (select from outbox o where o.tenant_id = p_tenant and o.lease_until > v_now)
           or exists (select from list_due_destinations() d where d.tenant_id = p_tenant);
  end if;
  update sync_logs l set
      records_processed = l.records_processed + p_delivered + p_failed, records_succeeded = l.records_succeeded + p_delivered,
      records_failed = l.records_failed + p_failed, error_message = coalesce(l.error_message, left(p_error, 1000)),
      status = case when not p_final or v_more then 'running' when l.records_failed + p_failed > 0 and l.records_succeeded + p_delivered = 0 then 'failed' else 'completed' end,
      completed_at = case when p_final and not v_more then v_now end,
      duration_ms = case when p_final and not v_more then least(2147483647, extract(epoch from v_now - l.started_at) * 1000)::int end
   where l.tenant_id = p_tenant and l.id = p_run and l.status = 'running';
  perform fold_tallies(p_tenant);
  return p_final and not v_more;
end
$$;
comment on function jobsync.report_delivery_run(text, uuid, integer, integer, text, boolean) is
  'Adds counts to a delivery run; p_final closes it unless another drain still has work. True when it closed.';

create function jobsync.close_delivery_runs(p_tenant text) returns integer
language sql volatile set search_path = jobsync, public as $$
  with closed as (
    update sync_logs l set status = case when l.records_failed > 0 and l.records_succeeded = 0 then 'failed' else 'completed' end,
           completed_at = jobsync.now(), duration_ms = least(2147483647, extract(epoch from jobsync.now() - l.started_at) * 1000)::int
     where l.tenant_id = p_tenant and l.sync_type = 'ghl_delivery' and l.status = 'running'
       and not exists (select from outbox o where o.tenant_id = p_tenant and o.lease_until > jobsync.now())
    returning 1)
  select count(*)::integer from closed
$$;
comment on function jobsync.close_delivery_runs(text) is
  'Closes the running ghl_delivery row after a pass that sends each due row once: what became due again since is for a later run.';

create function jobsync.replay_jobs(p_tenant text, p_jobs bigint[], p_force boolean, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_replayed bigint[];
begin
  -- Locks in the order of everybody: destinations, jobs, outbox.
  update destinations d set paused_at = null, pause_reason = null, failures_in_row = 0, updated_at = jobsync.now()
   where d.tenant_id = p_tenant and d.paused_at is not null and d.probe_at is null
     and d.id in (select r.destination_id from jobs j
                    join routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
                   where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and (p_force or j.ghl_sync_status in ('failed', 'pending')));
  perform lock_jobs(p_tenant, p_jobs);
  with chosen as (
    select j.st_job_id, j.st_customer_id, r.destination_id, j.ghl_version, j.ghl_sync_status
      from jobs j
      join routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
      join business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
     where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and u.sync_enabled is distinct from false and u.sync_to_ghl is distinct from false
       and (p_force or j.ghl_sync_status in ('failed', 'pending'))
  ), queued as (
    insert into outbox as o (tenant_id, st_job_id, st_customer_id, destination_id, version, event, next_attempt_at, forced)
    select p_tenant, c.st_job_id, c.st_customer_id, c.destination_id,
           case when c.ghl_sync_status = 'synced' then c.ghl_version + 1 else greatest(c.ghl_version, 1) end, 'replayed', jobsync.now(), true
      from chosen c order by c.st_job_id
    on conflict (tenant_id, st_job_id) do update set next_attempt_at = jobsync.now(), attempts = 0, rescues = 0, forced = true, waiting_for = null,
        destination_id = excluded.destination_id
      where o.lease_until is null or o.lease_until <= jobsync.now()
    returning o.st_job_id
  ), marked as (
    update jobs j set ghl_sync_status = 'pending', ghl_sync_reason = 'replay', updated_at = jobsync.now()
      from queued q where j.tenant_id = p_tenant and j.st_job_id = q.st_job_id
    returning j.st_job_id
  )
  select array_agg(m.st_job_id order by m.st_job_id) into v_replayed from marked m;
  perform write_audit(p_tenant, p_actor, 'replayed', 'job:' || s.id, jsonb_build_object('force', p_force)) from unnest(v_replayed) s(id);
  return jsonb_build_object('replayed', coalesce(to_jsonb(v_replayed), '[]'), 'asked', cardinality(p_jobs));
end
$$;
comment on function jobsync.replay_jobs(text, bigint[], boolean, text) is
  'Makes failed or waiting jobs due again (p_force: delivered ones too). What is in flight is left alone. A hook paused as test-only is tried again.';
