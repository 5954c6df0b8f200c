-- Reconcile: what ServiceTitan shows, compared with what is stored, by ids and content. It finds what a pull should have
-- brought and did not: it must find nothing. One run is one row of sync_logs (sync_type reconcile).

create function jobsync.claim_due_reconciles(p_configured text[]) returns table (tenant_id text)
language sql volatile set search_path = jobsync, public as $$
  with taken as (
    update tenants t set next_reconcile_at = jobsync.now() + interval '1 day' * (1 + random() * 0.02)
      from (select d.tenant_id, d.next_reconcile_at from tenants d
             where (d.tenant_id = any (p_configured) or exists (select from connections c where c.tenant_id = d.tenant_id and c.kind = 'servicetitan' and c.state = 'ok'))
               and (d.next_reconcile_at is null or d.next_reconcile_at <= jobsync.now())
               and exists (select from cursors c where c.tenant_id = d.tenant_id and c.stream = 'jobs' and c.caught_up_at is not null)
             order by d.next_reconcile_at nulls first limit 1000 for no key update skip locked) due
     where t.tenant_id = due.tenant_id
    returning t.tenant_id, due.next_reconcile_at as was)
  select k.tenant_id from taken k where k.was is not null
$$;
comment on function jobsync.claim_due_reconciles(text[]) is
  'Takes the tenants whose daily comparison is due and books the next one. The first is due a day after the first pull.';

create function jobsync.open_reconcile(p_tenant text, p_trigger text, p_days integer, p_fix boolean) returns uuid
language sql volatile as $$
  insert into public.sync_logs (tenant_id, sync_type, entity_type, status, metadata)
  values (p_tenant, 'reconcile', 'job', 'running', jsonb_build_object('trigger', p_trigger, 'days', p_days, 'fix_missing', p_fix))
  returning id
$$;
comment on function jobsync.open_reconcile(text, text, integer, boolean) is 'Opens a reconcile run; answers its id.';

create function jobsync.close_reconcile(p_tenant text, p_run uuid, p_report jsonb, p_error text) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
begin
  update sync_logs l set
    metadata = l.metadata || coalesce(p_report, '{}'),
    records_processed = coalesce((p_report ->> 'compared')::integer, 0),
    records_succeeded = coalesce((p_report ->> 'equal')::integer, 0) + coalesce((p_report ->> 'fixed')::integer, 0),
    records_failed = coalesce((p_report ->> 'missing')::integer, 0) + coalesce((p_report ->> 'differing')::integer, 0) - coalesce((p_report ->> 'fixed')::integer, 0),
    status = case when p_error is null then 'completed' else 'failed' end, error_message = left(p_error, 1000), completed_at = v_now,
    duration_ms = least(2147483647, extract(epoch from v_now - l.started_at) * 1000)::integer
   where l.tenant_id = p_tenant and l.id = p_run and l.status = 'running';
  if p_error is not null then
    update tenants t set next_reconcile_at = least(t.next_reconcile_at, v_now + interval '1 hour') where t.tenant_id = p_tenant and t.next_reconcile_at is not null;
  end if;
end
$$;
comment on function jobsync.close_reconcile(text, uuid, jsonb, text) is 'Closes a reconcile run with its counts; one that failed is due again in an hour. Harmless when repeated.';

-- The facts by which two versions of a record are held against each other. What changes by itself and means nothing to a
-- CRM (a balance, external data) is not among them; nor what only one of list and feed shows.
create function jobsync.record_facts(p_stream text, p_record jsonb, p_shown jsonb) returns jsonb language sql immutable parallel safe as $$
  select coalesce(pg_catalog.jsonb_object_agg(k.name, coalesce(p_record -> k.name, 'null')), '{}')
    from pg_catalog.unnest(case p_stream
      when 'jobs' then array['jobNumber', 'customerId', 'locationId', 'businessUnitId', 'jobTypeId', 'jobStatus', 'priority', 'summary', 'createdOn',
        'completedOn', 'total', 'campaignId', 'tagTypeIds', 'appointmentCount', 'invoiceId', 'active']
      when 'customers' then array['name', 'type', 'address', 'active', 'mergedToId', 'doNotService', 'doNotMail']
      end) k(name)
   where p_shown ? k.name
$$;
comment on function jobsync.record_facts(text, jsonb, jsonb) is 'The facts of a record that count in a comparison, of those that p_shown has: {name: value}.';

