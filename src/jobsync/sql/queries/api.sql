-- What the HTTP API asks. Rows come as JSON text, made by PostgreSQL: numbers keep all their digits, times are ISO in UTC.

-- name: api_list_state
select (jobsync.shown(to_jsonb(s)) || case when s.key = 'lastJobPull' then jsonb_build_object('lag_seconds',
         extract(epoch from jobsync.now() - jobsync.try_timestamptz_text(s.value))::double precision) else '{}' end)::text as row
  from public.sync_state s where s.tenant_id = %(tenant)s order by s.key;

-- name: api_read_state
select (jobsync.shown(to_jsonb(s)) || case when s.key = 'lastJobPull' then jsonb_build_object('lag_seconds',
         extract(epoch from jobsync.now() - jobsync.try_timestamptz_text(s.value))::double precision) else '{}' end)::text as row
  from public.sync_state s where s.tenant_id = %(tenant)s and s.key = %(key)s;

-- name: api_write_state
select jobsync.shown(to_jsonb(s))::text as row from jobsync.write_sync_state(%(tenant)s, %(key)s, %(value)s, %(metadata)s::jsonb) s;

-- name: api_upsert_items
select jobsync.upsert_items(%(tenant)s, %(items)s::jsonb);

-- name: api_upsert_customer
select jobsync.upsert_customer(%(tenant)s, %(customer)s::jsonb)::text as row;

-- name: api_lease_pending
select jobsync.lease_pending(%(tenant)s, %(unit)s, %(limit)s, %(seconds)s, %(by)s, %(retry)s);

-- name: api_list_pending
select (jobsync.shown(to_jsonb(v)) || jsonb_build_object('leased_until', l.leased_until, 'why_pending', case
          when l.st_job_id is not null then 'leased: a run took it and has not marked it yet'
          when v.ghl_sync_status = 'failed' then 'the last try failed, and it is due again'
          when v.ghl_sync_reason = 'update' then 'it changed since it was delivered'
          when v.ghl_sync_error is not null then 'the last try failed and it was marked pending again'
          else 'nobody has marked it yet' end))::text as row
  from jobsync.v_offered_jobs v
  left join jobsync.leases l on l.tenant_id = v.tenant_id and l.st_job_id = v.st_job_id and l.leased_until > jobsync.now()
 where v.tenant_id = %(tenant)s and (%(unit)s::bigint is null or v.business_unit_id = %(unit)s)
   and v.st_job_id = any (array(select unnest(coalesce(%(jobs)s::bigint[], jobsync.oldest_pending(%(tenant)s, %(unit)s::bigint, %(limit)s)
         || case when %(retry)s then jobsync.due_retries(%(tenant)s, %(unit)s::bigint, %(limit)s) end))))
 order by v.ghl_sync_status = 'failed', v.created_on, v.st_job_id
 limit %(limit)s;

-- name: api_mark_job
select jobsync.shown(to_jsonb(j))::text as row from jobsync.mark_job(%(tenant)s, %(job)s, %(status)s, %(opportunity)s, %(error)s) j;

-- name: api_mark_customer
select jobsync.shown(to_jsonb(c))::text as row from jobsync.mark_customer(%(tenant)s, %(customer)s, %(status)s, %(contact)s, %(error)s) c;

-- name: api_read_customer
select jobsync.shown(to_jsonb(c))::text as row from public.customers c where c.tenant_id = %(tenant)s and c.st_customer_id = %(customer)s;

