-- What GoHighLevel has: pipelines, their stages, custom fields, pulled by name and id. Routes and rules are written with
-- names and sent with ids. A row is never deleted: what GoHighLevel no longer shows is `gone`, so that a route or rule that
-- points at it can say so.

create table jobsync.pipelines (
  tenant_id text not null references jobsync.tenants on delete cascade,
  pipeline_id text not null,
  name text not null,
  position integer not null default 0,
  seen_at timestamptz not null default jobsync.now(),
  gone_at timestamptz,
  primary key (tenant_id, pipeline_id)
);
comment on table jobsync.pipelines is 'Pipelines of the tenant''s GoHighLevel location, as last pulled; gone_at: no longer there.';

create table jobsync.pipeline_stages (
  tenant_id text not null references jobsync.tenants on delete cascade,
  pipeline_id text not null,
  stage_id text not null,
  name text not null,
  position integer not null default 0,
  protected boolean not null default false,
  seen_at timestamptz not null default jobsync.now(),
  gone_at timestamptz,
  primary key (tenant_id, pipeline_id, stage_id)
);
comment on table jobsync.pipeline_stages is 'Stages in their order (position 0 is the first); gone_at: no longer there.';
comment on column jobsync.pipeline_stages.protected is 'A card that stands in this stage is never moved by JobSync: people work there.';

create table jobsync.card_fields (
  tenant_id text not null references jobsync.tenants on delete cascade,
  field_id text not null,
  model text not null constraint card_field_model_is_known check (model in ('contact', 'opportunity')),
  name text not null,
  field_key text,
  data_type text,
  seen_at timestamptz not null default jobsync.now(),
  gone_at timestamptz,
  primary key (tenant_id, field_id)
);
comment on table jobsync.card_fields is 'Custom fields of the tenant''s GoHighLevel location: which name and key (opportunity.st_job_id) is which id.';

-- The few lines of the audit that alerts and lists ask for every minute.
create index audit_of_pipelines on jobsync.audit (tenant_id, at desc)
  where action in ('pipeline_renamed', 'pipeline_gone', 'pipeline_back', 'stage_renamed', 'stage_gone', 'stage_back');

