-- Shadow: JobSync beside the old flow, each with its own database. Once a day what JobSync would have sent is held against what
-- the old flow marked and what GoHighLevel holds; a verdict per unit says whether it is safe to switch. Nothing is ever sent by it.
--
-- Findings of a job: agreed (both), missed_by_old, unmarked (the old flow has it and did not mark it), pushed_unmarked (and
-- GoHighLevel holds a card), skipped_here, missing_here, sent_by_both, sent_here (after the switch), left_alone (neither sends it), too_new (younger than half an hour).

create table jobsync.shadow_jobs (
  tenant_id text not null references jobsync.tenants on delete cascade,
  st_job_id bigint not null,
  business_unit_id bigint,
  created_on timestamptz,
  old_status text,
  old_opportunity_id text,
  old_marked_at timestamptz,
  old_seen_at timestamptz,
  card text constraint card_is_known check (card in ('verified', 'unmarked', 'missing', 'unknown')),
  finding text,
  reason text,
  compared_at timestamptz not null,
  primary key (tenant_id, st_job_id)
);
create index shadow_jobs_of_units on jobsync.shadow_jobs (tenant_id, business_unit_id, finding);
comment on table jobsync.shadow_jobs is 'Jobs of the last comparison with the old flow''s database, with what the old flow says about each and what came of it.';
comment on column jobsync.shadow_jobs.card is 'What GoHighLevel holds of a job that the old flow did not mark: verified (a card with its id), unmarked (its customer has a card since), missing; null: not looked for.';
comment on column jobsync.shadow_jobs.reason is 'Why JobSync would not send it.';

create table jobsync.shadow_units (
  tenant_id text not null references jobsync.tenants on delete cascade,
  business_unit_id bigint not null,
  compared_at timestamptz not null,
  counts jsonb not null,
  clean_since timestamptz,
  old_active_at timestamptz,
  primary key (tenant_id, business_unit_id)
);
comment on table jobsync.shadow_units is 'The last comparison of each unit: jobs by finding, since when every comparison was clean, and when the old flow last did something.';

create table jobsync.double_cards (
  tenant_id text not null references jobsync.tenants on delete cascade,
  opportunity_id text not null,
  together text not null,
  why text not null constraint double_is_known check (why in ('same job', 'same customer and name')),
  keep boolean not null,
  st_job_id bigint,
  contact_id text,
  pipeline_id text,
  stage_id text,
  status text,
  created_at timestamptz,
  minutes_after_first numeric,
  found_at timestamptz not null,
  primary key (tenant_id, opportunity_id)
);
comment on table jobsync.double_cards is 'Opportunities of GoHighLevel that exist more than once for one job, or for one customer under one name. JobSync reports them and deletes none.';
comment on column jobsync.double_cards.together is 'The group: the oldest card''s id.';
comment on column jobsync.double_cards.keep is 'True for the one to keep: where somebody moved a card that one, else the oldest.';

create view jobsync.v_double_cards with (security_invoker = true) as
  select d.tenant_id, d.together, d.why, d.keep, d.opportunity_id, d.st_job_id, d.contact_id, d.pipeline_id, d.stage_id, d.status, d.created_at, d.minutes_after_first
    from jobsync.double_cards d order by d.together, d.created_at, d.opportunity_id;
comment on view jobsync.v_double_cards is 'Cards that the old flow made twice, a clean-up list for a person: jobsync export --view v_double_cards --csv > doubles.csv';

create function jobsync.note_old_jobs(p_tenant text, p_rows jsonb, p_now timestamptz) returns void language sql volatile as $$
  insert into jobsync.shadow_jobs as s (tenant_id, st_job_id, business_unit_id, created_on, old_status, old_opportunity_id, old_marked_at, old_seen_at, compared_at)
  select p_tenant, r.st_job_id, r.business_unit_id, r.created_on, coalesce(r.status, 'none'), jobsync.real_ghl_id(r.opportunity_id), r.marked_at, r.seen_at, p_now
    from jsonb_to_recordset(p_rows) r (st_job_id bigint, business_unit_id bigint, created_on timestamptz, status text, opportunity_id text, marked_at timestamptz, seen_at timestamptz)
  on conflict (tenant_id, st_job_id) do update set business_unit_id = excluded.business_unit_id, created_on = excluded.created_on, old_status = excluded.old_status,
    old_opportunity_id = excluded.old_opportunity_id, old_marked_at = excluded.old_marked_at, old_seen_at = excluded.old_seen_at, compared_at = excluded.compared_at
