-- Storing jobs: one page of ServiceTitan's own JSON, or the bodies of /db, in one statement.
-- page -> equal to what is stored: done -> misfits (quarantined; for /db the caller has left them out) -> newest per id ->
-- merged over the stored row (a missing key keeps the old value, null is null) -> written where something differs -> planned.
-- Under row-level security a row is looked up by key only if the key is a bare column: the ids are made in a step of their
-- own (offset 0), as the functions that make them would otherwise stand in the join. enable_seqscan = off: every look here is by key, and a plan made while a table was empty must not outlive its growth.
-- The two quick looks, "equal" and "plain", are what makes a page cheap: nearly every record passes them. What is plain is
-- asked of a hundred records at once, and of single ones only where one of the hundred (`suspects`) is not.

-- Whoever stores or plans jobs of a tenant holds this: what one reads cannot be overtaken by what another writes, and rows
-- are locked in one order. Order of locks everywhere: routes, tenants, destinations, this (customers, jobs, wanted), rows of
-- jobs (by st_job_id), outbox, budgets.
create function jobsync.lock_stream(p_tenant text, p_stream text) returns void language sql volatile as $$
  select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('jobsync.' || p_stream), pg_catalog.hashtext(p_tenant))
$$;
comment on function jobsync.lock_stream(text, text) is 'Until the transaction ends nobody else stores records of this stream of this tenant.';

-- Stable, not immutable, although they depend on nothing else: so that their texts stand in the query that calls them.
create function jobsync.has_job_shape(p_doc jsonb) returns boolean language sql stable parallel safe as $$
  select coalesce(pg_catalog.jsonb_typeof(p_doc) = 'object'
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'total') in ('number', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'noCharge') in ('boolean', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'active') in ('boolean', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'tagTypeIds') in ('array', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'estimateIds') in ('array', 'null'), true), false)
$$;
comment on function jobsync.has_job_shape(jsonb) is 'True when the record is an object whose lists, flags and total are what they are meant to be, or null.';

create function jobsync.list_job_ids(p_doc jsonb) returns text language sql stable parallel safe as $$
  select pg_catalog.concat('=' || (p_doc ->> 'customerId'), ';', '=' || (p_doc ->> 'locationId'), ';', '=' || (p_doc ->> 'businessUnitId'), ';', '=' || (p_doc ->> 'jobTypeId'), ';',
    '=' || (p_doc ->> 'invoiceId'), ';', '=' || (p_doc ->> 'campaignId'), ';', '=' || (p_doc ->> 'leadCallId'), ';', '=' || (p_doc ->> 'firstAppointmentId'), ';',
    '=' || (p_doc ->> 'lastAppointmentId'), ';', '=' || (p_doc ->> 'appointmentCount'), ';')
$$;
comment on function jobsync.list_job_ids(jsonb) is 'The ids within a job, listed: `=value;`.';

create function jobsync.list_job_times(p_doc jsonb) returns text language sql stable parallel safe as $$
  select pg_catalog.concat('=' || (p_doc ->> 'createdOn'), ';', '=' || (p_doc ->> 'modifiedOn'), ';', '=' || (p_doc ->> 'completedOn'), ';')
$$;
comment on function jobsync.list_job_times(jsonb) is 'The times within a job, listed: `=value;`.';

create function jobsync.list_job_lists(p_doc jsonb) returns text language sql stable parallel safe as $$
  select pg_catalog.concat('=' || (p_doc ->> 'tagTypeIds'), ';', '=' || (p_doc ->> 'estimateIds'), ';')
$$;
comment on function jobsync.list_job_lists(jsonb) is 'The lists within a job, listed: `=value;`.';

create function jobsync.is_plain_job(p_doc jsonb) returns boolean language plpgsql stable parallel safe as $$
begin
  return jobsync.has_job_shape(p_doc) and jobsync.are_plain_ids_listed(jobsync.list_job_ids(p_doc), 10)
     and jobsync.are_plain_times_listed(jobsync.list_job_times(p_doc), 3) and jobsync.are_plain_lists_listed(jobsync.list_job_lists(p_doc), 2);
