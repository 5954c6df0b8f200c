-- What people may query: tables, views and functions with their comments, and the columns of tables and views.
select n.nspname as schema, c.relname as name, case c.relkind when 'r' then 'table' else 'view' end as kind,
       obj_description(c.oid, 'pg_class') as said,
       (select json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'said', col_description(c.oid, a.attnum)) order by a.attnum)
          from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('public', 'jobsync') and c.relkind in ('r', 'v')
union all
select n.nspname, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', 'function', obj_description(p.oid, 'pg_proc'), '[]'
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
 where n.nspname = 'public'
 order by 1 desc, 3, 2
