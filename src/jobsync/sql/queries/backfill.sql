-- What a backfill asks. Every statement is one call.

-- name: open_backfill
select jobsync.open_backfill(%(tenant)s, %(streams)s, %(since)s, %(until)s, %(page_size)s, %(deliver)s, %(actor)s);

-- name: resume_backfill
select jobsync.resume_backfill(%(tenant)s, %(run)s);

-- name: move_backfill
select jobsync.move_backfill(%(tenant)s, %(run)s, %(stream)s, %(revision)s, %(position)s, %(width)s, %(left)s, %(done)s, %(report)s, %(requests)s);

-- name: skip_backfill_stream
select jobsync.skip_backfill_stream(%(tenant)s, %(run)s, %(stream)s);

-- name: close_backfill
select jobsync.close_backfill(%(tenant)s, %(run)s, %(state)s, %(error)s, %(code)s, %(exit_code)s, %(hint)s);

-- name: read_backfill
select jobsync.read_backfill(%(tenant)s, %(run)s);

-- name: list_running_backfills
select tenant_id, run from jobsync.list_running_backfills();

-- name: count_old_jobs
select jobsync.count_old_jobs(%(tenant)s, %(run)s);

-- name: deliver_backfilled
select jobsync.deliver_backfilled(%(tenant)s, %(run)s, %(actor)s);
