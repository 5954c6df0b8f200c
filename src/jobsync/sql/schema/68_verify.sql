-- Verifying: what GoHighLevel accepted is read back until it is found there. A 2xx of a hook only says "queued"; only a
-- card that carries the job's id proves that it landed.
--
--   accepted attempt -> verifications (waits for its check) -> found: row deleted, jobs.ghl_verified_at set
--                                      ^                   -> missing, unmarked: looked for again, ever more rarely
--                                      |___________________|-> deleted: the card that was there is gone (API)

create table jobsync.verifications (
  tenant_id text not null,
  st_job_id bigint not null,
  destination_id uuid not null,
  version integer not null,
  accepted_at timestamptz not null,
  check_at timestamptz,
  checks integer not null default 0,
  checked_at timestamptz,
  result text constraint result_is_known check (result in ('missing', 'unmarked', 'unknown')),
  primary key (tenant_id, st_job_id)
);
create index verifications_due on jobsync.verifications (tenant_id, check_at);
comment on table jobsync.verifications is 'Accepted deliveries that were not read back yet; a row is deleted when its job was found in GoHighLevel.';
comment on column jobsync.verifications.check_at is 'When it is looked for next; null: given up after seven looks. `jobsync verify` looks for those, too.';
comment on column jobsync.verifications.result is 'Null: not looked for yet. missing: nothing of it is in GoHighLevel. unmarked: the contact has a new card, which carries no st_job_id. unknown: GoHighLevel could not be asked.';

create table jobsync.verify_marks (
  tenant_id text primary key,
  attempt_id bigint not null
);
comment on table jobsync.verify_marks is 'Up to which attempt each tenant''s accepted deliveries were put into verifications.';

-- Attempts are gone through once, by their key. One that is still open holds the mark back for ten minutes.
create function jobsync.queue_verifications(p_tenant text, p_since timestamptz default null) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_from bigint;
  v_to bigint;
  v_read integer;
begin
  -- One after another: of two that queue at once, the second sees the first one's mark.
  perform pg_advisory_xact_lock(hashtextextended('jobsync verify ' || p_tenant, 0));
  select m.attempt_id into v_from from verify_marks m where m.tenant_id = p_tenant;
  if v_from is null or p_since is not null then
    -- The first time: what was accepted in the last day.
    v_from := coalesce((select a.id - 1 from attempts a where a.tenant_id = p_tenant and a.started_at >= coalesce(p_since, v_now - interval '1 day')
                         order by a.started_at, a.id limit 1), v_from, 0);
  end if;
  select coalesce(min(a.id) filter (where a.outcome is null and a.started_at > v_now - interval '10 minutes') - 1, max(a.id), v_from), count(*) into v_to, v_read
    from (select a.id, a.outcome, a.started_at from attempts a where a.tenant_id = p_tenant and a.id > v_from order by a.id limit 500) a;
  with accepted as (
    select distinct on (a.st_job_id) a.st_job_id, a.destination_id, a.version from attempts a
     where a.tenant_id = p_tenant and a.id > v_from and a.id <= v_to and a.outcome in ('accepted', 'accepted_without_id')
     order by a.st_job_id, a.id desc
  ), queued as (
    insert into verifications as v (tenant_id, st_job_id, destination_id, version, accepted_at, check_at)
    select p_tenant, a.st_job_id, a.destination_id, a.version, j.ghl_accepted_at,
           -- A workflow needs a moment, and what it made is not found at once.
           case d.kind when 'api' then v_now else greatest(v_now, j.ghl_accepted_at + interval '15 seconds') end
      from accepted a
      join jobs j on j.tenant_id = p_tenant and j.st_job_id = a.st_job_id
       and j.ghl_sync_status in ('synced', 'pending') and j.ghl_accepted_at is not null
       and (j.ghl_verified_at is null or j.ghl_verified_at < j.ghl_accepted_at)
      join destinations d on d.tenant_id = p_tenant and d.id = a.destination_id
     order by a.st_job_id
    on conflict (tenant_id, st_job_id) do update set
        destination_id = excluded.destination_id, version = excluded.version, accepted_at = excluded.accepted_at, check_at = excluded.check_at,
        checks = 0, result = null
      where v.accepted_at < excluded.accepted_at or p_since is not null
    returning 1
  ), marked as (
    insert into verify_marks as m (tenant_id, attempt_id) values (p_tenant, v_to)
    on conflict (tenant_id) do update set attempt_id = excluded.attempt_id
    returning 1
  )
  select case when v_to > v_from then v_read else 0 end into v_read from marked;
  return v_read;
