-- Which tenants are to be pulled now, and what a pass brought about.

create function jobsync.claim_due_tenants(p_configured text[]) returns table (tenant_id text)
language sql volatile set search_path = jobsync, public as $$
  update tenants t
     -- Where sign-in or access is refused a person must act: one look in a quarter of an hour finds out that he did.
     set next_pull_at = jobsync.now() + case when is_upstream_refused(t.tenant_id, 'servicetitan') then greatest(t.poll_seconds, 900) else t.poll_seconds end
           * (1 + random() * 0.1) * interval '1 second'
   where t.tenant_id in (
     select d.tenant_id from tenants d
      where (d.tenant_id = any (p_configured) or exists (select from connections c where c.tenant_id = d.tenant_id and c.kind = 'servicetitan' and c.state = 'ok'))
        and (d.next_pull_at is null or d.next_pull_at <= jobsync.now())
      order by d.next_pull_at nulls first limit 1000 for no key update skip locked)
  returning t.tenant_id
$$;
comment on function jobsync.claim_due_tenants(text[]) is
  'Takes the tenants whose pull is due and books the next one, jittered: two schedulers never both take a tenant.';

-- The first pull starts at lastJobPull (seeded 2025-01-01); 90 days back only where the key was deleted. On an adopted database
-- it starts early enough to bring what the old flow missed.
create function jobsync.first_pull_start(p_tenant text) returns text language sql stable set search_path = jobsync, public as $$
  select to_char(coalesce((select a.pull_from from adoptions a where a.tenant_id = p_tenant),
                          (select try_timestamptz_text(s.value) from sync_state s where s.tenant_id = p_tenant and s.key = 'lastJobPull'),
                          jobsync.now() - interval '90 days') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
comment on function jobsync.first_pull_start(text) is 'Where a tenant''s first pull of jobs starts, as an ISO text.';

create function jobsync.report_sends(p_tenant text, p_since timestamptz) returns jsonb language sql stable set search_path = jobsync, public as $$
  with sent as (
    select distinct on (a.st_job_id) a.st_job_id, a.outcome from attempts a
     where a.tenant_id = p_tenant and a.started_at >= p_since order by a.st_job_id, a.id desc
  )
  select jsonb_build_object('pulled', 0, 'stored', 0, 'unchanged', 0, 'quarantined', 0, 'planned', 0,
    'delivered', (select count(*) from sent s where s.outcome like 'accepted%'),
    'verified', (select count(*) from sent s join jobs j on j.tenant_id = p_tenant and j.st_job_id = s.st_job_id where j.ghl_verified_at >= p_since),
    'skipped', (select count(*) from sent s where s.outcome = 'skipped'),
    'failed', (select count(*) from sent s where s.outcome is null or s.outcome not like 'accepted%' and s.outcome <> 'skipped'),
    'servicetitan_requests', 0,
    'gohighlevel_requests', (select coalesce(sum(a.requests), 0) from attempts a where a.tenant_id = p_tenant and a.started_at >= p_since))
$$;
comment on function jobsync.report_sends(text, timestamptz) is 'Counts of the sends since a time: jobs by their last try, and requests.';

create function jobsync.report_pass(p_tenant text, p_run uuid) returns jsonb language sql stable set search_path = jobsync, public as $$
  select report_sends(p_tenant, r.started_at) || jsonb_build_object(
    'run', r.id, 'status', r.status, 'error', r.error_message,
    'pulled', coalesce((r.metadata #>> '{streams,jobs,pulled}')::int, 0), 'stored', coalesce((r.metadata #>> '{streams,jobs,stored}')::int, 0),
    'unchanged', coalesce((r.metadata #>> '{streams,jobs,unchanged}')::int, 0), 'quarantined', coalesce((r.metadata #>> '{streams,jobs,quarantined}')::int, 0),
    'planned', coalesce((r.metadata #>> '{streams,jobs,planned}')::int, 0),
    'skipped', (select count(*) from jobs j where j.tenant_id = p_tenant and j.synced_from_st_at >= r.started_at and j.ghl_sync_status = 'skipped'),
    'servicetitan_requests', coalesce((select sum((s.value ->> 'requests')::int) from jsonb_each(r.metadata -> 'streams') s), 0),
    'core', r.metadata #> '{streams,jobs}', 'streams', r.metadata -> 'streams')
    from sync_logs r where r.tenant_id = p_tenant and r.id = p_run
$$;
comment on function jobsync.report_pass(text, uuid) is 'Counts of one pass: jobs pulled, stored, delivered, skipped, failed; requests to both upstreams since it started.';
