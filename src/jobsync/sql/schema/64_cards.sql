-- Cards: what GoHighLevel should show for a job, where a card may be moved, and when it has to be told again.
--
--   own_cards (63) -> plan_cards: with what the install job of a sold estimate adds -> card_plans: what was planned and told
--   choose_stage, choose_status: a person's move is not undone
--   rules or routes edited -> rebaseline_cards: nothing is sent by that; list_rebaselined shows it, send_rebaselined sends it

create table jobsync.card_plans (
  tenant_id text not null references jobsync.tenants on delete cascade,
  st_job_id bigint not null,
  card jsonb not null,
  told jsonb,
  base jsonb,
  sent jsonb,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_job_id)
) with (fillfactor = 70);
comment on table jobsync.card_plans is 'API routes: the card of each job as the rules want it, and as GoHighLevel was last told. Written when a job is claimed; webhook routes have no rows.';
comment on column jobsync.card_plans.base is 'What a change is measured against, where that is not what was told: after an edit of rules or routes nothing is sent by itself.';
comment on column jobsync.card_plans.sent is 'What is under way; becomes told when it is accepted.';

create table jobsync.install_links (
  tenant_id text not null references jobsync.tenants on delete cascade,
  st_job_id bigint not null,
  estimate_id bigint,
  project_id bigint,
  sales_job_id bigint,
  linked_by text constraint link_is_known check (linked_by in ('estimate', 'project', 'ambiguous', 'own_card')),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_job_id)
);
create index install_links_by_sale on jobsync.install_links (tenant_id, sales_job_id) where sales_job_id is not null;
create index install_links_by_estimate on jobsync.install_links (tenant_id, estimate_id) where estimate_id is not null;
create index install_links_by_project on jobsync.install_links (tenant_id, project_id) where project_id is not null;
create index estimates_by_project on jobsync.estimates (tenant_id, st_project_id) where st_project_id is not null;
comment on table jobsync.install_links is 'Jobs of units whose route says card: sales, with the sales job whose card goes on with them. Linked by the estimate they were made from, else by the project; never by the customer.';
comment on column jobsync.install_links.linked_by is 'estimate, project; ambiguous: several sold jobs in the project; own_card: it had a card already; null: no sold estimate known yet.';

create function jobsync.has_card_to_continue(p_tenant text, p_job bigint, p_destination uuid) returns boolean
language sql stable set search_path = jobsync, public as $$
  select exists (
    select from public.jobs j join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
     where j.tenant_id = p_tenant and j.st_job_id = p_job and r.deliverer = 'jobsync' and r.card = 'own' and r.destination_id = p_destination
       and j.ghl_sync_status <> 'skipped')
$$;
comment on function jobsync.has_card_to_continue(text, bigint, uuid) is 'True when JobSync keeps a card of its own for this job in the same location.';

create function jobsync.find_sales_jobs(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, estimate_id bigint, project_id bigint, sales_job_id bigint, linked_by text)
language sql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  select j.st_job_id, k.estimate_id, k.project_id, case when f.own then null else coalesce(e.st_job_id, case when p.sales = 1 then p.st_job_id end) end,
         case when f.own then 'own_card' when e.st_job_id is not null then 'estimate' when p.sales = 1 then 'project' when p.sales > 1 then 'ambiguous' end
    from unnest(p_jobs) i(id)
   cross join lateral (select x.* from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = i.id offset 0) j
    join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id and r.card = 'sales' and r.deliverer = 'jobsync'
   cross join lateral (select nullif(try_bigint(j.st_raw_data -> 'createdFromEstimateId'), 0) as estimate_id,
                              nullif(try_bigint(j.st_raw_data -> 'projectId'), 0) as project_id) k
   cross join lateral (select j.delivered_hash is not null or j.ghl_opportunity_id is not null as own) f
    left join lateral (
      select q.st_job_id from estimates q
       where q.tenant_id = p_tenant and q.st_estimate_id = k.estimate_id and q.active and q.st_job_id <> j.st_job_id
         and has_card_to_continue(p_tenant, q.st_job_id, r.destination_id) offset 0) e on true
    left join lateral (
      select count(distinct q.st_job_id) as sales, min(q.st_job_id) as st_job_id from estimates q
       where k.estimate_id is null and q.tenant_id = p_tenant and q.st_project_id = k.project_id and q.active and q.st_job_id <> j.st_job_id
         and (q.sold_on is not null or lower(q.status) = 'sold') and has_card_to_continue(p_tenant, q.st_job_id, r.destination_id)) p on true
