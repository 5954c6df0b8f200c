"""What stands in a database's catalogs, as texts that two databases can be compared by."""

from __future__ import annotations

from typing import Any

import psycopg

# A view over all columns of jobs shows its owner's columns, too.
PLAIN = "c.relname not in ('jobs_pending_ghl_sync', 'v_pending_jobs', 'v_offered_jobs')"
OURS = "(n.nspname in ('jobsync', 'public'))"
FACTS = f"""
select 'column ' || n.nspname || '.' || c.relname || '.' || a.attname, concat_ws(' | ', format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
       a.attidentity, case when n.nspname = 'jobsync' or c.relkind = 'v' then a.attnum end, col_description(c.oid, a.attnum))
  from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum where {OURS} and c.relkind in ('r', 'v') and {PLAIN}
union all
select 'relation ' || n.nspname || '.' || c.relname, concat_ws(' | ', c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.reloptions::text, obj_description(c.oid, 'pg_class'))
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where {OURS} and c.relkind in ('r', 'v', 'm', 'S')
union all
select 'constraint ' || n.nspname || '.' || c.relname || '.' || k.conname, pg_get_constraintdef(k.oid) || k.convalidated::text
  from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace where {OURS} and k.contype <> 'n'
union all
select 'index ' || n.nspname || '.' || c.relname, pg_get_indexdef(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace where {OURS} and c.relkind = 'i'
union all
select 'trigger ' || n.nspname || '.' || c.relname || '.' || t.tgname, pg_get_triggerdef(t.oid) || t.tgenabled::text from pg_trigger t join pg_class c on c.oid = t.tgrelid
  join pg_namespace n on n.oid = c.relnamespace where {OURS} and not t.tgisinternal
union all
select 'function ' || p.oid::regprocedure, concat_ws(' | ', pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc'), p.proacl::text)
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {OURS} and p.prokind = 'f'
union all
select 'policy ' || n.nspname || '.' || c.relname || ' ' || p.polname, concat_ws(' | ', p.polcmd, pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid))
  from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace where {OURS}
union all
select 'grant ' || n.nspname || '.' || c.relname || ' ' || a.grantee::regrole || ' ' || a.privilege_type, a.is_grantable::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join lateral aclexplode(c.relacl) a where {OURS} and a.grantee <> 0
"""
VIEWS = f"""
select 'view ' || n.nspname || '.' || c.relname, pg_get_viewdef(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where {OURS} and c.relkind = 'v' and {PLAIN}
"""


def read_catalog(dsn: str) -> dict[str, Any]:
    """Every object of the schemas public and jobsync by kind and name, with all that makes it what it is."""
    with psycopg.connect(dsn) as connection:
        connection.execute("set search_path = pg_catalog")
        found: dict[str, Any] = {}
        for text in (FACTS, VIEWS):
            found.update(connection.execute(text.encode()).fetchall())
    return found
