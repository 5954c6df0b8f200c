"""Records by id, with the refusals of one that is not there or not yours (GoHighLevel contract, section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import missing, refuse
from .location import Record

if TYPE_CHECKING:
    from .call import Call


def require_contact(call: Call, contact_id: str) -> Record:
    """The contact of that id. Raises 404 (or 400, a switch), and 403 for one of another location."""
    found = call.location.contacts.records.get(contact_id)
    if found is None:
        if any(contact_id in other.contacts.records for other in call.world.locations.values()):
            raise refuse(403, "The token does not have access to this location.")
        raise missing(call.switches.missing_record, "Contact", contact_id)
    return found


def require_opportunity(call: Call, opportunity_id: str) -> Record:
    """The opportunity of that id. Raises 404 (or 400, a switch), and 403 for one of another location."""
    found = call.location.opportunities.records.get(opportunity_id)
    if found is None:
        if any(opportunity_id in other.opportunities.records for other in call.world.locations.values()):
            raise refuse(403, "The token does not have access to this location.")
        raise missing(call.switches.missing_record, "Opportunity", opportunity_id)
    return found
