-- Trying quarantined records again: after a deploy (new software may read what the old one could not) and on command. What
-- fits now is stored by the normal path; what does not stays, byte for byte.

create function jobsync.claim_quarantine_retries(p_version text) returns table (tenant_id text)
language sql volatile set search_path = jobsync, public as $$
  with told as (
    update tenants t set quarantine_tried_with = p_version where t.quarantine_tried_with is distinct from p_version returning t.tenant_id)
  select k.tenant_id from told k where exists (select from quarantine q where q.tenant_id = k.tenant_id and q.resolved_at is null)
$$;
comment on function jobsync.claim_quarantine_retries(text) is 'Tenants with open quarantined records that this version of the software did not try yet; each is answered once a version.';

create function jobsync.list_quarantined(p_tenant text, p_after bigint, p_limit integer) returns table (id bigint, stream text, raw bytea, times_seen integer)
language sql stable as $$
  select q.id, q.stream, q.raw, q.times_seen from jobsync.quarantine q
   where q.tenant_id = p_tenant and q.resolved_at is null and q.id > p_after and q.stream = (
     select f.stream from jobsync.quarantine f where f.tenant_id = p_tenant and f.resolved_at is null and f.id > p_after order by f.id limit 1)
   order by q.id limit p_limit
$$;
comment on function jobsync.list_quarantined(text, bigint, integer) is 'The next open quarantined records of one stream, by id.';

create function jobsync.close_retried(p_tenant text, p_ids bigint[], p_seen integer[]) returns integer
language sql volatile as $$
  with closed as (
    update jobsync.quarantine q set resolved_at = jobsync.now(), resolution = 'it fits now'
      from unnest(p_ids, p_seen) t(id, seen)
     where q.tenant_id = p_tenant and q.id = t.id and (q.times_seen = t.seen or q.resolved_at is not null)
    returning 1)
  select pg_catalog.count(*)::integer from closed
$$;
comment on function jobsync.close_retried(text, bigint[], integer[]) is
  'Closes quarantined records that were tried again and not refused again (then they would count one sight more). Answers how many.';
