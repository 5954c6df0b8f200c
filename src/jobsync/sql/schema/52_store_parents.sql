-- Storing customers, locations and their contacts. The same walk as for jobs: newest per id, merged over the stored row,
-- written only where something differs.

-- ServiceTitan has one name; GoHighLevel wants two. "Last, First" and "First Last" are read; one word is a first name.
create function jobsync.spaced(p_name text) returns text language sql immutable parallel safe as $$
  select pg_catalog.btrim(pg_catalog.translate(p_name, e'\t\n\r\f\v\u00a0', '      '))
$$;
comment on function jobsync.spaced(text) is 'The text without space around it, each kind of space as a space.';

create function jobsync.first_name(p_name text) returns text language sql immutable parallel safe as $$
  select nullif(pg_catalog.btrim(case when p_name like '%,%' then pg_catalog.split_part(p_name, ',', 2)
    when jobsync.spaced(p_name) like '% %' then pg_catalog.left(jobsync.spaced(p_name), -pg_catalog.length(pg_catalog.split_part(pg_catalog.reverse(jobsync.spaced(p_name)), ' ', 1)))
    else p_name end), '')
$$;
comment on function jobsync.first_name(text) is 'First name out of "First Last" or "Last, First".';
create function jobsync.last_name(p_name text) returns text language sql immutable parallel safe as $$
  select nullif(pg_catalog.btrim(case when p_name like '%,%' then pg_catalog.split_part(p_name, ',', 1)
    when jobsync.spaced(p_name) like '% %' then pg_catalog.reverse(pg_catalog.split_part(pg_catalog.reverse(jobsync.spaced(p_name)), ' ', 1)) end), '')
$$;
comment on function jobsync.last_name(text) is 'Last name out of "First Last" or "Last, First"; null for one word.';

create function jobsync.owner_misfits(p_doc jsonb) returns text[] language sql immutable parallel safe as $$
  select jobsync.record_misfits(jobsync.field_kinds('customers'), p_doc)
$$;
comment on function jobsync.owner_misfits(jsonb) is 'Names of the fields of a customer that do not fit; null when all fit.';

create function jobsync.owner_id(p_doc jsonb) returns bigint language sql immutable parallel safe as $$
  select jobsync.try_bigint(case when p_doc ? 'customerId' and not p_doc ? 'name' then p_doc -> 'customerId'
                                 else coalesce(p_doc -> 'id', p_doc -> 'customerId') end)
$$;
comment on function jobsync.owner_id(jsonb) is 'The customer''s id: of the guide''s form (customerId, firstName, ...) or ServiceTitan''s (id, name, ...).';

-- Stable, not immutable, as with_address is: so that their texts stand in the query that calls them.
create function jobsync.has_owner_shape(p_doc jsonb) returns boolean language sql stable parallel safe as $$
  select coalesce(pg_catalog.jsonb_typeof(p_doc) = 'object'
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'address') in ('object', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'active') in ('boolean', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'doNotService') in ('boolean', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'doNotMail') in ('boolean', 'null'), true), false)
$$;
comment on function jobsync.has_owner_shape(jsonb) is 'True when the record is an object whose address is one, too, and whose flags are flags.';

create function jobsync.list_owner_ids(p_doc jsonb) returns text language sql stable parallel safe as $$
  select pg_catalog.concat('=' || (p_doc ->> 'customerId'), ';', '=' || (p_doc ->> 'locationId'), ';', '=' || (p_doc ->> 'mergedToId'), ';')
$$;
comment on function jobsync.list_owner_ids(jsonb) is 'The ids within a customer or location, listed: `=value;`.';

create function jobsync.is_plain_owner(p_doc jsonb) returns boolean language plpgsql stable parallel safe as $$
begin
  return jobsync.has_owner_shape(p_doc) and jobsync.are_plain_ids_listed(jobsync.list_owner_ids(p_doc), 3)
     and jobsync.are_plain_times_listed(pg_catalog.concat('=' || (p_doc ->> 'modifiedOn'), ';'), 1);
end
$$;
comment on function jobsync.is_plain_owner(jsonb) is 'True when every field of a customer or location casts as it stands.';

