"""Rows as the API shows them: the guide's columns first, JobSync's own after them. For the API's description only:
answers are made by PostgreSQL and are not checked a second time here."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """A row of a table; later versions may add columns."""

    model_config = ConfigDict(extra="allow")


class StateRow(Row):
    """A row of sync_state; lastJobPull is read with `lag_seconds`, how long ago that was."""

    id: UUID
    key: str
    value: str
    metadata: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


class JobRow(Row):
    """A row of jobs."""

    id: UUID
    st_job_id: int
    st_job_number: str | None
    st_customer_id: int | None
    st_location_id: int | None
    business_unit_id: int | None
    job_type_id: int | None
    job_type_name: str | None
    job_status: str | None
    priority: str | None
    summary: str | None
    description: str | None
    created_on: str | None
    completed_on: str | None
    modified_on: str | None
    first_appointment_id: int | None
    last_appointment_id: int | None
    appointment_count: int | None
    total: float | None
    invoice_id: int | None
    estimate_ids: list[int] | None
    no_charge: bool | None
    campaign_id: int | None
    lead_call_id: int | None
    tag_type_ids: list[int] | None
    ghl_opportunity_id: str | None
    ghl_pipeline: str | None
    ghl_synced_at: datetime | None
    ghl_sync_status: str | None
    ghl_sync_error: str | None
    st_raw_data: Any
    created_at: datetime
    updated_at: datetime
    synced_from_st_at: datetime | None


class CustomerRow(Row):
    """A row of customers."""

    id: UUID
    st_customer_id: int
    st_location_id: int | None
    first_name: str | None
    last_name: str | None
    company_name: str | None
    email: str | None
    phone: str | None
    street: str | None
    city: str | None
    state: str | None
    postal_code: str | None
    country: str | None
    county: str | None
    ghl_contact_id: str | None
    ghl_synced_at: datetime | None
    ghl_sync_status: str | None
    ghl_sync_error: str | None
    st_raw_data: Any
    created_at: datetime
    updated_at: datetime
    synced_from_st_at: datetime | None


class PendingJobRow(JobRow):
    """A pending job with what a delivery needs."""

    first_name: str | None
    last_name: str | None
    email: str | None
    phone: str | None
    street: str | None
    city: str | None
    state: str | None
    postal_code: str | None
    county: str | None
    ghl_pipeline_name: str | None
    company_name: str | None
    country: str | None
    why_pending: str
    leased_until: datetime | None


class JobStory(JobRow):
    """A job with its customer, locations, contacts, attempts and timeline; the job wins where names collide."""

    customer: CustomerRow | None
    locations: list[dict[str, Any]]
    contacts: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    timeline: list[dict[str, Any]]


class PendingJobs(BaseModel):
    """Pending jobs, oldest first."""

    count: int
    jobs: list[PendingJobRow]


class LogRow(Row):
    """A row of sync_logs."""

    id: UUID
    sync_type: str
    entity_type: str | None
    entity_id: int | None
    status: str
    records_processed: int | None
    records_succeeded: int | None
    records_failed: int | None
    error_message: str | None
    error_details: Any
    started_at: datetime
    completed_at: datetime | None
    duration_ms: int | None
    workflow_execution_id: str | None
    metadata: Any


class LogPlace(BaseModel):
    """Where a page of runs ended."""

    before: datetime
    beforeId: UUID


class Logs(BaseModel):
    """Runs, newest first. `next` are the parameters of the following page; null at the end."""

    count: int
    logs: list[LogRow]
    next: LogPlace | None


class LogStatistics(BaseModel):
    """Runs of one type and status over all time."""

    sync_type: str
    status: str
    count: int
    avg_duration_ms: float | None
    last_sync_at: datetime | None


class UnitRow(Row):
    """A business unit with its route. The hook's URL is a secret: only its host and last four characters are shown."""

    id: UUID
    st_business_unit_id: int
    name: str
    ghl_pipeline_id: str | None
    ghl_pipeline_name: str | None
    sync_enabled: bool | None
    sync_to_ghl: bool | None
    created_at: datetime
    updated_at: datetime
    deliverer: str
    ghl_webhook: str | None
    ghl_events: str


class Upserted(BaseModel):
    """One job that was stored."""

    model_config = ConfigDict(extra="allow")
    success: bool
    jobId: UUID
    stJobId: int
    stCustomerId: int


class ItemStored(BaseModel):
    """One stored item of a batch; `warnings` names fields that were left out or mended."""

    model_config = ConfigDict(extra="allow")
    stJobId: int
    dbJobId: UUID | None
    success: bool


class ItemFailed(BaseModel):
    """One refused item of a batch, by its place in the list (from 0)."""

    model_config = ConfigDict(extra="allow")
    stJobId: int | None
    error: str


class BatchReport(BaseModel):
    """What became of each item of a batch."""

    total: int
    succeeded: int
    failed: int
    results: list[ItemStored]
    errors: list[ItemFailed]