$$;
comment on function jobsync.find_sales_jobs(text, bigint[]) is
  'For jobs of units with card: sales, the job whose card goes on with them: the one of the estimate they were made from, else the only one of their project with a sold estimate.';

create function jobsync.links_installs(p_tenant text) returns boolean language sql stable set search_path = jobsync, public as $$
  -- What is linked stays so, also where the route gives later jobs cards of their own.
  select exists (select from routes r where r.tenant_id = p_tenant and r.card = 'sales') or exists (select from install_links l where l.tenant_id = p_tenant)
$$;
comment on function jobsync.links_installs(text) is 'True for a tenant some of whose install jobs go on with the card of their sales job.';

create function jobsync.link_installs(p_tenant text, p_jobs bigint[]) returns bigint[]
language plpgsql set search_path = jobsync, public as $$
declare
  v_sales bigint[];
begin
  if not links_installs(p_tenant) then
    return '{}';
  end if;
  insert into install_links as l (tenant_id, st_job_id, estimate_id, project_id, sales_job_id, linked_by)
  select p_tenant, f.st_job_id, f.estimate_id, f.project_id, f.sales_job_id, f.linked_by from find_sales_jobs(p_tenant, p_jobs) f order by f.st_job_id
  on conflict (tenant_id, st_job_id) do update set estimate_id = excluded.estimate_id, project_id = excluded.project_id,
    sales_job_id = excluded.sales_job_id, linked_by = excluded.linked_by, updated_at = jobsync.now()
   where (l.estimate_id, l.project_id, l.sales_job_id, l.linked_by) is distinct from (excluded.estimate_id, excluded.project_id, excluded.sales_job_id, excluded.linked_by);
  select array_agg(distinct l.sales_job_id) into v_sales from install_links l
   where l.tenant_id = p_tenant and l.st_job_id = any (p_jobs) and l.sales_job_id is not null;
  return coalesce(v_sales, '{}');
end
$$;
comment on function jobsync.link_installs(text, bigint[]) is 'Links install jobs with the sales jobs whose cards they continue; answers these sales jobs. Twice writes nothing.';

create function jobsync.plan_cards(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, pipeline_id text, stage_id text, status text, value numeric, tags text[], custom_fields jsonb, backwards boolean,
               stage_rule text, status_rule text, rules text[], problem text, continued_by bigint)
language plpgsql stable set search_path = jobsync, public as $$
#variable_conflict use_column
declare
  v_installs bigint[] := array(
    select distinct on (l.sales_job_id) l.st_job_id from install_links l
     where l.tenant_id = p_tenant and l.sales_job_id = any (p_jobs) order by l.sales_job_id, l.st_job_id desc);
begin
  if v_installs = '{}' then
    return query select c.*, null::bigint from own_cards(p_tenant, p_jobs) c order by c.st_job_id;
    return;
  end if;
  -- The newest install job says where the card is; what the sales job alone knows stays (tags, fields, its value).
  return query
    with own as materialized (
      select c.* from own_cards(p_tenant, array(select distinct x from unnest(p_jobs || v_installs) x)) c
    )
    select s.st_job_id, coalesce(i.pipeline_id, s.pipeline_id), case when i.pipeline_id is not null then i.stage_id else s.stage_id end,
           coalesce(i.status, s.status), coalesce(nullif(i.value, 0), s.value),
           case when i.st_job_id is null then s.tags else array(select distinct x from unnest(s.tags || i.tags) x order by x) end,
           s.custom_fields || coalesce(i.custom_fields, '{}'), case when i.pipeline_id is not null then i.backwards else s.backwards end,
           case when i.pipeline_id is not null then i.stage_rule else s.stage_rule end, coalesce(i.status_rule, s.status_rule),
           s.rules || coalesce(i.rules, '{}'), case when i.pipeline_id is not null then null else s.problem end, i.st_job_id
      from own s
      left join install_links l on l.tenant_id = p_tenant and l.sales_job_id = s.st_job_id and l.st_job_id = any (v_installs)
      left join own i on i.st_job_id = l.st_job_id
     where s.st_job_id = any (p_jobs)
     order by s.st_job_id;
