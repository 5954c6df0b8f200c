-- A pass over the staged rows of an import, a thousand at a time: counted (dry run) or written, each chunk with its ledger and
-- its place in one transaction; and the way back.

create function jobsync.patch_customers(p_tenant text, p_import text, p_decisions jsonb) returns void
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_custom_plan as $$
declare
  v_now timestamptz := jobsync.now();
  v_ids bigint[] := array(select (d ->> 'record_id')::bigint from jsonb_array_elements(p_decisions) d);
  v_noted bigint[] := array(select n.st_customer_id from contact_changes n where n.tenant_id = p_tenant and n.st_customer_id = any (v_ids));
begin
  update customers c set
    st_location_id = n.st_location_id, first_name = n.first_name, last_name = n.last_name, company_name = n.company_name, email = left(n.email, 500),
    phone = left(n.phone, 500), street = n.street, city = n.city, state = n.state, postal_code = n.postal_code, country = n.country, county = n.county,
    ghl_contact_id = n.ghl_contact_id, updated_at = v_now,
    st_raw_data = case when c.source = 'import' and d.extra is not null then coalesce(c.st_raw_data, '{}') || jsonb_build_object('airtable', d.extra) else c.st_raw_data end
    from (select (x ->> 'record_id')::bigint as id, x -> 'fields' as patch, x -> 'extra' as extra from jsonb_array_elements(p_decisions) x) d
    cross join lateral (select p.* from customers o cross join lateral jsonb_populate_record(o, d.patch) p
                         where o.tenant_id = p_tenant and o.st_customer_id = d.id offset 0) n
   where c.tenant_id = p_tenant and c.st_customer_id = any (v_ids) and c.st_customer_id = d.id;
  -- What a file fills in is nothing that GoHighLevel has to be told, nor does it let a job go out that waited for a phone.
  delete from contact_changes n where n.tenant_id = p_tenant and n.st_customer_id = any (v_ids) and n.st_customer_id <> all (v_noted);
end
$$;
comment on function jobsync.patch_customers(text, text, jsonb) is
  'Gives columns of stored customers new values ([{record_id, fields, extra}]), and plans nothing for it.';

create function jobsync.patch_jobs(p_tenant text, p_import text, p_decisions jsonb) returns void
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_custom_plan as $$
declare
  v_now timestamptz := jobsync.now();
  v_version smallint := hash_version();
  v_ids bigint[] := array(select (d ->> 'record_id')::bigint from jsonb_array_elements(p_decisions) d);
begin
  update jobs j set
    st_job_number = left(n.st_job_number, 500), st_customer_id = n.st_customer_id, st_location_id = n.st_location_id, business_unit_id = n.business_unit_id,
    job_type_id = n.job_type_id, job_type_name = n.job_type_name, job_status = n.job_status, priority = n.priority, summary = n.summary,
    created_on = n.created_on, completed_on = n.completed_on, total = n.total, tag_type_ids = n.tag_type_ids, ghl_opportunity_id = n.ghl_opportunity_id,
    updated_at = v_now, job_hash = n.new_hash, job_hash_version = v_version,
    -- What was delivered stays delivered: a blank that a file fills is no change to be sent.
    delivered_hash = case when j.delivered_hash = j.job_hash then n.new_hash else j.delivered_hash end,
    st_raw_data = case when j.source = 'import' and d.extra is not null then coalesce(j.st_raw_data, '{}') || jsonb_build_object('airtable', d.extra) else j.st_raw_data end
    from (select (x ->> 'record_id')::bigint as id, x -> 'fields' as patch, x -> 'extra' as extra from jsonb_array_elements(p_decisions) x) d
    cross join lateral (
      select p.*, job_hash(left(p.st_job_number, 500), p.st_customer_id, p.st_location_id, p.business_unit_id, p.job_type_id, p.job_status, p.priority, p.summary,
                           p.completed_on, p.total, p.campaign_id, p.tag_type_ids, p.active) as new_hash
        from jobs o cross join lateral jsonb_populate_record(o, d.patch) p where o.tenant_id = p_tenant and o.st_job_id = d.id offset 0) n
   where j.tenant_id = p_tenant and j.st_job_id = any (v_ids) and j.st_job_id = d.id;
end
$$;
comment on function jobsync.patch_jobs(text, text, jsonb) is
  'Gives columns of stored jobs new values ([{record_id, fields, extra}]), and plans nothing for it.';

