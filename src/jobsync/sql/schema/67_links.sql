-- Links: which contact is a customer's and which card is a job's in GoHighLevel. Stored once, by API deliveries.
--
--   an intent is committed before a create leaves and goes when its outcome is known; one that stands means "it may have been
--   done": who finds it looks, waits until it has settled, looks again, and only then creates (reliability P2)
--   a link is what GoHighLevel itself answered or showed: never made up
--   a contact belongs to one customer; two that share one wait in contact_reviews for a person (reliability P18)

create table jobsync.contact_links (
  tenant_id text not null references jobsync.tenants on delete cascade,
  destination_id uuid not null,
  st_customer_id bigint not null,
  contact_id text not null,
  found_by text not null constraint contact_was_found check (found_by in ('created', 'search', 'duplicate', 'outside', 'merged')),
  shared boolean not null default false,
  told_hash bytea,
  told_job bigint,
  told_tags text[] not null default '{}',
  dropped text[] not null default '{}',
  linked_at timestamptz not null default jobsync.now(),
  told_at timestamptz,
  primary key (tenant_id, destination_id, st_customer_id)
);
create unique index contact_links_one_customer on jobsync.contact_links (tenant_id, destination_id, contact_id) where not shared;
comment on table jobsync.contact_links is 'The GoHighLevel contact of each customer, by location. A contact is one customer''s unless a person decided otherwise (shared).';
comment on column jobsync.contact_links.told_hash is 'contact_hash of what the contact was last told; null: only linked.';
comment on column jobsync.contact_links.told_job is 'The job whose facts were told: the customer''s first. Its other jobs, at other locations, do not turn the contact to and fro.';
comment on column jobsync.contact_links.dropped is 'Fields that GoHighLevel took without a word and did not keep, or that belong to another contact.';

create table jobsync.opportunity_links (
  tenant_id text not null references jobsync.tenants on delete cascade,
  destination_id uuid not null,
  st_job_id bigint not null,
  opportunity_id text not null,
  contact_id text,
  found_by text not null constraint card_was_found check (found_by in ('created', 'search', 'duplicate', 'outside')),
  told_hash bytea,
  pipeline_id text,
  stage_id text,
  status text,
  dropped text[] not null default '{}',
  note_wanted boolean not null default false,
  noted_at timestamptz,
  gone_at timestamptz,
  linked_at timestamptz not null default jobsync.now(),
  told_at timestamptz,
  primary key (tenant_id, destination_id, st_job_id)
);
-- Holds for all; see attempts_by_time.
create unique index opportunity_links_one_job on jobsync.opportunity_links (tenant_id, destination_id, opportunity_id) where opportunity_id is not null;
comment on table jobsync.opportunity_links is 'The GoHighLevel opportunity (card) of each job, by location.';
comment on column jobsync.opportunity_links.told_hash is 'Hash of the body that the card was last told; null: only linked.';
comment on column jobsync.opportunity_links.stage_id is 'Where JobSync last put the card, with pipeline_id and status; a card that stands elsewhere was moved by a person.';
comment on column jobsync.opportunity_links.gone_at is 'When GoHighLevel said that the card does not exist any more; it is made again only when a person asks.';

create table jobsync.intents (
  tenant_id text not null references jobsync.tenants on delete cascade,
  destination_id uuid not null,
  kind text not null constraint intent_kind_is_known check (kind in ('contact', 'opportunity')),
  st_id bigint not null,
  st_job_id bigint not null,
  fence bigint not null,
  contact_id text,
  started_at timestamptz not null default jobsync.now(),
  refused text,
  primary key (tenant_id, destination_id, kind, st_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table jobsync.intents is 'Creates that may be under way or done: written before the request, removed when its outcome is known. st_id: customer or job.';
comment on column jobsync.intents.refused is 'What GoHighLevel said when it refused; it is known to create and refuse all the same, so it is looked for.';

create table jobsync.contact_reviews (
  tenant_id text not null references jobsync.tenants on delete cascade,
  destination_id uuid not null,
  st_customer_id bigint not null,
  contact_id text not null,
  reason text not null constraint review_reason_is_known check (reason in ('shared', 'split')),
  other_customer_id bigint,
  other_contact_id text,
  st_job_id bigint not null,
  opened_at timestamptz not null default jobsync.now(),
  decision text constraint decision_is_known check (decision in ('share', 'skip')),
  decided_by text,
  decided_at timestamptz,
  primary key (tenant_id, destination_id, st_customer_id, contact_id)
);
comment on table jobsync.contact_reviews is 'Contacts that a person has to look at. shared: the contact found for a customer is another customer''s, its jobs wait. split: phone and email belong to two contacts, one of them was left out.';

create table jobsync.contact_changes (
  tenant_id text not null references jobsync.tenants on delete cascade,
  st_customer_id bigint not null,
  changed_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_customer_id)
);
comment on table jobsync.contact_changes is 'Customers of API routes whose facts changed and are not planned yet; emptied by plan_contact_changes.';

create table jobsync.location_facts (
  tenant_id text not null references jobsync.tenants on delete cascade,
  destination_id uuid not null,
  fields jsonb not null default '{}',
  allow_duplicate_opportunity boolean,
  read_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, destination_id)
);
comment on table jobsync.location_facts is 'What a sender must know of a location: custom field ids by key, and whether a contact may have several opportunities (null: not told). Read anew daily.';

