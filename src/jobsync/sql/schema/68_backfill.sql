-- Backfill: history of a tenant, stream by stream, from its first window to its last. Where it stands moves in the
-- transaction that stores the page, so that a killed backfill goes on exactly there. What it brings is held
-- (skipped: backfilled) until the live pull brings the same job or a person asks for delivery.

create table jobsync.backfills (
  tenant_id text not null default jobsync.current_tenant() references jobsync.tenants on delete cascade,
  run uuid not null,
  since text not null,
  until text not null,
  page_size integer not null,
  deliver boolean not null default false,
  state text not null default 'running' constraint backfill_state_is_known check (state in ('running', 'failed', 'completed', 'cancelled')),
  error text,
  error_code text,
  exit_code integer,
  hint text,
  delivered integer,
  opened_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, run)
);
create unique index one_unfinished_backfill on jobsync.backfills (tenant_id) where state in ('running', 'failed');
comment on table jobsync.backfills is 'Backfills: one a tenant at a time; `run` is its row of sync_logs. failed: stopped, to be resumed.';
comment on column jobsync.backfills.since is 'ISO time: records last modified at or after it (ServiceTitan''s clock) are read.';
comment on column jobsync.backfills.until is 'ISO time, exclusive: what is modified later comes by the live pull.';
comment on column jobsync.backfills.deliver is 'True when a person confirmed that the jobs of this time are to be delivered.';
comment on column jobsync.backfills.delivered is 'How many jobs were planned for delivery at its end; null: not asked for.';

create table jobsync.backfill_streams (
  tenant_id text not null default jobsync.current_tenant(),
  run uuid not null,
  stream text not null,
  place integer not null,
  position text not null,
  width_ticks bigint,
  total bigint,
  pulled bigint not null default 0,
  stored bigint not null default 0,
  unchanged bigint not null default 0,
  quarantined bigint not null default 0,
  pages integer not null default 0,
  requests integer not null default 0,
  revision bigint not null default 0,
  status text not null default 'waiting' constraint backfill_stream_status_is_known check (status in ('waiting', 'running', 'completed', 'not granted')),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, run, stream),
  foreign key (tenant_id, run) references jobsync.backfills on delete cascade
);
comment on table jobsync.backfill_streams is 'Where each stream of a backfill stands; written in the transaction that stores the page.';
comment on column jobsync.backfill_streams.position is 'ISO time: everything modified before it is stored. The next request begins here, inclusive.';
comment on column jobsync.backfill_streams.width_ticks is 'How wide the next window is (100 ns), where a list cannot be sorted; null: all that is left.';
comment on column jobsync.backfill_streams.total is 'Records that ServiceTitan counts in the whole time, as of the last page; null: not known yet.';
comment on column jobsync.backfill_streams.revision is 'Counts the moves: a page is stored only if the position still is the one that was read.';

create function jobsync.open_backfill(
  p_tenant text, p_streams text[], p_since text, p_until text, p_page_size integer, p_deliver boolean, p_actor text
) returns uuid language plpgsql set search_path = jobsync, public as $$
declare
  v_run uuid;
begin
  perform from tenants t where t.tenant_id = p_tenant for no key update;
  if exists (select from backfills b where b.tenant_id = p_tenant and b.state in ('running', 'failed')) then
    raise exception 'a backfill is unfinished' using errcode = 'JS002', hint = 'Go on with it: jobsync backfill --resume. Or drop it: jobsync backfill --cancel.';
  end if;
  insert into sync_logs (tenant_id, sync_type, entity_type, status, metadata)
  values (p_tenant, 'backfill', case when cardinality(p_streams) = 1 then p_streams[1] end, 'running',
          jsonb_build_object('trigger', p_actor, 'since', p_since, 'until', p_until, 'entities', to_jsonb(p_streams), 'deliver', p_deliver))
  returning id into v_run;
  insert into backfills (tenant_id, run, since, until, page_size, deliver) values (p_tenant, v_run, p_since, p_until, p_page_size, p_deliver);
  insert into backfill_streams (tenant_id, run, stream, place, position)
  select p_tenant, v_run, s.stream, s.place, p_since from unnest(p_streams) with ordinality s(stream, place);
  perform write_audit(p_tenant, p_actor, 'backfill_opened', 'run:' || v_run,
    jsonb_build_object('since', p_since, 'until', p_until, 'entities', to_jsonb(p_streams), 'deliver', p_deliver));
  return v_run;
