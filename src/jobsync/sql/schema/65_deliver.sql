-- Delivering: claim -> (the program sends) -> finish. Nothing here sends; every rule about whether something may leave is here.
-- Refusals, in this order: mode, pause, destination pause, caps, limited arm, shared budget. A claim counts a version against
-- caps and limit; a send that certainly was not executed gives it back.

create function jobsync.claim_deliveries(
  p_tenant text, p_destination uuid, p_limit integer, p_lease_seconds double precision, p_rate double precision, p_burst double precision,
  p_due_before timestamptz default null, p_untried_since timestamptz default null
) returns table (attempt_id bigint, fence bigint, version integer, event text, delivery_id uuid, attempts integer, waited_for text,
                 planned_at timestamptz, alone boolean, projection jobsync.projections)
-- What is due is read in the order of its index and no further than the window: never gathered whole and sorted.
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off
set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  v_now timestamptz := jobsync.now();
  v_hour timestamptz := date_trunc('hour', v_now, 'UTC');
  v_tenant jobsync.tenants;
  v_destination jobsync.destinations;
  v_limit integer := greatest(p_limit, 1);
  v_free integer;
  v_sent_hour integer;
  v_sent_day integer;
  v_capped text;
  v_window integer;
  v_seen integer;
  v_jobs bigint[];
  v_same bigint[];
  v_heavy bigint[];
  v_new integer;
  v_died boolean;
  v_alone boolean;
