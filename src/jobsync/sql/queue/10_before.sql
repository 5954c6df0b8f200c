-- The task queue: the SQL of the library procrastinate (MIT licence), in a schema of its own.
create schema if not exists jobsync_queue;
comment on schema jobsync_queue is 'The task queue (procrastinate, MIT licence). Its tables are the library''s, not ours.';
set local search_path = jobsync_queue;