end
$$;
comment on function jobsync.is_plain_job(jsonb) is 'True when every field of a job casts as it stands.';

create function jobsync.refusal_reason(p_stream text, p_doc jsonb, p_id bigint) returns text language sql immutable parallel safe as $$
  select case when pg_catalog.jsonb_typeof(p_doc) <> 'object' then 'the record is not an object'
              when coalesce(p_id, 0) <= 0 then 'id is not a positive whole number'
              else 'these fields do not fit: ' || pg_catalog.array_to_string(jobsync.record_misfits(jobsync.field_kinds(p_stream), p_doc), ', ') end
$$;
comment on function jobsync.refusal_reason(text, jsonb, bigint) is 'Why a record goes to the quarantine, in words.';

create function jobsync.store_jobs(p_tenant text, p_page jsonb, p_source text default 'servicetitan', p_hold text default null)
returns jsonb language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set work_mem = '64MB' set plan_cache_mode = auto as $$
declare
  v_now timestamptz := jobsync.now();
  v_version smallint := hash_version();
  v_deliver_from timestamptz;
  v_links boolean := links_installs(p_tenant);
  v_adopted timestamptz := adopted_at(p_tenant);
  v_touched bigint[];
  v_open bigint[];
  v_changed boolean[];
  v_pulled integer;
  v_stored integer;
  v_refused jsonb;
  v_refused_raw bytea[];
  v_planned integer;