end
$$;
comment on function jobsync.open_backfill(text, text[], text, text, integer, boolean, text) is
  'Opens a backfill over the streams, read in this order; answers its run. Refused while another one is unfinished.';

create function jobsync.resume_backfill(p_tenant text, p_run uuid) returns boolean
language plpgsql set search_path = jobsync, public as $$
begin
  update backfills b set state = 'running', error = null, error_code = null, exit_code = null, hint = null
   where b.tenant_id = p_tenant and b.run = p_run and b.state in ('running', 'failed');
  if not found then
    return false;
  end if;
  update sync_logs l set status = 'running', error_message = null, completed_at = null, duration_ms = null
   where l.tenant_id = p_tenant and l.id = p_run and l.status <> 'running';
  perform note_backfill_alive(p_tenant, p_run);
  return true;
end
$$;
comment on function jobsync.resume_backfill(text, uuid) is 'Lets an unfinished backfill go on where it stands. False when it is over.';

create function jobsync.note_backfill_alive(p_tenant text, p_run uuid) returns void
language sql volatile set search_path = jobsync, public as $$
  update sync_logs l set
      metadata = coalesce(l.metadata, '{}') || jsonb_build_object('alive_s', ceil(extract(epoch from jobsync.now() - l.started_at))),
      records_processed = s.pulled, records_succeeded = s.stored + s.unchanged, records_failed = s.quarantined,
      status = case when b.state = 'running' then 'running' else l.status end,
      error_message = case when b.state = 'running' then null else l.error_message end,
      completed_at = case when b.state = 'running' then null else l.completed_at end
    from backfills b,
         (select coalesce(sum(x.pulled), 0)::integer as pulled, coalesce(sum(x.stored), 0)::integer as stored,
                 coalesce(sum(x.unchanged), 0)::integer as unchanged, coalesce(sum(x.quarantined), 0)::integer as quarantined
            from backfill_streams x where x.tenant_id = p_tenant and x.run = p_run) s
   where l.tenant_id = p_tenant and l.id = p_run and b.tenant_id = p_tenant and b.run = p_run
$$;
comment on function jobsync.note_backfill_alive(text, uuid) is 'Writes the counts so far into the run''s row, and that somebody works on it: it is not closed as abandoned.';

create function jobsync.move_backfill(
  p_tenant text, p_run uuid, p_stream text, p_revision bigint, p_position text, p_width bigint, p_left bigint, p_done boolean, p_report jsonb,
  p_requests integer
) returns bigint language plpgsql set search_path = jobsync, public as $$
declare
  v_revision bigint;
begin
  perform from backfills b where b.tenant_id = p_tenant and b.run = p_run and b.state = 'running' for share;
  if not found then
    raise exception 'the backfill was cancelled or is over' using errcode = 'JS002';
  end if;
  update backfill_streams s set
      position = p_position, width_ticks = p_width, pulled = s.pulled + (p_report ->> 'pulled')::bigint, stored = s.stored + (p_report ->> 'stored')::bigint,
      unchanged = s.unchanged + (p_report ->> 'unchanged')::bigint, quarantined = s.quarantined + (p_report ->> 'quarantined')::bigint,
      total = case when p_done then s.pulled + (p_report ->> 'pulled')::bigint
                   when p_left is null then s.total else s.pulled + (p_report ->> 'pulled')::bigint + p_left end,
      pages = s.pages + ((p_report ->> 'pulled')::bigint > 0)::integer, requests = s.requests + p_requests, revision = s.revision + 1,
      status = case when p_done then 'completed' else 'running' end, updated_at = jobsync.now()
   where s.tenant_id = p_tenant and s.run = p_run and s.stream = p_stream and s.revision = p_revision and s.status in ('waiting', 'running')
  returning s.revision into v_revision;
  if v_revision is null then
    raise exception 'the backfill of % was moved by another worker', p_stream using errcode = 'JS002';
  end if;
  perform note_backfill_alive(p_tenant, p_run);
  return v_revision;
end
$$;
comment on function jobsync.move_backfill(text, uuid, text, bigint, text, bigint, bigint, boolean, jsonb, integer) is
  'Moves one stream of a backfill, only if it still stands where it was read. Called in the transaction that stored the page. Answers its revision.';

