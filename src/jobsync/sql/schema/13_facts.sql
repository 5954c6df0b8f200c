-- What the tables are judged by before they exist: the hash of a job, and which ids of GoHighLevel are real. An adopted
-- database has its tables converted with these, before anything is built on them.

-- Raise jobsync.hash_version() when the list of hashed facts changes: stored hashes of the older version are then
-- recomputed from the stored row before they are compared, so that new software never re-sends anything.
create function jobsync.hash_version() returns smallint language sql immutable parallel safe as $$ select 1::smallint $$;
comment on function jobsync.hash_version() is 'Version of what jobs.job_hash covers.';

-- Stable, not immutable, although it depends on nothing else: so PostgreSQL puts its text into the query that calls it.
create function jobsync.job_hash(
  p_number text, p_customer bigint, p_location bigint, p_unit bigint, p_type bigint, p_status text, p_priority text,
  p_summary text, p_completed_on timestamptz, p_total numeric, p_campaign bigint, p_tags bigint[], p_active boolean
) returns bytea language sql stable parallel safe as $$
  select pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(e'\x1f',
    coalesce(p_number, ''), coalesce(p_customer::text, ''), coalesce(p_location::text, ''), coalesce(p_unit::text, ''),
    coalesce(p_type::text, ''), coalesce(p_status, ''), coalesce(p_priority, ''), coalesce(p_summary, ''),
    coalesce(extract(epoch from p_completed_on)::text, ''), coalesce(pg_catalog.trim_scale(p_total)::text, ''), coalesce(p_campaign::text, ''),
    coalesce(p_tags::text, ''), coalesce(p_active::text, '')), 'UTF8'))
$$;
comment on function jobsync.job_hash(text, bigint, bigint, bigint, bigint, text, text, text, timestamptz, numeric, bigint, bigint[], boolean) is
  'Hash over the job''s own facts that are sent. Names of units and types, contacts and addresses are not in it: renaming or a new phone re-sends no webhook.';

-- Ids that were made up by old flows: no opportunity has them.
create function jobsync.real_ghl_id(p_id text) returns text language sql immutable parallel safe as $$
  select case when pg_catalog.lower(pg_catalog.btrim(p_id)) in ('', 'created', 'undefined', 'null', 'none', 'true') then null else pg_catalog.btrim(p_id) end
$$;
comment on function jobsync.real_ghl_id(text) is 'The id, or null for words like "created" that old flows stored instead of one.';
