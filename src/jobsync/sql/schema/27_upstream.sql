-- How the upstreams stand towards a tenant: refused sign-in or access, and the circuit breaker before their requests.

create table jobsync.upstream_states (
  tenant_id text not null references jobsync.tenants on delete cascade,
  upstream text not null constraint upstream_is_known check (upstream in ('servicetitan', 'gohighlevel')),
  state text not null default 'ok' constraint upstream_state_is_known check (state in ('ok', 'auth_failed', 'access_denied')),
  reason text,
  since timestamptz not null default jobsync.now(),
  primary key (tenant_id, upstream)
);
comment on table jobsync.upstream_states is 'Whether an upstream lets the tenant in. No row: it always did.';
comment on column jobsync.upstream_states.state is 'auth_failed: 401 with a fresh token, or no token at all; access_denied: 403 for what everything else needs.';

create function jobsync.set_upstream_state(p_tenant text, p_upstream text, p_state text, p_reason text) returns boolean
language plpgsql set search_path = jobsync, public as $$
begin
  if p_state = 'ok' then
    update upstream_states s set state = 'ok', reason = null, since = jobsync.now()
     where s.tenant_id = p_tenant and s.upstream = p_upstream and s.state <> 'ok';
  else
    insert into upstream_states as s (tenant_id, upstream, state, reason) values (p_tenant, p_upstream, p_state, left(p_reason, 500))
    on conflict (tenant_id, upstream) do update set state = excluded.state, reason = excluded.reason, since = excluded.since
     where s.state <> excluded.state;
  end if;
  if found then
    perform write_audit(p_tenant, 'jobsync', 'upstream_' || p_state, p_upstream, jsonb_build_object('reason', left(p_reason, 500)));
  end if;
  return found;
end
$$;
comment on function jobsync.set_upstream_state(text, text, text, text) is
  'Notes how an upstream stands towards the tenant, with a line in the audit when that changes. True when it changed; the same again writes nothing.';

create function jobsync.is_upstream_refused(p_tenant text, p_upstream text) returns boolean language sql stable parallel safe as $$
  select exists (select from jobsync.upstream_states s where s.tenant_id = p_tenant and s.upstream = p_upstream and s.state <> 'ok')
$$;
comment on function jobsync.is_upstream_refused(text, text) is 'True while sign-in or access is refused, so that only a person can mend it.';

-- The breaker: open after ten failures among the last twenty requests, then one request at a time tries whether it may
-- close. All tenants that reach one environment of ServiceTitan with one app share it (reliability, "What happens on each
-- answer"): what is down for one is down for all. It goes by the real clock, as the budgets do.
create table jobsync.breakers (
  breaker_key bytea primary key,
  outcomes boolean[] not null default '{}',
  open_until timestamptz,
  opened_at timestamptz,
  times_opened integer not null default 0,
  probe_until timestamptz
);
comment on table jobsync.breakers is 'Circuit breakers before an upstream, one for each app and environment. Nobody''s rows: whoever shares the app shares it.';
comment on column jobsync.breakers.breaker_key is 'Keyed hash of environment and app, so that the app''s key is not readable.';
comment on column jobsync.breakers.outcomes is 'The last twenty requests, false for 5xx, timeouts and resets.';
comment on column jobsync.breakers.open_until is 'Nobody asks before this; null: closed.';
comment on column jobsync.breakers.opened_at is 'Since when requests are held back, trials that failed included; null: closed.';
comment on column jobsync.breakers.probe_until is 'Since it may close again, one worker tries; the others wait for it until this.';

create function jobsync.note_outcomes(p_tenant text, p_upstream text, p_breaker bytea, p_outcomes boolean[]) returns timestamptz
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_row breakers;
  v_now timestamptz := clock_timestamp();
  v_all boolean[];
begin
  -- All is well, and was before: nothing to write, so that tenants do not queue for one row while it is.
  if true = all (p_outcomes) and exists (
       select from breakers b where b.breaker_key = p_breaker and b.open_until is null and cardinality(b.outcomes) = 20 and true = all (b.outcomes)) then
    return null;
  end if;
  insert into breakers (breaker_key) values (p_breaker) on conflict (breaker_key) do nothing;
  select * into v_row from breakers b where b.breaker_key = p_breaker for update;
  if v_row.open_until > v_now and v_row.probe_until is null then
    -- Answers to what was under way when it opened.
    return v_row.open_until;
  end if;
  v_all := v_row.outcomes || p_outcomes;
  v_all := v_all[greatest(1, cardinality(v_all) - 19):];
  if v_row.open_until is not null and p_outcomes[cardinality(p_outcomes)] then
    update breakers b set outcomes = '{}', open_until = null, opened_at = null, probe_until = null, times_opened = 0 where b.breaker_key = p_breaker;
    perform write_audit(p_tenant, 'jobsync', 'breaker_closed', p_upstream);
    return null;
  end if;
  if v_row.open_until is not null or (cardinality(v_all) = 20 and cardinality(array_remove(v_all, true)) >= 10) then
    update breakers b set outcomes = '{}', probe_until = null, times_opened = v_row.times_opened + 1, opened_at = coalesce(v_row.opened_at, v_now),
           open_until = v_now + least(300, 10 * 2 ^ least(v_row.times_opened, 5)) * interval '1 second'
     where b.breaker_key = p_breaker returning b.open_until into v_row.open_until;
    if v_row.times_opened = 0 then
      perform write_audit(p_tenant, 'jobsync', 'breaker_opened', p_upstream);
    end if;
    return v_row.open_until;
  end if;
  update breakers b set outcomes = v_all where b.breaker_key = p_breaker;
  return null;
end
$$;
comment on function jobsync.note_outcomes(text, text, bytea, boolean[]) is
  'Adds how requests went; opens the breaker at ten failures of twenty (10 s, then ever longer, at most 300), closes it when a trial succeeds, with a line in the audit of the tenant that saw it. Answers until when it is open.';

create function jobsync.enter_breaker(p_breaker bytea, p_insist boolean) returns table (wait_seconds double precision, is_probe boolean, is_tried boolean)
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_row breakers;
  v_now timestamptz := clock_timestamp();
begin
  select * into v_row from breakers b where b.breaker_key = p_breaker and b.open_until is not null for update;
  if not found then
    return query select 0::double precision, false, false;
  elsif v_row.probe_until > v_now then
    return query select extract(epoch from v_row.probe_until - v_now)::double precision, false, true;
  elsif v_row.open_until > v_now and not p_insist then
    return query select extract(epoch from v_row.open_until - v_now)::double precision, false, false;
  else
    -- A trial whose worker died is another's after this.
    update breakers b set probe_until = v_now + interval '120 seconds' where b.breaker_key = p_breaker;
    return query select 0::double precision, true, false;
  end if;
end
$$;
comment on function jobsync.enter_breaker(bytea, boolean) is
  'Whether a request may be made: wait 0 while the breaker is closed, or for the one that tries whether it may close (is_probe). is_tried: another one tries right now. p_insist: tries also while it is open, so that other streams'' failures never keep jobs from being read.';
