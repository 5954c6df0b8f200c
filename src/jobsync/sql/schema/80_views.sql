-- The guide's two views and JobSync's stable ones. Views are security_invoker: they show a role no more than its own rows.

create view public.sync_statistics with (security_invoker = true) as
  select t.class as sync_type, t.reason as status, sum(t.rows)::bigint as count, sum(t.milliseconds) / nullif(sum(t.timed), 0) as avg_duration_ms,
         max((select max(l.started_at) from public.sync_logs l where l.tenant_id = t.tenant_id and l.sync_type = t.class and l.status = t.reason)) as last_sync_at
    from jobsync.v_tallies t
   where t.topic = 'runs'
   group by t.class, t.reason
   order by t.class, t.reason;
comment on view public.sync_statistics is 'Runs by type and status over all time.';

create view jobsync.v_offered_jobs with (security_invoker = true) as
  select j.*, c.first_name, c.last_name, coalesce(l.email, c.email) as email, coalesce(l.phone, c.phone) as phone,
         case when l.street is not null or l.city is not null then l.street else c.street end as street,
         case when l.street is not null or l.city is not null then l.city else c.city end as city,
         case when l.street is not null or l.city is not null then l.state else c.state end as state,
         case when l.street is not null or l.city is not null then l.postal_code else c.postal_code end as postal_code,
         coalesce(l.county, c.county) as county, u.ghl_pipeline_name,
         c.company_name, case when l.street is not null or l.city is not null then l.country else c.country end as country
    from public.jobs j
    join public.business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
    join jobsync.routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'external'
    -- offset 0: see jobsync.projections.
    left join lateral (
      select x.* from public.customers x
       where x.tenant_id = j.tenant_id
         and x.st_customer_id = (select case when o.merged_to_id is null then o.st_customer_id else jobsync.resolve_customer(j.tenant_id, j.st_customer_id) end
                                   from public.customers o where o.tenant_id = j.tenant_id and o.st_customer_id = j.st_customer_id)
      offset 0) c on true
    left join lateral (
      select x.* from jobsync.locations x
       where x.tenant_id = j.tenant_id
         and x.st_location_id = (select case when o.merged_to_id is null then o.st_location_id else jobsync.resolve_location(j.tenant_id, j.st_location_id) end
                                   from jobsync.locations o where o.tenant_id = j.tenant_id and o.st_location_id = j.st_location_id)
      offset 0) l on true
   where j.ghl_sync_status in ('pending', 'failed') and u.sync_to_ghl and u.sync_enabled;
comment on view jobsync.v_offered_jobs is 'Jobs of external units that are pending or failed, with what a delivery needs.';

create view jobsync.v_pending_jobs with (security_invoker = true) as
  select * from jobsync.v_offered_jobs where ghl_sync_status = 'pending';
comment on view jobsync.v_pending_jobs is 'The rows of public.jobs_pending_ghl_sync, unordered: who asks for the oldest hundred then has only these looked up.';

create view public.jobs_pending_ghl_sync with (security_invoker = true) as
  select * from jobsync.v_pending_jobs order by created_on, st_job_id;
comment on view public.jobs_pending_ghl_sync is
  'Jobs that an external deliverer (n8n, a script) has to push, oldest first. Units that JobSync delivers never appear here.';

create view jobsync.v_job_status with (security_invoker = true) as
  select j.tenant_id, j.st_job_id, j.st_job_number, j.business_unit_id, u.name as business_unit_name, j.job_status, j.ghl_sync_status, j.ghl_sync_reason,
         j.ghl_sync_error, j.ghl_sync_flags, j.ghl_accepted_at, j.ghl_verified_at, j.ghl_opportunity_id, o.next_attempt_at, o.attempts, o.waiting_for,
         j.created_on, j.modified_on, j.synced_from_st_at,
         case when j.ghl_verified_at >= j.ghl_accepted_at and j.ghl_sync_status = 'synced' then 'verified'
              when j.ghl_sync_status = 'synced' then 'accepted' when j.ghl_sync_status = 'failed' then 'failed'
              when j.ghl_sync_status = 'skipped' then case when j.ghl_sync_reason in ('unmapped', 'deleted_in_ghl', 'card_unknown') then 'blocked' else 'skipped' end
              else 'pending' end as state
    from public.jobs j
    left join public.business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
    left join lateral (select x.* from jobsync.outbox x where x.tenant_id = j.tenant_id and x.st_job_id = j.st_job_id offset 0) o on true;
