-- What the upstreams' answers say of themselves: the day's quota of GoHighLevel, and what their clocks show. Two alert
-- conditions stand on it (86_alerts.sql); nothing is decided by it otherwise.

create table jobsync.upstream_facts (
  tenant_id text not null references jobsync.tenants on delete cascade,
  upstream text not null constraint upstream_is_known check (upstream in ('servicetitan', 'gohighlevel')),
  daily_limit bigint,
  daily_remaining bigint,
  quota_at timestamptz,
  clock_ahead_s double precision,
  noted_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, upstream)
);
comment on table jobsync.upstream_facts is 'What the newest answers of an upstream said of its daily quota and its clock.';
comment on column jobsync.upstream_facts.daily_remaining is 'Requests that were left of the day''s quota at quota_at; null: the answers do not say (ServiceTitan''s never do).';
comment on column jobsync.upstream_facts.clock_ahead_s is 'Seconds by which PostgreSQL''s clock is ahead of the upstream''s Date header; below zero: behind.';

create function jobsync.note_upstream(p_tenant text, p_upstream text, p_clock timestamptz, p_limit bigint, p_remaining bigint) returns void
language sql volatile as $$
  insert into jobsync.upstream_facts as f (tenant_id, upstream, daily_limit, daily_remaining, quota_at, clock_ahead_s, noted_at)
  values (p_tenant, p_upstream, p_limit, p_remaining, case when p_remaining is not null then jobsync.now() end,
          extract(epoch from jobsync.now() - p_clock)::double precision, jobsync.now())
  on conflict (tenant_id, upstream) do update set
      daily_limit = coalesce(excluded.daily_limit, f.daily_limit), daily_remaining = coalesce(excluded.daily_remaining, f.daily_remaining),
      quota_at = coalesce(excluded.quota_at, f.quota_at), clock_ahead_s = coalesce(excluded.clock_ahead_s, f.clock_ahead_s), noted_at = excluded.noted_at
    -- Much the same a moment later is not worth a write.
    where f.noted_at < excluded.noted_at - interval '1 minute'
       or (f.daily_remaining * 5 <= f.daily_limit) is distinct from (excluded.daily_remaining * 5 <= excluded.daily_limit)
       or (f.daily_remaining = 0) is distinct from (excluded.daily_remaining = 0)
       or (abs(f.clock_ahead_s) > 60) is distinct from (abs(excluded.clock_ahead_s) > 60)
$$;
comment on function jobsync.note_upstream(text, text, timestamptz, bigint, bigint) is
  'Notes what an answer said: the upstream''s clock, and what is left of the day''s quota (nulls: it did not say). Written when it matters, else once a minute.';