create function jobsync.write_import_rows(p_tenant text, p_import text, p_entity text, p_decisions jobsync.import_decision[]) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_page jsonb;
  v_filled jsonb;
  v_marks jsonb;
  v_file import_files;
  v_prefer text;
begin
  select * into v_file from import_files f where f.tenant_id = p_tenant and f.import_id = p_import and f.entity = p_entity;
  select i.prefer into v_prefer from imports i where i.tenant_id = p_tenant and i.id = p_import;
  select jsonb_agg(case p_entity when 'customers' then customer_of_import(d.record_id, d.fields, d.extra) else job_of_import(d.record_id, d.fields, d.extra) end),
         -- The ids of GoHighLevel do not come through /db.
         jsonb_agg(jsonb_build_object('record_id', d.record_id, 'fields', jsonb_strip_nulls(jsonb_build_object(
           'ghl_contact_id', d.fields -> 'ghl_contact_id', 'ghl_opportunity_id', d.fields -> 'ghl_opportunity_id'))))
           filter (where d.fields ?| array['ghl_contact_id', 'ghl_opportunity_id'])
    into v_page, v_marks from unnest(p_decisions) d where d.outcome = 'new';
  select jsonb_agg(jsonb_build_object('record_id', d.record_id, 'fields', d.fields, 'extra', d.extra)) into v_filled from unnest(p_decisions) d where d.outcome = 'filled';
  if v_page is not null and p_entity = 'customers' then
    perform store_customers(p_tenant, v_page, 'import');
  elsif v_page is not null then
    -- Held: nothing that a file brings is ever sent by itself.
    perform store_jobs(p_tenant, v_page, 'import', 'imported');
  end if;
  v_filled := coalesce(v_filled, '[]') || coalesce(v_marks, '[]');
  if v_filled <> '[]' and p_entity = 'customers' then
    perform patch_customers(p_tenant, p_import, v_filled);
  elsif v_filled <> '[]' then
    perform patch_jobs(p_tenant, p_import, v_filled);
  end if;
  insert into import_ledger (tenant_id, import_id, entity, row_no, file_sha256, row_hash, record_id, st_customer_id, st_job_id, outcome, prefer, prior, wrote, written_at)
  select p_tenant, p_import, p_entity, d.row_no, v_file.sha256, d.row_hash, d.record_id, d.st_customer_id, case p_entity when 'jobs' then d.record_id end,
         d.outcome, v_prefer, d.prior, case when d.outcome in ('new', 'filled') then d.fields end, n.at
    from unnest(p_decisions) d, (select jobsync.now() as at offset 0) n
   where d.outcome <> 'error';
end
$$;
comment on function jobsync.write_import_rows(text, text, text, jobsync.import_decision[]) is
  'Writes what was decided: new records by the same path as /db (jobs held as imported), filled ones column by column, and a line of the ledger for each row.';

create function jobsync.pass_import_rows(p_tenant text, p_import text, p_entity text, p_limit integer, p_apply boolean, p_connected boolean) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_file import_files;
  v_state text;
  v_decisions import_decision[];
  v_counts jsonb;
  v_last integer;
  v_rows integer[];
