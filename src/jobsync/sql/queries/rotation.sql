-- Changing the key that seals. Each write compares with what was read: what somebody sealed meanwhile stays.

-- name: list_sealed_otherwise
select * from (
  select 'connections' as place, c.tenant_id, c.kind as id, c.sealed, c.key_id from jobsync.connections c where c.key_id <> %(key_id)s
  union all
  select 'access_tokens', t.tenant_id, t.kind, t.sealed, t.key_id from jobsync.access_tokens t where t.sealed is not null and t.key_id <> %(key_id)s
  union all
  select 'destinations', d.tenant_id, d.id::text, d.sealed, d.key_id from jobsync.destinations d where d.sealed is not null and d.key_id <> %(key_id)s
  union all
  select 'alert_settings', s.tenant_id, s.tenant_id, s.sealed, s.key_id from jobsync.alert_settings s where s.sealed is not null and s.key_id <> %(key_id)s
) x order by 1, 2, 3 limit 500;

-- name: reseal_connections
update jobsync.connections c set sealed = %(sealed)s, key_id = %(key_id)s where c.tenant_id = %(tenant)s and c.kind = %(id)s and c.sealed = %(before)s;

-- name: reseal_access_tokens
update jobsync.access_tokens t set sealed = %(sealed)s, key_id = %(key_id)s where t.tenant_id = %(tenant)s and t.kind = %(id)s and t.sealed = %(before)s;

-- name: reseal_destinations
update jobsync.destinations d set sealed = %(sealed)s, key_id = %(key_id)s where d.tenant_id = %(tenant)s and d.id = %(id)s::uuid and d.sealed = %(before)s;

-- name: reseal_alert_settings
update jobsync.alert_settings s set sealed = %(sealed)s, key_id = %(key_id)s where s.tenant_id = %(tenant)s and s.sealed = %(before)s;

-- name: move_fingerprint
update jobsync.destinations d set fingerprint = %(fingerprint)s
 where d.tenant_id = %(tenant)s and d.fingerprint = any (%(older)s::bytea[])
   and not exists (select from jobsync.destinations n where n.tenant_id = d.tenant_id and n.fingerprint = %(fingerprint)s);

-- name: list_connected_locations
select c.tenant_id, c.settings ->> 'location_id' as location_id from jobsync.connections c where c.kind = 'gohighlevel' and c.settings ->> 'location_id' is not null;

-- name: forget_channel_states
-- Channels are called by their fingerprints, which are others now.
delete from jobsync.alert_channels;

-- name: note_rotation
select jobsync.write_audit(t.tenant_id, %(actor)s, 'key_rotated', 'tenant', %(details)s) from jobsync.tenants t;
