-- The comparison with the old flow. The first two are asked of the old flow's own database.

-- name: look_at_old_database
select to_regclass('jobs') is not null as has_jobs, to_regclass('jobsync.migrations') is not null as is_ours, current_setting('transaction_read_only') as read_only;

-- name: read_old_jobs
select j.st_job_id, j.business_unit_id, j.created_on, j.ghl_sync_status as status, j.ghl_opportunity_id as opportunity_id,
       case when j.ghl_sync_status = 'synced' then coalesce(j.ghl_synced_at, j.updated_at) end as marked_at, j.synced_from_st_at as seen_at
  from jobs j
 where j.created_on >= %(since)s and (j.created_on, j.st_job_id) > (%(after_time)s::timestamptz, %(after_job)s::bigint)
 order by j.created_on, j.st_job_id limit %(limit)s;

-- name: open_shadow_run
insert into public.sync_logs (tenant_id, sync_type, entity_type, status, metadata)
values (%(tenant)s, 'shadow', 'job', 'running', jsonb_build_object('trigger', %(trigger)s::text, 'days', %(days)s::integer))
returning id, jobsync.now() as now, jobsync.now() - %(days)s * interval '1 day' as since;

-- name: close_shadow_run
update public.sync_logs l set status = case when %(error)s::text is null then 'completed' else 'failed' end, error_message = %(error)s, completed_at = jobsync.now(),
       records_processed = coalesce((%(report)s::jsonb ->> 'jobs')::integer, 0), metadata = l.metadata || %(report)s::jsonb,
       duration_ms = least(2147483647, extract(epoch from jobsync.now() - l.started_at) * 1000)::integer
 where l.tenant_id = %(tenant)s and l.id = %(run)s;

-- name: note_old_jobs
select jobsync.note_old_jobs(%(tenant)s, %(rows)s, %(now)s);

-- name: note_old_activity
select jobsync.note_old_activity(%(tenant)s, %(now)s);

-- name: list_unmarked
select * from jobsync.list_unmarked(%(tenant)s, %(now)s, %(most)s);

-- name: note_cards
select jobsync.note_cards(%(tenant)s, %(results)s);

-- name: finish_comparison
select jobsync.finish_comparison(%(tenant)s, %(since)s, %(now)s);

-- name: keep_double_cards
select jobsync.keep_double_cards(%(tenant)s, %(cards)s);

-- name: list_shadow_verdicts
select v.st_business_unit_id, v.name, v.is_safe, v.because, v.counts, v.compared_at, v.clean_since, v.old_active_at
  from jobsync.v_shadow_verdicts v where v.tenant_id = %(tenant)s order by v.is_safe, v.st_business_unit_id limit 500;

-- name: list_shadow_jobs
select s.st_job_id, s.business_unit_id, s.finding, s.reason, s.old_status, s.card from jobsync.shadow_jobs s
 where s.tenant_id = %(tenant)s and s.finding in ('missing_here', 'skipped_here', 'sent_by_both', 'missed_by_old') order by s.finding, s.st_job_id limit %(limit)s;

-- name: read_now_minus_days
select jobsync.now() - %(days)s * interval '1 day' as since;