create function jobsync.compare_page(p_tenant text, p_stream text, p_page jsonb) returns table (n bigint, id bigint, finding text)
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_began timestamptz;
  v_read_to timestamptz;
begin
  select try_timestamptz_text(c.began_from), c.caught_up_at - interval '10 minutes' into v_began, v_read_to
    from cursors c where c.tenant_id = p_tenant and c.stream = p_stream;
  return query execute format($compare$
    select e.n, e.id,
           case when e.id is null then 'unreadable'
                when s.st_raw_data is not null and (e.modified_on is null or s.modified_on is null or e.modified_on <= s.modified_on)
                 and (e.modified_on < s.modified_on or s.same_facts) then 'equal'
                when exists (select from jobsync.quarantine q where q.tenant_id = $1 and q.stream = $2 and q.record_id = e.id::text and q.resolved_at is null)
                then 'quarantined'
                when $5 is null or e.modified_on > $5 then 'not_read_yet'
                when s.st_raw_data is not null then 'differing'
                when e.modified_on < $4 then 'before_start'
                else 'missing' end
      from (select p.n, p.doc, try_bigint(p.doc -> 'id') as id, try_timestamptz(p.doc -> 'modifiedOn') as modified_on
              from jsonb_array_elements($3) with ordinality p(doc, n) offset 0) e
      left join lateral (
        select x.st_raw_data, x.modified_on,
               record_facts($2, e.doc, e.doc) = record_facts($2, x.st_raw_data, e.doc) as same_facts
          from %s x where x.tenant_id = $1 and x.%I = e.id offset 0) s on true
  $compare$, case p_stream when 'jobs' then 'public.jobs' when 'customers' then 'public.customers' end,
             case p_stream when 'jobs' then 'st_job_id' when 'customers' then 'st_customer_id' end)
  using p_tenant, p_stream, p_page, v_began, v_read_to;
end
$$;
comment on function jobsync.compare_page(text, text, jsonb) is
  'Each record of a page held against what is stored: equal (or newer here), missing, differing, quarantined, not_read_yet (newer than the last pull), before_start (older than the first one), unreadable.';

create function jobsync.list_unseen(p_tenant text, p_stream text, p_from timestamptz, p_until timestamptz, p_seen bigint[]) returns bigint[]
language sql stable as $$
  select coalesce(pg_catalog.array_agg(k.id order by k.id), '{}')
    from (select j.st_job_id as id from public.jobs j
           where p_stream = 'jobs' and j.tenant_id = p_tenant and j.modified_on >= p_from and j.modified_on < p_until and j.source = 'servicetitan' and j.active
          union all
          select c.st_customer_id from public.customers c
           where p_stream = 'customers' and c.tenant_id = p_tenant and c.modified_on >= p_from and c.modified_on < p_until and c.source = 'servicetitan' and c.active) k
   where not exists (select from pg_catalog.unnest(p_seen) s(id) where s.id = k.id)
$$;
comment on function jobsync.list_unseen(text, text, timestamptz, timestamptz, bigint[]) is
  'Stored records last modified in a window that ServiceTitan did not show there: changed meanwhile, or gone.';

create view jobsync.v_reconcile with (security_invoker = true) as
  select distinct on (l.tenant_id) l.tenant_id, l.id as run_id, l.started_at, l.completed_at, l.status, l.error_message,
         (l.metadata ->> 'days')::integer as days, coalesce((l.metadata ->> 'compared')::bigint, 0) as compared,
         coalesce((l.metadata ->> 'missing')::bigint, 0) as missing, coalesce((l.metadata ->> 'differing')::bigint, 0) as differing,
         coalesce((l.metadata ->> 'gone')::bigint, 0) as gone, coalesce((l.metadata ->> 'fixed')::bigint, 0) as fixed,
         coalesce((l.metadata ->> 'missing')::bigint, 0) + coalesce((l.metadata ->> 'differing')::bigint, 0) > 0 as is_alert,
         l.metadata -> 'streams' as streams
    from public.sync_logs l
   where l.sync_type = 'reconcile' and l.status in ('completed', 'failed')
   order by l.tenant_id, l.started_at desc;
comment on view jobsync.v_reconcile is
  'The last comparison of each tenant with ServiceTitan. is_alert: it found something missing or differing, mended or not; nothing should ever be found.';