-- One answer of GoHighLevel, as a whole: [{id, name, stages: [{id, name}]}] and [{id, name, key, model, data_type}].
create function jobsync.store_pipelines(p_tenant text, p_pipelines jsonb, p_fields jsonb, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_changes jsonb;
begin
  -- Two refreshes at once would tell each other's changes twice.
  perform pg_advisory_xact_lock(hashtextextended('jobsync pipelines of ' || p_tenant, 0));
  with given as (
    select p.value ->> 'id' as pipeline_id, p.value ->> 'name' as name, p.n::integer as position, p.value -> 'stages' as stages
      from jsonb_array_elements(p_pipelines) with ordinality p(value, n)
  ), given_stages as (
    select g.pipeline_id, g.name as pipeline_name, s.value ->> 'id' as stage_id, s.value ->> 'name' as name, (s.n - 1)::integer as position
      from given g cross join lateral jsonb_array_elements(g.stages) with ordinality s(value, n)
  ), told as (
    select 'pipeline' as what, coalesce(g.pipeline_id, k.pipeline_id) as pipeline_id, null as stage_id, coalesce(g.name, k.name) as name, k.name as before,
           null as pipeline_name, g.pipeline_id is not null as here, k.pipeline_id is not null as known, k.gone_at is not null as was_gone
      from given g full join (select * from pipelines x where x.tenant_id = p_tenant) k on k.pipeline_id = g.pipeline_id
    union all
    select 'stage', coalesce(g.pipeline_id, k.pipeline_id), coalesce(g.stage_id, k.stage_id), coalesce(g.name, k.name), k.name,
           coalesce(g.pipeline_name, k.pipeline_name), g.stage_id is not null, k.stage_id is not null, k.gone_at is not null
      from given_stages g
      full join (select x.*, y.name as pipeline_name from pipeline_stages x join pipelines y on y.tenant_id = p_tenant and y.pipeline_id = x.pipeline_id
                  where x.tenant_id = p_tenant) k on k.pipeline_id = g.pipeline_id and k.stage_id = g.stage_id
  ), changed as (
    select t.*, case when t.here and not t.known then 'new' when not t.here and not t.was_gone then 'gone' when t.here and t.was_gone then 'back'
                     when t.here and t.name is distinct from t.before then 'renamed' end as change
      from told t
  )
  select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('what', c.what, 'change', c.change, 'name', c.name, 'pipeline', c.pipeline_name,
           'before', case c.change when 'renamed' then c.before end, 'pipeline_id', c.pipeline_id, 'stage_id', c.stage_id))
           order by c.what, c.pipeline_id, c.stage_id), '[]')
    into v_changes from changed c where c.change is not null;

  insert into pipelines as t (tenant_id, pipeline_id, name, position, seen_at)
  select p_tenant, p.value ->> 'id', p.value ->> 'name', p.n::integer, v_now from jsonb_array_elements(p_pipelines) with ordinality p(value, n) order by 2
  on conflict (tenant_id, pipeline_id) do update set name = excluded.name, position = excluded.position, seen_at = v_now, gone_at = null;
  insert into pipeline_stages as t (tenant_id, pipeline_id, stage_id, name, position, seen_at)
  select p_tenant, p.value ->> 'id', s.value ->> 'id', s.value ->> 'name', (s.n - 1)::integer, v_now
    from jsonb_array_elements(p_pipelines) p cross join lateral jsonb_array_elements(p.value -> 'stages') with ordinality s(value, n) order by 2, 3
  on conflict (tenant_id, pipeline_id, stage_id) do update set name = excluded.name, position = excluded.position, seen_at = v_now, gone_at = null;
  update pipelines t set gone_at = v_now where t.tenant_id = p_tenant and t.gone_at is null
     and not exists (select from jsonb_array_elements(p_pipelines) p where p ->> 'id' = t.pipeline_id);
  update pipeline_stages t set gone_at = v_now where t.tenant_id = p_tenant and t.gone_at is null
     and not exists (select from jsonb_array_elements(p_pipelines) p cross join lateral jsonb_array_elements(p -> 'stages') s
                      where p ->> 'id' = t.pipeline_id and s ->> 'id' = t.stage_id);
  insert into card_fields as t (tenant_id, field_id, model, name, field_key, data_type, seen_at)
  select p_tenant, f ->> 'id', f ->> 'model', f ->> 'name', f ->> 'key', f ->> 'data_type', v_now from jsonb_array_elements(p_fields) f
   where f ->> 'model' in ('contact', 'opportunity') order by 2
  on conflict (tenant_id, field_id) do update set model = excluded.model, name = excluded.name, field_key = excluded.field_key,
    data_type = excluded.data_type, seen_at = v_now, gone_at = null;
  update card_fields t set gone_at = v_now where t.tenant_id = p_tenant and t.gone_at is null
     and not exists (select from jsonb_array_elements(p_fields) f where f ->> 'id' = t.field_id);

  perform write_audit(p_tenant, p_actor, (c ->> 'what') || '_' || (c ->> 'change'),
                      'pipeline:' || (c ->> 'pipeline_id'), c - '{what,change}'::text[])
     from jsonb_array_elements(v_changes) c where c ->> 'change' <> 'new';
  perform note_target_problems(p_tenant);
  if exists (select from jsonb_array_elements(v_changes) c where c ->> 'change' in ('gone', 'back')) then
    perform rebaseline_cards(p_tenant);
  end if;
  return jsonb_build_object(
    'pipelines', jsonb_array_length(p_pipelines), 'fields', jsonb_array_length(p_fields),
    'stages', (select count(*) from pipeline_stages s where s.tenant_id = p_tenant and s.gone_at is null), 'changes', v_changes,
    'problems', coalesce((select jsonb_agg(to_jsonb(v) - 'tenant_id') from v_card_problems v where v.tenant_id = p_tenant), '[]'));
end
$$;
comment on function jobsync.store_pipelines(text, jsonb, jsonb, text) is
  'Stores what GoHighLevel shows of pipelines, stages and custom fields; answers what is new, renamed, gone or back, and the routes and rules that this breaks. Twice changes nothing.';

create function jobsync.target_problem(p_tenant text, p_pipeline text, p_stage text) returns text
language sql stable set search_path = jobsync, public as $$
  select case when p_pipeline is null then null
              when p.pipeline_id is null then 'its pipeline is not known'
              when p.gone_at is not null then format('pipeline "%s" is gone from GoHighLevel', p.name)
              when p_stage is null then null
              when s.stage_id is null then format('its stage in "%s" is not known', p.name)
              when s.gone_at is not null then format('stage "%s" is gone from pipeline "%s" in GoHighLevel', s.name, p.name) end
    from (select) one
    left join pipelines p on p.tenant_id = p_tenant and p.pipeline_id = p_pipeline
    left join pipeline_stages s on s.tenant_id = p_tenant and s.pipeline_id = p_pipeline and s.stage_id = p_stage
