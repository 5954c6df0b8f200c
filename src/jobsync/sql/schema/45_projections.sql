-- The projection: what GoHighLevel should be told about one job. And its hash, which decides "changed".

create view jobsync.unit_routes with (security_invoker = true) as
  select u.tenant_id, u.st_business_unit_id, u.name, u.active, u.sync_enabled, u.sync_to_ghl, u.ghl_pipeline_name,
         coalesce(r.deliverer, 'none') as deliverer, r.destination_id, coalesce(r.events, 'created') as events,
         r.pipeline_id, r.pipeline_name, r.stage_id, r.stage_name, coalesce(r.card, 'own') as card, r.problem, coalesce(r.armed, true) as armed, r.armed_reason,
         d.kind as destination_kind, d.label as destination_label, d.masked as destination_masked, d.paused_at as destination_paused_at,
         d.pause_reason as destination_pause_reason
    from public.business_units u
    left join jobsync.routes r on r.tenant_id = u.tenant_id and r.st_business_unit_id = u.st_business_unit_id
    left join jobsync.destinations d on d.tenant_id = r.tenant_id and d.id = r.destination_id;
comment on view jobsync.unit_routes is 'Each business unit with its route: who delivers, where to, on which events.';

-- Null: the job may be delivered (or handed to an external deliverer); else why not.
create function jobsync.skip_reason(
  p_deliverer text, p_sync_enabled boolean, p_sync_to_ghl boolean, p_source text, p_created_on timestamptz, p_deliver_from timestamptz
) returns text language sql immutable parallel safe as $$
  select case
    when p_sync_enabled = false or p_sync_to_ghl = false then 'unit_off'
    when p_deliverer is null or p_deliverer = 'none' then 'unmapped'
    when p_source = 'import' then 'imported'
    -- What an outside deliverer brought through /db is its own affair, however old.
    when p_created_on < p_deliver_from and not (p_deliverer = 'external' and p_source = 'api') then 'before_start'
  end
$$;
comment on function jobsync.skip_reason(text, boolean, boolean, text, timestamptz, timestamptz) is
  'Why a job is not delivered: unit_off, unmapped, imported, before_start; null when it is to be delivered.';

-- Asked for only where there is somebody to look up: a plan made before there were statistics reads all customers for it.
create function jobsync.resolve_customer(p_tenant text, p_customer bigint) returns bigint
language sql stable parallel safe as $$
  with recursive chain(id, merged_to_id, depth) as (
    select c.st_customer_id, c.merged_to_id, 0 from public.customers c where c.tenant_id = p_tenant and c.st_customer_id = p_customer
    union all
    select c.st_customer_id, c.merged_to_id, chain.depth + 1 from chain
      join public.customers c on c.tenant_id = p_tenant and c.st_customer_id = chain.merged_to_id
     where chain.merged_to_id is not null and chain.depth < 20
  )
  select coalesce((select id from chain order by depth desc limit 1), p_customer)
$$;
comment on function jobsync.resolve_customer(text, bigint) is
  'The surviving customer after merges (chains followed, at most 20 long); the last one that is known while its survivor is not here yet.';

create function jobsync.resolve_location(p_tenant text, p_location bigint) returns bigint
language sql stable parallel safe as $$
  with recursive chain(id, merged_to_id, depth) as (
    select l.st_location_id, l.merged_to_id, 0 from jobsync.locations l where l.tenant_id = p_tenant and l.st_location_id = p_location
    union all
    select l.st_location_id, l.merged_to_id, chain.depth + 1 from chain
      join jobsync.locations l on l.tenant_id = p_tenant and l.st_location_id = chain.merged_to_id
     where chain.merged_to_id is not null and chain.depth < 20
  )
  select coalesce((select id from chain order by depth desc limit 1), p_location)
$$;
comment on function jobsync.resolve_location(text, bigint) is 'The surviving location after merges; see resolve_customer.';

create view jobsync.projections with (security_invoker = true) as
  select j.tenant_id, j.st_job_id, j.st_job_number, j.st_customer_id, j.st_location_id, j.business_unit_id,
         u.name as business_unit_name, j.job_type_id, coalesce(t.name, j.job_type_name) as job_type_name, j.job_status, j.priority,
         coalesce(j.summary, j.description) as summary, j.total, j.created_on, j.completed_on, j.modified_on,
         coalesce(nullif(pg_catalog.concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as customer_name,
         c.first_name, c.last_name, c.company_name,
         coalesce(l.phone, c.phone) as phone, coalesce(l.email, c.email) as email,
         case when l.street is not null or l.city is not null then l.street else c.street end as street,
         case when l.street is not null or l.city is not null then l.city else c.city end as city,
         case when l.street is not null or l.city is not null then l.state else c.state end as state,
         case when l.street is not null or l.city is not null then l.postal_code else c.postal_code end as postal_code,
         case when l.street is not null or l.city is not null then l.country else c.country end as country,
         coalesce(l.county, c.county) as county,
         case when l.phone is not null then l.do_not_text else c.do_not_text end as do_not_text,
         c.do_not_service, j.tag_type_ids, j.campaign_id, j.active, j.job_hash, j.ghl_opportunity_id, c.ghl_contact_id
    -- limit 1: each job looks its few rows up by key, and the survivor of a merge only where there was one. Otherwise the
    -- function would stand in the join, and under row-level security only a bare column is looked up by key; or a hundred
    -- jobs would have two whole tables read.
    from public.jobs j
    left join lateral (
      select x.first_name, x.last_name, x.company_name, x.phone, x.email, x.street, x.city, x.state, x.postal_code, x.country, x.county,
             x.do_not_text, x.do_not_service, x.ghl_contact_id
        from public.customers x
       where x.tenant_id = j.tenant_id and x.st_customer_id = j.st_customer_id and x.merged_to_id is null
      union all
      select x.first_name, x.last_name, x.company_name, x.phone, x.email, x.street, x.city, x.state, x.postal_code, x.country, x.county,
             x.do_not_text, x.do_not_service, x.ghl_contact_id
        from public.customers x
       where x.tenant_id = j.tenant_id
         and x.st_customer_id = (select jobsync.resolve_customer(j.tenant_id, j.st_customer_id) from public.customers o
                                  where o.tenant_id = j.tenant_id and o.st_customer_id = j.st_customer_id and o.merged_to_id is not null)
      limit 1) c on true
    left join lateral (
      select x.phone, x.email, x.street, x.city, x.state, x.postal_code, x.country, x.county, x.do_not_text
        from jobsync.locations x
       where x.tenant_id = j.tenant_id and x.st_location_id = j.st_location_id and x.merged_to_id is null
      union all
      select x.phone, x.email, x.street, x.city, x.state, x.postal_code, x.country, x.county, x.do_not_text
        from jobsync.locations x
       where x.tenant_id = j.tenant_id
         and x.st_location_id = (select jobsync.resolve_location(j.tenant_id, j.st_location_id) from jobsync.locations o
                                  where o.tenant_id = j.tenant_id and o.st_location_id = j.st_location_id and o.merged_to_id is not null)
      limit 1) l on true
    left join public.business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
    left join jobsync.job_types t on t.tenant_id = j.tenant_id and t.st_job_type_id = j.job_type_id;
comment on view jobsync.projections is
  'What GoHighLevel is told about each job: best phone and email (location contact, then customer contact), the service address, else the customer''s.';
