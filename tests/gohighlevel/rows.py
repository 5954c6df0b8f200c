"""An invented row as the view jobsync.projections gives it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any


def make_row(**changes: Any) -> dict[str, Any]:
    """A complete row of an invented customer; `changes` replace columns."""
    return {
        "tenant_id": "default",
        "st_job_id": 900000001234,
        "st_job_number": "J-1234",
        "st_customer_id": 800000005678,
        "st_location_id": 700000009012,
        "business_unit_id": 1314,
        "business_unit_name": "Sales & Service",
        "job_type_id": 11,
        "job_type_name": "Install",
        "job_status": "Scheduled",
        "priority": "Normal",
        "summary": "<p>Pool &amp; pump</p><p>Gate code at the office</p>",
        "total": Decimal("1250.50"),
        "created_on": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "completed_on": None,
        "modified_on": datetime(2026, 3, 2, 12, tzinfo=UTC),
        "customer_name": "Ada Example",
        "first_name": "Ada",
        "last_name": "Example",
        "company_name": None,
        "phone": "+15125550123",
        "email": "Ada@Example.com",
        "street": "1 Invented Way",
        "city": "Springfield",
        "state": "TX",
        "postal_code": "78701",
        "country": "USA",
        "county": "Travis",
        "do_not_text": False,
        "do_not_service": False,
        "tag_type_ids": [1, 2],
        "campaign_id": None,
    } | changes
