-- Judging and writing the rows of an import: what each row would do, and doing it. One function says what, so that a dry run
-- shows what the import will do. Plans are made anew for each chunk: one kept from when the tables were empty would read them whole.

create type jobsync.import_decision as (
  row_no integer, record_id bigint, st_customer_id bigint, row_hash bytea, outcome text, fields jsonb, prior jsonb, extra jsonb, found jsonb, known_source text);
comment on type jobsync.import_decision is
  'What becomes of one row: new (fields are all its values), filled (fields are the values to write, prior those that stand), same, older, merged or error (found says why).';

create function jobsync.import_issue(p_code text, p_field text, p_message text, p_suggestion text, p_is_error boolean) returns jsonb
language sql immutable parallel safe as $$
  select jsonb_build_object('code', p_code, 'field', p_field, 'message', p_message, 'suggestion', p_suggestion, 'is_error', p_is_error)
$$;
comment on function jobsync.import_issue(text, text, text, text, boolean) is 'One complaint about a row, as import_rows.found holds them.';

-- The same phone, however it was written down.
create function jobsync.says_the_same(p_key text, p_old jsonb, p_new jsonb) returns boolean language sql immutable parallel safe as $$
  select p_old = p_new or case p_key
    when 'phone' then pg_catalog.right(pg_catalog.regexp_replace(p_old #>> '{}', '\D', '', 'g'), 10) = pg_catalog.right(pg_catalog.regexp_replace(p_new #>> '{}', '\D', '', 'g'), 10)
    when 'tag_type_ids' then p_old @> p_new and p_new @> p_old
    else pg_catalog.lower(pg_catalog.btrim(p_old #>> '{}')) = pg_catalog.lower(pg_catalog.btrim(p_new #>> '{}')) end
$$;
comment on function jobsync.says_the_same(text, jsonb, jsonb) is 'True when two values of a column differ in spelling only.';

create function jobsync.is_blank(p_value jsonb) returns boolean language sql immutable parallel safe as $$
  select p_value is null or p_value in ('null', '""', '[]')
$$;
comment on function jobsync.is_blank(jsonb) is 'True for what counts as not given.';

create function jobsync.judge_import_rows(p_tenant text, p_import text, p_entity text, p_from integer, p_limit integer, p_dry boolean, p_connected boolean)
returns setof jobsync.import_decision
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set plan_cache_mode = force_custom_plan as $$
declare
  v_prefer text;
  v_erases boolean := exists (select from erasure_keys k where k.tenant_id = p_tenant);
begin
  select i.prefer into v_prefer from imports i where i.tenant_id = p_tenant and i.id = p_import;
  return query
  with chunk as materialized (
    select r.* from import_rows r
     where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = p_entity and r.row_no > p_from
     order by r.row_no limit p_limit
  ), grouped as materialized (
    -- Rows of one record are one: the newest leads, else the most complete; what it leaves blank the others give.
    select c.row_no, c.record_id, c.row_hash, c.modified_at, c.failed, c.extra, t.times, case when t.times = 1 then c.row_no else d.leading_row end as leading_row,
           coalesce(m.fields, c.fields) as all_fields, m.conflicts, nullif(coalesce(c.links, d.links), '{}') as all_links
      from chunk c
      -- Nearly every record has one row: only counted, where all that follows would be made of nothing but the row itself.
      left join lateral (
        select count(*) as times from import_rows g
         where g.tenant_id = p_tenant and g.import_id = p_import and g.entity = p_entity and g.record_id = c.record_id and not g.failed and not c.failed
        offset 0) t on true
      left join lateral (
        select (array_agg(g.row_no order by g.modified_at desc nulls last, g.given desc, g.row_no))[1] as leading_row,
               array(select jsonb_array_elements_text((array_agg(to_jsonb(g.links) order by g.modified_at desc nulls last, g.given desc, g.row_no)
                 filter (where g.links is not null))[1])) as links
          from import_rows g
         where g.tenant_id = p_tenant and g.import_id = p_import and g.entity = p_entity and g.record_id = c.record_id and not g.failed and not c.failed
        offset 0) d on t.times > 1
      left join lateral (
        select jsonb_object_agg(k.key, k.value) as fields, array_agg(k.key order by k.key) filter (where k.says > 1) as conflicts
          from (select e.key, (array_agg(e.value order by g.modified_at desc nulls last, g.given desc, g.row_no))[1] as value, count(distinct e.value) as says
                  from import_rows g cross join lateral jsonb_each(g.fields) e
                 where g.tenant_id = p_tenant and g.import_id = p_import and g.entity = p_entity and g.record_id = c.record_id and not g.failed
                 group by e.key) k
         where t.times > 1) m on t.times > 1
  ), linked as materialized (
    select g.*, w.customers as named, coalesce((g.all_fields ->> 'st_customer_id')::bigint, case when cardinality(w.customers) = 1 then w.customers[1] end) as customer
      from grouped g
      left join lateral (
        -- The whole cell as one name; where nobody is called so, its parts, which must all mean one customer.
        select case when whole.ids is not null then whole.ids else parts.ids end as customers
          from (select array_agg(n.st_customer_id) as ids from import_names n
                 where n.tenant_id = p_tenant and n.import_id = p_import and n.name_key = g.all_links[1]) whole,
               (select array_agg(distinct n.st_customer_id) as ids from import_names n
                 where n.tenant_id = p_tenant and n.import_id = p_import and n.name_key = any (g.all_links[2:])) parts) w
        on p_entity = 'jobs' and g.all_links is not null and not g.all_fields ? 'st_customer_id'
  ), held as materialized (
    select l.*, case when p_entity = 'jobs' and l.customer is not null then l.all_fields || jsonb_build_object('st_customer_id', l.customer) else l.all_fields end as given_fields,
           coalesce(c.old, j.old) as old, coalesce(c.raw, j.raw) as old_raw,
           p_entity = 'jobs' and l.customer is not null and o.st_customer_id is null and s.row_no is null
             and not (p_dry and p_connected) as is_orphan,
           v_erases and (is_erased(p_tenant, case p_entity when 'jobs' then 'job' else 'customer' end, l.record_id)
             or is_erased(p_tenant, 'customer', l.customer)) as is_erased,
           (select true from import_ledger y where y.tenant_id = p_tenant and y.row_hash = l.row_hash and y.entity = p_entity and y.import_id <> p_import
                and y.record_id = l.record_id and y.prefer = v_prefer and y.undone_at is null limit 1) as is_known
      from linked l
      left join lateral (select to_jsonb(x) - 'st_raw_data' as old, x.st_raw_data as raw from customers x
                          where p_entity = 'customers' and x.tenant_id = p_tenant and x.st_customer_id = l.record_id offset 0) c on true
      left join lateral (select to_jsonb(x) - 'st_raw_data' as old, x.st_raw_data as raw from jobs x
                          where p_entity = 'jobs' and x.tenant_id = p_tenant and x.st_job_id = l.record_id offset 0) j on true
      left join lateral (select x.st_customer_id from customers x
                          where p_entity = 'jobs' and x.tenant_id = p_tenant and x.st_customer_id = l.customer offset 0) o on true
      left join lateral (select x.row_no from import_rows x
                          where p_entity = 'jobs' and p_dry and x.tenant_id = p_tenant and x.import_id = p_import and x.entity = 'customers'
                            and x.record_id = l.customer and not x.failed limit 1) s on true
  ), typed as materialized (
    select h.*, case when h.failed then '{}' else jsonb_strip_nulls(case p_entity
             when 'customers' then to_jsonb(jsonb_populate_record(null::public.customers, h.given_fields))
             else to_jsonb(jsonb_populate_record(null::public.jobs, h.given_fields)) end) end as new,
           v_prefer = 'csv' or (h.old ->> 'source' = 'import'
             and h.modified_at > coalesce(try_timestamptz_text(h.old_raw #>> '{airtable,modified}'), '-infinity')) as replaces
      from held h
  ), compared as materialized (
    select t.*, x.blank, x.other from typed t
      left join lateral (
        select jsonb_object_agg(e.key, e.value) filter (where is_blank(t.old -> e.key)) as blank,
               jsonb_object_agg(e.key, e.value) filter (where not is_blank(t.old -> e.key) and not says_the_same(e.key, t.old -> e.key, e.value)) as other
          from jsonb_each(t.new) e where not is_blank(e.value)) x on t.old is not null
  ), decided as (
    select c.*, coalesce(c.blank, '{}') || case when c.replaces then coalesce(c.other, '{}') else '{}' end as patch,
           case when c.failed then null
             when c.is_erased then import_issue('erased', null, 'This person was erased on request and is not stored again.', 'Leave the row out.', true)
             when c.all_links is not null and c.customer is null and not c.all_fields ? 'st_customer_id' then import_issue('ambiguous_link', 'Customer', case when coalesce(cardinality(c.named), 0) = 0
                    then 'No customer is called "' || c.all_links[1] || '".'
                    else cardinality(c.named) || ' customers are called "' || c.all_links[1] || '".' end, 'Write the customer''s ServiceTitan id into the cell.', true)
             when c.is_orphan then import_issue('orphan_customer', 'Customer ID', 'Customer ' || c.customer || ' is neither in the files nor in the database'
                    || case when p_connected then ', and ServiceTitan does not know it.' else '.' end,
                    case when p_connected then 'Correct the id, or add the customer to the customers file.'
                         else 'Connect ServiceTitan, or add the customer to the customers file; then import the row again.' end, true) end as failure
      from compared c
  )
  select d.row_no, d.record_id, case p_entity when 'jobs' then d.customer else d.record_id end, d.row_hash,
         case when d.failed or d.failure is not null then 'error'
              when d.row_no <> d.leading_row then 'merged'
              when d.old is null then 'new'
              when d.is_known and d.times = 1 then 'same'
              when d.patch <> '{}' then 'filled'
              when d.other is not null then 'older'
              else 'same' end,
         case when d.failed or d.failure is not null or d.row_no <> d.leading_row then null when d.old is null then d.new else d.patch end,
         case when d.old is not null then (select jsonb_object_agg(k.key, d.old -> k.key) from jsonb_object_keys(d.patch) k(key))
           || case when d.old ->> 'source' = 'import' then jsonb_build_object('_airtable', d.old_raw -> 'airtable') else '{}' end end,
         coalesce(d.extra, '{}') || jsonb_build_object('import', p_import, 'row', d.row_no)
           || case when d.modified_at is null then '{}' else jsonb_build_object('modified', to_char(d.modified_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) end,
         case when d.failure is not null then jsonb_build_array(d.failure)
              when d.conflicts is not null and d.row_no = d.leading_row then jsonb_build_array(import_issue('dup_conflict', array_to_string(d.conflicts, ', '),
                'Rows of the same record say different things; this one was taken (the newest, else the most complete).', 'Correct the value here and import the row again with --prefer csv, if it is wrong.', false)) end,
         d.old ->> 'source'
    from decided d order by d.row_no;
end
$$;
comment on function jobsync.judge_import_rows(text, text, text, integer, integer, boolean, boolean) is
  'What the next p_limit rows behind row p_from would do. p_dry: customers of the same import count as there; p_connected: what is missing is asked of ServiceTitan first.';

create function jobsync.list_import_orphans(p_tenant text, p_import text, p_from integer, p_limit integer) returns bigint[]
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_custom_plan as $$
begin
  return coalesce((select array_agg(distinct r.st_customer_id)
    from (select x.st_customer_id from import_rows x
           where x.tenant_id = p_tenant and x.import_id = p_import and x.entity = 'jobs' and x.row_no > p_from order by x.row_no limit p_limit) r
    left join lateral (select c.st_customer_id from customers c where c.tenant_id = p_tenant and c.st_customer_id = r.st_customer_id offset 0) c on true
   where r.st_customer_id is not null and c.st_customer_id is null), '{}');
end
$$;
comment on function jobsync.list_import_orphans(text, text, integer, integer) is 'Customers of the next rows of jobs that are not in the database.';

-- The records that an import makes, in the form in which they come through /db. Stable, although they depend on nothing else: so that their
-- texts stand in the query that calls them.
create function jobsync.customer_of_import(p_id bigint, p_fields jsonb, p_extra jsonb) returns jsonb language sql stable parallel safe as $$
  select jsonb_strip_nulls(jsonb_build_object('customerId', p_id, 'locationId', p_fields -> 'st_location_id', 'firstName', p_fields -> 'first_name',
      'lastName', p_fields -> 'last_name', 'companyName', p_fields -> 'company_name', 'email', p_fields -> 'email', 'phone', p_fields -> 'phone',
      'address', nullif(jsonb_strip_nulls(jsonb_build_object('street', p_fields -> 'street', 'city', p_fields -> 'city', 'state', p_fields -> 'state',
        'zip', p_fields -> 'postal_code', 'country', p_fields -> 'country', 'county', p_fields -> 'county')), '{}')))
    || jsonb_build_object('airtable', p_extra)
$$;
comment on function jobsync.customer_of_import(bigint, jsonb, jsonb) is 'A customer as store_customers takes it (the guide''s form); what has no column stands under "airtable".';

create function jobsync.job_of_import(p_id bigint, p_fields jsonb, p_extra jsonb) returns jsonb language sql stable parallel safe as $$
  select jsonb_strip_nulls(jsonb_build_object('id', p_id, 'jobNumber', p_fields -> 'st_job_number', 'customerId', p_fields -> 'st_customer_id',
      'locationId', p_fields -> 'st_location_id', 'businessUnitId', p_fields -> 'business_unit_id', 'jobTypeId', p_fields -> 'job_type_id',
      'jobTypeName', p_fields -> 'job_type_name', 'jobStatus', p_fields -> 'job_status', 'priority', p_fields -> 'priority', 'summary', p_fields -> 'summary',
      'createdOn', to_char((p_fields ->> 'created_on')::timestamptz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
      'completedOn', to_char((p_fields ->> 'completed_on')::timestamptz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
      'total', p_fields -> 'total', 'tagTypeIds', p_fields -> 'tag_type_ids'))
    || jsonb_build_object('airtable', p_extra)
$$;
comment on function jobsync.job_of_import(bigint, jsonb, jsonb) is 'A job as store_jobs takes it; what has no column stands under "airtable". Its modification time is Airtable''s, not ServiceTitan''s: it is kept there, too.';
