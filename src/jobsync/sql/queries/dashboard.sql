-- What the pages of the dashboard ask besides the verbs they share with the command line.

-- name: list_state_hours
select h.hour, h.class, h.unit_key, h.rows as jobs from jobsync.v_state_hours h
 where h.tenant_id = %(tenant)s and h.hour > jobsync.now() - interval '24 hours' and h.rows > 0 order by h.hour limit 10000;

-- name: list_read_gaps
-- How long it was, at most, since the reading before, by the hour in which the next one began.
select date_trunc('hour', g.started_at) as hour, max(extract(epoch from g.gap))::double precision as seconds, min(g.started_at) as first_at, max(g.started_at) as last_at
  from (select l.started_at, l.started_at - lag(l.started_at) over (order by l.started_at) as gap
          from (select x.started_at from public.sync_logs x
                 where x.tenant_id = %(tenant)s and x.sync_type = 'job_pull' and x.status = 'completed' and x.started_at > jobsync.now() - interval '26 hours'
                 order by x.started_at desc limit 2000) l) g
 group by 1 order by 1;

-- name: count_newer_jobs
select count(*) from (select from public.jobs j where j.tenant_id = %(tenant)s and j.st_job_id > %(after)s and (%(unit)s::bigint is null or j.business_unit_id = %(unit)s) limit 1000) x;

-- name: read_newest_job
select j.st_job_id from public.jobs j where j.tenant_id = %(tenant)s order by j.st_job_id desc limit 1;

-- name: read_flow
select (select coalesce(sum(l.records_processed), 0)::bigint from (select x.records_processed from public.sync_logs x
          where x.tenant_id = %(tenant)s and x.sync_type = 'job_pull' and x.started_at > jobsync.now() - interval '1 hour' order by x.started_at desc limit 800) l) as pulled_in_hour,
       (select x.started_at from public.sync_logs x where x.tenant_id = %(tenant)s and x.sync_type = 'job_pull' order by x.started_at desc limit 1) as last_pull_at,
       (select min(o.next_attempt_at) from jobsync.destinations d cross join lateral (
          select q.next_attempt_at from jobsync.outbox q where q.destination_id = d.id and q.tenant_id = d.tenant_id order by q.next_attempt_at limit 1) o
         where d.tenant_id = %(tenant)s) as oldest_due_at,
       (select a.finished_at from jobsync.attempts a where a.tenant_id = %(tenant)s and a.started_at > '-infinity' order by a.started_at desc limit 1) as last_sent_at,
       (select count(*) from (select from jobsync.verifications v where v.tenant_id = %(tenant)s limit 1000) v) as unread;

