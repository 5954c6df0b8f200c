-- What an import of Airtable's CSV files asks.

-- name: read_import_references
select jsonb_build_object(
  'time_zone', (select t.time_zone from jobsync.tenants t where t.tenant_id = %(tenant)s),
  'units', (select coalesce(jsonb_agg(jsonb_build_object('id', u.st_business_unit_id, 'name', u.name) order by u.st_business_unit_id), '[]')
              from public.business_units u where u.tenant_id = %(tenant)s),
  'job_types', (select coalesce(jsonb_agg(jsonb_build_object('id', y.st_job_type_id, 'name', y.name) order by y.st_job_type_id), '[]')
                  from jobsync.job_types y where y.tenant_id = %(tenant)s),
  'tags', (select coalesce(jsonb_agg(jsonb_build_object('id', g.st_tag_type_id, 'name', g.name) order by g.st_tag_type_id), '[]')
             from jobsync.tag_types g where g.tenant_id = %(tenant)s),
  'map', (select i.options -> 'map' from jobsync.imports i where i.tenant_id = %(tenant)s and i.options ? 'map' order by i.created_at desc limit 1));

-- name: open_import
select jobsync.open_import(%(tenant)s, %(prefer)s, %(options)s, %(files)s, %(actor)s);

-- A temporary table: COPY is not let into a table with row-level security.
-- name: make_import_page
create temporary table if not exists import_page (
  row_no integer, record_id bigint, st_customer_id bigint, st_job_id bigint, row_hash bytea, modified_at timestamptz, given smallint, failed boolean,
  fields jsonb, extra jsonb, cells jsonb, issues jsonb, links text[], name_key text, airtable_id text, origin_row integer) on commit drop;

-- name: copy_import_page
copy import_page (row_no, record_id, st_customer_id, st_job_id, row_hash, modified_at, given, failed, fields, extra, cells, issues, links, name_key, airtable_id,
  origin_row) from stdin;

-- name: take_import_page
insert into jobsync.import_rows (tenant_id, import_id, entity, row_no, record_id, st_customer_id, st_job_id, row_hash, modified_at, given, failed, fields, extra, cells,
  issues, links, name_key, airtable_id, origin_row)
select %(tenant)s, %(import)s, %(entity)s, p.row_no, p.record_id, p.st_customer_id, p.st_job_id, p.row_hash, p.modified_at, p.given, p.failed, p.fields, p.extra, p.cells,
       p.issues, p.links, left(btrim(jobsync.name_key(p.name_key)), 500), p.airtable_id, p.origin_row from import_page p order by p.row_no
on conflict (tenant_id, import_id, entity, row_no) do nothing;

-- name: note_staged
select jobsync.note_staged(%(tenant)s, %(import)s, %(entity)s, %(row)s, %(rows)s);

-- name: close_staging
select jobsync.close_staging(%(tenant)s, %(import)s);

-- name: open_import_pass
select to_jsonb(i) from jobsync.open_import_pass(%(tenant)s, %(import)s, %(apply)s) i;

-- name: list_import_orphans
select jobsync.list_import_orphans(%(tenant)s, %(import)s, %(row)s, %(limit)s);

-- name: pass_import_rows
select jobsync.pass_import_rows(%(tenant)s, %(import)s, %(entity)s, %(limit)s, %(apply)s, %(connected)s);

-- name: close_import
select jobsync.close_import(%(tenant)s, %(import)s, %(error)s);

-- name: read_import
select to_jsonb(i) || jsonb_build_object('files', (select coalesce(jsonb_agg(to_jsonb(f) order by f.entity), '[]') from jobsync.import_files f
                                                    where f.tenant_id = i.tenant_id and f.import_id = i.id))
  from jobsync.imports i where i.tenant_id = %(tenant)s and i.id = %(import)s;

-- name: list_imports
select i.id, i.state, i.prefer, i.created_at, i.applied_at, i.undone_at, i.actor, i.report ->> 'verdict' as verdict,
       (select jsonb_agg(jsonb_build_object('entity', f.entity, 'name', f.name, 'total', f.total, 'staged', f.staged, 'judged', f.judged, 'applied', f.applied) order by f.entity)
          from jobsync.import_files f where f.tenant_id = i.tenant_id and f.import_id = i.id) as files
  from jobsync.imports i where i.tenant_id = %(tenant)s order by i.created_at desc limit %(limit)s;

-- name: stream_import_issues
select r.row_no, r.cells, coalesce(r.issues, '[]') || coalesce(r.found, '[]') as issues from jobsync.import_rows r
 where r.tenant_id = %(tenant)s and r.import_id = %(import)s and r.entity = %(entity)s and (r.issues is not null or r.found is not null)
 order by r.row_no;

-- name: count_import_issues
select jobsync.count_import_issues(%(tenant)s, %(import)s);

-- name: open_undo
select jobsync.open_undo(%(tenant)s, %(import)s, %(actor)s);

-- name: undo_import_rows
select jobsync.undo_import_rows(%(tenant)s, %(import)s, %(entity)s, %(limit)s);

-- name: close_undo
select jobsync.close_undo(%(tenant)s, %(import)s, %(actor)s);

-- name: save_import_report
update jobsync.imports i set report = %(report)s, updated_at = jobsync.now() where i.tenant_id = %(tenant)s and i.id = %(import)s;

-- name: count_open_errors
select jobsync.count_open_errors(%(tenant)s, %(import)s);

-- name: compare_import
select jobsync.compare_import(%(tenant)s, %(import)s, %(entity)s);

-- name: list_unconfirmed
select jobsync.list_unconfirmed(%(tenant)s, %(import)s, %(entity)s, %(limit)s);

-- name: list_recent_outside
select jobsync.list_recent_outside(%(tenant)s, %(import)s, %(days)s);

-- name: show_import_rows
select jobsync.show_import_rows(%(tenant)s, %(import)s, %(entity)s, %(rows)s, %(limit)s);

-- name: list_shared_ways
select jobsync.list_shared_ways(%(tenant)s, %(import)s);

-- name: ask_import
select jobsync.ask_import(%(tenant)s, %(import)s, %(act)s, %(actor)s);

-- name: list_asked_imports
select tenant_id, import_id from jobsync.list_asked_imports();

-- name: close_asked_import
select jobsync.close_asked_import(%(tenant)s, %(import)s, %(act)s, %(error)s);