end
$$;
comment on function jobsync.queue_verifications(text, timestamptz) is
  'Puts what was accepted since the last call (p_since: since then) and is not verified into verifications, 500 attempts a call. Answers how many attempts it went through: call it until that is 0. Harmless when repeated.';

create function jobsync.claim_verifications(p_tenant text, p_limit integer, p_unseen_since timestamptz) returns table (
  st_job_id bigint, version integer, accepted_at timestamptz, kind text, ghl_opportunity_id text, ghl_contact_id text, phone text, email text)
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
#variable_conflict use_column
begin
  return query
  -- Whoever claims has two minutes; then it is somebody else's turn.
  with due as (
    select v.st_job_id, v.version, v.accepted_at, v.destination_id from verifications v
     where v.tenant_id = p_tenant
       and case when p_unseen_since is null then v.check_at <= jobsync.now() else v.checked_at is null or v.checked_at < p_unseen_since end
     order by v.check_at nulls last, v.st_job_id limit p_limit for update skip locked
  ), taken as (
    update verifications v set check_at = jobsync.now() + interval '2 minutes', checked_at = jobsync.now(), checks = v.checks + 1
      from due d where v.tenant_id = p_tenant and v.st_job_id = d.st_job_id
  )
  select d.st_job_id, d.version, d.accepted_at, x.kind, p.ghl_opportunity_id, p.ghl_contact_id, p.phone, p.email
    from due d
    join destinations x on x.tenant_id = p_tenant and x.id = d.destination_id
    cross join lateral (select q.* from projections q where q.tenant_id = p_tenant and q.st_job_id = d.st_job_id offset 0) p;
end
$$;
comment on function jobsync.claim_verifications(text, integer, timestamptz) is
  'Takes accepted deliveries to be looked for now; p_unseen_since: all that were not looked for since then, whether due or given up.';

create function jobsync.verify_delay(p_checks integer) returns interval language sql immutable parallel safe as $$
  select (array[30, 60, 300, 1800, 7200, 43200])[p_checks] * interval '1 second'
$$;
comment on function jobsync.verify_delay(integer) is 'Wait before the next look after so many looks; null: none.';

create function jobsync.finish_verifications(p_tenant text, p_results jsonb) returns jsonb
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_report jsonb;
begin
  perform from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (array(select (r ->> 'st_job_id')::bigint from jsonb_array_elements(p_results) r))
    order by j.st_job_id for no key update;
  with results as materialized (
    select r.* from jsonb_to_recordset(p_results) as r (st_job_id bigint, version integer, result text, opportunity_id text, doubled boolean)
      -- Sent anew meanwhile: what was read back says nothing about that.
      join verifications v on v.tenant_id = p_tenant and v.st_job_id = r.st_job_id and v.version = r.version
  ), settled as (
    delete from verifications v using results r
     where v.tenant_id = p_tenant and v.st_job_id = r.st_job_id and r.result in ('verified', 'deleted', 'unprovable')
    returning 1
  ), kept as (
    update verifications v set result = r.result, checks = case r.result when 'unknown' then greatest(v.checks - 1, 0) else v.checks end,
           check_at = v_now + case r.result when 'unknown' then interval '5 minutes' else verify_delay(v.checks) end
      from results r where v.tenant_id = p_tenant and v.st_job_id = r.st_job_id and r.result not in ('verified', 'deleted', 'unprovable')
    returning 1
  ), found as (
    update jobs j set ghl_verified_at = v_now, ghl_opportunity_id = coalesce(r.opportunity_id, j.ghl_opportunity_id), updated_at = v_now,
           ghl_sync_flags = nullif(array(select distinct f from unnest(coalesce(j.ghl_sync_flags, '{}')
             || case when r.doubled then '{doubled_in_ghl}'::text[] else '{}' end) f where r.doubled or f <> 'doubled_in_ghl' order by f), '{}')
      from results r where j.tenant_id = p_tenant and j.st_job_id = r.st_job_id and r.result = 'verified'
    returning 1
  ), dropped as (
    delete from outbox o using results r
     where o.tenant_id = p_tenant and o.st_job_id = r.st_job_id and r.result = 'deleted' and (o.lease_until is null or o.lease_until <= v_now)
    returning 1
  ), deleted as (
    update jobs j set ghl_sync_status = 'skipped', ghl_sync_reason = 'deleted_in_ghl', updated_at = v_now,
           ghl_sync_error = 'Its card was deleted in GoHighLevel; it is not made again by itself.'
      from results r where j.tenant_id = p_tenant and j.st_job_id = r.st_job_id and r.result = 'deleted'
    returning j.st_job_id
  ), told as (
    select write_audit(p_tenant, 'jobsync', 'deleted_in_ghl', 'job:' || d.st_job_id, '{}') from deleted d
  )
  select jsonb_build_object('checked', count(*), 'verified', count(*) filter (where r.result = 'verified'),
           'missing', count(*) filter (where r.result = 'missing'), 'unmarked', count(*) filter (where r.result = 'unmarked'),
           'unprovable', count(*) filter (where r.result = 'unprovable'), 'deleted', count(*) filter (where r.result = 'deleted'), 'unknown', count(*) filter (where r.result = 'unknown'),
           'told', (select count(*) from told))
    into v_report from results r;
  return v_report - 'told';
