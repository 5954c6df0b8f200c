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

-- The two lists of the page: each walks an index from where the last one ended and looks at a bounded stretch of it, so that a
-- page costs the same however many customers there are. A page may be short; its last row (reason or value null) says where
-- to go on.
create function jobsync.browse_unreachable(p_tenant text, p_after bigint, p_limit integer)
returns table (reason text, st_customer_id bigint, customer_name text, value text, fix text, jobs bigint)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  v_id bigint;
  v_looked integer := 0;
  v_found integer := 0;
  v_rows integer;
begin
  for v_id in
    select c.st_customer_id from customers c
     where c.tenant_id = p_tenant and c.phone is null and c.email is null and c.st_customer_id > p_after order by c.st_customer_id limit 1000
  loop
    v_looked := v_looked + 1;
    return query
      select v.reason, v.st_customer_id, v.customer_name, v.value, v.fix,
             (select count(*) from (select from jobs j where j.tenant_id = p_tenant and j.st_customer_id = v_id limit 1000) x)
        from v_customers_to_mend v where v.tenant_id = p_tenant and v.st_customer_id = v_id and v.reason in ('no_contact', 'invalid_contact');
    get diagnostics v_rows = row_count;
    v_found := v_found + v_rows;
    exit when v_found >= p_limit;
  end loop;
  if v_found >= p_limit or v_looked = 1000 then
    return query select null::text, v_id, null::text, null::text, null::text, null::bigint;
  end if;
end
$$;
comment on function jobsync.browse_unreachable(text, bigint, integer) is
  'Customers whom nobody can reach, by id from beyond p_after on, with up to 1,000 of their jobs counted. Looks at 1,000 customers at most; a last row without reason has the id to go on from.';

create function jobsync.browse_shared(p_tenant text, p_kind text, p_after bigint, p_groups integer)
returns table (value text, customers jsonb, has_more boolean, next_after bigint)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  c_most constant integer := 20000;
  v_walk refcursor;
  v_value text;
  v_last text;
  v_before text;
  v_from text := '';
  v_told boolean := true;
  v_looked integer := 0;
  v_groups integer := 0;
begin
  if p_after > 0 then
    select coalesce(case p_kind when 'phone' then c.phone else c.email end, '') into v_from from customers c where c.tenant_id = p_tenant and c.st_customer_id = p_after;
  end if;
  if p_kind = 'phone' then
    open v_walk for select c.phone from customers c where c.tenant_id = p_tenant and c.phone is not null and c.phone > v_from order by c.phone limit c_most;
  else
    open v_walk for select c.email from customers c where c.tenant_id = p_tenant and c.email is not null and c.email > v_from order by c.email limit c_most;
  end if;
  loop
    fetch v_walk into v_value;
    exit when not found;
    v_looked := v_looked + 1;
    if v_value is distinct from v_last then
      v_before := v_last;
      v_last := v_value;
      v_told := false;
    elsif not v_told then
      v_told := true;
      return query
        select v_value, g.customers, g.number > 10, null::bigint
          from (select count(*) as number, jsonb_agg(jsonb_build_object('id', x.st_customer_id, 'name', x.name,
                         'jobs', (select count(*) from (select from jobs j where j.tenant_id = p_tenant and j.st_customer_id = x.st_customer_id limit 1000) y))
                         order by x.st_customer_id) filter (where x.place <= 10) as customers
                  from (select c.st_customer_id, coalesce(nullif(concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as name,
                               row_number() over (order by c.st_customer_id) as place
                          from (select a.* from customers a where p_kind = 'phone' and a.tenant_id = p_tenant and a.phone = v_value
                                union all
                                select b.* from customers b where p_kind <> 'phone' and b.tenant_id = p_tenant and b.email = v_value) c
                         where c.active is distinct from false and c.merged_to_id is null
                         order by c.st_customer_id limit 11) x) g
         where g.number > 1;
      if found then
        v_groups := v_groups + 1;
        exit when v_groups = p_groups;
      end if;
    end if;
  end loop;
  close v_walk;
  -- Of the last value only a part was seen, perhaps: it is looked at again, unless it is in this page or was all there was.
  if v_groups = p_groups or v_looked = c_most then
    v_last := case when v_told or v_before is null then v_last else v_before end;
    return query
      select null::text, null::jsonb, null::boolean, c.st_customer_id
        from (select a.st_customer_id from customers a where p_kind = 'phone' and a.tenant_id = p_tenant and a.phone = v_last
              union all
              select b.st_customer_id from customers b where p_kind <> 'phone' and b.tenant_id = p_tenant and b.email = v_last) c limit 1;
  end if;
end
$$;
comment on function jobsync.browse_shared(text, text, bigint, integer) is
  'Phones (p_kind phone) or e-mails that several customers have, in their order, behind that of customer p_after; the first ten customers of each. Looks at 20,000 at most; a last row without value has the customer to go on from.';
