-- Answers the one statement that makes the login role `role` fit, or no row when nothing is to do.
-- The role owns its databases and may create databases and roles (the migration makes jobsync_app), but is no superuser.
-- Parameters: role, password, reset (true when the password file was written anew).
select case when not exists (select from pg_catalog.pg_roles where rolname = %(role)s)
            then format('create role %%I login createdb createrole password %%L', %(role)s::text, %(password)s::text)
            else format('alter role %%I password %%L', %(role)s::text, %(password)s::text)
       end
 where %(reset)s or not exists (select from pg_catalog.pg_roles where rolname = %(role)s);