begin
  -- Claims of one tenant go one after another; nothing below waits for a row that somebody else holds.
  select * into v_tenant from tenants t where t.tenant_id = p_tenant for no key update;
  select * into v_destination from destinations d where d.tenant_id = p_tenant and d.id = p_destination for no key update;
  if v_tenant.mode is distinct from 'live' or v_tenant.paused_at is not null or v_destination.id is null then
    return;
  end if;
  if v_destination.paused_at is not null then
    if v_destination.probe_at is null or v_destination.probe_at > v_now then
      return;
    end if;
    v_limit := 1;
    update destinations d set probe_at = v_now + interval '60 seconds' where d.tenant_id = p_tenant and d.id = p_destination;
  end if;
  if v_destination.kind = 'api' then
    if delivery_hold(p_tenant) > 0 then
      return;
    end if;
    -- A job may take four requests or more, each paced: a group must be done well within its lease.
    v_limit := least(v_limit, case when p_rate > 0 then greatest(1, least(16, floor(p_rate * p_lease_seconds / 12)))::integer else 16 end);
  end if;
  -- Only where a worker died: looked for among the few rows that are in flight.
  v_died := exists (select from outbox o where o.tenant_id = p_tenant and o.lease_until is not null and o.lease_until <= v_now and o.destination_id = p_destination);
  if v_died then
    if v_destination.kind = 'webhook' then
      perform settle_rescued(p_tenant, p_destination, v_now);
    end if;
    perform give_up_rescued(p_tenant, p_destination, v_now);
  end if;

  -- Due, oldest first, one of each customer who has nothing in flight. A few fewer than asked for are enough; a customer
  -- with very many jobs widens the look.
  v_window := v_limit + v_limit / 4 + 1;
  loop
    with due as materialized (
      select o.st_job_id, o.st_customer_id, o.next_attempt_at, o.version, o.event = 'updated' and not o.forced and j.job_hash = j.delivered_hash
             and not (v_destination.kind = 'api' and card_differs(p_tenant, o.st_job_id)) as same
        from outbox o
       cross join lateral armed_job(o.tenant_id, o.st_job_id) j
       where o.destination_id = p_destination and o.tenant_id = p_tenant and o.next_attempt_at <= least(v_now, p_due_before)
         and (o.lease_until is null or o.lease_until <= v_now)
         and (p_untried_since is null or o.tried_at is null or o.tried_at < p_untried_since)
         and (select true from outbox f where f.tenant_id = p_tenant and f.st_customer_id = o.st_customer_id and f.lease_until > v_now limit 1) is null
       order by o.next_attempt_at, o.st_job_id
       limit v_window
    ), heavy as (
      select d.st_job_id from due d
       where d.version > 5 and not d.same
         and (select count(*) from attempts a where a.tenant_id = p_tenant and a.st_job_id = d.st_job_id and a.outcome like 'accepted%'
                and a.started_at >= date_trunc('day', v_now, 'UTC')) >= case v_destination.kind when 'api' then 20 else 5 end
    ), one_each as (
      select distinct on (coalesce(d.st_customer_id, -d.st_job_id)) d.st_job_id, d.next_attempt_at from due d
       where not d.same and not exists (select from heavy h where h.st_job_id = d.st_job_id)
       order by coalesce(d.st_customer_id, -d.st_job_id), d.next_attempt_at, d.st_job_id
    )
    select array_agg(e.st_job_id order by e.next_attempt_at, e.st_job_id), (select count(*) from due),
           (select array_agg(d.st_job_id) from due d where d.same), (select array_agg(h.st_job_id) from heavy h)
      into v_jobs, v_seen, v_same, v_heavy from one_each e;
    if v_same is not null then
      -- Changed there and back again while it waited: GoHighLevel already has exactly this.
      with same as (
        select j.st_job_id from public.jobs j
         where j.tenant_id = p_tenant and j.st_job_id = any (v_same) and j.job_hash = j.delivered_hash for no key update skip locked
      ), settled as (
        delete from outbox o using same s
         where o.tenant_id = p_tenant and o.st_job_id = s.st_job_id and (o.lease_until is null or o.lease_until <= v_now)
        returning o.st_job_id
      )
      update public.jobs j set ghl_sync_status = 'synced', ghl_sync_reason = null, updated_at = v_now
        from settled s where j.tenant_id = p_tenant and j.st_job_id = s.st_job_id;
    end if;
    if v_heavy is not null then
      update outbox o set next_attempt_at = date_trunc('day', v_now, 'UTC') + interval '1 day', waiting_for = 'record_cap'
       -- By a list of ids: joined with what is nearly always nobody, a plan made while the table was young reads all that waits.
       where o.tenant_id = p_tenant and o.st_job_id = any (array(
         select x.st_job_id from outbox x where x.tenant_id = p_tenant and x.st_job_id = any (v_heavy) for update skip locked));
    end if;
    exit when coalesce(cardinality(v_jobs), 0) >= v_limit - v_limit / 4 or v_seen < v_window or v_window > 10000;
    v_window := v_window * 8;
  end loop;

  -- What two workers died with goes out alone, so that the one that kills them is set aside and not those beside it.
  select (array_agg(l.suspect order by l.next_attempt_at, l.st_job_id))[1],
         case when (array_agg(l.suspect order by l.next_attempt_at, l.st_job_id))[1]
              then (array_agg(l.st_job_id order by l.next_attempt_at, l.st_job_id))[1:1]
              else array_agg(l.st_job_id order by l.next_attempt_at, l.st_job_id) filter (where not l.suspect) end into v_alone, v_jobs
    from (select o.st_job_id, o.next_attempt_at, o.rescues + case when o.lease_until is null then 0 else 1 end >= 2 as suspect from outbox o
           where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs) and o.destination_id = p_destination
             and (o.lease_until is null or o.lease_until <= v_now)
           order by o.next_attempt_at, o.st_job_id limit v_limit for update skip locked) l;
  if v_jobs is null then
    return;
  end if;

  -- A version is counted once: against the caps of hour and day and the limited arm. Its retries go free. What changed
  -- after its worker died is another version; the send that may have been executed stays counted.
  if v_died then
    update outbox o set counted_at = null
     where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs) and o.lease_until is not null and o.counted_at is not null
       and not exists (select from attempts a where a.tenant_id = p_tenant and a.st_job_id = o.st_job_id and a.version = o.version);
  end if;
  select coalesce(sum(c.sends) filter (where c.hour = v_hour), 0), coalesce(sum(c.sends), 0) into v_sent_hour, v_sent_day
    from send_counts c where c.tenant_id = p_tenant and c.hour > v_now - interval '24 hours';
  v_free := least(case when v_tenant.cap_hour > 0 then v_tenant.cap_hour - v_sent_hour end,
                  case when v_tenant.cap_day > 0 then v_tenant.cap_day - v_sent_day end, v_limit);
  v_capped := case when v_free > 0 then null when v_tenant.cap_hour > 0 and v_sent_hour >= v_tenant.cap_hour then 'cap_hour' else 'cap_day' end;
  v_free := least(v_free, v_tenant.arm_remaining);
  select array_agg(w.st_job_id order by w.next_attempt_at, w.st_job_id) filter (where w.counted or w.place <= v_free),
         case when bool_or(not w.counted) and coalesce(v_tenant.arm_remaining, 1) > 0 then v_capped end
    into v_jobs, v_capped
    from (select o.st_job_id, o.next_attempt_at, o.counted_at is not null as counted,
                 count(*) filter (where o.counted_at is null) over (order by o.next_attempt_at, o.st_job_id) as place
            from outbox o where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs)) w;
  if v_capped is not null then
    perform set_mode(p_tenant, 'observe', v_capped, 'jobsync');
    return;
  end if;
  if v_jobs is null then
    return;
  end if;
  -- The API's budget is counted in requests: the sender takes each one from the location's.
  if v_destination.kind = 'webhook' then
    select v_jobs[1:b.granted] into v_jobs from take_budget(p_tenant, budget_key(v_destination.kind, p_destination), p_rate, p_burst, cardinality(v_jobs)) b;
    if cardinality(v_jobs) = 0 then
      return;
    end if;
  end if;

  select count(*) into v_new from outbox o where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs) and o.counted_at is null;
  if v_new > 0 then
    insert into send_counts as c (tenant_id, hour, sends, executions) values (p_tenant, v_hour, v_new, case v_destination.kind when 'webhook' then v_new else 0 end)
    on conflict (tenant_id, hour) do update set sends = c.sends + excluded.sends, executions = c.executions + excluded.executions;
    update tenants t set arm_remaining = t.arm_remaining - v_new where t.tenant_id = p_tenant and t.arm_remaining is not null;
  end if;
  if v_destination.kind = 'api' then
    perform note_cards(p_tenant, v_jobs);
  end if;
  return query
    with claimed as (
      update outbox o set lease_until = v_now + make_interval(secs => p_lease_seconds), fence = o.fence + 1, attempts = o.attempts + 1,
             rescues = o.rescues + case when o.lease_until is not null then 1 else 0 end,
             flags = case when o.lease_until is not null and not 'ambiguous' = any (o.flags) then o.flags || '{ambiguous}'::text[] else o.flags end,
             sent_hash = j.job_hash, counted_at = coalesce(o.counted_at, v_hour), tried_at = v_now
        from public.jobs j
       where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs) and j.tenant_id = p_tenant and j.st_job_id = o.st_job_id
      returning o.st_job_id, o.fence, o.version, o.event, o.attempts, o.waiting_for, o.planned_at, o.next_attempt_at
    ), opened as (
      insert into attempts (tenant_id, st_job_id, version, destination_id, delivery_id, event, started_at)
      select p_tenant, c.st_job_id, c.version, p_destination, delivery_id(p_tenant, c.st_job_id, c.version), c.event, v_now from claimed c
      returning id, st_job_id, delivery_id
    )
    select a.id, c.fence, c.version, c.event, a.delivery_id, c.attempts, c.waiting_for, c.planned_at, v_alone, p
      from claimed c
      join opened a on a.st_job_id = c.st_job_id
      -- Looked up job by job (offset 0 keeps it apart): joined freely, and before the tables were ever analysed, all
      -- jobs with all their parents are put together anew for each row.
      cross join lateral (select x from projections x where x.tenant_id = p_tenant and x.st_job_id = c.st_job_id offset 0) y(p)
     order by c.next_attempt_at, c.st_job_id;
