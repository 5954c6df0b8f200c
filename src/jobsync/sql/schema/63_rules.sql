-- Rules: (event, condition) -> stage, status, value, tags, custom fields. What a card should look like is computed from
-- what ServiceTitan says now, never from the clock and never from an earlier answer: asked twice, it says the same.

create table jobsync.rules (
  tenant_id text not null references jobsync.tenants on delete cascade,
  name text not null,
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
  tags text[],
  custom_fields jsonb not null default '{}',
  backwards boolean not null default false,
  enabled boolean not null default true,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, name),
  constraint rule_stage_has_a_pipeline check (stage_id is null or pipeline_id is not null)
);
comment on table jobsync.rules is 'What a card becomes when something happened to its job. Of the rules that hold, the one furthest down (position) decides each thing it names.';

create function jobsync.plan_opportunities(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, pipeline_id text, stage_id text, status text, value numeric, tags text[], custom_fields jsonb)
language sql stable set search_path = jobsync, public as $$
  select j.st_job_id, r.pipeline_id, r.stage_id, 'open', j.total, '{}'::text[], '{}'::jsonb
    from unnest(p_jobs) i(id)
   cross join lateral (select x.* from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = i.id offset 0) j
    left join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
   order by j.st_job_id
$$;
comment on function jobsync.plan_opportunities(text, bigint[]) is
  'What the card of each job should be: pipeline and stage by id, status (open, won, lost), value, tags to add, custom field id -> value. pipeline_id null: the route names no pipeline.';
