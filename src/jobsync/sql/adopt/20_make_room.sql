-- Adopting, step 2: what stands on the old tables is written down and taken away, and the tables step aside. Everything is one
-- transaction with the steps before and after, so that what cannot be brought back leaves all as it was.

create schema jobsync_adopting;
create table jobsync_adopting.session (search_path text not null);
insert into jobsync_adopting.session select pg_catalog.current_setting('search_path');
create table jobsync_adopting.notes (n integer generated always as identity, kind text not null, items bigint, note text not null);
create table jobsync_adopting.counts (name text primary key, rows bigint not null);
create table jobsync_adopting.views (name text, kind "char", definition text, options text[], comment text, access text[], more text[], level integer, is_ours boolean);
create table jobsync_adopting.commands (n integer generated always as identity, command text not null);
create table jobsync_adopting.readers (name text, role_oid oid, may_write boolean);

-- Names are written with their schema, so that what is run again means the same.
select pg_catalog.set_config('search_path', 'pg_catalog', true);

do $room$
declare
  v_names text[] := array['business_units', 'customers', 'jobs', 'sync_logs', 'sync_state'];
  v_tables oid[];
  v_functions oid[];
  v_found record;
  v_rows bigint;
begin
  select array_agg(c.oid) into v_tables from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname = any (v_names);
  for v_found in select c.relname from pg_class c where c.oid = any (v_tables) order by 1 loop
    execute format('lock table public.%I in access exclusive mode', v_found.relname);
    execute format('select count(*) from public.%I', v_found.relname) into v_rows;
    insert into jobsync_adopting.counts values (v_found.relname, v_rows);
  end loop;
  select array_agg(p.oid) into v_functions from pg_proc p
   where p.pronamespace = 'public'::regnamespace
     and (p.proname = 'update_sync_state' and p.pronargs in (2, 3) or p.proname = 'get_last_job_pull' and p.pronargs = 0
          or p.proname = 'upsert_job_from_st' and p.pronargs = 2);

  -- Views on the tables, on the guide's functions, and on such views.
  with recursive dependent(oid, level) as (
    select r.ev_class, 1 from pg_depend d join pg_rewrite r on r.oid = d.objid
     where d.classid = 'pg_rewrite'::regclass
       and (d.refclassid = 'pg_class'::regclass and d.refobjid = any (v_tables) or d.refclassid = 'pg_proc'::regclass and d.refobjid = any (v_functions))
    union
    select r.ev_class, x.level + 1 from dependent x
      join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = x.oid and d.classid = 'pg_rewrite'::regclass
      join pg_rewrite r on r.oid = d.objid
     where r.ev_class <> x.oid and x.level < 100
  ), levels as (select x.oid, max(x.level) as level from dependent x group by x.oid)
  insert into jobsync_adopting.views
  select l.oid::regclass::text, c.relkind, pg_get_viewdef(l.oid), c.reloptions, obj_description(l.oid, 'pg_class'),
         array(select format('grant %s on %s to %s%s', a.privilege_type, l.oid::regclass, case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                             case when a.is_grantable then ' with grant option' else '' end)
                 from aclexplode(c.relacl) a where a.grantee <> c.relowner),
         array(select pg_get_indexdef(i.indexrelid) from pg_index i where i.indrelid = l.oid)
           || array(select pg_get_triggerdef(t.oid) from pg_trigger t where t.tgrelid = l.oid and not t.tgisinternal)
           || case when c.relowner <> (select r.oid from pg_roles r where r.rolname = current_user)
                   then array[format('alter %s %s owner to %s', case c.relkind when 'm' then 'materialized view' else 'view' end, l.oid::regclass, c.relowner::regrole)]
                   else '{}' end,
         l.level, c.relnamespace = 'public'::regnamespace and c.relname in ('jobs_pending_ghl_sync', 'sync_statistics')
    from levels l join pg_class c on c.oid = l.oid where c.relkind in ('v', 'm');
  insert into jobsync_adopting.readers
  select distinct c.relname, a.grantee, a.privilege_type in ('INSERT', 'UPDATE', 'DELETE') from pg_class c, aclexplode(c.relacl) a
   where a.grantee <> c.relowner and (c.oid = any (v_tables) or c.relnamespace = 'public'::regnamespace and c.relname in ('jobs_pending_ghl_sync', 'sync_statistics'));
  for v_found in select v.* from jobsync_adopting.views v order by v.level desc, v.name loop
    execute format('drop %s %s', case v_found.kind when 'm' then 'materialized view' else 'view' end, v_found.name);
  end loop;

  -- Triggers: the guide's own keep updated_at true, which ours do.
  for v_found in
    select t.oid, t.tgname, t.tgrelid::regclass::text as relation, t.tgenabled, pg_get_triggerdef(t.oid) as definition,
           p.proname = 'update_updated_at_column' and p.pronamespace = 'public'::regnamespace as is_theirs
      from pg_trigger t join pg_proc p on p.oid = t.tgfoid where t.tgrelid = any (v_tables) and not t.tgisinternal
  loop
    execute format('drop trigger %I on %s', v_found.tgname, v_found.relation);
    if not v_found.is_theirs then
      insert into jobsync_adopting.commands (command) values (v_found.definition);
      if v_found.tgenabled <> 'O' then
        insert into jobsync_adopting.commands (command) values (format('alter table %s %s trigger %I', v_found.relation,
          case v_found.tgenabled when 'D' then 'disable' when 'R' then 'enable replica' else 'enable always' end, v_found.tgname));
      end if;
      insert into jobsync_adopting.notes (kind, note) values ('kept', format('trigger %s on %s', v_found.tgname, v_found.relation));
    end if;
  end loop;
  for v_found in select p.oid::regprocedure::text as name from pg_proc p where p.oid = any (v_functions) loop
    execute format('drop function %s', v_found.name);
  end loop;
  for v_found in
    select p.oid::regprocedure::text as name from pg_proc p
     where p.pronamespace = 'public'::regnamespace and p.proname = 'update_updated_at_column' and p.pronargs = 0
       and not exists (select from pg_depend d where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid and d.deptype in ('n', 'a'))
  loop
    execute format('drop function %s', v_found.name);
  end loop;

  -- Foreign keys of other tables come back at the end. Those of these tables do not: a job is stored before its customer.
  for v_found in
    select k.conname, k.conrelid::regclass::text as relation, k.confrelid::regclass::text as target, pg_get_constraintdef(k.oid) as definition,
           k.conrelid = any (v_tables) as is_inside, k.confrelid as target_oid, k.confkey
      from pg_constraint k where k.contype = 'f' and (k.conrelid = any (v_tables) or k.confrelid = any (v_tables))
  loop
    execute format('alter table %s drop constraint %I', v_found.relation, v_found.conname);
    if v_found.is_inside then
      insert into jobsync_adopting.notes (kind, note) values ('repaired',
        format('foreign key %s of %s was taken away: ServiceTitan brings a job before its customer', v_found.conname, v_found.relation));
    else
      -- What it points at must stay unique; a unique index of ours does for the keys.
      if (select array_agg(a.attname::text) from pg_attribute a where a.attrelid = v_found.target_oid and a.attnum = any (v_found.confkey)) = array['id'] then
        insert into jobsync_adopting.commands (command)
        values (format('create unique index if not exists %s_id_key on %s (id)', (select c.relname from pg_class c where c.oid = v_found.target_oid), v_found.target));
      end if;
      insert into jobsync_adopting.commands (command) values (format('alter table %s add constraint %I %s', v_found.relation, v_found.conname, v_found.definition));
      insert into jobsync_adopting.notes (kind, note) values ('kept', format('foreign key %s of %s', v_found.conname, v_found.relation));
    end if;
  end loop;

  for v_found in select c.relname from pg_class c where c.oid = any (v_tables) loop
    execute format('alter table public.%I set schema jobsync_adopting', v_found.relname);
  end loop;
end
$room$;

select pg_catalog.set_config('search_path', (select s.search_path from jobsync_adopting.session s), true);
