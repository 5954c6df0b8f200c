-- All tenants at once: an agency's brake, and the way on. As the owner of the tables.

create function jobsync.pause_all_tenants(p_reason text, p_actor text) returns integer
language sql volatile set search_path = jobsync, public as $$
  with stopped as (
    update tenants t set paused_at = jobsync.now(), pause_reason = p_reason, paused_with_all = true, updated_at = jobsync.now()
     where t.paused_at is null returning t.tenant_id
  ), written as (
    insert into audit (tenant_id, actor, action, subject, details)
    select s.tenant_id, p_actor, 'paused', 'tenant', jsonb_build_object('reason', p_reason, 'all', true) from stopped s
    returning 1
  )
  select count(*)::integer from written
$$;
comment on function jobsync.pause_all_tenants(text, text) is
  'Stops all sends of every tenant that is not paused yet; pulls go on. Answers how many. A tenant that was paused before keeps its own pause.';

create function jobsync.resume_all_tenants(p_actor text) returns integer
language sql volatile set search_path = jobsync, public as $$
  with freed as (
    update tenants t set paused_at = null, pause_reason = null, paused_with_all = false, updated_at = jobsync.now()
     where t.paused_with_all returning t.tenant_id
  ), written as (
    insert into audit (tenant_id, actor, action, subject, details)
    select f.tenant_id, p_actor, 'resumed', 'tenant', '{"all": true}' from freed f
    returning 1
  )
  select count(*)::integer from written
$$;
comment on function jobsync.resume_all_tenants(text) is
  'Ends what pause_all_tenants began: tenants that were paused one by one, and paused destinations, stay paused. Answers how many.';
