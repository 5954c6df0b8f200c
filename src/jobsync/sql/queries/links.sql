-- What an API delivery keeps: intents, links, reviews, facts of the location.

-- name: read_cards
select * from jobsync.read_cards(%(tenant)s, %(destination)s, %(jobs)s, %(settle)s);

-- name: open_intent
select jobsync.open_intent(%(tenant)s, %(destination)s, %(kind)s, %(id)s, %(job)s, %(fence)s, %(contact)s, %(settle)s);

-- name: note_intent
select jobsync.note_intent(%(tenant)s, %(destination)s, %(kind)s, %(id)s, %(refused)s);

-- name: close_intent
select jobsync.close_intent(%(tenant)s, %(destination)s, %(kind)s, %(id)s);

-- name: link_contact
select jobsync.link_contact(%(tenant)s, %(destination)s, %(customer)s, %(contact)s, %(found_by)s, %(share)s, %(job)s, %(hash)s, %(tags)s, %(dropped)s);

-- name: tell_contact
select jobsync.tell_contact(%(tenant)s, %(destination)s, %(customer)s, %(job)s, %(hash)s, %(tags)s, %(dropped)s);

-- name: lose_contact
select jobsync.lose_contact(%(tenant)s, %(destination)s, %(customer)s, %(contact)s);

-- name: link_opportunity
select jobsync.link_opportunity(%(tenant)s, %(destination)s, %(job)s, %(opportunity)s, %(contact)s, %(found_by)s, %(hash)s, %(pipeline)s, %(stage)s, %(status)s, %(dropped)s);

-- name: tell_opportunity
select jobsync.tell_opportunity(%(tenant)s, %(destination)s, %(job)s, %(hash)s, %(pipeline)s, %(stage)s, %(status)s, %(dropped)s);

-- name: mark_noted
select jobsync.mark_noted(%(tenant)s, %(destination)s, %(job)s);

-- name: lose_opportunity
select jobsync.lose_opportunity(%(tenant)s, %(destination)s, %(job)s);

-- name: choose_place
select pipeline_id, stage_id, status from jobsync.choose_place(%(tenant)s, %(destination)s, %(job)s, %(pipeline)s, %(stage)s, %(status)s);

-- name: review_contact
select jobsync.review_contact(%(tenant)s, %(destination)s, %(customer)s, %(contact)s, %(reason)s, %(other_customer)s, %(other_contact)s, %(job)s);

-- name: decide_review
select jobsync.decide_review(%(tenant)s, %(customer)s, %(decision)s, %(actor)s);

-- name: list_reviews
select * from jobsync.v_contact_reviews where tenant_id = %(tenant)s and (decision is null or %(all)s) order by opened_at, st_customer_id limit %(limit)s;

-- name: plan_contact_changes
select jobsync.plan_contact_changes(%(tenant)s);

-- name: read_location_facts
select fields, allow_duplicate_opportunity, read_at < jobsync.now() - interval '1 day' as stale
  from jobsync.location_facts where tenant_id = %(tenant)s and destination_id = %(destination)s;

-- name: write_location_facts
insert into jobsync.location_facts as f (tenant_id, destination_id, fields, allow_duplicate_opportunity) values (%(tenant)s, %(destination)s, %(fields)s, %(allow_duplicate_opportunity)s)
on conflict (tenant_id, destination_id) do update set fields = excluded.fields, allow_duplicate_opportunity = excluded.allow_duplicate_opportunity, read_at = jobsync.now();
