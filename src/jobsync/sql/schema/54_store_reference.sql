-- Storing reference lists: business units and job types, read whole once an hour.

create function jobsync.store_business_units(p_tenant text, p_page jsonb)
returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_pulled integer;
  v_stored integer;
  v_refused jsonb;
  v_refused_raw bytea[];
begin
  with page as materialized (
    select e.n, e.doc, try_bigint(e.doc -> 'id') as id from jsonb_array_elements(p_page) with ordinality e(doc, n)
  ), newest as (
    select distinct on (p.id) p.id, p.doc from page p where p.id > 0 order by p.id, p.n desc
  ), written as (
    insert into public.business_units as u (tenant_id, st_business_unit_id, name, active, modified_on, st_raw_data)
    select p_tenant, n.id, coalesce(nullif(as_text(n.doc -> 'name'), ''), 'Unit ' || n.id), coalesce(try_boolean(n.doc -> 'active'), true),
           try_timestamptz(n.doc -> 'modifiedOn'), n.doc
      from newest n
      left join public.business_units o on o.tenant_id = p_tenant and o.st_business_unit_id = n.id
     where o.st_business_unit_id is null or o.st_raw_data is distinct from n.doc
    on conflict (tenant_id, st_business_unit_id) do update set
      name = excluded.name, active = excluded.active, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data,
      updated_at = jobsync.now()
    returning 1
  )
  select (select count(*) from page), (select count(*) from written),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(p.doc -> 'id'), 100), 'reason', 'id is not a positive whole number') order by p.n)
                     from page p where coalesce(p.id, 0) <= 0), '[]'),
         (select array_agg(convert_to(p.doc::text, 'UTF8') order by p.n) from page p where coalesce(p.id, 0) <= 0)
    into v_pulled, v_stored, v_refused, v_refused_raw;
  if jsonb_array_length(v_refused) > 0 then
    perform quarantine_records(p_tenant, 'business_units', v_refused, v_refused_raw, jobsync.now());
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', v_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - v_stored - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_business_units(text, jsonb) is
  'Stores business units by ServiceTitan''s names; pipeline names and switches that people set stay.';

create function jobsync.store_job_types(p_tenant text, p_page jsonb)
returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_pulled integer;
  v_types bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
begin
  with page as materialized (
    select e.n, e.doc, try_bigint(e.doc -> 'id') as id from jsonb_array_elements(p_page) with ordinality e(doc, n)
  ), newest as (
    select distinct on (p.id) p.id, p.doc from page p where p.id > 0 order by p.id, p.n desc
  ), written as (
    insert into jobsync.job_types as t (tenant_id, st_job_type_id, name, active, modified_on, st_raw_data)
    select p_tenant, n.id, as_text(n.doc -> 'name'), coalesce(try_boolean(n.doc -> 'active'), true), try_timestamptz(n.doc -> 'modifiedOn'), n.doc
      from newest n
      left join jobsync.job_types o on o.tenant_id = p_tenant and o.st_job_type_id = n.id
     where o.st_job_type_id is null or o.st_raw_data is distinct from n.doc
    on conflict (tenant_id, st_job_type_id) do update set
      name = excluded.name, active = excluded.active, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data,
      updated_at = jobsync.now()
    returning t.st_job_type_id
  )
  select (select count(*) from page), (select array_agg(w.st_job_type_id) from written w),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(p.doc -> 'id'), 100), 'reason', 'id is not a positive whole number') order by p.n)
                     from page p where coalesce(p.id, 0) <= 0), '[]'),
         (select array_agg(convert_to(p.doc::text, 'UTF8') order by p.n) from page p where coalesce(p.id, 0) <= 0)
    into v_pulled, v_types, v_refused, v_refused_raw;
  if jsonb_array_length(v_refused) > 0 then
    perform quarantine_records(p_tenant, 'job_types', v_refused, v_refused_raw, jobsync.now());
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', coalesce(cardinality(v_types), 0), 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - coalesce(cardinality(v_types), 0) - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_job_types(text, jsonb) is 'Stores job types; jobs.job_type_name is read through jobsync.projections.';
