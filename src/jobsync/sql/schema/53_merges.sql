-- Merges: the merged customer or location names its survivor (mergedToId), and jobs may go on naming the merged one. The
-- survivor is looked up like a missing parent if no feed has brought it, so that jobsync.projections can follow the chain.

create function jobsync.want_survivors(p_tenant text, p_stream text, p_ids bigint[]) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
begin
  if p_ids is null then
    return;
  end if;
  with survivors as (
    select distinct m.merged_to_id as id from customers m
     where p_stream = 'customers' and m.tenant_id = p_tenant and m.st_customer_id = any (p_ids) and m.merged_to_id > 0
       and not exists (select from customers s where s.tenant_id = p_tenant and s.st_customer_id = m.merged_to_id)
    union
    select distinct m.merged_to_id from locations m
     where p_stream = 'locations' and m.tenant_id = p_tenant and m.st_location_id = any (p_ids) and m.merged_to_id > 0
       and not exists (select from locations s where s.tenant_id = p_tenant and s.st_location_id = m.merged_to_id)
  )
  insert into wanted (tenant_id, stream, id, wanted_at)
  select p_tenant, w.stream, s.id, v_now
    from survivors s
    cross join lateral (values (p_stream), (case p_stream when 'customers' then 'customer_contacts' else 'location_contacts' end)) w(stream)
  on conflict (tenant_id, stream, id) do nothing;
end
$$;
comment on function jobsync.want_survivors(text, text, bigint[]) is
  'Notes the survivors of merged customers or locations that are not known yet, and their contact lists. Those that a feed brings meanwhile are forgotten again.';
