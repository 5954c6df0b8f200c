-- What moves a cursor besides a stored page: a person who rewinds it, and a feed that is refused before its first page.

create function jobsync.begin_by_list(p_tenant text, p_stream text, p_revision bigint, p_since text) returns void
language sql volatile as $$
  update jobsync.cursors c set mode = 'list', token = null, since = p_since, updated_at = jobsync.now(),
         began_from = case when c.revision = 0 then p_since else c.began_from end,
         began_at_start = c.began_at_start and c.revision > 0
   where c.tenant_id = p_tenant and c.stream = p_stream and c.revision = p_revision and c.since is null
$$;
comment on function jobsync.begin_by_list(text, text, bigint, text) is
  'A stream that has no place to go on from is read by list from p_since on. A cursor that moved meanwhile, or has a place, is left alone.';

create function jobsync.stored_since(p_tenant text, p_stream text, p_from timestamptz) returns bigint
language plpgsql stable set search_path = jobsync, public as $$
declare
  v_count bigint;
begin
  -- The table is called like the stream; what is not a stream has no cursor, so that it never comes here.
  execute format('select count(*) from %s x where x.tenant_id = $1 and x.modified_on >= $2 %s',
    case p_stream when 'jobs' then 'public.jobs' when 'customers' then 'public.customers' when 'customer_contacts' then 'jobsync.contacts'
      when 'location_contacts' then 'jobsync.contacts' when 'sold_estimates' then 'jobsync.estimates' else format('jobsync.%I', p_stream) end,
    case p_stream when 'customer_contacts' then 'and x.owner_kind = ''customer''' when 'location_contacts' then 'and x.owner_kind = ''location''' else '' end)
  into v_count using p_tenant, p_from;
  return v_count;
end
$$;
comment on function jobsync.stored_since(text, text, timestamptz) is 'How many stored records of a stream were modified at or after a time.';

create function jobsync.rewind_cursor(p_tenant text, p_stream text, p_to text, p_apply boolean, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_cursor cursors;
  v_to timestamptz := try_timestamptz_text(p_to);
  v_at timestamptz;
  v_text text;
begin
  if v_to is null then
    raise exception '% is no time', left(p_to, 50) using errcode = 'JS001', hint = 'Write it as 2026-01-31 or 2026-01-31T08:00:00Z.';
  end if;
  select * into v_cursor from cursors c where c.tenant_id = p_tenant and c.stream = p_stream for update;
  if not found then
    raise exception 'no stream that was read is called %', left(p_stream, 50) using errcode = 'JS004',
      hint = coalesce('There are: ' || (select string_agg(c.stream, ', ' order by c.stream) from cursors c where c.tenant_id = p_tenant and c.since is not null) || '.',
                      'Nothing was read yet: jobsync pull');
  end if;
  v_at := try_timestamptz_text(v_cursor.since);
  if v_at is null then
    raise exception '% has no place in time: it is read whole each time, or nothing of it was read yet', p_stream using errcode = 'JS001';
  end if;
  if v_to >= v_at then
    raise exception '% was read up to %; a rewind only goes back', p_stream, v_cursor.since using errcode = 'JS001',
      hint = 'What is newer comes with the next pull by itself.';
  end if;
  v_text := to_char(v_to at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
  if p_apply then
    update cursors c set token = null, since = v_text, revision = c.revision + 1, updated_at = jobsync.now()
     where c.tenant_id = p_tenant and c.stream = p_stream;
    perform write_audit(p_tenant, p_actor, 'cursor_rewound', 'stream:' || p_stream,
      jsonb_build_object('from', v_cursor.since, 'to', v_text, 'had_token', v_cursor.token is not null));
  end if;
  return jsonb_build_object('stream', p_stream, 'mode', v_cursor.mode, 'from', v_cursor.since, 'to', v_text,
    'stored_since', stored_since(p_tenant, p_stream, v_to), 'moved', p_apply);
end
$$;
comment on function jobsync.rewind_cursor(text, text, text, boolean, text) is
  'Moves a cursor back to a time, with a line in the audit; p_apply false only says what would be read again. Stored rows stay, and unchanged content plans nothing.';