end
$$;
comment on function jobsync.claim_deliveries(text, uuid, integer, double precision, double precision, double precision, timestamptz, timestamptz) is
  'Claims due deliveries of a destination under mode, pause, caps, limited arm and budget; opens an attempt for each. At most one job per customer at a time. p_due_before, p_untried_since: only what was due by then and not tried since. alone: two workers died with it; nothing else is to be under way beside it.';

create function jobsync.budget_key(p_kind text, p_destination uuid) returns text language sql immutable parallel safe as $$
  select case p_kind when 'api' then 'gohighlevel' else 'destination:' || p_destination end
$$;
comment on function jobsync.budget_key(text, uuid) is 'The bucket that sends to a destination take from: a hook has its own, the location one for all who call it.';

create function jobsync.settle_rescued(p_tenant text, p_destination uuid, p_now timestamptz) returns void
language sql volatile as $$
  -- The answer of an earlier try came after its lease had run out, and the try after it died: this version is told already.
  with told as (
    select o.st_job_id from jobsync.outbox o
      join public.jobs j on j.tenant_id = o.tenant_id and j.st_job_id = o.st_job_id
     where o.destination_id = p_destination and o.tenant_id = p_tenant and o.lease_until is not null and o.lease_until <= p_now
       and not o.forced and j.job_hash = o.sent_hash
       and exists (select from jobsync.attempts a where a.tenant_id = p_tenant and a.st_job_id = o.st_job_id and a.version = o.version
                      and a.outcome like 'accepted%' and a.started_at >= o.planned_at)
       for update of o, j skip locked
  ), dropped as (
    delete from jobsync.outbox o using told t where o.tenant_id = p_tenant and o.st_job_id = t.st_job_id
    returning o.st_job_id, o.version, o.sent_hash, o.flags
  )
  update public.jobs j set ghl_sync_status = 'synced', ghl_sync_reason = null, ghl_sync_error = null, ghl_version = d.version, delivered_hash = d.sent_hash,
         ghl_synced_at = p_now, ghl_accepted_at = p_now, updated_at = p_now,
         ghl_sync_flags = array(select distinct f from unnest(d.flags || '{ambiguous}'::text[]) f order by f)
    from dropped d where j.tenant_id = p_tenant and j.st_job_id = d.st_job_id
