-- What is said about an import: complaints counted, and the reconciliation of its files with the database.

create function jobsync.count_import_issues(p_tenant text, p_import text) returns jsonb
language sql stable set search_path = jobsync, public as $$
  select coalesce(jsonb_object_agg(e.entity, e.codes), '{}')
    from (select c.entity, jsonb_object_agg(c.code, jsonb_build_object('rows', c.rows, 'is_error', c.is_error)) as codes
            from (select r.entity, i ->> 'code' as code, bool_or((i ->> 'is_error')::boolean) as is_error, count(distinct r.row_no) as rows
                    from import_rows r cross join lateral jsonb_array_elements(coalesce(r.issues, '[]') || coalesce(r.found, '[]')) i
                   where r.tenant_id = p_tenant and r.import_id = p_import and (r.issues is not null or r.found is not null)
                   group by 1, 2) c
           group by c.entity) e
$$;
comment on function jobsync.count_import_issues(text, text) is 'Rows by file and complaint: {entity: {code: {rows, is_error}}}.';

create function jobsync.list_shared_ways(p_tenant text, p_import text) returns jsonb
language sql stable set search_path = jobsync, public as $$
  with shared as materialized (
    select w.kind, w.value, array_agg(distinct r.record_id) as customers
      from import_rows r cross join lateral (values ('phone', r.fields ->> 'phone'), ('email', r.fields ->> 'email')) w(kind, value)
     where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'customers' and not r.failed and w.value is not null
     group by 1, 2 having count(distinct r.record_id) > 1)
  select jsonb_build_object('count', (select count(*) from shared),
    'first', (select coalesce(jsonb_agg(jsonb_build_object('kind', f.kind, 'value', f.value, 'customers', to_jsonb(f.customers[:20])) order by cardinality(f.customers) desc, f.value), '[]')
                from (select s.* from shared s order by cardinality(s.customers) desc, s.value limit 50) f))
$$;
comment on function jobsync.list_shared_ways(text, text) is 'Phones and emails that customers of different ids share in a file: {count, first}. They are reported, never merged. Reads the whole file.';

-- A row that failed is settled once the errors file brought it in.
create function jobsync.count_open_errors(p_tenant text, p_import text) returns jsonb
language sql stable set search_path = jobsync, public as $$
  select coalesce(jsonb_object_agg(f.entity, jsonb_build_object('errors', e.errors, 'settled', e.settled)), '{}')
    from import_files f
    cross join lateral (
      select count(*) as errors, count(*) filter (where s.settled) as settled
        from import_rows r
        cross join lateral (select exists (
          select from import_files k
            join import_rows c on c.tenant_id = k.tenant_id and c.import_id = k.import_id and c.entity = k.entity and c.origin_row = r.row_no
            join import_ledger l on l.tenant_id = c.tenant_id and l.import_id = c.import_id and l.entity = c.entity and l.row_no = c.row_no and l.undone_at is null
           where k.tenant_id = p_tenant and k.parent_import = p_import and k.entity = f.entity) as settled) s
       where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = f.entity and (r.issues is not null or r.found is not null)
         and (r.failed or jsonb_path_exists(r.found, '$[*] ? (@.is_error == true)'))) e
   where f.tenant_id = p_tenant and f.import_id = p_import
$$;
comment on function jobsync.count_open_errors(text, text) is 'Rows of an import that failed, and how many of them its errors file brought in since: {entity: {errors, settled}}.';

create type jobsync.imported_record as (record_id bigint, csv_unit bigint, csv_month text, csv_total numeric, is_here boolean, unit bigint, month text, total numeric, source text);
comment on type jobsync.imported_record is 'One record of an import''s file beside the row of the database; is_here false: there is none.';

create function jobsync.list_imported(p_tenant text, p_import text, p_entity text) returns setof jobsync.imported_record
language plpgsql stable set search_path = jobsync, public as $$
declare
  v_zone text := (select coalesce(i.options ->> 'time_zone', 'UTC') from imports i where i.tenant_id = p_tenant and i.id = p_import);
