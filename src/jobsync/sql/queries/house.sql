-- What administrators look at: the audit, connections, budgets, the database itself, kept versions of rules.

-- name: list_audit
select a.id, a.at, a.actor, a.action, a.subject, a.details from jobsync.audit a
 where a.tenant_id = %(tenant)s and (%(before)s::bigint is null or a.id < %(before)s) order by a.id desc limit %(limit)s;

-- name: list_connections
select c.kind, c.sealed, c.key_id, c.settings, c.updated_at from jobsync.connections c where c.tenant_id = %(tenant)s order by c.kind;

-- name: list_upstream_states
select s.upstream, s.state, s.reason, s.since from jobsync.upstream_states s where s.tenant_id = %(tenant)s;

-- name: read_breaker
select extract(epoch from clock_timestamp() - b.opened_at)::double precision as held_seconds, greatest(0, extract(epoch from b.open_until - clock_timestamp()))::double precision as next_seconds,
       b.times_opened
  from jobsync.breakers b where b.breaker_key = %(breaker)s and b.open_until is not null;

-- name: list_budgets
select split_part(b.budget_key, ':', 1) as budget, coalesce(d.masked, nullif(split_part(b.budget_key, ':', 2), '')) as of, b.rate, b.burst,
       least(b.burst, b.tokens + extract(epoch from clock_timestamp() - b.refilled_at) * b.rate)::double precision as left, b.slowness,
       case when b.blocked_until > clock_timestamp() then b.blocked_until end as blocked_until
  from jobsync.budgets b
  left join jobsync.destinations d on d.tenant_id = b.tenant_id and d.id::text = split_part(b.budget_key, ':', 2)
 where b.tenant_id = %(tenant)s order by b.budget_key;

-- name: read_database_facts
select current_setting('server_version') as version, pg_catalog.pg_database_size(current_database()) as bytes, current_setting('max_connections')::integer as most_connections,
       (select count(*) from pg_catalog.pg_stat_activity s where s.datname = current_database()) as connections,
       (select max(m.version) from jobsync.migrations m) as schema_version, (select count(*) from jobsync.migrations m) as migrations;

-- name: list_largest_tables
select t.name, t.bytes, t.rows from (
  select n.nspname || '.' || c.relname as name, pg_catalog.pg_total_relation_size(c.oid) as bytes, greatest(c.reltuples, 0)::bigint as rows
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' and n.nspname in ('public', 'jobsync')) t
 order by t.bytes desc limit %(limit)s;

-- name: list_view_columns
with named as materialized (
  select a.attname, min(pg_catalog.col_description(a.attrelid, a.attnum)) as comment from pg_catalog.pg_attribute a
    join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
   where n.nspname in ('public', 'jobsync') and c.relkind = 'r' and a.attnum > 0 and pg_catalog.col_description(a.attrelid, a.attnum) is not null
   group by a.attname having count(distinct pg_catalog.col_description(a.attrelid, a.attnum)) = 1
)
select n.nspname as schema, c.relname as view, c.relkind = 'r' as is_table, pg_catalog.obj_description(c.oid, 'pg_class') as view_comment, a.attname as column,
       pg_catalog.format_type(a.atttypid, a.atttypmod) as type, coalesce(pg_catalog.col_description(c.oid, a.attnum), named.comment) as comment
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join named on named.attname = a.attname
 where n.nspname = 'jobsync' and c.relkind = 'v' and c.relname like 'v\_%%'
    or n.nspname = 'public' and c.relname in ('business_units', 'customers', 'jobs', 'sync_logs', 'sync_state', 'sync_statistics', 'jobs_pending_ghl_sync')
 order by n.nspname <> 'public', c.relkind <> 'r', c.relname, a.attnum;

-- name: keep_rule_version
select jobsync.keep_rule_version(%(tenant)s, %(actor)s, %(what)s, %(text)s);

-- name: list_rule_versions
select v.id, v.replaced_at, v.actor, v.what from jobsync.rule_versions v where v.tenant_id = %(tenant)s order by v.id desc limit %(limit)s;

-- name: read_rule_version
select v.text from jobsync.rule_versions v where v.tenant_id = %(tenant)s and v.id = %(id)s;
