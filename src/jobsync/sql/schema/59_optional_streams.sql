-- Streams that jobs do not need: where the app has no scope for one, that stream rests and nothing else is disturbed.

create function jobsync.rest_refused_stream(p_tenant text, p_stream text) returns timestamptz
language sql volatile as $$
  update jobsync.cursors c set
         refused_at = coalesce(c.refused_at, jobsync.now()), failures = 0, updated_at = jobsync.now(),
         -- Unless jobs are read, it may not be this stream's scope that is missing: it is tried with the next pass.
         next_read_at = case when exists (select from jobsync.cursors j
                                           where j.tenant_id = p_tenant and j.stream = 'jobs' and j.failures = 0 and j.caught_up_at is not null)
                             then jobsync.now() + interval '1 day' else c.next_read_at end
   where c.tenant_id = p_tenant and c.stream = p_stream
  returning c.next_read_at
$$;
comment on function jobsync.rest_refused_stream(text, text) is
  'Notes that ServiceTitan refuses an optional stream and lets it rest for a day; its cursor stays. Answers when it is tried again.';
