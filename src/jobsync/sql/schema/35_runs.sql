-- Runs: a row of sync_logs is opened when work starts and always closed.
-- A pass (job_pull) has one entry per stream in metadata.streams; the last stream to finish closes the row.

create function jobsync.open_pass(p_tenant text, p_streams text[], p_trigger text, p_held text[] default '{}') returns uuid
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_id uuid;
begin
  insert into sync_logs (tenant_id, sync_type, entity_type, status, metadata)
  values (p_tenant, 'job_pull', 'job', 'running',
          jsonb_build_object('trigger', p_trigger, 'streams',
            -- A stream that this app may not read is named in every pass over jobs, also while it rests.
            (select coalesce(jsonb_object_agg(c.stream, jsonb_build_object('status', 'not granted', 'since', c.refused_at)), '{}') from cursors c
              where c.tenant_id = p_tenant and c.refused_at is not null and 'jobs' = any (p_streams))
            || (select coalesce(jsonb_object_agg(s, jsonb_strip_nulls(jsonb_build_object('status', 'waiting', 'held', case when s = any (p_held) then true end))), '{}') from unnest(p_streams) s)))
  returning id into v_id;
  return v_id;
end
$$;
comment on function jobsync.open_pass(text, text[], text, text[]) is 'Opens one job_pull run over the given streams; answers its id. p_held: those of them that begin only when others have ended.';

create function jobsync.finish_stream(p_tenant text, p_run uuid, p_stream text, p_report jsonb, p_error text)
returns boolean language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_meta jsonb;
  v_status text;
  v_now timestamptz := jobsync.now();
  v_open boolean;
  v_failed text;
begin
  select metadata, status into v_meta, v_status from sync_logs where tenant_id = p_tenant and id = p_run for update;
  if v_status is distinct from 'running' then
    return false;
  end if;
  v_meta := jsonb_set(v_meta, array['streams', p_stream],
    coalesce(p_report, '{}') || jsonb_build_object('status', case when p_error is null then coalesce(p_report ->> 'status', 'completed') else 'failed' end)
      || case when p_error is null then '{}' else jsonb_build_object('error', left(p_error, 500)) end, true);
  v_open := exists (select 1 from jsonb_each(v_meta -> 'streams') s where s.value ->> 'status' in ('waiting', 'running'));
  select string_agg(s.key || ': ' || (s.value ->> 'error'), '; ' order by s.key) into v_failed
    from jsonb_each(v_meta -> 'streams') s where s.value ->> 'status' = 'failed';
  update sync_logs l set
    metadata = v_meta,
    records_processed = coalesce((v_meta #>> '{streams,jobs,pulled}')::int, 0),
    records_succeeded = coalesce((v_meta #>> '{streams,jobs,stored}')::int, 0) + coalesce((v_meta #>> '{streams,jobs,unchanged}')::int, 0),
    records_failed = coalesce((v_meta #>> '{streams,jobs,quarantined}')::int, 0),
    status = case when v_open then 'running' when v_failed is null then 'completed' else 'failed' end,
    error_message = left(v_failed, 1000),
    completed_at = case when v_open then null else v_now end,
    duration_ms = case when v_open then null else least(2147483647, (extract(epoch from v_now - l.started_at) * 1000))::int end
   where l.tenant_id = p_tenant and l.id = p_run;
  return not v_open;
end
$$;
comment on function jobsync.finish_stream(text, uuid, text, jsonb, text) is
  'Writes one stream''s counts (or its error) into its pass and closes the pass after the last stream. True when it closed. Harmless when repeated. A report may name its own status (not granted), which is no failure.';

create function jobsync.abandon_runs(p_tenant text, p_older_than interval) returns integer
language sql volatile as $$
  with closed as (
    update public.sync_logs l set status = 'failed', error_message = 'abandoned', completed_at = jobsync.now(),
           duration_ms = least(2147483647, extract(epoch from jobsync.now() - l.started_at) * 1000)::int
     where l.tenant_id = p_tenant and l.status = 'running' and l.sync_type in ('job_pull', 'ghl_delivery', 'backfill', 'reconcile', 'verify', 'import', 'shadow')
       and l.started_at + coalesce(jobsync.try_numeric(l.metadata -> 'alive_s')::double precision * interval '1 second', interval '0') < jobsync.now() - p_older_than
    returning 1)
  select count(*)::integer from closed
$$;
comment on function jobsync.abandon_runs(text, interval) is 'Closes runs whose process died (failed, abandoned). Answers how many.';