-- name: api_read_job
select (jobsync.shown(to_jsonb(j)) || jsonb_build_object(
    'customer', (select jobsync.shown(to_jsonb(c)) from public.customers c where c.tenant_id = j.tenant_id and c.st_customer_id = j.st_customer_id),
    'locations', coalesce((
       select jsonb_agg(jobsync.shown(to_jsonb(l)) order by (l.st_location_id = j.st_location_id) desc, l.st_location_id)
         from (select x.* from jobsync.locations x
                where x.tenant_id = j.tenant_id and (x.st_location_id = j.st_location_id or x.st_customer_id = j.st_customer_id)
                order by (x.st_location_id = j.st_location_id) desc, x.st_location_id limit 50) l), '[]'),
    'contacts', coalesce((
       select jsonb_agg(to_jsonb(k) - 'st_raw_data' order by k.owner_kind, k.st_contact_id)
         from (select x.* from jobsync.contacts x
                where x.tenant_id = j.tenant_id and (x.owner_kind = 'customer' and x.owner_id = j.st_customer_id
                      or x.owner_kind = 'location' and x.owner_id = j.st_location_id)
                order by x.owner_kind, x.st_contact_id limit 100) k), '[]'),
    'attempts', coalesce((
       select jsonb_agg(to_jsonb(a) - 'answer' order by a.id desc)
         from (select x.* from jobsync.attempts x where x.tenant_id = j.tenant_id and x.st_job_id = j.st_job_id order by x.id desc limit 50) a), '[]'),
    'timeline', coalesce((
       select jsonb_agg(jsonb_build_object('at', t.at, 'actor', t.actor, 'action', t.action, 'details', t.details) order by t.id)
         from (select x.* from jobsync.audit x where x.tenant_id = j.tenant_id and x.subject = 'job:' || j.st_job_id order by x.id desc limit 50) t), '[]')
  ))::text as row
  from public.jobs j where j.tenant_id = %(tenant)s and j.st_job_id = %(job)s;

-- name: api_write_log
insert into public.sync_logs as l (tenant_id, sync_type, status, entity_type, entity_id, records_processed, records_succeeded, records_failed, error_message,
  error_details, workflow_execution_id, metadata, duration_ms, started_at, completed_at)
values (%(tenant)s, %(sync_type)s, %(status)s, %(entity_type)s, %(entity_id)s, %(processed)s, %(succeeded)s, %(failed)s, %(error_message)s,
  %(error_details)s::jsonb, %(execution)s, coalesce(%(metadata)s::jsonb, '{}'), %(duration_ms)s::integer,
  jobsync.now() - coalesce(%(duration_ms)s::integer, 0) * interval '1 millisecond', case when %(status)s <> 'running' then jobsync.now() end)
returning jobsync.shown(to_jsonb(l))::text as row;

-- name: api_list_logs
select jobsync.shown(to_jsonb(l))::text as row, l.started_at, l.id from public.sync_logs l
 where l.tenant_id = %(tenant)s and (%(sync_type)s::text is null or l.sync_type = %(sync_type)s) and (%(status)s::text is null or l.status = %(status)s)
   and (%(before)s::timestamptz is null or (l.started_at, l.id) < (%(before)s, %(before_id)s::uuid))
 order by l.started_at desc, l.id desc
 limit %(limit)s offset %(offset)s;

-- name: api_log_statistics
select to_jsonb(s)::text as row from public.sync_statistics s;

-- name: api_list_units
select (to_jsonb(u) - 'st_raw_data' || jsonb_build_object('deliverer', r.deliverer, 'ghl_webhook', case when r.destination_kind = 'webhook' then r.destination_masked end,
          'ghl_events', r.events, 'ghl_stage_name', r.stage_name, 'armed', r.armed, 'armed_reason', r.armed_reason))::text as row
  from public.business_units u
  join jobsync.unit_routes r on r.tenant_id = u.tenant_id and r.st_business_unit_id = u.st_business_unit_id
 where u.tenant_id = %(tenant)s and (%(sync_enabled)s::boolean is null or u.sync_enabled = %(sync_enabled)s)
   and (%(unit)s::bigint is null or u.st_business_unit_id = %(unit)s)
 order by u.name, u.st_business_unit_id;

-- name: api_read_run
select jobsync.shown(to_jsonb(l))::text as row from public.sync_logs l where l.tenant_id = %(tenant)s and l.id = %(run)s;

-- name: api_read_health
select t.mode, t.paused_at is not null as paused, t.pause_reason,
       exists (select from jobsync.connections c where c.tenant_id = t.tenant_id and c.kind = 'servicetitan') as connected,
       (select extract(epoch from jobsync.now() - c.caught_up_at)::double precision from jobsync.cursors c
         where c.tenant_id = t.tenant_id and c.stream = 'jobs') as lag_seconds, t.poll_seconds,
       (select array_agg(m.version) from jobsync.migrations m) as versions
  from jobsync.tenants t where t.tenant_id = %(tenant)s;
