"""The streams: one declaration for each kind of record that JobSync pulls from ServiceTitan.

A declaration says where the records are (list path, export feed), how they are asked for (ids, sort, which parameter
brings inactive records too) and what identifies one. It holds no code: client.py turns it into requests, the engine
into tasks. Paths and parameters: ServiceTitan contract, sections 2.1, 2.2 and 4. Adding a stream is one declaration
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

CursorKind = Literal["export", "list", "reference"]
Order = Literal["modifiedOn", "id"]

_NOTHING: Mapping[str, str] = MappingProxyType({})
_ACTIVE_ANY: Mapping[str, str] = MappingProxyType({"active": "Any"})
_BY_SORT: Mapping[Order, Mapping[str, str]] = MappingProxyType(
    {"modifiedOn": MappingProxyType({"sort": "+ModifiedOn"}), "id": MappingProxyType({"sort": "+Id"})}
)
# Job types know the older pair of parameters only (ServiceTitan contract, section 4).
_BY_ORDER_BY: Mapping[Order, Mapping[str, str]] = MappingProxyType(
    {
        "modifiedOn": MappingProxyType({"orderBy": "modifiedOn", "orderByDirection": "asc"}),
        "id": MappingProxyType({"orderBy": "id", "orderByDirection": "asc"}),
    }
)


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of ServiceTitan record and how it is read.

    `list_path` and `export_path` hold the literal `{tenant}`; no `export_path` means that there is no export feed.
    `cursor` is how it is normally read: `export` = feed with an opaque token, `list` = by modifiedOn only, `reference`
    = a short list that is read whole. `ids_parameter` takes up to `ids_max` values, each matched against the record's
    `ids_field`. `keys` are the fields that together identify a record; `owner` is the field that holds the id of the
    record it belongs to. `sorts` is empty where the endpoint has no sort parameter. `list_params` and `export_params`
    go with every request, so that inactive and merged records are never left out.
    """

    name: str
    list_path: str
    export_path: str | None
    cursor: CursorKind
    keys: tuple[str, ...] = ("id",)
    owner: str | None = None
    ids_parameter: str | None = "ids"
    ids_field: str = "id"
    ids_max: int = 50
    sorts: Mapping[Order, Mapping[str, str]] = field(default_factory=lambda: _BY_SORT)
    list_params: Mapping[str, str] = field(default_factory=lambda: _ACTIVE_ANY)
    export_params: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    @property
    def sortable(self) -> bool:
        """True where the list endpoint can be asked for a sort order."""
        return bool(self.sorts)


_ALL = (
    # Jobs have no `active` filter: their list always answers all of them (ServiceTitan contract, section 2.1).
    Stream(
        "jobs",
        "/jpm/v2/tenant/{tenant}/jobs",
        "/jpm/v2/tenant/{tenant}/export/jobs",
        "export",
        list_params=_NOTHING,
    ),
    Stream("customers", "/crm/v2/tenant/{tenant}/customers", "/crm/v2/tenant/{tenant}/export/customers", "export"),
    # A contact's id alone is not unique (section 6, gotcha 15). The contact lists have neither `sort` nor `active`.
    Stream(
        "customer_contacts",
        "/crm/v2/tenant/{tenant}/customers/contacts",
        "/crm/v2/tenant/{tenant}/export/customers/contacts",
        "export",
        keys=("id", "customerId"),
        owner="customerId",
        ids_parameter="customerIds",
        ids_field="customerId",
        sorts=MappingProxyType({}),
        list_params=_NOTHING,
    ),
    Stream("locations", "/crm/v2/tenant/{tenant}/locations", "/crm/v2/tenant/{tenant}/export/locations", "export"),
    Stream(
        "location_contacts",
        "/crm/v2/tenant/{tenant}/locations/contacts",
        "/crm/v2/tenant/{tenant}/export/locations/contacts",
        "export",
        keys=("id", "locationId"),
        owner="locationId",
        ids_parameter="locationIds",
        ids_field="locationId",
        sorts=MappingProxyType({}),
        list_params=_NOTHING,
    ),
    Stream(
        "appointments",
        "/jpm/v2/tenant/{tenant}/appointments",
        "/jpm/v2/tenant/{tenant}/export/appointments",
        "export",
        owner="jobId",
        export_params=_ACTIVE_ANY,
    ),
    Stream(
        "estimates",
        "/sales/v2/tenant/{tenant}/estimates",
        "/sales/v2/tenant/{tenant}/export/estimates",
        "export",
        owner="jobId",
    ),
    Stream(
        "invoices",
        "/accounting/v2/tenant/{tenant}/invoices",
        "/accounting/v2/tenant/{tenant}/export/invoices",
        "export",
        list_params=MappingProxyType({"activeState": "All"}),
    ),
    Stream(
        "technician_assignments",
        "/dispatch/v2/tenant/{tenant}/appointment-assignments",
        "/dispatch/v2/tenant/{tenant}/export/appointment-assignments",
        "export",
        owner="appointmentId",
        export_params=_ACTIVE_ANY,
    ),
    Stream(
        "business_units",
        "/settings/v2/tenant/{tenant}/business-units",
        "/settings/v2/tenant/{tenant}/export/business-units",
        "reference",
        sorts=MappingProxyType({}),
    ),
    Stream("job_types", "/jpm/v2/tenant/{tenant}/job-types", None, "reference", sorts=_BY_ORDER_BY),
    # The fields that tag types sort by are not stated, and they take no ids (ServiceTitan contract, section 4).
    Stream(
        "tag_types",
        "/settings/v2/tenant/{tenant}/tag-types",
        "/settings/v2/tenant/{tenant}/export/tag-types",
        "reference",
        ids_parameter=None,
        sorts=MappingProxyType({}),
    ),
    Stream("campaigns", "/marketing/v2/tenant/{tenant}/campaigns", None, "reference"),
)

STREAMS: Mapping[str, Stream] = MappingProxyType({stream.name: stream for stream in _ALL})
"""Every stream by its name."""
