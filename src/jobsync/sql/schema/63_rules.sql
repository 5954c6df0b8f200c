-- Rules: (event, condition) -> stage, status, value, tags, custom fields. What a card should be is computed from what
-- ServiceTitan says now, never from the clock and never from an earlier answer: asked twice, it says the same.
--
--   card_facts: what happened to each job -> matching_rules: the rules that hold -> plan_cards: what its card should be
--   -> plan_opportunities: the part of it that is sent (64 decides where a card may be moved, and what is told again)
--
-- Precedence: position, then the number of conditions, then the name; of the rules that hold, the last one that names a
-- thing (stage, status, value) decides it. Tags add up; a later custom field overwrites an earlier one.

create table jobsync.rules (
  tenant_id text not null references jobsync.tenants on delete cascade,
  name text not null constraint rule_name_is_short check (length(name) between 1 and 100),
  position integer not null,
  event text not null constraint rule_event_is_known check (event in ('created', 'appointment_scheduled', 'estimate_sent', 'dispatched', 'working',
    'hold', 'estimate_dismissed', 'estimate_sold', 'completed', 'invoiced', 'canceled')),
  unit_ids bigint[],
  job_type_ids bigint[],
  tag_type_ids bigint[],
  campaign_ids bigint[],
  amount_from numeric,
  amount_below numeric,
  pipeline_id text,
  stage_id text,
  status text constraint rule_status_is_known check (status in ('open', 'won', 'lost')),
  value text constraint rule_value_is_known check (value in ('job_total', 'open_estimates', 'sold_estimates', 'invoices')),
  tags text[] not null default '{}',
  custom_fields jsonb not null default '{}',
  backwards boolean not null default false,
  enabled boolean not null default true,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, name),
  constraint rule_stage_has_a_pipeline check (stage_id is null or pipeline_id is not null)
);
comment on table jobsync.rules is 'What a card becomes when something happened to its job. Of the rules that hold, the one furthest down (position) decides each thing it names.';
comment on column jobsync.rules.custom_fields is 'Id of the field in GoHighLevel -> a text, or {"fact": name} with a name of jobsync.card_fact_names().';
comment on column jobsync.rules.backwards is 'May move a card to an earlier stage of the same pipeline; never over what a person did.';

-- The order in which things usually happen, as the position of a rule that is given none: the later thing decides.
create function jobsync.event_positions() returns jsonb language sql immutable parallel safe as $$
  select '{"created": 100, "appointment_scheduled": 200, "estimate_sent": 300, "dispatched": 400, "working": 500, "hold": 600, "estimate_dismissed": 700,
           "estimate_sold": 800, "completed": 900, "invoiced": 1000, "canceled": 1100}'::jsonb
$$;
comment on function jobsync.event_positions() is 'The events that rules know, each with the position that a rule about it gets by itself.';

create function jobsync.card_fact_names() returns text[] language sql immutable parallel safe as $$
  select '{job_number,job_status,job_type,business_unit,campaign,completed_on,first_appointment,last_appointment,technicians,open_estimates,sold_estimates,sold_on,invoice_total,invoice_balance}'::text[]
$$;
comment on function jobsync.card_fact_names() is 'Facts of a job that a rule may write into a custom field.';

create function jobsync.card_facts(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, business_unit_id bigint, job_type_id bigint, tag_type_ids bigint[], campaign_id bigint, total numeric, events text[],
               amounts jsonb, facts jsonb)
