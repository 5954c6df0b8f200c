-- What happens around a job: appointments, estimates, invoices, technician assignments; and two short lists that jobs
-- name by id: tag types and campaigns. Each row keeps ServiceTitan's record as it came beside the typed columns.
-- No foreign keys: a visit may arrive before its job. st_job_id links; the views of 82 resolve.

create table jobsync.appointments (
  tenant_id text not null default jobsync.current_tenant(),
  st_appointment_id bigint not null,
  st_job_id bigint,
  st_customer_id bigint,
  appointment_number text,
  status text,
  starts_on timestamptz,
  ends_on timestamptz,
  arrival_window_start timestamptz,
  arrival_window_end timestamptz,
  special_instructions text,
  unused boolean,
  is_confirmed boolean,
  active boolean not null default true,
  created_on timestamptz,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_appointment_id)
);
create index appointments_by_job on jobsync.appointments (tenant_id, st_job_id);
create index appointments_by_start on jobsync.appointments (tenant_id, starts_on);
comment on table jobsync.appointments is 'Visits of a job. A deleted one stays, with active false (ServiceTitan contract, gotcha 9).';
comment on column jobsync.appointments.status is 'Scheduled, Dispatched, Working, Hold, Done or Canceled: not the words of jobs.';

create table jobsync.estimates (
  tenant_id text not null default jobsync.current_tenant(),
  st_estimate_id bigint not null,
  st_job_id bigint,
  st_project_id bigint,
  st_customer_id bigint,
  st_location_id bigint,
  business_unit_id bigint,
  st_job_number text,
  name text,
  status text,
  review_status text,
  summary text,
  sold_by bigint,
  sold_on timestamptz,
  subtotal numeric,
  tax numeric,
  is_recommended boolean,
  is_change_order boolean,
  active boolean not null default true,
  created_on timestamptz,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_estimate_id)
);
create index estimates_by_job on jobsync.estimates (tenant_id, st_job_id);
create index estimates_by_sale on jobsync.estimates (tenant_id, sold_on) where sold_on is not null;
comment on table jobsync.estimates is 'Estimates; their items stand in st_raw_data. An estimate may be sold without a new modifiedOn: the same time with other content is taken.';
comment on column jobsync.estimates.status is 'Open, Sold or Dismissed.';
comment on column jobsync.estimates.sold_by is 'ServiceTitan''s id of the technician or employee who sold it.';

create table jobsync.invoices (
  tenant_id text not null default jobsync.current_tenant(),
  st_invoice_id bigint not null,
  st_job_id bigint,
  st_project_id bigint,
  st_customer_id bigint,
  st_location_id bigint,
  business_unit_id bigint,
  reference_number text,
  configuration text,
  sync_status text,
  review_status text,
  sent_status text,
  invoice_date date,
  due_date date,
  subtotal numeric,
  sales_tax numeric,
  total numeric,
  balance numeric,
  discount_total numeric,
  paid_on timestamptz,
  deposited_on timestamptz,
  adjustment_to_id bigint,
  summary text,
  active boolean not null default true,
  created_on timestamptz,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_invoice_id)
);
create index invoices_by_job on jobsync.invoices (tenant_id, st_job_id);
create index invoices_by_date on jobsync.invoices (tenant_id, invoice_date);
-- An invoice that names no job is looked for among the invoice ids of jobs.
create index jobs_by_invoice on public.jobs (tenant_id, invoice_id) where invoice_id > 0;
comment on table jobsync.invoices is 'Invoices; their items stand in st_raw_data. ServiceTitan sends the amounts as texts; here they are numbers.';
comment on column jobsync.invoices.st_job_id is 'The job that the invoice names; null for an invoice of a project: jobsync.v_invoices then finds the job that names the invoice.';
comment on column jobsync.invoices.invoice_date is 'A calendar day, never shifted by a time zone.';
comment on column jobsync.invoices.due_date is 'A calendar day, never shifted by a time zone.';
comment on column jobsync.invoices.sync_status is 'Pending, Posted or Exported.';
comment on column jobsync.invoices.modified_on is 'Null where ServiceTitan gives none; such a record always counts as the newest.';

create table jobsync.technician_assignments (
  tenant_id text not null default jobsync.current_tenant(),
  st_assignment_id bigint not null,
  st_appointment_id bigint,
  st_job_id bigint,
  st_technician_id bigint,
  technician_name text,
  assigned_by_id bigint,
  assigned_on timestamptz,
  status text,
  is_paused boolean,
  active boolean not null default true,
  created_on timestamptz,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_assignment_id)
);
create index technician_assignments_by_appointment on jobsync.technician_assignments (tenant_id, st_appointment_id);
create index technician_assignments_by_job on jobsync.technician_assignments (tenant_id, st_job_id);
comment on table jobsync.technician_assignments is 'Which technician goes to which appointment; active false: taken off it.';

create table jobsync.tag_types (
  tenant_id text not null default jobsync.current_tenant(),
  st_tag_type_id bigint not null,
  name text,
  code text,
  color text,
  importance text,
  active boolean not null default true,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_tag_type_id)
);
comment on table jobsync.tag_types is 'ServiceTitan tags: a job carries only their ids (tag_type_ids).';

create table jobsync.campaigns (
  tenant_id text not null default jobsync.current_tenant(),
  st_campaign_id bigint not null,
  name text,
  category text,
  source text,
  medium text,
  is_default boolean,
  active boolean not null default true,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_campaign_id)
);
comment on table jobsync.campaigns is 'ServiceTitan marketing campaigns: a job carries only the id (campaign_id).';