begin
  select i.state into v_state from imports i where i.tenant_id = p_tenant and i.id = p_import for no key update;
  if p_apply and v_state is distinct from 'applying' or v_state in ('undoing', 'undone') then
    raise exception 'import % is %', p_import, v_state using errcode = 'JS002';
  end if;
  select * into v_file from import_files f where f.tenant_id = p_tenant and f.import_id = p_import and f.entity = p_entity for update;
  if not found then
    return jsonb_build_object('rows', 0, 'done', true);
  end if;
  if p_apply then
    perform lock_stream(p_tenant, p_entity);
  end if;
  v_last := case when p_apply then v_file.applied_row else v_file.judged_row end;
  select array_agg(d order by d.row_no), max(d.row_no) into v_decisions, v_last
    from judge_import_rows(p_tenant, p_import, p_entity, v_last, p_limit, not p_apply, p_connected) d;
  if v_decisions is null then
    return jsonb_build_object('rows', 0, 'done', true);
  end if;
  if p_apply then
    perform write_import_rows(p_tenant, p_import, p_entity, v_decisions);
  end if;
  v_rows := array(select d.row_no from unnest(v_decisions) d);
  -- Looked up by key: of a file that was staged a moment ago, before its table was analysed, all rows would be read for each chunk.
  update import_rows r set found = d.found from unnest(v_decisions) d
   where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = p_entity and r.row_no = any (v_rows) and r.row_no = d.row_no
     and r.found is distinct from d.found;
  select coalesce(case when p_apply then v_file.applied else v_file.judged end, '{}') || jsonb_object_agg(c.outcome,
           c.rows + coalesce(((case when p_apply then v_file.applied else v_file.judged end) ->> c.outcome)::integer, 0)) into v_counts
    from (select d.outcome, count(*) as rows from unnest(v_decisions) d group by 1
          union all
          -- Values of ServiceTitan that the file would replace: a person is asked first.
          select 'replaced', count(*) from unnest(v_decisions) d
           where d.known_source = 'servicetitan' and d.outcome = 'filled' and exists (select from jsonb_each(d.prior) e where not is_blank(e.value))
          having count(*) > 0) c;
  update import_files f set
    applied_row = case when p_apply then v_last else f.applied_row end, applied = case when p_apply then v_counts else f.applied end,
    judged_row = case when p_apply then f.judged_row else v_last end, judged = case when p_apply then f.judged else v_counts end
   where f.tenant_id = p_tenant and f.import_id = p_import and f.entity = p_entity;
  if p_apply then
    update sync_logs l set metadata = l.metadata || jsonb_build_object('alive_s', extract(epoch from jobsync.now() - l.started_at)::integer),
           records_processed = l.records_processed + cardinality(v_decisions)
      from imports i where i.tenant_id = p_tenant and i.id = p_import and l.tenant_id = p_tenant and l.id = i.run and l.status = 'running';
    perform fold_tallies(p_tenant);
  end if;
  return jsonb_build_object('rows', cardinality(v_decisions), 'row', v_last, 'done', cardinality(v_decisions) < p_limit);
end
$$;
comment on function jobsync.pass_import_rows(text, text, text, integer, boolean, boolean) is
  'Counts (p_apply false) or writes the next p_limit rows of a file, and moves its place: {rows, row, done}. After the last row it does nothing.';

create function jobsync.open_undo(p_tenant text, p_import text, p_actor text) returns text
language plpgsql set search_path = jobsync, public as $$
declare
  v_state text;
begin
  select i.state into v_state from imports i where i.tenant_id = p_tenant and i.id = p_import for update;
  if not found then
    raise exception 'import % is not known', p_import using errcode = 'JS004', hint = 'jobsync import list';
  end if;
  if v_state in ('staging', 'staged') then
    raise exception 'import % wrote nothing', p_import using errcode = 'JS001', hint = 'There is nothing to undo.';
  end if;
  if v_state in ('applying', 'applied') then
    update imports i set state = 'undoing', updated_at = jobsync.now() where i.tenant_id = p_tenant and i.id = p_import;
    update sync_logs l set status = 'failed', error_message = 'undone', completed_at = jobsync.now() from imports i
     where i.tenant_id = p_tenant and i.id = p_import and l.tenant_id = p_tenant and l.id = i.run and l.status = 'running';
    perform write_audit(p_tenant, p_actor, 'import_undo_began', 'import:' || p_import);
  end if;
  return v_state;
end
$$;
comment on function jobsync.open_undo(text, text, text) is 'Begins to undo an import, or goes on with it. Answers the state it was in.';

create function jobsync.undo_import_rows(p_tenant text, p_import text, p_entity text, p_limit integer) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_custom_plan as $$
declare
  v_now timestamptz := jobsync.now();
  v_rows integer[];
  v_deleted bigint[];
  v_restored jsonb;
