-- The request budget of a GoHighLevel location (one a tenant): every caller takes from the bucket `gohighlevel`. Deliveries
-- ask here, so that a pause is felt at the next request and not at the end of a group; and they can be held apart from the
-- others, so that a part of the day's quota is left to people.

create function jobsync.take_delivery_request(p_tenant text, p_rate double precision, p_burst double precision)
returns table (granted integer, wait_seconds double precision)
language plpgsql set search_path = jobsync, public as $$
begin
  if not exists (select from tenants t where t.tenant_id = p_tenant and t.mode = 'live' and t.paused_at is null) then
    raise exception 'sending was stopped while this job was under way' using errcode = 'JS005';
  end if;
  return query select b.granted, b.wait_seconds from take_budget(p_tenant, 'gohighlevel', p_rate, p_burst, 1) b;
end
$$;
comment on function jobsync.take_delivery_request(text, double precision, double precision) is
  'One request to the tenant''s location for a delivery. Refused (JS005) when the tenant was paused or disarmed meanwhile.';

create function jobsync.hold_deliveries(p_tenant text, p_seconds double precision) returns void
language sql volatile as $$
  insert into jobsync.budgets as b (tenant_id, budget_key, rate, burst, tokens, blocked_until)
  values (p_tenant, 'gohighlevel:deliver', 1, 1, 0, pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => p_seconds))
  on conflict (tenant_id, budget_key) do update set blocked_until = greatest(b.blocked_until, excluded.blocked_until)
$$;
comment on function jobsync.hold_deliveries(text, double precision) is
  'No delivery by API is claimed for p_seconds: what is left of the day''s quota is for people.';

create function jobsync.delivery_hold(p_tenant text) returns double precision language sql stable as $$
  select coalesce(max(extract(epoch from b.blocked_until - pg_catalog.clock_timestamp()))::double precision, 0)
    from jobsync.budgets b
   where b.tenant_id = p_tenant and b.budget_key in ('gohighlevel', 'gohighlevel:deliver') and b.blocked_until > pg_catalog.clock_timestamp()
$$;
comment on function jobsync.delivery_hold(text) is 'Seconds until deliveries by API may go on: after a 429, or when the day''s quota runs low; 0: now.';
