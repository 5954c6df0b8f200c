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

create function jobsync.lease_pending(p_tenant text, p_unit bigint, p_limit integer, p_seconds integer, p_by text) returns bigint[]
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  -- One after another: of two runs that ask at the same moment the second sees what the first took.
  perform pg_advisory_xact_lock(hashtextextended('jobsync leases of ' || p_tenant, 0));
  delete from leases l where l.tenant_id = p_tenant and l.leased_until <= jobsync.now();
  with chosen as (
    select v.st_job_id from v_pending_jobs v
     where v.tenant_id = p_tenant and (p_unit is null or v.business_unit_id = p_unit)
       and not exists (select from leases l where l.tenant_id = p_tenant and l.st_job_id = v.st_job_id)
     order by v.created_on, v.st_job_id limit p_limit
  ), taken as (
    insert into leases (tenant_id, st_job_id, leased_until, leased_by)
    select p_tenant, c.st_job_id, jobsync.now() + p_seconds * interval '1 second', p_by from chosen c
    returning st_job_id
  )
  select coalesce(array_agg(t.st_job_id), '{}') into v_jobs from taken t;
  return v_jobs;
end
$$;
comment on function jobsync.lease_pending(text, bigint, integer, integer, text) is
  'Takes up to p_limit pending jobs that nobody holds, oldest first, for p_seconds; p_unit null: of any unit. Answers their ids.';

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
