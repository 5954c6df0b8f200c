-- Pipelines, rules, cards.

-- name: store_pipelines
select jobsync.store_pipelines(%(tenant)s, %(pipelines)s, %(fields)s, %(actor)s);

-- name: list_pipelines
select p.pipeline_id, p.name, p.gone_at, s.stage_id, s.name as stage_name, s.position, s.protected, s.gone_at as stage_gone_at,
       (select count(*) from jobsync.routes r where r.tenant_id = p.tenant_id and r.pipeline_id = p.pipeline_id
           and coalesce(r.stage_id, s.stage_id) = s.stage_id and (r.stage_id is not null or s.position = 0)) as routes,
       (select count(*) from jobsync.rules r where r.tenant_id = p.tenant_id and r.pipeline_id = p.pipeline_id
           and coalesce(r.stage_id, s.stage_id) = s.stage_id and (r.stage_id is not null or s.position = 0)) as rules
  from jobsync.pipelines p
  left join jobsync.pipeline_stages s on s.tenant_id = p.tenant_id and s.pipeline_id = p.pipeline_id
 where p.tenant_id = %(tenant)s
 order by p.gone_at is not null, p.position, p.pipeline_id, s.gone_at is not null, s.position, s.stage_id;

-- name: list_pipeline_changes
select at, what, change, name, before, pipeline_name, actor from jobsync.v_pipeline_changes where tenant_id = %(tenant)s order by at desc limit %(limit)s;

-- name: list_card_problems
select kind, subject, name, problem from jobsync.v_card_problems where tenant_id = %(tenant)s order by kind, name;

-- name: protect_stage
select jobsync.protect_stage(%(tenant)s, %(pipeline)s, %(stage)s, %(protected)s, %(actor)s);

-- name: list_stale_pipelines
select tenant_id from jobsync.list_stale_pipelines() tenant_id;

-- name: store_location
insert into jobsync.destinations as d (tenant_id, kind, label, fingerprint, masked)
values (%(tenant)s, 'api', 'GoHighLevel', %(fingerprint)s, %(masked)s)
on conflict (tenant_id, fingerprint) do update set updated_at = jobsync.now()
returning id;

-- name: set_route_target
select jobsync.set_route_target(%(tenant)s, %(unit)s, %(pipeline)s, %(stage)s, %(card)s, %(actor)s);

-- name: read_card_names
select jsonb_build_object(
  'pipelines', coalesce((select jsonb_agg(jsonb_build_object('id', p.pipeline_id, 'name', p.name, 'stages',
       coalesce((select jsonb_agg(jsonb_build_object('id', s.stage_id, 'name', s.name) order by s.position, s.stage_id) from jobsync.pipeline_stages s
                  where s.tenant_id = p.tenant_id and s.pipeline_id = p.pipeline_id and s.gone_at is null), '[]')) order by p.position, p.pipeline_id)
     from jobsync.pipelines p where p.tenant_id = %(tenant)s and p.gone_at is null), '[]'),
  'units', coalesce((select jsonb_agg(jsonb_build_object('id', u.st_business_unit_id, 'name', u.name) order by u.name)
     from public.business_units u where u.tenant_id = %(tenant)s), '[]'),
  'job_types', coalesce((select jsonb_agg(jsonb_build_object('id', t.st_job_type_id, 'name', t.name) order by t.name)
     from jobsync.job_types t where t.tenant_id = %(tenant)s), '[]'),
  'tags', coalesce((select jsonb_agg(jsonb_build_object('id', t.st_tag_type_id, 'name', t.name) order by t.name)
     from jobsync.tag_types t where t.tenant_id = %(tenant)s), '[]'),
  'campaigns', coalesce((select jsonb_agg(jsonb_build_object('id', c.st_campaign_id, 'name', c.name) order by c.name)
     from jobsync.campaigns c where c.tenant_id = %(tenant)s), '[]'),
  'fields', coalesce((select jsonb_agg(jsonb_build_object('id', f.field_id, 'name', f.name, 'key', f.field_key) order by f.name)
     from jobsync.card_fields f where f.tenant_id = %(tenant)s and f.model = 'opportunity' and f.gone_at is null), '[]'),
  'facts', to_jsonb(jobsync.card_fact_names()), 'events', jobsync.event_positions());

-- name: list_rules
select * from jobsync.v_rules where tenant_id = %(tenant)s order by position, name;

-- name: save_rules
select jobsync.save_rules(%(tenant)s, %(rules)s, %(replace)s, %(actor)s);

-- name: remove_rule
select jobsync.remove_rule(%(tenant)s, %(name)s, %(actor)s);

-- name: test_rules
select jobsync.test_rules(%(tenant)s, jobsync.now() - %(days)s * interval '1 day', %(limit)s);
