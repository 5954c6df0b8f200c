-- The databases of the owner role, by name.
select d.datname
  from pg_catalog.pg_database d
  join pg_catalog.pg_roles r on r.oid = d.datdba
 where r.rolname = %(role)s
 order by d.datname;
