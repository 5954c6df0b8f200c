-- Adopting, step 5: the old tables become what the new ones are. What that is, is read from the tables that schema/20 has just
-- made, so that it stands in one place. A table is rewritten once, with all its values; its rows keep their ids.

select pg_catalog.set_config('search_path', 'pg_catalog', true);

create table jobsync_adopting.columns as
select c.relname as name, a.attname as field, a.attnum as place, pg_catalog.format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as is_needed,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) as default_text, pg_catalog.col_description(c.oid, a.attnum) as comment
  from pg_catalog.pg_class c
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_catalog.pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
 where c.relnamespace = 'public'::regnamespace and c.relkind = 'r';
create table jobsync_adopting.attachments (name text, place integer, command text);
-- What an old value becomes where it is more than another type. `{}` is the column.
create table jobsync_adopting.conversions (name text, field text, expression text);

-- A pending job whose unit the old view did not show was never pushed, and must not be from now on.
create table jobsync_adopting.units (st_business_unit_id bigint primary key, is_on boolean not null);
do $units$
begin
  if to_regclass('jobsync_adopting.business_units') is not null then
    insert into jobsync_adopting.units
    select u.st_business_unit_id, u.sync_to_ghl is not false and u.sync_enabled is not false from jobsync_adopting.business_units u;
  end if;
  execute format($$create function jobsync_adopting.status(p_status text, p_unit bigint) returns text language sql immutable as $f$
    select case lower(btrim(p_status)) when 'pending' then case when p_unit = any (%L::bigint[]) then 'pending' else 'skipped' end
      when 'synced' then 'synced' when 'failed' then 'failed' else 'skipped' end $f$ $$,
    (select coalesce(array_agg(u.st_business_unit_id), '{}') from jobsync_adopting.units u where u.is_on));
  execute format($$create function jobsync_adopting.reason(p_status text, p_unit bigint) returns text language sql immutable as $f$
    select case lower(btrim(p_status)) when 'pending' then case when p_unit = any (%L::bigint[]) then null when p_unit = any (%L::bigint[]) then 'unit_off' else 'unmapped' end
      when 'synced' then null when 'failed' then 'failed_outside' else 'by_hand' end $f$ $$,
    (select coalesce(array_agg(u.st_business_unit_id), '{}') from jobsync_adopting.units u where u.is_on),
    (select coalesce(array_agg(u.st_business_unit_id), '{}') from jobsync_adopting.units u where not u.is_on));
end
$units$;
create function jobsync_adopting.filled(p_text text) returns text language sql immutable as $$ select case when pg_catalog.btrim(p_text) = '' then null else p_text end $$;

insert into jobsync_adopting.conversions
select c.name, c.field, 'jobsync_adopting.filled({}::text)' from jobsync_adopting.columns c
 where c.name in ('jobs', 'customers') and c.type = 'text' and not c.is_needed and c.field not in ('ghl_sync_status', 'ghl_opportunity_id', 'ghl_contact_id', 'ghl_sync_error');
insert into jobsync_adopting.conversions values
  ('sync_state', 'owner', '''external'''),
  ('jobs', 'ghl_opportunity_id', 'jobsync.real_ghl_id({}::text)'),
  ('customers', 'ghl_contact_id', 'jobsync.real_ghl_id({}::text)'),
  ('jobs', 'ghl_sync_status', 'jobsync_adopting.status({}::text, business_unit_id)'),
  ('jobs', 'ghl_sync_reason', 'jobsync_adopting.reason(ghl_sync_status::text, business_unit_id)'),
  ('jobs', 'ghl_sync_error', $$case when lower(btrim(ghl_sync_status)) in ('pending', 'synced', 'failed', 'skipped') then nullif({}, '')
      else 'Before it was adopted its status was "' || coalesce(ghl_sync_status, '') || '". ' || coalesce({}, '') end$$),
  ('customers', 'ghl_sync_status', $$case when lower(btrim({})) in ('pending', 'synced', 'failed', 'skipped') then lower(btrim({})) else 'pending' end$$),
  -- Blanks count as nothing, so that it is the hash of the row as it is then.
  ('jobs', 'job_hash', $$jobsync.job_hash(jobsync_adopting.filled(st_job_number), st_customer_id, st_location_id, business_unit_id, job_type_id, jobsync_adopting.filled(job_status),
      jobsync_adopting.filled(priority), jobsync_adopting.filled(summary), completed_on::timestamptz, total, campaign_id, tag_type_ids, true)$$),
  ('jobs', 'delivered_hash', $$case when lower(btrim(ghl_sync_status)) = 'synced' then
      jobsync.job_hash(jobsync_adopting.filled(st_job_number), st_customer_id, st_location_id, business_unit_id, job_type_id, jobsync_adopting.filled(job_status),
      jobsync_adopting.filled(priority), jobsync_adopting.filled(summary), completed_on::timestamptz, total, campaign_id, tag_type_ids, true) end$$),
  -- 0: adopted. The first record from ServiceTitan is the baseline, as what the old flow stored is not what ServiceTitan said.
  ('jobs', 'job_hash_version', '0::smallint');