language sql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  -- offset 0: each job looks its few rows up by key, also under row-level security.
  select j.st_job_id, j.business_unit_id, j.job_type_id, j.tag_type_ids, j.campaign_id, j.total,
         array_remove(array[
           'created',
           case when a.live > 0 or a.known = 0 and j.appointment_count > 0 then 'appointment_scheduled' end,
           case when e.open > 0 then 'estimate_sent' end,
           case when s.status = 'dispatched' then 'dispatched' end,
           case when s.status in ('inprogress', 'working') then 'working' end,
           case when s.status = 'hold' then 'hold' end,
           case when e.dismissed > 0 and e.open = 0 and e.sold = 0 then 'estimate_dismissed' end,
           case when e.sold > 0 then 'estimate_sold' end,
           case when s.status = 'completed' then 'completed' end,
           case when i.done > 0 then 'invoiced' end,
           case when s.status in ('canceled', 'cancelled') or not j.active then 'canceled' end], null),
         jsonb_build_object('job_total', j.total, 'open_estimates', e.open_amount, 'sold_estimates', e.sold_amount, 'invoices', i.amount),
         jsonb_build_object('job_number', j.st_job_number, 'job_status', j.job_status, 'job_type', coalesce(t.name, j.job_type_name),
           'business_unit', u.name, 'campaign', c.name, 'completed_on', j.completed_on, 'first_appointment', a.first_start,
           'last_appointment', a.last_start, 'technicians', w.names, 'open_estimates', e.open_amount, 'sold_estimates', e.sold_amount,
           'sold_on', e.sold_on, 'invoice_total', i.amount, 'invoice_balance', i.balance)
    from unnest(p_jobs) k(id)
   cross join lateral (select x.* from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = k.id offset 0) j
   cross join lateral (select replace(lower(coalesce(j.job_status, '')), ' ', '') as status) s
   cross join lateral (
      select count(*) as known, count(*) filter (where p.active and p.unused is distinct from true and lower(coalesce(p.status, '')) not like 'cancel%') as live,
             min(p.starts_on) filter (where p.active) as first_start, max(p.starts_on) filter (where p.active) as last_start
        from appointments p where p.tenant_id = p_tenant and p.st_job_id = j.st_job_id) a
   cross join lateral (
      select count(*) filter (where y.state = 'open') as open, count(*) filter (where y.state = 'sold') as sold, count(*) filter (where y.state = 'dismissed') as dismissed,
             sum(y.amount) filter (where y.state = 'open') as open_amount, sum(y.amount) filter (where y.state = 'sold') as sold_amount, max(y.sold_on) as sold_on
        from (select q.subtotal + coalesce(q.tax, 0) as amount, q.sold_on,
                     case when q.sold_on is not null or lower(q.status) = 'sold' then 'sold' else lower(q.status) end as state
                from estimates q where q.tenant_id = p_tenant and q.st_job_id = j.st_job_id and q.active) y) e
   cross join lateral (
      -- Every job has an invoice from its first day: it counts once it was posted, exported, sent or reviewed as invoiced.
      select count(*) filter (where z.adjustment_to_id is null and (z.sync_status in ('Posted', 'Exported') or z.sent_status in ('Sent', 'Opened')
                                    or z.review_status = 'Invoiced')) as done, sum(z.total) as amount, sum(z.balance) as balance
        from (select v.adjustment_to_id, v.sync_status, v.sent_status, v.review_status, v.total, v.balance
                from invoices v where v.tenant_id = p_tenant and v.st_job_id = j.st_job_id and v.active
              union all
              select v.adjustment_to_id, v.sync_status, v.sent_status, v.review_status, v.total, v.balance
                from invoices v where v.tenant_id = p_tenant and v.st_invoice_id = j.invoice_id and v.st_job_id is null and v.active) z) i
    left join lateral (
      select string_agg(distinct m.technician_name, ', ') as names from technician_assignments m
       where m.tenant_id = p_tenant and m.st_job_id = j.st_job_id and m.active) w on true
    left join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = j.business_unit_id
    left join job_types t on t.tenant_id = p_tenant and t.st_job_type_id = j.job_type_id
    left join campaigns c on c.tenant_id = p_tenant and c.st_campaign_id = j.campaign_id
$$;
comment on function jobsync.card_facts(text, bigint[]) is
  'What happened to each job: the events that hold at present (a state such as hold only while it lasts), amounts by kind, and facts for custom fields.';

create function jobsync.matching_rules(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, place bigint, rule jobsync.rules, amounts jsonb, facts jsonb)
language sql stable set search_path = jobsync, public as $$
  select f.st_job_id, row_number() over (partition by f.st_job_id order by r.position, r.conditions, r.name collate "C"), r.rule, f.amounts, f.facts
    from card_facts(p_tenant, p_jobs) f
    left join lateral (
      select x as rule, x.position, x.name, num_nonnulls(x.unit_ids, x.job_type_ids, x.tag_type_ids, x.campaign_ids, x.amount_from, x.amount_below) as conditions
        from rules x
       where x.tenant_id = p_tenant and x.enabled and x.event = any (f.events)
         and (x.unit_ids is null or f.business_unit_id = any (x.unit_ids)) and (x.job_type_ids is null or f.job_type_id = any (x.job_type_ids))
         and (x.tag_type_ids is null or x.tag_type_ids && f.tag_type_ids) and (x.campaign_ids is null or f.campaign_id = any (x.campaign_ids))
         and (num_nonnulls(x.amount_from, x.amount_below) = 0 or (
           select y.amount >= coalesce(x.amount_from, '-infinity') and y.amount < coalesce(x.amount_below, 'infinity')
             from (select (f.amounts ->> case x.event when 'estimate_sold' then 'sold_estimates' when 'estimate_sent' then 'open_estimates'
                                                      when 'invoiced' then 'invoices' else 'job_total' end)::numeric as amount) y))) r on true
