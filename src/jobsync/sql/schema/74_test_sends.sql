-- A test send: one invented job to the hook of a unit. It is a send like any other to the guard of mode, pause and caps; it
-- has no row in jobs or outbox, and only the audit remembers it. A paused hook may be tested: that is how one learns that it
-- is mended.

create function jobsync.open_test_send(p_tenant text, p_unit bigint, p_rate double precision, p_burst double precision, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_hour timestamptz := date_trunc('hour', v_now, 'UTC');
  v_tenant jobsync.tenants;
  v_route jobsync.unit_routes;
  v_hour_sends integer;
  v_day_sends integer;
begin
  select * into v_tenant from tenants t where t.tenant_id = p_tenant for no key update;
  select * into v_route from unit_routes u where u.tenant_id = p_tenant and u.st_business_unit_id = p_unit;
  if v_route.st_business_unit_id is null then
    raise exception 'business unit % is not known', p_unit using errcode = 'JS004';
  elsif v_route.deliverer <> 'jobsync' then
    raise exception 'business unit % (%) is not delivered by JobSync: there is nothing to test', p_unit, v_route.name using errcode = 'JS005';
  elsif v_route.destination_kind <> 'webhook' then
    raise exception 'business unit % (%) is an API route: each of its sends is read back anyway', p_unit, v_route.name using errcode = 'JS005';
  elsif v_tenant.mode <> 'live' then
    raise exception 'nothing was sent: mode is %', v_tenant.mode using errcode = 'JS005';
  elsif v_tenant.paused_at is not null then
    raise exception 'nothing was sent: sending is paused' using errcode = 'JS005';
  elsif not v_route.armed then
    raise exception 'nothing was sent: the route is not armed (%)', v_route.armed_reason using errcode = 'JS005';
  end if;
  select coalesce(sum(c.sends) filter (where c.hour = v_hour), 0), coalesce(sum(c.sends), 0) into v_hour_sends, v_day_sends
    from send_counts c where c.tenant_id = p_tenant and c.hour > v_now - interval '24 hours';
  if v_tenant.cap_hour > 0 and v_hour_sends >= v_tenant.cap_hour or v_tenant.cap_day > 0 and v_day_sends >= v_tenant.cap_day then
    raise exception 'nothing was sent: the cap on sends is reached' using errcode = 'JS005';
  elsif (select b.granted from take_budget(p_tenant, 'destination:' || v_route.destination_id, p_rate, p_burst, 1) b) = 0 then
    raise exception 'nothing was sent: the hook is busy with other jobs, try again in a moment' using errcode = 'JS005';
  end if;
  insert into send_counts as c (tenant_id, hour, sends, executions) values (p_tenant, v_hour, 1, 1)
  on conflict (tenant_id, hour) do update set sends = c.sends + 1, executions = c.executions + 1;
  return jsonb_build_object('destination', v_route.destination_id, 'unit', p_unit, 'unit_name', v_route.name, 'at', v_now);
end
$$;
comment on function jobsync.open_test_send(text, bigint, double precision, double precision, text) is
  'May a test go to this unit''s hook now? Counts it against the caps and answers the destination; refuses (JS005) when not live, paused, not armed, capped or busy.';

create function jobsync.close_test_send(p_tenant text, p_unit bigint, p_result text, p_details jsonb, p_executed boolean, p_actor text) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  if not p_executed then
    update send_counts c set sends = greatest(0, c.sends - 1), executions = greatest(0, c.executions - 1)
     where c.tenant_id = p_tenant and c.hour = date_trunc('hour', jobsync.now(), 'UTC');
  end if;
  perform write_audit(p_tenant, p_actor, 'test_sent', 'unit:' || p_unit, p_details || jsonb_build_object('result', p_result));
end
$$;
comment on function jobsync.close_test_send(text, bigint, text, jsonb, boolean, text) is 'Writes what came of a test send into the audit; one that certainly was not executed is not counted.';
