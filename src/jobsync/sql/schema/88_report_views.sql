-- Views to build reports on: they are stable, every column says its unit, and each has tenant_id. They may read a lot.

create view jobsync.v_funnel with (security_invoker = true) as
  select s.tenant_id, s.business_unit_id, s.business_unit_name, count(*) as jobs,
         count(*) filter (where s.state <> 'blocked') as decided,
         count(*) filter (where s.state in ('pending', 'failed', 'accepted', 'verified')) as meant_for_ghl,
         count(*) filter (where s.state in ('accepted', 'verified')) as accepted,
         count(*) filter (where s.state = 'verified') as verified,
         count(*) filter (where s.state = 'pending') as pending, count(*) filter (where s.state = 'failed') as failed,
         count(*) filter (where s.state = 'skipped') as skipped, count(*) filter (where s.state = 'blocked') as blocked,
         round(100.0 * count(*) filter (where s.state = 'verified') / nullif(count(*) filter (where s.state in ('accepted', 'verified')), 0), 1) as verified_percent
    from jobsync.v_job_status s
   group by s.tenant_id, s.business_unit_id, s.business_unit_name;
comment on view jobsync.v_funnel is
  'How far the jobs of each unit came: jobs >= decided >= meant_for_ghl >= accepted >= verified; beside it those that wait, failed or are skipped.';
comment on column jobsync.v_funnel.decided is 'Jobs whose unit somebody routed or switched off.';
comment on column jobsync.v_funnel.meant_for_ghl is 'Jobs that are or shall be in GoHighLevel.';
comment on column jobsync.v_funnel.verified_percent is 'Of the accepted ones, how many were read back from GoHighLevel.';

create view jobsync.v_unit_daily with (security_invoker = true) as
  select d.tenant_id, d.day, d.business_unit_id, u.name as business_unit_name, sum(d.created)::bigint as created, sum(d.completed)::bigint as completed,
         sum(d.accepted)::bigint as accepted, sum(d.verified)::bigint as verified, sum(d.total) as total_created
    from (
      select j.tenant_id, (e.at at time zone t.time_zone)::date as day, j.business_unit_id,
             e.created, e.completed, e.accepted, e.verified, case when e.created = 1 then j.total end as total
        from public.jobs j
        join jobsync.tenants t on t.tenant_id = j.tenant_id
        cross join lateral (values (j.created_on, 1, 0, 0, 0), (j.completed_on, 0, 1, 0, 0), (j.ghl_accepted_at, 0, 0, 1, 0), (j.ghl_verified_at, 0, 0, 0, 1))
          e(at, created, completed, accepted, verified)
       where e.at is not null) d
    left join public.business_units u on u.tenant_id = d.tenant_id and u.st_business_unit_id = d.business_unit_id
   group by d.tenant_id, d.day, d.business_unit_id, u.name;
comment on view jobsync.v_unit_daily is 'What happened on each day (the tenant''s time zone) in each unit: jobs booked and completed in ServiceTitan, accepted and verified in GoHighLevel.';
comment on column jobsync.v_unit_daily.total_created is 'Sum of the totals of the jobs that were booked on that day, in the account''s currency.';

create view jobsync.v_run_statistics with (security_invoker = true) as
  select l.tenant_id, w.time_window, l.sync_type, l.status, count(*) as count, round(avg(l.duration_ms)) as avg_duration_ms,
         percentile_cont(0.5) within group (order by l.duration_ms) as p50_duration_ms, percentile_cont(0.95) within group (order by l.duration_ms) as p95_duration_ms,
         max(l.duration_ms) as max_duration_ms, coalesce(sum(l.records_processed), 0)::bigint as records_processed, coalesce(sum(l.records_failed), 0)::bigint as records_failed,
         max(l.started_at) as last_sync_at
    from (values ('1 hour', interval '1 hour'), ('24 hours', interval '24 hours'), ('7 days', interval '7 days')) w(time_window, span)
    join public.sync_logs l on l.started_at > jobsync.now() - w.span
   group by l.tenant_id, w.time_window, w.span, l.sync_type, l.status;
comment on view jobsync.v_run_statistics is
  'public.sync_statistics by window (1 hour, 24 hours, 7 days), with the median and the 95th percentile of the durations.';

create view jobsync.v_attempt_statistics with (security_invoker = true) as
  select a.tenant_id, w.time_window, coalesce(a.outcome, 'open') as outcome, count(*) as count,
         percentile_cont(0.5) within group (order by a.duration_ms) as p50_duration_ms, percentile_cont(0.95) within group (order by a.duration_ms) as p95_duration_ms,
         sum(a.requests)::bigint as requests, max(a.started_at) as last_at
    from (values ('1 hour', interval '1 hour'), ('24 hours', interval '24 hours'), ('7 days', interval '7 days')) w(time_window, span)
    join jobsync.attempts a on a.started_at > jobsync.now() - w.span
   group by a.tenant_id, w.time_window, w.span, coalesce(a.outcome, 'open');
comment on view jobsync.v_attempt_statistics is 'Sends to GoHighLevel by window and outcome, with the median and the 95th percentile of the time an answer took.';
