-- What GoHighLevel has: pipelines, their stages, custom fields, pulled by name and id. Routes and rules are written with
-- names and sent with ids. A row is never deleted: what GoHighLevel no longer shows is `gone`, so that a route or rule that
-- points at it can say so.

create table jobsync.pipelines (
  tenant_id text not null references jobsync.tenants on delete cascade,
  pipeline_id text not null,
  name text not null,
  position integer not null default 0,
  seen_at timestamptz not null default jobsync.now(),
  gone_at timestamptz,
  primary key (tenant_id, pipeline_id)
);
comment on table jobsync.pipelines is 'Pipelines of the tenant''s GoHighLevel location, as last pulled; gone_at: no longer there.';

create table jobsync.pipeline_stages (
  tenant_id text not null references jobsync.tenants on delete cascade,
  pipeline_id text not null,
  stage_id text not null,
  name text not null,
  position integer not null default 0,
  protected boolean not null default false,
  seen_at timestamptz not null default jobsync.now(),
  gone_at timestamptz,
  primary key (tenant_id, pipeline_id, stage_id)
);
comment on table jobsync.pipeline_stages is 'Stages in their order (position 0 is the first); gone_at: no longer there.';
comment on column jobsync.pipeline_stages.protected is 'A card that stands in this stage is never moved by JobSync: people work there.';

create table jobsync.card_fields (
  tenant_id text not null references jobsync.tenants on delete cascade,
  field_id text not null,
  model text not null constraint card_field_model_is_known check (model in ('contact', 'opportunity')),
  name text not null,
  field_key text,
  data_type text,
  seen_at timestamptz not null default jobsync.now(),
  gone_at timestamptz,
  primary key (tenant_id, field_id)
);
comment on table jobsync.card_fields is 'Custom fields of the tenant''s GoHighLevel location: which name and key (opportunity.st_job_id) is which id.';