$$;
comment on function jobsync.settle_rescued(text, uuid, timestamptz) is
  'Marks as synced, flagged ambiguous, deliveries whose worker died although an earlier try of the same version was accepted after its lease had run out.';

create function jobsync.give_up_rescued(p_tenant text, p_destination uuid, p_now timestamptz) returns void
language sql volatile as $$
  -- A row that is claimed again after a death counts one rescue: with four, this lease ended in the fifth death.
  with poison as (
    select o.st_job_id from jobsync.outbox o
      join public.jobs j on j.tenant_id = o.tenant_id and j.st_job_id = o.st_job_id
     where o.destination_id = p_destination and o.tenant_id = p_tenant and o.next_attempt_at <= p_now and o.rescues >= 4 and o.lease_until <= p_now
       for update of o, j skip locked
  ), dropped as (
    delete from jobsync.outbox o using poison p where o.tenant_id = p_tenant and o.st_job_id = p.st_job_id
    returning o.st_job_id, o.version
  )
  update public.jobs j set ghl_sync_status = 'failed', ghl_sync_reason = 'worker_died', ghl_version = d.version, updated_at = p_now,
         ghl_sync_error = 'The worker died five times while sending this job; it is set aside so that others go on.'
    from dropped d where j.tenant_id = p_tenant and j.st_job_id = d.st_job_id
$$;
comment on function jobsync.give_up_rescued(text, uuid, timestamptz) is 'Sets aside deliveries that killed their worker five times.';

