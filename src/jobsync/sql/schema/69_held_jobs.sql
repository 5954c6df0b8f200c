-- Held jobs: what a backfill brought stays skipped (backfilled), whatever its unit's route. Two things end that: the live
-- pull brings the same job, which is what would have happened without a backfill; or a person asks for delivery.

create index jobs_held on public.jobs (tenant_id) where ghl_sync_reason = 'backfilled';

create function jobsync.release_held(p_tenant text, p_jobs bigint[]) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_jobs bigint[];
begin
  update jobs j set ghl_sync_status = 'pending', ghl_sync_reason = null, updated_at = jobsync.now()
   where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason = 'backfilled';
  if not found then
    return 0;
  end if;
  select array_agg(j.st_job_id order by j.st_job_id) into v_jobs from jobs j
   where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and j.ghl_sync_status = 'pending';
  perform want_parents(p_tenant, v_jobs);
  return plan_jobs(p_tenant, v_jobs, null);
end
$$;
comment on function jobsync.release_held(text, bigint[]) is 'Plans those of the jobs that a backfill had brought, like any job that was pulled. The caller holds their locks. Answers how many were queued.';

create function jobsync.release_pulled(p_tenant text, p_page jsonb) returns integer
language plpgsql set search_path = jobsync, public as $$
begin
  if not exists (select from jobs j where j.tenant_id = p_tenant and j.ghl_sync_reason = 'backfilled') then
    return 0;
  end if;
  return release_held(p_tenant, array(select distinct try_bigint(e -> 'id') from jsonb_array_elements(p_page) e));
end
$$;
comment on function jobsync.release_pulled(text, jsonb) is 'Releases those jobs of a page that only a backfill had brought. Called with each page that is not a backfill''s own.';

-- Old jobs of a time that were never delivered and that JobSync could deliver.
create function jobsync.list_old_jobs(p_tenant text, p_since timestamptz, p_until timestamptz)
returns table (st_job_id bigint, st_customer_id bigint, destination_id uuid, kind text, version integer)
language sql stable set search_path = jobsync, public as $$
  select j.st_job_id, j.st_customer_id, r.destination_id, d.kind, j.ghl_version
    from jobs j
    join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = j.business_unit_id
    join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
    join destinations d on d.tenant_id = p_tenant and d.id = r.destination_id
   where j.tenant_id = p_tenant and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason in ('backfilled', 'before_start')
     and j.delivered_hash is null and j.modified_on >= p_since and j.modified_on < p_until
     and u.sync_enabled is distinct from false and u.sync_to_ghl is distinct from false
$$;
comment on function jobsync.list_old_jobs(text, timestamptz, timestamptz) is
  'Jobs last modified in this time that are skipped as older (backfilled, before_start), were never delivered, and have a route.';

create function jobsync.count_old_jobs(p_tenant text, p_run uuid) returns jsonb
language sql stable set search_path = jobsync, public as $$
  select jsonb_build_object('jobs', count(o.st_job_id), 'webhook_executions', count(o.st_job_id) filter (where o.kind = 'webhook'))
    from backfills b
    left join lateral list_old_jobs(p_tenant, try_timestamptz_text(b.since), try_timestamptz_text(b.until)) o on true
   where b.tenant_id = p_tenant and b.run = p_run
$$;
comment on function jobsync.count_old_jobs(text, uuid) is 'How many jobs `backfill --deliver` would plan, and how many paid workflow triggers that is.';

create function jobsync.deliver_backfilled(p_tenant text, p_run uuid, p_actor text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_since timestamptz;
  v_until timestamptz;
  v_jobs bigint[];
  v_queued integer;
begin
  select try_timestamptz_text(b.since), try_timestamptz_text(b.until) into v_since, v_until from backfills b where b.tenant_id = p_tenant and b.run = p_run;
  select array_agg(o.st_job_id) into v_jobs from list_old_jobs(p_tenant, v_since, v_until) o;
  v_jobs := lock_jobs(p_tenant, coalesce(v_jobs, '{}'));
  perform want_parents(p_tenant, v_jobs);
  -- forced: asked for by a person, so that planning does not take the row back for the job's age.
  with queued as (
    insert into outbox (tenant_id, st_job_id, st_customer_id, destination_id, version, event, planned_at, next_attempt_at, waiting_for, forced)
    select p_tenant, o.st_job_id, o.st_customer_id, o.destination_id, o.version + 1, 'created', v_now,
           case when w.waits then v_now + interval '15 minutes' else v_now end, case when w.waits then 'parents' end, true
      from list_old_jobs(p_tenant, v_since, v_until) o
      join jobs j on j.tenant_id = p_tenant and j.st_job_id = o.st_job_id
      cross join lateral (select exists (
        select from wanted n where n.tenant_id = p_tenant
           and (n.stream in ('customers', 'customer_contacts') and n.id = j.st_customer_id or n.stream in ('locations', 'location_contacts') and n.id = j.st_location_id)) as waits) w
     where o.st_job_id = any (v_jobs) order by o.st_job_id
    on conflict (tenant_id, st_job_id) do nothing
    returning st_job_id
  ), marked as (
    update jobs j set ghl_sync_status = 'pending', ghl_sync_reason = null, updated_at = v_now
      from queued q where j.tenant_id = p_tenant and j.st_job_id = q.st_job_id
    returning 1
  )
  select count(*) into v_queued from marked;
  update backfills b set deliver = true, delivered = coalesce(b.delivered, 0) + v_queued where b.tenant_id = p_tenant and b.run = p_run;
  perform write_audit(p_tenant, p_actor, 'backfill_delivered', 'run:' || p_run, jsonb_build_object('jobs', v_queued));
  return v_queued;
end
$$;
comment on function jobsync.deliver_backfilled(text, uuid, text) is
  'Plans the old jobs of a backfill''s time for delivery, because a person asked for it. Twice plans nothing more. Answers how many.';
