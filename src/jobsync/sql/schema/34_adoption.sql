-- Adoption: what `jobsync db migrate` found and repaired when it took over a database that the old guide's schema had made.
-- Empty where JobSync began on a fresh database.

create table jobsync.adoptions (
  tenant_id text primary key references jobsync.tenants on delete cascade,
  adopted_at timestamptz not null default jobsync.now(),
  pull_from timestamptz,
  report jsonb not null
);
comment on table jobsync.adoptions is 'One row where the database was adopted from the old guide: when, and what was repaired and what cannot be known.';
comment on column jobsync.adoptions.pull_from is 'Where the first pull of jobs starts: early enough to bring what the old flow missed or overwrote.';
comment on column jobsync.adoptions.report is '{rows, repaired, unknown, kept, seconds}: counts before and after, sentences for a person.';

create function jobsync.adopted_at(p_tenant text) returns timestamptz language sql stable parallel safe as $$
  select a.adopted_at from jobsync.adoptions a where a.tenant_id = p_tenant
$$;
comment on function jobsync.adopted_at(text) is 'When the database was adopted; null: never. What a pull brings anew and is older is not offered to the old flow, which never had it.';
