-- Sealed credentials and access tokens.

-- name: note_upstream
select jobsync.note_upstream(%(tenant)s, %(upstream)s, %(clock)s::timestamptz, %(limit)s::bigint, %(remaining)s::bigint);

-- name: read_connection
select sealed, key_id, settings, state, state_reason from jobsync.connections where tenant_id = %(tenant)s and kind = %(kind)s;

-- name: write_connection
insert into jobsync.connections as c (tenant_id, kind, sealed, key_id, settings) values (%(tenant)s, %(kind)s, %(sealed)s, %(key_id)s, %(settings)s)
on conflict (tenant_id, kind) do update set sealed = excluded.sealed, key_id = excluded.key_id, settings = excluded.settings, state = 'ok',
  state_reason = null, updated_at = jobsync.now();

-- name: read_access_token
select sealed, key_id, credential, expires_at > clock_timestamp() as alive, refresh_after <= clock_timestamp() as stale
  from jobsync.access_tokens where tenant_id = %(tenant)s and kind = %(kind)s;

-- name: lease_token_refresh
insert into jobsync.access_tokens as t (tenant_id, kind, refresh_lease_until) values (%(tenant)s, %(kind)s, clock_timestamp() + interval '30 seconds')
on conflict (tenant_id, kind) do update set refresh_lease_until = excluded.refresh_lease_until
  where t.refresh_lease_until is null or t.refresh_lease_until < clock_timestamp()
returning true;

-- name: write_access_token
update jobsync.access_tokens set sealed = %(sealed)s, key_id = %(key_id)s, credential = %(credential)s, refresh_lease_until = null,
       expires_at = clock_timestamp() + %(expires_in)s * interval '1 second', refresh_after = clock_timestamp() + %(expires_in)s * 0.8 * interval '1 second'
 where tenant_id = %(tenant)s and kind = %(kind)s;

-- name: drop_token_lease
update jobsync.access_tokens set refresh_lease_until = null where tenant_id = %(tenant)s and kind = %(kind)s;