create function jobsync.skip_backfill_stream(p_tenant text, p_run uuid, p_stream text) returns void
language sql volatile as $$
  update jobsync.backfill_streams s set status = 'not granted', updated_at = jobsync.now()
   where s.tenant_id = p_tenant and s.run = p_run and s.stream = p_stream and s.status in ('waiting', 'running')
$$;
comment on function jobsync.skip_backfill_stream(text, uuid, text) is 'Leaves out a stream that jobs do not need and that ServiceTitan does not let this app read.';

create function jobsync.close_backfill(p_tenant text, p_run uuid, p_state text, p_error text, p_code text, p_exit_code integer, p_hint text) returns boolean
language plpgsql set search_path = jobsync, public as $$
declare
  v_deliver boolean;
  v_since text;
  v_until text;
begin
  -- In the order of everybody: jobs before what is of backfills.
  perform lock_stream(p_tenant, 'jobs');
  update backfills b set state = p_state, error = p_error, error_code = p_code, exit_code = p_exit_code, hint = p_hint
   where b.tenant_id = p_tenant and b.run = p_run and b.state in ('running', 'failed')
     and (p_state <> 'completed' or not exists (
       select from backfill_streams s where s.tenant_id = p_tenant and s.run = p_run and s.status in ('waiting', 'running')))
  returning b.deliver, b.since, b.until into v_deliver, v_since, v_until;
  if not found then
    return false;
  end if;
  perform note_backfill_alive(p_tenant, p_run);
  update sync_logs l set status = case p_state when 'completed' then 'completed' else 'failed' end,
         error_message = case p_state when 'cancelled' then 'cancelled' else left(p_error, 1000) end, completed_at = jobsync.now(),
         duration_ms = least(2147483647, extract(epoch from jobsync.now() - l.started_at) * 1000)::int,
         metadata = l.metadata || jsonb_build_object('streams', (
           select jsonb_object_agg(s.stream, jsonb_build_object('status', s.status, 'pulled', s.pulled, 'stored', s.stored, 'unchanged', s.unchanged,
             'quarantined', s.quarantined, 'pages', s.pages, 'requests', s.requests)) from backfill_streams s where s.tenant_id = p_tenant and s.run = p_run))
   where l.tenant_id = p_tenant and l.id = p_run;
  if p_state = 'completed' and v_deliver then
    perform deliver_backfilled(p_tenant, p_run, 'backfill');
  end if;
  return true;
end
$$;
comment on function jobsync.close_backfill(text, uuid, text, text, text, integer, text) is
  'Ends a backfill: completed (only when every stream is; then what was asked for is planned), failed (it can be resumed) or cancelled. False when it was over already.';

create function jobsync.read_backfill(p_tenant text, p_run uuid) returns jsonb
language sql stable set search_path = jobsync, public as $$
  select jsonb_build_object('run', b.run, 'state', b.state, 'since', b.since, 'until', b.until, 'page_size', b.page_size, 'deliver', b.deliver,
      'planned', b.delivered, 'opened_at', b.opened_at, 'completed_at', l.completed_at, 'error', b.error, 'code', b.error_code, 'exit_code', b.exit_code,
      'hint', b.hint, 'streams', (
        select jsonb_agg(jsonb_build_object('stream', s.stream, 'status', s.status, 'position', s.position, 'width_ticks', s.width_ticks, 'total', s.total,
                 'pulled', s.pulled, 'stored', s.stored, 'unchanged', s.unchanged, 'quarantined', s.quarantined, 'pages', s.pages,
                 'requests', s.requests, 'revision', s.revision) order by s.place)
          from backfill_streams s where s.tenant_id = b.tenant_id and s.run = b.run))
    from backfills b
    join sync_logs l on l.tenant_id = b.tenant_id and l.id = b.run
   where b.tenant_id = p_tenant and (p_run is null or b.run = p_run)
   -- Of several the unfinished one, else the newest.
   order by b.state in ('running', 'failed') desc, b.opened_at desc limit 1
$$;
comment on function jobsync.read_backfill(text, uuid) is 'A backfill (null: the unfinished one, else the newest) with its streams in order, or null.';

create function jobsync.list_running_backfills() returns table (tenant_id text, run uuid)
language sql stable as $$
  select b.tenant_id, b.run from jobsync.backfills b where b.state = 'running'
$$;
comment on function jobsync.list_running_backfills() is 'Backfills that somebody should be working on; read by the schedule as the owner.';