end
$$;
comment on function jobsync.finish_verifications(text, jsonb) is
  'Books what was read back: verified (with the card''s id), missing, unmarked, unprovable (no phone, no e-mail: nothing to look for), deleted, unknown. A delivery sent anew meanwhile is left alone.';

create function jobsync.close_verification(p_tenant text, p_run uuid, p_report jsonb, p_error text) returns void
language sql volatile as $$
  update public.sync_logs l set
    metadata = l.metadata || coalesce(p_report, '{}'),
    records_processed = coalesce((p_report ->> 'checked')::integer, 0),
    records_succeeded = coalesce((p_report ->> 'verified')::integer, 0),
    records_failed = coalesce((p_report ->> 'missing')::integer, 0) + coalesce((p_report ->> 'unmarked')::integer, 0) + coalesce((p_report ->> 'deleted')::integer, 0),
    status = case when p_error is null then 'completed' else 'failed' end, error_message = pg_catalog.left(p_error, 1000), completed_at = jobsync.now(),
    duration_ms = least(2147483647, extract(epoch from jobsync.now() - l.started_at) * 1000)::integer
   where l.tenant_id = p_tenant and l.id = p_run and l.status = 'running'
$$;
comment on function jobsync.close_verification(text, uuid, jsonb, text) is 'Closes a reading back that was asked for with its counts. Harmless when repeated.';

create function jobsync.list_due_verifications(p_configured text[]) returns table (tenant_id text)
language sql stable set search_path = jobsync, public as $$
  select t.tenant_id from tenants t
   where (t.tenant_id = any (p_configured) or exists (select from connections c where c.tenant_id = t.tenant_id and c.kind = 'gohighlevel' and c.state = 'ok'))
     and (exists (select from verifications v where v.tenant_id = t.tenant_id and v.check_at <= jobsync.now())
          or coalesce((select a.id from attempts a where a.tenant_id = t.tenant_id order by a.id desc limit 1), 0)
             > coalesce((select m.attempt_id from verify_marks m where m.tenant_id = t.tenant_id), 0))
$$;
comment on function jobsync.list_due_verifications(text[]) is
  'Tenants with something to read back: GoHighLevel is connected (p_configured: by the environment) and a check is due or something was accepted since.';

create view jobsync.v_unverified with (security_invoker = true) as
  select v.tenant_id, v.destination_id, d.kind, d.masked as destination_masked, j.business_unit_id, u.name as business_unit_name, v.result,
         count(*) as jobs, min(v.accepted_at) as first_accepted_at, max(v.accepted_at) as last_accepted_at, min(v.st_job_id) as sample_st_job_id,
         case v.result
           when 'unmarked' then 'GoHighLevel made cards that carry no st_job_id: let the workflow write the field st_job_id, or nothing can be proven.'
           else 'GoHighLevel accepted them, and nothing of them is there: the workflow may be a draft, or its action fails.' end as why
    from jobsync.verifications v
    join public.jobs j on j.tenant_id = v.tenant_id and j.st_job_id = v.st_job_id
    join jobsync.tenants t on t.tenant_id = v.tenant_id
    left join public.business_units u on u.tenant_id = v.tenant_id and u.st_business_unit_id = j.business_unit_id
    left join jobsync.destinations d on d.tenant_id = v.tenant_id and d.id = v.destination_id
   where v.result in ('missing', 'unmarked') and v.accepted_at < jobsync.now() - t.verify_minutes * interval '1 minute'
   group by v.tenant_id, v.destination_id, d.kind, d.masked, j.business_unit_id, u.name, v.result;
comment on view jobsync.v_unverified is
  'Alert condition: deliveries that GoHighLevel accepted longer than tenants.verify_minutes ago and that were looked for there in vain, by unit and destination.';
