-- Answers the statement that creates database `name` for its owner `role`, or no row when the database is there.
select format('create database %%I owner %%I', %(name)s::text, %(role)s::text)
 where not exists (select from pg_catalog.pg_database where datname = %(name)s);
