-- Which jobs a person means by a filter, and what sending them again would do: counted before anything is asked for.

-- What can be chosen: failed and waiting jobs; and what was accepted and never found (cause `unverified`).
create function jobsync.choose_jobs(p_tenant text, p_status text, p_reason text, p_unit bigint, p_since timestamptz, p_limit integer)
returns setof bigint language sql stable set search_path = jobsync, public as $$
  select c.st_job_id from (
    select j.st_job_id, j.business_unit_id, j.ghl_accepted_at as at from verifications v
      join jobs j on j.tenant_id = v.tenant_id and j.st_job_id = v.st_job_id
     where p_reason = 'unverified' and v.tenant_id = p_tenant and v.result = 'missing' and j.ghl_sync_status = 'synced'
    union all
    select j.st_job_id, j.business_unit_id, coalesce(j.modified_on, j.created_on) from jobs j
     where p_reason is distinct from 'unverified' and j.tenant_id = p_tenant and j.ghl_sync_status = coalesce(p_status, 'failed')
       and (p_reason is null or j.ghl_sync_reason = p_reason)) c
   where (p_unit is null or c.business_unit_id = p_unit) and (p_since is null or c.at >= p_since)
   order by c.st_job_id limit p_limit
$$;
comment on function jobsync.choose_jobs(text, text, text, bigint, timestamptz, integer) is
  'Ids of jobs by status (default failed), cause, unit and time of change; cause unverified: accepted and never found in GoHighLevel.';

create function jobsync.preview_replay(p_tenant text, p_jobs bigint[], p_force boolean) returns jsonb
language sql stable set search_path = jobsync, public as $$
  with asked as (
    select j.st_job_id, u.name as unit_name, j.business_unit_id, d.kind, case
        when r.st_business_unit_id is null then 'JobSync does not deliver its unit'
        when b.sync_enabled = false or b.sync_to_ghl = false then 'its unit is switched off'
        when o.lease_until > jobsync.now() then 'it is being sent right now'
        when not coalesce(p_force, false) and j.ghl_sync_status not in ('failed', 'pending') then 'it is ' || j.ghl_sync_status || ' (only with --force)'
      end as refusal
      from unnest(p_jobs) x(id)
      join jobs j on j.tenant_id = p_tenant and j.st_job_id = x.id
      left join business_units b on b.tenant_id = j.tenant_id and b.st_business_unit_id = j.business_unit_id
      left join routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
      left join destinations d on d.tenant_id = r.tenant_id and d.id = r.destination_id
      left join outbox o on o.tenant_id = j.tenant_id and o.st_job_id = j.st_job_id
      left join business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
  )
  select jsonb_build_object('asked', cardinality(p_jobs), 'would_replay', coalesce(jsonb_agg(a.st_job_id order by a.st_job_id) filter (where a.refusal is null), '[]'),
    'webhook_executions', count(*) filter (where a.refusal is null and a.kind = 'webhook'),
    'cost', count(*) filter (where a.refusal is null and a.kind = 'webhook') * (select t.execution_price from tenants t where t.tenant_id = p_tenant),
    'units', (select coalesce(jsonb_agg(jsonb_build_object('business_unit_id', g.business_unit_id, 'name', g.unit_name, 'jobs', g.jobs) order by g.jobs desc), '[]')
                from (select i.business_unit_id, i.unit_name, count(*) as jobs from asked i where i.refusal is null group by 1, 2) g),
    'refused', (select coalesce(jsonb_object_agg(g.refusal, g.jobs), '{}') from (select i.refusal, count(*) as jobs from asked i where i.refusal is not null group by 1) g))
    from asked a
$$;
comment on function jobsync.preview_replay(text, bigint[], boolean) is
  'What replay_jobs would do with these jobs: would_replay, paid executions and their price, by unit, and why others are left alone. Changes nothing.';
