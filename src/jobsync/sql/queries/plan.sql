-- The plan as people see it.

-- name: show_plan
select jobsync.show_plan(%(tenant)s, coalesce(%(since)s::timestamptz, jobsync.now() - interval '7 days'));

-- name: show_planned_jobs
select * from jobsync.show_planned_jobs(%(tenant)s, %(unit)s::bigint, %(limit)s);

-- name: show_outdated
select * from jobsync.show_outdated(%(tenant)s, %(unit)s::bigint, %(limit)s);

-- name: list_stopped_sends
select cause, subject, since, why, fix from jobsync.v_stopped_sends where tenant_id = %(tenant)s order by since;
