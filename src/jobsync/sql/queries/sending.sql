-- Mode, arm, pause, replay, routes.

-- name: initialise_tenant
select t.* from jobsync.initialise_tenant(%(tenant)s, %(mode)s, %(deliver_from)s, %(poll_seconds)s, %(cap_hour)s, %(cap_day)s) t;

-- name: arm_tenant
select jobsync.arm_tenant(%(tenant)s, %(limit)s, %(since)s, %(cap_hour)s, %(cap_day)s, %(actor)s);

-- name: set_limits
select jobsync.set_limits(%(tenant)s, %(cap_hour)s, %(cap_day)s, %(price)s, %(actor)s);

-- name: disarm_tenant
select jobsync.disarm_tenant(%(tenant)s, %(reason)s, %(actor)s);

-- name: pause_tenant
select jobsync.pause_tenant(%(tenant)s, %(reason)s, %(actor)s);

-- name: resume_tenant
select jobsync.resume_tenant(%(tenant)s, %(destination)s, %(actor)s);

-- name: count_planned
select jobsync.count_planned(%(tenant)s);

-- name: replay_jobs
select jobsync.replay_jobs(%(tenant)s, %(jobs)s, %(force)s, %(actor)s);

-- name: tenant_status
select * from jobsync.v_tenant_status where tenant_id = %(tenant)s;

-- name: list_reasons
select ghl_sync_status, reason, business_unit_id, business_unit_name, jobs, oldest, newest, sample_st_job_id
  from jobsync.v_unsynced_reasons where tenant_id = %(tenant)s order by jobs desc, reason;

-- name: list_units
select * from jobsync.unit_routes where tenant_id = %(tenant)s order by name, st_business_unit_id;

-- name: stream_lags
select stream, mode, caught_up_at, lag_seconds, failures, last_error from jobsync.v_sync_lag where tenant_id = %(tenant)s order by stream;

-- name: set_route
select jobsync.set_route(%(tenant)s, %(unit)s, %(deliverer)s, %(destination)s, %(events)s, %(pipeline_name)s, %(stage_name)s, %(sync_enabled)s, %(sync_to_ghl)s, %(actor)s);

-- name: store_hook
insert into jobsync.destinations as d (tenant_id, kind, label, sealed, key_id, fingerprint, masked)
values (%(tenant)s, 'webhook', %(label)s, %(sealed)s, %(key_id)s, %(fingerprint)s, %(masked)s)
on conflict (tenant_id, fingerprint) do update set sealed = excluded.sealed, key_id = excluded.key_id, paused_at = null, pause_reason = null,
  probe_at = null, failures_in_row = 0, updated_at = jobsync.now()
returning id;

-- name: find_jobs
select v.st_job_id, v.st_job_number, v.business_unit_name, v.job_status, v.state, v.ghl_sync_status, v.ghl_sync_reason, v.ghl_sync_error, v.next_attempt_at
  from jobsync.v_job_status v
 where v.tenant_id = %(tenant)s and (%(status)s::text is null or v.ghl_sync_status = %(status)s) and (%(reason)s::text is null or v.ghl_sync_reason = %(reason)s)
   and (%(unit)s::bigint is null or v.business_unit_id = %(unit)s)
 order by v.st_job_id desc limit %(limit)s;

-- name: search_jobs
select s.matched, v.*
  from jobsync.search_jobs(%(tenant)s, %(text)s, %(number)s::bigint, %(phone)s, %(limit)s) s
 cross join lateral (
   select x.st_job_id, x.st_job_number, x.business_unit_name, x.job_status, x.state, x.ghl_sync_reason,
          coalesce(nullif(concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as customer_name
     from jobsync.v_job_status x
     join public.jobs j on j.tenant_id = x.tenant_id and j.st_job_id = x.st_job_id
     left join public.customers c on c.tenant_id = j.tenant_id and c.st_customer_id = j.st_customer_id
    where x.tenant_id = %(tenant)s and x.st_job_id = s.st_job_id offset 0) v
 order by v.st_job_id desc;

-- name: identify_job
select j.st_job_id from public.jobs j
 where j.tenant_id = %(tenant)s and (j.st_job_id = %(id)s or j.st_job_number = %(text)s or j.ghl_opportunity_id = %(text)s)
 order by (j.st_job_id = %(id)s) desc nulls last limit 1;

-- name: tell_job
select v.*, u.deliverer, u.destination_kind, u.destination_masked, u.destination_paused_at, u.destination_pause_reason, u.armed, u.armed_reason, u.sync_enabled, u.sync_to_ghl,
       t.mode, t.mode_reason, t.arm_remaining, j.created_at, j.st_customer_id, t.deliver_from, t.paused_at as tenant_paused_at, p.customer_name is not null as has_customer, p.phone is not null as has_phone, p.email is not null as has_email,
       p.customer_name, f.result as verify_result, f.checks as verify_checks, f.accepted_at as verify_accepted_at, f.check_at as verify_check_at
  from jobsync.v_job_status v
  join public.jobs j on j.tenant_id = v.tenant_id and j.st_job_id = v.st_job_id
  join jobsync.tenants t on t.tenant_id = v.tenant_id
  left join jobsync.unit_routes u on u.tenant_id = v.tenant_id and u.st_business_unit_id = v.business_unit_id
  left join jobsync.projections p on p.tenant_id = v.tenant_id and p.st_job_id = v.st_job_id
  left join jobsync.verifications f on f.tenant_id = v.tenant_id and f.st_job_id = v.st_job_id
 where v.tenant_id = %(tenant)s and v.st_job_id = %(job)s;

-- name: list_attempts
select id, version, event, started_at, finished_at, outcome, status_code, execution_id, duration_ms, error, answer
  from jobsync.attempts where tenant_id = %(tenant)s and st_job_id = %(job)s order by id limit 100;

-- name: list_job_audit
select at, actor, action, details from jobsync.audit where tenant_id = %(tenant)s and (subject = %(subject)s or subject in (%(unit)s, 'tenant') and at >= %(since)s)
 order by at, id limit 100;

-- name: choose_jobs
select st_job_id from jobsync.choose_jobs(%(tenant)s, %(status)s, %(reason)s, %(unit)s::bigint, %(since)s::timestamptz, %(limit)s) c(st_job_id);

-- name: preview_replay
select jobsync.preview_replay(%(tenant)s, %(jobs)s, %(force)s);

-- name: preview_job
select p.*, j.ghl_version, coalesce(o.version, j.ghl_version + 1) as next_version, coalesce(o.event, case when j.delivered_hash is null then 'created' else 'updated' end) as next_event,
       jobsync.delivery_id(p.tenant_id, p.st_job_id, coalesce(o.version, j.ghl_version + 1)) as next_delivery_id, coalesce(o.planned_at, jobsync.now()) as planned_at
  from jobsync.projections p
  join public.jobs j on j.tenant_id = p.tenant_id and j.st_job_id = p.st_job_id
  left join jobsync.outbox o on o.tenant_id = p.tenant_id and o.st_job_id = p.st_job_id
 where p.tenant_id = %(tenant)s and p.st_job_id = %(job)s;

-- name: list_databases
select datname from pg_database where datname in ('jobsync_live', 'jobsync_demo');
