-- Customers that cannot be reached, or that share a phone or an e-mail: to be mended in ServiceTitan, best before the first send.

create index customers_unreachable on public.customers (tenant_id, st_customer_id) where phone is null and email is null;

create view jobsync.v_customers_to_mend with (security_invoker = true) as
  with reachable as not materialized (
    select c.tenant_id, c.st_customer_id, coalesce(nullif(concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as name, c.company_name,
           c.phone, c.email, c.contacts_read_at
      from public.customers c where c.active is distinct from false and c.merged_to_id is null
  ), unreachable as not materialized (
    select r.tenant_id, r.st_customer_id, r.name,
           (select string_agg(k.value, ', ' order by k.st_contact_id) from jobsync.contacts k
             where k.tenant_id = r.tenant_id and k.owner_kind = 'customer' and k.owner_id = r.st_customer_id and k.active) as unusable
      from reachable r
     where r.phone is null and r.email is null and r.contacts_read_at is not null
       and not exists (select from jobsync.locations l where l.tenant_id = r.tenant_id and l.st_customer_id = r.st_customer_id and (l.phone is not null or l.email is not null))
  )
  select u.tenant_id, case when u.unusable is null then 'no_contact' else 'invalid_contact' end as reason, u.st_customer_id, u.name as customer_name,
         u.unusable as value, null::bigint[] as shared_with,
         case when u.unusable is null then 'add a phone or an e-mail in ServiceTitan' else 'correct the phone or the e-mail in ServiceTitan' end as fix
    from unreachable u
  union all
  select r.tenant_id, 'shared_phone', r.st_customer_id, r.name, r.phone,
         array(select o.st_customer_id from public.customers o where o.tenant_id = r.tenant_id and o.phone = r.phone and o.st_customer_id <> r.st_customer_id
                  and o.active is distinct from false and o.merged_to_id is null order by 1 limit 20),
         'one person: merge them in ServiceTitan; two: give each a phone of its own'
    from reachable r
   where r.phone is not null and exists (
     select from public.customers o where o.tenant_id = r.tenant_id and o.phone = r.phone and o.st_customer_id <> r.st_customer_id
        and o.active is distinct from false and o.merged_to_id is null)
  union all
  select r.tenant_id, 'shared_email', r.st_customer_id, r.name, r.email,
         array(select o.st_customer_id from public.customers o where o.tenant_id = r.tenant_id and o.email = r.email and o.st_customer_id <> r.st_customer_id
                  and o.active is distinct from false and o.merged_to_id is null order by 1 limit 20),
         'one person: merge them in ServiceTitan; two: give each an e-mail of its own'
    from reachable r
   where r.email is not null and exists (
     select from public.customers o where o.tenant_id = r.tenant_id and o.email = r.email and o.st_customer_id <> r.st_customer_id
        and o.active is distinct from false and o.merged_to_id is null);
comment on view jobsync.v_customers_to_mend is
  'Customers that GoHighLevel cannot tell apart or reach: no_contact, invalid_contact (given, and no valid phone or e-mail), shared_phone, shared_email; one row per customer and reason. Reads all customers.';