do $merge$
declare
  v_guide jsonb := '{
    "sync_state": ["id", "key", "value", "metadata", "created_at", "updated_at"],
    "business_units": ["id", "st_business_unit_id", "name", "ghl_pipeline_id", "ghl_pipeline_name", "sync_enabled", "sync_to_ghl", "created_at", "updated_at"],
    "sync_logs": ["id", "sync_type", "entity_type", "entity_id", "status", "records_processed", "records_succeeded", "records_failed", "error_message",
      "error_details", "started_at", "completed_at", "duration_ms", "workflow_execution_id", "metadata"],
    "customers": ["id", "st_customer_id", "st_location_id", "first_name", "last_name", "company_name", "email", "phone", "street", "city", "state", "postal_code",
      "country", "county", "ghl_contact_id", "ghl_synced_at", "ghl_sync_status", "ghl_sync_error", "st_raw_data", "created_at", "updated_at", "synced_from_st_at"],
    "jobs": ["id", "st_job_id", "st_job_number", "st_customer_id", "st_location_id", "business_unit_id", "job_type_id", "job_type_name", "job_status", "priority",
      "summary", "description", "created_on", "completed_on", "modified_on", "first_appointment_id", "last_appointment_id", "appointment_count", "total",
      "invoice_id", "estimate_ids", "no_charge", "campaign_id", "lead_call_id", "tag_type_ids", "ghl_opportunity_id", "ghl_pipeline", "ghl_synced_at",
      "ghl_sync_status", "ghl_sync_error", "st_raw_data", "created_at", "updated_at", "synced_from_st_at"]}';
  v_keys jsonb := '{"jobs": "st_job_id", "customers": "st_customer_id", "business_units": "st_business_unit_id", "sync_state": "key", "sync_logs": "id"}';
  v_name text;
  v_old oid;
  v_new oid;
  v_found record;
  v_steps text[];
  v_text text;
