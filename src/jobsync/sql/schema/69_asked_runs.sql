-- Runs that a face asks for and a worker does: a comparison with ServiceTitan (reconcile), a reading back from
-- GoHighLevel (verify). The run's row of sync_logs carries the wish until it is closed; nothing else is kept.

create function jobsync.ask_for_run(p_tenant text, p_type text, p_wish jsonb, p_actor text) returns uuid
language plpgsql set search_path = jobsync, public as $$
declare
  v_run uuid;
begin
  -- Two that ask at once: the second sees the first one's run.
  perform from tenants t where t.tenant_id = p_tenant for no key update;
  select l.id into v_run from sync_logs l
   where l.tenant_id = p_tenant and l.sync_type = p_type and l.status = 'running' and l.metadata ? 'asked_by' limit 1;
  if v_run is not null then
    raise exception 'this was asked for already and is not done yet' using errcode = 'JS002', hint = 'Watch it: GET /admin/runs/' || v_run || '.';
  end if;
  insert into sync_logs (tenant_id, sync_type, entity_type, status, metadata)
  values (p_tenant, p_type, 'job', 'running', p_wish || jsonb_build_object('trigger', 'asked', 'asked_by', p_actor))
  returning id into v_run;
  perform write_audit(p_tenant, p_actor, p_type || '_asked', 'run:' || v_run, p_wish);
  return v_run;
end
$$;
comment on function jobsync.ask_for_run(text, text, jsonb, text) is
  'Opens a run of this type for a worker to do, with what was wished; answers its id. Refused while one of the type waits or runs that was asked for.';

create function jobsync.list_asked_runs() returns table (tenant_id text, sync_type text, run uuid) language sql stable as $$
  select l.tenant_id, l.sync_type, l.id from public.sync_logs l
   where l.status = 'running' and l.sync_type in ('reconcile', 'verify') and l.metadata ? 'asked_by'
$$;
comment on function jobsync.list_asked_runs() is 'Runs that were asked for and that somebody should be working on; read by the schedule as the owner.';

create function jobsync.read_asked_run(p_tenant text, p_run uuid) returns jsonb language sql stable as $$
  select l.metadata || pg_catalog.jsonb_build_object('type', l.sync_type) from public.sync_logs l
   where l.tenant_id = p_tenant and l.id = p_run and l.status = 'running' and l.metadata ? 'asked_by'
$$;
comment on function jobsync.read_asked_run(text, uuid) is 'What was wished of a run that was asked for, with its type; null when it is over.';

create function jobsync.keep_run_alive(p_tenant text, p_run uuid) returns void language sql volatile as $$
  update public.sync_logs l set metadata = l.metadata || jsonb_build_object('alive_s', extract(epoch from jobsync.now() - l.started_at)::integer)
   where l.tenant_id = p_tenant and l.id = p_run and l.status = 'running'
$$;
comment on function jobsync.keep_run_alive(text, uuid) is 'A run that takes long says that it still goes on, so that it is not closed as abandoned.';
