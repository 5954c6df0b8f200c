-- What only the HTTP API needs: rows as it shows them, leases on pending jobs, one customer upserted.

create function jobsync.shown(p_row jsonb) returns jsonb language sql immutable parallel safe as $$
  select p_row - array['job_hash', 'job_hash_version', 'delivered_hash', 'contact_hash']
$$;
comment on function jobsync.shown(jsonb) is 'A row as the API shows it: all columns but the hashes, which tell nobody anything.';

create table jobsync.leases (
  tenant_id text not null,
  st_job_id bigint not null,
  leased_until timestamptz not null,
  leased_by text not null,
  primary key (tenant_id, st_job_id)
);
create index leases_by_end on jobsync.leases (tenant_id, leased_until);
comment on table jobsync.leases is 'Pending jobs that an external deliverer took for a while, so that no other run of it gets them. A mark ends the lease.';
comment on column jobsync.leases.leased_by is 'Who asked: the id of the token, else the kind of caller.';

-- The pending view in its order, without looking at the jobs that JobSync delivers itself, of which a million may wait:
-- the first of each external unit and reason, then the first of these.
create function jobsync.oldest_pending(p_tenant text, p_unit bigint, p_limit integer) returns bigint[]
language sql stable set search_path = jobsync, public as $$
  select coalesce(array_agg(o.st_job_id order by o.created_on, o.st_job_id), '{}')
    from (select f.st_job_id, f.created_on
            from v_tallies t
            join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = t.business_unit_id and u.sync_to_ghl and u.sync_enabled
            join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = t.business_unit_id and r.deliverer = 'external'
            cross join lateral (
              select j.st_job_id, j.created_on from jobs j
               where j.tenant_id = p_tenant and j.ghl_sync_status = 'pending' and j.ghl_sync_status <> 'synced'
                 and (case when j.ghl_sync_reason is null then 'waiting' else j.ghl_sync_reason end) = t.reason and (case when j.business_unit_id is null then 0 else j.business_unit_id end) = t.business_unit_id
               order by j.created_on, j.st_job_id limit p_limit) f
           where t.tenant_id = p_tenant and t.topic = 'jobs' and t.class = 'pending' and (p_unit is null or t.business_unit_id = p_unit)
           order by f.created_on, f.st_job_id limit p_limit) o
$$;
comment on function jobsync.oldest_pending(text, bigint, integer) is
  'Ids of the first p_limit jobs of public.jobs_pending_ghl_sync in its order (p_unit null: of any unit), however many others wait.';

create table jobsync.outside_retries (
  tenant_id text not null,
  st_job_id bigint not null,
  business_unit_id bigint,
  failures integer not null,
  due_at timestamptz,
  primary key (tenant_id, st_job_id)
);
create index outside_retries_due on jobsync.outside_retries (tenant_id, business_unit_id, due_at, st_job_id) where due_at is not null;
comment on table jobsync.outside_retries is 'Jobs that an external deliverer marked failed: how often in a row, and when they are offered again (null: never, a person has to look).';
comment on column jobsync.outside_retries.business_unit_id is 'The unit of the job, kept beside it: what is due of one unit is found without looking at the others.';
comment on column jobsync.outside_retries.failures is 'Marks `failed` since the job was last marked otherwise.';

-- The schedule of our own deliveries from its second wait on: 5 min, 30 min, 2 h, 5 h, 10 h, 10 h. After the seventh failure nobody
-- is asked again: each try may start a paid workflow.
create function jobsync.note_outside_failure(p_tenant text, p_job bigint) returns void
language sql volatile set search_path = jobsync, public as $$
  insert into outside_retries as r (tenant_id, st_job_id, business_unit_id, failures, due_at)
  select p_tenant, p_job, j.business_unit_id, 1, jobsync.now() + retry_delay(2) from jobs j where j.tenant_id = p_tenant and j.st_job_id = p_job
  on conflict (tenant_id, st_job_id) do update set business_unit_id = excluded.business_unit_id, failures = r.failures + 1, due_at = case when r.failures < 6 then jobsync.now() + retry_delay(r.failures + 2) end
$$;
comment on function jobsync.note_outside_failure(text, bigint) is 'Counts a failure that an external deliverer marked, and says when the job is offered again.';

create function jobsync.move_outside_retry() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  update outside_retries o set business_unit_id = new.business_unit_id where o.tenant_id = new.tenant_id and o.st_job_id = new.st_job_id;
  return null;
end
$$;
comment on function jobsync.move_outside_retry() is 'Trigger: a failed job that moved to another unit is offered again among the jobs of that unit.';
create trigger move_outside_retry after update of business_unit_id on public.jobs
  for each row when (old.business_unit_id is distinct from new.business_unit_id) execute function jobsync.move_outside_retry();

