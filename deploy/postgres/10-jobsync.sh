#!/bin/sh
# Runs once, on an empty data volume: JobSync's own login, no superuser, owner of its database. It may create one role
# (jobsync_app, which the program works as), so that tenants stay apart.
set -eu
psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" --set password="$JOBSYNC_DB_PASSWORD" --set database="$POSTGRES_DB" <<'SQL'
create role jobsync_owner login createrole password :'password';
alter database :"database" owner to jobsync_owner;
SQL