end
$$;
comment on function jobsync.plan_cards(text, bigint[]) is
  'What the card of each job should be, which rules decided, what is in the way (problem), and the install job that goes on with it (continued_by).';

create function jobsync.plan_opportunities(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, pipeline_id text, stage_id text, status text, value numeric, tags text[], custom_fields jsonb)
language sql stable set search_path = jobsync, public as $$
  select c.st_job_id, c.pipeline_id, c.stage_id, c.status, c.value, c.tags, c.custom_fields from plan_cards(p_tenant, p_jobs) c order by c.st_job_id
$$;
comment on function jobsync.plan_opportunities(text, bigint[]) is
  'What the card of each job should be: pipeline and stage by id, status (open, won, lost), value, tags to add, custom field id -> value. pipeline_id null: no pipeline is named, or it is gone (plan_cards says which).';

create function jobsync.card_document(p_card jsonb) returns jsonb language sql immutable parallel safe as $$
  select p_card - '{st_job_id,backwards,stage_rule,status_rule,rules,problem,continued_by}'::text[]
$$;
comment on function jobsync.card_document(jsonb) is 'The part of a planned card that GoHighLevel is told: equal documents need no second telling.';

-- Where a card may be moved. written: where JobSync last put it; seen: where it was last read; either may be unknown.
create function jobsync.choose_stage(
  p_tenant text, p_wanted_pipeline text, p_wanted_stage text, p_backwards boolean, p_written_pipeline text, p_written_stage text,
  p_seen_pipeline text, p_seen_stage text
) returns table (pipeline_id text, stage_id text, reason text)
language sql stable set search_path = jobsync, public as $$
  select case when d.reason is null then p_wanted_pipeline else d.pipeline end, case when d.reason is null then p_wanted_stage else d.stage end, d.reason
    from (
      select a.pipeline, a.stage, case
          when a.stage is null then null
          when (a.pipeline, a.stage) = (p_wanted_pipeline, p_wanted_stage) then 'there'
          when p_wanted_stage is null then 'no_target'
          when o.protected then 'protected_stage'
          -- A person moved it: only news (another wish than what was last written) that leads further on moves it again.
          when a.by_hand and (p_wanted_pipeline, p_wanted_stage) is not distinct from (p_written_pipeline, p_written_stage) then 'moved_by_hand'
          when a.by_hand and a.pipeline is distinct from p_written_pipeline and a.pipeline is distinct from p_wanted_pipeline then 'moved_by_hand'
          when a.by_hand and a.pipeline = p_wanted_pipeline and w.position <= o.position then 'moved_by_hand'
          when a.pipeline = p_wanted_pipeline and w.position < o.position and not coalesce(p_backwards, false) then 'forward_only'
        end as reason
        from (select coalesce(p_seen_pipeline, p_written_pipeline) as pipeline, coalesce(p_seen_stage, p_written_stage) as stage,
                     p_seen_stage is not null and p_written_stage is not null
                       and (p_seen_pipeline, p_seen_stage) is distinct from (p_written_pipeline, p_written_stage) as by_hand) a
        left join pipeline_stages o on o.tenant_id = p_tenant and o.pipeline_id = a.pipeline and o.stage_id = a.stage
        left join pipeline_stages w on w.tenant_id = p_tenant and w.pipeline_id = p_wanted_pipeline and w.stage_id = p_wanted_stage) d
$$;
comment on function jobsync.choose_stage(text, text, text, boolean, text, text, text, text) is
  'The pipeline and stage to write for a card. reason null: move it (or create it there); else it stays where it is, and why: there, protected_stage, moved_by_hand, forward_only, no_target.';

create function jobsync.choose_status(p_wanted text, p_written text, p_seen text) returns table (status text, reason text)
language sql immutable parallel safe as $$
  select case when d.reason is null then p_wanted else p_seen end, d.reason
    from (select case when p_seen is null or p_written is null or p_seen = p_written then null
                      when p_seen = p_wanted then 'there'
                      when p_wanted = p_written or p_wanted = 'open' then 'set_by_hand' end as reason) d