begin
  return query
  select k.record_id, k.unit, to_char(k.created_on at time zone v_zone, 'YYYY-MM'), k.total, coalesce(j.st_job_id, c.st_customer_id) is not null,
         j.business_unit_id, to_char(j.created_on at time zone v_zone, 'YYYY-MM'), j.total, coalesce(j.source, c.source)
    from (select distinct on (r.record_id) r.record_id, (r.fields ->> 'business_unit_id')::bigint as unit, (r.fields ->> 'created_on')::timestamptz as created_on,
                 (r.fields ->> 'total')::numeric as total
            from import_rows r
           where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = p_entity and not r.failed
             and not coalesce(jsonb_path_exists(r.found, '$[*] ? (@.is_error == true)'), false)
           order by r.record_id, r.modified_at desc nulls last, r.given desc, r.row_no) k
    left join jobs j on p_entity = 'jobs' and j.tenant_id = p_tenant and j.st_job_id = k.record_id
    left join customers c on p_entity = 'customers' and c.tenant_id = p_tenant and c.st_customer_id = k.record_id;
end
$$;
comment on function jobsync.list_imported(text, text, text) is 'Every record of an import''s file beside what the database holds under its id. Reads the whole import.';

create function jobsync.compare_import(p_tenant text, p_import text, p_entity text) returns jsonb
language plpgsql stable set search_path = jobsync, public as $$
begin
  return (
    with held as materialized (select * from list_imported(p_tenant, p_import, p_entity))
    select jsonb_build_object(
      'records', count(*), 'here', count(*) filter (where h.is_here), 'confirmed', count(*) filter (where h.source = 'servicetitan'),
      'missing', count(*) filter (where not h.is_here),
      'missing_ids', (select coalesce(jsonb_agg(m.record_id order by m.record_id), '[]') from (select x.record_id from held x where not x.is_here order by 1 limit 100) m),
      'money', case when p_entity = 'jobs' then jsonb_build_object('csv', coalesce(sum(h.csv_total), 0), 'database', coalesce(sum(h.total) filter (where h.csv_total is not null), 0),
        'differing', count(*) filter (where h.csv_total <> h.total), 'differing_unconfirmed', count(*) filter (where h.csv_total <> h.total and h.source <> 'servicetitan'),
        'ids', (select coalesce(jsonb_agg(m.record_id order by m.record_id), '[]') from (select x.record_id from held x where x.csv_total <> x.total order by 1 limit 100) m)) end,
      'units', case when p_entity = 'jobs' then (
        select coalesce(jsonb_agg(jsonb_build_object('id', g.unit, 'name', u.name, 'csv', g.csv, 'database', g.db, 'servicetitan', g.st) order by g.csv desc, g.unit), '[]')
          from (select s.unit, sum(s.csv) as csv, sum(s.db) as db, sum(s.st) as st
                  from (select x.csv_unit as unit, 1 as csv, 0 as db, 0 as st from held x
                        union all
                        select coalesce(x.unit, x.csv_unit), 0, 1, (x.source = 'servicetitan')::integer from held x where x.is_here) s group by 1) g
          left join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = g.unit) end,
      'months', case when p_entity = 'jobs' then (
        select coalesce(jsonb_agg(jsonb_build_object('month', g.month, 'csv', g.csv, 'database', g.db, 'servicetitan', g.st, 'csv_total', g.csv_total, 'database_total', g.total)
                                  order by g.month nulls last), '[]')
          from (select s.month, sum(s.csv) as csv, sum(s.db) as db, sum(s.st) as st, sum(s.csv_total) as csv_total, sum(s.total) as total
                  from (select x.csv_month as month, 1 as csv, 0 as db, 0 as st, x.csv_total, 0::numeric as total from held x
                        union all
                        select coalesce(x.month, x.csv_month), 0, 1, (x.source = 'servicetitan')::integer, 0, x.total from held x where x.is_here) s group by 1) g) end)
      from held h);