comment on view jobsync.v_job_status is 'Where every job stands and why: verified, accepted, pending, failed, blocked (needs a person) or skipped.';

create view jobsync.v_unsynced_reasons with (security_invoker = true) as
  select t.tenant_id, t.class as ghl_sync_status, t.reason, t.business_unit_id, u.name as business_unit_name, t.rows as jobs,
         first.created_on as oldest, last.created_on as newest, first.st_job_id as sample_st_job_id
    from (select x.*, case when x.business_unit_id is null then 0 else x.business_unit_id end as unit_key from jobsync.v_tallies x where x.topic = 'jobs') t
    left join public.business_units u on u.tenant_id = t.tenant_id and u.st_business_unit_id = t.business_unit_id
    left join lateral (
      select j.created_on, j.st_job_id from public.jobs j
       where j.tenant_id = t.tenant_id and j.ghl_sync_status = t.class and j.ghl_sync_status <> 'synced' and (case when j.ghl_sync_reason is null then 'waiting' else j.ghl_sync_reason end) = t.reason
         and (case when j.business_unit_id is null then 0 else j.business_unit_id end) = t.unit_key
       order by j.created_on, j.st_job_id limit 1) first on true
    left join lateral (
      select j.created_on from public.jobs j
       where j.tenant_id = t.tenant_id and j.ghl_sync_status = t.class and j.ghl_sync_status <> 'synced' and (case when j.ghl_sync_reason is null then 'waiting' else j.ghl_sync_reason end) = t.reason
         and (case when j.business_unit_id is null then 0 else j.business_unit_id end) = t.unit_key and j.created_on is not null
       order by j.created_on desc limit 1) last on true;
comment on view jobsync.v_unsynced_reasons is 'Jobs that are not in GoHighLevel, grouped by the reason and the unit; the sample is the oldest. Counted by jobsync.tallies, not anew.';

create view jobsync.v_sync_lag with (security_invoker = true) as
  select c.tenant_id, c.stream, c.mode, c.caught_up_at, extract(epoch from jobsync.now() - c.caught_up_at) as lag_seconds, c.failures, c.last_error,
         c.refused_at
    from jobsync.cursors c;
comment on view jobsync.v_sync_lag is 'How long ago each stream was read to its end, and what last went wrong; refused_at: since when an optional stream is not granted to the app.';

create view jobsync.v_tenant_status with (security_invoker = true) as
  select t.tenant_id, t.name, t.mode, t.mode_reason, t.deliver_from, t.arm_remaining, t.paused_at, t.pause_reason, t.cap_hour, t.cap_day, t.poll_seconds,
         t.next_pull_at, t.execution_price,
         (select coalesce(sum(o.rows), 0)::bigint from jobsync.v_tallies o where o.tenant_id = t.tenant_id and o.topic = 'outbox') as planned,
         (select coalesce(sum(s.sends), 0) from jobsync.send_counts s where s.tenant_id = t.tenant_id and s.hour = date_trunc('hour', jobsync.now())) as sends_this_hour,
         (select coalesce(sum(s.sends), 0) from jobsync.send_counts s where s.tenant_id = t.tenant_id and s.hour > jobsync.now() - interval '24 hours') as sends_today,
         (select coalesce(sum(s.sends), 0) from jobsync.send_counts s where s.tenant_id = t.tenant_id and s.hour >= date_trunc('month', jobsync.now())) as sends_this_month,
         (select coalesce(sum(s.executions), 0) from jobsync.send_counts s where s.tenant_id = t.tenant_id and s.hour >= date_trunc('month', jobsync.now())) as executions_this_month,
         (select coalesce(sum(s.executions), 0) from jobsync.send_counts s where s.tenant_id = t.tenant_id and s.hour >= date_trunc('month', jobsync.now()))
           * t.execution_price as cost_this_month,
         (select coalesce(sum(q.rows), 0)::bigint from jobsync.v_tallies q where q.tenant_id = t.tenant_id and q.topic = 'quarantine') as quarantined,
         (select max(c.caught_up_at) from jobsync.cursors c where c.tenant_id = t.tenant_id and c.stream = 'jobs') as jobs_read_at
    from jobsync.tenants t;
comment on view jobsync.v_tenant_status is 'One line per tenant: mode, pause, caps, what is planned, sent and quarantined. `planned` and `quarantined` come from jobsync.tallies.';