create function jobsync.contact_hash(p_row jsonb) returns bytea language sql stable parallel safe as $$
  select pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.jsonb_build_array(p_row -> 'first_name', p_row -> 'last_name', p_row -> 'company_name', p_row -> 'phone',
    p_row -> 'email', p_row -> 'street', p_row -> 'city', p_row -> 'state', p_row -> 'postal_code', p_row -> 'country', p_row -> 'do_not_text')::text, 'UTF8'))
$$;
comment on function jobsync.contact_hash(jsonb) is 'Hash over the facts of a contact that GoHighLevel is told, of a row of jobsync.projections.';

create function jobsync.read_cards(p_tenant text, p_destination uuid, p_jobs bigint[], p_settle double precision)
returns table (st_job_id bigint, customer_id bigint, forced boolean, contact_hash bytea, contact_id text, linked_customer_id bigint, contact_due boolean, told_tags text[], outside_contact_id text,
               share_contact_id text, contact_settles double precision, contact_refused text,
               opportunity_id text, opportunity_gone boolean, told_hash bytea, told_pipeline text, told_stage text, told_status text, note_due boolean,
               outside_opportunity_id text, card_settles double precision, card_refused text,
               pipeline_id text, stage_id text, status text, value numeric, tags text[], custom_fields jsonb, delivered_outside boolean)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  v_now timestamptz := jobsync.now();
  -- A restored database does not know what was created after its backup: until a search would show it, all is as if its
  -- create was under way.
  v_unsettled double precision := (select extract(epoch from t.restored_at + make_interval(secs => p_settle) - v_now)
                                     from tenants t where t.tenant_id = p_tenant and t.restored_at > v_now - make_interval(secs => p_settle));
