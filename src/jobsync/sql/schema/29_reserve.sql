-- The part of a bucket that is kept for calls somebody waits for: whoever has time takes only what stands above it.

create function jobsync.take_spare_budget(
  p_tenant text, p_key text, p_rate double precision, p_burst double precision, p_want integer, p_reserve double precision)
returns table (granted integer, wait_seconds double precision)
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_row budgets;
  v_spare double precision := p_burst - p_reserve;
begin
  if p_rate <= 0 or p_reserve <= 0 then
    return query select t.granted, t.wait_seconds from take_budget(p_tenant, p_key, p_rate, p_burst, p_want) t;
    return;
  end if;
  -- Locked until it is taken from, so that two who both see the last spare one do not both take it.
  select * into v_row from budgets b where b.tenant_id = p_tenant and b.budget_key = p_key for update;
  if found then
    v_spare := least(p_burst, v_row.tokens + p_rate * greatest(0, extract(epoch from clock_timestamp() - v_row.refilled_at))) - p_reserve;
    if v_spare < 1 - 1e-9 and coalesce(v_row.blocked_until <= clock_timestamp(), true) then
      return query select 0, greatest((1 - v_spare) / p_rate, 0.001);
      return;
    end if;
  end if;
  return query select t.granted, t.wait_seconds from take_budget(p_tenant, p_key, p_rate, p_burst, least(p_want, greatest(1, floor(v_spare + 1e-9)::integer))) t;
end
$$;
comment on function jobsync.take_spare_budget(text, text, double precision, double precision, integer, double precision) is
  'take_budget for whoever has time: leaves p_reserve of the bucket to calls that somebody waits for.';
