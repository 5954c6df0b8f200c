-- What a pull brought that somebody should look at: jobs whose people cannot be reached, and merged records.

create view jobsync.v_unreachable_jobs with (security_invoker = true) as
  select p.tenant_id, p.st_job_id, p.st_job_number, p.st_customer_id, p.st_location_id, p.business_unit_id, p.business_unit_name, p.customer_name,
         p.job_status, p.created_on,
         case when p.customer_name is null and c.st_customer_id is null then 'customer not read yet'
              when w.waits then 'contacts not read yet'
              when k.contacts = 0 then 'no contact in ServiceTitan'
              when k.active = 0 then 'all contacts removed'
              when k.reachable = 0 then 'only fax or notes'
              else 'no valid phone or email' end as reason
    from jobsync.projections p
    left join public.customers c on c.tenant_id = p.tenant_id and c.st_customer_id = p.st_customer_id
    cross join lateral (
      select exists (select from jobsync.wanted n where n.tenant_id = p.tenant_id
                        and (n.stream = 'customer_contacts' and n.id = p.st_customer_id or n.stream = 'location_contacts' and n.id = p.st_location_id)) as waits) w
    cross join lateral (
      select count(*) as contacts, count(*) filter (where x.active) as active,
             count(*) filter (where x.active and x.type in ('MobilePhone', 'Phone', 'Email')) as reachable
        from jobsync.contacts x
       where x.tenant_id = p.tenant_id
         and (x.owner_kind = 'customer' and x.owner_id = p.st_customer_id or x.owner_kind = 'location' and x.owner_id = p.st_location_id)) k
   where p.phone is null and p.email is null and p.active;
comment on view jobsync.v_unreachable_jobs is 'Jobs without any phone or email, each with the reason: what the office can mend in ServiceTitan.';

create view jobsync.v_unreachable_reasons with (security_invoker = true) as
  select u.tenant_id, u.reason, u.business_unit_id, u.business_unit_name, count(*) as jobs, min(u.st_job_id) as sample_st_job_id
    from jobsync.v_unreachable_jobs u
   group by u.tenant_id, u.reason, u.business_unit_id, u.business_unit_name;
comment on view jobsync.v_unreachable_reasons is 'Jobs without any phone or email, counted by reason and unit.';

create view jobsync.v_merges with (security_invoker = true) as
  select c.tenant_id, 'customer' as kind, c.st_customer_id as merged_id, c.merged_to_id, jobsync.resolve_customer(c.tenant_id, c.st_customer_id) as survivor_id,
         (select count(*) from public.jobs j where j.tenant_id = c.tenant_id and j.st_customer_id = c.st_customer_id) as jobs, c.modified_on
    from public.customers c where c.merged_to_id is not null
  union all
  select l.tenant_id, 'location', l.st_location_id, l.merged_to_id, jobsync.resolve_location(l.tenant_id, l.st_location_id),
         coalesce(n.jobs, 0), l.modified_on
    from jobsync.locations l
    -- Counted in one go: jobs have no index by location, and one look for each location would read them all each time.
    left join (select j.tenant_id, j.st_location_id, count(*) as jobs from public.jobs j
                where (j.tenant_id, j.st_location_id) in (select m.tenant_id, m.st_location_id from jobsync.locations m where m.merged_to_id is not null)
                group by j.tenant_id, j.st_location_id) n on n.tenant_id = l.tenant_id and n.st_location_id = l.st_location_id
   where l.merged_to_id is not null;
comment on view jobsync.v_merges is
  'Merged customers and locations, the survivor at the end of the chain, and how many jobs still name the merged one (they are delivered with the survivor''s data).';
