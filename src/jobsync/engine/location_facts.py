"""What a sender must know of a location before it sends: custom field ids by their keys, and the duplicate setting.

Read from GoHighLevel once a day (two requests) and kept in jobsync.location_facts. Scopes that are not granted leave
a fact unknown; that is said by a flag, not by an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from jobsync.db.pool import Row, as_jsonb
from jobsync.engine.context import Engine
from jobsync.errors import AccessDenied
from jobsync.gohighlevel.client import GoHighLevelClient
from jobsync.gohighlevel.payloads import pick_custom_fields

JOB_FIELD = "opportunity.st_job_id"
OPPORTUNITY_COLUMNS = ("st_job_id", "st_job_number", "st_customer_id")
CONTACT_FIELD = "contact.st_customer_id"


@dataclass(frozen=True)
class LocationFacts:
    """`fields`: custom field key (`opportunity.st_job_id`) -> id. `several_cards`: whether a contact may have more than
    one opportunity; None: GoHighLevel did not say."""

    fields: Mapping[str, str] = field(default_factory=dict)
    several_cards: bool | None = None

    @property
    def job_field(self) -> str | None:
        """Id of the opportunity field that holds the job's id."""
        return self.fields.get(JOB_FIELD)

    @property
    def customer_field(self) -> str | None:
        """Id of the contact field that holds the customer's id."""
        return self.fields.get(CONTACT_FIELD)

    def opportunity_fields(self, row: Row) -> dict[str, Any]:
        """The card's own fields: ids of job and customer, where the location has fields for them."""
        ids = {name: self.fields[key] for name in OPPORTUNITY_COLUMNS if (key := f"opportunity.{name}") in self.fields}
        return pick_custom_fields(row, ids)

    def contact_fields(self, customer: int | None) -> dict[str, Any]:
        """The contact's own field: the customer's id."""
        if self.customer_field is None or customer is None:
            return {}
        return {self.customer_field: str(customer)}


async def read_location_facts(
    engine: Engine, tenant: str, destination: UUID, client: GoHighLevelClient
) -> LocationFacts:
    """The stored facts, or those that GoHighLevel tells now when they are a day old. Raises the client's errors."""
    where = {"tenant": tenant, "destination": destination}
    async with engine.database.transaction(tenant) as session:
        row = await session.row("read_location_facts", where)
    if row is not None and not row["stale"]:
        return LocationFacts(row["fields"], row["allow_duplicate_opportunity"])
    facts = LocationFacts(await _fields(client), await _several_cards(client))
    async with engine.database.transaction(tenant) as session:
        await session.run(
            "write_location_facts",
            {**where, "fields": as_jsonb(facts.fields), "allow_duplicate_opportunity": facts.several_cards},
        )
    return facts


async def _fields(client: GoHighLevelClient) -> dict[str, str]:
    try:
        return {one.key: one.id for one in await client.list_custom_fields("all") if one.key}
    except AccessDenied as error:
        if error.code != "scope_missing":
            raise
        return {}


async def _several_cards(client: GoHighLevelClient) -> bool | None:
    try:
        return (await client.get_location()).allow_duplicate_opportunity
    except AccessDenied as error:
        if error.code != "scope_missing":
            raise
        return None