-- Stable, not immutable, although it depends on nothing else: so PostgreSQL puts its text into the query that calls it.
create function jobsync.with_address(p_old jsonb, p_new jsonb) returns jsonb language sql stable parallel safe as $$
  select case when p_old is null then p_new
    when pg_catalog.jsonb_typeof(p_new -> 'address') = 'object' and pg_catalog.jsonb_typeof(p_old -> 'address') = 'object'
    then p_old || p_new || pg_catalog.jsonb_build_object('address', (p_old -> 'address') || (p_new -> 'address'))
    else p_old || p_new end
$$;
comment on function jobsync.with_address(jsonb, jsonb) is 'The stored record with the new one merged over it, its address key by key.';

create function jobsync.store_customers(p_tenant text, p_page jsonb, p_source text default 'servicetitan')
returns jsonb language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set work_mem = '64MB' set plan_cache_mode = auto as $$
declare
  v_now timestamptz := jobsync.now();
  v_pulled integer := jsonb_array_length(p_page);
  v_owners bigint[];
  v_merged bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
  v_any_contact boolean;
begin
  -- A plan kept from an emptier table would read the whole table for every page; for a few rows planning costs more.
  if jsonb_array_length(p_page) > 20 then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
  end if;
  -- The customers' contacts share this lock: whoever comes second sees what the other stored.
  perform lock_stream(p_tenant, 'customers');
  v_any_contact := p_source = 'servicetitan' and exists (select from contacts k where k.tenant_id = p_tenant and k.owner_kind = 'customer');
  with fresh as materialized (
    select p.n, p.id, p.doc, c as old
      from (select e.n, e.doc, owner_id(e.doc) as id from jsonb_array_elements(p_page) with ordinality e(doc, n) offset 0) p
      left join lateral (select x.* from public.customers x where x.tenant_id = p_tenant and x.st_customer_id = p.id offset 0) c on true
     where not coalesce(p.doc = c.st_raw_data and (c.source = 'servicetitan' or p_source <> 'servicetitan'), false)
  ), suspects as (
    select f.n / 100 as hundred from fresh f group by f.n / 100 
    having not (bool_and(has_owner_shape(f.doc)) and are_plain_ids_listed(string_agg(list_owner_ids(f.doc), ''), 3 * count(*))
                and are_plain_times_listed(string_agg(concat('=' || (f.doc ->> 'modifiedOn'), ';'), ''), count(*)))
  ), odd as materialized (
    select f.n, f.id, f.old, f.doc as raw, case when f.id > 0 then plain_record(field_kinds('customers'), f.doc) end as doc
      from fresh f
     where coalesce(f.id, 0) <= 0 or f.n / 100 = any (array(select s.hundred from suspects s)) and not is_plain_owner(f.doc)
  ), newest as (
    select distinct on (c.id) c.id, c.old, c.raw, c.plain, c.modified_on
      from (select f.id, f.n, f.old, f.doc as raw, null::jsonb as plain, (f.doc ->> 'modifiedOn')::timestamptz as modified_on from fresh f
             where f.id > 0 and (f.n / 100 <> all (array(select s.hundred from suspects s)) or is_plain_owner(f.doc))
            union all
            select o.id, o.n, o.old, o.raw, o.doc, (o.doc ->> 'modifiedOn')::timestamptz from odd o where o.doc is not null) c
     order by c.id, c.modified_on desc nulls last, c.n desc
  ), merged as (
    select n.id, n.modified_on, coalesce(n.plain, n.raw) as given, n.old,
           -- A new full name makes first and last names that came in the guide's form stale.
           with_address(case when n.raw ? 'name' and not n.raw ? 'firstName' then (n.old).st_raw_data - array['firstName', 'lastName', 'companyName']
                             else (n.old).st_raw_data end, n.raw) as doc
      from newest n
     where (n.old).st_customer_id is null or n.modified_on >= (n.old).modified_on or (n.old).modified_on is null
        or (n.modified_on is null and (n.old).source = p_source)
  ), best as materialized (
    -- Of all at once, and looked up by the owner's id: owner by owner it costs as much as all the rest.
    select (select jsonb_object_agg(k.owner_id, jsonb_build_array(k.phone, k.email, k.do_not_text))
              from choose_contacts(p_tenant, 'customer', array(select m.id from merged m)) k where v_any_contact) as of_owner
  ), typed as materialized (
    select m.id, m.doc, (m.old).st_customer_id is null as is_new,
      coalesce(x."locationId", case when not m.given ? 'locationId' then (m.old).st_location_id end) as st_location_id,
      case when m.given ? 'firstName' then x."firstName" when not m.given ? 'name' then (m.old).first_name
           when x.type is distinct from 'Commercial' then first_name(x.name) end as first_name,
      case when m.given ? 'lastName' then x."lastName" when not m.given ? 'name' then (m.old).last_name
           when x.type is distinct from 'Commercial' then last_name(x.name) end as last_name,
      case when m.given ? 'companyName' then x."companyName" when not m.given ? 'name' then (m.old).company_name
           when x.type = 'Commercial' then x.name end as company_name,
      -- Indexed texts are cut: an index entry has a limit, and one record must not fail its page.
      -- An owner without any contact keeps what he has: it came through /db.
      case when b.best is not null then b.best ->> 1 when m.given ? 'email' then left(x.email, 500) else (m.old).email end as email,
      case when b.best is not null then b.best ->> 0 when m.given ? 'phone' then left(x.phone, 500) else (m.old).phone end as phone,
      case when b.best is not null then (b.best ->> 2)::boolean else (m.old).do_not_text end as do_not_text,
      case when a.given ? 'street' then nullif(concat_ws(', ', nullif(a.street, ''), nullif(a.unit, '')), '') when not a.none then (m.old).street end as street,
      case when a.given ? 'city' then nullif(a.city, '') when not a.none then (m.old).city end as city,
      case when a.given ? 'state' then nullif(a.state, '') when not a.none then (m.old).state end as state,
      case when a.given ? 'zip' then nullif(a.zip, '') when not a.none then (m.old).postal_code end as postal_code,
      case when a.given ? 'country' then nullif(a.country, '') when not a.none then (m.old).country end as country,
      case when a.given ? 'county' then nullif(a.county, '') when not a.none then (m.old).county end as county,
      coalesce(m.modified_on, (m.old).modified_on) as modified_on,
      coalesce(x.active, case when not m.given ? 'active' then (m.old).active end, true) as active,
      nullif(case when m.given ? 'mergedToId' then x."mergedToId" else (m.old).merged_to_id end, m.id) as merged_to_id,
      case when m.given ? 'doNotService' then x."doNotService" else (m.old).do_not_service end as do_not_service,
      case when m.given ? 'doNotMail' then x."doNotMail" else (m.old).do_not_mail end as do_not_mail
      from merged m
      cross join lateral jsonb_to_record(m.given) as x (name text, type text, "firstName" text, "lastName" text, "companyName" text, email text,
        phone text, "locationId" bigint, "mergedToId" bigint, active boolean, "doNotService" boolean, "doNotMail" boolean)
      cross join lateral (
        select m.given -> 'address' as given, coalesce(m.given -> 'address' = 'null', false) as none, r.*
          from jsonb_to_record(case jsonb_typeof(m.given -> 'address') when 'object' then m.given -> 'address' else '{}' end)
            as r (street text, unit text, city text, state text, zip text, country text, county text)) a
      cross join best
      cross join lateral (select best.of_owner -> m.id::text as best offset 0) b
     where m.doc is distinct from (m.old).st_raw_data or (p_source = 'servicetitan' and (m.old).source <> 'servicetitan')
  ), added as (
    -- Without `on conflict`, as in store_jobs.
    insert into public.customers (id, tenant_id, st_customer_id, st_location_id, first_name, last_name, company_name, email, phone, street, city,
      state, postal_code, country, county, st_raw_data, created_at, updated_at, synced_from_st_at, modified_on, active, merged_to_id, source,
      do_not_service, do_not_mail, do_not_text)
    select row_id(p_tenant, 'customer', y.id), p_tenant, y.id, y.st_location_id, y.first_name, y.last_name, y.company_name, y.email, y.phone, y.street,
      y.city, y.state, y.postal_code, y.country, y.county, y.doc, v_now, v_now, v_now, y.modified_on, y.active, y.merged_to_id, p_source, y.do_not_service,
      y.do_not_mail, y.do_not_text
      from typed y where y.is_new
    returning st_customer_id, merged_to_id
  ), changed as (
    insert into public.customers as t (id, tenant_id, st_customer_id, st_location_id, first_name, last_name, company_name, email, phone, street, city,
      state, postal_code, country, county, st_raw_data, created_at, updated_at, synced_from_st_at, modified_on, active, merged_to_id, source,
      do_not_service, do_not_mail, do_not_text)
    select row_id(p_tenant, 'customer', y.id), p_tenant, y.id, y.st_location_id, y.first_name, y.last_name, y.company_name, y.email, y.phone, y.street,
      y.city, y.state, y.postal_code, y.country, y.county, y.doc, v_now, v_now, v_now, y.modified_on, y.active, y.merged_to_id, p_source, y.do_not_service,
      y.do_not_mail, y.do_not_text
      from typed y where not y.is_new order by y.id
    on conflict (tenant_id, st_customer_id) do update set
      st_location_id = excluded.st_location_id, first_name = excluded.first_name, last_name = excluded.last_name,
      company_name = excluded.company_name, email = excluded.email, phone = excluded.phone, street = excluded.street, city = excluded.city,
      state = excluded.state, postal_code = excluded.postal_code, country = excluded.country, county = excluded.county,
      st_raw_data = excluded.st_raw_data, updated_at = v_now, synced_from_st_at = v_now, modified_on = excluded.modified_on,
      active = excluded.active, merged_to_id = excluded.merged_to_id,
      source = case t.source when 'servicetitan' then t.source else excluded.source end,
      do_not_service = excluded.do_not_service, do_not_mail = excluded.do_not_mail, do_not_text = excluded.do_not_text
    returning t.st_customer_id, t.merged_to_id
  ), written as (
    select * from added union all select * from changed
  )
  select (select array_agg(w.st_customer_id) from written w), (select array_agg(w.st_customer_id) from written w where w.merged_to_id > 0),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(o.raw -> 'id'), 100), 'reason', refusal_reason('customers', o.raw, o.id)) order by o.n)
                     from odd o where o.doc is null), '[]'),
         (select array_agg(convert_to(o.raw::text, 'UTF8') order by o.n) from odd o where o.doc is null)
    into v_owners, v_merged, v_refused, v_refused_raw;
  if v_refused_raw is not null then
    perform quarantine_records(p_tenant, 'customers', v_refused, v_refused_raw, v_now);
  end if;
  perform want_survivors(p_tenant, 'customers', v_merged);
  perform note_arrived(p_tenant, 'customers', v_owners);
  if v_owners is not null then
    perform resolve_quarantined(p_tenant, 'customers', v_owners, v_now);
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', coalesce(cardinality(v_owners), 0), 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - coalesce(cardinality(v_owners), 0) - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_customers(text, jsonb, text) is
  'Stores customers in ServiceTitan''s form (id, name, address) or the guide''s (customerId, firstName, ...). The same page again writes nothing.';