create function jobsync.destination_state(p_tenant text, p_destination uuid) returns jsonb
language sql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off as $$
  select jsonb_build_object(
    'refusal', case when t.mode <> 'live' then 'mode_' || t.mode when t.paused_at is not null then 'paused'
                    when d.paused_at is not null and (d.probe_at is null or d.probe_at > jobsync.now()) then 'destination_paused'
                    -- Only a limit that is used up is worth a look through what waits.
                    when case when t.arm_remaining <= 0 then not exists (
                           select from outbox o where o.destination_id = p_destination and o.tenant_id = p_tenant and o.counted_at is not null
                              and o.next_attempt_at <= jobsync.now()) end then 'limit_reached' end,
    'wait_seconds', case when d.kind = 'api' then delivery_hold(p_tenant)
                         when b.blocked_until > clock_timestamp() then extract(epoch from b.blocked_until - clock_timestamp())
                         when b.rate > 0 then greatest(0, (1 - least(b.burst, b.tokens + s.rate * extract(epoch from clock_timestamp() - b.refilled_at))) / s.rate)
                         else 0 end,
    -- The first that is due is enough; in an order of its own, or the plan may walk through all that wait.
    'due', (select true from outbox o cross join lateral armed_job(o.tenant_id, o.st_job_id) j
             where o.destination_id = p_destination and o.tenant_id = p_tenant and o.next_attempt_at <= n.at
               and (o.lease_until is null or o.lease_until <= n.at)
             order by o.next_attempt_at, o.st_job_id limit 1) is true)
    from (select jobsync.now() as at offset 0) n
    cross join tenants t
    join destinations d on d.tenant_id = t.tenant_id and d.id = p_destination
    left join budgets b on b.tenant_id = t.tenant_id and b.budget_key = budget_key(d.kind, p_destination)
    left join lateral (select b.rate * left_speed(b.slowness, b.slowed_at, clock_timestamp()) as rate) s on true
   where t.tenant_id = p_tenant
$$;
comment on function jobsync.destination_state(text, uuid) is 'Why a destination yields nothing right now: refusal, seconds until its budget has a request, whether anything is due.';

-- 0, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h: the schedule of public webhook senders, with positive jitter.
create function jobsync.retry_delay(p_attempts integer) returns interval language sql volatile as $$
  select (array[5, 300, 1800, 7200, 18000, 36000, 36000])[least(greatest(p_attempts, 1), 7)] * (1 + pg_catalog.random() * 0.1) * interval '1 second'
$$;
comment on function jobsync.retry_delay(integer) is 'Wait after the given number of attempts, with up to a tenth of jitter on top.';

create function jobsync.finish_deliveries(p_tenant text, p_destination uuid, p_results jsonb) returns jsonb
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_report jsonb;
  v_refused boolean;
  v_jobs bigint[];
  v_attempts bigint[];
  v_units bigint[];
  v_is_troubled boolean;
  v_given_back jsonb;
  v_destination_faults integer;
  v_accepted integer;
  v_test_only boolean;
  v_told bigint[];
  v_wait double precision;
  v_retry_window constant integer := 8;
  v_kind text := (select d.kind from destinations d where d.tenant_id = p_tenant and d.id = p_destination);
  -- How many refusals in a row until the destination rests: the location's token, refused once, is refused for all jobs.
  v_patience integer := case when v_kind = 'api' and p_results @> '[{"outcome": "unauthorized"}]' then 1 else 5 end;