$$;
comment on function jobsync.note_old_jobs(text, jsonb, timestamptz) is 'Keeps what the old flow''s database says about a page of its jobs.';

-- The old flow was at work in a unit when it last stored or marked one of its jobs: arm refuses the unit for a day from then on.
create function jobsync.note_old_activity(p_tenant text, p_now timestamptz) returns void language sql volatile as $$
  insert into jobsync.outside_marks as m (tenant_id, business_unit_id, last_marked_at)
  select p_tenant, s.business_unit_id, least(max(greatest(s.old_marked_at, s.old_seen_at)), jobsync.now()) from jobsync.shadow_jobs s
   where s.tenant_id = p_tenant and s.compared_at = p_now and s.business_unit_id is not null and greatest(s.old_marked_at, s.old_seen_at) is not null
   group by s.business_unit_id
  on conflict (tenant_id, business_unit_id) do update set last_marked_at = greatest(m.last_marked_at, excluded.last_marked_at)
$$;
comment on function jobsync.note_old_activity(text, timestamptz) is 'Takes over when the old flow last touched each unit, by the rows that were read at that time.';

create function jobsync.list_unmarked(p_tenant text, p_now timestamptz, p_most integer)
returns table (st_job_id bigint, version integer, accepted_at timestamptz, ghl_opportunity_id text, ghl_contact_id text, phone text, email text)
language sql stable as $$
  select s.st_job_id, 0, s.created_on, s.old_opportunity_id, p.ghl_contact_id, p.phone, p.email
    from (select x.* from jobsync.shadow_jobs x where x.tenant_id = p_tenant and x.compared_at = p_now and x.old_status <> 'synced' and coalesce(x.card, '') not in ('verified', 'unmarked')
           order by x.created_on desc limit p_most) s
    cross join lateral (select q.* from jobsync.projections q where q.tenant_id = p_tenant and q.st_job_id = s.st_job_id offset 0) p
$$;
comment on function jobsync.list_unmarked(text, timestamptz, integer) is 'The newest jobs that the old flow holds and did not mark, to be looked for in GoHighLevel.';

create function jobsync.note_cards(p_tenant text, p_results jsonb) returns void language sql volatile as $$
  update jobsync.shadow_jobs s set card = case r.result when 'verified' then 'verified' when 'unmarked' then 'unmarked' when 'missing' then 'missing' else 'unknown' end,
         old_opportunity_id = coalesce(r.opportunity_id, s.old_opportunity_id)
    from jsonb_to_recordset(p_results) r (st_job_id bigint, result text, opportunity_id text)
   where s.tenant_id = p_tenant and s.st_job_id = r.st_job_id
$$;
comment on function jobsync.note_cards(text, jsonb) is 'Keeps what GoHighLevel holds of such jobs.';

-- What the old flow delivered counts as delivered: its content is the baseline, so that a later `arm --since` sends only the rest.
create function jobsync.baseline_old_deliveries(p_tenant text, p_jobs bigint[]) returns integer
language plpgsql set search_path = jobsync, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_jobs bigint[] := lock_jobs(p_tenant, p_jobs);
  v_done integer;
begin
  delete from outbox o where o.tenant_id = p_tenant and o.st_job_id = any (v_jobs) and o.attempts = 0 and o.lease_until is null and not o.forced;
  update jobs j set ghl_sync_status = 'synced', ghl_sync_reason = null, ghl_sync_error = null, delivered_hash = j.job_hash,
         ghl_synced_at = coalesce(s.old_marked_at, jobsync.now()), ghl_opportunity_id = coalesce(j.ghl_opportunity_id, s.old_opportunity_id), updated_at = jobsync.now()
    from shadow_jobs s
   where s.tenant_id = p_tenant and j.tenant_id = p_tenant and j.st_job_id = s.st_job_id and s.st_job_id = any (v_jobs) and j.st_job_id = any (v_jobs)
     and j.delivered_hash is null and j.ghl_sync_status = 'pending'
     and (select true from outbox o where o.tenant_id = p_tenant and o.st_job_id = j.st_job_id limit 1) is null;
  get diagnostics v_done = row_count;
  return v_done;
end
$$;
comment on function jobsync.baseline_old_deliveries(text, bigint[]) is 'Counts jobs as delivered that the old flow delivered and JobSync never tried. Answers how many; twice none.';

create function jobsync.finish_comparison(p_tenant text, p_since timestamptz, p_now timestamptz) returns jsonb
language plpgsql set search_path = jobsync, public set enable_seqscan = off as $$
declare
  v_delivered bigint[];
  v_report jsonb;