end
$$;
comment on function jobsync.compare_import(text, text, text) is
  'A file of an import against the database, in numbers: records, those that are here and those that ServiceTitan confirmed by a pull; for jobs by unit and month, and money.';

create function jobsync.list_unconfirmed(p_tenant text, p_import text, p_entity text, p_limit integer) returns bigint[]
language sql stable set search_path = jobsync, public as $$
  select coalesce(array_agg(k.record_id order by k.record_id), '{}')
    from (select h.record_id from list_imported(p_tenant, p_import, p_entity) h where h.source is distinct from 'servicetitan' order by h.record_id limit p_limit) k
$$;
comment on function jobsync.list_unconfirmed(text, text, text, integer) is 'Ids of an import''s file that no pull has brought yet: ServiceTitan may not know them.';

create function jobsync.list_recent_outside(p_tenant text, p_import text, p_days integer) returns jsonb
language plpgsql stable set search_path = jobsync, public as $$
declare
  v_newest timestamptz;
begin
  select max((r.fields ->> 'created_on')::timestamptz) into v_newest from import_rows r
   where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'jobs' and not r.failed;
  if v_newest is null or not exists (select from cursors c where c.tenant_id = p_tenant and c.stream = 'jobs' and c.caught_up_at is not null) then
    return null;
  end if;
  return (
    with outside as materialized (
      select j.st_job_id from jobs j
       where j.tenant_id = p_tenant and j.modified_on >= v_newest - p_days * interval '1 day' and j.created_on >= v_newest - p_days * interval '1 day'
         and j.source = 'servicetitan' and j.active
         and not exists (select from import_rows r where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'jobs' and r.record_id = j.st_job_id and not r.failed))
    select jsonb_build_object('since', v_newest - p_days * interval '1 day', 'count', count(*),
                              'ids', (select coalesce(jsonb_agg(m.st_job_id), '[]') from (select o.st_job_id from outside o order by 1 limit 100) m)) from outside);
end
$$;
comment on function jobsync.list_recent_outside(text, text, integer) is
  'Jobs of ServiceTitan booked in the last p_days of the file''s time, or later, that the file does not have; null where it cannot be told.';

create function jobsync.show_import_rows(p_tenant text, p_import text, p_entity text, p_rows integer[], p_limit integer) returns jsonb
language plpgsql stable set search_path = jobsync, public as $$
begin
  return (
    select coalesce(jsonb_agg(s.shown order by s.row_no), '[]') from (
      select r.row_no, jsonb_build_object('row', r.row_no, 'id', r.record_id, 'is_here', coalesce(c.old, j.old) is not null, 'source', coalesce(c.old, j.old) ->> 'source',
               'fields', (select coalesce(jsonb_agg(jsonb_build_object('field', e.key, 'csv', e.value, 'database', coalesce(c.old, j.old) -> e.key,
                                   'same', coalesce(says_the_same(e.key, coalesce(c.old, j.old) -> e.key, e.value), false)) order by e.key), '[]') from jsonb_each(t.row) e
                           where r.fields ? e.key)) as shown
        from import_rows r
        left join lateral (select to_jsonb(x) as old from customers x where p_entity = 'customers' and x.tenant_id = p_tenant and x.st_customer_id = r.record_id offset 0) c on true
        left join lateral (select to_jsonb(x) as old from jobs x where p_entity = 'jobs' and x.tenant_id = p_tenant and x.st_job_id = r.record_id offset 0) j on true
        cross join lateral (select case p_entity when 'customers' then to_jsonb(jsonb_populate_record(null::public.customers, r.fields))
                                                 else to_jsonb(jsonb_populate_record(null::public.jobs, r.fields)) end as row) t
       where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = p_entity and r.row_no = any (p_rows) and not r.failed
       order by r.row_no limit p_limit) s);
end
$$;
comment on function jobsync.show_import_rows(text, text, text, integer[], integer) is 'Rows of a file side by side with the database, field by field.';
