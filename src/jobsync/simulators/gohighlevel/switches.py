"""What nobody outside GoHighLevel knows for sure, each as a named switch (the UNCONFIRMED marks of the GoHighLevel
contract). The default is what the contract assumes; where it assumes nothing, the side that is harder for a client.
Every switch can be turned while the simulator runs and holds from the next request on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

CHOICES: dict[str, tuple[str, ...]] = {
    "unknown_version": ("401", "400"),
    "contact_without_identifiers": ("create", "refuse"),
    "unknown_tags": ("create", "ignore"),
    "unknown_custom_field": ("ignore", "refuse"),
    "misfit_custom_value": ("refuse", "ignore"),
    "phone_without_plus": ("normalise", "keep", "drop"),
    "invalid_phone": ("refuse", "drop", "keep"),
    "missing_record": ("404", "400"),
    "search_field_shape": ("typed", "spec", "absent"),
    "search_status_default": ("open", "all"),
    "over_limit": ("refuse", "clamp"),
    "empty_page_numbers": ("absent", "null"),
    "q_matches": ("contact", "contact_and_name"),
    "post_search_filters": ("refuse", "ignore", "honour"),
    "duplicate_counts": ("any_status", "open"),
    "upsert_opportunity_key": ("contact_and_pipeline", "contact", "id"),
    "stage_omitted": ("first", "refuse"),
    "unknown_stage": ("400", "422", "404"),
    "retry_after": ("absent", "seconds", "date"),
    "daily_boundary": ("utc", "rolling"),
    "hook_unknown_location": ("test", "404"),
    "hook_bad_body": ("refuse", "queue"),
}


@dataclass(slots=True)
class Switches:
    """One field per unconfirmed fact; the section of the contract stands behind it."""

    unknown_version: str = "401"
    """A Version nobody published: 401 "version header is invalid" or 400 (1)."""
    pit_idle_days: float = 0.0
    """Days without use after which a private token dies; 0 = never, 90 is reported (2)."""
    refresh_grace_seconds: float = 30.0
    """How long a used refresh token still answers with the same new pair (2)."""
    location_token_status: int = 200
    """Status of a successful POST /oauth/locationToken: the spec says 200, a report 201 (2)."""
    contact_without_identifiers: str = "create"
    """An upsert with neither email nor phone: a new contact every time, or refused with 422 (3)."""
    unknown_tags: str = "create"
    """A tag that the location does not have yet: made, or silently left out (3)."""
    fold_tag_case: bool = True
    """Whether tags are stored in lower case (3)."""
    unknown_custom_field: str = "ignore"
    """A custom field id the location does not have, or a value under a key of another API version (4)."""
    misfit_custom_value: str = "refuse"
    """A value that does not fit its field's type, such as an epoch number for a date (4)."""
    opportunity_get_has_fields: bool = True
    """Whether GET /opportunities/{id} shows customFields (4)."""
    search_field_shape: str = "typed"
    """customFields in opportunity search: `{id,type,fieldValueString}`, `{id,fieldValue}`, or none (4)."""
    phone_without_plus: str = "normalise"
    """A ten-digit number without country code: read by the location's country, kept as typed, or dropped (11)."""
    invalid_phone: str = "refuse"
    """A phone that cannot be one: 422, silently dropped, or kept as typed (11)."""
    missing_record: str = "404"
    """The id of a contact or opportunity that is not there: 404 or 400 (7)."""
    search_lag_min_seconds: float = 5.0
    search_lag_max_seconds: float = 5.0
    """Searches see a write between min and max seconds after it, drawn per write from the seed (5)."""
    duplicate_search_lags: bool = False
    """Whether GET /contacts/search/duplicate trails too (3)."""
    search_status_default: str = "open"
    """GET /opportunities/search without `status` (5)."""
    over_limit: str = "refuse"
    """limit or pageLimit above 100: 422, or read as 100 (3, 5)."""
    empty_page_numbers: str = "absent"
    """nextPage, startAfterId and so on of a last page: left out, or null (5)."""
    q_matches: str = "contact"
    """What `q` looks into: the contact's data, or the opportunity's name as well (5)."""
    post_search_filters: str = "refuse"
    """`filters` in POST /opportunities/search: 401 as reported in 2025, ignored, or honoured for eq (5)."""
    upsert_opportunity_key: str = "contact_and_pipeline"
    """By what POST /opportunities/upsert finds the card it overwrites; an `id` in the body always counts (5)."""
    duplicate_counts: str = "any_status"
    """With allowDuplicateOpportunity false: whether a won or lost card blocks as well (5)."""
    stage_omitted: str = "first"
    """POST /opportunities/ without pipelineStageId: the first stage, or 422 (5)."""
    unknown_stage: str = "400"
    """Status for a pipeline or stage id that is not there, or a stage of another pipeline (5)."""
    opportunity_source_accepted: bool = True
    """Whether `source`, which is not in the spec, may be written on an opportunity (5)."""
    money_decimals: bool = True
    """False: monetaryValue is cut to whole units (11)."""
    burst_limit: int = 100
    """Requests per location in `burst_seconds`; 0 = no limit (8)."""
    burst_seconds: float = 10.0
    short_burst_limit: int = 0
    """Requests per location in one second, the reported 429s well below the published limit; 0 = none (8)."""
    daily_limit: int = 200_000
    """Requests per location and day; 0 = no limit (8)."""
    daily_boundary: str = "utc"
    """When the daily count starts again: at midnight UTC, or 24 hours after each request (8)."""
    retry_after: str = "absent"
    """The Retry-After header of a 429 (7, 8)."""
    hook_limit: int = 0
    """Posts per hook in `burst_seconds` before 429; 0 = none, nothing is known (9)."""
    hook_unknown_location: str = "test"
    """A hook URL whose location does not exist: the test answer, or 404 (9)."""
    hook_bad_body: str = "refuse"
    """A body that is no JSON object: 400, or queued like any other and then without effect (9)."""
    hook_body_limit: int = 0
    """Bytes above which a hook answers 413; 0 = none (9)."""
    workflow_delay_seconds: float = 0.0
    """How long after its 200 a hook's workflow has done its work (9)."""
    free_executions: int = 100
    """Executions per location that cost nothing (9)."""
    execution_price: float = 0.01
    """Dollars per execution after the free ones (9)."""
    date_skew_seconds: float = 0.0
    """How wrong the Date header of answers is."""

    def turn(self, **wanted: Any) -> None:
        """Sets switches by name, all or none. Raises ValueError naming the switch and what it takes."""
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, value in wanted.items():
            if name not in known:
                raise ValueError(f"no switch is called {name}; there are {', '.join(sorted(known))}")
            if name in CHOICES and value not in CHOICES[name]:
                raise ValueError(f"{name} takes one of {', '.join(CHOICES[name])}")
            if not _fits(known[name], value):
                raise ValueError(f"{name} takes a {type(known[name]).__name__}")
        for name, value in wanted.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """All switches with their present values."""
        return asdict(self)


def _fits(present: Any, value: Any) -> bool:
    if isinstance(present, bool) or isinstance(value, bool):
        return isinstance(present, bool) and isinstance(value, bool)
    if isinstance(present, (int, float)):
        return isinstance(value, (int, float))
    return isinstance(value, str)