begin
  delete from shadow_jobs s where s.tenant_id = p_tenant and s.compared_at < p_now;
  insert into shadow_jobs (tenant_id, st_job_id, business_unit_id, created_on, compared_at)
  select p_tenant, j.st_job_id, u.st_business_unit_id, j.created_on, p_now
    from business_units u
    join jobs j on j.tenant_id = p_tenant and j.business_unit_id = u.st_business_unit_id and j.created_on >= p_since
   where u.tenant_id = p_tenant
  on conflict (tenant_id, st_job_id) do nothing;
  update shadow_jobs s set finding = f.finding, reason = f.reason
    from (select x.st_job_id,
            case when x.created_on > p_now - interval '30 minutes' then 'too_new'
                 when j.st_job_id is null then case when x.old_status in ('synced', 'pending', 'failed') then 'missing_here' else 'left_alone' end
                 when j.ghl_accepted_at is not null then case when x.old_status = 'synced' and x.old_marked_at > j.ghl_accepted_at - interval '1 hour' then 'sent_by_both' else 'sent_here' end
                 when x.old_status = 'synced' then case when j.ghl_sync_status in ('pending', 'synced') and coalesce(r.deliverer, 'none') = 'jobsync' then 'agreed' else 'skipped_here' end
                 when j.ghl_sync_status not in ('pending', 'synced') then 'left_alone'
                 when x.old_status is null then 'missed_by_old'
                 when x.card in ('verified', 'unmarked') then 'pushed_unmarked'
                 else 'unmarked' end as finding,
            coalesce(j.ghl_sync_reason, case when r.deliverer is distinct from 'jobsync' then coalesce(r.deliverer, 'unmapped') end) as reason
            from shadow_jobs x
            left join lateral (select k.* from jobs k where k.tenant_id = p_tenant and k.st_job_id = x.st_job_id offset 0) j on true
            left join routes r on r.tenant_id = p_tenant and r.st_business_unit_id = j.business_unit_id
           where x.tenant_id = p_tenant and x.compared_at = p_now) f
   where s.tenant_id = p_tenant and s.st_job_id = f.st_job_id;
  select coalesce(array_agg(s.st_job_id order by s.st_job_id), '{}') into v_delivered from shadow_jobs s
   where s.tenant_id = p_tenant and s.finding in ('agreed', 'pushed_unmarked') and s.old_status is not null;
  perform baseline_old_deliveries(p_tenant, v_delivered);
  insert into shadow_units as u (tenant_id, business_unit_id, compared_at, counts, clean_since, old_active_at)
  select p_tenant, c.business_unit_id, p_now, jsonb_object_agg(c.finding, c.jobs),
         case when bool_or(c.finding in ('missing_here', 'skipped_here', 'sent_by_both')) then null else p_now end, max(c.active)
    from (select s.business_unit_id, s.finding, count(*) as jobs, max(greatest(s.old_marked_at, s.old_seen_at)) as active from shadow_jobs s
           where s.tenant_id = p_tenant and s.business_unit_id is not null group by 1, 2) c
   group by c.business_unit_id
  on conflict (tenant_id, business_unit_id) do update set compared_at = excluded.compared_at, counts = excluded.counts,
    clean_since = case when excluded.clean_since is not null then coalesce(u.clean_since, excluded.clean_since) end, old_active_at = greatest(u.old_active_at, excluded.old_active_at);
  perform note_old_activity(p_tenant, p_now);
  select jsonb_build_object('jobs', coalesce(sum(f.jobs), 0), 'findings', coalesce(jsonb_object_agg(f.finding, f.jobs), '{}')) into v_report
    from (select s.finding, count(*) as jobs from shadow_jobs s where s.tenant_id = p_tenant group by s.finding) f;
  return v_report;
end
$$;
comment on function jobsync.finish_comparison(text, timestamptz, timestamptz) is
  'Gives each job of the comparison its finding, baselines what the old flow delivered, and writes the counts of each unit. The same again changes nothing.';

