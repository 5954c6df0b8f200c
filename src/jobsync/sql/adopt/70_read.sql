-- Adopting, the last step: what to tell.
select a.report from jobsync.adoptions a where a.tenant_id = 'default';
