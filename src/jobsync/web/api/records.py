"""How a job and a customer look as /db receives them, for the API's description. PostgreSQL reads them; a field of the
wrong kind is left out with a warning."""

from __future__ import annotations

from typing import Any

from jobsync.web.api.fields import DESCRIBED_ID

_ID = {"type": "integer", "minimum": 1, "maximum": DESCRIBED_ID}

JOB_EXAMPLE: dict[str, Any] = {
    "id": 700412,
    "jobNumber": "700412",
    "businessUnitId": 1314,
    "jobStatus": "Scheduled",
    "summary": "Replace pump motor",
    "createdOn": "2026-01-30T15:04:05Z",
    "modifiedOn": "2026-01-30T15:04:05Z",
}
CUSTOMER_EXAMPLE: dict[str, Any] = {
    "customerId": 88001,
    "locationId": 99001,
    "firstName": "Ana",
    "lastName": "Example",
    "email": "ana@example.com",
    "phone": "555-0100",
    "address": {"street": "1 Main St", "city": "Phoenix", "state": "AZ", "zip": "85001", "county": "Maricopa"},
}
JOB: dict[str, Any] = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": _ID},
    "description": "The job as ServiceTitan writes it.",
}
CUSTOMER: dict[str, Any] = {
    "type": "object",
    "required": ["customerId"],
    "properties": {"customerId": _ID},
    "description": "In the guide's form (customerId, firstName, ...) or ServiceTitan's (id, name, address).",
}
RECORD: dict[str, Any] = {
    "type": "object",
    "required": ["job", "customer"],
    "properties": {"job": JOB, "customer": CUSTOMER},
}
BATCH: dict[str, Any] = {
    "type": "object",
    "required": ["jobs"],
    "properties": {
        "jobs": {
            "type": "array",
            "maxItems": 100_000,
            # Whatever else an item is, it is answered for as an error of that item.
            "items": {"description": "{job, customer} as POST /db/jobs/upsert takes it."},
        }
    },
}


def describe_body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """What an endpoint that reads raw bytes says about its body, for `openapi_extra`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}
