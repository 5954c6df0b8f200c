"""A location that is ready to use: pipelines, the custom fields a job needs, a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .fields import add_field
from .location import Location, add_pipeline
from .world import World

PIPELINES = {
    "Sales Pipeline": ("New Lead", "Estimate Scheduled", "Estimate Sent", "Estimate Approved", "Lost"),
    "Install Pipeline": ("Approved", "Scheduled", "In Progress", "Job Completed"),
    "Service Pipeline": ("New Job", "Scheduled", "Dispatched", "Working", "Completed", "Canceled"),
}
OPPORTUNITY_FIELDS = ("st_job_id", "st_job_number", "st_customer_id")
CONTACT_FIELDS = ("st_customer_id",)


@dataclass(frozen=True, slots=True)
class Furnished:
    """What a caller needs to begin."""

    location: Location
    token: str


def furnish(world: World, *, identifier: str | None = None, token: str | None = None, **settings: Any) -> Furnished:
    """Adds a location with three pipelines, text fields for the job's and the customer's ids, and a private token.

    identifier, token: given ones instead of drawn ones; settings as `World.add_location`.
    """
    location = world.add_location(identifier, **settings)
    for name, stages in PIPELINES.items():
        add_pipeline(location, world.ids, name, stages)
    for name in OPPORTUNITY_FIELDS:
        add_field(location, world.ids, name, "TEXT", "opportunity")
    for name in CONTACT_FIELDS:
        add_field(location, world.ids, name, "TEXT", "contact")
    return Furnished(location, world.tokens.issue_pit(location.id, value=token))
