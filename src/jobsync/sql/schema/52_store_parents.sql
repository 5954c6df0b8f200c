-- Storing customers, locations and their contacts. The same walk as for jobs: newest per id, merged over the stored row,
-- written only where something differs.

-- ServiceTitan has one name; GoHighLevel wants two. "Last, First" and "First Last" are read; one word is a first name.
create function jobsync.first_name(p_name text) returns text language sql immutable parallel safe as $$
  select nullif(pg_catalog.btrim(case when p_name like '%,%' then pg_catalog.split_part(p_name, ',', 2)
    when pg_catalog.btrim(p_name) ~ '\s' then pg_catalog.regexp_replace(pg_catalog.btrim(p_name), '\s+\S+$', '') else p_name end), '')
$$;
comment on function jobsync.first_name(text) is 'First name out of "First Last" or "Last, First".';
create function jobsync.last_name(p_name text) returns text language sql immutable parallel safe as $$
  select nullif(pg_catalog.btrim(case when p_name like '%,%' then pg_catalog.split_part(p_name, ',', 1)
    when pg_catalog.btrim(p_name) ~ '\s' then pg_catalog.substring(pg_catalog.btrim(p_name), '\S+$') end), '')
$$;
comment on function jobsync.last_name(text) is 'Last name out of "First Last" or "Last, First"; null for one word.';

create function jobsync.owner_misfits(p_doc jsonb) returns text[] language sql immutable parallel safe as $$
  select nullif(array(
    select 'mergedToId' where not jobsync.fits_bigint(p_doc -> 'mergedToId')
    union all select 'customerId' where not jobsync.fits_bigint(p_doc -> 'customerId')
    union all select 'locationId' where not jobsync.fits_bigint(p_doc -> 'locationId')
    union all select 'modifiedOn' where not jobsync.fits_timestamptz(p_doc -> 'modifiedOn')
    union all select 'address' where pg_catalog.jsonb_typeof(p_doc -> 'address') not in ('object', 'null')), '{}')
$$;
comment on function jobsync.owner_misfits(jsonb) is 'Names of the fields of a customer or location that do not fit; null when all fit.';

create function jobsync.store_customers(p_tenant text, p_page jsonb, p_source text default 'servicetitan')
returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_pulled integer;
  v_stored integer;
  v_owners bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
