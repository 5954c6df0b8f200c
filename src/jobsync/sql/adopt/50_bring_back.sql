-- Adopting, step 7: what stood on the old tables stands on them again: foreign keys, triggers, views with their rights, and
-- whoever could read or write goes on seeing the rows.

select pg_catalog.set_config('search_path', 'pg_catalog', true);

do $back$
declare
  v_found record;
  v_behind record;
  v_text text;
  v_commands text[];
begin
  for v_text in select c.command from jobsync_adopting.commands c order by c.n loop
    execute v_text;
  end loop;
  for v_found in select v.* from jobsync_adopting.views v order by v.level, v.name loop
    v_commands := v_found.access;
    if not v_found.is_ours then
      begin
        execute format('create %s %s%s as %s', case v_found.kind when 'm' then 'materialized view' else 'view' end, v_found.name,
                       case when v_found.options is not null then format(' with (%s)', array_to_string(v_found.options, ', ')) else '' end, v_found.definition);
      exception when others then
        raise exception 'The view % cannot be made again on the new tables: %', v_found.name, sqlerrm using errcode = 'JS001',
          hint = 'Keep its definition (\d+) aside, drop it, run `jobsync db migrate` again, and make it anew. Nothing was changed.';
      end;
      if v_found.comment is not null then
        v_commands := v_commands || format('comment on %s %s is %L', case v_found.kind when 'm' then 'materialized view' else 'view' end, v_found.name, v_found.comment);
      end if;
      v_commands := v_found.more || v_commands;
      insert into jobsync_adopting.notes (kind, note) values ('kept', 'view ' || v_found.name);
    end if;
    foreach v_text in array v_commands loop
      execute v_text;
    end loop;
  end loop;

  -- Row-level security is new: without a word other roles would see no rows, and what they write would fail in our triggers,
  -- which work with the writer's own rights. jobsync_app stays within its tenant.
  for v_found in
    select case r.role_oid when 0 then 'public' else r.role_oid::regrole::text end as role, bool_or(r.may_write) as may_write,
           bool_or(r.name in ('jobs_pending_ghl_sync', 'sync_statistics')) as looks_at_views
      from jobsync_adopting.readers r group by r.role_oid
  loop
    execute format('grant usage on schema jobsync to %s', v_found.role);
    execute format('grant select on jobsync.clock to %s', v_found.role);
    v_commands := array['public.jobs', 'public.customers', 'public.business_units', 'public.sync_logs', 'public.sync_state'];
    if v_found.looks_at_views then
      -- Whatever the two views read, also through other views.
      for v_behind in
        with recursive behind(oid) as (
          select c.oid from pg_class c where c.relnamespace = 'public'::regnamespace and c.relname in ('jobs_pending_ghl_sync', 'sync_statistics')
          union
          select d.refobjid from behind b join pg_rewrite r on r.ev_class = b.oid
            join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
        )
        select b.oid::regclass::text as name, c.relkind, c.relrowsecurity from behind b join pg_class c on c.oid = b.oid
         where c.relname not in ('jobs_pending_ghl_sync', 'sync_statistics')
      loop
        execute format('grant select on %s to %s', v_behind.name, v_found.role);
        if v_behind.relrowsecurity then
          v_commands := v_commands || v_behind.name;
        end if;
      end loop;
    end if;
    if v_found.may_write then
      v_commands := v_commands || array['jobsync.tallies', 'jobsync.events', 'jobsync.delivered_facts', 'jobsync.contact_changes', 'jobsync.erasure_keys', 'jobsync.erased',
        'jobsync.routes', 'jobsync.job_types', 'jobsync.destinations', 'jobsync.contact_links'];
      execute format('grant select, insert, update, delete on jobsync.tallies, jobsync.events, jobsync.delivered_facts, jobsync.contact_changes to %s', v_found.role);
      execute format('grant select on jobsync.erasure_keys, jobsync.erased, jobsync.routes, jobsync.job_types, jobsync.contact_links, public.business_units to %s', v_found.role);
      -- Not the sealed address.
      execute format('grant select (tenant_id, id, kind) on jobsync.destinations to %s', v_found.role);
    end if;
    for v_text in select distinct t from unnest(v_commands) t order by 1 loop
      execute format('create policy %I on %s to %s using (tenant_id = ''default'' and current_user <> ''jobsync_app'')', left('kept_' || v_found.role, 63), v_text, v_found.role);
    end loop;
    insert into jobsync_adopting.notes (kind, note) values ('kept', format('access of %s', case v_found.role when 'public' then 'everybody (PUBLIC)' else v_found.role end));
    if v_found.may_write then
      insert into jobsync_adopting.notes (kind, note)
      values ('unknown', format('%s may write the tables as before, but not call upsert_job_from_st, which works in JobSync''s own tables: use POST /db/jobs/upsert, or: GRANT %I TO %s',
        v_found.role, current_user, v_found.role));
    end if;
  end loop;
end
$back$;