begin
  return query
    with wanted as materialized (select * from plan_opportunities(p_tenant, p_jobs))
    select j.st_job_id, k.customer_id, coalesce(o.forced, false), h.hash, l.contact_id, l.st_customer_id,
           l.contact_id is not null and not l.shared and coalesce(l.told_job = j.st_job_id, true) and (coalesce(o.forced, false) or l.told_hash is distinct from h.hash),
           coalesce(l.told_tags, '{}'), real_ghl_id(c.ghl_contact_id),
           (select r.contact_id from contact_reviews r where r.tenant_id = p_tenant and r.destination_id = p_destination and r.st_customer_id = k.customer_id
               and r.decision = 'share' limit 1),
           greatest(case when ci.st_id is not null then greatest(0, extract(epoch from ci.started_at + make_interval(secs => p_settle) - v_now))::double precision end, v_unsettled), ci.refused,
           case when q.gone_at is null then q.opportunity_id end, q.gone_at is not null, q.told_hash, q.pipeline_id, q.stage_id, q.status,
           coalesce(q.note_wanted and q.noted_at is null, false), case when q.opportunity_id is null then real_ghl_id(j.ghl_opportunity_id) end,
           greatest(case when oi.st_id is not null then greatest(0, extract(epoch from oi.started_at + make_interval(secs => p_settle) - v_now))::double precision end, v_unsettled), oi.refused,
           w.pipeline_id, w.stage_id, w.status, w.value, coalesce(w.tags, '{}'), coalesce(w.custom_fields, '{}'),
           coalesce(o.event = 'updated' and j.delivered_hash is not null and j.ghl_accepted_at is null, false)
      from unnest(p_jobs) i(id)
      cross join lateral (select x.* from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = i.id offset 0) j
      cross join lateral (select resolve_customer(p_tenant, j.st_customer_id) as customer_id offset 0) k
      left join lateral (select x.* from public.customers x where x.tenant_id = p_tenant and x.st_customer_id = k.customer_id offset 0) c on true
      cross join lateral (select contact_hash(to_jsonb(x)) as hash from projections x where x.tenant_id = p_tenant and x.st_job_id = j.st_job_id offset 0) h
      left join lateral (select x.* from outbox x where x.tenant_id = p_tenant and x.st_job_id = j.st_job_id offset 0) o on true
      -- After a merge the survivor goes on with the contact of the customer that the job still names, if it has none of its own.
      left join lateral (select x.* from contact_links x where x.tenant_id = p_tenant and x.destination_id = p_destination
                            and x.st_customer_id in (k.customer_id, j.st_customer_id) order by x.st_customer_id = k.customer_id desc limit 1) l on true
      left join lateral (select x.* from opportunity_links x where x.tenant_id = p_tenant and x.destination_id = p_destination and x.st_job_id = j.st_job_id offset 0) q on true
      left join lateral (select x.* from intents x where x.tenant_id = p_tenant and x.destination_id = p_destination and x.kind = 'contact' and x.st_id = k.customer_id offset 0) ci on true
      left join lateral (select x.* from intents x where x.tenant_id = p_tenant and x.destination_id = p_destination and x.kind = 'opportunity' and x.st_id = j.st_job_id offset 0) oi on true
      left join wanted w on w.st_job_id = j.st_job_id;
end
$$;
comment on function jobsync.read_cards(text, uuid, bigint[], double precision) is
  'What a sender must know about these jobs: links, what was told, open creates with the seconds until they have settled (p_settle after they began, or after a restore), and what the card should be.';

create function jobsync.open_intent(
  p_tenant text, p_destination uuid, p_kind text, p_id bigint, p_job bigint, p_fence bigint, p_contact text, p_settle double precision
) returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_intent intents;
begin
  perform from outbox o where o.tenant_id = p_tenant and o.st_job_id = p_job and o.fence = p_fence and o.lease_until > v_now for share;
  if not found then
    return '{"state": "stale"}';
  end if;
  insert into intents as i (tenant_id, destination_id, kind, st_id, st_job_id, fence, contact_id, started_at)
  values (p_tenant, p_destination, p_kind, p_id, p_job, p_fence, p_contact, v_now)
  on conflict (tenant_id, destination_id, kind, st_id) do update
    set st_job_id = excluded.st_job_id, fence = excluded.fence, contact_id = excluded.contact_id, started_at = excluded.started_at, refused = null
    where i.started_at <= v_now - make_interval(secs => p_settle)
  returning * into v_intent;
  if v_intent.st_id is not null then
    return '{"state": "open"}';
  end if;
  select * into v_intent from intents i where i.tenant_id = p_tenant and i.destination_id = p_destination and i.kind = p_kind and i.st_id = p_id;
  return jsonb_build_object('state', 'settling',
    'wait', greatest(1, extract(epoch from coalesce(v_intent.started_at, v_now) + make_interval(secs => p_settle) - v_now)));
end
$$;
comment on function jobsync.open_intent(text, uuid, text, bigint, bigint, bigint, text, double precision) is
  'Before a create: open (it may leave), settling (another create may still show up: wait), or stale (the claim is somebody else''s by now: do nothing).';

create function jobsync.note_intent(p_tenant text, p_destination uuid, p_kind text, p_id bigint, p_refused text) returns void
language sql volatile set search_path = jobsync, public as $$
  update intents i set started_at = greatest(i.started_at, jobsync.now()), refused = left(p_refused, 500)
   where i.tenant_id = p_tenant and i.destination_id = p_destination and i.kind = p_kind and i.st_id = p_id
$$;
comment on function jobsync.note_intent(text, uuid, text, bigint, text) is
  'After an answer that leaves open whether it was done: it settles from now on. p_refused: what was said when it was refused.';

create function jobsync.close_intent(p_tenant text, p_destination uuid, p_kind text, p_id bigint) returns void
language sql volatile set search_path = jobsync, public as $$
  delete from intents i where i.tenant_id = p_tenant and i.destination_id = p_destination and i.kind = p_kind and i.st_id = p_id