begin
  if exists (select from imports i where i.tenant_id = p_tenant and i.id = p_import and i.state = 'undone') then
    return 0;
  end if;
  perform from imports i where i.tenant_id = p_tenant and i.id = p_import and i.state = 'undoing' for no key update;
  if not found then
    raise exception 'import % is not being undone', p_import using errcode = 'JS002';
  end if;
  perform lock_stream(p_tenant, p_entity);
  v_rows := array(select l.row_no from import_ledger l where l.tenant_id = p_tenant and l.import_id = p_import and l.entity = p_entity and l.undone_at is null
                   order by l.row_no limit p_limit);
  if v_rows = '{}' then
    return 0;
  end if;
  -- A record that the import made goes, unless somebody else has had a hand in it since.
  if p_entity = 'jobs' then
    with gone as (
      delete from jobs j using import_ledger l
       where l.tenant_id = p_tenant and l.import_id = p_import and l.entity = 'jobs' and l.row_no = any (v_rows) and l.outcome = 'new'
         and j.tenant_id = p_tenant and j.st_job_id = l.record_id and j.source = 'import' and j.delivered_hash is null
         and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason = 'imported'
         and not exists (select from import_ledger y where y.tenant_id = p_tenant and y.entity = 'jobs' and y.record_id = l.record_id and y.import_id <> p_import
                            and y.undone_at is null and y.outcome in ('new', 'filled'))
      returning j.st_job_id)
    select array_agg(g.st_job_id) into v_deleted from gone g;
  else
    with gone as (
      delete from customers c using import_ledger l
       where l.tenant_id = p_tenant and l.import_id = p_import and l.entity = 'customers' and l.row_no = any (v_rows) and l.outcome = 'new'
         and c.tenant_id = p_tenant and c.st_customer_id = l.record_id and c.source = 'import'
         and not exists (select from jobs j where j.tenant_id = p_tenant and j.st_customer_id = l.record_id)
         and not exists (select from import_ledger y where y.tenant_id = p_tenant and y.entity = 'customers' and y.record_id = l.record_id and y.import_id <> p_import
                            and y.undone_at is null and y.outcome in ('new', 'filled'))
      returning c.st_customer_id)
    select array_agg(g.st_customer_id) into v_deleted from gone g;
  end if;
  -- A column that the import filled gets its old value back, where it still has the one that the import gave it.
  select jsonb_agg(jsonb_build_object('record_id', r.record_id, 'row_no', r.row_no, 'fields', r.fields, 'extra', r.extra)) into v_restored from (
    select l.record_id, l.row_no, l.prior -> '_airtable' as extra, (select jsonb_object_agg(w.key, l.prior -> w.key) from jsonb_each(l.wrote) w where w.value = coalesce(c.old, j.old) -> w.key) as fields
      from import_ledger l
      left join lateral (select to_jsonb(x) as old from customers x where p_entity = 'customers' and x.tenant_id = p_tenant and x.st_customer_id = l.record_id offset 0) c on true
      left join lateral (select to_jsonb(x) as old from jobs x where p_entity = 'jobs' and x.tenant_id = p_tenant and x.st_job_id = l.record_id offset 0) j on true
     where l.tenant_id = p_tenant and l.import_id = p_import and l.entity = p_entity and l.row_no = any (v_rows) and l.outcome = 'filled') r
   where r.fields is not null;
  if v_restored is not null and p_entity = 'customers' then
    perform patch_customers(p_tenant, p_import, v_restored);
  elsif v_restored is not null then
    perform patch_jobs(p_tenant, p_import, v_restored);
  end if;
  update import_ledger l set undone_at = v_now, undo_result = case
      when l.outcome = 'new' then case when l.record_id = any (v_deleted) then 'deleted' else 'kept' end
      when l.outcome = 'filled' then case when exists (select from jsonb_array_elements(v_restored) r where (r ->> 'row_no')::integer = l.row_no) then 'restored' else 'kept' end
      else 'nothing' end
   where l.tenant_id = p_tenant and l.import_id = p_import and l.entity = p_entity and l.row_no = any (v_rows);
  if p_entity = 'jobs' then
    perform fold_tallies(p_tenant);
  end if;
  return cardinality(v_rows);
end
$$;
comment on function jobsync.undo_import_rows(text, text, text, integer) is
  'Takes the next rows of an import back: records it made are deleted, columns it filled get their old values; what was changed since stays. Answers how many rows; 0: all done.';

create function jobsync.close_undo(p_tenant text, p_import text, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_counts jsonb;
begin
  select coalesce(jsonb_object_agg(c.undo_result, c.rows), '{}') into v_counts
    from (select l.undo_result, count(*) as rows from import_ledger l
           where l.tenant_id = p_tenant and l.import_id = p_import and l.undo_result is not null group by 1) c;
  update imports i set state = 'undone', undone_at = jobsync.now(), updated_at = jobsync.now()
   where i.tenant_id = p_tenant and i.id = p_import and i.state = 'undoing';
  if found then
    perform write_audit(p_tenant, p_actor, 'import_undone', 'import:' || p_import, v_counts);
  end if;
  return v_counts;
end
$$;
comment on function jobsync.close_undo(text, text, text) is 'Ends an undo; answers rows by what was done: deleted, restored, kept, nothing.';