create function jobsync.store_locations(p_tenant text, p_page jsonb)
returns jsonb language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set work_mem = '64MB' set plan_cache_mode = auto as $$
declare
  v_now timestamptz := jobsync.now();
  v_pulled integer := jsonb_array_length(p_page);
  v_owners bigint[];
  v_merged bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
  v_any_contact boolean;
begin
  -- A plan kept from an emptier table would read the whole table for every page; for a few rows planning costs more.
  if jsonb_array_length(p_page) > 20 then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
  end if;
  perform lock_stream(p_tenant, 'locations');
  v_any_contact := exists (select from contacts k where k.tenant_id = p_tenant and k.owner_kind = 'location');
  with fresh as materialized (
    select p.n, p.id, p.doc, l as old
      from (select e.n, e.doc, try_bigint(e.doc -> 'id') as id from jsonb_array_elements(p_page) with ordinality e(doc, n) offset 0) p
      left join lateral (select x.* from jobsync.locations x where x.tenant_id = p_tenant and x.st_location_id = p.id offset 0) l on true
     where p.doc is distinct from l.st_raw_data
  ), suspects as (
    select f.n / 100 as hundred from fresh f group by f.n / 100
    having not (bool_and(has_owner_shape(f.doc)) and are_plain_ids_listed(string_agg(list_owner_ids(f.doc), ''), 3 * count(*))
                and are_plain_times_listed(string_agg(concat('=' || (f.doc ->> 'modifiedOn'), ';'), ''), count(*)))
  ), odd as materialized (
    select f.n, f.id, f.old, f.doc as raw, case when f.id > 0 then plain_record(field_kinds('locations'), f.doc) end as doc
      from fresh f
     where coalesce(f.id, 0) <= 0 or f.n / 100 = any (array(select s.hundred from suspects s)) and not is_plain_owner(f.doc)
  ), newest as (
    select distinct on (c.id) c.id, c.old, c.raw, c.plain, c.modified_on
      from (select f.id, f.n, f.old, f.doc as raw, null::jsonb as plain, (f.doc ->> 'modifiedOn')::timestamptz as modified_on from fresh f
             where f.id > 0 and (f.n / 100 <> all (array(select s.hundred from suspects s)) or is_plain_owner(f.doc))
            union all
            select o.id, o.n, o.old, o.raw, o.doc, (o.doc ->> 'modifiedOn')::timestamptz from odd o where o.doc is not null) c
     order by c.id, c.modified_on desc nulls last, c.n desc
  ), merged as (
    select n.id, n.modified_on, coalesce(n.plain, n.raw) as given, n.old, with_address((n.old).st_raw_data, n.raw) as doc
      from newest n
     where (n.old).st_location_id is null or n.modified_on >= (n.old).modified_on or (n.old).modified_on is null or n.modified_on is null
  ), best as materialized (
    -- Of all at once, and looked up by the owner's id: owner by owner it costs as much as all the rest.
    select (select jsonb_object_agg(k.owner_id, jsonb_build_array(k.phone, k.email, k.do_not_text))
              from choose_contacts(p_tenant, 'location', array(select m.id from merged m)) k where v_any_contact) as of_owner
  ), typed as materialized (
    select m.id, m.doc, (m.old).st_location_id is null as is_new,
      coalesce(x."customerId", case when not m.given ? 'customerId' then (m.old).st_customer_id end) as st_customer_id,
      case when m.given ? 'name' then x.name else (m.old).name end as name,
      case when a.given ? 'street' then nullif(concat_ws(', ', nullif(a.street, ''), nullif(a.unit, '')), '') when not a.none then (m.old).street end as street,
      case when a.given ? 'city' then nullif(a.city, '') when not a.none then (m.old).city end as city,
      case when a.given ? 'state' then nullif(a.state, '') when not a.none then (m.old).state end as state,
      case when a.given ? 'zip' then nullif(a.zip, '') when not a.none then (m.old).postal_code end as postal_code,
      case when a.given ? 'country' then nullif(a.country, '') when not a.none then (m.old).country end as country,
      case when a.given ? 'county' then nullif(a.county, '') when not a.none then (m.old).county end as county,
      coalesce(x.active, case when not m.given ? 'active' then (m.old).active end, true) as active,
      nullif(case when m.given ? 'mergedToId' then x."mergedToId" else (m.old).merged_to_id end, m.id) as merged_to_id,
      coalesce(m.modified_on, (m.old).modified_on) as modified_on,
      case when b.best is not null then b.best ->> 0 else (m.old).phone end as phone,
      case when b.best is not null then b.best ->> 1 else (m.old).email end as email,
      case when b.best is not null then (b.best ->> 2)::boolean else (m.old).do_not_text end as do_not_text
      from merged m
      cross join lateral jsonb_to_record(m.given) as x (name text, "customerId" bigint, "mergedToId" bigint, active boolean)
      cross join lateral (
        select m.given -> 'address' as given, coalesce(m.given -> 'address' = 'null', false) as none, r.*
          from jsonb_to_record(case jsonb_typeof(m.given -> 'address') when 'object' then m.given -> 'address' else '{}' end)
            as r (street text, unit text, city text, state text, zip text, country text, county text)) a
      cross join best
      cross join lateral (select best.of_owner -> m.id::text as best offset 0) b
     where m.doc is distinct from (m.old).st_raw_data
  ), added as (
    -- Without `on conflict`, as in store_jobs.
    insert into jobsync.locations (tenant_id, st_location_id, st_customer_id, name, street, city, state, postal_code, country, county, active,
      merged_to_id, modified_on, st_raw_data, created_at, updated_at, phone, email, do_not_text)
    select p_tenant, y.id, y.st_customer_id, y.name, y.street, y.city, y.state, y.postal_code, y.country, y.county, y.active, y.merged_to_id,
      y.modified_on, y.doc, v_now, v_now, y.phone, y.email, y.do_not_text
      from typed y where y.is_new
    returning st_location_id, merged_to_id
  ), changed as (
    insert into jobsync.locations as t (tenant_id, st_location_id, st_customer_id, name, street, city, state, postal_code, country, county, active,
      merged_to_id, modified_on, st_raw_data, created_at, updated_at, phone, email, do_not_text)
    select p_tenant, y.id, y.st_customer_id, y.name, y.street, y.city, y.state, y.postal_code, y.country, y.county, y.active, y.merged_to_id,
      y.modified_on, y.doc, v_now, v_now, y.phone, y.email, y.do_not_text
      from typed y where not y.is_new order by y.id
    on conflict (tenant_id, st_location_id) do update set
      st_customer_id = excluded.st_customer_id, name = excluded.name, street = excluded.street, city = excluded.city, state = excluded.state,
      postal_code = excluded.postal_code, country = excluded.country, county = excluded.county, active = excluded.active,
      merged_to_id = excluded.merged_to_id, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now,
      phone = excluded.phone, email = excluded.email, do_not_text = excluded.do_not_text
    returning t.st_location_id, t.merged_to_id
  ), written as (
    select * from added union all select * from changed
  )
  select (select array_agg(w.st_location_id) from written w), (select array_agg(w.st_location_id) from written w where w.merged_to_id > 0),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(o.raw -> 'id'), 100), 'reason', refusal_reason('locations', o.raw, o.id)) order by o.n)
                     from odd o where o.doc is null), '[]'),
         (select array_agg(convert_to(o.raw::text, 'UTF8') order by o.n) from odd o where o.doc is null)
    into v_owners, v_merged, v_refused, v_refused_raw;
  if v_refused_raw is not null then
    perform quarantine_records(p_tenant, 'locations', v_refused, v_refused_raw, v_now);
  end if;
  perform want_survivors(p_tenant, 'locations', v_merged);
  perform note_arrived(p_tenant, 'locations', v_owners);
  if v_owners is not null then
    perform resolve_quarantined(p_tenant, 'locations', v_owners, v_now);
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', coalesce(cardinality(v_owners), 0), 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - coalesce(cardinality(v_owners), 0) - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_locations(text, jsonb) is 'Stores locations. The same page again writes nothing.';

