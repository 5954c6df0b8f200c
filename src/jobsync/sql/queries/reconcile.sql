-- Comparing with ServiceTitan, rewinding cursors, and trying quarantined records again.

-- name: claim_due_reconciles
select tenant_id from jobsync.claim_due_reconciles(%(configured)s);

-- name: open_reconcile
select jobsync.open_reconcile(%(tenant)s, %(trigger)s, %(days)s, %(fix)s);

-- name: keep_run_alive
select jobsync.keep_run_alive(%(tenant)s, %(run)s);

-- name: ask_for_run
select jobsync.ask_for_run(%(tenant)s, %(type)s, %(wish)s, %(actor)s);

-- name: list_asked_runs
select tenant_id, sync_type, run from jobsync.list_asked_runs();

-- name: read_asked_run
select jobsync.read_asked_run(%(tenant)s, %(run)s);

-- name: close_reconcile
select jobsync.close_reconcile(%(tenant)s, %(run)s, %(report)s, %(error)s);

-- name: compare_page
select n, id, finding from jobsync.compare_page(%(tenant)s, %(stream)s, %(page)s::jsonb) order by n;

-- name: list_unseen
select jobsync.list_unseen(%(tenant)s, %(stream)s, %(from)s, %(until)s, %(seen)s);

-- name: read_reconcile
select * from jobsync.v_reconcile where tenant_id = %(tenant)s;

-- name: rewind_cursor
select jobsync.rewind_cursor(%(tenant)s, %(stream)s, %(to)s, %(apply)s, %(actor)s);

-- name: begin_by_list
select jobsync.begin_by_list(%(tenant)s, %(stream)s, %(revision)s, %(since)s);

-- name: claim_quarantine_retries
select tenant_id from jobsync.claim_quarantine_retries(%(version)s);

-- name: list_quarantined
select id, stream, raw from jobsync.list_quarantined(%(tenant)s, %(after)s, %(limit)s);

-- name: close_retried
select jobsync.close_retried(%(tenant)s, %(ids)s);
