-- Imports: CSV files of an Airtable base on their way into customers and jobs.
--
-- staged (import_rows, by COPY) -> judged, a thousand rows at a time -> written, with a line each in the ledger. What is written
-- can be undone from the ledger. Nothing here is ever sent: new jobs are `skipped: imported`, and what fills blanks of a
-- delivered job counts as delivered. Columns st_customer_id and st_job_id let erase_customer() find a person here as well.

create table jobsync.imports (
  tenant_id text not null default jobsync.current_tenant(),
  id text not null default pg_catalog.left(pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', ''), 6),
  state text not null default 'staging'
    constraint import_state_is_known check (state in ('staging', 'staged', 'applying', 'applied', 'undoing', 'undone')),
  prefer text not null default 'database' constraint import_prefers_database_or_csv check (prefer in ('database', 'csv')),
  options jsonb not null default '{}',
  actor text not null,
  run uuid,
  report jsonb,
  asked text constraint import_asks_for_an_act check (asked in ('count', 'write', 'undo', 'compare')),
  asked_error text,
  created_at timestamptz not null default jobsync.now(),
  applied_at timestamptz,
  undone_at timestamptz,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, id)
);
create index imports_asked on jobsync.imports (tenant_id, id) where asked is not null;
create index imports_by_time on jobsync.imports (tenant_id, created_at desc);
comment on table jobsync.imports is 'One import of CSV files each: staging, staged (a dry run ends here), applying, applied, undoing, undone.';
comment on column jobsync.imports.prefer is 'database: a row fills blanks only; csv: it also replaces what the database says otherwise.';
comment on column jobsync.imports.options is 'How the files are read: time_zone, region, date_order, map.';
comment on column jobsync.imports.asked is 'What a page asked for and a worker does, or will do; null: nothing.';
comment on column jobsync.imports.asked_error is 'What stopped the worker when it did what was asked for last; null: nothing.';
comment on column jobsync.imports.report is 'The reconciliation that was last made.';

create table jobsync.import_files (
  tenant_id text not null default jobsync.current_tenant(),
  import_id text not null,
  entity text not null constraint import_entity_is_known check (entity in ('customers', 'jobs')),
  name text not null,
  path text not null,
  sha256 text not null,
  bytes bigint not null,
  reading jsonb not null,
  total integer not null,
  parent_import text,
  staged_row integer not null default 0,
  staged integer not null default 0,
  judged_row integer not null default 0,
  judged jsonb not null default '{}',
  applied_row integer not null default 0,
  applied jsonb not null default '{}',
  primary key (tenant_id, import_id, entity),
  foreign key (tenant_id, import_id) references jobsync.imports on delete cascade
);
comment on table jobsync.import_files is 'The files of an import, and how far each was staged, judged (dry run) and applied: row numbers, and counts by outcome.';
comment on column jobsync.import_files.reading is 'How the file is read: encoding, delimiter, header, columns, dates; what was noticed.';
comment on column jobsync.import_files.parent_import is 'The import whose errors file this is; null: an original file.';

create table jobsync.import_rows (
  tenant_id text not null default jobsync.current_tenant(),
  import_id text not null,
  entity text not null,
  row_no integer not null,
  record_id bigint,
  st_customer_id bigint,
  st_job_id bigint,
  row_hash bytea not null,
  modified_at timestamptz,
  given smallint not null,
  failed boolean not null,
  fields jsonb not null,
  extra jsonb,
  cells jsonb not null,
  issues jsonb,
  found jsonb,
  links text[],
  name_key text,
  airtable_id text,
  origin_row integer,
  primary key (tenant_id, import_id, entity, row_no),
  foreign key (tenant_id, import_id) references jobsync.imports on delete cascade
);
-- tenant_id last: led by it, another index would do for a look-up while the tables are new to the planner, and be read as a whole.
create index import_rows_by_record on jobsync.import_rows (record_id, import_id, entity, tenant_id) where not failed;
create index import_rows_with_issues on jobsync.import_rows (tenant_id, import_id, entity, row_no) where issues is not null or found is not null;
create index import_rows_by_name on jobsync.import_rows (name_key, import_id, tenant_id) where name_key is not null;
create index import_rows_by_airtable_id on jobsync.import_rows (airtable_id, import_id, tenant_id) where airtable_id is not null;
comment on table jobsync.import_rows is 'Rows of an import''s files as they were read; kept for the reconciliation and the errors file, pruned with time.';
comment on column jobsync.import_rows.row_no is 'As a spreadsheet counts: the header is row 1.';
comment on column jobsync.import_rows.record_id is 'The row''s own id in ServiceTitan: of its customer or its job.';
comment on column jobsync.import_rows.fields is 'What goes into columns, by column name; blanks are left out.';
comment on column jobsync.import_rows.extra is 'What has no column: kept in st_raw_data under "airtable".';
comment on column jobsync.import_rows.cells is 'The row as it stood in the file: a list of texts.';
comment on column jobsync.import_rows.issues is 'What reading the row complained about: [{code, field, message, suggestion, is_error}].';
comment on column jobsync.import_rows.found is 'The same, found by comparing it with the database and with other rows.';
comment on column jobsync.import_rows.links is 'Names or Airtable ids of the customer where the row gives no id: the whole cell first, then its parts.';

