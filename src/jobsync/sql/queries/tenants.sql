-- Tenants as whole: run as the owner of the tables, who sees them all.

-- name: show_tenants
select t.tenant_id as id, t.name, t.time_zone, t.mode, t.paused_at, t.pause_reason, t.poll_seconds, t.created_at,
       exists (select from jobsync.connections c where c.tenant_id = t.tenant_id and c.kind = 'servicetitan') as connected
  from jobsync.tenants t where %(tenant)s::text is null or t.tenant_id = %(tenant)s order by t.tenant_id;

-- name: add_tenant
select t.tenant_id as id from jobsync.add_tenant(%(tenant)s, %(name)s, %(actor)s) t;

-- name: has_tenant
select exists (select from jobsync.tenants t where t.tenant_id = %(tenant)s);

-- name: pause_all_tenants
select jobsync.pause_all_tenants(%(reason)s, %(actor)s);

-- name: resume_all_tenants
select jobsync.resume_all_tenants(%(actor)s);

-- name: survey_tenants
-- The whole of each small table once, then what its trouble puts first; the sums of a tenant's line only of those shown.
with waits as (
  select y.tenant_id, sum(y.rows) filter (where y.reason = any (%(needs)s))::bigint as needs_you, sum(y.rows) filter (where y.reason = 'retrying')::bigint as retrying,
         sum(y.rows) filter (where y.class = 'failed')::bigint as failed
    from jobsync.v_tallies y where y.topic = 'jobs' group by y.tenant_id
), hooks as (
  select u.tenant_id, count(*) as paused_hooks from jobsync.unit_routes u where u.destination_paused_at is not null group by u.tenant_id
), told as (
  select a.tenant_id, count(*) filter (where a.severity = 'critical') as critical, count(*) filter (where a.severity = 'warning') as warnings,
         (array_agg(a.title order by a.severity, a.opened_at))[1] as first_alert
    from jobsync.alerts a where a.resolved_at is null group by a.tenant_id
), reading as (
  select c.tenant_id, string_agg(c.stream, ', ' order by c.stream) as failing from jobsync.cursors c where c.failures > 0 group by c.tenant_id
), ranked as (
  select t.tenant_id, t.paused_with_all, coalesce(w.needs_you, 0) as needs_you, coalesce(w.retrying, 0) as retrying, coalesce(w.failed, 0) as failed,
         coalesce(h.paused_hooks, 0) as paused_hooks, coalesce(a.critical, 0) as critical, coalesce(a.warnings, 0) as warnings, a.first_alert, r.failing,
         case when a.critical > 0 then 'stuck' when w.needs_you > 0 or h.paused_hooks > 0 then 'needs_you'
              when a.warnings > 0 or w.retrying > 0 or r.failing is not null then 'watch' when t.paused_at is not null then 'paused' else 'well' end as trouble
    from jobsync.tenants t
    left join waits w on w.tenant_id = t.tenant_id
    left join hooks h on h.tenant_id = t.tenant_id
    left join told a on a.tenant_id = t.tenant_id
    left join reading r on r.tenant_id = t.tenant_id
   where %(search)s::text is null or strpos(lower(t.tenant_id), lower(%(search)s)) > 0 or strpos(lower(t.name), lower(%(search)s)) > 0
), shown as (
  select x.*, array_position('{stuck,needs_you,watch,paused,well}', x.trouble) as place from ranked x
   order by place, x.critical desc, x.needs_you desc, x.failed desc, x.tenant_id limit %(limit)s
)
select s.*, x.name, x.mode, x.mode_reason, x.arm_remaining, x.paused_at, x.pause_reason, x.cap_hour, x.cap_day, x.planned, x.sends_today, x.sends_this_month,
       x.executions_this_month, x.cost_this_month, x.quarantined, x.jobs_read_at, extract(epoch from jobsync.now() - x.jobs_read_at) as lag_seconds
  from shown s join jobsync.v_tenant_status x on x.tenant_id = s.tenant_id
 order by s.place, s.critical desc, s.needs_you desc, s.failed desc, s.tenant_id;

-- name: count_held
-- What goes on when the pause of all ends: a tenant at a time, each by its counts.
select count(*) filter (where t.paused_with_all) as tenants, count(*) filter (where not t.paused_with_all) as others,
       coalesce(sum((p.held ->> 'planned')::bigint), 0)::bigint as planned, coalesce(sum((p.held ->> 'webhook_executions')::bigint), 0)::bigint as webhook_executions
  from jobsync.tenants t
  left join lateral (select jobsync.count_planned(t.tenant_id) as held where t.paused_with_all and t.mode = 'live') p on true
 where t.paused_at is not null;

-- name: sum_tenants
select count(*) as tenants, count(*) filter (where t.mode = 'live' and t.paused_at is null) as sending, count(*) filter (where t.paused_at is not null) as paused,
       count(*) filter (where t.paused_with_all) as paused_with_all, coalesce(sum(s.today), 0)::bigint as sends_today, coalesce(sum(s.executions * t.execution_price), 0) as cost_this_month,
       (select count(distinct a.tenant_id) from jobsync.alerts a where a.resolved_at is null and a.severity = 'critical') as stuck
  from jobsync.tenants t
  left join (select c.tenant_id, sum(c.sends) filter (where c.hour > jobsync.now() - interval '24 hours') as today,
                    sum(c.executions) filter (where c.hour >= date_trunc('month', jobsync.now())) as executions
               from jobsync.send_counts c where c.hour >= least(date_trunc('month', jobsync.now()), jobsync.now() - interval '24 hours') group by c.tenant_id) s on s.tenant_id = t.tenant_id;

-- name: list_shared_causes
-- What a subject names beside its kind (a unit, a hook, a day) is each tenant's own.
select a.code, case when a.code in ('failed_syncs', 'dead_letters', 'lag', 'auth_failing', 'stream_failing', 'schema_drift', 'quarantine', 'upstream_refused') then split_part(a.subject, ':', 1) else '' end as part,
       count(distinct a.tenant_id) as tenants, max(a.severity) filter (where a.severity = 'critical') is not null as critical, min(a.opened_at) as since,
       mode() within group (order by a.why) as why, mode() within group (order by a.fix) as fix,
       (array_agg(distinct t.name))[1:5] as names
  from jobsync.alerts a join jobsync.tenants t on t.tenant_id = a.tenant_id
 where a.resolved_at is null
 group by 1, 2 having count(distinct a.tenant_id) > 1
 order by critical desc, tenants desc, a.code limit 20;