$$;
comment on function jobsync.target_problem(text, text, text) is 'What is wrong with a pipeline and stage, in words; null when both are there (or none is named).';

create function jobsync.note_target_problems(p_tenant text) returns void
language sql volatile set search_path = jobsync, public as $$
  update business_units u set ghl_pipeline_name = p.name, updated_at = jobsync.now()
    from routes r join pipelines p on p.tenant_id = r.tenant_id and p.pipeline_id = r.pipeline_id
   where u.tenant_id = p_tenant and r.tenant_id = p_tenant and r.st_business_unit_id = u.st_business_unit_id and u.ghl_pipeline_name = r.pipeline_name
     and u.ghl_pipeline_name is distinct from p.name;
  -- Ids decide, names follow: a renamed stage stays the same stage.
  update routes r set problem = x.problem, pipeline_name = x.pipeline_name, stage_name = x.stage_name, updated_at = jobsync.now()
    from (select k.st_business_unit_id, target_problem(p_tenant, k.pipeline_id, k.stage_id) as problem, coalesce(p.name, k.pipeline_name) as pipeline_name,
                 coalesce(s.name, k.stage_name) as stage_name
            from routes k
            left join pipelines p on p.tenant_id = p_tenant and p.pipeline_id = k.pipeline_id
            left join pipeline_stages s on s.tenant_id = p_tenant and s.pipeline_id = k.pipeline_id and s.stage_id = k.stage_id
           where k.tenant_id = p_tenant and k.pipeline_id is not null) x
   where r.tenant_id = p_tenant and r.st_business_unit_id = x.st_business_unit_id
     and (r.problem, r.pipeline_name, r.stage_name) is distinct from (x.problem, x.pipeline_name, x.stage_name)
$$;
comment on function jobsync.note_target_problems(text) is 'Writes beside each route what is wrong with its pipeline or stage, and follows renames.';

-- After set_route: where in GoHighLevel the unit's cards stand. The engine has found the ids by their names.
create function jobsync.set_route_target(p_tenant text, p_unit bigint, p_pipeline text, p_stage text, p_card text, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_differ integer;
begin
  update routes r set pipeline_id = coalesce(p_pipeline, r.pipeline_id), stage_id = case when p_pipeline is null then r.stage_id else p_stage end,
         stage_name = case when p_pipeline is null or p_stage is not null then r.stage_name end, card = coalesce(p_card, r.card), updated_at = jobsync.now()
   where r.tenant_id = p_tenant and r.st_business_unit_id = p_unit;
  perform note_target_problems(p_tenant);
  perform write_audit(p_tenant, p_actor, 'route_target_set', 'unit:' || p_unit,
    jsonb_strip_nulls(jsonb_build_object('pipeline_id', p_pipeline, 'stage_id', p_stage, 'card', p_card)));
  if p_card is not null then
    perform plan_unit(p_tenant, p_unit);
  end if;
  v_differ := rebaseline_cards(p_tenant);
  return (select to_jsonb(x) from unit_routes x where x.tenant_id = p_tenant and x.st_business_unit_id = p_unit)
    || jsonb_build_object('differ', v_differ);
end
$$;
comment on function jobsync.set_route_target(text, bigint, text, text, text, text) is
  'Sets pipeline, stage and kind of card of a route (null: stays). Sends nothing: delivered jobs are re-baselined; answers how many now differ from what was told.';

create function jobsync.protect_stage(p_tenant text, p_pipeline text, p_stage text, p_protected boolean, p_actor text) returns boolean
language plpgsql set search_path = jobsync, public as $$
begin
  update pipeline_stages s set protected = p_protected
   where s.tenant_id = p_tenant and s.pipeline_id = p_pipeline and s.stage_id = p_stage and s.protected <> p_protected;
  if found then
    perform write_audit(p_tenant, p_actor, case when p_protected then 'stage_protected' else 'stage_unprotected' end, 'pipeline:' || p_pipeline,
                        jsonb_build_object('stage_id', p_stage));
  end if;
  return found;
end
$$;
comment on function jobsync.protect_stage(text, text, text, boolean, text) is 'Marks a stage as one whose cards only people move, or takes the mark away. True when that changed anything.';
