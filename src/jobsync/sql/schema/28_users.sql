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
