-- Answers the statement that drops database `name` of the owner `role` with all that is connected to it, or no row.
select format('drop database %%I with (force)', d.datname)
  from pg_catalog.pg_database d
  join pg_catalog.pg_roles r on r.oid = d.datdba
 where d.datname = %(name)s and r.rolname = %(role)s;
