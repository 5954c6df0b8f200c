-- What people are told. The sweeps run over all tenants, as the owner.

-- name: refresh_alerts
select jobsync.refresh_alerts(%(found)s);

-- name: list_untold_alerts
select n.tenant_id, n.tenant_name, n.time_zone, n.kind, (n.alert).code, (n.alert).subject, (n.alert).severity, (n.alert).title, (n.alert).why, (n.alert).fix,
       (n.alert).items, (n.alert).opened_at, (n.alert).resolved_at
  from jobsync.list_untold_alerts() n;

-- name: mark_alerts_told
select jobsync.mark_alerts_told(%(tenant)s, %(codes)s, %(subjects)s);

-- name: report_channel
select jobsync.report_channel(%(tenant)s, %(channel)s, %(sent)s);

-- name: list_alerts
select a.code, a.subject, a.severity, a.title, a.why, a.fix, a.items, a.opened_at, a.told_at, a.resolved_at, a.muted_until
  from jobsync.alerts a where a.tenant_id = %(tenant)s and (%(all)s or a.resolved_at is null) order by a.resolved_at nulls first, a.severity, a.opened_at;

-- name: list_alert_channels
select channel, failures, failed_at, succeeded_at from jobsync.alert_channels where tenant_id = %(tenant)s order by channel;

-- name: mute_alert
select jobsync.mute_alert(%(tenant)s, %(code)s, %(subject)s, %(hours)s * interval '1 hour', %(actor)s);

-- name: set_alert_settings
select jobsync.set_alert_settings(%(tenant)s, %(time_zone)s, %(quiet_from)s, %(quiet_until)s, %(digest_at)s, %(silence_hours)s, %(repeat_hours)s, %(actor)s);

-- name: read_alert_urls
select s.sealed, s.key_id from jobsync.alert_settings s where s.tenant_id = %(tenant)s and s.sealed is not null;

-- name: write_alert_urls
insert into jobsync.alert_settings (tenant_id, sealed, key_id) values (%(tenant)s, %(sealed)s, %(key_id)s)
on conflict (tenant_id) do update set sealed = excluded.sealed, key_id = excluded.key_id, updated_at = jobsync.now();

-- name: claim_digests
select * from jobsync.claim_digests();

-- name: preview_digest
select t.tenant_id, t.name as tenant_name, (jobsync.now() at time zone t.time_zone)::date as local_day, jobsync.digest_facts(t.tenant_id) as facts
  from jobsync.tenants t where t.tenant_id = %(tenant)s;

-- name: read_alert_settings
select t.time_zone, s.quiet_from, s.quiet_until, coalesce(s.silence_hours, 24) as silence_hours, coalesce(s.repeat_hours, 24) as repeat_hours,
       case when s.tenant_id is null then '07:00'::time else s.digest_at end as digest_at, s.digest_sent_on
  from jobsync.tenants t left join jobsync.alert_settings s on s.tenant_id = t.tenant_id where t.tenant_id = %(tenant)s;

-- name: give_back_digest
select jobsync.give_back_digest(%(tenant)s, %(day)s);

-- name: is_pull_healthy
select coalesce(bool_and(c.failures = 0 and c.caught_up_at > jobsync.now() - greatest(interval '15 minutes', t.poll_seconds * interval '3 seconds')), false)
  from jobsync.cursors c join jobsync.tenants t on t.tenant_id = c.tenant_id where c.stream = 'jobs';

-- name: list_findings
select * from jobsync.list_findings(%(tenant)s)
union all
select 'worker', 'worker', case when count(*) > 0 then 'ok' else 'warning' end,
         case when count(*) > 0 then count(*) || case count(*) when 1 then ' worker' else ' workers' end || ' gave a sign of life in the last minute' else 'no worker is running' end,
         case when count(*) = 0 then 'Nothing is pulled or sent by itself.' end, case when count(*) = 0 then 'jobsync up' end
    from jobsync_queue.procrastinate_workers w where w.last_heartbeat > pg_catalog.now() - interval '1 minute'
union all
select 'worker', 'backlog', case when count(*) = 0 then 'ok' else 'warning' end,
         case when count(*) = 0 then 'no task waits too long' else count(*) || ' tasks have waited for more than 15 minutes' end,
         case when count(*) > 0 then 'Too few workers, or they are stuck.' end, case when count(*) > 0 then 'restart the worker: jobsync up' end
    from jobsync_queue.procrastinate_jobs q
    join lateral (select min(e.at) as at from jobsync_queue.procrastinate_events e where e.job_id = q.id) e on true
   where q.status = 'todo' and q.scheduled_at is null and e.at < pg_catalog.now() - interval '15 minutes';
