-- Storing what happens around jobs. One walk for all of these streams, so that their rules cannot drift apart:
-- page -> equal to what is stored: done -> misfits -> newest per id -> merged over the stored record (a missing key keeps
-- the old value, null is null) -> an older modifiedOn never wins -> what differs is written.
-- sift_page does all but the writing, close_page the bookkeeping; between them each stream says which column is which.

create type jobsync.sifted as (
  n bigint,
  id bigint,
  raw jsonb,
  fields jsonb,
  modified_on timestamptz,
  reason text
);
comment on type jobsync.sifted is
  'One record of a page that is to be written (reason null) or refused: n its place, raw the record to keep, fields the same with values that cast as they stand.';

create function jobsync.flat_record(p_stream text, p_record jsonb) returns jsonb language sql immutable parallel safe as $$
  select case when pg_catalog.jsonb_typeof(p_record) <> 'object' then p_record else p_record || case p_stream
    when 'invoices' then pg_catalog.jsonb_build_object('jobId', p_record #> '{job,id}', 'customerId', p_record #> '{customer,id}',
      'locationId', p_record #> '{location,id}', 'businessUnitId', p_record #> '{businessUnit,id}')
    when 'estimates' then pg_catalog.jsonb_build_object('statusName', coalesce(p_record #> '{status,name}', p_record -> 'status'))
    when 'campaigns' then pg_catalog.jsonb_build_object('categoryName', p_record #> '{category,name}')
    else '{}' end end
$$;
comment on function jobsync.flat_record(text, jsonb) is 'The record with the nested values that have a column of their own lifted to its top.';

-- Most records pass this one look at their texts; the slow one, field by field, is for the rest. Fields that a stream does
-- not have are null.
create function jobsync.is_plain_activity(p_flat jsonb) returns boolean language plpgsql immutable parallel safe as $$
begin
  return coalesce(pg_catalog.jsonb_typeof(p_flat) = 'object'
    and jobsync.are_plain_ids(p_flat ->> 'jobId', p_flat ->> 'customerId', p_flat ->> 'locationId', p_flat ->> 'businessUnitId',
          p_flat ->> 'projectId', p_flat ->> 'appointmentId', p_flat ->> 'technicianId', p_flat ->> 'assignedById', p_flat ->> 'soldBy',
          p_flat ->> 'adjustmentToId')
    and jobsync.are_plain_times(p_flat ->> 'createdOn', p_flat ->> 'modifiedOn', p_flat ->> 'start', p_flat ->> 'end', p_flat ->> 'arrivalWindowStart',
          p_flat ->> 'arrivalWindowEnd', p_flat ->> 'assignedOn', p_flat ->> 'soldOn', p_flat ->> 'invoiceDate', p_flat ->> 'dueDate',
          p_flat ->> 'paidOn', p_flat ->> 'depositedOn')
    and pg_catalog.array_remove(array[p_flat ->> 'subtotal', p_flat ->> 'tax', p_flat ->> 'subTotal', p_flat ->> 'salesTax', p_flat ->> 'total',
          p_flat ->> 'balance', p_flat ->> 'discountTotal'], null)::text ~ '^\{(-?[0-9]{1,20}(\.[0-9]{1,20})?[,}])*\}?$'
    and pg_catalog.array_remove(array[p_flat ->> 'active', p_flat ->> 'unused', p_flat ->> 'isConfirmed', p_flat ->> 'isPaused',
          p_flat ->> 'isRecommended', p_flat ->> 'isChangeOrder', p_flat ->> 'isDefaultCampaign'], null)::text ~ '^\{((true|false)[,}])*\}?$'
    and coalesce(pg_catalog.jsonb_typeof(p_flat -> 'job') in ('object', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_flat -> 'customer') in ('object', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_flat -> 'location') in ('object', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_flat -> 'businessUnit') in ('object', 'null'), true), false);
end
$$;
comment on function jobsync.is_plain_activity(jsonb) is 'True when every field of a flat record of an activity stream casts as it stands.';

create function jobsync.sift_page(p_tenant text, p_stream text, p_key text, p_page jsonb) returns jobsync.sifted[]
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set work_mem = '64MB' as $$
declare
  v_sifted sifted[];
begin
  perform lock_stream(p_tenant, p_stream);
  -- The table is called like the stream; both names come from the functions below, never from a page.
  execute format($walk$
    with fresh as materialized (
      select e.n, e.id, e.doc, t.st_raw_data as old, t.modified_on as old_modified_on
        from (select p.n, p.doc, try_bigint(p.doc -> 'id') as id from jsonb_array_elements($1) with ordinality p(doc, n)
              -- offset 0: under row-level security only a bare column is looked up by key.
              offset 0) e
        left join lateral (select x.* from jobsync.%1$I x where x.tenant_id = $2 and x.%2$I = e.id offset 0) t on true
       where e.doc is distinct from t.st_raw_data
    ), flat as materialized (
      select f.*, flat_record($3, f.merged) as flat
        from (select fresh.*, case when id > 0 and jsonb_typeof(doc) = 'object' then coalesce(old || doc, doc) end as merged from fresh) f
    ), typed as materialized (
      select f.*, case when is_plain_activity(f.flat) then f.flat else plain_record($4, f.flat) end as fields from flat f
    ), newest as (
      select distinct on (t.id) t.*, try_timestamptz(t.doc -> 'modifiedOn') as modified_on
        from typed t where t.fields is not null
       order by t.id, try_timestamptz(t.doc -> 'modifiedOn') desc nulls last, t.n desc
    )
    select array_agg(row(s.n, s.id, s.raw, s.fields, s.modified_on, s.reason)::sifted order by s.n)
      from (select w.n, w.id, w.merged as raw, w.fields, coalesce(w.modified_on, w.old_modified_on) as modified_on, null as reason
              from newest w
             where w.merged is distinct from w.old
               and (w.old is null or w.modified_on is null or w.old_modified_on is null or w.modified_on >= w.old_modified_on)
            union all
            select r.n, r.id, r.doc, null, null, refusal_reason($3, flat_record($3, r.doc), r.id) from typed r where r.fields is null) s
  $walk$, p_stream, p_key)
  into v_sifted using p_page, p_tenant, p_stream, field_kinds(p_stream);
  return v_sifted;
end
$$;
comment on function jobsync.sift_page(text, text, text, jsonb) is
  'The records of a page that are to be written or refused; what is stored already, or stands there newer, is left out. Holds the stream''s lock until the transaction ends.';

create function jobsync.close_page(p_tenant text, p_stream text, p_page jsonb, p_sifted jobsync.sifted[], p_stored integer) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_pulled integer := jsonb_array_length(p_page);
  v_refused jsonb;
  v_refused_raw bytea[];
  v_written bigint[];
begin
  select coalesce(jsonb_agg(jsonb_build_object('id', left(as_text(s.raw -> 'id'), 100), 'reason', s.reason) order by s.n)
                    filter (where s.reason is not null), '[]'),
         array_agg(convert_to(s.raw::text, 'UTF8') order by s.n) filter (where s.reason is not null),
         array_agg(s.id) filter (where s.reason is null)
    into v_refused, v_refused_raw, v_written from unnest(p_sifted) s;
  if v_refused_raw is not null then
    perform quarantine_records(p_tenant, p_stream, v_refused, v_refused_raw, jobsync.now());
  end if;
  if v_written is not null then
    perform resolve_quarantined(p_tenant, p_stream, v_written, jobsync.now());
    perform plan_activity(p_tenant, p_stream, p_sifted);
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', p_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - p_stored - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.close_page(text, text, jsonb, jobsync.sifted[], integer) is
  'Quarantines what sift_page refused, closes the quarantine of what was written, and answers the counts of the page.';

create function jobsync.store_appointments(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'appointments', 'st_appointment_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into appointments (tenant_id, st_appointment_id, st_job_id, st_customer_id, appointment_number, status, starts_on, ends_on,
    arrival_window_start, arrival_window_end, special_instructions, unused, is_confirmed, active, created_on, modified_on, st_raw_data, created_at,
    updated_at)
  select p_tenant, s.id, nullif(x."jobId", 0), nullif(x."customerId", 0), x."appointmentNumber", x.status, x."start", x."end", x."arrivalWindowStart",
    x."arrivalWindowEnd", x."specialInstructions", x.unused, x."isConfirmed", coalesce(x.active, true), x."createdOn", s.modified_on, s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x ("jobId" bigint, "customerId" bigint, "appointmentNumber" text, status text,
      "start" timestamptz, "end" timestamptz, "arrivalWindowStart" timestamptz, "arrivalWindowEnd" timestamptz, "specialInstructions" text,
      unused boolean, "isConfirmed" boolean, active boolean, "createdOn" timestamptz)
   where s.reason is null
  on conflict (tenant_id, st_appointment_id) do update set
    st_job_id = excluded.st_job_id, st_customer_id = excluded.st_customer_id, appointment_number = excluded.appointment_number,
    status = excluded.status, starts_on = excluded.starts_on, ends_on = excluded.ends_on, arrival_window_start = excluded.arrival_window_start,
    arrival_window_end = excluded.arrival_window_end, special_instructions = excluded.special_instructions, unused = excluded.unused,
    is_confirmed = excluded.is_confirmed, active = excluded.active, created_on = excluded.created_on, modified_on = excluded.modified_on,
    st_raw_data = excluded.st_raw_data, updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'appointments', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_appointments(text, jsonb) is 'Stores a page of appointments, deleted ones too (active false). The same page again writes nothing.';

create function jobsync.store_estimates(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'estimates', 'st_estimate_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into estimates (tenant_id, st_estimate_id, st_job_id, st_project_id, st_customer_id, st_location_id, business_unit_id, st_job_number,
    name, status, review_status, summary, sold_by, sold_on, subtotal, tax, is_recommended, is_change_order, active, created_on, modified_on,
    st_raw_data, created_at, updated_at)
  select p_tenant, s.id, nullif(x."jobId", 0), nullif(x."projectId", 0), nullif(x."customerId", 0), nullif(x."locationId", 0),
    nullif(x."businessUnitId", 0), x."jobNumber", x.name, x."statusName", x."reviewStatus", x.summary, nullif(x."soldBy", 0), x."soldOn", x.subtotal,
    x.tax, x."isRecommended", x."isChangeOrder", coalesce(x.active, true), x."createdOn", s.modified_on, s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x ("jobId" bigint, "projectId" bigint, "customerId" bigint, "locationId" bigint,
      "businessUnitId" bigint, "jobNumber" text, name text, "statusName" text, "reviewStatus" text, summary text, "soldBy" bigint,
      "soldOn" timestamptz, subtotal numeric, tax numeric, "isRecommended" boolean, "isChangeOrder" boolean, active boolean,
      "createdOn" timestamptz)
   where s.reason is null
  on conflict (tenant_id, st_estimate_id) do update set
    st_job_id = excluded.st_job_id, st_project_id = excluded.st_project_id, st_customer_id = excluded.st_customer_id,
    st_location_id = excluded.st_location_id, business_unit_id = excluded.business_unit_id, st_job_number = excluded.st_job_number,
    name = excluded.name, status = excluded.status, review_status = excluded.review_status, summary = excluded.summary,
    sold_by = excluded.sold_by, sold_on = excluded.sold_on, subtotal = excluded.subtotal, tax = excluded.tax,
    is_recommended = excluded.is_recommended, is_change_order = excluded.is_change_order, active = excluded.active,
    created_on = excluded.created_on, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'estimates', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_estimates(text, jsonb) is 'Stores a page of estimates. The same page again writes nothing.';

create function jobsync.store_invoices(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'invoices', 'st_invoice_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into invoices (tenant_id, st_invoice_id, st_job_id, st_project_id, st_customer_id, st_location_id, business_unit_id, reference_number,
    configuration, sync_status, review_status, sent_status, invoice_date, due_date, subtotal, sales_tax, total, balance, discount_total, paid_on,
    deposited_on, adjustment_to_id, summary, active, created_on, modified_on, st_raw_data, created_at, updated_at)
  select p_tenant, s.id, nullif(x."jobId", 0), nullif(x."projectId", 0), nullif(x."customerId", 0), nullif(x."locationId", 0),
    nullif(x."businessUnitId", 0), x."referenceNumber", x."invoiceConfiguration", x."syncStatus", x."reviewStatus", x."sentStatus",
    (x."invoiceDate" at time zone 'UTC')::date, (x."dueDate" at time zone 'UTC')::date, x."subTotal", x."salesTax", x.total, x.balance,
    x."discountTotal", x."paidOn", x."depositedOn", nullif(x."adjustmentToId", 0), x.summary, coalesce(x.active, true), x."createdOn", s.modified_on,
    s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x ("jobId" bigint, "projectId" bigint, "customerId" bigint, "locationId" bigint,
      "businessUnitId" bigint, "referenceNumber" text, "invoiceConfiguration" text, "syncStatus" text, "reviewStatus" text, "sentStatus" text,
      "invoiceDate" timestamptz, "dueDate" timestamptz, "subTotal" numeric, "salesTax" numeric, total numeric, balance numeric,
      "discountTotal" numeric, "paidOn" timestamptz, "depositedOn" timestamptz, "adjustmentToId" bigint, summary text, active boolean,
      "createdOn" timestamptz)
   where s.reason is null
  on conflict (tenant_id, st_invoice_id) do update set
    st_job_id = excluded.st_job_id, st_project_id = excluded.st_project_id, st_customer_id = excluded.st_customer_id,
    st_location_id = excluded.st_location_id, business_unit_id = excluded.business_unit_id, reference_number = excluded.reference_number,
    configuration = excluded.configuration, sync_status = excluded.sync_status, review_status = excluded.review_status,
    sent_status = excluded.sent_status, invoice_date = excluded.invoice_date, due_date = excluded.due_date, subtotal = excluded.subtotal,
    sales_tax = excluded.sales_tax, total = excluded.total, balance = excluded.balance, discount_total = excluded.discount_total,
    paid_on = excluded.paid_on, deposited_on = excluded.deposited_on, adjustment_to_id = excluded.adjustment_to_id, summary = excluded.summary,
    active = excluded.active, created_on = excluded.created_on, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data,
    updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'invoices', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_invoices(text, jsonb) is 'Stores a page of invoices: amounts that come as texts, times that may be missing. The same page again writes nothing.';

create function jobsync.store_technician_assignments(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'technician_assignments', 'st_assignment_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into technician_assignments (tenant_id, st_assignment_id, st_appointment_id, st_job_id, st_technician_id, technician_name,
    assigned_by_id, assigned_on, status, is_paused, active, created_on, modified_on, st_raw_data, created_at, updated_at)
  select p_tenant, s.id, nullif(x."appointmentId", 0), nullif(x."jobId", 0), nullif(x."technicianId", 0), x."technicianName", nullif(x."assignedById", 0),
    x."assignedOn", x.status, x."isPaused", coalesce(x.active, true), x."createdOn", s.modified_on, s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x ("appointmentId" bigint, "jobId" bigint, "technicianId" bigint, "technicianName" text,
      "assignedById" bigint, "assignedOn" timestamptz, status text, "isPaused" boolean, active boolean, "createdOn" timestamptz)
   where s.reason is null
  on conflict (tenant_id, st_assignment_id) do update set
    st_appointment_id = excluded.st_appointment_id, st_job_id = excluded.st_job_id, st_technician_id = excluded.st_technician_id,
    technician_name = excluded.technician_name, assigned_by_id = excluded.assigned_by_id, assigned_on = excluded.assigned_on,
    status = excluded.status, is_paused = excluded.is_paused, active = excluded.active, created_on = excluded.created_on,
    modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'technician_assignments', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_technician_assignments(text, jsonb) is
  'Stores a page of technician assignments, withdrawn ones too (active false). The same page again writes nothing.';
