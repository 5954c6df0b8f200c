-- name: is_queue_busy
-- One look at both states: asked one after the other, a task that moves on between them is seen in neither.
select exists (
  select from jobsync_queue.procrastinate_jobs q
   where q.queue_name = %(queue)s and q.status in ('todo', 'doing') and q.args ->> 'tenant' = %(tenant)s);

-- name: is_pass_queued
select exists (
  select from jobsync_queue.procrastinate_jobs q
   where q.task_name = %(task)s and q.status in ('todo', 'doing') and q.args ->> 'run' = %(run)s);

-- name: is_stream_queued
select exists (
  select from jobsync_queue.procrastinate_jobs q
   where q.task_name = 'pull_stream' and q.status in ('todo', 'doing') and q.args ->> 'run' = %(run)s and q.args ->> 'stream' = %(stream)s);

-- name: is_task_free
select exists (
  select from jobsync_queue.procrastinate_jobs q
   where q.status = 'todo' and q.queue_name = any (%(queues)s) and (q.scheduled_at is null or q.scheduled_at <= pg_catalog.now())
     and not exists (select from jobsync_queue.procrastinate_jobs d where d.status = 'doing' and d.lock = q.lock));
