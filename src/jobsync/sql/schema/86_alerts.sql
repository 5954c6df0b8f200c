-- Alerts: what is wrong right now (a view), what of it people were told (a table), and when they may be told.
-- The view decides what is a fault; refresh_alerts() opens and closes; the program only sends and reports back.

create table jobsync.alert_settings (
  tenant_id text primary key references jobsync.tenants on delete cascade,
  quiet_from time,
  quiet_until time,
  digest_at time default '07:00',
  digest_sent_on date,
  silence_hours integer not null default 24 constraint silence_is_hours check (silence_hours between 1 and 720),
  repeat_hours integer not null default 24 constraint repeat_is_hours check (repeat_hours between 1 and 720),
  sealed bytea,
  key_id text,
  updated_at timestamptz not null default jobsync.now(),
  constraint quiet_has_two_ends check ((quiet_from is null) = (quiet_until is null))
);
comment on table jobsync.alert_settings is 'When a tenant''s people are told, in the tenant''s time zone; sealed holds further channel URLs, readable only by the program.';
comment on column jobsync.alert_settings.digest_at is 'Local time of the daily digest; null: none.';
comment on column jobsync.alert_settings.digest_sent_on is 'The local day whose digest was sent: one a day, also where a clock change repeats or skips an hour.';
comment on column jobsync.alert_settings.silence_hours is 'So many hours without a new job, ending on a weekday, are an alert.';
comment on column jobsync.alert_settings.repeat_hours is 'An alert that stays open is told again after so many hours.';

create table jobsync.alerts (
  tenant_id text not null references jobsync.tenants on delete cascade,
  code text not null,
  subject text not null default '',
  severity text not null constraint severity_is_known check (severity in ('critical', 'warning')),
  title text not null,
  why text not null,
  fix text not null,
  items bigint not null default 1,
  opened_at timestamptz not null,
  seen_at timestamptz not null,
  told_at timestamptz,
  resolved_at timestamptz,
  recovery_told_at timestamptz,
  muted_until timestamptz,
  primary key (tenant_id, code, subject)
);
comment on table jobsync.alerts is 'Faults that are open or were: one row per cause, opened and closed by refresh_alerts().';
comment on column jobsync.alerts.told_at is 'When people were last told of it; null: not yet (quiet hours, or every channel was down).';

create table jobsync.alert_channels (
  tenant_id text not null references jobsync.tenants on delete cascade,
  channel text not null,
  failures integer not null default 0,
  failed_at timestamptz,
  succeeded_at timestamptz,
  primary key (tenant_id, channel)
);
comment on table jobsync.alert_channels is 'Whether each channel took what was last sent. channel is its kind and a fingerprint, never its URL.';