-- p_phones: for each record of the page the E.164 form of its value, or null; the library that knows numbers is Python's.
-- p_owners: not null when the page holds the whole contact list of these owners, so that what is missing is gone.
create function jobsync.store_contacts(p_tenant text, p_owner_kind text, p_page jsonb, p_phones jsonb, p_owners bigint[])
returns jsonb language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set work_mem = '64MB' set plan_cache_mode = auto as $$
declare
  v_now timestamptz := jobsync.now();
  v_key text := p_owner_kind || 'Id';
  v_stream text := p_owner_kind || '_contacts';
  v_pulled integer := jsonb_array_length(p_page);
  v_stored integer;
  v_written bigint[];
  v_owners bigint[];
  v_gone bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
begin
  -- A plan kept from an emptier table would read the whole table for every page; for a few rows planning costs more.
  if jsonb_array_length(p_page) > 20 then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
  end if;
  perform lock_stream(p_tenant, p_owner_kind || 's');
  with page as materialized (
    select e.n, e.doc, try_bigint(e.doc -> 'id') as id, try_bigint(e.doc -> v_key) as owner_id, e.phone
      from rows from (jsonb_array_elements(p_page), jsonb_array_elements_text(p_phones)) with ordinality e(doc, phone, n)
  ), suspects as (
    select p.n / 100 as hundred from page p group by p.n / 100
    having not are_plain_times_listed(string_agg(concat('=' || (p.doc ->> 'modifiedOn'), ';'), ''), count(*))
  ), fresh as materialized (
    select p.*, c.st_contact_id is null as is_new, c.st_raw_data as old_doc, c.modified_on as old_modified_on, c.active as old_active, c.phone as old_phone,
           coalesce(p.id > 0 and p.owner_id > 0 and jsonb_typeof(p.doc -> 'value') = 'string' and jsonb_typeof(p.doc -> 'type') = 'string'
             and (p.n / 100 <> all (array(select s.hundred from suspects s)) or fits_timestamptz(p.doc -> 'modifiedOn')), false) as fits,
           case when p.n / 100 <> all (array(select s.hundred from suspects s)) then (p.doc ->> 'modifiedOn')::timestamptz
                else try_timestamptz(p.doc -> 'modifiedOn') end as modified_on
      from page p
      left join lateral (
        select x.* from jobsync.contacts x
         where x.tenant_id = p_tenant and x.owner_kind = p_owner_kind and x.owner_id = p.owner_id and x.st_contact_id = p.id offset 0) c on true
     where c.st_contact_id is null or p.doc is distinct from c.st_raw_data or p.phone is distinct from c.phone or not c.active
  ), newest as (
    select distinct on (f.owner_id, f.id) f.*
      from fresh f where f.fits
     order by f.owner_id, f.id, f.modified_on desc nulls last, f.n desc
  ), differing as materialized (
    select m.*, coalesce(try_boolean(m.doc -> 'active'), true) as active
      from (select n.*, coalesce(n.old_doc || n.doc, n.doc) as merged from newest n) m
     where m.old_doc is null
        or ((m.modified_on >= m.old_modified_on or m.old_modified_on is null or m.modified_on is null)
            and (m.merged is distinct from m.old_doc or m.phone is distinct from m.old_phone
                 or m.old_active <> coalesce(try_boolean(m.doc -> 'active'), true)))
  ), added as (
    -- Without `on conflict`, as in store_jobs.
    insert into jobsync.contacts (tenant_id, owner_kind, owner_id, st_contact_id, type, value, phone, memo, do_not_text, active, modified_on,
      st_raw_data, updated_at)
    select p_tenant, p_owner_kind, d.owner_id, d.id, d.merged ->> 'type', d.merged ->> 'value', d.phone, d.merged ->> 'memo',
      try_boolean(d.merged #> '{phoneSettings,doNotText}'), d.active, d.modified_on, d.merged, v_now
      from differing d where d.is_new
    returning owner_id, st_contact_id
  ), changed as (
    insert into jobsync.contacts as t (tenant_id, owner_kind, owner_id, st_contact_id, type, value, phone, memo, do_not_text, active, modified_on,
      st_raw_data, updated_at)
    select p_tenant, p_owner_kind, d.owner_id, d.id, d.merged ->> 'type', d.merged ->> 'value', d.phone, d.merged ->> 'memo',
      try_boolean(d.merged #> '{phoneSettings,doNotText}'), d.active, coalesce(d.modified_on, d.old_modified_on), d.merged, v_now
      from differing d where not d.is_new order by d.owner_id, d.id
    on conflict (tenant_id, owner_kind, owner_id, st_contact_id) do update set
      type = excluded.type, value = excluded.value, phone = excluded.phone, memo = excluded.memo, do_not_text = excluded.do_not_text,
      active = excluded.active, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now
    returning t.owner_id, t.st_contact_id
  ), written as (
    select * from added union all select * from changed
  )
  select (select count(*) from written), (select array_agg(w.st_contact_id) from written w), (select array_agg(distinct w.owner_id) from written w),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(f.doc -> 'id'), 100), 'reason',
             case when coalesce(f.id, 0) <= 0 or coalesce(f.owner_id, 0) <= 0 then 'id or ' || v_key || ' is not a positive whole number'
                  else 'type, value or modifiedOn does not fit' end) order by f.n)
             from fresh f where not f.fits), '[]'),
         (select array_agg(convert_to(f.doc::text, 'UTF8') order by f.n) from fresh f where not f.fits)
    into v_stored, v_written, v_owners, v_refused, v_refused_raw;

  if p_owners is not null then
    with present as materialized (
      select distinct try_bigint(e.doc -> v_key) as owner_id, try_bigint(e.doc -> 'id') as id from jsonb_array_elements(p_page) e(doc)
    ), removed as (
      update contacts c set active = false, updated_at = v_now
       where c.tenant_id = p_tenant and c.owner_kind = p_owner_kind and c.owner_id = any (p_owners) and c.active
         and not exists (select from present p where p.id = c.st_contact_id and p.owner_id = c.owner_id)
      returning c.owner_id)
    select array_agg(distinct r.owner_id) into v_gone from removed r;
    v_owners := v_owners || v_gone;
  end if;
  if v_refused_raw is not null then
    perform quarantine_records(p_tenant, v_stream, v_refused, v_refused_raw, v_now);
  end if;
  if v_written is not null then
    perform resolve_quarantined(p_tenant, v_stream, v_written, v_now);
  end if;
  perform refresh_owners(p_tenant, p_owner_kind, v_owners);
  perform note_arrived(p_tenant, v_stream, p_owners);
  if p_owners is not null and p_owner_kind = 'customer' then
    update public.customers c set contacts_read_at = v_now, updated_at = v_now
     where c.tenant_id = p_tenant and c.st_customer_id = any (p_owners) and c.contacts_read_at is null;
  elsif p_owners is not null then
    update locations l set contacts_read_at = v_now where l.tenant_id = p_tenant and l.st_location_id = any (p_owners) and l.contacts_read_at is null;
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', v_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - v_stored - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_contacts(text, text, jsonb, jsonb, bigint[]) is
  'Stores contacts of customers or locations, merged by contact id, and refreshes the best phone and email of their owners.';