begin
  -- A plan kept from an emptier table would read the whole table for every page; for a few rows planning costs more.
  if jsonb_array_length(p_page) > 20 then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
  end if;
  perform lock_stream(p_tenant, 'jobs');
  select t.deliver_from into v_deliver_from from tenants t where t.tenant_id = p_tenant;
  with fresh as materialized (
    select p.n, p.id, p.doc, j.st_job_id is null as is_new, j.st_raw_data as old_doc, j.source as old_source, j.modified_on as old_modified_on
      from (select e.n, e.doc, try_bigint(e.doc -> 'id') as id from jsonb_array_elements(p_page) with ordinality e(doc, n) offset 0) p
      left join lateral (select x.* from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = p.id offset 0) j on true
     where not coalesce(p.doc = j.st_raw_data and (j.source = 'servicetitan' or p_source <> 'servicetitan'), false)
  ), suspects as (
    select f.n / 100 as hundred from fresh f group by f.n / 100
    having not (bool_and(has_job_shape(f.doc)) and are_plain_ids_listed(string_agg(list_job_ids(f.doc), ''), 10 * count(*))
                and are_plain_times_listed(string_agg(list_job_times(f.doc), ''), 3 * count(*)) and are_plain_lists_listed(string_agg(list_job_lists(f.doc), ''), 2 * count(*)))
  ), odd as materialized (
    -- What does not cast as it stands: made plain, or refused (doc is null).
    select f.n, f.id, f.is_new, f.old_doc, f.old_source, f.old_modified_on, f.doc as raw,
           case when f.id > 0 then plain_record(field_kinds('jobs'), f.doc) end as doc
      from fresh f
     where coalesce(f.id, 0) <= 0 or f.n / 100 = any (array(select s.hundred from suspects s)) and not is_plain_job(f.doc)
  ), newest as (
    -- plain: what was made plain, else null and the record stands for itself: sorted twice over it would be as much again.
    select distinct on (c.id) c.id, c.is_new, c.old_doc, c.old_source, c.old_modified_on, c.raw, c.plain, c.modified_on
      from (select f.id, f.n, f.is_new, f.old_doc, f.old_source, f.old_modified_on, f.doc as raw, null::jsonb as plain, (f.doc ->> 'modifiedOn')::timestamptz as modified_on from fresh f
             where f.id > 0 and (f.n / 100 <> all (array(select s.hundred from suspects s)) or is_plain_job(f.doc))
            union all
            select o.id, o.n, o.is_new, o.old_doc, o.old_source, o.old_modified_on, o.raw, o.doc, (o.doc ->> 'modifiedOn')::timestamptz from odd o where o.doc is not null) c
     order by c.id, c.modified_on desc nulls last, c.n desc
  ), merged as (
    -- over: the record, where it may leave values of a stored row standing.
    select n.id, n.modified_on, coalesce(n.plain, n.raw) as given, case when not n.is_new then coalesce(n.plain, n.raw) end as over,
           coalesce(n.old_doc || n.raw, n.raw) as doc, n.is_new, n.old_doc, n.old_source, n.old_modified_on,
           j.job_hash as stored_hash, j.job_hash_version as stored_version,
           j.delivered_hash, j.st_job_number, j.st_customer_id, j.st_location_id, j.business_unit_id, j.job_type_id, j.job_type_name, j.job_status,
           j.priority, j.summary, j.description, j.created_on, j.completed_on, j.first_appointment_id,
           j.last_appointment_id, j.appointment_count, j.total, j.invoice_id, j.estimate_ids, j.no_charge, j.campaign_id, j.lead_call_id,
           j.tag_type_ids, j.active
      from newest n
      -- New ones are not looked for again: rows are written while this runs, and a plan made for an empty table would read them all.
      left join lateral (select x.* from public.jobs x where not n.is_new and x.tenant_id = p_tenant and x.st_job_id = n.id offset 0) j on true
     where n.is_new or n.modified_on >= n.old_modified_on or n.old_modified_on is null or (n.modified_on is null and n.old_source = p_source)
  ), typed as (
    select m.id, m.doc, m.is_new, m.stored_hash, m.delivered_hash, m.stored_version,
           -- Of an adopted job ServiceTitan's first record is the baseline: it is our knowledge that changes, not the job.
           m.stored_version = 0 and m.delivered_hash is not null and p_source = 'servicetitan' as is_baseline,
      case when m.is_new then null when m.stored_version = v_version then m.stored_hash
           else job_hash(m.st_job_number, m.st_customer_id, m.st_location_id, m.business_unit_id, m.job_type_id, m.job_status, m.priority, m.summary,
                         m.completed_on, m.total, m.campaign_id, m.tag_type_ids, m.active) end as old_hash,
      coalesce(left(x."jobNumber", 500), case when not m.over ? 'jobNumber' then m.st_job_number end) as st_job_number,
      coalesce(x."customerId", case when not m.over ? 'customerId' then m.st_customer_id end) as st_customer_id,
      coalesce(x."locationId", case when not m.over ? 'locationId' then m.st_location_id end) as st_location_id,
      coalesce(x."businessUnitId", case when not m.over ? 'businessUnitId' then m.business_unit_id end) as business_unit_id,
      coalesce(x."jobTypeId", case when not m.over ? 'jobTypeId' then m.job_type_id end) as job_type_id,
      coalesce(x."jobTypeName", t.name, case when not m.over ? 'jobTypeName' then m.job_type_name end) as job_type_name,
      coalesce(x."jobStatus", case when not m.over ? 'jobStatus' then m.job_status end) as job_status,
      coalesce(x.priority, case when not m.over ? 'priority' then m.priority end) as priority,
      coalesce(x.summary, case when not m.over ? 'summary' then m.summary end) as summary,
      coalesce(x.description, case when not m.over ? 'description' then m.description end) as description,
      coalesce(x."createdOn", case when not m.over ? 'createdOn' then m.created_on end) as created_on,
      coalesce(x."completedOn", case when not m.over ? 'completedOn' then m.completed_on end) as completed_on,
      coalesce(m.modified_on, m.old_modified_on) as modified_on,
      coalesce(x."firstAppointmentId", case when not m.over ? 'firstAppointmentId' then m.first_appointment_id end) as first_appointment_id,
      coalesce(x."lastAppointmentId", case when not m.over ? 'lastAppointmentId' then m.last_appointment_id end) as last_appointment_id,
      case when x."appointmentCount" is not null then least(greatest(x."appointmentCount", 0), 2147483647)::integer
           when not m.given ? 'appointmentCount' then coalesce(m.appointment_count, 0) end as appointment_count,
      coalesce(x.total, case when not m.over ? 'total' then m.total end) as total,
      coalesce(x."invoiceId", case when not m.over ? 'invoiceId' then m.invoice_id end) as invoice_id,
      coalesce(x."estimateIds", case when not m.over ? 'estimateIds' then m.estimate_ids end) as estimate_ids,
      coalesce(x."noCharge", case when not m.over ? 'noCharge' then m.no_charge end) as no_charge,
      coalesce(x."campaignId", case when not m.over ? 'campaignId' then m.campaign_id end) as campaign_id,
      coalesce(x."leadCallId", case when not m.over ? 'leadCallId' then m.lead_call_id end) as lead_call_id,
      coalesce(x."tagTypeIds", case when not m.over ? 'tagTypeIds' then m.tag_type_ids end) as tag_type_ids,
      coalesce(x.active, case when not m.over ? 'active' then m.active end, true) as active,
      coalesce(r.deliverer, 'none') as deliverer, u.sync_enabled, u.sync_to_ghl
      from merged m
      cross join lateral jsonb_to_record(m.given) as x (
        "jobNumber" text, "customerId" bigint, "locationId" bigint, "businessUnitId" bigint, "jobTypeId" bigint, "jobTypeName" text,
        "jobStatus" text, priority text, summary text, description text, "createdOn" timestamptz, "completedOn" timestamptz,
        "firstAppointmentId" bigint, "lastAppointmentId" bigint, "appointmentCount" bigint, total numeric, "invoiceId" bigint,
        "estimateIds" bigint[], "noCharge" boolean, "campaignId" bigint, "leadCallId" bigint, "tagTypeIds" bigint[], active boolean)
      left join jobsync.job_types t on t.tenant_id = p_tenant and t.st_job_type_id = x."jobTypeId"
      -- By what the record says: whether a job is skipped is asked of new ones alone.
      left join public.business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = x."businessUnitId"
      left join jobsync.routes r on r.tenant_id = p_tenant and r.st_business_unit_id = x."businessUnitId"
     where m.doc is distinct from m.old_doc or (p_source = 'servicetitan' and m.old_source <> 'servicetitan')
  ), hashed as materialized (
    select y.*, job_hash(y.st_job_number, y.st_customer_id, y.st_location_id, y.business_unit_id, y.job_type_id, y.job_status, y.priority,
                         y.summary, y.completed_on, y.total, y.campaign_id, y.tag_type_ids, y.active) as job_hash,
           case when y.is_new then
             coalesce(p_hold, skip_reason(y.deliverer, y.sync_enabled, y.sync_to_ghl, p_source, y.created_on,
               coalesce(v_deliver_from, case when y.deliverer = 'external' then v_adopted end))) end as skip
      from typed y
  ), added as (
    -- Without `on conflict`, which asks for each row once more whether it is there and costs a fifth of the writing.
    insert into public.jobs (
      id, tenant_id, st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, job_type_id, job_type_name, job_status, priority,
      summary, description, created_on, completed_on, modified_on, first_appointment_id, last_appointment_id, appointment_count, total,
      invoice_id, estimate_ids, no_charge, campaign_id, lead_call_id, tag_type_ids, ghl_sync_status, ghl_sync_reason, st_raw_data,
      created_at, updated_at, synced_from_st_at, source, active, job_hash, job_hash_version)
    select row_id(p_tenant, 'job', h.id), p_tenant, h.id, h.st_job_number, h.st_customer_id, h.st_location_id, h.business_unit_id, h.job_type_id,
      h.job_type_name, h.job_status, h.priority, h.summary, h.description, h.created_on, h.completed_on, h.modified_on, h.first_appointment_id,
      h.last_appointment_id, h.appointment_count, h.total, h.invoice_id, h.estimate_ids, h.no_charge, h.campaign_id, h.lead_call_id, h.tag_type_ids,
      case when h.skip is null then 'pending' else 'skipped' end, h.skip, h.doc, v_now, v_now, v_now, p_source, h.active, h.job_hash, v_version
      from hashed h where h.is_new
    returning 1
  ), changed as (
    insert into public.jobs as t (
      id, tenant_id, st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, job_type_id, job_type_name, job_status, priority,
      summary, description, created_on, completed_on, modified_on, first_appointment_id, last_appointment_id, appointment_count, total,
      invoice_id, estimate_ids, no_charge, campaign_id, lead_call_id, tag_type_ids, ghl_sync_status, ghl_sync_reason, st_raw_data,
      created_at, updated_at, synced_from_st_at, source, active, job_hash, job_hash_version, delivered_hash)
    select row_id(p_tenant, 'job', h.id), p_tenant, h.id, h.st_job_number, h.st_customer_id, h.st_location_id, h.business_unit_id, h.job_type_id, h.job_type_name, h.job_status,
      h.priority, h.summary, h.description, h.created_on, h.completed_on, h.modified_on, h.first_appointment_id, h.last_appointment_id,
      h.appointment_count, h.total, h.invoice_id, h.estimate_ids, h.no_charge, h.campaign_id, h.lead_call_id, h.tag_type_ids,
      case when h.skip is null then 'pending' else 'skipped' end, h.skip, h.doc, v_now, v_now, v_now, p_source, h.active, h.job_hash,
      case when h.stored_version = 0 and p_source <> 'servicetitan' then 0 else v_version end,
      -- What was delivered stays known when the hash counts other facts than before.
      case when h.is_baseline then h.job_hash when h.delivered_hash = h.stored_hash then h.old_hash else h.delivered_hash end
      from hashed h where not h.is_new
     order by h.id
    on conflict (tenant_id, st_job_id) do update set
      st_job_number = excluded.st_job_number, st_customer_id = excluded.st_customer_id, st_location_id = excluded.st_location_id,
      business_unit_id = excluded.business_unit_id, job_type_id = excluded.job_type_id, job_type_name = excluded.job_type_name,
      job_status = excluded.job_status, priority = excluded.priority, summary = excluded.summary, description = excluded.description,
      created_on = excluded.created_on, completed_on = excluded.completed_on, modified_on = excluded.modified_on,
      first_appointment_id = excluded.first_appointment_id, last_appointment_id = excluded.last_appointment_id,
      appointment_count = excluded.appointment_count, total = excluded.total, invoice_id = excluded.invoice_id,
      estimate_ids = excluded.estimate_ids, no_charge = excluded.no_charge, campaign_id = excluded.campaign_id,
      lead_call_id = excluded.lead_call_id, tag_type_ids = excluded.tag_type_ids, st_raw_data = excluded.st_raw_data,
      updated_at = v_now, synced_from_st_at = v_now,
      source = case t.source when 'servicetitan' then t.source else excluded.source end, active = excluded.active,
      job_hash = excluded.job_hash, job_hash_version = excluded.job_hash_version,
      delivered_hash = case when t.job_hash_version = excluded.job_hash_version then t.delivered_hash else excluded.delivered_hash end
    returning 1
  )
  select jsonb_array_length(p_page), (select count(*) from added) + (select count(*) from changed),
         (select array_agg(h.id) from hashed h), (select array_agg(h.id) from hashed h where h.skip is null or v_links),
         (select array_agg(h.job_hash is distinct from h.old_hash and h.is_baseline is not true) from hashed h where h.skip is null or v_links),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(o.raw -> 'id'), 100), 'reason', refusal_reason('jobs', o.raw, o.id)) order by o.n)
                     from odd o where o.doc is null), '[]'),
         (select array_agg(convert_to(o.raw::text, 'UTF8') order by o.n) from odd o where o.doc is null)
    into v_pulled, v_stored, v_touched, v_open, v_changed, v_refused, v_refused_raw;

  if v_refused_raw is not null then
    perform quarantine_records(p_tenant, 'jobs', v_refused, v_refused_raw, v_now);
  end if;
  if v_touched is not null then
    perform resolve_quarantined(p_tenant, 'jobs', v_touched, v_now);
    -- Nobody waits for the parents of what is held.
    perform want_parents(p_tenant, case when p_hold is null then v_touched else
      array(select j.st_job_id from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (v_open) and j.ghl_sync_reason is distinct from p_hold) end);
  end if;
  -- Where a new job is skipped, there is nothing to plan: it stands in the row.
  if v_open is not null then
    v_planned := plan_jobs(p_tenant, v_open, v_changed);
  end if;
  if p_hold is null then
    v_planned := coalesce(v_planned, 0) + release_pulled(p_tenant, p_page);
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', v_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - v_stored - jsonb_array_length(v_refused), 'planned', coalesce(v_planned, 0));
end
$$;
comment on function jobsync.store_jobs(text, jsonb, text, text) is
  'Stores a page of jobs, quarantines what does not fit, plans deliveries for what changed. p_hold: the reason for which jobs that are new are skipped. The same page again writes nothing.';

