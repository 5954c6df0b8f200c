-- Events for whoever watches. A place is `tx-id`.

-- name: settled_tx
select jobsync.settled_tx()::text;

-- name: read_events
select e.tx::text || '-' || e.id as id, e.kind, e.at, e.subject, e.content
  from jobsync.events e
 where e.tenant_id = %(tenant)s and (e.tx, e.id) > (%(tx)s::text::xid8, %(id)s::bigint) and e.tx < %(below)s::text::xid8
 order by e.tx, e.id limit %(limit)s;