create view jobsync.v_alert_conditions with (security_invoker = true) as
  -- The guide's alert: syncs that failed in the last hour.
  select l.tenant_id, 'failed_syncs' as code, l.sync_type as subject, 'warning' as severity,
         count(*) || ' ' || case l.sync_type when 'job_pull' then 'pull' when 'ghl_delivery' then 'delivery' else l.sync_type end || case count(*) when 1 then ' run' else ' runs' end
           || ' failed in the last hour' as title,
         coalesce((array_agg(left(l.error_message, 300) order by l.started_at desc) filter (where l.error_message is not null))[1], 'No reason was written.') as why,
         'jobsync status' as fix, count(*) as items
    from public.sync_logs l
   where l.status = 'failed' and l.started_at > jobsync.now() - interval '1 hour'
   group by l.tenant_id, l.sync_type
  union all
  select r.tenant_id, 'dead_letters', r.reason || ':' || coalesce(r.business_unit_id::text, ''), 'warning',
         r.jobs || ' jobs of ' || coalesce(r.business_unit_name, 'an unknown unit') || ' were not accepted by GoHighLevel',
         case r.reason when 'test_only' then 'GoHighLevel took them for a test sample: the workflow''s trigger is not saved or not published.'
                       when 'rejected' then 'GoHighLevel refuses them as they stand.'
                       when 'attempts_used_up' then 'Every try of the retry schedule failed.'
                       when 'worker_died' then 'The worker died five times while sending them.' else r.reason end,
         'jobsync why ' || r.sample_st_job_id, r.jobs
    from jobsync.v_unsynced_reasons r where r.ghl_sync_status = 'failed' and r.reason <> 'failed_outside'
  union all
  select r.tenant_id, 'unmapped_unit', coalesce(r.business_unit_id::text, ''), 'warning',
         r.jobs || ' jobs of ' || coalesce(r.business_unit_name, 'an unknown unit') || ' go nowhere',
         'Their business unit is not routed.', 'jobsync units set ' || coalesce(r.business_unit_id::text, 'ID') || ' --webhook URL   (or --skip)', r.jobs
    from jobsync.v_unsynced_reasons r where r.reason = 'unmapped'
  union all
  select d.tenant_id, 'destination_paused', d.id::text, 'critical', 'A destination is paused: nothing is sent to it', coalesce(d.pause_reason, 'It was paused.'),
         'mend it, then: jobsync resume', 1
    from jobsync.destinations d where d.paused_at is not null
  union all
  -- Read to its end some time, and not for three polls (at least a quarter of an hour): somebody's jobs are late.
  select c.tenant_id, 'lag', c.stream, 'critical', 'ServiceTitan''s ' || c.stream || ' were last read ' || (extract(epoch from jobsync.now() - c.caught_up_at) / 60)::integer || ' minutes ago',
         coalesce(c.last_error, 'No reading came to its end since; is a worker running?'), 'jobsync doctor', 1
    from jobsync.cursors c
    join jobsync.tenants t on t.tenant_id = c.tenant_id
   where c.stream = 'jobs' and c.caught_up_at < jobsync.now() - greatest(interval '15 minutes', t.poll_seconds * interval '3 seconds')
  union all
  select c.tenant_id, case when c.last_error ~* 'credential|token|401' then 'auth_failing' when c.last_error ~* 'do not fit' then 'schema_drift' else 'stream_failing' end,
         c.stream, 'critical', 'Reading ' || c.stream || ' failed ' || c.failures || ' times in a row', coalesce(c.last_error, 'No reason was written.'), 'jobsync doctor', c.failures
    from jobsync.cursors c where c.failures >= 3
  union all
  select q.tenant_id, 'quarantine', q.stream, 'warning', count(*) || ' records of ' || q.stream || ' do not fit and were set aside', min(q.reason),
         'jobsync db psql -c "select record_id, reason from jobsync.quarantine where resolved_at is null"', count(*)
    from jobsync.quarantine q where q.resolved_at is null
   group by q.tenant_id, q.stream
  union all
  select t.tenant_id, 'cap_reached', t.mode_reason, 'critical', 'JobSync disarmed itself: the cap of the ' || case t.mode_reason when 'cap_hour' then 'hour' else 'day' end || ' was reached',
         'More was sent than the cap allows; a mistake in ServiceTitan or a rule may be behind it.', 'look at: jobsync plan   then: jobsync arm', 1
    from jobsync.tenants t where t.mode_reason in ('cap_hour', 'cap_day')
  union all
  select t.tenant_id, 'silence', '', 'warning', 'No new job for ' || (extract(epoch from jobsync.now() - n.newest) / 3600)::integer || ' hours',
         'ServiceTitan answers, and has booked nothing since. On a weekday that is rare.', 'look into ServiceTitan; or: jobsync alerts set --silence-hours 72', 1
    from jobsync.tenants t
    left join jobsync.alert_settings s on s.tenant_id = t.tenant_id
    -- Booked last are those with the highest ids; among some of them, as one strange id must not hide that nothing comes.
    cross join lateral (select max(j.created_at) as newest from (select x.created_at from public.jobs x where x.tenant_id = t.tenant_id
                                                                  order by x.st_job_id desc limit 50) j) n
   where n.newest < jobsync.now() - coalesce(s.silence_hours, 24) * interval '1 hour'
     and extract(isodow from jobsync.now() at time zone t.time_zone) <= 5
     and exists (select from jobsync.cursors c where c.tenant_id = t.tenant_id and c.stream = 'jobs' and c.failures = 0)
  union all
  -- One row a unit: its jobs may have gone to two hooks, one after the other.
  select v.tenant_id, 'unverified', coalesce(v.business_unit_id::text, '') || ':' || v.result, 'critical',
         sum(v.jobs) || ' jobs of ' || coalesce(min(v.business_unit_name), 'an unknown unit') || ' were accepted and are not in GoHighLevel', min(v.why),
         'jobsync why ' || min(v.sample_st_job_id), sum(v.jobs)::bigint
    from jobsync.v_unverified v
   group by v.tenant_id, v.business_unit_id, v.result
  union all
  -- The daily comparison must find nothing: what it found was not brought by the pull, mended or not.
  select r.tenant_id, 'reconcile_missing', '', case when r.fixed < r.missing + r.differing then 'critical' else 'warning' end,
         r.missing || ' records were missing here and ' || r.differing || ' differed from ServiceTitan', r.fixed || ' of them are stored now; the pull should have brought them.',
         case when r.fixed < r.missing + r.differing then 'jobsync reconcile --days ' || r.days || ' --fix-missing' else 'jobsync reconcile --days ' || r.days end,
         r.missing + r.differing
    from jobsync.v_reconcile r where r.is_alert
  union all
  select s.tenant_id, 'upstream_refused', s.upstream, 'critical',
         case s.upstream when 'servicetitan' then 'ServiceTitan' else 'GoHighLevel' end || case s.state when 'auth_failed' then ' refuses to sign JobSync in' else ' denies JobSync access' end,
         coalesce(s.reason, 'No reason was given.'), 'jobsync doctor', 1
    from jobsync.upstream_states s where s.state <> 'ok'
  union all
  -- A quota is one of a day: what was left yesterday says nothing.
  select f.tenant_id, 'quota', f.upstream, case when f.daily_remaining = 0 then 'critical' else 'warning' end,
         case when f.daily_remaining = 0 then 'Today''s quota of requests to GoHighLevel is used up'
              else f.daily_remaining || ' of ' || f.daily_limit || ' requests to GoHighLevel are left today' end,
         case when f.daily_remaining = 0 then 'GoHighLevel refuses everything until the quota is full again; jobs wait, none is lost.'
              else 'Deliveries by API leave the last fifth to people: they wait until the quota is full again.' end,
         'wait for midnight UTC; if it comes again, find out what else uses this location''s API, or: jobsync arm --cap-day N', 1
    from jobsync.upstream_facts f
   where f.daily_remaining * 5 <= f.daily_limit and f.quota_at >= date_trunc('day', jobsync.now() at time zone 'UTC') at time zone 'UTC'
  union all
  select f.tenant_id, 'clock_skew', f.upstream, 'warning',
         'The clock here is ' || abs(f.clock_ahead_s)::bigint || ' s ' || case when f.clock_ahead_s > 0 then 'ahead of ' else 'behind ' end
           || case f.upstream when 'servicetitan' then 'ServiceTitan' else 'GoHighLevel' end,
         'Reading positions are ServiceTitan''s own times, so nothing is lost; ages, lag, quiet hours and the digest go by PostgreSQL''s clock and are off.',
         'set the clock of PostgreSQL''s machine by NTP, then: jobsync doctor', 1
    from jobsync.upstream_facts f where abs(f.clock_ahead_s) > 60
  union all
  -- Routes and rules whose pipeline or stage was deleted in GoHighLevel; install jobs whose sale is not certain.
  select p.tenant_id, 'card_' || p.kind, p.subject, case p.kind when 'route' then 'critical' else 'warning' end,
         case p.kind when 'route' then 'The route of ' when 'rule' then 'The rule ' else 'Job ' end || coalesce(p.name, p.subject) || ' needs you', p.problem,
         case p.kind when 'route' then 'jobsync units set ' || p.subject || ' --pipeline NAME --stage NAME' when 'rule' then 'jobsync rules list   then: jobsync rules set'
                     else 'jobsync why job ' || p.subject end, 1
    from jobsync.v_card_problems p
  union all
  select a.tenant_id, 'card_renamed', a.subject || ':' || a.id, 'warning', initcap(split_part(a.action, '_', 1)) || ' "' || (a.details ->> 'before') || '" is now called "' || (a.details ->> 'name') || '"',
         'It was renamed in GoHighLevel; routes and rules follow by its id, n8n flows and reports that use the name do not.', 'jobsync pipelines list', 1
    from jobsync.audit a where a.action in ('stage_renamed', 'pipeline_renamed') and a.at > jobsync.now() - interval '1 day'
  union all
  select s.tenant_id, 'sent_by_both', s.business_unit_id::text, 'critical', (s.counts ->> 'sent_by_both') || ' jobs of unit ' || s.business_unit_id || ' were sent by JobSync and by the old flow',
         'The old flow still runs beside a live JobSync.', 'switch the old workflow off, or: jobsync pause', (s.counts ->> 'sent_by_both')::bigint
    from jobsync.shadow_units s where s.counts ? 'sent_by_both' and s.compared_at > jobsync.now() - interval '26 hours'
  union all
  select d.tenant_id, 'double_cards', '', 'warning', count(*) || ' cards in GoHighLevel stand there more than once for one job or customer', 'The old flow pushed them again; JobSync deletes nothing.',
         'jobsync export --view v_double_cards --csv > doubles.csv', count(*)
    from jobsync.double_cards d where not d.keep and d.found_at > jobsync.now() - interval '26 hours' group by d.tenant_id
  union all
  select o.tenant_id, 'old_flow_can_go', to_char(o.delete_on, 'YYYY-MM-DD'), 'warning', 'The old workflow can be deleted: JobSync has delivered alone for a week',
         'Nothing of the old flow was seen since ' || to_char(o.stable_since at time zone 'UTC', 'YYYY-MM-DD') || '.', 'delete it in n8n, take JOBSYNC_OLD_DATABASE_URL away, then: jobsync alerts mute old_flow_can_go --hours 720', 1
    from jobsync.v_old_flow o where o.is_due
  union all
  select h.tenant_id, 'channel_down', h.channel, 'warning', 'Alerts do not get through to ' || split_part(h.channel, ':', 1), 'It refused or did not answer ' || h.failures || ' times.',
         'jobsync alerts test', h.failures
    from jobsync.alert_channels h where h.failures >= 3;
