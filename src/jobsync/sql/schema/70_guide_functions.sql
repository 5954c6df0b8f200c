-- The guide's three functions, and what the /db endpoints call: bodies that come from n8n, scripts and psql.
-- An empty text counts as "not given"; a field of the wrong kind is left out with a warning, never the whole item.

create function public.update_sync_state(p_key text, p_value text, p_metadata jsonb default '{}') returns void
language plpgsql set search_path = jobsync, public as $$
begin
  perform jobsync.write_sync_state(jobsync.current_tenant(), p_key, p_value, p_metadata);
end
$$;
comment on function public.update_sync_state(text, text, jsonb) is
  'Writes one key of sync_state. lastJobPull must be an ISO time, not in the future; from then on JobSync leaves the key alone.';

create function jobsync.write_sync_state(p_tenant text, p_key text, p_value text, p_metadata jsonb default null) returns public.sync_state
language plpgsql set search_path = jobsync, public as $$
declare
  v_row public.sync_state;
begin
  if p_value is null then
    raise exception 'value is missing' using errcode = 'JS001', hint = 'Send {"value": "..."}.';
  end if;
  if p_key = 'lastJobPull' then
    if try_timestamptz_text(p_value) is null then
      raise exception 'lastJobPull must be an ISO time such as 2026-01-31T08:00:00Z' using errcode = 'JS001', hint = 'Nothing was changed.';
    elsif try_timestamptz_text(p_value) > jobsync.now() + interval '1 minute' then
      raise exception 'lastJobPull lies in the future: jobs until then would be missed' using errcode = 'JS001', hint = 'Nothing was changed.';
    end if;
  end if;
  insert into sync_state as s (tenant_id, key, value, metadata, owner) values (p_tenant, p_key, p_value, coalesce(p_metadata, '{}'), 'external')
  on conflict (tenant_id, key) do update set value = excluded.value, metadata = coalesce(p_metadata, s.metadata), owner = 'external', updated_at = jobsync.now()
  returning * into v_row;
  return v_row;
end
$$;
comment on function jobsync.write_sync_state(text, text, text, jsonb) is 'Writes a key on behalf of an outside caller, who owns it from then on.';

create function public.get_last_job_pull() returns timestamptz
language sql stable set search_path = jobsync, public as $$
  select jobsync.try_timestamptz_text(s.value) from public.sync_state s where s.tenant_id = jobsync.current_tenant() and s.key = 'lastJobPull'
$$;
comment on function public.get_last_job_pull() is 'The readable watermark as a time; null when it is not set or no time.';

create function public.upsert_job_from_st(p_job_data jsonb, p_customer_data jsonb) returns uuid
language plpgsql set search_path = jobsync, public as $$
declare
  v_result jsonb;
