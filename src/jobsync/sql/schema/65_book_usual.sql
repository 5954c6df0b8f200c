-- Nearly all groups are of one kind: new to GoHighLevel or changed, accepted at once, and nothing changed meanwhile. They are booked
-- by a shorter way to the same end; false: there is something to judge, and nothing was done. Nothing is locked before: marking the jobs
-- locks them (by number, as everybody does), and what was claimed or planned anew until then is not found by the second statement,
-- which takes the first one back. Called by finish_deliveries (65_deliver.sql).
create function jobsync.book_usual(p_tenant text, p_results jsonb, p_jobs bigint[], p_attempts bigint[]) returns boolean
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_rows bigint;
begin
  with sent as materialized (
    select o.st_job_id, o.sent_hash, o.version
      from jsonb_to_recordset(p_results) as r (st_job_id bigint, fence bigint, outcome text, flags jsonb, opportunity_id text)
      join outbox o on o.tenant_id = p_tenant and o.st_job_id = any (p_jobs) and o.st_job_id = r.st_job_id and o.fence = r.fence and o.flags = '{}'
     where r.outcome = 'accepted' and coalesce(r.flags, '[]') = '[]' and r.opportunity_id is null
     order by o.st_job_id
  )
  update jobs j set ghl_sync_status = 'synced', ghl_sync_reason = null, ghl_sync_error = null, ghl_synced_at = v_now, ghl_accepted_at = v_now,
         delivered_hash = s.sent_hash, ghl_version = s.version, ghl_sync_flags = null, updated_at = v_now,
         ghl_pipeline = coalesce((select coalesce(u.pipeline_name, u.ghl_pipeline_name) from unit_routes u
                                   where u.tenant_id = p_tenant and u.st_business_unit_id = j.business_unit_id), j.ghl_pipeline)
    from sent s where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and j.st_job_id = s.st_job_id;
  get diagnostics v_rows = row_count;
  if v_rows = cardinality(p_jobs) then
    with closed as (
      update attempts a set finished_at = v_now, outcome = r.outcome, status_code = r.status, execution_id = r.execution_id,
             requests = coalesce(r.requests, 1), duration_ms = r.duration_ms, answer = left(r.answer, 2048), error = left(r.error, 500)
        from jsonb_to_recordset(p_results) as r (attempt_id bigint, fence bigint, outcome text, status integer, execution_id text, duration_ms integer,
                                                 answer text, error text, requests integer)
       -- By both lists: a plan made while the table was empty would read all attempts of the tenant by either index.
       where a.tenant_id = p_tenant and a.st_job_id = any (p_jobs) and a.id = any (p_attempts) and a.id = r.attempt_id and a.outcome is null
      returning a.st_job_id, a.version, r.fence
    )
    delete from outbox o using closed c
     where o.tenant_id = p_tenant and o.st_job_id = any (p_jobs) and o.st_job_id = c.st_job_id and o.fence = c.fence and o.version = c.version and o.flags = '{}';
    get diagnostics v_rows = row_count;
  end if;
  if v_rows < cardinality(p_jobs) then
    raise exception using errcode = 'JS100', message = 'There is something to judge.';
  end if;
  return true;
exception when sqlstate 'JS100' then
  return false;
end
$$;
comment on function jobsync.book_usual(text, jsonb, bigint[], bigint[]) is
  'Books a group of sends that were all accepted at once and whose jobs did not change meanwhile; false, with nothing done, where there is anything else to judge.';
