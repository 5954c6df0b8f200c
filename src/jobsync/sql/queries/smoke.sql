-- The smoke test's own tenant, as the owner.

-- name: open_smoke
select jobsync.open_smoke(%(tenant)s);

-- name: remove_smoke
select jobsync.remove_smoke(%(tenant)s);
