-- Personal data: erasing one customer for good, and what is kept for how long.
--
-- Erasing goes by the catalog: every table that holds rows of a customer, a location or a job by its column st_customer_id,
-- st_location_id or st_job_id loses them, also one that is added later. What stays are attempts and audit, which hold ids and
-- times. A hash of each erased id stays as well, so that the next pull does not bring the record back.

create table jobsync.erasure_keys (
  tenant_id text primary key references jobsync.tenants on delete cascade,
  key bytea not null default pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.gen_random_uuid()::text || pg_catalog.gen_random_uuid()::text, 'UTF8')),
  created_at timestamptz not null default jobsync.now()
);
comment on table jobsync.erasure_keys is 'The key of a tenant''s hashes of erased ids; a tenant without one has erased nobody.';

create table jobsync.erased (
  tenant_id text not null,
  kind text not null constraint erased_kind_is_known check (kind in ('customer', 'location', 'job')),
  record_hash bytea not null,
  erased_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, kind, record_hash)
);
comment on table jobsync.erased is 'Keyed hashes of the ids of erased records: what has one of them is not stored again.';

create function jobsync.erased_hash(p_tenant text, p_id bigint) returns bytea language sql stable as $$
  select pg_catalog.sha256(k.key || pg_catalog.convert_to(p_id::text, 'UTF8')) from jobsync.erasure_keys k where k.tenant_id = p_tenant
$$;
comment on function jobsync.erased_hash(text, bigint) is 'The hash of an id under the tenant''s key; null where nobody was erased yet.';

create function jobsync.is_erased(p_tenant text, p_kind text, p_id bigint) returns boolean language sql stable as $$
  select exists (select from jobsync.erased e where e.tenant_id = p_tenant and e.kind = p_kind and e.record_hash = jobsync.erased_hash(p_tenant, p_id))
$$;
comment on function jobsync.is_erased(text, text, bigint) is 'True for the id of a customer, location or job that was erased.';

-- Once for each statement, not for each row: a page of 5,000 records costs one look here. What an erased customer's record
-- left in a table is gone before the statement ends. Arguments: the table's key columns, then pairs of SQL for (kind, id).
create function jobsync.keep_erased_out() returns trigger language plpgsql set search_path = jobsync, public as $$
declare
  v_same text := (select string_agg(format('t.%1$I = a.%1$I', k), ' and ') from unnest(string_to_array(tg_argv[0], ' ')) k);
  v_erased text := '';
begin
  -- Almost nobody has erased anybody.
  if not exists (select from erasure_keys) then
    return null;
  end if;
  for v_pair in 1 .. tg_nargs - 1 by 2 loop
    v_erased := v_erased || case when v_pair > 1 then ' or ' else '' end || format(
      'exists (select from jobsync.erased e where e.tenant_id = a.tenant_id and e.kind = %s and e.record_hash = sha256(k.key || convert_to((%s)::text, %L)))',
      tg_argv[v_pair], tg_argv[v_pair + 1], 'UTF8');
  end loop;
  execute format('delete from %I.%I t using added a join jobsync.erasure_keys k on k.tenant_id = a.tenant_id where t.tenant_id = a.tenant_id and %s and (%s)',
    tg_table_schema, tg_table_name, v_same, v_erased);
  return null;
end
$$;
comment on function jobsync.keep_erased_out() is 'Trigger: a record of an erased customer is not stored again, whoever brings it.';

