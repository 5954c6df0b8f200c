-- Storing jobs: one page of ServiceTitan's own JSON, or one body of /db, in one statement.
-- page -> misfits (quarantined, or for /db: the field left out with a warning) -> newest per id -> merged over the stored
-- row (a missing key keeps the old value, null is null) -> written only where something differs -> planned.

create function jobsync.job_misfits(p_doc jsonb) returns text[] language sql immutable parallel safe as $$
  select case when
      jobsync.fits_bigint(p_doc -> 'customerId') and jobsync.fits_bigint(p_doc -> 'locationId')
      and jobsync.fits_bigint(p_doc -> 'businessUnitId') and jobsync.fits_bigint(p_doc -> 'jobTypeId')
      and jobsync.fits_bigint(p_doc -> 'invoiceId') and jobsync.fits_bigint(p_doc -> 'campaignId')
      and jobsync.fits_bigint(p_doc -> 'leadCallId') and jobsync.fits_bigint(p_doc -> 'firstAppointmentId')
      and jobsync.fits_bigint(p_doc -> 'lastAppointmentId') and jobsync.fits_bigint(p_doc -> 'appointmentCount')
      and jobsync.fits_timestamptz(p_doc -> 'createdOn') and jobsync.fits_timestamptz(p_doc -> 'modifiedOn')
      and jobsync.fits_timestamptz(p_doc -> 'completedOn') and jobsync.fits_numeric(p_doc -> 'total')
      and jobsync.fits_array(p_doc -> 'tagTypeIds') and jobsync.fits_array(p_doc -> 'estimateIds')
    then null
    else array(
      select f.name from pg_catalog.unnest(array['customerId', 'locationId', 'businessUnitId', 'jobTypeId', 'invoiceId', 'campaignId',
          'leadCallId', 'firstAppointmentId', 'lastAppointmentId', 'appointmentCount']) f(name)
       where not jobsync.fits_bigint(p_doc -> f.name)
      union all
      select f.name from pg_catalog.unnest(array['createdOn', 'modifiedOn', 'completedOn']) f(name)
       where not jobsync.fits_timestamptz(p_doc -> f.name)
      union all
      select 'total' where not jobsync.fits_numeric(p_doc -> 'total')
      union all
      select f.name from pg_catalog.unnest(array['tagTypeIds', 'estimateIds']) f(name) where not jobsync.fits_array(p_doc -> f.name))
  end
$$;
comment on function jobsync.job_misfits(jsonb) is 'Names of the job fields whose value is not of the promised kind; null when all fit.';

create function jobsync.store_jobs(p_tenant text, p_page jsonb, p_source text default 'servicetitan')
returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_tenant jobsync.tenants;
  v_touched bigint[];
  v_changed bigint[];
  v_pulled integer;
  v_stored integer;
  v_refused jsonb;
  v_refused_raw bytea[];
  v_planned integer;
