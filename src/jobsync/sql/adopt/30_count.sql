-- Adopting, step 3: what will be repaired and what cannot be known, counted while the tables are as they were found.

do $count$
declare
  v_count record;
begin
  if to_regclass('jobsync_adopting.jobs') is not null then
    select count(*) filter (where j.ghl_opportunity_id is not null and jobsync.real_ghl_id(j.ghl_opportunity_id) is null) as made_up,
           count(*) filter (where j.ghl_sync_status = 'synced') as synced,
           count(*) filter (where j.ghl_sync_status = 'synced' and jobsync.real_ghl_id(j.ghl_opportunity_id) is null) as unproven,
           count(*) filter (where j.ghl_sync_status is null or j.ghl_sync_status not in ('pending', 'synced', 'failed', 'skipped')) as odd,
           count(*) filter (where j.st_job_number = j.st_job_id::text) as numbered_by_id,
           count(jobsync.real_ghl_id(j.ghl_opportunity_id)) - count(distinct jobsync.real_ghl_id(j.ghl_opportunity_id)) as shared,
           count(*) filter (where j.created_on is null) as undated
      into v_count from jobsync_adopting.jobs j;
    insert into jobsync_adopting.notes (kind, items, note)
    select n.kind, n.items, n.note from (values
      (1, 'repaired', v_count.made_up, 'made-up opportunity ids (such as "created") are empty now: no opportunity has them'),
      (2, 'repaired', v_count.synced, 'jobs that were marked as synced count as delivered with what they hold now: nothing of them is sent again'),
      (3, 'repaired', v_count.odd, 'jobs with a status that nobody knows (or none) are skipped now; the old word stands in ghl_sync_error'),
      (5, 'unknown', v_count.unproven, 'synced jobs name no opportunity of GoHighLevel, so that they cannot be read back'),
      (6, 'unknown', v_count.shared, 'opportunity ids stand at more than one job; whose they are is not known'),
      (7, 'unknown', v_count.numbered_by_id, 'jobs carry their id as their number; the first pull brings the number'),
      (8, 'unknown', v_count.undated, 'jobs do not say when they were created')
    ) n(place, kind, items, note) where n.items > 0 order by n.place;
  end if;
  if to_regclass('jobsync_adopting.customers') is not null then
    select count(*) filter (where coalesce(btrim(c.phone), '') = '' and coalesce(btrim(c.email), '') = '') as unreachable,
           count(*) filter (where '' in (c.first_name, c.last_name, c.email, c.phone, c.street, c.city, c.state, c.postal_code)) as blanked,
           count(*) filter (where c.ghl_contact_id is not null and jobsync.real_ghl_id(c.ghl_contact_id) is null) as made_up
      into v_count from jobsync_adopting.customers c;
    insert into jobsync_adopting.notes (kind, items, note)
    select n.kind, n.items, n.note from (values
      (1, 'repaired', v_count.blanked, 'customers had empty texts where nothing was known; they hold null now'),
      (2, 'repaired', v_count.made_up, 'made-up contact ids of customers are empty now'),
      (3, 'unknown', v_count.unreachable, 'customers have neither phone nor e-mail: the old flow wrote blanks over them. The first pull brings back what ServiceTitan has')
    ) n(place, kind, items, note) where n.items > 0 order by n.place;
  end if;
  if to_regclass('jobsync_adopting.sync_logs') is not null then
    insert into jobsync_adopting.notes (kind, note)
    select 'unknown', 'no run was ever written as failed: whether runs before now failed is not known'
     where exists (select from jobsync_adopting.sync_logs) and not exists (select from jobsync_adopting.sync_logs l where l.status = 'failed');
  end if;
end
$count$;