comment on view jobsync.v_alert_conditions is 'What is wrong right now, one row per cause, with why and what to do.';

create function jobsync.is_quiet(p_tenant text) returns boolean language sql stable set search_path = jobsync, public as $$
  select coalesce(case when s.quiet_from <= s.quiet_until then l.at >= s.quiet_from and l.at < s.quiet_until
                       else l.at >= s.quiet_from or l.at < s.quiet_until end, false)
    from tenants t
    left join alert_settings s on s.tenant_id = t.tenant_id
    cross join lateral (select (jobsync.now() at time zone t.time_zone)::time as at) l
   where t.tenant_id = p_tenant
$$;
comment on function jobsync.is_quiet(text) is 'True within the tenant''s quiet hours, which may span midnight.';

-- p_found: what only the program can see (disk, ...), as [{tenant_id, code, subject, severity, title, why, fix, items}].
create function jobsync.refresh_alerts(p_found jsonb default '[]') returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_open integer;
begin
  with found as materialized (
    select tenant_id, code, coalesce(subject, '') as subject, severity, title, why, fix, items from v_alert_conditions
    union all
    select tenant_id, code, coalesce(subject, ''), severity, title, why, fix, coalesce(items, 1)
      from jsonb_to_recordset(p_found) x (tenant_id text, code text, subject text, severity text, title text, why text, fix text, items bigint)
  ), opened as (
    insert into alerts as a (tenant_id, code, subject, severity, title, why, fix, items, opened_at, seen_at)
    select f.tenant_id, f.code, f.subject, f.severity, f.title, f.why, f.fix, f.items, v_now, v_now from found f
    on conflict (tenant_id, code, subject) do update set
      severity = excluded.severity, title = excluded.title, why = excluded.why, fix = excluded.fix, items = excluded.items, seen_at = v_now,
      -- What comes back within half an hour flaps: it is the same fault, already told.
      opened_at = case when a.resolved_at < v_now - interval '30 minutes' then v_now else a.opened_at end,
      told_at = case when a.resolved_at < v_now - interval '30 minutes' then null else a.told_at end,
      resolved_at = null, recovery_told_at = null
    returning 1
  )
  select count(*) into v_open from opened;
  update alerts set resolved_at = v_now where resolved_at is null and seen_at < v_now;
  delete from alerts where resolved_at < v_now - interval '30 days';
  return v_open;
