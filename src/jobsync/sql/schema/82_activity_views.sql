-- For reports: what happens around jobs, each row with its job's number and the unit's name. Deleted and inactive rows
-- are in them, marked by `active`, so that a sum can leave them out and a search still finds them.

create view jobsync.v_appointments with (security_invoker = true) as
  select a.tenant_id, a.st_appointment_id, a.appointment_number, a.st_job_id, j.st_job_number, j.business_unit_id, u.name as business_unit_name,
         j.job_status, a.status, a.starts_on, a.ends_on, a.arrival_window_start, a.arrival_window_end, t.technicians, a.st_customer_id, a.unused,
         a.is_confirmed, a.special_instructions, a.active, a.created_on, a.modified_on
    from jobsync.appointments a
    left join public.jobs j on j.tenant_id = a.tenant_id and j.st_job_id = a.st_job_id
    left join public.business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
    left join lateral (
      select pg_catalog.array_agg(distinct s.technician_name) as technicians from jobsync.technician_assignments s
       where s.tenant_id = a.tenant_id and s.st_appointment_id = a.st_appointment_id and s.active and s.technician_name is not null) t on true;
comment on view jobsync.v_appointments is 'Visits with job number, unit and the technicians who go there; technicians null: nobody assigned.';

create view jobsync.v_estimates with (security_invoker = true) as
  select e.tenant_id, e.st_estimate_id, e.name, e.st_job_id, coalesce(j.st_job_number, e.st_job_number) as st_job_number,
         coalesce(e.business_unit_id, j.business_unit_id) as business_unit_id, u.name as business_unit_name, e.st_customer_id, e.st_location_id, e.st_project_id, e.status, e.review_status, e.subtotal, e.tax,
         e.subtotal + coalesce(e.tax, 0) as total, e.sold_on, e.sold_by, e.is_recommended, e.is_change_order, e.active, e.created_on, e.modified_on
    from jobsync.estimates e
    left join public.jobs j on j.tenant_id = e.tenant_id and j.st_job_id = e.st_job_id
    left join public.business_units u on u.tenant_id = e.tenant_id and u.st_business_unit_id = coalesce(e.business_unit_id, j.business_unit_id);
comment on view jobsync.v_estimates is 'Estimates with job number and unit (the estimate''s own, else its job''s).';

-- Two branches, so that "the invoices of one job" is an index look-up in the first and few rows in the second.
create view jobsync.v_invoices with (security_invoker = true) as
  select i.tenant_id, i.st_invoice_id, i.reference_number, i.linked_job_id as st_job_id, j.st_job_number,
         coalesce(i.business_unit_id, j.business_unit_id) as business_unit_id, u.name as business_unit_name, i.st_customer_id, i.st_location_id, i.st_project_id, i.configuration, i.sync_status, i.review_status,
         i.sent_status, i.invoice_date, i.due_date, i.subtotal, i.sales_tax, i.discount_total, i.total, i.balance, i.paid_on, i.adjustment_to_id,
         i.active, i.created_on, i.modified_on
    from (select n.*, n.st_job_id as linked_job_id from jobsync.invoices n where n.st_job_id is not null
          union all
          select n.*, (select min(f.st_job_id) from public.jobs f where f.tenant_id = n.tenant_id and f.invoice_id = n.st_invoice_id and f.invoice_id > 0)
            from jobsync.invoices n where n.st_job_id is null) i
    left join public.jobs j on j.tenant_id = i.tenant_id and j.st_job_id = i.linked_job_id
    left join public.business_units u on u.tenant_id = i.tenant_id and u.st_business_unit_id = coalesce(i.business_unit_id, j.business_unit_id);
comment on view jobsync.v_invoices is
  'Invoices with job number and unit. An invoice that names no job belongs to the job that names it (jobs.invoice_id), if there is one.';