create table jobsync.import_names (
  tenant_id text not null default jobsync.current_tenant(),
  import_id text not null,
  name_key text not null,
  st_customer_id bigint not null,
  primary key (tenant_id, import_id, name_key, st_customer_id),
  foreign key (tenant_id, import_id) references jobsync.imports on delete cascade
);
comment on table jobsync.import_names is 'Customers that the links of an import''s jobs may mean, by name or Airtable id.';

create table jobsync.import_ledger (
  tenant_id text not null default jobsync.current_tenant(),
  import_id text not null,
  entity text not null,
  row_no integer not null,
  file_sha256 text not null,
  row_hash bytea not null,
  record_id bigint not null,
  st_customer_id bigint,
  st_job_id bigint,
  outcome text not null constraint ledger_outcome_is_known check (outcome in ('new', 'filled', 'same', 'older', 'merged')),
  prefer text not null,
  prior jsonb,
  wrote jsonb,
  written_at timestamptz not null default jobsync.now(),
  undone_at timestamptz,
  undo_result text,
  primary key (tenant_id, import_id, entity, row_no)
);
create index import_ledger_by_hash on jobsync.import_ledger (row_hash, tenant_id);
create index import_ledger_by_record on jobsync.import_ledger (record_id, entity, tenant_id);
create index import_ledger_to_undo on jobsync.import_ledger (import_id, entity, row_no, tenant_id) where undone_at is null;
comment on table jobsync.import_ledger is 'Every row that an import took in: file, row number, hash, what became of it, and what stood there before.';
comment on column jobsync.import_ledger.prior is 'Values of the columns it changed, as they were ("_airtable": what the raw record kept of an earlier import); null for a record that the import made.';
comment on column jobsync.import_ledger.wrote is 'Values it gave these columns; undo takes back only what still is as it was written.';
comment on column jobsync.import_ledger.undo_result is 'deleted, restored, kept (changed since by somebody else), or nothing.';

create function jobsync.open_import(p_tenant text, p_prefer text, p_options jsonb, p_files jsonb, p_actor text) returns text
language plpgsql set search_path = jobsync, public as $$
declare
  v_id text;
begin
  -- Dry runs of the same files that nobody went on with are replaced by this one.
  delete from imports i where i.tenant_id = p_tenant and i.state in ('staging', 'staged') and exists (
    select from import_files f join jsonb_array_elements(p_files) n(file) on f.entity = n.file ->> 'entity' and f.sha256 = n.file ->> 'sha256'
     where f.tenant_id = p_tenant and f.import_id = i.id);
  loop
    insert into imports (tenant_id, prefer, options, actor) values (p_tenant, p_prefer, p_options, p_actor) on conflict do nothing returning id into v_id;
    exit when v_id is not null;
  end loop;
  insert into import_files (tenant_id, import_id, entity, name, path, sha256, bytes, reading, total, parent_import)
  select p_tenant, v_id, n.file ->> 'entity', n.file ->> 'name', n.file ->> 'path', n.file ->> 'sha256', (n.file ->> 'bytes')::bigint, n.file -> 'reading',
         (n.file ->> 'total')::integer, (select i.id from imports i where i.tenant_id = p_tenant and i.id = n.file ->> 'parent')
    from jsonb_array_elements(p_files) n(file);
  return v_id;
end
$$;
comment on function jobsync.open_import(text, text, jsonb, jsonb, text) is
  'Opens an import of files [{entity, name, path, sha256, bytes, reading, total, parent}]; answers its id. Dry runs of the same files end.';

create function jobsync.note_staged(p_tenant text, p_import text, p_entity text, p_row integer, p_rows integer) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  update import_files f set staged_row = p_row, staged = f.staged + p_rows
   where f.tenant_id = p_tenant and f.import_id = p_import and f.entity = p_entity and f.staged_row < p_row;
  if not found and not exists (select from import_files f where f.tenant_id = p_tenant and f.import_id = p_import and f.entity = p_entity and f.staged_row = p_row) then
    raise exception 'another run stages import %', p_import using errcode = 'JS002';
  end if;
end
$$;
comment on function jobsync.note_staged(text, text, text, integer, integer) is 'Notes how far a file is staged, in the transaction that staged it. Refused where another run is further.';

-- One key for a name, whoever wrote it: letters and digits alone, in small letters.
create function jobsync.name_key(p_name text) returns text language sql immutable parallel safe as $$
  select nullif(pg_catalog.regexp_replace(pg_catalog.lower(p_name), '[^[:alnum:]]+', ' ', 'g'), ' ')