create function jobsync.want_parents(p_tenant text, p_jobs bigint[]) returns void
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_of_customers timestamptz;
  v_of_locations timestamptz;
begin
  -- Whoever stores the parents meanwhile resolves after this, or was done before it: nothing stays wanted unseen.
  perform lock_stream(p_tenant, 'wanted');
  -- A list that was read from its first record on holds the contacts of everybody who was known by then and has some.
  select min(f.caught_up_at) filter (where f.stream = 'customer_contacts'), min(f.caught_up_at) filter (where f.stream = 'location_contacts')
    into v_of_customers, v_of_locations from cursors f where f.tenant_id = p_tenant and f.complete_from_start;
  with of_jobs as materialized (
    select distinct j.st_customer_id, j.st_location_id from unnest(p_jobs) i(id)
     cross join lateral (select x.st_customer_id, x.st_location_id from jobs x where x.tenant_id = p_tenant and x.st_job_id = i.id offset 0) j
  ), asked as (
    select p.st_customer_id as id, c.st_customer_id is null as absent,
           c.contacts_read_at is null and coalesce(c.source, '') <> 'api'
             and not coalesce(c.created_at <= v_of_customers, false) as unread, 'customers' as stream
      from (select distinct o.st_customer_id from of_jobs o where o.st_customer_id > 0) p
      left join lateral (select x.* from customers x where x.tenant_id = p_tenant and x.st_customer_id = p.st_customer_id offset 0) c on true
    union all
    select p.st_location_id, l.st_location_id is null,
           l.contacts_read_at is null and not coalesce(l.created_at <= v_of_locations, false), 'locations'
      from (select distinct o.st_location_id from of_jobs o where o.st_location_id > 0) p
      left join lateral (select x.* from locations x where x.tenant_id = p_tenant and x.st_location_id = p.st_location_id offset 0) l on true
  ), missing as (
    select a.stream, a.id from asked a where a.absent
    union all
    select case a.stream when 'customers' then 'customer_contacts' else 'location_contacts' end, a.id from asked a where a.unread
  )
  insert into wanted (tenant_id, stream, id, wanted_at)
  select p_tenant, m.stream, m.id, v_now from missing m
   where (select true from wanted w where w.tenant_id = p_tenant and w.stream = m.stream and w.id = m.id limit 1) is null
   order by m.stream, m.id
  on conflict (tenant_id, stream, id) do nothing;
