"""What nobody outside ServiceTitan knows for sure, each as a named switch (ServiceTitan contract, section 10).

The defaults are what the contract assumes; where it assumes nothing, the side that is harder for a client.
Every switch can be turned while the simulator runs; the four marked (writing) only touch records written afterwards,
so they are best handed to `Dataset.generate(switches=...)`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

CHOICES: dict[str, tuple[str, ...]] = {
    "bad_cursor": ("reject", "not_found", "restart"),
    "over_page_size": ("reject", "clamp"),
    "over_ids": ("reject", "truncate"),
    "default_sort": ("-Id", "+Id", "-ModifiedOn", "+ModifiedOn"),
    "tie_order": ("id", "random"),
    "unknown_query": ("ignore", "reject"),
    "error_body": ("json", "empty", "html"),
    "retry_after": ("seconds", "date", "absent"),
    "absent_ids": ("zero", "null", "missing"),
    "email_phone_settings": ("null", "empty", "missing"),
    "absent_address_parts": ("empty", "null"),
}


@dataclass(slots=True)
class Switches:
    """One field per unconfirmed fact; see the module docstring."""

    export_rows_per_call: int = 1000
    """Rows in one answer of an export feed."""
    export_lag_seconds: float = 300.0
    """How far a feed trails behind the present when `includeRecentChanges` is not true."""
    export_repeats_recent: bool = True
    """With `includeRecentChanges=true`: whether rows younger than the lag come again on the next call."""
    cursor_life_seconds: float = 0.0
    """Age at which a `continueFrom` is refused; 0 = it never expires."""
    bad_cursor: str = "reject"
    """A `from` that is neither token nor date: 400, 404, or silently from the first record."""
    page_size_limit: int = 5000
    over_page_size: str = "reject"
    ids_limit: int = 50
    over_ids: str = "reject"
    ids_respect_active: bool = True
    """Whether a look-up by `ids` still hides inactive rows unless `active=Any`."""
    default_sort: str = "-Id"
    """Order of a list that was asked for without `sort`."""
    sort_honoured: bool = True
    """False: lists ignore `sort` and keep the default order."""
    tie_order: str = "id"
    """Order of rows that share a ModifiedOn in a sorted list: by id, or at random in every call."""
    unknown_query: str = "ignore"
    error_body: str = "json"
    """Shape of 401, 403, 429 and 5xx bodies on ordinary endpoints."""
    retry_after: str = "seconds"
    """The Retry-After header of a 429."""
    rate_limit: int = 60
    """Calls per window, application and tenant (real time, not the virtual clock); 0 = no limit."""
    rate_window_seconds: float = 1.0
    token_life_seconds: int = 900
    token_requests_per_minute: int = 0
    """Throttle of the token endpoint; 0 = none."""
    invalid_client_status: int = 400
    merge_repoints_jobs: bool = False
    """Whether merging customers or locations rewrites (and so modifies) the jobs of the merged one."""
    contact_edit_touches_parent: bool = False
    """Whether an edited contact bumps modifiedOn of its customer or location (documented: no, section 6, 2)."""
    silent_edits: list[str] = field(default_factory=lambda: ["sell_estimate"])
    """Actions that change a row without bumping its modifiedOn."""
    absent_ids: str = "zero"
    """(writing) A required id that does not exist: 0, null, or the key left out."""
    email_phone_settings: str = "null"
    """(writing) `phoneSettings` of an e-mail contact: null, an object with an empty number, or left out."""
    absent_address_parts: str = "empty"
    """(writing) Required address parts that nobody typed in: '' or null."""
    invoices_without_modified: bool = True
    """(writing) Whether a few invoices have `modifiedOn: null`."""
    date_skew_seconds: float = 0.0
    """How wrong the Date header of answers is."""
    latency_seconds: float = 0.0
    """Pause before every answer, real time."""

    def turn(self, **wanted: Any) -> None:
        """Sets switches by name, all or none. Raises ValueError naming the switch and what it accepts."""
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, value in wanted.items():
            if name not in known:
                raise ValueError(f"no switch is called {name}; there are {', '.join(sorted(known))}")
            if name in CHOICES and value not in CHOICES[name]:
                raise ValueError(f"{name} takes one of {', '.join(CHOICES[name])}")
            now = known[name]
            if isinstance(now, bool) != isinstance(value, bool) or (
                not isinstance(now, bool)
                and not isinstance(value, (int, float) if isinstance(now, (int, float)) else type(now))
            ):
                raise ValueError(f"{name} takes a {type(now).__name__}")
        for name, value in wanted.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """All switches with their present values."""
        return asdict(self)
