-- What /metrics shows of a tenant: one line per sample, so that the program only writes them down.

create function jobsync.list_metrics(p_tenant text) returns table (metric text, labels jsonb, value double precision)
language sql stable set search_path = jobsync, public as $$
  select 'jobsync_stream_lag_seconds', jsonb_build_object('stream', l.stream), l.lag_seconds::double precision
    from v_sync_lag l where l.tenant_id = p_tenant and l.lag_seconds is not null
  union all
  select 'jobsync_stream_failures', jsonb_build_object('stream', l.stream), l.failures from v_sync_lag l where l.tenant_id = p_tenant
  union all
  select 'jobsync_jobs', jsonb_build_object('status', y.class), sum(y.rows) from v_tallies y where y.tenant_id = p_tenant and y.topic = 'jobs' group by y.class
  union all
  select 'jobsync_outbox', jsonb_build_object('event', y.class), sum(y.rows) from v_tallies y where y.tenant_id = p_tenant and y.topic = 'outbox' group by y.class
  union all
  select 'jobsync_quarantine', jsonb_build_object('stream', y.class), sum(y.rows) from v_tallies y where y.tenant_id = p_tenant and y.topic = 'quarantine' group by y.class
  union all
  select 'jobsync_runs', jsonb_build_object('type', y.class, 'status', y.reason), sum(y.rows) from v_tallies y where y.tenant_id = p_tenant and y.topic = 'runs' group by y.class, y.reason
  union all
  select 'jobsync_attempts_last_hour', jsonb_build_object('outcome', coalesce(a.outcome, 'open')), count(*)
    from attempts a where a.tenant_id = p_tenant and a.started_at > jobsync.now() - interval '1 hour' group by a.outcome
  union all
  select 'jobsync_sends_last_24_hours', '{}', t.sends_today from v_tenant_status t where t.tenant_id = p_tenant
  union all
  select 'jobsync_cap_day', '{}', t.cap_day from v_tenant_status t where t.tenant_id = p_tenant
  union all
  select 'jobsync_live', '{}', case when t.mode = 'live' and t.paused_at is null then 1 else 0 end from v_tenant_status t where t.tenant_id = p_tenant
  union all
  select 'jobsync_budget_tokens', jsonb_build_object('budget', split_part(b.budget_key, ':', 1), 'id', split_part(b.budget_key, ':', 2)), b.tokens
    from budgets b where b.tenant_id = p_tenant
  union all
  select 'jobsync_requests_left_today', jsonb_build_object('upstream', f.upstream), f.daily_remaining
    from upstream_facts f where f.tenant_id = p_tenant and f.daily_remaining is not null
  union all
  select 'jobsync_clock_ahead_seconds', jsonb_build_object('upstream', f.upstream), f.clock_ahead_s
    from upstream_facts f where f.tenant_id = p_tenant and f.clock_ahead_s is not null
  union all
  select 'jobsync_alerts_open', jsonb_build_object('severity', a.severity), count(*) from alerts a where a.tenant_id = p_tenant and a.resolved_at is null group by a.severity
$$;
comment on function jobsync.list_metrics(text) is 'The samples of /metrics for one tenant; the program adds its own (queue, pool, process).';