begin
  -- Locks in the order of everybody: tenants, destinations, jobs, outbox.
  select array_agg(r.st_job_id), array_agg(r.attempt_id), bool_or(r.outcome not in ('accepted', 'accepted_without_id'))
    into v_jobs, v_attempts, v_refused
    from jsonb_to_recordset(p_results) as r (attempt_id bigint, st_job_id bigint, outcome text);
  if v_refused then
    perform from tenants t where t.tenant_id = p_tenant for no key update;
  end if;
  perform from destinations d where d.tenant_id = p_tenant and d.id = p_destination
     and (v_refused or d.failures_in_row > 0 or d.probe_at is not null) for no key update;
  v_is_troubled := found;
  if not v_refused and not v_is_troubled and v_kind = 'webhook' and book_usual(p_tenant, p_results, v_jobs, v_attempts) then
    return jsonb_build_object('delivered', cardinality(v_jobs), 'failed', 0, 'stale', 0);
  end if;
  select array_agg(distinct l.business_unit_id) into v_units
    from (select j.business_unit_id from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (v_jobs) order by j.st_job_id for no key update) l;
  -- Judged is what nobody can claim meanwhile: else a row that is claimed at this very moment would be booked for who had it before.
  perform from outbox o where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs)
    order by o.st_job_id for no key update;

  with results as materialized (
    select * from jsonb_to_recordset(p_results) as r (attempt_id bigint, st_job_id bigint, fence bigint, outcome text, status integer,
      execution_id text, duration_ms integer, answer text, error text, retry_after double precision, flags jsonb, opportunity_id text, reason text, requests integer)
     -- Holds for all: few rows are looked up by key, of many each would be compared with all attempts of a young table.
     where r.attempt_id = any (v_attempts) and r.st_job_id = any (v_jobs)
  ), closed as (
    update attempts a set finished_at = v_now, outcome = coalesce(r.outcome, 'unknown'), status_code = r.status, execution_id = r.execution_id,
           requests = coalesce(r.requests, 1), duration_ms = r.duration_ms, answer = left(r.answer, 2048), error = left(r.error, 500)
      -- The lists once more: joined alone, a plan made while the table was empty reads all attempts each time.
      from results r where a.tenant_id = p_tenant and a.st_job_id = any (v_jobs) and a.id = any (v_attempts)
       and a.id = r.attempt_id and a.st_job_id = r.st_job_id and a.outcome is null
    returning a.id
  ), units as materialized (
    select u.st_business_unit_id, u.pipeline_name, u.ghl_pipeline_name, u.events, u.destination_kind, u.deliverer
      from unit_routes u where u.tenant_id = p_tenant and u.st_business_unit_id = any (v_units)
  ), judged as materialized (
    select x.*, x.verdict = 'synced' and (not x.newer or x.once) or x.verdict = 'failed' and (not x.newer or x.outcome = 'test_only')
             or x.verdict = 'skipped' and not x.newer or x.verdict = 'dropped' as done,
           -- It may have been executed, by this try or one before it; or the next try of this version goes free.
           x.outcome in ('ambiguous', 'settling') or 'ambiguous' = any (x.row_flags) or x.verdict = 'retry' and not x.newer as stays_counted
      from (
        select r.*, o.version <> a.version as newer, a.version as sent_version, o.sent_hash, o.counted_at, o.flags as row_flags,
               u.pipeline_name, u.ghl_pipeline_name, coalesce(u.events = 'created' and u.destination_kind = 'webhook', true) as once,
               j.delivered_hash is not null as delivered, case
            when r.outcome in ('accepted', 'accepted_without_id') then 'synced'
            -- Claimed again after a lease, and meanwhile the answer of the try before came: this version is told already.
            when 'ambiguous' = any (o.flags) and not o.forced and o.version = a.version and exists (
                   select from attempts t where t.tenant_id = p_tenant and t.st_job_id = r.st_job_id and t.version = a.version
                      and t.outcome like 'accepted%' and t.started_at >= o.planned_at) then 'synced'
            when r.outcome = 'test_only' then 'failed'
            when r.outcome = 'skipped' then 'skipped'
            -- While it was under way somebody marked the job, or the route went to somebody else: no further try of ours.
            when r.outcome in ('unauthorized', 'gone', 'unsent', 'rate_limited', 'settling', 'stopped', 'ambiguous', 'unavailable')
                 and (j.ghl_sync_status <> 'pending' or u.deliverer is distinct from 'jobsync') then 'dropped'
            when r.outcome in ('unauthorized', 'gone', 'unsent', 'rate_limited', 'settling', 'stopped') then 'later'
            when r.outcome in ('ambiguous', 'unavailable') and o.attempts < v_retry_window then 'retry'
            else 'failed' end as verdict
          from results r
          -- A result whose fence is stale, or whose attempt is closed already, changes nothing but its own attempt; unless
          -- it says that this version is told, and nobody is under way with it: then there is nothing left to send.
          join outbox o on o.tenant_id = p_tenant and o.st_job_id = r.st_job_id
          join attempts a on a.tenant_id = p_tenant and a.id = r.attempt_id and a.st_job_id = r.st_job_id and a.outcome is null
           and (o.fence = r.fence or r.outcome like 'accepted%' and o.version = a.version and o.lease_until is null and not o.forced
                and o.destination_id = p_destination)
          join jobs j on j.tenant_id = p_tenant and j.st_job_id = r.st_job_id
          left join units u on u.st_business_unit_id = j.business_unit_id) x
  ), gone as (
    delete from outbox o using judged g where o.tenant_id = p_tenant and o.st_job_id = g.st_job_id and g.done
    returning 1
  ), kept as (
    update outbox o set lease_until = null, waiting_for = null, rescues = 0, tried_at = case when g.outcome <> 'stopped' then o.tried_at end,
        attempts = case when g.verdict = 'later' then greatest(o.attempts - 1, 0) when g.verdict = 'retry' and not g.newer then o.attempts else 0 end,
        event = case when g.verdict = 'synced' then 'updated' else o.event end,
        forced = o.forced and g.verdict <> 'synced',
        counted_at = case when g.stays_counted and not g.newer then o.counted_at end,
        flags = case when g.verdict = 'synced' then '{}'
                     when g.outcome = 'ambiguous' and not 'ambiguous' = any (o.flags) then o.flags || '{ambiguous}'::text[] else o.flags end,
        -- What was given back unsent keeps its turn; whatever else waits a while.
        next_attempt_at = case
          when g.outcome = 'stopped' and not g.newer then o.next_attempt_at
          when g.verdict = 'later' then v_now + greatest(coalesce(g.retry_after, 0), 5) * (1 + random() * 0.1) * interval '1 second'
          when g.verdict = 'retry' then v_now + retry_delay(case when g.newer then 1 else o.attempts end)
          else v_now end
      from judged g
     where o.tenant_id = p_tenant and o.st_job_id = g.st_job_id and not g.done
    returning 1
  ), marked as (
    update jobs j set
        ghl_sync_status = case when not g.done then 'pending' when g.verdict = 'synced' then 'synced' when g.verdict = 'skipped' then 'skipped' else 'failed' end,
        ghl_sync_reason = case g.verdict
          when 'later' then case when g.outcome in ('settling', 'stopped') then g.outcome else 'destination_' || g.outcome end
          when 'skipped' then case when g.done then g.reason end
          when 'retry' then 'retrying'
          when 'failed' then case when not g.done then case when g.delivered then 'update' end
                                  when g.outcome in ('test_only', 'rejected') then g.outcome else 'attempts_used_up' end
          else case when not g.done then 'update' end end,
        ghl_sync_error = case when g.verdict <> 'synced' then left(coalesce(g.error, g.outcome), 500) end,
        ghl_synced_at = case when g.verdict = 'synced' then v_now else j.ghl_synced_at end,
        ghl_accepted_at = case when g.verdict = 'synced' then v_now else j.ghl_accepted_at end,
        delivered_hash = case when g.verdict = 'synced' then g.sent_hash else j.delivered_hash end,
        ghl_version = case when g.verdict in ('synced', 'failed', 'skipped') then g.sent_version else j.ghl_version end,
        ghl_opportunity_id = coalesce(g.opportunity_id, j.ghl_opportunity_id),
        ghl_pipeline = case when g.verdict = 'synced' then coalesce(g.pipeline_name, g.ghl_pipeline_name, j.ghl_pipeline) else j.ghl_pipeline end,
        ghl_sync_flags = case when g.verdict <> 'synced' then j.ghl_sync_flags
            -- Nearly always there is none, and nothing to sort.
            when g.row_flags = '{}' and coalesce(g.flags, '[]') = '[]' and g.outcome = 'accepted' then null
            else nullif(array(select distinct f from unnest(case when v_kind = 'api' then array_remove(g.row_flags, 'ambiguous') else g.row_flags end
            || array(select jsonb_array_elements_text(coalesce(g.flags, '[]')))
            || case when g.outcome = 'accepted_without_id' then '{no_execution_id}'::text[] else '{}' end) f order by f), '{}') end,
        updated_at = v_now
      from judged g where j.tenant_id = p_tenant and j.st_job_id = g.st_job_id and g.verdict <> 'dropped'
    returning 1
  )
  select jsonb_build_object('delivered', count(*) filter (where g.verdict = 'synced'), 'failed', count(*) filter (where g.verdict not in ('synced', 'skipped') and g.outcome <> 'stopped'),
           'stale', (select count(*) from results) - count(*)),
         (select jsonb_object_agg(b.counted_at, b.sends) from (
            select x.counted_at, count(*) as sends from judged x
             where x.verdict <> 'synced' and not x.stays_counted and x.counted_at is not null group by x.counted_at) b),
         count(*) filter (where g.outcome in ('unauthorized', 'gone', 'unsent')),
         count(*) filter (where g.verdict = 'synced'), coalesce(bool_or(g.outcome = 'test_only'), false),
         max(coalesce(g.retry_after, 10)) filter (where g.outcome = 'rate_limited'), array_agg(g.st_job_id) filter (where g.verdict = 'synced')
    into v_report, v_given_back, v_destination_faults, v_accepted, v_test_only, v_wait, v_told
    from judged g;

  if v_told is not null and v_kind = 'api' then
    perform tell_cards(p_tenant, v_told);
  end if;
  if v_given_back is not null then
    update send_counts c set sends = greatest(0, c.sends - b.value::integer),
           executions = case when exists (select from destinations d where d.tenant_id = p_tenant and d.id = p_destination and d.kind = 'webhook')
                             then greatest(0, c.executions - b.value::integer) else c.executions end
      from jsonb_each_text(v_given_back) b where c.tenant_id = p_tenant and c.hour = b.key::timestamptz;
    update tenants t set arm_remaining = t.arm_remaining + (select sum(b.value::integer) from jsonb_each_text(v_given_back) b)
     where t.tenant_id = p_tenant and t.arm_remaining is not null;
  end if;
  -- By API the sender slowed the location's bucket already, with the answer itself.
  if v_wait is not null and v_kind = 'webhook' then
    perform slow_budget(p_tenant, budget_key(v_kind, p_destination), v_wait);
  end if;
  if v_test_only then
    update destinations d set paused_at = v_now, probe_at = null, updated_at = v_now,
           pause_reason = 'GoHighLevel answered "test request received": the workflow''s trigger is not saved or not published.'
     where d.tenant_id = p_tenant and d.id = p_destination and (d.paused_at is null or d.probe_at is not null);
  elsif v_accepted > 0 and v_is_troubled then
    update destinations d set failures_in_row = 0, paused_at = null, pause_reason = null, probe_at = null, updated_at = v_now
     where d.tenant_id = p_tenant and d.id = p_destination and (d.failures_in_row > 0 or d.probe_at is not null);
  elsif v_destination_faults > 0 then
    update destinations d set failures_in_row = d.failures_in_row + v_destination_faults, updated_at = v_now,
           paused_at = case when d.failures_in_row + v_destination_faults >= v_patience then coalesce(d.paused_at, v_now) else d.paused_at end,
           probe_at = case when d.failures_in_row + v_destination_faults < v_patience or d.paused_at is not null and d.probe_at is null then d.probe_at
                           else v_now + interval '60 seconds' end,
           pause_reason = case when d.failures_in_row + v_destination_faults >= v_patience
             then coalesce(d.pause_reason, case v_kind when 'api' then 'GoHighLevel refuses what is sent (' else 'five refusals in a row (' end || (select string_agg(distinct r ->> 'outcome', ', ') from jsonb_array_elements(p_results) r) || '); tried again every minute') else d.pause_reason end
     where d.tenant_id = p_tenant and d.id = p_destination;
  end if;
  return v_report;
end
$$;
comment on function jobsync.finish_deliveries(text, uuid, jsonb) is
  'Books the results of a group of sends: job, outbox, attempt, caps, destination. A result with a stale fence only closes its attempt. Harmless when repeated.';
