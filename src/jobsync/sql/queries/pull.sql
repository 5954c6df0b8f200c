-- What a pull asks. Every statement is one call.

-- name: open_pass
select jobsync.open_pass(%(tenant)s, %(streams)s, %(trigger)s, %(held)s);

-- name: is_first_load
select jobsync.is_first_load(%(tenant)s);

-- name: finish_stream
select jobsync.finish_stream(%(tenant)s, %(run)s, %(stream)s, %(report)s, %(error)s);

-- name: read_run
select status, error_message, started_at, completed_at, metadata from public.sync_logs where tenant_id = %(tenant)s and id = %(run)s;

-- name: report_pass
select jobsync.report_pass(%(tenant)s, %(run)s);

-- name: first_pull_start
select jobsync.first_pull_start(%(tenant)s);

-- name: read_cursor
select c.* from jobsync.read_cursor(%(tenant)s, %(stream)s, %(mode)s, %(since)s) c;

-- name: find_cursor
select * from jobsync.cursors where tenant_id = %(tenant)s and stream = %(stream)s;

-- name: store_page
select jobsync.store_page(%(tenant)s, %(stream)s, %(page)s::jsonb, %(refused)s, %(refused_raw)s, %(extra)s, %(owners)s, %(origin)s);

-- name: move_cursor
select jobsync.move_cursor(%(tenant)s, %(stream)s, %(revision)s, %(mode)s, %(token)s, %(since)s, %(caught_up)s);

-- name: schedule_reading
update jobsync.cursors set next_read_at = jobsync.now() + %(seconds)s * interval '1 second' where tenant_id = %(tenant)s and stream = %(stream)s;

-- name: list_undue_streams
select stream from jobsync.cursors where tenant_id = %(tenant)s and next_read_at > jobsync.now();

-- name: fail_cursor
select jobsync.fail_cursor(%(tenant)s, %(stream)s, %(error)s);

-- name: note_feed_refused
update jobsync.cursors set feed_refused_at = jobsync.now() where tenant_id = %(tenant)s and stream = %(stream)s;

-- name: is_feed_refused
select exists (
  select from jobsync.cursors c where c.tenant_id = %(tenant)s and c.stream = %(stream)s and c.feed_refused_at > jobsync.now() - interval '1 day');

-- name: list_wanted
select jobsync.list_wanted(%(tenant)s, %(stream)s, %(limit)s);

-- name: note_asked
select jobsync.note_asked(%(tenant)s, %(stream)s, %(ids)s);

-- name: resolve_wanted
select jobsync.resolve_wanted(%(tenant)s);

-- name: publish_watermark
select jobsync.publish_watermark(%(tenant)s);

-- name: claim_due_tenants
select tenant_id from jobsync.claim_due_tenants(%(configured)s);

-- name: list_tenants
select tenant_id from jobsync.tenants order by tenant_id;

-- name: abandon_runs
select jobsync.abandon_runs(%(tenant)s, %(older_than)s::interval);

-- name: rest_refused_stream
select jobsync.rest_refused_stream(%(tenant)s, %(stream)s);

-- name: fold_tallies_beyond
select jobsync.fold_tallies_beyond(%(lines)s);

-- name: set_upstream_state
select jobsync.set_upstream_state(%(tenant)s, %(upstream)s, %(state)s, %(reason)s);