$$;
comment on function jobsync.close_intent(text, uuid, text, bigint) is 'The create is known not to have been done, or what it made was found.';

create function jobsync.link_contact(
  p_tenant text, p_destination uuid, p_customer bigint, p_contact text, p_found_by text, p_share boolean, p_job bigint, p_hash bytea, p_tags text[], p_dropped text[]
) returns bigint language plpgsql set search_path = jobsync, public as $$
declare
  v_other bigint;
begin
  select l.st_customer_id into v_other from contact_links l
   where l.tenant_id = p_tenant and l.destination_id = p_destination and l.contact_id = p_contact and l.st_customer_id <> p_customer and not l.shared
     for update;
  if v_other is not null and resolve_customer(p_tenant, v_other) = p_customer then
    delete from contact_links l where l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_customer_id = v_other;
  elsif v_other is not null and not p_share then
    return v_other;
  end if;
  insert into contact_links as l (tenant_id, destination_id, st_customer_id, contact_id, found_by, shared, told_hash, told_job, told_tags, dropped, told_at)
  values (p_tenant, p_destination, p_customer, p_contact, p_found_by, p_share, p_hash, case when p_hash is not null then p_job end, coalesce(p_tags, '{}'),
          coalesce(p_dropped, '{}'), case when p_hash is not null then jobsync.now() end)
  on conflict (tenant_id, destination_id, st_customer_id) do update set contact_id = excluded.contact_id, found_by = excluded.found_by, shared = excluded.shared,
    told_hash = excluded.told_hash, told_job = excluded.told_job, told_tags = excluded.told_tags, dropped = excluded.dropped, linked_at = jobsync.now(), told_at = excluded.told_at;
  perform close_intent(p_tenant, p_destination, 'contact', p_customer);
  update customers c set ghl_contact_id = p_contact, ghl_sync_status = 'synced', ghl_sync_error = null, ghl_synced_at = jobsync.now(),
         contact_hash = coalesce(p_hash, c.contact_hash), updated_at = jobsync.now()
   where c.tenant_id = p_tenant and c.st_customer_id = p_customer;
  return null;
exception when unique_violation then
  -- Two workers, one contact: the other was first.
  return (select l.st_customer_id from contact_links l where l.tenant_id = p_tenant and l.destination_id = p_destination and l.contact_id = p_contact and not l.shared);
end
$$;
comment on function jobsync.link_contact(text, uuid, bigint, text, text, boolean, bigint, bytea, text[], text[]) is
  'Links a customer with a contact that GoHighLevel showed or made, and closes the intent. Answers null, or the other customer whose contact it is: then nothing is written. p_hash: what it was told; null: nothing yet.';

create function jobsync.tell_contact(p_tenant text, p_destination uuid, p_customer bigint, p_job bigint, p_hash bytea, p_tags text[], p_dropped text[]) returns void
language sql volatile set search_path = jobsync, public as $$
  update contact_links l set told_hash = coalesce(p_hash, l.told_hash), told_job = case when p_hash is null then l.told_job else p_job end,
         told_tags = coalesce(p_tags, l.told_tags), dropped = coalesce(p_dropped, l.dropped), told_at = case when p_hash is null then l.told_at else jobsync.now() end
   where l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_customer_id = p_customer;
  update customers c set contact_hash = p_hash, ghl_synced_at = jobsync.now(), updated_at = jobsync.now()
   where p_hash is not null and c.tenant_id = p_tenant and c.st_customer_id = p_customer
$$;
comment on function jobsync.tell_contact(text, uuid, bigint, bigint, bytea, text[], text[]) is 'Notes what a contact was told (null parameters: unchanged).';

create function jobsync.lose_contact(p_tenant text, p_destination uuid, p_customer bigint, p_contact text) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  delete from contact_links l
   where l.tenant_id = p_tenant and l.destination_id = p_destination and l.contact_id = p_contact and (l.st_customer_id = p_customer or resolve_customer(p_tenant, l.st_customer_id) = p_customer);
  update customers c set ghl_contact_id = null, contact_hash = null, updated_at = jobsync.now()
   where c.tenant_id = p_tenant and c.st_customer_id = p_customer and c.ghl_contact_id = p_contact;
  perform write_audit(p_tenant, 'jobsync', 'contact_gone', 'customer:' || p_customer, jsonb_build_object('contact_id', p_contact));