$$;
comment on function jobsync.matching_rules(text, bigint[]) is
  'The rules that hold for each job in their order (place 1 first, the last one decides); a job for which none holds has one row without rule. An amount is that of the sold or open estimates, of the invoices, else of the job.';

create type jobsync.card_target as (pipeline_id text, stage_id text, rule text, backwards boolean);
comment on type jobsync.card_target is 'Where a rule puts a card.';

create function jobsync.own_cards(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, pipeline_id text, stage_id text, status text, value numeric, tags text[], custom_fields jsonb, backwards boolean,
               stage_rule text, status_rule text, rules text[], problem text)
language sql stable set search_path = jobsync, public as $$
  with held as materialized (
    select m.st_job_id, m.place, (m.rule).*, m.amounts, m.facts from matching_rules(p_tenant, p_jobs) m
  ), joined as (
    select h.st_job_id,
           (array_agg(row(h.pipeline_id, h.stage_id, h.name, h.backwards)::card_target order by h.place desc) filter (where h.pipeline_id is not null))[1] as target,
           (array_agg(h.status order by h.place desc) filter (where h.status is not null))[1] as status,
           (array_agg(h.name order by h.place desc) filter (where h.status is not null))[1] as status_rule,
           (array_agg(h.amounts ->> h.value order by h.place desc) filter (where h.amounts ->> h.value is not null))[1] as value,
           array_agg(h.name order by h.place) filter (where h.name is not null) as rules
      from held h group by h.st_job_id
  ), tagged as (
    select h.st_job_id, array_agg(distinct t.tag order by t.tag) as tags from held h cross join lateral unnest(h.tags) t(tag) group by h.st_job_id
  ), fielded as (
    select d.st_job_id, jsonb_object_agg(d.key, d.value) filter (where d.value is not null) as fields
      from (select distinct on (h.st_job_id, k.key) h.st_job_id, k.key,
                   case jsonb_typeof(k.value) when 'object' then h.facts -> (k.value ->> 'fact') else k.value end as value
              from held h cross join lateral jsonb_each(h.custom_fields) k
             order by h.st_job_id, k.key, h.place desc) d
     where d.value is distinct from 'null'::jsonb
     group by d.st_job_id
  )
  select o.st_job_id, case when g.stage_id is not null then p.pipeline_id end, case when p.pipeline_id is not null then g.stage_id end, coalesce(o.status, 'open'), coalesce(o.value::numeric, j.total), coalesce(t.tags, '{}'),
         coalesce(f.fields, '{}'), coalesce((o.target).backwards, false), (o.target).rule, o.status_rule, coalesce(o.rules, '{}'),
         case when w.pipeline_id is null then 'no_pipeline' when p.pipeline_id is null then 'pipeline_gone' when g.stage_id is null then 'stage_gone' end
    from joined o
   cross join lateral (select x.business_unit_id, x.total from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = o.st_job_id offset 0) j
    left join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
   cross join lateral (select case when o.target is null then r.pipeline_id else (o.target).pipeline_id end as pipeline_id,
                              case when o.target is null then r.stage_id else (o.target).stage_id end as stage_id) w
    -- No stage named: the first that is there. A stage or pipeline that is gone is never replaced by a guess.
    left join lateral (
      select s.pipeline_id, s.stage_id from pipeline_stages s
       where s.tenant_id = p_tenant and s.pipeline_id = w.pipeline_id and s.gone_at is null and (w.stage_id is null or s.stage_id = w.stage_id)
       order by s.position, s.stage_id limit 1) g on true
    left join pipelines p on p.tenant_id = p_tenant and p.pipeline_id = w.pipeline_id and p.gone_at is null
    left join tagged t on t.st_job_id = o.st_job_id
    left join fielded f on f.st_job_id = o.st_job_id
$$;
comment on function jobsync.own_cards(text, bigint[]) is
  'What each job alone says about its card, with the rules that decided. problem: no_pipeline, pipeline_gone, stage_gone (then there is no pipeline_id).';