$$;
comment on function jobsync.choose_status(text, text, text) is
  'The status to write for a card. What a person closed is not opened again, and only news (won, lost) overwrites what a person set.';

create function jobsync.note_cards(p_tenant text, p_jobs bigint[]) returns void
language sql volatile set search_path = jobsync, public as $$
  insert into card_plans as c (tenant_id, st_job_id, card, sent)
  select p_tenant, d.st_job_id, d.document, d.document
    from (select p.st_job_id, card_document(to_jsonb(p)) as document from plan_cards(p_tenant, p_jobs) p) d order by d.st_job_id
  on conflict (tenant_id, st_job_id) do update set card = excluded.card, sent = excluded.sent, updated_at = jobsync.now()
$$;
comment on function jobsync.note_cards(text, bigint[]) is 'When jobs of an API route are claimed: what they are about to be told. Called by claim_deliveries.';

create function jobsync.tell_cards(p_tenant text, p_jobs bigint[]) returns void
language sql volatile set search_path = jobsync, public as $$
  update card_plans c set told = c.sent, base = null, sent = null, updated_at = jobsync.now()
    from (select x.st_job_id from card_plans x where x.tenant_id = p_tenant and x.st_job_id = any (p_jobs) and x.sent is not null
           order by x.st_job_id for no key update) l
   where c.tenant_id = p_tenant and c.st_job_id = any (p_jobs) and c.st_job_id = l.st_job_id
$$;
comment on function jobsync.tell_cards(text, bigint[]) is 'After a send was accepted: what was under way has been told. Called by finish_deliveries.';

create function jobsync.card_differs(p_tenant text, p_job bigint) returns boolean
language sql stable set search_path = jobsync, public as $$
  select coalesce((select c.card is distinct from coalesce(c.base, c.told) from card_plans c where c.tenant_id = p_tenant and c.st_job_id = p_job), false)
$$;
comment on function jobsync.card_differs(text, bigint) is 'True when the rules say something else about a job''s card than what it was told (or measured against) last.';

create function jobsync.replan_cards(p_tenant text, p_jobs bigint[]) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  -- A unit that went to a pipeline once and goes to a webhook today is not planned by visits.
  v_jobs bigint[] := array(
    select c.st_job_id from card_plans c
      join public.jobs j on j.tenant_id = p_tenant and j.st_job_id = c.st_job_id
      join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
      join destinations d on d.tenant_id = p_tenant and d.id = r.destination_id and d.kind = 'api'
     where c.tenant_id = p_tenant and c.st_job_id = any (p_jobs) order by c.st_job_id);
begin
  if v_jobs = '{}' then
    return 0;
  end if;
  perform lock_jobs(p_tenant, v_jobs);
  with moved as (
    update card_plans c set card = d.document, updated_at = jobsync.now()
      from (select p.st_job_id, card_document(to_jsonb(p)) as document from plan_cards(p_tenant, v_jobs) p) d
     where c.tenant_id = p_tenant and c.st_job_id = d.st_job_id and c.card is distinct from d.document
    returning c.st_job_id
  )
  select array_agg(m.st_job_id order by m.st_job_id) into v_jobs from moved m;
  if v_jobs is null then
    return 0;
  end if;
  return plan_jobs(p_tenant, v_jobs, array_fill(true, array[cardinality(v_jobs)]));
end
$$;
comment on function jobsync.replan_cards(text, bigint[]) is
  'After something around these jobs changed (visits, estimates, invoices): plans those whose card the rules now want otherwise. Answers how many outbox rows were added.';

-- Called with what a page of an activity stream wrote. Most tenants' pages end at the first question.
create function jobsync.plan_activity(p_tenant text, p_stream text, p_sifted jobsync.sifted[]) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
  v_installs bigint[];
