"""/db/customers: customers come in, are read, and are marked by an outside deliverer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import WithJsonSchema

from jobsync.errors import InvalidInput, RecordMissing
from jobsync.web.answers import JsonAnswer, raw
from jobsync.web.api.fields import AnyShortText, Body, CustomerIdPath, LongText, SyncStatus
from jobsync.web.api.records import CUSTOMER, CUSTOMER_EXAMPLE
from jobsync.web.api.rows import CustomerRow
from jobsync.web.bodies import to_json
from jobsync.web.calls import GuardedRoute, ThisCall, needs

router = APIRouter(route_class=GuardedRoute, tags=["customers"])


class CustomerBody(Body):
    """A customer in the guide's form or ServiceTitan's; an empty text counts as not given."""

    model_config = {"json_schema_extra": {"examples": [{"customer": CUSTOMER_EXAMPLE}]}}
    customer: Annotated[dict[str, Any], WithJsonSchema(CUSTOMER)]


class CustomerMark(Body):
    """What an outside deliverer says about a customer."""

    model_config = {"json_schema_extra": {"examples": [{"status": "synced", "contactId": "contact-0001"}]}}
    status: SyncStatus | None = None
    contactId: AnyShortText | None = None
    error: LongText | None = None


@router.post("/db/customers/upsert", operation_id="upsertCustomer", response_model=CustomerRow)
@needs("sync:write", body="json")
async def upsert_customer(call: ThisCall, body: CustomerBody) -> JsonAnswer:
    """Stores one customer. Missing keys keep what stands; a field that does not fit is left out with a warning."""
    try:
        async with call.transaction() as session:
            row = await session.row("api_upsert_customer", {"tenant": call.tenant, "customer": to_json(body.customer)})
    except InvalidInput as error:
        error.details.setdefault("field", "customer")
        raise
    assert row is not None
    return JsonAnswer(raw(row["row"]))


@router.get("/db/customers/{stCustomerId}", operation_id="readCustomer", response_model=CustomerRow)
@needs("read")
async def read_customer(call: ThisCall, customer: CustomerIdPath) -> JsonAnswer:
    """One customer."""
    async with call.transaction() as session:
        row = await session.row("api_read_customer", {"tenant": call.tenant, "customer": customer})
    if row is None:
        raise _missing(customer)
    return JsonAnswer(raw(row["row"]))


@router.patch("/db/customers/{stCustomerId}/ghl-sync", operation_id="markCustomer", response_model=CustomerRow)
@needs("sync:write", body="json")
async def mark_customer(call: ThisCall, customer: CustomerIdPath, body: CustomerMark) -> JsonAnswer:
    """Marks one customer."""
    parameters = {
        "tenant": call.tenant,
        "customer": customer,
        "status": body.status,
        "contact": body.contactId,
        "error": body.error,
    }
    async with call.transaction() as session:
        row = await session.row("api_mark_customer", parameters)
    if row is None:
        raise _missing(customer)
    return JsonAnswer(raw(row["row"]))


def _missing(customer: int) -> RecordMissing:
    return RecordMissing("Customer not found", hint="POST /db/customers/upsert stores one.", stCustomerId=customer)