create function jobsync.keep_double_cards(p_tenant text, p_cards jsonb) returns integer language sql volatile as $$
  with gone as (delete from jobsync.double_cards d where d.tenant_id = p_tenant and not exists (select from jsonb_to_recordset(p_cards) r (opportunity_id text) where r.opportunity_id = d.opportunity_id)),
  kept as (
    insert into jobsync.double_cards (tenant_id, opportunity_id, together, why, keep, st_job_id, contact_id, pipeline_id, stage_id, status, created_at, minutes_after_first, found_at)
    select p_tenant, r.opportunity_id, r.together, r.why, r.keep, r.st_job_id, r.contact_id, r.pipeline_id, r.stage_id, r.status,
           jobsync.try_timestamptz_text(r.created_at), r.minutes_after_first, jobsync.now()
      from jsonb_to_recordset(p_cards) r (opportunity_id text, together text, why text, keep boolean, st_job_id bigint, contact_id text, pipeline_id text, stage_id text,
                                          status text, created_at text, minutes_after_first numeric)
    on conflict (tenant_id, opportunity_id) do update set together = excluded.together, why = excluded.why, keep = excluded.keep, status = excluded.status, stage_id = excluded.stage_id,
      pipeline_id = excluded.pipeline_id, minutes_after_first = excluded.minutes_after_first, found_at = excluded.found_at
    returning 1)
  select count(*)::integer from kept
$$;
comment on function jobsync.keep_double_cards(text, jsonb) is 'Replaces the list of doubled cards by what was found now. Answers how many cards it holds.';

create view jobsync.v_shadow_verdicts with (security_invoker = true) as
  select u.tenant_id, u.st_business_unit_id, u.name, s.compared_at, coalesce(s.counts, '{}') as counts, s.clean_since, s.old_active_at, v.because is null as is_safe, v.because
    from jobsync.unit_routes u
    left join jobsync.shadow_units s on s.tenant_id = u.tenant_id and s.business_unit_id = u.st_business_unit_id
    cross join lateral (select case
      when u.sync_enabled is false or u.sync_to_ghl is false then null
      when s.compared_at is null then 'no job of it was compared yet'
      when s.compared_at < jobsync.now() - interval '26 hours' then 'the last comparison is older than a day'
      when s.counts ? 'sent_by_both' then (s.counts ->> 'sent_by_both') || ' jobs were sent by both: the old flow still runs'
      when u.deliverer <> 'jobsync' then 'JobSync has no route for it: jobsync units set ' || u.st_business_unit_id || ' --webhook URL'
      when s.counts ? 'missing_here' then (s.counts ->> 'missing_here') || ' jobs that the old flow has are not here: jobsync pull, then compare again'
      when s.counts ? 'skipped_here' then (s.counts ->> 'skipped_here') || ' jobs that the old flow delivered would be skipped here: jobsync why JOB'
      when u.destination_paused_at is not null then 'its destination is paused: ' || coalesce(u.destination_pause_reason, 'no reason was noted')
      when u.problem is not null then u.problem
      when not s.counts ?| array['agreed', 'missed_by_old', 'unmarked', 'pushed_unmarked', 'sent_here'] then 'no job was booked that both could send'
      when s.clean_since > jobsync.now() - interval '2 days' then 'it was compared cleanly for less than two days'
    end as because) v;
comment on view jobsync.v_shadow_verdicts is 'Is it safe to switch a unit from the old flow to JobSync: yes (is_safe), or not yet, because ...';

-- A week after JobSync delivers alone, the old workflow can be deleted. Told for a week, then no more.
create view jobsync.v_old_flow with (security_invoker = true) as
  select x.tenant_id, x.switched_at, x.last_seen_at, x.stable_since, x.stable_since + interval '7 days' as delete_on,
         x.stable_since <= jobsync.now() - interval '7 days' and x.stable_since > jobsync.now() - interval '14 days' as is_due
    from (select t.tenant_id, w.switched_at, m.last_seen_at, greatest(w.switched_at, m.last_seen_at) as stable_since
            from jobsync.tenants t
            cross join lateral (select max(m.last_marked_at) as last_seen_at from jobsync.outside_marks m where m.tenant_id = t.tenant_id) m
            cross join lateral (select greatest(t.mode_set_at, max(r.updated_at)) as switched_at from jobsync.routes r where r.tenant_id = t.tenant_id and r.deliverer = 'jobsync') w
           where t.mode = 'live' and w.switched_at is not null
             -- Only where there was an old flow, and none of its units is left to it.
             and (m.last_seen_at is not null or exists (select from jobsync.adoptions a where a.tenant_id = t.tenant_id) or exists (select from jobsync.shadow_units s where s.tenant_id = t.tenant_id))
             and not exists (select from jobsync.routes r where r.tenant_id = t.tenant_id and r.deliverer = 'external')) x;
comment on view jobsync.v_old_flow is 'Since when JobSync delivers alone (stable_since: nothing of the old flow was seen since), and from when on its workflow can be deleted.';
