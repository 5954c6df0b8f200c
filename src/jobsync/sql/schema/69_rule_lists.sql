-- Rules as people see them: with names; saved as a whole; tried on the tenant's own history.

create view jobsync.v_rules with (security_invoker = true) as
  select r.tenant_id, r.name, r.position, r.event, r.unit_ids, r.job_type_ids, r.tag_type_ids, r.campaign_ids, r.amount_from, r.amount_below,
         r.pipeline_id, p.name as pipeline_name, r.stage_id, s.name as stage_name, r.status, r.value, r.tags, r.custom_fields, r.backwards, r.enabled,
         jobsync.target_problem(r.tenant_id, r.pipeline_id, r.stage_id) as problem, r.updated_at
    from jobsync.rules r
    left join jobsync.pipelines p on p.tenant_id = r.tenant_id and p.pipeline_id = r.pipeline_id
    left join jobsync.pipeline_stages s on s.tenant_id = r.tenant_id and s.pipeline_id = r.pipeline_id and s.stage_id = r.stage_id;
comment on view jobsync.v_rules is 'Rules with the names of their pipelines and stages; problem: what is wrong with these in GoHighLevel.';

create view jobsync.v_card_problems with (security_invoker = true) as
  select r.tenant_id, 'route' as kind, r.st_business_unit_id::text as subject, u.name, r.problem
    from jobsync.routes r
    left join public.business_units u on u.tenant_id = r.tenant_id and u.st_business_unit_id = r.st_business_unit_id
   where r.problem is not null and r.deliverer = 'jobsync'
  union all
  select v.tenant_id, 'rule', v.name, v.name, v.problem from jobsync.v_rules v where v.enabled and v.problem is not null
  union all
  select l.tenant_id, 'install', l.st_job_id::text, j.st_job_number, 'several jobs of its project have a sold estimate: it has a card of its own'
    from jobsync.install_links l join public.jobs j on j.tenant_id = l.tenant_id and j.st_job_id = l.st_job_id where l.linked_by = 'ambiguous';
comment on view jobsync.v_card_problems is 'What a person should look at: routes and rules whose pipeline or stage is gone, install jobs whose sales job is not certain.';

create view jobsync.v_pipeline_changes with (security_invoker = true) as
  select a.tenant_id, a.at, split_part(a.action, '_', 1) as what, split_part(a.action, '_', 2) as change, a.details ->> 'name' as name,
         a.details ->> 'before' as before, a.details ->> 'pipeline' as pipeline_name, a.actor
    from jobsync.audit a
   where a.action in ('pipeline_renamed', 'pipeline_gone', 'pipeline_back', 'stage_renamed', 'stage_gone', 'stage_back');
comment on view jobsync.v_pipeline_changes is 'Pipelines and stages that were renamed, deleted or came back in GoHighLevel, and when that was noticed.';

create function jobsync.list_stale_pipelines() returns setof text
language sql stable set search_path = jobsync, public as $$
  select d.tenant_id from destinations d
   where d.kind = 'api' and exists (select from routes r where r.tenant_id = d.tenant_id and r.destination_id = d.id and r.deliverer = 'jobsync')
   group by d.tenant_id
  having coalesce((select max(p.seen_at) from pipelines p where p.tenant_id = d.tenant_id), '-infinity') < jobsync.now() - interval '1 hour'
   order by 1
$$;
comment on function jobsync.list_stale_pipelines() is 'Tenants with routes to pipelines that were not read for an hour. Asked by the schedule as the owner.';

