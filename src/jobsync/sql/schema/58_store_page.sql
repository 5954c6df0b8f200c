-- store_page: the one call that stores a page. Rows, quarantine, outbox and cursor move in the caller's one transaction,
-- or not at all. A page that does not fit at large (more than a fifth, and at least ten records) is schema drift: the call
-- fails and the cursor stays.

create function jobsync.store_page(
  p_tenant text, p_stream text, p_page jsonb,
  p_refused jsonb default '[]', p_refused_raw bytea[] default '{}', p_extra jsonb default '[]', p_owners bigint[] default null,
  p_origin text default 'pull'
) returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_result jsonb;
  v_refused integer := jsonb_array_length(p_refused);
begin
  v_result := case p_stream
    when 'jobs' then store_jobs(p_tenant, p_page, 'servicetitan', case p_origin when 'backfill' then 'backfilled' end)
    when 'customers' then store_customers(p_tenant, p_page)
    when 'locations' then store_locations(p_tenant, p_page)
    when 'customer_contacts' then store_contacts(p_tenant, 'customer', p_page, p_extra, p_owners)
    when 'location_contacts' then store_contacts(p_tenant, 'location', p_page, p_extra, p_owners)
    when 'business_units' then store_business_units(p_tenant, p_page)
    when 'job_types' then store_job_types(p_tenant, p_page)
    when 'appointments' then store_appointments(p_tenant, p_page)
    when 'estimates' then store_estimates(p_tenant, p_page)
    when 'invoices' then store_invoices(p_tenant, p_page)
    when 'technician_assignments' then store_technician_assignments(p_tenant, p_page)
    when 'tag_types' then store_tag_types(p_tenant, p_page)
    when 'campaigns' then store_campaigns(p_tenant, p_page)
  end;
  if v_result is null then
    raise exception 'stream % is not known', p_stream using errcode = 'JS004';
  end if;
  if v_refused > 0 then
    perform quarantine_records(p_tenant, p_stream, p_refused, p_refused_raw, jobsync.now());
    v_result := v_result || jsonb_build_object('pulled', (v_result ->> 'pulled')::int + v_refused, 'quarantined', (v_result ->> 'quarantined')::int + v_refused);
  end if;
  if p_stream = 'jobs' then
    perform fold_tallies(p_tenant);
  end if;
  -- What is retried did not fit before: many of it says nothing about the format.
  if p_origin <> 'retry' and (v_result ->> 'quarantined')::int >= 10 and (v_result ->> 'quarantined')::int * 5 > (v_result ->> 'pulled')::int then
    raise exception '% of % records of a page of % do not fit', v_result ->> 'quarantined', v_result ->> 'pulled', p_stream
      using errcode = 'JS003', hint = 'ServiceTitan may have changed its format. Nothing was stored and the cursor stays; see `jobsync doctor`.';
  end if;
  return v_result;
end
$$;
comment on function jobsync.store_page(text, text, jsonb, jsonb, bytea[], jsonb, bigint[], text) is
  'Stores one page of a stream: rows, quarantine and outbox. p_refused/p_refused_raw: records that jsonb itself refuses; p_origin: pull, backfill (jobs that are new are held) or retry (of the quarantine). Answers the counts.';

create function jobsync.read_cursor(p_tenant text, p_stream text, p_mode text, p_since text) returns jobsync.cursors
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_cursor jobsync.cursors;
begin
  insert into cursors (tenant_id, stream, mode, since, began_from, began_at_start) values (p_tenant, p_stream, p_mode, p_since, p_since, p_since is null)
  on conflict (tenant_id, stream) do nothing;
  select * into v_cursor from cursors c where c.tenant_id = p_tenant and c.stream = p_stream;
  return v_cursor;
end
$$;
comment on function jobsync.read_cursor(text, text, text, text) is 'The cursor of a stream, made at its first reading with the given mode and start.';

create function jobsync.move_cursor(
  p_tenant text, p_stream text, p_revision bigint, p_mode text, p_token text, p_since text, p_caught_up boolean
) returns bigint language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_revision bigint;
begin
  update cursors c set mode = p_mode, token = p_token, since = p_since, revision = c.revision + 1, failures = 0, last_error = null, refused_at = null,
         caught_up_at = case when p_caught_up then jobsync.now() else c.caught_up_at end,
         -- A feed refused before its first page: the list begins now, not at the first record.
         began_at_start = c.began_at_start and not (p_mode = 'list' and c.mode = 'export' and c.since is null),
         complete_from_start = c.complete_from_start
           or (p_caught_up and c.began_at_start and not (p_mode = 'list' and c.mode = 'export' and c.since is null)),
         updated_at = jobsync.now()
   where c.tenant_id = p_tenant and c.stream = p_stream and c.revision = p_revision
  returning c.revision into v_revision;
  if v_revision is null then
    raise exception 'the cursor of % was moved by another run', p_stream using errcode = 'JS002';
  end if;
  return v_revision;
end
$$;
comment on function jobsync.move_cursor(text, text, bigint, text, text, text, boolean) is
  'Moves a cursor, only if it still is at the revision that was read. Called in the transaction that stored the page.';

create function jobsync.fail_cursor(p_tenant text, p_stream text, p_error text) returns integer
language sql volatile as $$
  update jobsync.cursors c set failures = c.failures + 1, last_error = pg_catalog.left(p_error, 500), updated_at = jobsync.now()
   where c.tenant_id = p_tenant and c.stream = p_stream returning c.failures
$$;
comment on function jobsync.fail_cursor(text, text, text) is 'Notes a failed reading beside the cursor, which stays where it is. Answers failures in a row.';

-- lastJobPull is readable, never resumed from: the newest modified_on that is stored, held behind the caught-up time.
create function jobsync.publish_watermark(p_tenant text) returns text
language plpgsql set search_path = jobsync, public as $$
declare
  v_newest timestamptz;
  v_value text;
begin
  select max(j.modified_on) into v_newest from jobs j where j.tenant_id = p_tenant and j.modified_on is not null and j.source = 'servicetitan';
  if v_newest is null then
    return null;
  end if;
  v_value := to_char(least(v_newest, jobsync.now()) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');
  insert into sync_state as s (tenant_id, key, value, metadata) values (p_tenant, 'lastJobPull', v_value, '{"published_by": "jobsync"}')
  on conflict (tenant_id, key) do update set value = excluded.value, metadata = s.metadata || excluded.metadata, updated_at = jobsync.now()
   where s.owner = 'jobsync' and s.value is distinct from excluded.value;
  return v_value;
end
$$;
comment on function jobsync.publish_watermark(text) is 'Publishes the newest stored modifiedOn as sync_state.lastJobPull, unless an outside puller owns the key.';
