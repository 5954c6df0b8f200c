-- What each delivered job looked like when it was told: so that a plan can say what would change, and so that a person
-- can ask what a new name, route or software would tell differently. Nothing here makes anything due.

-- Raise it when what is told about a job changes (a new key of the hook's body): delivered jobs then show up in
-- `plan --rebaseline`, and nothing is sent.
create function jobsync.body_version() returns integer language sql stable parallel safe as $$ select 1 $$;
comment on function jobsync.body_version() is 'Version of what JobSync tells about a job.';

create table jobsync.delivered_facts (
  tenant_id text not null,
  st_job_id bigint not null,
  delivered_at timestamptz not null default jobsync.now(),
  facts jsonb,
  told_as jsonb not null,
  primary key (tenant_id, st_job_id)
) with (fillfactor = 80);
comment on table jobsync.delivered_facts is 'The names and the route under which a job was told last, and its own facts as they were then.';
comment on column jobsync.delivered_facts.facts is 'The facts that were told (texts as hashes: no personal data), kept when the job changes for the first time after it; null: as the job stands.';

create function jobsync.job_facts(j public.jobs) returns jsonb language sql stable as $$
  select jsonb_build_object('number', j.st_job_number, 'customer', j.st_customer_id, 'location', j.st_location_id, 'business_unit', j.business_unit_id,
    'job_type', j.job_type_id, 'status', j.job_status, 'priority', j.priority, 'summary', pg_catalog.md5(j.summary), 'completed_on', j.completed_on,
    'total', j.total, 'campaign', j.campaign_id, 'tags', pg_catalog.to_jsonb(j.tag_type_ids), 'active', j.active)
$$;
comment on function jobsync.job_facts(public.jobs) is 'The facts that job_hash covers, readable; the summary as a hash.';

-- A set of one, so that its joins stand in the query that asks for many.
create function jobsync.names_told(p_tenant text, p_unit bigint, p_type bigint) returns table (told_as jsonb) language sql stable rows 1 as $$
  select jsonb_build_object('body_version', jobsync.body_version(), 'unit_name', u.name, 'type_name', t.name,
    'destination', r.destination_id, 'pipeline', coalesce(r.pipeline_name, u.ghl_pipeline_name), 'stage', r.stage_name)
    from (select) x
    left join public.business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = p_unit
    left join jobsync.routes r on r.tenant_id = p_tenant and r.st_business_unit_id = p_unit
    left join jobsync.job_types t on t.tenant_id = p_tenant and t.st_job_type_id = p_type
$$;
comment on function jobsync.names_told(text, bigint, bigint) is 'One row: the names and the route under which a job of this unit and type is told now.';

create function jobsync.told_as(p_tenant text, p_unit bigint, p_type bigint) returns jsonb language sql stable as $$
  select n.told_as from jobsync.names_told(p_tenant, p_unit, p_type) n
$$;
comment on function jobsync.told_as(text, bigint, bigint) is 'Names and route under which a job of this unit and type is told now.';

create function jobsync.changed_facts(p_before jsonb, p_now jsonb) returns jsonb language sql immutable parallel safe as $$
  select coalesce(jsonb_object_agg(n.key, case n.key when 'summary' then '["changed"]'::jsonb else jsonb_build_array(p_before -> n.key, n.value) end order by n.key), '{}')
    from jsonb_each(p_now) n where n.value is distinct from p_before -> n.key
$$;
comment on function jobsync.changed_facts(jsonb, jsonb) is 'Fields that differ: name -> [before, now]; the summary only says that it changed.';

-- Once for a whole group or page, not row by row. Hashed whatever the caller's plans may not do: both sides may be a page.
create function jobsync.keep_told() returns trigger language plpgsql set enable_hashjoin = on as $$
begin
  if not exists (select from added a where a.delivered_hash is not null) then
    return null;
  end if;
  with told as materialized (
    select a.tenant_id, a.st_job_id, a.business_unit_id, a.job_type_id, a.delivered_hash is distinct from a.job_hash as outdated
      from added a
      join removed r on r.tenant_id = a.tenant_id and r.st_job_id = a.st_job_id
     where a.delivered_hash is not null and (a.delivered_hash, a.ghl_accepted_at) is distinct from (r.delivered_hash, r.ghl_accepted_at)
  ), forgotten as (
    -- It changed while it was under way: what was told stands nowhere any more.
    delete from jobsync.delivered_facts f using told t where t.outdated and f.tenant_id = t.tenant_id and f.st_job_id = t.st_job_id
  ), names as materialized (
    select d.tenant_id, d.business_unit_id, d.job_type_id, n.told_as
      from (select distinct t.tenant_id, t.business_unit_id, t.job_type_id from told t where not t.outdated) d
     cross join lateral jobsync.names_told(d.tenant_id, d.business_unit_id, d.job_type_id) n
  )
  insert into jobsync.delivered_facts as f (tenant_id, st_job_id, delivered_at, told_as)
  select t.tenant_id, t.st_job_id, (select jobsync.now()), n.told_as
    from told t
    join names n on n.tenant_id = t.tenant_id and n.business_unit_id is not distinct from t.business_unit_id and n.job_type_id is not distinct from t.job_type_id
   where not t.outdated
  on conflict (tenant_id, st_job_id) do update set facts = null, told_as = excluded.told_as, delivered_at = excluded.delivered_at;
  return null;
end
$$;
comment on function jobsync.keep_told() is 'Trigger: keeps the names and the route under which jobs were told.';
create trigger keep_told after update on public.jobs referencing old table as removed new table as added for each statement
  execute function jobsync.keep_told();

-- While a job stands as it was told, its own row says so; kept is what it was when that ends. Row by row: it befalls few, and the trigger says which.
create function jobsync.keep_told_facts() returns trigger language plpgsql as $$
begin
  update jobsync.delivered_facts f set facts = jobsync.job_facts(old)
   where f.tenant_id = old.tenant_id and f.st_job_id = old.st_job_id and f.facts is null;
  return null;
end
$$;
comment on function jobsync.keep_told_facts() is 'Trigger: keeps what a delivered job was when it changes for the first time after that.';
create trigger keep_told_facts after update on public.jobs for each row
  when (old.delivered_hash = old.job_hash and new.delivered_hash = old.delivered_hash and new.job_hash is distinct from old.job_hash)
  execute function jobsync.keep_told_facts();