end
$$;
comment on function jobsync.lose_contact(text, uuid, bigint, text) is 'GoHighLevel says the contact does not exist any more (deleted, or merged by hand): the link goes, the next look finds or makes another.';

create function jobsync.link_opportunity(
  p_tenant text, p_destination uuid, p_job bigint, p_opportunity text, p_contact text, p_found_by text, p_hash bytea, p_pipeline text, p_stage text, p_status text, p_dropped text[]
) returns boolean language plpgsql set search_path = jobsync, public as $$
begin
  update jobs j set ghl_opportunity_id = p_opportunity, updated_at = jobsync.now()
   where j.tenant_id = p_tenant and j.st_job_id = p_job and j.ghl_opportunity_id is distinct from p_opportunity;
  insert into opportunity_links as l (tenant_id, destination_id, st_job_id, opportunity_id, contact_id, found_by, told_hash, pipeline_id, stage_id, status, dropped,
    note_wanted, told_at)
  values (p_tenant, p_destination, p_job, p_opportunity, p_contact, p_found_by, p_hash, p_pipeline, p_stage, p_status, coalesce(p_dropped, '{}'), p_found_by = 'created',
          case when p_hash is not null then jobsync.now() end)
  on conflict (tenant_id, destination_id, st_job_id) do update set opportunity_id = excluded.opportunity_id, contact_id = excluded.contact_id,
    found_by = excluded.found_by, told_hash = excluded.told_hash, pipeline_id = excluded.pipeline_id, stage_id = excluded.stage_id, status = excluded.status,
    dropped = excluded.dropped, note_wanted = excluded.note_wanted, noted_at = null, gone_at = null, linked_at = jobsync.now(), told_at = excluded.told_at;
  perform close_intent(p_tenant, p_destination, 'opportunity', p_job);
  return true;
exception when unique_violation then
  -- The card is another job's. What was written above is undone with it.
  return false;
end
$$;
comment on function jobsync.link_opportunity(text, uuid, bigint, text, text, text, bytea, text, text, text, text[]) is
  'Links a job with a card that GoHighLevel showed or made, and closes the intent. False: the card is another job''s, nothing is written.';

create function jobsync.tell_opportunity(p_tenant text, p_destination uuid, p_job bigint, p_hash bytea, p_pipeline text, p_stage text, p_status text, p_dropped text[])
returns void language sql volatile set search_path = jobsync, public as $$
  update opportunity_links l set told_hash = p_hash, pipeline_id = coalesce(p_pipeline, l.pipeline_id), stage_id = coalesce(p_stage, l.stage_id),
         status = coalesce(p_status, l.status), dropped = coalesce(p_dropped, l.dropped), told_at = jobsync.now()
   where l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_job_id = p_job
$$;
comment on function jobsync.tell_opportunity(text, uuid, bigint, bytea, text, text, text, text[]) is 'Notes what a card was told; pipeline, stage and status where JobSync put it (null: left alone).';

create function jobsync.mark_noted(p_tenant text, p_destination uuid, p_job bigint) returns void
language sql volatile set search_path = jobsync, public as $$
  update opportunity_links l set noted_at = jobsync.now() where l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_job_id = p_job
$$;
comment on function jobsync.mark_noted(text, uuid, bigint) is 'The job''s note stands in GoHighLevel.';

create function jobsync.lose_opportunity(p_tenant text, p_destination uuid, p_job bigint) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  update jobs j set ghl_opportunity_id = null, updated_at = jobsync.now() where j.tenant_id = p_tenant and j.st_job_id = p_job;
  update opportunity_links l set gone_at = jobsync.now(), told_hash = null where l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_job_id = p_job;
  perform write_audit(p_tenant, 'jobsync', 'card_deleted_in_ghl', 'job:' || p_job, '{}');
end
$$;
comment on function jobsync.lose_opportunity(text, uuid, bigint) is 'GoHighLevel says the card does not exist any more: somebody deleted it. It is not made again by itself.';

