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