begin
  if p_stream not in ('appointments', 'estimates', 'invoices', 'technician_assignments')
     or not exists (select from destinations d where d.tenant_id = p_tenant and d.kind = 'api') then
    return 0;
  end if;
  select array_agg(distinct x.id) into v_jobs
    from (select (s.fields ->> 'jobId')::bigint as id from unnest(p_sifted) s where s.reason is null
          union all
          select j.st_job_id from unnest(p_sifted) s join public.jobs j on j.tenant_id = p_tenant and j.invoice_id = s.id and j.invoice_id > 0
           where p_stream = 'invoices' and s.reason is null and s.fields ->> 'jobId' is null) x where x.id > 0;
  if p_stream = 'estimates' and exists (select from install_links l where l.tenant_id = p_tenant) then
    select array_agg(distinct l.st_job_id) into v_installs
      from unnest(p_sifted) s
      join install_links l on l.tenant_id = p_tenant and (l.estimate_id = s.id or l.project_id = (s.fields ->> 'projectId')::bigint)
     where s.reason is null and l.linked_by is distinct from 'own_card';
    if v_installs is not null then
      perform plan_jobs(p_tenant, lock_jobs(p_tenant, v_installs), null);
    end if;
  end if;
  if v_jobs is null then
    return 0;
  end if;
  return replan_cards(p_tenant, v_jobs || array(select l.sales_job_id from install_links l
                                                 where l.tenant_id = p_tenant and l.st_job_id = any (v_jobs) and l.sales_job_id is not null));
end
$$;
comment on function jobsync.plan_activity(text, text, jobsync.sifted[]) is
  'Plans the jobs of API routes whose rules say something new because of this page. Webhook routes are never planned by it.';

create function jobsync.rebaseline_cards(p_tenant text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_after bigint := 0;
  v_jobs bigint[];
begin
  perform lock_stream(p_tenant, 'jobs');
  loop
    v_jobs := array(select c.st_job_id from card_plans c where c.tenant_id = p_tenant and c.st_job_id > v_after order by c.st_job_id limit 1000);
    exit when v_jobs = '{}';
    v_after := v_jobs[cardinality(v_jobs)];
    update card_plans c set card = d.document, updated_at = jobsync.now(),
           -- What waited to be told still does; for all others the new wish is the one that changes are measured against.
           base = case when c.card is distinct from coalesce(c.base, c.told) then c.base else nullif(d.document, c.told) end
      from (select p.st_job_id, card_document(to_jsonb(p)) as document from plan_cards(p_tenant, v_jobs) p) d
     where c.tenant_id = p_tenant and c.st_job_id = d.st_job_id and c.card is distinct from d.document;
  end loop;
  return (select count(*) from card_plans c where c.tenant_id = p_tenant and c.base is not null and c.card = c.base);
end
$$;
comment on function jobsync.rebaseline_cards(text) is
  'After an edit of rules, routes or stages: the new wishes become what later changes are measured against. Sends nothing. Answers how many delivered jobs now differ from what was told.';

create function jobsync.list_rebaselined(p_tenant text, p_limit integer default null)
returns table (st_job_id bigint, st_job_number text, business_unit_id bigint, told jsonb, wanted jsonb)
language sql stable set search_path = jobsync, public as $$
  select c.st_job_id, j.st_job_number, j.business_unit_id, c.told, c.card
    from card_plans c join public.jobs j on j.tenant_id = c.tenant_id and j.st_job_id = c.st_job_id
   where c.tenant_id = p_tenant and c.base is not null and c.card = c.base
   order by c.st_job_id limit p_limit
$$;
comment on function jobsync.list_rebaselined(text, integer) is 'Delivered jobs whose card would be told otherwise under the rules as they are now: what `plan --rebaseline` shows.';

create function jobsync.send_rebaselined(p_tenant text, p_jobs bigint[], p_actor text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  perform lock_jobs(p_tenant, p_jobs);
  with freed as (
    update card_plans c set base = null, updated_at = jobsync.now()
     where c.tenant_id = p_tenant and (p_jobs is null or c.st_job_id = any (p_jobs)) and c.base is not null and c.card = c.base
    returning c.st_job_id
  )
  select array_agg(f.st_job_id order by f.st_job_id) into v_jobs from freed f;
  if v_jobs is null then
    return 0;
  end if;
  perform write_audit(p_tenant, p_actor, 'rebaseline_sent', 'tenant', jsonb_build_object('jobs', cardinality(v_jobs)));
  return plan_jobs(p_tenant, v_jobs, array_fill(true, array[cardinality(v_jobs)]));
end
$$;
comment on function jobsync.send_rebaselined(text, bigint[], text) is
  'A person sends what an edit of rules changed: these jobs (null: all that list_rebaselined shows) are planned. Answers how many.';