begin
  select * into v_tenant from tenants where tenant_id = p_tenant;
  with page as materialized (
    select e.n, e.doc, try_bigint(e.doc -> 'id') as id, job_misfits(e.doc) as misfits
      from jsonb_array_elements(p_page) with ordinality e(doc, n)
  ), newest as (
    select distinct on (p.id) p.id, p.doc, try_timestamptz(p.doc -> 'modifiedOn') as modified_on
      from page p
     where p.id > 0 and p.misfits is null
     order by p.id, try_timestamptz(p.doc -> 'modifiedOn') desc nulls last, p.n desc
  ), merged as materialized (
    select n.id, n.modified_on, j.st_job_id is null as is_new, coalesce(j.st_raw_data, '{}') || n.doc as doc,
           j.id as row_id, j.st_job_number, j.st_customer_id, j.st_location_id, j.business_unit_id, j.job_type_id, j.job_type_name,
           j.job_status, j.priority, j.summary, j.description, j.created_on, j.completed_on, j.modified_on as old_modified_on,
           j.first_appointment_id, j.last_appointment_id, j.appointment_count, j.total, j.invoice_id, j.estimate_ids, j.no_charge,
           j.campaign_id, j.lead_call_id, j.tag_type_ids, j.active,
           case when j.job_hash_version = hash_version() then j.job_hash
                else job_hash(j.st_job_number, j.st_customer_id, j.st_location_id, j.business_unit_id, j.job_type_id, j.job_status, j.priority,
                              j.summary, j.completed_on, j.total, j.campaign_id, j.tag_type_ids, j.active) end as old_hash
      from newest n
      left join public.jobs j on j.tenant_id = p_tenant and j.st_job_id = n.id
     where j.st_job_id is null
        or ((n.modified_on >= j.modified_on or j.modified_on is null or (n.modified_on is null and j.source = p_source))
            and (coalesce(j.st_raw_data, '{}') || n.doc is distinct from j.st_raw_data
                 or (p_source = 'servicetitan' and j.source <> 'servicetitan')))
  ), typed as materialized (
    select m.id, m.doc, m.is_new, m.old_hash,
      case when m.doc ? 'jobNumber' then as_text(m.doc -> 'jobNumber') else m.st_job_number end as st_job_number,
      case when m.doc ? 'customerId' then try_bigint(m.doc -> 'customerId') else m.st_customer_id end as st_customer_id,
      case when m.doc ? 'locationId' then try_bigint(m.doc -> 'locationId') else m.st_location_id end as st_location_id,
      case when m.doc ? 'businessUnitId' then try_bigint(m.doc -> 'businessUnitId') else m.business_unit_id end as business_unit_id,
      case when m.doc ? 'jobTypeId' then try_bigint(m.doc -> 'jobTypeId') else m.job_type_id end as job_type_id,
      case when m.doc ? 'jobTypeName' then as_text(m.doc -> 'jobTypeName') else coalesce(t.name, m.job_type_name) end as job_type_name,
      case when m.doc ? 'jobStatus' then as_text(m.doc -> 'jobStatus') else m.job_status end as job_status,
      case when m.doc ? 'priority' then as_text(m.doc -> 'priority') else m.priority end as priority,
      case when m.doc ? 'summary' then as_text(m.doc -> 'summary') else m.summary end as summary,
      case when m.doc ? 'description' then as_text(m.doc -> 'description') else m.description end as description,
      case when m.doc ? 'createdOn' then try_timestamptz(m.doc -> 'createdOn') else m.created_on end as created_on,
      case when m.doc ? 'completedOn' then try_timestamptz(m.doc -> 'completedOn') else m.completed_on end as completed_on,
      coalesce(m.modified_on, m.old_modified_on) as modified_on,
      case when m.doc ? 'firstAppointmentId' then try_bigint(m.doc -> 'firstAppointmentId') else m.first_appointment_id end as first_appointment_id,
      case when m.doc ? 'lastAppointmentId' then try_bigint(m.doc -> 'lastAppointmentId') else m.last_appointment_id end as last_appointment_id,
      case when m.doc ? 'appointmentCount' then least(2147483647, try_bigint(m.doc -> 'appointmentCount'))::int else coalesce(m.appointment_count, 0) end as appointment_count,
      case when m.doc ? 'total' then try_numeric(m.doc -> 'total') else m.total end as total,
      case when m.doc ? 'invoiceId' then try_bigint(m.doc -> 'invoiceId') else m.invoice_id end as invoice_id,
      case when m.doc ? 'estimateIds' then try_bigint_array(m.doc -> 'estimateIds') else m.estimate_ids end as estimate_ids,
      case when m.doc ? 'noCharge' then try_boolean(m.doc -> 'noCharge') else m.no_charge end as no_charge,
      case when m.doc ? 'campaignId' then try_bigint(m.doc -> 'campaignId') else m.campaign_id end as campaign_id,
      case when m.doc ? 'leadCallId' then try_bigint(m.doc -> 'leadCallId') else m.lead_call_id end as lead_call_id,
      case when m.doc ? 'tagTypeIds' then try_bigint_array(m.doc -> 'tagTypeIds') else m.tag_type_ids end as tag_type_ids,
      case when m.doc ? 'active' then coalesce(try_boolean(m.doc -> 'active'), true) else coalesce(m.active, true) end as active
      from merged m
      left join jobsync.job_types t on t.tenant_id = p_tenant and t.st_job_type_id = try_bigint(m.doc -> 'jobTypeId')
  ), hashed as materialized (
    select y.*, job_hash(y.st_job_number, y.st_customer_id, y.st_location_id, y.business_unit_id, y.job_type_id, y.job_status, y.priority,
                         y.summary, y.completed_on, y.total, y.campaign_id, y.tag_type_ids, y.active) as job_hash,
           case when y.is_new then
             skip_reason(coalesce(r.deliverer, 'none'), u.sync_enabled, u.sync_to_ghl, p_source, y.created_on, v_tenant.deliver_from) end as skip
      from typed y
      left join public.business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = y.business_unit_id
      left join jobsync.routes r on r.tenant_id = p_tenant and r.st_business_unit_id = y.business_unit_id
  ), written as (
    insert into public.jobs as t (
      tenant_id, st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, job_type_id, job_type_name, job_status, priority,
      summary, description, created_on, completed_on, modified_on, first_appointment_id, last_appointment_id, appointment_count, total,
      invoice_id, estimate_ids, no_charge, campaign_id, lead_call_id, tag_type_ids, ghl_sync_status, ghl_sync_reason, st_raw_data,
      created_at, updated_at, synced_from_st_at, source, active, job_hash, job_hash_version)
    select p_tenant, h.id, h.st_job_number, h.st_customer_id, h.st_location_id, h.business_unit_id, h.job_type_id, h.job_type_name, h.job_status,
      h.priority, h.summary, h.description, h.created_on, h.completed_on, h.modified_on, h.first_appointment_id, h.last_appointment_id,
      h.appointment_count, h.total, h.invoice_id, h.estimate_ids, h.no_charge, h.campaign_id, h.lead_call_id, h.tag_type_ids,
      case when h.skip is null then 'pending' else 'skipped' end, h.skip, h.doc, v_now, v_now, v_now, p_source, h.active, h.job_hash, hash_version()
      from hashed h
    on conflict (tenant_id, st_job_id) do update set
      st_job_number = excluded.st_job_number, st_customer_id = excluded.st_customer_id, st_location_id = excluded.st_location_id,
      business_unit_id = excluded.business_unit_id, job_type_id = excluded.job_type_id, job_type_name = excluded.job_type_name,
      job_status = excluded.job_status, priority = excluded.priority, summary = excluded.summary, description = excluded.description,
      created_on = excluded.created_on, completed_on = excluded.completed_on, modified_on = excluded.modified_on,
      first_appointment_id = excluded.first_appointment_id, last_appointment_id = excluded.last_appointment_id,
      appointment_count = excluded.appointment_count, total = excluded.total, invoice_id = excluded.invoice_id,
      estimate_ids = excluded.estimate_ids, no_charge = excluded.no_charge, campaign_id = excluded.campaign_id,
      lead_call_id = excluded.lead_call_id, tag_type_ids = excluded.tag_type_ids, st_raw_data = excluded.st_raw_data,
      updated_at = v_now, synced_from_st_at = v_now, source = excluded.source, active = excluded.active, job_hash = excluded.job_hash,
      job_hash_version = excluded.job_hash_version
    returning 1
  )
  select (select count(*) from page), (select count(*) from written),
         (select array_agg(h.id) from hashed h),
         (select array_agg(h.id) from hashed h where h.is_new or h.job_hash is distinct from h.old_hash),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(p.doc -> 'id'), 100), 'reason',
                     case when jsonb_typeof(p.doc) <> 'object' then 'the record is not an object'
                          when coalesce(p.id, 0) <= 0 then 'id is not a positive whole number'
                          else 'these fields do not fit: ' || array_to_string(p.misfits, ', ') end) order by p.n)
                     from page p where coalesce(p.id, 0) <= 0 or p.misfits is not null), '[]'),
         (select array_agg(convert_to(p.doc::text, 'UTF8') order by p.n) from page p where coalesce(p.id, 0) <= 0 or p.misfits is not null)
    into v_pulled, v_stored, v_touched, v_changed, v_refused, v_refused_raw;

  if jsonb_array_length(v_refused) > 0 then
    perform quarantine_records(p_tenant, 'jobs', v_refused, v_refused_raw, v_now);
  end if;
  if v_touched is not null then
    update quarantine q set resolved_at = v_now, resolution = 'a later version fits'
     where q.tenant_id = p_tenant and q.stream = 'jobs' and q.resolved_at is null and q.record_id = any (v_touched::text[]);
    perform want_parents(p_tenant, v_touched);
    v_planned := plan_jobs(p_tenant, v_touched, coalesce(v_changed, '{}'));
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', v_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - v_stored - jsonb_array_length(v_refused), 'planned', coalesce(v_planned, 0),
    'touched', coalesce(to_jsonb(v_touched), '[]'));