begin
  for v_name in select t.name from (select distinct c.name from jobsync_adopting.columns c) t order by t.name loop
    v_old := to_regclass('jobsync_adopting.' || v_name);
    v_new := to_regclass('public.' || v_name);
    if v_old is null then
      insert into jobsync_adopting.notes (kind, note) values ('repaired', format('the table %s was missing and was made', v_name));
      continue;
    end if;
    select format('public.%I has a column "%s" of its own, a name that JobSync needs.|ALTER TABLE public.%I RENAME COLUMN %I TO old_%s;', v_name, c.field, v_name, c.field, c.field)
      into v_text from jobsync_adopting.columns c
      join pg_attribute a on a.attrelid = v_old and a.attname = c.field and a.attnum > 0 and not a.attisdropped
     where c.name = v_name and not v_guide -> v_name ? c.field limit 1;
    if v_text is not null then
      raise exception '%', split_part(v_text, '|', 1) using errcode = 'JS001', hint = 'Rename it first: ' || split_part(v_text, '|', 2) || ' Nothing was changed.';
    end if;

    -- What hangs on the new table is written down, and the old one takes its place.
    insert into jobsync_adopting.attachments
    select v_name, 1, format('alter table public.%I add constraint %I %s', v_name, k.conname, pg_get_constraintdef(k.oid)) from pg_constraint k where k.conrelid = v_new and k.contype in ('p', 'u', 'c')
    union all
    select v_name, 2, pg_get_indexdef(i.indexrelid) from pg_index i
     where i.indrelid = v_new and not exists (select from pg_constraint k where k.conindid = i.indexrelid)
    union all
    select v_name, 3, pg_get_triggerdef(t.oid) from pg_trigger t where t.tgrelid = v_new and not t.tgisinternal
    union all
    select v_name, 4, format('alter table public.%I set (%s)', v_name, array_to_string(r.reloptions, ', ')) from pg_class r where r.oid = v_new and r.reloptions is not null
    union all
    select v_name, 5, format('comment on table public.%I is %L', v_name, obj_description(v_new, 'pg_class'))
    union all
    select v_name, 5, format('comment on column public.%I.%I is %L', v_name, c.field, c.comment) from jobsync_adopting.columns c where c.name = v_name and c.comment is not null;
    execute format('drop table public.%I', v_name);
    execute format('alter table jobsync_adopting.%I set schema public', v_name);

    -- Keys of the guide give way to ours; other constraints are their owner's.
    for v_found in
      select k.conname, k.contype, array(select a.attname::text from pg_attribute a where a.attrelid = v_old and a.attnum = any (k.conkey)) as fields
        from pg_constraint k where k.conrelid = v_old and k.contype in ('p', 'u', 'c', 'x')
    loop
      if v_found.contype = 'p' or v_found.contype = 'u' and v_found.fields in (array['id'], array[v_keys ->> v_name]) then
        execute format('alter table public.%I drop constraint %I', v_name, v_found.conname);
      else
        insert into jobsync_adopting.notes (kind, note) values ('kept', format('constraint %s of %s', v_found.conname, v_name));
      end if;
    end loop;
    for v_found in
      select i.indexrelid::regclass::text as index, c.relname, i.indnkeyatts = 1 and i.indpred is null and i.indkey[0] = (
               select a.attnum from pg_attribute a where a.attrelid = v_old and a.attname = v_keys ->> v_name) and v_name <> 'sync_logs' as is_double
        from pg_index i join pg_class c on c.oid = i.indexrelid
       where i.indrelid = v_old and not exists (select from pg_constraint k where k.conindid = i.indexrelid)
    loop
      if v_found.is_double then
        execute format('drop index %s', v_found.index);
        insert into jobsync_adopting.notes (kind, note) values ('repaired', format('index %s is gone: the key''s own index does the same', v_found.relname));
      else
        insert into jobsync_adopting.notes (kind, note) values ('kept', format('index %s on %s', v_found.relname, v_name));
      end if;
    end loop;

    -- Columns that are missing, then one rewrite with the types and values.
    select array_agg(format('add column %I %s%s%s', c.field, c.type,
             case when c.default_text is not null then ' default ' || c.default_text else '' end, case when c.is_needed then ' not null' else '' end) order by c.place) into v_steps
      from jobsync_adopting.columns c
     where c.name = v_name and not exists (select from pg_attribute a where a.attrelid = v_old and a.attname = c.field and not a.attisdropped);
    if v_steps is not null then
      execute format('alter table public.%I %s', v_name, array_to_string(v_steps, ', '));
      insert into jobsync_adopting.notes (kind, note)
      select 'repaired', format('the column %s of %s was missing and was made', c.field, v_name) from jobsync_adopting.columns c
       where c.name = v_name and v_guide -> v_name ? c.field and format('add column %I ', c.field) = any (array(select left(s, length(format('add column %I ', c.field))) from unnest(v_steps) s));
    end if;
    select array_agg(s.step order by s.kind, s.place) into v_steps from (
      select 1 as kind, c.place, format('alter column %I drop default', c.field) as step
        from jobsync_adopting.columns c join pg_attribute a on a.attrelid = v_old and a.attname = c.field and a.atthasdef where c.name = v_name
      union all
      select 2, c.place, format('alter column %I drop not null', c.field)
        from jobsync_adopting.columns c join pg_attribute a on a.attrelid = v_old and a.attname = c.field and a.attnotnull where c.name = v_name and not c.is_needed
      union all
      select 3, c.place, format('alter column %I type %s using %s', c.field, c.type,
               case when c.is_needed and not a.attnotnull and c.default_text is not null then format('coalesce((%s)::%s, %s)', x.expression, c.type, c.default_text)
                    else format('(%s)::%s', x.expression, c.type) end)
        from jobsync_adopting.columns c
        join pg_attribute a on a.attrelid = v_old and a.attname = c.field and a.attnum > 0 and not a.attisdropped
        left join jobsync_adopting.conversions k on k.name = c.name and k.field = c.field
        cross join lateral (select replace(coalesce(k.expression, '{}'), '{}', format('%I', c.field)) as expression) x
       where c.name = v_name and (k.field is not null or format_type(a.atttypid, a.atttypmod) <> c.type or c.is_needed and not a.attnotnull and c.default_text is not null)) s;
    if v_steps is not null then
      execute format('alter table public.%I %s', v_name, array_to_string(v_steps, ', '));
    end if;
    select array_agg(s.step) into v_steps from (
      select format('alter column %I set default %s', c.field, c.default_text) as step from jobsync_adopting.columns c where c.name = v_name and c.default_text is not null
      union all
      select format('alter column %I set not null', c.field) from jobsync_adopting.columns c where c.name = v_name and c.is_needed
      union all
      -- A column of their own that must be filled would refuse every row that JobSync writes.
      select format('alter column %I drop not null', a.attname) from pg_attribute a
       where a.attrelid = v_old and a.attnum > 0 and not a.attisdropped and a.attnotnull and not a.atthasdef and a.attidentity = '' and a.attgenerated = ''
         and not exists (select from jobsync_adopting.columns c where c.name = v_name and c.field = a.attname)) s;
    execute format('alter table public.%I %s', v_name, array_to_string(v_steps, ', '));
    insert into jobsync_adopting.notes (kind, note)
    select 'kept', format('column %s of %s', a.attname, v_name) from pg_attribute a
     where a.attrelid = v_old and a.attnum > 0 and not a.attisdropped and not exists (select from jobsync_adopting.columns c where c.name = v_name and c.field = a.attname);
    for v_text in select t.command from jobsync_adopting.attachments t where t.name = v_name order by t.place loop
      execute v_text;
    end loop;
  end loop;
end
$merge$;

select pg_catalog.set_config('search_path', (select s.search_path from jobsync_adopting.session s), true);
