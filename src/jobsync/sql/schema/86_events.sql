-- Events: what happened, for whoever watches. Written by triggers in the transaction that it tells of, read in the order of
-- (tx, id) and only up to the oldest transaction of this database that still runs: so a place in the stream is one behind
-- which nothing can appear later, which numbers alone cannot promise.

create table jobsync.events (
  tenant_id text not null,
  tx xid8 not null default pg_catalog.pg_current_xact_id(),
  id bigint generated always as identity,
  at timestamptz not null default jobsync.now(),
  kind text not null constraint event_kind_is_known check (kind in ('run', 'audit')),
  subject text,
  content jsonb not null,
  primary key (tenant_id, tx, id)
);
create index events_by_time on jobsync.events (tenant_id, at);
comment on table jobsync.events is 'Runs that open, go on and end, and lines of the audit, for live views; kept seven days. Never personal data.';
comment on column jobsync.events.tx is 'The transaction that wrote it: readers stay below the oldest one that still runs.';
comment on column jobsync.events.content is 'run: {sync_type, status, processed, succeeded, failed}; audit: {actor, action, details}.';

create function jobsync.tell_audit() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  insert into events (tenant_id, kind, subject, content)
  select a.tenant_id, 'audit', a.subject, jsonb_build_object('actor', a.actor, 'action', a.action, 'details', a.details) from added a order by a.id;
  return null;
end
$$;
comment on function jobsync.tell_audit() is 'Trigger: each line of the audit is an event.';
create trigger tell_audit after insert on jobsync.audit referencing new table as added for each statement execute function jobsync.tell_audit();

create function jobsync.run_content(p_run public.sync_logs) returns jsonb language sql immutable as $$
  select pg_catalog.jsonb_build_object('sync_type', p_run.sync_type, 'status', p_run.status, 'processed', p_run.records_processed,
    'succeeded', p_run.records_succeeded, 'failed', p_run.records_failed)
$$;
comment on function jobsync.run_content(public.sync_logs) is 'What an event tells of a run; its words (error_message, metadata) stay in the run.';

create function jobsync.tell_opened_run() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  insert into events (tenant_id, kind, subject, content)
  select a.tenant_id, 'run', 'run:' || a.id, run_content(a::sync_logs) from added a;
  return null;
end
$$;
comment on function jobsync.tell_opened_run() is 'Trigger: a new run is an event.';
create trigger tell_opened_run after insert on public.sync_logs referencing new table as added for each statement execute function jobsync.tell_opened_run();

create function jobsync.tell_changed_run() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  insert into events (tenant_id, kind, subject, content)
  select n.tenant_id, 'run', 'run:' || n.id, run_content(n::sync_logs)
    from changed n join former o on o.tenant_id = n.tenant_id and o.id = n.id
   where run_content(n::sync_logs) is distinct from run_content(o::sync_logs);
  return null;
end
$$;
comment on function jobsync.tell_changed_run() is 'Trigger: a run that goes on or ends is an event; what changes nothing that is told is none.';
create trigger tell_changed_run after update on public.sync_logs referencing old table as former new table as changed
  for each statement execute function jobsync.tell_changed_run();

-- Every writing transaction holds the lock on its own number. The statement's snapshot is older than the look at the locks:
-- what it calls unfinished and holds no lock any more has ended in between, and the next statement sees it.
create function jobsync.settled_tx() returns xid8 language sql volatile as $$
  with known as (
    select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint as next
  ), running as (
    select (k.next & ~4294967295) + l.transactionid::text::bigint as tx
      from known k
      cross join pg_catalog.pg_locks l
      left join pg_catalog.pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted
       and (a.datname is null or a.datname = pg_catalog.current_database())
  )
  -- Locks name the lower half of a number only: one that seems far ahead is of the epoch before.
  select least(k.next, (select min(case when r.tx > k.next + 2147483648 then r.tx - 4294967296 else r.tx end) from running r))::text::xid8
    from known k
$$;
comment on function jobsync.settled_tx() is 'All transactions of this database below this number have ended; a statement begun after the call sees what they wrote.';
