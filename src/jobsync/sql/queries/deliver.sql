-- What a drain asks.

-- name: read_destination
select id, kind, label, sealed, key_id, masked from jobsync.destinations where tenant_id = %(tenant)s and id = %(destination)s;

-- name: claim_deliveries
select c.attempt_id, c.fence, c.version, c.event, c.delivery_id, c.attempts, c.waited_for, c.planned_at, c.alone, (c.projection).*
  from jobsync.claim_deliveries(%(tenant)s, %(destination)s, %(limit)s, %(lease_seconds)s, %(rate)s, %(burst)s, %(due_before)s, %(untried_since)s) c;

-- name: finish_deliveries
select jobsync.finish_deliveries(%(tenant)s, %(destination)s, %(results)s);

-- name: destination_state
select jobsync.destination_state(%(tenant)s, %(destination)s);

-- name: list_due_destinations
select tenant_id, destination_id from jobsync.list_due_destinations();

-- name: list_due_destinations_of
select tenant_id, destination_id from jobsync.list_due_destinations() where tenant_id = %(tenant)s;

-- name: list_due_hooks_of
select l.tenant_id, l.destination_id from jobsync.list_due_destinations() l
  join jobsync.destinations d on d.tenant_id = l.tenant_id and d.id = l.destination_id and d.kind = 'webhook'
 where l.tenant_id = %(tenant)s;

-- name: open_delivery_run
select jobsync.open_delivery_run(%(tenant)s);

-- name: report_delivery_run
select jobsync.report_delivery_run(%(tenant)s, %(run)s, %(delivered)s, %(failed)s, %(error)s, %(final)s);

-- name: close_delivery_runs
select jobsync.close_delivery_runs(%(tenant)s);

-- name: take_budget
select granted, wait_seconds from jobsync.take_budget(%(tenant)s, %(key)s, %(rate)s, %(burst)s, %(want)s);

-- name: slow_budget
select jobsync.slow_budget(%(tenant)s, %(key)s, %(seconds)s);

-- name: note_outcomes
select jobsync.note_outcomes(%(tenant)s, %(key)s, %(breaker)s, %(outcomes)s);

-- name: enter_breaker
select wait_seconds, is_probe, is_tried from jobsync.enter_breaker(%(breaker)s, %(insist)s);

-- name: take_spare_budget
select granted, wait_seconds from jobsync.take_spare_budget(%(tenant)s, %(key)s, %(rate)s, %(burst)s, %(want)s, %(reserve)s);

-- name: is_draining
select exists (select from jobsync.outbox o where o.tenant_id = %(tenant)s and o.lease_until > jobsync.now());

-- name: is_anything_due
select exists (
  select from jobsync.list_due_destinations() d
   cross join lateral (
     select 1 from jobsync.outbox o cross join lateral jobsync.armed_job(o.tenant_id, o.st_job_id) j
      where o.destination_id = d.destination_id and o.tenant_id = d.tenant_id and o.next_attempt_at <= %(cutoff)s
        and (o.lease_until is null or o.lease_until <= jobsync.now())
      order by o.next_attempt_at, o.st_job_id limit 1) due
   where d.tenant_id = %(tenant)s);

-- name: report_sends
select jobsync.report_sends(%(tenant)s, %(since)s);

-- name: take_delivery_request
select granted, wait_seconds from jobsync.take_delivery_request(%(tenant)s, %(rate)s, %(burst)s);

-- name: hold_deliveries
select jobsync.hold_deliveries(%(tenant)s, %(seconds)s);

-- name: block_budget
select jobsync.block_budget(%(tenant)s, %(key)s, %(seconds)s);