create function jobsync.due_retries(p_tenant text, p_unit bigint, p_limit integer) returns bigint[]
language sql stable set search_path = jobsync, public as $$
  select coalesce(array_agg(d.st_job_id order by d.due_at, d.st_job_id), '{}')
    from (select f.st_job_id, f.due_at
            from routes r
            join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = r.st_business_unit_id and u.sync_to_ghl and u.sync_enabled
            cross join lateral (
              select o.st_job_id, o.due_at from outside_retries o
                join lateral (select from jobs j where j.tenant_id = p_tenant and j.st_job_id = o.st_job_id and j.ghl_sync_status = 'failed' offset 0) j on true
               where o.tenant_id = p_tenant and o.business_unit_id = r.st_business_unit_id and o.due_at <= jobsync.now()
               order by o.due_at, o.st_job_id limit p_limit) f
           where r.tenant_id = p_tenant and r.deliverer = 'external' and (p_unit is null or r.st_business_unit_id = p_unit)
           order by f.due_at, f.st_job_id limit p_limit) d
$$;
comment on function jobsync.due_retries(text, bigint, integer) is
  'Ids of failed jobs of external units whose next try is due, the longest due first (p_unit null: of any unit).';

create function jobsync.lease_pending(p_tenant text, p_unit bigint, p_limit integer, p_seconds integer, p_by text, p_retry boolean) returns bigint[]
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  -- One after another: of two runs that ask at the same moment the second sees what the first took.
  perform pg_advisory_xact_lock(hashtextextended('jobsync leases of ' || p_tenant, 0));
  delete from leases l where l.tenant_id = p_tenant and l.leased_until <= jobsync.now();
  with most as (
    -- The oldest may be leased already: as many more are looked at as there are leases.
    select p_limit + count(*)::integer as jobs from leases l where l.tenant_id = p_tenant
  ), chosen as (
    select p.id as st_job_id
      from most m
      cross join lateral unnest(oldest_pending(p_tenant, p_unit, m.jobs) || case when p_retry then due_retries(p_tenant, p_unit, m.jobs) end) with ordinality p(id, n)
     where not exists (select from leases l where l.tenant_id = p_tenant and l.st_job_id = p.id)
     order by p.n limit p_limit
  ), taken as (
    insert into leases (tenant_id, st_job_id, leased_until, leased_by)
    select p_tenant, c.st_job_id, jobsync.now() + p_seconds * interval '1 second', p_by from chosen c
    returning st_job_id
  )
  select coalesce(array_agg(t.st_job_id), '{}') into v_jobs from taken t;
  return v_jobs;
end
$$;
comment on function jobsync.lease_pending(text, bigint, integer, integer, text, boolean) is
  'Takes up to p_limit pending jobs that nobody holds, oldest first, for p_seconds; p_unit null: of any unit; p_retry: after them failed ones that are due again. Answers their ids.';

create function jobsync.upsert_customer(p_tenant text, p_customer jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_doc jsonb := without_blanks(p_customer);
  v_id bigint;
  v_misfits text[];
begin
  if jsonb_typeof(v_doc) is distinct from 'object' then
    raise exception 'customer is missing or not an object' using errcode = 'JS001';
  end if;
  v_id := try_bigint(case when v_doc ? 'customerId' and not v_doc ? 'name' then v_doc -> 'customerId'
                          else coalesce(v_doc -> 'id', v_doc -> 'customerId') end);
  if coalesce(v_id, 0) <= 0 then
    raise exception 'customer.customerId (or customer.id) must be a positive whole number' using errcode = 'JS001';
  end if;
  if is_erased(p_tenant, 'customer', v_id) then
    raise exception 'customer was erased and is not stored again' using errcode = 'JS001';
  end if;
  v_misfits := owner_misfits(v_doc);
  if v_misfits is not null then
    v_doc := v_doc - v_misfits;
  end if;
  perform store_customers(p_tenant, jsonb_build_array(v_doc), 'api');
  return (select shown(to_jsonb(c)) from customers c where c.tenant_id = p_tenant and c.st_customer_id = v_id)
    || case when v_misfits is null then '{}' else jsonb_build_object('warnings', (select jsonb_agg('customer.' || m) from unnest(v_misfits) m)) end;
end
$$;
comment on function jobsync.upsert_customer(text, jsonb) is
  'Upserts one customer as /db receives it (the guide''s form or ServiceTitan''s) and answers the row; a field that does not fit is left out with a warning.';
