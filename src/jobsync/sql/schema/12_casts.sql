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
      case when (p_value #>> '{}') ~ '^\s*[+-]?[0-9]{1,18}\s*$' then (p_value #>> '{}')::bigint
           when (p_value #>> '{}') ~ '^\s*[0-9]{19}\s*$' and (p_value #>> '{}')::numeric <= 9223372036854775807
           then (p_value #>> '{}')::bigint end
  end
$$;
comment on function jobsync.try_bigint(jsonb) is 'Whole number of 64 bits from a JSON number or string of digits; null when it is not one.';

create function jobsync.try_numeric(p_value jsonb) returns numeric language sql immutable parallel safe as $$
  select case pg_catalog.jsonb_typeof(p_value)
    when 'number' then (p_value)::numeric
    when 'string' then
      case when (p_value #>> '{}') ~ '^\s*[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})\s*$'
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
-- (ServiceTitan contract, section 2.3). The month decides how many days fit, so that the cast below cannot fail.
create function jobsync.try_timestamptz_text(p_text text) returns timestamptz language sql immutable parallel safe as $$
  select case
    when p_text is null or p_text like '0001-01-01%' then null
    when p_text ~ '^(?!0000)[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])?)?$'
      or (p_text ~ '^(?!0000)[0-9]{4}-02-29([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])?)?$'
          and pg_catalog.left(p_text, 4)::int % 4 = 0
          and (pg_catalog.left(p_text, 4)::int % 100 <> 0 or pg_catalog.left(p_text, 4)::int % 400 = 0))
    then case when p_text ~ '(Z|[+-][0-9]{2}:?[0-9]{2})$' and pg_catalog.length(p_text) > 10
              then p_text::timestamptz
              else (p_text::timestamp at time zone 'UTC') end
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

create function jobsync.without_blanks(p_document jsonb) returns jsonb language sql immutable parallel safe as $$
  select case pg_catalog.jsonb_typeof(p_document) when 'object' then
    coalesce((select pg_catalog.jsonb_object_agg(e.key, case pg_catalog.jsonb_typeof(e.value)
                when 'object' then jobsync.without_blanks(e.value) else e.value end)
              from pg_catalog.jsonb_each(p_document) e
              where not (pg_catalog.jsonb_typeof(e.value) = 'string' and pg_catalog.btrim(e.value #>> '{}') = '')), '{}'::jsonb)
    else p_document end
$$;
comment on function jobsync.without_blanks(jsonb) is 'The document without keys whose text is empty: on /db an empty text means "not given".';