create function jobsync.save_rules(p_tenant text, p_rules jsonb, p_replace boolean, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_saved text[];
  v_removed text[];
begin
  perform lock_stream(p_tenant, 'jobs');
  with given as (
    select r.*, n.n from jsonb_array_elements(p_rules) with ordinality n(value, n)
     cross join lateral jsonb_to_record(n.value) as r (name text, position integer, event text, unit_ids bigint[], job_type_ids bigint[], tag_type_ids bigint[],
       campaign_ids bigint[], amount_from numeric, amount_below numeric, pipeline_id text, stage_id text, status text, value text, tags text[],
       custom_fields jsonb, backwards boolean, enabled boolean)
  ), written as (
    insert into rules as t (tenant_id, name, position, event, unit_ids, job_type_ids, tag_type_ids, campaign_ids, amount_from, amount_below, pipeline_id,
      stage_id, status, value, tags, custom_fields, backwards, enabled)
    select p_tenant, g.name, coalesce(g.position, (event_positions() ->> g.event)::integer, 0), g.event, g.unit_ids, g.job_type_ids, g.tag_type_ids,
      g.campaign_ids, g.amount_from, g.amount_below, g.pipeline_id, g.stage_id, g.status, g.value, coalesce(g.tags, '{}'), coalesce(g.custom_fields, '{}'),
      coalesce(g.backwards, false), coalesce(g.enabled, true) from given g order by g.n
    on conflict (tenant_id, name) do update set position = excluded.position, event = excluded.event, unit_ids = excluded.unit_ids,
      job_type_ids = excluded.job_type_ids, tag_type_ids = excluded.tag_type_ids, campaign_ids = excluded.campaign_ids, amount_from = excluded.amount_from,
      amount_below = excluded.amount_below, pipeline_id = excluded.pipeline_id, stage_id = excluded.stage_id, status = excluded.status,
      value = excluded.value, tags = excluded.tags, custom_fields = excluded.custom_fields, backwards = excluded.backwards, enabled = excluded.enabled,
      updated_at = jobsync.now()
     where (to_jsonb(t) - '{updated_at}'::text[]) is distinct from (to_jsonb(excluded) - '{updated_at}'::text[])
    returning t.name
  )
  select array_agg(w.name order by w.name) into v_saved from written w;
  if p_replace then
    with gone as (
      delete from rules r where r.tenant_id = p_tenant and not exists (select from jsonb_array_elements(p_rules) g where g ->> 'name' = r.name)
      returning r.name
    )
    select array_agg(g.name order by g.name) into v_removed from gone g;
  end if;
  perform write_audit(p_tenant, p_actor, 'rule_set', 'rule:' || r.name, to_jsonb(r) - '{tenant_id,updated_at}'::text[])
     from rules r where r.tenant_id = p_tenant and r.name = any (v_saved) order by r.name;
  perform write_audit(p_tenant, p_actor, 'rule_removed', 'rule:' || x) from unnest(v_removed) x;
  return jsonb_build_object('saved', coalesce(to_jsonb(v_saved), '[]'), 'removed', coalesce(to_jsonb(v_removed), '[]'),
    'differ', case when v_saved is null and v_removed is null then (select count(*) from list_rebaselined(p_tenant)) else rebaseline_cards(p_tenant) end);
end
$$;
comment on function jobsync.save_rules(text, jsonb, boolean, text) is
  'Saves rules whose names the engine has turned into ids; p_replace removes all others. Sends nothing; answers what changed and how many delivered jobs now differ from what was told. Twice changes nothing.';

create function jobsync.remove_rule(p_tenant text, p_name text, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
begin
  perform lock_stream(p_tenant, 'jobs');
  delete from rules r where r.tenant_id = p_tenant and r.name = p_name;
  if not found then
    raise exception 'there is no rule "%"', p_name using errcode = 'JS004';
  end if;
  perform write_audit(p_tenant, p_actor, 'rule_removed', 'rule:' || p_name);
  return jsonb_build_object('removed', jsonb_build_array(p_name), 'differ', rebaseline_cards(p_tenant));
end
$$;
comment on function jobsync.remove_rule(text, text, text) is 'Removes a rule. Sends nothing; answers how many delivered jobs now differ from what was told.';

create function jobsync.test_rules(p_tenant text, p_since timestamptz, p_limit integer) returns jsonb
language plpgsql stable set search_path = jobsync, public as $$
declare
  v_jobs bigint[] := array(select j.st_job_id from public.jobs j where j.tenant_id = p_tenant and j.created_on >= p_since order by j.st_job_id);
begin
  return (
    with planned as materialized (
      select c.*, k.told, k.told is not null and ((c.pipeline_id, c.stage_id, c.status)
                  is distinct from (k.told ->> 'pipeline_id', k.told ->> 'stage_id', k.told ->> 'status')) as differs
        from plan_cards(p_tenant, v_jobs) c
        left join card_plans k on k.tenant_id = p_tenant and k.st_job_id = c.st_job_id
    ), named as materialized (
      select p.*, l.name as pipeline_name, s.name as stage_name, tl.name as told_pipeline, ts.name as told_stage
        from planned p
        left join pipelines l on l.tenant_id = p_tenant and l.pipeline_id = p.pipeline_id
        left join pipeline_stages s on s.tenant_id = p_tenant and s.pipeline_id = p.pipeline_id and s.stage_id = p.stage_id
        left join pipelines tl on tl.tenant_id = p_tenant and tl.pipeline_id = p.told ->> 'pipeline_id'
        left join pipeline_stages ts on ts.tenant_id = p_tenant and ts.pipeline_id = p.told ->> 'pipeline_id' and ts.stage_id = p.told ->> 'stage_id'
    )
    select jsonb_build_object(
      'jobs', cardinality(v_jobs), 'since', p_since,
      'rules', coalesce((select jsonb_agg(jsonb_build_object('name', r.name, 'event', r.event, 'jobs', coalesce(h.jobs, 0), 'decides_stage', coalesce(h.stage, 0),
                   'decides_status', coalesce(h.status, 0)) order by r.position, r.name)
          from rules r
          left join (select x.name, count(*) as jobs, count(*) filter (where n.stage_rule = x.name) as stage, count(*) filter (where n.status_rule = x.name) as status
                       from named n cross join lateral unnest(n.rules) x(name) group by x.name) h on h.name = r.name
         where r.tenant_id = p_tenant and r.enabled), '[]'),
      'outcomes', coalesce((select jsonb_agg(jsonb_build_object('pipeline', o.pipeline_name, 'stage', o.stage_name, 'status', o.status, 'jobs', o.jobs,
                   'value', o.value) order by o.pipeline_name, o.stage_position, o.status)
          from (select n.pipeline_name, n.stage_name, n.status, min(s.position) as stage_position, count(*) as jobs, sum(n.value) as value from named n
                  left join pipeline_stages s on s.tenant_id = p_tenant and s.pipeline_id = n.pipeline_id and s.stage_id = n.stage_id
                 where n.problem is null group by 1, 2, 3) o), '[]'),
      'problems', coalesce((select jsonb_object_agg(x.problem, x.jobs) from (select n.problem, count(*) as jobs from named n where n.problem is not null group by 1) x), '{}'),
      'told', (select count(*) from named n where n.told is not null), 'differ', (select count(*) from named n where n.differs),
      'differences', coalesce((select jsonb_agg(to_jsonb(d)) from (
          select n.st_job_id, n.told_pipeline as pipeline_now, n.told_stage as stage_now, n.told ->> 'status' as status_now, n.pipeline_name as pipeline,
                 n.stage_name as stage, n.status, n.stage_rule as rule
            from named n where n.differs order by n.st_job_id desc limit p_limit) d), '[]')));
end
$$;
comment on function jobsync.test_rules(text, timestamptz, integer) is
  'What the rules say about the jobs created since a time: how many each rule holds for and decides, where the cards would stand, and which delivered cards would stand elsewhere than they were told. Changes nothing.';