end
$$;
comment on function jobsync.store_jobs(text, jsonb, text) is
  'Stores a page of jobs, quarantines what does not fit, plans deliveries for what changed. The same page again writes nothing.';

create function jobsync.want_parents(p_tenant text, p_jobs bigint[]) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  with parents as (
    select distinct j.st_customer_id, j.st_location_id from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs)
  ), missing as (
    select 'customers' as stream, p.st_customer_id as id from parents p
     where p.st_customer_id > 0 and not exists (select from customers c where c.tenant_id = p_tenant and c.st_customer_id = p.st_customer_id)
    union
    select 'locations', p.st_location_id from parents p
     where p.st_location_id > 0 and not exists (select from locations l where l.tenant_id = p_tenant and l.st_location_id = p.st_location_id)
    union
    select 'customer_contacts', p.st_customer_id from parents p
      left join customers c on c.tenant_id = p_tenant and c.st_customer_id = p.st_customer_id
      left join cursors f on f.tenant_id = p_tenant and f.stream = 'customer_contacts'
     where p.st_customer_id > 0 and c.contacts_read_at is null and coalesce(c.source, '') <> 'api'
       and not coalesce(f.complete_from_start and c.created_at <= f.caught_up_at, false)
    union
    select 'location_contacts', p.st_location_id from parents p
      left join locations l on l.tenant_id = p_tenant and l.st_location_id = p.st_location_id
      left join cursors f on f.tenant_id = p_tenant and f.stream = 'location_contacts'
     where p.st_location_id > 0 and l.contacts_read_at is null
       and not coalesce(f.complete_from_start and l.created_at <= f.caught_up_at, false)
  )
  insert into wanted (tenant_id, stream, id) select p_tenant, m.stream, m.id from missing m
  on conflict (tenant_id, stream, id) do nothing;