create function jobsync.choose_place(p_tenant text, p_destination uuid, p_job bigint, p_seen_pipeline text, p_seen_stage text, p_seen_status text)
returns table (pipeline_id text, stage_id text, status text)
language sql stable set search_path = jobsync, public as $$
  select case when p.reason is null then p.pipeline_id end, case when p.reason is null then p.stage_id end, case when t.reason is null then t.status end
    from plan_cards(p_tenant, array[p_job]) w
    join opportunity_links l on l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_job_id = p_job
   cross join lateral choose_stage(p_tenant, w.pipeline_id, w.stage_id, w.backwards, l.pipeline_id, l.stage_id, p_seen_pipeline, p_seen_stage) p
   cross join lateral choose_status(w.status, l.status, p_seen_status) t
$$;
comment on function jobsync.choose_place(text, uuid, bigint, text, text, text) is
  'Where a card that was read just now may be put: null where it stays. A person''s move is not undone, a protected stage is not left, and within a pipeline it goes forward only.';

create function jobsync.review_contact(
  p_tenant text, p_destination uuid, p_customer bigint, p_contact text, p_reason text, p_other_customer bigint, p_other_contact text, p_job bigint
) returns void language plpgsql set search_path = jobsync, public as $$
begin
  insert into contact_reviews as r (tenant_id, destination_id, st_customer_id, contact_id, reason, other_customer_id, other_contact_id, st_job_id)
  values (p_tenant, p_destination, p_customer, p_contact, p_reason, p_other_customer, p_other_contact, p_job)
  on conflict (tenant_id, destination_id, st_customer_id, contact_id) do nothing;
  if found then
    perform write_audit(p_tenant, 'jobsync', 'contact_review_opened', 'customer:' || p_customer,
      jsonb_build_object('reason', p_reason, 'contact_id', p_contact, 'other_customer_id', p_other_customer, 'other_contact_id', p_other_contact));
  end if;
end
$$;
comment on function jobsync.review_contact(text, uuid, bigint, text, text, bigint, text, bigint) is 'Puts a customer''s contact into the review queue. Twice is once.';