begin
  v_result := jobsync.upsert_items(jobsync.current_tenant(), jsonb_build_array(jsonb_build_object('job', p_job_data, 'customer', p_customer_data)));
  if jsonb_array_length(v_result -> 'errors') > 0 then
    raise exception '%', v_result #>> '{errors,0,error}' using errcode = 'JS001';
  end if;
  return (v_result #>> '{results,0,dbJobId}')::uuid;
end
$$;
comment on function public.upsert_job_from_st(jsonb, jsonb) is
  'Upserts one job with its customer (ServiceTitan''s form or the guide''s); answers the row''s id. Missing keys keep, older versions change nothing.';

-- [{job, customer}, ...] -> {total, succeeded, failed, results:[{stJobId, dbJobId, success, warnings?}], errors:[{stJobId, index, error}]}
create function jobsync.upsert_items(p_tenant text, p_items jsonb) returns jsonb
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_jobs jsonb;
  v_customers jsonb;
  v_good jsonb;
  v_errors jsonb;
  v_units bigint[];
  v_any_erased boolean := exists (select from erasure_keys k where k.tenant_id = p_tenant);
begin
  with items as (
    select e.n, without_blanks(e.value -> 'job') as job, without_blanks(e.value -> 'customer') as customer
      from jsonb_array_elements(p_items) with ordinality e(value, n)
  ), read as (
    select i.n, i.job, i.customer, try_bigint(i.job -> 'id') as job_id,
           owner_id(i.customer) as customer_id, record_misfits(field_kinds('jobs'), i.job) as job_misfits, record_misfits(field_kinds('customers'), i.customer) as owner_misfits
      from items i
  ), checked as materialized (
    select r.*, case
        when jsonb_typeof(r.job) is distinct from 'object' then 'job is missing or not an object'
        when jsonb_typeof(r.customer) is distinct from 'object' then 'customer is missing or not an object'
        when coalesce(r.job_id, 0) <= 0 then 'job.id must be a positive whole number'
        when coalesce(r.customer_id, 0) <= 0 then 'customer.customerId (or customer.id) must be a positive whole number'
        when v_any_erased and (is_erased(p_tenant, 'customer', r.customer_id) or is_erased(p_tenant, 'job', r.job_id)
             or is_erased(p_tenant, 'customer', try_bigint(r.job -> 'customerId')) or is_erased(p_tenant, 'location', try_bigint(r.job -> 'locationId'))) then 'customer was erased and is not stored again' end as error
      from read r
  ), accepted as (
    select c.n, c.job_id, c.customer_id,
           (case when c.job_misfits is null then c.job else c.job - c.job_misfits end)
             || jsonb_build_object('id', c.job_id)
             || case when c.job ? 'customerId' and not 'customerId' = any (coalesce(c.job_misfits, '{}')) then '{}' else jsonb_build_object('customerId', c.customer_id) end as job,
           (case when c.owner_misfits is null then c.customer else c.customer - c.owner_misfits end) as customer,
           array(select 'job.' || m from unnest(c.job_misfits) m union all select 'customer.' || m from unnest(c.owner_misfits) m) as warnings
      from checked c where c.error is null
  )
  select (select jsonb_agg(a.job order by a.n) from accepted a), (select jsonb_agg(a.customer order by a.n) from accepted a),
         coalesce((select jsonb_agg(jsonb_build_object('n', a.n, 'id', a.job_id, 'warnings', a.warnings) order by a.n) from accepted a), '[]'),
         coalesce((select jsonb_agg(jsonb_build_object('stJobId', c.job_id, 'index', c.n - 1, 'error', c.error) order by c.n) from checked c where c.error is not null), '[]'),
         (select array_agg(distinct try_bigint(a.job -> 'businessUnitId')) from accepted a where try_bigint(a.job -> 'businessUnitId') > 0)
    into v_jobs, v_customers, v_good, v_errors, v_units;
  if v_jobs is not null then
    perform take_over_units(p_tenant, v_units);
    perform store_customers(p_tenant, v_customers, 'api');
    perform store_jobs(p_tenant, v_jobs, 'api');
    perform note_outside_mark(p_tenant, v_units);
  end if;
  return jsonb_build_object(
    'total', jsonb_array_length(p_items), 'succeeded', jsonb_array_length(v_good), 'failed', jsonb_array_length(v_errors),
    'results', (select coalesce(jsonb_agg(jsonb_build_object('stJobId', j.st_job_id, 'dbJobId', j.id, 'success', true)
                  || case when jsonb_array_length(a.g -> 'warnings') > 0 then jsonb_build_object('warnings', a.g -> 'warnings') else '{}' end order by (a.g ->> 'n')::int), '[]')
                  from (select e.g, (e.g ->> 'id')::bigint as id from jsonb_array_elements(v_good) e(g) offset 0) a
                  -- Looked up one by one, by key: where statistics lag behind, a join would hold all jobs against each item.
                  cross join lateral (select x.id, x.st_job_id from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = a.id offset 0) j),
    'errors', v_errors);
end
$$;
comment on function jobsync.upsert_items(text, jsonb) is 'Upserts jobs with their customers as /db receives them, per item: one bad item never fails the others. Twice changes nothing.';

-- Whoever pushes jobs of an unrouted unit through /db delivers them as well: the unit becomes external.
create function jobsync.take_over_units(p_tenant text, p_units bigint[]) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_taken bigint[];
begin
  insert into business_units (tenant_id, st_business_unit_id, name)
  select p_tenant, u.id, 'Unit ' || u.id from unnest(p_units) u(id)
   where not exists (select from business_units b where b.tenant_id = p_tenant and b.st_business_unit_id = u.id)
   order by u.id
  on conflict do nothing;
  with taken as (
    insert into routes as r (tenant_id, st_business_unit_id, deliverer)
    select p_tenant, u.id, 'external' from unnest(p_units) u(id)
     where not exists (select from routes x where x.tenant_id = p_tenant and x.st_business_unit_id = u.id and x.deliverer <> 'none')
     order by u.id
    on conflict (tenant_id, st_business_unit_id) do update set deliverer = 'external', updated_at = jobsync.now() where r.deliverer = 'none'
    returning r.st_business_unit_id
  )
  select array_agg(t.st_business_unit_id) into v_taken from taken t;
  perform write_audit(p_tenant, 'jobsync', 'route_set', 'unit:' || t.id, '{"deliverer": "external", "why": "a job of this unit arrived through /db"}') from unnest(v_taken) t(id);
  perform plan_unit(p_tenant, t.id) from unnest(v_taken) t(id);
end
$$;
comment on function jobsync.take_over_units(text, bigint[]) is 'Units without a deliverer whose jobs arrive through /db become external.';

create function jobsync.note_outside_mark(p_tenant text, p_units bigint[]) returns void language sql volatile as $$
  insert into jobsync.outside_marks as m (tenant_id, business_unit_id, last_marked_at)
  select p_tenant, u.id, jobsync.now() from unnest(p_units) u(id) where u.id is not null order by u.id
  on conflict (tenant_id, business_unit_id) do update set last_marked_at = excluded.last_marked_at
   where m.last_marked_at < excluded.last_marked_at - interval '1 minute'
$$;
comment on function jobsync.note_outside_mark(text, bigint[]) is 'Notes that somebody else pushes or marks jobs of these units.';

create function jobsync.mark_job(p_tenant text, p_job bigint, p_status text, p_opportunity_id text, p_error text) returns setof public.jobs
language plpgsql set search_path = jobsync, public as $$
declare
  v_row public.jobs;
begin
  if p_status is not null and p_status not in ('pending', 'synced', 'failed', 'skipped') then
    raise exception 'status must be one of pending, synced, failed, skipped' using errcode = 'JS001';
  end if;
  update jobs j set
      ghl_sync_status = coalesce(p_status, j.ghl_sync_status),
      ghl_sync_reason = case when p_status is null then j.ghl_sync_reason when p_status = 'skipped' then 'by_hand' end,
      ghl_opportunity_id = coalesce(real_ghl_id(p_opportunity_id), j.ghl_opportunity_id),
      ghl_sync_error = case when p_error is not null then p_error when p_status in ('synced', 'pending') then null else j.ghl_sync_error end,
      ghl_synced_at = case when p_status = 'synced' then jobsync.now() else j.ghl_synced_at end,
      -- What somebody else delivered is the baseline: the content that GoHighLevel has.
      delivered_hash = case when p_status = 'synced' then j.job_hash when p_status = 'pending' then null else j.delivered_hash end,
      updated_at = jobsync.now()
    where j.tenant_id = p_tenant and j.st_job_id = p_job
  returning * into v_row;
  if v_row.st_job_id is null then
    return;
  end if;
  if p_status in ('synced', 'skipped', 'failed') then
    delete from outbox o where o.tenant_id = p_tenant and o.st_job_id = p_job and (o.lease_until is null or o.lease_until <= jobsync.now());
  elsif p_status = 'pending' then
    perform plan_jobs(p_tenant, array[p_job], '{true}');
  end if;
  if p_status is not null then
    delete from leases l where l.tenant_id = p_tenant and l.st_job_id = p_job;
    if p_status = 'failed' then
      perform note_outside_failure(p_tenant, p_job);
    else
      delete from outside_retries o where o.tenant_id = p_tenant and o.st_job_id = p_job;
    end if;
    perform note_outside_mark(p_tenant, array[v_row.business_unit_id]);
    perform write_audit(p_tenant, 'api', 'job_marked', 'job:' || p_job, jsonb_build_object('status', p_status));
  end if;
  return query select * from jobs j where j.tenant_id = p_tenant and j.st_job_id = p_job;
end
$$;
comment on function jobsync.mark_job(text, bigint, text, text, text) is
  'What an outside deliverer says about a job. synced baselines the content; pending makes it due again; nothing when the job is not known.';

create function jobsync.mark_customer(p_tenant text, p_customer bigint, p_status text, p_contact_id text, p_error text) returns setof public.customers
language plpgsql set search_path = jobsync, public as $$
begin
  if p_status is not null and p_status not in ('pending', 'synced', 'failed', 'skipped') then
    raise exception 'status must be one of pending, synced, failed, skipped' using errcode = 'JS001';
  end if;
  return query update customers c set
      ghl_sync_status = coalesce(p_status, c.ghl_sync_status), ghl_contact_id = coalesce(real_ghl_id(p_contact_id), c.ghl_contact_id),
      ghl_sync_error = case when p_error is not null then p_error when p_status in ('synced', 'pending') then null else c.ghl_sync_error end,
      ghl_synced_at = case when p_status = 'synced' then jobsync.now() else c.ghl_synced_at end, updated_at = jobsync.now()
    where c.tenant_id = p_tenant and c.st_customer_id = p_customer
    returning *;
end
$$;
comment on function jobsync.mark_customer(text, bigint, text, text, text) is 'What an outside deliverer says about a customer; nothing when the customer is not known.';