end
$$;
comment on function jobsync.want_parents(text, bigint[]) is 'Notes which customers, locations and contact lists of these jobs are not known yet.';

create function jobsync.resolve_wanted(p_tenant text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_released integer;
begin
  delete from wanted w
   where w.tenant_id = p_tenant
     and (case w.stream
       when 'customers' then exists (select from customers c where c.tenant_id = p_tenant and c.st_customer_id = w.id)
       when 'locations' then exists (select from locations l where l.tenant_id = p_tenant and l.st_location_id = w.id)
       when 'customer_contacts' then exists (select from customers c where c.tenant_id = p_tenant and c.st_customer_id = w.id and c.contacts_read_at is not null)
       else exists (select from locations l where l.tenant_id = p_tenant and l.st_location_id = w.id and l.contacts_read_at is not null) end
       or (w.stream in ('customer_contacts', 'location_contacts') and exists (
             select from cursors f where f.tenant_id = p_tenant and f.stream = w.stream and f.complete_from_start and f.caught_up_at >= w.wanted_at)));
  update outbox o set waiting_for = null, next_attempt_at = jobsync.now()
   where o.tenant_id = p_tenant and o.waiting_for = 'parents'
     and not exists (
       select from jobs j join wanted w on w.tenant_id = p_tenant
          and ((w.stream in ('customers', 'customer_contacts') and w.id = j.st_customer_id)
            or (w.stream in ('locations', 'location_contacts') and w.id = j.st_location_id))
        where j.tenant_id = p_tenant and j.st_job_id = o.st_job_id);
  get diagnostics v_released = row_count;
  return v_released;
end
$$;
comment on function jobsync.resolve_wanted(text) is 'Forgets parents that have arrived and makes the deliveries that waited for them due. Answers how many became due.';

create function jobsync.list_wanted(p_tenant text, p_stream text, p_limit integer) returns bigint[]
language sql volatile as $$
  with chosen as (
    select w.id from jobsync.wanted w
     where w.tenant_id = p_tenant and w.stream = p_stream
       and (w.asked_at is null or w.asked_at < jobsync.now() - interval '5 minutes' * (2 ^ least(w.times_asked, 10)))
     order by w.id limit p_limit
  ), asked as (
    update jobsync.wanted w set asked_at = jobsync.now(), times_asked = w.times_asked + 1
      from chosen c where w.tenant_id = p_tenant and w.stream = p_stream and w.id = c.id
    returning w.id
  )
  select coalesce(array_agg(a.id order by a.id), '{}') from asked a
$$;
comment on function jobsync.list_wanted(text, text, integer) is 'The next ids to look up, noting that they were asked for; what ServiceTitan does not know is asked ever more rarely.';
