-- Users of the dashboard, their sessions and links. Looked up before the tenant is known, therefore as the owner.

-- name: list_users
select id, name, role, all_tenants, password_hash is not null as has_password, disabled_at, last_seen_at, created_at
  from jobsync.users where tenant_id = %(tenant)s order by name limit 500;

-- name: add_user
insert into jobsync.users (tenant_id, name, role, all_tenants, password_hash)
values (%(tenant)s, %(name)s, %(role)s, %(all_tenants)s, %(password_hash)s)
on conflict (name) do nothing
returning id, name, role, all_tenants, password_hash is not null as has_password, disabled_at, last_seen_at, created_at;

-- name: read_user
select id, name, role, all_tenants, password_hash is not null as has_password, disabled_at, last_seen_at, created_at
  from jobsync.users where tenant_id = %(tenant)s and id = %(user)s;

-- name: change_user
select id, name, role, all_tenants, password_hash is not null as has_password, disabled_at, last_seen_at, created_at
  from jobsync.change_user(%(tenant)s, %(user)s, %(role)s, %(disabled)s, %(actor)s);

-- name: has_administrator
select exists (select from jobsync.users where role = 'admin' and disabled_at is null and password_hash is not null);

-- name: find_user_by_name
select tenant_id, id, password_hash from jobsync.users where name = %(name)s and disabled_at is null;

-- name: set_password
update jobsync.users set password_hash = %(password_hash)s where tenant_id = %(tenant)s and id = %(user)s;

-- name: end_sessions_of_user
delete from jobsync.sessions where tenant_id = %(tenant)s and user_id = %(user)s;

-- name: count_try
select jobsync.count_try(%(subject)s, %(most)s);

-- name: forget_tries
delete from jobsync.sign_in_failures where tenant_id = 'default' and subject = %(subject)s;

-- name: take_back_try
update jobsync.sign_in_failures set failures = greatest(failures - 1, 0) where tenant_id = 'default' and subject = %(subject)s;

-- name: forget_old_tries
delete from jobsync.sign_in_failures where last_at < jobsync.now() - interval '1 day';

-- name: open_session
insert into jobsync.sessions (tenant_id, secret_hash, user_id)
select u.tenant_id, %(secret_hash)s, u.id from jobsync.users u where u.tenant_id = %(tenant)s and u.id = %(user)s and u.disabled_at is null;

-- name: end_old_sessions
delete from jobsync.sessions where seen_at < jobsync.now() - interval '12 hours';

-- name: find_session
select s.tenant_id as home, t.tenant_id, t.name as tenant_name, t.time_zone, u.id as user_id, u.name, u.role, u.all_tenants, s.flash,
       s.seen_at < jobsync.now() - interval '1 minute' as to_be_noted, jobsync.now() as now,
       t.mode, t.paused_at is not null as paused, u.all_tenants and exists (select from jobsync.tenants x where x.tenant_id <> t.tenant_id) as several
  from jobsync.sessions s
  join jobsync.users u on u.tenant_id = s.tenant_id and u.id = s.user_id and u.disabled_at is null
  join jobsync.tenants t on t.tenant_id = case when u.all_tenants and s.acting_for is not null then s.acting_for else s.tenant_id end
 where s.secret_hash = %(secret_hash)s and s.seen_at >= jobsync.now() - interval '12 hours' and s.created_at >= jobsync.now() - interval '7 days';

-- name: note_session_use
with noted as (update jobsync.sessions set seen_at = jobsync.now() where secret_hash = %(secret_hash)s returning tenant_id, user_id)
update jobsync.users u set last_seen_at = jobsync.now() from noted n where u.tenant_id = n.tenant_id and u.id = n.user_id;

-- name: set_flash
update jobsync.sessions set flash = %(flash)s where secret_hash = %(secret_hash)s;

-- name: act_for_tenant
update jobsync.sessions set acting_for = %(acting_for)s where secret_hash = %(secret_hash)s;

-- name: end_session
delete from jobsync.sessions where secret_hash = %(secret_hash)s returning tenant_id;

-- name: drop_first_links
delete from jobsync.sign_in_links where tenant_id = %(tenant)s and user_id is null and not enters;

-- name: drop_links_of_user
delete from jobsync.sign_in_links where tenant_id = %(tenant)s and user_id = %(user)s;

-- name: add_link
insert into jobsync.sign_in_links (tenant_id, key_hash, user_id, enters, expires_at)
values (%(tenant)s, %(key_hash)s, %(user)s, %(enters)s, jobsync.now() + %(seconds)s * interval '1 second');

-- name: find_link
select l.tenant_id, l.user_id, l.enters, u.name
  from jobsync.sign_in_links l left join jobsync.users u on u.tenant_id = l.tenant_id and u.id = l.user_id
 where l.key_hash = %(key_hash)s and l.used_at is null and l.expires_at > jobsync.now() and u.disabled_at is null;

-- name: use_link
update jobsync.sign_in_links set used_at = jobsync.now()
 where key_hash = %(key_hash)s and used_at is null and expires_at > jobsync.now()
returning tenant_id, user_id, enters;