end
$$;
comment on function jobsync.want_parents(text, bigint[]) is 'Notes which customers, locations and contact lists of these jobs are not known yet.';

create function jobsync.resolve_wanted(p_tenant text) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_page record;
  v_list record;
  v_deleted integer;
  v_gone integer := 0;
  v_released integer := 0;
  v_read integer := 0;
begin
  -- What was stored before this is seen here; who stores jobs after this sees it himself and does not want it.
  perform lock_stream(p_tenant, 'wanted');
  -- Page by page, by a list of ids: joined, and before the tables were ever analysed, each would be compared with each.
  for v_page in delete from arrived a where a.tenant_id = p_tenant returning a.stream, a.ids loop
    delete from wanted w where w.tenant_id = p_tenant and w.stream = v_page.stream and w.id = any (v_page.ids);
    get diagnostics v_deleted = row_count;
    v_gone := v_gone + v_deleted;
  end loop;
  -- A list that was read from its first record on holds the contacts of everybody who has some.
  for v_list in select f.stream, f.caught_up_at from cursors f
                 where f.tenant_id = p_tenant and f.stream in ('customer_contacts', 'location_contacts') and f.complete_from_start loop
    delete from wanted w where w.tenant_id = p_tenant and w.stream = v_list.stream and w.wanted_at <= v_list.caught_up_at;
    get diagnostics v_deleted = row_count;
    v_gone := v_gone + v_deleted;
  end loop;
  -- The first pull has brought all there is of what an adopted database held: the rest goes out as it stands.
  if adopted_at(p_tenant) is not null and not is_first_load(p_tenant) then
    update outbox o set waiting_for = 'parents', next_attempt_at = v_now + interval '15 minutes'
     where o.tenant_id = p_tenant and o.st_job_id = any (array(
       select x.st_job_id from outbox x where x.tenant_id = p_tenant and x.waiting_for = 'first_pull' and x.lease_until is null for no key update skip locked));
    get diagnostics v_read = row_count;
  end if;
  -- A row that somebody else holds is left for the next time. Found once, in a step of its own: what locks rows would
  -- else be run anew for each row of the outbox.
  if v_gone > 0 or v_read > 0 or not exists (select from wanted w where w.tenant_id = p_tenant limit 1) then
    with released as materialized (
       select x.st_job_id from outbox x
        cross join lateral (select k.st_customer_id, k.st_location_id from jobs k where k.tenant_id = p_tenant and k.st_job_id = x.st_job_id offset 0) j
        where x.tenant_id = p_tenant and x.waiting_for = 'parents' and x.lease_until is null
          and (select true from wanted w where w.tenant_id = p_tenant and w.stream in ('customers', 'customer_contacts') and w.id = j.st_customer_id limit 1) is null
          and (select true from wanted w where w.tenant_id = p_tenant and w.stream in ('locations', 'location_contacts') and w.id = j.st_location_id limit 1) is null
          for no key update of x skip locked)
    update outbox o set waiting_for = null, next_attempt_at = v_now
      from released r where o.tenant_id = p_tenant and o.st_job_id = r.st_job_id;
    get diagnostics v_released = row_count;
  end if;
  return v_released;