end
$$;
comment on function jobsync.refresh_alerts(jsonb) is 'Opens, renews and closes alerts of all tenants by what is wrong now. Answers how many are open.';

create function jobsync.list_untold_alerts() returns table (tenant_id text, tenant_name text, time_zone text, kind text, alert jobsync.alerts)
language sql stable set search_path = jobsync, public as $$
  select a.tenant_id, t.name, t.time_zone, case when a.resolved_at is null then 'opened' else 'recovered' end, a
    from alerts a
    join tenants t on t.tenant_id = a.tenant_id
    left join alert_settings s on s.tenant_id = a.tenant_id
   where (a.muted_until is null or a.muted_until <= jobsync.now())
     and case when a.resolved_at is null
              then a.told_at is null or a.told_at < jobsync.now() - coalesce(s.repeat_hours, 24) * interval '1 hour'
              -- Five minutes, so that what flaps is not told as mended.
              else a.told_at is not null and a.recovery_told_at is null and a.resolved_at < jobsync.now() - interval '5 minutes' end
     and (a.severity = 'critical' and a.resolved_at is null or not is_quiet(a.tenant_id))
   order by a.tenant_id, a.severity, a.opened_at
$$;
comment on function jobsync.list_untold_alerts() is 'Alerts that people have to be told of now, and recoveries: each once, repeated while it stays open, warnings not in quiet hours.';

