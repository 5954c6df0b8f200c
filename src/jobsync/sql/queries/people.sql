-- A test send, and customers that the office has to mend.

-- name: open_test_send
select jobsync.open_test_send(%(tenant)s, %(unit)s, %(rate)s, %(burst)s, %(actor)s);

-- name: close_test_send
select jobsync.close_test_send(%(tenant)s, %(unit)s, %(result)s, %(details)s, %(executed)s, %(actor)s);

-- name: list_customers_to_mend
select v.reason, v.st_customer_id, v.customer_name, v.value, v.shared_with, v.fix,
       (select count(*) from public.jobs j where j.tenant_id = v.tenant_id and j.st_customer_id = v.st_customer_id) as jobs
  from jobsync.v_customers_to_mend v
 where v.tenant_id = %(tenant)s and (%(reason)s::text is null or v.reason = %(reason)s)
 order by v.reason, v.value, v.st_customer_id limit %(limit)s;

-- name: browse_unreachable
select u.reason, u.st_customer_id, u.customer_name, u.value, u.fix, u.jobs from jobsync.browse_unreachable(%(tenant)s, %(after)s, %(limit)s) u;

-- name: browse_shared
select s.value, s.customers, s.has_more, s.next_after from jobsync.browse_shared(%(tenant)s, %(kind)s, %(after)s, %(limit)s) s;

-- name: count_customers_to_mend
select v.reason, count(*) as customers from jobsync.v_customers_to_mend v where v.tenant_id = %(tenant)s group by v.reason order by v.reason;

-- name: tell_customer
select c.st_customer_id, coalesce(nullif(concat_ws(' ', c.first_name, c.last_name), ''), c.company_name) as customer_name, c.phone, c.email, c.active, c.merged_to_id,
       c.ghl_contact_id, c.ghl_sync_status, c.ghl_sync_error,
       (select count(*) from public.jobs w where w.tenant_id = c.tenant_id and w.st_customer_id = c.st_customer_id and w.ghl_sync_status = 'skipped' and w.ghl_sync_reason = 'shared_contact') as waits_for_contact,
       (select coalesce(jsonb_agg(jsonb_build_object('reason', v.reason, 'value', v.value, 'shared_with', v.shared_with, 'fix', v.fix)), '[]')
          from jobsync.v_customers_to_mend v where v.tenant_id = c.tenant_id and v.st_customer_id = c.st_customer_id) as to_mend,
       (select coalesce(jsonb_agg(jsonb_build_object('st_job_id', s.st_job_id, 'st_job_number', s.st_job_number, 'state', s.state, 'reason', s.ghl_sync_reason) order by s.st_job_id desc), '[]')
          from (select x.* from public.jobs j cross join lateral (select y.* from jobsync.v_job_status y where y.tenant_id = j.tenant_id and y.st_job_id = j.st_job_id offset 0) x
                 where j.tenant_id = c.tenant_id and j.st_customer_id = c.st_customer_id order by j.st_job_id desc limit 50) s) as jobs
  from public.customers c where c.tenant_id = %(tenant)s and c.st_customer_id = %(customer)s;