end
$$;
comment on function jobsync.resolve_wanted(text) is 'Forgets parents that have arrived and makes the deliveries that waited for them, or for the end of an adopted database''s first pull, due. Answers how many became due.';

create function jobsync.list_wanted(p_tenant text, p_stream text, p_limit integer) returns bigint[]
language sql stable as $$
  select coalesce(array_agg(c.id order by c.id), '{}')
    from (select w.id from jobsync.wanted w
           where w.tenant_id = p_tenant and w.stream = p_stream
             and (w.asked_at is null or w.asked_at < (select jobsync.now()) - interval '5 minutes' * (2 ^ least(w.times_asked, 10)))
           order by w.id limit p_limit) c
$$;
comment on function jobsync.list_wanted(text, text, integer) is 'The next ids to look up; what ServiceTitan did not know when it was asked is asked ever more rarely.';

create function jobsync.note_asked(p_tenant text, p_stream text, p_ids bigint[]) returns void
language sql volatile as $$
  update jobsync.wanted w set asked_at = jobsync.now(), times_asked = w.times_asked + 1
   where w.tenant_id = p_tenant and w.stream = p_stream and w.id = any (p_ids)
$$;
comment on function jobsync.note_asked(text, text, bigint[]) is
  'Notes that ServiceTitan answered for these ids. Only then: a worker that dies while it asks must not make the next one wait.';
