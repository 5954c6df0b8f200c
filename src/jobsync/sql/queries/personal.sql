-- Personal data: erased on request, pruned with time.

-- name: erase_customer
select jobsync.erase_customer(%(tenant)s, %(customer)s, %(actor)s);

-- name: prune
select jobsync.prune(%(tenant)s, %(most)s);

-- name: prune_texts
select jobsync.prune_texts(%(tenant)s, %(place)s::jsonb, %(most)s);

-- name: keep_raw_days
update jobsync.tenants t set raw_days = %(days)s where t.tenant_id = %(tenant)s and t.raw_days is distinct from %(days)s;
