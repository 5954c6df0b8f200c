-- JobSync: the whole schema for an empty PostgreSQL 15 to 18. Generated from src/jobsync/sql; do not edit.
-- Apply it with: psql -v ON_ERROR_STOP=1 -f job-sync-schema.sql
-- The user must be allowed to create schemas and to create in schema public, and must not be called "jobsync".
-- The last part is the SQL of the task queue procrastinate, under the MIT licence, in a schema of its own.
begin;

-- Foundation: the schemas, the roles, the clock and the tenant of a session.
--
-- Reading order of this folder: 10 foundation -> 12 casts -> 13 facts -> 20 guide tables and columns -> 25 tenants and routes ->
-- 30 records -> 35 runs -> 40 outbox -> 42 tallies -> 45 projections -> 50..58 store -> 60 plan -> 62 pipelines -> 63 rules ->
-- 64 cards -> 65 deliver -> 68 backfill -> 70 guide functions -> 80 views -> 85 api -> 90 access.
-- Every statement here may only assume what an earlier file made. SQLSTATEs raised on purpose:
--   JS001  bad input (the message names the field)          -> InvalidInput
--   JS002  the cursor is not the one that was read           -> LockHeld
--   JS003  too many records of a page do not fit             -> SchemaDrift
--   JS004  no such record                                    -> RecordMissing
--   JS005  sending refused                                   -> SendingRefused

create schema if not exists jobsync;
comment on schema jobsync is 'JobSync: everything beside the five tables, three functions and two views of the guide in public.';

-- A managed PostgreSQL may not let the owner create roles. Then JobSync serves one tenant, as the owner, and says so.
-- Roles belong to the whole server: another database may be making this one at the same moment.
do $roles$
declare
  v_may text := case when pg_catalog.current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end;
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'jobsync_app') then
    -- Whoever waited for another database that made it sees it in his caches only when he tries once more.
    for v_try in 1..2 loop
      begin
        create role jobsync_app nologin;
        exit;
      exception when duplicate_object or unique_violation then
        null;
      end;
    end loop;
  end if;
  -- The program works as this role inside each transaction (set local role). Since PostgreSQL 16 the maker of a role is
  -- its member but may not become it without a grant of his own.
  if not pg_catalog.pg_has_role(current_user, 'jobsync_app', v_may) then
    begin
      execute pg_catalog.format('grant jobsync_app to %I', current_user);
    exception when unique_violation then
      null;
    end;
  end if;
exception when insufficient_privilege then
  raise notice 'role jobsync_app cannot be created here: one tenant only';
end
$roles$;
do $grants$
begin
  -- The program works as this role inside each transaction (set local role). Granted anew each time: since PostgreSQL 16
  -- whoever creates a role may administer it but not yet become it.
  execute pg_catalog.format('grant jobsync_app to %I', current_user);
exception when insufficient_privilege or undefined_object or invalid_grant_operation then
  raise notice 'role jobsync_app is not granted here';
end
$grants$;

create table jobsync.clock (
  only_row boolean primary key default true constraint one_clock check (only_row),
  shift interval not null default interval '0'
);
comment on table jobsync.clock is 'How far jobsync.now() stands from the server clock. Zero; only the test role may write it.';
insert into jobsync.clock default values;

-- Statements that ask it for many rows take it once, into a variable: a function with a subquery is never inlined.
create function jobsync.now() returns timestamptz language sql stable parallel safe as $$
  select pg_catalog.now() + coalesce((select c.shift from jobsync.clock c), interval '0')
$$;
comment on function jobsync.now() is 'The time that JobSync stores: the transaction''s, moved only by tests.';

create function jobsync.current_tenant() returns text language sql stable parallel safe as $$
  select coalesce(nullif(pg_catalog.current_setting('jobsync.tenant', true), ''), 'default')
$$;
comment on function jobsync.current_tenant() is
  'Tenant of this session: the setting jobsync.tenant, else ''default'', so that plain psql recipes work as printed.';

-- A random one costs a system call for each row where PostgreSQL is built without OpenSSL, six times as long as this.
create function jobsync.row_id(p_tenant text, p_kind text, p_id bigint) returns uuid language sql immutable parallel safe as $$
  select pg_catalog.md5('jobsync:' || p_tenant || ':' || p_kind || ':' || p_id::text)::uuid
$$;
comment on function jobsync.row_id(text, text, bigint) is 'The uuid of a pulled row in the guide''s tables, made of its key.';

create function jobsync.touch_updated_at() returns trigger language plpgsql as $$
begin
  new.updated_at := jobsync.now();
  return new;
end
$$;
comment on function jobsync.touch_updated_at() is 'Trigger: keeps updated_at true for rows that people change by hand.';

create table jobsync.migrations (
  version text primary key,
  checksum text not null,
  applied_at timestamptz not null default pg_catalog.now()
);
comment on table jobsync.migrations is 'Ledger of applied migrations; "0001" is the schema as first installed.';

-- Casts that answer null instead of failing, without an exception block per row (PostgreSQL 15 has no
-- pg_input_is_valid). All take the jsonb value as it stands in a record; JSON null gives SQL null.
-- A caller that must tell "null" from "does not fit" asks jobsync.fits_*.

create function jobsync.as_text(p_value jsonb) returns text language sql immutable parallel safe as $$
  select case pg_catalog.jsonb_typeof(p_value) when 'null' then null else p_value #>> '{}' end
$$;
comment on function jobsync.as_text(jsonb) is 'The value as text; JSON null as null.';

create function jobsync.try_bigint(p_value jsonb) returns bigint language sql immutable parallel safe as $$
  select case pg_catalog.jsonb_typeof(p_value)
    when 'number' then
      case when (p_value)::numeric between -9223372036854775808 and 9223372036854775807
            and pg_catalog.trunc((p_value)::numeric) = (p_value)::numeric
           then (p_value)::numeric::bigint end
    when 'string' then
      case when (p_value #>> '{}') ~ '^ *[+-]?[0-9]{1,18} *$' then (p_value #>> '{}')::bigint
           when (p_value #>> '{}') ~ '^ *[0-9]{19} *$' and (p_value #>> '{}')::numeric <= 9223372036854775807
           then (p_value #>> '{}')::bigint end
  end
$$;
comment on function jobsync.try_bigint(jsonb) is 'Whole number of 64 bits from a JSON number or string of digits; null when it is not one.';

create function jobsync.try_numeric(p_value jsonb) returns numeric language sql immutable parallel safe as $$
  select case pg_catalog.jsonb_typeof(p_value)
    when 'number' then (p_value)::numeric
    when 'string' then
      case when (p_value #>> '{}') ~ '^ *[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40}) *$'
           then (p_value #>> '{}')::numeric end
  end
$$;
comment on function jobsync.try_numeric(jsonb) is 'Decimal from a JSON number or string (accounting sends strings); null when it is not one.';

create function jobsync.try_boolean(p_value jsonb) returns boolean language sql immutable parallel safe as $$
  select case pg_catalog.jsonb_typeof(p_value)
    when 'boolean' then (p_value)::boolean
    when 'string' then case pg_catalog.lower(p_value #>> '{}') when 'true' then true when 'false' then false end
  end
$$;
comment on function jobsync.try_boolean(jsonb) is 'Boolean from true, false or their spelling; else null.';

-- 0 to 7 fractional digits, Z, an offset, or nothing (read as UTC). The year-1 sentinel of contacts means null
-- (ServiceTitan contract, section 2.3). The day is checked against its month, so that the cast cannot fail.
-- plpgsql: called for every time of every record, and entering an SQL function costs more than all it does.
create function jobsync.try_timestamptz_text(p_text text) returns timestamptz language plpgsql immutable strict parallel safe as $$
declare
  v_year integer;
  v_month integer;
begin
  if p_text !~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])?)?$' then
    return null;
  end if;
  if p_text < '0001-01-02' collate "C" then
    return null;
  end if;
  if pg_catalog.substr(p_text, 9, 2) > '28' then
    v_year := pg_catalog.left(p_text, 4);
    v_month := pg_catalog.substr(p_text, 6, 2);
    if pg_catalog.substr(p_text, 9, 2)::integer > (case when v_month in (4, 6, 9, 11) then 30 when v_month <> 2 then 31
         when v_year % 4 = 0 and (v_year % 100 <> 0 or v_year % 400 = 0) then 29 else 28 end) then
      return null;
    end if;
  end if;
  -- .NET's last instant rounds up into the year 10000, which no client can read.
  if pg_catalog.right(p_text, 1) = 'Z' or pg_catalog.substr(p_text, 11) ~ '[+-]' then
    return least(p_text::timestamptz, '9999-12-31 23:59:59.999999+00');
  end if;
  return least(p_text::timestamp at time zone 'UTC', '9999-12-31 23:59:59.999999+00');
end
$$;
comment on function jobsync.try_timestamptz_text(text) is 'Instant from an ISO 8601 text; a text without zone is UTC; null when it is no instant.';

create function jobsync.try_timestamptz(p_value jsonb) returns timestamptz language sql immutable parallel safe as $$
  select case pg_catalog.jsonb_typeof(p_value) when 'string' then jobsync.try_timestamptz_text(p_value #>> '{}') end
$$;
comment on function jobsync.try_timestamptz(jsonb) is 'Instant from a JSON string; see try_timestamptz_text.';

create function jobsync.try_bigint_array(p_value jsonb) returns bigint[] language sql immutable parallel safe as $$
  select case pg_catalog.jsonb_typeof(p_value) when 'array' then
    array(select jobsync.try_bigint(e.value) from pg_catalog.jsonb_array_elements(p_value) with ordinality e(value, n)
          where jobsync.try_bigint(e.value) is not null order by e.n)
  end
$$;
comment on function jobsync.try_bigint_array(jsonb) is 'Array of the whole numbers in a JSON array; null when it is no array.';

create function jobsync.fits_bigint(p_value jsonb) returns boolean language sql immutable parallel safe as $$
  select p_value is null or pg_catalog.jsonb_typeof(p_value) = 'null' or jobsync.try_bigint(p_value) is not null
$$;
comment on function jobsync.fits_bigint(jsonb) is 'True when the value is absent, null or a whole number of 64 bits.';

create function jobsync.fits_numeric(p_value jsonb) returns boolean language sql immutable parallel safe as $$
  select p_value is null or pg_catalog.jsonb_typeof(p_value) in ('null', 'number') or jobsync.try_numeric(p_value) is not null
$$;
comment on function jobsync.fits_numeric(jsonb) is 'True when the value is absent, null or a decimal.';

create function jobsync.fits_timestamptz(p_value jsonb) returns boolean language sql immutable parallel safe as $$
  select p_value is null or pg_catalog.jsonb_typeof(p_value) = 'null' or jobsync.try_timestamptz(p_value) is not null
      or (pg_catalog.jsonb_typeof(p_value) = 'string' and (p_value #>> '{}') like '0001-01-01%')
$$;
comment on function jobsync.fits_timestamptz(jsonb) is 'True when the value is absent, null, the year-1 sentinel or an instant.';

create function jobsync.fits_array(p_value jsonb) returns boolean language sql immutable parallel safe as $$
  select p_value is null or pg_catalog.jsonb_typeof(p_value) in ('null', 'array')
$$;
comment on function jobsync.fits_array(jsonb) is 'True when the value is absent, null or a list.';

-- What kind of value each checked field of a stream's records has. Fields that are not listed are texts, or are only kept.
create function jobsync.field_kinds(p_stream text) returns jsonb language sql immutable parallel safe as $$
  select case p_stream
    when 'jobs' then '{"customerId": "id", "locationId": "id", "businessUnitId": "id", "jobTypeId": "id", "invoiceId": "id", "campaignId": "id",
      "leadCallId": "id", "firstAppointmentId": "id", "lastAppointmentId": "id", "appointmentCount": "id", "createdOn": "time", "modifiedOn": "time",
      "completedOn": "time", "total": "number", "noCharge": "flag", "active": "flag", "tagTypeIds": "ids", "estimateIds": "ids"}'::jsonb
    when 'customers' then '{"mergedToId": "id", "locationId": "id", "customerId": "id", "modifiedOn": "time", "active": "flag", "doNotService": "flag",
      "doNotMail": "flag", "address": "object"}'::jsonb
    when 'locations' then '{"mergedToId": "id", "customerId": "id", "modifiedOn": "time", "active": "flag", "address": "object"}'::jsonb
    when 'appointments' then '{"jobId": "id", "customerId": "id", "start": "time", "end": "time", "arrivalWindowStart": "time", "arrivalWindowEnd": "time",
      "unused": "flag", "isConfirmed": "flag", "active": "flag", "createdOn": "time", "modifiedOn": "time"}'::jsonb
    when 'estimates' then '{"jobId": "id", "projectId": "id", "customerId": "id", "locationId": "id", "businessUnitId": "id", "soldBy": "id",
      "soldOn": "time", "subtotal": "number", "tax": "number", "isRecommended": "flag", "isChangeOrder": "flag", "active": "flag", "createdOn": "time",
      "modifiedOn": "time"}'::jsonb
    when 'invoices' then '{"job": "object", "jobId": "id", "projectId": "id", "customer": "object", "customerId": "id", "location": "object",
      "locationId": "id", "businessUnit": "object", "businessUnitId": "id", "invoiceDate": "time", "dueDate": "time", "subTotal": "number",
      "salesTax": "number", "total": "number", "balance": "number", "discountTotal": "number", "paidOn": "time", "depositedOn": "time",
      "adjustmentToId": "id", "active": "flag", "createdOn": "time", "modifiedOn": "time"}'::jsonb
    when 'technician_assignments' then '{"appointmentId": "id", "jobId": "id", "technicianId": "id", "assignedById": "id", "assignedOn": "time",
      "isPaused": "flag", "active": "flag", "createdOn": "time", "modifiedOn": "time"}'::jsonb
    when 'tag_types' then '{"active": "flag", "modifiedOn": "time"}'::jsonb
    when 'campaigns' then '{"isDefaultCampaign": "flag", "active": "flag", "modifiedOn": "time", "category": "object"}'::jsonb
  end
$$;
comment on function jobsync.field_kinds(text) is 'The checked fields of a stream''s records: {field: id | time | number | flag | ids | object}.';

create function jobsync.fits_kind(p_kind text, p_value jsonb) returns boolean language sql immutable parallel safe as $$
  select case p_kind when 'id' then jobsync.fits_bigint(p_value) when 'time' then jobsync.fits_timestamptz(p_value)
    when 'number' then jobsync.fits_numeric(p_value) when 'ids' then jobsync.fits_array(p_value)
    when 'object' then pg_catalog.jsonb_typeof(p_value) in ('object', 'null') else true end
$$;
comment on function jobsync.fits_kind(text, jsonb) is 'True when the value is of the kind, or null. A flag that is none fits and is read as null.';

create function jobsync.record_misfits(p_kinds jsonb, p_record jsonb) returns text[] language sql immutable parallel safe as $$
  select pg_catalog.array_agg(k.key order by k.key) from pg_catalog.jsonb_each_text(p_kinds) k
   where p_record ? k.key and not jobsync.fits_kind(k.value, p_record -> k.key)
$$;
comment on function jobsync.record_misfits(jsonb, jsonb) is 'Names of the fields whose value is not of its kind; null when all fit.';

create function jobsync.plain_record(p_kinds jsonb, p_record jsonb) returns jsonb language sql immutable parallel safe as $$
  select case when jobsync.record_misfits(p_kinds, p_record) is null then
    p_record || coalesce((
      select pg_catalog.jsonb_object_agg(k.key, case k.value
               when 'id' then pg_catalog.to_jsonb(jobsync.try_bigint(p_record -> k.key))
               when 'time' then pg_catalog.to_jsonb(jobsync.try_timestamptz(p_record -> k.key))
               when 'number' then pg_catalog.to_jsonb(jobsync.try_numeric(p_record -> k.key))
               when 'flag' then pg_catalog.to_jsonb(jobsync.try_boolean(p_record -> k.key))
               when 'ids' then pg_catalog.to_jsonb(jobsync.try_bigint_array(p_record -> k.key))
               else p_record -> k.key end)
        from pg_catalog.jsonb_each_text(p_kinds) k where p_record ? k.key), '{}') end
$$;
comment on function jobsync.plain_record(jsonb, jsonb) is
  'The record with each checked field as a plain JSON value that casts without error ("12" as 12, the year-1 sentinel as null); null when a field does not fit.';

-- The quick looks that spare nearly every record the slow one. True only if the values cast as they stand. They read the
-- text of an array, where whatever is neither a number nor an instant (an empty text, a comma) stands in quotes.
create function jobsync.are_plain_times(variadic p_times text[]) returns boolean language plpgsql immutable parallel safe as $$
begin
  return pg_catalog.array_remove(p_times, null)::text ~ '^\{([12][0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,7})?Z[,}])*\}?$';
end
$$;
comment on function jobsync.are_plain_times(text[]) is 'True when each text is null or an instant in UTC that casts without error.';

create function jobsync.are_plain_ids(variadic p_ids text[]) returns boolean language plpgsql immutable parallel safe as $$
begin
  return pg_catalog.array_remove(p_ids, null)::text !~ '[^0-9,{}]|[0-9]{19}';
end
$$;
comment on function jobsync.are_plain_ids(text[]) is 'True when each text is null or a whole number of at most 18 digits.';

create function jobsync.is_plain_list(p_value jsonb) returns boolean language plpgsql immutable parallel safe as $$
begin
  return p_value is null or pg_catalog.jsonb_typeof(p_value) = 'null'
      or (pg_catalog.jsonb_typeof(p_value) = 'array' and p_value::text ~ '^\[([0-9]{1,18}(, [0-9]{1,18})*)?\]$');
end
$$;
comment on function jobsync.is_plain_list(jsonb) is 'True when the value is absent, null or a list of whole numbers.';

-- The same for the values of a hundred records at once: a regular expression is set up anew for each call, which costs more
-- than reading the values then does. Values are listed as `=value;`, null as `;`. Their number is counted, so that none can
-- pass for two by a semicolon within.
create function jobsync.are_as_many(p_listed text, p_count bigint) returns boolean language sql immutable parallel safe as $$
  select pg_catalog.length(p_listed) - pg_catalog.length(pg_catalog.replace(p_listed, ';', '')) = p_count
$$;
comment on function jobsync.are_as_many(text, bigint) is 'True when the list holds so many values.';

create function jobsync.are_plain_times_listed(p_listed text, p_count bigint) returns boolean language sql immutable parallel safe as $$
  select jobsync.are_as_many(p_listed, p_count)
     and p_listed ~ '^((=[12][0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,7})?Z)?;)*$'
$$;
comment on function jobsync.are_plain_times_listed(text, bigint) is 'True when the list holds so many values, each null or an instant in UTC that casts without error.';

create function jobsync.are_plain_ids_listed(p_listed text, p_count bigint) returns boolean language sql immutable parallel safe as $$
  select jobsync.are_as_many(p_listed, p_count) and p_listed ~ '^((=[0-9]{1,18})?;)*$'
$$;
comment on function jobsync.are_plain_ids_listed(text, bigint) is 'True when the list holds so many values, each null or a whole number of at most 18 digits.';

create function jobsync.are_plain_lists_listed(p_listed text, p_count bigint) returns boolean language sql immutable parallel safe as $$
  select jobsync.are_as_many(p_listed, p_count) and p_listed ~ '^((=\[([0-9]{1,18}(, [0-9]{1,18})*)?\])?;)*$'
$$;
comment on function jobsync.are_plain_lists_listed(text, bigint) is 'True when the list holds so many values, each null or a JSON list of whole numbers.';

-- Two levels: the record and its address. A function that called itself would run out of stack on a body made for that.
create function jobsync.without_blanks(p_document jsonb) returns jsonb language sql immutable parallel safe as $$
  select case pg_catalog.jsonb_typeof(p_document) when 'object' then
    coalesce((select pg_catalog.jsonb_object_agg(e.key, case when e.key = 'address' and pg_catalog.jsonb_typeof(e.value) = 'object' then
                  coalesce((select pg_catalog.jsonb_object_agg(a.key, a.value) from pg_catalog.jsonb_each(e.value) a
                             where not (pg_catalog.jsonb_typeof(a.value) = 'string' and pg_catalog.btrim(a.value #>> '{}') = '')), '{}'::jsonb)
                else e.value end)
              from pg_catalog.jsonb_each(p_document) e
              where not (pg_catalog.jsonb_typeof(e.value) = 'string' and pg_catalog.btrim(e.value #>> '{}') = '')), '{}'::jsonb)
    else p_document end
$$;
comment on function jobsync.without_blanks(jsonb) is
  'The document without the keys (its own and its address''s) whose text is empty: on /db an empty text means "not given".';

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

-- The five tables of the guide, in public, with the guide's column names and meanings; JobSync's own columns follow.
-- Widths of the original (varchar(255), decimal(10,2)) lost data; here they are text and numeric.
-- tenant_id leads every key. The single-column unique indexes keep users' own `on conflict (st_job_id)` working while
-- there is one tenant; jobsync.add_tenant() drops them.

create table public.sync_state (
  id uuid not null default gen_random_uuid(),
  key text not null,
  value text not null,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  tenant_id text not null default jobsync.current_tenant(),
  owner text not null default 'jobsync' constraint sync_state_owner_is_known check (owner in ('jobsync', 'external')),
  primary key (tenant_id, key)
);
create unique index sync_state_single_tenant on public.sync_state (key);
comment on table public.sync_state is 'Key-value state. lastJobPull is the readable watermark: JobSync publishes it, until an outside puller writes it.';
comment on column public.sync_state.owner is 'jobsync: published by JobSync; external: an outside puller wrote it, JobSync leaves it alone.';

create table public.customers (
  id uuid not null default gen_random_uuid(),
  st_customer_id bigint not null,
  st_location_id bigint,
  first_name text,
  last_name text,
  company_name text,
  email text,
  phone text,
  street text,
  city text,
  state text,
  postal_code text,
  country text,
  county text,
  ghl_contact_id text,
  ghl_synced_at timestamptz,
  ghl_sync_status text default 'pending',
  ghl_sync_error text,
  st_raw_data jsonb,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  synced_from_st_at timestamptz default jobsync.now(),
  tenant_id text not null default jobsync.current_tenant(),
  modified_on timestamptz,
  active boolean not null default true,
  merged_to_id bigint,
  source text not null default 'api',
  do_not_service boolean,
  do_not_mail boolean,
  do_not_text boolean,
  contacts_read_at timestamptz,
  contact_hash bytea,
  primary key (tenant_id, st_customer_id),
  constraint customers_ghl_sync_status_is_known check (ghl_sync_status in ('pending', 'synced', 'failed', 'skipped'))
);
create unique index customers_single_tenant on public.customers (st_customer_id);
create index customers_by_contact on public.customers (tenant_id, ghl_contact_id) where ghl_contact_id is not null;
-- tenant_id second: led by it, a look-up by key would be planned over this index while the table is empty, and a first page
-- of 5,000 would then be read 5,000 times.
create index customers_by_modified on public.customers (modified_on, tenant_id);
create index customers_by_phone on public.customers (tenant_id, phone, st_customer_id) where phone is not null;
create index customers_by_email on public.customers (tenant_id, email, st_customer_id) where email is not null;
comment on table public.customers is 'One row per ServiceTitan customer (who pays); phone and email are the best of the customer''s contacts.';
comment on column public.customers.source is 'servicetitan (pulled), api (came through /db) or import.';
comment on column public.customers.contacts_read_at is 'When this customer''s contact list was read; null: not yet.';

create table public.jobs (
  id uuid not null default gen_random_uuid(),
  st_job_id bigint not null,
  st_job_number text,
  st_customer_id bigint,
  st_location_id bigint,
  business_unit_id bigint,
  job_type_id bigint,
  job_type_name text,
  job_status text,
  priority text,
  summary text,
  description text,
  created_on timestamptz,
  completed_on timestamptz,
  modified_on timestamptz,
  first_appointment_id bigint,
  last_appointment_id bigint,
  appointment_count integer default 0,
  total numeric,
  invoice_id bigint,
  estimate_ids bigint[],
  no_charge boolean,
  campaign_id bigint,
  lead_call_id bigint,
  tag_type_ids bigint[],
  ghl_opportunity_id text,
  ghl_pipeline text,
  ghl_synced_at timestamptz,
  ghl_sync_status text default 'pending',
  ghl_sync_error text,
  st_raw_data jsonb,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  synced_from_st_at timestamptz default jobsync.now(),
  tenant_id text not null default jobsync.current_tenant(),
  ghl_sync_reason text,
  ghl_sync_flags text[],
  ghl_accepted_at timestamptz,
  ghl_verified_at timestamptz,
  ghl_version integer not null default 0,
  source text not null default 'api',
  active boolean not null default true,
  job_hash bytea,
  job_hash_version smallint,
  delivered_hash bytea,
  primary key (tenant_id, st_job_id),
  constraint jobs_ghl_sync_status_is_known check (ghl_sync_status in ('pending', 'synced', 'failed', 'skipped'))
) with (fillfactor = 85);
-- id is random and nobody's key: a unique index on it would cost every insert and serve no query.
create unique index jobs_single_tenant on public.jobs (st_job_id);
create index jobs_by_number on public.jobs (tenant_id, st_job_number);
create index jobs_by_modified on public.jobs (tenant_id, modified_on);
create index jobs_by_customer on public.jobs (tenant_id, st_customer_id);
create index jobs_by_sync_time on public.jobs (tenant_id, synced_from_st_at);
create index jobs_by_unit on public.jobs (tenant_id, business_unit_id, created_on);
-- What is not delivered; delivered jobs, nearly all in the end, are in neither. The first is the order of the pending view,
-- the second finds the oldest of each reason and unit.
create index jobs_pending on public.jobs (tenant_id, created_on, st_job_id) include (business_unit_id) where ghl_sync_status = 'pending';
-- case, not coalesce: under row-level security PostgreSQL does not look coalesce up in an index.
create index jobs_unsynced on public.jobs (tenant_id, ghl_sync_status, (case when ghl_sync_reason is null then 'waiting' else ghl_sync_reason end),
    (case when business_unit_id is null then 0 else business_unit_id end), created_on, st_job_id)
  where ghl_sync_status <> 'synced';
create index jobs_by_opportunity on public.jobs (tenant_id, ghl_opportunity_id) where ghl_opportunity_id is not null;
comment on table public.jobs is 'One row per ServiceTitan job, with where it stands on its way into GoHighLevel.';
comment on column public.jobs.ghl_sync_status is 'pending, synced, failed or skipped; why stands in ghl_sync_reason.';
comment on column public.jobs.ghl_sync_reason is 'Why the job has its status: unmapped, unit_off, before_start, imported, test_only, no_contact, ...; null when there is nothing to explain.';
comment on column public.jobs.ghl_sync_flags is 'Facts about the last send a person should know: incomplete, no_contact, ambiguous, no_execution_id.';
comment on column public.jobs.ghl_accepted_at is 'When GoHighLevel answered 2xx.';
comment on column public.jobs.ghl_verified_at is 'When the job was read back from GoHighLevel.';
comment on column public.jobs.source is 'servicetitan (pulled), api (came through /db) or import.';
comment on column public.jobs.job_hash is 'Hash of what GoHighLevel would be told about the job itself; a change of it is a change worth sending.';
comment on column public.jobs.delivered_hash is 'job_hash at the last accepted send or baseline; null: never delivered.';

create table public.sync_logs (
  id uuid not null default gen_random_uuid(),
  sync_type text not null,
  entity_type text,
  entity_id bigint,
  status text not null,
  records_processed integer default 0,
  records_succeeded integer default 0,
  records_failed integer default 0,
  error_message text,
  error_details jsonb,
  started_at timestamptz not null default jobsync.now(),
  completed_at timestamptz,
  duration_ms integer,
  workflow_execution_id text,
  metadata jsonb default '{}',
  tenant_id text not null default jobsync.current_tenant(),
  primary key (tenant_id, id)
);
create index sync_logs_by_start on public.sync_logs (tenant_id, started_at desc);
create index sync_logs_by_type on public.sync_logs (tenant_id, sync_type, status, started_at desc);
create index sync_logs_running on public.sync_logs (tenant_id, sync_type) where status = 'running';
comment on table public.sync_logs is 'Every run: opened when it starts, always closed (running, completed, failed; a crash closes as failed, abandoned).';

create table public.business_units (
  id uuid not null default gen_random_uuid(),
  st_business_unit_id bigint not null,
  name text not null,
  ghl_pipeline_id text,
  ghl_pipeline_name text,
  sync_enabled boolean default true,
  sync_to_ghl boolean default true,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  tenant_id text not null default jobsync.current_tenant(),
  active boolean not null default true,
  modified_on timestamptz,
  st_raw_data jsonb,
  primary key (tenant_id, st_business_unit_id)
);
create unique index business_units_single_tenant on public.business_units (st_business_unit_id);
comment on table public.business_units is 'ServiceTitan business units; whether and under which pipeline name their jobs are synced. Routes: jobsync.routes.';

create trigger touch_updated_at before update on public.sync_state for each row
  when (old.updated_at = new.updated_at) execute function jobsync.touch_updated_at();
create trigger touch_updated_at before update on public.customers for each row
  when (old.updated_at = new.updated_at) execute function jobsync.touch_updated_at();
create trigger touch_updated_at before update on public.jobs for each row
  when (old.updated_at = new.updated_at) execute function jobsync.touch_updated_at();
create trigger touch_updated_at before update on public.business_units for each row
  when (old.updated_at = new.updated_at) execute function jobsync.touch_updated_at();

insert into public.sync_state (key, value, metadata, tenant_id)
values ('lastJobPull', '2025-01-01T00:00:00Z', '{}', 'default');

insert into public.business_units (st_business_unit_id, name, ghl_pipeline_name, tenant_id) values
  (1314, 'Sales & Service', 'Sales & Service', 'default'),
  (54670601, 'Install', 'Install', 'default'),
  (4622, 'Pool Service', 'Pool Service', 'default'),
  (26143, 'Plumbing', 'Plumbing', 'default');

-- What each column of the guide's tables means. Times are timestamptz; amounts are in the account's currency.

comment on column public.sync_state.id is 'Made up by JobSync; the key is (tenant_id, key).';
comment on column public.sync_state.key is 'Name of the state, such as lastJobPull.';
comment on column public.sync_state.value is 'The state as text; for lastJobPull an ISO 8601 time in UTC.';
comment on column public.sync_state.metadata is 'Whatever its writer keeps beside it.';
comment on column public.sync_state.created_at is 'When the key was first written.';
comment on column public.sync_state.updated_at is 'When the row last changed.';
comment on column public.sync_state.tenant_id is 'Whose row it is.';

comment on column public.customers.id is 'Made up by JobSync; the key is (tenant_id, st_customer_id).';
comment on column public.customers.st_customer_id is 'ServiceTitan''s id of the customer.';
comment on column public.customers.st_location_id is 'The location that came with the customer through /db; null for pulled ones, whose locations stand in jobsync.locations.';
comment on column public.customers.first_name is 'First name, read out of ServiceTitan''s one name; null for a company.';
comment on column public.customers.last_name is 'Last name, read out of ServiceTitan''s one name; null for a company or a single word.';
comment on column public.customers.company_name is 'Name of a commercial customer.';
comment on column public.customers.email is 'Best email of the customer''s contacts, in small letters; null: none that is valid.';
comment on column public.customers.phone is 'Best phone of the customer''s contacts, E.164; as given where it came through /db.';
comment on column public.customers.street is 'Billing address: street and unit.';
comment on column public.customers.city is 'Billing address: city.';
comment on column public.customers.state is 'Billing address: state.';
comment on column public.customers.postal_code is 'Billing address: ZIP code.';
comment on column public.customers.country is 'Billing address: country.';
comment on column public.customers.county is 'Billing address: county, where a caller of /db gave one.';
comment on column public.customers.ghl_contact_id is 'Id of the GoHighLevel contact; null: not known.';
comment on column public.customers.ghl_synced_at is 'When the customer was last marked as synced.';
comment on column public.customers.ghl_sync_status is 'pending, synced, failed or skipped.';
comment on column public.customers.ghl_sync_error is 'What went wrong at the last try; null: nothing.';
comment on column public.customers.st_raw_data is 'The record as received, later ones merged over it.';
comment on column public.customers.created_at is 'When JobSync first stored the customer.';
comment on column public.customers.updated_at is 'When the row last changed.';
comment on column public.customers.synced_from_st_at is 'When a record from ServiceTitan or /db last changed the row.';
comment on column public.customers.tenant_id is 'Whose row it is.';
comment on column public.customers.modified_on is 'ServiceTitan''s modifiedOn of the stored version; an older version never replaces it.';
comment on column public.customers.active is 'False when ServiceTitan deactivated the customer.';
comment on column public.customers.merged_to_id is 'The customer that this one was merged into; its jobs are delivered with that one''s contact.';
comment on column public.customers.do_not_service is 'ServiceTitan''s flag.';
comment on column public.customers.do_not_mail is 'ServiceTitan''s flag.';
comment on column public.customers.do_not_text is 'True when the chosen phone must not be texted.';
comment on column public.customers.contact_hash is 'Hash of what GoHighLevel was last told about the contact; null: never told.';

comment on column public.jobs.id is 'Made up by JobSync; the key is (tenant_id, st_job_id).';
comment on column public.jobs.st_job_id is 'ServiceTitan''s id of the job.';
comment on column public.jobs.st_job_number is 'The number that people see (a text).';
comment on column public.jobs.st_customer_id is 'Who pays: public.customers.';
comment on column public.jobs.st_location_id is 'Where the work is done: jobsync.locations.';
comment on column public.jobs.business_unit_id is 'The business unit, which decides the route.';
comment on column public.jobs.job_type_id is 'ServiceTitan''s id of the job type.';
comment on column public.jobs.job_type_name is 'Name of the job type when the job was stored; jobsync.projections shows today''s.';
comment on column public.jobs.job_status is 'ServiceTitan''s status as it writes it: Scheduled, Dispatched, InProgress, Hold, Completed, Canceled.';
comment on column public.jobs.priority is 'ServiceTitan''s priority.';
comment on column public.jobs.summary is 'What is to be done; may hold HTML.';
comment on column public.jobs.description is 'Given by callers of /db; used where there is no summary.';
comment on column public.jobs.created_on is 'When the job was booked in ServiceTitan.';
comment on column public.jobs.completed_on is 'When it was completed; null: not.';
comment on column public.jobs.modified_on is 'ServiceTitan''s modifiedOn of the stored version; an older version never replaces it.';
comment on column public.jobs.first_appointment_id is 'ServiceTitan''s id of the first appointment.';
comment on column public.jobs.last_appointment_id is 'ServiceTitan''s id of the last appointment.';
comment on column public.jobs.appointment_count is 'Number of appointments.';
comment on column public.jobs.total is 'ServiceTitan''s total of the job.';
comment on column public.jobs.invoice_id is 'ServiceTitan''s id of the invoice.';
comment on column public.jobs.estimate_ids is 'Ids of the estimates, where a caller of /db gave them; pulled ones stand in jobsync.estimates.';
comment on column public.jobs.no_charge is 'True when the job is not charged.';
comment on column public.jobs.campaign_id is 'ServiceTitan''s id of the marketing campaign.';
comment on column public.jobs.lead_call_id is 'ServiceTitan''s id of the call that brought the job.';
comment on column public.jobs.tag_type_ids is 'Ids of the job''s tags.';
comment on column public.jobs.ghl_opportunity_id is 'Id of the GoHighLevel opportunity; null: not known (a webhook does not tell it). Never made up.';
comment on column public.jobs.ghl_pipeline is 'Name of the pipeline at the last accepted send.';
comment on column public.jobs.ghl_synced_at is 'When the job was last accepted, or marked as synced from outside.';
comment on column public.jobs.ghl_sync_error is 'What went wrong at the last try, in one sentence; null: nothing.';
comment on column public.jobs.st_raw_data is 'The record as received, later ones merged over it.';
comment on column public.jobs.created_at is 'When JobSync first stored the job.';
comment on column public.jobs.updated_at is 'When the row last changed.';
comment on column public.jobs.synced_from_st_at is 'When a record from ServiceTitan or /db last changed the row.';
comment on column public.jobs.tenant_id is 'Whose row it is.';
comment on column public.jobs.ghl_version is 'Number of the last version that was accepted or given up; 0: none yet.';
comment on column public.jobs.active is 'False when ServiceTitan deactivated the job.';
comment on column public.jobs.job_hash_version is 'Which facts job_hash covers; see jobsync.hash_version(). 0: adopted, and not brought by ServiceTitan since.';

comment on column public.sync_logs.id is 'Id of the run.';
comment on column public.sync_logs.sync_type is 'job_pull, ghl_delivery, backfill, reconcile, verify, import, shadow, or a caller''s own word.';
comment on column public.sync_logs.entity_type is 'What the run was about, such as job.';
comment on column public.sync_logs.entity_id is 'ServiceTitan''s id, when the run was about one record.';
comment on column public.sync_logs.status is 'running, completed, failed, or a caller''s own word.';
comment on column public.sync_logs.records_processed is 'Records read, or deliveries tried.';
comment on column public.sync_logs.records_succeeded is 'Records stored or found unchanged, or deliveries accepted.';
comment on column public.sync_logs.records_failed is 'Records quarantined, or deliveries not accepted.';
comment on column public.sync_logs.error_message is 'What went wrong; `abandoned`: the process died.';
comment on column public.sync_logs.error_details is 'Details of a caller of /db.';
comment on column public.sync_logs.started_at is 'When the run started.';
comment on column public.sync_logs.completed_at is 'When it ended; null: still running.';
comment on column public.sync_logs.duration_ms is 'How long it took, in milliseconds.';
comment on column public.sync_logs.workflow_execution_id is 'The execution id of a caller such as n8n.';
comment on column public.sync_logs.metadata is 'Of a job_pull: one entry a stream, with its counts.';
comment on column public.sync_logs.tenant_id is 'Whose row it is.';

comment on column public.business_units.id is 'Made up by JobSync; the key is (tenant_id, st_business_unit_id).';
comment on column public.business_units.st_business_unit_id is 'ServiceTitan''s id of the business unit.';
comment on column public.business_units.name is 'ServiceTitan''s name of the unit.';
comment on column public.business_units.ghl_pipeline_id is 'Id of the pipeline, where somebody noted it.';
comment on column public.business_units.ghl_pipeline_name is 'Name of the pipeline: sent as a label; routes stand in jobsync.routes.';
comment on column public.business_units.sync_enabled is 'False: jobs of this unit are skipped (unit_off).';
comment on column public.business_units.sync_to_ghl is 'False: jobs of this unit are stored but not delivered (unit_off).';
comment on column public.business_units.created_at is 'When JobSync first stored the unit.';
comment on column public.business_units.updated_at is 'When the row last changed.';
comment on column public.business_units.tenant_id is 'Whose row it is.';
comment on column public.business_units.active is 'False when ServiceTitan deactivated the unit.';
comment on column public.business_units.modified_on is 'ServiceTitan''s modifiedOn.';
comment on column public.business_units.st_raw_data is 'The record as received.';

-- Tenants, their sealed connections, the destinations and the routes: who may be told what, and by whom.

create table jobsync.tenants (
  tenant_id text primary key constraint tenant_id_is_a_slug check (tenant_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  name text not null,
  time_zone text not null default 'UTC',
  mode text not null default 'observe' constraint mode_is_known check (mode in ('observe', 'shadow', 'live')),
  mode_set_at timestamptz,
  mode_reason text,
  deliver_from timestamptz,
  arm_remaining integer,
  paused_at timestamptz,
  pause_reason text,
  paused_with_all boolean not null default false,
  restored_at timestamptz,
  cap_hour integer not null default 2000 constraint cap_hour_is_not_negative check (cap_hour >= 0),
  cap_day integer not null default 20000 constraint cap_day_is_not_negative check (cap_day >= 0),
  poll_seconds integer not null default 300 constraint poll_is_at_least_5_seconds check (poll_seconds >= 5),
  next_pull_at timestamptz,
  next_reconcile_at timestamptz,
  quarantine_tried_with text,
  execution_price numeric not null default 0.01,
  verify_minutes integer not null default 30 constraint verify_minutes_is_positive check (verify_minutes > 0),
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now()
);
comment on table jobsync.tenants is 'One contractor each: one ServiceTitan tenant and one GoHighLevel location.';
comment on column jobsync.tenants.mode is 'observe: send nothing; shadow: also compare with the old flow; live: deliver.';
comment on column jobsync.tenants.deliver_from is 'Jobs created before this are skipped (before_start). Set at the first arm; null: never armed.';
comment on column jobsync.tenants.arm_remaining is 'Sends left of a limited arm; null: not limited.';
comment on column jobsync.tenants.paused_with_all is 'True: paused by pause_all_tenants, and goes on with resume_all_tenants; a pause of its own stays.';
comment on column jobsync.tenants.restored_at is 'When the database was restored from a backup; for the settle time after it nothing is created by API that a search may not show yet.';
comment on column jobsync.tenants.cap_hour is 'Accepted sends an hour before JobSync disarms itself; 0: none.';
comment on column jobsync.tenants.execution_price is 'What GoHighLevel bills for one workflow execution, in the account''s currency.';
comment on column jobsync.tenants.verify_minutes is 'An accepted delivery that was not found in GoHighLevel for so long is an alert.';
comment on column jobsync.tenants.next_reconcile_at is 'When the daily comparison with ServiceTitan is due; null: not booked yet.';
comment on column jobsync.tenants.quarantine_tried_with is 'Version of the software that last tried the quarantined records again; another one tries them once more.';
insert into jobsync.tenants (tenant_id, name) values ('default', 'default');

create table jobsync.connections (
  tenant_id text not null references jobsync.tenants on delete cascade,
  kind text not null constraint connection_kind_is_known check (kind in ('servicetitan', 'gohighlevel')),
  sealed bytea not null,
  key_id text not null,
  settings jsonb not null default '{}',
  state text not null default 'ok',
  state_reason text,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, kind)
);
comment on table jobsync.connections is 'Credentials of a tenant, sealed by the program (never readable in SQL); settings holds only what is no secret.';

create table jobsync.access_tokens (
  tenant_id text not null references jobsync.tenants on delete cascade,
  kind text not null,
  sealed bytea,
  key_id text,
  credential text not null default '',
  expires_at timestamptz,
  refresh_after timestamptz,
  refresh_lease_until timestamptz,
  primary key (tenant_id, kind)
);
comment on table jobsync.access_tokens is 'The current access token per connection, sealed; refresh_lease_until makes the refresh single-flight over all workers.';

create table jobsync.budgets (
  tenant_id text not null,
  budget_key text not null,
  rate double precision not null,
  burst double precision not null,
  tokens double precision not null,
  refilled_at timestamptz not null default clock_timestamp(),
  blocked_until timestamptz,
  slowness double precision not null default 1,
  slowed_at timestamptz,
  primary key (tenant_id, budget_key)
);
comment on column jobsync.budgets.slowness is 'Share of the rate that was left after the last 429; grows back within a minute of slowed_at.';
comment on table jobsync.budgets is 'Token buckets shared by all workers: requests a second to ServiceTitan, to a GoHighLevel location, to a hook.';

create table jobsync.destinations (
  tenant_id text not null references jobsync.tenants on delete cascade,
  id uuid not null default gen_random_uuid(),
  kind text not null constraint destination_kind_is_known check (kind in ('webhook', 'api')),
  label text not null,
  sealed bytea,
  key_id text,
  fingerprint bytea not null,
  masked text not null,
  paused_at timestamptz,
  pause_reason text,
  failures_in_row integer not null default 0,
  probe_at timestamptz,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, id),
  constraint destination_is_stored_once unique (tenant_id, fingerprint)
);
create unique index destinations_by_id on jobsync.destinations (id);
comment on table jobsync.destinations is 'Where jobs are delivered: an inbound hook (its URL is a secret, sealed) or a location by API.';
comment on column jobsync.destinations.fingerprint is 'HMAC of the URL or location id, so that the same hook is one destination without being readable.';
comment on column jobsync.destinations.masked is 'What may be shown: host and the last four characters.';

create table jobsync.routes (
  tenant_id text not null references jobsync.tenants on delete cascade,
  st_business_unit_id bigint not null,
  deliverer text not null default 'none' constraint deliverer_is_known check (deliverer in ('jobsync', 'external', 'none')),
  destination_id uuid,
  events text not null default 'created' constraint events_are_known check (events in ('created', 'all')),
  pipeline_id text,
  pipeline_name text,
  stage_id text,
  stage_name text,
  card text not null default 'own' constraint route_card_is_known check (card in ('own', 'sales')),
  problem text,
  armed boolean not null default true,
  armed_reason text,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_business_unit_id),
  foreign key (tenant_id, destination_id) references jobsync.destinations (tenant_id, id),
  constraint jobsync_delivers_somewhere check (deliverer <> 'jobsync' or destination_id is not null)
);
-- Only for who asks by destination: a unit's route is looked up by its key (see attempts_by_time).
create index routes_by_destination on jobsync.routes (tenant_id, destination_id) where destination_id is not null;
comment on table jobsync.routes is 'Business unit -> destination, and who delivers: jobsync, external (n8n, a script) or none.';
comment on column jobsync.routes.events is 'Webhook only. created: one POST per job, ever; all: also one per later change.';
comment on column jobsync.routes.card is 'own: each job its own card; sales: a job made from a sold estimate goes on with the card of the job it was sold in.';
comment on column jobsync.routes.problem is 'What is wrong with the route''s pipeline or stage in GoHighLevel (renamed, gone); null: nothing.';
comment on column jobsync.routes.armed is 'False: arm refused this route (jobs were pushed from outside in the last 24 h).';

create table jobsync.audit (
  tenant_id text not null,
  id bigint generated always as identity,
  at timestamptz not null default jobsync.now(),
  actor text not null,
  action text not null,
  subject text,
  details jsonb not null default '{}',
  primary key (tenant_id, id)
);
create index audit_by_subject on jobsync.audit (tenant_id, subject, id desc);
comment on table jobsync.audit is 'Append-only: what people and the program decided (mode, routes, pauses, rewinds), never personal data.';

create table jobsync.tokens (
  tenant_id text not null references jobsync.tenants on delete cascade,
  id text not null,
  name text not null,
  secret_hash bytea not null,
  scopes text[] not null,
  all_tenants boolean not null default false,
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz,
  created_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, id)
);
create unique index tokens_by_id on jobsync.tokens (id);
comment on column jobsync.tokens.all_tenants is 'True: with the scope admin it may act for any tenant that X-JobSync-Tenant names.';
comment on table jobsync.tokens is 'API tokens js_<id>_<secret>: only the SHA-256 of the secret is stored.';

create function jobsync.write_audit(p_tenant text, p_actor text, p_action text, p_subject text, p_details jsonb default '{}')
returns void language sql volatile as $$
  insert into jobsync.audit (tenant_id, actor, action, subject, details)
  values (p_tenant, p_actor, p_action, p_subject, coalesce(p_details, '{}'))
$$;
comment on function jobsync.write_audit(text, text, text, text, jsonb) is 'Adds one line to the audit, in the caller''s transaction.';

create function jobsync.left_speed(p_slowness double precision, p_slowed_at timestamptz, p_now timestamptz) returns double precision
language sql immutable parallel safe as $$
  select case when p_slowed_at is null then 1 else least(1, p_slowness + greatest(0, extract(epoch from p_now - p_slowed_at)) / 60) end
$$;
comment on function jobsync.left_speed(double precision, timestamptz, timestamptz) is
  'Share of a bucket''s rate that may be used: what a 429 left of it, whole again a minute after the pause.';

-- A bucket is refilled by the server's real clock, not jobsync.now(): a moved test clock must not hand out requests.
create function jobsync.take_budget(p_tenant text, p_key text, p_rate double precision, p_burst double precision, p_want integer)
returns table (granted integer, wait_seconds double precision)
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_row budgets;
  v_tokens double precision;
  v_rate double precision;
  v_now timestamptz := clock_timestamp();
begin
  if p_rate <= 0 then
    return query select p_want, 0::double precision;
    return;
  end if;
  insert into budgets (tenant_id, budget_key, rate, burst, tokens)
  values (p_tenant, p_key, p_rate, p_burst, p_burst)
  on conflict (tenant_id, budget_key) do nothing;
  select * into v_row from budgets b where b.tenant_id = p_tenant and b.budget_key = p_key for update;
  if v_row.blocked_until > v_now then
    return query select 0, extract(epoch from v_row.blocked_until - v_now)::double precision;
    return;
  end if;
  v_rate := p_rate * left_speed(v_row.slowness, v_row.slowed_at, v_now);
  v_tokens := least(p_burst, v_row.tokens + v_rate * greatest(0, extract(epoch from v_now - v_row.refilled_at)));
  granted := least(p_want, floor(v_tokens + 1e-9)::integer);
  wait_seconds := case when granted > 0 then 0 else (1 - v_tokens) / v_rate end;
  update budgets b set tokens = v_tokens - granted, refilled_at = v_now, rate = p_rate, burst = p_burst, blocked_until = null
   where b.tenant_id = p_tenant and b.budget_key = p_key;
  return next;
end
$$;
comment on function jobsync.take_budget(text, text, double precision, double precision, integer) is
  'Takes up to p_want requests from a shared bucket; grants 0 and a wait when it is empty or blocked. Rate 0: unpaced.';

create function jobsync.block_budget(p_tenant text, p_key text, p_seconds double precision) returns void
language sql volatile as $$
  update jobsync.budgets b
     set blocked_until = greatest(coalesce(b.blocked_until, '-infinity'), pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => p_seconds)),
         tokens = 0
   where b.tenant_id = p_tenant and b.budget_key = p_key
$$;
comment on function jobsync.block_budget(text, text, double precision) is 'Nobody takes from this bucket for p_seconds. A longer pause stays.';

create function jobsync.slow_budget(p_tenant text, p_key text, p_seconds double precision) returns void
language sql volatile as $$
  -- Requests that were under way together are refused together: half the speed once for a pause, not once for each of them.
  update jobsync.budgets b
     set slowness = greatest(1 / 64.0, jobsync.left_speed(b.slowness, b.slowed_at, pg_catalog.clock_timestamp()) / 2),
         slowed_at = greatest(b.slowed_at, pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => greatest(p_seconds, 1)))
   where b.tenant_id = p_tenant and b.budget_key = p_key and (b.slowed_at is null or b.slowed_at <= pg_catalog.clock_timestamp());
  select jobsync.block_budget(p_tenant, p_key, p_seconds * (1 + 0.2 * pg_catalog.random()))
$$;
comment on function jobsync.slow_budget(text, text, double precision) is
  'After a 429: nobody takes from this bucket for p_seconds and up to a fifth more, and then at half the speed, which grows back within a minute.';

-- A second tenant. Run as the owner: the single-column unique indexes, which keep people's own `on conflict (st_job_id)`
-- working while there is one tenant, go then, because two contractors may have the same ids.

create function jobsync.add_tenant(p_tenant text, p_name text, p_actor text) returns jobsync.tenants
language plpgsql set search_path = jobsync, public as $$
declare
  v_tenant jobsync.tenants;
begin
  select * into v_tenant from tenants t where t.tenant_id = p_tenant;
  if found then
    return v_tenant;
  end if;
  if p_tenant is null or p_tenant !~ '^[a-z0-9][a-z0-9_-]{0,62}$' then
    raise exception 'a tenant''s id is made of small letters, digits, - and _, at most 63' using errcode = 'JS001';
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'jobsync_app') then
    raise exception 'this database serves one tenant only: the role jobsync_app, which keeps tenants apart, is missing'
      using errcode = 'JS001', hint = format('As a superuser: CREATE ROLE jobsync_app NOLOGIN; GRANT jobsync_app TO %I; then `jobsync db migrate` on a new database.', current_user);
  end if;
  drop index if exists public.sync_state_single_tenant, public.customers_single_tenant, public.jobs_single_tenant, public.business_units_single_tenant;
  insert into tenants (tenant_id, name) values (p_tenant, coalesce(nullif(btrim(p_name), ''), p_tenant)) returning * into v_tenant;
  insert into sync_state (key, value, tenant_id) values ('lastJobPull', '2025-01-01T00:00:00Z', p_tenant);
  perform write_audit(p_tenant, p_actor, 'tenant_added', 'tenant', jsonb_build_object('name', v_tenant.name));
  return v_tenant;
end
$$;
comment on function jobsync.add_tenant(text, text, text) is
  'Adds a tenant, observing and without units, and drops the indexes that only one tenant allows. Only the owner of the tables may. Twice changes nothing.';

-- How the upstreams stand towards a tenant: refused sign-in or access, and the circuit breaker before their requests.

create table jobsync.upstream_states (
  tenant_id text not null references jobsync.tenants on delete cascade,
  upstream text not null constraint upstream_is_known check (upstream in ('servicetitan', 'gohighlevel')),
  state text not null default 'ok' constraint upstream_state_is_known check (state in ('ok', 'auth_failed', 'access_denied')),
  reason text,
  since timestamptz not null default jobsync.now(),
  primary key (tenant_id, upstream)
);
comment on table jobsync.upstream_states is 'Whether an upstream lets the tenant in. No row: it always did.';
comment on column jobsync.upstream_states.state is 'auth_failed: 401 with a fresh token, or no token at all; access_denied: 403 for what everything else needs.';

create function jobsync.set_upstream_state(p_tenant text, p_upstream text, p_state text, p_reason text) returns boolean
language plpgsql set search_path = jobsync, public as $$
begin
  if p_state = 'ok' then
    update upstream_states s set state = 'ok', reason = null, since = jobsync.now()
     where s.tenant_id = p_tenant and s.upstream = p_upstream and s.state <> 'ok';
  else
    insert into upstream_states as s (tenant_id, upstream, state, reason) values (p_tenant, p_upstream, p_state, left(p_reason, 500))
    on conflict (tenant_id, upstream) do update set state = excluded.state, reason = excluded.reason, since = excluded.since
     where s.state <> excluded.state;
  end if;
  if found then
    perform write_audit(p_tenant, 'jobsync', 'upstream_' || p_state, p_upstream, jsonb_build_object('reason', left(p_reason, 500)));
  end if;
  return found;
end
$$;
comment on function jobsync.set_upstream_state(text, text, text, text) is
  'Notes how an upstream stands towards the tenant, with a line in the audit when that changes. True when it changed; the same again writes nothing.';

create function jobsync.is_upstream_refused(p_tenant text, p_upstream text) returns boolean language sql stable parallel safe as $$
  select exists (select from jobsync.upstream_states s where s.tenant_id = p_tenant and s.upstream = p_upstream and s.state <> 'ok')
$$;
comment on function jobsync.is_upstream_refused(text, text) is 'True while sign-in or access is refused, so that only a person can mend it.';

-- The breaker: open after ten failures among the last twenty requests, then one request at a time tries whether it may
-- close. All tenants that reach one environment of ServiceTitan with one app share it (reliability, "What happens on each
-- answer"): what is down for one is down for all. It goes by the real clock, as the budgets do.
create table jobsync.breakers (
  breaker_key bytea primary key,
  outcomes boolean[] not null default '{}',
  open_until timestamptz,
  opened_at timestamptz,
  times_opened integer not null default 0,
  probe_until timestamptz
);
comment on table jobsync.breakers is 'Circuit breakers before an upstream, one for each app and environment. Nobody''s rows: whoever shares the app shares it.';
comment on column jobsync.breakers.breaker_key is 'Keyed hash of environment and app, so that the app''s key is not readable.';
comment on column jobsync.breakers.outcomes is 'The last twenty requests, false for 5xx, timeouts and resets.';
comment on column jobsync.breakers.open_until is 'Nobody asks before this; null: closed.';
comment on column jobsync.breakers.opened_at is 'Since when requests are held back, trials that failed included; null: closed.';
comment on column jobsync.breakers.probe_until is 'Since it may close again, one worker tries; the others wait for it until this.';

create function jobsync.note_outcomes(p_tenant text, p_upstream text, p_breaker bytea, p_outcomes boolean[]) returns timestamptz
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_row breakers;
  v_now timestamptz := clock_timestamp();
  v_all boolean[];
begin
  -- All is well, and was before: nothing to write, so that tenants do not queue for one row while it is.
  if true = all (p_outcomes) and exists (
       select from breakers b where b.breaker_key = p_breaker and b.open_until is null and cardinality(b.outcomes) = 20 and true = all (b.outcomes)) then
    return null;
  end if;
  insert into breakers (breaker_key) values (p_breaker) on conflict (breaker_key) do nothing;
  select * into v_row from breakers b where b.breaker_key = p_breaker for update;
  if v_row.open_until > v_now and v_row.probe_until is null then
    -- Answers to what was under way when it opened.
    return v_row.open_until;
  end if;
  v_all := v_row.outcomes || p_outcomes;
  v_all := v_all[greatest(1, cardinality(v_all) - 19):];
  if v_row.open_until is not null and p_outcomes[cardinality(p_outcomes)] then
    update breakers b set outcomes = '{}', open_until = null, opened_at = null, probe_until = null, times_opened = 0 where b.breaker_key = p_breaker;
    perform write_audit(p_tenant, 'jobsync', 'breaker_closed', p_upstream);
    return null;
  end if;
  if v_row.open_until is not null or (cardinality(v_all) = 20 and cardinality(array_remove(v_all, true)) >= 10) then
    update breakers b set outcomes = '{}', probe_until = null, times_opened = v_row.times_opened + 1, opened_at = coalesce(v_row.opened_at, v_now),
           open_until = v_now + least(300, 10 * 2 ^ least(v_row.times_opened, 5)) * interval '1 second'
     where b.breaker_key = p_breaker returning b.open_until into v_row.open_until;
    if v_row.times_opened = 0 then
      perform write_audit(p_tenant, 'jobsync', 'breaker_opened', p_upstream);
    end if;
    return v_row.open_until;
  end if;
  update breakers b set outcomes = v_all where b.breaker_key = p_breaker;
  return null;
end
$$;
comment on function jobsync.note_outcomes(text, text, bytea, boolean[]) is
  'Adds how requests went; opens the breaker at ten failures of twenty (10 s, then ever longer, at most 300), closes it when a trial succeeds, with a line in the audit of the tenant that saw it. Answers until when it is open.';

create function jobsync.enter_breaker(p_breaker bytea, p_insist boolean) returns table (wait_seconds double precision, is_probe boolean, is_tried boolean)
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_row breakers;
  v_now timestamptz := clock_timestamp();
begin
  select * into v_row from breakers b where b.breaker_key = p_breaker and b.open_until is not null for update;
  if not found then
    return query select 0::double precision, false, false;
  elsif v_row.probe_until > v_now then
    return query select extract(epoch from v_row.probe_until - v_now)::double precision, false, true;
  elsif v_row.open_until > v_now and not p_insist then
    return query select extract(epoch from v_row.open_until - v_now)::double precision, false, false;
  else
    -- A trial whose worker died is another's after this.
    update breakers b set probe_until = v_now + interval '120 seconds' where b.breaker_key = p_breaker;
    return query select 0::double precision, true, false;
  end if;
end
$$;
comment on function jobsync.enter_breaker(bytea, boolean) is
  'Whether a request may be made: wait 0 while the breaker is closed, or for the one that tries whether it may close (is_probe). is_tried: another one tries right now. p_insist: tries also while it is open, so that other streams'' failures never keep jobs from being read.';

-- What the upstreams' answers say of themselves: the day's quota of GoHighLevel, and what their clocks show. Two alert
-- conditions stand on it (86_alerts.sql); nothing is decided by it otherwise.

create table jobsync.upstream_facts (
  tenant_id text not null references jobsync.tenants on delete cascade,
  upstream text not null constraint upstream_is_known check (upstream in ('servicetitan', 'gohighlevel')),
  daily_limit bigint,
  daily_remaining bigint,
  quota_at timestamptz,
  clock_ahead_s double precision,
  noted_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, upstream)
);
comment on table jobsync.upstream_facts is 'What the newest answers of an upstream said of its daily quota and its clock.';
comment on column jobsync.upstream_facts.daily_remaining is 'Requests that were left of the day''s quota at quota_at; null: the answers do not say (ServiceTitan''s never do).';
comment on column jobsync.upstream_facts.clock_ahead_s is 'Seconds by which PostgreSQL''s clock is ahead of the upstream''s Date header; below zero: behind.';

create function jobsync.note_upstream(p_tenant text, p_upstream text, p_clock timestamptz, p_limit bigint, p_remaining bigint) returns void
language sql volatile as $$
  insert into jobsync.upstream_facts as f (tenant_id, upstream, daily_limit, daily_remaining, quota_at, clock_ahead_s, noted_at)
  values (p_tenant, p_upstream, p_limit, p_remaining, case when p_remaining is not null then jobsync.now() end,
          extract(epoch from jobsync.now() - p_clock)::double precision, jobsync.now())
  on conflict (tenant_id, upstream) do update set
      daily_limit = coalesce(excluded.daily_limit, f.daily_limit), daily_remaining = coalesce(excluded.daily_remaining, f.daily_remaining),
      quota_at = coalesce(excluded.quota_at, f.quota_at), clock_ahead_s = coalesce(excluded.clock_ahead_s, f.clock_ahead_s), noted_at = excluded.noted_at
    -- Much the same a moment later is not worth a write.
    where f.noted_at < excluded.noted_at - interval '1 minute'
       or (f.daily_remaining * 5 <= f.daily_limit) is distinct from (excluded.daily_remaining * 5 <= excluded.daily_limit)
       or (f.daily_remaining = 0) is distinct from (excluded.daily_remaining = 0)
       or (abs(f.clock_ahead_s) > 60) is distinct from (abs(excluded.clock_ahead_s) > 60)
$$;
comment on function jobsync.note_upstream(text, text, timestamptz, bigint, bigint) is
  'Notes what an answer said: the upstream''s clock, and what is left of the day''s quota (nulls: it did not say). Written when it matters, else once a minute.';

-- Users of the dashboard: who may sign in, what they may do there, their sessions and one-time links.
--
-- A name is one user of the whole installation: whoever signs in says no tenant. Passwords are argon2id; of sessions and
-- links only the SHA-256 is stored. All four are looked up before the tenant is known, therefore as the owner.

create table jobsync.users (
  tenant_id text not null references jobsync.tenants on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null constraint user_name_is_plain check (name ~ '^[a-z0-9][a-z0-9._-]{1,63}$'),
  role text not null constraint role_is_known check (role in ('viewer', 'operator', 'admin')),
  all_tenants boolean not null default false constraint only_admins_reach_all_tenants check (not all_tenants or role = 'admin'),
  password_hash text,
  disabled_at timestamptz,
  last_seen_at timestamptz,
  created_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, id)
);
create unique index users_by_name on jobsync.users (name);
comment on table jobsync.users is 'People who sign in to the dashboard. viewer: reads; operator: also pauses, replays, decides; admin: also arms, routes, manages users.';
comment on column jobsync.users.name is 'What is typed at sign-in and stands in the audit as user:<name>; no e-mail address.';
comment on column jobsync.users.password_hash is 'argon2id; null: no password was chosen yet, only a one-time link lets the user in.';
comment on column jobsync.users.all_tenants is 'True: an administrator of the whole installation, who may choose the tenant.';

create table jobsync.sessions (
  tenant_id text not null,
  secret_hash bytea not null,
  user_id uuid not null,
  acting_for text references jobsync.tenants on delete cascade,
  flash jsonb,
  seen_at timestamptz not null default jobsync.now(),
  created_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, secret_hash),
  foreign key (tenant_id, user_id) references jobsync.users on delete cascade
);
create unique index sessions_by_secret on jobsync.sessions (secret_hash);
create index sessions_by_user on jobsync.sessions (tenant_id, user_id);
create index sessions_by_time on jobsync.sessions (seen_at);
comment on table jobsync.sessions is 'Who is signed in. A row ends with sign-out, after 12 hours without a page, or with its user.';
comment on column jobsync.sessions.acting_for is 'The tenant that an administrator of all tenants looks at; null: the user''s own.';
comment on column jobsync.sessions.flash is 'What the next page tells once: {kind, text}.';

create table jobsync.sign_in_links (
  tenant_id text not null references jobsync.tenants on delete cascade,
  key_hash bytea not null,
  user_id uuid,
  enters boolean not null default false,
  expires_at timestamptz not null,
  used_at timestamptz,
  created_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, key_hash),
  foreign key (tenant_id, user_id) references jobsync.users on delete cascade
);
create unique index sign_in_links_by_key on jobsync.sign_in_links (key_hash);
comment on table jobsync.sign_in_links is 'One-time links: the first administrator makes an account (no user_id), a user chooses a password, or the demo is entered.';
comment on column jobsync.sign_in_links.enters is 'True: the link signs in by itself, again and again until it expires (the demo only).';

create table jobsync.sign_in_failures (
  tenant_id text not null,
  subject bytea not null,
  failures integer not null,
  last_at timestamptz not null,
  primary key (tenant_id, subject)
);
create index sign_in_failures_by_time on jobsync.sign_in_failures (last_at);
comment on table jobsync.sign_in_failures is
  'Tries to sign in that did not succeed, by name and address together, and by address alone. Kept under tenant default: who tries to sign in has no tenant yet.';
comment on column jobsync.sign_in_failures.subject is 'SHA-256 of name and address, or of the address: neither is readable.';

create function jobsync.count_try(p_subject bytea, p_most integer) returns integer language sql volatile set search_path = jobsync, public as $$
  -- Counted before the password is looked at, so that a thousand tries at once are no more than one after another.
  insert into sign_in_failures as f (tenant_id, subject, failures, last_at) values ('default', p_subject, 1, jobsync.now())
  on conflict (tenant_id, subject) do update set
    failures = case when f.last_at < jobsync.now() - interval '15 minutes' then 1 else least(f.failures + 1, p_most + 1) end,
    last_at = case when f.last_at >= jobsync.now() - interval '15 minutes' and f.failures >= p_most then f.last_at else jobsync.now() end
  returning f.failures
$$;
comment on function jobsync.count_try(bytea, integer) is
  'Counts one try to sign in and answers how many there were within 15 minutes; beyond p_most nobody is let in until 15 minutes after the last one that counted.';

create function jobsync.change_user(p_tenant text, p_user uuid, p_role text, p_disabled boolean, p_actor text) returns jobsync.users
language plpgsql set search_path = jobsync, public as $$
declare
  v_user users;
begin
  perform from tenants t where t.tenant_id = p_tenant for no key update;
  select * into v_user from users u where u.tenant_id = p_tenant and u.id = p_user;
  if not found then
    raise exception using errcode = 'JS004', message = 'No such user.';
  end if;
  if v_user.role = 'admin' and v_user.disabled_at is null and (coalesce(p_role, 'admin') <> 'admin' or coalesce(p_disabled, false))
     and not exists (select from users u where u.tenant_id = p_tenant and u.role = 'admin' and u.disabled_at is null and u.id <> p_user) then
    raise exception using errcode = 'JS001', message = 'user is the last administrator: make somebody else one first.';
  end if;
  update users u set role = coalesce(p_role, u.role), all_tenants = u.all_tenants and coalesce(p_role, u.role) = 'admin',
         disabled_at = case when p_disabled then coalesce(u.disabled_at, jobsync.now()) when p_disabled = false then null else u.disabled_at end
   where u.tenant_id = p_tenant and u.id = p_user returning * into v_user;
  if v_user.disabled_at is not null then
    delete from sessions s where s.tenant_id = p_tenant and s.user_id = p_user;
    delete from sign_in_links l where l.tenant_id = p_tenant and l.user_id = p_user;
  end if;
  perform write_audit(p_tenant, p_actor, 'user_changed', 'user:' || v_user.name,
    jsonb_build_object('role', v_user.role, 'disabled', v_user.disabled_at is not null));
  return v_user;
end
$$;
comment on function jobsync.change_user(text, uuid, text, boolean, text) is
  'Sets the role of a user (null: as it is) and switches the account off or on; switched off, all sessions end. The last administrator stays one.';

-- The part of a bucket that is kept for calls somebody waits for: whoever has time takes only what stands above it.

create function jobsync.take_spare_budget(
  p_tenant text, p_key text, p_rate double precision, p_burst double precision, p_want integer, p_reserve double precision)
returns table (granted integer, wait_seconds double precision)
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_row budgets;
  v_spare double precision := p_burst - p_reserve;
begin
  if p_rate <= 0 or p_reserve <= 0 then
    return query select t.granted, t.wait_seconds from take_budget(p_tenant, p_key, p_rate, p_burst, p_want) t;
    return;
  end if;
  -- Locked until it is taken from, so that two who both see the last spare one do not both take it.
  select * into v_row from budgets b where b.tenant_id = p_tenant and b.budget_key = p_key for update;
  if found then
    v_spare := least(p_burst, v_row.tokens + p_rate * greatest(0, extract(epoch from clock_timestamp() - v_row.refilled_at))) - p_reserve;
    if v_spare < 1 - 1e-9 and coalesce(v_row.blocked_until <= clock_timestamp(), true) then
      return query select 0, greatest((1 - v_spare) / p_rate, 0.001);
      return;
    end if;
  end if;
  return query select t.granted, t.wait_seconds from take_budget(p_tenant, p_key, p_rate, p_burst, least(p_want, greatest(1, floor(v_spare + 1e-9)::integer))) t;
end
$$;
comment on function jobsync.take_spare_budget(text, text, double precision, double precision, integer, double precision) is
  'take_budget for whoever has time: leaves p_reserve of the bucket to calls that somebody waits for.';

-- What is pulled besides the guide's tables: locations, contacts, job types; the cursors; the quarantine.
-- No foreign keys between records: ServiceTitan's feeds are independent, a child may arrive before its parent.

create table jobsync.cursors (
  tenant_id text not null references jobsync.tenants on delete cascade,
  stream text not null,
  mode text not null default 'export' constraint cursor_mode_is_known check (mode in ('export', 'list')),
  token text,
  since text,
  began_from text,
  caught_up_at timestamptz,
  began_at_start boolean not null default false,
  complete_from_start boolean not null default false,
  revision bigint not null default 0,
  failures integer not null default 0,
  last_error text,
  next_read_at timestamptz,
  refused_at timestamptz,
  feed_refused_at timestamptz,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, stream)
);
comment on table jobsync.cursors is 'Where each stream goes on reading. Moves only in the transaction that stores the page.';
comment on column jobsync.cursors.token is 'Opaque continueFrom of the export feed; null: from `since`, or from the first record.';
comment on column jobsync.cursors.since is 'ISO time as ServiceTitan wrote it (7 digits kept): where a list read, or a feed without token, starts. Inclusive.';
comment on column jobsync.cursors.began_from is 'Modification time at which the first reading began; null: at the first record. What is older was never asked for.';
comment on column jobsync.cursors.caught_up_at is 'When the stream was last read to its end.';
comment on column jobsync.cursors.began_at_start is 'True when the first reading began at the first record.';
comment on column jobsync.cursors.complete_from_start is 'True when the stream was read from its first record on, so that an absent record does not exist.';
comment on column jobsync.cursors.refused_at is 'Since when ServiceTitan does not let this app read the stream, although everything else works; null: granted, or not tried.';
comment on column jobsync.cursors.feed_refused_at is 'When the stream''s export feed was last refused; for a day after that it is read by list.';
comment on column jobsync.cursors.revision is 'Counts the moves; a page is stored only if the cursor still is the one that was read.';

create function jobsync.is_first_load(p_tenant text) returns boolean language sql stable parallel safe as $$
  select not exists (select from jobsync.cursors c where c.tenant_id = p_tenant and c.stream = 'jobs' and c.caught_up_at is not null)
$$;
comment on function jobsync.is_first_load(text) is 'True until jobs were once read to their end.';

create table jobsync.locations (
  tenant_id text not null default jobsync.current_tenant(),
  st_location_id bigint not null,
  st_customer_id bigint,
  name text,
  street text,
  city text,
  state text,
  postal_code text,
  country text,
  county text,
  phone text,
  email text,
  do_not_text boolean,
  active boolean not null default true,
  merged_to_id bigint,
  modified_on timestamptz,
  contacts_read_at timestamptz,
  st_raw_data jsonb,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_location_id)
);
-- tenant_id second: led by it, a look-up by key would be planned over this index while the table is empty, and a first page
-- of 5,000 would then be read 5,000 times.
create index locations_by_customer on jobsync.locations (st_customer_id, tenant_id);
comment on table jobsync.locations is 'ServiceTitan locations: the addresses where work is done; phone and email are the best of the location''s contacts.';

create table jobsync.contacts (
  tenant_id text not null default jobsync.current_tenant(),
  owner_kind text not null constraint contact_owner_is_known check (owner_kind in ('customer', 'location')),
  owner_id bigint not null,
  st_contact_id bigint not null,
  type text not null,
  value text not null,
  phone text,
  memo text,
  do_not_text boolean,
  active boolean not null default true,
  modified_on timestamptz,
  st_raw_data jsonb,
  updated_at timestamptz not null default jobsync.now(),
  -- A contact id alone is not unique (ServiceTitan contract, gotcha 15).
  primary key (tenant_id, owner_kind, owner_id, st_contact_id)
);
create index contacts_by_phone on jobsync.contacts (tenant_id, phone) where phone is not null;
comment on table jobsync.contacts is 'Ways to reach a customer or a location, one row per contact: merged by id, so that a window of changes never wipes the others.';
comment on column jobsync.contacts.phone is 'E.164 when the value is a valid phone number, else null.';

create table jobsync.job_types (
  tenant_id text not null default jobsync.current_tenant(),
  st_job_type_id bigint not null,
  name text,
  active boolean not null default true,
  modified_on timestamptz,
  st_raw_data jsonb,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_job_type_id)
);
comment on table jobsync.job_types is 'ServiceTitan job types: a job carries only the id.';

create table jobsync.quarantine (
  tenant_id text not null default jobsync.current_tenant(),
  id bigint generated always as identity,
  stream text not null,
  record_id text,
  reason text not null,
  raw bytea not null,
  raw_hash bytea not null,
  first_seen_at timestamptz not null default jobsync.now(),
  last_seen_at timestamptz not null default jobsync.now(),
  times_seen integer not null default 1,
  resolved_at timestamptz,
  resolution text,
  primary key (tenant_id, id),
  constraint quarantined_once unique (tenant_id, stream, raw_hash)
);
create index quarantine_settled on jobsync.quarantine (tenant_id, resolved_at) where resolved_at is not null;
create index quarantine_open on jobsync.quarantine (tenant_id, stream, record_id) where resolved_at is null;
comment on table jobsync.quarantine is 'Records that do not fit, kept byte for byte with the reason; resolved when the record later fits.';

-- Best phone and email of one owner: mobile before other phones, a number that may be texted before one that may not,
-- then the newest, then the lowest id so that the choice is stable. Fax never.
create function jobsync.choose_contacts(p_tenant text, p_owner_kind text, p_owner_ids bigint[])
returns table (owner_id bigint, phone text, email text, do_not_text boolean)
language sql stable rows 1000 as $$
  select c.owner_id,
         (pg_catalog.array_agg(c.phone order by c.place) filter (where c.is_phone))[1],
         (pg_catalog.array_agg(pg_catalog.lower(pg_catalog.btrim(c.value)) order by c.place) filter (where c.is_email))[1],
         (pg_catalog.array_agg(c.do_not_text order by c.place) filter (where c.is_phone))[1]
    from (select k.owner_id, k.phone, k.value, k.do_not_text,
                 k.active and k.type in ('MobilePhone', 'Phone') and k.phone is not null as is_phone,
                 k.active and k.type = 'Email' and pg_catalog.btrim(k.value) ~ '^[^@\s]+@[^@\s]+\.[^@\s]+$' as is_email,
                 pg_catalog.row_number() over (
                   partition by k.owner_id
                   order by (k.type <> 'MobilePhone'), coalesce(k.do_not_text, false), k.modified_on desc nulls last, k.st_contact_id) as place
            from jobsync.contacts k
           where k.tenant_id = p_tenant and k.owner_kind = p_owner_kind and k.owner_id = any (p_owner_ids)) c
   group by c.owner_id
$$;
comment on function jobsync.choose_contacts(text, text, bigint[]) is
  'Best phone and email of each owner who has contacts: mobile first, then other phones, never fax; a valid email; inactive contacts left out.';

create function jobsync.quarantine_records(p_tenant text, p_stream text, p_records jsonb, p_raw bytea[], p_now timestamptz)
returns integer language sql volatile as $$
  with refused as (
    select distinct on (pg_catalog.sha256(raw.raw)) r.value ->> 'id' as record_id, r.value ->> 'reason' as reason, raw.raw, r.n
      from pg_catalog.jsonb_array_elements(p_records) with ordinality r(value, n)
      join pg_catalog.unnest(p_raw) with ordinality raw(raw, n) using (n)
  ), kept as (
    insert into jobsync.quarantine (tenant_id, stream, record_id, reason, raw, raw_hash, first_seen_at, last_seen_at)
    select p_tenant, p_stream, f.record_id, f.reason, f.raw, pg_catalog.sha256(f.raw), p_now, p_now from refused f order by f.n
    on conflict (tenant_id, stream, raw_hash) do update
      set last_seen_at = excluded.last_seen_at, times_seen = jobsync.quarantine.times_seen + 1, reason = excluded.reason
    returning 1
  )
  select pg_catalog.jsonb_array_length(p_records) from (select count(*) from kept) counted
$$;
comment on function jobsync.quarantine_records(text, text, jsonb, bytea[], timestamptz) is
  'Keeps refused records ([{id, reason}] beside their raw bytes); the same bytes again only count up. Answers how many.';

create function jobsync.resolve_quarantined(p_tenant text, p_stream text, p_ids bigint[], p_now timestamptz) returns void
language sql volatile as $$
  update jobsync.quarantine q set resolved_at = p_now, resolution = 'a later version fits'
   where q.tenant_id = p_tenant and q.stream = p_stream and q.resolved_at is null and q.record_id = any (p_ids::text[])
     -- Almost always there is none, and then no id is looked up.
     and exists (select from jobsync.quarantine o where o.tenant_id = p_tenant and o.stream = p_stream and o.resolved_at is null)
$$;
comment on function jobsync.resolve_quarantined(text, text, bigint[], timestamptz) is
  'Closes quarantined records of which a version that fits was stored just now.';

create table jobsync.wanted (
  tenant_id text not null,
  stream text not null constraint wanted_stream_is_a_parent
    check (stream in ('customers', 'locations', 'customer_contacts', 'location_contacts')),
  id bigint not null,
  wanted_at timestamptz not null default jobsync.now(),
  asked_at timestamptz,
  times_asked integer not null default 0,
  primary key (tenant_id, stream, id)
);
comment on table jobsync.wanted is 'Parents that stored jobs refer to and that are not here yet: brought by their feed, else looked up by ids, 50 a call.';

-- Written beside the parents, so that nobody has to look through all that is wanted to find what has come.
create table jobsync.arrived (
  tenant_id text not null,
  id bigint generated always as identity,
  stream text not null,
  ids bigint[] not null,
  primary key (tenant_id, id)
);
comment on table jobsync.arrived is 'Parents stored, and contact lists read, since jobsync.resolve_wanted last ran: one line for each page.';

create function jobsync.note_arrived(p_tenant text, p_stream text, p_ids bigint[]) returns void language sql volatile as $$
  insert into jobsync.arrived (tenant_id, stream, ids) select p_tenant, p_stream, p_ids where cardinality(p_ids) > 0
$$;
comment on function jobsync.note_arrived(text, text, bigint[]) is 'Notes parents that were stored, for jobsync.resolve_wanted.';

-- What happens around a job: appointments, estimates, invoices, technician assignments; and two short lists that jobs
-- name by id: tag types and campaigns. Each row keeps ServiceTitan's record as it came beside the typed columns.
-- No foreign keys: a visit may arrive before its job. st_job_id links; the views of 82 resolve.

create table jobsync.appointments (
  tenant_id text not null default jobsync.current_tenant(),
  st_appointment_id bigint not null,
  st_job_id bigint,
  st_customer_id bigint,
  appointment_number text,
  status text,
  starts_on timestamptz,
  ends_on timestamptz,
  arrival_window_start timestamptz,
  arrival_window_end timestamptz,
  special_instructions text,
  unused boolean,
  is_confirmed boolean,
  active boolean not null default true,
  created_on timestamptz,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_appointment_id)
);
create index appointments_by_job on jobsync.appointments (tenant_id, st_job_id);
create index appointments_by_start on jobsync.appointments (tenant_id, starts_on);
comment on table jobsync.appointments is 'Visits of a job. A deleted one stays, with active false (ServiceTitan contract, gotcha 9).';
comment on column jobsync.appointments.status is 'Scheduled, Dispatched, Working, Hold, Done or Canceled: not the words of jobs.';

create table jobsync.estimates (
  tenant_id text not null default jobsync.current_tenant(),
  st_estimate_id bigint not null,
  st_job_id bigint,
  st_project_id bigint,
  st_customer_id bigint,
  st_location_id bigint,
  business_unit_id bigint,
  st_job_number text,
  name text,
  status text,
  review_status text,
  summary text,
  sold_by bigint,
  sold_on timestamptz,
  subtotal numeric,
  tax numeric,
  is_recommended boolean,
  is_change_order boolean,
  active boolean not null default true,
  created_on timestamptz,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_estimate_id)
);
create index estimates_by_job on jobsync.estimates (tenant_id, st_job_id);
create index estimates_by_sale on jobsync.estimates (tenant_id, sold_on) where sold_on is not null;
comment on table jobsync.estimates is 'Estimates; their items stand in st_raw_data. An estimate may be sold without a new modifiedOn: the same time with other content is taken.';
comment on column jobsync.estimates.status is 'Open, Sold or Dismissed.';
comment on column jobsync.estimates.sold_by is 'ServiceTitan''s id of the technician or employee who sold it.';

create table jobsync.invoices (
  tenant_id text not null default jobsync.current_tenant(),
  st_invoice_id bigint not null,
  st_job_id bigint,
  st_project_id bigint,
  st_customer_id bigint,
  st_location_id bigint,
  business_unit_id bigint,
  reference_number text,
  configuration text,
  sync_status text,
  review_status text,
  sent_status text,
  invoice_date date,
  due_date date,
  subtotal numeric,
  sales_tax numeric,
  total numeric,
  balance numeric,
  discount_total numeric,
  paid_on timestamptz,
  deposited_on timestamptz,
  adjustment_to_id bigint,
  summary text,
  active boolean not null default true,
  created_on timestamptz,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_invoice_id)
);
create index invoices_by_job on jobsync.invoices (tenant_id, st_job_id);
create index invoices_by_date on jobsync.invoices (tenant_id, invoice_date);
-- An invoice that names no job is looked for among the invoice ids of jobs.
create index jobs_by_invoice on public.jobs (tenant_id, invoice_id) where invoice_id > 0;
comment on table jobsync.invoices is 'Invoices; their items stand in st_raw_data. ServiceTitan sends the amounts as texts; here they are numbers.';
comment on column jobsync.invoices.st_job_id is 'The job that the invoice names; null for an invoice of a project: jobsync.v_invoices then finds the job that names the invoice.';
comment on column jobsync.invoices.invoice_date is 'A calendar day, never shifted by a time zone.';
comment on column jobsync.invoices.due_date is 'A calendar day, never shifted by a time zone.';
comment on column jobsync.invoices.sync_status is 'Pending, Posted or Exported.';
comment on column jobsync.invoices.modified_on is 'Null where ServiceTitan gives none; such a record always counts as the newest.';

create table jobsync.technician_assignments (
  tenant_id text not null default jobsync.current_tenant(),
  st_assignment_id bigint not null,
  st_appointment_id bigint,
  st_job_id bigint,
  st_technician_id bigint,
  technician_name text,
  assigned_by_id bigint,
  assigned_on timestamptz,
  status text,
  is_paused boolean,
  active boolean not null default true,
  created_on timestamptz,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_assignment_id)
);
create index technician_assignments_by_appointment on jobsync.technician_assignments (tenant_id, st_appointment_id);
create index technician_assignments_by_job on jobsync.technician_assignments (tenant_id, st_job_id);
comment on table jobsync.technician_assignments is 'Which technician goes to which appointment; active false: taken off it.';

create table jobsync.tag_types (
  tenant_id text not null default jobsync.current_tenant(),
  st_tag_type_id bigint not null,
  name text,
  code text,
  color text,
  importance text,
  active boolean not null default true,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_tag_type_id)
);
comment on table jobsync.tag_types is 'ServiceTitan tags: a job carries only their ids (tag_type_ids).';

create table jobsync.campaigns (
  tenant_id text not null default jobsync.current_tenant(),
  st_campaign_id bigint not null,
  name text,
  category text,
  source text,
  medium text,
  is_default boolean,
  active boolean not null default true,
  modified_on timestamptz,
  st_raw_data jsonb not null,
  created_at timestamptz not null default jobsync.now(),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_campaign_id)
);
comment on table jobsync.campaigns is 'ServiceTitan marketing campaigns: a job carries only the id (campaign_id).';

-- Adoption: what `jobsync db migrate` found and repaired when it took over a database that the old guide's schema had made.
-- Empty where JobSync began on a fresh database.

create table jobsync.adoptions (
  tenant_id text primary key references jobsync.tenants on delete cascade,
  adopted_at timestamptz not null default jobsync.now(),
  pull_from timestamptz,
  report jsonb not null
);
comment on table jobsync.adoptions is 'One row where the database was adopted from the old guide: when, and what was repaired and what cannot be known.';
comment on column jobsync.adoptions.pull_from is 'Where the first pull of jobs starts: early enough to bring what the old flow missed or overwrote.';
comment on column jobsync.adoptions.report is '{rows, repaired, unknown, kept, seconds}: counts before and after, sentences for a person.';

create function jobsync.adopted_at(p_tenant text) returns timestamptz language sql stable parallel safe as $$
  select a.adopted_at from jobsync.adoptions a where a.tenant_id = p_tenant
$$;
comment on function jobsync.adopted_at(text) is 'When the database was adopted; null: never. What a pull brings anew and is older is not offered to the old flow, which never had it.';

-- Runs: a row of sync_logs is opened when work starts and always closed.
-- A pass (job_pull) has one entry per stream in metadata.streams; the last stream to finish closes the row.

create function jobsync.open_pass(p_tenant text, p_streams text[], p_trigger text, p_held text[] default '{}') returns uuid
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_id uuid;
begin
  insert into sync_logs (tenant_id, sync_type, entity_type, status, metadata)
  values (p_tenant, 'job_pull', 'job', 'running',
          jsonb_build_object('trigger', p_trigger, 'streams',
            -- A stream that this app may not read is named in every pass over jobs, also while it rests.
            (select coalesce(jsonb_object_agg(c.stream, jsonb_build_object('status', 'not granted', 'since', c.refused_at)), '{}') from cursors c
              where c.tenant_id = p_tenant and c.refused_at is not null and 'jobs' = any (p_streams))
            || (select coalesce(jsonb_object_agg(s, jsonb_strip_nulls(jsonb_build_object('status', 'waiting', 'held', case when s = any (p_held) then true end))), '{}') from unnest(p_streams) s)))
  returning id into v_id;
  return v_id;
end
$$;
comment on function jobsync.open_pass(text, text[], text, text[]) is 'Opens one job_pull run over the given streams; answers its id. p_held: those of them that begin only when others have ended.';

create function jobsync.finish_stream(p_tenant text, p_run uuid, p_stream text, p_report jsonb, p_error text)
returns boolean language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_meta jsonb;
  v_status text;
  v_now timestamptz := jobsync.now();
  v_open boolean;
  v_failed text;
begin
  select metadata, status into v_meta, v_status from sync_logs where tenant_id = p_tenant and id = p_run for update;
  if v_status is distinct from 'running' then
    return false;
  end if;
  v_meta := jsonb_set(v_meta, array['streams', p_stream],
    coalesce(p_report, '{}') || jsonb_build_object('status', case when p_error is null then coalesce(p_report ->> 'status', 'completed') else 'failed' end)
      || case when p_error is null then '{}' else jsonb_build_object('error', left(p_error, 500)) end, true);
  v_open := exists (select 1 from jsonb_each(v_meta -> 'streams') s where s.value ->> 'status' in ('waiting', 'running'));
  select string_agg(s.key || ': ' || (s.value ->> 'error'), '; ' order by s.key) into v_failed
    from jsonb_each(v_meta -> 'streams') s where s.value ->> 'status' = 'failed';
  update sync_logs l set
    metadata = v_meta,
    records_processed = coalesce((v_meta #>> '{streams,jobs,pulled}')::int, 0),
    records_succeeded = coalesce((v_meta #>> '{streams,jobs,stored}')::int, 0) + coalesce((v_meta #>> '{streams,jobs,unchanged}')::int, 0),
    records_failed = coalesce((v_meta #>> '{streams,jobs,quarantined}')::int, 0),
    status = case when v_open then 'running' when v_failed is null then 'completed' else 'failed' end,
    error_message = left(v_failed, 1000),
    completed_at = case when v_open then null else v_now end,
    duration_ms = case when v_open then null else least(2147483647, (extract(epoch from v_now - l.started_at) * 1000))::int end
   where l.tenant_id = p_tenant and l.id = p_run;
  return not v_open;
end
$$;
comment on function jobsync.finish_stream(text, uuid, text, jsonb, text) is
  'Writes one stream''s counts (or its error) into its pass and closes the pass after the last stream. True when it closed. Harmless when repeated. A report may name its own status (not granted), which is no failure.';

create function jobsync.abandon_runs(p_tenant text, p_older_than interval) returns integer
language sql volatile as $$
  with closed as (
    update public.sync_logs l set status = 'failed', error_message = 'abandoned', completed_at = jobsync.now(),
           duration_ms = least(2147483647, extract(epoch from jobsync.now() - l.started_at) * 1000)::int
     where l.tenant_id = p_tenant and l.status = 'running' and l.sync_type in ('job_pull', 'ghl_delivery', 'backfill', 'reconcile', 'verify', 'import', 'shadow')
       and l.started_at + coalesce(jobsync.try_numeric(l.metadata -> 'alive_s')::double precision * interval '1 second', interval '0') < jobsync.now() - p_older_than
    returning 1)
  select count(*)::integer from closed
$$;
comment on function jobsync.abandon_runs(text, interval) is 'Closes runs whose process died (failed, abandoned). Answers how many.';

-- The outbox: one row per (tenant, job) waiting to be delivered; the newest content wins because the content is read
-- when the row is claimed. The attempts: every HTTP try, opened before the request leaves.
--
--   waiting (parents, or an adopted job itself, not read yet) -> due -> claimed (lease, fence) -> accepted: row deleted, job synced
--                                       ^         |-> try again: next_attempt_at by the retry schedule
--                                       |_________|-> no attempts left or terminal: row deleted, job failed (dead letter)

create table jobsync.outbox (
  tenant_id text not null,
  st_job_id bigint not null,
  st_customer_id bigint,
  destination_id uuid not null,
  version integer not null,
  event text not null constraint event_is_known check (event in ('created', 'updated', 'replayed', 'contact')),
  planned_at timestamptz not null default jobsync.now(),
  next_attempt_at timestamptz not null,
  waiting_for text,
  attempts integer not null default 0,
  lease_until timestamptz,
  fence bigint not null default 0,
  rescues integer not null default 0,
  sent_hash bytea,
  flags text[] not null default '{}',
  forced boolean not null default false,
  counted_at timestamptz,
  tried_at timestamptz,
  primary key (tenant_id, st_job_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- The whole order of a claim: a first load makes a million rows due at one moment.
create index outbox_due on jobsync.outbox (destination_id, next_attempt_at, st_job_id);
-- Looked through whenever parents arrive: the others of a long queue are not.
create index outbox_waiting on jobsync.outbox (tenant_id, st_job_id) where waiting_for in ('parents', 'first_pull');
create index outbox_in_flight on jobsync.outbox (tenant_id, st_customer_id) where lease_until is not null;
comment on table jobsync.outbox is 'Deliveries waiting: one row per job, deleted when accepted or given up.';
comment on column jobsync.outbox.waiting_for is 'parents: customer, location or contacts not read yet (goes out flagged after 15 minutes); first_pull: held in an adopted database and not read from ServiceTitan yet (goes out after 6 hours); record_cap: sent as often today as one job may be; null: due at next_attempt_at.';
comment on column jobsync.outbox.event is 'created, updated, replayed; contact: only the customer''s facts changed (API routes only).';
comment on column jobsync.outbox.sent_hash is 'job_hash when the row was last claimed: what is being told.';
comment on column jobsync.outbox.rescues is 'How often a worker died with this row; five times and it is given up.';
comment on column jobsync.outbox.counted_at is 'The hour under which this version was counted against the caps; null: not counted. A retry of the same version is not counted again.';
comment on column jobsync.outbox.tried_at is 'When it was last claimed, unless it was given back unsent: a pass tries no row twice.';
comment on column jobsync.outbox.fence is 'Counts the claims; a result carrying an older fence is refused.';

create table jobsync.attempts (
  tenant_id text not null,
  id bigint generated always as identity,
  st_job_id bigint not null,
  version integer not null,
  destination_id uuid not null,
  delivery_id uuid not null,
  event text not null,
  started_at timestamptz not null default jobsync.now(),
  finished_at timestamptz,
  outcome text,
  status_code integer,
  execution_id text,
  duration_ms integer,
  requests integer not null default 1,
  answer text,
  error text,
  primary key (tenant_id, id)
) with (fillfactor = 35); -- an attempt is closed in its place: it grows threefold then, and no index is written anew
create index attempts_by_job on jobsync.attempts (tenant_id, st_job_id, id desc);
-- Holds for all; it keeps this index away from who asks for attempts by id: in a plan made while the table was empty, reading all
-- of a tenant would cost no more than looking each up.
create index attempts_by_time on jobsync.attempts (tenant_id, started_at desc) where started_at is not null;
comment on table jobsync.attempts is 'Every HTTP attempt: opened before it leaves, closed with what came back (redacted, at most 2 KB). outcome null: never closed, so ambiguous.';

comment on column jobsync.attempts.requests is 'HTTP requests that the attempt took: one for a hook; by API as many as it needed, 0 where nothing had changed.';

create table jobsync.send_counts (
  tenant_id text not null,
  hour timestamptz not null,
  sends integer not null default 0,
  executions integer not null default 0,
  primary key (tenant_id, hour)
);
comment on table jobsync.send_counts is 'Accepted sends per hour: what the caps count.';
comment on column jobsync.send_counts.executions is 'How many of them went to a hook: each starts a workflow, which GoHighLevel bills.';

create table jobsync.outside_marks (
  tenant_id text not null,
  business_unit_id bigint not null,
  last_marked_at timestamptz not null,
  primary key (tenant_id, business_unit_id)
);
comment on table jobsync.outside_marks is 'When jobs of a unit were last pushed or marked by somebody else (PATCH ghl-sync, POST upsert).';

create function jobsync.delivery_id(p_tenant text, p_job bigint, p_version integer) returns uuid
language sql immutable parallel safe as $$
  select pg_catalog.md5('jobsync:' || p_tenant || ':' || p_job::text || ':' || p_version::text)::uuid
$$;
comment on function jobsync.delivery_id(text, bigint, integer) is 'Stable id of one version of one job''s delivery: the same at every retry.';

-- Looked up job by job (offset 0 keeps it apart): joined freely, and before the tables were ever analyzed, all jobs of each routed
-- unit are read for each row that waits.
create function jobsync.armed_job(p_tenant text, p_job bigint) returns table (job_hash bytea, delivered_hash bytea)
language sql stable parallel safe rows 1 as $$
  select j.job_hash, j.delivered_hash from public.jobs j
   where j.tenant_id = p_tenant and j.st_job_id = p_job
     and (select true from jobsync.routes r where r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id and r.armed and r.deliverer = 'jobsync')
  offset 0
$$;
comment on function jobsync.armed_job(text, bigint) is 'The hashes of a job that JobSync may deliver: its unit is routed to it and armed. Nothing otherwise.';

-- Tallies: how many rows of a class there are, kept by the statements that change them, so that nobody counts a big table.
--
-- Each statement that adds, changes or removes rows writes the difference it made, in its own transaction: one line for
-- each class, also negative. A total is the sum of the lines, exact in every snapshot. Lines are only ever added, so two
-- workers never wait for each other; fold_tallies() puts many lines together into one, and skips what another one holds.
-- A statement that changed no class writes nothing. Decision 3 says why it is done like this.

create table jobsync.tallies (
  tenant_id text not null,
  id bigint generated always as identity,
  topic text not null constraint tally_topic_is_known check (topic in ('jobs', 'outbox', 'quarantine', 'runs', 'hours')),
  class text not null,
  reason text,
  business_unit_id bigint,
  destination_id uuid,
  hour timestamptz,
  rows bigint not null,
  timed bigint not null default 0,
  milliseconds bigint not null default 0,
  folded boolean not null default false,
  primary key (tenant_id, id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
create index tallies_unfolded on jobsync.tallies (tenant_id) where not folded;
comment on table jobsync.tallies is
  'Differences whose sums are counts: jobs by status, reason and unit; the outbox by event, what it waits for and destination; open quarantine by stream; runs by type and status (reason).';
comment on column jobsync.tallies.hour is 'Only of topic hours: jobs that reached a state in this hour; folded into jobsync.state_hours.';
comment on column jobsync.tallies.timed is 'Of runs: how many of them have a duration; milliseconds is the sum of these.';
comment on column jobsync.tallies.folded is 'True: the sum of many lines. False: what one statement changed.';

create table jobsync.state_hours (
  tenant_id text not null,
  hour timestamptz not null,
  class text not null,
  unit_key bigint not null,
  rows bigint not null,
  primary key (tenant_id, hour, class, unit_key)
);
comment on table jobsync.state_hours is
  'How many jobs reached a state in each of the last hours, by unit: verified and accepted by the hour in which they were accepted, failed and skipped by the hour in which they became so. Kept for two days.';
comment on column jobsync.state_hours.unit_key is 'The business unit; 0: none.';

create view jobsync.v_tallies with (security_invoker = true) as
  select t.tenant_id, t.topic, t.class, t.reason, t.business_unit_id, t.destination_id, sum(t.rows)::bigint as rows, sum(t.timed)::bigint as timed, sum(t.milliseconds)::bigint as milliseconds
    from jobsync.tallies t
   where t.topic <> 'hours'
   group by t.tenant_id, t.topic, t.class, t.reason, t.business_unit_id, t.destination_id
  having sum(t.rows) <> 0;
comment on view jobsync.v_tallies is 'How many rows of each class there are; see jobsync.tallies for what the columns mean by topic.';

create function jobsync.fold_tallies(p_tenant text) returns integer language plpgsql set search_path = jobsync, public as $$
declare
  v_folded integer;
begin
  -- Whoever folds now does it for everybody.
  if not pg_try_advisory_xact_lock(hashtext('jobsync.tallies'), hashtext(p_tenant)) then
    return 0;
  end if;
  with gone as (
    delete from tallies t where t.tenant_id = p_tenant returning t.*
  ), hours as (
    insert into state_hours as h (tenant_id, hour, class, unit_key, rows)
    select p_tenant, g.hour, g.class, coalesce(g.business_unit_id, 0), sum(g.rows) from gone g where g.topic = 'hours' group by g.hour, g.class, coalesce(g.business_unit_id, 0)
    on conflict (tenant_id, hour, class, unit_key) do update set rows = h.rows + excluded.rows
  ), kept as (
    insert into tallies (tenant_id, topic, class, reason, business_unit_id, destination_id, rows, timed, milliseconds, folded)
    select p_tenant, g.topic, g.class, g.reason, g.business_unit_id, g.destination_id, sum(g.rows), sum(g.timed), sum(g.milliseconds), true from gone g
     where g.topic <> 'hours'
     group by g.topic, g.class, g.reason, g.business_unit_id, g.destination_id having sum(g.rows) <> 0 or sum(g.timed) <> 0
    returning 1
  )
  select count(*) into v_folded from gone;
  delete from state_hours h where h.tenant_id = p_tenant and h.hour < jobsync.now() - interval '2 days';
  return v_folded;
end
$$;
comment on function jobsync.fold_tallies(text) is
  'Puts the lines of a tenant together, one for each class. Totals do not change; while another session folds, nothing is done. Answers how many lines there were.';

create function jobsync.fold_tallies_beyond(p_lines integer) returns integer language sql volatile set search_path = jobsync, public as $$
  select coalesce(sum(fold_tallies(t.tenant_id)), 0)::integer
    from (select u.tenant_id from tallies u where not u.folded group by u.tenant_id having count(*) > p_lines) t
$$;
comment on function jobsync.fold_tallies_beyond(integer) is 'Folds the tallies of every tenant with more than so many single lines. Run by the schedule as the owner.';

-- A class that neither grew nor shrank is not in the sums, so that an update of anything else writes nothing.
create function jobsync.tally_jobs() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  if tg_op = 'INSERT' then
    insert into tallies (tenant_id, topic, class, reason, business_unit_id, rows)
    select a.tenant_id, 'jobs', a.ghl_sync_status, coalesce(a.ghl_sync_reason, 'waiting'), a.business_unit_id, count(*)
      from added a where a.ghl_sync_status <> 'synced'
     group by 1, 3, 4, 5;
  elsif tg_op = 'DELETE' then
    insert into tallies (tenant_id, topic, class, reason, business_unit_id, rows)
    select r.tenant_id, 'jobs', r.ghl_sync_status, coalesce(r.ghl_sync_reason, 'waiting'), r.business_unit_id, -count(*)
      from removed r where r.ghl_sync_status <> 'synced'
     group by 1, 3, 4, 5;
  end if;
  return null;
end
$$;
comment on function jobsync.tally_jobs() is 'Trigger: writes how many jobs of each status, reason and unit came in or were deleted; delivered ones are not counted.';
create trigger tally_added after insert on public.jobs referencing new table as added for each statement execute function jobsync.tally_jobs();
create trigger tally_removed after delete on public.jobs referencing old table as removed for each statement execute function jobsync.tally_jobs();

create function jobsync.tally_outbox() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  if tg_op = 'INSERT' then
    insert into tallies (tenant_id, topic, class, reason, destination_id, rows)
    select a.tenant_id, 'outbox', a.event, a.waiting_for, a.destination_id, count(*) from added a group by 1, 3, 4, 5;
  elsif tg_op = 'DELETE' then
    insert into tallies (tenant_id, topic, class, reason, destination_id, rows)
    select r.tenant_id, 'outbox', r.event, r.waiting_for, r.destination_id, -count(*) from removed r group by 1, 3, 4, 5;
  else
    insert into tallies (tenant_id, topic, class, reason, destination_id, rows)
    select d.tenant_id, 'outbox', d.event, d.waiting_for, d.destination_id, sum(d.rows)
      from (select a.tenant_id, a.event, a.waiting_for, a.destination_id, 1 as rows from added a
            union all
            select r.tenant_id, r.event, r.waiting_for, r.destination_id, -1 from removed r) d
     group by d.tenant_id, d.event, d.waiting_for, d.destination_id having sum(d.rows) <> 0;
  end if;
  return null;
end
$$;
comment on function jobsync.tally_outbox() is 'Trigger: writes how many waiting deliveries of each event, reason to wait and destination a statement added or took away.';
create trigger tally_added after insert on jobsync.outbox referencing new table as added for each statement execute function jobsync.tally_outbox();
create trigger tally_removed after delete on jobsync.outbox referencing old table as removed for each statement execute function jobsync.tally_outbox();
create trigger tally_changed after update on jobsync.outbox referencing old table as removed new table as added for each statement execute function jobsync.tally_outbox();

-- Both counts of a change by one statement: of each status, reason and unit; and in which hour a job reached which state. What
-- was accepted moves on to verified within its hour; what failed and was sent again later stays failed in the hour in which it
-- failed. Held history is no event.
create function jobsync.tally_job_changes() returns trigger language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_now timestamptz := jobsync.now();
begin
  insert into tallies (tenant_id, topic, class, reason, business_unit_id, hour, rows)
  select d.tenant_id, 'jobs', d.class, d.reason, d.business_unit_id, null, sum(d.rows)
    from (select a.tenant_id, a.ghl_sync_status as class, coalesce(a.ghl_sync_reason, 'waiting') as reason, a.business_unit_id, 1 as rows
            from added a where a.ghl_sync_status <> 'synced'
          union all
          select r.tenant_id, r.ghl_sync_status, coalesce(r.ghl_sync_reason, 'waiting'), r.business_unit_id, -1
            from removed r where r.ghl_sync_status <> 'synced') d
   group by d.tenant_id, d.class, d.reason, d.business_unit_id having sum(d.rows) <> 0
  union all
  select d.tenant_id, 'hours', d.class, null, d.business_unit_id, d.hour, sum(d.rows)
    from (select a.tenant_id, a.business_unit_id, 1 as rows,
                 case when a.ghl_sync_status <> 'synced' then a.ghl_sync_status when a.ghl_verified_at >= a.ghl_accepted_at then 'verified' else 'accepted' end as class,
                 date_trunc('hour', case when a.ghl_sync_status = 'synced' then coalesce(a.ghl_accepted_at, a.ghl_synced_at) else v_now end) as hour
            from added a
           where a.ghl_sync_status = 'failed' or a.ghl_sync_status = 'skipped' and a.ghl_sync_reason not in ('before_start', 'backfilled', 'imported')
              or a.ghl_sync_status = 'synced' and coalesce(a.ghl_accepted_at, a.ghl_synced_at) > v_now - interval '26 hours'
          union all
          select r.tenant_id, r.business_unit_id, -1,
                 case when r.ghl_sync_status <> 'synced' then r.ghl_sync_status when r.ghl_verified_at >= r.ghl_accepted_at then 'verified' else 'accepted' end,
                 date_trunc('hour', case when r.ghl_sync_status = 'synced' then coalesce(r.ghl_accepted_at, r.ghl_synced_at) else v_now end)
            from removed r
           where r.ghl_sync_status = 'failed' or r.ghl_sync_status = 'skipped' and r.ghl_sync_reason not in ('before_start', 'backfilled', 'imported')
              or r.ghl_sync_status = 'synced' and coalesce(r.ghl_accepted_at, r.ghl_synced_at) > v_now - interval '26 hours') d
   where d.hour is not null
   group by d.tenant_id, d.class, d.business_unit_id, d.hour
  having sum(d.rows) > 0 or sum(d.rows) < 0 and d.class in ('verified', 'accepted');
  return null;
end
$$;
comment on function jobsync.tally_job_changes() is
  'Trigger: writes how many jobs of each status, reason and unit a change added or took away (delivered ones are not counted), and how many it brought into each state, by hour and unit.';
create trigger tally_changed after update on public.jobs referencing old table as removed new table as added for each statement execute function jobsync.tally_job_changes();

create function jobsync.tally_quarantine() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  if tg_op <> 'INSERT' then
    insert into tallies (tenant_id, topic, class, rows)
    select r.tenant_id, 'quarantine', r.stream, -count(*) from removed r where r.resolved_at is null group by 1, 3;
  end if;
  if tg_op <> 'DELETE' then
    insert into tallies (tenant_id, topic, class, rows)
    select a.tenant_id, 'quarantine', a.stream, count(*) from added a where a.resolved_at is null group by 1, 3;
  end if;
  return null;
end
$$;
comment on function jobsync.tally_quarantine() is 'Trigger: writes how many open quarantined records of each stream a statement added or took away.';
create trigger tally_added after insert on jobsync.quarantine referencing new table as added for each statement execute function jobsync.tally_quarantine();
create trigger tally_removed after delete on jobsync.quarantine referencing old table as removed for each statement execute function jobsync.tally_quarantine();
create trigger tally_changed after update on jobsync.quarantine referencing old table as removed new table as added for each statement execute function jobsync.tally_quarantine();

create function jobsync.tally_runs() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  if tg_op = 'INSERT' then
    insert into tallies (tenant_id, topic, class, reason, rows, timed, milliseconds)
    select a.tenant_id, 'runs', a.sync_type, a.status, count(*), count(a.duration_ms), coalesce(sum(a.duration_ms), 0) from added a group by 1, 3, 4;
  elsif tg_op = 'DELETE' then
    insert into tallies (tenant_id, topic, class, reason, rows, timed, milliseconds)
    select r.tenant_id, 'runs', r.sync_type, r.status, -count(*), -count(r.duration_ms), -coalesce(sum(r.duration_ms), 0) from removed r group by 1, 3, 4;
  else
    insert into tallies (tenant_id, topic, class, reason, rows, timed, milliseconds)
    select d.tenant_id, 'runs', d.sync_type, d.status, sum(d.rows), coalesce(sum(d.rows) filter (where d.duration_ms is not null), 0),
           coalesce(sum(d.rows * d.duration_ms::bigint), 0)
      from (select a.tenant_id, a.sync_type, a.status, a.duration_ms, 1 as rows from added a
            union all
            select r.tenant_id, r.sync_type, r.status, r.duration_ms, -1 from removed r) d
     group by d.tenant_id, d.sync_type, d.status
    having sum(d.rows) <> 0 or coalesce(sum(d.rows * d.duration_ms::bigint), 0) <> 0 or coalesce(sum(d.rows) filter (where d.duration_ms is not null), 0) <> 0;
  end if;
  return null;
end
$$;
comment on function jobsync.tally_runs() is 'Trigger: writes how many runs of each type and status a statement added or took away, and how long they took.';
create trigger tally_added after insert on public.sync_logs referencing new table as added for each statement execute function jobsync.tally_runs();
create trigger tally_removed after delete on public.sync_logs referencing old table as removed for each statement execute function jobsync.tally_runs();
create trigger tally_changed after update on public.sync_logs referencing old table as removed new table as added for each statement execute function jobsync.tally_runs();

create function jobsync.recount_tallies(p_tenant text) returns void language plpgsql set search_path = jobsync, public as $$
begin
  -- Nobody may change a counted row between the count and the new lines.
  lock table jobs, outbox, quarantine, sync_logs in share row exclusive mode;
  perform pg_advisory_xact_lock(hashtext('jobsync.tallies'), hashtext(p_tenant));
  delete from tallies t where t.tenant_id = p_tenant and t.topic <> 'hours';
  insert into tallies (tenant_id, topic, class, reason, business_unit_id, destination_id, rows, timed, milliseconds, folded)
  select p_tenant, 'jobs', j.ghl_sync_status, coalesce(j.ghl_sync_reason, 'waiting'), j.business_unit_id, null::uuid, count(*), 0, 0, true
    from jobs j where j.tenant_id = p_tenant and j.ghl_sync_status <> 'synced' group by 3, 4, 5
  union all
  select p_tenant, 'outbox', o.event, o.waiting_for, null, o.destination_id, count(*), 0, 0, true
    from outbox o where o.tenant_id = p_tenant group by 3, 4, 6
  union all
  select p_tenant, 'quarantine', q.stream, null, null, null, count(*), 0, 0, true
    from quarantine q where q.tenant_id = p_tenant and q.resolved_at is null group by 3
  union all
  select p_tenant, 'runs', l.sync_type, l.status, null, null, count(*), count(l.duration_ms), coalesce(sum(l.duration_ms), 0), true
    from sync_logs l where l.tenant_id = p_tenant group by 3, 4;
end
$$;
comment on function jobsync.recount_tallies(text) is
  'Counts everything anew, for rows that came in with triggers switched off (a restore, an adopted table). Run as the owner; reads the tables from end to end and holds writers up meanwhile.';

-- The projection: what GoHighLevel should be told about one job. And its hash, which decides "changed".

create view jobsync.unit_routes with (security_invoker = true) as
  select u.tenant_id, u.st_business_unit_id, u.name, u.active, u.sync_enabled, u.sync_to_ghl, u.ghl_pipeline_name,
         coalesce(r.deliverer, 'none') as deliverer, r.destination_id, coalesce(r.events, 'created') as events,
         r.pipeline_id, r.pipeline_name, r.stage_id, r.stage_name, coalesce(r.card, 'own') as card, r.problem, coalesce(r.armed, true) as armed, r.armed_reason,
         d.kind as destination_kind, d.label as destination_label, d.masked as destination_masked, d.paused_at as destination_paused_at,
         d.pause_reason as destination_pause_reason
    from public.business_units u
    left join jobsync.routes r on r.tenant_id = u.tenant_id and r.st_business_unit_id = u.st_business_unit_id
    left join jobsync.destinations d on d.tenant_id = r.tenant_id and d.id = r.destination_id;
comment on view jobsync.unit_routes is 'Each business unit with its route: who delivers, where to, on which events.';

-- Null: the job may be delivered (or handed to an external deliverer); else why not.
create function jobsync.skip_reason(
  p_deliverer text, p_sync_enabled boolean, p_sync_to_ghl boolean, p_source text, p_created_on timestamptz, p_deliver_from timestamptz
) returns text language sql immutable parallel safe as $$
  select case
    when p_sync_enabled = false or p_sync_to_ghl = false then 'unit_off'
    when p_deliverer is null or p_deliverer = 'none' then 'unmapped'
    when p_source = 'import' then 'imported'
    -- What an outside deliverer brought through /db is its own affair, however old.
    when p_created_on < p_deliver_from and not (p_deliverer = 'external' and p_source = 'api') then 'before_start'
  end
$$;
comment on function jobsync.skip_reason(text, boolean, boolean, text, timestamptz, timestamptz) is
  'Why a job is not delivered: unit_off, unmapped, imported, before_start; null when it is to be delivered.';

-- Asked for only where there is somebody to look up: a plan made before there were statistics reads all customers for it.
create function jobsync.resolve_customer(p_tenant text, p_customer bigint) returns bigint
language sql stable parallel safe as $$
  with recursive chain(id, merged_to_id, depth) as (
    select c.st_customer_id, c.merged_to_id, 0 from public.customers c where c.tenant_id = p_tenant and c.st_customer_id = p_customer
    union all
    select c.st_customer_id, c.merged_to_id, chain.depth + 1 from chain
      join public.customers c on c.tenant_id = p_tenant and c.st_customer_id = chain.merged_to_id
     where chain.merged_to_id is not null and chain.depth < 20
  )
  select coalesce((select id from chain order by depth desc limit 1), p_customer)
$$;
comment on function jobsync.resolve_customer(text, bigint) is
  'The surviving customer after merges (chains followed, at most 20 long); the last one that is known while its survivor is not here yet.';

create function jobsync.resolve_location(p_tenant text, p_location bigint) returns bigint
language sql stable parallel safe as $$
  with recursive chain(id, merged_to_id, depth) as (
    select l.st_location_id, l.merged_to_id, 0 from jobsync.locations l where l.tenant_id = p_tenant and l.st_location_id = p_location
    union all
    select l.st_location_id, l.merged_to_id, chain.depth + 1 from chain
      join jobsync.locations l on l.tenant_id = p_tenant and l.st_location_id = chain.merged_to_id
     where chain.merged_to_id is not null and chain.depth < 20
  )
  select coalesce((select id from chain order by depth desc limit 1), p_location)
$$;
comment on function jobsync.resolve_location(text, bigint) is 'The surviving location after merges; see resolve_customer.';

create view jobsync.projections with (security_invoker = true) as
  select j.tenant_id, j.st_job_id, j.st_job_number, j.st_customer_id, j.st_location_id, j.business_unit_id,
         u.name as business_unit_name, j.job_type_id, coalesce(t.name, j.job_type_name) as job_type_name, j.job_status, j.priority,
         coalesce(j.summary, j.description) as summary, j.total, j.created_on, j.completed_on, j.modified_on,
         coalesce(nullif(pg_catalog.concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as customer_name,
         c.first_name, c.last_name, c.company_name,
         coalesce(l.phone, c.phone) as phone, coalesce(l.email, c.email) as email,
         case when l.street is not null or l.city is not null then l.street else c.street end as street,
         case when l.street is not null or l.city is not null then l.city else c.city end as city,
         case when l.street is not null or l.city is not null then l.state else c.state end as state,
         case when l.street is not null or l.city is not null then l.postal_code else c.postal_code end as postal_code,
         case when l.street is not null or l.city is not null then l.country else c.country end as country,
         coalesce(l.county, c.county) as county,
         case when l.phone is not null then l.do_not_text else c.do_not_text end as do_not_text,
         c.do_not_service, j.tag_type_ids, j.campaign_id, j.active, j.job_hash, j.ghl_opportunity_id, c.ghl_contact_id
    -- limit 1: each job looks its few rows up by key, and the survivor of a merge only where there was one. Otherwise the
    -- function would stand in the join, and under row-level security only a bare column is looked up by key; or a hundred
    -- jobs would have two whole tables read.
    from public.jobs j
    left join lateral (
      select x.first_name, x.last_name, x.company_name, x.phone, x.email, x.street, x.city, x.state, x.postal_code, x.country, x.county,
             x.do_not_text, x.do_not_service, x.ghl_contact_id
        from public.customers x
       where x.tenant_id = j.tenant_id and x.st_customer_id = j.st_customer_id and x.merged_to_id is null
      union all
      select x.first_name, x.last_name, x.company_name, x.phone, x.email, x.street, x.city, x.state, x.postal_code, x.country, x.county,
             x.do_not_text, x.do_not_service, x.ghl_contact_id
        from public.customers x
       where x.tenant_id = j.tenant_id
         and x.st_customer_id = (select jobsync.resolve_customer(j.tenant_id, j.st_customer_id) from public.customers o
                                  where o.tenant_id = j.tenant_id and o.st_customer_id = j.st_customer_id and o.merged_to_id is not null)
      limit 1) c on true
    left join lateral (
      select x.phone, x.email, x.street, x.city, x.state, x.postal_code, x.country, x.county, x.do_not_text
        from jobsync.locations x
       where x.tenant_id = j.tenant_id and x.st_location_id = j.st_location_id and x.merged_to_id is null
      union all
      select x.phone, x.email, x.street, x.city, x.state, x.postal_code, x.country, x.county, x.do_not_text
        from jobsync.locations x
       where x.tenant_id = j.tenant_id
         and x.st_location_id = (select jobsync.resolve_location(j.tenant_id, j.st_location_id) from jobsync.locations o
                                  where o.tenant_id = j.tenant_id and o.st_location_id = j.st_location_id and o.merged_to_id is not null)
      limit 1) l on true
    left join public.business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
    left join jobsync.job_types t on t.tenant_id = j.tenant_id and t.st_job_type_id = j.job_type_id;
comment on view jobsync.projections is
  'What GoHighLevel is told about each job: best phone and email (location contact, then customer contact), the service address, else the customer''s.';

-- Storing jobs: one page of ServiceTitan's own JSON, or the bodies of /db, in one statement.
-- page -> equal to what is stored: done -> misfits (quarantined; for /db the caller has left them out) -> newest per id ->
-- merged over the stored row (a missing key keeps the old value, null is null) -> written where something differs -> planned.
-- Under row-level security a row is looked up by key only if the key is a bare column: the ids are made in a step of their
-- own (offset 0), as the functions that make them would otherwise stand in the join. enable_seqscan = off: every look here is by key, and a plan made while a table was empty must not outlive its growth.
-- The two quick looks, "equal" and "plain", are what makes a page cheap: nearly every record passes them. What is plain is
-- asked of a hundred records at once, and of single ones only where one of the hundred (`suspects`) is not.

-- Whoever stores or plans jobs of a tenant holds this: what one reads cannot be overtaken by what another writes, and rows
-- are locked in one order. Order of locks everywhere: routes, tenants, destinations, this (customers, jobs, wanted), rows of
-- jobs (by st_job_id), outbox, budgets.
create function jobsync.lock_stream(p_tenant text, p_stream text) returns void language sql volatile as $$
  select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('jobsync.' || p_stream), pg_catalog.hashtext(p_tenant))
$$;
comment on function jobsync.lock_stream(text, text) is 'Until the transaction ends nobody else stores records of this stream of this tenant.';

-- Stable, not immutable, although they depend on nothing else: so that their texts stand in the query that calls them.
create function jobsync.has_job_shape(p_doc jsonb) returns boolean language sql stable parallel safe as $$
  select coalesce(pg_catalog.jsonb_typeof(p_doc) = 'object'
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'total') in ('number', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'noCharge') in ('boolean', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'active') in ('boolean', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'tagTypeIds') in ('array', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'estimateIds') in ('array', 'null'), true), false)
$$;
comment on function jobsync.has_job_shape(jsonb) is 'True when the record is an object whose lists, flags and total are what they are meant to be, or null.';

create function jobsync.list_job_ids(p_doc jsonb) returns text language sql stable parallel safe as $$
  select pg_catalog.concat('=' || (p_doc ->> 'customerId'), ';', '=' || (p_doc ->> 'locationId'), ';', '=' || (p_doc ->> 'businessUnitId'), ';', '=' || (p_doc ->> 'jobTypeId'), ';',
    '=' || (p_doc ->> 'invoiceId'), ';', '=' || (p_doc ->> 'campaignId'), ';', '=' || (p_doc ->> 'leadCallId'), ';', '=' || (p_doc ->> 'firstAppointmentId'), ';',
    '=' || (p_doc ->> 'lastAppointmentId'), ';', '=' || (p_doc ->> 'appointmentCount'), ';')
$$;
comment on function jobsync.list_job_ids(jsonb) is 'The ids within a job, listed: `=value;`.';

create function jobsync.list_job_times(p_doc jsonb) returns text language sql stable parallel safe as $$
  select pg_catalog.concat('=' || (p_doc ->> 'createdOn'), ';', '=' || (p_doc ->> 'modifiedOn'), ';', '=' || (p_doc ->> 'completedOn'), ';')
$$;
comment on function jobsync.list_job_times(jsonb) is 'The times within a job, listed: `=value;`.';

create function jobsync.list_job_lists(p_doc jsonb) returns text language sql stable parallel safe as $$
  select pg_catalog.concat('=' || (p_doc ->> 'tagTypeIds'), ';', '=' || (p_doc ->> 'estimateIds'), ';')
$$;
comment on function jobsync.list_job_lists(jsonb) is 'The lists within a job, listed: `=value;`.';

create function jobsync.is_plain_job(p_doc jsonb) returns boolean language plpgsql stable parallel safe as $$
begin
  return jobsync.has_job_shape(p_doc) and jobsync.are_plain_ids_listed(jobsync.list_job_ids(p_doc), 10)
     and jobsync.are_plain_times_listed(jobsync.list_job_times(p_doc), 3) and jobsync.are_plain_lists_listed(jobsync.list_job_lists(p_doc), 2);
end
$$;
comment on function jobsync.is_plain_job(jsonb) is 'True when every field of a job casts as it stands.';

create function jobsync.refusal_reason(p_stream text, p_doc jsonb, p_id bigint) returns text language sql immutable parallel safe as $$
  select case when pg_catalog.jsonb_typeof(p_doc) <> 'object' then 'the record is not an object'
              when coalesce(p_id, 0) <= 0 then 'id is not a positive whole number'
              else 'these fields do not fit: ' || pg_catalog.array_to_string(jobsync.record_misfits(jobsync.field_kinds(p_stream), p_doc), ', ') end
$$;
comment on function jobsync.refusal_reason(text, jsonb, bigint) is 'Why a record goes to the quarantine, in words.';

create function jobsync.store_jobs(p_tenant text, p_page jsonb, p_source text default 'servicetitan', p_hold text default null)
returns jsonb language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set work_mem = '64MB' set plan_cache_mode = auto as $$
declare
  v_now timestamptz := jobsync.now();
  v_version smallint := hash_version();
  v_deliver_from timestamptz;
  v_links boolean := links_installs(p_tenant);
  v_adopted timestamptz := adopted_at(p_tenant);
  v_touched bigint[];
  v_open bigint[];
  v_changed boolean[];
  v_pulled integer;
  v_stored integer;
  v_refused jsonb;
  v_refused_raw bytea[];
  v_planned integer;
begin
  -- A plan kept from an emptier table would read the whole table for every page; for a few rows planning costs more.
  if jsonb_array_length(p_page) > 20 then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
  end if;
  perform lock_stream(p_tenant, 'jobs');
  select t.deliver_from into v_deliver_from from tenants t where t.tenant_id = p_tenant;
  with fresh as materialized (
    select p.n, p.id, p.doc, j.st_job_id is null as is_new, j.st_raw_data as old_doc, j.source as old_source, j.modified_on as old_modified_on
      from (select e.n, e.doc, try_bigint(e.doc -> 'id') as id from jsonb_array_elements(p_page) with ordinality e(doc, n) offset 0) p
      left join lateral (select x.* from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = p.id offset 0) j on true
     where not coalesce(p.doc = j.st_raw_data and (j.source = 'servicetitan' or p_source <> 'servicetitan'), false)
  ), suspects as (
    select f.n / 100 as hundred from fresh f group by f.n / 100
    having not (bool_and(has_job_shape(f.doc)) and are_plain_ids_listed(string_agg(list_job_ids(f.doc), ''), 10 * count(*))
                and are_plain_times_listed(string_agg(list_job_times(f.doc), ''), 3 * count(*)) and are_plain_lists_listed(string_agg(list_job_lists(f.doc), ''), 2 * count(*)))
  ), odd as materialized (
    -- What does not cast as it stands: made plain, or refused (doc is null).
    select f.n, f.id, f.is_new, f.old_doc, f.old_source, f.old_modified_on, f.doc as raw,
           case when f.id > 0 then plain_record(field_kinds('jobs'), f.doc) end as doc
      from fresh f
     where coalesce(f.id, 0) <= 0 or f.n / 100 = any (array(select s.hundred from suspects s)) and not is_plain_job(f.doc)
  ), newest as (
    -- plain: what was made plain, else null and the record stands for itself: sorted twice over it would be as much again.
    select distinct on (c.id) c.id, c.is_new, c.old_doc, c.old_source, c.old_modified_on, c.raw, c.plain, c.modified_on
      from (select f.id, f.n, f.is_new, f.old_doc, f.old_source, f.old_modified_on, f.doc as raw, null::jsonb as plain, (f.doc ->> 'modifiedOn')::timestamptz as modified_on from fresh f
             where f.id > 0 and (f.n / 100 <> all (array(select s.hundred from suspects s)) or is_plain_job(f.doc))
            union all
            select o.id, o.n, o.is_new, o.old_doc, o.old_source, o.old_modified_on, o.raw, o.doc, (o.doc ->> 'modifiedOn')::timestamptz from odd o where o.doc is not null) c
     order by c.id, c.modified_on desc nulls last, c.n desc
  ), merged as (
    -- over: the record, where it may leave values of a stored row standing.
    select n.id, n.modified_on, coalesce(n.plain, n.raw) as given, case when not n.is_new then coalesce(n.plain, n.raw) end as over,
           coalesce(n.old_doc || n.raw, n.raw) as doc, n.is_new, n.old_doc, n.old_source, n.old_modified_on,
           j.job_hash as stored_hash, j.job_hash_version as stored_version,
           j.delivered_hash, j.st_job_number, j.st_customer_id, j.st_location_id, j.business_unit_id, j.job_type_id, j.job_type_name, j.job_status,
           j.priority, j.summary, j.description, j.created_on, j.completed_on, j.first_appointment_id,
           j.last_appointment_id, j.appointment_count, j.total, j.invoice_id, j.estimate_ids, j.no_charge, j.campaign_id, j.lead_call_id,
           j.tag_type_ids, j.active
      from newest n
      -- New ones are not looked for again: rows are written while this runs, and a plan made for an empty table would read them all.
      left join lateral (select x.* from public.jobs x where not n.is_new and x.tenant_id = p_tenant and x.st_job_id = n.id offset 0) j on true
     where n.is_new or n.modified_on >= n.old_modified_on or n.old_modified_on is null or (n.modified_on is null and n.old_source = p_source)
  ), typed as (
    select m.id, m.doc, m.is_new, m.stored_hash, m.delivered_hash, m.stored_version,
           -- Of an adopted job ServiceTitan's first record is the baseline: it is our knowledge that changes, not the job.
           m.stored_version = 0 and m.delivered_hash is not null and p_source = 'servicetitan' as is_baseline,
      case when m.is_new then null when m.stored_version = v_version then m.stored_hash
           else job_hash(m.st_job_number, m.st_customer_id, m.st_location_id, m.business_unit_id, m.job_type_id, m.job_status, m.priority, m.summary,
                         m.completed_on, m.total, m.campaign_id, m.tag_type_ids, m.active) end as old_hash,
      coalesce(left(x."jobNumber", 500), case when not m.over ? 'jobNumber' then m.st_job_number end) as st_job_number,
      coalesce(x."customerId", case when not m.over ? 'customerId' then m.st_customer_id end) as st_customer_id,
      coalesce(x."locationId", case when not m.over ? 'locationId' then m.st_location_id end) as st_location_id,
      coalesce(x."businessUnitId", case when not m.over ? 'businessUnitId' then m.business_unit_id end) as business_unit_id,
      coalesce(x."jobTypeId", case when not m.over ? 'jobTypeId' then m.job_type_id end) as job_type_id,
      coalesce(x."jobTypeName", t.name, case when not m.over ? 'jobTypeName' then m.job_type_name end) as job_type_name,
      coalesce(x."jobStatus", case when not m.over ? 'jobStatus' then m.job_status end) as job_status,
      coalesce(x.priority, case when not m.over ? 'priority' then m.priority end) as priority,
      coalesce(x.summary, case when not m.over ? 'summary' then m.summary end) as summary,
      coalesce(x.description, case when not m.over ? 'description' then m.description end) as description,
      coalesce(x."createdOn", case when not m.over ? 'createdOn' then m.created_on end) as created_on,
      coalesce(x."completedOn", case when not m.over ? 'completedOn' then m.completed_on end) as completed_on,
      coalesce(m.modified_on, m.old_modified_on) as modified_on,
      coalesce(x."firstAppointmentId", case when not m.over ? 'firstAppointmentId' then m.first_appointment_id end) as first_appointment_id,
      coalesce(x."lastAppointmentId", case when not m.over ? 'lastAppointmentId' then m.last_appointment_id end) as last_appointment_id,
      case when x."appointmentCount" is not null then least(greatest(x."appointmentCount", 0), 2147483647)::integer
           when not m.given ? 'appointmentCount' then coalesce(m.appointment_count, 0) end as appointment_count,
      coalesce(x.total, case when not m.over ? 'total' then m.total end) as total,
      coalesce(x."invoiceId", case when not m.over ? 'invoiceId' then m.invoice_id end) as invoice_id,
      coalesce(x."estimateIds", case when not m.over ? 'estimateIds' then m.estimate_ids end) as estimate_ids,
      coalesce(x."noCharge", case when not m.over ? 'noCharge' then m.no_charge end) as no_charge,
      coalesce(x."campaignId", case when not m.over ? 'campaignId' then m.campaign_id end) as campaign_id,
      coalesce(x."leadCallId", case when not m.over ? 'leadCallId' then m.lead_call_id end) as lead_call_id,
      coalesce(x."tagTypeIds", case when not m.over ? 'tagTypeIds' then m.tag_type_ids end) as tag_type_ids,
      coalesce(x.active, case when not m.over ? 'active' then m.active end, true) as active,
      coalesce(r.deliverer, 'none') as deliverer, u.sync_enabled, u.sync_to_ghl
      from merged m
      cross join lateral jsonb_to_record(m.given) as x (
        "jobNumber" text, "customerId" bigint, "locationId" bigint, "businessUnitId" bigint, "jobTypeId" bigint, "jobTypeName" text,
        "jobStatus" text, priority text, summary text, description text, "createdOn" timestamptz, "completedOn" timestamptz,
        "firstAppointmentId" bigint, "lastAppointmentId" bigint, "appointmentCount" bigint, total numeric, "invoiceId" bigint,
        "estimateIds" bigint[], "noCharge" boolean, "campaignId" bigint, "leadCallId" bigint, "tagTypeIds" bigint[], active boolean)
      left join jobsync.job_types t on t.tenant_id = p_tenant and t.st_job_type_id = x."jobTypeId"
      -- By what the record says: whether a job is skipped is asked of new ones alone.
      left join public.business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = x."businessUnitId"
      left join jobsync.routes r on r.tenant_id = p_tenant and r.st_business_unit_id = x."businessUnitId"
     where m.doc is distinct from m.old_doc or (p_source = 'servicetitan' and m.old_source <> 'servicetitan')
  ), hashed as materialized (
    select y.*, job_hash(y.st_job_number, y.st_customer_id, y.st_location_id, y.business_unit_id, y.job_type_id, y.job_status, y.priority,
                         y.summary, y.completed_on, y.total, y.campaign_id, y.tag_type_ids, y.active) as job_hash,
           case when y.is_new then
             coalesce(p_hold, skip_reason(y.deliverer, y.sync_enabled, y.sync_to_ghl, p_source, y.created_on,
               coalesce(v_deliver_from, case when y.deliverer = 'external' then v_adopted end))) end as skip
      from typed y
  ), added as (
    -- Without `on conflict`, which asks for each row once more whether it is there and costs a fifth of the writing.
    insert into public.jobs (
      id, tenant_id, st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, job_type_id, job_type_name, job_status, priority,
      summary, description, created_on, completed_on, modified_on, first_appointment_id, last_appointment_id, appointment_count, total,
      invoice_id, estimate_ids, no_charge, campaign_id, lead_call_id, tag_type_ids, ghl_sync_status, ghl_sync_reason, st_raw_data,
      created_at, updated_at, synced_from_st_at, source, active, job_hash, job_hash_version)
    select row_id(p_tenant, 'job', h.id), p_tenant, h.id, h.st_job_number, h.st_customer_id, h.st_location_id, h.business_unit_id, h.job_type_id,
      h.job_type_name, h.job_status, h.priority, h.summary, h.description, h.created_on, h.completed_on, h.modified_on, h.first_appointment_id,
      h.last_appointment_id, h.appointment_count, h.total, h.invoice_id, h.estimate_ids, h.no_charge, h.campaign_id, h.lead_call_id, h.tag_type_ids,
      case when h.skip is null then 'pending' else 'skipped' end, h.skip, h.doc, v_now, v_now, v_now, p_source, h.active, h.job_hash, v_version
      from hashed h where h.is_new
    returning 1
  ), changed as (
    insert into public.jobs as t (
      id, tenant_id, st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, job_type_id, job_type_name, job_status, priority,
      summary, description, created_on, completed_on, modified_on, first_appointment_id, last_appointment_id, appointment_count, total,
      invoice_id, estimate_ids, no_charge, campaign_id, lead_call_id, tag_type_ids, ghl_sync_status, ghl_sync_reason, st_raw_data,
      created_at, updated_at, synced_from_st_at, source, active, job_hash, job_hash_version, delivered_hash)
    select row_id(p_tenant, 'job', h.id), p_tenant, h.id, h.st_job_number, h.st_customer_id, h.st_location_id, h.business_unit_id, h.job_type_id, h.job_type_name, h.job_status,
      h.priority, h.summary, h.description, h.created_on, h.completed_on, h.modified_on, h.first_appointment_id, h.last_appointment_id,
      h.appointment_count, h.total, h.invoice_id, h.estimate_ids, h.no_charge, h.campaign_id, h.lead_call_id, h.tag_type_ids,
      case when h.skip is null then 'pending' else 'skipped' end, h.skip, h.doc, v_now, v_now, v_now, p_source, h.active, h.job_hash,
      case when h.stored_version = 0 and p_source <> 'servicetitan' then 0 else v_version end,
      -- What was delivered stays known when the hash counts other facts than before.
      case when h.is_baseline then h.job_hash when h.delivered_hash = h.stored_hash then h.old_hash else h.delivered_hash end
      from hashed h where not h.is_new
     order by h.id
    on conflict (tenant_id, st_job_id) do update set
      st_job_number = excluded.st_job_number, st_customer_id = excluded.st_customer_id, st_location_id = excluded.st_location_id,
      business_unit_id = excluded.business_unit_id, job_type_id = excluded.job_type_id, job_type_name = excluded.job_type_name,
      job_status = excluded.job_status, priority = excluded.priority, summary = excluded.summary, description = excluded.description,
      created_on = excluded.created_on, completed_on = excluded.completed_on, modified_on = excluded.modified_on,
      first_appointment_id = excluded.first_appointment_id, last_appointment_id = excluded.last_appointment_id,
      appointment_count = excluded.appointment_count, total = excluded.total, invoice_id = excluded.invoice_id,
      estimate_ids = excluded.estimate_ids, no_charge = excluded.no_charge, campaign_id = excluded.campaign_id,
      lead_call_id = excluded.lead_call_id, tag_type_ids = excluded.tag_type_ids, st_raw_data = excluded.st_raw_data,
      updated_at = v_now, synced_from_st_at = v_now,
      source = case t.source when 'servicetitan' then t.source else excluded.source end, active = excluded.active,
      job_hash = excluded.job_hash, job_hash_version = excluded.job_hash_version,
      delivered_hash = case when t.job_hash_version = excluded.job_hash_version then t.delivered_hash else excluded.delivered_hash end
    returning 1
  )
  select jsonb_array_length(p_page), (select count(*) from added) + (select count(*) from changed),
         (select array_agg(h.id) from hashed h), (select array_agg(h.id) from hashed h where h.skip is null or v_links),
         (select array_agg(h.job_hash is distinct from h.old_hash and h.is_baseline is not true) from hashed h where h.skip is null or v_links),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(o.raw -> 'id'), 100), 'reason', refusal_reason('jobs', o.raw, o.id)) order by o.n)
                     from odd o where o.doc is null), '[]'),
         (select array_agg(convert_to(o.raw::text, 'UTF8') order by o.n) from odd o where o.doc is null)
    into v_pulled, v_stored, v_touched, v_open, v_changed, v_refused, v_refused_raw;

  if v_refused_raw is not null then
    perform quarantine_records(p_tenant, 'jobs', v_refused, v_refused_raw, v_now);
  end if;
  if v_touched is not null then
    perform resolve_quarantined(p_tenant, 'jobs', v_touched, v_now);
    -- Nobody waits for the parents of what is held.
    perform want_parents(p_tenant, case when p_hold is null then v_touched else
      array(select j.st_job_id from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (v_open) and j.ghl_sync_reason is distinct from p_hold) end);
  end if;
  -- Where a new job is skipped, there is nothing to plan: it stands in the row.
  if v_open is not null then
    v_planned := plan_jobs(p_tenant, v_open, v_changed);
  end if;
  if p_hold is null then
    v_planned := coalesce(v_planned, 0) + release_pulled(p_tenant, p_page);
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', v_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - v_stored - jsonb_array_length(v_refused), 'planned', coalesce(v_planned, 0));
end
$$;
comment on function jobsync.store_jobs(text, jsonb, text, text) is
  'Stores a page of jobs, quarantines what does not fit, plans deliveries for what changed. p_hold: the reason for which jobs that are new are skipped. The same page again writes nothing.';

create function jobsync.want_parents(p_tenant text, p_jobs bigint[]) returns void
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_of_customers timestamptz;
  v_of_locations timestamptz;
begin
  -- Whoever stores the parents meanwhile resolves after this, or was done before it: nothing stays wanted unseen.
  perform lock_stream(p_tenant, 'wanted');
  -- A list that was read from its first record on holds the contacts of everybody who was known by then and has some.
  select min(f.caught_up_at) filter (where f.stream = 'customer_contacts'), min(f.caught_up_at) filter (where f.stream = 'location_contacts')
    into v_of_customers, v_of_locations from cursors f where f.tenant_id = p_tenant and f.complete_from_start;
  with of_jobs as materialized (
    select distinct j.st_customer_id, j.st_location_id from unnest(p_jobs) i(id)
     cross join lateral (select x.st_customer_id, x.st_location_id from jobs x where x.tenant_id = p_tenant and x.st_job_id = i.id offset 0) j
  ), asked as (
    select p.st_customer_id as id, c.st_customer_id is null as absent,
           c.contacts_read_at is null and coalesce(c.source, '') <> 'api'
             and not coalesce(c.created_at <= v_of_customers, false) as unread, 'customers' as stream
      from (select distinct o.st_customer_id from of_jobs o where o.st_customer_id > 0) p
      left join lateral (select x.* from customers x where x.tenant_id = p_tenant and x.st_customer_id = p.st_customer_id offset 0) c on true
    union all
    select p.st_location_id, l.st_location_id is null,
           l.contacts_read_at is null and not coalesce(l.created_at <= v_of_locations, false), 'locations'
      from (select distinct o.st_location_id from of_jobs o where o.st_location_id > 0) p
      left join lateral (select x.* from locations x where x.tenant_id = p_tenant and x.st_location_id = p.st_location_id offset 0) l on true
  ), missing as (
    select a.stream, a.id from asked a where a.absent
    union all
    select case a.stream when 'customers' then 'customer_contacts' else 'location_contacts' end, a.id from asked a where a.unread
  )
  insert into wanted (tenant_id, stream, id, wanted_at)
  select p_tenant, m.stream, m.id, v_now from missing m
   where (select true from wanted w where w.tenant_id = p_tenant and w.stream = m.stream and w.id = m.id limit 1) is null
   order by m.stream, m.id
  on conflict (tenant_id, stream, id) do nothing;
end
$$;
comment on function jobsync.want_parents(text, bigint[]) is 'Notes which customers, locations and contact lists of these jobs are not known yet.';

create function jobsync.resolve_wanted(p_tenant text) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_page record;
  v_list record;
  v_deleted integer;
  v_gone integer := 0;
  v_released integer := 0;
  v_read integer := 0;
begin
  -- What was stored before this is seen here; who stores jobs after this sees it himself and does not want it.
  perform lock_stream(p_tenant, 'wanted');
  -- Page by page, by a list of ids: joined, and before the tables were ever analysed, each would be compared with each.
  for v_page in delete from arrived a where a.tenant_id = p_tenant returning a.stream, a.ids loop
    delete from wanted w where w.tenant_id = p_tenant and w.stream = v_page.stream and w.id = any (v_page.ids);
    get diagnostics v_deleted = row_count;
    v_gone := v_gone + v_deleted;
  end loop;
  -- A list that was read from its first record on holds the contacts of everybody who has some.
  for v_list in select f.stream, f.caught_up_at from cursors f
                 where f.tenant_id = p_tenant and f.stream in ('customer_contacts', 'location_contacts') and f.complete_from_start loop
    delete from wanted w where w.tenant_id = p_tenant and w.stream = v_list.stream and w.wanted_at <= v_list.caught_up_at;
    get diagnostics v_deleted = row_count;
    v_gone := v_gone + v_deleted;
  end loop;
  -- The first pull has brought all there is of what an adopted database held: the rest goes out as it stands.
  if adopted_at(p_tenant) is not null and not is_first_load(p_tenant) then
    update outbox o set waiting_for = 'parents', next_attempt_at = v_now + interval '15 minutes'
     where o.tenant_id = p_tenant and o.st_job_id = any (array(
       select x.st_job_id from outbox x where x.tenant_id = p_tenant and x.waiting_for = 'first_pull' and x.lease_until is null for no key update skip locked));
    get diagnostics v_read = row_count;
  end if;
  -- A row that somebody else holds is left for the next time. Found once, in a step of its own: what locks rows would
  -- else be run anew for each row of the outbox.
  if v_gone > 0 or v_read > 0 or not exists (select from wanted w where w.tenant_id = p_tenant limit 1) then
    with released as materialized (
       select x.st_job_id from outbox x
        cross join lateral (select k.st_customer_id, k.st_location_id from jobs k where k.tenant_id = p_tenant and k.st_job_id = x.st_job_id offset 0) j
        where x.tenant_id = p_tenant and x.waiting_for = 'parents' and x.lease_until is null
          and (select true from wanted w where w.tenant_id = p_tenant and w.stream in ('customers', 'customer_contacts') and w.id = j.st_customer_id limit 1) is null
          and (select true from wanted w where w.tenant_id = p_tenant and w.stream in ('locations', 'location_contacts') and w.id = j.st_location_id limit 1) is null
          for no key update of x skip locked)
    update outbox o set waiting_for = null, next_attempt_at = v_now
      from released r where o.tenant_id = p_tenant and o.st_job_id = r.st_job_id;
    get diagnostics v_released = row_count;
  end if;
  return v_released;
end
$$;
comment on function jobsync.resolve_wanted(text) is 'Forgets parents that have arrived and makes the deliveries that waited for them, or for the end of an adopted database''s first pull, due. Answers how many became due.';

create function jobsync.list_wanted(p_tenant text, p_stream text, p_limit integer) returns bigint[]
language sql stable as $$
  select coalesce(array_agg(c.id order by c.id), '{}')
    from (select w.id from jobsync.wanted w
           where w.tenant_id = p_tenant and w.stream = p_stream
             and (w.asked_at is null or w.asked_at < (select jobsync.now()) - interval '5 minutes' * (2 ^ least(w.times_asked, 10)))
           order by w.id limit p_limit) c
$$;
comment on function jobsync.list_wanted(text, text, integer) is 'The next ids to look up; what ServiceTitan did not know when it was asked is asked ever more rarely.';

create function jobsync.note_asked(p_tenant text, p_stream text, p_ids bigint[]) returns void
language sql volatile as $$
  update jobsync.wanted w set asked_at = jobsync.now(), times_asked = w.times_asked + 1
   where w.tenant_id = p_tenant and w.stream = p_stream and w.id = any (p_ids)
$$;
comment on function jobsync.note_asked(text, text, bigint[]) is
  'Notes that ServiceTitan answered for these ids. Only then: a worker that dies while it asks must not make the next one wait.';

-- Storing customers, locations and their contacts. The same walk as for jobs: newest per id, merged over the stored row,
-- written only where something differs.

-- ServiceTitan has one name; GoHighLevel wants two. "Last, First" and "First Last" are read; one word is a first name.
create function jobsync.spaced(p_name text) returns text language sql immutable parallel safe as $$
  select pg_catalog.btrim(pg_catalog.translate(p_name, e'\t\n\r\f\v\u00a0', '      '))
$$;
comment on function jobsync.spaced(text) is 'The text without space around it, each kind of space as a space.';

create function jobsync.first_name(p_name text) returns text language sql immutable parallel safe as $$
  select nullif(pg_catalog.btrim(case when p_name like '%,%' then pg_catalog.split_part(p_name, ',', 2)
    when jobsync.spaced(p_name) like '% %' then pg_catalog.left(jobsync.spaced(p_name), -pg_catalog.length(pg_catalog.split_part(pg_catalog.reverse(jobsync.spaced(p_name)), ' ', 1)))
    else p_name end), '')
$$;
comment on function jobsync.first_name(text) is 'First name out of "First Last" or "Last, First".';
create function jobsync.last_name(p_name text) returns text language sql immutable parallel safe as $$
  select nullif(pg_catalog.btrim(case when p_name like '%,%' then pg_catalog.split_part(p_name, ',', 1)
    when jobsync.spaced(p_name) like '% %' then pg_catalog.reverse(pg_catalog.split_part(pg_catalog.reverse(jobsync.spaced(p_name)), ' ', 1)) end), '')
$$;
comment on function jobsync.last_name(text) is 'Last name out of "First Last" or "Last, First"; null for one word.';

create function jobsync.owner_misfits(p_doc jsonb) returns text[] language sql immutable parallel safe as $$
  select jobsync.record_misfits(jobsync.field_kinds('customers'), p_doc)
$$;
comment on function jobsync.owner_misfits(jsonb) is 'Names of the fields of a customer that do not fit; null when all fit.';

create function jobsync.owner_id(p_doc jsonb) returns bigint language sql immutable parallel safe as $$
  select jobsync.try_bigint(case when p_doc ? 'customerId' and not p_doc ? 'name' then p_doc -> 'customerId'
                                 else coalesce(p_doc -> 'id', p_doc -> 'customerId') end)
$$;
comment on function jobsync.owner_id(jsonb) is 'The customer''s id: of the guide''s form (customerId, firstName, ...) or ServiceTitan''s (id, name, ...).';

-- Stable, not immutable, as with_address is: so that their texts stand in the query that calls them.
create function jobsync.has_owner_shape(p_doc jsonb) returns boolean language sql stable parallel safe as $$
  select coalesce(pg_catalog.jsonb_typeof(p_doc) = 'object'
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'address') in ('object', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'active') in ('boolean', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'doNotService') in ('boolean', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_doc -> 'doNotMail') in ('boolean', 'null'), true), false)
$$;
comment on function jobsync.has_owner_shape(jsonb) is 'True when the record is an object whose address is one, too, and whose flags are flags.';

create function jobsync.list_owner_ids(p_doc jsonb) returns text language sql stable parallel safe as $$
  select pg_catalog.concat('=' || (p_doc ->> 'customerId'), ';', '=' || (p_doc ->> 'locationId'), ';', '=' || (p_doc ->> 'mergedToId'), ';')
$$;
comment on function jobsync.list_owner_ids(jsonb) is 'The ids within a customer or location, listed: `=value;`.';

create function jobsync.is_plain_owner(p_doc jsonb) returns boolean language plpgsql stable parallel safe as $$
begin
  return jobsync.has_owner_shape(p_doc) and jobsync.are_plain_ids_listed(jobsync.list_owner_ids(p_doc), 3)
     and jobsync.are_plain_times_listed(pg_catalog.concat('=' || (p_doc ->> 'modifiedOn'), ';'), 1);
end
$$;
comment on function jobsync.is_plain_owner(jsonb) is 'True when every field of a customer or location casts as it stands.';

-- Stable, not immutable, although it depends on nothing else: so PostgreSQL puts its text into the query that calls it.
create function jobsync.with_address(p_old jsonb, p_new jsonb) returns jsonb language sql stable parallel safe as $$
  select case when p_old is null then p_new
    when pg_catalog.jsonb_typeof(p_new -> 'address') = 'object' and pg_catalog.jsonb_typeof(p_old -> 'address') = 'object'
    then p_old || p_new || pg_catalog.jsonb_build_object('address', (p_old -> 'address') || (p_new -> 'address'))
    else p_old || p_new end
$$;
comment on function jobsync.with_address(jsonb, jsonb) is 'The stored record with the new one merged over it, its address key by key.';

create function jobsync.store_customers(p_tenant text, p_page jsonb, p_source text default 'servicetitan')
returns jsonb language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set work_mem = '64MB' set plan_cache_mode = auto as $$
declare
  v_now timestamptz := jobsync.now();
  v_pulled integer := jsonb_array_length(p_page);
  v_owners bigint[];
  v_merged bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
  v_any_contact boolean;
begin
  -- A plan kept from an emptier table would read the whole table for every page; for a few rows planning costs more.
  if jsonb_array_length(p_page) > 20 then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
  end if;
  -- The customers' contacts share this lock: whoever comes second sees what the other stored.
  perform lock_stream(p_tenant, 'customers');
  v_any_contact := p_source = 'servicetitan' and exists (select from contacts k where k.tenant_id = p_tenant and k.owner_kind = 'customer');
  with fresh as materialized (
    select p.n, p.id, p.doc, c as old
      from (select e.n, e.doc, owner_id(e.doc) as id from jsonb_array_elements(p_page) with ordinality e(doc, n) offset 0) p
      left join lateral (select x.* from public.customers x where x.tenant_id = p_tenant and x.st_customer_id = p.id offset 0) c on true
     where not coalesce(p.doc = c.st_raw_data and (c.source = 'servicetitan' or p_source <> 'servicetitan'), false)
  ), suspects as (
    select f.n / 100 as hundred from fresh f group by f.n / 100 
    having not (bool_and(has_owner_shape(f.doc)) and are_plain_ids_listed(string_agg(list_owner_ids(f.doc), ''), 3 * count(*))
                and are_plain_times_listed(string_agg(concat('=' || (f.doc ->> 'modifiedOn'), ';'), ''), count(*)))
  ), odd as materialized (
    select f.n, f.id, f.old, f.doc as raw, case when f.id > 0 then plain_record(field_kinds('customers'), f.doc) end as doc
      from fresh f
     where coalesce(f.id, 0) <= 0 or f.n / 100 = any (array(select s.hundred from suspects s)) and not is_plain_owner(f.doc)
  ), newest as (
    select distinct on (c.id) c.id, c.old, c.raw, c.plain, c.modified_on
      from (select f.id, f.n, f.old, f.doc as raw, null::jsonb as plain, (f.doc ->> 'modifiedOn')::timestamptz as modified_on from fresh f
             where f.id > 0 and (f.n / 100 <> all (array(select s.hundred from suspects s)) or is_plain_owner(f.doc))
            union all
            select o.id, o.n, o.old, o.raw, o.doc, (o.doc ->> 'modifiedOn')::timestamptz from odd o where o.doc is not null) c
     order by c.id, c.modified_on desc nulls last, c.n desc
  ), merged as (
    select n.id, n.modified_on, coalesce(n.plain, n.raw) as given, n.old,
           -- A new full name makes first and last names that came in the guide's form stale.
           with_address(case when n.raw ? 'name' and not n.raw ? 'firstName' then (n.old).st_raw_data - array['firstName', 'lastName', 'companyName']
                             else (n.old).st_raw_data end, n.raw) as doc
      from newest n
     where (n.old).st_customer_id is null or n.modified_on >= (n.old).modified_on or (n.old).modified_on is null
        or (n.modified_on is null and (n.old).source = p_source)
  ), best as materialized (
    -- Of all at once, and looked up by the owner's id: owner by owner it costs as much as all the rest.
    select (select jsonb_object_agg(k.owner_id, jsonb_build_array(k.phone, k.email, k.do_not_text))
              from choose_contacts(p_tenant, 'customer', array(select m.id from merged m)) k where v_any_contact) as of_owner
  ), typed as materialized (
    select m.id, m.doc, (m.old).st_customer_id is null as is_new,
      coalesce(x."locationId", case when not m.given ? 'locationId' then (m.old).st_location_id end) as st_location_id,
      case when m.given ? 'firstName' then x."firstName" when not m.given ? 'name' then (m.old).first_name
           when x.type is distinct from 'Commercial' then first_name(x.name) end as first_name,
      case when m.given ? 'lastName' then x."lastName" when not m.given ? 'name' then (m.old).last_name
           when x.type is distinct from 'Commercial' then last_name(x.name) end as last_name,
      case when m.given ? 'companyName' then x."companyName" when not m.given ? 'name' then (m.old).company_name
           when x.type = 'Commercial' then x.name end as company_name,
      -- Indexed texts are cut: an index entry has a limit, and one record must not fail its page.
      -- An owner without any contact keeps what he has: it came through /db.
      case when b.best is not null then b.best ->> 1 when m.given ? 'email' then left(x.email, 500) else (m.old).email end as email,
      case when b.best is not null then b.best ->> 0 when m.given ? 'phone' then left(x.phone, 500) else (m.old).phone end as phone,
      case when b.best is not null then (b.best ->> 2)::boolean else (m.old).do_not_text end as do_not_text,
      case when a.given ? 'street' then nullif(concat_ws(', ', nullif(a.street, ''), nullif(a.unit, '')), '') when not a.none then (m.old).street end as street,
      case when a.given ? 'city' then nullif(a.city, '') when not a.none then (m.old).city end as city,
      case when a.given ? 'state' then nullif(a.state, '') when not a.none then (m.old).state end as state,
      case when a.given ? 'zip' then nullif(a.zip, '') when not a.none then (m.old).postal_code end as postal_code,
      case when a.given ? 'country' then nullif(a.country, '') when not a.none then (m.old).country end as country,
      case when a.given ? 'county' then nullif(a.county, '') when not a.none then (m.old).county end as county,
      coalesce(m.modified_on, (m.old).modified_on) as modified_on,
      coalesce(x.active, case when not m.given ? 'active' then (m.old).active end, true) as active,
      nullif(case when m.given ? 'mergedToId' then x."mergedToId" else (m.old).merged_to_id end, m.id) as merged_to_id,
      case when m.given ? 'doNotService' then x."doNotService" else (m.old).do_not_service end as do_not_service,
      case when m.given ? 'doNotMail' then x."doNotMail" else (m.old).do_not_mail end as do_not_mail
      from merged m
      cross join lateral jsonb_to_record(m.given) as x (name text, type text, "firstName" text, "lastName" text, "companyName" text, email text,
        phone text, "locationId" bigint, "mergedToId" bigint, active boolean, "doNotService" boolean, "doNotMail" boolean)
      cross join lateral (
        select m.given -> 'address' as given, coalesce(m.given -> 'address' = 'null', false) as none, r.*
          from jsonb_to_record(case jsonb_typeof(m.given -> 'address') when 'object' then m.given -> 'address' else '{}' end)
            as r (street text, unit text, city text, state text, zip text, country text, county text)) a
      cross join best
      cross join lateral (select best.of_owner -> m.id::text as best offset 0) b
     where m.doc is distinct from (m.old).st_raw_data or (p_source = 'servicetitan' and (m.old).source <> 'servicetitan')
  ), added as (
    -- Without `on conflict`, as in store_jobs.
    insert into public.customers (id, tenant_id, st_customer_id, st_location_id, first_name, last_name, company_name, email, phone, street, city,
      state, postal_code, country, county, st_raw_data, created_at, updated_at, synced_from_st_at, modified_on, active, merged_to_id, source,
      do_not_service, do_not_mail, do_not_text)
    select row_id(p_tenant, 'customer', y.id), p_tenant, y.id, y.st_location_id, y.first_name, y.last_name, y.company_name, y.email, y.phone, y.street,
      y.city, y.state, y.postal_code, y.country, y.county, y.doc, v_now, v_now, v_now, y.modified_on, y.active, y.merged_to_id, p_source, y.do_not_service,
      y.do_not_mail, y.do_not_text
      from typed y where y.is_new
    returning st_customer_id, merged_to_id
  ), changed as (
    insert into public.customers as t (id, tenant_id, st_customer_id, st_location_id, first_name, last_name, company_name, email, phone, street, city,
      state, postal_code, country, county, st_raw_data, created_at, updated_at, synced_from_st_at, modified_on, active, merged_to_id, source,
      do_not_service, do_not_mail, do_not_text)
    select row_id(p_tenant, 'customer', y.id), p_tenant, y.id, y.st_location_id, y.first_name, y.last_name, y.company_name, y.email, y.phone, y.street,
      y.city, y.state, y.postal_code, y.country, y.county, y.doc, v_now, v_now, v_now, y.modified_on, y.active, y.merged_to_id, p_source, y.do_not_service,
      y.do_not_mail, y.do_not_text
      from typed y where not y.is_new order by y.id
    on conflict (tenant_id, st_customer_id) do update set
      st_location_id = excluded.st_location_id, first_name = excluded.first_name, last_name = excluded.last_name,
      company_name = excluded.company_name, email = excluded.email, phone = excluded.phone, street = excluded.street, city = excluded.city,
      state = excluded.state, postal_code = excluded.postal_code, country = excluded.country, county = excluded.county,
      st_raw_data = excluded.st_raw_data, updated_at = v_now, synced_from_st_at = v_now, modified_on = excluded.modified_on,
      active = excluded.active, merged_to_id = excluded.merged_to_id,
      source = case t.source when 'servicetitan' then t.source else excluded.source end,
      do_not_service = excluded.do_not_service, do_not_mail = excluded.do_not_mail, do_not_text = excluded.do_not_text
    returning t.st_customer_id, t.merged_to_id
  ), written as (
    select * from added union all select * from changed
  )
  select (select array_agg(w.st_customer_id) from written w), (select array_agg(w.st_customer_id) from written w where w.merged_to_id > 0),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(o.raw -> 'id'), 100), 'reason', refusal_reason('customers', o.raw, o.id)) order by o.n)
                     from odd o where o.doc is null), '[]'),
         (select array_agg(convert_to(o.raw::text, 'UTF8') order by o.n) from odd o where o.doc is null)
    into v_owners, v_merged, v_refused, v_refused_raw;
  if v_refused_raw is not null then
    perform quarantine_records(p_tenant, 'customers', v_refused, v_refused_raw, v_now);
  end if;
  perform want_survivors(p_tenant, 'customers', v_merged);
  perform note_arrived(p_tenant, 'customers', v_owners);
  if v_owners is not null then
    perform resolve_quarantined(p_tenant, 'customers', v_owners, v_now);
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', coalesce(cardinality(v_owners), 0), 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - coalesce(cardinality(v_owners), 0) - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_customers(text, jsonb, text) is
  'Stores customers in ServiceTitan''s form (id, name, address) or the guide''s (customerId, firstName, ...). The same page again writes nothing.';

create function jobsync.store_locations(p_tenant text, p_page jsonb)
returns jsonb language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set work_mem = '64MB' set plan_cache_mode = auto as $$
declare
  v_now timestamptz := jobsync.now();
  v_pulled integer := jsonb_array_length(p_page);
  v_owners bigint[];
  v_merged bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
  v_any_contact boolean;
begin
  -- A plan kept from an emptier table would read the whole table for every page; for a few rows planning costs more.
  if jsonb_array_length(p_page) > 20 then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
  end if;
  perform lock_stream(p_tenant, 'locations');
  v_any_contact := exists (select from contacts k where k.tenant_id = p_tenant and k.owner_kind = 'location');
  with fresh as materialized (
    select p.n, p.id, p.doc, l as old
      from (select e.n, e.doc, try_bigint(e.doc -> 'id') as id from jsonb_array_elements(p_page) with ordinality e(doc, n) offset 0) p
      left join lateral (select x.* from jobsync.locations x where x.tenant_id = p_tenant and x.st_location_id = p.id offset 0) l on true
     where p.doc is distinct from l.st_raw_data
  ), suspects as (
    select f.n / 100 as hundred from fresh f group by f.n / 100
    having not (bool_and(has_owner_shape(f.doc)) and are_plain_ids_listed(string_agg(list_owner_ids(f.doc), ''), 3 * count(*))
                and are_plain_times_listed(string_agg(concat('=' || (f.doc ->> 'modifiedOn'), ';'), ''), count(*)))
  ), odd as materialized (
    select f.n, f.id, f.old, f.doc as raw, case when f.id > 0 then plain_record(field_kinds('locations'), f.doc) end as doc
      from fresh f
     where coalesce(f.id, 0) <= 0 or f.n / 100 = any (array(select s.hundred from suspects s)) and not is_plain_owner(f.doc)
  ), newest as (
    select distinct on (c.id) c.id, c.old, c.raw, c.plain, c.modified_on
      from (select f.id, f.n, f.old, f.doc as raw, null::jsonb as plain, (f.doc ->> 'modifiedOn')::timestamptz as modified_on from fresh f
             where f.id > 0 and (f.n / 100 <> all (array(select s.hundred from suspects s)) or is_plain_owner(f.doc))
            union all
            select o.id, o.n, o.old, o.raw, o.doc, (o.doc ->> 'modifiedOn')::timestamptz from odd o where o.doc is not null) c
     order by c.id, c.modified_on desc nulls last, c.n desc
  ), merged as (
    select n.id, n.modified_on, coalesce(n.plain, n.raw) as given, n.old, with_address((n.old).st_raw_data, n.raw) as doc
      from newest n
     where (n.old).st_location_id is null or n.modified_on >= (n.old).modified_on or (n.old).modified_on is null or n.modified_on is null
  ), best as materialized (
    -- Of all at once, and looked up by the owner's id: owner by owner it costs as much as all the rest.
    select (select jsonb_object_agg(k.owner_id, jsonb_build_array(k.phone, k.email, k.do_not_text))
              from choose_contacts(p_tenant, 'location', array(select m.id from merged m)) k where v_any_contact) as of_owner
  ), typed as materialized (
    select m.id, m.doc, (m.old).st_location_id is null as is_new,
      coalesce(x."customerId", case when not m.given ? 'customerId' then (m.old).st_customer_id end) as st_customer_id,
      case when m.given ? 'name' then x.name else (m.old).name end as name,
      case when a.given ? 'street' then nullif(concat_ws(', ', nullif(a.street, ''), nullif(a.unit, '')), '') when not a.none then (m.old).street end as street,
      case when a.given ? 'city' then nullif(a.city, '') when not a.none then (m.old).city end as city,
      case when a.given ? 'state' then nullif(a.state, '') when not a.none then (m.old).state end as state,
      case when a.given ? 'zip' then nullif(a.zip, '') when not a.none then (m.old).postal_code end as postal_code,
      case when a.given ? 'country' then nullif(a.country, '') when not a.none then (m.old).country end as country,
      case when a.given ? 'county' then nullif(a.county, '') when not a.none then (m.old).county end as county,
      coalesce(x.active, case when not m.given ? 'active' then (m.old).active end, true) as active,
      nullif(case when m.given ? 'mergedToId' then x."mergedToId" else (m.old).merged_to_id end, m.id) as merged_to_id,
      coalesce(m.modified_on, (m.old).modified_on) as modified_on,
      case when b.best is not null then b.best ->> 0 else (m.old).phone end as phone,
      case when b.best is not null then b.best ->> 1 else (m.old).email end as email,
      case when b.best is not null then (b.best ->> 2)::boolean else (m.old).do_not_text end as do_not_text
      from merged m
      cross join lateral jsonb_to_record(m.given) as x (name text, "customerId" bigint, "mergedToId" bigint, active boolean)
      cross join lateral (
        select m.given -> 'address' as given, coalesce(m.given -> 'address' = 'null', false) as none, r.*
          from jsonb_to_record(case jsonb_typeof(m.given -> 'address') when 'object' then m.given -> 'address' else '{}' end)
            as r (street text, unit text, city text, state text, zip text, country text, county text)) a
      cross join best
      cross join lateral (select best.of_owner -> m.id::text as best offset 0) b
     where m.doc is distinct from (m.old).st_raw_data
  ), added as (
    -- Without `on conflict`, as in store_jobs.
    insert into jobsync.locations (tenant_id, st_location_id, st_customer_id, name, street, city, state, postal_code, country, county, active,
      merged_to_id, modified_on, st_raw_data, created_at, updated_at, phone, email, do_not_text)
    select p_tenant, y.id, y.st_customer_id, y.name, y.street, y.city, y.state, y.postal_code, y.country, y.county, y.active, y.merged_to_id,
      y.modified_on, y.doc, v_now, v_now, y.phone, y.email, y.do_not_text
      from typed y where y.is_new
    returning st_location_id, merged_to_id
  ), changed as (
    insert into jobsync.locations as t (tenant_id, st_location_id, st_customer_id, name, street, city, state, postal_code, country, county, active,
      merged_to_id, modified_on, st_raw_data, created_at, updated_at, phone, email, do_not_text)
    select p_tenant, y.id, y.st_customer_id, y.name, y.street, y.city, y.state, y.postal_code, y.country, y.county, y.active, y.merged_to_id,
      y.modified_on, y.doc, v_now, v_now, y.phone, y.email, y.do_not_text
      from typed y where not y.is_new order by y.id
    on conflict (tenant_id, st_location_id) do update set
      st_customer_id = excluded.st_customer_id, name = excluded.name, street = excluded.street, city = excluded.city, state = excluded.state,
      postal_code = excluded.postal_code, country = excluded.country, county = excluded.county, active = excluded.active,
      merged_to_id = excluded.merged_to_id, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now,
      phone = excluded.phone, email = excluded.email, do_not_text = excluded.do_not_text
    returning t.st_location_id, t.merged_to_id
  ), written as (
    select * from added union all select * from changed
  )
  select (select array_agg(w.st_location_id) from written w), (select array_agg(w.st_location_id) from written w where w.merged_to_id > 0),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(o.raw -> 'id'), 100), 'reason', refusal_reason('locations', o.raw, o.id)) order by o.n)
                     from odd o where o.doc is null), '[]'),
         (select array_agg(convert_to(o.raw::text, 'UTF8') order by o.n) from odd o where o.doc is null)
    into v_owners, v_merged, v_refused, v_refused_raw;
  if v_refused_raw is not null then
    perform quarantine_records(p_tenant, 'locations', v_refused, v_refused_raw, v_now);
  end if;
  perform want_survivors(p_tenant, 'locations', v_merged);
  perform note_arrived(p_tenant, 'locations', v_owners);
  if v_owners is not null then
    perform resolve_quarantined(p_tenant, 'locations', v_owners, v_now);
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', coalesce(cardinality(v_owners), 0), 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - coalesce(cardinality(v_owners), 0) - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_locations(text, jsonb) is 'Stores locations. The same page again writes nothing.';

-- p_phones: for each record of the page the E.164 form of its value, or null; the library that knows numbers is Python's.
-- p_owners: not null when the page holds the whole contact list of these owners, so that what is missing is gone.
create function jobsync.store_contacts(p_tenant text, p_owner_kind text, p_page jsonb, p_phones jsonb, p_owners bigint[])
returns jsonb language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set work_mem = '64MB' set plan_cache_mode = auto as $$
declare
  v_now timestamptz := jobsync.now();
  v_key text := p_owner_kind || 'Id';
  v_stream text := p_owner_kind || '_contacts';
  v_pulled integer := jsonb_array_length(p_page);
  v_stored integer;
  v_written bigint[];
  v_owners bigint[];
  v_gone bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
begin
  -- A plan kept from an emptier table would read the whole table for every page; for a few rows planning costs more.
  if jsonb_array_length(p_page) > 20 then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
  end if;
  perform lock_stream(p_tenant, p_owner_kind || 's');
  with page as materialized (
    select e.n, e.doc, try_bigint(e.doc -> 'id') as id, try_bigint(e.doc -> v_key) as owner_id, e.phone
      from rows from (jsonb_array_elements(p_page), jsonb_array_elements_text(p_phones)) with ordinality e(doc, phone, n)
  ), suspects as (
    select p.n / 100 as hundred from page p group by p.n / 100
    having not are_plain_times_listed(string_agg(concat('=' || (p.doc ->> 'modifiedOn'), ';'), ''), count(*))
  ), fresh as materialized (
    select p.*, c.st_contact_id is null as is_new, c.st_raw_data as old_doc, c.modified_on as old_modified_on, c.active as old_active, c.phone as old_phone,
           coalesce(p.id > 0 and p.owner_id > 0 and jsonb_typeof(p.doc -> 'value') = 'string' and jsonb_typeof(p.doc -> 'type') = 'string'
             and (p.n / 100 <> all (array(select s.hundred from suspects s)) or fits_timestamptz(p.doc -> 'modifiedOn')), false) as fits,
           case when p.n / 100 <> all (array(select s.hundred from suspects s)) then (p.doc ->> 'modifiedOn')::timestamptz
                else try_timestamptz(p.doc -> 'modifiedOn') end as modified_on
      from page p
      left join lateral (
        select x.* from jobsync.contacts x
         where x.tenant_id = p_tenant and x.owner_kind = p_owner_kind and x.owner_id = p.owner_id and x.st_contact_id = p.id offset 0) c on true
     where c.st_contact_id is null or p.doc is distinct from c.st_raw_data or p.phone is distinct from c.phone or not c.active
  ), newest as (
    select distinct on (f.owner_id, f.id) f.*
      from fresh f where f.fits
     order by f.owner_id, f.id, f.modified_on desc nulls last, f.n desc
  ), differing as materialized (
    select m.*, coalesce(try_boolean(m.doc -> 'active'), true) as active
      from (select n.*, coalesce(n.old_doc || n.doc, n.doc) as merged from newest n) m
     where m.old_doc is null
        or ((m.modified_on >= m.old_modified_on or m.old_modified_on is null or m.modified_on is null)
            and (m.merged is distinct from m.old_doc or m.phone is distinct from m.old_phone
                 or m.old_active <> coalesce(try_boolean(m.doc -> 'active'), true)))
  ), added as (
    -- Without `on conflict`, as in store_jobs.
    insert into jobsync.contacts (tenant_id, owner_kind, owner_id, st_contact_id, type, value, phone, memo, do_not_text, active, modified_on,
      st_raw_data, updated_at)
    select p_tenant, p_owner_kind, d.owner_id, d.id, d.merged ->> 'type', d.merged ->> 'value', d.phone, d.merged ->> 'memo',
      try_boolean(d.merged #> '{phoneSettings,doNotText}'), d.active, d.modified_on, d.merged, v_now
      from differing d where d.is_new
    returning owner_id, st_contact_id
  ), changed as (
    insert into jobsync.contacts as t (tenant_id, owner_kind, owner_id, st_contact_id, type, value, phone, memo, do_not_text, active, modified_on,
      st_raw_data, updated_at)
    select p_tenant, p_owner_kind, d.owner_id, d.id, d.merged ->> 'type', d.merged ->> 'value', d.phone, d.merged ->> 'memo',
      try_boolean(d.merged #> '{phoneSettings,doNotText}'), d.active, coalesce(d.modified_on, d.old_modified_on), d.merged, v_now
      from differing d where not d.is_new order by d.owner_id, d.id
    on conflict (tenant_id, owner_kind, owner_id, st_contact_id) do update set
      type = excluded.type, value = excluded.value, phone = excluded.phone, memo = excluded.memo, do_not_text = excluded.do_not_text,
      active = excluded.active, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now
    returning t.owner_id, t.st_contact_id
  ), written as (
    select * from added union all select * from changed
  )
  select (select count(*) from written), (select array_agg(w.st_contact_id) from written w), (select array_agg(distinct w.owner_id) from written w),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(f.doc -> 'id'), 100), 'reason',
             case when coalesce(f.id, 0) <= 0 or coalesce(f.owner_id, 0) <= 0 then 'id or ' || v_key || ' is not a positive whole number'
                  else 'type, value or modifiedOn does not fit' end) order by f.n)
             from fresh f where not f.fits), '[]'),
         (select array_agg(convert_to(f.doc::text, 'UTF8') order by f.n) from fresh f where not f.fits)
    into v_stored, v_written, v_owners, v_refused, v_refused_raw;

  if p_owners is not null then
    with present as materialized (
      select distinct try_bigint(e.doc -> v_key) as owner_id, try_bigint(e.doc -> 'id') as id from jsonb_array_elements(p_page) e(doc)
    ), removed as (
      update contacts c set active = false, updated_at = v_now
       where c.tenant_id = p_tenant and c.owner_kind = p_owner_kind and c.owner_id = any (p_owners) and c.active
         and not exists (select from present p where p.id = c.st_contact_id and p.owner_id = c.owner_id)
      returning c.owner_id)
    select array_agg(distinct r.owner_id) into v_gone from removed r;
    v_owners := v_owners || v_gone;
  end if;
  if v_refused_raw is not null then
    perform quarantine_records(p_tenant, v_stream, v_refused, v_refused_raw, v_now);
  end if;
  if v_written is not null then
    perform resolve_quarantined(p_tenant, v_stream, v_written, v_now);
  end if;
  perform refresh_owners(p_tenant, p_owner_kind, v_owners);
  perform note_arrived(p_tenant, v_stream, p_owners);
  if p_owners is not null and p_owner_kind = 'customer' then
    update public.customers c set contacts_read_at = v_now, updated_at = v_now
     where c.tenant_id = p_tenant and c.st_customer_id = any (p_owners) and c.contacts_read_at is null;
  elsif p_owners is not null then
    update locations l set contacts_read_at = v_now where l.tenant_id = p_tenant and l.st_location_id = any (p_owners) and l.contacts_read_at is null;
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', v_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - v_stored - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_contacts(text, text, jsonb, jsonb, bigint[]) is
  'Stores contacts of customers or locations, merged by contact id, and refreshes the best phone and email of their owners.';

create function jobsync.refresh_owners(p_tenant text, p_owner_kind text, p_owners bigint[]) returns void
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_known bigint[];
  v_best jsonb;
begin
  -- An owner without any contact keeps what he has: it came through /db. One who is not here yet finds them when he comes.
  if p_owner_kind = 'customer' then
    v_known := array(select c.st_customer_id from public.customers c where c.tenant_id = p_tenant and c.st_customer_id = any (p_owners));
  else
    v_known := array(select l.st_location_id from locations l where l.tenant_id = p_tenant and l.st_location_id = any (p_owners));
  end if;
  if cardinality(v_known) = 0 then
    return;
  end if;
  -- Chosen first and looked up by the owner's id: joined, all contacts of all owners were chosen anew for each owner while
  -- the tables were young.
  select jsonb_object_agg(b.owner_id, jsonb_build_array(b.phone, b.email, b.do_not_text)) into v_best from choose_contacts(p_tenant, p_owner_kind, v_known) b;
  if p_owner_kind = 'customer' then
    update public.customers c set phone = v_best -> c.st_customer_id::text ->> 0, email = v_best -> c.st_customer_id::text ->> 1,
           do_not_text = (v_best -> c.st_customer_id::text ->> 2)::boolean, updated_at = v_now
     where c.tenant_id = p_tenant and c.st_customer_id = any (v_known) and v_best ? c.st_customer_id::text
       and jsonb_build_array(c.phone, c.email, c.do_not_text) <> v_best -> c.st_customer_id::text;
  else
    update locations l set phone = v_best -> l.st_location_id::text ->> 0, email = v_best -> l.st_location_id::text ->> 1,
           do_not_text = (v_best -> l.st_location_id::text ->> 2)::boolean, updated_at = v_now
     where l.tenant_id = p_tenant and l.st_location_id = any (v_known) and v_best ? l.st_location_id::text
       and jsonb_build_array(l.phone, l.email, l.do_not_text) <> v_best -> l.st_location_id::text;
  end if;
end
$$;
comment on function jobsync.refresh_owners(text, text, bigint[]) is 'Sets the best phone and email of owners whose contacts changed.';

-- Merges: the merged customer or location names its survivor (mergedToId), and jobs may go on naming the merged one. The
-- survivor is looked up like a missing parent if no feed has brought it, so that jobsync.projections can follow the chain.

create function jobsync.want_survivors(p_tenant text, p_stream text, p_ids bigint[]) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
begin
  if p_ids is null then
    return;
  end if;
  with survivors as (
    select distinct m.merged_to_id as id from customers m
     where p_stream = 'customers' and m.tenant_id = p_tenant and m.st_customer_id = any (p_ids) and m.merged_to_id > 0
       and not exists (select from customers s where s.tenant_id = p_tenant and s.st_customer_id = m.merged_to_id)
    union
    select distinct m.merged_to_id from locations m
     where p_stream = 'locations' and m.tenant_id = p_tenant and m.st_location_id = any (p_ids) and m.merged_to_id > 0
       and not exists (select from locations s where s.tenant_id = p_tenant and s.st_location_id = m.merged_to_id)
  )
  insert into wanted (tenant_id, stream, id, wanted_at)
  select p_tenant, w.stream, s.id, v_now
    from survivors s
    cross join lateral (values (p_stream), (case p_stream when 'customers' then 'customer_contacts' else 'location_contacts' end)) w(stream)
  on conflict (tenant_id, stream, id) do nothing;
end
$$;
comment on function jobsync.want_survivors(text, text, bigint[]) is
  'Notes the survivors of merged customers or locations that are not known yet, and their contact lists. Those that a feed brings meanwhile are forgotten again.';

-- Storing reference lists: business units and job types, read whole once an hour.

create function jobsync.store_business_units(p_tenant text, p_page jsonb)
returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_pulled integer;
  v_stored integer;
  v_refused jsonb;
  v_refused_raw bytea[];
begin
  with page as materialized (
    select e.n, e.doc, try_bigint(e.doc -> 'id') as id from jsonb_array_elements(p_page) with ordinality e(doc, n)
  ), newest as (
    select distinct on (p.id) p.id, p.doc from page p where p.id > 0 order by p.id, p.n desc
  ), written as (
    insert into public.business_units as u (tenant_id, st_business_unit_id, name, active, modified_on, st_raw_data)
    select p_tenant, n.id, coalesce(nullif(as_text(n.doc -> 'name'), ''), 'Unit ' || n.id), coalesce(try_boolean(n.doc -> 'active'), true),
           try_timestamptz(n.doc -> 'modifiedOn'), n.doc
      from newest n
      left join public.business_units o on o.tenant_id = p_tenant and o.st_business_unit_id = n.id
     where o.st_business_unit_id is null or o.st_raw_data is distinct from n.doc
    on conflict (tenant_id, st_business_unit_id) do update set
      name = excluded.name, active = excluded.active, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data,
      updated_at = jobsync.now()
    returning 1
  )
  select (select count(*) from page), (select count(*) from written),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(p.doc -> 'id'), 100), 'reason', 'id is not a positive whole number') order by p.n)
                     from page p where coalesce(p.id, 0) <= 0), '[]'),
         (select array_agg(convert_to(p.doc::text, 'UTF8') order by p.n) from page p where coalesce(p.id, 0) <= 0)
    into v_pulled, v_stored, v_refused, v_refused_raw;
  if jsonb_array_length(v_refused) > 0 then
    perform quarantine_records(p_tenant, 'business_units', v_refused, v_refused_raw, jobsync.now());
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', v_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - v_stored - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_business_units(text, jsonb) is
  'Stores business units by ServiceTitan''s names; pipeline names and switches that people set stay.';

create function jobsync.store_job_types(p_tenant text, p_page jsonb)
returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_pulled integer;
  v_types bigint[];
  v_refused jsonb;
  v_refused_raw bytea[];
begin
  with page as materialized (
    select e.n, e.doc, try_bigint(e.doc -> 'id') as id from jsonb_array_elements(p_page) with ordinality e(doc, n)
  ), newest as (
    select distinct on (p.id) p.id, p.doc from page p where p.id > 0 order by p.id, p.n desc
  ), written as (
    insert into jobsync.job_types as t (tenant_id, st_job_type_id, name, active, modified_on, st_raw_data)
    select p_tenant, n.id, as_text(n.doc -> 'name'), coalesce(try_boolean(n.doc -> 'active'), true), try_timestamptz(n.doc -> 'modifiedOn'), n.doc
      from newest n
      left join jobsync.job_types o on o.tenant_id = p_tenant and o.st_job_type_id = n.id
     where o.st_job_type_id is null or o.st_raw_data is distinct from n.doc
    on conflict (tenant_id, st_job_type_id) do update set
      name = excluded.name, active = excluded.active, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data,
      updated_at = jobsync.now()
    returning t.st_job_type_id
  )
  select (select count(*) from page), (select array_agg(w.st_job_type_id) from written w),
         coalesce((select jsonb_agg(jsonb_build_object('id', left(as_text(p.doc -> 'id'), 100), 'reason', 'id is not a positive whole number') order by p.n)
                     from page p where coalesce(p.id, 0) <= 0), '[]'),
         (select array_agg(convert_to(p.doc::text, 'UTF8') order by p.n) from page p where coalesce(p.id, 0) <= 0)
    into v_pulled, v_types, v_refused, v_refused_raw;
  if jsonb_array_length(v_refused) > 0 then
    perform quarantine_records(p_tenant, 'job_types', v_refused, v_refused_raw, jobsync.now());
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', coalesce(cardinality(v_types), 0), 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - coalesce(cardinality(v_types), 0) - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.store_job_types(text, jsonb) is 'Stores job types; jobs.job_type_name is read through jobsync.projections.';

-- Storing what happens around jobs. One walk for all of these streams, so that their rules cannot drift apart:
-- page -> equal to what is stored: done -> misfits -> newest per id -> merged over the stored record (a missing key keeps
-- the old value, null is null) -> an older modifiedOn never wins -> what differs is written.
-- sift_page does all but the writing, close_page the bookkeeping; between them each stream says which column is which.

create type jobsync.sifted as (
  n bigint,
  id bigint,
  raw jsonb,
  fields jsonb,
  modified_on timestamptz,
  reason text
);
comment on type jobsync.sifted is
  'One record of a page that is to be written (reason null) or refused: n its place, raw the record to keep, fields the same with values that cast as they stand.';

create function jobsync.flat_record(p_stream text, p_record jsonb) returns jsonb language sql immutable parallel safe as $$
  select case when pg_catalog.jsonb_typeof(p_record) <> 'object' then p_record else p_record || case p_stream
    when 'invoices' then pg_catalog.jsonb_build_object('jobId', p_record #> '{job,id}', 'customerId', p_record #> '{customer,id}',
      'locationId', p_record #> '{location,id}', 'businessUnitId', p_record #> '{businessUnit,id}')
    when 'estimates' then pg_catalog.jsonb_build_object('statusName', coalesce(p_record #> '{status,name}', p_record -> 'status'))
    when 'campaigns' then pg_catalog.jsonb_build_object('categoryName', p_record #> '{category,name}')
    else '{}' end end
$$;
comment on function jobsync.flat_record(text, jsonb) is 'The record with the nested values that have a column of their own lifted to its top.';

-- Most records pass this one look at their texts; the slow one, field by field, is for the rest. Fields that a stream does
-- not have are null.
create function jobsync.is_plain_activity(p_flat jsonb) returns boolean language plpgsql immutable parallel safe as $$
begin
  return coalesce(pg_catalog.jsonb_typeof(p_flat) = 'object'
    and jobsync.are_plain_ids(p_flat ->> 'jobId', p_flat ->> 'customerId', p_flat ->> 'locationId', p_flat ->> 'businessUnitId',
          p_flat ->> 'projectId', p_flat ->> 'appointmentId', p_flat ->> 'technicianId', p_flat ->> 'assignedById', p_flat ->> 'soldBy',
          p_flat ->> 'adjustmentToId')
    and jobsync.are_plain_times(p_flat ->> 'createdOn', p_flat ->> 'modifiedOn', p_flat ->> 'start', p_flat ->> 'end', p_flat ->> 'arrivalWindowStart',
          p_flat ->> 'arrivalWindowEnd', p_flat ->> 'assignedOn', p_flat ->> 'soldOn', p_flat ->> 'invoiceDate', p_flat ->> 'dueDate',
          p_flat ->> 'paidOn', p_flat ->> 'depositedOn')
    and pg_catalog.array_remove(array[p_flat ->> 'subtotal', p_flat ->> 'tax', p_flat ->> 'subTotal', p_flat ->> 'salesTax', p_flat ->> 'total',
          p_flat ->> 'balance', p_flat ->> 'discountTotal'], null)::text ~ '^\{(-?[0-9]{1,20}(\.[0-9]{1,20})?[,}])*\}?$'
    and pg_catalog.array_remove(array[p_flat ->> 'active', p_flat ->> 'unused', p_flat ->> 'isConfirmed', p_flat ->> 'isPaused',
          p_flat ->> 'isRecommended', p_flat ->> 'isChangeOrder', p_flat ->> 'isDefaultCampaign'], null)::text ~ '^\{((true|false)[,}])*\}?$'
    and coalesce(pg_catalog.jsonb_typeof(p_flat -> 'job') in ('object', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_flat -> 'customer') in ('object', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_flat -> 'location') in ('object', 'null'), true)
    and coalesce(pg_catalog.jsonb_typeof(p_flat -> 'businessUnit') in ('object', 'null'), true), false);
end
$$;
comment on function jobsync.is_plain_activity(jsonb) is 'True when every field of a flat record of an activity stream casts as it stands.';

create function jobsync.sift_page(p_tenant text, p_stream text, p_key text, p_page jsonb) returns jobsync.sifted[]
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set work_mem = '64MB' as $$
declare
  v_sifted sifted[];
begin
  perform lock_stream(p_tenant, p_stream);
  -- The table is called like the stream; both names come from the functions below, never from a page.
  execute format($walk$
    with fresh as materialized (
      select e.n, e.id, e.doc, t.st_raw_data as old, t.modified_on as old_modified_on
        from (select p.n, p.doc, try_bigint(p.doc -> 'id') as id from jsonb_array_elements($1) with ordinality p(doc, n)
              -- offset 0: under row-level security only a bare column is looked up by key.
              offset 0) e
        left join lateral (select x.* from jobsync.%1$I x where x.tenant_id = $2 and x.%2$I = e.id offset 0) t on true
       where e.doc is distinct from t.st_raw_data
    ), flat as materialized (
      select f.*, flat_record($3, f.merged) as flat
        from (select fresh.*, case when id > 0 and jsonb_typeof(doc) = 'object' then coalesce(old || doc, doc) end as merged from fresh) f
    ), typed as materialized (
      select f.*, case when is_plain_activity(f.flat) then f.flat else plain_record($4, f.flat) end as fields from flat f
    ), newest as (
      select distinct on (t.id) t.*, try_timestamptz(t.doc -> 'modifiedOn') as modified_on
        from typed t where t.fields is not null
       order by t.id, try_timestamptz(t.doc -> 'modifiedOn') desc nulls last, t.n desc
    )
    select array_agg(row(s.n, s.id, s.raw, s.fields, s.modified_on, s.reason)::sifted order by s.n)
      from (select w.n, w.id, w.merged as raw, w.fields, coalesce(w.modified_on, w.old_modified_on) as modified_on, null as reason
              from newest w
             where w.merged is distinct from w.old
               and (w.old is null or w.modified_on is null or w.old_modified_on is null or w.modified_on >= w.old_modified_on)
            union all
            select r.n, r.id, r.doc, null, null, refusal_reason($3, flat_record($3, r.doc), r.id) from typed r where r.fields is null) s
  $walk$, p_stream, p_key)
  into v_sifted using p_page, p_tenant, p_stream, field_kinds(p_stream);
  return v_sifted;
end
$$;
comment on function jobsync.sift_page(text, text, text, jsonb) is
  'The records of a page that are to be written or refused; what is stored already, or stands there newer, is left out. Holds the stream''s lock until the transaction ends.';

create function jobsync.close_page(p_tenant text, p_stream text, p_page jsonb, p_sifted jobsync.sifted[], p_stored integer) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_pulled integer := jsonb_array_length(p_page);
  v_refused jsonb;
  v_refused_raw bytea[];
  v_written bigint[];
begin
  select coalesce(jsonb_agg(jsonb_build_object('id', left(as_text(s.raw -> 'id'), 100), 'reason', s.reason) order by s.n)
                    filter (where s.reason is not null), '[]'),
         array_agg(convert_to(s.raw::text, 'UTF8') order by s.n) filter (where s.reason is not null),
         array_agg(s.id) filter (where s.reason is null)
    into v_refused, v_refused_raw, v_written from unnest(p_sifted) s;
  if v_refused_raw is not null then
    perform quarantine_records(p_tenant, p_stream, v_refused, v_refused_raw, jobsync.now());
  end if;
  if v_written is not null then
    perform resolve_quarantined(p_tenant, p_stream, v_written, jobsync.now());
    perform plan_activity(p_tenant, p_stream, p_sifted);
  end if;
  return jsonb_build_object('pulled', v_pulled, 'stored', p_stored, 'quarantined', jsonb_array_length(v_refused),
    'unchanged', v_pulled - p_stored - jsonb_array_length(v_refused));
end
$$;
comment on function jobsync.close_page(text, text, jsonb, jobsync.sifted[], integer) is
  'Quarantines what sift_page refused, closes the quarantine of what was written, and answers the counts of the page.';

create function jobsync.store_appointments(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'appointments', 'st_appointment_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into appointments (tenant_id, st_appointment_id, st_job_id, st_customer_id, appointment_number, status, starts_on, ends_on,
    arrival_window_start, arrival_window_end, special_instructions, unused, is_confirmed, active, created_on, modified_on, st_raw_data, created_at,
    updated_at)
  select p_tenant, s.id, nullif(x."jobId", 0), nullif(x."customerId", 0), x."appointmentNumber", x.status, x."start", x."end", x."arrivalWindowStart",
    x."arrivalWindowEnd", x."specialInstructions", x.unused, x."isConfirmed", coalesce(x.active, true), x."createdOn", s.modified_on, s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x ("jobId" bigint, "customerId" bigint, "appointmentNumber" text, status text,
      "start" timestamptz, "end" timestamptz, "arrivalWindowStart" timestamptz, "arrivalWindowEnd" timestamptz, "specialInstructions" text,
      unused boolean, "isConfirmed" boolean, active boolean, "createdOn" timestamptz)
   where s.reason is null
  on conflict (tenant_id, st_appointment_id) do update set
    st_job_id = excluded.st_job_id, st_customer_id = excluded.st_customer_id, appointment_number = excluded.appointment_number,
    status = excluded.status, starts_on = excluded.starts_on, ends_on = excluded.ends_on, arrival_window_start = excluded.arrival_window_start,
    arrival_window_end = excluded.arrival_window_end, special_instructions = excluded.special_instructions, unused = excluded.unused,
    is_confirmed = excluded.is_confirmed, active = excluded.active, created_on = excluded.created_on, modified_on = excluded.modified_on,
    st_raw_data = excluded.st_raw_data, updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'appointments', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_appointments(text, jsonb) is 'Stores a page of appointments, deleted ones too (active false). The same page again writes nothing.';

create function jobsync.store_estimates(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'estimates', 'st_estimate_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into estimates (tenant_id, st_estimate_id, st_job_id, st_project_id, st_customer_id, st_location_id, business_unit_id, st_job_number,
    name, status, review_status, summary, sold_by, sold_on, subtotal, tax, is_recommended, is_change_order, active, created_on, modified_on,
    st_raw_data, created_at, updated_at)
  select p_tenant, s.id, nullif(x."jobId", 0), nullif(x."projectId", 0), nullif(x."customerId", 0), nullif(x."locationId", 0),
    nullif(x."businessUnitId", 0), x."jobNumber", x.name, x."statusName", x."reviewStatus", x.summary, nullif(x."soldBy", 0), x."soldOn", x.subtotal,
    x.tax, x."isRecommended", x."isChangeOrder", coalesce(x.active, true), x."createdOn", s.modified_on, s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x ("jobId" bigint, "projectId" bigint, "customerId" bigint, "locationId" bigint,
      "businessUnitId" bigint, "jobNumber" text, name text, "statusName" text, "reviewStatus" text, summary text, "soldBy" bigint,
      "soldOn" timestamptz, subtotal numeric, tax numeric, "isRecommended" boolean, "isChangeOrder" boolean, active boolean,
      "createdOn" timestamptz)
   where s.reason is null
  on conflict (tenant_id, st_estimate_id) do update set
    st_job_id = excluded.st_job_id, st_project_id = excluded.st_project_id, st_customer_id = excluded.st_customer_id,
    st_location_id = excluded.st_location_id, business_unit_id = excluded.business_unit_id, st_job_number = excluded.st_job_number,
    name = excluded.name, status = excluded.status, review_status = excluded.review_status, summary = excluded.summary,
    sold_by = excluded.sold_by, sold_on = excluded.sold_on, subtotal = excluded.subtotal, tax = excluded.tax,
    is_recommended = excluded.is_recommended, is_change_order = excluded.is_change_order, active = excluded.active,
    created_on = excluded.created_on, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'estimates', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_estimates(text, jsonb) is 'Stores a page of estimates. The same page again writes nothing.';

create function jobsync.store_invoices(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'invoices', 'st_invoice_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into invoices (tenant_id, st_invoice_id, st_job_id, st_project_id, st_customer_id, st_location_id, business_unit_id, reference_number,
    configuration, sync_status, review_status, sent_status, invoice_date, due_date, subtotal, sales_tax, total, balance, discount_total, paid_on,
    deposited_on, adjustment_to_id, summary, active, created_on, modified_on, st_raw_data, created_at, updated_at)
  select p_tenant, s.id, nullif(x."jobId", 0), nullif(x."projectId", 0), nullif(x."customerId", 0), nullif(x."locationId", 0),
    nullif(x."businessUnitId", 0), x."referenceNumber", x."invoiceConfiguration", x."syncStatus", x."reviewStatus", x."sentStatus",
    (x."invoiceDate" at time zone 'UTC')::date, (x."dueDate" at time zone 'UTC')::date, x."subTotal", x."salesTax", x.total, x.balance,
    x."discountTotal", x."paidOn", x."depositedOn", nullif(x."adjustmentToId", 0), x.summary, coalesce(x.active, true), x."createdOn", s.modified_on,
    s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x ("jobId" bigint, "projectId" bigint, "customerId" bigint, "locationId" bigint,
      "businessUnitId" bigint, "referenceNumber" text, "invoiceConfiguration" text, "syncStatus" text, "reviewStatus" text, "sentStatus" text,
      "invoiceDate" timestamptz, "dueDate" timestamptz, "subTotal" numeric, "salesTax" numeric, total numeric, balance numeric,
      "discountTotal" numeric, "paidOn" timestamptz, "depositedOn" timestamptz, "adjustmentToId" bigint, summary text, active boolean,
      "createdOn" timestamptz)
   where s.reason is null
  on conflict (tenant_id, st_invoice_id) do update set
    st_job_id = excluded.st_job_id, st_project_id = excluded.st_project_id, st_customer_id = excluded.st_customer_id,
    st_location_id = excluded.st_location_id, business_unit_id = excluded.business_unit_id, reference_number = excluded.reference_number,
    configuration = excluded.configuration, sync_status = excluded.sync_status, review_status = excluded.review_status,
    sent_status = excluded.sent_status, invoice_date = excluded.invoice_date, due_date = excluded.due_date, subtotal = excluded.subtotal,
    sales_tax = excluded.sales_tax, total = excluded.total, balance = excluded.balance, discount_total = excluded.discount_total,
    paid_on = excluded.paid_on, deposited_on = excluded.deposited_on, adjustment_to_id = excluded.adjustment_to_id, summary = excluded.summary,
    active = excluded.active, created_on = excluded.created_on, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data,
    updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'invoices', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_invoices(text, jsonb) is 'Stores a page of invoices: amounts that come as texts, times that may be missing. The same page again writes nothing.';

create function jobsync.store_technician_assignments(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'technician_assignments', 'st_assignment_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into technician_assignments (tenant_id, st_assignment_id, st_appointment_id, st_job_id, st_technician_id, technician_name,
    assigned_by_id, assigned_on, status, is_paused, active, created_on, modified_on, st_raw_data, created_at, updated_at)
  select p_tenant, s.id, nullif(x."appointmentId", 0), nullif(x."jobId", 0), nullif(x."technicianId", 0), x."technicianName", nullif(x."assignedById", 0),
    x."assignedOn", x.status, x."isPaused", coalesce(x.active, true), x."createdOn", s.modified_on, s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x ("appointmentId" bigint, "jobId" bigint, "technicianId" bigint, "technicianName" text,
      "assignedById" bigint, "assignedOn" timestamptz, status text, "isPaused" boolean, active boolean, "createdOn" timestamptz)
   where s.reason is null
  on conflict (tenant_id, st_assignment_id) do update set
    st_appointment_id = excluded.st_appointment_id, st_job_id = excluded.st_job_id, st_technician_id = excluded.st_technician_id,
    technician_name = excluded.technician_name, assigned_by_id = excluded.assigned_by_id, assigned_on = excluded.assigned_on,
    status = excluded.status, is_paused = excluded.is_paused, active = excluded.active, created_on = excluded.created_on,
    modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'technician_assignments', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_technician_assignments(text, jsonb) is
  'Stores a page of technician assignments, withdrawn ones too (active false). The same page again writes nothing.';

-- Storing the short lists that jobs name by id, by the walk of 56: tag types and campaigns, read whole once an hour.

create function jobsync.store_tag_types(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'tag_types', 'st_tag_type_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into tag_types (tenant_id, st_tag_type_id, name, code, color, importance, active, modified_on, st_raw_data, created_at, updated_at)
  select p_tenant, s.id, x.name, x.code, x.color, x.importance, coalesce(x.active, true), s.modified_on, s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x (name text, code text, color text, importance text, active boolean)
   where s.reason is null
  on conflict (tenant_id, st_tag_type_id) do update set
    name = excluded.name, code = excluded.code, color = excluded.color, importance = excluded.importance, active = excluded.active,
    modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'tag_types', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_tag_types(text, jsonb) is 'Stores the list of tag types. The same list again writes nothing.';

create function jobsync.store_campaigns(p_tenant text, p_page jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_sifted sifted[] := sift_page(p_tenant, 'campaigns', 'st_campaign_id', p_page);
  v_now timestamptz := jobsync.now();
  v_stored integer;
begin
  insert into campaigns (tenant_id, st_campaign_id, name, category, source, medium, is_default, active, modified_on, st_raw_data, created_at, updated_at)
  select p_tenant, s.id, x.name, x."categoryName", x.source, x.medium, x."isDefaultCampaign", coalesce(x.active, true), s.modified_on, s.raw, v_now, v_now
    from unnest(v_sifted) s
    cross join lateral jsonb_to_record(s.fields) as x (name text, "categoryName" text, source text, medium text, "isDefaultCampaign" boolean, active boolean)
   where s.reason is null
  on conflict (tenant_id, st_campaign_id) do update set
    name = excluded.name, category = excluded.category, source = excluded.source, medium = excluded.medium, is_default = excluded.is_default,
    active = excluded.active, modified_on = excluded.modified_on, st_raw_data = excluded.st_raw_data, updated_at = v_now;
  get diagnostics v_stored = row_count;
  return close_page(p_tenant, 'campaigns', p_page, v_sifted, v_stored);
end
$$;
comment on function jobsync.store_campaigns(text, jsonb) is 'Stores the list of campaigns. The same list again writes nothing.';

-- store_page: the one call that stores a page. Rows, quarantine, outbox and cursor move in the caller's one transaction,
-- or not at all. A page that does not fit at large (more than a fifth, and at least ten records) is schema drift: the call
-- fails and the cursor stays.

create function jobsync.store_page(
  p_tenant text, p_stream text, p_page jsonb,
  p_refused jsonb default '[]', p_refused_raw bytea[] default '{}', p_extra jsonb default '[]', p_owners bigint[] default null,
  p_origin text default 'pull'
) returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_result jsonb;
  v_refused integer := jsonb_array_length(p_refused);
begin
  v_result := case p_stream
    when 'jobs' then store_jobs(p_tenant, p_page, 'servicetitan', case p_origin when 'backfill' then 'backfilled' end)
    when 'customers' then store_customers(p_tenant, p_page)
    when 'locations' then store_locations(p_tenant, p_page)
    when 'customer_contacts' then store_contacts(p_tenant, 'customer', p_page, p_extra, p_owners)
    when 'location_contacts' then store_contacts(p_tenant, 'location', p_page, p_extra, p_owners)
    when 'business_units' then store_business_units(p_tenant, p_page)
    when 'job_types' then store_job_types(p_tenant, p_page)
    when 'appointments' then store_appointments(p_tenant, p_page)
    when 'estimates' then store_estimates(p_tenant, p_page)
    when 'invoices' then store_invoices(p_tenant, p_page)
    when 'technician_assignments' then store_technician_assignments(p_tenant, p_page)
    when 'tag_types' then store_tag_types(p_tenant, p_page)
    when 'campaigns' then store_campaigns(p_tenant, p_page)
  end;
  if v_result is null then
    raise exception 'stream % is not known', p_stream using errcode = 'JS004';
  end if;
  if v_refused > 0 then
    perform quarantine_records(p_tenant, p_stream, p_refused, p_refused_raw, jobsync.now());
    v_result := v_result || jsonb_build_object('pulled', (v_result ->> 'pulled')::int + v_refused, 'quarantined', (v_result ->> 'quarantined')::int + v_refused);
  end if;
  if p_stream = 'jobs' then
    perform fold_tallies(p_tenant);
  end if;
  -- What is retried did not fit before: many of it says nothing about the format.
  if p_origin <> 'retry' and (v_result ->> 'quarantined')::int >= 10 and (v_result ->> 'quarantined')::int * 5 > (v_result ->> 'pulled')::int then
    raise exception '% of % records of a page of % do not fit', v_result ->> 'quarantined', v_result ->> 'pulled', p_stream
      using errcode = 'JS003', hint = 'ServiceTitan may have changed its format. Nothing was stored and the cursor stays; see `jobsync doctor`.';
  end if;
  return v_result;
end
$$;
comment on function jobsync.store_page(text, text, jsonb, jsonb, bytea[], jsonb, bigint[], text) is
  'Stores one page of a stream: rows, quarantine and outbox. p_refused/p_refused_raw: records that jsonb itself refuses; p_origin: pull, backfill (jobs that are new are held) or retry (of the quarantine). Answers the counts.';

create function jobsync.read_cursor(p_tenant text, p_stream text, p_mode text, p_since text) returns jobsync.cursors
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_cursor jobsync.cursors;
begin
  insert into cursors (tenant_id, stream, mode, since, began_from, began_at_start) values (p_tenant, p_stream, p_mode, p_since, p_since, p_since is null)
  on conflict (tenant_id, stream) do nothing;
  select * into v_cursor from cursors c where c.tenant_id = p_tenant and c.stream = p_stream;
  return v_cursor;
end
$$;
comment on function jobsync.read_cursor(text, text, text, text) is 'The cursor of a stream, made at its first reading with the given mode and start.';

create function jobsync.move_cursor(
  p_tenant text, p_stream text, p_revision bigint, p_mode text, p_token text, p_since text, p_caught_up boolean
) returns bigint language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan as $$
declare
  v_revision bigint;
begin
  update cursors c set mode = p_mode, token = p_token, since = p_since, revision = c.revision + 1, failures = 0, last_error = null, refused_at = null,
         caught_up_at = case when p_caught_up then jobsync.now() else c.caught_up_at end,
         -- A feed refused before its first page: the list begins now, not at the first record.
         began_at_start = c.began_at_start and not (p_mode = 'list' and c.mode = 'export' and c.since is null),
         complete_from_start = c.complete_from_start
           or (p_caught_up and c.began_at_start and not (p_mode = 'list' and c.mode = 'export' and c.since is null)),
         updated_at = jobsync.now()
   where c.tenant_id = p_tenant and c.stream = p_stream and c.revision = p_revision
  returning c.revision into v_revision;
  if v_revision is null then
    raise exception 'the cursor of % was moved by another run', p_stream using errcode = 'JS002';
  end if;
  return v_revision;
end
$$;
comment on function jobsync.move_cursor(text, text, bigint, text, text, text, boolean) is
  'Moves a cursor, only if it still is at the revision that was read. Called in the transaction that stored the page.';

create function jobsync.fail_cursor(p_tenant text, p_stream text, p_error text) returns integer
language sql volatile as $$
  update jobsync.cursors c set failures = c.failures + 1, last_error = pg_catalog.left(p_error, 500), updated_at = jobsync.now()
   where c.tenant_id = p_tenant and c.stream = p_stream returning c.failures
$$;
comment on function jobsync.fail_cursor(text, text, text) is 'Notes a failed reading beside the cursor, which stays where it is. Answers failures in a row.';

-- lastJobPull is readable, never resumed from: the newest modified_on that is stored, held behind the caught-up time.
create function jobsync.publish_watermark(p_tenant text) returns text
language plpgsql set search_path = jobsync, public as $$
declare
  v_newest timestamptz;
  v_value text;
begin
  select max(j.modified_on) into v_newest from jobs j where j.tenant_id = p_tenant and j.modified_on is not null and j.source = 'servicetitan';
  if v_newest is null then
    return null;
  end if;
  v_value := to_char(least(v_newest, jobsync.now()) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');
  insert into sync_state as s (tenant_id, key, value, metadata) values (p_tenant, 'lastJobPull', v_value, '{"published_by": "jobsync"}')
  on conflict (tenant_id, key) do update set value = excluded.value, metadata = s.metadata || excluded.metadata, updated_at = jobsync.now()
   where s.owner = 'jobsync' and s.value is distinct from excluded.value;
  return v_value;
end
$$;
comment on function jobsync.publish_watermark(text) is 'Publishes the newest stored modifiedOn as sync_state.lastJobPull, unless an outside puller owns the key.';

-- Streams that jobs do not need: where the app has no scope for one, that stream rests and nothing else is disturbed.

create function jobsync.rest_refused_stream(p_tenant text, p_stream text) returns timestamptz
language sql volatile as $$
  update jobsync.cursors c set
         refused_at = coalesce(c.refused_at, jobsync.now()), failures = 0, updated_at = jobsync.now(),
         -- Unless jobs are read, it may not be this stream's scope that is missing: it is tried with the next pass.
         next_read_at = case when exists (select from jobsync.cursors j
                                           where j.tenant_id = p_tenant and j.stream = 'jobs' and j.failures = 0 and j.caught_up_at is not null)
                             then jobsync.now() + interval '1 day' else c.next_read_at end
   where c.tenant_id = p_tenant and c.stream = p_stream
  returning c.next_read_at
$$;
comment on function jobsync.rest_refused_stream(text, text) is
  'Notes that ServiceTitan refuses an optional stream and lets it rest for a day; its cursor stays. Answers when it is tried again.';

-- Planning: what is to be delivered. Called with the jobs that a page touched, or with a unit whose route changed.
-- The only thing that makes a delivered job due again is a change of the job's own facts (p_changed): a change of rule,
-- route, template or software plans nothing by itself, and a unit that is switched on again gets what its jobs' facts owe it.

-- Reasons that a person or an import gave: planning never takes them back.
create function jobsync.is_sticky_reason(p_reason text) returns boolean language sql immutable parallel safe as $$
  select p_reason in ('imported', 'backfilled', 'by_hand', 'deleted_in_ghl', 'before_start_kept')
$$;
comment on function jobsync.is_sticky_reason(text) is 'True for skip reasons that only a person takes back.';

create function jobsync.mark_planned(p_tenant text, p_jobs bigint[], p_statuses text[], p_reasons text[]) returns void
-- Hashed, whatever the callers may not do: else each job of a page is held against each mark.
language sql volatile set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = on set enable_nestloop = off set enable_mergejoin = off as $$
  update jobs j set ghl_sync_status = m.status, ghl_sync_reason = m.reason, ghl_sync_error = null, updated_at = (select jobsync.now())
    from unnest(p_jobs, p_statuses, p_reasons) m(id, status, reason)
   where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and j.st_job_id = m.id
$$;
comment on function jobsync.mark_planned(text, bigint[], text[], text[]) is 'Writes where jobs stand after planning: three lists side by side.';

create type jobsync.owed_again as (st_job_id bigint, destination_id uuid, st_customer_id bigint, waits boolean, changed boolean, arrived boolean);
comment on type jobsync.owed_again is 'A job whose delivery waits already, and what became of it since: where to, whose, whether its parents are known, whether its facts changed, whether the first pull has brought it.';

-- Apart from plan_jobs, for its plan: many rows against many rows are hashed, which plan_jobs forbids itself.
create function jobsync.refresh_waiting(p_tenant text, p_owed jobsync.owed_again[], p_now timestamptz) returns void
language sql volatile set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = on set enable_nestloop = off set enable_mergejoin = off as $$
  update outbox o set
      destination_id = d.destination_id, st_customer_id = d.st_customer_id,
      -- What was tried already may have arrived: the newer content is a version of its own. What never was tried keeps its place.
      version = case when d.changed and o.attempts > 0 then o.version + 1 else o.version end,
      attempts = case when d.changed and o.lease_until is null then 0 else o.attempts end,
      counted_at = case when d.changed and o.lease_until is null then null else o.counted_at end,
      next_attempt_at = case when d.arrived then case when d.waits then p_now + interval '15 minutes' else p_now end
                             when o.lease_until is not null or o.waiting_for is not null then o.next_attempt_at
                             when o.attempts > 0 then case when d.changed then p_now else o.next_attempt_at end
                             when d.waits and o.st_customer_id is distinct from d.st_customer_id then p_now + interval '15 minutes'
                             else o.next_attempt_at end,
      waiting_for = case when d.arrived then case when d.waits then 'parents' end
                         when d.waits and o.st_customer_id is distinct from d.st_customer_id and o.attempts = 0 and o.lease_until is null
                         then coalesce(o.waiting_for, 'parents') else o.waiting_for end
    from unnest(p_owed) d
   where o.tenant_id = p_tenant and o.st_job_id = any (array(select q.st_job_id from unnest(p_owed) q)) and o.st_job_id = d.st_job_id
     and (o.destination_id is distinct from d.destination_id or o.st_customer_id is distinct from d.st_customer_id or d.changed and o.attempts > 0 or d.arrived)
$$;
comment on function jobsync.refresh_waiting(text, jobsync.owed_again[], timestamptz) is
  'Deliveries that wait get the job''s new destination and customer; what was tried and changed since is a version of its own, due now; what waited for the first pull and was read is due as well.';

-- The caller holds the rows of `jobs` (they were written in this transaction, or locked by lock_jobs).
create function jobsync.plan_jobs(p_tenant text, p_touched bigint[], p_changed boolean[]) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_queued integer;
  v_marked bigint[];
  v_statuses text[];
  v_reasons text[];
  v_stale owed_again[];
  v_sales bigint[] := link_installs(p_tenant, p_touched);
  v_linked boolean := exists (select from install_links l where l.tenant_id = p_tenant);
  v_adopted timestamptz := adopted_at(p_tenant);
  -- What the old flow stored is told once ServiceTitan's own record of it was read: else it would be told, and then corrected.
  v_unread boolean := v_adopted is not null and is_first_load(p_tenant);
begin
  with facts as materialized (
    select j.st_job_id, j.st_customer_id, j.st_location_id, j.ghl_sync_status as status, j.ghl_sync_reason as reason,
           j.delivered_hash is not null as delivered, j.job_hash is distinct from j.delivered_hash or d.kind = 'api' and card_differs(p_tenant, j.st_job_id) as differs, coalesce(x.changed, false) as changed,
           j.ghl_version, v_unread and j.job_hash_version = 0 as unread, coalesce(r.deliverer, 'none') as deliverer, r.destination_id,
           d.kind = 'webhook' and coalesce(r.events, 'created') = 'created' as once,
           coalesce(skip_reason(coalesce(r.deliverer, 'none'), u.sync_enabled, u.sync_to_ghl, j.source, j.created_on,
                                -- What came after an adoption and is older was missed by the old flow: it is not made to push it now.
                                coalesce(t.deliver_from, case when r.deliverer = 'external' and j.created_at > v_adopted then v_adopted end)),
                    case when v_linked then (select 'on_sales_card' from install_links l where l.tenant_id = p_tenant and l.st_job_id = j.st_job_id
                                                        and l.sales_job_id is not null limit 1) end) as skip,
           o.st_job_id is not null as queued, o.destination_id as queued_destination, o.st_customer_id as queued_customer, o.attempts > 0 as tried,
           o.waiting_for = 'first_pull' and o.lease_until is null as held_for_pull,
           coalesce(o.forced, false) as forced, coalesce(o.lease_until > v_now, false) as in_flight
      from unnest(p_touched, p_changed) x(id, changed)
      cross join lateral (select k.* from jobs k where k.tenant_id = p_tenant and k.st_job_id = x.id offset 0) j
      join tenants t on t.tenant_id = p_tenant
      left join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = j.business_unit_id
      left join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
      left join destinations d on d.tenant_id = p_tenant and d.id = r.destination_id
      left join lateral (select k.* from outbox k where k.tenant_id = p_tenant and k.st_job_id = x.id offset 0) o on true
  ), decided as materialized (
    -- queue: owed, so it has a row in the outbox; leave: delivered, nothing more is owed; skip, offer: never delivered.
    select f.*, case
        when f.status = 'skipped' and is_sticky_reason(f.reason) then 'keep'
        -- What is owed to a unit that is switched off is told when it is on again, an update as well as a new job.
        when f.delivered and f.skip = 'unit_off' and f.deliverer = 'jobsync' and not f.once and f.differs and (f.queued or f.changed or f.held) then 'skip'
        when f.delivered and (f.skip is not null or f.deliverer <> 'jobsync') then 'leave'
        when f.delivered and f.once then case when f.queued and not f.forced or f.held then 'leave' else 'keep' end
        when f.delivered and (f.differs and (f.changed or f.held) or f.queued) then 'queue'
        when f.delivered then case when f.held then 'leave' else 'keep' end
        -- Asked for by a person although it is old.
        when f.skip = 'before_start' and f.queued and f.forced then 'queue'
        when f.skip is not null then 'skip'
        when f.deliverer = 'external' then case when f.status in ('synced', 'failed') then 'keep' else 'offer' end
        when f.status = 'failed' and not f.changed then 'keep'
        when f.status = 'synced' then 'keep'
        else 'queue' end as decision
      from (select g.*, g.status = 'skipped' and g.reason = 'unit_off' as held from facts g) f
  ), parked as (
    delete from outbox o
     where o.tenant_id = p_tenant and o.st_job_id = any (array(select d.st_job_id from decided d where d.queued and d.decision in ('skip', 'offer', 'leave')))
       and (o.lease_until is null or o.lease_until <= v_now)
    returning 1
  ), owed as (
    -- limit 1, not exists: looked up for each job, never hashed as a whole.
    select d.*, coalesce(
        (select true from wanted n where n.tenant_id = p_tenant and n.stream in ('customers', 'customer_contacts') and n.id = d.st_customer_id limit 1),
        (select true from wanted n where n.tenant_id = p_tenant and n.stream in ('locations', 'location_contacts') and n.id = d.st_location_id limit 1),
        false) as waits,
        coalesce(d.held_for_pull and not d.unread, false) as arrived
      from decided d where d.decision = 'queue'
  ), stale as (
    select d.* from owed d
     where d.queued and (d.arrived or d.queued_destination is distinct from d.destination_id or d.queued_customer is distinct from d.st_customer_id or d.changed and d.tried)
  ), queued as (
    insert into outbox (tenant_id, st_job_id, st_customer_id, destination_id, version, event, planned_at, next_attempt_at, waiting_for)
    select p_tenant, d.st_job_id, d.st_customer_id, d.destination_id, d.ghl_version + 1, case when d.delivered then 'updated' else 'created' end, v_now,
           case when d.unread then v_now + interval '6 hours' when d.waits then v_now + interval '15 minutes' else v_now end,
           case when d.unread then 'first_pull' when d.waits then 'parents' end
      from owed d where not d.queued order by d.st_job_id
    on conflict (tenant_id, st_job_id) do nothing
    returning 1
  ), marks as (
    select d.st_job_id, case d.decision when 'skip' then 'skipped' when 'leave' then 'synced' else 'pending' end as status,
           case d.decision when 'skip' then d.skip when 'queue' then case when d.delivered then 'update' end end as reason
      from decided d
     where case d.decision
             when 'skip' then (d.status, d.reason) is distinct from ('skipped', d.skip)
             when 'offer' then (d.status, d.reason) is distinct from ('pending', null)
             when 'queue' then d.status <> 'pending' or d.changed and d.reason is distinct from case when d.delivered then 'update' end
             -- The route went away while an update waited: the job stays as delivered.
             when 'leave' then d.status = 'pending' or d.held
             else false end
  )
  select (select count(*) from queued), array_agg(m.st_job_id), array_agg(m.status), array_agg(m.reason), (select array_agg(row(t.st_job_id, t.destination_id, t.st_customer_id, t.waits, t.changed, t.arrived)::owed_again) from stale t)
    into v_queued, v_marked, v_statuses, v_reasons, v_stale
    from marks m;
  if v_stale is not null then
    perform refresh_waiting(p_tenant, v_stale, v_now);
  end if;
  if v_marked is not null then
    perform mark_planned(p_tenant, v_marked, v_statuses, v_reasons);
  end if;
  if v_sales <> '{}' then
    v_queued := v_queued + replan_cards(p_tenant, v_sales);
  end if;
  return v_queued;
end
$$;
comment on function jobsync.plan_jobs(text, bigint[], boolean[]) is
  'Decides for each touched job: deliver, offer to the external deliverer, skip with a reason, or leave. p_changed, beside p_touched: whether its own facts changed. Answers how many outbox rows were added. Idempotent.';

create function jobsync.lock_jobs(p_tenant text, p_jobs bigint[]) returns bigint[]
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_locked bigint[];
begin
  perform lock_stream(p_tenant, 'jobs');
  select array_agg(l.st_job_id) into v_locked
    from (select j.st_job_id from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) order by j.st_job_id for no key update) l;
  return v_locked;
end
$$;
comment on function jobsync.lock_jobs(text, bigint[]) is 'Locks rows of jobs before they are planned, in the order in which everybody locks them. Answers those that exist.';

create function jobsync.plan_unit(p_tenant text, p_unit bigint) returns integer
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_custom_plan as $$
declare
  v_jobs bigint[];
begin
  perform lock_stream(p_tenant, 'jobs');
  select array_agg(j.st_job_id) into v_jobs from jobs j
   where j.tenant_id = p_tenant and j.business_unit_id = p_unit
     and (j.delivered_hash is null and j.ghl_sync_status <> 'synced' or j.ghl_sync_status = 'skipped' and j.ghl_sync_reason = 'unit_off'
          or (select true from outbox o where o.tenant_id = p_tenant and o.st_job_id = j.st_job_id limit 1));
  if v_jobs is null then
    return 0;
  end if;
  v_jobs := lock_jobs(p_tenant, v_jobs);
  perform want_parents(p_tenant, v_jobs);
  return plan_jobs(p_tenant, v_jobs, null);
end
$$;
comment on function jobsync.plan_unit(text, bigint) is 'Plans the jobs of a unit that were never delivered or still wait, after its route or its switches changed.';

-- Whoever flips the switches in SQL gets what the command line would do.
create function jobsync.plan_switched_unit() returns trigger language plpgsql as $$
begin
  perform jobsync.plan_unit(new.tenant_id, new.st_business_unit_id);
  return null;
end
$$;
comment on function jobsync.plan_switched_unit() is 'Trigger: plans a unit''s jobs anew after sync_enabled or sync_to_ghl changed.';
create trigger plan_switched_unit after update of sync_enabled, sync_to_ghl on public.business_units for each row
  when ((old.sync_enabled, old.sync_to_ghl) is distinct from (new.sync_enabled, new.sync_to_ghl)) execute function jobsync.plan_switched_unit();

-- One unit's route. Null parameters leave what stands.
create function jobsync.set_route(
  p_tenant text, p_unit bigint, p_deliverer text, p_destination uuid, p_events text, p_pipeline_name text, p_stage_name text,
  p_sync_enabled boolean, p_sync_to_ghl boolean, p_actor text
) returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_planned integer;
  v_contested text;
  v_old jobsync.routes;
  v_events text;
begin
  perform from business_units u where u.tenant_id = p_tenant and u.st_business_unit_id = p_unit for update;
  if not found then
    raise exception 'business unit % is not known', p_unit using errcode = 'JS004';
  end if;
  update business_units u set sync_enabled = coalesce(p_sync_enabled, u.sync_enabled), sync_to_ghl = coalesce(p_sync_to_ghl, u.sync_to_ghl),
         ghl_pipeline_name = coalesce(p_pipeline_name, u.ghl_pipeline_name), updated_at = jobsync.now()
   where u.tenant_id = p_tenant and u.st_business_unit_id = p_unit
     and (u.sync_enabled, u.sync_to_ghl, u.ghl_pipeline_name)
         is distinct from (coalesce(p_sync_enabled, u.sync_enabled), coalesce(p_sync_to_ghl, u.sync_to_ghl), coalesce(p_pipeline_name, u.ghl_pipeline_name));
  select * into v_old from routes r where r.tenant_id = p_tenant and r.st_business_unit_id = p_unit;
  if p_deliverer = 'jobsync' then
    v_contested := contested_reason(p_tenant, p_unit);
  end if;
  if p_deliverer is not null or p_destination is not null or p_events is not null or p_pipeline_name is not null or p_stage_name is not null then
    insert into routes as r (tenant_id, st_business_unit_id, deliverer, destination_id, events, pipeline_name, stage_name, armed, armed_reason)
    values (p_tenant, p_unit, coalesce(p_deliverer, 'none'), p_destination, coalesce(p_events, 'created'), p_pipeline_name, p_stage_name,
            v_contested is null, v_contested)
    on conflict (tenant_id, st_business_unit_id) do update set
      deliverer = coalesce(p_deliverer, r.deliverer),
      destination_id = case when p_deliverer in ('external', 'none') then null else coalesce(p_destination, r.destination_id) end,
      events = coalesce(p_events, r.events), pipeline_name = coalesce(p_pipeline_name, r.pipeline_name),
      stage_name = coalesce(p_stage_name, r.stage_name),
      armed = case when p_deliverer is null then r.armed else excluded.armed end,
      armed_reason = case when p_deliverer is null then r.armed_reason else excluded.armed_reason end, updated_at = jobsync.now();
  end if;
  perform write_audit(p_tenant, p_actor, 'route_set', 'unit:' || p_unit, jsonb_strip_nulls(jsonb_build_object('deliverer', p_deliverer,
    'destination_id', p_destination, 'events', p_events, 'pipeline_name', p_pipeline_name, 'stage_name', p_stage_name,
    'sync_enabled', p_sync_enabled, 'sync_to_ghl', p_sync_to_ghl, 'before', to_jsonb(v_old) - 'tenant_id')));
  v_planned := plan_unit(p_tenant, p_unit);
  return (select to_jsonb(x) from unit_routes x where x.tenant_id = p_tenant and x.st_business_unit_id = p_unit)
    || jsonb_build_object('planned', v_planned);
end
$$;
comment on function jobsync.set_route(text, bigint, text, uuid, text, text, text, boolean, boolean, text) is
  'Sets a unit''s route and plans its jobs that were never delivered. Sends nothing by itself and re-sends nothing that was delivered.';

-- Two deliverers on one unit would send twice: a unit whose jobs were pushed or marked from outside lately is contested.
create function jobsync.contested_reason(p_tenant text, p_unit bigint) returns text language sql stable as $$
  select 'jobs of this unit were marked from outside in the last 24 hours: the old flow still runs'
   where exists (
     select from jobsync.outside_marks m
      where m.tenant_id = p_tenant and m.business_unit_id = p_unit and m.last_marked_at > jobsync.now() - interval '24 hours')
$$;
comment on function jobsync.contested_reason(text, bigint) is 'Why a unit must not be armed yet, or null.';

-- The request budget of a GoHighLevel location (one a tenant): every caller takes from the bucket `gohighlevel`. Deliveries
-- ask here, so that a pause is felt at the next request and not at the end of a group; and they can be held apart from the
-- others, so that a part of the day's quota is left to people.

create function jobsync.take_delivery_request(p_tenant text, p_rate double precision, p_burst double precision)
returns table (granted integer, wait_seconds double precision)
language plpgsql set search_path = jobsync, public as $$
begin
  if not exists (select from tenants t where t.tenant_id = p_tenant and t.mode = 'live' and t.paused_at is null) then
    raise exception 'sending was stopped while this job was under way' using errcode = 'JS005';
  end if;
  return query select b.granted, b.wait_seconds from take_budget(p_tenant, 'gohighlevel', p_rate, p_burst, 1) b;
end
$$;
comment on function jobsync.take_delivery_request(text, double precision, double precision) is
  'One request to the tenant''s location for a delivery. Refused (JS005) when the tenant was paused or disarmed meanwhile.';

create function jobsync.hold_deliveries(p_tenant text, p_seconds double precision) returns void
language sql volatile as $$
  insert into jobsync.budgets as b (tenant_id, budget_key, rate, burst, tokens, blocked_until)
  values (p_tenant, 'gohighlevel:deliver', 1, 1, 0, pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => p_seconds))
  on conflict (tenant_id, budget_key) do update set blocked_until = greatest(b.blocked_until, excluded.blocked_until)
$$;
comment on function jobsync.hold_deliveries(text, double precision) is
  'No delivery by API is claimed for p_seconds: what is left of the day''s quota is for people.';

create function jobsync.delivery_hold(p_tenant text) returns double precision language sql stable as $$
  select coalesce(max(extract(epoch from b.blocked_until - pg_catalog.clock_timestamp()))::double precision, 0)
    from jobsync.budgets b
   where b.tenant_id = p_tenant and b.budget_key in ('gohighlevel', 'gohighlevel:deliver') and b.blocked_until > pg_catalog.clock_timestamp()
$$;
comment on function jobsync.delivery_hold(text) is 'Seconds until deliveries by API may go on: after a 429, or when the day''s quota runs low; 0: now.';

-- Trying quarantined records again: after a deploy (new software may read what the old one could not) and on command. What
-- fits now is stored by the normal path; what does not stays, byte for byte.

create function jobsync.claim_quarantine_retries(p_version text) returns table (tenant_id text)
language sql volatile set search_path = jobsync, public as $$
  with told as (
    update tenants t set quarantine_tried_with = p_version where t.quarantine_tried_with is distinct from p_version returning t.tenant_id)
  select k.tenant_id from told k where exists (select from quarantine q where q.tenant_id = k.tenant_id and q.resolved_at is null)
$$;
comment on function jobsync.claim_quarantine_retries(text) is 'Tenants with open quarantined records that this version of the software did not try yet; each is answered once a version.';

create function jobsync.list_quarantined(p_tenant text, p_after bigint, p_limit integer) returns table (id bigint, stream text, raw bytea)
language sql stable as $$
  select q.id, q.stream, q.raw from jobsync.quarantine q
   where q.tenant_id = p_tenant and q.resolved_at is null and q.id > p_after
   order by q.id limit p_limit
$$;
comment on function jobsync.list_quarantined(text, bigint, integer) is 'The next open quarantined records of all streams, by id.';

create function jobsync.close_retried(p_tenant text, p_ids bigint[]) returns integer
language sql volatile as $$
  with closed as (
    update jobsync.quarantine q set resolved_at = jobsync.now(), resolution = 'it fits now'
     -- What was refused again in this transaction has just been seen.
     where q.tenant_id = p_tenant and q.id = any (p_ids) and q.last_seen_at < jobsync.now()
    returning 1)
  select pg_catalog.count(*)::integer from closed
$$;
comment on function jobsync.close_retried(text, bigint[]) is
  'Closes quarantined records that were tried again and not refused again. Called in the transaction that stored them. Answers how many.';

-- What GoHighLevel has: pipelines, their stages, custom fields, pulled by name and id. Routes and rules are written with
-- names and sent with ids. A row is never deleted: what GoHighLevel no longer shows is `gone`, so that a route or rule that
-- points at it can say so.

create table jobsync.pipelines (
  tenant_id text not null references jobsync.tenants on delete cascade,
  pipeline_id text not null,
  name text not null,
  position integer not null default 0,
  seen_at timestamptz not null default jobsync.now(),
  gone_at timestamptz,
  primary key (tenant_id, pipeline_id)
);
comment on table jobsync.pipelines is 'Pipelines of the tenant''s GoHighLevel location, as last pulled; gone_at: no longer there.';

create table jobsync.pipeline_stages (
  tenant_id text not null references jobsync.tenants on delete cascade,
  pipeline_id text not null,
  stage_id text not null,
  name text not null,
  position integer not null default 0,
  protected boolean not null default false,
  seen_at timestamptz not null default jobsync.now(),
  gone_at timestamptz,
  primary key (tenant_id, pipeline_id, stage_id)
);
comment on table jobsync.pipeline_stages is 'Stages in their order (position 0 is the first); gone_at: no longer there.';
comment on column jobsync.pipeline_stages.protected is 'A card that stands in this stage is never moved by JobSync: people work there.';

create table jobsync.card_fields (
  tenant_id text not null references jobsync.tenants on delete cascade,
  field_id text not null,
  model text not null constraint card_field_model_is_known check (model in ('contact', 'opportunity')),
  name text not null,
  field_key text,
  data_type text,
  seen_at timestamptz not null default jobsync.now(),
  gone_at timestamptz,
  primary key (tenant_id, field_id)
);
comment on table jobsync.card_fields is 'Custom fields of the tenant''s GoHighLevel location: which name and key (opportunity.st_job_id) is which id.';

-- The few lines of the audit that alerts and lists ask for every minute.
create index audit_of_pipelines on jobsync.audit (tenant_id, at desc)
  where action in ('pipeline_renamed', 'pipeline_gone', 'pipeline_back', 'stage_renamed', 'stage_gone', 'stage_back');

-- One answer of GoHighLevel, as a whole: [{id, name, stages: [{id, name}]}] and [{id, name, key, model, data_type}].
create function jobsync.store_pipelines(p_tenant text, p_pipelines jsonb, p_fields jsonb, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_changes jsonb;
begin
  -- Two refreshes at once would tell each other's changes twice.
  perform pg_advisory_xact_lock(hashtextextended('jobsync pipelines of ' || p_tenant, 0));
  with given as (
    select p.value ->> 'id' as pipeline_id, p.value ->> 'name' as name, p.n::integer as position, p.value -> 'stages' as stages
      from jsonb_array_elements(p_pipelines) with ordinality p(value, n)
  ), given_stages as (
    select g.pipeline_id, g.name as pipeline_name, s.value ->> 'id' as stage_id, s.value ->> 'name' as name, (s.n - 1)::integer as position
      from given g cross join lateral jsonb_array_elements(g.stages) with ordinality s(value, n)
  ), told as (
    select 'pipeline' as what, coalesce(g.pipeline_id, k.pipeline_id) as pipeline_id, null as stage_id, coalesce(g.name, k.name) as name, k.name as before,
           null as pipeline_name, g.pipeline_id is not null as here, k.pipeline_id is not null as known, k.gone_at is not null as was_gone
      from given g full join (select * from pipelines x where x.tenant_id = p_tenant) k on k.pipeline_id = g.pipeline_id
    union all
    select 'stage', coalesce(g.pipeline_id, k.pipeline_id), coalesce(g.stage_id, k.stage_id), coalesce(g.name, k.name), k.name,
           coalesce(g.pipeline_name, k.pipeline_name), g.stage_id is not null, k.stage_id is not null, k.gone_at is not null
      from given_stages g
      full join (select x.*, y.name as pipeline_name from pipeline_stages x join pipelines y on y.tenant_id = p_tenant and y.pipeline_id = x.pipeline_id
                  where x.tenant_id = p_tenant) k on k.pipeline_id = g.pipeline_id and k.stage_id = g.stage_id
  ), changed as (
    select t.*, case when t.here and not t.known then 'new' when not t.here and not t.was_gone then 'gone' when t.here and t.was_gone then 'back'
                     when t.here and t.name is distinct from t.before then 'renamed' end as change
      from told t
  )
  select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('what', c.what, 'change', c.change, 'name', c.name, 'pipeline', c.pipeline_name,
           'before', case c.change when 'renamed' then c.before end, 'pipeline_id', c.pipeline_id, 'stage_id', c.stage_id))
           order by c.what, c.pipeline_id, c.stage_id), '[]')
    into v_changes from changed c where c.change is not null;

  insert into pipelines as t (tenant_id, pipeline_id, name, position, seen_at)
  select p_tenant, p.value ->> 'id', p.value ->> 'name', p.n::integer, v_now from jsonb_array_elements(p_pipelines) with ordinality p(value, n) order by 2
  on conflict (tenant_id, pipeline_id) do update set name = excluded.name, position = excluded.position, seen_at = v_now, gone_at = null;
  insert into pipeline_stages as t (tenant_id, pipeline_id, stage_id, name, position, seen_at)
  select p_tenant, p.value ->> 'id', s.value ->> 'id', s.value ->> 'name', (s.n - 1)::integer, v_now
    from jsonb_array_elements(p_pipelines) p cross join lateral jsonb_array_elements(p.value -> 'stages') with ordinality s(value, n) order by 2, 3
  on conflict (tenant_id, pipeline_id, stage_id) do update set name = excluded.name, position = excluded.position, seen_at = v_now, gone_at = null;
  update pipelines t set gone_at = v_now where t.tenant_id = p_tenant and t.gone_at is null
     and not exists (select from jsonb_array_elements(p_pipelines) p where p ->> 'id' = t.pipeline_id);
  update pipeline_stages t set gone_at = v_now where t.tenant_id = p_tenant and t.gone_at is null
     and not exists (select from jsonb_array_elements(p_pipelines) p cross join lateral jsonb_array_elements(p -> 'stages') s
                      where p ->> 'id' = t.pipeline_id and s ->> 'id' = t.stage_id);
  insert into card_fields as t (tenant_id, field_id, model, name, field_key, data_type, seen_at)
  select p_tenant, f ->> 'id', f ->> 'model', f ->> 'name', f ->> 'key', f ->> 'data_type', v_now from jsonb_array_elements(p_fields) f
   where f ->> 'model' in ('contact', 'opportunity') order by 2
  on conflict (tenant_id, field_id) do update set model = excluded.model, name = excluded.name, field_key = excluded.field_key,
    data_type = excluded.data_type, seen_at = v_now, gone_at = null;
  update card_fields t set gone_at = v_now where t.tenant_id = p_tenant and t.gone_at is null
     and not exists (select from jsonb_array_elements(p_fields) f where f ->> 'id' = t.field_id);

  perform write_audit(p_tenant, p_actor, (c ->> 'what') || '_' || (c ->> 'change'),
                      'pipeline:' || (c ->> 'pipeline_id'), c - '{what,change}'::text[])
     from jsonb_array_elements(v_changes) c where c ->> 'change' <> 'new';
  perform note_target_problems(p_tenant);
  if exists (select from jsonb_array_elements(v_changes) c where c ->> 'change' in ('gone', 'back')) then
    perform rebaseline_cards(p_tenant);
  end if;
  return jsonb_build_object(
    'pipelines', jsonb_array_length(p_pipelines), 'fields', jsonb_array_length(p_fields),
    'stages', (select count(*) from pipeline_stages s where s.tenant_id = p_tenant and s.gone_at is null), 'changes', v_changes,
    'problems', coalesce((select jsonb_agg(to_jsonb(v) - 'tenant_id') from v_card_problems v where v.tenant_id = p_tenant), '[]'));
end
$$;
comment on function jobsync.store_pipelines(text, jsonb, jsonb, text) is
  'Stores what GoHighLevel shows of pipelines, stages and custom fields; answers what is new, renamed, gone or back, and the routes and rules that this breaks. Twice changes nothing.';

create function jobsync.target_problem(p_tenant text, p_pipeline text, p_stage text) returns text
language sql stable set search_path = jobsync, public as $$
  select case when p_pipeline is null then null
              when p.pipeline_id is null then 'its pipeline is not known'
              when p.gone_at is not null then format('pipeline "%s" is gone from GoHighLevel', p.name)
              when p_stage is null then null
              when s.stage_id is null then format('its stage in "%s" is not known', p.name)
              when s.gone_at is not null then format('stage "%s" is gone from pipeline "%s" in GoHighLevel', s.name, p.name) end
    from (select) one
    left join pipelines p on p.tenant_id = p_tenant and p.pipeline_id = p_pipeline
    left join pipeline_stages s on s.tenant_id = p_tenant and s.pipeline_id = p_pipeline and s.stage_id = p_stage
$$;
comment on function jobsync.target_problem(text, text, text) is 'What is wrong with a pipeline and stage, in words; null when both are there (or none is named).';

create function jobsync.note_target_problems(p_tenant text) returns void
language sql volatile set search_path = jobsync, public as $$
  update business_units u set ghl_pipeline_name = p.name, updated_at = jobsync.now()
    from routes r join pipelines p on p.tenant_id = r.tenant_id and p.pipeline_id = r.pipeline_id
   where u.tenant_id = p_tenant and r.tenant_id = p_tenant and r.st_business_unit_id = u.st_business_unit_id and u.ghl_pipeline_name = r.pipeline_name
     and u.ghl_pipeline_name is distinct from p.name;
  -- Ids decide, names follow: a renamed stage stays the same stage.
  update routes r set problem = x.problem, pipeline_name = x.pipeline_name, stage_name = x.stage_name, updated_at = jobsync.now()
    from (select k.st_business_unit_id, target_problem(p_tenant, k.pipeline_id, k.stage_id) as problem, coalesce(p.name, k.pipeline_name) as pipeline_name,
                 coalesce(s.name, k.stage_name) as stage_name
            from routes k
            left join pipelines p on p.tenant_id = p_tenant and p.pipeline_id = k.pipeline_id
            left join pipeline_stages s on s.tenant_id = p_tenant and s.pipeline_id = k.pipeline_id and s.stage_id = k.stage_id
           where k.tenant_id = p_tenant and k.pipeline_id is not null) x
   where r.tenant_id = p_tenant and r.st_business_unit_id = x.st_business_unit_id
     and (r.problem, r.pipeline_name, r.stage_name) is distinct from (x.problem, x.pipeline_name, x.stage_name)
$$;
comment on function jobsync.note_target_problems(text) is 'Writes beside each route what is wrong with its pipeline or stage, and follows renames.';

-- After set_route: where in GoHighLevel the unit's cards stand. The engine has found the ids by their names.
create function jobsync.set_route_target(p_tenant text, p_unit bigint, p_pipeline text, p_stage text, p_card text, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_differ integer;
begin
  update routes r set pipeline_id = coalesce(p_pipeline, r.pipeline_id), stage_id = case when p_pipeline is null then r.stage_id else p_stage end,
         stage_name = case when p_pipeline is null or p_stage is not null then r.stage_name end, card = coalesce(p_card, r.card), updated_at = jobsync.now()
   where r.tenant_id = p_tenant and r.st_business_unit_id = p_unit;
  perform note_target_problems(p_tenant);
  perform write_audit(p_tenant, p_actor, 'route_target_set', 'unit:' || p_unit,
    jsonb_strip_nulls(jsonb_build_object('pipeline_id', p_pipeline, 'stage_id', p_stage, 'card', p_card)));
  if p_card is not null then
    perform plan_unit(p_tenant, p_unit);
  end if;
  v_differ := rebaseline_cards(p_tenant);
  return (select to_jsonb(x) from unit_routes x where x.tenant_id = p_tenant and x.st_business_unit_id = p_unit)
    || jsonb_build_object('differ', v_differ);
end
$$;
comment on function jobsync.set_route_target(text, bigint, text, text, text, text) is
  'Sets pipeline, stage and kind of card of a route (null: stays). Sends nothing: delivered jobs are re-baselined; answers how many now differ from what was told.';

create function jobsync.protect_stage(p_tenant text, p_pipeline text, p_stage text, p_protected boolean, p_actor text) returns boolean
language plpgsql set search_path = jobsync, public as $$
begin
  update pipeline_stages s set protected = p_protected
   where s.tenant_id = p_tenant and s.pipeline_id = p_pipeline and s.stage_id = p_stage and s.protected <> p_protected;
  if found then
    perform write_audit(p_tenant, p_actor, case when p_protected then 'stage_protected' else 'stage_unprotected' end, 'pipeline:' || p_pipeline,
                        jsonb_build_object('stage_id', p_stage));
  end if;
  return found;
end
$$;
comment on function jobsync.protect_stage(text, text, text, boolean, text) is 'Marks a stage as one whose cards only people move, or takes the mark away. True when that changed anything.';

-- Rules: (event, condition) -> stage, status, value, tags, custom fields. What a card should be is computed from what
-- ServiceTitan says now, never from the clock and never from an earlier answer: asked twice, it says the same.
--
--   card_facts: what happened to each job -> matching_rules: the rules that hold -> plan_cards: what its card should be
--   -> plan_opportunities: the part of it that is sent (64 decides where a card may be moved, and what is told again)
--
-- Precedence: position, then the number of conditions, then the name; of the rules that hold, the last one that names a
-- thing (stage, status, value) decides it. Tags add up; a later custom field overwrites an earlier one.

create table jobsync.rules (
  tenant_id text not null references jobsync.tenants on delete cascade,
  name text not null constraint rule_name_is_short check (length(name) between 1 and 100),
  position integer not null,
  event text not null constraint rule_event_is_known check (event in ('created', 'appointment_scheduled', 'estimate_sent', 'dispatched', 'working',
    'hold', 'estimate_dismissed', 'estimate_sold', 'completed', 'invoiced', 'canceled')),
  unit_ids bigint[],
  job_type_ids bigint[],
  tag_type_ids bigint[],
  campaign_ids bigint[],
  amount_from numeric,
  amount_below numeric,
  pipeline_id text,
  stage_id text,
  status text constraint rule_status_is_known check (status in ('open', 'won', 'lost')),
  value text constraint rule_value_is_known check (value in ('job_total', 'open_estimates', 'sold_estimates', 'invoices')),
  tags text[] not null default '{}',
  custom_fields jsonb not null default '{}',
  backwards boolean not null default false,
  enabled boolean not null default true,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, name),
  constraint rule_stage_has_a_pipeline check (stage_id is null or pipeline_id is not null)
);
comment on table jobsync.rules is 'What a card becomes when something happened to its job. Of the rules that hold, the one furthest down (position) decides each thing it names.';
comment on column jobsync.rules.custom_fields is 'Id of the field in GoHighLevel -> a text, or {"fact": name} with a name of jobsync.card_fact_names().';
comment on column jobsync.rules.backwards is 'May move a card to an earlier stage of the same pipeline; never over what a person did.';

-- The order in which things usually happen, as the position of a rule that is given none: the later thing decides.
create function jobsync.event_positions() returns jsonb language sql immutable parallel safe as $$
  select '{"created": 100, "appointment_scheduled": 200, "estimate_sent": 300, "dispatched": 400, "working": 500, "hold": 600, "estimate_dismissed": 700,
           "estimate_sold": 800, "completed": 900, "invoiced": 1000, "canceled": 1100}'::jsonb
$$;
comment on function jobsync.event_positions() is 'The events that rules know, each with the position that a rule about it gets by itself.';

create function jobsync.card_fact_names() returns text[] language sql immutable parallel safe as $$
  select '{job_number,job_status,job_type,business_unit,campaign,completed_on,first_appointment,last_appointment,technicians,open_estimates,sold_estimates,sold_on,invoice_total,invoice_balance}'::text[]
$$;
comment on function jobsync.card_fact_names() is 'Facts of a job that a rule may write into a custom field.';

create function jobsync.card_facts(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, business_unit_id bigint, job_type_id bigint, tag_type_ids bigint[], campaign_id bigint, total numeric, events text[],
               amounts jsonb, facts jsonb)
language sql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  -- offset 0: each job looks its few rows up by key, also under row-level security.
  select j.st_job_id, j.business_unit_id, j.job_type_id, j.tag_type_ids, j.campaign_id, j.total,
         array_remove(array[
           'created',
           case when a.live > 0 or a.known = 0 and j.appointment_count > 0 then 'appointment_scheduled' end,
           case when e.open > 0 then 'estimate_sent' end,
           case when s.status = 'dispatched' then 'dispatched' end,
           case when s.status in ('inprogress', 'working') then 'working' end,
           case when s.status = 'hold' then 'hold' end,
           case when e.dismissed > 0 and e.open = 0 and e.sold = 0 then 'estimate_dismissed' end,
           case when e.sold > 0 then 'estimate_sold' end,
           case when s.status = 'completed' then 'completed' end,
           case when i.done > 0 then 'invoiced' end,
           case when s.status in ('canceled', 'cancelled') or not j.active then 'canceled' end], null),
         jsonb_build_object('job_total', j.total, 'open_estimates', e.open_amount, 'sold_estimates', e.sold_amount, 'invoices', i.amount),
         jsonb_build_object('job_number', j.st_job_number, 'job_status', j.job_status, 'job_type', coalesce(t.name, j.job_type_name),
           'business_unit', u.name, 'campaign', c.name, 'completed_on', j.completed_on, 'first_appointment', a.first_start,
           'last_appointment', a.last_start, 'technicians', w.names, 'open_estimates', e.open_amount, 'sold_estimates', e.sold_amount,
           'sold_on', e.sold_on, 'invoice_total', i.amount, 'invoice_balance', i.balance)
    from unnest(p_jobs) k(id)
   cross join lateral (select x.* from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = k.id offset 0) j
   cross join lateral (select replace(lower(coalesce(j.job_status, '')), ' ', '') as status) s
   cross join lateral (
      select count(*) as known, count(*) filter (where p.active and p.unused is distinct from true and lower(coalesce(p.status, '')) not like 'cancel%') as live,
             min(p.starts_on) filter (where p.active) as first_start, max(p.starts_on) filter (where p.active) as last_start
        from appointments p where p.tenant_id = p_tenant and p.st_job_id = j.st_job_id) a
   cross join lateral (
      select count(*) filter (where y.state = 'open') as open, count(*) filter (where y.state = 'sold') as sold, count(*) filter (where y.state = 'dismissed') as dismissed,
             sum(y.amount) filter (where y.state = 'open') as open_amount, sum(y.amount) filter (where y.state = 'sold') as sold_amount, max(y.sold_on) as sold_on
        from (select q.subtotal + coalesce(q.tax, 0) as amount, q.sold_on,
                     case when q.sold_on is not null or lower(q.status) = 'sold' then 'sold' else lower(q.status) end as state
                from estimates q where q.tenant_id = p_tenant and q.st_job_id = j.st_job_id and q.active) y) e
   cross join lateral (
      -- Every job has an invoice from its first day: it counts once it was posted, exported, sent or reviewed as invoiced.
      select count(*) filter (where z.adjustment_to_id is null and (z.sync_status in ('Posted', 'Exported') or z.sent_status in ('Sent', 'Opened')
                                    or z.review_status = 'Invoiced')) as done, sum(z.total) as amount, sum(z.balance) as balance
        from (select v.adjustment_to_id, v.sync_status, v.sent_status, v.review_status, v.total, v.balance
                from invoices v where v.tenant_id = p_tenant and v.st_job_id = j.st_job_id and v.active
              union all
              select v.adjustment_to_id, v.sync_status, v.sent_status, v.review_status, v.total, v.balance
                from invoices v where v.tenant_id = p_tenant and v.st_invoice_id = j.invoice_id and v.st_job_id is null and v.active) z) i
    left join lateral (
      select string_agg(distinct m.technician_name, ', ') as names from technician_assignments m
       where m.tenant_id = p_tenant and m.st_job_id = j.st_job_id and m.active) w on true
    left join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = j.business_unit_id
    left join job_types t on t.tenant_id = p_tenant and t.st_job_type_id = j.job_type_id
    left join campaigns c on c.tenant_id = p_tenant and c.st_campaign_id = j.campaign_id
$$;
comment on function jobsync.card_facts(text, bigint[]) is
  'What happened to each job: the events that hold at present (a state such as hold only while it lasts), amounts by kind, and facts for custom fields.';

create function jobsync.matching_rules(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, place bigint, rule jobsync.rules, amounts jsonb, facts jsonb)
language sql stable set search_path = jobsync, public as $$
  select f.st_job_id, row_number() over (partition by f.st_job_id order by r.position, r.conditions, r.name collate "C"), r.rule, f.amounts, f.facts
    from card_facts(p_tenant, p_jobs) f
    left join lateral (
      select x as rule, x.position, x.name, num_nonnulls(x.unit_ids, x.job_type_ids, x.tag_type_ids, x.campaign_ids, x.amount_from, x.amount_below) as conditions
        from rules x
       where x.tenant_id = p_tenant and x.enabled and x.event = any (f.events)
         and (x.unit_ids is null or f.business_unit_id = any (x.unit_ids)) and (x.job_type_ids is null or f.job_type_id = any (x.job_type_ids))
         and (x.tag_type_ids is null or x.tag_type_ids && f.tag_type_ids) and (x.campaign_ids is null or f.campaign_id = any (x.campaign_ids))
         and (num_nonnulls(x.amount_from, x.amount_below) = 0 or (
           select y.amount >= coalesce(x.amount_from, '-infinity') and y.amount < coalesce(x.amount_below, 'infinity')
             from (select (f.amounts ->> case x.event when 'estimate_sold' then 'sold_estimates' when 'estimate_sent' then 'open_estimates'
                                                      when 'invoiced' then 'invoices' else 'job_total' end)::numeric as amount) y))) r on true
$$;
comment on function jobsync.matching_rules(text, bigint[]) is
  'The rules that hold for each job in their order (place 1 first, the last one decides); a job for which none holds has one row without rule. An amount is that of the sold or open estimates, of the invoices, else of the job.';

create type jobsync.card_target as (pipeline_id text, stage_id text, rule text, backwards boolean);
comment on type jobsync.card_target is 'Where a rule puts a card.';

create function jobsync.own_cards(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, pipeline_id text, stage_id text, status text, value numeric, tags text[], custom_fields jsonb, backwards boolean,
               stage_rule text, status_rule text, rules text[], problem text)
language sql stable set search_path = jobsync, public as $$
  with held as materialized (
    select m.st_job_id, m.place, (m.rule).*, m.amounts, m.facts from matching_rules(p_tenant, p_jobs) m
  ), joined as (
    select h.st_job_id,
           (array_agg(row(h.pipeline_id, h.stage_id, h.name, h.backwards)::card_target order by h.place desc) filter (where h.pipeline_id is not null))[1] as target,
           (array_agg(h.status order by h.place desc) filter (where h.status is not null))[1] as status,
           (array_agg(h.name order by h.place desc) filter (where h.status is not null))[1] as status_rule,
           (array_agg(h.amounts ->> h.value order by h.place desc) filter (where h.amounts ->> h.value is not null))[1] as value,
           array_agg(h.name order by h.place) filter (where h.name is not null) as rules
      from held h group by h.st_job_id
  ), tagged as (
    select h.st_job_id, array_agg(distinct t.tag order by t.tag) as tags from held h cross join lateral unnest(h.tags) t(tag) group by h.st_job_id
  ), fielded as (
    select d.st_job_id, jsonb_object_agg(d.key, d.value) filter (where d.value is not null) as fields
      from (select distinct on (h.st_job_id, k.key) h.st_job_id, k.key,
                   case jsonb_typeof(k.value) when 'object' then h.facts -> (k.value ->> 'fact') else k.value end as value
              from held h cross join lateral jsonb_each(h.custom_fields) k
             order by h.st_job_id, k.key, h.place desc) d
     where d.value is distinct from 'null'::jsonb
     group by d.st_job_id
  )
  select o.st_job_id, case when g.stage_id is not null then p.pipeline_id end, case when p.pipeline_id is not null then g.stage_id end, coalesce(o.status, 'open'), coalesce(o.value::numeric, j.total), coalesce(t.tags, '{}'),
         coalesce(f.fields, '{}'), coalesce((o.target).backwards, false), (o.target).rule, o.status_rule, coalesce(o.rules, '{}'),
         case when w.pipeline_id is null then 'no_pipeline' when p.pipeline_id is null then 'pipeline_gone' when g.stage_id is null then 'stage_gone' end
    from joined o
   cross join lateral (select x.business_unit_id, x.total from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = o.st_job_id offset 0) j
    left join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
   cross join lateral (select case when o.target is null then r.pipeline_id else (o.target).pipeline_id end as pipeline_id,
                              case when o.target is null then r.stage_id else (o.target).stage_id end as stage_id) w
    -- No stage named: the first that is there. A stage or pipeline that is gone is never replaced by a guess.
    left join lateral (
      select s.pipeline_id, s.stage_id from pipeline_stages s
       where s.tenant_id = p_tenant and s.pipeline_id = w.pipeline_id and s.gone_at is null and (w.stage_id is null or s.stage_id = w.stage_id)
       order by s.position, s.stage_id limit 1) g on true
    left join pipelines p on p.tenant_id = p_tenant and p.pipeline_id = w.pipeline_id and p.gone_at is null
    left join tagged t on t.st_job_id = o.st_job_id
    left join fielded f on f.st_job_id = o.st_job_id
$$;
comment on function jobsync.own_cards(text, bigint[]) is
  'What each job alone says about its card, with the rules that decided. problem: no_pipeline, pipeline_gone, stage_gone (then there is no pipeline_id).';

-- Cards: what GoHighLevel should show for a job, where a card may be moved, and when it has to be told again.
--
--   own_cards (63) -> plan_cards: with what the install job of a sold estimate adds -> card_plans: what was planned and told
--   choose_stage, choose_status: a person's move is not undone
--   rules or routes edited -> rebaseline_cards: nothing is sent by that; list_rebaselined shows it, send_rebaselined sends it

create table jobsync.card_plans (
  tenant_id text not null references jobsync.tenants on delete cascade,
  st_job_id bigint not null,
  card jsonb not null,
  told jsonb,
  base jsonb,
  sent jsonb,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_job_id)
) with (fillfactor = 70);
comment on table jobsync.card_plans is 'API routes: the card of each job as the rules want it, and as GoHighLevel was last told. Written when a job is claimed; webhook routes have no rows.';
comment on column jobsync.card_plans.base is 'What a change is measured against, where that is not what was told: after an edit of rules or routes nothing is sent by itself.';
comment on column jobsync.card_plans.sent is 'What is under way; becomes told when it is accepted.';

create table jobsync.install_links (
  tenant_id text not null references jobsync.tenants on delete cascade,
  st_job_id bigint not null,
  estimate_id bigint,
  project_id bigint,
  sales_job_id bigint,
  linked_by text constraint link_is_known check (linked_by in ('estimate', 'project', 'ambiguous', 'own_card')),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_job_id)
);
create index install_links_by_sale on jobsync.install_links (tenant_id, sales_job_id) where sales_job_id is not null;
create index install_links_by_estimate on jobsync.install_links (tenant_id, estimate_id) where estimate_id is not null;
create index install_links_by_project on jobsync.install_links (tenant_id, project_id) where project_id is not null;
create index estimates_by_project on jobsync.estimates (tenant_id, st_project_id) where st_project_id is not null;
comment on table jobsync.install_links is 'Jobs of units whose route says card: sales, with the sales job whose card goes on with them. Linked by the estimate they were made from, else by the project; never by the customer.';
comment on column jobsync.install_links.linked_by is 'estimate, project; ambiguous: several sold jobs in the project; own_card: it had a card already; null: no sold estimate known yet.';

create function jobsync.has_card_to_continue(p_tenant text, p_job bigint, p_destination uuid) returns boolean
language sql stable set search_path = jobsync, public as $$
  select exists (
    select from public.jobs j join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
     where j.tenant_id = p_tenant and j.st_job_id = p_job and r.deliverer = 'jobsync' and r.card = 'own' and r.destination_id = p_destination
       and j.ghl_sync_status <> 'skipped')
$$;
comment on function jobsync.has_card_to_continue(text, bigint, uuid) is 'True when JobSync keeps a card of its own for this job in the same location.';

create function jobsync.find_sales_jobs(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, estimate_id bigint, project_id bigint, sales_job_id bigint, linked_by text)
language sql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  select j.st_job_id, k.estimate_id, k.project_id, case when f.own then null else coalesce(e.st_job_id, case when p.sales = 1 then p.st_job_id end) end,
         case when f.own then 'own_card' when e.st_job_id is not null then 'estimate' when p.sales = 1 then 'project' when p.sales > 1 then 'ambiguous' end
    from unnest(p_jobs) i(id)
   cross join lateral (select x.* from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = i.id offset 0) j
    join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id and r.card = 'sales' and r.deliverer = 'jobsync'
   cross join lateral (select nullif(try_bigint(j.st_raw_data -> 'createdFromEstimateId'), 0) as estimate_id,
                              nullif(try_bigint(j.st_raw_data -> 'projectId'), 0) as project_id) k
   cross join lateral (select j.delivered_hash is not null or j.ghl_opportunity_id is not null as own) f
    left join lateral (
      select q.st_job_id from estimates q
       where q.tenant_id = p_tenant and q.st_estimate_id = k.estimate_id and q.active and q.st_job_id <> j.st_job_id
         and has_card_to_continue(p_tenant, q.st_job_id, r.destination_id) offset 0) e on true
    left join lateral (
      select count(distinct q.st_job_id) as sales, min(q.st_job_id) as st_job_id from estimates q
       where k.estimate_id is null and q.tenant_id = p_tenant and q.st_project_id = k.project_id and q.active and q.st_job_id <> j.st_job_id
         and (q.sold_on is not null or lower(q.status) = 'sold') and has_card_to_continue(p_tenant, q.st_job_id, r.destination_id)) p on true
$$;
comment on function jobsync.find_sales_jobs(text, bigint[]) is
  'For jobs of units with card: sales, the job whose card goes on with them: the one of the estimate they were made from, else the only one of their project with a sold estimate.';

create function jobsync.links_installs(p_tenant text) returns boolean language sql stable set search_path = jobsync, public as $$
  -- What is linked stays so, also where the route gives later jobs cards of their own.
  select exists (select from routes r where r.tenant_id = p_tenant and r.card = 'sales') or exists (select from install_links l where l.tenant_id = p_tenant)
$$;
comment on function jobsync.links_installs(text) is 'True for a tenant some of whose install jobs go on with the card of their sales job.';

create function jobsync.link_installs(p_tenant text, p_jobs bigint[]) returns bigint[]
language plpgsql set search_path = jobsync, public as $$
declare
  v_sales bigint[];
begin
  if not links_installs(p_tenant) then
    return '{}';
  end if;
  insert into install_links as l (tenant_id, st_job_id, estimate_id, project_id, sales_job_id, linked_by)
  select p_tenant, f.st_job_id, f.estimate_id, f.project_id, f.sales_job_id, f.linked_by from find_sales_jobs(p_tenant, p_jobs) f order by f.st_job_id
  on conflict (tenant_id, st_job_id) do update set estimate_id = excluded.estimate_id, project_id = excluded.project_id,
    sales_job_id = excluded.sales_job_id, linked_by = excluded.linked_by, updated_at = jobsync.now()
   where (l.estimate_id, l.project_id, l.sales_job_id, l.linked_by) is distinct from (excluded.estimate_id, excluded.project_id, excluded.sales_job_id, excluded.linked_by);
  select array_agg(distinct l.sales_job_id) into v_sales from install_links l
   where l.tenant_id = p_tenant and l.st_job_id = any (p_jobs) and l.sales_job_id is not null;
  return coalesce(v_sales, '{}');
end
$$;
comment on function jobsync.link_installs(text, bigint[]) is 'Links install jobs with the sales jobs whose cards they continue; answers these sales jobs. Twice writes nothing.';

create function jobsync.plan_cards(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, pipeline_id text, stage_id text, status text, value numeric, tags text[], custom_fields jsonb, backwards boolean,
               stage_rule text, status_rule text, rules text[], problem text, continued_by bigint)
language plpgsql stable set search_path = jobsync, public as $$
#variable_conflict use_column
declare
  v_installs bigint[] := array(
    select distinct on (l.sales_job_id) l.st_job_id from install_links l
     where l.tenant_id = p_tenant and l.sales_job_id = any (p_jobs) order by l.sales_job_id, l.st_job_id desc);
begin
  if v_installs = '{}' then
    return query select c.*, null::bigint from own_cards(p_tenant, p_jobs) c order by c.st_job_id;
    return;
  end if;
  -- The newest install job says where the card is; what the sales job alone knows stays (tags, fields, its value).
  return query
    with own as materialized (
      select c.* from own_cards(p_tenant, array(select distinct x from unnest(p_jobs || v_installs) x)) c
    )
    select s.st_job_id, coalesce(i.pipeline_id, s.pipeline_id), case when i.pipeline_id is not null then i.stage_id else s.stage_id end,
           coalesce(i.status, s.status), coalesce(nullif(i.value, 0), s.value),
           case when i.st_job_id is null then s.tags else array(select distinct x from unnest(s.tags || i.tags) x order by x) end,
           s.custom_fields || coalesce(i.custom_fields, '{}'), case when i.pipeline_id is not null then i.backwards else s.backwards end,
           case when i.pipeline_id is not null then i.stage_rule else s.stage_rule end, coalesce(i.status_rule, s.status_rule),
           s.rules || coalesce(i.rules, '{}'), case when i.pipeline_id is not null then null else s.problem end, i.st_job_id
      from own s
      left join install_links l on l.tenant_id = p_tenant and l.sales_job_id = s.st_job_id and l.st_job_id = any (v_installs)
      left join own i on i.st_job_id = l.st_job_id
     where s.st_job_id = any (p_jobs)
     order by s.st_job_id;
end
$$;
comment on function jobsync.plan_cards(text, bigint[]) is
  'What the card of each job should be, which rules decided, what is in the way (problem), and the install job that goes on with it (continued_by).';

create function jobsync.plan_opportunities(p_tenant text, p_jobs bigint[])
returns table (st_job_id bigint, pipeline_id text, stage_id text, status text, value numeric, tags text[], custom_fields jsonb)
language sql stable set search_path = jobsync, public as $$
  select c.st_job_id, c.pipeline_id, c.stage_id, c.status, c.value, c.tags, c.custom_fields from plan_cards(p_tenant, p_jobs) c order by c.st_job_id
$$;
comment on function jobsync.plan_opportunities(text, bigint[]) is
  'What the card of each job should be: pipeline and stage by id, status (open, won, lost), value, tags to add, custom field id -> value. pipeline_id null: no pipeline is named, or it is gone (plan_cards says which).';

create function jobsync.card_document(p_card jsonb) returns jsonb language sql immutable parallel safe as $$
  select p_card - '{st_job_id,backwards,stage_rule,status_rule,rules,problem,continued_by}'::text[]
$$;
comment on function jobsync.card_document(jsonb) is 'The part of a planned card that GoHighLevel is told: equal documents need no second telling.';

-- Where a card may be moved. written: where JobSync last put it; seen: where it was last read; either may be unknown.
create function jobsync.choose_stage(
  p_tenant text, p_wanted_pipeline text, p_wanted_stage text, p_backwards boolean, p_written_pipeline text, p_written_stage text,
  p_seen_pipeline text, p_seen_stage text
) returns table (pipeline_id text, stage_id text, reason text)
language sql stable set search_path = jobsync, public as $$
  select case when d.reason is null then p_wanted_pipeline else d.pipeline end, case when d.reason is null then p_wanted_stage else d.stage end, d.reason
    from (
      select a.pipeline, a.stage, case
          when a.stage is null then null
          when (a.pipeline, a.stage) = (p_wanted_pipeline, p_wanted_stage) then 'there'
          when p_wanted_stage is null then 'no_target'
          when o.protected then 'protected_stage'
          -- A person moved it: only news (another wish than what was last written) that leads further on moves it again.
          when a.by_hand and (p_wanted_pipeline, p_wanted_stage) is not distinct from (p_written_pipeline, p_written_stage) then 'moved_by_hand'
          when a.by_hand and a.pipeline is distinct from p_written_pipeline and a.pipeline is distinct from p_wanted_pipeline then 'moved_by_hand'
          when a.by_hand and a.pipeline = p_wanted_pipeline and w.position <= o.position then 'moved_by_hand'
          when a.pipeline = p_wanted_pipeline and w.position < o.position and not coalesce(p_backwards, false) then 'forward_only'
        end as reason
        from (select coalesce(p_seen_pipeline, p_written_pipeline) as pipeline, coalesce(p_seen_stage, p_written_stage) as stage,
                     p_seen_stage is not null and p_written_stage is not null
                       and (p_seen_pipeline, p_seen_stage) is distinct from (p_written_pipeline, p_written_stage) as by_hand) a
        left join pipeline_stages o on o.tenant_id = p_tenant and o.pipeline_id = a.pipeline and o.stage_id = a.stage
        left join pipeline_stages w on w.tenant_id = p_tenant and w.pipeline_id = p_wanted_pipeline and w.stage_id = p_wanted_stage) d
$$;
comment on function jobsync.choose_stage(text, text, text, boolean, text, text, text, text) is
  'The pipeline and stage to write for a card. reason null: move it (or create it there); else it stays where it is, and why: there, protected_stage, moved_by_hand, forward_only, no_target.';

create function jobsync.choose_status(p_wanted text, p_written text, p_seen text) returns table (status text, reason text)
language sql immutable parallel safe as $$
  select case when d.reason is null then p_wanted else p_seen end, d.reason
    from (select case when p_seen is null or p_written is null or p_seen = p_written then null
                      when p_seen = p_wanted then 'there'
                      when p_wanted = p_written or p_wanted = 'open' then 'set_by_hand' end as reason) d
$$;
comment on function jobsync.choose_status(text, text, text) is
  'The status to write for a card. What a person closed is not opened again, and only news (won, lost) overwrites what a person set.';

create function jobsync.note_cards(p_tenant text, p_jobs bigint[]) returns void
language sql volatile set search_path = jobsync, public as $$
  insert into card_plans as c (tenant_id, st_job_id, card, sent)
  select p_tenant, d.st_job_id, d.document, d.document
    from (select p.st_job_id, card_document(to_jsonb(p)) as document from plan_cards(p_tenant, p_jobs) p) d order by d.st_job_id
  on conflict (tenant_id, st_job_id) do update set card = excluded.card, sent = excluded.sent, updated_at = jobsync.now()
$$;
comment on function jobsync.note_cards(text, bigint[]) is 'When jobs of an API route are claimed: what they are about to be told. Called by claim_deliveries.';

create function jobsync.tell_cards(p_tenant text, p_jobs bigint[]) returns void
language sql volatile set search_path = jobsync, public as $$
  update card_plans c set told = c.sent, base = null, sent = null, updated_at = jobsync.now()
    from (select x.st_job_id from card_plans x where x.tenant_id = p_tenant and x.st_job_id = any (p_jobs) and x.sent is not null
           order by x.st_job_id for no key update) l
   where c.tenant_id = p_tenant and c.st_job_id = any (p_jobs) and c.st_job_id = l.st_job_id
$$;
comment on function jobsync.tell_cards(text, bigint[]) is 'After a send was accepted: what was under way has been told. Called by finish_deliveries.';

create function jobsync.card_differs(p_tenant text, p_job bigint) returns boolean
language sql stable set search_path = jobsync, public as $$
  select coalesce((select c.card is distinct from coalesce(c.base, c.told) from card_plans c where c.tenant_id = p_tenant and c.st_job_id = p_job), false)
$$;
comment on function jobsync.card_differs(text, bigint) is 'True when the rules say something else about a job''s card than what it was told (or measured against) last.';

create function jobsync.replan_cards(p_tenant text, p_jobs bigint[]) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  -- A unit that went to a pipeline once and goes to a webhook today is not planned by visits.
  v_jobs bigint[] := array(
    select c.st_job_id from card_plans c
      join public.jobs j on j.tenant_id = p_tenant and j.st_job_id = c.st_job_id
      join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
      join destinations d on d.tenant_id = p_tenant and d.id = r.destination_id and d.kind = 'api'
     where c.tenant_id = p_tenant and c.st_job_id = any (p_jobs) order by c.st_job_id);
begin
  if v_jobs = '{}' then
    return 0;
  end if;
  perform lock_jobs(p_tenant, v_jobs);
  with moved as (
    update card_plans c set card = d.document, updated_at = jobsync.now()
      from (select p.st_job_id, card_document(to_jsonb(p)) as document from plan_cards(p_tenant, v_jobs) p) d
     where c.tenant_id = p_tenant and c.st_job_id = d.st_job_id and c.card is distinct from d.document
    returning c.st_job_id
  )
  select array_agg(m.st_job_id order by m.st_job_id) into v_jobs from moved m;
  if v_jobs is null then
    return 0;
  end if;
  return plan_jobs(p_tenant, v_jobs, array_fill(true, array[cardinality(v_jobs)]));
end
$$;
comment on function jobsync.replan_cards(text, bigint[]) is
  'After something around these jobs changed (visits, estimates, invoices): plans those whose card the rules now want otherwise. Answers how many outbox rows were added.';

-- Called with what a page of an activity stream wrote. Most tenants' pages end at the first question.
create function jobsync.plan_activity(p_tenant text, p_stream text, p_sifted jobsync.sifted[]) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
  v_installs bigint[];
begin
  if p_stream not in ('appointments', 'estimates', 'invoices', 'technician_assignments')
     or not exists (select from destinations d where d.tenant_id = p_tenant and d.kind = 'api') then
    return 0;
  end if;
  select array_agg(distinct x.id) into v_jobs
    from (select (s.fields ->> 'jobId')::bigint as id from unnest(p_sifted) s where s.reason is null
          union all
          select j.st_job_id from unnest(p_sifted) s join public.jobs j on j.tenant_id = p_tenant and j.invoice_id = s.id and j.invoice_id > 0
           where p_stream = 'invoices' and s.reason is null and s.fields ->> 'jobId' is null) x where x.id > 0;
  if p_stream = 'estimates' and exists (select from install_links l where l.tenant_id = p_tenant) then
    select array_agg(distinct l.st_job_id) into v_installs
      from unnest(p_sifted) s
      join install_links l on l.tenant_id = p_tenant and (l.estimate_id = s.id or l.project_id = (s.fields ->> 'projectId')::bigint)
     where s.reason is null and l.linked_by is distinct from 'own_card';
    if v_installs is not null then
      perform plan_jobs(p_tenant, lock_jobs(p_tenant, v_installs), null);
    end if;
  end if;
  if v_jobs is null then
    return 0;
  end if;
  return replan_cards(p_tenant, v_jobs || array(select l.sales_job_id from install_links l
                                                 where l.tenant_id = p_tenant and l.st_job_id = any (v_jobs) and l.sales_job_id is not null));
end
$$;
comment on function jobsync.plan_activity(text, text, jobsync.sifted[]) is
  'Plans the jobs of API routes whose rules say something new because of this page. Webhook routes are never planned by it.';

create function jobsync.rebaseline_cards(p_tenant text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_after bigint := 0;
  v_jobs bigint[];
begin
  perform lock_stream(p_tenant, 'jobs');
  loop
    v_jobs := array(select c.st_job_id from card_plans c where c.tenant_id = p_tenant and c.st_job_id > v_after order by c.st_job_id limit 1000);
    exit when v_jobs = '{}';
    v_after := v_jobs[cardinality(v_jobs)];
    update card_plans c set card = d.document, updated_at = jobsync.now(),
           -- What waited to be told still does; for all others the new wish is the one that changes are measured against.
           base = case when c.card is distinct from coalesce(c.base, c.told) then c.base else nullif(d.document, c.told) end
      from (select p.st_job_id, card_document(to_jsonb(p)) as document from plan_cards(p_tenant, v_jobs) p) d
     where c.tenant_id = p_tenant and c.st_job_id = d.st_job_id and c.card is distinct from d.document;
  end loop;
  return (select count(*) from card_plans c where c.tenant_id = p_tenant and c.base is not null and c.card = c.base);
end
$$;
comment on function jobsync.rebaseline_cards(text) is
  'After an edit of rules, routes or stages: the new wishes become what later changes are measured against. Sends nothing. Answers how many delivered jobs now differ from what was told.';

create function jobsync.list_rebaselined(p_tenant text, p_limit integer default null)
returns table (st_job_id bigint, st_job_number text, business_unit_id bigint, told jsonb, wanted jsonb)
language sql stable set search_path = jobsync, public as $$
  select c.st_job_id, j.st_job_number, j.business_unit_id, c.told, c.card
    from card_plans c join public.jobs j on j.tenant_id = c.tenant_id and j.st_job_id = c.st_job_id
   where c.tenant_id = p_tenant and c.base is not null and c.card = c.base
   order by c.st_job_id limit p_limit
$$;
comment on function jobsync.list_rebaselined(text, integer) is 'Delivered jobs whose card would be told otherwise under the rules as they are now: what `plan --rebaseline` shows.';

create function jobsync.send_rebaselined(p_tenant text, p_jobs bigint[], p_actor text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  perform lock_jobs(p_tenant, p_jobs);
  with freed as (
    update card_plans c set base = null, updated_at = jobsync.now()
     where c.tenant_id = p_tenant and (p_jobs is null or c.st_job_id = any (p_jobs)) and c.base is not null and c.card = c.base
    returning c.st_job_id
  )
  select array_agg(f.st_job_id order by f.st_job_id) into v_jobs from freed f;
  if v_jobs is null then
    return 0;
  end if;
  perform write_audit(p_tenant, p_actor, 'rebaseline_sent', 'tenant', jsonb_build_object('jobs', cardinality(v_jobs)));
  return plan_jobs(p_tenant, v_jobs, array_fill(true, array[cardinality(v_jobs)]));
end
$$;
comment on function jobsync.send_rebaselined(text, bigint[], text) is
  'A person sends what an edit of rules changed: these jobs (null: all that list_rebaselined shows) are planned. Answers how many.';

-- Nearly all groups are of one kind: new to GoHighLevel or changed, accepted at once, and nothing changed meanwhile. They are booked
-- by a shorter way to the same end; false: there is something to judge, and nothing was done. Nothing is locked before: marking the jobs
-- locks them (by number, as everybody does), and what was claimed or planned anew until then is not found by the second statement,
-- which takes the first one back. Called by finish_deliveries (65_deliver.sql).
create function jobsync.book_usual(p_tenant text, p_results jsonb, p_jobs bigint[], p_attempts bigint[]) returns boolean
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_rows bigint;
begin
  with sent as materialized (
    select o.st_job_id, o.sent_hash, o.version
      from jsonb_to_recordset(p_results) as r (st_job_id bigint, fence bigint, outcome text, flags jsonb, opportunity_id text)
      join outbox o on o.tenant_id = p_tenant and o.st_job_id = any (p_jobs) and o.st_job_id = r.st_job_id and o.fence = r.fence and o.flags = '{}'
     where r.outcome = 'accepted' and coalesce(r.flags, '[]') = '[]' and r.opportunity_id is null
     order by o.st_job_id
  )
  update jobs j set ghl_sync_status = 'synced', ghl_sync_reason = null, ghl_sync_error = null, ghl_synced_at = v_now, ghl_accepted_at = v_now,
         delivered_hash = s.sent_hash, ghl_version = s.version, ghl_sync_flags = null, updated_at = v_now,
         ghl_pipeline = coalesce((select coalesce(u.pipeline_name, u.ghl_pipeline_name) from unit_routes u
                                   where u.tenant_id = p_tenant and u.st_business_unit_id = j.business_unit_id), j.ghl_pipeline)
    from sent s where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and j.st_job_id = s.st_job_id;
  get diagnostics v_rows = row_count;
  if v_rows = cardinality(p_jobs) then
    with closed as (
      update attempts a set finished_at = v_now, outcome = r.outcome, status_code = r.status, execution_id = r.execution_id,
             requests = coalesce(r.requests, 1), duration_ms = r.duration_ms, answer = left(r.answer, 2048), error = left(r.error, 500)
        from jsonb_to_recordset(p_results) as r (attempt_id bigint, fence bigint, outcome text, status integer, execution_id text, duration_ms integer,
                                                 answer text, error text, requests integer)
       -- By both lists: a plan made while the table was empty would read all attempts of the tenant by either index.
       where a.tenant_id = p_tenant and a.st_job_id = any (p_jobs) and a.id = any (p_attempts) and a.id = r.attempt_id and a.outcome is null
      returning a.st_job_id, a.version, r.fence
    )
    delete from outbox o using closed c
     where o.tenant_id = p_tenant and o.st_job_id = any (p_jobs) and o.st_job_id = c.st_job_id and o.fence = c.fence and o.version = c.version and o.flags = '{}';
    get diagnostics v_rows = row_count;
  end if;
  if v_rows < cardinality(p_jobs) then
    raise exception using errcode = 'JS100', message = 'There is something to judge.';
  end if;
  return true;
exception when sqlstate 'JS100' then
  return false;
end
$$;
comment on function jobsync.book_usual(text, jsonb, bigint[], bigint[]) is
  'Books a group of sends that were all accepted at once and whose jobs did not change meanwhile; false, with nothing done, where there is anything else to judge.';

-- Delivering: claim -> (the program sends) -> finish. Nothing here sends; every rule about whether something may leave is here.
-- Refusals, in this order: mode, pause, destination pause, caps, limited arm, shared budget. A claim counts a version against
-- caps and limit; a send that certainly was not executed gives it back.

create function jobsync.claim_deliveries(
  p_tenant text, p_destination uuid, p_limit integer, p_lease_seconds double precision, p_rate double precision, p_burst double precision,
  p_due_before timestamptz default null, p_untried_since timestamptz default null
) returns table (attempt_id bigint, fence bigint, version integer, event text, delivery_id uuid, attempts integer, waited_for text,
                 planned_at timestamptz, alone boolean, projection jobsync.projections)
-- What is due is read in the order of its index and no further than the window: never gathered whole and sorted.
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off
set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  v_now timestamptz := jobsync.now();
  v_hour timestamptz := date_trunc('hour', v_now, 'UTC');
  v_tenant jobsync.tenants;
  v_destination jobsync.destinations;
  v_limit integer := greatest(p_limit, 1);
  v_free integer;
  v_sent_hour integer;
  v_sent_day integer;
  v_capped text;
  v_window integer;
  v_seen integer;
  v_jobs bigint[];
  v_same bigint[];
  v_heavy bigint[];
  v_new integer;
  v_died boolean;
  v_alone boolean;
begin
  -- Claims of one tenant go one after another; nothing below waits for a row that somebody else holds.
  select * into v_tenant from tenants t where t.tenant_id = p_tenant for no key update;
  select * into v_destination from destinations d where d.tenant_id = p_tenant and d.id = p_destination for no key update;
  if v_tenant.mode is distinct from 'live' or v_tenant.paused_at is not null or v_destination.id is null then
    return;
  end if;
  if v_destination.paused_at is not null then
    if v_destination.probe_at is null or v_destination.probe_at > v_now then
      return;
    end if;
    v_limit := 1;
    update destinations d set probe_at = v_now + interval '60 seconds' where d.tenant_id = p_tenant and d.id = p_destination;
  end if;
  if v_destination.kind = 'api' then
    if delivery_hold(p_tenant) > 0 then
      return;
    end if;
    -- A job may take four requests or more, each paced: a group must be done well within its lease.
    v_limit := least(v_limit, case when p_rate > 0 then greatest(1, least(16, floor(p_rate * p_lease_seconds / 12)))::integer else 16 end);
  end if;
  -- Only where a worker died: looked for among the few rows that are in flight.
  v_died := exists (select from outbox o where o.tenant_id = p_tenant and o.lease_until is not null and o.lease_until <= v_now and o.destination_id = p_destination);
  if v_died then
    if v_destination.kind = 'webhook' then
      perform settle_rescued(p_tenant, p_destination, v_now);
    end if;
    perform give_up_rescued(p_tenant, p_destination, v_now);
  end if;

  -- Due, oldest first, one of each customer who has nothing in flight. A few fewer than asked for are enough; a customer
  -- with very many jobs widens the look.
  v_window := v_limit + v_limit / 4 + 1;
  loop
    with due as materialized (
      select o.st_job_id, o.st_customer_id, o.next_attempt_at, o.version, o.event = 'updated' and not o.forced and j.job_hash = j.delivered_hash
             and not (v_destination.kind = 'api' and card_differs(p_tenant, o.st_job_id)) as same
        from outbox o
       cross join lateral armed_job(o.tenant_id, o.st_job_id) j
       where o.destination_id = p_destination and o.tenant_id = p_tenant and o.next_attempt_at <= least(v_now, p_due_before)
         and (o.lease_until is null or o.lease_until <= v_now)
         and (p_untried_since is null or o.tried_at is null or o.tried_at < p_untried_since)
         and (select true from outbox f where f.tenant_id = p_tenant and f.st_customer_id = o.st_customer_id and f.lease_until > v_now limit 1) is null
       order by o.next_attempt_at, o.st_job_id
       limit v_window
    ), heavy as (
      select d.st_job_id from due d
       where d.version > 5 and not d.same
         and (select count(*) from attempts a where a.tenant_id = p_tenant and a.st_job_id = d.st_job_id and a.outcome like 'accepted%'
                and a.started_at >= date_trunc('day', v_now, 'UTC')) >= case v_destination.kind when 'api' then 20 else 5 end
    ), one_each as (
      select distinct on (coalesce(d.st_customer_id, -d.st_job_id)) d.st_job_id, d.next_attempt_at from due d
       where not d.same and not exists (select from heavy h where h.st_job_id = d.st_job_id)
       order by coalesce(d.st_customer_id, -d.st_job_id), d.next_attempt_at, d.st_job_id
    )
    select array_agg(e.st_job_id order by e.next_attempt_at, e.st_job_id), (select count(*) from due),
           (select array_agg(d.st_job_id) from due d where d.same), (select array_agg(h.st_job_id) from heavy h)
      into v_jobs, v_seen, v_same, v_heavy from one_each e;
    if v_same is not null then
      -- Changed there and back again while it waited: GoHighLevel already has exactly this.
      with same as (
        select j.st_job_id from public.jobs j
         where j.tenant_id = p_tenant and j.st_job_id = any (v_same) and j.job_hash = j.delivered_hash for no key update skip locked
      ), settled as (
        delete from outbox o using same s
         where o.tenant_id = p_tenant and o.st_job_id = s.st_job_id and (o.lease_until is null or o.lease_until <= v_now)
        returning o.st_job_id
      )
      update public.jobs j set ghl_sync_status = 'synced', ghl_sync_reason = null, updated_at = v_now
        from settled s where j.tenant_id = p_tenant and j.st_job_id = s.st_job_id;
    end if;
    if v_heavy is not null then
      update outbox o set next_attempt_at = date_trunc('day', v_now, 'UTC') + interval '1 day', waiting_for = 'record_cap'
       -- By a list of ids: joined with what is nearly always nobody, a plan made while the table was young reads all that waits.
       where o.tenant_id = p_tenant and o.st_job_id = any (array(
         select x.st_job_id from outbox x where x.tenant_id = p_tenant and x.st_job_id = any (v_heavy) for update skip locked));
    end if;
    exit when coalesce(cardinality(v_jobs), 0) >= v_limit - v_limit / 4 or v_seen < v_window or v_window > 10000;
    v_window := v_window * 8;
  end loop;

  -- What two workers died with goes out alone, so that the one that kills them is set aside and not those beside it.
  select (array_agg(l.suspect order by l.next_attempt_at, l.st_job_id))[1],
         case when (array_agg(l.suspect order by l.next_attempt_at, l.st_job_id))[1]
              then (array_agg(l.st_job_id order by l.next_attempt_at, l.st_job_id))[1:1]
              else array_agg(l.st_job_id order by l.next_attempt_at, l.st_job_id) filter (where not l.suspect) end into v_alone, v_jobs
    from (select o.st_job_id, o.next_attempt_at, o.rescues + case when o.lease_until is null then 0 else 1 end >= 2 as suspect from outbox o
           where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs) and o.destination_id = p_destination
             and (o.lease_until is null or o.lease_until <= v_now)
           order by o.next_attempt_at, o.st_job_id limit v_limit for update skip locked) l;
  if v_jobs is null then
    return;
  end if;

  -- A version is counted once: against the caps of hour and day and the limited arm. Its retries go free. What changed
  -- after its worker died is another version; the send that may have been executed stays counted.
  if v_died then
    update outbox o set counted_at = null
     where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs) and o.lease_until is not null and o.counted_at is not null
       and not exists (select from attempts a where a.tenant_id = p_tenant and a.st_job_id = o.st_job_id and a.version = o.version);
  end if;
  select coalesce(sum(c.sends) filter (where c.hour = v_hour), 0), coalesce(sum(c.sends), 0) into v_sent_hour, v_sent_day
    from send_counts c where c.tenant_id = p_tenant and c.hour > v_now - interval '24 hours';
  v_free := least(case when v_tenant.cap_hour > 0 then v_tenant.cap_hour - v_sent_hour end,
                  case when v_tenant.cap_day > 0 then v_tenant.cap_day - v_sent_day end, v_limit);
  v_capped := case when v_free > 0 then null when v_tenant.cap_hour > 0 and v_sent_hour >= v_tenant.cap_hour then 'cap_hour' else 'cap_day' end;
  v_free := least(v_free, v_tenant.arm_remaining);
  select array_agg(w.st_job_id order by w.next_attempt_at, w.st_job_id) filter (where w.counted or w.place <= v_free),
         case when bool_or(not w.counted) and coalesce(v_tenant.arm_remaining, 1) > 0 then v_capped end
    into v_jobs, v_capped
    from (select o.st_job_id, o.next_attempt_at, o.counted_at is not null as counted,
                 count(*) filter (where o.counted_at is null) over (order by o.next_attempt_at, o.st_job_id) as place
            from outbox o where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs)) w;
  if v_capped is not null then
    perform set_mode(p_tenant, 'observe', v_capped, 'jobsync');
    return;
  end if;
  if v_jobs is null then
    return;
  end if;
  -- The API's budget is counted in requests: the sender takes each one from the location's.
  if v_destination.kind = 'webhook' then
    select v_jobs[1:b.granted] into v_jobs from take_budget(p_tenant, budget_key(v_destination.kind, p_destination), p_rate, p_burst, cardinality(v_jobs)) b;
    if cardinality(v_jobs) = 0 then
      return;
    end if;
  end if;

  select count(*) into v_new from outbox o where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs) and o.counted_at is null;
  if v_new > 0 then
    insert into send_counts as c (tenant_id, hour, sends, executions) values (p_tenant, v_hour, v_new, case v_destination.kind when 'webhook' then v_new else 0 end)
    on conflict (tenant_id, hour) do update set sends = c.sends + excluded.sends, executions = c.executions + excluded.executions;
    update tenants t set arm_remaining = t.arm_remaining - v_new where t.tenant_id = p_tenant and t.arm_remaining is not null;
  end if;
  if v_destination.kind = 'api' then
    perform note_cards(p_tenant, v_jobs);
  end if;
  return query
    with claimed as (
      update outbox o set lease_until = v_now + make_interval(secs => p_lease_seconds), fence = o.fence + 1, attempts = o.attempts + 1,
             rescues = o.rescues + case when o.lease_until is not null then 1 else 0 end,
             flags = case when o.lease_until is not null and not 'ambiguous' = any (o.flags) then o.flags || '{ambiguous}'::text[] else o.flags end,
             sent_hash = j.job_hash, counted_at = coalesce(o.counted_at, v_hour), tried_at = v_now
        from public.jobs j
       where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs) and j.tenant_id = p_tenant and j.st_job_id = o.st_job_id
      returning o.st_job_id, o.fence, o.version, o.event, o.attempts, o.waiting_for, o.planned_at, o.next_attempt_at
    ), opened as (
      insert into attempts (tenant_id, st_job_id, version, destination_id, delivery_id, event, started_at)
      select p_tenant, c.st_job_id, c.version, p_destination, delivery_id(p_tenant, c.st_job_id, c.version), c.event, v_now from claimed c
      returning id, st_job_id, delivery_id
    )
    select a.id, c.fence, c.version, c.event, a.delivery_id, c.attempts, c.waiting_for, c.planned_at, v_alone, p
      from claimed c
      join opened a on a.st_job_id = c.st_job_id
      -- Looked up job by job (offset 0 keeps it apart): joined freely, and before the tables were ever analysed, all
      -- jobs with all their parents are put together anew for each row.
      cross join lateral (select x from projections x where x.tenant_id = p_tenant and x.st_job_id = c.st_job_id offset 0) y(p)
     order by c.next_attempt_at, c.st_job_id;
end
$$;
comment on function jobsync.claim_deliveries(text, uuid, integer, double precision, double precision, double precision, timestamptz, timestamptz) is
  'Claims due deliveries of a destination under mode, pause, caps, limited arm and budget; opens an attempt for each. At most one job per customer at a time. p_due_before, p_untried_since: only what was due by then and not tried since. alone: two workers died with it; nothing else is to be under way beside it.';

create function jobsync.budget_key(p_kind text, p_destination uuid) returns text language sql immutable parallel safe as $$
  select case p_kind when 'api' then 'gohighlevel' else 'destination:' || p_destination end
$$;
comment on function jobsync.budget_key(text, uuid) is 'The bucket that sends to a destination take from: a hook has its own, the location one for all who call it.';

create function jobsync.settle_rescued(p_tenant text, p_destination uuid, p_now timestamptz) returns void
language sql volatile as $$
  -- The answer of an earlier try came after its lease had run out, and the try after it died: this version is told already.
  with told as (
    select o.st_job_id from jobsync.outbox o
      join public.jobs j on j.tenant_id = o.tenant_id and j.st_job_id = o.st_job_id
     where o.destination_id = p_destination and o.tenant_id = p_tenant and o.lease_until is not null and o.lease_until <= p_now
       and not o.forced and j.job_hash = o.sent_hash
       and exists (select from jobsync.attempts a where a.tenant_id = p_tenant and a.st_job_id = o.st_job_id and a.version = o.version
                      and a.outcome like 'accepted%' and a.started_at >= o.planned_at)
       for update of o, j skip locked
  ), dropped as (
    delete from jobsync.outbox o using told t where o.tenant_id = p_tenant and o.st_job_id = t.st_job_id
    returning o.st_job_id, o.version, o.sent_hash, o.flags
  )
  update public.jobs j set ghl_sync_status = 'synced', ghl_sync_reason = null, ghl_sync_error = null, ghl_version = d.version, delivered_hash = d.sent_hash,
         ghl_synced_at = p_now, ghl_accepted_at = p_now, updated_at = p_now,
         ghl_sync_flags = array(select distinct f from unnest(d.flags || '{ambiguous}'::text[]) f order by f)
    from dropped d where j.tenant_id = p_tenant and j.st_job_id = d.st_job_id
$$;
comment on function jobsync.settle_rescued(text, uuid, timestamptz) is
  'Marks as synced, flagged ambiguous, deliveries whose worker died although an earlier try of the same version was accepted after its lease had run out.';

create function jobsync.give_up_rescued(p_tenant text, p_destination uuid, p_now timestamptz) returns void
language sql volatile as $$
  -- A row that is claimed again after a death counts one rescue: with four, this lease ended in the fifth death.
  with poison as (
    select o.st_job_id from jobsync.outbox o
      join public.jobs j on j.tenant_id = o.tenant_id and j.st_job_id = o.st_job_id
     where o.destination_id = p_destination and o.tenant_id = p_tenant and o.next_attempt_at <= p_now and o.rescues >= 4 and o.lease_until <= p_now
       for update of o, j skip locked
  ), dropped as (
    delete from jobsync.outbox o using poison p where o.tenant_id = p_tenant and o.st_job_id = p.st_job_id
    returning o.st_job_id, o.version
  )
  update public.jobs j set ghl_sync_status = 'failed', ghl_sync_reason = 'worker_died', ghl_version = d.version, updated_at = p_now,
         ghl_sync_error = 'The worker died five times while sending this job; it is set aside so that others go on.'
    from dropped d where j.tenant_id = p_tenant and j.st_job_id = d.st_job_id
$$;
comment on function jobsync.give_up_rescued(text, uuid, timestamptz) is 'Sets aside deliveries that killed their worker five times.';

create function jobsync.destination_state(p_tenant text, p_destination uuid) returns jsonb
language sql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off as $$
  select jsonb_build_object(
    'refusal', case when t.mode <> 'live' then 'mode_' || t.mode when t.paused_at is not null then 'paused'
                    when d.paused_at is not null and (d.probe_at is null or d.probe_at > jobsync.now()) then 'destination_paused'
                    -- Only a limit that is used up is worth a look through what waits.
                    when case when t.arm_remaining <= 0 then not exists (
                           select from outbox o where o.destination_id = p_destination and o.tenant_id = p_tenant and o.counted_at is not null
                              and o.next_attempt_at <= jobsync.now()) end then 'limit_reached' end,
    'wait_seconds', case when d.kind = 'api' then delivery_hold(p_tenant)
                         when b.blocked_until > clock_timestamp() then extract(epoch from b.blocked_until - clock_timestamp())
                         when b.rate > 0 then greatest(0, (1 - least(b.burst, b.tokens + s.rate * extract(epoch from clock_timestamp() - b.refilled_at))) / s.rate)
                         else 0 end,
    -- The first that is due is enough; in an order of its own, or the plan may walk through all that wait.
    'due', (select true from outbox o cross join lateral armed_job(o.tenant_id, o.st_job_id) j
             where o.destination_id = p_destination and o.tenant_id = p_tenant and o.next_attempt_at <= n.at
               and (o.lease_until is null or o.lease_until <= n.at)
             order by o.next_attempt_at, o.st_job_id limit 1) is true)
    from (select jobsync.now() as at offset 0) n
    cross join tenants t
    join destinations d on d.tenant_id = t.tenant_id and d.id = p_destination
    left join budgets b on b.tenant_id = t.tenant_id and b.budget_key = budget_key(d.kind, p_destination)
    left join lateral (select b.rate * left_speed(b.slowness, b.slowed_at, clock_timestamp()) as rate) s on true
   where t.tenant_id = p_tenant
$$;
comment on function jobsync.destination_state(text, uuid) is 'Why a destination yields nothing right now: refusal, seconds until its budget has a request, whether anything is due.';

-- 0, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h: the schedule of public webhook senders, with positive jitter.
create function jobsync.retry_delay(p_attempts integer) returns interval language sql volatile as $$
  select (array[5, 300, 1800, 7200, 18000, 36000, 36000])[least(greatest(p_attempts, 1), 7)] * (1 + pg_catalog.random() * 0.1) * interval '1 second'
$$;
comment on function jobsync.retry_delay(integer) is 'Wait after the given number of attempts, with up to a tenth of jitter on top.';

create function jobsync.finish_deliveries(p_tenant text, p_destination uuid, p_results jsonb) returns jsonb
language plpgsql set search_path = jobsync, public set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_report jsonb;
  v_refused boolean;
  v_jobs bigint[];
  v_attempts bigint[];
  v_units bigint[];
  v_is_troubled boolean;
  v_given_back jsonb;
  v_destination_faults integer;
  v_accepted integer;
  v_test_only boolean;
  v_told bigint[];
  v_wait double precision;
  v_retry_window constant integer := 8;
  v_kind text := (select d.kind from destinations d where d.tenant_id = p_tenant and d.id = p_destination);
  -- How many refusals in a row until the destination rests: the location's token, refused once, is refused for all jobs.
  v_patience integer := case when v_kind = 'api' and p_results @> '[{"outcome": "unauthorized"}]' then 1 else 5 end;
begin
  -- Locks in the order of everybody: tenants, destinations, jobs, outbox.
  select array_agg(r.st_job_id), array_agg(r.attempt_id), bool_or(r.outcome not in ('accepted', 'accepted_without_id'))
    into v_jobs, v_attempts, v_refused
    from jsonb_to_recordset(p_results) as r (attempt_id bigint, st_job_id bigint, outcome text);
  if v_refused then
    perform from tenants t where t.tenant_id = p_tenant for no key update;
  end if;
  perform from destinations d where d.tenant_id = p_tenant and d.id = p_destination
     and (v_refused or d.failures_in_row > 0 or d.probe_at is not null) for no key update;
  v_is_troubled := found;
  if not v_refused and not v_is_troubled and v_kind = 'webhook' and book_usual(p_tenant, p_results, v_jobs, v_attempts) then
    return jsonb_build_object('delivered', cardinality(v_jobs), 'failed', 0, 'stale', 0);
  end if;
  select array_agg(distinct l.business_unit_id) into v_units
    from (select j.business_unit_id from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (v_jobs) order by j.st_job_id for no key update) l;
  -- Judged is what nobody can claim meanwhile: else a row that is claimed at this very moment would be booked for who had it before.
  perform from outbox o where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs)
    order by o.st_job_id for no key update;

  with results as materialized (
    select * from jsonb_to_recordset(p_results) as r (attempt_id bigint, st_job_id bigint, fence bigint, outcome text, status integer,
      execution_id text, duration_ms integer, answer text, error text, retry_after double precision, flags jsonb, opportunity_id text, reason text, requests integer)
     -- Holds for all: few rows are looked up by key, of many each would be compared with all attempts of a young table.
     where r.attempt_id = any (v_attempts) and r.st_job_id = any (v_jobs)
  ), closed as (
    update attempts a set finished_at = v_now, outcome = coalesce(r.outcome, 'unknown'), status_code = r.status, execution_id = r.execution_id,
           requests = coalesce(r.requests, 1), duration_ms = r.duration_ms, answer = left(r.answer, 2048), error = left(r.error, 500)
      -- The lists once more: joined alone, a plan made while the table was empty reads all attempts each time.
      from results r where a.tenant_id = p_tenant and a.st_job_id = any (v_jobs) and a.id = any (v_attempts)
       and a.id = r.attempt_id and a.st_job_id = r.st_job_id and a.outcome is null
    returning a.id
  ), units as materialized (
    select u.st_business_unit_id, u.pipeline_name, u.ghl_pipeline_name, u.events, u.destination_kind, u.deliverer
      from unit_routes u where u.tenant_id = p_tenant and u.st_business_unit_id = any (v_units)
  ), judged as materialized (
    select x.*, x.verdict = 'synced' and (not x.newer or x.once) or x.verdict = 'failed' and (not x.newer or x.outcome = 'test_only')
             or x.verdict = 'skipped' and not x.newer or x.verdict = 'dropped' as done,
           -- It may have been executed, by this try or one before it; or the next try of this version goes free.
           x.outcome in ('ambiguous', 'settling') or 'ambiguous' = any (x.row_flags) or x.verdict = 'retry' and not x.newer as stays_counted
      from (
        select r.*, o.version <> a.version as newer, a.version as sent_version, o.sent_hash, o.counted_at, o.flags as row_flags,
               u.pipeline_name, u.ghl_pipeline_name, coalesce(u.events = 'created' and u.destination_kind = 'webhook', true) as once,
               j.delivered_hash is not null as delivered, case
            when r.outcome in ('accepted', 'accepted_without_id') then 'synced'
            -- Claimed again after a lease, and meanwhile the answer of the try before came: this version is told already.
            when 'ambiguous' = any (o.flags) and not o.forced and o.version = a.version and exists (
                   select from attempts t where t.tenant_id = p_tenant and t.st_job_id = r.st_job_id and t.version = a.version
                      and t.outcome like 'accepted%' and t.started_at >= o.planned_at) then 'synced'
            when r.outcome = 'test_only' then 'failed'
            when r.outcome = 'skipped' then 'skipped'
            -- While it was under way somebody marked the job, or the route went to somebody else: no further try of ours.
            when r.outcome in ('unauthorized', 'gone', 'unsent', 'rate_limited', 'settling', 'stopped', 'ambiguous', 'unavailable')
                 and (j.ghl_sync_status <> 'pending' or u.deliverer is distinct from 'jobsync') then 'dropped'
            when r.outcome in ('unauthorized', 'gone', 'unsent', 'rate_limited', 'settling', 'stopped') then 'later'
            when r.outcome in ('ambiguous', 'unavailable') and o.attempts < v_retry_window then 'retry'
            else 'failed' end as verdict
          from results r
          -- A result whose fence is stale, or whose attempt is closed already, changes nothing but its own attempt; unless
          -- it says that this version is told, and nobody is under way with it: then there is nothing left to send.
          join outbox o on o.tenant_id = p_tenant and o.st_job_id = r.st_job_id
          join attempts a on a.tenant_id = p_tenant and a.id = r.attempt_id and a.st_job_id = r.st_job_id and a.outcome is null
           and (o.fence = r.fence or r.outcome like 'accepted%' and o.version = a.version and o.lease_until is null and not o.forced
                and o.destination_id = p_destination)
          join jobs j on j.tenant_id = p_tenant and j.st_job_id = r.st_job_id
          left join units u on u.st_business_unit_id = j.business_unit_id) x
  ), gone as (
    delete from outbox o using judged g where o.tenant_id = p_tenant and o.st_job_id = g.st_job_id and g.done
    returning 1
  ), kept as (
    update outbox o set lease_until = null, waiting_for = null, rescues = 0, tried_at = case when g.outcome <> 'stopped' then o.tried_at end,
        attempts = case when g.verdict = 'later' then greatest(o.attempts - 1, 0) when g.verdict = 'retry' and not g.newer then o.attempts else 0 end,
        event = case when g.verdict = 'synced' then 'updated' else o.event end,
        forced = o.forced and g.verdict <> 'synced',
        counted_at = case when g.stays_counted and not g.newer then o.counted_at end,
        flags = case when g.verdict = 'synced' then '{}'
                     when g.outcome = 'ambiguous' and not 'ambiguous' = any (o.flags) then o.flags || '{ambiguous}'::text[] else o.flags end,
        -- What was given back unsent keeps its turn; whatever else waits a while.
        next_attempt_at = case
          when g.outcome = 'stopped' and not g.newer then o.next_attempt_at
          when g.verdict = 'later' then v_now + greatest(coalesce(g.retry_after, 0), 5) * (1 + random() * 0.1) * interval '1 second'
          when g.verdict = 'retry' then v_now + retry_delay(case when g.newer then 1 else o.attempts end)
          else v_now end
      from judged g
     where o.tenant_id = p_tenant and o.st_job_id = g.st_job_id and not g.done
    returning 1
  ), marked as (
    update jobs j set
        ghl_sync_status = case when not g.done then 'pending' when g.verdict = 'synced' then 'synced' when g.verdict = 'skipped' then 'skipped' else 'failed' end,
        ghl_sync_reason = case g.verdict
          when 'later' then case when g.outcome in ('settling', 'stopped') then g.outcome else 'destination_' || g.outcome end
          when 'skipped' then case when g.done then g.reason end
          when 'retry' then 'retrying'
          when 'failed' then case when not g.done then case when g.delivered then 'update' end
                                  when g.outcome in ('test_only', 'rejected') then g.outcome else 'attempts_used_up' end
          else case when not g.done then 'update' end end,
        ghl_sync_error = case when g.verdict <> 'synced' then left(coalesce(g.error, g.outcome), 500) end,
        ghl_synced_at = case when g.verdict = 'synced' then v_now else j.ghl_synced_at end,
        ghl_accepted_at = case when g.verdict = 'synced' then v_now else j.ghl_accepted_at end,
        delivered_hash = case when g.verdict = 'synced' then g.sent_hash else j.delivered_hash end,
        ghl_version = case when g.verdict in ('synced', 'failed', 'skipped') then g.sent_version else j.ghl_version end,
        ghl_opportunity_id = coalesce(g.opportunity_id, j.ghl_opportunity_id),
        ghl_pipeline = case when g.verdict = 'synced' then coalesce(g.pipeline_name, g.ghl_pipeline_name, j.ghl_pipeline) else j.ghl_pipeline end,
        ghl_sync_flags = case when g.verdict <> 'synced' then j.ghl_sync_flags
            -- Nearly always there is none, and nothing to sort.
            when g.row_flags = '{}' and coalesce(g.flags, '[]') = '[]' and g.outcome = 'accepted' then null
            else nullif(array(select distinct f from unnest(case when v_kind = 'api' then array_remove(g.row_flags, 'ambiguous') else g.row_flags end
            || array(select jsonb_array_elements_text(coalesce(g.flags, '[]')))
            || case when g.outcome = 'accepted_without_id' then '{no_execution_id}'::text[] else '{}' end) f order by f), '{}') end,
        updated_at = v_now
      from judged g where j.tenant_id = p_tenant and j.st_job_id = g.st_job_id and g.verdict <> 'dropped'
    returning 1
  )
  select jsonb_build_object('delivered', count(*) filter (where g.verdict = 'synced'), 'failed', count(*) filter (where g.verdict not in ('synced', 'skipped') and g.outcome <> 'stopped'),
           'stale', (select count(*) from results) - count(*)),
         (select jsonb_object_agg(b.counted_at, b.sends) from (
            select x.counted_at, count(*) as sends from judged x
             where x.verdict <> 'synced' and not x.stays_counted and x.counted_at is not null group by x.counted_at) b),
         count(*) filter (where g.outcome in ('unauthorized', 'gone', 'unsent')),
         count(*) filter (where g.verdict = 'synced'), coalesce(bool_or(g.outcome = 'test_only'), false),
         max(coalesce(g.retry_after, 10)) filter (where g.outcome = 'rate_limited'), array_agg(g.st_job_id) filter (where g.verdict = 'synced')
    into v_report, v_given_back, v_destination_faults, v_accepted, v_test_only, v_wait, v_told
    from judged g;

  if v_told is not null and v_kind = 'api' then
    perform tell_cards(p_tenant, v_told);
  end if;
  if v_given_back is not null then
    update send_counts c set sends = greatest(0, c.sends - b.value::integer),
           executions = case when exists (select from destinations d where d.tenant_id = p_tenant and d.id = p_destination and d.kind = 'webhook')
                             then greatest(0, c.executions - b.value::integer) else c.executions end
      from jsonb_each_text(v_given_back) b where c.tenant_id = p_tenant and c.hour = b.key::timestamptz;
    update tenants t set arm_remaining = t.arm_remaining + (select sum(b.value::integer) from jsonb_each_text(v_given_back) b)
     where t.tenant_id = p_tenant and t.arm_remaining is not null;
  end if;
  -- By API the sender slowed the location's bucket already, with the answer itself.
  if v_wait is not null and v_kind = 'webhook' then
    perform slow_budget(p_tenant, budget_key(v_kind, p_destination), v_wait);
  end if;
  if v_test_only then
    update destinations d set paused_at = v_now, probe_at = null, updated_at = v_now,
           pause_reason = 'GoHighLevel answered "test request received": the workflow''s trigger is not saved or not published.'
     where d.tenant_id = p_tenant and d.id = p_destination and (d.paused_at is null or d.probe_at is not null);
  elsif v_accepted > 0 and v_is_troubled then
    update destinations d set failures_in_row = 0, paused_at = null, pause_reason = null, probe_at = null, updated_at = v_now
     where d.tenant_id = p_tenant and d.id = p_destination and (d.failures_in_row > 0 or d.probe_at is not null);
  elsif v_destination_faults > 0 then
    update destinations d set failures_in_row = d.failures_in_row + v_destination_faults, updated_at = v_now,
           paused_at = case when d.failures_in_row + v_destination_faults >= v_patience then coalesce(d.paused_at, v_now) else d.paused_at end,
           probe_at = case when d.failures_in_row + v_destination_faults < v_patience or d.paused_at is not null and d.probe_at is null then d.probe_at
                           else v_now + interval '60 seconds' end,
           pause_reason = case when d.failures_in_row + v_destination_faults >= v_patience
             then coalesce(d.pause_reason, case v_kind when 'api' then 'GoHighLevel refuses what is sent (' else 'five refusals in a row (' end || (select string_agg(distinct r ->> 'outcome', ', ') from jsonb_array_elements(p_results) r) || '); tried again every minute') else d.pause_reason end
     where d.tenant_id = p_tenant and d.id = p_destination;
  end if;
  return v_report;
end
$$;
comment on function jobsync.finish_deliveries(text, uuid, jsonb) is
  'Books the results of a group of sends: job, outbox, attempt, caps, destination. A result with a stale fence only closes its attempt. Harmless when repeated.';

-- All tenants at once: an agency's brake, and the way on. As the owner of the tables.

create function jobsync.pause_all_tenants(p_reason text, p_actor text) returns integer
language sql volatile set search_path = jobsync, public as $$
  with stopped as (
    update tenants t set paused_at = jobsync.now(), pause_reason = p_reason, paused_with_all = true, updated_at = jobsync.now()
     where t.paused_at is null returning t.tenant_id
  ), written as (
    insert into audit (tenant_id, actor, action, subject, details)
    select s.tenant_id, p_actor, 'paused', 'tenant', jsonb_build_object('reason', p_reason, 'all', true) from stopped s
    returning 1
  )
  select count(*)::integer from written
$$;
comment on function jobsync.pause_all_tenants(text, text) is
  'Stops all sends of every tenant that is not paused yet; pulls go on. Answers how many. A tenant that was paused before keeps its own pause.';

create function jobsync.resume_all_tenants(p_actor text) returns integer
language sql volatile set search_path = jobsync, public as $$
  with freed as (
    update tenants t set paused_at = null, pause_reason = null, paused_with_all = false, updated_at = jobsync.now()
     where t.paused_with_all returning t.tenant_id
  ), written as (
    insert into audit (tenant_id, actor, action, subject, details)
    select f.tenant_id, p_actor, 'resumed', 'tenant', '{"all": true}' from freed f
    returning 1
  )
  select count(*)::integer from written
$$;
comment on function jobsync.resume_all_tenants(text) is
  'Ends what pause_all_tenants began: tenants that were paused one by one, and paused destinations, stay paused. Answers how many.';

-- Whether anything is sent at all: mode, arm, pause; the runs of deliveries; replay.

create function jobsync.mode_rank(p_mode text) returns integer language sql immutable parallel safe as $$
  select case p_mode when 'observe' then 0 when 'shadow' then 1 when 'live' then 2 end
$$;
comment on function jobsync.mode_rank(text) is 'observe < shadow < live.';

create function jobsync.set_mode(p_tenant text, p_mode text, p_reason text, p_actor text) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  update tenants t set mode = p_mode, mode_set_at = jobsync.now(), mode_reason = p_reason, updated_at = jobsync.now() where t.tenant_id = p_tenant;
  perform write_audit(p_tenant, p_actor, 'mode_set', 'tenant', jsonb_build_object('mode', p_mode, 'reason', p_reason));
end
$$;
comment on function jobsync.set_mode(text, text, text, text) is 'Sets the mode and says so in the audit.';

-- The environment may give the first mode and deliver_from; afterwards it only lowers the mode. Only arm raises it.
create function jobsync.initialise_tenant(p_tenant text, p_mode text, p_deliver_from timestamptz, p_poll_seconds integer, p_cap_hour integer, p_cap_day integer)
returns jobsync.tenants language plpgsql set search_path = jobsync, public as $$
declare
  v_tenant jobsync.tenants;
begin
  select * into v_tenant from tenants t where t.tenant_id = p_tenant for no key update;
  if v_tenant.tenant_id is null then
    raise exception 'tenant % is not known', p_tenant using errcode = 'JS004';
  end if;
  if p_mode is not null and v_tenant.mode_set_at is null then
    perform set_mode(p_tenant, p_mode, 'first value', 'environment');
  elsif mode_rank(p_mode) < mode_rank(v_tenant.mode) then
    perform set_mode(p_tenant, p_mode, 'lowered by JOBSYNC_MODE', 'environment');
  end if;
  update tenants t set
      deliver_from = case when t.deliver_from is not null then t.deliver_from when p_deliver_from is not null then p_deliver_from
                          when t.mode = 'live' then jobsync.now() end,
      poll_seconds = coalesce(p_poll_seconds, t.poll_seconds), cap_hour = coalesce(p_cap_hour, t.cap_hour), cap_day = coalesce(p_cap_day, t.cap_day)
   where t.tenant_id = p_tenant
     and (t.deliver_from is null and (p_deliver_from is not null or t.mode = 'live')
          or t.poll_seconds is distinct from coalesce(p_poll_seconds, t.poll_seconds)
          or t.cap_hour is distinct from coalesce(p_cap_hour, t.cap_hour) or t.cap_day is distinct from coalesce(p_cap_day, t.cap_day));
  if found then
    perform plan_older_jobs(p_tenant);
  end if;
  select * into v_tenant from tenants t where t.tenant_id = p_tenant;
  return v_tenant;
end
$$;
comment on function jobsync.initialise_tenant(text, text, timestamptz, integer, integer, integer) is
  'Applies what the environment says about a tenant: first mode and deliver_from, later only a lower mode; poll and caps. Idempotent.';

create function jobsync.plan_older_jobs(p_tenant text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  select array_agg(j.st_job_id) into v_jobs
    from outbox o join jobs j on j.tenant_id = o.tenant_id and j.st_job_id = o.st_job_id
    join tenants t on t.tenant_id = o.tenant_id
   where o.tenant_id = p_tenant and j.created_on < t.deliver_from and j.delivered_hash is null;
  if v_jobs is null then
    return 0;
  end if;
  perform plan_jobs(p_tenant, lock_jobs(p_tenant, v_jobs), null);
  return cardinality(v_jobs);
end
$$;
comment on function jobsync.plan_older_jobs(text) is 'After deliver_from is set: planned jobs created before it become skipped (before_start). Answers how many.';

create function jobsync.count_planned(p_tenant text) returns jsonb language sql stable set search_path = jobsync, public as $$
  select jsonb_build_object('planned', coalesce(sum(o.rows), 0), 'create', coalesce(sum(o.rows) filter (where o.class = 'created'), 0),
      'update', coalesce(sum(o.rows) filter (where o.class = 'updated'), 0), 'replay', coalesce(sum(o.rows) filter (where o.class = 'replayed'), 0),
      'waiting', coalesce(sum(o.rows) filter (where o.reason is not null), 0), 'webhook_executions', coalesce(sum(o.rows) filter (where d.kind = 'webhook'), 0))
    from v_tallies o join destinations d on d.tenant_id = o.tenant_id and d.id = o.destination_id
   where o.tenant_id = p_tenant and o.topic = 'outbox'
$$;
comment on function jobsync.count_planned(text) is 'What the outbox holds: creates, updates, paid executions.';

create function jobsync.arm_tenant(p_tenant text, p_limit integer, p_since timestamptz, p_cap_hour integer, p_cap_day integer, p_actor text)
returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_refused jsonb;
begin
  update routes r set armed = c.reason is null, armed_reason = c.reason, updated_at = jobsync.now()
    from (select x.st_business_unit_id, contested_reason(p_tenant, x.st_business_unit_id) as reason
            from routes x where x.tenant_id = p_tenant and x.deliverer = 'jobsync') c
   where r.tenant_id = p_tenant and r.st_business_unit_id = c.st_business_unit_id
     and (r.armed, r.armed_reason) is distinct from (c.reason is null, c.reason);
  update tenants t set arm_remaining = p_limit, deliver_from = coalesce(p_since, t.deliver_from, jobsync.now()),
         cap_hour = coalesce(p_cap_hour, t.cap_hour), cap_day = coalesce(p_cap_day, t.cap_day), updated_at = jobsync.now()
   where t.tenant_id = p_tenant;
  perform set_mode(p_tenant, 'live', case when p_limit is null then 'armed' else 'armed for ' || p_limit end, p_actor);
  perform plan_older_jobs(p_tenant);
  if p_since is not null then
    perform plan_skipped_since(p_tenant, p_since);
  end if;
  select coalesce(jsonb_agg(jsonb_build_object('st_business_unit_id', u.st_business_unit_id, 'name', u.name, 'reason', u.armed_reason)), '[]') into v_refused
    from unit_routes u where u.tenant_id = p_tenant and u.deliverer = 'jobsync' and not u.armed;
  return count_planned(p_tenant) || jsonb_build_object('mode', 'live', 'limit', p_limit, 'refused', v_refused,
    'deliver_from', (select t.deliver_from from tenants t where t.tenant_id = p_tenant));
end
$$;
comment on function jobsync.arm_tenant(text, integer, timestamptz, integer, integer, text) is
  'Goes live, at most p_limit sends (null: no limit); routes that the old flow still serves stay unarmed and are listed.';

create function jobsync.set_limits(p_tenant text, p_cap_hour integer, p_cap_day integer, p_execution_price numeric, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_old tenants;
  v_new tenants;
begin
  select * into v_old from tenants t where t.tenant_id = p_tenant for no key update;
  update tenants t set cap_hour = coalesce(p_cap_hour, t.cap_hour), cap_day = coalesce(p_cap_day, t.cap_day),
         execution_price = coalesce(p_execution_price, t.execution_price), updated_at = jobsync.now()
   where t.tenant_id = p_tenant returning * into v_new;
  if (v_old.cap_hour, v_old.cap_day, v_old.execution_price) is distinct from (v_new.cap_hour, v_new.cap_day, v_new.execution_price) then
    perform write_audit(p_tenant, p_actor, 'limits_set', 'tenant', jsonb_build_object('cap_hour', v_new.cap_hour, 'cap_day', v_new.cap_day,
      'execution_price', v_new.execution_price));
  end if;
  return jsonb_build_object('cap_hour', v_new.cap_hour, 'cap_day', v_new.cap_day, 'execution_price', v_new.execution_price);
end
$$;
comment on function jobsync.set_limits(text, integer, integer, numeric, text) is
  'Sets the caps an hour and a day (0: none) and the price of one paid execution; null leaves what stands. Answers all three.';

create function jobsync.plan_skipped_since(p_tenant text, p_since timestamptz) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  select array_agg(j.st_job_id) into v_jobs from jobs j
   where j.tenant_id = p_tenant and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason in ('before_start', 'backfilled') and j.created_on >= p_since;
  if v_jobs is null then
    return 0;
  end if;
  v_jobs := lock_jobs(p_tenant, v_jobs);
  update jobs j set ghl_sync_reason = 'before_start' where j.tenant_id = p_tenant and j.st_job_id = any (v_jobs) and j.ghl_sync_reason = 'backfilled';
  perform want_parents(p_tenant, v_jobs);
  return plan_jobs(p_tenant, v_jobs, null);
end
$$;
comment on function jobsync.plan_skipped_since(text, timestamptz) is 'Plans jobs that were skipped as older, created since the given time. Answers how many were added.';

create function jobsync.disarm_tenant(p_tenant text, p_reason text, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
begin
  perform set_mode(p_tenant, 'observe', coalesce(p_reason, 'disarmed'), p_actor);
  return count_planned(p_tenant) || '{"mode": "observe"}';
end
$$;
comment on function jobsync.disarm_tenant(text, text, text) is 'Back to observe: nothing more is sent, everything stays planned.';

create function jobsync.pause_tenant(p_tenant text, p_reason text, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
begin
  update tenants t set paused_at = coalesce(t.paused_at, jobsync.now()), pause_reason = coalesce(p_reason, t.pause_reason), paused_with_all = false, updated_at = jobsync.now()
   where t.tenant_id = p_tenant;
  perform write_audit(p_tenant, p_actor, 'paused', 'tenant', jsonb_build_object('reason', p_reason));
  return count_planned(p_tenant) || '{"paused": true}';
end
$$;
comment on function jobsync.pause_tenant(text, text, text) is 'Stops all sends of the tenant within a second; pulls go on. Nothing is dropped.';

create function jobsync.resume_tenant(p_tenant text, p_destination uuid, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
begin
  if p_destination is null then
    update tenants t set paused_at = null, pause_reason = null, paused_with_all = false, updated_at = jobsync.now() where t.tenant_id = p_tenant;
  end if;
  update destinations d set paused_at = null, pause_reason = null, probe_at = null, failures_in_row = 0, updated_at = jobsync.now()
   where d.tenant_id = p_tenant and d.paused_at is not null and (p_destination is null or d.id = p_destination);
  perform write_audit(p_tenant, p_actor, 'resumed', coalesce('destination:' || p_destination, 'tenant'), '{}');
  return count_planned(p_tenant) || '{"paused": false}';
end
$$;
comment on function jobsync.resume_tenant(text, uuid, text) is 'Ends a pause of the tenant and of its destinations (or of one destination).';

-- Sweep of all tenants: run by the schedule as the owner, answers ids only.
create function jobsync.list_due_destinations() returns table (tenant_id text, destination_id uuid)
language sql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off
set enable_sort = off set enable_incremental_sort = off set enable_bitmapscan = off as $$
  -- limit 1 and offset 0: the first due row of each destination is enough, and the time is asked for once. In the order of
  -- the index alone: of a young table all that wait would be gathered and sorted for the sake of one.
  select d.tenant_id, d.id from (select jobsync.now() as at offset 0) n
    cross join destinations d
    join tenants t on t.tenant_id = d.tenant_id and t.mode = 'live' and t.paused_at is null and t.mode_reason is distinct from 'smoke'
    cross join lateral (
      select 1 from outbox o cross join lateral armed_job(o.tenant_id, o.st_job_id) j
       where o.destination_id = d.id and o.tenant_id = d.tenant_id and o.next_attempt_at <= n.at
         and (o.lease_until is null or o.lease_until <= n.at)
         -- The last of a limited arm may still be tried again.
         and (coalesce(t.arm_remaining, 1) > 0 or o.counted_at is not null)
       order by o.next_attempt_at, o.st_job_id limit 1) due
   where (d.paused_at is null or d.probe_at <= n.at)
     and exists (select from routes r where r.tenant_id = d.tenant_id and r.destination_id = d.id and r.armed and r.deliverer = 'jobsync')
$$;
comment on function jobsync.list_due_destinations() is 'Destinations with something due that may be sent now.';

create function jobsync.open_delivery_run(p_tenant text) returns uuid
language plpgsql set search_path = jobsync, public as $$
declare
  v_id uuid;
begin
  -- One run while drains have work: concurrent drains share the row. The tenant row serialises the look and the insert.
  perform from tenants t where t.tenant_id = p_tenant for no key update;
  select l.id into v_id from sync_logs l where l.tenant_id = p_tenant and l.sync_type = 'ghl_delivery' and l.status = 'running' limit 1;
  if v_id is null then
    insert into sync_logs (tenant_id, sync_type, entity_type, status) values (p_tenant, 'ghl_delivery', 'job', 'running') returning id into v_id;
  end if;
  return v_id;
end
$$;
comment on function jobsync.open_delivery_run(text) is 'The running ghl_delivery row of the tenant, opened if there is none.';

create function jobsync.report_delivery_run(p_tenant text, p_run uuid, p_delivered integer, p_failed integer, p_error text, p_final boolean) returns boolean
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_more boolean := false;
begin
  if p_final then
    v_more := exists (select from outbox o where o.tenant_id = p_tenant and o.lease_until > v_now)
           or exists (select from list_due_destinations() d where d.tenant_id = p_tenant);
  end if;
  update sync_logs l set
      records_processed = l.records_processed + p_delivered + p_failed, records_succeeded = l.records_succeeded + p_delivered,
      records_failed = l.records_failed + p_failed, error_message = coalesce(l.error_message, left(p_error, 1000)),
      status = case when not p_final or v_more then 'running' when l.records_failed + p_failed > 0 and l.records_succeeded + p_delivered = 0 then 'failed' else 'completed' end,
      completed_at = case when p_final and not v_more then v_now end,
      duration_ms = case when p_final and not v_more then least(2147483647, extract(epoch from v_now - l.started_at) * 1000)::int end
   where l.tenant_id = p_tenant and l.id = p_run and l.status = 'running';
  perform fold_tallies(p_tenant);
  return p_final and not v_more;
end
$$;
comment on function jobsync.report_delivery_run(text, uuid, integer, integer, text, boolean) is
  'Adds counts to a delivery run; p_final closes it unless another drain still has work. True when it closed.';

create function jobsync.close_delivery_runs(p_tenant text) returns integer
language sql volatile set search_path = jobsync, public as $$
  with closed as (
    update sync_logs l set status = case when l.records_failed > 0 and l.records_succeeded = 0 then 'failed' else 'completed' end,
           completed_at = jobsync.now(), duration_ms = least(2147483647, extract(epoch from jobsync.now() - l.started_at) * 1000)::int
     where l.tenant_id = p_tenant and l.sync_type = 'ghl_delivery' and l.status = 'running'
       and not exists (select from outbox o where o.tenant_id = p_tenant and o.lease_until > jobsync.now())
    returning 1)
  select count(*)::integer from closed
$$;
comment on function jobsync.close_delivery_runs(text) is
  'Closes the running ghl_delivery row after a pass that sends each due row once: what became due again since is for a later run.';

create function jobsync.replay_jobs(p_tenant text, p_jobs bigint[], p_force boolean, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_replayed bigint[];
begin
  -- Locks in the order of everybody: destinations, jobs, outbox.
  update destinations d set paused_at = null, pause_reason = null, failures_in_row = 0, updated_at = jobsync.now()
   where d.tenant_id = p_tenant and d.paused_at is not null and d.probe_at is null
     and d.id in (select r.destination_id from jobs j
                    join routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
                   where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and (p_force or j.ghl_sync_status in ('failed', 'pending')));
  perform lock_jobs(p_tenant, p_jobs);
  with chosen as (
    select j.st_job_id, j.st_customer_id, r.destination_id, j.ghl_version, j.ghl_sync_status
      from jobs j
      join routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
      join business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
     where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and u.sync_enabled is distinct from false and u.sync_to_ghl is distinct from false
       and (p_force or j.ghl_sync_status in ('failed', 'pending'))
  ), queued as (
    insert into outbox as o (tenant_id, st_job_id, st_customer_id, destination_id, version, event, next_attempt_at, forced)
    select p_tenant, c.st_job_id, c.st_customer_id, c.destination_id,
           case when c.ghl_sync_status = 'synced' then c.ghl_version + 1 else greatest(c.ghl_version, 1) end, 'replayed', jobsync.now(), true
      from chosen c order by c.st_job_id
    on conflict (tenant_id, st_job_id) do update set next_attempt_at = jobsync.now(), attempts = 0, rescues = 0, forced = true, waiting_for = null,
        destination_id = excluded.destination_id
      where o.lease_until is null or o.lease_until <= jobsync.now()
    returning o.st_job_id
  ), marked as (
    update jobs j set ghl_sync_status = 'pending', ghl_sync_reason = 'replay', updated_at = jobsync.now()
      from queued q where j.tenant_id = p_tenant and j.st_job_id = q.st_job_id
    returning j.st_job_id
  )
  select array_agg(m.st_job_id order by m.st_job_id) into v_replayed from marked m;
  perform write_audit(p_tenant, p_actor, 'replayed', 'job:' || s.id, jsonb_build_object('force', p_force)) from unnest(v_replayed) s(id);
  return jsonb_build_object('replayed', coalesce(to_jsonb(v_replayed), '[]'), 'asked', cardinality(p_jobs));
end
$$;
comment on function jobsync.replay_jobs(text, bigint[], boolean, text) is
  'Makes failed or waiting jobs due again (p_force: delivered ones too). What is in flight is left alone. A hook paused as test-only is tried again.';

-- Links: which contact is a customer's and which card is a job's in GoHighLevel. Stored once, by API deliveries.
--
--   an intent is committed before a create leaves and goes when its outcome is known; one that stands means "it may have been
--   done": who finds it looks, waits until it has settled, looks again, and only then creates (reliability P2)
--   a link is what GoHighLevel itself answered or showed: never made up
--   a contact belongs to one customer; two that share one wait in contact_reviews for a person (reliability P18)

create table jobsync.contact_links (
  tenant_id text not null references jobsync.tenants on delete cascade,
  destination_id uuid not null,
  st_customer_id bigint not null,
  contact_id text not null,
  found_by text not null constraint contact_was_found check (found_by in ('created', 'search', 'duplicate', 'outside', 'merged')),
  shared boolean not null default false,
  told_hash bytea,
  told_job bigint,
  told_tags text[] not null default '{}',
  dropped text[] not null default '{}',
  linked_at timestamptz not null default jobsync.now(),
  told_at timestamptz,
  primary key (tenant_id, destination_id, st_customer_id)
);
create unique index contact_links_one_customer on jobsync.contact_links (tenant_id, destination_id, contact_id) where not shared;
comment on table jobsync.contact_links is 'The GoHighLevel contact of each customer, by location. A contact is one customer''s unless a person decided otherwise (shared).';
comment on column jobsync.contact_links.told_hash is 'contact_hash of what the contact was last told; null: only linked.';
comment on column jobsync.contact_links.told_job is 'The job whose facts were told: the customer''s first. Its other jobs, at other locations, do not turn the contact to and fro.';
comment on column jobsync.contact_links.dropped is 'Fields that GoHighLevel took without a word and did not keep, or that belong to another contact.';

create table jobsync.opportunity_links (
  tenant_id text not null references jobsync.tenants on delete cascade,
  destination_id uuid not null,
  st_job_id bigint not null,
  opportunity_id text not null,
  contact_id text,
  found_by text not null constraint card_was_found check (found_by in ('created', 'search', 'duplicate', 'outside')),
  told_hash bytea,
  pipeline_id text,
  stage_id text,
  status text,
  dropped text[] not null default '{}',
  note_wanted boolean not null default false,
  noted_at timestamptz,
  gone_at timestamptz,
  linked_at timestamptz not null default jobsync.now(),
  told_at timestamptz,
  primary key (tenant_id, destination_id, st_job_id)
);
-- Holds for all; see attempts_by_time.
create unique index opportunity_links_one_job on jobsync.opportunity_links (tenant_id, destination_id, opportunity_id) where opportunity_id is not null;
comment on table jobsync.opportunity_links is 'The GoHighLevel opportunity (card) of each job, by location.';
comment on column jobsync.opportunity_links.told_hash is 'Hash of the body that the card was last told; null: only linked.';
comment on column jobsync.opportunity_links.stage_id is 'Where JobSync last put the card, with pipeline_id and status; a card that stands elsewhere was moved by a person.';
comment on column jobsync.opportunity_links.gone_at is 'When GoHighLevel said that the card does not exist any more; it is made again only when a person asks.';

create table jobsync.intents (
  tenant_id text not null references jobsync.tenants on delete cascade,
  destination_id uuid not null,
  kind text not null constraint intent_kind_is_known check (kind in ('contact', 'opportunity')),
  st_id bigint not null,
  st_job_id bigint not null,
  fence bigint not null,
  contact_id text,
  started_at timestamptz not null default jobsync.now(),
  refused text,
  primary key (tenant_id, destination_id, kind, st_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table jobsync.intents is 'Creates that may be under way or done: written before the request, removed when its outcome is known. st_id: customer or job.';
comment on column jobsync.intents.refused is 'What GoHighLevel said when it refused; it is known to create and refuse all the same, so it is looked for.';

create table jobsync.contact_reviews (
  tenant_id text not null references jobsync.tenants on delete cascade,
  destination_id uuid not null,
  st_customer_id bigint not null,
  contact_id text not null,
  reason text not null constraint review_reason_is_known check (reason in ('shared', 'split')),
  other_customer_id bigint,
  other_contact_id text,
  st_job_id bigint not null,
  opened_at timestamptz not null default jobsync.now(),
  decision text constraint decision_is_known check (decision in ('share', 'skip')),
  decided_by text,
  decided_at timestamptz,
  primary key (tenant_id, destination_id, st_customer_id, contact_id)
);
comment on table jobsync.contact_reviews is 'Contacts that a person has to look at. shared: the contact found for a customer is another customer''s, its jobs wait. split: phone and email belong to two contacts, one of them was left out.';

create table jobsync.contact_changes (
  tenant_id text not null references jobsync.tenants on delete cascade,
  st_customer_id bigint not null,
  changed_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, st_customer_id)
);
comment on table jobsync.contact_changes is 'Customers of API routes whose facts changed and are not planned yet; emptied by plan_contact_changes.';

create table jobsync.location_facts (
  tenant_id text not null references jobsync.tenants on delete cascade,
  destination_id uuid not null,
  fields jsonb not null default '{}',
  allow_duplicate_opportunity boolean,
  read_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, destination_id)
);
comment on table jobsync.location_facts is 'What a sender must know of a location: custom field ids by key, and whether a contact may have several opportunities (null: not told). Read anew daily.';

create function jobsync.contact_hash(p_row jsonb) returns bytea language sql stable parallel safe as $$
  select pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.jsonb_build_array(p_row -> 'first_name', p_row -> 'last_name', p_row -> 'company_name', p_row -> 'phone',
    p_row -> 'email', p_row -> 'street', p_row -> 'city', p_row -> 'state', p_row -> 'postal_code', p_row -> 'country', p_row -> 'do_not_text')::text, 'UTF8'))
$$;
comment on function jobsync.contact_hash(jsonb) is 'Hash over the facts of a contact that GoHighLevel is told, of a row of jobsync.projections.';

create function jobsync.read_cards(p_tenant text, p_destination uuid, p_jobs bigint[], p_settle double precision)
returns table (st_job_id bigint, customer_id bigint, forced boolean, contact_hash bytea, contact_id text, linked_customer_id bigint, contact_due boolean, told_tags text[], outside_contact_id text,
               share_contact_id text, contact_settles double precision, contact_refused text,
               opportunity_id text, opportunity_gone boolean, told_hash bytea, told_pipeline text, told_stage text, told_status text, note_due boolean,
               outside_opportunity_id text, card_settles double precision, card_refused text,
               pipeline_id text, stage_id text, status text, value numeric, tags text[], custom_fields jsonb, delivered_outside boolean)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  v_now timestamptz := jobsync.now();
  -- A restored database does not know what was created after its backup: until a search would show it, all is as if its
  -- create was under way.
  v_unsettled double precision := (select extract(epoch from t.restored_at + make_interval(secs => p_settle) - v_now)
                                     from tenants t where t.tenant_id = p_tenant and t.restored_at > v_now - make_interval(secs => p_settle));
begin
  return query
    with wanted as materialized (select * from plan_opportunities(p_tenant, p_jobs))
    select j.st_job_id, k.customer_id, coalesce(o.forced, false), h.hash, l.contact_id, l.st_customer_id,
           l.contact_id is not null and not l.shared and coalesce(l.told_job = j.st_job_id, true) and (coalesce(o.forced, false) or l.told_hash is distinct from h.hash),
           coalesce(l.told_tags, '{}'), real_ghl_id(c.ghl_contact_id),
           (select r.contact_id from contact_reviews r where r.tenant_id = p_tenant and r.destination_id = p_destination and r.st_customer_id = k.customer_id
               and r.decision = 'share' limit 1),
           greatest(case when ci.st_id is not null then greatest(0, extract(epoch from ci.started_at + make_interval(secs => p_settle) - v_now))::double precision end, v_unsettled), ci.refused,
           case when q.gone_at is null then q.opportunity_id end, q.gone_at is not null, q.told_hash, q.pipeline_id, q.stage_id, q.status,
           coalesce(q.note_wanted and q.noted_at is null, false), case when q.opportunity_id is null then real_ghl_id(j.ghl_opportunity_id) end,
           greatest(case when oi.st_id is not null then greatest(0, extract(epoch from oi.started_at + make_interval(secs => p_settle) - v_now))::double precision end, v_unsettled), oi.refused,
           w.pipeline_id, w.stage_id, w.status, w.value, coalesce(w.tags, '{}'), coalesce(w.custom_fields, '{}'),
           coalesce(o.event = 'updated' and j.delivered_hash is not null and j.ghl_accepted_at is null, false)
      from unnest(p_jobs) i(id)
      cross join lateral (select x.* from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = i.id offset 0) j
      cross join lateral (select resolve_customer(p_tenant, j.st_customer_id) as customer_id offset 0) k
      left join lateral (select x.* from public.customers x where x.tenant_id = p_tenant and x.st_customer_id = k.customer_id offset 0) c on true
      cross join lateral (select contact_hash(to_jsonb(x)) as hash from projections x where x.tenant_id = p_tenant and x.st_job_id = j.st_job_id offset 0) h
      left join lateral (select x.* from outbox x where x.tenant_id = p_tenant and x.st_job_id = j.st_job_id offset 0) o on true
      -- After a merge the survivor goes on with the contact of the customer that the job still names, if it has none of its own.
      left join lateral (select x.* from contact_links x where x.tenant_id = p_tenant and x.destination_id = p_destination
                            and x.st_customer_id in (k.customer_id, j.st_customer_id) order by x.st_customer_id = k.customer_id desc limit 1) l on true
      left join lateral (select x.* from opportunity_links x where x.tenant_id = p_tenant and x.destination_id = p_destination and x.st_job_id = j.st_job_id offset 0) q on true
      left join lateral (select x.* from intents x where x.tenant_id = p_tenant and x.destination_id = p_destination and x.kind = 'contact' and x.st_id = k.customer_id offset 0) ci on true
      left join lateral (select x.* from intents x where x.tenant_id = p_tenant and x.destination_id = p_destination and x.kind = 'opportunity' and x.st_id = j.st_job_id offset 0) oi on true
      left join wanted w on w.st_job_id = j.st_job_id;
end
$$;
comment on function jobsync.read_cards(text, uuid, bigint[], double precision) is
  'What a sender must know about these jobs: links, what was told, open creates with the seconds until they have settled (p_settle after they began, or after a restore), and what the card should be.';

create function jobsync.open_intent(
  p_tenant text, p_destination uuid, p_kind text, p_id bigint, p_job bigint, p_fence bigint, p_contact text, p_settle double precision
) returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_intent intents;
begin
  perform from outbox o where o.tenant_id = p_tenant and o.st_job_id = p_job and o.fence = p_fence and o.lease_until > v_now for share;
  if not found then
    return '{"state": "stale"}';
  end if;
  insert into intents as i (tenant_id, destination_id, kind, st_id, st_job_id, fence, contact_id, started_at)
  values (p_tenant, p_destination, p_kind, p_id, p_job, p_fence, p_contact, v_now)
  on conflict (tenant_id, destination_id, kind, st_id) do update
    set st_job_id = excluded.st_job_id, fence = excluded.fence, contact_id = excluded.contact_id, started_at = excluded.started_at, refused = null
    where i.started_at <= v_now - make_interval(secs => p_settle)
  returning * into v_intent;
  if v_intent.st_id is not null then
    return '{"state": "open"}';
  end if;
  select * into v_intent from intents i where i.tenant_id = p_tenant and i.destination_id = p_destination and i.kind = p_kind and i.st_id = p_id;
  return jsonb_build_object('state', 'settling',
    'wait', greatest(1, extract(epoch from coalesce(v_intent.started_at, v_now) + make_interval(secs => p_settle) - v_now)));
end
$$;
comment on function jobsync.open_intent(text, uuid, text, bigint, bigint, bigint, text, double precision) is
  'Before a create: open (it may leave), settling (another create may still show up: wait), or stale (the claim is somebody else''s by now: do nothing).';

create function jobsync.note_intent(p_tenant text, p_destination uuid, p_kind text, p_id bigint, p_refused text) returns void
language sql volatile set search_path = jobsync, public as $$
  update intents i set started_at = greatest(i.started_at, jobsync.now()), refused = left(p_refused, 500)
   where i.tenant_id = p_tenant and i.destination_id = p_destination and i.kind = p_kind and i.st_id = p_id
$$;
comment on function jobsync.note_intent(text, uuid, text, bigint, text) is
  'After an answer that leaves open whether it was done: it settles from now on. p_refused: what was said when it was refused.';

create function jobsync.close_intent(p_tenant text, p_destination uuid, p_kind text, p_id bigint) returns void
language sql volatile set search_path = jobsync, public as $$
  delete from intents i where i.tenant_id = p_tenant and i.destination_id = p_destination and i.kind = p_kind and i.st_id = p_id
$$;
comment on function jobsync.close_intent(text, uuid, text, bigint) is 'The create is known not to have been done, or what it made was found.';

create function jobsync.link_contact(
  p_tenant text, p_destination uuid, p_customer bigint, p_contact text, p_found_by text, p_share boolean, p_job bigint, p_hash bytea, p_tags text[], p_dropped text[]
) returns bigint language plpgsql set search_path = jobsync, public as $$
declare
  v_other bigint;
begin
  select l.st_customer_id into v_other from contact_links l
   where l.tenant_id = p_tenant and l.destination_id = p_destination and l.contact_id = p_contact and l.st_customer_id <> p_customer and not l.shared
     for update;
  if v_other is not null and resolve_customer(p_tenant, v_other) = p_customer then
    delete from contact_links l where l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_customer_id = v_other;
  elsif v_other is not null and not p_share then
    return v_other;
  end if;
  insert into contact_links as l (tenant_id, destination_id, st_customer_id, contact_id, found_by, shared, told_hash, told_job, told_tags, dropped, told_at)
  values (p_tenant, p_destination, p_customer, p_contact, p_found_by, p_share, p_hash, case when p_hash is not null then p_job end, coalesce(p_tags, '{}'),
          coalesce(p_dropped, '{}'), case when p_hash is not null then jobsync.now() end)
  on conflict (tenant_id, destination_id, st_customer_id) do update set contact_id = excluded.contact_id, found_by = excluded.found_by, shared = excluded.shared,
    told_hash = excluded.told_hash, told_job = excluded.told_job, told_tags = excluded.told_tags, dropped = excluded.dropped, linked_at = jobsync.now(), told_at = excluded.told_at;
  perform close_intent(p_tenant, p_destination, 'contact', p_customer);
  update customers c set ghl_contact_id = p_contact, ghl_sync_status = 'synced', ghl_sync_error = null, ghl_synced_at = jobsync.now(),
         contact_hash = coalesce(p_hash, c.contact_hash), updated_at = jobsync.now()
   where c.tenant_id = p_tenant and c.st_customer_id = p_customer;
  return null;
exception when unique_violation then
  -- Two workers, one contact: the other was first.
  return (select l.st_customer_id from contact_links l where l.tenant_id = p_tenant and l.destination_id = p_destination and l.contact_id = p_contact and not l.shared);
end
$$;
comment on function jobsync.link_contact(text, uuid, bigint, text, text, boolean, bigint, bytea, text[], text[]) is
  'Links a customer with a contact that GoHighLevel showed or made, and closes the intent. Answers null, or the other customer whose contact it is: then nothing is written. p_hash: what it was told; null: nothing yet.';

create function jobsync.tell_contact(p_tenant text, p_destination uuid, p_customer bigint, p_job bigint, p_hash bytea, p_tags text[], p_dropped text[]) returns void
language sql volatile set search_path = jobsync, public as $$
  update contact_links l set told_hash = coalesce(p_hash, l.told_hash), told_job = case when p_hash is null then l.told_job else p_job end,
         told_tags = coalesce(p_tags, l.told_tags), dropped = coalesce(p_dropped, l.dropped), told_at = case when p_hash is null then l.told_at else jobsync.now() end
   where l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_customer_id = p_customer;
  update customers c set contact_hash = p_hash, ghl_synced_at = jobsync.now(), updated_at = jobsync.now()
   where p_hash is not null and c.tenant_id = p_tenant and c.st_customer_id = p_customer
$$;
comment on function jobsync.tell_contact(text, uuid, bigint, bigint, bytea, text[], text[]) is 'Notes what a contact was told (null parameters: unchanged).';

create function jobsync.lose_contact(p_tenant text, p_destination uuid, p_customer bigint, p_contact text) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  delete from contact_links l
   where l.tenant_id = p_tenant and l.destination_id = p_destination and l.contact_id = p_contact and (l.st_customer_id = p_customer or resolve_customer(p_tenant, l.st_customer_id) = p_customer);
  update customers c set ghl_contact_id = null, contact_hash = null, updated_at = jobsync.now()
   where c.tenant_id = p_tenant and c.st_customer_id = p_customer and c.ghl_contact_id = p_contact;
  perform write_audit(p_tenant, 'jobsync', 'contact_gone', 'customer:' || p_customer, jsonb_build_object('contact_id', p_contact));
end
$$;
comment on function jobsync.lose_contact(text, uuid, bigint, text) is 'GoHighLevel says the contact does not exist any more (deleted, or merged by hand): the link goes, the next look finds or makes another.';

create function jobsync.link_opportunity(
  p_tenant text, p_destination uuid, p_job bigint, p_opportunity text, p_contact text, p_found_by text, p_hash bytea, p_pipeline text, p_stage text, p_status text, p_dropped text[]
) returns boolean language plpgsql set search_path = jobsync, public as $$
begin
  update jobs j set ghl_opportunity_id = p_opportunity, updated_at = jobsync.now()
   where j.tenant_id = p_tenant and j.st_job_id = p_job and j.ghl_opportunity_id is distinct from p_opportunity;
  insert into opportunity_links as l (tenant_id, destination_id, st_job_id, opportunity_id, contact_id, found_by, told_hash, pipeline_id, stage_id, status, dropped,
    note_wanted, told_at)
  values (p_tenant, p_destination, p_job, p_opportunity, p_contact, p_found_by, p_hash, p_pipeline, p_stage, p_status, coalesce(p_dropped, '{}'), p_found_by = 'created',
          case when p_hash is not null then jobsync.now() end)
  on conflict (tenant_id, destination_id, st_job_id) do update set opportunity_id = excluded.opportunity_id, contact_id = excluded.contact_id,
    found_by = excluded.found_by, told_hash = excluded.told_hash, pipeline_id = excluded.pipeline_id, stage_id = excluded.stage_id, status = excluded.status,
    dropped = excluded.dropped, note_wanted = excluded.note_wanted, noted_at = null, gone_at = null, linked_at = jobsync.now(), told_at = excluded.told_at;
  perform close_intent(p_tenant, p_destination, 'opportunity', p_job);
  return true;
exception when unique_violation then
  -- The card is another job's. What was written above is undone with it.
  return false;
end
$$;
comment on function jobsync.link_opportunity(text, uuid, bigint, text, text, text, bytea, text, text, text, text[]) is
  'Links a job with a card that GoHighLevel showed or made, and closes the intent. False: the card is another job''s, nothing is written.';

create function jobsync.tell_opportunity(p_tenant text, p_destination uuid, p_job bigint, p_hash bytea, p_pipeline text, p_stage text, p_status text, p_dropped text[])
returns void language sql volatile set search_path = jobsync, public as $$
  update opportunity_links l set told_hash = p_hash, pipeline_id = coalesce(p_pipeline, l.pipeline_id), stage_id = coalesce(p_stage, l.stage_id),
         status = coalesce(p_status, l.status), dropped = coalesce(p_dropped, l.dropped), told_at = jobsync.now()
   where l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_job_id = p_job
$$;
comment on function jobsync.tell_opportunity(text, uuid, bigint, bytea, text, text, text, text[]) is 'Notes what a card was told; pipeline, stage and status where JobSync put it (null: left alone).';

create function jobsync.mark_noted(p_tenant text, p_destination uuid, p_job bigint) returns void
language sql volatile set search_path = jobsync, public as $$
  update opportunity_links l set noted_at = jobsync.now() where l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_job_id = p_job
$$;
comment on function jobsync.mark_noted(text, uuid, bigint) is 'The job''s note stands in GoHighLevel.';

create function jobsync.lose_opportunity(p_tenant text, p_destination uuid, p_job bigint) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  update jobs j set ghl_opportunity_id = null, updated_at = jobsync.now() where j.tenant_id = p_tenant and j.st_job_id = p_job;
  update opportunity_links l set gone_at = jobsync.now(), told_hash = null where l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_job_id = p_job;
  perform write_audit(p_tenant, 'jobsync', 'card_deleted_in_ghl', 'job:' || p_job, '{}');
end
$$;
comment on function jobsync.lose_opportunity(text, uuid, bigint) is 'GoHighLevel says the card does not exist any more: somebody deleted it. It is not made again by itself.';

create function jobsync.choose_place(p_tenant text, p_destination uuid, p_job bigint, p_seen_pipeline text, p_seen_stage text, p_seen_status text)
returns table (pipeline_id text, stage_id text, status text)
language sql stable set search_path = jobsync, public as $$
  select case when p.reason is null then p.pipeline_id end, case when p.reason is null then p.stage_id end, case when t.reason is null then t.status end
    from plan_cards(p_tenant, array[p_job]) w
    join opportunity_links l on l.tenant_id = p_tenant and l.destination_id = p_destination and l.st_job_id = p_job
   cross join lateral choose_stage(p_tenant, w.pipeline_id, w.stage_id, w.backwards, l.pipeline_id, l.stage_id, p_seen_pipeline, p_seen_stage) p
   cross join lateral choose_status(w.status, l.status, p_seen_status) t
$$;
comment on function jobsync.choose_place(text, uuid, bigint, text, text, text) is
  'Where a card that was read just now may be put: null where it stays. A person''s move is not undone, a protected stage is not left, and within a pipeline it goes forward only.';

create function jobsync.review_contact(
  p_tenant text, p_destination uuid, p_customer bigint, p_contact text, p_reason text, p_other_customer bigint, p_other_contact text, p_job bigint
) returns void language plpgsql set search_path = jobsync, public as $$
begin
  insert into contact_reviews as r (tenant_id, destination_id, st_customer_id, contact_id, reason, other_customer_id, other_contact_id, st_job_id)
  values (p_tenant, p_destination, p_customer, p_contact, p_reason, p_other_customer, p_other_contact, p_job)
  on conflict (tenant_id, destination_id, st_customer_id, contact_id) do nothing;
  if found then
    perform write_audit(p_tenant, 'jobsync', 'contact_review_opened', 'customer:' || p_customer,
      jsonb_build_object('reason', p_reason, 'contact_id', p_contact, 'other_customer_id', p_other_customer, 'other_contact_id', p_other_contact));
  end if;
end
$$;
comment on function jobsync.review_contact(text, uuid, bigint, text, text, bigint, text, bigint) is 'Puts a customer''s contact into the review queue. Twice is once.';

create function jobsync.decide_review(p_tenant text, p_customer bigint, p_decision text, p_actor text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  update contact_reviews r set decision = p_decision, decided_by = p_actor, decided_at = jobsync.now()
   where r.tenant_id = p_tenant and r.st_customer_id = p_customer and r.reason = 'shared';
  if not found then
    raise exception 'customer % has no contact to decide about', p_customer using errcode = 'JS004';
  end if;
  perform write_audit(p_tenant, p_actor, 'contact_review_decided', 'customer:' || p_customer, jsonb_build_object('decision', p_decision));
  select array_agg(j.st_job_id) into v_jobs from jobs j
   where j.tenant_id = p_tenant and j.st_customer_id = p_customer and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason = 'shared_contact';
  if p_decision <> 'share' or v_jobs is null then
    return 0;
  end if;
  return plan_jobs(p_tenant, lock_jobs(p_tenant, v_jobs), null);
end
$$;
comment on function jobsync.decide_review(text, bigint, text, text) is
  'A person decides about a contact that two customers share: share (both use it; the waiting jobs are planned) or skip. Answers how many jobs were planned.';

create view jobsync.v_contact_reviews with (security_invoker = true) as
  select r.tenant_id, r.st_customer_id, nullif(concat_ws(' ', c.first_name, c.last_name), '') as customer_name, r.contact_id, r.reason, r.other_customer_id, r.other_contact_id,
         r.st_job_id, r.opened_at, r.decision, r.decided_by, r.decided_at
    from jobsync.contact_reviews r
    left join public.customers c on c.tenant_id = r.tenant_id and c.st_customer_id = r.st_customer_id;
comment on view jobsync.v_contact_reviews is 'Contacts that a person has to look at, and what was decided.';

-- Whose facts changed is only noted where it happens (in the transaction of a page); planned it is before the next drain.
create function jobsync.note_contact_changes() returns trigger language plpgsql set search_path = jobsync, public as $$
declare
  v_tenant text;
begin
  select n.tenant_id into v_tenant from changed n limit 1;
  if v_tenant is null or not exists (select from destinations d where d.tenant_id = v_tenant and d.kind = 'api') then
    return null;
  end if;
  insert into contact_changes as x (tenant_id, st_customer_id)
  select distinct n.tenant_id, n.st_customer_id from changed n
   where n.st_customer_id is not null
     -- By location, of which there are few: of the tenant alone, all its links would be read for each customer.
     and (exists (select from destinations d cross join lateral (
                    select from contact_links l where l.tenant_id = d.tenant_id and l.destination_id = d.id and l.st_customer_id = n.st_customer_id offset 0) x
                   where d.tenant_id = n.tenant_id and d.kind = 'api')
          or exists (select from jobs j where j.tenant_id = n.tenant_id and j.st_customer_id = n.st_customer_id and j.ghl_sync_status = 'skipped'
                        and j.ghl_sync_reason = 'no_contact'))
   order by 1, 2
  on conflict (tenant_id, st_customer_id) do nothing;
  return null;
end
$$;
comment on function jobsync.note_contact_changes() is 'Trigger: notes customers whose contact may have to be told something new, or whose jobs waited for a phone or email.';
-- Who is new may be whom an older job waited for.
create trigger note_new_contacts after insert on public.customers referencing new table as changed for each statement execute function jobsync.note_contact_changes();
create trigger note_new_contacts after insert on jobsync.locations referencing new table as changed for each statement execute function jobsync.note_contact_changes();
create trigger note_contact_changes after update on public.customers referencing new table as changed for each statement execute function jobsync.note_contact_changes();
create trigger note_contact_changes after update on jobsync.locations referencing new table as changed for each statement execute function jobsync.note_contact_changes();

create function jobsync.plan_contact_changes(p_tenant text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_tenant text;
  v_customers bigint[];
  v_jobs bigint[];
  v_waiting bigint[];
  v_planned integer := 0;
begin
  for v_tenant in select distinct x.tenant_id from contact_changes x where p_tenant is null or x.tenant_id = p_tenant order by 1 loop
    with taken as (
      delete from contact_changes x using (
        select y.st_customer_id from contact_changes y where y.tenant_id = v_tenant order by y.st_customer_id limit 1000 for update skip locked) z
       where x.tenant_id = v_tenant and x.st_customer_id = z.st_customer_id
      returning x.st_customer_id)
    select array_agg(t.st_customer_id) into v_customers from taken t;
    continue when v_customers is null;
    -- The job that told the contact last tells it again; jobs that never had a phone or email may have one now.
    select array_agg(l.told_job) into v_jobs from destinations d
      join contact_links l on l.tenant_id = v_tenant and l.destination_id = d.id and l.st_customer_id = any (v_customers)
      cross join lateral (select contact_hash(to_jsonb(x)) as hash from projections x where x.tenant_id = v_tenant and x.st_job_id = l.told_job offset 0) p
     where d.tenant_id = v_tenant and d.kind = 'api' and l.told_hash is distinct from p.hash;
    select array_agg(j.st_job_id) into v_waiting from jobs j
     where j.tenant_id = v_tenant and j.st_customer_id = any (v_customers) and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason = 'no_contact';
    continue when v_jobs is null and v_waiting is null;
    perform lock_jobs(v_tenant, v_jobs || v_waiting);
    if v_waiting is not null then
      v_planned := v_planned + plan_jobs(v_tenant, v_waiting, null);
    end if;
    with queued as (
      insert into outbox as o (tenant_id, st_job_id, st_customer_id, destination_id, version, event, planned_at, next_attempt_at)
      select v_tenant, j.st_job_id, j.st_customer_id, r.destination_id, j.ghl_version + 1, 'contact', v_now, v_now
        from jobs j
        join routes r on r.tenant_id = v_tenant and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
        join destinations d on d.tenant_id = v_tenant and d.id = r.destination_id and d.kind = 'api'
        join business_units u on u.tenant_id = v_tenant and u.st_business_unit_id = j.business_unit_id
       where j.tenant_id = v_tenant and j.st_job_id = any (v_jobs) and j.ghl_sync_status = 'synced'
         and u.sync_enabled is distinct from false and u.sync_to_ghl is distinct from false
       order by j.st_job_id
      on conflict (tenant_id, st_job_id) do nothing
      returning o.st_job_id
    ), marked as (
      update jobs j set ghl_sync_status = 'pending', ghl_sync_reason = 'contact', updated_at = v_now
        from queued q where j.tenant_id = v_tenant and j.st_job_id = q.st_job_id returning 1)
    select v_planned + count(*) into v_planned from marked;
  end loop;
  return v_planned;
end
$$;
comment on function jobsync.plan_contact_changes(text) is
  'Plans what changed facts of customers and locations ask for: the contact once, by the job that told it last; never a webhook. Null: all tenants. Answers how many outbox rows were added.';

-- Which tenants are to be pulled now, and what a pass brought about.

create function jobsync.claim_due_tenants(p_configured text[]) returns table (tenant_id text)
language sql volatile set search_path = jobsync, public as $$
  update tenants t
     -- Where sign-in or access is refused a person must act: one look in a quarter of an hour finds out that he did.
     set next_pull_at = jobsync.now() + case when is_upstream_refused(t.tenant_id, 'servicetitan') then greatest(t.poll_seconds, 900) else t.poll_seconds end
           * (1 + random() * 0.1) * interval '1 second'
   where t.tenant_id in (
     select d.tenant_id from tenants d
      where (d.tenant_id = any (p_configured) or exists (select from connections c where c.tenant_id = d.tenant_id and c.kind = 'servicetitan' and c.state = 'ok'))
        and (d.next_pull_at is null or d.next_pull_at <= jobsync.now())
      order by d.next_pull_at nulls first limit 1000 for no key update skip locked)
  returning t.tenant_id
$$;
comment on function jobsync.claim_due_tenants(text[]) is
  'Takes the tenants whose pull is due and books the next one, jittered: two schedulers never both take a tenant.';

-- The first pull starts at lastJobPull (seeded 2025-01-01); 90 days back only where the key was deleted. On an adopted database
-- it starts early enough to bring what the old flow missed.
create function jobsync.first_pull_start(p_tenant text) returns text language sql stable set search_path = jobsync, public as $$
  select to_char(coalesce((select a.pull_from from adoptions a where a.tenant_id = p_tenant),
                          (select try_timestamptz_text(s.value) from sync_state s where s.tenant_id = p_tenant and s.key = 'lastJobPull'),
                          jobsync.now() - interval '90 days') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
comment on function jobsync.first_pull_start(text) is 'Where a tenant''s first pull of jobs starts, as an ISO text.';

create function jobsync.report_sends(p_tenant text, p_since timestamptz) returns jsonb language sql stable set search_path = jobsync, public as $$
  with sent as (
    select distinct on (a.st_job_id) a.st_job_id, a.outcome from attempts a
     where a.tenant_id = p_tenant and a.started_at >= p_since order by a.st_job_id, a.id desc
  )
  select jsonb_build_object('pulled', 0, 'stored', 0, 'unchanged', 0, 'quarantined', 0, 'planned', 0,
    'delivered', (select count(*) from sent s where s.outcome like 'accepted%'),
    'verified', (select count(*) from sent s join jobs j on j.tenant_id = p_tenant and j.st_job_id = s.st_job_id where j.ghl_verified_at >= p_since),
    'skipped', (select count(*) from sent s where s.outcome = 'skipped'),
    'failed', (select count(*) from sent s where s.outcome is null or s.outcome not like 'accepted%' and s.outcome <> 'skipped'),
    'servicetitan_requests', 0,
    'gohighlevel_requests', (select coalesce(sum(a.requests), 0) from attempts a where a.tenant_id = p_tenant and a.started_at >= p_since))
$$;
comment on function jobsync.report_sends(text, timestamptz) is 'Counts of the sends since a time: jobs by their last try, and requests.';

create function jobsync.report_pass(p_tenant text, p_run uuid) returns jsonb language sql stable set search_path = jobsync, public as $$
  select report_sends(p_tenant, r.started_at) || jsonb_build_object(
    'run', r.id, 'status', r.status, 'error', r.error_message,
    'pulled', coalesce((r.metadata #>> '{streams,jobs,pulled}')::int, 0), 'stored', coalesce((r.metadata #>> '{streams,jobs,stored}')::int, 0),
    'unchanged', coalesce((r.metadata #>> '{streams,jobs,unchanged}')::int, 0), 'quarantined', coalesce((r.metadata #>> '{streams,jobs,quarantined}')::int, 0),
    'planned', coalesce((r.metadata #>> '{streams,jobs,planned}')::int, 0),
    'skipped', (select count(*) from jobs j where j.tenant_id = p_tenant and j.synced_from_st_at >= r.started_at and j.ghl_sync_status = 'skipped'),
    'servicetitan_requests', coalesce((select sum((s.value ->> 'requests')::int) from jsonb_each(r.metadata -> 'streams') s), 0),
    'core', r.metadata #> '{streams,jobs}', 'streams', r.metadata -> 'streams')
    from sync_logs r where r.tenant_id = p_tenant and r.id = p_run
$$;
comment on function jobsync.report_pass(text, uuid) is 'Counts of one pass: jobs pulled, stored, delivered, skipped, failed; requests to both upstreams since it started.';

-- Backfill: history of a tenant, stream by stream, from its first window to its last. Where it stands moves in the
-- transaction that stores the page, so that a killed backfill goes on exactly there. What it brings is held
-- (skipped: backfilled) until the live pull brings the same job or a person asks for delivery.

create table jobsync.backfills (
  tenant_id text not null default jobsync.current_tenant() references jobsync.tenants on delete cascade,
  run uuid not null,
  since text not null,
  until text not null,
  page_size integer not null,
  deliver boolean not null default false,
  state text not null default 'running' constraint backfill_state_is_known check (state in ('running', 'failed', 'completed', 'cancelled')),
  error text,
  error_code text,
  exit_code integer,
  hint text,
  delivered integer,
  opened_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, run)
);
create unique index one_unfinished_backfill on jobsync.backfills (tenant_id) where state in ('running', 'failed');
comment on table jobsync.backfills is 'Backfills: one a tenant at a time; `run` is its row of sync_logs. failed: stopped, to be resumed.';
comment on column jobsync.backfills.since is 'ISO time: records last modified at or after it (ServiceTitan''s clock) are read.';
comment on column jobsync.backfills.until is 'ISO time, exclusive: what is modified later comes by the live pull.';
comment on column jobsync.backfills.deliver is 'True when a person confirmed that the jobs of this time are to be delivered.';
comment on column jobsync.backfills.delivered is 'How many jobs were planned for delivery at its end; null: not asked for.';

create table jobsync.backfill_streams (
  tenant_id text not null default jobsync.current_tenant(),
  run uuid not null,
  stream text not null,
  place integer not null,
  position text not null,
  width_ticks bigint,
  total bigint,
  pulled bigint not null default 0,
  stored bigint not null default 0,
  unchanged bigint not null default 0,
  quarantined bigint not null default 0,
  pages integer not null default 0,
  requests integer not null default 0,
  revision bigint not null default 0,
  status text not null default 'waiting' constraint backfill_stream_status_is_known check (status in ('waiting', 'running', 'completed', 'not granted')),
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, run, stream),
  foreign key (tenant_id, run) references jobsync.backfills on delete cascade
);
comment on table jobsync.backfill_streams is 'Where each stream of a backfill stands; written in the transaction that stores the page.';
comment on column jobsync.backfill_streams.position is 'ISO time: everything modified before it is stored. The next request begins here, inclusive.';
comment on column jobsync.backfill_streams.width_ticks is 'How wide the next window is (100 ns), where a list cannot be sorted; null: all that is left.';
comment on column jobsync.backfill_streams.total is 'Records that ServiceTitan counts in the whole time, as of the last page; null: not known yet.';
comment on column jobsync.backfill_streams.revision is 'Counts the moves: a page is stored only if the position still is the one that was read.';

create function jobsync.open_backfill(
  p_tenant text, p_streams text[], p_since text, p_until text, p_page_size integer, p_deliver boolean, p_actor text
) returns uuid language plpgsql set search_path = jobsync, public as $$
declare
  v_run uuid;
begin
  perform from tenants t where t.tenant_id = p_tenant for no key update;
  if exists (select from backfills b where b.tenant_id = p_tenant and b.state in ('running', 'failed')) then
    raise exception 'a backfill is unfinished' using errcode = 'JS002', hint = 'Go on with it: jobsync backfill --resume. Or drop it: jobsync backfill --cancel.';
  end if;
  insert into sync_logs (tenant_id, sync_type, entity_type, status, metadata)
  values (p_tenant, 'backfill', case when cardinality(p_streams) = 1 then p_streams[1] end, 'running',
          jsonb_build_object('trigger', p_actor, 'since', p_since, 'until', p_until, 'entities', to_jsonb(p_streams), 'deliver', p_deliver))
  returning id into v_run;
  insert into backfills (tenant_id, run, since, until, page_size, deliver) values (p_tenant, v_run, p_since, p_until, p_page_size, p_deliver);
  insert into backfill_streams (tenant_id, run, stream, place, position)
  select p_tenant, v_run, s.stream, s.place, p_since from unnest(p_streams) with ordinality s(stream, place);
  perform write_audit(p_tenant, p_actor, 'backfill_opened', 'run:' || v_run,
    jsonb_build_object('since', p_since, 'until', p_until, 'entities', to_jsonb(p_streams), 'deliver', p_deliver));
  return v_run;
end
$$;
comment on function jobsync.open_backfill(text, text[], text, text, integer, boolean, text) is
  'Opens a backfill over the streams, read in this order; answers its run. Refused while another one is unfinished.';

create function jobsync.resume_backfill(p_tenant text, p_run uuid) returns boolean
language plpgsql set search_path = jobsync, public as $$
begin
  update backfills b set state = 'running', error = null, error_code = null, exit_code = null, hint = null
   where b.tenant_id = p_tenant and b.run = p_run and b.state in ('running', 'failed');
  if not found then
    return false;
  end if;
  update sync_logs l set status = 'running', error_message = null, completed_at = null, duration_ms = null
   where l.tenant_id = p_tenant and l.id = p_run and l.status <> 'running';
  perform note_backfill_alive(p_tenant, p_run);
  return true;
end
$$;
comment on function jobsync.resume_backfill(text, uuid) is 'Lets an unfinished backfill go on where it stands. False when it is over.';

create function jobsync.note_backfill_alive(p_tenant text, p_run uuid) returns void
language sql volatile set search_path = jobsync, public as $$
  update sync_logs l set
      metadata = coalesce(l.metadata, '{}') || jsonb_build_object('alive_s', ceil(extract(epoch from jobsync.now() - l.started_at))),
      records_processed = s.pulled, records_succeeded = s.stored + s.unchanged, records_failed = s.quarantined,
      status = case when b.state = 'running' then 'running' else l.status end,
      error_message = case when b.state = 'running' then null else l.error_message end,
      completed_at = case when b.state = 'running' then null else l.completed_at end
    from backfills b,
         (select coalesce(sum(x.pulled), 0)::integer as pulled, coalesce(sum(x.stored), 0)::integer as stored,
                 coalesce(sum(x.unchanged), 0)::integer as unchanged, coalesce(sum(x.quarantined), 0)::integer as quarantined
            from backfill_streams x where x.tenant_id = p_tenant and x.run = p_run) s
   where l.tenant_id = p_tenant and l.id = p_run and b.tenant_id = p_tenant and b.run = p_run
$$;
comment on function jobsync.note_backfill_alive(text, uuid) is 'Writes the counts so far into the run''s row, and that somebody works on it: it is not closed as abandoned.';

create function jobsync.move_backfill(
  p_tenant text, p_run uuid, p_stream text, p_revision bigint, p_position text, p_width bigint, p_left bigint, p_done boolean, p_report jsonb,
  p_requests integer
) returns bigint language plpgsql set search_path = jobsync, public as $$
declare
  v_revision bigint;
begin
  perform from backfills b where b.tenant_id = p_tenant and b.run = p_run and b.state = 'running' for share;
  if not found then
    raise exception 'the backfill was cancelled or is over' using errcode = 'JS002';
  end if;
  update backfill_streams s set
      position = p_position, width_ticks = p_width, pulled = s.pulled + (p_report ->> 'pulled')::bigint, stored = s.stored + (p_report ->> 'stored')::bigint,
      unchanged = s.unchanged + (p_report ->> 'unchanged')::bigint, quarantined = s.quarantined + (p_report ->> 'quarantined')::bigint,
      total = case when p_done then s.pulled + (p_report ->> 'pulled')::bigint
                   when p_left is null then s.total else s.pulled + (p_report ->> 'pulled')::bigint + p_left end,
      pages = s.pages + ((p_report ->> 'pulled')::bigint > 0)::integer, requests = s.requests + p_requests, revision = s.revision + 1,
      status = case when p_done then 'completed' else 'running' end, updated_at = jobsync.now()
   where s.tenant_id = p_tenant and s.run = p_run and s.stream = p_stream and s.revision = p_revision and s.status in ('waiting', 'running')
  returning s.revision into v_revision;
  if v_revision is null then
    raise exception 'the backfill of % was moved by another worker', p_stream using errcode = 'JS002';
  end if;
  perform note_backfill_alive(p_tenant, p_run);
  return v_revision;
end
$$;
comment on function jobsync.move_backfill(text, uuid, text, bigint, text, bigint, bigint, boolean, jsonb, integer) is
  'Moves one stream of a backfill, only if it still stands where it was read. Called in the transaction that stored the page. Answers its revision.';

create function jobsync.skip_backfill_stream(p_tenant text, p_run uuid, p_stream text) returns void
language sql volatile as $$
  update jobsync.backfill_streams s set status = 'not granted', updated_at = jobsync.now()
   where s.tenant_id = p_tenant and s.run = p_run and s.stream = p_stream and s.status in ('waiting', 'running')
$$;
comment on function jobsync.skip_backfill_stream(text, uuid, text) is 'Leaves out a stream that jobs do not need and that ServiceTitan does not let this app read.';

create function jobsync.close_backfill(p_tenant text, p_run uuid, p_state text, p_error text, p_code text, p_exit_code integer, p_hint text) returns boolean
language plpgsql set search_path = jobsync, public as $$
declare
  v_deliver boolean;
  v_since text;
  v_until text;
begin
  -- In the order of everybody: jobs before what is of backfills.
  perform lock_stream(p_tenant, 'jobs');
  update backfills b set state = p_state, error = p_error, error_code = p_code, exit_code = p_exit_code, hint = p_hint
   where b.tenant_id = p_tenant and b.run = p_run and b.state in ('running', 'failed')
     and (p_state <> 'completed' or not exists (
       select from backfill_streams s where s.tenant_id = p_tenant and s.run = p_run and s.status in ('waiting', 'running')))
  returning b.deliver, b.since, b.until into v_deliver, v_since, v_until;
  if not found then
    return false;
  end if;
  perform note_backfill_alive(p_tenant, p_run);
  update sync_logs l set status = case p_state when 'completed' then 'completed' else 'failed' end,
         error_message = case p_state when 'cancelled' then 'cancelled' else left(p_error, 1000) end, completed_at = jobsync.now(),
         duration_ms = least(2147483647, extract(epoch from jobsync.now() - l.started_at) * 1000)::int,
         metadata = l.metadata || jsonb_build_object('streams', (
           select jsonb_object_agg(s.stream, jsonb_build_object('status', s.status, 'pulled', s.pulled, 'stored', s.stored, 'unchanged', s.unchanged,
             'quarantined', s.quarantined, 'pages', s.pages, 'requests', s.requests)) from backfill_streams s where s.tenant_id = p_tenant and s.run = p_run))
   where l.tenant_id = p_tenant and l.id = p_run;
  if p_state = 'completed' and v_deliver then
    perform deliver_backfilled(p_tenant, p_run, 'backfill');
  end if;
  return true;
end
$$;
comment on function jobsync.close_backfill(text, uuid, text, text, text, integer, text) is
  'Ends a backfill: completed (only when every stream is; then what was asked for is planned), failed (it can be resumed) or cancelled. False when it was over already.';

create function jobsync.read_backfill(p_tenant text, p_run uuid) returns jsonb
language sql stable set search_path = jobsync, public as $$
  select jsonb_build_object('run', b.run, 'state', b.state, 'since', b.since, 'until', b.until, 'page_size', b.page_size, 'deliver', b.deliver,
      'planned', b.delivered, 'opened_at', b.opened_at, 'completed_at', l.completed_at, 'error', b.error, 'code', b.error_code, 'exit_code', b.exit_code,
      'hint', b.hint, 'streams', (
        select jsonb_agg(jsonb_build_object('stream', s.stream, 'status', s.status, 'position', s.position, 'width_ticks', s.width_ticks, 'total', s.total,
                 'pulled', s.pulled, 'stored', s.stored, 'unchanged', s.unchanged, 'quarantined', s.quarantined, 'pages', s.pages,
                 'requests', s.requests, 'revision', s.revision) order by s.place)
          from backfill_streams s where s.tenant_id = b.tenant_id and s.run = b.run))
    from backfills b
    join sync_logs l on l.tenant_id = b.tenant_id and l.id = b.run
   where b.tenant_id = p_tenant and (p_run is null or b.run = p_run)
   -- Of several the unfinished one, else the newest.
   order by b.state in ('running', 'failed') desc, b.opened_at desc limit 1
$$;
comment on function jobsync.read_backfill(text, uuid) is 'A backfill (null: the unfinished one, else the newest) with its streams in order, or null.';

create function jobsync.list_running_backfills() returns table (tenant_id text, run uuid)
language sql stable as $$
  select b.tenant_id, b.run from jobsync.backfills b where b.state = 'running'
$$;
comment on function jobsync.list_running_backfills() is 'Backfills that somebody should be working on; read by the schedule as the owner.';

-- What moves a cursor besides a stored page: a person who rewinds it, and a feed that is refused before its first page.

create function jobsync.begin_by_list(p_tenant text, p_stream text, p_revision bigint, p_since text) returns void
language sql volatile as $$
  update jobsync.cursors c set mode = 'list', token = null, since = p_since, updated_at = jobsync.now(),
         began_from = case when c.revision = 0 then p_since else c.began_from end,
         began_at_start = c.began_at_start and c.revision > 0
   where c.tenant_id = p_tenant and c.stream = p_stream and c.revision = p_revision and c.since is null
$$;
comment on function jobsync.begin_by_list(text, text, bigint, text) is
  'A stream that has no place to go on from is read by list from p_since on. A cursor that moved meanwhile, or has a place, is left alone.';

create function jobsync.stored_since(p_tenant text, p_stream text, p_from timestamptz) returns bigint
language plpgsql stable set search_path = jobsync, public as $$
declare
  v_count bigint;
begin
  -- The table is called like the stream; what is not a stream has no cursor, so that it never comes here.
  execute format('select count(*) from %s x where x.tenant_id = $1 and x.modified_on >= $2 %s',
    case p_stream when 'jobs' then 'public.jobs' when 'customers' then 'public.customers' when 'customer_contacts' then 'jobsync.contacts'
      when 'location_contacts' then 'jobsync.contacts' when 'sold_estimates' then 'jobsync.estimates' else format('jobsync.%I', p_stream) end,
    case p_stream when 'customer_contacts' then 'and x.owner_kind = ''customer''' when 'location_contacts' then 'and x.owner_kind = ''location''' else '' end)
  into v_count using p_tenant, p_from;
  return v_count;
end
$$;
comment on function jobsync.stored_since(text, text, timestamptz) is 'How many stored records of a stream were modified at or after a time.';

create function jobsync.rewind_cursor(p_tenant text, p_stream text, p_to text, p_apply boolean, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_cursor cursors;
  v_to timestamptz := try_timestamptz_text(p_to);
  v_at timestamptz;
  v_text text;
begin
  if v_to is null then
    raise exception '% is no time', left(p_to, 50) using errcode = 'JS001', hint = 'Write it as 2026-01-31 or 2026-01-31T08:00:00Z.';
  end if;
  select * into v_cursor from cursors c where c.tenant_id = p_tenant and c.stream = p_stream for update;
  if not found then
    raise exception 'no stream that was read is called %', left(p_stream, 50) using errcode = 'JS004',
      hint = coalesce('There are: ' || (select string_agg(c.stream, ', ' order by c.stream) from cursors c where c.tenant_id = p_tenant and c.since is not null) || '.',
                      'Nothing was read yet: jobsync pull');
  end if;
  v_at := try_timestamptz_text(v_cursor.since);
  if v_at is null then
    raise exception '% has no place in time: it is read whole each time, or nothing of it was read yet', p_stream using errcode = 'JS001';
  end if;
  if v_to >= v_at then
    raise exception '% was read up to %; a rewind only goes back', p_stream, v_cursor.since using errcode = 'JS001',
      hint = 'What is newer comes with the next pull by itself.';
  end if;
  v_text := to_char(v_to at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
  if p_apply then
    update cursors c set token = null, since = v_text, revision = c.revision + 1, updated_at = jobsync.now()
     where c.tenant_id = p_tenant and c.stream = p_stream;
    perform write_audit(p_tenant, p_actor, 'cursor_rewound', 'stream:' || p_stream,
      jsonb_build_object('from', v_cursor.since, 'to', v_text, 'had_token', v_cursor.token is not null));
  end if;
  return jsonb_build_object('stream', p_stream, 'mode', v_cursor.mode, 'from', v_cursor.since, 'to', v_text,
    'stored_since', stored_since(p_tenant, p_stream, v_to), 'moved', p_apply);
end
$$;
comment on function jobsync.rewind_cursor(text, text, text, boolean, text) is
  'Moves a cursor back to a time, with a line in the audit; p_apply false only says what would be read again. Stored rows stay, and unchanged content plans nothing.';

-- Verifying: what GoHighLevel accepted is read back until it is found there. A 2xx of a hook only says "queued"; only a
-- card that carries the job's id proves that it landed.
--
--   accepted attempt -> verifications (waits for its check) -> found: row deleted, jobs.ghl_verified_at set
--                                      ^                   -> missing, unmarked: looked for again, ever more rarely
--                                      |___________________|-> deleted: the card that was there is gone (API)

create table jobsync.verifications (
  tenant_id text not null,
  st_job_id bigint not null,
  destination_id uuid not null,
  version integer not null,
  accepted_at timestamptz not null,
  check_at timestamptz,
  checks integer not null default 0,
  checked_at timestamptz,
  result text constraint result_is_known check (result in ('missing', 'unmarked', 'unknown')),
  primary key (tenant_id, st_job_id)
);
create index verifications_due on jobsync.verifications (tenant_id, check_at);
comment on table jobsync.verifications is 'Accepted deliveries that were not read back yet; a row is deleted when its job was found in GoHighLevel.';
comment on column jobsync.verifications.check_at is 'When it is looked for next; null: given up after seven looks. `jobsync verify` looks for those, too.';
comment on column jobsync.verifications.result is 'Null: not looked for yet. missing: nothing of it is in GoHighLevel. unmarked: the contact has a new card, which carries no st_job_id. unknown: GoHighLevel could not be asked.';

create table jobsync.verify_marks (
  tenant_id text primary key,
  attempt_id bigint not null
);
comment on table jobsync.verify_marks is 'Up to which attempt each tenant''s accepted deliveries were put into verifications.';

-- Attempts are gone through once, by their key. One that is still open holds the mark back for ten minutes.
create function jobsync.queue_verifications(p_tenant text, p_since timestamptz default null) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_from bigint;
  v_to bigint;
  v_read integer;
begin
  -- One after another: of two that queue at once, the second sees the first one's mark.
  perform pg_advisory_xact_lock(hashtextextended('jobsync verify ' || p_tenant, 0));
  select m.attempt_id into v_from from verify_marks m where m.tenant_id = p_tenant;
  if v_from is null or p_since is not null then
    -- The first time: what was accepted in the last day.
    v_from := coalesce((select a.id - 1 from attempts a where a.tenant_id = p_tenant and a.started_at >= coalesce(p_since, v_now - interval '1 day')
                         order by a.started_at, a.id limit 1), v_from, 0);
  end if;
  select coalesce(min(a.id) filter (where a.outcome is null and a.started_at > v_now - interval '10 minutes') - 1, max(a.id), v_from), count(*) into v_to, v_read
    from (select a.id, a.outcome, a.started_at from attempts a where a.tenant_id = p_tenant and a.id > v_from order by a.id limit 500) a;
  with accepted as (
    select distinct on (a.st_job_id) a.st_job_id, a.destination_id, a.version from attempts a
     where a.tenant_id = p_tenant and a.id > v_from and a.id <= v_to and a.outcome in ('accepted', 'accepted_without_id')
     order by a.st_job_id, a.id desc
  ), queued as (
    insert into verifications as v (tenant_id, st_job_id, destination_id, version, accepted_at, check_at)
    select p_tenant, a.st_job_id, a.destination_id, a.version, j.ghl_accepted_at,
           -- A workflow needs a moment, and what it made is not found at once.
           case d.kind when 'api' then v_now else greatest(v_now, j.ghl_accepted_at + interval '15 seconds') end
      from accepted a
      join jobs j on j.tenant_id = p_tenant and j.st_job_id = a.st_job_id
       and j.ghl_sync_status in ('synced', 'pending') and j.ghl_accepted_at is not null
       and (j.ghl_verified_at is null or j.ghl_verified_at < j.ghl_accepted_at)
      join destinations d on d.tenant_id = p_tenant and d.id = a.destination_id
     order by a.st_job_id
    on conflict (tenant_id, st_job_id) do update set
        destination_id = excluded.destination_id, version = excluded.version, accepted_at = excluded.accepted_at, check_at = excluded.check_at,
        checks = 0, result = null
      where v.accepted_at < excluded.accepted_at or p_since is not null
    returning 1
  ), marked as (
    insert into verify_marks as m (tenant_id, attempt_id) values (p_tenant, v_to)
    on conflict (tenant_id) do update set attempt_id = excluded.attempt_id
    returning 1
  )
  select case when v_to > v_from then v_read else 0 end into v_read from marked;
  return v_read;
end
$$;
comment on function jobsync.queue_verifications(text, timestamptz) is
  'Puts what was accepted since the last call (p_since: since then) and is not verified into verifications, 500 attempts a call. Answers how many attempts it went through: call it until that is 0. Harmless when repeated.';

create function jobsync.claim_verifications(p_tenant text, p_limit integer, p_unseen_since timestamptz) returns table (
  st_job_id bigint, version integer, accepted_at timestamptz, kind text, ghl_opportunity_id text, ghl_contact_id text, phone text, email text)
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
#variable_conflict use_column
begin
  return query
  -- Whoever claims has two minutes; then it is somebody else's turn.
  with due as (
    select v.st_job_id, v.version, v.accepted_at, v.destination_id from verifications v
     where v.tenant_id = p_tenant
       and case when p_unseen_since is null then v.check_at <= jobsync.now() else v.checked_at is null or v.checked_at < p_unseen_since end
     order by v.check_at nulls last, v.st_job_id limit p_limit for update skip locked
  ), taken as (
    update verifications v set check_at = jobsync.now() + interval '2 minutes', checked_at = jobsync.now(), checks = v.checks + 1
      from due d where v.tenant_id = p_tenant and v.st_job_id = d.st_job_id
  )
  select d.st_job_id, d.version, d.accepted_at, x.kind, p.ghl_opportunity_id, p.ghl_contact_id, p.phone, p.email
    from due d
    join destinations x on x.tenant_id = p_tenant and x.id = d.destination_id
    cross join lateral (select q.* from projections q where q.tenant_id = p_tenant and q.st_job_id = d.st_job_id offset 0) p;
end
$$;
comment on function jobsync.claim_verifications(text, integer, timestamptz) is
  'Takes accepted deliveries to be looked for now; p_unseen_since: all that were not looked for since then, whether due or given up.';

create function jobsync.verify_delay(p_checks integer) returns interval language sql immutable parallel safe as $$
  select (array[30, 60, 300, 1800, 7200, 43200])[p_checks] * interval '1 second'
$$;
comment on function jobsync.verify_delay(integer) is 'Wait before the next look after so many looks; null: none.';

create function jobsync.finish_verifications(p_tenant text, p_results jsonb) returns jsonb
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_report jsonb;
begin
  perform from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (array(select (r ->> 'st_job_id')::bigint from jsonb_array_elements(p_results) r))
    order by j.st_job_id for no key update;
  with results as materialized (
    select r.* from jsonb_to_recordset(p_results) as r (st_job_id bigint, version integer, result text, opportunity_id text, doubled boolean)
      -- Sent anew meanwhile: what was read back says nothing about that.
      join verifications v on v.tenant_id = p_tenant and v.st_job_id = r.st_job_id and v.version = r.version
  ), settled as (
    delete from verifications v using results r
     where v.tenant_id = p_tenant and v.st_job_id = r.st_job_id and r.result in ('verified', 'deleted', 'unprovable')
    returning 1
  ), kept as (
    update verifications v set result = r.result, checks = case r.result when 'unknown' then greatest(v.checks - 1, 0) else v.checks end,
           check_at = v_now + case r.result when 'unknown' then interval '5 minutes' else verify_delay(v.checks) end
      from results r where v.tenant_id = p_tenant and v.st_job_id = r.st_job_id and r.result not in ('verified', 'deleted', 'unprovable')
    returning 1
  ), found as (
    update jobs j set ghl_verified_at = v_now, ghl_opportunity_id = coalesce(r.opportunity_id, j.ghl_opportunity_id), updated_at = v_now,
           ghl_sync_flags = nullif(array(select distinct f from unnest(coalesce(j.ghl_sync_flags, '{}')
             || case when r.doubled then '{doubled_in_ghl}'::text[] else '{}' end) f where r.doubled or f <> 'doubled_in_ghl' order by f), '{}')
      from results r where j.tenant_id = p_tenant and j.st_job_id = r.st_job_id and r.result = 'verified'
    returning 1
  ), dropped as (
    delete from outbox o using results r
     where o.tenant_id = p_tenant and o.st_job_id = r.st_job_id and r.result = 'deleted' and (o.lease_until is null or o.lease_until <= v_now)
    returning 1
  ), deleted as (
    update jobs j set ghl_sync_status = 'skipped', ghl_sync_reason = 'deleted_in_ghl', updated_at = v_now,
           ghl_sync_error = 'Its card was deleted in GoHighLevel; it is not made again by itself.'
      from results r where j.tenant_id = p_tenant and j.st_job_id = r.st_job_id and r.result = 'deleted'
    returning j.st_job_id
  ), told as (
    select write_audit(p_tenant, 'jobsync', 'deleted_in_ghl', 'job:' || d.st_job_id, '{}') from deleted d
  )
  select jsonb_build_object('checked', count(*), 'verified', count(*) filter (where r.result = 'verified'),
           'missing', count(*) filter (where r.result = 'missing'), 'unmarked', count(*) filter (where r.result = 'unmarked'),
           'unprovable', count(*) filter (where r.result = 'unprovable'), 'deleted', count(*) filter (where r.result = 'deleted'), 'unknown', count(*) filter (where r.result = 'unknown'),
           'told', (select count(*) from told))
    into v_report from results r;
  return v_report - 'told';
end
$$;
comment on function jobsync.finish_verifications(text, jsonb) is
  'Books what was read back: verified (with the card''s id), missing, unmarked, unprovable (no phone, no e-mail: nothing to look for), deleted, unknown. A delivery sent anew meanwhile is left alone.';

create function jobsync.close_verification(p_tenant text, p_run uuid, p_report jsonb, p_error text) returns void
language sql volatile as $$
  update public.sync_logs l set
    metadata = l.metadata || coalesce(p_report, '{}'),
    records_processed = coalesce((p_report ->> 'checked')::integer, 0),
    records_succeeded = coalesce((p_report ->> 'verified')::integer, 0),
    records_failed = coalesce((p_report ->> 'missing')::integer, 0) + coalesce((p_report ->> 'unmarked')::integer, 0) + coalesce((p_report ->> 'deleted')::integer, 0),
    status = case when p_error is null then 'completed' else 'failed' end, error_message = pg_catalog.left(p_error, 1000), completed_at = jobsync.now(),
    duration_ms = least(2147483647, extract(epoch from jobsync.now() - l.started_at) * 1000)::integer
   where l.tenant_id = p_tenant and l.id = p_run and l.status = 'running'
$$;
comment on function jobsync.close_verification(text, uuid, jsonb, text) is 'Closes a reading back that was asked for with its counts. Harmless when repeated.';

create function jobsync.list_due_verifications(p_configured text[]) returns table (tenant_id text)
language sql stable set search_path = jobsync, public as $$
  select t.tenant_id from tenants t
   where (t.tenant_id = any (p_configured) or exists (select from connections c where c.tenant_id = t.tenant_id and c.kind = 'gohighlevel' and c.state = 'ok'))
     and (exists (select from verifications v where v.tenant_id = t.tenant_id and v.check_at <= jobsync.now())
          or coalesce((select a.id from attempts a where a.tenant_id = t.tenant_id order by a.id desc limit 1), 0)
             > coalesce((select m.attempt_id from verify_marks m where m.tenant_id = t.tenant_id), 0))
$$;
comment on function jobsync.list_due_verifications(text[]) is
  'Tenants with something to read back: GoHighLevel is connected (p_configured: by the environment) and a check is due or something was accepted since.';

create view jobsync.v_unverified with (security_invoker = true) as
  select v.tenant_id, v.destination_id, d.kind, d.masked as destination_masked, j.business_unit_id, u.name as business_unit_name, v.result,
         count(*) as jobs, min(v.accepted_at) as first_accepted_at, max(v.accepted_at) as last_accepted_at, min(v.st_job_id) as sample_st_job_id,
         case v.result
           when 'unmarked' then 'GoHighLevel made cards that carry no st_job_id: let the workflow write the field st_job_id, or nothing can be proven.'
           else 'GoHighLevel accepted them, and nothing of them is there: the workflow may be a draft, or its action fails.' end as why
    from jobsync.verifications v
    join public.jobs j on j.tenant_id = v.tenant_id and j.st_job_id = v.st_job_id
    join jobsync.tenants t on t.tenant_id = v.tenant_id
    left join public.business_units u on u.tenant_id = v.tenant_id and u.st_business_unit_id = j.business_unit_id
    left join jobsync.destinations d on d.tenant_id = v.tenant_id and d.id = v.destination_id
   where v.result in ('missing', 'unmarked') and v.accepted_at < jobsync.now() - t.verify_minutes * interval '1 minute'
   group by v.tenant_id, v.destination_id, d.kind, d.masked, j.business_unit_id, u.name, v.result;
comment on view jobsync.v_unverified is
  'Alert condition: deliveries that GoHighLevel accepted longer than tenants.verify_minutes ago and that were looked for there in vain, by unit and destination.';

-- Runs that a face asks for and a worker does: a comparison with ServiceTitan (reconcile), a reading back from
-- GoHighLevel (verify). The run's row of sync_logs carries the wish until it is closed; nothing else is kept.

create function jobsync.ask_for_run(p_tenant text, p_type text, p_wish jsonb, p_actor text) returns uuid
language plpgsql set search_path = jobsync, public as $$
declare
  v_run uuid;
begin
  -- Two that ask at once: the second sees the first one's run.
  perform from tenants t where t.tenant_id = p_tenant for no key update;
  select l.id into v_run from sync_logs l
   where l.tenant_id = p_tenant and l.sync_type = p_type and l.status = 'running' and l.metadata ? 'asked_by' limit 1;
  if v_run is not null then
    raise exception 'this was asked for already and is not done yet' using errcode = 'JS002', hint = 'Watch it: GET /admin/runs/' || v_run || '.';
  end if;
  insert into sync_logs (tenant_id, sync_type, entity_type, status, metadata)
  values (p_tenant, p_type, 'job', 'running', p_wish || jsonb_build_object('trigger', 'asked', 'asked_by', p_actor))
  returning id into v_run;
  perform write_audit(p_tenant, p_actor, p_type || '_asked', 'run:' || v_run, p_wish);
  return v_run;
end
$$;
comment on function jobsync.ask_for_run(text, text, jsonb, text) is
  'Opens a run of this type for a worker to do, with what was wished; answers its id. Refused while one of the type waits or runs that was asked for.';

create function jobsync.list_asked_runs() returns table (tenant_id text, sync_type text, run uuid) language sql stable as $$
  select l.tenant_id, l.sync_type, l.id from public.sync_logs l
   where l.status = 'running' and l.sync_type in ('reconcile', 'verify') and l.metadata ? 'asked_by'
$$;
comment on function jobsync.list_asked_runs() is 'Runs that were asked for and that somebody should be working on; read by the schedule as the owner.';

create function jobsync.read_asked_run(p_tenant text, p_run uuid) returns jsonb language sql stable as $$
  select l.metadata || pg_catalog.jsonb_build_object('type', l.sync_type) from public.sync_logs l
   where l.tenant_id = p_tenant and l.id = p_run and l.status = 'running' and l.metadata ? 'asked_by'
$$;
comment on function jobsync.read_asked_run(text, uuid) is 'What was wished of a run that was asked for, with its type; null when it is over.';

create function jobsync.keep_run_alive(p_tenant text, p_run uuid) returns void language sql volatile as $$
  update public.sync_logs l set metadata = l.metadata || jsonb_build_object('alive_s', extract(epoch from jobsync.now() - l.started_at)::integer)
   where l.tenant_id = p_tenant and l.id = p_run and l.status = 'running'
$$;
comment on function jobsync.keep_run_alive(text, uuid) is 'A run that takes long says that it still goes on, so that it is not closed as abandoned.';

-- Held jobs: what a backfill brought stays skipped (backfilled), whatever its unit's route. Two things end that: the live
-- pull brings the same job, which is what would have happened without a backfill; or a person asks for delivery.

create index jobs_held on public.jobs (tenant_id) where ghl_sync_reason = 'backfilled';

create function jobsync.release_held(p_tenant text, p_jobs bigint[]) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_jobs bigint[];
begin
  update jobs j set ghl_sync_status = 'pending', ghl_sync_reason = null, updated_at = jobsync.now()
   where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason = 'backfilled';
  if not found then
    return 0;
  end if;
  select array_agg(j.st_job_id order by j.st_job_id) into v_jobs from jobs j
   where j.tenant_id = p_tenant and j.st_job_id = any (p_jobs) and j.ghl_sync_status = 'pending';
  perform want_parents(p_tenant, v_jobs);
  return plan_jobs(p_tenant, v_jobs, null);
end
$$;
comment on function jobsync.release_held(text, bigint[]) is 'Plans those of the jobs that a backfill had brought, like any job that was pulled. The caller holds their locks. Answers how many were queued.';

create function jobsync.release_pulled(p_tenant text, p_page jsonb) returns integer
language plpgsql set search_path = jobsync, public as $$
begin
  if not exists (select from jobs j where j.tenant_id = p_tenant and j.ghl_sync_reason = 'backfilled') then
    return 0;
  end if;
  return release_held(p_tenant, array(select distinct try_bigint(e -> 'id') from jsonb_array_elements(p_page) e));
end
$$;
comment on function jobsync.release_pulled(text, jsonb) is 'Releases those jobs of a page that only a backfill had brought. Called with each page that is not a backfill''s own.';

-- Old jobs of a time that were never delivered and that JobSync could deliver.
create function jobsync.list_old_jobs(p_tenant text, p_since timestamptz, p_until timestamptz)
returns table (st_job_id bigint, st_customer_id bigint, destination_id uuid, kind text, version integer)
language sql stable set search_path = jobsync, public as $$
  select j.st_job_id, j.st_customer_id, r.destination_id, d.kind, j.ghl_version
    from jobs j
    join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = j.business_unit_id
    join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
    join destinations d on d.tenant_id = p_tenant and d.id = r.destination_id
   where j.tenant_id = p_tenant and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason in ('backfilled', 'before_start')
     and j.delivered_hash is null and j.modified_on >= p_since and j.modified_on < p_until
     and u.sync_enabled is distinct from false and u.sync_to_ghl is distinct from false
$$;
comment on function jobsync.list_old_jobs(text, timestamptz, timestamptz) is
  'Jobs last modified in this time that are skipped as older (backfilled, before_start), were never delivered, and have a route.';

create function jobsync.count_old_jobs(p_tenant text, p_run uuid) returns jsonb
language sql stable set search_path = jobsync, public as $$
  select jsonb_build_object('jobs', count(o.st_job_id), 'webhook_executions', count(o.st_job_id) filter (where o.kind = 'webhook'))
    from backfills b
    left join lateral list_old_jobs(p_tenant, try_timestamptz_text(b.since), try_timestamptz_text(b.until)) o on true
   where b.tenant_id = p_tenant and b.run = p_run
$$;
comment on function jobsync.count_old_jobs(text, uuid) is 'How many jobs `backfill --deliver` would plan, and how many paid workflow triggers that is.';

create function jobsync.deliver_backfilled(p_tenant text, p_run uuid, p_actor text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_since timestamptz;
  v_until timestamptz;
  v_jobs bigint[];
  v_queued integer;
begin
  select try_timestamptz_text(b.since), try_timestamptz_text(b.until) into v_since, v_until from backfills b where b.tenant_id = p_tenant and b.run = p_run;
  select array_agg(o.st_job_id) into v_jobs from list_old_jobs(p_tenant, v_since, v_until) o;
  v_jobs := lock_jobs(p_tenant, coalesce(v_jobs, '{}'));
  perform want_parents(p_tenant, v_jobs);
  -- forced: asked for by a person, so that planning does not take the row back for the job's age.
  with queued as (
    insert into outbox (tenant_id, st_job_id, st_customer_id, destination_id, version, event, planned_at, next_attempt_at, waiting_for, forced)
    select p_tenant, o.st_job_id, o.st_customer_id, o.destination_id, o.version + 1, 'created', v_now,
           case when w.waits then v_now + interval '15 minutes' else v_now end, case when w.waits then 'parents' end, true
      from list_old_jobs(p_tenant, v_since, v_until) o
      join jobs j on j.tenant_id = p_tenant and j.st_job_id = o.st_job_id
      cross join lateral (select exists (
        select from wanted n where n.tenant_id = p_tenant
           and (n.stream in ('customers', 'customer_contacts') and n.id = j.st_customer_id or n.stream in ('locations', 'location_contacts') and n.id = j.st_location_id)) as waits) w
     where o.st_job_id = any (v_jobs) order by o.st_job_id
    on conflict (tenant_id, st_job_id) do nothing
    returning st_job_id
  ), marked as (
    update jobs j set ghl_sync_status = 'pending', ghl_sync_reason = null, updated_at = v_now
      from queued q where j.tenant_id = p_tenant and j.st_job_id = q.st_job_id
    returning 1
  )
  select count(*) into v_queued from marked;
  update backfills b set deliver = true, delivered = coalesce(b.delivered, 0) + v_queued where b.tenant_id = p_tenant and b.run = p_run;
  perform write_audit(p_tenant, p_actor, 'backfill_delivered', 'run:' || p_run, jsonb_build_object('jobs', v_queued));
  return v_queued;
end
$$;
comment on function jobsync.deliver_backfilled(text, uuid, text) is
  'Plans the old jobs of a backfill''s time for delivery, because a person asked for it. Twice plans nothing more. Answers how many.';

-- Reconcile: what ServiceTitan shows, compared with what is stored, by ids and content. It finds what a pull should have
-- brought and did not: it must find nothing. One run is one row of sync_logs (sync_type reconcile).

create function jobsync.claim_due_reconciles(p_configured text[]) returns table (tenant_id text)
language sql volatile set search_path = jobsync, public as $$
  with taken as (
    update tenants t set next_reconcile_at = jobsync.now() + interval '1 day' * (1 + random() * 0.02)
      from (select d.tenant_id, d.next_reconcile_at from tenants d
             where (d.tenant_id = any (p_configured) or exists (select from connections c where c.tenant_id = d.tenant_id and c.kind = 'servicetitan' and c.state = 'ok'))
               and (d.next_reconcile_at is null or d.next_reconcile_at <= jobsync.now())
               and exists (select from cursors c where c.tenant_id = d.tenant_id and c.stream = 'jobs' and c.caught_up_at is not null)
             order by d.next_reconcile_at nulls first limit 1000 for no key update skip locked) due
     where t.tenant_id = due.tenant_id
    returning t.tenant_id, due.next_reconcile_at as was)
  select k.tenant_id from taken k where k.was is not null
$$;
comment on function jobsync.claim_due_reconciles(text[]) is
  'Takes the tenants whose daily comparison is due and books the next one. The first is due a day after the first pull.';

create function jobsync.open_reconcile(p_tenant text, p_trigger text, p_days integer, p_fix boolean) returns uuid
language sql volatile as $$
  insert into public.sync_logs (tenant_id, sync_type, entity_type, status, metadata)
  values (p_tenant, 'reconcile', 'job', 'running', jsonb_build_object('trigger', p_trigger, 'days', p_days, 'fix_missing', p_fix))
  returning id
$$;
comment on function jobsync.open_reconcile(text, text, integer, boolean) is 'Opens a reconcile run; answers its id.';

create function jobsync.close_reconcile(p_tenant text, p_run uuid, p_report jsonb, p_error text) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
begin
  update sync_logs l set
    metadata = l.metadata || coalesce(p_report, '{}'),
    records_processed = coalesce((p_report ->> 'compared')::integer, 0),
    records_succeeded = coalesce((p_report ->> 'equal')::integer, 0) + coalesce((p_report ->> 'fixed')::integer, 0),
    records_failed = coalesce((p_report ->> 'missing')::integer, 0) + coalesce((p_report ->> 'differing')::integer, 0) - coalesce((p_report ->> 'fixed')::integer, 0),
    status = case when p_error is null then 'completed' else 'failed' end, error_message = left(p_error, 1000), completed_at = v_now,
    duration_ms = least(2147483647, extract(epoch from v_now - l.started_at) * 1000)::integer
   where l.tenant_id = p_tenant and l.id = p_run and l.status = 'running';
  if p_error is not null then
    update tenants t set next_reconcile_at = least(t.next_reconcile_at, v_now + interval '1 hour') where t.tenant_id = p_tenant and t.next_reconcile_at is not null;
  end if;
end
$$;
comment on function jobsync.close_reconcile(text, uuid, jsonb, text) is 'Closes a reconcile run with its counts; one that failed is due again in an hour. Harmless when repeated.';

-- The facts by which two versions of a record are held against each other. What changes by itself and means nothing to a
-- CRM (a balance, external data) is not among them; nor what only one of list and feed shows.
create function jobsync.record_facts(p_stream text, p_record jsonb, p_shown jsonb) returns jsonb language sql immutable parallel safe as $$
  select coalesce(pg_catalog.jsonb_object_agg(k.name, coalesce(p_record -> k.name, 'null')), '{}')
    from pg_catalog.unnest(case p_stream
      when 'jobs' then array['jobNumber', 'customerId', 'locationId', 'businessUnitId', 'jobTypeId', 'jobStatus', 'priority', 'summary', 'createdOn',
        'completedOn', 'total', 'campaignId', 'tagTypeIds', 'appointmentCount', 'invoiceId', 'active']
      when 'customers' then array['name', 'type', 'address', 'active', 'mergedToId', 'doNotService', 'doNotMail']
      end) k(name)
   where p_shown ? k.name
$$;
comment on function jobsync.record_facts(text, jsonb, jsonb) is 'The facts of a record that count in a comparison, of those that p_shown has: {name: value}.';

create function jobsync.compare_page(p_tenant text, p_stream text, p_page jsonb) returns table (n bigint, id bigint, finding text)
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_began timestamptz;
  v_read_to timestamptz;
begin
  select try_timestamptz_text(c.began_from), c.caught_up_at - interval '10 minutes' into v_began, v_read_to
    from cursors c where c.tenant_id = p_tenant and c.stream = p_stream;
  return query execute format($compare$
    select e.n, e.id,
           case when e.id is null then 'unreadable'
                when s.st_raw_data is not null and (e.modified_on is null or s.modified_on is null or e.modified_on <= s.modified_on)
                 and (e.modified_on < s.modified_on or s.same_facts) then 'equal'
                when exists (select from jobsync.quarantine q where q.tenant_id = $1 and q.stream = $2 and q.record_id = e.id::text and q.resolved_at is null)
                then 'quarantined'
                when $5 is null or e.modified_on > $5 then 'not_read_yet'
                when s.st_raw_data is not null then 'differing'
                when e.modified_on < $4 then 'before_start'
                else 'missing' end
      from (select p.n, p.doc, try_bigint(p.doc -> 'id') as id, try_timestamptz(p.doc -> 'modifiedOn') as modified_on
              from jsonb_array_elements($3) with ordinality p(doc, n) offset 0) e
      left join lateral (
        select x.st_raw_data, x.modified_on,
               record_facts($2, e.doc, e.doc) = record_facts($2, x.st_raw_data, e.doc) as same_facts
          from %s x where x.tenant_id = $1 and x.%I = e.id offset 0) s on true
  $compare$, case p_stream when 'jobs' then 'public.jobs' when 'customers' then 'public.customers' end,
             case p_stream when 'jobs' then 'st_job_id' when 'customers' then 'st_customer_id' end)
  using p_tenant, p_stream, p_page, v_began, v_read_to;
end
$$;
comment on function jobsync.compare_page(text, text, jsonb) is
  'Each record of a page held against what is stored: equal (or newer here), missing, differing, quarantined, not_read_yet (newer than the last pull), before_start (older than the first one), unreadable.';

create function jobsync.list_unseen(p_tenant text, p_stream text, p_from timestamptz, p_until timestamptz, p_seen bigint[]) returns bigint[]
language sql stable as $$
  select coalesce(pg_catalog.array_agg(k.id order by k.id), '{}')
    from (select j.st_job_id as id from public.jobs j
           where p_stream = 'jobs' and j.tenant_id = p_tenant and j.modified_on >= p_from and j.modified_on < p_until and j.source = 'servicetitan' and j.active
          union all
          select c.st_customer_id from public.customers c
           where p_stream = 'customers' and c.tenant_id = p_tenant and c.modified_on >= p_from and c.modified_on < p_until and c.source = 'servicetitan' and c.active) k
   where not exists (select from pg_catalog.unnest(p_seen) s(id) where s.id = k.id)
$$;
comment on function jobsync.list_unseen(text, text, timestamptz, timestamptz, bigint[]) is
  'Stored records last modified in a window that ServiceTitan did not show there: changed meanwhile, or gone.';

create view jobsync.v_reconcile with (security_invoker = true) as
  select distinct on (l.tenant_id) l.tenant_id, l.id as run_id, l.started_at, l.completed_at, l.status, l.error_message,
         (l.metadata ->> 'days')::integer as days, coalesce((l.metadata ->> 'compared')::bigint, 0) as compared,
         coalesce((l.metadata ->> 'missing')::bigint, 0) as missing, coalesce((l.metadata ->> 'differing')::bigint, 0) as differing,
         coalesce((l.metadata ->> 'gone')::bigint, 0) as gone, coalesce((l.metadata ->> 'fixed')::bigint, 0) as fixed,
         coalesce((l.metadata ->> 'missing')::bigint, 0) + coalesce((l.metadata ->> 'differing')::bigint, 0) > 0 as is_alert,
         l.metadata -> 'streams' as streams
    from public.sync_logs l
   where l.sync_type = 'reconcile' and l.status in ('completed', 'failed')
   order by l.tenant_id, l.started_at desc;
comment on view jobsync.v_reconcile is
  'The last comparison of each tenant with ServiceTitan. is_alert: it found something missing or differing, mended or not; nothing should ever be found.';

-- How routes and rules stood before each change, as the text that makes them so again: what undo reads in.

create table jobsync.rule_versions (
  tenant_id text not null references jobsync.tenants on delete cascade,
  id bigint generated always as identity,
  replaced_at timestamptz not null default jobsync.now(),
  actor text not null,
  what text not null,
  text text not null,
  primary key (tenant_id, id)
);
comment on table jobsync.rule_versions is 'Routes and rules as YAML, each as it stood before a change; the last fifty. Never a hook''s URL.';
comment on column jobsync.rule_versions.what is 'The change that replaced it, in a few words.';

create function jobsync.keep_rule_version(p_tenant text, p_actor text, p_what text, p_text text) returns bigint
language plpgsql set search_path = jobsync, public as $$
declare
  v_id bigint;
begin
  insert into rule_versions (tenant_id, actor, what, text) values (p_tenant, p_actor, left(p_what, 200), p_text) returning id into v_id;
  delete from rule_versions v where v.tenant_id = p_tenant
     and v.id <= (select x.id from rule_versions x where x.tenant_id = p_tenant order by x.id desc offset 50 limit 1);
  return v_id;
end
$$;
comment on function jobsync.keep_rule_version(text, text, text, text) is 'Keeps how routes and rules stood before a change; older ones than fifty go. Answers its number.';

-- Rules as people see them: with names; saved as a whole; tried on the tenant's own history.

create view jobsync.v_rules with (security_invoker = true) as
  select r.tenant_id, r.name, r.position, r.event, r.unit_ids, r.job_type_ids, r.tag_type_ids, r.campaign_ids, r.amount_from, r.amount_below,
         r.pipeline_id, p.name as pipeline_name, r.stage_id, s.name as stage_name, r.status, r.value, r.tags, r.custom_fields, r.backwards, r.enabled,
         jobsync.target_problem(r.tenant_id, r.pipeline_id, r.stage_id) as problem, r.updated_at
    from jobsync.rules r
    left join jobsync.pipelines p on p.tenant_id = r.tenant_id and p.pipeline_id = r.pipeline_id
    left join jobsync.pipeline_stages s on s.tenant_id = r.tenant_id and s.pipeline_id = r.pipeline_id and s.stage_id = r.stage_id;
comment on view jobsync.v_rules is 'Rules with the names of their pipelines and stages; problem: what is wrong with these in GoHighLevel.';

create view jobsync.v_card_problems with (security_invoker = true) as
  select r.tenant_id, 'route' as kind, r.st_business_unit_id::text as subject, u.name, r.problem
    from jobsync.routes r
    left join public.business_units u on u.tenant_id = r.tenant_id and u.st_business_unit_id = r.st_business_unit_id
   where r.problem is not null and r.deliverer = 'jobsync'
  union all
  select v.tenant_id, 'rule', v.name, v.name, v.problem from jobsync.v_rules v where v.enabled and v.problem is not null
  union all
  select l.tenant_id, 'install', l.st_job_id::text, j.st_job_number, 'several jobs of its project have a sold estimate: it has a card of its own'
    from jobsync.install_links l join public.jobs j on j.tenant_id = l.tenant_id and j.st_job_id = l.st_job_id where l.linked_by = 'ambiguous';
comment on view jobsync.v_card_problems is 'What a person should look at: routes and rules whose pipeline or stage is gone, install jobs whose sales job is not certain.';

create view jobsync.v_pipeline_changes with (security_invoker = true) as
  select a.tenant_id, a.at, split_part(a.action, '_', 1) as what, split_part(a.action, '_', 2) as change, a.details ->> 'name' as name,
         a.details ->> 'before' as before, a.details ->> 'pipeline' as pipeline_name, a.actor
    from jobsync.audit a
   where a.action in ('pipeline_renamed', 'pipeline_gone', 'pipeline_back', 'stage_renamed', 'stage_gone', 'stage_back');
comment on view jobsync.v_pipeline_changes is 'Pipelines and stages that were renamed, deleted or came back in GoHighLevel, and when that was noticed.';

create function jobsync.list_stale_pipelines() returns setof text
language sql stable set search_path = jobsync, public as $$
  select d.tenant_id from destinations d
   where d.kind = 'api' and exists (select from routes r where r.tenant_id = d.tenant_id and r.destination_id = d.id and r.deliverer = 'jobsync')
   group by d.tenant_id
  having coalesce((select max(p.seen_at) from pipelines p where p.tenant_id = d.tenant_id), '-infinity') < jobsync.now() - interval '1 hour'
   order by 1
$$;
comment on function jobsync.list_stale_pipelines() is 'Tenants with routes to pipelines that were not read for an hour. Asked by the schedule as the owner.';

create function jobsync.save_rules(p_tenant text, p_rules jsonb, p_replace boolean, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_saved text[];
  v_removed text[];
begin
  perform lock_stream(p_tenant, 'jobs');
  with given as (
    select r.*, n.n from jsonb_array_elements(p_rules) with ordinality n(value, n)
     cross join lateral jsonb_to_record(n.value) as r (name text, position integer, event text, unit_ids bigint[], job_type_ids bigint[], tag_type_ids bigint[],
       campaign_ids bigint[], amount_from numeric, amount_below numeric, pipeline_id text, stage_id text, status text, value text, tags text[],
       custom_fields jsonb, backwards boolean, enabled boolean)
  ), written as (
    insert into rules as t (tenant_id, name, position, event, unit_ids, job_type_ids, tag_type_ids, campaign_ids, amount_from, amount_below, pipeline_id,
      stage_id, status, value, tags, custom_fields, backwards, enabled)
    select p_tenant, g.name, coalesce(g.position, (event_positions() ->> g.event)::integer, 0), g.event, g.unit_ids, g.job_type_ids, g.tag_type_ids,
      g.campaign_ids, g.amount_from, g.amount_below, g.pipeline_id, g.stage_id, g.status, g.value, coalesce(g.tags, '{}'), coalesce(g.custom_fields, '{}'),
      coalesce(g.backwards, false), coalesce(g.enabled, true) from given g order by g.n
    on conflict (tenant_id, name) do update set position = excluded.position, event = excluded.event, unit_ids = excluded.unit_ids,
      job_type_ids = excluded.job_type_ids, tag_type_ids = excluded.tag_type_ids, campaign_ids = excluded.campaign_ids, amount_from = excluded.amount_from,
      amount_below = excluded.amount_below, pipeline_id = excluded.pipeline_id, stage_id = excluded.stage_id, status = excluded.status,
      value = excluded.value, tags = excluded.tags, custom_fields = excluded.custom_fields, backwards = excluded.backwards, enabled = excluded.enabled,
      updated_at = jobsync.now()
     where (to_jsonb(t) - '{updated_at}'::text[]) is distinct from (to_jsonb(excluded) - '{updated_at}'::text[])
    returning t.name
  )
  select array_agg(w.name order by w.name) into v_saved from written w;
  if p_replace then
    with gone as (
      delete from rules r where r.tenant_id = p_tenant and not exists (select from jsonb_array_elements(p_rules) g where g ->> 'name' = r.name)
      returning r.name
    )
    select array_agg(g.name order by g.name) into v_removed from gone g;
  end if;
  perform write_audit(p_tenant, p_actor, 'rule_set', 'rule:' || r.name, to_jsonb(r) - '{tenant_id,updated_at}'::text[])
     from rules r where r.tenant_id = p_tenant and r.name = any (v_saved) order by r.name;
  perform write_audit(p_tenant, p_actor, 'rule_removed', 'rule:' || x) from unnest(v_removed) x;
  return jsonb_build_object('saved', coalesce(to_jsonb(v_saved), '[]'), 'removed', coalesce(to_jsonb(v_removed), '[]'),
    'differ', case when v_saved is null and v_removed is null then (select count(*) from list_rebaselined(p_tenant)) else rebaseline_cards(p_tenant) end);
end
$$;
comment on function jobsync.save_rules(text, jsonb, boolean, text) is
  'Saves rules whose names the engine has turned into ids; p_replace removes all others. Sends nothing; answers what changed and how many delivered jobs now differ from what was told. Twice changes nothing.';

create function jobsync.remove_rule(p_tenant text, p_name text, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
begin
  perform lock_stream(p_tenant, 'jobs');
  delete from rules r where r.tenant_id = p_tenant and r.name = p_name;
  if not found then
    raise exception 'there is no rule "%"', p_name using errcode = 'JS004';
  end if;
  perform write_audit(p_tenant, p_actor, 'rule_removed', 'rule:' || p_name);
  return jsonb_build_object('removed', jsonb_build_array(p_name), 'differ', rebaseline_cards(p_tenant));
end
$$;
comment on function jobsync.remove_rule(text, text, text) is 'Removes a rule. Sends nothing; answers how many delivered jobs now differ from what was told.';

create function jobsync.test_rules(p_tenant text, p_since timestamptz, p_limit integer) returns jsonb
language plpgsql stable set search_path = jobsync, public as $$
declare
  v_jobs bigint[] := array(select j.st_job_id from public.jobs j where j.tenant_id = p_tenant and j.created_on >= p_since order by j.st_job_id);
begin
  return (
    with planned as materialized (
      select c.*, k.told, k.told is not null and ((c.pipeline_id, c.stage_id, c.status)
                  is distinct from (k.told ->> 'pipeline_id', k.told ->> 'stage_id', k.told ->> 'status')) as differs
        from plan_cards(p_tenant, v_jobs) c
        left join card_plans k on k.tenant_id = p_tenant and k.st_job_id = c.st_job_id
    ), named as materialized (
      select p.*, l.name as pipeline_name, s.name as stage_name, tl.name as told_pipeline, ts.name as told_stage
        from planned p
        left join pipelines l on l.tenant_id = p_tenant and l.pipeline_id = p.pipeline_id
        left join pipeline_stages s on s.tenant_id = p_tenant and s.pipeline_id = p.pipeline_id and s.stage_id = p.stage_id
        left join pipelines tl on tl.tenant_id = p_tenant and tl.pipeline_id = p.told ->> 'pipeline_id'
        left join pipeline_stages ts on ts.tenant_id = p_tenant and ts.pipeline_id = p.told ->> 'pipeline_id' and ts.stage_id = p.told ->> 'stage_id'
    )
    select jsonb_build_object(
      'jobs', cardinality(v_jobs), 'since', p_since,
      'rules', coalesce((select jsonb_agg(jsonb_build_object('name', r.name, 'event', r.event, 'jobs', coalesce(h.jobs, 0), 'decides_stage', coalesce(h.stage, 0),
                   'decides_status', coalesce(h.status, 0)) order by r.position, r.name)
          from rules r
          left join (select x.name, count(*) as jobs, count(*) filter (where n.stage_rule = x.name) as stage, count(*) filter (where n.status_rule = x.name) as status
                       from named n cross join lateral unnest(n.rules) x(name) group by x.name) h on h.name = r.name
         where r.tenant_id = p_tenant and r.enabled), '[]'),
      'outcomes', coalesce((select jsonb_agg(jsonb_build_object('pipeline', o.pipeline_name, 'stage', o.stage_name, 'status', o.status, 'jobs', o.jobs,
                   'value', o.value) order by o.pipeline_name, o.stage_position, o.status)
          from (select n.pipeline_name, n.stage_name, n.status, min(s.position) as stage_position, count(*) as jobs, sum(n.value) as value from named n
                  left join pipeline_stages s on s.tenant_id = p_tenant and s.pipeline_id = n.pipeline_id and s.stage_id = n.stage_id
                 where n.problem is null group by 1, 2, 3) o), '[]'),
      'problems', coalesce((select jsonb_object_agg(x.problem, x.jobs) from (select n.problem, count(*) as jobs from named n where n.problem is not null group by 1) x), '{}'),
      'told', (select count(*) from named n where n.told is not null), 'differ', (select count(*) from named n where n.differs),
      'differences', coalesce((select jsonb_agg(to_jsonb(d)) from (
          select n.st_job_id, n.told_pipeline as pipeline_now, n.told_stage as stage_now, n.told ->> 'status' as status_now, n.pipeline_name as pipeline,
                 n.stage_name as stage, n.status, n.stage_rule as rule
            from named n where n.differs order by n.st_job_id desc limit p_limit) d), '[]')));
end
$$;
comment on function jobsync.test_rules(text, timestamptz, integer) is
  'What the rules say about the jobs created since a time: how many each rule holds for and decides, where the cards would stand, and which delivered cards would stand elsewhere than they were told. Changes nothing.';

-- One search for people: a job by whatever they hold in their hands.

create index customers_by_last_name on public.customers (tenant_id, lower(last_name) text_pattern_ops) where last_name is not null;
create index customers_by_company on public.customers (tenant_id, lower(company_name) text_pattern_ops) where company_name is not null;

create function jobsync.search_jobs(p_tenant text, p_text text, p_number bigint, p_phone text, p_limit integer)
returns table (st_job_id bigint, matched text)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
#variable_conflict use_column
declare
  v_words text[] := regexp_split_to_array(lower(trim(p_text)), '\s+');
  v_pattern text := replace(replace(replace(v_words[cardinality(v_words)], '\', '\\'), '%', '\%'), '_', '\_') || '%';
  v_whole text := replace(replace(replace(lower(trim(p_text)), '\', '\\'), '%', '\%'), '_', '\_') || '%';
begin
  -- From the surest to the vaguest; the first that finds something is the answer.
  return query select j.st_job_id, 'id' from jobs j where j.tenant_id = p_tenant and j.st_job_id = p_number;
  if found then return; end if;
  return query select j.st_job_id, 'number' from jobs j where j.tenant_id = p_tenant and j.st_job_number = trim(p_text) order by 1 desc limit p_limit;
  if found then return; end if;
  return query select j.st_job_id, 'opportunity' from jobs j where j.tenant_id = p_tenant and j.ghl_opportunity_id = trim(p_text) order by 1 desc limit p_limit;
  if found then return; end if;
  return query select j.st_job_id, 'contact' from customers c join jobs j on j.tenant_id = c.tenant_id and j.st_customer_id = c.st_customer_id
                where c.tenant_id = p_tenant and c.ghl_contact_id = trim(p_text) order by 1 desc limit p_limit;
  if found then return; end if;
  if p_phone is not null then
    return query
      select j.st_job_id, 'phone' from (
        select c.st_customer_id from customers c where c.tenant_id = p_tenant and c.phone = p_phone
        union select k.owner_id from contacts k where k.tenant_id = p_tenant and k.phone = p_phone and k.owner_kind = 'customer') f
      join jobs j on j.tenant_id = p_tenant and j.st_customer_id = f.st_customer_id
      union
      -- By the customer who owns the place now: jobs are found by their customer, not by their location.
      select j.st_job_id, 'phone' from contacts k
      join locations l on l.tenant_id = p_tenant and l.st_location_id = k.owner_id
      join jobs j on j.tenant_id = p_tenant and j.st_customer_id = l.st_customer_id and j.st_location_id = k.owner_id
       where k.tenant_id = p_tenant and k.phone = p_phone and k.owner_kind = 'location'
      order by 1 desc limit p_limit;
    if found then return; end if;
  end if;
  return query select j.st_job_id, 'email' from customers c join jobs j on j.tenant_id = c.tenant_id and j.st_customer_id = c.st_customer_id
                where c.tenant_id = p_tenant and c.email = lower(trim(p_text)) order by 1 desc limit p_limit;
  if found then return; end if;
  -- A name: what it ends with is how a last name begins, and its other words stand in the first name; or a company's beginning.
  if length(trim(p_text)) >= 2 then
    return query
      select j.st_job_id, 'name' from (
        select c.st_customer_id from customers c
         where c.tenant_id = p_tenant and lower(c.last_name) like v_pattern
           and (cardinality(v_words) = 1 or lower(c.first_name) like v_words[1] || '%')
        union
        select c.st_customer_id from customers c where c.tenant_id = p_tenant and lower(c.company_name) like v_whole) f
      join jobs j on j.tenant_id = p_tenant and j.st_customer_id = f.st_customer_id
      order by 1 desc limit p_limit;
  end if;
end
$$;
comment on function jobsync.search_jobs(text, text, bigint, text, integer) is
  'Jobs that a text means: ServiceTitan id, job number, GoHighLevel opportunity or contact id, phone (p_phone: E.164), email, name. Newest first; what is surest answers alone.';

-- The guide's three functions, and what the /db endpoints call: bodies that come from n8n, scripts and psql.
-- An empty text counts as "not given"; a field of the wrong kind is left out with a warning, never the whole item.

create function public.update_sync_state(p_key text, p_value text, p_metadata jsonb default '{}') returns void
language plpgsql set search_path = jobsync, public as $$
begin
  perform jobsync.write_sync_state(jobsync.current_tenant(), p_key, p_value, p_metadata);
end
$$;
comment on function public.update_sync_state(text, text, jsonb) is
  'Writes one key of sync_state. lastJobPull must be an ISO time, not in the future; from then on JobSync leaves the key alone.';

create function jobsync.write_sync_state(p_tenant text, p_key text, p_value text, p_metadata jsonb default null) returns public.sync_state
language plpgsql set search_path = jobsync, public as $$
declare
  v_row public.sync_state;
begin
  if p_value is null then
    raise exception 'value is missing' using errcode = 'JS001', hint = 'Send {"value": "..."}.';
  end if;
  if p_key = 'lastJobPull' then
    if try_timestamptz_text(p_value) is null then
      raise exception 'lastJobPull must be an ISO time such as 2026-01-31T08:00:00Z' using errcode = 'JS001', hint = 'Nothing was changed.';
    elsif try_timestamptz_text(p_value) > jobsync.now() + interval '1 minute' then
      raise exception 'lastJobPull lies in the future: jobs until then would be missed' using errcode = 'JS001', hint = 'Nothing was changed.';
    end if;
  end if;
  insert into sync_state as s (tenant_id, key, value, metadata, owner) values (p_tenant, p_key, p_value, coalesce(p_metadata, '{}'), 'external')
  on conflict (tenant_id, key) do update set value = excluded.value, metadata = coalesce(p_metadata, s.metadata), owner = 'external', updated_at = jobsync.now()
  returning * into v_row;
  return v_row;
end
$$;
comment on function jobsync.write_sync_state(text, text, text, jsonb) is 'Writes a key on behalf of an outside caller, who owns it from then on.';

create function public.get_last_job_pull() returns timestamptz
language sql stable set search_path = jobsync, public as $$
  select jobsync.try_timestamptz_text(s.value) from public.sync_state s where s.tenant_id = jobsync.current_tenant() and s.key = 'lastJobPull'
$$;
comment on function public.get_last_job_pull() is 'The readable watermark as a time; null when it is not set or no time.';

create function public.upsert_job_from_st(p_job_data jsonb, p_customer_data jsonb) returns uuid
language plpgsql set search_path = jobsync, public as $$
declare
  v_result jsonb;
begin
  v_result := jobsync.upsert_items(jobsync.current_tenant(), jsonb_build_array(jsonb_build_object('job', p_job_data, 'customer', p_customer_data)));
  if jsonb_array_length(v_result -> 'errors') > 0 then
    raise exception '%', v_result #>> '{errors,0,error}' using errcode = 'JS001';
  end if;
  return (v_result #>> '{results,0,dbJobId}')::uuid;
end
$$;
comment on function public.upsert_job_from_st(jsonb, jsonb) is
  'Upserts one job with its customer (ServiceTitan''s form or the guide''s); answers the row''s id. Missing keys keep, older versions change nothing.';

-- [{job, customer}, ...] -> {total, succeeded, failed, results:[{stJobId, dbJobId, success, warnings?}], errors:[{stJobId, index, error}]}
create function jobsync.upsert_items(p_tenant text, p_items jsonb) returns jsonb
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_now timestamptz := jobsync.now();
  v_jobs jsonb;
  v_customers jsonb;
  v_good jsonb;
  v_errors jsonb;
  v_units bigint[];
  v_any_erased boolean := exists (select from erasure_keys k where k.tenant_id = p_tenant);
begin
  with items as (
    select e.n, without_blanks(e.value -> 'job') as job, without_blanks(e.value -> 'customer') as customer
      from jsonb_array_elements(p_items) with ordinality e(value, n)
  ), read as (
    select i.n, i.job, i.customer, try_bigint(i.job -> 'id') as job_id,
           owner_id(i.customer) as customer_id, record_misfits(field_kinds('jobs'), i.job) as job_misfits, record_misfits(field_kinds('customers'), i.customer) as owner_misfits
      from items i
  ), checked as materialized (
    select r.*, case
        when jsonb_typeof(r.job) is distinct from 'object' then 'job is missing or not an object'
        when jsonb_typeof(r.customer) is distinct from 'object' then 'customer is missing or not an object'
        when coalesce(r.job_id, 0) <= 0 then 'job.id must be a positive whole number'
        when coalesce(r.customer_id, 0) <= 0 then 'customer.customerId (or customer.id) must be a positive whole number'
        when v_any_erased and (is_erased(p_tenant, 'customer', r.customer_id) or is_erased(p_tenant, 'job', r.job_id)
             or is_erased(p_tenant, 'customer', try_bigint(r.job -> 'customerId')) or is_erased(p_tenant, 'location', try_bigint(r.job -> 'locationId'))) then 'customer was erased and is not stored again' end as error
      from read r
  ), accepted as (
    select c.n, c.job_id, c.customer_id,
           (case when c.job_misfits is null then c.job else c.job - c.job_misfits end)
             || jsonb_build_object('id', c.job_id)
             || case when c.job ? 'customerId' and not 'customerId' = any (coalesce(c.job_misfits, '{}')) then '{}' else jsonb_build_object('customerId', c.customer_id) end as job,
           (case when c.owner_misfits is null then c.customer else c.customer - c.owner_misfits end) as customer,
           array(select 'job.' || m from unnest(c.job_misfits) m union all select 'customer.' || m from unnest(c.owner_misfits) m) as warnings
      from checked c where c.error is null
  )
  select (select jsonb_agg(a.job order by a.n) from accepted a), (select jsonb_agg(a.customer order by a.n) from accepted a),
         coalesce((select jsonb_agg(jsonb_build_object('n', a.n, 'id', a.job_id, 'warnings', a.warnings) order by a.n) from accepted a), '[]'),
         coalesce((select jsonb_agg(jsonb_build_object('stJobId', c.job_id, 'index', c.n - 1, 'error', c.error) order by c.n) from checked c where c.error is not null), '[]'),
         (select array_agg(distinct try_bigint(a.job -> 'businessUnitId')) from accepted a where try_bigint(a.job -> 'businessUnitId') > 0)
    into v_jobs, v_customers, v_good, v_errors, v_units;
  if v_jobs is not null then
    perform take_over_units(p_tenant, v_units);
    perform store_customers(p_tenant, v_customers, 'api');
    perform store_jobs(p_tenant, v_jobs, 'api');
    perform note_outside_mark(p_tenant, v_units);
  end if;
  return jsonb_build_object(
    'total', jsonb_array_length(p_items), 'succeeded', jsonb_array_length(v_good), 'failed', jsonb_array_length(v_errors),
    'results', (select coalesce(jsonb_agg(jsonb_build_object('stJobId', j.st_job_id, 'dbJobId', j.id, 'success', true)
                  || case when jsonb_array_length(a.g -> 'warnings') > 0 then jsonb_build_object('warnings', a.g -> 'warnings') else '{}' end order by (a.g ->> 'n')::int), '[]')
                  from (select e.g, (e.g ->> 'id')::bigint as id from jsonb_array_elements(v_good) e(g) offset 0) a
                  -- Looked up one by one, by key: where statistics lag behind, a join would hold all jobs against each item.
                  cross join lateral (select x.id, x.st_job_id from public.jobs x where x.tenant_id = p_tenant and x.st_job_id = a.id offset 0) j),
    'errors', v_errors);
end
$$;
comment on function jobsync.upsert_items(text, jsonb) is 'Upserts jobs with their customers as /db receives them, per item: one bad item never fails the others. Twice changes nothing.';

-- Whoever pushes jobs of an unrouted unit through /db delivers them as well: the unit becomes external.
create function jobsync.take_over_units(p_tenant text, p_units bigint[]) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_taken bigint[];
begin
  insert into business_units (tenant_id, st_business_unit_id, name)
  select p_tenant, u.id, 'Unit ' || u.id from unnest(p_units) u(id)
   where not exists (select from business_units b where b.tenant_id = p_tenant and b.st_business_unit_id = u.id)
   order by u.id
  on conflict do nothing;
  with taken as (
    insert into routes as r (tenant_id, st_business_unit_id, deliverer)
    select p_tenant, u.id, 'external' from unnest(p_units) u(id)
     where not exists (select from routes x where x.tenant_id = p_tenant and x.st_business_unit_id = u.id and x.deliverer <> 'none')
     order by u.id
    on conflict (tenant_id, st_business_unit_id) do update set deliverer = 'external', updated_at = jobsync.now() where r.deliverer = 'none'
    returning r.st_business_unit_id
  )
  select array_agg(t.st_business_unit_id) into v_taken from taken t;
  perform write_audit(p_tenant, 'jobsync', 'route_set', 'unit:' || t.id, '{"deliverer": "external", "why": "a job of this unit arrived through /db"}') from unnest(v_taken) t(id);
  perform plan_unit(p_tenant, t.id) from unnest(v_taken) t(id);
end
$$;
comment on function jobsync.take_over_units(text, bigint[]) is 'Units without a deliverer whose jobs arrive through /db become external.';

create function jobsync.note_outside_mark(p_tenant text, p_units bigint[]) returns void language sql volatile as $$
  insert into jobsync.outside_marks as m (tenant_id, business_unit_id, last_marked_at)
  select p_tenant, u.id, jobsync.now() from unnest(p_units) u(id) where u.id is not null order by u.id
  on conflict (tenant_id, business_unit_id) do update set last_marked_at = excluded.last_marked_at
   where m.last_marked_at < excluded.last_marked_at - interval '1 minute'
$$;
comment on function jobsync.note_outside_mark(text, bigint[]) is 'Notes that somebody else pushes or marks jobs of these units.';

create function jobsync.mark_job(p_tenant text, p_job bigint, p_status text, p_opportunity_id text, p_error text) returns setof public.jobs
language plpgsql set search_path = jobsync, public as $$
declare
  v_row public.jobs;
begin
  if p_status is not null and p_status not in ('pending', 'synced', 'failed', 'skipped') then
    raise exception 'status must be one of pending, synced, failed, skipped' using errcode = 'JS001';
  end if;
  update jobs j set
      ghl_sync_status = coalesce(p_status, j.ghl_sync_status),
      ghl_sync_reason = case when p_status is null then j.ghl_sync_reason when p_status = 'skipped' then 'by_hand' end,
      ghl_opportunity_id = coalesce(real_ghl_id(p_opportunity_id), j.ghl_opportunity_id),
      ghl_sync_error = case when p_error is not null then p_error when p_status in ('synced', 'pending') then null else j.ghl_sync_error end,
      ghl_synced_at = case when p_status = 'synced' then jobsync.now() else j.ghl_synced_at end,
      -- What somebody else delivered is the baseline: the content that GoHighLevel has.
      delivered_hash = case when p_status = 'synced' then j.job_hash when p_status = 'pending' then null else j.delivered_hash end,
      updated_at = jobsync.now()
    where j.tenant_id = p_tenant and j.st_job_id = p_job
  returning * into v_row;
  if v_row.st_job_id is null then
    return;
  end if;
  if p_status in ('synced', 'skipped', 'failed') then
    delete from outbox o where o.tenant_id = p_tenant and o.st_job_id = p_job and (o.lease_until is null or o.lease_until <= jobsync.now());
  elsif p_status = 'pending' then
    perform plan_jobs(p_tenant, array[p_job], '{true}');
  end if;
  if p_status is not null then
    delete from leases l where l.tenant_id = p_tenant and l.st_job_id = p_job;
    if p_status = 'failed' then
      perform note_outside_failure(p_tenant, p_job);
    else
      delete from outside_retries o where o.tenant_id = p_tenant and o.st_job_id = p_job;
    end if;
    perform note_outside_mark(p_tenant, array[v_row.business_unit_id]);
    perform write_audit(p_tenant, 'api', 'job_marked', 'job:' || p_job, jsonb_build_object('status', p_status));
  end if;
  return query select * from jobs j where j.tenant_id = p_tenant and j.st_job_id = p_job;
end
$$;
comment on function jobsync.mark_job(text, bigint, text, text, text) is
  'What an outside deliverer says about a job. synced baselines the content; pending makes it due again; nothing when the job is not known.';

create function jobsync.mark_customer(p_tenant text, p_customer bigint, p_status text, p_contact_id text, p_error text) returns setof public.customers
language plpgsql set search_path = jobsync, public as $$
begin
  if p_status is not null and p_status not in ('pending', 'synced', 'failed', 'skipped') then
    raise exception 'status must be one of pending, synced, failed, skipped' using errcode = 'JS001';
  end if;
  return query update customers c set
      ghl_sync_status = coalesce(p_status, c.ghl_sync_status), ghl_contact_id = coalesce(real_ghl_id(p_contact_id), c.ghl_contact_id),
      ghl_sync_error = case when p_error is not null then p_error when p_status in ('synced', 'pending') then null else c.ghl_sync_error end,
      ghl_synced_at = case when p_status = 'synced' then jobsync.now() else c.ghl_synced_at end, updated_at = jobsync.now()
    where c.tenant_id = p_tenant and c.st_customer_id = p_customer
    returning *;
end
$$;
comment on function jobsync.mark_customer(text, bigint, text, text, text) is 'What an outside deliverer says about a customer; nothing when the customer is not known.';

-- What each delivered job looked like when it was told: so that a plan can say what would change, and so that a person
-- can ask what a new name, route or software would tell differently. Nothing here makes anything due.

-- Raise it when what is told about a job changes (a new key of the hook's body): delivered jobs then show up in
-- `plan --rebaseline`, and nothing is sent.
create function jobsync.body_version() returns integer language sql stable parallel safe as $$ select 1 $$;
comment on function jobsync.body_version() is 'Version of what JobSync tells about a job.';

create table jobsync.delivered_facts (
  tenant_id text not null,
  st_job_id bigint not null,
  delivered_at timestamptz not null default jobsync.now(),
  facts jsonb,
  told_as jsonb not null,
  primary key (tenant_id, st_job_id)
) with (fillfactor = 80);
comment on table jobsync.delivered_facts is 'The names and the route under which a job was told last, and its own facts as they were then.';
comment on column jobsync.delivered_facts.facts is 'The facts that were told (texts as hashes: no personal data), kept when the job changes for the first time after it; null: as the job stands.';

create function jobsync.job_facts(j public.jobs) returns jsonb language sql stable as $$
  select jsonb_build_object('number', j.st_job_number, 'customer', j.st_customer_id, 'location', j.st_location_id, 'business_unit', j.business_unit_id,
    'job_type', j.job_type_id, 'status', j.job_status, 'priority', j.priority, 'summary', pg_catalog.md5(j.summary), 'completed_on', j.completed_on,
    'total', j.total, 'campaign', j.campaign_id, 'tags', pg_catalog.to_jsonb(j.tag_type_ids), 'active', j.active)
$$;
comment on function jobsync.job_facts(public.jobs) is 'The facts that job_hash covers, readable; the summary as a hash.';

-- A set of one, so that its joins stand in the query that asks for many.
create function jobsync.names_told(p_tenant text, p_unit bigint, p_type bigint) returns table (told_as jsonb) language sql stable rows 1 as $$
  select jsonb_build_object('body_version', jobsync.body_version(), 'unit_name', u.name, 'type_name', t.name,
    'destination', r.destination_id, 'pipeline', coalesce(r.pipeline_name, u.ghl_pipeline_name), 'stage', r.stage_name)
    from (select) x
    left join public.business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = p_unit
    left join jobsync.routes r on r.tenant_id = p_tenant and r.st_business_unit_id = p_unit
    left join jobsync.job_types t on t.tenant_id = p_tenant and t.st_job_type_id = p_type
$$;
comment on function jobsync.names_told(text, bigint, bigint) is 'One row: the names and the route under which a job of this unit and type is told now.';

create function jobsync.told_as(p_tenant text, p_unit bigint, p_type bigint) returns jsonb language sql stable as $$
  select n.told_as from jobsync.names_told(p_tenant, p_unit, p_type) n
$$;
comment on function jobsync.told_as(text, bigint, bigint) is 'Names and route under which a job of this unit and type is told now.';

create function jobsync.changed_facts(p_before jsonb, p_now jsonb) returns jsonb language sql immutable parallel safe as $$
  select coalesce(jsonb_object_agg(n.key, case n.key when 'summary' then '["changed"]'::jsonb else jsonb_build_array(p_before -> n.key, n.value) end order by n.key), '{}')
    from jsonb_each(p_now) n where n.value is distinct from p_before -> n.key
$$;
comment on function jobsync.changed_facts(jsonb, jsonb) is 'Fields that differ: name -> [before, now]; the summary only says that it changed.';

-- Once for a whole group or page, not row by row. Hashed whatever the caller's plans may not do: both sides may be a page.
create function jobsync.keep_told() returns trigger language plpgsql set enable_hashjoin = on as $$
begin
  if not exists (select from added a where a.delivered_hash is not null) then
    return null;
  end if;
  with told as materialized (
    select a.tenant_id, a.st_job_id, a.business_unit_id, a.job_type_id, a.delivered_hash is distinct from a.job_hash as outdated
      from added a
      join removed r on r.tenant_id = a.tenant_id and r.st_job_id = a.st_job_id
     where a.delivered_hash is not null and (a.delivered_hash, a.ghl_accepted_at) is distinct from (r.delivered_hash, r.ghl_accepted_at)
  ), forgotten as (
    -- It changed while it was under way: what was told stands nowhere any more.
    delete from jobsync.delivered_facts f using told t where t.outdated and f.tenant_id = t.tenant_id and f.st_job_id = t.st_job_id
  ), names as materialized (
    select d.tenant_id, d.business_unit_id, d.job_type_id, n.told_as
      from (select distinct t.tenant_id, t.business_unit_id, t.job_type_id from told t where not t.outdated) d
     cross join lateral jobsync.names_told(d.tenant_id, d.business_unit_id, d.job_type_id) n
  )
  insert into jobsync.delivered_facts as f (tenant_id, st_job_id, delivered_at, told_as)
  select t.tenant_id, t.st_job_id, (select jobsync.now()), n.told_as
    from told t
    join names n on n.tenant_id = t.tenant_id and n.business_unit_id is not distinct from t.business_unit_id and n.job_type_id is not distinct from t.job_type_id
   where not t.outdated
  on conflict (tenant_id, st_job_id) do update set facts = null, told_as = excluded.told_as, delivered_at = excluded.delivered_at;
  return null;
end
$$;
comment on function jobsync.keep_told() is 'Trigger: keeps the names and the route under which jobs were told.';
create trigger keep_told after update on public.jobs referencing old table as removed new table as added for each statement
  execute function jobsync.keep_told();

-- While a job stands as it was told, its own row says so; kept is what it was when that ends. Row by row: it befalls few, and the trigger says which.
create function jobsync.keep_told_facts() returns trigger language plpgsql as $$
begin
  update jobsync.delivered_facts f set facts = jobsync.job_facts(old)
   where f.tenant_id = old.tenant_id and f.st_job_id = old.st_job_id and f.facts is null;
  return null;
end
$$;
comment on function jobsync.keep_told_facts() is 'Trigger: keeps what a delivered job was when it changes for the first time after that.';
create trigger keep_told_facts after update on public.jobs for each row
  when (old.delivered_hash = old.job_hash and new.delivered_hash = old.delivered_hash and new.job_hash is distinct from old.job_hash)
  execute function jobsync.keep_told_facts();

-- Which jobs a person means by a filter, and what sending them again would do: counted before anything is asked for.

-- What can be chosen: failed and waiting jobs; and what was accepted and never found (cause `unverified`).
create function jobsync.choose_jobs(p_tenant text, p_status text, p_reason text, p_unit bigint, p_since timestamptz, p_limit integer)
returns setof bigint language sql stable set search_path = jobsync, public as $$
  select c.st_job_id from (
    select j.st_job_id, j.business_unit_id, j.ghl_accepted_at as at from verifications v
      join jobs j on j.tenant_id = v.tenant_id and j.st_job_id = v.st_job_id
     where p_reason = 'unverified' and v.tenant_id = p_tenant and v.result = 'missing' and j.ghl_sync_status = 'synced'
    union all
    select j.st_job_id, j.business_unit_id, coalesce(j.modified_on, j.created_on) from jobs j
     where p_reason is distinct from 'unverified' and j.tenant_id = p_tenant and j.ghl_sync_status = coalesce(p_status, 'failed')
       and (p_reason is null or j.ghl_sync_reason = p_reason)) c
   where (p_unit is null or c.business_unit_id = p_unit) and (p_since is null or c.at >= p_since)
   order by c.st_job_id limit p_limit
$$;
comment on function jobsync.choose_jobs(text, text, text, bigint, timestamptz, integer) is
  'Ids of jobs by status (default failed), cause, unit and time of change; cause unverified: accepted and never found in GoHighLevel.';

create function jobsync.preview_replay(p_tenant text, p_jobs bigint[], p_force boolean) returns jsonb
language sql stable set search_path = jobsync, public as $$
  with asked as (
    select j.st_job_id, u.name as unit_name, j.business_unit_id, d.kind, case
        when r.st_business_unit_id is null then 'JobSync does not deliver its unit'
        when b.sync_enabled = false or b.sync_to_ghl = false then 'its unit is switched off'
        when o.lease_until > jobsync.now() then 'it is being sent right now'
        when not coalesce(p_force, false) and j.ghl_sync_status not in ('failed', 'pending') then 'it is ' || j.ghl_sync_status || ' (only with --force)'
      end as refusal
      from unnest(p_jobs) x(id)
      join jobs j on j.tenant_id = p_tenant and j.st_job_id = x.id
      left join business_units b on b.tenant_id = j.tenant_id and b.st_business_unit_id = j.business_unit_id
      left join routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
      left join destinations d on d.tenant_id = r.tenant_id and d.id = r.destination_id
      left join outbox o on o.tenant_id = j.tenant_id and o.st_job_id = j.st_job_id
      left join business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
  )
  select jsonb_build_object('asked', cardinality(p_jobs), 'would_replay', coalesce(jsonb_agg(a.st_job_id order by a.st_job_id) filter (where a.refusal is null), '[]'),
    'webhook_executions', count(*) filter (where a.refusal is null and a.kind = 'webhook'),
    'cost', count(*) filter (where a.refusal is null and a.kind = 'webhook') * (select t.execution_price from tenants t where t.tenant_id = p_tenant),
    'units', (select coalesce(jsonb_agg(jsonb_build_object('business_unit_id', g.business_unit_id, 'name', g.unit_name, 'jobs', g.jobs) order by g.jobs desc), '[]')
                from (select i.business_unit_id, i.unit_name, count(*) as jobs from asked i where i.refusal is null group by 1, 2) g),
    'refused', (select coalesce(jsonb_object_agg(g.refusal, g.jobs), '{}') from (select i.refusal, count(*) as jobs from asked i where i.refusal is not null group by 1) g))
    from asked a
$$;
comment on function jobsync.preview_replay(text, bigint[], boolean) is
  'What replay_jobs would do with these jobs: would_replay, paid executions and their price, by unit, and why others are left alone. Changes nothing.';

-- A test send: one invented job to the hook of a unit. It is a send like any other to the guard of mode, pause and caps; it
-- has no row in jobs or outbox, and only the audit remembers it. A paused hook may be tested: that is how one learns that it
-- is mended.

create function jobsync.open_test_send(p_tenant text, p_unit bigint, p_rate double precision, p_burst double precision, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_hour timestamptz := date_trunc('hour', v_now, 'UTC');
  v_tenant jobsync.tenants;
  v_route jobsync.unit_routes;
  v_hour_sends integer;
  v_day_sends integer;
begin
  select * into v_tenant from tenants t where t.tenant_id = p_tenant for no key update;
  select * into v_route from unit_routes u where u.tenant_id = p_tenant and u.st_business_unit_id = p_unit;
  if v_route.st_business_unit_id is null then
    raise exception 'business unit % is not known', p_unit using errcode = 'JS004';
  elsif v_route.deliverer <> 'jobsync' then
    raise exception 'business unit % (%) is not delivered by JobSync: there is nothing to test', p_unit, v_route.name using errcode = 'JS005';
  elsif v_route.destination_kind <> 'webhook' then
    raise exception 'business unit % (%) is an API route: each of its sends is read back anyway', p_unit, v_route.name using errcode = 'JS005';
  elsif v_tenant.mode <> 'live' then
    raise exception 'nothing was sent: mode is %', v_tenant.mode using errcode = 'JS005';
  elsif v_tenant.paused_at is not null then
    raise exception 'nothing was sent: sending is paused' using errcode = 'JS005';
  elsif not v_route.armed then
    raise exception 'nothing was sent: the route is not armed (%)', v_route.armed_reason using errcode = 'JS005';
  end if;
  select coalesce(sum(c.sends) filter (where c.hour = v_hour), 0), coalesce(sum(c.sends), 0) into v_hour_sends, v_day_sends
    from send_counts c where c.tenant_id = p_tenant and c.hour > v_now - interval '24 hours';
  if v_tenant.cap_hour > 0 and v_hour_sends >= v_tenant.cap_hour or v_tenant.cap_day > 0 and v_day_sends >= v_tenant.cap_day then
    raise exception 'nothing was sent: the cap on sends is reached' using errcode = 'JS005';
  elsif (select b.granted from take_budget(p_tenant, 'destination:' || v_route.destination_id, p_rate, p_burst, 1) b) = 0 then
    raise exception 'nothing was sent: the hook is busy with other jobs, try again in a moment' using errcode = 'JS005';
  end if;
  insert into send_counts as c (tenant_id, hour, sends, executions) values (p_tenant, v_hour, 1, 1)
  on conflict (tenant_id, hour) do update set sends = c.sends + 1, executions = c.executions + 1;
  return jsonb_build_object('destination', v_route.destination_id, 'unit', p_unit, 'unit_name', v_route.name, 'at', v_now);
end
$$;
comment on function jobsync.open_test_send(text, bigint, double precision, double precision, text) is
  'May a test go to this unit''s hook now? Counts it against the caps and answers the destination; refuses (JS005) when not live, paused, not armed, capped or busy.';

create function jobsync.close_test_send(p_tenant text, p_unit bigint, p_result text, p_details jsonb, p_executed boolean, p_actor text) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  if not p_executed then
    update send_counts c set sends = greatest(0, c.sends - 1), executions = greatest(0, c.executions - 1)
     where c.tenant_id = p_tenant and c.hour = date_trunc('hour', jobsync.now(), 'UTC');
  end if;
  perform write_audit(p_tenant, p_actor, 'test_sent', 'unit:' || p_unit, p_details || jsonb_build_object('result', p_result));
end
$$;
comment on function jobsync.close_test_send(text, bigint, text, jsonb, boolean, text) is 'Writes what came of a test send into the audit; one that certainly was not executed is not counted.';

-- Imports: CSV files of an Airtable base on their way into customers and jobs.
--
-- staged (import_rows, by COPY) -> judged, a thousand rows at a time -> written, with a line each in the ledger. What is written
-- can be undone from the ledger. Nothing here is ever sent: new jobs are `skipped: imported`, and what fills blanks of a
-- delivered job counts as delivered. Columns st_customer_id and st_job_id let erase_customer() find a person here as well.

create table jobsync.imports (
  tenant_id text not null default jobsync.current_tenant(),
  id text not null default pg_catalog.left(pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', ''), 6),
  state text not null default 'staging'
    constraint import_state_is_known check (state in ('staging', 'staged', 'applying', 'applied', 'undoing', 'undone')),
  prefer text not null default 'database' constraint import_prefers_database_or_csv check (prefer in ('database', 'csv')),
  options jsonb not null default '{}',
  actor text not null,
  run uuid,
  report jsonb,
  asked text constraint import_asks_for_an_act check (asked in ('count', 'write', 'undo', 'compare')),
  asked_error text,
  created_at timestamptz not null default jobsync.now(),
  applied_at timestamptz,
  undone_at timestamptz,
  updated_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, id)
);
create index imports_asked on jobsync.imports (tenant_id, id) where asked is not null;
create index imports_by_time on jobsync.imports (tenant_id, created_at desc);
comment on table jobsync.imports is 'One import of CSV files each: staging, staged (a dry run ends here), applying, applied, undoing, undone.';
comment on column jobsync.imports.prefer is 'database: a row fills blanks only; csv: it also replaces what the database says otherwise.';
comment on column jobsync.imports.options is 'How the files are read: time_zone, region, date_order, map.';
comment on column jobsync.imports.asked is 'What a page asked for and a worker does, or will do; null: nothing.';
comment on column jobsync.imports.asked_error is 'What stopped the worker when it did what was asked for last; null: nothing.';
comment on column jobsync.imports.report is 'The reconciliation that was last made.';

create table jobsync.import_files (
  tenant_id text not null default jobsync.current_tenant(),
  import_id text not null,
  entity text not null constraint import_entity_is_known check (entity in ('customers', 'jobs')),
  name text not null,
  path text not null,
  sha256 text not null,
  bytes bigint not null,
  reading jsonb not null,
  total integer not null,
  parent_import text,
  staged_row integer not null default 0,
  staged integer not null default 0,
  judged_row integer not null default 0,
  judged jsonb not null default '{}',
  applied_row integer not null default 0,
  applied jsonb not null default '{}',
  primary key (tenant_id, import_id, entity),
  foreign key (tenant_id, import_id) references jobsync.imports on delete cascade
);
comment on table jobsync.import_files is 'The files of an import, and how far each was staged, judged (dry run) and applied: row numbers, and counts by outcome.';
comment on column jobsync.import_files.reading is 'How the file is read: encoding, delimiter, header, columns, dates; what was noticed.';
comment on column jobsync.import_files.parent_import is 'The import whose errors file this is; null: an original file.';

create table jobsync.import_rows (
  tenant_id text not null default jobsync.current_tenant(),
  import_id text not null,
  entity text not null,
  row_no integer not null,
  record_id bigint,
  st_customer_id bigint,
  st_job_id bigint,
  row_hash bytea not null,
  modified_at timestamptz,
  given smallint not null,
  failed boolean not null,
  fields jsonb not null,
  extra jsonb,
  cells jsonb not null,
  issues jsonb,
  found jsonb,
  links text[],
  name_key text,
  airtable_id text,
  origin_row integer,
  primary key (tenant_id, import_id, entity, row_no),
  foreign key (tenant_id, import_id) references jobsync.imports on delete cascade
);
-- tenant_id last: led by it, another index would do for a look-up while the tables are new to the planner, and be read as a whole.
create index import_rows_by_record on jobsync.import_rows (record_id, import_id, entity, tenant_id) where not failed;
create index import_rows_with_issues on jobsync.import_rows (tenant_id, import_id, entity, row_no) where issues is not null or found is not null;
create index import_rows_by_name on jobsync.import_rows (name_key, import_id, tenant_id) where name_key is not null;
create index import_rows_by_airtable_id on jobsync.import_rows (airtable_id, import_id, tenant_id) where airtable_id is not null;
comment on table jobsync.import_rows is 'Rows of an import''s files as they were read; kept for the reconciliation and the errors file, pruned with time.';
comment on column jobsync.import_rows.row_no is 'As a spreadsheet counts: the header is row 1.';
comment on column jobsync.import_rows.record_id is 'The row''s own id in ServiceTitan: of its customer or its job.';
comment on column jobsync.import_rows.fields is 'What goes into columns, by column name; blanks are left out.';
comment on column jobsync.import_rows.extra is 'What has no column: kept in st_raw_data under "airtable".';
comment on column jobsync.import_rows.cells is 'The row as it stood in the file: a list of texts.';
comment on column jobsync.import_rows.issues is 'What reading the row complained about: [{code, field, message, suggestion, is_error}].';
comment on column jobsync.import_rows.found is 'The same, found by comparing it with the database and with other rows.';
comment on column jobsync.import_rows.links is 'Names or Airtable ids of the customer where the row gives no id: the whole cell first, then its parts.';

create table jobsync.import_names (
  tenant_id text not null default jobsync.current_tenant(),
  import_id text not null,
  name_key text not null,
  st_customer_id bigint not null,
  primary key (tenant_id, import_id, name_key, st_customer_id),
  foreign key (tenant_id, import_id) references jobsync.imports on delete cascade
);
comment on table jobsync.import_names is 'Customers that the links of an import''s jobs may mean, by name or Airtable id.';

create table jobsync.import_ledger (
  tenant_id text not null default jobsync.current_tenant(),
  import_id text not null,
  entity text not null,
  row_no integer not null,
  file_sha256 text not null,
  row_hash bytea not null,
  record_id bigint not null,
  st_customer_id bigint,
  st_job_id bigint,
  outcome text not null constraint ledger_outcome_is_known check (outcome in ('new', 'filled', 'same', 'older', 'merged')),
  prefer text not null,
  prior jsonb,
  wrote jsonb,
  written_at timestamptz not null default jobsync.now(),
  undone_at timestamptz,
  undo_result text,
  primary key (tenant_id, import_id, entity, row_no)
);
create index import_ledger_by_hash on jobsync.import_ledger (row_hash, tenant_id);
create index import_ledger_by_record on jobsync.import_ledger (record_id, entity, tenant_id);
create index import_ledger_to_undo on jobsync.import_ledger (import_id, entity, row_no, tenant_id) where undone_at is null;
comment on table jobsync.import_ledger is 'Every row that an import took in: file, row number, hash, what became of it, and what stood there before.';
comment on column jobsync.import_ledger.prior is 'Values of the columns it changed, as they were ("_airtable": what the raw record kept of an earlier import); null for a record that the import made.';
comment on column jobsync.import_ledger.wrote is 'Values it gave these columns; undo takes back only what still is as it was written.';
comment on column jobsync.import_ledger.undo_result is 'deleted, restored, kept (changed since by somebody else), or nothing.';

create function jobsync.open_import(p_tenant text, p_prefer text, p_options jsonb, p_files jsonb, p_actor text) returns text
language plpgsql set search_path = jobsync, public as $$
declare
  v_id text;
begin
  -- Dry runs of the same files that nobody went on with are replaced by this one.
  delete from imports i where i.tenant_id = p_tenant and i.state in ('staging', 'staged') and exists (
    select from import_files f join jsonb_array_elements(p_files) n(file) on f.entity = n.file ->> 'entity' and f.sha256 = n.file ->> 'sha256'
     where f.tenant_id = p_tenant and f.import_id = i.id);
  loop
    insert into imports (tenant_id, prefer, options, actor) values (p_tenant, p_prefer, p_options, p_actor) on conflict do nothing returning id into v_id;
    exit when v_id is not null;
  end loop;
  insert into import_files (tenant_id, import_id, entity, name, path, sha256, bytes, reading, total, parent_import)
  select p_tenant, v_id, n.file ->> 'entity', n.file ->> 'name', n.file ->> 'path', n.file ->> 'sha256', (n.file ->> 'bytes')::bigint, n.file -> 'reading',
         (n.file ->> 'total')::integer, (select i.id from imports i where i.tenant_id = p_tenant and i.id = n.file ->> 'parent')
    from jsonb_array_elements(p_files) n(file);
  return v_id;
end
$$;
comment on function jobsync.open_import(text, text, jsonb, jsonb, text) is
  'Opens an import of files [{entity, name, path, sha256, bytes, reading, total, parent}]; answers its id. Dry runs of the same files end.';

create function jobsync.note_staged(p_tenant text, p_import text, p_entity text, p_row integer, p_rows integer) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  update import_files f set staged_row = p_row, staged = f.staged + p_rows
   where f.tenant_id = p_tenant and f.import_id = p_import and f.entity = p_entity and f.staged_row < p_row;
  if not found and not exists (select from import_files f where f.tenant_id = p_tenant and f.import_id = p_import and f.entity = p_entity and f.staged_row = p_row) then
    raise exception 'another run stages import %', p_import using errcode = 'JS002';
  end if;
end
$$;
comment on function jobsync.note_staged(text, text, text, integer, integer) is 'Notes how far a file is staged, in the transaction that staged it. Refused where another run is further.';

-- One key for a name, whoever wrote it: letters and digits alone, in small letters.
create function jobsync.name_key(p_name text) returns text language sql immutable parallel safe as $$
  select nullif(pg_catalog.regexp_replace(pg_catalog.lower(p_name), '[^[:alnum:]]+', ' ', 'g'), ' ')
$$;
comment on function jobsync.name_key(text) is 'The form in which names are compared.';

create function jobsync.close_staging(p_tenant text, p_import text) returns void
language plpgsql set search_path = jobsync, public as $$
begin
  update imports i set state = 'staged', updated_at = jobsync.now() where i.tenant_id = p_tenant and i.id = p_import and i.state = 'staging';
  if not found or not exists (select from import_rows r where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'jobs' and r.links is not null) then
    return;
  end if;
  -- Names of customers have no index, for nothing else asks by them: all are read once for an import whose jobs name people.
  with wanted as materialized (
    select distinct btrim(name_key(l.link)) as key, l.link from import_rows r cross join lateral unnest(r.links) l(link)
     where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'jobs'
  ), known as (
    select w.link, r.record_id from wanted w
      join import_rows r on r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'customers' and not r.failed
       and (r.name_key = w.key or r.airtable_id = w.link)
    union
    select w.link, c.st_customer_id from wanted w
      join (select x.st_customer_id, btrim(name_key(concat_ws(' ', x.first_name, x.last_name))) as key, btrim(name_key(x.company_name)) as company
              from customers x where x.tenant_id = p_tenant) c on c.key = w.key or c.company = w.key
  )
  insert into import_names (tenant_id, import_id, name_key, st_customer_id)
  select p_tenant, p_import, k.link, k.record_id from known k where k.record_id is not null on conflict do nothing;
end
$$;
comment on function jobsync.close_staging(text, text) is 'Ends the staging of an import, and looks up the customers that its jobs name by name or Airtable id. Twice changes nothing.';

create function jobsync.open_import_pass(p_tenant text, p_import text, p_apply boolean) returns jobsync.imports
language plpgsql set search_path = jobsync, public as $$
declare
  v_import imports;
begin
  select * into v_import from imports i where i.tenant_id = p_tenant and i.id = p_import for update;
  if not found then
    raise exception 'import % is not known', p_import using errcode = 'JS004', hint = 'jobsync import list';
  end if;
  if v_import.state in ('undoing', 'undone') then
    raise exception 'import % was undone', p_import using errcode = 'JS001', hint = 'Import the files again: jobsync import airtable ... --apply';
  end if;
  if not p_apply then
    update import_files f set judged_row = 0, judged = '{}' where f.tenant_id = p_tenant and f.import_id = p_import;
  elsif v_import.state = 'staged' then
    insert into sync_logs (tenant_id, sync_type, status, metadata)
    values (p_tenant, 'import', 'running', jsonb_build_object('import', p_import)) returning id into v_import.run;
    update imports i set state = 'applying', run = v_import.run, updated_at = jobsync.now()
     where i.tenant_id = p_tenant and i.id = p_import returning * into v_import;
    perform write_audit(p_tenant, v_import.actor, 'import_began', 'import:' || p_import, jsonb_build_object('prefer', v_import.prefer));
  elsif v_import.state = 'applying' then
    -- The run of a process that died may have been closed as abandoned.
    update sync_logs l set status = 'running', error_message = null, completed_at = null, duration_ms = null
     where l.tenant_id = p_tenant and l.id = v_import.run and l.status <> 'running';
  end if;
  return v_import;
end
$$;
comment on function jobsync.open_import_pass(text, text, boolean) is
  'Begins, or goes on with, judging (p_apply false) or writing the staged rows; writing opens a run of type import. Answers the import.';

create function jobsync.close_import(p_tenant text, p_import text, p_error text) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_import imports;
  v_counts jsonb;
begin
  select * into v_import from imports i where i.tenant_id = p_tenant and i.id = p_import for update;
  select jsonb_object_agg(f.entity, f.applied) into v_counts from import_files f where f.tenant_id = p_tenant and f.import_id = p_import;
  update sync_logs l set
    status = case when p_error is null then 'completed' else 'failed' end, error_message = left(p_error, 1000), completed_at = v_now,
    metadata = l.metadata || jsonb_build_object('outcomes', v_counts),
    records_processed = s.processed, records_failed = s.failed, records_succeeded = s.processed - s.failed,
    duration_ms = least(2147483647, extract(epoch from v_now - l.started_at) * 1000)::integer
    from (select coalesce(sum(c.value::integer), 0) as processed, coalesce(sum(c.value::integer) filter (where c.key = 'error'), 0) as failed
            from jsonb_each(v_counts) e cross join lateral jsonb_each_text(e.value) c) s
   where l.tenant_id = p_tenant and l.id = v_import.run and l.status = 'running';
  if p_error is null and v_import.state = 'applying' then
    update imports i set state = 'applied', applied_at = v_now, updated_at = v_now where i.tenant_id = p_tenant and i.id = p_import;
    perform write_audit(p_tenant, v_import.actor, 'import_applied', 'import:' || p_import, coalesce(v_counts, '{}'));
  end if;
end
$$;
comment on function jobsync.close_import(text, text, text) is 'Closes the run of an import. With p_error it can be resumed; without, it is applied. Harmless when repeated.';

-- The smoke test's tenant: invented, there for seconds, removed whole. Run as the owner.
-- It is made without add_tenant: its ids are far above ServiceTitan's, so the indexes of a single tenant may stay.

create function jobsync.open_smoke(p_tenant text) returns void language plpgsql set search_path = jobsync, public as $$
begin
  if p_tenant !~ '^smoke-[0-9a-f]{12}$' then
    raise exception 'a smoke test''s tenant is called smoke- and twelve hexadecimal digits' using errcode = 'JS001';
  end if;
  -- Nobody's schedule takes it up: no pull, no comparison, no digest, and the sweep of due sends leaves it out.
  insert into tenants (tenant_id, name, mode, mode_reason, mode_set_at, deliver_from, next_pull_at, next_reconcile_at)
  values (p_tenant, 'Smoke test', 'live', 'smoke', jobsync.now(), '-infinity', 'infinity', 'infinity');
  insert into alert_settings (tenant_id, digest_at) values (p_tenant, null);
end
$$;
comment on function jobsync.open_smoke(text) is 'Makes the tenant of one smoke test: live, known to no schedule. The owner''s alone.';

create function jobsync.remove_smoke(p_tenant text) returns integer language plpgsql set search_path = jobsync, public as $$
declare
  v_tenants text[];
  v_table record;
  v_removed bigint;
  v_total integer := 0;
  v_again boolean := true;
begin
  -- Also those that a crash left behind; one that is younger may be at work.
  select array_agg(t.tenant_id) into v_tenants from tenants t
   where t.mode_reason = 'smoke' and (t.tenant_id = p_tenant or t.created_at < jobsync.now() - interval '10 minutes');
  if v_tenants is null then
    return 0;
  end if;
  -- Rounds, because tables point at each other, and removing rows writes tallies of its own.
  while v_again loop
    v_again := false;
    for v_table in
      select n.nspname, c.relname from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
       where c.relkind = 'r' and n.nspname in ('jobsync', 'public') and c.oid <> 'jobsync.tenants'::regclass
    loop
      begin
        execute format('delete from %I.%I where tenant_id = any ($1)', v_table.nspname, v_table.relname) using v_tenants;
        get diagnostics v_removed = row_count;
        v_total := v_total + v_removed;
        v_again := v_again or v_removed > 0;
      exception when foreign_key_violation then
        v_again := true;
      end;
    end loop;
  end loop;
  delete from tenants t where t.tenant_id = any (v_tenants);
  return v_total;
end
$$;
comment on function jobsync.remove_smoke(text) is
  'Removes every row of a smoke test''s tenant, and of those that a crash left behind. Never another tenant''s. Answers how many rows.';

-- Judging and writing the rows of an import: what each row would do, and doing it. One function says what, so that a dry run
-- shows what the import will do. Plans are made anew for each chunk: one kept from when the tables were empty would read them whole.

create type jobsync.import_decision as (
  row_no integer, record_id bigint, st_customer_id bigint, row_hash bytea, outcome text, fields jsonb, prior jsonb, extra jsonb, found jsonb, known_source text);
comment on type jobsync.import_decision is
  'What becomes of one row: new (fields are all its values), filled (fields are the values to write, prior those that stand), same, older, merged or error (found says why).';

create function jobsync.import_issue(p_code text, p_field text, p_message text, p_suggestion text, p_is_error boolean) returns jsonb
language sql immutable parallel safe as $$
  select jsonb_build_object('code', p_code, 'field', p_field, 'message', p_message, 'suggestion', p_suggestion, 'is_error', p_is_error)
$$;
comment on function jobsync.import_issue(text, text, text, text, boolean) is 'One complaint about a row, as import_rows.found holds them.';

-- The same phone, however it was written down.
create function jobsync.says_the_same(p_key text, p_old jsonb, p_new jsonb) returns boolean language sql immutable parallel safe as $$
  select p_old = p_new or case p_key
    when 'phone' then pg_catalog.right(pg_catalog.regexp_replace(p_old #>> '{}', '\D', '', 'g'), 10) = pg_catalog.right(pg_catalog.regexp_replace(p_new #>> '{}', '\D', '', 'g'), 10)
    when 'tag_type_ids' then p_old @> p_new and p_new @> p_old
    else pg_catalog.lower(pg_catalog.btrim(p_old #>> '{}')) = pg_catalog.lower(pg_catalog.btrim(p_new #>> '{}')) end
$$;
comment on function jobsync.says_the_same(text, jsonb, jsonb) is 'True when two values of a column differ in spelling only.';

create function jobsync.is_blank(p_value jsonb) returns boolean language sql immutable parallel safe as $$
  select p_value is null or p_value in ('null', '""', '[]')
$$;
comment on function jobsync.is_blank(jsonb) is 'True for what counts as not given.';

create function jobsync.judge_import_rows(p_tenant text, p_import text, p_entity text, p_from integer, p_limit integer, p_dry boolean, p_connected boolean)
returns setof jobsync.import_decision
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set plan_cache_mode = force_custom_plan as $$
declare
  v_prefer text;
  v_erases boolean := exists (select from erasure_keys k where k.tenant_id = p_tenant);
begin
  select i.prefer into v_prefer from imports i where i.tenant_id = p_tenant and i.id = p_import;
  return query
  with chunk as materialized (
    select r.* from import_rows r
     where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = p_entity and r.row_no > p_from
     order by r.row_no limit p_limit
  ), grouped as materialized (
    -- Rows of one record are one: the newest leads, else the most complete; what it leaves blank the others give.
    select c.row_no, c.record_id, c.row_hash, c.modified_at, c.failed, c.extra, t.times, case when t.times = 1 then c.row_no else d.leading_row end as leading_row,
           coalesce(m.fields, c.fields) as all_fields, m.conflicts, nullif(coalesce(c.links, d.links), '{}') as all_links
      from chunk c
      -- Nearly every record has one row: only counted, where all that follows would be made of nothing but the row itself.
      left join lateral (
        select count(*) as times from import_rows g
         where g.tenant_id = p_tenant and g.import_id = p_import and g.entity = p_entity and g.record_id = c.record_id and not g.failed and not c.failed
        offset 0) t on true
      left join lateral (
        select (array_agg(g.row_no order by g.modified_at desc nulls last, g.given desc, g.row_no))[1] as leading_row,
               array(select jsonb_array_elements_text((array_agg(to_jsonb(g.links) order by g.modified_at desc nulls last, g.given desc, g.row_no)
                 filter (where g.links is not null))[1])) as links
          from import_rows g
         where g.tenant_id = p_tenant and g.import_id = p_import and g.entity = p_entity and g.record_id = c.record_id and not g.failed and not c.failed
        offset 0) d on t.times > 1
      left join lateral (
        select jsonb_object_agg(k.key, k.value) as fields, array_agg(k.key order by k.key) filter (where k.says > 1) as conflicts
          from (select e.key, (array_agg(e.value order by g.modified_at desc nulls last, g.given desc, g.row_no))[1] as value, count(distinct e.value) as says
                  from import_rows g cross join lateral jsonb_each(g.fields) e
                 where g.tenant_id = p_tenant and g.import_id = p_import and g.entity = p_entity and g.record_id = c.record_id and not g.failed
                 group by e.key) k
         where t.times > 1) m on t.times > 1
  ), linked as materialized (
    select g.*, w.customers as named, coalesce((g.all_fields ->> 'st_customer_id')::bigint, case when cardinality(w.customers) = 1 then w.customers[1] end) as customer
      from grouped g
      left join lateral (
        -- The whole cell as one name; where nobody is called so, its parts, which must all mean one customer.
        select case when whole.ids is not null then whole.ids else parts.ids end as customers
          from (select array_agg(n.st_customer_id) as ids from import_names n
                 where n.tenant_id = p_tenant and n.import_id = p_import and n.name_key = g.all_links[1]) whole,
               (select array_agg(distinct n.st_customer_id) as ids from import_names n
                 where n.tenant_id = p_tenant and n.import_id = p_import and n.name_key = any (g.all_links[2:])) parts) w
        on p_entity = 'jobs' and g.all_links is not null and not g.all_fields ? 'st_customer_id'
  ), held as materialized (
    select l.*, case when p_entity = 'jobs' and l.customer is not null then l.all_fields || jsonb_build_object('st_customer_id', l.customer) else l.all_fields end as given_fields,
           coalesce(c.old, j.old) as old, coalesce(c.raw, j.raw) as old_raw,
           p_entity = 'jobs' and l.customer is not null and o.st_customer_id is null and s.row_no is null
             and not (p_dry and p_connected) as is_orphan,
           v_erases and (is_erased(p_tenant, case p_entity when 'jobs' then 'job' else 'customer' end, l.record_id)
             or is_erased(p_tenant, 'customer', l.customer)) as is_erased,
           (select true from import_ledger y where y.tenant_id = p_tenant and y.row_hash = l.row_hash and y.entity = p_entity and y.import_id <> p_import
                and y.record_id = l.record_id and y.prefer = v_prefer and y.undone_at is null limit 1) as is_known
      from linked l
      left join lateral (select to_jsonb(x) - 'st_raw_data' as old, x.st_raw_data as raw from customers x
                          where p_entity = 'customers' and x.tenant_id = p_tenant and x.st_customer_id = l.record_id offset 0) c on true
      left join lateral (select to_jsonb(x) - 'st_raw_data' as old, x.st_raw_data as raw from jobs x
                          where p_entity = 'jobs' and x.tenant_id = p_tenant and x.st_job_id = l.record_id offset 0) j on true
      left join lateral (select x.st_customer_id from customers x
                          where p_entity = 'jobs' and x.tenant_id = p_tenant and x.st_customer_id = l.customer offset 0) o on true
      left join lateral (select x.row_no from import_rows x
                          where p_entity = 'jobs' and p_dry and x.tenant_id = p_tenant and x.import_id = p_import and x.entity = 'customers'
                            and x.record_id = l.customer and not x.failed limit 1) s on true
  ), typed as materialized (
    select h.*, case when h.failed then '{}' else jsonb_strip_nulls(case p_entity
             when 'customers' then to_jsonb(jsonb_populate_record(null::public.customers, h.given_fields))
             else to_jsonb(jsonb_populate_record(null::public.jobs, h.given_fields)) end) end as new,
           v_prefer = 'csv' or (h.old ->> 'source' = 'import'
             and h.modified_at > coalesce(try_timestamptz_text(h.old_raw #>> '{airtable,modified}'), '-infinity')) as replaces
      from held h
  ), compared as materialized (
    select t.*, x.blank, x.other from typed t
      left join lateral (
        select jsonb_object_agg(e.key, e.value) filter (where is_blank(t.old -> e.key)) as blank,
               jsonb_object_agg(e.key, e.value) filter (where not is_blank(t.old -> e.key) and not says_the_same(e.key, t.old -> e.key, e.value)) as other
          from jsonb_each(t.new) e where not is_blank(e.value)) x on t.old is not null
  ), decided as (
    select c.*, coalesce(c.blank, '{}') || case when c.replaces then coalesce(c.other, '{}') else '{}' end as patch,
           case when c.failed then null
             when c.is_erased then import_issue('erased', null, 'This person was erased on request and is not stored again.', 'Leave the row out.', true)
             when c.all_links is not null and c.customer is null and not c.all_fields ? 'st_customer_id' then import_issue('ambiguous_link', 'Customer', case when coalesce(cardinality(c.named), 0) = 0
                    then 'No customer is called "' || c.all_links[1] || '".'
                    else cardinality(c.named) || ' customers are called "' || c.all_links[1] || '".' end, 'Write the customer''s ServiceTitan id into the cell.', true)
             when c.is_orphan then import_issue('orphan_customer', 'Customer ID', 'Customer ' || c.customer || ' is neither in the files nor in the database'
                    || case when p_connected then ', and ServiceTitan does not know it.' else '.' end,
                    case when p_connected then 'Correct the id, or add the customer to the customers file.'
                         else 'Connect ServiceTitan, or add the customer to the customers file; then import the row again.' end, true) end as failure
      from compared c
  )
  select d.row_no, d.record_id, case p_entity when 'jobs' then d.customer else d.record_id end, d.row_hash,
         case when d.failed or d.failure is not null then 'error'
              when d.row_no <> d.leading_row then 'merged'
              when d.old is null then 'new'
              when d.is_known and d.times = 1 then 'same'
              when d.patch <> '{}' then 'filled'
              when d.other is not null then 'older'
              else 'same' end,
         case when d.failed or d.failure is not null or d.row_no <> d.leading_row then null when d.old is null then d.new else d.patch end,
         case when d.old is not null then (select jsonb_object_agg(k.key, d.old -> k.key) from jsonb_object_keys(d.patch) k(key))
           || case when d.old ->> 'source' = 'import' then jsonb_build_object('_airtable', d.old_raw -> 'airtable') else '{}' end end,
         coalesce(d.extra, '{}') || jsonb_build_object('import', p_import, 'row', d.row_no)
           || case when d.modified_at is null then '{}' else jsonb_build_object('modified', to_char(d.modified_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) end,
         case when d.failure is not null then jsonb_build_array(d.failure)
              when d.conflicts is not null and d.row_no = d.leading_row then jsonb_build_array(import_issue('dup_conflict', array_to_string(d.conflicts, ', '),
                'Rows of the same record say different things; this one was taken (the newest, else the most complete).', 'Correct the value here and import the row again with --prefer csv, if it is wrong.', false)) end,
         d.old ->> 'source'
    from decided d order by d.row_no;
end
$$;
comment on function jobsync.judge_import_rows(text, text, text, integer, integer, boolean, boolean) is
  'What the next p_limit rows behind row p_from would do. p_dry: customers of the same import count as there; p_connected: what is missing is asked of ServiceTitan first.';

create function jobsync.list_import_orphans(p_tenant text, p_import text, p_from integer, p_limit integer) returns bigint[]
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_custom_plan as $$
begin
  return coalesce((select array_agg(distinct r.st_customer_id)
    from (select x.st_customer_id from import_rows x
           where x.tenant_id = p_tenant and x.import_id = p_import and x.entity = 'jobs' and x.row_no > p_from order by x.row_no limit p_limit) r
    left join lateral (select c.st_customer_id from customers c where c.tenant_id = p_tenant and c.st_customer_id = r.st_customer_id offset 0) c on true
   where r.st_customer_id is not null and c.st_customer_id is null), '{}');
end
$$;
comment on function jobsync.list_import_orphans(text, text, integer, integer) is 'Customers of the next rows of jobs that are not in the database.';

-- The records that an import makes, in the form in which they come through /db. Stable, although they depend on nothing else: so that their
-- texts stand in the query that calls them.
create function jobsync.customer_of_import(p_id bigint, p_fields jsonb, p_extra jsonb) returns jsonb language sql stable parallel safe as $$
  select jsonb_strip_nulls(jsonb_build_object('customerId', p_id, 'locationId', p_fields -> 'st_location_id', 'firstName', p_fields -> 'first_name',
      'lastName', p_fields -> 'last_name', 'companyName', p_fields -> 'company_name', 'email', p_fields -> 'email', 'phone', p_fields -> 'phone',
      'address', nullif(jsonb_strip_nulls(jsonb_build_object('street', p_fields -> 'street', 'city', p_fields -> 'city', 'state', p_fields -> 'state',
        'zip', p_fields -> 'postal_code', 'country', p_fields -> 'country', 'county', p_fields -> 'county')), '{}')))
    || jsonb_build_object('airtable', p_extra)
$$;
comment on function jobsync.customer_of_import(bigint, jsonb, jsonb) is 'A customer as store_customers takes it (the guide''s form); what has no column stands under "airtable".';

create function jobsync.job_of_import(p_id bigint, p_fields jsonb, p_extra jsonb) returns jsonb language sql stable parallel safe as $$
  select jsonb_strip_nulls(jsonb_build_object('id', p_id, 'jobNumber', p_fields -> 'st_job_number', 'customerId', p_fields -> 'st_customer_id',
      'locationId', p_fields -> 'st_location_id', 'businessUnitId', p_fields -> 'business_unit_id', 'jobTypeId', p_fields -> 'job_type_id',
      'jobTypeName', p_fields -> 'job_type_name', 'jobStatus', p_fields -> 'job_status', 'priority', p_fields -> 'priority', 'summary', p_fields -> 'summary',
      'createdOn', to_char((p_fields ->> 'created_on')::timestamptz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
      'completedOn', to_char((p_fields ->> 'completed_on')::timestamptz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
      'total', p_fields -> 'total', 'tagTypeIds', p_fields -> 'tag_type_ids'))
    || jsonb_build_object('airtable', p_extra)
$$;
comment on function jobsync.job_of_import(bigint, jsonb, jsonb) is 'A job as store_jobs takes it; what has no column stands under "airtable". Its modification time is Airtable''s, not ServiceTitan''s: it is kept there, too.';

-- Shadow: JobSync beside the old flow, each with its own database. Once a day what JobSync would have sent is held against what
-- the old flow marked and what GoHighLevel holds; a verdict per unit says whether it is safe to switch. Nothing is ever sent by it.
--
-- Findings of a job: agreed (both), missed_by_old, unmarked (the old flow has it and did not mark it), pushed_unmarked (and
-- GoHighLevel holds a card), skipped_here, missing_here, sent_by_both, sent_here (after the switch), left_alone (neither sends it), too_new (younger than half an hour).

create table jobsync.shadow_jobs (
  tenant_id text not null references jobsync.tenants on delete cascade,
  st_job_id bigint not null,
  business_unit_id bigint,
  created_on timestamptz,
  old_status text,
  old_opportunity_id text,
  old_marked_at timestamptz,
  old_seen_at timestamptz,
  card text constraint card_is_known check (card in ('verified', 'unmarked', 'missing', 'unknown')),
  finding text,
  reason text,
  compared_at timestamptz not null,
  primary key (tenant_id, st_job_id)
);
create index shadow_jobs_of_units on jobsync.shadow_jobs (tenant_id, business_unit_id, finding);
comment on table jobsync.shadow_jobs is 'Jobs of the last comparison with the old flow''s database, with what the old flow says about each and what came of it.';
comment on column jobsync.shadow_jobs.card is 'What GoHighLevel holds of a job that the old flow did not mark: verified (a card with its id), unmarked (its customer has a card since), missing; null: not looked for.';
comment on column jobsync.shadow_jobs.reason is 'Why JobSync would not send it.';

create table jobsync.shadow_units (
  tenant_id text not null references jobsync.tenants on delete cascade,
  business_unit_id bigint not null,
  compared_at timestamptz not null,
  counts jsonb not null,
  clean_since timestamptz,
  old_active_at timestamptz,
  primary key (tenant_id, business_unit_id)
);
comment on table jobsync.shadow_units is 'The last comparison of each unit: jobs by finding, since when every comparison was clean, and when the old flow last did something.';

create table jobsync.double_cards (
  tenant_id text not null references jobsync.tenants on delete cascade,
  opportunity_id text not null,
  together text not null,
  why text not null constraint double_is_known check (why in ('same job', 'same customer and name')),
  keep boolean not null,
  st_job_id bigint,
  contact_id text,
  pipeline_id text,
  stage_id text,
  status text,
  created_at timestamptz,
  minutes_after_first numeric,
  found_at timestamptz not null,
  primary key (tenant_id, opportunity_id)
);
comment on table jobsync.double_cards is 'Opportunities of GoHighLevel that exist more than once for one job, or for one customer under one name. JobSync reports them and deletes none.';
comment on column jobsync.double_cards.together is 'The group: the oldest card''s id.';
comment on column jobsync.double_cards.keep is 'True for the one to keep: where somebody moved a card that one, else the oldest.';

create view jobsync.v_double_cards with (security_invoker = true) as
  select d.tenant_id, d.together, d.why, d.keep, d.opportunity_id, d.st_job_id, d.contact_id, d.pipeline_id, d.stage_id, d.status, d.created_at, d.minutes_after_first
    from jobsync.double_cards d order by d.together, d.created_at, d.opportunity_id;
comment on view jobsync.v_double_cards is 'Cards that the old flow made twice, a clean-up list for a person: jobsync export --view v_double_cards --csv > doubles.csv';

create function jobsync.note_old_jobs(p_tenant text, p_rows jsonb, p_now timestamptz) returns void language sql volatile as $$
  insert into jobsync.shadow_jobs as s (tenant_id, st_job_id, business_unit_id, created_on, old_status, old_opportunity_id, old_marked_at, old_seen_at, compared_at)
  select p_tenant, r.st_job_id, r.business_unit_id, r.created_on, coalesce(r.status, 'none'), jobsync.real_ghl_id(r.opportunity_id), r.marked_at, r.seen_at, p_now
    from jsonb_to_recordset(p_rows) r (st_job_id bigint, business_unit_id bigint, created_on timestamptz, status text, opportunity_id text, marked_at timestamptz, seen_at timestamptz)
  on conflict (tenant_id, st_job_id) do update set business_unit_id = excluded.business_unit_id, created_on = excluded.created_on, old_status = excluded.old_status,
    old_opportunity_id = excluded.old_opportunity_id, old_marked_at = excluded.old_marked_at, old_seen_at = excluded.old_seen_at, compared_at = excluded.compared_at
$$;
comment on function jobsync.note_old_jobs(text, jsonb, timestamptz) is 'Keeps what the old flow''s database says about a page of its jobs.';

-- The old flow was at work in a unit when it last stored or marked one of its jobs: arm refuses the unit for a day from then on.
create function jobsync.note_old_activity(p_tenant text, p_now timestamptz) returns void language sql volatile as $$
  insert into jobsync.outside_marks as m (tenant_id, business_unit_id, last_marked_at)
  select p_tenant, s.business_unit_id, least(max(greatest(s.old_marked_at, s.old_seen_at)), jobsync.now()) from jobsync.shadow_jobs s
   where s.tenant_id = p_tenant and s.compared_at = p_now and s.business_unit_id is not null and greatest(s.old_marked_at, s.old_seen_at) is not null
   group by s.business_unit_id
  on conflict (tenant_id, business_unit_id) do update set last_marked_at = greatest(m.last_marked_at, excluded.last_marked_at)
$$;
comment on function jobsync.note_old_activity(text, timestamptz) is 'Takes over when the old flow last touched each unit, by the rows that were read at that time.';

create function jobsync.list_unmarked(p_tenant text, p_now timestamptz, p_most integer)
returns table (st_job_id bigint, version integer, accepted_at timestamptz, ghl_opportunity_id text, ghl_contact_id text, phone text, email text)
language sql stable as $$
  select s.st_job_id, 0, s.created_on, s.old_opportunity_id, p.ghl_contact_id, p.phone, p.email
    from (select x.* from jobsync.shadow_jobs x where x.tenant_id = p_tenant and x.compared_at = p_now and x.old_status <> 'synced' and coalesce(x.card, '') not in ('verified', 'unmarked')
           order by x.created_on desc limit p_most) s
    cross join lateral (select q.* from jobsync.projections q where q.tenant_id = p_tenant and q.st_job_id = s.st_job_id offset 0) p
$$;
comment on function jobsync.list_unmarked(text, timestamptz, integer) is 'The newest jobs that the old flow holds and did not mark, to be looked for in GoHighLevel.';

create function jobsync.note_cards(p_tenant text, p_results jsonb) returns void language sql volatile as $$
  update jobsync.shadow_jobs s set card = case r.result when 'verified' then 'verified' when 'unmarked' then 'unmarked' when 'missing' then 'missing' else 'unknown' end,
         old_opportunity_id = coalesce(r.opportunity_id, s.old_opportunity_id)
    from jsonb_to_recordset(p_results) r (st_job_id bigint, result text, opportunity_id text)
   where s.tenant_id = p_tenant and s.st_job_id = r.st_job_id
$$;
comment on function jobsync.note_cards(text, jsonb) is 'Keeps what GoHighLevel holds of such jobs.';

-- What the old flow delivered counts as delivered: its content is the baseline, so that a later `arm --since` sends only the rest.
create function jobsync.baseline_old_deliveries(p_tenant text, p_jobs bigint[]) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_jobs bigint[] := lock_jobs(p_tenant, p_jobs);
  v_done integer;
begin
  delete from outbox o where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs) and o.attempts = 0 and o.lease_until is null and not o.forced;
  update jobs j set ghl_sync_status = 'synced', ghl_sync_reason = null, ghl_sync_error = null, delivered_hash = j.job_hash,
         ghl_synced_at = coalesce(s.old_marked_at, jobsync.now()), ghl_opportunity_id = coalesce(j.ghl_opportunity_id, s.old_opportunity_id), updated_at = jobsync.now()
    from shadow_jobs s
   where s.tenant_id = p_tenant and j.tenant_id = p_tenant and j.st_job_id = s.st_job_id and s.st_job_id = any (v_jobs) and j.st_job_id = any (v_jobs)
     and j.delivered_hash is null and j.ghl_sync_status = 'pending'
     and (select true from outbox o where o.tenant_id = p_tenant and o.st_job_id = j.st_job_id limit 1) is null;
  get diagnostics v_done = row_count;
  return v_done;
end
$$;
comment on function jobsync.baseline_old_deliveries(text, bigint[]) is 'Counts jobs as delivered that the old flow delivered and JobSync never tried. Answers how many; twice none.';

create function jobsync.finish_comparison(p_tenant text, p_since timestamptz, p_now timestamptz) returns jsonb
language plpgsql set search_path = jobsync, public set enable_seqscan = off as $$
declare
  v_delivered bigint[];
  v_report jsonb;
begin
  delete from shadow_jobs s where s.tenant_id = p_tenant and s.compared_at < p_now;
  insert into shadow_jobs (tenant_id, st_job_id, business_unit_id, created_on, compared_at)
  select p_tenant, j.st_job_id, u.st_business_unit_id, j.created_on, p_now
    from business_units u
    join jobs j on j.tenant_id = p_tenant and j.business_unit_id = u.st_business_unit_id and j.created_on >= p_since
   where u.tenant_id = p_tenant
  on conflict (tenant_id, st_job_id) do nothing;
  update shadow_jobs s set finding = f.finding, reason = f.reason
    from (select x.st_job_id,
            case when x.created_on > p_now - interval '30 minutes' then 'too_new'
                 when j.st_job_id is null then case when x.old_status in ('synced', 'pending', 'failed') then 'missing_here' else 'left_alone' end
                 when j.ghl_accepted_at is not null then case when x.old_status = 'synced' and x.old_marked_at > j.ghl_accepted_at - interval '1 hour' then 'sent_by_both' else 'sent_here' end
                 when x.old_status = 'synced' then case when j.ghl_sync_status in ('pending', 'synced') and coalesce(r.deliverer, 'none') = 'jobsync' then 'agreed' else 'skipped_here' end
                 when j.ghl_sync_status not in ('pending', 'synced') then 'left_alone'
                 when x.old_status is null then 'missed_by_old'
                 when x.card in ('verified', 'unmarked') then 'pushed_unmarked'
                 else 'unmarked' end as finding,
            coalesce(j.ghl_sync_reason, case when r.deliverer is distinct from 'jobsync' then coalesce(r.deliverer, 'unmapped') end) as reason
            from shadow_jobs x
            left join lateral (select k.* from jobs k where k.tenant_id = p_tenant and k.st_job_id = x.st_job_id offset 0) j on true
            left join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
           where x.tenant_id = p_tenant and x.compared_at = p_now) f
   where s.tenant_id = p_tenant and s.st_job_id = f.st_job_id;
  select coalesce(array_agg(s.st_job_id order by s.st_job_id), '{}') into v_delivered from shadow_jobs s
   where s.tenant_id = p_tenant and s.finding in ('agreed', 'pushed_unmarked') and s.old_status is not null;
  perform baseline_old_deliveries(p_tenant, v_delivered);
  insert into shadow_units as u (tenant_id, business_unit_id, compared_at, counts, clean_since, old_active_at)
  select p_tenant, c.business_unit_id, p_now, jsonb_object_agg(c.finding, c.jobs),
         case when bool_or(c.finding in ('missing_here', 'skipped_here', 'sent_by_both')) then null else p_now end, max(c.active)
    from (select s.business_unit_id, s.finding, count(*) as jobs, max(greatest(s.old_marked_at, s.old_seen_at)) as active from shadow_jobs s
           where s.tenant_id = p_tenant and s.business_unit_id is not null group by 1, 2) c
   group by c.business_unit_id
  on conflict (tenant_id, business_unit_id) do update set compared_at = excluded.compared_at, counts = excluded.counts,
    clean_since = case when excluded.clean_since is not null then coalesce(u.clean_since, excluded.clean_since) end, old_active_at = greatest(u.old_active_at, excluded.old_active_at);
  perform note_old_activity(p_tenant, p_now);
  select jsonb_build_object('jobs', coalesce(sum(f.jobs), 0), 'findings', coalesce(jsonb_object_agg(f.finding, f.jobs), '{}')) into v_report
    from (select s.finding, count(*) as jobs from shadow_jobs s where s.tenant_id = p_tenant group by s.finding) f;
  return v_report;
end
$$;
comment on function jobsync.finish_comparison(text, timestamptz, timestamptz) is
  'Gives each job of the comparison its finding, baselines what the old flow delivered, and writes the counts of each unit. The same again changes nothing.';

create function jobsync.keep_double_cards(p_tenant text, p_cards jsonb) returns integer language sql volatile as $$
  with gone as (delete from jobsync.double_cards d where d.tenant_id = p_tenant and not exists (select from jsonb_to_recordset(p_cards) r (opportunity_id text) where r.opportunity_id = d.opportunity_id)),
  kept as (
    insert into jobsync.double_cards (tenant_id, opportunity_id, together, why, keep, st_job_id, contact_id, pipeline_id, stage_id, status, created_at, minutes_after_first, found_at)
    select p_tenant, r.opportunity_id, r.together, r.why, r.keep, r.st_job_id, r.contact_id, r.pipeline_id, r.stage_id, r.status,
           jobsync.try_timestamptz_text(r.created_at), r.minutes_after_first, jobsync.now()
      from jsonb_to_recordset(p_cards) r (opportunity_id text, together text, why text, keep boolean, st_job_id bigint, contact_id text, pipeline_id text, stage_id text,
                                          status text, created_at text, minutes_after_first numeric)
    on conflict (tenant_id, opportunity_id) do update set together = excluded.together, why = excluded.why, keep = excluded.keep, status = excluded.status, stage_id = excluded.stage_id,
      pipeline_id = excluded.pipeline_id, minutes_after_first = excluded.minutes_after_first, found_at = excluded.found_at
    returning 1)
  select count(*)::integer from kept
$$;
comment on function jobsync.keep_double_cards(text, jsonb) is 'Replaces the list of doubled cards by what was found now. Answers how many cards it holds.';

create view jobsync.v_shadow_verdicts with (security_invoker = true) as
  select u.tenant_id, u.st_business_unit_id, u.name, s.compared_at, coalesce(s.counts, '{}') as counts, s.clean_since, s.old_active_at, v.because is null as is_safe, v.because
    from jobsync.unit_routes u
    left join jobsync.shadow_units s on s.tenant_id = u.tenant_id and s.business_unit_id = u.st_business_unit_id
    cross join lateral (select case
      when u.sync_enabled is false or u.sync_to_ghl is false then null
      when s.compared_at is null then 'no job of it was compared yet'
      when s.compared_at < jobsync.now() - interval '26 hours' then 'the last comparison is older than a day'
      when s.counts ? 'sent_by_both' then (s.counts ->> 'sent_by_both') || ' jobs were sent by both: the old flow still runs'
      when u.deliverer <> 'jobsync' then 'JobSync has no route for it: jobsync units set ' || u.st_business_unit_id || ' --webhook URL'
      when s.counts ? 'missing_here' then (s.counts ->> 'missing_here') || ' jobs that the old flow has are not here: jobsync pull, then compare again'
      when s.counts ? 'skipped_here' then (s.counts ->> 'skipped_here') || ' jobs that the old flow delivered would be skipped here: jobsync why JOB'
      when u.destination_paused_at is not null then 'its destination is paused: ' || coalesce(u.destination_pause_reason, 'no reason was noted')
      when u.problem is not null then u.problem
      when not s.counts ?| array['agreed', 'missed_by_old', 'unmarked', 'pushed_unmarked', 'sent_here'] then 'no job was booked that both could send'
      when s.clean_since > jobsync.now() - interval '2 days' then 'it was compared cleanly for less than two days'
    end as because) v;
comment on view jobsync.v_shadow_verdicts is 'Is it safe to switch a unit from the old flow to JobSync: yes (is_safe), or not yet, because ...';

-- A week after JobSync delivers alone, the old workflow can be deleted. Told for a week, then no more.
create view jobsync.v_old_flow with (security_invoker = true) as
  select x.tenant_id, x.switched_at, x.last_seen_at, x.stable_since, x.stable_since + interval '7 days' as delete_on,
         x.stable_since <= jobsync.now() - interval '7 days' and x.stable_since > jobsync.now() - interval '14 days' as is_due
    from (select t.tenant_id, w.switched_at, m.last_seen_at, greatest(w.switched_at, m.last_seen_at) as stable_since
            from jobsync.tenants t
            cross join lateral (select max(m.last_marked_at) as last_seen_at from jobsync.outside_marks m where m.tenant_id = t.tenant_id) m
            cross join lateral (select greatest(t.mode_set_at, max(r.updated_at)) as switched_at from jobsync.routes r where r.tenant_id = t.tenant_id and r.deliverer = 'jobsync') w
           where t.mode = 'live' and w.switched_at is not null
             -- Only where there was an old flow, and none of its units is left to it.
             and (m.last_seen_at is not null or exists (select from jobsync.adoptions a where a.tenant_id = t.tenant_id) or exists (select from jobsync.shadow_units s where s.tenant_id = t.tenant_id))
             and not exists (select from jobsync.routes r where r.tenant_id = t.tenant_id and r.deliverer = 'external')) x;
comment on view jobsync.v_old_flow is 'Since when JobSync delivers alone (stable_since: nothing of the old flow was seen since), and from when on its workflow can be deleted.';

-- A pass over the staged rows of an import, a thousand at a time: counted (dry run) or written, each chunk with its ledger and
-- its place in one transaction; and the way back.

create function jobsync.patch_customers(p_tenant text, p_import text, p_decisions jsonb) returns void
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_custom_plan as $$
declare
  v_now timestamptz := jobsync.now();
  v_ids bigint[] := array(select (d ->> 'record_id')::bigint from jsonb_array_elements(p_decisions) d);
  v_noted bigint[] := array(select n.st_customer_id from contact_changes n where n.tenant_id = p_tenant and n.st_customer_id = any (v_ids));
begin
  update customers c set
    st_location_id = n.st_location_id, first_name = n.first_name, last_name = n.last_name, company_name = n.company_name, email = left(n.email, 500),
    phone = left(n.phone, 500), street = n.street, city = n.city, state = n.state, postal_code = n.postal_code, country = n.country, county = n.county,
    ghl_contact_id = n.ghl_contact_id, updated_at = v_now,
    st_raw_data = case when c.source = 'import' and d.extra is not null then coalesce(c.st_raw_data, '{}') || jsonb_build_object('airtable', d.extra) else c.st_raw_data end
    from (select (x ->> 'record_id')::bigint as id, x -> 'fields' as patch, x -> 'extra' as extra from jsonb_array_elements(p_decisions) x) d
    cross join lateral (select p.* from customers o cross join lateral jsonb_populate_record(o, d.patch) p
                         where o.tenant_id = p_tenant and o.st_customer_id = d.id offset 0) n
   where c.tenant_id = p_tenant and c.st_customer_id = any (v_ids) and c.st_customer_id = d.id;
  -- What a file fills in is nothing that GoHighLevel has to be told, nor does it let a job go out that waited for a phone.
  delete from contact_changes n where n.tenant_id = p_tenant and n.st_customer_id = any (v_ids) and n.st_customer_id <> all (v_noted);
end
$$;
comment on function jobsync.patch_customers(text, text, jsonb) is
  'Gives columns of stored customers new values ([{record_id, fields, extra}]), and plans nothing for it.';

create function jobsync.patch_jobs(p_tenant text, p_import text, p_decisions jsonb) returns void
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_custom_plan as $$
declare
  v_now timestamptz := jobsync.now();
  v_version smallint := hash_version();
  v_ids bigint[] := array(select (d ->> 'record_id')::bigint from jsonb_array_elements(p_decisions) d);
begin
  update jobs j set
    st_job_number = left(n.st_job_number, 500), st_customer_id = n.st_customer_id, st_location_id = n.st_location_id, business_unit_id = n.business_unit_id,
    job_type_id = n.job_type_id, job_type_name = n.job_type_name, job_status = n.job_status, priority = n.priority, summary = n.summary,
    created_on = n.created_on, completed_on = n.completed_on, total = n.total, tag_type_ids = n.tag_type_ids, ghl_opportunity_id = n.ghl_opportunity_id,
    updated_at = v_now, job_hash = n.new_hash, job_hash_version = v_version,
    -- What was delivered stays delivered: a blank that a file fills is no change to be sent.
    delivered_hash = case when j.delivered_hash = j.job_hash then n.new_hash else j.delivered_hash end,
    st_raw_data = case when j.source = 'import' and d.extra is not null then coalesce(j.st_raw_data, '{}') || jsonb_build_object('airtable', d.extra) else j.st_raw_data end
    from (select (x ->> 'record_id')::bigint as id, x -> 'fields' as patch, x -> 'extra' as extra from jsonb_array_elements(p_decisions) x) d
    cross join lateral (
      select p.*, job_hash(left(p.st_job_number, 500), p.st_customer_id, p.st_location_id, p.business_unit_id, p.job_type_id, p.job_status, p.priority, p.summary,
                           p.completed_on, p.total, p.campaign_id, p.tag_type_ids, p.active) as new_hash
        from jobs o cross join lateral jsonb_populate_record(o, d.patch) p where o.tenant_id = p_tenant and o.st_job_id = d.id offset 0) n
   where j.tenant_id = p_tenant and j.st_job_id = any (v_ids) and j.st_job_id = d.id;
end
$$;
comment on function jobsync.patch_jobs(text, text, jsonb) is
  'Gives columns of stored jobs new values ([{record_id, fields, extra}]), and plans nothing for it.';

create function jobsync.write_import_rows(p_tenant text, p_import text, p_entity text, p_decisions jobsync.import_decision[]) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_page jsonb;
  v_filled jsonb;
  v_marks jsonb;
  v_file import_files;
  v_prefer text;
begin
  select * into v_file from import_files f where f.tenant_id = p_tenant and f.import_id = p_import and f.entity = p_entity;
  select i.prefer into v_prefer from imports i where i.tenant_id = p_tenant and i.id = p_import;
  select jsonb_agg(case p_entity when 'customers' then customer_of_import(d.record_id, d.fields, d.extra) else job_of_import(d.record_id, d.fields, d.extra) end),
         -- The ids of GoHighLevel do not come through /db.
         jsonb_agg(jsonb_build_object('record_id', d.record_id, 'fields', jsonb_strip_nulls(jsonb_build_object(
           'ghl_contact_id', d.fields -> 'ghl_contact_id', 'ghl_opportunity_id', d.fields -> 'ghl_opportunity_id'))))
           filter (where d.fields ?| array['ghl_contact_id', 'ghl_opportunity_id'])
    into v_page, v_marks from unnest(p_decisions) d where d.outcome = 'new';
  select jsonb_agg(jsonb_build_object('record_id', d.record_id, 'fields', d.fields, 'extra', d.extra)) into v_filled from unnest(p_decisions) d where d.outcome = 'filled';
  if v_page is not null and p_entity = 'customers' then
    perform store_customers(p_tenant, v_page, 'import');
  elsif v_page is not null then
    -- Held: nothing that a file brings is ever sent by itself.
    perform store_jobs(p_tenant, v_page, 'import', 'imported');
  end if;
  v_filled := coalesce(v_filled, '[]') || coalesce(v_marks, '[]');
  if v_filled <> '[]' and p_entity = 'customers' then
    perform patch_customers(p_tenant, p_import, v_filled);
  elsif v_filled <> '[]' then
    perform patch_jobs(p_tenant, p_import, v_filled);
  end if;
  insert into import_ledger (tenant_id, import_id, entity, row_no, file_sha256, row_hash, record_id, st_customer_id, st_job_id, outcome, prefer, prior, wrote, written_at)
  select p_tenant, p_import, p_entity, d.row_no, v_file.sha256, d.row_hash, d.record_id, d.st_customer_id, case p_entity when 'jobs' then d.record_id end,
         d.outcome, v_prefer, d.prior, case when d.outcome in ('new', 'filled') then d.fields end, n.at
    from unnest(p_decisions) d, (select jobsync.now() as at offset 0) n
   where d.outcome <> 'error';
end
$$;
comment on function jobsync.write_import_rows(text, text, text, jobsync.import_decision[]) is
  'Writes what was decided: new records by the same path as /db (jobs held as imported), filled ones column by column, and a line of the ledger for each row.';

create function jobsync.pass_import_rows(p_tenant text, p_import text, p_entity text, p_limit integer, p_apply boolean, p_connected boolean) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_file import_files;
  v_state text;
  v_decisions import_decision[];
  v_counts jsonb;
  v_last integer;
  v_rows integer[];
begin
  select i.state into v_state from imports i where i.tenant_id = p_tenant and i.id = p_import for no key update;
  if p_apply and v_state is distinct from 'applying' or v_state in ('undoing', 'undone') then
    raise exception 'import % is %', p_import, v_state using errcode = 'JS002';
  end if;
  select * into v_file from import_files f where f.tenant_id = p_tenant and f.import_id = p_import and f.entity = p_entity for update;
  if not found then
    return jsonb_build_object('rows', 0, 'done', true);
  end if;
  if p_apply then
    perform lock_stream(p_tenant, p_entity);
  end if;
  v_last := case when p_apply then v_file.applied_row else v_file.judged_row end;
  select array_agg(d order by d.row_no), max(d.row_no) into v_decisions, v_last
    from judge_import_rows(p_tenant, p_import, p_entity, v_last, p_limit, not p_apply, p_connected) d;
  if v_decisions is null then
    return jsonb_build_object('rows', 0, 'done', true);
  end if;
  if p_apply then
    perform write_import_rows(p_tenant, p_import, p_entity, v_decisions);
  end if;
  v_rows := array(select d.row_no from unnest(v_decisions) d);
  -- Looked up by key: of a file that was staged a moment ago, before its table was analysed, all rows would be read for each chunk.
  update import_rows r set found = d.found from unnest(v_decisions) d
   where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = p_entity and r.row_no = any (v_rows) and r.row_no = d.row_no
     and r.found is distinct from d.found;
  select coalesce(case when p_apply then v_file.applied else v_file.judged end, '{}') || jsonb_object_agg(c.outcome,
           c.rows + coalesce(((case when p_apply then v_file.applied else v_file.judged end) ->> c.outcome)::integer, 0)) into v_counts
    from (select d.outcome, count(*) as rows from unnest(v_decisions) d group by 1
          union all
          -- Values of ServiceTitan that the file would replace: a person is asked first.
          select 'replaced', count(*) from unnest(v_decisions) d
           where d.known_source = 'servicetitan' and d.outcome = 'filled' and exists (select from jsonb_each(d.prior) e where not is_blank(e.value))
          having count(*) > 0) c;
  update import_files f set
    applied_row = case when p_apply then v_last else f.applied_row end, applied = case when p_apply then v_counts else f.applied end,
    judged_row = case when p_apply then f.judged_row else v_last end, judged = case when p_apply then f.judged else v_counts end
   where f.tenant_id = p_tenant and f.import_id = p_import and f.entity = p_entity;
  if p_apply then
    update sync_logs l set metadata = l.metadata || jsonb_build_object('alive_s', extract(epoch from jobsync.now() - l.started_at)::integer),
           records_processed = l.records_processed + cardinality(v_decisions)
      from imports i where i.tenant_id = p_tenant and i.id = p_import and l.tenant_id = p_tenant and l.id = i.run and l.status = 'running';
    perform fold_tallies(p_tenant);
  end if;
  return jsonb_build_object('rows', cardinality(v_decisions), 'row', v_last, 'done', cardinality(v_decisions) < p_limit);
end
$$;
comment on function jobsync.pass_import_rows(text, text, text, integer, boolean, boolean) is
  'Counts (p_apply false) or writes the next p_limit rows of a file, and moves its place: {rows, row, done}. After the last row it does nothing.';

create function jobsync.open_undo(p_tenant text, p_import text, p_actor text) returns text
language plpgsql set search_path = jobsync, public as $$
declare
  v_state text;
begin
  select i.state into v_state from imports i where i.tenant_id = p_tenant and i.id = p_import for update;
  if not found then
    raise exception 'import % is not known', p_import using errcode = 'JS004', hint = 'jobsync import list';
  end if;
  if v_state in ('staging', 'staged') then
    raise exception 'import % wrote nothing', p_import using errcode = 'JS001', hint = 'There is nothing to undo.';
  end if;
  if v_state in ('applying', 'applied') then
    update imports i set state = 'undoing', updated_at = jobsync.now() where i.tenant_id = p_tenant and i.id = p_import;
    update sync_logs l set status = 'failed', error_message = 'undone', completed_at = jobsync.now() from imports i
     where i.tenant_id = p_tenant and i.id = p_import and l.tenant_id = p_tenant and l.id = i.run and l.status = 'running';
    perform write_audit(p_tenant, p_actor, 'import_undo_began', 'import:' || p_import);
  end if;
  return v_state;
end
$$;
comment on function jobsync.open_undo(text, text, text) is 'Begins to undo an import, or goes on with it. Answers the state it was in.';

create function jobsync.undo_import_rows(p_tenant text, p_import text, p_entity text, p_limit integer) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_custom_plan as $$
declare
  v_now timestamptz := jobsync.now();
  v_rows integer[];
  v_deleted bigint[];
  v_restored jsonb;
begin
  if exists (select from imports i where i.tenant_id = p_tenant and i.id = p_import and i.state = 'undone') then
    return 0;
  end if;
  perform from imports i where i.tenant_id = p_tenant and i.id = p_import and i.state = 'undoing' for no key update;
  if not found then
    raise exception 'import % is not being undone', p_import using errcode = 'JS002';
  end if;
  perform lock_stream(p_tenant, p_entity);
  v_rows := array(select l.row_no from import_ledger l where l.tenant_id = p_tenant and l.import_id = p_import and l.entity = p_entity and l.undone_at is null
                   order by l.row_no limit p_limit);
  if v_rows = '{}' then
    return 0;
  end if;
  -- A record that the import made goes, unless somebody else has had a hand in it since.
  if p_entity = 'jobs' then
    with gone as (
      delete from jobs j using import_ledger l
       where l.tenant_id = p_tenant and l.import_id = p_import and l.entity = 'jobs' and l.row_no = any (v_rows) and l.outcome = 'new'
         and j.tenant_id = p_tenant and j.st_job_id = l.record_id and j.source = 'import' and j.delivered_hash is null
         and j.ghl_sync_status = 'skipped' and j.ghl_sync_reason = 'imported'
         and not exists (select from import_ledger y where y.tenant_id = p_tenant and y.entity = 'jobs' and y.record_id = l.record_id and y.import_id <> p_import
                            and y.undone_at is null and y.outcome in ('new', 'filled'))
      returning j.st_job_id)
    select array_agg(g.st_job_id) into v_deleted from gone g;
  else
    with gone as (
      delete from customers c using import_ledger l
       where l.tenant_id = p_tenant and l.import_id = p_import and l.entity = 'customers' and l.row_no = any (v_rows) and l.outcome = 'new'
         and c.tenant_id = p_tenant and c.st_customer_id = l.record_id and c.source = 'import'
         and not exists (select from jobs j where j.tenant_id = p_tenant and j.st_customer_id = l.record_id)
         and not exists (select from import_ledger y where y.tenant_id = p_tenant and y.entity = 'customers' and y.record_id = l.record_id and y.import_id <> p_import
                            and y.undone_at is null and y.outcome in ('new', 'filled'))
      returning c.st_customer_id)
    select array_agg(g.st_customer_id) into v_deleted from gone g;
  end if;
  -- A column that the import filled gets its old value back, where it still has the one that the import gave it.
  select jsonb_agg(jsonb_build_object('record_id', r.record_id, 'row_no', r.row_no, 'fields', r.fields, 'extra', r.extra)) into v_restored from (
    select l.record_id, l.row_no, l.prior -> '_airtable' as extra, (select jsonb_object_agg(w.key, l.prior -> w.key) from jsonb_each(l.wrote) w where w.value = coalesce(c.old, j.old) -> w.key) as fields
      from import_ledger l
      left join lateral (select to_jsonb(x) as old from customers x where p_entity = 'customers' and x.tenant_id = p_tenant and x.st_customer_id = l.record_id offset 0) c on true
      left join lateral (select to_jsonb(x) as old from jobs x where p_entity = 'jobs' and x.tenant_id = p_tenant and x.st_job_id = l.record_id offset 0) j on true
     where l.tenant_id = p_tenant and l.import_id = p_import and l.entity = p_entity and l.row_no = any (v_rows) and l.outcome = 'filled') r
   where r.fields is not null;
  if v_restored is not null and p_entity = 'customers' then
    perform patch_customers(p_tenant, p_import, v_restored);
  elsif v_restored is not null then
    perform patch_jobs(p_tenant, p_import, v_restored);
  end if;
  update import_ledger l set undone_at = v_now, undo_result = case
      when l.outcome = 'new' then case when l.record_id = any (v_deleted) then 'deleted' else 'kept' end
      when l.outcome = 'filled' then case when exists (select from jsonb_array_elements(v_restored) r where (r ->> 'row_no')::integer = l.row_no) then 'restored' else 'kept' end
      else 'nothing' end
   where l.tenant_id = p_tenant and l.import_id = p_import and l.entity = p_entity and l.row_no = any (v_rows);
  if p_entity = 'jobs' then
    perform fold_tallies(p_tenant);
  end if;
  return cardinality(v_rows);
end
$$;
comment on function jobsync.undo_import_rows(text, text, text, integer) is
  'Takes the next rows of an import back: records it made are deleted, columns it filled get their old values; what was changed since stays. Answers how many rows; 0: all done.';

create function jobsync.close_undo(p_tenant text, p_import text, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_counts jsonb;
begin
  select coalesce(jsonb_object_agg(c.undo_result, c.rows), '{}') into v_counts
    from (select l.undo_result, count(*) as rows from import_ledger l
           where l.tenant_id = p_tenant and l.import_id = p_import and l.undo_result is not null group by 1) c;
  update imports i set state = 'undone', undone_at = jobsync.now(), updated_at = jobsync.now()
   where i.tenant_id = p_tenant and i.id = p_import and i.state = 'undoing';
  if found then
    perform write_audit(p_tenant, p_actor, 'import_undone', 'import:' || p_import, v_counts);
  end if;
  return v_counts;
end
$$;
comment on function jobsync.close_undo(text, text, text) is 'Ends an undo; answers rows by what was done: deleted, restored, kept, nothing.';

-- What is said about an import: complaints counted, and the reconciliation of its files with the database.

create function jobsync.count_import_issues(p_tenant text, p_import text) returns jsonb
language sql stable set search_path = jobsync, public as $$
  select coalesce(jsonb_object_agg(e.entity, e.codes), '{}')
    from (select c.entity, jsonb_object_agg(c.code, jsonb_build_object('rows', c.rows, 'is_error', c.is_error)) as codes
            from (select r.entity, i ->> 'code' as code, bool_or((i ->> 'is_error')::boolean) as is_error, count(distinct r.row_no) as rows
                    from import_rows r cross join lateral jsonb_array_elements(coalesce(r.issues, '[]') || coalesce(r.found, '[]')) i
                   where r.tenant_id = p_tenant and r.import_id = p_import and (r.issues is not null or r.found is not null)
                   group by 1, 2) c
           group by c.entity) e
$$;
comment on function jobsync.count_import_issues(text, text) is 'Rows by file and complaint: {entity: {code: {rows, is_error}}}.';

create function jobsync.list_shared_ways(p_tenant text, p_import text) returns jsonb
language sql stable set search_path = jobsync, public as $$
  with shared as materialized (
    select w.kind, w.value, array_agg(distinct r.record_id) as customers
      from import_rows r cross join lateral (values ('phone', r.fields ->> 'phone'), ('email', r.fields ->> 'email')) w(kind, value)
     where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'customers' and not r.failed and w.value is not null
     group by 1, 2 having count(distinct r.record_id) > 1)
  select jsonb_build_object('count', (select count(*) from shared),
    'first', (select coalesce(jsonb_agg(jsonb_build_object('kind', f.kind, 'value', f.value, 'customers', to_jsonb(f.customers[:20])) order by cardinality(f.customers) desc, f.value), '[]')
                from (select s.* from shared s order by cardinality(s.customers) desc, s.value limit 50) f))
$$;
comment on function jobsync.list_shared_ways(text, text) is 'Phones and emails that customers of different ids share in a file: {count, first}. They are reported, never merged. Reads the whole file.';

-- A row that failed is settled once the errors file brought it in.
create function jobsync.count_open_errors(p_tenant text, p_import text) returns jsonb
language sql stable set search_path = jobsync, public as $$
  select coalesce(jsonb_object_agg(f.entity, jsonb_build_object('errors', e.errors, 'settled', e.settled)), '{}')
    from import_files f
    cross join lateral (
      select count(*) as errors, count(*) filter (where s.settled) as settled
        from import_rows r
        cross join lateral (select exists (
          select from import_files k
            join import_rows c on c.tenant_id = k.tenant_id and c.import_id = k.import_id and c.entity = k.entity and c.origin_row = r.row_no
            join import_ledger l on l.tenant_id = c.tenant_id and l.import_id = c.import_id and l.entity = c.entity and l.row_no = c.row_no and l.undone_at is null
           where k.tenant_id = p_tenant and k.parent_import = p_import and k.entity = f.entity) as settled) s
       where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = f.entity and (r.issues is not null or r.found is not null)
         and (r.failed or jsonb_path_exists(r.found, '$[*] ? (@.is_error == true)'))) e
   where f.tenant_id = p_tenant and f.import_id = p_import
$$;
comment on function jobsync.count_open_errors(text, text) is 'Rows of an import that failed, and how many of them its errors file brought in since: {entity: {errors, settled}}.';

create type jobsync.imported_record as (record_id bigint, csv_unit bigint, csv_month text, csv_total numeric, is_here boolean, unit bigint, month text, total numeric, source text);
comment on type jobsync.imported_record is 'One record of an import''s file beside the row of the database; is_here false: there is none.';

create function jobsync.list_imported(p_tenant text, p_import text, p_entity text) returns setof jobsync.imported_record
language plpgsql stable set search_path = jobsync, public as $$
declare
  v_zone text := (select coalesce(i.options ->> 'time_zone', 'UTC') from imports i where i.tenant_id = p_tenant and i.id = p_import);
begin
  return query
  select k.record_id, k.unit, to_char(k.created_on at time zone v_zone, 'YYYY-MM'), k.total, coalesce(j.st_job_id, c.st_customer_id) is not null,
         j.business_unit_id, to_char(j.created_on at time zone v_zone, 'YYYY-MM'), j.total, coalesce(j.source, c.source)
    from (select distinct on (r.record_id) r.record_id, (r.fields ->> 'business_unit_id')::bigint as unit, (r.fields ->> 'created_on')::timestamptz as created_on,
                 (r.fields ->> 'total')::numeric as total
            from import_rows r
           where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = p_entity and not r.failed
             and not coalesce(jsonb_path_exists(r.found, '$[*] ? (@.is_error == true)'), false)
           order by r.record_id, r.modified_at desc nulls last, r.given desc, r.row_no) k
    left join jobs j on p_entity = 'jobs' and j.tenant_id = p_tenant and j.st_job_id = k.record_id
    left join customers c on p_entity = 'customers' and c.tenant_id = p_tenant and c.st_customer_id = k.record_id;
end
$$;
comment on function jobsync.list_imported(text, text, text) is 'Every record of an import''s file beside what the database holds under its id. Reads the whole import.';

create function jobsync.compare_import(p_tenant text, p_import text, p_entity text) returns jsonb
language plpgsql stable set search_path = jobsync, public as $$
begin
  return (
    with held as materialized (select * from list_imported(p_tenant, p_import, p_entity))
    select jsonb_build_object(
      'records', count(*), 'here', count(*) filter (where h.is_here), 'confirmed', count(*) filter (where h.source = 'servicetitan'),
      'missing', count(*) filter (where not h.is_here),
      'missing_ids', (select coalesce(jsonb_agg(m.record_id order by m.record_id), '[]') from (select x.record_id from held x where not x.is_here order by 1 limit 100) m),
      'money', case when p_entity = 'jobs' then jsonb_build_object('csv', coalesce(sum(h.csv_total), 0), 'database', coalesce(sum(h.total) filter (where h.csv_total is not null), 0),
        'differing', count(*) filter (where h.csv_total <> h.total), 'differing_unconfirmed', count(*) filter (where h.csv_total <> h.total and h.source <> 'servicetitan'),
        'ids', (select coalesce(jsonb_agg(m.record_id order by m.record_id), '[]') from (select x.record_id from held x where x.csv_total <> x.total order by 1 limit 100) m)) end,
      'units', case when p_entity = 'jobs' then (
        select coalesce(jsonb_agg(jsonb_build_object('id', g.unit, 'name', u.name, 'csv', g.csv, 'database', g.db, 'servicetitan', g.st) order by g.csv desc, g.unit), '[]')
          from (select s.unit, sum(s.csv) as csv, sum(s.db) as db, sum(s.st) as st
                  from (select x.csv_unit as unit, 1 as csv, 0 as db, 0 as st from held x
                        union all
                        select coalesce(x.unit, x.csv_unit), 0, 1, (x.source = 'servicetitan')::integer from held x where x.is_here) s group by 1) g
          left join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = g.unit) end,
      'months', case when p_entity = 'jobs' then (
        select coalesce(jsonb_agg(jsonb_build_object('month', g.month, 'csv', g.csv, 'database', g.db, 'servicetitan', g.st, 'csv_total', g.csv_total, 'database_total', g.total)
                                  order by g.month nulls last), '[]')
          from (select s.month, sum(s.csv) as csv, sum(s.db) as db, sum(s.st) as st, sum(s.csv_total) as csv_total, sum(s.total) as total
                  from (select x.csv_month as month, 1 as csv, 0 as db, 0 as st, x.csv_total, 0::numeric as total from held x
                        union all
                        select coalesce(x.month, x.csv_month), 0, 1, (x.source = 'servicetitan')::integer, 0, x.total from held x where x.is_here) s group by 1) g) end)
      from held h);
end
$$;
comment on function jobsync.compare_import(text, text, text) is
  'A file of an import against the database, in numbers: records, those that are here and those that ServiceTitan confirmed by a pull; for jobs by unit and month, and money.';

create function jobsync.list_unconfirmed(p_tenant text, p_import text, p_entity text, p_limit integer) returns bigint[]
language sql stable set search_path = jobsync, public as $$
  select coalesce(array_agg(k.record_id order by k.record_id), '{}')
    from (select h.record_id from list_imported(p_tenant, p_import, p_entity) h where h.source is distinct from 'servicetitan' order by h.record_id limit p_limit) k
$$;
comment on function jobsync.list_unconfirmed(text, text, text, integer) is 'Ids of an import''s file that no pull has brought yet: ServiceTitan may not know them.';

create function jobsync.list_recent_outside(p_tenant text, p_import text, p_days integer) returns jsonb
language plpgsql stable set search_path = jobsync, public as $$
declare
  v_newest timestamptz;
begin
  select max((r.fields ->> 'created_on')::timestamptz) into v_newest from import_rows r
   where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'jobs' and not r.failed;
  if v_newest is null or not exists (select from cursors c where c.tenant_id = p_tenant and c.stream = 'jobs' and c.caught_up_at is not null) then
    return null;
  end if;
  return (
    with outside as materialized (
      select j.st_job_id from jobs j
       where j.tenant_id = p_tenant and j.modified_on >= v_newest - p_days * interval '1 day' and j.created_on >= v_newest - p_days * interval '1 day'
         and j.source = 'servicetitan' and j.active
         and not exists (select from import_rows r where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = 'jobs' and r.record_id = j.st_job_id and not r.failed))
    select jsonb_build_object('since', v_newest - p_days * interval '1 day', 'count', count(*),
                              'ids', (select coalesce(jsonb_agg(m.st_job_id), '[]') from (select o.st_job_id from outside o order by 1 limit 100) m)) from outside);
end
$$;
comment on function jobsync.list_recent_outside(text, text, integer) is
  'Jobs of ServiceTitan booked in the last p_days of the file''s time, or later, that the file does not have; null where it cannot be told.';

create function jobsync.show_import_rows(p_tenant text, p_import text, p_entity text, p_rows integer[], p_limit integer) returns jsonb
language plpgsql stable set search_path = jobsync, public as $$
begin
  return (
    select coalesce(jsonb_agg(s.shown order by s.row_no), '[]') from (
      select r.row_no, jsonb_build_object('row', r.row_no, 'id', r.record_id, 'is_here', coalesce(c.old, j.old) is not null, 'source', coalesce(c.old, j.old) ->> 'source',
               'fields', (select coalesce(jsonb_agg(jsonb_build_object('field', e.key, 'csv', e.value, 'database', coalesce(c.old, j.old) -> e.key,
                                   'same', coalesce(says_the_same(e.key, coalesce(c.old, j.old) -> e.key, e.value), false)) order by e.key), '[]') from jsonb_each(t.row) e
                           where r.fields ? e.key)) as shown
        from import_rows r
        left join lateral (select to_jsonb(x) as old from customers x where p_entity = 'customers' and x.tenant_id = p_tenant and x.st_customer_id = r.record_id offset 0) c on true
        left join lateral (select to_jsonb(x) as old from jobs x where p_entity = 'jobs' and x.tenant_id = p_tenant and x.st_job_id = r.record_id offset 0) j on true
        cross join lateral (select case p_entity when 'customers' then to_jsonb(jsonb_populate_record(null::public.customers, r.fields))
                                                 else to_jsonb(jsonb_populate_record(null::public.jobs, r.fields)) end as row) t
       where r.tenant_id = p_tenant and r.import_id = p_import and r.entity = p_entity and r.row_no = any (p_rows) and not r.failed
       order by r.row_no limit p_limit) s);
end
$$;
comment on function jobsync.show_import_rows(text, text, text, integer[], integer) is 'Rows of a file side by side with the database, field by field.';

-- Imports that a page asks for and a worker does: the wish stands in the import until it is done, so that a worker which dies
-- leaves nothing behind; the schedule finds it and somebody else goes on where the rows say.

create function jobsync.ask_import(p_tenant text, p_import text, p_act text, p_actor text) returns void
language plpgsql set search_path = jobsync, public as $$
declare
  v_import imports;
begin
  select * into v_import from imports i where i.tenant_id = p_tenant and i.id = p_import for no key update;
  if not found then
    raise exception 'import % is not known', p_import using errcode = 'JS004', hint = 'jobsync import list';
  end if;
  if v_import.asked is not null then
    raise exception 'a worker is at this import already' using errcode = 'JS002', hint = 'Its page shows how far it is.';
  end if;
  if not (case p_act when 'count' then v_import.state = 'staged' when 'write' then v_import.state in ('staged', 'applying', 'undoing')
                    when 'undo' then v_import.state in ('applying', 'applied', 'undoing') else v_import.state = 'applied' end) then
    raise exception 'import % is %: this cannot be asked of it now', p_import, v_import.state using errcode = 'JS001', hint = 'Import the files again.';
  end if;
  update imports i set asked = p_act, asked_error = null, updated_at = jobsync.now() where i.tenant_id = p_tenant and i.id = p_import;
  perform write_audit(p_tenant, p_actor, 'import_' || p_act || '_asked', 'import:' || p_import);
end
$$;
comment on function jobsync.ask_import(text, text, text, text) is
  'Leaves an act (count, write, undo, compare) on an import to a worker. Refused while one is at it, and where the state does not allow it.';

create function jobsync.list_asked_imports() returns table (tenant_id text, import_id text) language sql stable as $$
  select i.tenant_id, i.id from jobsync.imports i where i.asked is not null
$$;
comment on function jobsync.list_asked_imports() is 'Imports that somebody should be working on; read by the schedule as the owner.';

create function jobsync.close_asked_import(p_tenant text, p_import text, p_act text, p_error text) returns void language sql volatile as $$
  update jobsync.imports i set asked = null, asked_error = pg_catalog.left(p_error, 1000), updated_at = jobsync.now()
   where i.tenant_id = p_tenant and i.id = p_import and i.asked = p_act;
  select jobsync.write_audit(p_tenant, 'jobsync', 'import_' || p_act || case when p_error is null then '_done' else '_failed' end, 'import:' || p_import)
$$;
comment on function jobsync.close_asked_import(text, text, text, text) is 'What was asked of an import is done, or was stopped by p_error.';

-- The guide's two views and JobSync's stable ones. Views are security_invoker: they show a role no more than its own rows.

create view public.sync_statistics with (security_invoker = true) as
  select t.class as sync_type, t.reason as status, sum(t.rows)::bigint as count, sum(t.milliseconds) / nullif(sum(t.timed), 0) as avg_duration_ms,
         max((select max(l.started_at) from public.sync_logs l where l.tenant_id = t.tenant_id and l.sync_type = t.class and l.status = t.reason)) as last_sync_at
    from jobsync.v_tallies t
   where t.topic = 'runs'
   group by t.class, t.reason
   order by t.class, t.reason;
comment on view public.sync_statistics is 'Runs by type and status over all time.';

create view jobsync.v_offered_jobs with (security_invoker = true) as
  select j.*, c.first_name, c.last_name, coalesce(l.email, c.email) as email, coalesce(l.phone, c.phone) as phone,
         case when l.street is not null or l.city is not null then l.street else c.street end as street,
         case when l.street is not null or l.city is not null then l.city else c.city end as city,
         case when l.street is not null or l.city is not null then l.state else c.state end as state,
         case when l.street is not null or l.city is not null then l.postal_code else c.postal_code end as postal_code,
         coalesce(l.county, c.county) as county, u.ghl_pipeline_name,
         c.company_name, case when l.street is not null or l.city is not null then l.country else c.country end as country
    from public.jobs j
    join public.business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
    join jobsync.routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'external'
    -- offset 0: see jobsync.projections.
    left join lateral (
      select x.* from public.customers x
       where x.tenant_id = j.tenant_id
         and x.st_customer_id = (select case when o.merged_to_id is null then o.st_customer_id else jobsync.resolve_customer(j.tenant_id, j.st_customer_id) end
                                   from public.customers o where o.tenant_id = j.tenant_id and o.st_customer_id = j.st_customer_id)
      offset 0) c on true
    left join lateral (
      select x.* from jobsync.locations x
       where x.tenant_id = j.tenant_id
         and x.st_location_id = (select case when o.merged_to_id is null then o.st_location_id else jobsync.resolve_location(j.tenant_id, j.st_location_id) end
                                   from jobsync.locations o where o.tenant_id = j.tenant_id and o.st_location_id = j.st_location_id)
      offset 0) l on true
   where j.ghl_sync_status in ('pending', 'failed') and u.sync_to_ghl and u.sync_enabled;
comment on view jobsync.v_offered_jobs is 'Jobs of external units that are pending or failed, with what a delivery needs.';

create view jobsync.v_pending_jobs with (security_invoker = true) as
  select * from jobsync.v_offered_jobs where ghl_sync_status = 'pending';
comment on view jobsync.v_pending_jobs is 'The rows of public.jobs_pending_ghl_sync, unordered: who asks for the oldest hundred then has only these looked up.';

create view public.jobs_pending_ghl_sync with (security_invoker = true) as
  select * from jobsync.v_pending_jobs order by created_on, st_job_id;
comment on view public.jobs_pending_ghl_sync is
  'Jobs that an external deliverer (n8n, a script) has to push, oldest first. Units that JobSync delivers never appear here.';

create view jobsync.v_job_status with (security_invoker = true) as
  select j.tenant_id, j.st_job_id, j.st_job_number, j.business_unit_id, u.name as business_unit_name, j.job_status, j.ghl_sync_status, j.ghl_sync_reason,
         j.ghl_sync_error, j.ghl_sync_flags, j.ghl_accepted_at, j.ghl_verified_at, j.ghl_opportunity_id, o.next_attempt_at, o.attempts, o.waiting_for,
         j.created_on, j.modified_on, j.synced_from_st_at,
         case when j.ghl_verified_at >= j.ghl_accepted_at and j.ghl_sync_status = 'synced' then 'verified'
              when j.ghl_sync_status = 'synced' then 'accepted' when j.ghl_sync_status = 'failed' then 'failed'
              when j.ghl_sync_status = 'skipped' then case when j.ghl_sync_reason in ('unmapped', 'deleted_in_ghl', 'card_unknown') then 'blocked' else 'skipped' end
              else 'pending' end as state
    from public.jobs j
    left join public.business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
    left join lateral (select x.* from jobsync.outbox x where x.tenant_id = j.tenant_id and x.st_job_id = j.st_job_id offset 0) o on true;
comment on view jobsync.v_job_status is 'Where every job stands and why: verified, accepted, pending, failed, blocked (needs a person) or skipped.';

create view jobsync.v_unsynced_reasons with (security_invoker = true) as
  select t.tenant_id, t.class as ghl_sync_status, t.reason, t.business_unit_id, u.name as business_unit_name, t.rows as jobs,
         first.created_on as oldest, last.created_on as newest, first.st_job_id as sample_st_job_id
    from (select x.*, case when x.business_unit_id is null then 0 else x.business_unit_id end as unit_key from jobsync.v_tallies x where x.topic = 'jobs') t
    left join public.business_units u on u.tenant_id = t.tenant_id and u.st_business_unit_id = t.business_unit_id
    left join lateral (
      select j.created_on, j.st_job_id from public.jobs j
       where j.tenant_id = t.tenant_id and j.ghl_sync_status = t.class and j.ghl_sync_status <> 'synced' and (case when j.ghl_sync_reason is null then 'waiting' else j.ghl_sync_reason end) = t.reason
         and (case when j.business_unit_id is null then 0 else j.business_unit_id end) = t.unit_key
       order by j.created_on, j.st_job_id limit 1) first on true
    left join lateral (
      select j.created_on from public.jobs j
       where j.tenant_id = t.tenant_id and j.ghl_sync_status = t.class and j.ghl_sync_status <> 'synced' and (case when j.ghl_sync_reason is null then 'waiting' else j.ghl_sync_reason end) = t.reason
         and (case when j.business_unit_id is null then 0 else j.business_unit_id end) = t.unit_key and j.created_on is not null
       order by j.created_on desc limit 1) last on true;
comment on view jobsync.v_unsynced_reasons is 'Jobs that are not in GoHighLevel, grouped by the reason and the unit; the sample is the oldest. Counted by jobsync.tallies, not anew.';

create view jobsync.v_sync_lag with (security_invoker = true) as
  select c.tenant_id, c.stream, c.mode, c.caught_up_at, extract(epoch from jobsync.now() - c.caught_up_at) as lag_seconds, c.failures, c.last_error,
         c.refused_at
    from jobsync.cursors c;
comment on view jobsync.v_sync_lag is 'How long ago each stream was read to its end, and what last went wrong; refused_at: since when an optional stream is not granted to the app.';

create view jobsync.v_tenant_status with (security_invoker = true) as
  select t.tenant_id, t.name, t.mode, t.mode_reason, t.deliver_from, t.arm_remaining, t.paused_at, t.pause_reason, t.cap_hour, t.cap_day, t.poll_seconds,
         t.next_pull_at, t.execution_price,
         (select coalesce(sum(o.rows), 0)::bigint from jobsync.v_tallies o where o.tenant_id = t.tenant_id and o.topic = 'outbox') as planned,
         (select coalesce(sum(s.sends), 0) from jobsync.send_counts s where s.tenant_id = t.tenant_id and s.hour = date_trunc('hour', jobsync.now())) as sends_this_hour,
         (select coalesce(sum(s.sends), 0) from jobsync.send_counts s where s.tenant_id = t.tenant_id and s.hour > jobsync.now() - interval '24 hours') as sends_today,
         (select coalesce(sum(s.sends), 0) from jobsync.send_counts s where s.tenant_id = t.tenant_id and s.hour >= date_trunc('month', jobsync.now())) as sends_this_month,
         (select coalesce(sum(s.executions), 0) from jobsync.send_counts s where s.tenant_id = t.tenant_id and s.hour >= date_trunc('month', jobsync.now())) as executions_this_month,
         (select coalesce(sum(s.executions), 0) from jobsync.send_counts s where s.tenant_id = t.tenant_id and s.hour >= date_trunc('month', jobsync.now()))
           * t.execution_price as cost_this_month,
         (select coalesce(sum(q.rows), 0)::bigint from jobsync.v_tallies q where q.tenant_id = t.tenant_id and q.topic = 'quarantine') as quarantined,
         (select max(c.caught_up_at) from jobsync.cursors c where c.tenant_id = t.tenant_id and c.stream = 'jobs') as jobs_read_at
    from jobsync.tenants t;
comment on view jobsync.v_tenant_status is 'One line per tenant: mode, pause, caps, what is planned, sent and quarantined. `planned` and `quarantined` come from jobsync.tallies.';

-- For reports: what happens around jobs, each row with its job's number and the unit's name. Deleted and inactive rows
-- are in them, marked by `active`, so that a sum can leave them out and a search still finds them.

create view jobsync.v_appointments with (security_invoker = true) as
  select a.tenant_id, a.st_appointment_id, a.appointment_number, a.st_job_id, j.st_job_number, j.business_unit_id, u.name as business_unit_name,
         j.job_status, a.status, a.starts_on, a.ends_on, a.arrival_window_start, a.arrival_window_end, t.technicians, a.st_customer_id, a.unused,
         a.is_confirmed, a.special_instructions, a.active, a.created_on, a.modified_on
    from jobsync.appointments a
    left join public.jobs j on j.tenant_id = a.tenant_id and j.st_job_id = a.st_job_id
    left join public.business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
    left join lateral (
      select pg_catalog.array_agg(distinct s.technician_name) as technicians from jobsync.technician_assignments s
       where s.tenant_id = a.tenant_id and s.st_appointment_id = a.st_appointment_id and s.active and s.technician_name is not null) t on true;
comment on view jobsync.v_appointments is 'Visits with job number, unit and the technicians who go there; technicians null: nobody assigned.';

create view jobsync.v_estimates with (security_invoker = true) as
  select e.tenant_id, e.st_estimate_id, e.name, e.st_job_id, coalesce(j.st_job_number, e.st_job_number) as st_job_number,
         coalesce(e.business_unit_id, j.business_unit_id) as business_unit_id, u.name as business_unit_name, e.st_customer_id, e.st_location_id, e.st_project_id, e.status, e.review_status, e.subtotal, e.tax,
         e.subtotal + coalesce(e.tax, 0) as total, e.sold_on, e.sold_by, e.is_recommended, e.is_change_order, e.active, e.created_on, e.modified_on
    from jobsync.estimates e
    left join public.jobs j on j.tenant_id = e.tenant_id and j.st_job_id = e.st_job_id
    left join public.business_units u on u.tenant_id = e.tenant_id and u.st_business_unit_id = coalesce(e.business_unit_id, j.business_unit_id);
comment on view jobsync.v_estimates is 'Estimates with job number and unit (the estimate''s own, else its job''s).';

-- Two branches, so that "the invoices of one job" is an index look-up in the first and few rows in the second.
create view jobsync.v_invoices with (security_invoker = true) as
  select i.tenant_id, i.st_invoice_id, i.reference_number, i.linked_job_id as st_job_id, j.st_job_number,
         coalesce(i.business_unit_id, j.business_unit_id) as business_unit_id, u.name as business_unit_name, i.st_customer_id, i.st_location_id, i.st_project_id, i.configuration, i.sync_status, i.review_status,
         i.sent_status, i.invoice_date, i.due_date, i.subtotal, i.sales_tax, i.discount_total, i.total, i.balance, i.paid_on, i.adjustment_to_id,
         i.active, i.created_on, i.modified_on
    from (select n.*, n.st_job_id as linked_job_id from jobsync.invoices n where n.st_job_id is not null
          union all
          select n.*, (select min(f.st_job_id) from public.jobs f where f.tenant_id = n.tenant_id and f.invoice_id = n.st_invoice_id and f.invoice_id > 0)
            from jobsync.invoices n where n.st_job_id is null) i
    left join public.jobs j on j.tenant_id = i.tenant_id and j.st_job_id = i.linked_job_id
    left join public.business_units u on u.tenant_id = i.tenant_id and u.st_business_unit_id = coalesce(i.business_unit_id, j.business_unit_id);
comment on view jobsync.v_invoices is
  'Invoices with job number and unit. An invoice that names no job belongs to the job that names it (jobs.invoice_id), if there is one.';

-- The plan as people see it: exactly what waits to be sent, what is skipped and why, and what it costs.

-- A hook takes one request a job. By API a job of a new contact takes three (search, contact, card), one of a known contact two
-- (search, card), a change one. Looked up for the first 1,000 that wait at each location; those beyond count like them.
create function jobsync.planned_requests(p_tenant text) returns bigint
language sql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
  select coalesce(sum(case d.kind when 'webhook' then w.waiting
                           else ceil(k.requests * greatest(1, w.waiting / greatest(k.looked_up, 1)::numeric)) end), 0)::bigint
    from (select o.destination_id, sum(o.rows) as waiting from v_tallies o where o.tenant_id = p_tenant and o.topic = 'outbox' group by 1) w
    join destinations d on d.tenant_id = p_tenant and d.id = w.destination_id
    left join lateral (
      select count(*) as looked_up, coalesce(sum(case when f.linked then 1 else 2 end), 0)
               + count(distinct f.st_customer_id) filter (where not f.linked and not f.known) as requests
        from (select o.st_customer_id,
                     coalesce((select true from opportunity_links l where l.tenant_id = p_tenant and l.destination_id = d.id and l.st_job_id = o.st_job_id), false) as linked,
                     coalesce((select true from contact_links c where c.tenant_id = p_tenant and c.destination_id = d.id and c.st_customer_id = o.st_customer_id), false) as known
                from (select x.st_job_id, coalesce((select resolve_customer(p_tenant, m.st_customer_id) from customers m where m.tenant_id = p_tenant
                                                     and m.st_customer_id = x.st_customer_id and m.merged_to_id is not null), x.st_customer_id) as st_customer_id
                        from outbox x where x.tenant_id = p_tenant and x.destination_id = d.id
                       order by x.destination_id, x.next_attempt_at, x.st_job_id limit 1000) o) f) k on d.kind = 'api'
$$;
comment on function jobsync.planned_requests(text) is
  'Requests that what waits will take of GoHighLevel: without tags, notes and the read-back. Exact for up to 1,000 jobs at each location; of more, the first 1,000 say how many all will take.';

-- Counts come from the tallies: a plan of a million jobs is told at once.
create function jobsync.show_plan(p_tenant text, p_since timestamptz) returns jsonb
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  v_plan jsonb := count_planned(p_tenant);
  v_price numeric;
  v_mode text;
begin
  select t.execution_price, t.mode into v_price, v_mode from tenants t where t.tenant_id = p_tenant;
  return v_plan || jsonb_build_object(
    'mode', v_mode, 'since', p_since,
    'held', (select coalesce(sum(o.rows), 0) from v_tallies o join destinations d on d.tenant_id = o.tenant_id and d.id = o.destination_id and d.paused_at is not null
              where o.tenant_id = p_tenant and o.topic = 'outbox'),
    'same', (select count(*) from (select from jobs j where j.tenant_id = p_tenant and j.modified_on >= p_since and j.ghl_sync_status = 'synced' limit 1000) x),
    'skip', (select coalesce(jsonb_agg(jsonb_build_object('reason', s.reason, 'jobs', s.jobs) order by s.jobs desc, s.reason), '[]')
               from (select v.reason, sum(v.rows) as jobs from v_tallies v where v.tenant_id = p_tenant and v.topic = 'jobs' and v.class = 'skipped' group by 1) s),
    'units', (select coalesce(jsonb_agg(jsonb_build_object('business_unit_id', g.business_unit_id, 'name', u.name, 'kind', u.destination_kind, 'destination',
                         u.destination_masked, 'armed', u.armed, 'paused', u.destination_paused_at is not null, 'jobs', g.jobs) order by g.jobs desc, g.business_unit_id), '[]')
                from (select v.business_unit_id, sum(v.rows) as jobs from v_tallies v where v.tenant_id = p_tenant and v.topic = 'jobs' and v.class = 'pending' group by 1) g
                join unit_routes u on u.tenant_id = p_tenant and u.st_business_unit_id = g.business_unit_id and u.deliverer = 'jobsync'),
    'requests', planned_requests(p_tenant),
    'execution_price', v_price, 'cost', (v_plan ->> 'webhook_executions')::numeric * v_price);
end
$$;
comment on function jobsync.show_plan(text, timestamptz) is
  'What would be sent: counts by event and unit, skips by reason, requests, paid executions and their price. same: delivered jobs that changed since p_since and need nothing (1,000: or more). Changes nothing.';

create function jobsync.show_planned_jobs(p_tenant text, p_unit bigint, p_limit integer) returns table (
  st_job_id bigint, st_job_number text, business_unit_name text, job_status text, event text, version integer, kind text, destination text,
  pipeline_name text, stage_name text, waiting_for text, next_attempt_at timestamptz, changes jsonb)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
#variable_conflict use_column
begin
  return query select o.st_job_id, j.st_job_number, u.name, j.job_status, o.event, o.version, d.kind, d.masked, coalesce(r.pipeline_name, u.ghl_pipeline_name), r.stage_name,
         o.waiting_for, o.next_attempt_at,
         case when f.st_job_id is not null then changed_facts(coalesce(f.facts, job_facts(j)), job_facts(j)) || changed_facts(f.told_as, told_as(p_tenant, j.business_unit_id, j.job_type_id)) end
    from outbox o
    join jobs j on j.tenant_id = o.tenant_id and j.st_job_id = o.st_job_id
    join destinations d on d.tenant_id = o.tenant_id and d.id = o.destination_id
    left join business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
    left join routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id
    left join delivered_facts f on f.tenant_id = o.tenant_id and f.st_job_id = o.st_job_id
   where o.tenant_id = p_tenant and (p_unit is null or j.business_unit_id = p_unit)
   order by o.st_job_id limit p_limit;
end
$$;
comment on function jobsync.show_planned_jobs(text, bigint, integer) is
  'The jobs that wait to be sent, by id, and what changed since they were last told (null: never told, or not known any more).';

create function jobsync.show_outdated(p_tenant text, p_unit bigint, p_limit integer) returns table (
  st_job_id bigint, business_unit_id bigint, business_unit_name text, kind text, changes jsonb)
language sql stable set search_path = jobsync, public as $$
  with outdated as (
    select f.st_job_id, changed_facts(f.told_as, told_as(p_tenant, j.business_unit_id, j.job_type_id)) as changes
      from delivered_facts f
      join jobs j on j.tenant_id = f.tenant_id and j.st_job_id = f.st_job_id
     where f.tenant_id = p_tenant
    union all
    -- API routes: the rules were edited, and would make something else of the card.
    select r.st_job_id, changed_facts(r.told, r.wanted) from list_rebaselined(p_tenant) r
  )
  select j.st_job_id, j.business_unit_id, u.name, d.kind, x.changes
    from (select o.st_job_id, jsonb_object_agg(e.key, e.value) as changes from outdated o cross join lateral jsonb_each(o.changes) e group by o.st_job_id) x
    join jobs j on j.tenant_id = p_tenant and j.st_job_id = x.st_job_id and j.ghl_sync_status = 'synced'
    join routes r on r.tenant_id = j.tenant_id and r.st_business_unit_id = j.business_unit_id and r.deliverer = 'jobsync'
    join destinations d on d.tenant_id = r.tenant_id and d.id = r.destination_id
    left join business_units u on u.tenant_id = j.tenant_id and u.st_business_unit_id = j.business_unit_id
   where p_unit is null or j.business_unit_id = p_unit
   order by j.st_job_id limit p_limit
$$;
comment on function jobsync.show_outdated(text, bigint, integer) is
  'Delivered jobs that would be told differently today: a renamed unit or type, another route or rule, another body. They are never sent by themselves.';

create view jobsync.v_stopped_sends with (security_invoker = true) as
  select t.tenant_id, case when t.mode_reason in ('cap_hour', 'cap_day') then t.mode_reason else 'mode' end as cause, 'tenant' as subject, t.mode_set_at as since,
         case t.mode_reason when 'cap_hour' then 'JobSync disarmed itself: ' || t.cap_hour || ' sends in an hour were reached.'
                            when 'cap_day' then 'JobSync disarmed itself: ' || t.cap_day || ' sends in a day were reached.' end as why, 'jobsync arm' as fix
    from jobsync.tenants t where t.mode <> 'live' and t.mode_reason in ('cap_hour', 'cap_day')
  union all
  select t.tenant_id, 'paused', 'tenant', t.paused_at, coalesce('Sending is paused: ' || t.pause_reason, 'Sending is paused.'), 'jobsync resume'
    from jobsync.tenants t where t.paused_at is not null
  union all
  select d.tenant_id, 'destination_paused', 'destination:' || d.id, d.paused_at, d.masked || ': ' || d.pause_reason, 'mend it, then: jobsync resume'
    from jobsync.destinations d where d.paused_at is not null
  union all
  select r.tenant_id, 'not_armed', 'unit:' || r.st_business_unit_id, r.updated_at, r.armed_reason, 'switch the old flow off, then: jobsync arm'
    from jobsync.routes r where not r.armed and r.deliverer = 'jobsync';
comment on view jobsync.v_stopped_sends is
  'Alert condition: why nothing (or not everything) is sent although somebody wants it sent: a cap disarmed it, a pause, a paused hook, a contested unit.';

-- What a pull brought that somebody should look at: jobs whose people cannot be reached, and merged records.

create view jobsync.v_unreachable_jobs with (security_invoker = true) as
  select p.tenant_id, p.st_job_id, p.st_job_number, p.st_customer_id, p.st_location_id, p.business_unit_id, p.business_unit_name, p.customer_name,
         p.job_status, p.created_on,
         case when p.customer_name is null and c.st_customer_id is null then 'customer not read yet'
              when w.waits then 'contacts not read yet'
              when k.contacts = 0 then 'no contact in ServiceTitan'
              when k.active = 0 then 'all contacts removed'
              when k.reachable = 0 then 'only fax or notes'
              else 'no valid phone or email' end as reason
    from jobsync.projections p
    left join public.customers c on c.tenant_id = p.tenant_id and c.st_customer_id = p.st_customer_id
    cross join lateral (
      select exists (select from jobsync.wanted n where n.tenant_id = p.tenant_id
                        and (n.stream = 'customer_contacts' and n.id = p.st_customer_id or n.stream = 'location_contacts' and n.id = p.st_location_id)) as waits) w
    cross join lateral (
      select count(*) as contacts, count(*) filter (where x.active) as active,
             count(*) filter (where x.active and x.type in ('MobilePhone', 'Phone', 'Email')) as reachable
        from jobsync.contacts x
       where x.tenant_id = p.tenant_id
         and (x.owner_kind = 'customer' and x.owner_id = p.st_customer_id or x.owner_kind = 'location' and x.owner_id = p.st_location_id)) k
   where p.phone is null and p.email is null and p.active;
comment on view jobsync.v_unreachable_jobs is 'Jobs without any phone or email, each with the reason: what the office can mend in ServiceTitan.';

create view jobsync.v_unreachable_reasons with (security_invoker = true) as
  select u.tenant_id, u.reason, u.business_unit_id, u.business_unit_name, count(*) as jobs, min(u.st_job_id) as sample_st_job_id
    from jobsync.v_unreachable_jobs u
   group by u.tenant_id, u.reason, u.business_unit_id, u.business_unit_name;
comment on view jobsync.v_unreachable_reasons is 'Jobs without any phone or email, counted by reason and unit.';

create view jobsync.v_merges with (security_invoker = true) as
  select c.tenant_id, 'customer' as kind, c.st_customer_id as merged_id, c.merged_to_id, jobsync.resolve_customer(c.tenant_id, c.st_customer_id) as survivor_id,
         (select count(*) from public.jobs j where j.tenant_id = c.tenant_id and j.st_customer_id = c.st_customer_id) as jobs, c.modified_on
    from public.customers c where c.merged_to_id is not null
  union all
  select l.tenant_id, 'location', l.st_location_id, l.merged_to_id, jobsync.resolve_location(l.tenant_id, l.st_location_id),
         coalesce(n.jobs, 0), l.modified_on
    from jobsync.locations l
    -- Counted in one go: jobs have no index by location, and one look for each location would read them all each time.
    left join (select j.tenant_id, j.st_location_id, count(*) as jobs from public.jobs j
                where (j.tenant_id, j.st_location_id) in (select m.tenant_id, m.st_location_id from jobsync.locations m where m.merged_to_id is not null)
                group by j.tenant_id, j.st_location_id) n on n.tenant_id = l.tenant_id and n.st_location_id = l.st_location_id
   where l.merged_to_id is not null;
comment on view jobsync.v_merges is
  'Merged customers and locations, the survivor at the end of the chain, and how many jobs still name the merged one (they are delivered with the survivor''s data).';

-- Customers that cannot be reached, or that share a phone or an e-mail: to be mended in ServiceTitan, best before the first send.

create index customers_unreachable on public.customers (tenant_id, st_customer_id) where phone is null and email is null;

create view jobsync.v_customers_to_mend with (security_invoker = true) as
  with reachable as not materialized (
    select c.tenant_id, c.st_customer_id, coalesce(nullif(concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as name, c.company_name,
           c.phone, c.email, c.contacts_read_at
      from public.customers c where c.active is distinct from false and c.merged_to_id is null
  ), unreachable as not materialized (
    select r.tenant_id, r.st_customer_id, r.name,
           (select string_agg(k.value, ', ' order by k.st_contact_id) from jobsync.contacts k
             where k.tenant_id = r.tenant_id and k.owner_kind = 'customer' and k.owner_id = r.st_customer_id and k.active) as unusable
      from reachable r
     where r.phone is null and r.email is null and r.contacts_read_at is not null
       and not exists (select from jobsync.locations l where l.tenant_id = r.tenant_id and l.st_customer_id = r.st_customer_id and (l.phone is not null or l.email is not null))
  )
  select u.tenant_id, case when u.unusable is null then 'no_contact' else 'invalid_contact' end as reason, u.st_customer_id, u.name as customer_name,
         u.unusable as value, null::bigint[] as shared_with,
         case when u.unusable is null then 'add a phone or an e-mail in ServiceTitan' else 'correct the phone or the e-mail in ServiceTitan' end as fix
    from unreachable u
  union all
  select r.tenant_id, 'shared_phone', r.st_customer_id, r.name, r.phone,
         array(select o.st_customer_id from public.customers o where o.tenant_id = r.tenant_id and o.phone = r.phone and o.st_customer_id <> r.st_customer_id
                  and o.active is distinct from false and o.merged_to_id is null order by 1 limit 20),
         'one person: merge them in ServiceTitan; two: give each a phone of its own'
    from reachable r
   where r.phone is not null and exists (
     select from public.customers o where o.tenant_id = r.tenant_id and o.phone = r.phone and o.st_customer_id <> r.st_customer_id
        and o.active is distinct from false and o.merged_to_id is null)
  union all
  select r.tenant_id, 'shared_email', r.st_customer_id, r.name, r.email,
         array(select o.st_customer_id from public.customers o where o.tenant_id = r.tenant_id and o.email = r.email and o.st_customer_id <> r.st_customer_id
                  and o.active is distinct from false and o.merged_to_id is null order by 1 limit 20),
         'one person: merge them in ServiceTitan; two: give each an e-mail of its own'
    from reachable r
   where r.email is not null and exists (
     select from public.customers o where o.tenant_id = r.tenant_id and o.email = r.email and o.st_customer_id <> r.st_customer_id
        and o.active is distinct from false and o.merged_to_id is null);
comment on view jobsync.v_customers_to_mend is
  'Customers that GoHighLevel cannot tell apart or reach: no_contact, invalid_contact (given, and no valid phone or e-mail), shared_phone, shared_email; one row per customer and reason. Reads all customers.';

-- The two lists of the page: each walks an index from where the last one ended and looks at a bounded stretch of it, so that a
-- page costs the same however many customers there are. A page may be short; its last row (reason or value null) says where
-- to go on.
create function jobsync.browse_unreachable(p_tenant text, p_after bigint, p_limit integer)
returns table (reason text, st_customer_id bigint, customer_name text, value text, fix text, jobs bigint)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  v_id bigint;
  v_looked integer := 0;
  v_found integer := 0;
  v_rows integer;
begin
  for v_id in
    select c.st_customer_id from customers c
     where c.tenant_id = p_tenant and c.phone is null and c.email is null and c.st_customer_id > p_after order by c.st_customer_id limit 1000
  loop
    v_looked := v_looked + 1;
    return query
      select v.reason, v.st_customer_id, v.customer_name, v.value, v.fix,
             (select count(*) from (select from jobs j where j.tenant_id = p_tenant and j.st_customer_id = v_id limit 1000) x)
        from v_customers_to_mend v where v.tenant_id = p_tenant and v.st_customer_id = v_id and v.reason in ('no_contact', 'invalid_contact');
    get diagnostics v_rows = row_count;
    v_found := v_found + v_rows;
    exit when v_found >= p_limit;
  end loop;
  if v_found >= p_limit or v_looked = 1000 then
    return query select null::text, v_id, null::text, null::text, null::text, null::bigint;
  end if;
end
$$;
comment on function jobsync.browse_unreachable(text, bigint, integer) is
  'Customers whom nobody can reach, by id from beyond p_after on, with up to 1,000 of their jobs counted. Looks at 1,000 customers at most; a last row without reason has the id to go on from.';

create function jobsync.browse_shared(p_tenant text, p_kind text, p_after bigint, p_groups integer)
returns table (value text, customers jsonb, has_more boolean, next_after bigint)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  c_most constant integer := 20000;
  v_walk refcursor;
  v_value text;
  v_last text;
  v_before text;
  v_from text := '';
  v_told boolean := true;
  v_looked integer := 0;
  v_groups integer := 0;
begin
  if p_after > 0 then
    select coalesce(case p_kind when 'phone' then c.phone else c.email end, '') into v_from from customers c where c.tenant_id = p_tenant and c.st_customer_id = p_after;
  end if;
  if p_kind = 'phone' then
    open v_walk for select c.phone from customers c where c.tenant_id = p_tenant and c.phone is not null and c.phone > v_from order by c.phone limit c_most;
  else
    open v_walk for select c.email from customers c where c.tenant_id = p_tenant and c.email is not null and c.email > v_from order by c.email limit c_most;
  end if;
  loop
    fetch v_walk into v_value;
    exit when not found;
    v_looked := v_looked + 1;
    if v_value is distinct from v_last then
      v_before := v_last;
      v_last := v_value;
      v_told := false;
    elsif not v_told then
      v_told := true;
      return query
        select v_value, g.customers, g.number > 10, null::bigint
          from (select count(*) as number, jsonb_agg(jsonb_build_object('id', x.st_customer_id, 'name', x.name,
                         'jobs', (select count(*) from (select from jobs j where j.tenant_id = p_tenant and j.st_customer_id = x.st_customer_id limit 1000) y))
                         order by x.st_customer_id) filter (where x.place <= 10) as customers
                  from (select c.st_customer_id, coalesce(nullif(concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as name,
                               row_number() over (order by c.st_customer_id) as place
                          from (select a.* from customers a where p_kind = 'phone' and a.tenant_id = p_tenant and a.phone = v_value
                                union all
                                select b.* from customers b where p_kind <> 'phone' and b.tenant_id = p_tenant and b.email = v_value) c
                         where c.active is distinct from false and c.merged_to_id is null
                         order by c.st_customer_id limit 11) x) g
         where g.number > 1;
      if found then
        v_groups := v_groups + 1;
        exit when v_groups = p_groups;
      end if;
    end if;
  end loop;
  close v_walk;
  -- Of the last value only a part was seen, perhaps: it is looked at again, unless it is in this page or was all there was.
  if v_groups = p_groups or v_looked = c_most then
    v_last := case when v_told or v_before is null then v_last else v_before end;
    return query
      select null::text, null::jsonb, null::boolean, c.st_customer_id
        from (select a.st_customer_id from customers a where p_kind = 'phone' and a.tenant_id = p_tenant and a.phone = v_last
              union all
              select b.st_customer_id from customers b where p_kind <> 'phone' and b.tenant_id = p_tenant and b.email = v_last) c limit 1;
  end if;
end
$$;
comment on function jobsync.browse_shared(text, text, bigint, integer) is
  'Phones (p_kind phone) or e-mails that several customers have, in their order, behind that of customer p_after; the first ten customers of each. Looks at 20,000 at most; a last row without value has the customer to go on from.';

-- What the pages ask: lists that end at their limit in the order of an index, hours and runs of a day, one job's two sides.

create view jobsync.v_state_hours with (security_invoker = true) as
  select h.tenant_id, h.hour, h.class, h.unit_key, sum(h.rows)::bigint as rows
    from (select x.tenant_id, x.hour, x.class, x.unit_key, x.rows from jobsync.state_hours x
          union all
          select t.tenant_id, t.hour, t.class, case when t.business_unit_id is null then 0 else t.business_unit_id end, t.rows from jobsync.tallies t where t.topic = 'hours') h
   group by h.tenant_id, h.hour, h.class, h.unit_key;
comment on view jobsync.v_state_hours is 'How many jobs reached a state in each of the last hours, by unit (unit_key 0: none): what is folded and what is not yet.';

-- A list never looks further than 1,000 jobs for what it shows: a filter that hardly anything fits gives a short page, whose
-- last row is where the next look begins.
create function jobsync.browse_jobs(p_tenant text, p_status text, p_reason text, p_unit bigint, p_before_at timestamptz, p_before_id bigint, p_limit integer)
returns table (st_job_id bigint, sort_at timestamptz)
language plpgsql stable set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
#variable_conflict use_column
begin
  if p_status in ('pending', 'failed', 'skipped') then
    -- Each class (reason, unit) has its own stretch of the index; the newest of all of them are the page.
    return query
      select x.st_job_id, x.created_on
        from (select v.reason, case when v.business_unit_id is null then 0 else v.business_unit_id end as unit_key from v_tallies v
               where v.tenant_id = p_tenant and v.topic = 'jobs' and v.class = p_status and v.rows > 0 and (p_reason is null or v.reason = p_reason)
                 and (p_unit is null or v.business_unit_id = p_unit)) c
       cross join lateral (
         select j.st_job_id, j.created_on from jobs j
          where j.tenant_id = p_tenant and j.ghl_sync_status = p_status and j.ghl_sync_status <> 'synced'
            and (case when j.ghl_sync_reason is null then 'waiting' else j.ghl_sync_reason end) = c.reason
            and (case when j.business_unit_id is null then 0 else j.business_unit_id end) = c.unit_key
            and (p_before_id is null or (j.created_on, j.st_job_id) < (p_before_at, p_before_id))
          order by j.created_on desc, j.st_job_id desc limit p_limit) x
       order by x.created_on desc, x.st_job_id desc limit p_limit;
  elsif p_status = 'unverified' then
    return query
      select x.st_job_id, x.accepted_at
        from (select v.st_job_id, v.accepted_at, v.result from verifications v
               where v.tenant_id = p_tenant and (p_before_id is null or v.st_job_id < p_before_id) order by v.st_job_id desc limit 1000) x
        join jobs j on j.tenant_id = p_tenant and j.st_job_id = x.st_job_id and (p_unit is null or j.business_unit_id = p_unit)
       where x.result in ('missing', 'unmarked') order by x.st_job_id desc limit p_limit;
  elsif p_unit is not null then
    return query
      select x.st_job_id, x.created_on
        from (select j.st_job_id, j.created_on, j.ghl_sync_status from jobs j
               where j.tenant_id = p_tenant and j.business_unit_id = p_unit and (p_before_id is null or (j.created_on, j.st_job_id) < (p_before_at, p_before_id))
               order by j.created_on desc, j.st_job_id desc limit 1000) x
       where p_status is null or x.ghl_sync_status = p_status order by x.created_on desc, x.st_job_id desc limit p_limit;
  else
    return query
      select x.st_job_id, x.created_on
        from (select j.st_job_id, j.created_on, j.ghl_sync_status from jobs j
               where j.tenant_id = p_tenant and (p_before_id is null or j.st_job_id < p_before_id) order by j.st_job_id desc limit case when p_status is null then p_limit else 1000 end) x
       where p_status is null or x.ghl_sync_status = p_status order by x.st_job_id desc limit p_limit;
  end if;
end
$$;
comment on function jobsync.browse_jobs(text, text, text, bigint, timestamptz, bigint, integer) is
  'A page of jobs by status (unverified: accepted and never found), reason and unit, newest first; behind (p_before_at, p_before_id). Looks at 1,000 jobs at most.';

create function jobsync.skip_job(p_tenant text, p_job bigint, p_note text, p_actor text) returns boolean
language plpgsql set search_path = jobsync, public as $$
declare
  v_status text;
begin
  perform lock_jobs(p_tenant, array[p_job]);
  if exists (select from outbox o where o.tenant_id = p_tenant and o.st_job_id = p_job and o.lease_until > jobsync.now()) then
    raise exception 'the job is being sent right now; try again in a minute' using errcode = 'JS005';
  end if;
  update jobs j set ghl_sync_status = 'skipped', ghl_sync_reason = 'by_hand', ghl_sync_error = null, updated_at = jobsync.now()
   where j.tenant_id = p_tenant and j.st_job_id = p_job and j.ghl_sync_status <> 'synced' returning j.ghl_sync_status into v_status;
  if v_status is null then
    if exists (select from jobs j where j.tenant_id = p_tenant and j.st_job_id = p_job) then
      raise exception 'the job was delivered; there is nothing to skip' using errcode = 'JS005';
    end if;
    raise exception 'no job has the id %', p_job using errcode = 'JS004';
  end if;
  delete from outbox o where o.tenant_id = p_tenant and o.st_job_id = p_job;
  perform write_audit(p_tenant, p_actor, 'skipped', 'job:' || p_job, jsonb_build_object('reason', left(p_note, 500)));
  return true;
end
$$;
comment on function jobsync.skip_job(text, bigint, text, text) is
  'A person takes a job out (skipped: by_hand) and says why; replay with force brings it back. Refused for what was delivered or is being sent.';

-- What only the HTTP API needs: rows as it shows them, leases on pending jobs, one customer upserted.

create function jobsync.shown(p_row jsonb) returns jsonb language sql immutable parallel safe as $$
  select p_row - array['job_hash', 'job_hash_version', 'delivered_hash', 'contact_hash']
$$;
comment on function jobsync.shown(jsonb) is 'A row as the API shows it: all columns but the hashes, which tell nobody anything.';

create table jobsync.leases (
  tenant_id text not null,
  st_job_id bigint not null,
  leased_until timestamptz not null,
  leased_by text not null,
  primary key (tenant_id, st_job_id)
);
create index leases_by_end on jobsync.leases (tenant_id, leased_until);
comment on table jobsync.leases is 'Pending jobs that an external deliverer took for a while, so that no other run of it gets them. A mark ends the lease.';
comment on column jobsync.leases.leased_by is 'Who asked: the id of the token, else the kind of caller.';

-- The pending view in its order, without looking at the jobs that JobSync delivers itself, of which a million may wait:
-- the first of each external unit and reason, then the first of these.
create function jobsync.oldest_pending(p_tenant text, p_unit bigint, p_limit integer) returns bigint[]
language sql stable set search_path = jobsync, public as $$
  select coalesce(array_agg(o.st_job_id order by o.created_on, o.st_job_id), '{}')
    from (select f.st_job_id, f.created_on
            from v_tallies t
            join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = t.business_unit_id and u.sync_to_ghl and u.sync_enabled
            join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = t.business_unit_id and r.deliverer = 'external'
            cross join lateral (
              select j.st_job_id, j.created_on from jobs j
               where j.tenant_id = p_tenant and j.ghl_sync_status = 'pending' and j.ghl_sync_status <> 'synced'
                 and (case when j.ghl_sync_reason is null then 'waiting' else j.ghl_sync_reason end) = t.reason and (case when j.business_unit_id is null then 0 else j.business_unit_id end) = t.business_unit_id
               order by j.created_on, j.st_job_id limit p_limit) f
           where t.tenant_id = p_tenant and t.topic = 'jobs' and t.class = 'pending' and (p_unit is null or t.business_unit_id = p_unit)
           order by f.created_on, f.st_job_id limit p_limit) o
$$;
comment on function jobsync.oldest_pending(text, bigint, integer) is
  'Ids of the first p_limit jobs of public.jobs_pending_ghl_sync in its order (p_unit null: of any unit), however many others wait.';

create table jobsync.outside_retries (
  tenant_id text not null,
  st_job_id bigint not null,
  business_unit_id bigint,
  failures integer not null,
  due_at timestamptz,
  primary key (tenant_id, st_job_id)
);
create index outside_retries_due on jobsync.outside_retries (tenant_id, business_unit_id, due_at, st_job_id) where due_at is not null;
comment on table jobsync.outside_retries is 'Jobs that an external deliverer marked failed: how often in a row, and when they are offered again (null: never, a person has to look).';
comment on column jobsync.outside_retries.business_unit_id is 'The unit of the job, kept beside it: what is due of one unit is found without looking at the others.';
comment on column jobsync.outside_retries.failures is 'Marks `failed` since the job was last marked otherwise.';

-- The schedule of our own deliveries from its second wait on: 5 min, 30 min, 2 h, 5 h, 10 h, 10 h. After the seventh failure nobody
-- is asked again: each try may start a paid workflow.
create function jobsync.note_outside_failure(p_tenant text, p_job bigint) returns void
language sql volatile set search_path = jobsync, public as $$
  insert into outside_retries as r (tenant_id, st_job_id, business_unit_id, failures, due_at)
  select p_tenant, p_job, j.business_unit_id, 1, jobsync.now() + retry_delay(2) from jobs j where j.tenant_id = p_tenant and j.st_job_id = p_job
  on conflict (tenant_id, st_job_id) do update set business_unit_id = excluded.business_unit_id, failures = r.failures + 1, due_at = case when r.failures < 6 then jobsync.now() + retry_delay(r.failures + 2) end
$$;
comment on function jobsync.note_outside_failure(text, bigint) is 'Counts a failure that an external deliverer marked, and says when the job is offered again.';

create function jobsync.move_outside_retry() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  update outside_retries o set business_unit_id = new.business_unit_id where o.tenant_id = new.tenant_id and o.st_job_id = new.st_job_id;
  return null;
end
$$;
comment on function jobsync.move_outside_retry() is 'Trigger: a failed job that moved to another unit is offered again among the jobs of that unit.';
create trigger move_outside_retry after update of business_unit_id on public.jobs
  for each row when (old.business_unit_id is distinct from new.business_unit_id) execute function jobsync.move_outside_retry();

create function jobsync.due_retries(p_tenant text, p_unit bigint, p_limit integer) returns bigint[]
language sql stable set search_path = jobsync, public as $$
  select coalesce(array_agg(d.st_job_id order by d.due_at, d.st_job_id), '{}')
    from (select f.st_job_id, f.due_at
            from routes r
            join business_units u on u.tenant_id = p_tenant and u.st_business_unit_id = r.st_business_unit_id and u.sync_to_ghl and u.sync_enabled
            cross join lateral (
              select o.st_job_id, o.due_at from outside_retries o
                join lateral (select from jobs j where j.tenant_id = p_tenant and j.st_job_id = o.st_job_id and j.ghl_sync_status = 'failed' offset 0) j on true
               where o.tenant_id = p_tenant and o.business_unit_id = r.st_business_unit_id and o.due_at <= jobsync.now()
               order by o.due_at, o.st_job_id limit p_limit) f
           where r.tenant_id = p_tenant and r.deliverer = 'external' and (p_unit is null or r.st_business_unit_id = p_unit)
           order by f.due_at, f.st_job_id limit p_limit) d
$$;
comment on function jobsync.due_retries(text, bigint, integer) is
  'Ids of failed jobs of external units whose next try is due, the longest due first (p_unit null: of any unit).';

create function jobsync.lease_pending(p_tenant text, p_unit bigint, p_limit integer, p_seconds integer, p_by text, p_retry boolean) returns bigint[]
language plpgsql set search_path = jobsync, public as $$
declare
  v_jobs bigint[];
begin
  -- One after another: of two runs that ask at the same moment the second sees what the first took.
  perform pg_advisory_xact_lock(hashtextextended('jobsync leases of ' || p_tenant, 0));
  delete from leases l where l.tenant_id = p_tenant and l.leased_until <= jobsync.now();
  with most as (
    -- The oldest may be leased already: as many more are looked at as there are leases.
    select p_limit + count(*)::integer as jobs from leases l where l.tenant_id = p_tenant
  ), chosen as (
    select p.id as st_job_id
      from most m
      cross join lateral unnest(oldest_pending(p_tenant, p_unit, m.jobs) || case when p_retry then due_retries(p_tenant, p_unit, m.jobs) end) with ordinality p(id, n)
     where not exists (select from leases l where l.tenant_id = p_tenant and l.st_job_id = p.id)
     order by p.n limit p_limit
  ), taken as (
    insert into leases (tenant_id, st_job_id, leased_until, leased_by)
    select p_tenant, c.st_job_id, jobsync.now() + p_seconds * interval '1 second', p_by from chosen c
    returning st_job_id
  )
  select coalesce(array_agg(t.st_job_id), '{}') into v_jobs from taken t;
  return v_jobs;
end
$$;
comment on function jobsync.lease_pending(text, bigint, integer, integer, text, boolean) is
  'Takes up to p_limit pending jobs that nobody holds, oldest first, for p_seconds; p_unit null: of any unit; p_retry: after them failed ones that are due again. Answers their ids.';

create function jobsync.upsert_customer(p_tenant text, p_customer jsonb) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_doc jsonb := without_blanks(p_customer);
  v_id bigint;
  v_misfits text[];
begin
  if jsonb_typeof(v_doc) is distinct from 'object' then
    raise exception 'customer is missing or not an object' using errcode = 'JS001';
  end if;
  v_id := try_bigint(case when v_doc ? 'customerId' and not v_doc ? 'name' then v_doc -> 'customerId'
                          else coalesce(v_doc -> 'id', v_doc -> 'customerId') end);
  if coalesce(v_id, 0) <= 0 then
    raise exception 'customer.customerId (or customer.id) must be a positive whole number' using errcode = 'JS001';
  end if;
  if is_erased(p_tenant, 'customer', v_id) then
    raise exception 'customer was erased and is not stored again' using errcode = 'JS001';
  end if;
  v_misfits := owner_misfits(v_doc);
  if v_misfits is not null then
    v_doc := v_doc - v_misfits;
  end if;
  perform store_customers(p_tenant, jsonb_build_array(v_doc), 'api');
  return (select shown(to_jsonb(c)) from customers c where c.tenant_id = p_tenant and c.st_customer_id = v_id)
    || case when v_misfits is null then '{}' else jsonb_build_object('warnings', (select jsonb_agg('customer.' || m) from unnest(v_misfits) m)) end;
end
$$;
comment on function jobsync.upsert_customer(text, jsonb) is
  'Upserts one customer as /db receives it (the guide''s form or ServiceTitan''s) and answers the row; a field that does not fit is left out with a warning.';

-- Alerts: what is wrong right now (a view), what of it people were told (a table), and when they may be told.
-- The view decides what is a fault; refresh_alerts() opens and closes; the program only sends and reports back.

create table jobsync.alert_settings (
  tenant_id text primary key references jobsync.tenants on delete cascade,
  quiet_from time,
  quiet_until time,
  digest_at time default '07:00',
  digest_sent_on date,
  silence_hours integer not null default 24 constraint silence_is_hours check (silence_hours between 1 and 720),
  repeat_hours integer not null default 24 constraint repeat_is_hours check (repeat_hours between 1 and 720),
  sealed bytea,
  key_id text,
  updated_at timestamptz not null default jobsync.now(),
  constraint quiet_has_two_ends check ((quiet_from is null) = (quiet_until is null))
);
comment on table jobsync.alert_settings is 'When a tenant''s people are told, in the tenant''s time zone; sealed holds further channel URLs, readable only by the program.';
comment on column jobsync.alert_settings.digest_at is 'Local time of the daily digest; null: none.';
comment on column jobsync.alert_settings.digest_sent_on is 'The local day whose digest was sent: one a day, also where a clock change repeats or skips an hour.';
comment on column jobsync.alert_settings.silence_hours is 'So many hours without a new job, ending on a weekday, are an alert.';
comment on column jobsync.alert_settings.repeat_hours is 'An alert that stays open is told again after so many hours.';

create table jobsync.alerts (
  tenant_id text not null references jobsync.tenants on delete cascade,
  code text not null,
  subject text not null default '',
  severity text not null constraint severity_is_known check (severity in ('critical', 'warning')),
  title text not null,
  why text not null,
  fix text not null,
  items bigint not null default 1,
  opened_at timestamptz not null,
  seen_at timestamptz not null,
  told_at timestamptz,
  resolved_at timestamptz,
  recovery_told_at timestamptz,
  muted_until timestamptz,
  primary key (tenant_id, code, subject)
);
comment on table jobsync.alerts is 'Faults that are open or were: one row per cause, opened and closed by refresh_alerts().';
comment on column jobsync.alerts.told_at is 'When people were last told of it; null: not yet (quiet hours, or every channel was down).';

create table jobsync.alert_channels (
  tenant_id text not null references jobsync.tenants on delete cascade,
  channel text not null,
  failures integer not null default 0,
  failed_at timestamptz,
  succeeded_at timestamptz,
  primary key (tenant_id, channel)
);
comment on table jobsync.alert_channels is 'Whether each channel took what was last sent. channel is its kind and a fingerprint, never its URL.';

create view jobsync.v_alert_conditions with (security_invoker = true) as
  -- The guide's alert: syncs that failed in the last hour.
  select l.tenant_id, 'failed_syncs' as code, l.sync_type as subject, 'warning' as severity,
         count(*) || ' ' || case l.sync_type when 'job_pull' then 'pull' when 'ghl_delivery' then 'delivery' else l.sync_type end || case count(*) when 1 then ' run' else ' runs' end
           || ' failed in the last hour' as title,
         coalesce((array_agg(left(l.error_message, 300) order by l.started_at desc) filter (where l.error_message is not null))[1], 'No reason was written.') as why,
         'jobsync status' as fix, count(*) as items
    from public.sync_logs l
   where l.status = 'failed' and l.started_at > jobsync.now() - interval '1 hour'
   group by l.tenant_id, l.sync_type
  union all
  select r.tenant_id, 'dead_letters', r.reason || ':' || coalesce(r.business_unit_id::text, ''), 'warning',
         r.jobs || ' jobs of ' || coalesce(r.business_unit_name, 'an unknown unit') || ' were not accepted by GoHighLevel',
         case r.reason when 'test_only' then 'GoHighLevel took them for a test sample: the workflow''s trigger is not saved or not published.'
                       when 'rejected' then 'GoHighLevel refuses them as they stand.'
                       when 'attempts_used_up' then 'Every try of the retry schedule failed.'
                       when 'worker_died' then 'The worker died five times while sending them.' else r.reason end,
         'jobsync why ' || r.sample_st_job_id, r.jobs
    from jobsync.v_unsynced_reasons r where r.ghl_sync_status = 'failed' and r.reason <> 'failed_outside'
  union all
  select r.tenant_id, 'unmapped_unit', coalesce(r.business_unit_id::text, ''), 'warning',
         r.jobs || ' jobs of ' || coalesce(r.business_unit_name, 'an unknown unit') || ' go nowhere',
         'Their business unit is not routed.', 'jobsync units set ' || coalesce(r.business_unit_id::text, 'ID') || ' --webhook URL   (or --skip)', r.jobs
    from jobsync.v_unsynced_reasons r where r.reason = 'unmapped'
  union all
  select d.tenant_id, 'destination_paused', d.id::text, 'critical', 'A destination is paused: nothing is sent to it', coalesce(d.pause_reason, 'It was paused.'),
         'mend it, then: jobsync resume', 1
    from jobsync.destinations d where d.paused_at is not null
  union all
  -- Read to its end some time, and not for three polls (at least a quarter of an hour): somebody's jobs are late.
  select c.tenant_id, 'lag', c.stream, 'critical', 'ServiceTitan''s ' || c.stream || ' were last read ' || (extract(epoch from jobsync.now() - c.caught_up_at) / 60)::integer || ' minutes ago',
         coalesce(c.last_error, 'No reading came to its end since; is a worker running?'), 'jobsync doctor', 1
    from jobsync.cursors c
    join jobsync.tenants t on t.tenant_id = c.tenant_id
   where c.stream = 'jobs' and c.caught_up_at < jobsync.now() - greatest(interval '15 minutes', t.poll_seconds * interval '3 seconds')
  union all
  select c.tenant_id, case when c.last_error ~* 'credential|token|401' then 'auth_failing' when c.last_error ~* 'do not fit' then 'schema_drift' else 'stream_failing' end,
         c.stream, 'critical', 'Reading ' || c.stream || ' failed ' || c.failures || ' times in a row', coalesce(c.last_error, 'No reason was written.'), 'jobsync doctor', c.failures
    from jobsync.cursors c where c.failures >= 3
  union all
  select q.tenant_id, 'quarantine', q.stream, 'warning', count(*) || ' records of ' || q.stream || ' do not fit and were set aside', min(q.reason),
         'jobsync db psql -c "select record_id, reason from jobsync.quarantine where resolved_at is null"', count(*)
    from jobsync.quarantine q where q.resolved_at is null
   group by q.tenant_id, q.stream
  union all
  select t.tenant_id, 'cap_reached', t.mode_reason, 'critical', 'JobSync disarmed itself: the cap of the ' || case t.mode_reason when 'cap_hour' then 'hour' else 'day' end || ' was reached',
         'More was sent than the cap allows; a mistake in ServiceTitan or a rule may be behind it.', 'look at: jobsync plan   then: jobsync arm', 1
    from jobsync.tenants t where t.mode_reason in ('cap_hour', 'cap_day')
  union all
  select t.tenant_id, 'silence', '', 'warning', 'No new job for ' || (extract(epoch from jobsync.now() - n.newest) / 3600)::integer || ' hours',
         'ServiceTitan answers, and has booked nothing since. On a weekday that is rare.', 'look into ServiceTitan; or: jobsync alerts set --silence-hours 72', 1
    from jobsync.tenants t
    left join jobsync.alert_settings s on s.tenant_id = t.tenant_id
    -- Booked last are those with the highest ids; among some of them, as one strange id must not hide that nothing comes.
    cross join lateral (select max(j.created_at) as newest from (select x.created_at from public.jobs x where x.tenant_id = t.tenant_id
                                                                  order by x.st_job_id desc limit 50) j) n
   where n.newest < jobsync.now() - coalesce(s.silence_hours, 24) * interval '1 hour'
     and extract(isodow from jobsync.now() at time zone t.time_zone) <= 5
     and exists (select from jobsync.cursors c where c.tenant_id = t.tenant_id and c.stream = 'jobs' and c.failures = 0)
  union all
  -- One row a unit: its jobs may have gone to two hooks, one after the other.
  select v.tenant_id, 'unverified', coalesce(v.business_unit_id::text, '') || ':' || v.result, 'critical',
         sum(v.jobs) || ' jobs of ' || coalesce(min(v.business_unit_name), 'an unknown unit') || ' were accepted and are not in GoHighLevel', min(v.why),
         'jobsync why ' || min(v.sample_st_job_id), sum(v.jobs)::bigint
    from jobsync.v_unverified v
   group by v.tenant_id, v.business_unit_id, v.result
  union all
  -- The daily comparison must find nothing: what it found was not brought by the pull, mended or not.
  select r.tenant_id, 'reconcile_missing', '', case when r.fixed < r.missing + r.differing then 'critical' else 'warning' end,
         r.missing || ' records were missing here and ' || r.differing || ' differed from ServiceTitan', r.fixed || ' of them are stored now; the pull should have brought them.',
         case when r.fixed < r.missing + r.differing then 'jobsync reconcile --days ' || r.days || ' --fix-missing' else 'jobsync reconcile --days ' || r.days end,
         r.missing + r.differing
    from jobsync.v_reconcile r where r.is_alert
  union all
  select s.tenant_id, 'upstream_refused', s.upstream, 'critical',
         case s.upstream when 'servicetitan' then 'ServiceTitan' else 'GoHighLevel' end || case s.state when 'auth_failed' then ' refuses to sign JobSync in' else ' denies JobSync access' end,
         coalesce(s.reason, 'No reason was given.'), 'jobsync doctor', 1
    from jobsync.upstream_states s where s.state <> 'ok'
  union all
  -- A quota is one of a day: what was left yesterday says nothing.
  select f.tenant_id, 'quota', f.upstream, case when f.daily_remaining = 0 then 'critical' else 'warning' end,
         case when f.daily_remaining = 0 then 'Today''s quota of requests to GoHighLevel is used up'
              else f.daily_remaining || ' of ' || f.daily_limit || ' requests to GoHighLevel are left today' end,
         case when f.daily_remaining = 0 then 'GoHighLevel refuses everything until the quota is full again; jobs wait, none is lost.'
              else 'Deliveries by API leave the last fifth to people: they wait until the quota is full again.' end,
         'wait for midnight UTC; if it comes again, find out what else uses this location''s API, or: jobsync arm --cap-day N', 1
    from jobsync.upstream_facts f
   where f.daily_remaining * 5 <= f.daily_limit and f.quota_at >= date_trunc('day', jobsync.now() at time zone 'UTC') at time zone 'UTC'
  union all
  select f.tenant_id, 'clock_skew', f.upstream, 'warning',
         'The clock here is ' || abs(f.clock_ahead_s)::bigint || ' s ' || case when f.clock_ahead_s > 0 then 'ahead of ' else 'behind ' end
           || case f.upstream when 'servicetitan' then 'ServiceTitan' else 'GoHighLevel' end,
         'Reading positions are ServiceTitan''s own times, so nothing is lost; ages, lag, quiet hours and the digest go by PostgreSQL''s clock and are off.',
         'set the clock of PostgreSQL''s machine by NTP, then: jobsync doctor', 1
    from jobsync.upstream_facts f where abs(f.clock_ahead_s) > 60
  union all
  -- Routes and rules whose pipeline or stage was deleted in GoHighLevel; install jobs whose sale is not certain.
  select p.tenant_id, 'card_' || p.kind, p.subject, case p.kind when 'route' then 'critical' else 'warning' end,
         case p.kind when 'route' then 'The route of ' when 'rule' then 'The rule ' else 'Job ' end || coalesce(p.name, p.subject) || ' needs you', p.problem,
         case p.kind when 'route' then 'jobsync units set ' || p.subject || ' --pipeline NAME --stage NAME' when 'rule' then 'jobsync rules list   then: jobsync rules set'
                     else 'jobsync why job ' || p.subject end, 1
    from jobsync.v_card_problems p
  union all
  select a.tenant_id, 'card_renamed', a.subject || ':' || a.id, 'warning', initcap(split_part(a.action, '_', 1)) || ' "' || (a.details ->> 'before') || '" is now called "' || (a.details ->> 'name') || '"',
         'It was renamed in GoHighLevel; routes and rules follow by its id, n8n flows and reports that use the name do not.', 'jobsync pipelines list', 1
    from jobsync.audit a where a.action in ('stage_renamed', 'pipeline_renamed') and a.at > jobsync.now() - interval '1 day'
  union all
  select s.tenant_id, 'sent_by_both', s.business_unit_id::text, 'critical', (s.counts ->> 'sent_by_both') || ' jobs of unit ' || s.business_unit_id || ' were sent by JobSync and by the old flow',
         'The old flow still runs beside a live JobSync.', 'switch the old workflow off, or: jobsync pause', (s.counts ->> 'sent_by_both')::bigint
    from jobsync.shadow_units s where s.counts ? 'sent_by_both' and s.compared_at > jobsync.now() - interval '26 hours'
  union all
  select d.tenant_id, 'double_cards', '', 'warning', count(*) || ' cards in GoHighLevel stand there more than once for one job or customer', 'The old flow pushed them again; JobSync deletes nothing.',
         'jobsync export --view v_double_cards --csv > doubles.csv', count(*)
    from jobsync.double_cards d where not d.keep and d.found_at > jobsync.now() - interval '26 hours' group by d.tenant_id
  union all
  select o.tenant_id, 'old_flow_can_go', to_char(o.delete_on, 'YYYY-MM-DD'), 'warning', 'The old workflow can be deleted: JobSync has delivered alone for a week',
         'Nothing of the old flow was seen since ' || to_char(o.stable_since at time zone 'UTC', 'YYYY-MM-DD') || '.', 'delete it in n8n, take JOBSYNC_OLD_DATABASE_URL away, then: jobsync alerts mute old_flow_can_go --hours 720', 1
    from jobsync.v_old_flow o where o.is_due
  union all
  select h.tenant_id, 'channel_down', h.channel, 'warning', 'Alerts do not get through to ' || split_part(h.channel, ':', 1), 'It refused or did not answer ' || h.failures || ' times.',
         'jobsync alerts test', h.failures
    from jobsync.alert_channels h where h.failures >= 3;
comment on view jobsync.v_alert_conditions is 'What is wrong right now, one row per cause, with why and what to do.';

create function jobsync.is_quiet(p_tenant text) returns boolean language sql stable set search_path = jobsync, public as $$
  select coalesce(case when s.quiet_from <= s.quiet_until then l.at >= s.quiet_from and l.at < s.quiet_until
                       else l.at >= s.quiet_from or l.at < s.quiet_until end, false)
    from tenants t
    left join alert_settings s on s.tenant_id = t.tenant_id
    cross join lateral (select (jobsync.now() at time zone t.time_zone)::time as at) l
   where t.tenant_id = p_tenant
$$;
comment on function jobsync.is_quiet(text) is 'True within the tenant''s quiet hours, which may span midnight.';

-- p_found: what only the program can see (disk, ...), as [{tenant_id, code, subject, severity, title, why, fix, items}].
create function jobsync.refresh_alerts(p_found jsonb default '[]') returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_open integer;
begin
  with found as materialized (
    select tenant_id, code, coalesce(subject, '') as subject, severity, title, why, fix, items from v_alert_conditions
    union all
    select tenant_id, code, coalesce(subject, ''), severity, title, why, fix, coalesce(items, 1)
      from jsonb_to_recordset(p_found) x (tenant_id text, code text, subject text, severity text, title text, why text, fix text, items bigint)
  ), opened as (
    insert into alerts as a (tenant_id, code, subject, severity, title, why, fix, items, opened_at, seen_at)
    select f.tenant_id, f.code, f.subject, f.severity, f.title, f.why, f.fix, f.items, v_now, v_now from found f
    on conflict (tenant_id, code, subject) do update set
      severity = excluded.severity, title = excluded.title, why = excluded.why, fix = excluded.fix, items = excluded.items, seen_at = v_now,
      -- What comes back within half an hour flaps: it is the same fault, already told.
      opened_at = case when a.resolved_at < v_now - interval '30 minutes' then v_now else a.opened_at end,
      told_at = case when a.resolved_at < v_now - interval '30 minutes' then null else a.told_at end,
      resolved_at = null, recovery_told_at = null
    returning 1
  )
  select count(*) into v_open from opened;
  update alerts set resolved_at = v_now where resolved_at is null and seen_at < v_now;
  delete from alerts where resolved_at < v_now - interval '30 days';
  return v_open;
end
$$;
comment on function jobsync.refresh_alerts(jsonb) is 'Opens, renews and closes alerts of all tenants by what is wrong now. Answers how many are open.';

create function jobsync.list_untold_alerts() returns table (tenant_id text, tenant_name text, time_zone text, kind text, alert jobsync.alerts)
language sql stable set search_path = jobsync, public as $$
  select a.tenant_id, t.name, t.time_zone, case when a.resolved_at is null then 'opened' else 'recovered' end, a
    from alerts a
    join tenants t on t.tenant_id = a.tenant_id
    left join alert_settings s on s.tenant_id = a.tenant_id
   where (a.muted_until is null or a.muted_until <= jobsync.now())
     and case when a.resolved_at is null
              then a.told_at is null or a.told_at < jobsync.now() - coalesce(s.repeat_hours, 24) * interval '1 hour'
              -- Five minutes, so that what flaps is not told as mended.
              else a.told_at is not null and a.recovery_told_at is null and a.resolved_at < jobsync.now() - interval '5 minutes' end
     and (a.severity = 'critical' and a.resolved_at is null or not is_quiet(a.tenant_id))
   order by a.tenant_id, a.severity, a.opened_at
$$;
comment on function jobsync.list_untold_alerts() is 'Alerts that people have to be told of now, and recoveries: each once, repeated while it stays open, warnings not in quiet hours.';

create function jobsync.mark_alerts_told(p_tenant text, p_codes text[], p_subjects text[]) returns void
language sql volatile set search_path = jobsync, public as $$
  update alerts a set told_at = case when a.resolved_at is null then jobsync.now() else a.told_at end,
                      recovery_told_at = case when a.resolved_at is not null then jobsync.now() end
    from unnest(p_codes, p_subjects) m(code, subject)
   where a.tenant_id = p_tenant and a.code = m.code and a.subject = m.subject
$$;
comment on function jobsync.mark_alerts_told(text, text[], text[]) is 'Notes that at least one channel took these alerts.';

create function jobsync.report_channel(p_tenant text, p_channel text, p_sent boolean) returns void
language sql volatile set search_path = jobsync, public as $$
  insert into alert_channels as h (tenant_id, channel, failures, failed_at, succeeded_at)
  values (p_tenant, p_channel, case when p_sent then 0 else 1 end, case when not p_sent then jobsync.now() end, case when p_sent then jobsync.now() end)
  on conflict (tenant_id, channel) do update set
    failures = case when p_sent then 0 else h.failures + 1 end,
    failed_at = case when p_sent then h.failed_at else jobsync.now() end,
    succeeded_at = case when p_sent then jobsync.now() else h.succeeded_at end
$$;
comment on function jobsync.report_channel(text, text, boolean) is 'Notes whether a channel took what was sent.';

create function jobsync.mute_alert(p_tenant text, p_code text, p_subject text, p_for interval, p_actor text) returns integer
language plpgsql set search_path = jobsync, public as $$
declare
  v_muted integer;
begin
  update alerts set muted_until = jobsync.now() + p_for where tenant_id = p_tenant and code = p_code and (p_subject is null or subject = p_subject);
  get diagnostics v_muted = row_count;
  if v_muted = 0 then
    raise exception 'there is no alert % to mute', p_code using errcode = 'JS004';
  end if;
  insert into audit (tenant_id, actor, action, subject, details)
  values (p_tenant, p_actor, 'alert_muted', p_code, jsonb_build_object('for', p_for, 'subject', p_subject));
  return v_muted;
end
$$;
comment on function jobsync.mute_alert(text, text, text, interval, text) is 'Keeps an alert (or one subject of it) quiet for a while. Answers how many.';

-- Null leaves what stands; '' takes a time away.
create function jobsync.set_alert_settings(
  p_tenant text, p_time_zone text, p_quiet_from text, p_quiet_until text, p_digest_at text, p_silence_hours integer, p_repeat_hours integer, p_actor text
) returns jsonb language plpgsql set search_path = jobsync, public as $$
declare
  v_row alert_settings;
  v_zone text;
begin
  if p_time_zone is not null and not exists (select from pg_timezone_names z where z.name = p_time_zone) then
    raise exception 'time zone % is not known; write it as America/Phoenix', p_time_zone using errcode = 'JS001';
  end if;
  update tenants set time_zone = coalesce(p_time_zone, time_zone), updated_at = jobsync.now() where tenant_id = p_tenant returning time_zone into v_zone;
  insert into alert_settings (tenant_id) values (p_tenant) on conflict (tenant_id) do nothing;
  begin
    update alert_settings s set
      quiet_from = case when p_quiet_from is null then s.quiet_from else nullif(p_quiet_from, '')::time end,
      quiet_until = case when p_quiet_until is null then s.quiet_until else nullif(p_quiet_until, '')::time end,
      digest_at = case when p_digest_at is null then s.digest_at else nullif(p_digest_at, '')::time end,
      silence_hours = coalesce(p_silence_hours, s.silence_hours), repeat_hours = coalesce(p_repeat_hours, s.repeat_hours), updated_at = jobsync.now()
     where s.tenant_id = p_tenant
    returning * into v_row;
  exception when data_exception then
    raise exception 'times are written as 22:00' using errcode = 'JS001';
  when check_violation then
    raise exception 'hours are from 1 to 720, and quiet hours have two ends' using errcode = 'JS001';
  end;
  insert into audit (tenant_id, actor, action) values (p_tenant, p_actor, 'alert_settings_changed');
  return to_jsonb(v_row) - array['sealed', 'key_id', 'tenant_id'] || jsonb_build_object('time_zone', v_zone);
end
$$;
comment on function jobsync.set_alert_settings(text, text, text, text, text, integer, integer, text) is 'Changes when people are told; answers all settings. Unknown zones and times are refused.';

create function jobsync.digest_facts(p_tenant text) returns jsonb language sql stable set search_path = jobsync, public as $$
  select jsonb_build_object(
      'status', (select to_jsonb(v) from v_tenant_status v where v.tenant_id = p_tenant),
      'runs', (select coalesce(jsonb_agg(to_jsonb(r) order by r.sync_type), '[]') from (
                 select l.sync_type, count(*) as runs, count(*) filter (where l.status = 'failed') as failed, sum(l.records_processed) as processed,
                        sum(l.records_succeeded) as succeeded, sum(l.records_failed) as records_failed
                   from sync_logs l where l.tenant_id = p_tenant and l.started_at > jobsync.now() - interval '24 hours' group by l.sync_type) r),
      'reasons', (select coalesce(jsonb_agg(to_jsonb(r) order by r.jobs desc), '[]') from (
                 select u.reason, u.ghl_sync_status, u.business_unit_name, u.jobs from v_unsynced_reasons u
                  where u.tenant_id = p_tenant and u.reason <> 'before_start' order by u.jobs desc limit 8) r),
      'old_flow', (select to_jsonb(o) from v_old_flow o where o.tenant_id = p_tenant),
      'alerts', (select coalesce(jsonb_agg(jsonb_build_object('title', a.title, 'fix', a.fix) order by a.severity, a.opened_at), '[]')
                   from alerts a where a.tenant_id = p_tenant and a.resolved_at is null))
$$;
comment on function jobsync.digest_facts(text) is 'What the daily digest of a tenant has to say right now: its line, the runs of 24 hours, what is not in GoHighLevel, what is open.';

-- Claimed before it is sent: two workers never both send it. A channel that refused gives the day back.
create function jobsync.claim_digests() returns table (tenant_id text, tenant_name text, local_day date, facts jsonb)
language sql volatile set search_path = jobsync, public as $$
  with due as (
    select t.tenant_id, t.name, (jobsync.now() at time zone t.time_zone)::date as day
      from tenants t
      left join alert_settings s on s.tenant_id = t.tenant_id
     where (s.tenant_id is null or s.digest_at is not null)
       and (jobsync.now() at time zone t.time_zone)::time >= coalesce(s.digest_at, '07:00')
       and s.digest_sent_on is distinct from (jobsync.now() at time zone t.time_zone)::date
  ), claimed as (
    insert into alert_settings as s (tenant_id, digest_sent_on) select d.tenant_id, d.day from due d
    on conflict (tenant_id) do update set digest_sent_on = excluded.digest_sent_on where s.digest_sent_on is distinct from excluded.digest_sent_on
    returning s.tenant_id, s.digest_sent_on
  )
  select c.tenant_id, d.name, c.digest_sent_on, digest_facts(c.tenant_id)
    from claimed c join due d on d.tenant_id = c.tenant_id
$$;
comment on function jobsync.claim_digests() is 'Takes the daily digests that are due, each once per local day whatever the clocks do, with what to say.';

create function jobsync.give_back_digest(p_tenant text, p_day date) returns void
language sql volatile set search_path = jobsync, public as $$
  update alert_settings set digest_sent_on = p_day - 1 where tenant_id = p_tenant and digest_sent_on = p_day
$$;
comment on function jobsync.give_back_digest(text, date) is 'No channel took the digest of that day: it is due again.';

-- Events: what happened, for whoever watches. Written by triggers in the transaction that it tells of, read in the order of
-- (tx, id) and only up to the oldest transaction of this database that still runs: so a place in the stream is one behind
-- which nothing can appear later, which numbers alone cannot promise.

create table jobsync.events (
  tenant_id text not null,
  tx xid8 not null default pg_catalog.pg_current_xact_id(),
  id bigint generated always as identity,
  at timestamptz not null default jobsync.now(),
  kind text not null constraint event_kind_is_known check (kind in ('run', 'audit')),
  subject text,
  content jsonb not null,
  primary key (tenant_id, tx, id)
);
create index events_by_time on jobsync.events (tenant_id, at);
comment on table jobsync.events is 'Runs that open, go on and end, and lines of the audit, for live views; kept seven days. Never personal data.';
comment on column jobsync.events.tx is 'The transaction that wrote it: readers stay below the oldest one that still runs.';
comment on column jobsync.events.content is 'run: {sync_type, status, processed, succeeded, failed}; audit: {actor, action, details}.';

create function jobsync.tell_audit() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  insert into events (tenant_id, kind, subject, content)
  select a.tenant_id, 'audit', a.subject, jsonb_build_object('actor', a.actor, 'action', a.action, 'details', a.details) from added a order by a.id;
  return null;
end
$$;
comment on function jobsync.tell_audit() is 'Trigger: each line of the audit is an event.';
create trigger tell_audit after insert on jobsync.audit referencing new table as added for each statement execute function jobsync.tell_audit();

create function jobsync.run_content(p_run public.sync_logs) returns jsonb language sql immutable as $$
  select pg_catalog.jsonb_build_object('sync_type', p_run.sync_type, 'status', p_run.status, 'processed', p_run.records_processed,
    'succeeded', p_run.records_succeeded, 'failed', p_run.records_failed)
$$;
comment on function jobsync.run_content(public.sync_logs) is 'What an event tells of a run; its words (error_message, metadata) stay in the run.';

create function jobsync.tell_opened_run() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  insert into events (tenant_id, kind, subject, content)
  select a.tenant_id, 'run', 'run:' || a.id, run_content(a::sync_logs) from added a;
  return null;
end
$$;
comment on function jobsync.tell_opened_run() is 'Trigger: a new run is an event.';
create trigger tell_opened_run after insert on public.sync_logs referencing new table as added for each statement execute function jobsync.tell_opened_run();

create function jobsync.tell_changed_run() returns trigger language plpgsql set search_path = jobsync, public as $$
begin
  insert into events (tenant_id, kind, subject, content)
  select n.tenant_id, 'run', 'run:' || n.id, run_content(n::sync_logs)
    from changed n join former o on o.tenant_id = n.tenant_id and o.id = n.id
   where run_content(n::sync_logs) is distinct from run_content(o::sync_logs);
  return null;
end
$$;
comment on function jobsync.tell_changed_run() is 'Trigger: a run that goes on or ends is an event; what changes nothing that is told is none.';
create trigger tell_changed_run after update on public.sync_logs referencing old table as former new table as changed
  for each statement execute function jobsync.tell_changed_run();

-- Every writing transaction holds the lock on its own number. The statement's snapshot is older than the look at the locks:
-- what it calls unfinished and holds no lock any more has ended in between, and the next statement sees it.
create function jobsync.settled_tx() returns xid8 language sql volatile as $$
  with known as (
    select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint as next
  ), running as (
    select (k.next & ~4294967295) + l.transactionid::text::bigint as tx
      from known k
      cross join pg_catalog.pg_locks l
      left join pg_catalog.pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted
       and (a.datname is null or a.datname = pg_catalog.current_database())
  )
  -- Locks name the lower half of a number only: one that seems far ahead is of the epoch before.
  select least(k.next, (select min(case when r.tx > k.next + 2147483648 then r.tx - 4294967296 else r.tx end) from running r))::text::xid8
    from known k
$$;
comment on function jobsync.settled_tx() is 'All transactions of this database below this number have ended; a statement begun after the call sees what they wrote.';

-- What the doctor asks the database about itself: routes, a running old flow, alerts.

create function jobsync.list_findings(p_tenant text)
returns table (group_name text, name text, state text, what text, why text, fix text)
language sql stable set search_path = jobsync, public as $$
  select 'routing', 'units', case when count(*) filter (where n.jobs > 0) > 0 then 'warning' else 'ok' end,
         case when count(*) = 0 then 'no business units are known yet'
              when count(*) filter (where n.jobs > 0) = 0 then 'every unit with jobs is decided'
              else count(*) filter (where n.jobs > 0) || case count(*) filter (where n.jobs > 0) when 1 then ' unit is unmapped (' else ' units are unmapped (' end || sum(n.jobs) || ' jobs): ' || left(string_agg(u.name, ', ' order by n.jobs desc) filter (where n.jobs > 0), 200) end,
         case when count(*) filter (where n.jobs > 0) > 0 then 'Their jobs wait in an inbox and go nowhere.' end,
         case when count(*) filter (where n.jobs > 0) > 0 then 'jobsync units set ID --webhook URL   (or --external, --skip)' end
    from business_units u
    cross join lateral (select coalesce(sum(r.jobs), 0) as jobs from v_unsynced_reasons r
                         where r.tenant_id = p_tenant and r.business_unit_id = u.st_business_unit_id and r.reason = 'unmapped') n
   where u.tenant_id = p_tenant
  union all
  select 'routing', 'destination', 'problem', 'the destination ' || d.label || ' is paused', d.pause_reason, 'mend it, then: jobsync resume'
    from destinations d where d.tenant_id = p_tenant and d.paused_at is not null
  union all
  -- A flow of the guide that still pushes what JobSync delivers: two deliverers, double leads.
  select 'routing', 'old flow', 'problem', 'somebody else marked jobs of ' || u.name || ' as sent in the last 24 hours', 'JobSync delivers this unit as well.',
         'switch the old workflow off, or: jobsync units set ' || u.st_business_unit_id || ' --external'
    from outside_marks m
    join routes r on r.tenant_id = m.tenant_id and r.st_business_unit_id = m.business_unit_id and r.deliverer = 'jobsync'
    join business_units u on u.tenant_id = m.tenant_id and u.st_business_unit_id = m.business_unit_id
   where m.tenant_id = p_tenant and m.last_marked_at > jobsync.now() - interval '24 hours'
  union all
  select 'routing', 'mode', 'ok', 'mode is ' || t.mode || case when t.paused_at is not null then ', paused' else '' end, null, null from tenants t where t.tenant_id = p_tenant
  union all
  select 'alerts', a.code, case a.severity when 'critical' then 'problem' else 'warning' end, a.title, a.why, a.fix
    from v_alert_conditions a where a.tenant_id = p_tenant
$$;
comment on function jobsync.list_findings(text) is 'What the doctor says about routes and alerts of a tenant: one line each, with why and fix.';

-- Exports: a stable view, read by a cursor, so that a million rows pass through in pieces.

create function jobsync.open_view(p_view text) returns refcursor
language plpgsql set search_path = jobsync, public as $$
declare
  v_cursor refcursor := 'exported_view';
  v_schema text := (
    select n.nspname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relname = p_view and (n.nspname = 'jobsync' and c.relkind = 'v' and c.relname like 'v\_%'
        or n.nspname = 'public' and c.relname in ('business_units', 'customers', 'jobs', 'sync_logs', 'sync_state', 'sync_statistics', 'jobs_pending_ghl_sync')));
begin
  if v_schema is null then
    raise exception 'there is no view %', p_view using errcode = 'JS001';
  end if;
  open v_cursor for execute pg_catalog.format('select * from %I.%I', v_schema, p_view);
  return v_cursor;
end
$$;
comment on function jobsync.open_view(text) is
  'Opens the cursor exported_view on a stable view v_*, or on one of the guide''s tables and views; the rows are the tenant''s. Lasts until the transaction ends.';

-- What /metrics shows of a tenant: one line per sample, so that the program only writes them down.

create function jobsync.list_metrics(p_tenant text) returns table (metric text, labels jsonb, value double precision)
language sql stable set search_path = jobsync, public as $$
  select 'jobsync_stream_lag_seconds', jsonb_build_object('stream', l.stream), l.lag_seconds::double precision
    from v_sync_lag l where l.tenant_id = p_tenant and l.lag_seconds is not null
  union all
  select 'jobsync_stream_failures', jsonb_build_object('stream', l.stream), l.failures from v_sync_lag l where l.tenant_id = p_tenant
  union all
  select 'jobsync_jobs', jsonb_build_object('status', y.class), sum(y.rows) from v_tallies y where y.tenant_id = p_tenant and y.topic = 'jobs' group by y.class
  union all
  select 'jobsync_outbox', jsonb_build_object('event', y.class), sum(y.rows) from v_tallies y where y.tenant_id = p_tenant and y.topic = 'outbox' group by y.class
  union all
  select 'jobsync_quarantine', jsonb_build_object('stream', y.class), sum(y.rows) from v_tallies y where y.tenant_id = p_tenant and y.topic = 'quarantine' group by y.class
  union all
  select 'jobsync_runs', jsonb_build_object('type', y.class, 'status', y.reason), sum(y.rows) from v_tallies y where y.tenant_id = p_tenant and y.topic = 'runs' group by y.class, y.reason
  union all
  select 'jobsync_attempts_last_hour', jsonb_build_object('outcome', coalesce(a.outcome, 'open')), count(*)
    from attempts a where a.tenant_id = p_tenant and a.started_at > jobsync.now() - interval '1 hour' group by a.outcome
  union all
  select 'jobsync_sends_last_24_hours', '{}', t.sends_today from v_tenant_status t where t.tenant_id = p_tenant
  union all
  select 'jobsync_cap_day', '{}', t.cap_day from v_tenant_status t where t.tenant_id = p_tenant
  union all
  select 'jobsync_live', '{}', case when t.mode = 'live' and t.paused_at is null then 1 else 0 end from v_tenant_status t where t.tenant_id = p_tenant
  union all
  select 'jobsync_budget_tokens', jsonb_build_object('budget', split_part(b.budget_key, ':', 1), 'id', split_part(b.budget_key, ':', 2)), b.tokens
    from budgets b where b.tenant_id = p_tenant
  union all
  select 'jobsync_requests_left_today', jsonb_build_object('upstream', f.upstream), f.daily_remaining
    from upstream_facts f where f.tenant_id = p_tenant and f.daily_remaining is not null
  union all
  select 'jobsync_clock_ahead_seconds', jsonb_build_object('upstream', f.upstream), f.clock_ahead_s
    from upstream_facts f where f.tenant_id = p_tenant and f.clock_ahead_s is not null
  union all
  select 'jobsync_alerts_open', jsonb_build_object('severity', a.severity), count(*) from alerts a where a.tenant_id = p_tenant and a.resolved_at is null group by a.severity
$$;
comment on function jobsync.list_metrics(text) is 'The samples of /metrics for one tenant; the program adds its own (queue, pool, process).';

-- Views to build reports on: they are stable, every column says its unit, and each has tenant_id. They may read a lot.

create view jobsync.v_funnel with (security_invoker = true) as
  select s.tenant_id, s.business_unit_id, s.business_unit_name, count(*) as jobs,
         count(*) filter (where s.state <> 'blocked') as decided,
         count(*) filter (where s.state in ('pending', 'failed', 'accepted', 'verified')) as meant_for_ghl,
         count(*) filter (where s.state in ('accepted', 'verified')) as accepted,
         count(*) filter (where s.state = 'verified') as verified,
         count(*) filter (where s.state = 'pending') as pending, count(*) filter (where s.state = 'failed') as failed,
         count(*) filter (where s.state = 'skipped') as skipped, count(*) filter (where s.state = 'blocked') as blocked,
         round(100.0 * count(*) filter (where s.state = 'verified') / nullif(count(*) filter (where s.state in ('accepted', 'verified')), 0), 1) as verified_percent
    from jobsync.v_job_status s
   group by s.tenant_id, s.business_unit_id, s.business_unit_name;
comment on view jobsync.v_funnel is
  'How far the jobs of each unit came: jobs >= decided >= meant_for_ghl >= accepted >= verified; beside it those that wait, failed or are skipped.';
comment on column jobsync.v_funnel.decided is 'Jobs whose unit somebody routed or switched off.';
comment on column jobsync.v_funnel.meant_for_ghl is 'Jobs that are or shall be in GoHighLevel.';
comment on column jobsync.v_funnel.verified_percent is 'Of the accepted ones, how many were read back from GoHighLevel.';

create view jobsync.v_unit_daily with (security_invoker = true) as
  select d.tenant_id, d.day, d.business_unit_id, u.name as business_unit_name, sum(d.created)::bigint as created, sum(d.completed)::bigint as completed,
         sum(d.accepted)::bigint as accepted, sum(d.verified)::bigint as verified, sum(d.total) as total_created
    from (
      select j.tenant_id, (e.at at time zone t.time_zone)::date as day, j.business_unit_id,
             e.created, e.completed, e.accepted, e.verified, case when e.created = 1 then j.total end as total
        from public.jobs j
        join jobsync.tenants t on t.tenant_id = j.tenant_id
        cross join lateral (values (j.created_on, 1, 0, 0, 0), (j.completed_on, 0, 1, 0, 0), (j.ghl_accepted_at, 0, 0, 1, 0), (j.ghl_verified_at, 0, 0, 0, 1))
          e(at, created, completed, accepted, verified)
       where e.at is not null) d
    left join public.business_units u on u.tenant_id = d.tenant_id and u.st_business_unit_id = d.business_unit_id
   group by d.tenant_id, d.day, d.business_unit_id, u.name;
comment on view jobsync.v_unit_daily is 'What happened on each day (the tenant''s time zone) in each unit: jobs booked and completed in ServiceTitan, accepted and verified in GoHighLevel.';
comment on column jobsync.v_unit_daily.total_created is 'Sum of the totals of the jobs that were booked on that day, in the account''s currency.';

create view jobsync.v_run_statistics with (security_invoker = true) as
  select l.tenant_id, w.time_window, l.sync_type, l.status, count(*) as count, round(avg(l.duration_ms)) as avg_duration_ms,
         percentile_cont(0.5) within group (order by l.duration_ms) as p50_duration_ms, percentile_cont(0.95) within group (order by l.duration_ms) as p95_duration_ms,
         max(l.duration_ms) as max_duration_ms, coalesce(sum(l.records_processed), 0)::bigint as records_processed, coalesce(sum(l.records_failed), 0)::bigint as records_failed,
         max(l.started_at) as last_sync_at
    from (values ('1 hour', interval '1 hour'), ('24 hours', interval '24 hours'), ('7 days', interval '7 days')) w(time_window, span)
    join public.sync_logs l on l.started_at > jobsync.now() - w.span
   group by l.tenant_id, w.time_window, w.span, l.sync_type, l.status;
comment on view jobsync.v_run_statistics is
  'public.sync_statistics by window (1 hour, 24 hours, 7 days), with the median and the 95th percentile of the durations.';

create view jobsync.v_attempt_statistics with (security_invoker = true) as
  select a.tenant_id, w.time_window, coalesce(a.outcome, 'open') as outcome, count(*) as count,
         percentile_cont(0.5) within group (order by a.duration_ms) as p50_duration_ms, percentile_cont(0.95) within group (order by a.duration_ms) as p95_duration_ms,
         sum(a.requests)::bigint as requests, max(a.started_at) as last_at
    from (values ('1 hour', interval '1 hour'), ('24 hours', interval '24 hours'), ('7 days', interval '7 days')) w(time_window, span)
    join jobsync.attempts a on a.started_at > jobsync.now() - w.span
   group by a.tenant_id, w.time_window, w.span, coalesce(a.outcome, 'open');
comment on view jobsync.v_attempt_statistics is 'Sends to GoHighLevel by window and outcome, with the median and the 95th percentile of the time an answer took.';

-- Personal data: erasing one customer for good, and what is kept for how long.
--
-- Erasing goes by the catalog: every table that holds rows of a customer, a location or a job by its column st_customer_id,
-- st_location_id or st_job_id loses them, also one that is added later. What stays are attempts and audit, which hold ids and
-- times. A hash of each erased id stays as well, so that the next pull does not bring the record back.

create table jobsync.erasure_keys (
  tenant_id text primary key references jobsync.tenants on delete cascade,
  key bytea not null default pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.gen_random_uuid()::text || pg_catalog.gen_random_uuid()::text, 'UTF8')),
  created_at timestamptz not null default jobsync.now()
);
comment on table jobsync.erasure_keys is 'The key of a tenant''s hashes of erased ids; a tenant without one has erased nobody.';

create table jobsync.erased (
  tenant_id text not null,
  kind text not null constraint erased_kind_is_known check (kind in ('customer', 'location', 'job')),
  record_hash bytea not null,
  erased_at timestamptz not null default jobsync.now(),
  primary key (tenant_id, kind, record_hash)
);
comment on table jobsync.erased is 'Keyed hashes of the ids of erased records: what has one of them is not stored again.';

create function jobsync.erased_hash(p_tenant text, p_id bigint) returns bytea language sql stable as $$
  select pg_catalog.sha256(k.key || pg_catalog.convert_to(p_id::text, 'UTF8')) from jobsync.erasure_keys k where k.tenant_id = p_tenant
$$;
comment on function jobsync.erased_hash(text, bigint) is 'The hash of an id under the tenant''s key; null where nobody was erased yet.';

create function jobsync.is_erased(p_tenant text, p_kind text, p_id bigint) returns boolean language sql stable as $$
  select exists (select from jobsync.erased e where e.tenant_id = p_tenant and e.kind = p_kind and e.record_hash = jobsync.erased_hash(p_tenant, p_id))
$$;
comment on function jobsync.is_erased(text, text, bigint) is 'True for the id of a customer, location or job that was erased.';

-- Once for each statement, not for each row: a page of 5,000 records costs one look here. What an erased customer's record
-- left in a table is gone before the statement ends. Arguments: the table's key columns, then pairs of SQL for (kind, id).
create function jobsync.keep_erased_out() returns trigger language plpgsql set search_path = jobsync, public as $$
declare
  v_same text := (select string_agg(format('t.%1$I = a.%1$I', k), ' and ') from unnest(string_to_array(tg_argv[0], ' ')) k);
  v_erased text := '';
begin
  -- Almost nobody has erased anybody.
  if not exists (select from erasure_keys) then
    return null;
  end if;
  for v_pair in 1 .. tg_nargs - 1 by 2 loop
    v_erased := v_erased || case when v_pair > 1 then ' or ' else '' end || format(
      'exists (select from jobsync.erased e where e.tenant_id = a.tenant_id and e.kind = %s and e.record_hash = sha256(k.key || convert_to((%s)::text, %L)))',
      tg_argv[v_pair], tg_argv[v_pair + 1], 'UTF8');
  end loop;
  execute format('delete from %I.%I t using added a join jobsync.erasure_keys k on k.tenant_id = a.tenant_id where t.tenant_id = a.tenant_id and %s and (%s)',
    tg_table_schema, tg_table_name, v_same, v_erased);
  return null;
end
$$;
comment on function jobsync.keep_erased_out() is 'Trigger: a record of an erased customer is not stored again, whoever brings it.';

-- A customer's row names one location of his, or of somebody else's once it moved on: that one does not count.
create trigger keep_erased_out after insert on public.customers referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_customer_id', '''customer''', 'a.st_customer_id');
create trigger keep_erased_out after insert on public.jobs referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_job_id', '''customer''', 'a.st_customer_id', '''location''', 'a.st_location_id', '''job''', 'a.st_job_id');
create trigger keep_erased_out after insert on jobsync.locations referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_location_id', '''customer''', 'a.st_customer_id', '''location''', 'a.st_location_id');
create trigger keep_erased_out after insert on jobsync.contacts referencing new table as added for each statement
  execute function jobsync.keep_erased_out('owner_kind owner_id st_contact_id', 'a.owner_kind', 'a.owner_id');
create trigger keep_erased_out after insert on jobsync.wanted referencing new table as added for each statement
  execute function jobsync.keep_erased_out('stream id', 'case when a.stream like ''customer%'' then ''customer'' else ''location'' end', 'a.id');
create trigger keep_erased_out after insert on jobsync.appointments referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_appointment_id', '''customer''', 'a.st_customer_id', '''job''', 'a.st_job_id');
create trigger keep_erased_out after insert on jobsync.estimates referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_estimate_id', '''customer''', 'a.st_customer_id', '''location''', 'a.st_location_id', '''job''', 'a.st_job_id');
create trigger keep_erased_out after insert on jobsync.invoices referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_invoice_id', '''customer''', 'a.st_customer_id', '''location''', 'a.st_location_id', '''job''', 'a.st_job_id');
create trigger keep_erased_out after insert on jobsync.technician_assignments referencing new table as added for each statement
  execute function jobsync.keep_erased_out('st_assignment_id', '''job''', 'a.st_job_id');

-- Where there is no index by customer, location or job, the tenant's own rows are read, never those of all tenants.
create function jobsync.erase_customer(p_tenant text, p_customer bigint, p_actor text) returns jsonb
language plpgsql set search_path = jobsync, public set enable_seqscan = off as $$
declare
  v_customers bigint[];
  v_locations bigint[];
  v_jobs bigint[];
  v_outside jsonb;
  v_table record;
  v_condition text;
  v_count bigint;
  v_counts jsonb := '{}';
begin
  select array_agg(c.st_customer_id) into v_customers from customers c
   where c.tenant_id = p_tenant and (c.st_customer_id = p_customer or c.merged_to_id = p_customer);
  v_customers := coalesce(v_customers, '{}') || case when p_customer = any (v_customers) then '{}'::bigint[] else array[p_customer] end;
  select coalesce(array_agg(l.st_location_id), '{}') into v_locations from locations l where l.tenant_id = p_tenant and l.st_customer_id = any (v_customers);
  select coalesce(array_agg(j.st_job_id), '{}') into v_jobs from jobs j where j.tenant_id = p_tenant and j.st_customer_id = any (v_customers);
  if not exists (select from customers c where c.tenant_id = p_tenant and c.st_customer_id = p_customer)
     and v_locations = '{}' and v_jobs = '{}' and not is_erased(p_tenant, 'customer', p_customer) then
    raise exception 'No customer has the id %.', p_customer using errcode = 'JS004';
  end if;
  -- What GoHighLevel keeps is to be deleted there by its owner: these are its ids.
  select jsonb_build_object(
      'contacts', coalesce(jsonb_agg(distinct k.id) filter (where k.kind = 'contact' and not k.shared), '[]'),
      -- Another customer's, too: a person decides what becomes of it.
      'shared_contacts', coalesce(jsonb_agg(distinct k.id) filter (where k.kind = 'contact' and k.shared), '[]'),
      'opportunities', coalesce(jsonb_agg(distinct k.id) filter (where k.kind = 'opportunity'), '[]'))
    into v_outside
    from (select g.kind, g.id, g.kind = 'contact' and exists (
                   select from contact_links o where o.tenant_id = p_tenant and o.contact_id = g.id and o.st_customer_id <> all (v_customers)) as shared
            from (select 'contact' as kind, c.ghl_contact_id as id from customers c where c.tenant_id = p_tenant and c.st_customer_id = any (v_customers)
                  union select 'contact', l.contact_id from contact_links l where l.tenant_id = p_tenant and l.st_customer_id = any (v_customers)
                  union select 'contact', l.contact_id from opportunity_links l where l.tenant_id = p_tenant and l.st_job_id = any (v_jobs)
                  union select 'opportunity', j.ghl_opportunity_id from jobs j where j.tenant_id = p_tenant and j.st_job_id = any (v_jobs)
                  union select 'opportunity', l.opportunity_id from opportunity_links l where l.tenant_id = p_tenant and l.st_job_id = any (v_jobs)) g
           where g.id is not null) k;
  perform lock_jobs(p_tenant, v_jobs);
  insert into erasure_keys (tenant_id) values (p_tenant) on conflict do nothing;
  insert into erased (tenant_id, kind, record_hash)
  select p_tenant, k.kind, erased_hash(p_tenant, k.id)
    from (select 'customer' as kind, unnest(v_customers) as id union all select 'location', unnest(v_locations) union all select 'job', unnest(v_jobs)) k
  on conflict do nothing;
  for v_table in
    select n.nspname, c.relname, array_agg(a.attname::text) as columns
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname in ('public', 'jobsync')
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and not a.attisdropped and a.attname in ('st_customer_id', 'st_location_id', 'st_job_id')
     where c.relkind = 'r' and c.relname <> 'attempts'
       and exists (select from pg_catalog.pg_attribute t where t.attrelid = c.oid and t.attname = 'tenant_id' and not t.attisdropped)
     group by n.nspname, c.relname order by n.nspname, c.relname
  loop
    v_condition := concat_ws(' or ',
      case when 'st_customer_id' = any (v_table.columns) then 'st_customer_id = any ($2)' end,
      case when 'st_job_id' = any (v_table.columns) then 'st_job_id = any ($4)' end,
      -- A customer's row names one location of his; only what has no owner beside it is a location's own.
      case when 'st_location_id' = any (v_table.columns) and v_table.relname <> 'customers' then 'st_location_id = any ($3)' end);
    execute format('delete from %I.%I where tenant_id = $1 and (%s)', v_table.nspname, v_table.relname, v_condition) using p_tenant, v_customers, v_locations, v_jobs;
    get diagnostics v_count = row_count;
    v_counts := v_counts || case when v_count > 0 then jsonb_build_object(v_table.relname, v_count) else '{}' end;
  end loop;
  delete from contacts k where k.tenant_id = p_tenant
     and (k.owner_kind = 'customer' and k.owner_id = any (v_customers) or k.owner_kind = 'location' and k.owner_id = any (v_locations));
  get diagnostics v_count = row_count;
  v_counts := v_counts || case when v_count > 0 then jsonb_build_object('contacts', v_count) else '{}' end;
  delete from wanted w where w.tenant_id = p_tenant
     and (w.stream like 'customer%' and w.id = any (v_customers) or w.stream like 'location%' and w.id = any (v_locations));
  delete from quarantine q where q.tenant_id = p_tenant
     and (q.stream = 'customers' and q.record_id = any (v_customers::text[]) or q.stream = 'locations' and q.record_id = any (v_locations::text[])
          or q.stream = 'jobs' and q.record_id = any (v_jobs::text[])
          or encode(q.raw, 'escape') ~ ('"customerId"\s*:\s*"?(' || array_to_string(v_customers, '|') || ')\M')
          or v_locations <> '{}' and encode(q.raw, 'escape') ~ ('"locationId"\s*:\s*"?(' || array_to_string(v_locations, '|') || ')\M'));
  get diagnostics v_count = row_count;
  v_counts := v_counts || case when v_count > 0 then jsonb_build_object('quarantine', v_count) else '{}' end;
  -- Attempts stay to be counted, without the words that came back.
  update attempts a set answer = null, error = null where a.tenant_id = p_tenant and a.st_job_id = any (v_jobs) and (a.answer is not null or a.error is not null);
  update sync_logs l set error_message = null, error_details = null, metadata = '{}'
   where l.tenant_id = p_tenant and l.entity_id = any (v_customers || v_locations || v_jobs);
  perform write_audit(p_tenant, p_actor, 'customer_erased', 'customer:' || p_customer, v_counts);
  return jsonb_build_object('customer', p_customer, 'customers', cardinality(v_customers), 'locations', cardinality(v_locations), 'jobs', cardinality(v_jobs),
    'erased', v_counts, 'gohighlevel', v_outside);
end
$$;
comment on function jobsync.erase_customer(text, bigint, text) is
  'Erases a customer with all jobs, locations, contacts, documents, raw records and words about them; answers counts and the ids that GoHighLevel still has. They never come back. Twice: the second time finds nothing.';

alter table jobsync.tenants add column raw_days integer constraint raw_days_is_a_month_or_more check (raw_days >= 30);
comment on column jobsync.tenants.raw_days is 'After how many days without a change texts leave st_raw_data (numbers stay); null: never.';

create function jobsync.without_texts(p_raw jsonb) returns jsonb language sql immutable parallel safe as $$
  select coalesce(jsonb_object_agg(e.key, e.value) filter (where jsonb_typeof(e.value) in ('number', 'boolean')), '{}')
    from jsonb_each(case when jsonb_typeof(p_raw) = 'object' then p_raw else '{}' end) e
$$;
comment on function jobsync.without_texts(jsonb) is 'What stays of a raw record: its numbers and switches, which name records and say nothing of a person.';

create function jobsync.prune(p_tenant text, p_most integer default 10000) returns jsonb
language plpgsql set search_path = jobsync, public as $$
declare
  v_now timestamptz := jobsync.now();
  v_counts jsonb := '{}';
  v_count bigint;
begin
  delete from quarantine q using (select x.id from quarantine x where x.tenant_id = p_tenant and x.resolved_at < v_now - interval '30 days' limit p_most) o
   where q.tenant_id = p_tenant and q.id = o.id;
  get diagnostics v_count = row_count;
  v_counts := v_counts || jsonb_build_object('quarantine', v_count);
  update attempts a set answer = null from (select x.id from attempts x where x.tenant_id = p_tenant and x.started_at < v_now - interval '90 days'
                                                and x.answer is not null limit p_most) o
   where a.tenant_id = p_tenant and a.id = o.id;
  get diagnostics v_count = row_count;
  v_counts := v_counts || jsonb_build_object('answers', v_count);
  delete from events e using (select x.tx, x.id from events x where x.tenant_id = p_tenant and x.at < v_now - interval '7 days' limit p_most) o
   where e.tenant_id = p_tenant and e.tx = o.tx and e.id = o.id;
  get diagnostics v_count = row_count;
  v_counts := v_counts || jsonb_build_object('events', v_count);
  -- The rows of an import's files: of a dry run that nobody went on with a week, else as long as an old flow may be kept beside.
  delete from import_rows r using (
    select x.import_id, x.entity, x.row_no from imports i
      join import_rows x on x.tenant_id = i.tenant_id and x.import_id = i.id
     where i.tenant_id = p_tenant and (i.state in ('staging', 'staged') and i.updated_at < v_now - interval '7 days'
                                       or i.state in ('applied', 'undone') and i.updated_at < v_now - interval '90 days') limit p_most) o
   where r.tenant_id = p_tenant and r.import_id = o.import_id and r.entity = o.entity and r.row_no = o.row_no;
  get diagnostics v_count = row_count;
  v_counts := v_counts || jsonb_build_object('import_rows', v_count);
  return v_counts;
end
$$;
comment on function jobsync.prune(text, integer) is
  'Ends what has been kept long enough, at most p_most rows of a kind: settled quarantine 30 days, answers of deliveries 90, events 7, rows of imported files 90 (of dry runs 7). Answers counts.';

create function jobsync.prune_texts(p_tenant text, p_place jsonb default null, p_most integer default 10000) returns jsonb
language plpgsql set search_path = jobsync, public set enable_seqscan = off set plan_cache_mode = force_custom_plan as $$
declare
  v_tables constant text[] := array['public.jobs', 'public.customers', 'jobsync.locations', 'jobsync.contacts', 'jobsync.appointments', 'jobsync.estimates',
                                    'jobsync.invoices', 'jobsync.technician_assignments'];
  v_number integer := coalesce((p_place ->> 'table')::integer, 1);
  v_days integer;
  v_keys text;
  v_same text;
  v_after text;
  v_read bigint;
  v_pruned bigint;
  v_last jsonb;
begin
  select t.raw_days into v_days from tenants t where t.tenant_id = p_tenant;
  if v_days is null then
    return jsonb_build_object('raw', 0, 'place', null);
  end if;
  select string_agg(format('x.%I', a.attname), ', ' order by k.n), string_agg(format('r.%1$I = p.%1$I', a.attname), ' and ' order by k.n),
         string_agg(format('($2 ->> %s)::%s', k.n - 2, format_type(a.atttypid, null)), ', ' order by k.n)
    into v_keys, v_same, v_after
    from pg_catalog.pg_index i
    cross join lateral unnest(i.indkey::smallint[]) with ordinality k(number, n)
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number and a.attname <> 'tenant_id'
   where i.indrelid = v_tables[v_number]::regclass and i.indisprimary;
  execute format(
    'with page as materialized ('
    '  select %1$s, x.updated_at, x.st_raw_data from %2$s x where x.tenant_id = $1 %3$s order by %1$s limit $3'
    '), pruned as ('
    '  update %2$s r set st_raw_data = without_texts(r.st_raw_data) from page p'
    '   where r.tenant_id = $1 and %4$s and r.updated_at < $4 and p.updated_at < $4 and p.st_raw_data is not null and p.st_raw_data is distinct from without_texts(p.st_raw_data)'
    '  returning 1'
    ') select (select count(*) from page), (select count(*) from pruned), (select jsonb_build_array(%1$s) from page x order by %5$s limit 1)',
    v_keys, v_tables[v_number], case when p_place -> 'after' is not null then format('and (%s) > (%s)', v_keys, v_after) else '' end, v_same,
    replace(v_keys, ',', ' desc,') || ' desc')
    into v_read, v_pruned, v_last using p_tenant, p_place -> 'after', p_most, jobsync.now() - v_days * interval '1 day';
  return jsonb_build_object('raw', v_pruned, 'place',
    case when v_read = p_most then jsonb_build_object('table', v_number, 'after', v_last)
         when v_number < cardinality(v_tables) then jsonb_build_object('table', v_number + 1) end);
end
$$;
comment on function jobsync.prune_texts(text, jsonb, integer) is
  'One step of a walk through all raw records by their keys, p_most rows: texts of what did not change for tenants.raw_days leave. p_place: where the step before ended (null: from the start). Answers {raw: how many, place: null at the end}.';

-- Access: the tables belong to the role that migrates; the program works as jobsync_app and sees one tenant per
-- transaction (set local role + the setting jobsync.tenant). Row-level security is enabled, not forced: owner, psql and
-- pg_dump see all rows. Unset tenant: no rows.

do $access$
declare
  v_table record;
begin
  for v_table in
    select n.nspname, c.relname
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
     where c.relkind = 'r' and (n.nspname = 'jobsync'
        or n.nspname = 'public' and c.relname in ('sync_state', 'customers', 'jobs', 'sync_logs', 'business_units'))
  loop
    execute pg_catalog.format('alter table %I.%I enable row level security', v_table.nspname, v_table.relname);
    execute pg_catalog.format(
      'create policy tenant_rows on %I.%I using (tenant_id = (select nullif(pg_catalog.current_setting(''jobsync.tenant'', true), '''')))'
      ' with check (tenant_id = (select nullif(pg_catalog.current_setting(''jobsync.tenant'', true), '''')))', v_table.nspname, v_table.relname);
  end loop;
  if exists (select from pg_catalog.pg_roles where rolname = 'jobsync_app') then
    grant usage on schema public, jobsync to jobsync_app;
    grant select, insert, update, delete on public.sync_state, public.customers, public.jobs, public.sync_logs, public.business_units to jobsync_app;
    grant select on public.sync_statistics, public.jobs_pending_ghl_sync to jobsync_app;
    grant select, insert, update, delete on all tables in schema jobsync to jobsync_app;
    revoke insert, update, delete on jobsync.clock, jobsync.migrations from jobsync_app;
    revoke update, delete on jobsync.audit from jobsync_app;
  end if;
  -- Nobody moves the clock, not even the owner: tests grant it to a role that only they have.
  execute pg_catalog.format('revoke insert, update, delete, truncate on jobsync.clock from %I', current_user);
end
$access$;

-- Who only reads: reports, dashboards of others, a curious psql. It sees every tenant (or the one that jobsync.tenant names)
-- and no credential, not even a sealed one. A login for it: create role NAME login password '...' in role jobsync_readonly.
do $reading$
declare
  v_table record;
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'jobsync_readonly') then
    -- Tried twice, as with jobsync_app (10).
    for v_try in 1..2 loop
      begin
        create role jobsync_readonly nologin;
        exit;
      exception when duplicate_object or unique_violation then
        null;
      end;
    end loop;
  end if;
  grant usage on schema public, jobsync to jobsync_readonly;
  for v_table in
    select n.nspname, c.relname
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'v')
       and (n.nspname = 'jobsync' and c.relname not in (
              'connections', 'access_tokens', 'tokens', 'destinations', 'alert_settings', 'users', 'sessions', 'sign_in_links', 'sign_in_failures', 'erasure_keys')
         or n.nspname = 'public' and c.relname in ('sync_state', 'customers', 'jobs', 'sync_logs', 'business_units', 'sync_statistics', 'jobs_pending_ghl_sync'))
  loop
    execute pg_catalog.format('grant select on %I.%I to jobsync_readonly', v_table.nspname, v_table.relname);
  end loop;
  grant select (tenant_id, id, kind, label, masked, paused_at, pause_reason, failures_in_row, probe_at, created_at, updated_at)
    on jobsync.destinations to jobsync_readonly;
  grant select (tenant_id, quiet_from, quiet_until, digest_at, digest_sent_on, silence_hours, repeat_hours, updated_at)
    on jobsync.alert_settings to jobsync_readonly;
  for v_table in
    select p.schemaname, p.tablename from pg_catalog.pg_policies p where p.policyname = 'tenant_rows' and p.schemaname in ('public', 'jobsync')
  loop
    execute pg_catalog.format(
      'create policy readers on %I.%I for select to jobsync_readonly'
      ' using (tenant_id = coalesce((select nullif(pg_catalog.current_setting(''jobsync.tenant'', true), '''')), tenant_id))',
      v_table.schemaname, v_table.tablename);
  end loop;
exception when insufficient_privilege then
  raise notice 'role jobsync_readonly cannot be created here: reports need a login of their own';
end
$reading$;

-- The task queue: the SQL of the library procrastinate (MIT licence), in a schema of its own.
create schema if not exists jobsync_queue;
comment on schema jobsync_queue is 'The task queue (procrastinate, MIT licence). Its tables are the library''s, not ours.';
set local search_path = jobsync_queue;

-- Procrastinate Schema

DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;
EXCEPTION
    WHEN OTHERS THEN
        -- On managed PostgreSQL services (e.g. Azure Database for PostgreSQL, Amazon RDS,
        -- Google Cloud SQL), CREATE EXTENSION may fail with various error codes:
        -- insufficient_privilege, feature_not_supported, or provider-specific errors.
        -- Before ignoring, verify the extension actually exists — if it does not exist
        -- and cannot be created, re-raise so the failure is explicit.
        IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'plpgsql') THEN
            RAISE NOTICE 'plpgsql extension already exists, skipping creation.';
        ELSE
            RAISE;
        END IF;
END;
$$;

-- Enums

CREATE TYPE procrastinate_job_status AS ENUM (
    'todo',  -- The job is queued
    'doing',  -- The job has been fetched by a worker
    'succeeded',  -- The job ended successfully
    'failed',  -- The job ended with an error
    'cancelled', -- The job was cancelled
    'aborting',  -- legacy, not used anymore since v3.0.0
    'aborted'  -- The job was aborted
);

CREATE TYPE procrastinate_job_event_type AS ENUM (
    'deferred',  -- Job created, in todo
    'started',  -- todo -> doing
    'deferred_for_retry',  -- doing -> todo
    'failed',  -- doing -> failed
    'succeeded',  -- doing -> succeeded
    'cancelled', -- todo -> cancelled
    'abort_requested', -- not a state transition, but set in a separate field
    'aborted', -- doing -> aborted (only allowed when abort_requested field is set)
    'scheduled', -- not a state transition, but recording when a task is scheduled for
    'retried' -- Manually retried failed job
);

-- Composite Types

CREATE TYPE procrastinate_job_to_defer_v1 AS (
    queue_name character varying,
    task_name character varying,
    priority integer,
    lock text,
    queueing_lock text,
    args jsonb,
    scheduled_at timestamp with time zone
);

-- Tables

CREATE TABLE procrastinate_workers(
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    last_heartbeat timestamp with time zone NOT NULL DEFAULT NOW()
);

CREATE TABLE procrastinate_jobs (
    id bigserial PRIMARY KEY,
    queue_name character varying(128) NOT NULL,
    task_name character varying(128) NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    lock text,
    queueing_lock text,
    args jsonb DEFAULT '{}' NOT NULL,
    status procrastinate_job_status DEFAULT 'todo'::procrastinate_job_status NOT NULL,
    scheduled_at timestamp with time zone NULL,
    attempts integer DEFAULT 0 NOT NULL,
    abort_requested boolean DEFAULT false NOT NULL,
    worker_id bigint REFERENCES procrastinate_workers(id) ON DELETE SET NULL,
    CONSTRAINT check_not_todo_abort_requested CHECK (NOT (status = 'todo' AND abort_requested = true))
);

CREATE TABLE procrastinate_periodic_defers (
    id bigserial PRIMARY KEY,
    task_name character varying(128) NOT NULL,
    defer_timestamp bigint,
    job_id bigint REFERENCES procrastinate_jobs(id) NULL,
    periodic_id character varying(128) NOT NULL DEFAULT '',
    CONSTRAINT procrastinate_periodic_defers_unique UNIQUE (task_name, periodic_id, defer_timestamp)
);

CREATE TABLE procrastinate_events (
    id bigserial PRIMARY KEY,
    job_id bigint NOT NULL REFERENCES procrastinate_jobs ON DELETE CASCADE,
    type procrastinate_job_event_type,
    at timestamp with time zone DEFAULT NOW() NULL
);

-- Constraints & Indices

-- this prevents from having several jobs with the same queueing lock in the "todo" state
CREATE UNIQUE INDEX procrastinate_jobs_queueing_lock_idx_v1 ON procrastinate_jobs (queueing_lock) WHERE status = 'todo';
-- this prevents from having several jobs with the same lock in the "doing" state
CREATE UNIQUE INDEX procrastinate_jobs_lock_idx_v1 ON procrastinate_jobs (lock) WHERE status = 'doing';

-- Index for select_stalled_jobs_by_heartbeat query
CREATE INDEX idx_procrastinate_jobs_worker_not_null ON procrastinate_jobs(worker_id) WHERE worker_id IS NOT NULL AND status = 'doing'::procrastinate_job_status;

CREATE INDEX procrastinate_jobs_queue_name_idx_v1 ON procrastinate_jobs(queue_name);
CREATE INDEX procrastinate_jobs_id_lock_idx_v1 ON procrastinate_jobs (id, lock) WHERE status = ANY (ARRAY['todo'::procrastinate_job_status, 'doing'::procrastinate_job_status]);
CREATE INDEX procrastinate_jobs_priority_idx_v1 ON procrastinate_jobs(priority desc, id asc) WHERE (status = 'todo'::procrastinate_job_status);

CREATE INDEX procrastinate_events_job_id_fkey_v1 ON procrastinate_events(job_id);

CREATE INDEX procrastinate_periodic_defers_job_id_fkey_v1 ON procrastinate_periodic_defers(job_id);

CREATE INDEX idx_procrastinate_workers_last_heartbeat ON procrastinate_workers(last_heartbeat);

-- Functions
CREATE FUNCTION procrastinate_defer_jobs_v1(
    jobs procrastinate_job_to_defer_v1[]
)
    RETURNS bigint[]
    LANGUAGE plpgsql
AS $$
DECLARE
    job_ids bigint[];
BEGIN
    WITH inserted_jobs AS (
        INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
        SELECT (job).queue_name,
               (job).task_name,
               (job).priority,
               (job).lock,
               (job).queueing_lock,
               (job).args,
               (job).scheduled_at
        FROM unnest(jobs) AS job
        RETURNING id
    )
    SELECT array_agg(id) FROM inserted_jobs INTO job_ids;

    RETURN job_ids;
END;
$$;

CREATE FUNCTION procrastinate_defer_periodic_job_v2(
    _queue_name character varying,
    _lock character varying,
    _queueing_lock character varying,
    _task_name character varying,
    _priority integer,
    _periodic_id character varying,
    _defer_timestamp bigint,
    _args jsonb
)
    RETURNS bigint
    LANGUAGE plpgsql
AS $$
DECLARE
	_job_id bigint;
	_defer_id bigint;
BEGIN
    INSERT
        INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp)
        VALUES (_task_name, _periodic_id, _defer_timestamp)
        ON CONFLICT DO NOTHING
        RETURNING id into _defer_id;

    IF _defer_id IS NULL THEN
        RETURN NULL;
    END IF;

    UPDATE procrastinate_periodic_defers
        SET job_id = (
            SELECT COALESCE((
                SELECT unnest(procrastinate_defer_jobs_v1(
                    ARRAY[
                        ROW(
                            _queue_name,
                            _task_name,
                            _priority,
                            _lock,
                            _queueing_lock,
                            _args,
                            NULL::timestamptz
                        )
                    ]::procrastinate_job_to_defer_v1[]
                ))
            ), NULL)
        )
        WHERE id = _defer_id
        RETURNING job_id INTO _job_id;

    DELETE
        FROM procrastinate_periodic_defers
        USING (
            SELECT id
            FROM procrastinate_periodic_defers
            WHERE procrastinate_periodic_defers.task_name = _task_name
            AND procrastinate_periodic_defers.periodic_id = _periodic_id
            AND procrastinate_periodic_defers.defer_timestamp < _defer_timestamp
            ORDER BY id
            FOR UPDATE
        ) to_delete
        WHERE procrastinate_periodic_defers.id = to_delete.id;

    RETURN _job_id;
END;
$$;

CREATE FUNCTION procrastinate_fetch_job_v2(
    target_queue_names character varying[],
    p_worker_id bigint
)
    RETURNS procrastinate_jobs
    LANGUAGE plpgsql
AS $$
DECLARE
	found_jobs procrastinate_jobs;
BEGIN
    WITH candidate AS (
        SELECT jobs.*
            FROM procrastinate_jobs AS jobs
            WHERE
                -- reject the job if its lock has earlier or higher priority jobs
                NOT EXISTS (
                    SELECT 1
                        FROM procrastinate_jobs AS other_jobs
                        WHERE
                            jobs.lock IS NOT NULL
                            AND other_jobs.lock = jobs.lock
                            AND (
                                -- job with same lock is already running
                                other_jobs.status = 'doing'
                                OR
                                -- job with same lock is waiting and has higher priority (or same priority but was queued first)
                                (
                                    other_jobs.status = 'todo'
                                    AND (
                                        other_jobs.priority > jobs.priority
                                        OR (
                                        other_jobs.priority = jobs.priority
                                        AND other_jobs.id < jobs.id
                                        )
                                    )
                                )
                            )
                )
                AND jobs.status = 'todo'
                AND (target_queue_names IS NULL OR jobs.queue_name = ANY( target_queue_names ))
                AND (jobs.scheduled_at IS NULL OR jobs.scheduled_at <= now())
            ORDER BY jobs.priority DESC, jobs.id ASC LIMIT 1
            FOR UPDATE OF jobs SKIP LOCKED
    )
    UPDATE procrastinate_jobs
        SET status = 'doing', worker_id = p_worker_id
        FROM candidate
        WHERE procrastinate_jobs.id = candidate.id
        RETURNING procrastinate_jobs.* INTO found_jobs;

 RETURN found_jobs;
END;
$$;

CREATE FUNCTION procrastinate_finish_job_v1(job_id bigint, end_status procrastinate_job_status, delete_job boolean)
    RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    _job_id bigint;
BEGIN
    IF end_status NOT IN ('succeeded', 'failed', 'aborted') THEN
        RAISE 'End status should be either "succeeded", "failed" or "aborted" (job id: %)', job_id;
    END IF;
    IF delete_job THEN
        DELETE FROM procrastinate_jobs
        WHERE id = job_id AND status IN ('todo', 'doing')
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = end_status,
            abort_requested = false,
            attempts = CASE status
                WHEN 'doing' THEN attempts + 1 ELSE attempts
            END
        WHERE id = job_id AND status IN ('todo', 'doing')
        RETURNING id INTO _job_id;
    END IF;
    IF _job_id IS NULL THEN
        RAISE 'Job was not found or not in "doing" or "todo" status (job id: %)', job_id;
    END IF;
END;
$$;

CREATE FUNCTION procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean)
    RETURNS bigint
    LANGUAGE plpgsql
AS $$
DECLARE
    _job_id bigint;
BEGIN
    IF delete_job THEN
        DELETE FROM procrastinate_jobs
        WHERE id = job_id AND status = 'todo'
        RETURNING id INTO _job_id;
    END IF;
    IF _job_id IS NULL THEN
        IF abort THEN
            UPDATE procrastinate_jobs
            SET abort_requested = true,
                status = CASE status
                    WHEN 'todo' THEN 'cancelled'::procrastinate_job_status ELSE status
                END
            WHERE id = job_id AND status IN ('todo', 'doing')
            RETURNING id INTO _job_id;
        ELSE
            UPDATE procrastinate_jobs
            SET status = 'cancelled'::procrastinate_job_status
            WHERE id = job_id AND status = 'todo'
            RETURNING id INTO _job_id;
        END IF;
    END IF;
    RETURN _job_id;
END;
$$;

CREATE FUNCTION procrastinate_retry_job_v1(
    job_id bigint,
    retry_at timestamp with time zone,
    new_priority integer,
    new_queue_name character varying,
    new_lock character varying
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    _job_id bigint;
    _abort_requested boolean;
BEGIN
    SELECT abort_requested FROM procrastinate_jobs
    WHERE id = job_id AND status = 'doing'
    FOR UPDATE
    INTO _abort_requested;
    IF _abort_requested THEN
        UPDATE procrastinate_jobs
        SET status = 'failed'::procrastinate_job_status
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = 'todo'::procrastinate_job_status,
            attempts = attempts + 1,
            scheduled_at = retry_at,
            priority = COALESCE(new_priority, priority),
            queue_name = COALESCE(new_queue_name, queue_name),
            lock = COALESCE(new_lock, lock)
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    END IF;

    IF _job_id IS NULL THEN
        RAISE 'Job was not found or not in "doing" status (job id: %)', job_id;
    END IF;
END;
$$;

CREATE FUNCTION procrastinate_retry_job_v2(
    job_id bigint,
    retry_at timestamp with time zone,
    new_priority integer,
    new_queue_name character varying,
    new_lock character varying
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    _job_id bigint;
    _abort_requested boolean;
    _current_status procrastinate_job_status;
BEGIN
    SELECT status, abort_requested FROM procrastinate_jobs
    WHERE id = job_id AND status IN ('doing', 'failed')
    FOR UPDATE
    INTO _current_status, _abort_requested;
    IF _current_status = 'doing' AND _abort_requested THEN
        UPDATE procrastinate_jobs
        SET status = 'failed'::procrastinate_job_status
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = 'todo'::procrastinate_job_status,
            attempts = attempts + 1,
            scheduled_at = retry_at,
            priority = COALESCE(new_priority, priority),
            queue_name = COALESCE(new_queue_name, queue_name),
            lock = COALESCE(new_lock, lock)
        WHERE id = job_id AND status IN ('doing', 'failed')
        RETURNING id INTO _job_id;
    END IF;

    IF _job_id IS NULL THEN
        RAISE 'Job was not found or has an invalid status to retry (job id: %)', job_id;
    END IF;

END;
$$;

CREATE FUNCTION procrastinate_notify_queue_job_inserted_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
DECLARE
    payload TEXT;
BEGIN
    SELECT json_build_object('type', 'job_inserted', 'job_id', NEW.id)::text INTO payload;
	PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, payload);
	PERFORM pg_notify('procrastinate_any_queue_v1', payload);
	RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_notify_queue_abort_job_v1()
RETURNS trigger
    LANGUAGE plpgsql
AS $$
DECLARE
    payload TEXT;
BEGIN
    SELECT json_build_object('type', 'abort_job_requested', 'job_id', NEW.id)::text INTO payload;
	PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, payload);
	PERFORM pg_notify('procrastinate_any_queue_v1', payload);
	RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_trigger_function_status_events_insert_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type)
        VALUES (NEW.id, 'deferred'::procrastinate_job_event_type);
	RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_trigger_function_status_events_update_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    WITH t AS (
        SELECT CASE
            WHEN OLD.status = 'todo'::procrastinate_job_status
                AND NEW.status = 'doing'::procrastinate_job_status
                THEN 'started'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'todo'::procrastinate_job_status
                THEN 'deferred_for_retry'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'failed'::procrastinate_job_status
                THEN 'failed'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'succeeded'::procrastinate_job_status
                THEN 'succeeded'::procrastinate_job_event_type
            WHEN OLD.status = 'todo'::procrastinate_job_status
                AND (
                    NEW.status = 'cancelled'::procrastinate_job_status
                    OR NEW.status = 'failed'::procrastinate_job_status
                    OR NEW.status = 'succeeded'::procrastinate_job_status
                )
                THEN 'cancelled'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'aborted'::procrastinate_job_status
                THEN 'aborted'::procrastinate_job_event_type
            WHEN OLD.status = 'failed'::procrastinate_job_status
                AND NEW.status = 'todo'::procrastinate_job_status
                THEN 'retried'::procrastinate_job_event_type
            ELSE NULL
        END as event_type
    )
    INSERT INTO procrastinate_events(job_id, type)
        SELECT NEW.id, t.event_type
        FROM t
        WHERE t.event_type IS NOT NULL;
	RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_trigger_function_scheduled_events_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type, at)
        VALUES (NEW.id, 'scheduled'::procrastinate_job_event_type, NEW.scheduled_at);

	RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_trigger_abort_requested_events_procedure_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type)
        VALUES (NEW.id, 'abort_requested'::procrastinate_job_event_type);
    RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_unlink_periodic_defers_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE procrastinate_periodic_defers
    SET job_id = NULL
    WHERE job_id = OLD.id;
    RETURN OLD;
END;
$$;

CREATE FUNCTION procrastinate_register_worker_v1()
    RETURNS TABLE(worker_id bigint)
    LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY
    INSERT INTO procrastinate_workers DEFAULT VALUES
    RETURNING procrastinate_workers.id;
END;
$$;

CREATE FUNCTION procrastinate_unregister_worker_v1(worker_id bigint)
    RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    DELETE FROM procrastinate_workers
    WHERE id = worker_id;
END;
$$;

CREATE FUNCTION procrastinate_update_heartbeat_v1(worker_id bigint)
    RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE procrastinate_workers
    SET last_heartbeat = NOW()
    WHERE id = worker_id;
END;
$$;

CREATE FUNCTION procrastinate_prune_stalled_workers_v1(seconds_since_heartbeat float)
    RETURNS TABLE(worker_id bigint)
    LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY
    DELETE FROM procrastinate_workers
    WHERE last_heartbeat < NOW() - (seconds_since_heartbeat || 'SECOND')::INTERVAL
    RETURNING procrastinate_workers.id;
END;
$$;

-- Triggers

CREATE TRIGGER procrastinate_jobs_notify_queue_job_inserted_v1
    AFTER INSERT ON procrastinate_jobs
    FOR EACH ROW WHEN ((new.status = 'todo'::procrastinate_job_status))
    EXECUTE PROCEDURE procrastinate_notify_queue_job_inserted_v1();

CREATE TRIGGER procrastinate_jobs_notify_queue_job_aborted_v1
    AFTER UPDATE OF abort_requested ON procrastinate_jobs
    FOR EACH ROW WHEN ((old.abort_requested = false AND new.abort_requested = true AND new.status = 'doing'::procrastinate_job_status))
    EXECUTE PROCEDURE procrastinate_notify_queue_abort_job_v1();

CREATE TRIGGER procrastinate_trigger_status_events_update_v1
    AFTER UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW
    EXECUTE PROCEDURE procrastinate_trigger_function_status_events_update_v1();

CREATE TRIGGER procrastinate_trigger_status_events_insert_v1
    AFTER INSERT ON procrastinate_jobs
    FOR EACH ROW WHEN ((new.status = 'todo'::procrastinate_job_status))
    EXECUTE PROCEDURE procrastinate_trigger_function_status_events_insert_v1();

CREATE TRIGGER procrastinate_trigger_scheduled_events_v1
    AFTER UPDATE OR INSERT ON procrastinate_jobs
    FOR EACH ROW WHEN ((new.scheduled_at IS NOT NULL AND new.status = 'todo'::procrastinate_job_status))
    EXECUTE PROCEDURE procrastinate_trigger_function_scheduled_events_v1();

CREATE TRIGGER procrastinate_trigger_abort_requested_events_v1
    AFTER UPDATE OF abort_requested ON procrastinate_jobs
    FOR EACH ROW WHEN ((new.abort_requested = true))
    EXECUTE PROCEDURE procrastinate_trigger_abort_requested_events_procedure_v1();

CREATE TRIGGER procrastinate_trigger_delete_jobs_v1
    BEFORE DELETE ON procrastinate_jobs
    FOR EACH ROW EXECUTE PROCEDURE procrastinate_unlink_periodic_defers_v1();

set local search_path = public;

insert into jobsync.migrations (version, checksum) values
  ('0001', 'baseline');
commit;