begin
  with page as materialized (
    select e.n, e.doc, try_bigint(case when e.doc ? 'customerId' and not e.doc ? 'name' then e.doc -> 'customerId' else coalesce(e.doc -> 'id', e.doc -> 'customerId') end) as id,
           owner_misfits(e.doc) as misfits
      from jsonb_array_elements(p_page) with ordinality e(doc, n)
  ), newest as (
    select distinct on (p.id) p.id, p.doc, try_timestamptz(p.doc -> 'modifiedOn') as modified_on
      from page p where p.id > 0 and p.misfits is null
     order by p.id, try_timestamptz(p.doc -> 'modifiedOn') desc nulls last, p.n desc
  ), merged as materialized (
    select n.id, n.modified_on, c.st_customer_id is null as is_new, n.doc as given,
           -- A new full name makes first and last names that came in the guide's form stale.
           (case when n.doc ? 'name' and not n.doc ? 'firstName' then coalesce(c.st_raw_data, '{}') - 'firstName' - 'lastName' - 'companyName'
                 else coalesce(c.st_raw_data, '{}') end) || n.doc
             || case when jsonb_typeof(n.doc -> 'address') = 'object' and jsonb_typeof(c.st_raw_data -> 'address') = 'object'
                     then jsonb_build_object('address', (c.st_raw_data -> 'address') || (n.doc -> 'address')) else '{}' end as doc,
           c.st_raw_data as old_doc, c.st_location_id, c.first_name, c.last_name, c.company_name, c.email, c.phone, c.street, c.city, c.state,
           c.postal_code, c.country, c.county, c.modified_on as old_modified_on, c.active, c.merged_to_id, c.do_not_service, c.do_not_mail
      from newest n
      left join public.customers c on c.tenant_id = p_tenant and c.st_customer_id = n.id
     where c.st_customer_id is null
        or n.modified_on >= c.modified_on or c.modified_on is null or (n.modified_on is null and c.source = p_source)
  ), differing as (
    select * from merged m where m.is_new or m.doc is distinct from m.old_doc
  ), typed as (
    select d.id, d.doc,
      case when d.given ? 'locationId' then try_bigint(d.given -> 'locationId') else d.st_location_id end as st_location_id,
      case when d.given ? 'firstName' then as_text(d.given -> 'firstName')
           when d.given ? 'name' and as_text(d.given -> 'type') is distinct from 'Commercial' then first_name(as_text(d.given -> 'name'))
           when d.given ? 'name' then null else d.first_name end as first_name,
      case when d.given ? 'lastName' then as_text(d.given -> 'lastName')
           when d.given ? 'name' and as_text(d.given -> 'type') is distinct from 'Commercial' then last_name(as_text(d.given -> 'name'))
           when d.given ? 'name' then null else d.last_name end as last_name,
      case when d.given ? 'companyName' then as_text(d.given -> 'companyName')
           when d.given ? 'name' and as_text(d.given -> 'type') = 'Commercial' then as_text(d.given -> 'name')
           when d.given ? 'name' then null else d.company_name end as company_name,
      case when d.given ? 'email' then as_text(d.given -> 'email') else d.email end as email,
      case when d.given ? 'phone' then as_text(d.given -> 'phone') else d.phone end as phone,
      case when d.given #> '{address,street}' is not null
           then nullif(concat_ws(', ', nullif(as_text(d.given #> '{address,street}'), ''), nullif(as_text(d.given #> '{address,unit}'), '')), '') else d.street end as street,
      case when d.given -> 'address' ? 'city' then nullif(as_text(d.given #> '{address,city}'), '') else d.city end as city,
      case when d.given -> 'address' ? 'state' then nullif(as_text(d.given #> '{address,state}'), '') else d.state end as state,
      case when d.given -> 'address' ? 'zip' then nullif(as_text(d.given #> '{address,zip}'), '') else d.postal_code end as postal_code,
      case when d.given -> 'address' ? 'country' then nullif(as_text(d.given #> '{address,country}'), '') else d.country end as country,
      case when d.given -> 'address' ? 'county' then nullif(as_text(d.given #> '{address,county}'), '') else d.county end as county,
      coalesce(d.modified_on, d.old_modified_on) as modified_on,
      case when d.given ? 'active' then coalesce(try_boolean(d.given -> 'active'), true) else coalesce(d.active, true) end as active,
      case when d.given ? 'mergedToId' then nullif(try_bigint(d.given -> 'mergedToId'), d.id) else d.merged_to_id end as merged_to_id,
      case when d.given ? 'doNotService' then try_boolean(d.given -> 'doNotService') else d.do_not_service end as do_not_service,
      case when d.given ? 'doNotMail' then try_boolean(d.given -> 'doNotMail') else d.do_not_mail end as do_not_mail
      from differing d
  ), written as (
    insert into public.customers as t (tenant_id, st_customer_id, st_location_id, first_name, last_name, company_name, email, phone, street, city,
      state, postal_code, country, county, st_raw_data, created_at, updated_at, synced_from_st_at, modified_on, active, merged_to_id, source,
      do_not_service, do_not_mail)
    select p_tenant, y.id, y.st_location_id, y.first_name, y.last_name, y.company_name, y.email, y.phone, y.street, y.city, y.state, y.postal_code,
      y.country, y.county, y.doc, v_now, v_now, v_now, y.modified_on, y.active, y.merged_to_id, p_source, y.do_not_service, y.do_not_mail
      from typed y
    on conflict (tenant_id, st_customer_id) do update set
      st_location_id = excluded.st_location_id, first_name = excluded.first_name, last_name = excluded.last_name,
      company_name = excluded.company_name, email = excluded.email, phone = excluded.phone, street = excluded.street, city = excluded.city,
      state = excluded.state, postal_code = excluded.postal_code, country = excluded.country, county = excluded.county,
      st_raw_data = excluded.st_raw_data, updated_at = v_now, synced_from_st_at = v_now, modified_on = excluded.modified_on,
      active = excluded.active, merged_to_id = excluded.merged_to_id, source = excluded.source,
      do_not_service = excluded.do_not_service, do_not_mail = excluded.do_not_mail
    returning t.st_customer_id
  )
  select (select count(*) from page), (select count(*) from written), (select array_agg(w.st_customer_id) from written w),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(p.doc -> 'id'), 100), 'reason',
                     case when jsonb_typeof(p.doc) <> 'object' then 'the record is not an object'
                          when coalesce(p.id, 0) <= 0 then 'id is not a positive whole number'
                          else 'these fields do not fit: ' || array_to_string(p.misfits, ', ') end) order by p.n)
                     from page p where coalesce(p.id, 0) <= 0 or p.misfits is not null), '[]'),
         (select array_agg(convert_to(p.doc::text, 'UTF8') order by p.n) from page p where coalesce(p.id, 0) <= 0 or p.misfits is not null)
    into v_pulled, v_stored, v_owners, v_refused, v_refused_raw;
  if jsonb_array_length(v_refused) > 0 then
    perform quarantine_records(p_tenant, 'customers', v_refused, v_refused_raw, v_now);
  end if;
  if p_source = 'servicetitan' then
    perform refresh_owners(p_tenant, 'customer', v_owners);
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', v_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - v_stored - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_customers(text, jsonb, text) is
  'Stores customers in ServiceTitan''s form (id, name, address) or the guide''s (customerId, firstName, ...). The same page again writes nothing.';

create function jobsync.store_locations(p_tenant text, p_page jsonb)
returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_pulled integer;
  v_stored integer;
  v_owners bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
begin
  with page as materialized (
    select e.n, e.doc, try_bigint(e.doc -> 'id') as id, owner_misfits(e.doc) as misfits
      from jsonb_array_elements(p_page) with ordinality e(doc, n)
  ), newest as (
    select distinct on (p.id) p.id, p.doc, try_timestamptz(p.doc -> 'modifiedOn') as modified_on
      from page p where p.id > 0 and p.misfits is null
     order by p.id, try_timestamptz(p.doc -> 'modifiedOn') desc nulls last, p.n desc
  ), differing as (
    select n.id, coalesce(l.st_raw_data, '{}') || n.doc as doc, coalesce(n.modified_on, l.modified_on) as modified_on
      from newest n
      left join jobsync.locations l on l.tenant_id = p_tenant and l.st_location_id = n.id
     where l.st_location_id is null
        or ((n.modified_on >= l.modified_on or l.modified_on is null or n.modified_on is null)
            and coalesce(l.st_raw_data, '{}') || n.doc is distinct from l.st_raw_data)
  ), written as (
    insert into jobsync.locations as t (tenant_id, st_location_id, st_customer_id, name, street, city, state, postal_code, country, county, active,
      merged_to_id, modified_on, st_raw_data, created_at, updated_at)
    select p_tenant, d.id, try_bigint(d.doc -> 'customerId'), as_text(d.doc -> 'name'),
      nullif(concat_ws(', ', nullif(as_text(d.doc #> '{address,street}'), ''), nullif(as_text(d.doc #> '{address,unit}'), '')), ''),
      nullif(as_text(d.doc #> '{address,city}'), ''), nullif(as_text(d.doc #> '{address,state}'), ''), nullif(as_text(d.doc #> '{address,zip}'), ''),
      nullif(as_text(d.doc #> '{address,country}'), ''), nullif(as_text(d.doc #> '{address,county}'), ''),
      coalesce(try_boolean(d.doc -> 'active'), true), nullif(try_bigint(d.doc -> 'mergedToId'), d.id), d.modified_on, d.doc, v_now, v_now
      from differing d
    on conflict (tenant_id, st_location_id) do update set
      st_customer_id = excluded.st_customer_id, name = excluded.name, street = excluded.street, city = excluded.city, state = excluded.state,
      postal_code = excluded.postal_code, country = excluded.country, county = excluded.county, active = excluded.active,
      merged_to_id = excluded.merged_to_id, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now
    returning t.st_location_id
  )
  select (select count(*) from page), (select count(*) from written), (select array_agg(w.st_location_id) from written w),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(p.doc -> 'id'), 100), 'reason',
                     case when jsonb_typeof(p.doc) <> 'object' then 'the record is not an object'
                          when coalesce(p.id, 0) <= 0 then 'id is not a positive whole number'
                          else 'these fields do not fit: ' || array_to_string(p.misfits, ', ') end) order by p.n)
                     from page p where coalesce(p.id, 0) <= 0 or p.misfits is not null), '[]'),
         (select array_agg(convert_to(p.doc::text, 'UTF8') order by p.n) from page p where coalesce(p.id, 0) <= 0 or p.misfits is not null)
    into v_pulled, v_stored, v_owners, v_refused, v_refused_raw;
  if jsonb_array_length(v_refused) > 0 then
    perform quarantine_records(p_tenant, 'locations', v_refused, v_refused_raw, v_now);
  end if;
  perform refresh_owners(p_tenant, 'location', v_owners);
  return jsonb_build_object('pulled', v_pulled, 'stored', v_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - v_stored - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_locations(text, jsonb) is 'Stores locations. The same page again writes nothing.';

-- p_phones: for each record of the page the E.164 form of its value, or null; the library that knows numbers is Python's.
-- p_owners: not null when the page holds the whole contact list of these owners, so that what is missing is gone.
create function jobsync.store_contacts(p_tenant text, p_owner_kind text, p_page jsonb, p_phones jsonb, p_owners bigint[])
returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_key text := p_owner_kind || 'Id';
  v_stream text := p_owner_kind || '_contacts';
  v_pulled integer;
  v_stored integer;
  v_owners bigint[];
  v_gone bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
begin
  with page as materialized (
    select e.n, e.doc, try_bigint(e.doc -> 'id') as id, try_bigint(e.doc -> v_key) as owner_id, p_phones ->> (e.n - 1)::int as phone,
           jsonb_typeof(e.doc -> 'value') = 'string' and jsonb_typeof(e.doc -> 'type') = 'string' and fits_timestamptz(e.doc -> 'modifiedOn') as fits
      from jsonb_array_elements(p_page) with ordinality e(doc, n)
  ), newest as (
    select distinct on (p.owner_id, p.id) p.owner_id, p.id, p.doc, p.phone, try_timestamptz(p.doc -> 'modifiedOn') as modified_on
      from page p where p.id > 0 and p.owner_id > 0 and p.fits
     order by p.owner_id, p.id, try_timestamptz(p.doc -> 'modifiedOn') desc nulls last, p.n desc
  ), differing as (
    select n.* from newest n
      left join jobsync.contacts c on c.tenant_id = p_tenant and c.owner_kind = p_owner_kind and c.owner_id = n.owner_id and c.st_contact_id = n.id
     where c.st_contact_id is null
        or ((n.modified_on >= c.modified_on or c.modified_on is null or n.modified_on is null)
            and (coalesce(c.st_raw_data, '{}') || n.doc is distinct from c.st_raw_data or c.phone is distinct from n.phone
                 or (not c.active and not n.doc ? 'active')))
  ), written as (
    insert into jobsync.contacts as t (tenant_id, owner_kind, owner_id, st_contact_id, type, value, phone, memo, do_not_text, active, modified_on,
      st_raw_data, updated_at)
    select p_tenant, p_owner_kind, d.owner_id, d.id, as_text(d.doc -> 'type'), as_text(d.doc -> 'value'), d.phone, as_text(d.doc -> 'memo'),
      try_boolean(d.doc #> '{phoneSettings,doNotText}'), coalesce(try_boolean(d.doc -> 'active'), true), d.modified_on, d.doc, v_now
      from differing d
    on conflict (tenant_id, owner_kind, owner_id, st_contact_id) do update set
      type = excluded.type, value = excluded.value, phone = excluded.phone, memo = excluded.memo, do_not_text = excluded.do_not_text,
      active = excluded.active, modified_on = coalesce(excluded.modified_on, t.modified_on),
      st_raw_data = coalesce(t.st_raw_data, '{}') || excluded.st_raw_data, updated_at = v_now
    returning t.owner_id
  )
  select (select count(*) from page), (select count(*) from written), (select array_agg(distinct w.owner_id) from written w),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(p.doc -> 'id'), 100), 'reason',
             case when coalesce(p.id, 0) <= 0 or coalesce(p.owner_id, 0) <= 0 then 'id or ' || v_key || ' is not a positive whole number'
                  else 'type, value or modifiedOn does not fit' end) order by p.n)
             from page p where not (coalesce(p.id, 0) > 0 and coalesce(p.owner_id, 0) > 0 and coalesce(p.fits, false))), '[]'),
         (select array_agg(convert_to(p.doc::text, 'UTF8') order by p.n)
            from page p where not (coalesce(p.id, 0) > 0 and coalesce(p.owner_id, 0) > 0 and coalesce(p.fits, false)))
    into v_pulled, v_stored, v_owners, v_refused, v_refused_raw;

  if p_owners is not null then
    with removed as (
      update contacts c set active = false, updated_at = v_now
       where c.tenant_id = p_tenant and c.owner_kind = p_owner_kind and c.owner_id = any (p_owners) and c.active
         and not exists (select from jsonb_array_elements(p_page) e(doc)
                          where try_bigint(e.doc -> 'id') = c.st_contact_id and try_bigint(e.doc -> v_key) = c.owner_id)
      returning c.owner_id)
    select array_agg(distinct r.owner_id) into v_gone from removed r;
    v_owners := v_owners || v_gone;
  end if;
  if jsonb_array_length(v_refused) > 0 then
    perform quarantine_records(p_tenant, v_stream, v_refused, v_refused_raw, v_now);
  end if;
  perform refresh_owners(p_tenant, p_owner_kind, v_owners);
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
language plpgsql set search_path = jobsync, public as $$
begin
  if p_owners is null then
    return;
  end if;
  if p_owner_kind = 'customer' then
    update public.customers c set phone = b.phone, email = b.email, do_not_text = b.do_not_text, updated_at = jobsync.now()
      from choose_contacts(p_tenant, 'customer', p_owners) b
     where c.tenant_id = p_tenant and c.st_customer_id = b.owner_id
       and exists (select from contacts k where k.tenant_id = p_tenant and k.owner_kind = 'customer' and k.owner_id = c.st_customer_id)
       and (c.phone, c.email, c.do_not_text) is distinct from (b.phone, b.email, b.do_not_text);
  else
    update locations l set phone = b.phone, email = b.email, do_not_text = b.do_not_text, updated_at = jobsync.now()
      from choose_contacts(p_tenant, 'location', p_owners) b
     where l.tenant_id = p_tenant and l.st_location_id = b.owner_id
       and exists (select from contacts k where k.tenant_id = p_tenant and k.owner_kind = 'location' and k.owner_id = l.st_location_id)
       and (l.phone, l.email, l.do_not_text) is distinct from (b.phone, b.email, b.do_not_text);
  end if;
end
$$;
comment on function jobsync.refresh_owners(text, text, bigint[]) is 'Sets the best phone and email of owners whose contacts changed.';
