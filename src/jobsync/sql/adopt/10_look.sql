-- Adopting, step 1: may this database be adopted? Changes nothing; refuses with one sentence and what to run.
-- Steps: 10 look -> 20 make room -> schema/10..13 -> 30 count -> schema/20 -> 40 merge -> the rest of schema/ -> 50 bring back -> 60 settle.

do $look$
declare
  v_keys jsonb := '{"jobs": "st_job_id", "customers": "st_customer_id", "business_units": "st_business_unit_id", "sync_state": "key", "sync_logs": "sync_type"}';
  v_found record;
  v_grants text;
begin
  for v_found in
    select c.relname, c.relkind, c.oid from pg_catalog.pg_class c
     where c.relnamespace = 'public'::regnamespace and v_keys ? c.relname and c.relkind in ('r', 'v', 'm', 'p', 'f')
  loop
    if v_found.relkind <> 'r' then
      raise exception 'public.% is no ordinary table, so that it cannot be adopted.', v_found.relname using errcode = 'JS001',
        hint = 'Point DATABASE_URL at another database, or rename it. Nothing was changed.';
    end if;
    if not exists (select from pg_catalog.pg_attribute a where a.attrelid = v_found.oid and a.attname = v_keys ->> v_found.relname and not a.attisdropped) then
      raise exception 'public.% has no column %: it is not the guide''s table.', v_found.relname, v_keys ->> v_found.relname using errcode = 'JS001',
        hint = pg_catalog.format('Rename it (ALTER TABLE public.%I RENAME TO ...), or point DATABASE_URL at another database. Nothing was changed.', v_found.relname);
    end if;
  end loop;

  select pg_catalog.string_agg(pg_catalog.format('ALTER %s %s OWNER TO %I;', o.what, o.name, current_user), ' ' order by o.name) into v_grants
    from (select case c.relkind when 'r' then 'TABLE' when 'v' then 'VIEW' else 'MATERIALIZED VIEW' end as what, c.oid::regclass::text as name, c.relowner as owner
            from pg_catalog.pg_class c
           where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and v_keys ? c.relname
              or c.oid in (select r.ev_class from pg_catalog.pg_depend d join pg_catalog.pg_rewrite r on r.oid = d.objid
                            where d.classid = 'pg_catalog.pg_rewrite'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass
                              and d.refobjid in (select t.oid from pg_catalog.pg_class t where t.relnamespace = 'public'::regnamespace and t.relkind = 'r' and v_keys ? t.relname))
           union all
          select 'FUNCTION', p.oid::regprocedure::text, p.proowner from pg_catalog.pg_proc p
           where p.pronamespace = 'public'::regnamespace and p.proname in ('update_sync_state', 'get_last_job_pull', 'upsert_job_from_st', 'update_updated_at_column')) o
   where not pg_catalog.pg_has_role(current_user, o.owner, 'USAGE');
  if v_grants is not null then
    raise exception 'The guide''s tables belong to another user, and "%" may not change them.', current_user using errcode = 'JS001',
      hint = 'As a superuser: ' || v_grants;
  end if;
end
$look$;
