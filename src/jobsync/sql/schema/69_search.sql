-- One search for people: a job by whatever they hold in their hands.

create index customers_by_last_name on public.customers (tenant_id, lower(last_name) text_pattern_ops) where last_name is not null;
create index customers_by_company on public.customers (tenant_id, lower(company_name) text_pattern_ops) where company_name is not null;

create function jobsync.search_jobs(p_tenant text, p_text text, p_number bigint, p_phone text, p_limit integer)
returns table (st_job_id bigint, matched text)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
#variable_conflict use_column
declare
  v_words text[] := regexp_split_to_array(lower(trim(p_text)), '\s+');
  v_pattern text := replace(replace(replace(v_words[cardinality(v_words)], '\', '\\'), '%', '\%'), '_', '\_') || '%';
  v_whole text := replace(replace(replace(lower(trim(p_text)), '\', '\\'), '%', '\%'), '_', '\_') || '%';
begin
  -- From the surest to the vaguest; the first that finds something is the answer.
  return query select j.st_job_id, 'id' from jobs j where j.tenant_id = p_tenant and j.st_job_id = p_number;
  if found then return; end if;
  return query select j.st_job_id, 'number' from jobs j where j.tenant_id = p_tenant and j.st_job_number = trim(p_text) order by 1 desc limit p_limit;
  if found then return; end if;
  return query select j.st_job_id, 'opportunity' from jobs j where j.tenant_id = p_tenant and j.ghl_opportunity_id = trim(p_text) order by 1 desc limit p_limit;
  if found then return; end if;
  return query select j.st_job_id, 'contact' from customers c join jobs j on j.tenant_id = c.tenant_id and j.st_customer_id = c.st_customer_id
                where c.tenant_id = p_tenant and c.ghl_contact_id = trim(p_text) order by 1 desc limit p_limit;
  if found then return; end if;
  if p_phone is not null then
    return query
      select j.st_job_id, 'phone' from (
        select c.st_customer_id from customers c where c.tenant_id = p_tenant and c.phone = p_phone
        union select k.owner_id from contacts k where k.tenant_id = p_tenant and k.phone = p_phone and k.owner_kind = 'customer') f
      join jobs j on j.tenant_id = p_tenant and j.st_customer_id = f.st_customer_id
      union
      -- By the customer who owns the place now: jobs are found by their customer, not by their location.
      select j.st_job_id, 'phone' from contacts k
      join locations l on l.tenant_id = p_tenant and l.st_location_id = k.owner_id
      join jobs j on j.tenant_id = p_tenant and j.st_customer_id = l.st_customer_id and j.st_location_id = k.owner_id
       where k.tenant_id = p_tenant and k.phone = p_phone and k.owner_kind = 'location'
      order by 1 desc limit p_limit;
    if found then return; end if;
  end if;
  return query select j.st_job_id, 'email' from customers c join jobs j on j.tenant_id = c.tenant_id and j.st_customer_id = c.st_customer_id
                where c.tenant_id = p_tenant and c.email = lower(trim(p_text)) order by 1 desc limit p_limit;
  if found then return; end if;
  -- A name: what it ends with is how a last name begins, and its other words stand in the first name; or a company's beginning.
  if length(trim(p_text)) >= 2 then
    return query
      select j.st_job_id, 'name' from (
        select c.st_customer_id from customers c
         where c.tenant_id = p_tenant and lower(c.last_name) like v_pattern
           and (cardinality(v_words) = 1 or lower(c.first_name) like v_words[1] || '%')
        union
        select c.st_customer_id from customers c where c.tenant_id = p_tenant and lower(c.company_name) like v_whole) f
      join jobs j on j.tenant_id = p_tenant and j.st_customer_id = f.st_customer_id
      order by 1 desc limit p_limit;
  end if;
end
$$;
comment on function jobsync.search_jobs(text, text, bigint, text, integer) is
  'Jobs that a text means: ServiceTitan id, job number, GoHighLevel opportunity or contact id, phone (p_phone: E.164), email, name. Newest first; what is surest answers alone.';
