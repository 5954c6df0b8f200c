-- API tokens. Found by id before the tenant is known, therefore as the owner.

-- name: find_token
select tenant_id, id, secret_hash, scopes, all_tenants, revoked_at is null and (expires_at is null or expires_at > jobsync.now()) as alive,
       extract(epoch from expires_at - jobsync.now())::double precision as expires_in,
       last_used_at is null or last_used_at < jobsync.now() - interval '1 minute' as to_be_noted
  from jobsync.tokens where id = %(id)s;

-- name: note_token_use
update jobsync.tokens set last_used_at = jobsync.now() where id = %(id)s;

-- name: add_token
insert into jobsync.tokens (tenant_id, id, name, secret_hash, scopes, all_tenants, expires_at)
values (%(tenant)s, %(id)s, %(name)s, %(secret_hash)s, %(scopes)s, %(all_tenants)s, %(expires_at)s)
returning id, name, scopes, all_tenants, expires_at, last_used_at, revoked_at, created_at;

-- name: list_tokens
select id, name, scopes, all_tenants, expires_at, last_used_at, revoked_at, created_at from jobsync.tokens where tenant_id = %(tenant)s order by created_at, id;

-- name: revoke_token
update jobsync.tokens set revoked_at = coalesce(revoked_at, jobsync.now()) where tenant_id = %(tenant)s and id = %(id)s
returning id, name, scopes, all_tenants, expires_at, last_used_at, revoked_at, created_at;

-- name: read_live_token
select id, name, scopes, all_tenants, expires_at from jobsync.tokens
 where tenant_id = %(tenant)s and id = %(id)s and revoked_at is null and (expires_at is null or expires_at > jobsync.now());

-- name: end_token_later
update jobsync.tokens set expires_at = least(expires_at, jobsync.now() + %(seconds)s * interval '1 second')
 where tenant_id = %(tenant)s and id = %(id)s
returning id, name, scopes, all_tenants, expires_at, last_used_at, revoked_at, created_at;

-- name: write_audit
select jobsync.write_audit(%(tenant)s, %(actor)s, %(action)s, %(subject)s, %(details)s);
