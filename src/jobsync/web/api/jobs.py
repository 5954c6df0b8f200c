"""/db/jobs: jobs come in (one or many), are read, offered to an outside deliverer, and marked by it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any

import anyio
import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import Field

from jobsync.errors import InvalidInput, RecordMissing
from jobsync.web.answers import JsonAnswer, raw, raws
from jobsync.web.api.fields import (
    AnyShortText,
    Body,
    BodyId,
    Format,
    JobIdPath,
    Lease,
    Limit,
    LongText,
    Retry,
    SyncStatus,
    UnitIdQuery,
)
from jobsync.web.api.records import BATCH, CUSTOMER_EXAMPLE, JOB_EXAMPLE, RECORD, describe_body
from jobsync.web.api.rows import BatchReport, JobRow, JobStory, PendingJobRow, PendingJobs, Upserted
from jobsync.web.batches import Item, split_batch, store_items
from jobsync.web.bodies import LARGE, UNSTORABLE_ESCAPE, mend_escapes
from jobsync.web.calls import GuardedRoute, ThisCall, needs
from jobsync.web.sheets import OR_SHEET, answer_sheet

router = APIRouter(route_class=GuardedRoute, tags=["jobs"])


@router.post(
    "/db/jobs/upsert",
    operation_id="upsertJob",
    response_model=Upserted,
    openapi_extra=describe_body(RECORD, {"job": JOB_EXAMPLE, "customer": CUSTOMER_EXAMPLE}),
)
@needs("sync:write", body="raw")
async def upsert_job(call: ThisCall) -> JsonAnswer:
    """Stores one job with its customer. Missing keys keep what stands; an older modifiedOn changes nothing."""
    mended = mend_escapes(call.body) if UNSTORABLE_ESCAPE.search(call.body) else bytes(call.body)
    try:
        msgspec.json.decode(mended, type=msgspec.Raw)
    except RecursionError:
        raise InvalidInput("The body is nested too deep.", field="body") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidInput(
            "The body is not valid JSON.", hint="Check quotes, commas and brackets.", field="body"
        ) from None
    report = await store_items(call, [Item(0, mended, mended=mended != bytes(call.body))])
    if report.errors:
        message = report.errors[0]["error"]
        raise InvalidInput(message, hint='Send {"job": {...}, "customer": {...}}.', field=message.split(" ", 1)[0])
    result = report.results[0]
    answer = {
        "success": True,
        "jobId": result["dbJobId"],
        "stJobId": result["stJobId"],
        "stCustomerId": _customer_id(mended),
    }
    return JsonAnswer(answer | ({"warnings": result["warnings"]} if "warnings" in result else {}))


@router.post(
    "/db/jobs/upsert-batch",
    operation_id="upsertJobs",
    response_model=BatchReport,
    openapi_extra=describe_body(BATCH, {"jobs": [{"job": JOB_EXAMPLE, "customer": CUSTOMER_EXAMPLE}]}),
)
@needs("sync:write", body="raw", limit=LARGE)
async def upsert_jobs(call: ThisCall) -> JsonAnswer:
    """Stores many jobs; one bad item never fails the others."""
    items = await anyio.to_thread.run_sync(split_batch, call.body)
    report = await store_items(call, items)
    return JsonAnswer(report.show())


@router.get("/db/jobs/pending-ghl-sync", operation_id="listPendingJobs", response_model=PendingJobs, responses=OR_SHEET)
@needs("read")
async def list_pending(
    call: ThisCall,
    unit: UnitIdQuery = None,
    limit: Limit = 100,
    lease: Lease = None,
    retry: Retry = False,
    form: Annotated[Format, Query(alias="format")] = "json",
) -> Response:
    """Jobs of external units that somebody has to push to GoHighLevel, oldest first, each with why it is pending."""
    wanted = {"tenant": call.tenant, "unit": unit, "limit": limit, "retry": retry}
    async with call.transaction() as session:
        jobs = None
        if lease is not None:
            jobs = await session.value("api_lease_pending", {**wanted, "seconds": lease, "by": call.actor})
        rows = await session.rows("api_list_pending", {**wanted, "jobs": jobs})
    if form == "csv":
        return answer_sheet(PendingJobRow, rows, "pending-jobs")
    return JsonAnswer({"count": len(rows), "jobs": raws(rows)})


class JobMark(Body):
    """What an outside deliverer says about a job."""

    model_config = {"json_schema_extra": {"examples": [{"status": "synced", "opportunityId": "opp-0001"}]}}
    status: SyncStatus | None = None
    opportunityId: AnyShortText | None = None
    error: LongText | None = None


class NamedJobMark(JobMark):
    """One mark of many."""

    model_config = {"json_schema_extra": {"examples": [{"stJobId": 700412, "status": "synced"}]}}
    stJobId: BodyId


class JobMarks(Body):
    """Many marks at once."""

    model_config = {"json_schema_extra": {"examples": [{"jobs": [{"stJobId": 700412, "status": "synced"}]}]}}
    jobs: Annotated[list[NamedJobMark], Field(max_length=500)]


@router.patch("/db/jobs/ghl-sync", operation_id="markJobs", response_model=BatchReport)
@needs("sync:write", body="json")
async def mark_jobs(call: ThisCall, body: JobMarks) -> JsonAnswer:
    """Marks up to 500 jobs; one that is not known never fails the others."""
    results, errors = [], []
    async with call.transaction() as session:
        for index, mark in enumerate(body.jobs):
            row = await session.row("api_mark_job", _mark(call.tenant, mark.stJobId, mark))
            if row is None:
                errors.append({"stJobId": mark.stJobId, "index": index, "error": "Job not found"})
            else:
                results.append({"stJobId": mark.stJobId, "dbJobId": json.loads(row["row"])["id"], "success": True})
    return JsonAnswer(
        {
            "total": len(body.jobs),
            "succeeded": len(results),
            "failed": len(errors),
            "results": results,
            "errors": errors,
        }
    )


@router.patch("/db/jobs/{stJobId}/ghl-sync", operation_id="markJob", response_model=JobRow)
@needs("sync:write", body="json")
async def mark_job(call: ThisCall, job: JobIdPath, body: JobMark) -> JsonAnswer:
    """Marks one job. `synced` takes its content as delivered; `pending` offers it again; a mark ends its lease."""
    async with call.transaction() as session:
        row = await session.row("api_mark_job", _mark(call.tenant, job, body))
    if row is None:
        raise _missing(job)
    return JsonAnswer(raw(row["row"]))


@router.get("/db/jobs/{stJobId}", operation_id="readJob", response_model=JobStory)
@needs("read")
async def read_job(call: ThisCall, job: JobIdPath) -> JsonAnswer:
    """One job: its columns flat, its customer nested, with locations, contacts, attempts and timeline."""
    async with call.transaction() as session:
        row = await session.row("api_read_job", {"tenant": call.tenant, "job": job})
    if row is None:
        raise _missing(job)
    return JsonAnswer(raw(row["row"]))


def _mark(tenant: str, job: int, mark: JobMark) -> dict[str, Any]:
    return {"tenant": tenant, "job": job, "status": mark.status, "opportunity": mark.opportunityId, "error": mark.error}


def _missing(job: int) -> RecordMissing:
    return RecordMissing(
        "Job not found",
        hint="It appears once ServiceTitan's list was read, or POST /db/jobs/upsert stored it.",
        stJobId=job,
    )


def _customer_id(body: bytes) -> int:
    # PostgreSQL accepted the id; a number may have been written as text or as 5.0.
    customer = json.loads(body, parse_float=Decimal)["customer"]
    given = customer.get("customerId")
    if given is None or (isinstance(given, str) and not given.strip()):
        given = customer["id"]
    return int(Decimal(given))
