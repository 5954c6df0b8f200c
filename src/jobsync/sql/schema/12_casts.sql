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