create function jobsync.decide_review(p_tenant text, p_customer bigint, p_decision text, p_actor text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  update contact_reviews r set decision = p_decision, decided_by = p_actor, decided_at = jobsync.now()
   where r.tenant_id = p_tenant and r.st_customer_id = p_customer and r.reason = 'shared';
  if not found then
    raise exception 'customer % has no contact to decide about', p_customer using errcode = 'JS004';
  end if;
  perform write_audit(p_tenant, p_actor, 'contact_review_decided', 'customer:' || p_customer, jsonb_build_object('decision', p_decision));
  select array_agg(j.st_job_id) into v_jobs from jobs j
   where j.tenant_id = p_tenant and j.st_customer_id = p_customer and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason = 'shared_contact';
  if p_decision <> 'share' or v_jobs is null then
    return 0;
  end if;
  return plan_jobs(p_tenant, lock_jobs(p_tenant, v_jobs), null);
end
$$;
comment on function jobsync.decide_review(text, bigint, text, text) is
  'A person decides about a contact that two customers share: share (both use it; the waiting jobs are planned) or skip. Answers how many jobs were planned.';

create view jobsync.v_contact_reviews with (security_invoker = true) as
  select r.tenant_id, r.st_customer_id, nullif(concat_ws(' ', c.first_name, c.last_name), '') as customer_name, r.contact_id, r.reason, r.other_customer_id, r.other_contact_id,
         r.st_job_id, r.opened_at, r.decision, r.decided_by, r.decided_at
    from jobsync.contact_reviews r
    left join public.customers c on c.tenant_id = r.tenant_id and c.st_customer_id = r.st_customer_id;
comment on view jobsync.v_contact_reviews is 'Contacts that a person has to look at, and what was decided.';

-- Whose facts changed is only noted where it happens (in the transaction of a page); planned it is before the next drain.
create function jobsync.note_contact_changes() returns trigger language plpgsql set search_path = jobsync, public as $$
declare
  v_tenant text;
begin
  select n.tenant_id into v_tenant from changed n limit 1;
  if v_tenant is null or not exists (select from destinations d where d.tenant_id = v_tenant and d.kind = 'api') then
    return null;
  end if;
  insert into contact_changes as x (tenant_id, st_customer_id)
  select distinct n.tenant_id, n.st_customer_id from changed n
   where n.st_customer_id is not null
     -- By location, of which there are few: of the tenant alone, all its links would be read for each customer.
     and (exists (select from destinations d cross join lateral (
                    select from contact_links l where l.tenant_id = d.tenant_id and l.destination_id = d.id and l.st_customer_id = n.st_customer_id offset 0) x
                   where d.tenant_id = n.tenant_id and d.kind = 'api')
          or exists (select from jobs j where j.tenant_id = n.tenant_id and j.st_customer_id = n.st_customer_id and j.ghl_sync_status = 'skipped'
                        and j.ghl_sync_reason = 'no_contact'))
   order by 1, 2
  on conflict (tenant_id, st_customer_id) do nothing;
  return null;
end
$$;
comment on function jobsync.note_contact_changes() is 'Trigger: notes customers whose contact may have to be told something new, or whose jobs waited for a phone or email.';
-- Who is new may be whom an older job waited for.
create trigger note_new_contacts after insert on public.customers referencing new table as changed for each statement execute function jobsync.note_contact_changes();
create trigger note_new_contacts after insert on jobsync.locations referencing new table as changed for each statement execute function jobsync.note_contact_changes();
create trigger note_contact_changes after update on public.customers referencing new table as changed for each statement execute function jobsync.note_contact_changes();
create trigger note_contact_changes after update on jobsync.locations referencing new table as changed for each statement execute function jobsync.note_contact_changes();

create function jobsync.plan_contact_changes(p_tenant text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_tenant text;
  v_customers bigint[];
  v_jobs bigint[];
  v_waiting bigint[];
  v_planned integer := 0;
begin
  for v_tenant in select distinct x.tenant_id from contact_changes x where p_tenant is null or x.tenant_id = p_tenant order by 1 loop
    with taken as (
      delete from contact_changes x using (
        select y.st_customer_id from contact_changes y where y.tenant_id = v_tenant order by y.st_customer_id limit 1000 for update skip locked) z
       where x.tenant_id = v_tenant and x.st_customer_id = z.st_customer_id
      returning x.st_customer_id)
    select array_agg(t.st_customer_id) into v_customers from taken t;
    continue when v_customers is null;
    -- The job that told the contact last tells it again; jobs that never had a phone or email may have one now.
    select array_agg(l.told_job) into v_jobs from destinations d
      join contact_links l on l.tenant_id = v_tenant and l.destination_id = d.id and l.st_customer_id = any (v_customers)
      cross join lateral (select contact_hash(to_jsonb(x)) as hash from projections x where x.tenant_id = v_tenant and x.st_job_id = l.told_job offset 0) p
     where d.tenant_id = v_tenant and d.kind = 'api' and l.told_hash is distinct from p.hash;
    select array_agg(j.st_job_id) into v_waiting from jobs j
     where j.tenant_id = v_tenant and j.st_customer_id = any (v_customers) and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason = 'no_contact';
    continue when v_jobs is null and v_waiting is null;
    perform lock_jobs(v_tenant, v_jobs || v_waiting);
    if v_waiting is not null then
      v_planned := v_planned + plan_jobs(v_tenant, v_waiting, null);
    end if;
    with queued as (
      insert into outbox as o (tenant_id, st_job_id, st_customer_id, destination_id, version, event, planned_at, next_attempt_at)
      select v_tenant, j.st_job_id, j.st_customer_id, r.destination_id, j.ghl_version + 1, 'contact', v_now, v_now
        from jobs j
        join routes r on r.tenant_id = v_tenant and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
        join destinations d on d.tenant_id = v_tenant and d.id = r.destination_id and d.kind = 'api'
        join business_units u on u.tenant_id = v_tenant and u.st_business_unit_id = j.business_unit_id
       where j.tenant_id = v_tenant and j.st_job_id = any (v_jobs) and j.ghl_sync_status = 'synced'
         and u.sync_enabled is distinct from false and u.sync_to_ghl is distinct from false
       order by j.st_job_id
      on conflict (tenant_id, st_job_id) do nothing
      returning o.st_job_id
    ), marked as (
      update jobs j set ghl_sync_status = 'pending', ghl_sync_reason = 'contact', updated_at = v_now
        from queued q where j.tenant_id = v_tenant and j.st_job_id = q.st_job_id returning 1)
    select v_planned + count(*) into v_planned from marked;
  end loop;
  return v_planned;
end
$$;
comment on function jobsync.plan_contact_changes(text) is
  'Plans what changed facts of customers and locations ask for: the contact once, by the job that told it last; never a webhook. Null: all tenants. Answers how many outbox rows were added.';
