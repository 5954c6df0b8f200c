-- name: list_metrics
select metric, labels, value from jobsync.list_metrics(%(tenant)s);

-- name: count_queue
select q.queue_name, q.status::text as status, count(*) as tasks from jobsync_queue.procrastinate_jobs q
 where q.status in ('todo', 'doing', 'failed') group by q.queue_name, q.status;

-- name: count_workers
select count(*) from jobsync_queue.procrastinate_workers w where w.last_heartbeat > pg_catalog.now() - interval '1 minute';
