-- name: is_queue_busy
-- One look at both states: asked one after the other, a task that moves on between them is seen in neither.
select exists (
  select from jobsync_queue.procrastinate_jobs q
   where q.queue_name = %(queue)s and q.status in ('todo', 'doing') and q.args ->> 'tenant' = %(tenant)s);

-- name: is_pass_queued
select exists (
  select from jobsync_queue.procrastinate_jobs q
   where q.task_name = %(task)s and q.status in ('todo', 'doing') and q.args ->> 'run' = %(run)s
     and coalesce(q.args ->> 'stream', '') = %(stream)s);
