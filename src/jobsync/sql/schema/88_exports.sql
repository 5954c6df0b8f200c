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