$$;
comment on function jobsync.name_key(text) is 'The form in which names are compared.';

create function jobsync.close_staging(p_tenant text, p_import text) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  update imports i set state = 'staged', updated_at = jobsync.now() where i.tenant_id = p_tenant and i.id = p_import and i.state = 'staging';
  if not found or not exists (select from import_rows r where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'jobs' and r.links is not null) then
    return;
  end if;
  -- Names of customers have no index, for nothing else asks by them: all are read once for an import whose jobs name people.
  with wanted as materialized (
    select distinct btrim(name_key(l.link)) as key, l.link from import_rows r cross join lateral unnest(r.links) l(link)
     where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'jobs'
  ), known as (
    select w.link, r.record_id from wanted w
      join import_rows r on r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'customers' and not r.failed
       and (r.name_key = w.key or r.airtable_id = w.link)
    union
    select w.link, c.st_customer_id from wanted w
      join (select x.st_customer_id, btrim(name_key(concat_ws(' ', x.first_name, x.last_name))) as key, btrim(name_key(x.company_name)) as company
              from customers x where x.tenant_id = p_tenant) c on c.key = w.key or c.company = w.key
  )
  insert into import_names (tenant_id, import_id, name_key, st_customer_id)
  select p_tenant, p_import, k.link, k.record_id from known k where k.record_id is not null on conflict do nothing;
end
$$;
comment on function jobsync.close_staging(text, text) is 'Ends the staging of an import, and looks up the customers that its jobs name by name or Airtable id. Twice changes nothing.';

create function jobsync.open_import_pass(p_tenant text, p_import text, p_apply boolean) returns jobsync.imports
language plpgsql set search_path = jobsync, public as $$
declare
  v_import imports;
begin
  select * into v_import from imports i where i.tenant_id = p_tenant and i.id = p_import for update;
  if not found then
    raise exception 'import % is not known', p_import using errcode = 'JS004', hint = 'jobsync import list';
  end if;
  if v_import.state in ('undoing', 'undone') then
    raise exception 'import % was undone', p_import using errcode = 'JS001', hint = 'Import the files again: jobsync import airtable ... --apply';
  end if;
  if not p_apply then
    update import_files f set judged_row = 0, judged = '{}' where f.tenant_id = p_tenant and f.import_id = p_import;
  elsif v_import.state = 'staged' then
    insert into sync_logs (tenant_id, sync_type, status, metadata)
    values (p_tenant, 'import', 'running', jsonb_build_object('import', p_import)) returning id into v_import.run;
    update imports i set state = 'applying', run = v_import.run, updated_at = jobsync.now()
     where i.tenant_id = p_tenant and i.id = p_import returning * into v_import;
    perform write_audit(p_tenant, v_import.actor, 'import_began', 'import:' || p_import, jsonb_build_object('prefer', v_import.prefer));
  elsif v_import.state = 'applying' then
    -- The run of a process that died may have been closed as abandoned.
    update sync_logs l set status = 'running', error_message = null, completed_at = null, duration_ms = null
     where l.tenant_id = p_tenant and l.id = v_import.run and l.status <> 'running';
  end if;
  return v_import;
end
$$;
comment on function jobsync.open_import_pass(text, text, boolean) is
  'Begins, or goes on with, judging (p_apply false) or writing the staged rows; writing opens a run of type import. Answers the import.';

create function jobsync.close_import(p_tenant text, p_import text, p_error text) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_import imports;
  v_counts jsonb;
begin
  select * into v_import from imports i where i.tenant_id = p_tenant and i.id = p_import for update;
  select jsonb_object_agg(f.entity, f.applied) into v_counts from import_files f where f.tenant_id = p_tenant and f.import_id = p_import;
  update sync_logs l set
    status = case when p_error is null then 'completed' else 'failed' end, error_message = left(p_error, 1000), completed_at = v_now,
    metadata = l.metadata || jsonb_build_object('outcomes', v_counts),
    records_processed = s.processed, records_failed = s.failed, records_succeeded = s.processed - s.failed,
    duration_ms = least(2147483647, extract(epoch from v_now - l.started_at) * 1000)::integer
    from (select coalesce(sum(c.value::integer), 0) as processed, coalesce(sum(c.value::integer) filter (where c.key = 'error'), 0) as failed
            from jsonb_each(v_counts) e cross join lateral jsonb_each_text(e.value) c) s
   where l.tenant_id = p_tenant and l.id = v_import.run and l.status = 'running';
  if p_error is null and v_import.state = 'applying' then
    update imports i set state = 'applied', applied_at = v_now, updated_at = v_now where i.tenant_id = p_tenant and i.id = p_import;
    perform write_audit(p_tenant, v_import.actor, 'import_applied', 'import:' || p_import, coalesce(v_counts, '{}'));
  end if;
end
$$;
comment on function jobsync.close_import(text, text, text) is 'Closes the run of an import. With p_error it can be resumed; without, it is applied. Harmless when repeated.';