-- A customer's row names one location of his, or of somebody else's once it moved on: that one does not count.
create trigger keep_erased_out after insert on public.customers referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_customer_id', '''customer''', 'a.st_customer_id');
create trigger keep_erased_out after insert on public.jobs referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_job_id', '''customer''', 'a.st_customer_id', '''location''', 'a.st_location_id', '''job''', 'a.st_job_id');
create trigger keep_erased_out after insert on jobsync.locations referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_location_id', '''customer''', 'a.st_customer_id', '''location''', 'a.st_location_id');
create trigger keep_erased_out after insert on jobsync.contacts referencing new table as added for each statement
  execute function jobsync.keep_erased_out('owner_kind owner_id st_contact_id', 'a.owner_kind', 'a.owner_id');
create trigger keep_erased_out after insert on jobsync.wanted referencing new table as added for each statement
  execute function jobsync.keep_erased_out('stream id', 'case when a.stream like ''customer%'' then ''customer'' else ''location'' end', 'a.id');
create trigger keep_erased_out after insert on jobsync.appointments referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_appointment_id', '''customer''', 'a.st_customer_id', '''job''', 'a.st_job_id');
create trigger keep_erased_out after insert on jobsync.estimates referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_estimate_id', '''customer''', 'a.st_customer_id', '''location''', 'a.st_location_id', '''job''', 'a.st_job_id');
create trigger keep_erased_out after insert on jobsync.invoices referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_invoice_id', '''customer''', 'a.st_customer_id', '''location''', 'a.st_location_id', '''job''', 'a.st_job_id');
create trigger keep_erased_out after insert on jobsync.technician_assignments referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_assignment_id', '''job''', 'a.st_job_id');

-- Where there is no index by customer, location or job, the tenant's own rows are read, never those of all tenants.
create function jobsync.erase_customer(p_tenant text, p_customer bigint, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public set enable_seqscan = off as $$
declare
  v_customers bigint[];
  v_locations bigint[];
  v_jobs bigint[];
  v_outside jsonb;
  v_table record;
  v_condition text;
  v_count bigint;
  v_counts jsonb := '{}';
begin
  select array_agg(c.st_customer_id) into v_customers from customers c
   where c.tenant_id = p_tenant and (c.st_customer_id = p_customer or c.merged_to_id = p_customer);
  v_customers := coalesce(v_customers, '{}') || case when p_customer = any (v_customers) then '{}'::bigint[] else array[p_customer] end;
  select coalesce(array_agg(l.st_location_id), '{}') into v_locations from locations l where l.tenant_id = p_tenant and l.st_customer_id = any (v_customers);
  select coalesce(array_agg(j.st_job_id), '{}') into v_jobs from jobs j where j.tenant_id = p_tenant and j.st_customer_id = any (v_customers);
  if not exists (select from customers c where c.tenant_id = p_tenant and c.st_customer_id = p_customer)
     and v_locations = '{}' and v_jobs = '{}' and not is_erased(p_tenant, 'customer', p_customer) then
    raise exception 'No customer has the id %.', p_customer using errcode = 'JS004';
  end if;
  -- What GoHighLevel keeps is to be deleted there by its owner: these are its ids.
  select jsonb_build_object(
      'contacts', coalesce(jsonb_agg(distinct k.id) filter (where k.kind = 'contact' and not k.shared), '[]'),
      -- Another customer's, too: a person decides what becomes of it.
      'shared_contacts', coalesce(jsonb_agg(distinct k.id) filter (where k.kind = 'contact' and k.shared), '[]'),
      'opportunities', coalesce(jsonb_agg(distinct k.id) filter (where k.kind = 'opportunity'), '[]'))
    into v_outside
    from (select g.kind, g.id, g.kind = 'contact' and exists (
                   select from contact_links o where o.tenant_id = p_tenant and o.contact_id = g.id and o.st_customer_id <> all (v_customers)) as shared
            from (select 'contact' as kind, c.ghl_contact_id as id from customers c where c.tenant_id = p_tenant and c.st_customer_id = any (v_customers)
                  union select 'contact', l.contact_id from contact_links l where l.tenant_id = p_tenant and l.st_customer_id = any (v_customers)
                  union select 'contact', l.contact_id from opportunity_links l where l.tenant_id = p_tenant and l.st_job_id = any (v_jobs)
                  union select 'opportunity', j.ghl_opportunity_id from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (v_jobs)
                  union select 'opportunity', l.opportunity_id from opportunity_links l where l.tenant_id = p_tenant and l.st_job_id = any (v_jobs)) g
           where g.id is not null) k;
  perform lock_jobs(p_tenant, v_jobs);
  insert into erasure_keys (tenant_id) values (p_tenant) on conflict do nothing;
  insert into erased (tenant_id, kind, record_hash)
  select p_tenant, k.kind, erased_hash(p_tenant, k.id)
    from (select 'customer' as kind, unnest(v_customers) as id union all select 'location', unnest(v_locations) union all select 'job', unnest(v_jobs)) k
  on conflict do nothing;
  for v_table in
    select n.nspname, c.relname, array_agg(a.attname::text) as columns
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname in ('public', 'jobsync')
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and not a.attisdropped and a.attname in ('st_customer_id', 'st_location_id', 'st_job_id')
     where c.relkind = 'r' and c.relname <> 'attempts'
       and exists (select from pg_catalog.pg_attribute t where t.attrelid = c.oid and t.attname = 'tenant_id' and not t.attisdropped)
     group by n.nspname, c.relname order by n.nspname, c.relname
  loop
    v_condition := concat_ws(' or ',
      case when 'st_customer_id' = any (v_table.columns) then 'st_customer_id = any ($2)' end,
      case when 'st_job_id' = any (v_table.columns) then 'st_job_id = any ($4)' end,
      -- A customer's row names one location of his; only what has no owner beside it is a location's own.
      case when 'st_location_id' = any (v_table.columns) and v_table.relname <> 'customers' then 'st_location_id = any ($3)' end);
    execute format('delete from %I.%I where tenant_id = $1 and (%s)', v_table.nspname, v_table.relname, v_condition) using p_tenant, v_customers, v_locations, v_jobs;
    get diagnostics v_count = row_count;
    v_counts := v_counts || case when v_count > 0 then jsonb_build_object(v_table.relname, v_count) else '{}' end;
  end loop;
  delete from contacts k where k.tenant_id = p_tenant
     and (k.owner_kind = 'customer' and k.owner_id = any (v_customers) or k.owner_kind = 'location' and k.owner_id = any (v_locations));
  get diagnostics v_count = row_count;
  v_counts := v_counts || case when v_count > 0 then jsonb_build_object('contacts', v_count) else '{}' end;
  delete from wanted w where w.tenant_id = p_tenant
     and (w.stream like 'customer%' and w.id = any (v_customers) or w.stream like 'location%' and w.id = any (v_locations));
  delete from quarantine q where q.tenant_id = p_tenant
     and (q.stream = 'customers' and q.record_id = any (v_customers::text[]) or q.stream = 'locations' and q.record_id = any (v_locations::text[])
          or q.stream = 'jobs' and q.record_id = any (v_jobs::text[])
          or encode(q.raw, 'escape') ~ ('"customerId"\s*:\s*"?(' || array_to_string(v_customers, '|') || ')\M')
          or v_locations <> '{}' and encode(q.raw, 'escape') ~ ('"locationId"\s*:\s*"?(' || array_to_string(v_locations, '|') || ')\M'));
  get diagnostics v_count = row_count;
  v_counts := v_counts || case when v_count > 0 then jsonb_build_object('quarantine', v_count) else '{}' end;
  -- Attempts stay to be counted, without the words that came back.
  update attempts a set answer = null, error = null where a.tenant_id = p_tenant and a.st_job_id = any (v_jobs) and (a.answer is not null or a.error is not null);
  update sync_logs l set error_message = null, error_details = null, metadata = '{}'
   where l.tenant_id = p_tenant and l.entity_id = any (v_customers || v_locations || v_jobs);
  perform write_audit(p_tenant, p_actor, 'customer_erased', 'customer:' || p_customer, v_counts);
  return jsonb_build_object('customer', p_customer, 'customers', cardinality(v_customers), 'locations', cardinality(v_locations), 'jobs', cardinality(v_jobs),
    'erased', v_counts, 'gohighlevel', v_outside);
end
$$;
comment on function jobsync.erase_customer(text, bigint, text) is
  'Erases a customer with all jobs, locations, contacts, documents, raw records and words about them; answers counts and the ids that GoHighLevel still has. They never come back. Twice: the second time finds nothing.';

alter table jobsync.tenants add column raw_days integer constraint raw_days_is_a_month_or_more check (raw_days >= 30);
comment on column jobsync.tenants.raw_days is 'After how many days without a change texts leave st_raw_data (numbers stay); null: never.';

create function jobsync.without_texts(p_raw jsonb) returns jsonb language sql immutable parallel safe as $$
  select coalesce(jsonb_object_agg(e.key, e.value) filter (where jsonb_typeof(e.value) in ('number', 'boolean')), '{}')
    from jsonb_each(case when jsonb_typeof(p_raw) = 'object' then p_raw else '{}' end) e
$$;
comment on function jobsync.without_texts(jsonb) is 'What stays of a raw record: its numbers and switches, which name records and say nothing of a person.';

create function jobsync.prune(p_tenant text, p_most integer default 10000) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_counts jsonb := '{}';
  v_count bigint;
begin
  delete from quarantine q using (select x.id from quarantine x where x.tenant_id = p_tenant and x.resolved_at < v_now - interval '30 days' limit p_most) o
   where q.tenant_id = p_tenant and q.id = o.id;
  get diagnostics v_count = row_count;
  v_counts := v_counts || jsonb_build_object('quarantine', v_count);
  update attempts a set answer = null from (select x.id from attempts x where x.tenant_id = p_tenant and x.started_at < v_now - interval '90 days'
                                                and x.answer is not null limit p_most) o
   where a.tenant_id = p_tenant and a.id = o.id;
  get diagnostics v_count = row_count;
  v_counts := v_counts || jsonb_build_object('answers', v_count);
  delete from events e using (select x.tx, x.id from events x where x.tenant_id = p_tenant and x.at < v_now - interval '7 days' limit p_most) o
   where e.tenant_id = p_tenant and e.tx = o.tx and e.id = o.id;
  get diagnostics v_count = row_count;
  v_counts := v_counts || jsonb_build_object('events', v_count);
  -- The rows of an import's files: of a dry run that nobody went on with a week, else as long as an old flow may be kept beside.
  delete from import_rows r using (
    select x.import_id, x.entity, x.row_no from imports i
      join import_rows x on x.tenant_id = i.tenant_id and x.import_id = i.id
     where i.tenant_id = p_tenant and (i.state in ('staging', 'staged') and i.updated_at < v_now - interval '7 days'
                                       or i.state in ('applied', 'undone') and i.updated_at < v_now - interval '90 days') limit p_most) o
   where r.tenant_id = p_tenant and r.import_id = o.import_id and r.entity = o.entity and r.row_no = o.row_no;
  get diagnostics v_count = row_count;
  v_counts := v_counts || jsonb_build_object('import_rows', v_count);
  return v_counts;
end
$$;
comment on function jobsync.prune(text, integer) is
  'Ends what has been kept long enough, at most p_most rows of a kind: settled quarantine 30 days, answers of deliveries 90, events 7, rows of imported files 90 (of dry runs 7). Answers counts.';

create function jobsync.prune_texts(p_tenant text, p_place jsonb default null, p_most integer default 10000) returns jsonb
language plpgsql set search_path = jobsync, public set enable_seqscan = off set plan_cache_mode = force_custom_plan as $$
declare
  v_tables constant text[] := array['public.jobs', 'public.customers', 'jobsync.locations', 'jobsync.contacts', 'jobsync.appointments', 'jobsync.estimates',
                                    'jobsync.invoices', 'jobsync.technician_assignments'];
  v_number integer := coalesce((p_place ->> 'table')::integer, 1);
  v_days integer;
  v_keys text;
  v_same text;
  v_after text;
  v_read bigint;
  v_pruned bigint;
  v_last jsonb;
begin
  select t.raw_days into v_days from tenants t where t.tenant_id = p_tenant;
  if v_days is null then
    return jsonb_build_object('raw', 0, 'place', null);
  end if;
  select string_agg(format('x.%I', a.attname), ', ' order by k.n), string_agg(format('r.%1$I = p.%1$I', a.attname), ' and ' order by k.n),
         string_agg(format('($2 ->> %s)::%s', k.n - 2, format_type(a.atttypid, null)), ', ' order by k.n)
    into v_keys, v_same, v_after
    from pg_catalog.pg_index i
    cross join lateral unnest(i.indkey::smallint[]) with ordinality k(number, n)
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number and a.attname <> 'tenant_id'
   where i.indrelid = v_tables[v_number]::regclass and i.indisprimary;
  execute format(
    'with page as materialized ('
    '  select %1$s, x.updated_at, x.st_raw_data from %2$s x where x.tenant_id = $1 %3$s order by %1$s limit $3'
    '), pruned as ('
    '  update %2$s r set st_raw_data = without_texts(r.st_raw_data) from page p'
    '   where r.tenant_id = $1 and %4$s and r.updated_at < $4 and p.updated_at < $4 and p.st_raw_data is not null and p.st_raw_data is distinct from without_texts(p.st_raw_data)'
    '  returning 1'
    ') select (select count(*) from page), (select count(*) from pruned), (select jsonb_build_array(%1$s) from page x order by %5$s limit 1)',
    v_keys, v_tables[v_number], case when p_place -> 'after' is not null then format('and (%s) > (%s)', v_keys, v_after) else '' end, v_same,
    replace(v_keys, ',', ' desc,') || ' desc')
    into v_read, v_pruned, v_last using p_tenant, p_place -> 'after', p_most, jobsync.now() - v_days * interval '1 day';
  return jsonb_build_object('raw', v_pruned, 'place',
    case when v_read = p_most then jsonb_build_object('table', v_number, 'after', v_last)
         when v_number < cardinality(v_tables) then jsonb_build_object('table', v_number + 1) end);
end
$$;
comment on function jobsync.prune_texts(text, jsonb, integer) is
  'One step of a walk through all raw records by their keys, p_most rows: texts of what did not change for tenants.raw_days leave. p_place: where the step before ended (null: from the start). Answers {raw: how many, place: null at the end}.';
