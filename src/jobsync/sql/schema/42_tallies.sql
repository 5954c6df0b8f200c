-- Tallies: how many rows of a class there are, kept by the statements that change them, so that nobody counts a big table.
--
-- Each statement that adds, changes or removes rows writes the difference it made, in its own transaction: one line for
-- each class, also negative. A total is the sum of the lines, exact in every snapshot. Lines are only ever added, so two
-- workers never wait for each other; fold_tallies() puts many lines together into one, and skips what another one holds.
-- A statement that changed no class writes nothing. Decision 3 says why it is done like this.

create table jobsync.tallies (
  tenant_id text not null,
  id bigint generated always as identity,
  topic text not null constraint tally_topic_is_known check (topic in ('jobs', 'outbox', 'quarantine', 'runs', 'hours')),
  class text not null,
  reason text,
  business_unit_id bigint,
  destination_id uuid,
  hour timestamptz,
  rows bigint not null,
  timed bigint not null default 0,
  milliseconds bigint not null default 0,
  folded boolean not null default false,
  primary key (tenant_id, id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
create index tallies_unfolded on jobsync.tallies (tenant_id) where not folded;
comment on table jobsync.tallies is
  'Differences whose sums are counts: jobs by status, reason and unit; the outbox by event, what it waits for and destination; open quarantine by stream; runs by type and status (reason).';
comment on column jobsync.tallies.hour is 'Only of topic hours: jobs that reached a state in this hour; folded into jobsync.state_hours.';
comment on column jobsync.tallies.timed is 'Of runs: how many of them have a duration; milliseconds is the sum of these.';
comment on column jobsync.tallies.folded is 'True: the sum of many lines. False: what one statement changed.';

create table jobsync.state_hours (
  tenant_id text not null,
  hour timestamptz not null,
  class text not null,
  unit_key bigint not null,
  rows bigint not null,
  primary key (tenant_id, hour, class, unit_key)
);
comment on table jobsync.state_hours is
  'How many jobs reached a state in each of the last hours, by unit: verified and accepted by the hour in which they were accepted, failed and skipped by the hour in which they became so. Kept for two days.';
comment on column jobsync.state_hours.unit_key is 'The business unit; 0: none.';

create view jobsync.v_tallies with (security_invoker = true) as
  select t.tenant_id, t.topic, t.class, t.reason, t.business_unit_id, t.destination_id, sum(t.rows)::bigint as rows, sum(t.timed)::bigint as timed, sum(t.milliseconds)::bigint as milliseconds
    from jobsync.tallies t
   where t.topic <> 'hours'
   group by t.tenant_id, t.topic, t.class, t.reason, t.business_unit_id, t.destination_id
  having sum(t.rows) <> 0;
comment on view jobsync.v_tallies is 'How many rows of each class there are; see jobsync.tallies for what the columns mean by topic.';

create function jobsync.fold_tallies(p_tenant text) returns integer language plpgsql set search_path = jobsync, public as $$
declare
  v_folded integer;
begin
  -- Whoever folds now does it for everybody.
  if not pg_try_advisory_xact_lock(hashtext('jobsync.tallies'), hashtext(p_tenant)) then
    return 0;
  end if;
  with gone as (
    delete from tallies t where t.tenant_id = p_tenant returning t.*
  ), hours as (
    insert into state_hours as h (tenant_id, hour, class, unit_key, rows)
    select p_tenant, g.hour, g.class, coalesce(g.business_unit_id, 0), sum(g.rows) from gone g where g.topic = 'hours' group by g.hour, g.class, coalesce(g.business_unit_id, 0)
    on conflict (tenant_id, hour, class, unit_key) do update set rows = h.rows + excluded.rows
  ), kept as (
    insert into tallies (tenant_id, topic, class, reason, business_unit_id, destination_id, rows, timed, milliseconds, folded)
    select p_tenant, g.topic, g.class, g.reason, g.business_unit_id, g.destination_id, sum(g.rows), sum(g.timed), sum(g.milliseconds), true from gone g
     where g.topic <> 'hours'
     group by g.topic, g.class, g.reason, g.business_unit_id, g.destination_id having sum(g.rows) <> 0 or sum(g.timed) <> 0
    returning 1
  )
  select count(*) into v_folded from gone;
  delete from state_hours h where h.tenant_id = p_tenant and h.hour < jobsync.now() - interval '2 days';
  return v_folded;
end
$$;
comment on function jobsync.fold_tallies(text) is
  'Puts the lines of a tenant together, one for each class. Totals do not change; while another session folds, nothing is done. Answers how many lines there were.';

create function jobsync.fold_tallies_beyond(p_lines integer) returns integer language sql volatile set search_path = jobsync, public as $$
  select coalesce(sum(fold_tallies(t.tenant_id)), 0)::integer
    from (select u.tenant_id from tallies u where not u.folded group by u.tenant_id having count(*) > p_lines) t
$$;
comment on function jobsync.fold_tallies_beyond(integer) is 'Folds the tallies of every tenant with more than so many single lines. Run by the schedule as the owner.';

-- A class that neither grew nor shrank is not in the sums, so that an update of anything else writes nothing.
create function jobsync.tally_jobs() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  if tg_op = 'INSERT' then
    insert into tallies (tenant_id, topic, class, reason, business_unit_id, rows)
    select a.tenant_id, 'jobs', a.ghl_sync_status, coalesce(a.ghl_sync_reason, 'waiting'), a.business_unit_id, count(*)
      from added a where a.ghl_sync_status <> 'synced'
     group by 1, 3, 4, 5;
  elsif tg_op = 'DELETE' then
    insert into tallies (tenant_id, topic, class, reason, business_unit_id, rows)
    select r.tenant_id, 'jobs', r.ghl_sync_status, coalesce(r.ghl_sync_reason, 'waiting'), r.business_unit_id, -count(*)
      from removed r where r.ghl_sync_status <> 'synced'
     group by 1, 3, 4, 5;
  end if;
  return null;
end
$$;
comment on function jobsync.tally_jobs() is 'Trigger: writes how many jobs of each status, reason and unit came in or were deleted; delivered ones are not counted.';
create trigger tally_added after insert on public.jobs referencing new table as added for each statement execute function jobsync.tally_jobs();
create trigger tally_removed after delete on public.jobs referencing old table as removed for each statement execute function jobsync.tally_jobs();

create function jobsync.tally_outbox() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  if tg_op = 'INSERT' then
    insert into tallies (tenant_id, topic, class, reason, destination_id, rows)
    select a.tenant_id, 'outbox', a.event, a.waiting_for, a.destination_id, count(*) from added a group by 1, 3, 4, 5;
  elsif tg_op = 'DELETE' then
    insert into tallies (tenant_id, topic, class, reason, destination_id, rows)
    select r.tenant_id, 'outbox', r.event, r.waiting_for, r.destination_id, -count(*) from removed r group by 1, 3, 4, 5;
  else
    insert into tallies (tenant_id, topic, class, reason, destination_id, rows)
    select d.tenant_id, 'outbox', d.event, d.waiting_for, d.destination_id, sum(d.rows)
      from (select a.tenant_id, a.event, a.waiting_for, a.destination_id, 1 as rows from added a
            union all
            select r.tenant_id, r.event, r.waiting_for, r.destination_id, -1 from removed r) d
     group by d.tenant_id, d.event, d.waiting_for, d.destination_id having sum(d.rows) <> 0;
  end if;
  return null;
end
$$;
comment on function jobsync.tally_outbox() is 'Trigger: writes how many waiting deliveries of each event, reason to wait and destination a statement added or took away.';
create trigger tally_added after insert on jobsync.outbox referencing new table as added for each statement execute function jobsync.tally_outbox();
create trigger tally_removed after delete on jobsync.outbox referencing old table as removed for each statement execute function jobsync.tally_outbox();
create trigger tally_changed after update on jobsync.outbox referencing old table as removed new table as added for each statement execute function jobsync.tally_outbox();

-- Both counts of a change by one statement: of each status, reason and unit; and in which hour a job reached which state. What
-- was accepted moves on to verified within its hour; what failed and was sent again later stays failed in the hour in which it
-- failed. Held history is no event.
create function jobsync.tally_job_changes() returns trigger language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_now timestamptz := jobsync.now();
begin
  insert into tallies (tenant_id, topic, class, reason, business_unit_id, hour, rows)
  select d.tenant_id, 'jobs', d.class, d.reason, d.business_unit_id, null, sum(d.rows)
    from (select a.tenant_id, a.ghl_sync_status as class, coalesce(a.ghl_sync_reason, 'waiting') as reason, a.business_unit_id, 1 as rows
            from added a where a.ghl_sync_status <> 'synced'
          union all
          select r.tenant_id, r.ghl_sync_status, coalesce(r.ghl_sync_reason, 'waiting'), r.business_unit_id, -1
            from removed r where r.ghl_sync_status <> 'synced') d
   group by d.tenant_id, d.class, d.reason, d.business_unit_id having sum(d.rows) <> 0
  union all
  select d.tenant_id, 'hours', d.class, null, d.business_unit_id, d.hour, sum(d.rows)
    from (select a.tenant_id, a.business_unit_id, 1 as rows,
                 case when a.ghl_sync_status <> 'synced' then a.ghl_sync_status when a.ghl_verified_at >= a.ghl_accepted_at then 'verified' else 'accepted' end as class,
                 date_trunc('hour', case when a.ghl_sync_status = 'synced' then coalesce(a.ghl_accepted_at, a.ghl_synced_at) else v_now end) as hour
            from added a
           where a.ghl_sync_status = 'failed' or a.ghl_sync_status = 'skipped' and a.ghl_sync_reason not in ('before_start', 'backfilled', 'imported')
              or a.ghl_sync_status = 'synced' and coalesce(a.ghl_accepted_at, a.ghl_synced_at) > v_now - interval '26 hours'
          union all
          select r.tenant_id, r.business_unit_id, -1,
                 case when r.ghl_sync_status <> 'synced' then r.ghl_sync_status when r.ghl_verified_at >= r.ghl_accepted_at then 'verified' else 'accepted' end,
                 date_trunc('hour', case when r.ghl_sync_status = 'synced' then coalesce(r.ghl_accepted_at, r.ghl_synced_at) else v_now end)
            from removed r
           where r.ghl_sync_status = 'failed' or r.ghl_sync_status = 'skipped' and r.ghl_sync_reason not in ('before_start', 'backfilled', 'imported')
              or r.ghl_sync_status = 'synced' and coalesce(r.ghl_accepted_at, r.ghl_synced_at) > v_now - interval '26 hours') d
   where d.hour is not null
   group by d.tenant_id, d.class, d.business_unit_id, d.hour
  having sum(d.rows) > 0 or sum(d.rows) < 0 and d.class in ('verified', 'accepted');
  return null;
end
$$;
comment on function jobsync.tally_job_changes() is
  'Trigger: writes how many jobs of each status, reason and unit a change added or took away (delivered ones are not counted), and how many it brought into each state, by hour and unit.';
create trigger tally_changed after update on public.jobs referencing old table as removed new table as added for each statement execute function jobsync.tally_job_changes();

create function jobsync.tally_quarantine() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  if tg_op <> 'INSERT' then
    insert into tallies (tenant_id, topic, class, rows)
    select r.tenant_id, 'quarantine', r.stream, -count(*) from removed r where r.resolved_at is null group by 1, 3;
  end if;
  if tg_op <> 'DELETE' then
    insert into tallies (tenant_id, topic, class, rows)
    select a.tenant_id, 'quarantine', a.stream, count(*) from added a where a.resolved_at is null group by 1, 3;
  end if;
  return null;
end
$$;
comment on function jobsync.tally_quarantine() is 'Trigger: writes how many open quarantined records of each stream a statement added or took away.';
create trigger tally_added after insert on jobsync.quarantine referencing new table as added for each statement execute function jobsync.tally_quarantine();
create trigger tally_removed after delete on jobsync.quarantine referencing old table as removed for each statement execute function jobsync.tally_quarantine();
create trigger tally_changed after update on jobsync.quarantine referencing old table as removed new table as added for each statement execute function jobsync.tally_quarantine();

create function jobsync.tally_runs() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  if tg_op = 'INSERT' then
    insert into tallies (tenant_id, topic, class, reason, rows, timed, milliseconds)
    select a.tenant_id, 'runs', a.sync_type, a.status, count(*), count(a.duration_ms), coalesce(sum(a.duration_ms), 0) from added a group by 1, 3, 4;
  elsif tg_op = 'DELETE' then
    insert into tallies (tenant_id, topic, class, reason, rows, timed, milliseconds)
    select r.tenant_id, 'runs', r.sync_type, r.status, -count(*), -count(r.duration_ms), -coalesce(sum(r.duration_ms), 0) from removed r group by 1, 3, 4;
  else
    insert into tallies (tenant_id, topic, class, reason, rows, timed, milliseconds)
    select d.tenant_id, 'runs', d.sync_type, d.status, sum(d.rows), coalesce(sum(d.rows) filter (where d.duration_ms is not null), 0),
           coalesce(sum(d.rows * d.duration_ms::bigint), 0)
      from (select a.tenant_id, a.sync_type, a.status, a.duration_ms, 1 as rows from added a
            union all
            select r.tenant_id, r.sync_type, r.status, r.duration_ms, -1 from removed r) d
     group by d.tenant_id, d.sync_type, d.status
    having sum(d.rows) <> 0 or coalesce(sum(d.rows * d.duration_ms::bigint), 0) <> 0 or coalesce(sum(d.rows) filter (where d.duration_ms is not null), 0) <> 0;
  end if;
  return null;
end
$$;
comment on function jobsync.tally_runs() is 'Trigger: writes how many runs of each type and status a statement added or took away, and how long they took.';
create trigger tally_added after insert on public.sync_logs referencing new table as added for each statement execute function jobsync.tally_runs();
create trigger tally_removed after delete on public.sync_logs referencing old table as removed for each statement execute function jobsync.tally_runs();
create trigger tally_changed after update on public.sync_logs referencing old table as removed new table as added for each statement execute function jobsync.tally_runs();

create function jobsync.recount_tallies(p_tenant text) returns void language plpgsql set search_path = jobsync, public as $$
begin
  -- Nobody may change a counted row between the count and the new lines.
  lock table jobs, outbox, quarantine, sync_logs in share row exclusive mode;
  perform pg_advisory_xact_lock(hashtext('jobsync.tallies'), hashtext(p_tenant));
  delete from tallies t where t.tenant_id = p_tenant and t.topic <> 'hours';
  insert into tallies (tenant_id, topic, class, reason, business_unit_id, destination_id, rows, timed, milliseconds, folded)
  select p_tenant, 'jobs', j.ghl_sync_status, coalesce(j.ghl_sync_reason, 'waiting'), j.business_unit_id, null::uuid, count(*), 0, 0, true
    from jobs j where j.tenant_id = p_tenant and j.ghl_sync_status <> 'synced' group by 3, 4, 5
  union all
  select p_tenant, 'outbox', o.event, o.waiting_for, null, o.destination_id, count(*), 0, 0, true
    from outbox o where o.tenant_id = p_tenant group by 3, 4, 6
  union all
  select p_tenant, 'quarantine', q.stream, null, null, null, count(*), 0, 0, true
    from quarantine q where q.tenant_id = p_tenant and q.resolved_at is null group by 3
  union all
  select p_tenant, 'runs', l.sync_type, l.status, null, null, count(*), count(l.duration_ms), coalesce(sum(l.duration_ms), 0), true
    from sync_logs l where l.tenant_id = p_tenant group by 3, 4;
end
$$;
comment on function jobsync.recount_tallies(text) is
  'Counts everything anew, for rows that came in with triggers switched off (a restore, an adopted table). Run as the owner; reads the tables from end to end and holds writers up meanwhile.';