create function jobsync.refresh_owners(p_tenant text, p_owner_kind text, p_owners bigint[]) returns void
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_known bigint[];
  v_best jsonb;
begin
  -- An owner without any contact keeps what he has: it came through /db. One who is not here yet finds them when he comes.
  if p_owner_kind = 'customer' then
    v_known := array(select c.st_customer_id from public.customers c where c.tenant_id = p_tenant and c.st_customer_id = any (p_owners));
  else
    v_known := array(select l.st_location_id from locations l where l.tenant_id = p_tenant and l.st_location_id = any (p_owners));
  end if;
  if cardinality(v_known) = 0 then
    return;
  end if;
  -- Chosen first and looked up by the owner's id: joined, all contacts of all owners were chosen anew for each owner while
  -- the tables were young.
  select jsonb_object_agg(b.owner_id, jsonb_build_array(b.phone, b.email, b.do_not_text)) into v_best from choose_contacts(p_tenant, p_owner_kind, v_known) b;
  if p_owner_kind = 'customer' then
    update public.customers c set phone = v_best -> c.st_customer_id::text ->> 0, email = v_best -> c.st_customer_id::text ->> 1,
           do_not_text = (v_best -> c.st_customer_id::text ->> 2)::boolean, updated_at = v_now
     where c.tenant_id = p_tenant and c.st_customer_id = any (v_known) and v_best ? c.st_customer_id::text
       and jsonb_build_array(c.phone, c.email, c.do_not_text) <> v_best -> c.st_customer_id::text;
  else
    update locations l set phone = v_best -> l.st_location_id::text ->> 0, email = v_best -> l.st_location_id::text ->> 1,
           do_not_text = (v_best -> l.st_location_id::text ->> 2)::boolean, updated_at = v_now
     where l.tenant_id = p_tenant and l.st_location_id = any (v_known) and v_best ? l.st_location_id::text
       and jsonb_build_array(l.phone, l.email, l.do_not_text) <> v_best -> l.st_location_id::text;
  end if;
end
$$;
comment on function jobsync.refresh_owners(text, text, bigint[]) is 'Sets the best phone and email of owners whose contacts changed.';
