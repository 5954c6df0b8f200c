-- Storing the short lists that jobs name by id, by the walk of 56: tag types and campaigns, read whole once an hour.

create function jobsync.store_tag_types(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'tag_types', 'st_tag_type_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into tag_types (tenant_id, st_tag_type_id, name, code, color, importance, active, modified_on, st_raw_data, created_at, updated_at)
  select p_tenant, s.id, x.name, x.code, x.color, x.importance, coalesce(x.active, true), s.modified_on, s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x (name text, code text, color text, importance text, active boolean)
   where s.reason is null
  on conflict (tenant_id, st_tag_type_id) do update set
    name = excluded.name, code = excluded.code, color = excluded.color, importance = excluded.importance, active = excluded.active,
    modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'tag_types', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_tag_types(text, jsonb) is 'Stores the list of tag types. The same list again writes nothing.';

create function jobsync.store_campaigns(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'campaigns', 'st_campaign_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into campaigns (tenant_id, st_campaign_id, name, category, source, medium, is_default, active, modified_on, st_raw_data, created_at, updated_at)
  select p_tenant, s.id, x.name, x."categoryName", x.source, x.medium, x."isDefaultCampaign", coalesce(x.active, true), s.modified_on, s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x (name text, "categoryName" text, source text, medium text, "isDefaultCampaign" boolean, active boolean)
   where s.reason is null
  on conflict (tenant_id, st_campaign_id) do update set
    name = excluded.name, category = excluded.category, source = excluded.source, medium = excluded.medium, is_default = excluded.is_default,
    active = excluded.active, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'campaigns', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_campaigns(text, jsonb) is 'Stores the list of campaigns. The same list again writes nothing.';
