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