create function jobsync.mark_alerts_told(p_tenant text, p_codes text[], p_subjects text[]) returns void
language sql volatile set search_path = jobsync, public as $$
  update alerts a set told_at = case when a.resolved_at is null then jobsync.now() else a.told_at end,
                      recovery_told_at = case when a.resolved_at is not null then jobsync.now() end
    from unnest(p_codes, p_subjects) m(code, subject)
   where a.tenant_id = p_tenant and a.code = m.code and a.subject = m.subject
$$;
comment on function jobsync.mark_alerts_told(text, text[], text[]) is 'Notes that at least one channel took these alerts.';

create function jobsync.report_channel(p_tenant text, p_channel text, p_sent boolean) returns void
language sql volatile set search_path = jobsync, public as $$
  insert into alert_channels as h (tenant_id, channel, failures, failed_at, succeeded_at)
  values (p_tenant, p_channel, case when p_sent then 0 else 1 end, case when not p_sent then jobsync.now() end, case when p_sent then jobsync.now() end)
  on conflict (tenant_id, channel) do update set
    failures = case when p_sent then 0 else h.failures + 1 end,
    failed_at = case when p_sent then h.failed_at else jobsync.now() end,
    succeeded_at = case when p_sent then jobsync.now() else h.succeeded_at end
$$;
comment on function jobsync.report_channel(text, text, boolean) is 'Notes whether a channel took what was sent.';