-- name: browse_jobs
select s.sort_at, v.*
  from jobsync.browse_jobs(%(tenant)s, %(status)s, %(reason)s, %(unit)s::bigint, %(before_at)s::timestamptz, %(before_id)s::bigint, %(limit)s) with ordinality s(st_job_id, sort_at, place)
 cross join lateral (
   select x.st_job_id, x.st_job_number, x.business_unit_name, x.job_status, x.state, x.ghl_sync_status, x.ghl_sync_reason, x.ghl_opportunity_id, x.created_on, x.modified_on, x.next_attempt_at,
          coalesce(nullif(concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as customer_name, coalesce(r.pipeline_name, j.ghl_pipeline) as pipeline_name, r.stage_name
     from jobsync.v_job_status x
     join public.jobs j on j.tenant_id = x.tenant_id and j.st_job_id = x.st_job_id
     left join public.customers c on c.tenant_id = j.tenant_id and c.st_customer_id = j.st_customer_id
     left join jobsync.routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id
    where x.tenant_id = %(tenant)s and x.st_job_id = s.st_job_id offset 0) v
 order by s.place;

-- name: list_job_facets
select v.class as status, v.reason, v.business_unit_id, u.name as business_unit_name, v.rows as jobs
  from jobsync.v_tallies v left join public.business_units u on u.tenant_id = v.tenant_id and u.st_business_unit_id = v.business_unit_id
 where v.tenant_id = %(tenant)s and v.topic = 'jobs' and v.rows > 0 order by v.rows desc, v.reason limit 500;

-- name: list_unit_names
select u.st_business_unit_id, u.name from public.business_units u where u.tenant_id = %(tenant)s order by u.name limit 500;

-- name: show_sides
select j.summary, j.job_type_name, j.priority, j.total, j.completed_on, j.ghl_pipeline, j.st_location_id, j.source, j.active,
       coalesce(nullif(concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as customer_name, c.phone, c.email, c.ghl_contact_id,
       l.street, l.city, l.state, l.postal_code,
       f.delivered_at, case when f.st_job_id is not null then coalesce(f.facts, jobsync.job_facts(j)) end as told, jobsync.job_facts(j) as now_facts, f.told_as, jobsync.told_as(j.tenant_id, j.business_unit_id, j.job_type_id) as now_as,
       k.card, k.told as card_told, o.opportunity_id, o.contact_id, o.found_by, o.gone_at, o.status as card_status, p.name as card_pipeline, s.name as card_stage,
       d.kind as destination_kind
  from public.jobs j
  left join public.customers c on c.tenant_id = j.tenant_id and c.st_customer_id = j.st_customer_id
  left join jobsync.locations l on l.tenant_id = j.tenant_id and l.st_location_id = j.st_location_id
  left join jobsync.delivered_facts f on f.tenant_id = j.tenant_id and f.st_job_id = j.st_job_id
  left join jobsync.card_plans k on k.tenant_id = j.tenant_id and k.st_job_id = j.st_job_id
  left join jobsync.routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id
  left join jobsync.destinations d on d.tenant_id = r.tenant_id and d.id = r.destination_id
  left join jobsync.opportunity_links o on o.tenant_id = j.tenant_id and o.destination_id = r.destination_id and o.st_job_id = j.st_job_id
  left join jobsync.pipelines p on p.tenant_id = j.tenant_id and p.pipeline_id = o.pipeline_id
  left join jobsync.pipeline_stages s on s.tenant_id = j.tenant_id and s.pipeline_id = o.pipeline_id and s.stage_id = o.stage_id
 where j.tenant_id = %(tenant)s and j.st_job_id = %(job)s;

-- name: skip_job
select jobsync.skip_job(%(tenant)s, %(job)s, %(note)s, %(actor)s);

-- name: list_runs
select l.id, l.sync_type, l.status, l.records_processed, l.records_succeeded, l.records_failed, l.error_message, l.started_at, l.completed_at, l.duration_ms, l.workflow_execution_id,
       l.metadata ->> 'trigger' as trigger,
       (select sum(jobsync.try_numeric(s.value -> 'requests')) from jsonb_each(case when jsonb_typeof(l.metadata -> 'streams') = 'object' then l.metadata -> 'streams' else '{}' end) s) as requests
  from public.sync_logs l
 where l.tenant_id = %(tenant)s and (%(sync_type)s::text is null or l.sync_type = %(sync_type)s) and (%(status)s::text is null or l.status = %(status)s)
   and (%(before_at)s::timestamptz is null or l.started_at < %(before_at)s)
 order by l.started_at desc limit %(limit)s;

-- name: list_running
select l.id, l.sync_type, l.records_processed, l.records_succeeded, l.records_failed, l.started_at from public.sync_logs l
 where l.tenant_id = %(tenant)s and l.status = 'running' order by l.started_at desc limit 20;

-- name: show_run
select l.id, l.sync_type, l.entity_type, l.status, l.records_processed, l.records_succeeded, l.records_failed, l.error_message, l.error_details, l.started_at, l.completed_at, l.duration_ms,
       l.workflow_execution_id, l.metadata
  from public.sync_logs l where l.tenant_id = %(tenant)s and l.id = %(run)s;

-- name: write_job_audit
select jobsync.write_audit(%(tenant)s, %(actor)s, %(action)s, 'job:' || %(job)s::bigint, %(details)s);
