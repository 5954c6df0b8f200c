-- What the pages ask: lists that end at their limit in the order of an index, hours and runs of a day, one job's two sides.

create view jobsync.v_state_hours with (security_invoker = true) as
  select h.tenant_id, h.hour, h.class, h.unit_key, sum(h.rows)::bigint as rows
    from (select x.tenant_id, x.hour, x.class, x.unit_key, x.rows from jobsync.state_hours x
          union all
          select t.tenant_id, t.hour, t.class, case when t.business_unit_id is null then 0 else t.business_unit_id end, t.rows from jobsync.tallies t where t.topic = 'hours') h
   group by h.tenant_id, h.hour, h.class, h.unit_key;
comment on view jobsync.v_state_hours is 'How many jobs reached a state in each of the last hours, by unit (unit_key 0: none): what is folded and what is not yet.';

-- A list never looks further than 1,000 jobs for what it shows: a filter that hardly anything fits gives a short page, whose
-- last row is where the next look begins.
create function jobsync.browse_jobs(p_tenant text, p_status text, p_reason text, p_unit bigint, p_before_at timestamptz, p_before_id bigint, p_limit integer)
returns table (st_job_id bigint, sort_at timestamptz)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
#variable_conflict use_column
begin
  if p_status in ('pending', 'failed', 'skipped') then
    -- Each class (reason, unit) has its own stretch of the index; the newest of all of them are the page.
    return query
      select x.st_job_id, x.created_on
        from (select v.reason, case when v.business_unit_id is null then 0 else v.business_unit_id end as unit_key from v_tallies v
               where v.tenant_id = p_tenant and v.topic = 'jobs' and v.class = p_status and v.rows > 0 and (p_reason is null or v.reason = p_reason)
                 and (p_unit is null or v.business_unit_id = p_unit)) c
       cross join lateral (
         select j.st_job_id, j.created_on from jobs j
          where j.tenant_id = p_tenant and j.ghl_sync_status = p_status and j.ghl_sync_status <> 'synced'
            and (case when j.ghl_sync_reason is null then 'waiting' else j.ghl_sync_reason end) = c.reason
            and (case when j.business_unit_id is null then 0 else j.business_unit_id end) = c.unit_key
            and (p_before_id is null or (j.created_on, j.st_job_id) < (p_before_at, p_before_id))
          order by j.created_on desc, j.st_job_id desc limit p_limit) x
       order by x.created_on desc, x.st_job_id desc limit p_limit;
  elsif p_status = 'unverified' then
    return query
      select x.st_job_id, x.accepted_at
        from (select v.st_job_id, v.accepted_at, v.result from verifications v
               where v.tenant_id = p_tenant and (p_before_id is null or v.st_job_id < p_before_id) order by v.st_job_id desc limit 1000) x
        join jobs j on j.tenant_id = p_tenant and j.st_job_id = x.st_job_id and (p_unit is null or j.business_unit_id = p_unit)
       where x.result in ('missing', 'unmarked') order by x.st_job_id desc limit p_limit;
  elsif p_unit is not null then
    return query
      select x.st_job_id, x.created_on
        from (select j.st_job_id, j.created_on, j.ghl_sync_status from jobs j
               where j.tenant_id = p_tenant and j.business_unit_id = p_unit and (p_before_id is null or (j.created_on, j.st_job_id) < (p_before_at, p_before_id))
               order by j.created_on desc, j.st_job_id desc limit 1000) x
       where p_status is null or x.ghl_sync_status = p_status order by x.created_on desc, x.st_job_id desc limit p_limit;
  else
    return query
      select x.st_job_id, x.created_on
        from (select j.st_job_id, j.created_on, j.ghl_sync_status from jobs j
               where j.tenant_id = p_tenant and (p_before_id is null or j.st_job_id < p_before_id) order by j.st_job_id desc limit case when p_status is null then p_limit else 1000 end) x
       where p_status is null or x.ghl_sync_status = p_status order by x.st_job_id desc limit p_limit;
  end if;
end
$$;
comment on function jobsync.browse_jobs(text, text, text, bigint, timestamptz, bigint, integer) is
  'A page of jobs by status (unverified: accepted and never found), reason and unit, newest first; behind (p_before_at, p_before_id). Looks at 1,000 jobs at most.';

create function jobsync.skip_job(p_tenant text, p_job bigint, p_note text, p_actor text) returns boolean
language plpgsql set search_path = jobsync, public as $$
declare
  v_status text;
begin
  perform lock_jobs(p_tenant, array[p_job]);
  if exists (select from outbox o where o.tenant_id = p_tenant and o.st_job_id = p_job and o.lease_until > jobsync.now()) then
    raise exception 'the job is being sent right now; try again in a minute' using errcode = 'JS005';
  end if;
  update jobs j set ghl_sync_status = 'skipped', ghl_sync_reason = 'by_hand', ghl_sync_error = null, updated_at = jobsync.now()
   where j.tenant_id = p_tenant and j.st_job_id = p_job and j.ghl_sync_status <> 'synced' returning j.ghl_sync_status into v_status;
  if v_status is null then
    if exists (select from jobs j where j.tenant_id = p_tenant and j.st_job_id = p_job) then
      raise exception 'the job was delivered; there is nothing to skip' using errcode = 'JS005';
    end if;
    raise exception 'no job has the id %', p_job using errcode = 'JS004';
  end if;
  delete from outbox o where o.tenant_id = p_tenant and o.st_job_id = p_job;
  perform write_audit(p_tenant, p_actor, 'skipped', 'job:' || p_job, jsonb_build_object('reason', left(p_note, 500)));
  return true;
end
$$;
comment on function jobsync.skip_job(text, bigint, text, text) is
  'A person takes a job out (skipped: by_hand) and says why; replay with force brings it back. Refused for what was delivered or is being sent.';
