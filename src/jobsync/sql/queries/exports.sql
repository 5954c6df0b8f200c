-- What is exported: whole views, fetched piece by piece, and the hooks that n8n workflows are filled with.

-- name: open_view
select jobsync.open_view(%(view)s);

-- name: fetch_view
fetch forward 1000 from exported_view;

-- name: list_hooks
select r.st_business_unit_id, d.sealed, d.key_id
  from jobsync.routes r
  join jobsync.destinations d on d.tenant_id = r.tenant_id and d.id = r.destination_id and d.kind = 'webhook'
 where r.tenant_id = %(tenant)s
 order by r.st_business_unit_id;
