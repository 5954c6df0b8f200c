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
