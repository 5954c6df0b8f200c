-- Reading back what was accepted.

-- name: queue_verifications
select jobsync.queue_verifications(%(tenant)s, %(since)s::timestamptz);

-- name: claim_verifications
select * from jobsync.claim_verifications(%(tenant)s, %(limit)s, %(unseen_since)s::timestamptz);

-- name: finish_verifications
select jobsync.finish_verifications(%(tenant)s, %(results)s);

-- name: close_verification
select jobsync.close_verification(%(tenant)s, %(run)s, %(report)s, %(error)s);

-- name: list_due_verifications
select tenant_id from jobsync.list_due_verifications(%(configured)s);

-- name: list_unverified
select business_unit_id, business_unit_name, kind, destination_masked, result, jobs, first_accepted_at, last_accepted_at, sample_st_job_id, why
  from jobsync.v_unverified where tenant_id = %(tenant)s order by jobs desc, business_unit_id;

-- name: list_sent_since
select v.st_job_id, v.st_job_number, v.business_unit_name, v.state, v.ghl_sync_reason, v.ghl_opportunity_id, f.st_job_id is not null as waits_for_look
  from (select distinct a.st_job_id from jobsync.attempts a where a.tenant_id = %(tenant)s and a.started_at >= %(since)s) a
  join jobsync.v_job_status v on v.tenant_id = %(tenant)s and v.st_job_id = a.st_job_id
  left join jobsync.verifications f on f.tenant_id = v.tenant_id and f.st_job_id = v.st_job_id
 order by v.st_job_id limit 1000;