create function jobsync.mute_alert(p_tenant text, p_code text, p_subject text, p_for interval, p_actor text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_muted integer;
begin
  update alerts set muted_until = jobsync.now() + p_for where tenant_id = p_tenant and code = p_code and (p_subject is null or subject = p_subject);
  get diagnostics v_muted = row_count;
  if v_muted = 0 then
    raise exception 'there is no alert % to mute', p_code using errcode = 'JS004';
  end if;
  insert into audit (tenant_id, actor, action, subject, details)
  values (p_tenant, p_actor, 'alert_muted', p_code, jsonb_build_object('for', p_for, 'subject', p_subject));
  return v_muted;
end
$$;
comment on function jobsync.mute_alert(text, text, text, interval, text) is 'Keeps an alert (or one subject of it) quiet for a while. Answers how many.';

-- Null leaves what stands; '' takes a time away.
create function jobsync.set_alert_settings(
  p_tenant text, p_time_zone text, p_quiet_from text, p_quiet_until text, p_digest_at text, p_silence_hours integer, p_repeat_hours integer, p_actor text
) returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_row alert_settings;
  v_zone text;
begin
  if p_time_zone is not null and not exists (select from pg_timezone_names z where z.name = p_time_zone) then
    raise exception 'time zone % is not known; write it as America/Phoenix', p_time_zone using errcode = 'JS001';
  end if;
  update tenants set time_zone = coalesce(p_time_zone, time_zone), updated_at = jobsync.now() where tenant_id = p_tenant returning time_zone into v_zone;
  insert into alert_settings (tenant_id) values (p_tenant) on conflict (tenant_id) do nothing;
  begin
    update alert_settings s set
      quiet_from = case when p_quiet_from is null then s.quiet_from else nullif(p_quiet_from, '')::time end,
      quiet_until = case when p_quiet_until is null then s.quiet_until else nullif(p_quiet_until, '')::time end,
      digest_at = case when p_digest_at is null then s.digest_at else nullif(p_digest_at, '')::time end,
      silence_hours = coalesce(p_silence_hours, s.silence_hours), repeat_hours = coalesce(p_repeat_hours, s.repeat_hours), updated_at = jobsync.now()
     where s.tenant_id = p_tenant
    returning * into v_row;
  exception when data_exception then
    raise exception 'times are written as 22:00' using errcode = 'JS001';
  when check_violation then
    raise exception 'hours are from 1 to 720, and quiet hours have two ends' using errcode = 'JS001';
  end;
  insert into audit (tenant_id, actor, action) values (p_tenant, p_actor, 'alert_settings_changed');
  return to_jsonb(v_row) - array['sealed', 'key_id', 'tenant_id'] || jsonb_build_object('time_zone', v_zone);
end
$$;
comment on function jobsync.set_alert_settings(text, text, text, text, text, integer, integer, text) is 'Changes when people are told; answers all settings. Unknown zones and times are refused.';

create function jobsync.digest_facts(p_tenant text) returns jsonb language sql stable set search_path = jobsync, public as $$
  select jsonb_build_object(
      'status', (select to_jsonb(v) from v_tenant_status v where v.tenant_id = p_tenant),
      'runs', (select coalesce(jsonb_agg(to_jsonb(r) order by r.sync_type), '[]') from (
                 select l.sync_type, count(*) as runs, count(*) filter (where l.status = 'failed') as failed, sum(l.records_processed) as processed,
                        sum(l.records_succeeded) as succeeded, sum(l.records_failed) as records_failed
                   from sync_logs l where l.tenant_id = p_tenant and l.started_at > jobsync.now() - interval '24 hours' group by l.sync_type) r),
      'reasons', (select coalesce(jsonb_agg(to_jsonb(r) order by r.jobs desc), '[]') from (
                 select u.reason, u.ghl_sync_status, u.business_unit_name, u.jobs from v_unsynced_reasons u
                  where u.tenant_id = p_tenant and u.reason <> 'before_start' order by u.jobs desc limit 8) r),
      'old_flow', (select to_jsonb(o) from v_old_flow o where o.tenant_id = p_tenant),
      'alerts', (select coalesce(jsonb_agg(jsonb_build_object('title', a.title, 'fix', a.fix) order by a.severity, a.opened_at), '[]')
                   from alerts a where a.tenant_id = p_tenant and a.resolved_at is null))
$$;
comment on function jobsync.digest_facts(text) is 'What the daily digest of a tenant has to say right now: its line, the runs of 24 hours, what is not in GoHighLevel, what is open.';

-- Claimed before it is sent: two workers never both send it. A channel that refused gives the day back.
create function jobsync.claim_digests() returns table (tenant_id text, tenant_name text, local_day date, facts jsonb)
language sql volatile set search_path = jobsync, public as $$
  with due as (
    select t.tenant_id, t.name, (jobsync.now() at time zone t.time_zone)::date as day
      from tenants t
      left join alert_settings s on s.tenant_id = t.tenant_id
     where (s.tenant_id is null or s.digest_at is not null)
       and (jobsync.now() at time zone t.time_zone)::time >= coalesce(s.digest_at, '07:00')
       and s.digest_sent_on is distinct from (jobsync.now() at time zone t.time_zone)::date
  ), claimed as (
    insert into alert_settings as s (tenant_id, digest_sent_on) select d.tenant_id, d.day from due d
    on conflict (tenant_id) do update set digest_sent_on = excluded.digest_sent_on where s.digest_sent_on is distinct from excluded.digest_sent_on
    returning s.tenant_id, s.digest_sent_on
  )
  select c.tenant_id, d.name, c.digest_sent_on, digest_facts(c.tenant_id)
    from claimed c join due d on d.tenant_id = c.tenant_id
$$;
comment on function jobsync.claim_digests() is 'Takes the daily digests that are due, each once per local day whatever the clocks do, with what to say.';

create function jobsync.give_back_digest(p_tenant text, p_day date) returns void
language sql volatile set search_path = jobsync, public as $$
  update alert_settings set digest_sent_on = p_day - 1 where tenant_id = p_tenant and digest_sent_on = p_day
$$;
comment on function jobsync.give_back_digest(text, date) is 'No channel took the digest of that day: it is due again.';
