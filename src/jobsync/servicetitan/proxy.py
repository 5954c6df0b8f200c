"""The part of ServiceTitan's API that may be read through JobSync: a fixed table of paths, and their pages followed.

In: a name of the table, an id, filters as they came. Out: the answer as ServiceTitan gave it, or all pages as one. Nothing
outside the table can be asked for (security bar S3): a caller chooses an entry and at most one whole number.
Paths: ServiceTitan contract, section 4.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from jobsync.errors import InvalidInput, MalformedAnswer

READABLE: Mapping[str, str] = MappingProxyType(
    {
        "/jobs": "/jpm/v2/tenant/{tenant}/jobs",
        "/jobs/{id}": "/jpm/v2/tenant/{tenant}/jobs/{id}",
        "/customers": "/crm/v2/tenant/{tenant}/customers",
        "/customers/contacts": "/crm/v2/tenant/{tenant}/customers/contacts",
        "/customers/{id}": "/crm/v2/tenant/{tenant}/customers/{id}",
        "/customers/{id}/contacts": "/crm/v2/tenant/{tenant}/customers/{id}/contacts",
        "/locations": "/crm/v2/tenant/{tenant}/locations",
        "/locations/contacts": "/crm/v2/tenant/{tenant}/locations/contacts",
        "/locations/{id}": "/crm/v2/tenant/{tenant}/locations/{id}",
        "/locations/{id}/contacts": "/crm/v2/tenant/{tenant}/locations/{id}/contacts",
        "/estimates": "/sales/v2/tenant/{tenant}/estimates",
        "/invoices": "/accounting/v2/tenant/{tenant}/invoices",
        "/appointments": "/jpm/v2/tenant/{tenant}/appointments",
        "/business-units": "/settings/v2/tenant/{tenant}/business-units",
        "/job-types": "/jpm/v2/tenant/{tenant}/job-types",
    }
)
PAGE_SIZE = 500
MOST_PAGES = 10_000
# ServiceTitan also takes the app key from the query (contract, section 1): neither it nor a token is to be chosen here.
_REFUSED = frozenset({"servicetitanapplicationkey", "st-app-key", "access_token", "authorization"})

Filters = Sequence[tuple[str, str]]
ReadPage = Callable[[Filters], Awaitable[bytes]]


class _Envelope(msgspec.Struct):
    data: list[msgspec.Raw]
    page: int = 1
    hasMore: bool = False
    totalCount: int | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def find_path(name: str, record: int | None = None) -> str:
    """ServiceTitan's path of an entry of the table, with the literal `{tenant}`. Raises InvalidInput for any other."""
    path = READABLE.get(name)
    if path is None or ("{id}" in path) is (record is None):
        raise InvalidInput("This is not a path of ServiceTitan that can be read here.")
    return path.replace("{id}", str(record))


def check_filters(filters: Filters) -> list[tuple[str, str]]:
    """The filters to pass on. Raises InvalidInput where one would carry a credential."""
    for name, _ in filters:
        if name.lower() in _REFUSED:
            raise InvalidInput("Credentials are JobSync's own; leave them out of the address.", field="query")
    return list(filters)


async def read_all_pages(read_page: ReadPage, filters: Filters) -> AsyncGenerator[bytes, None]:
    """All pages as one envelope `{"data": [...], "page", "pageSize", "hasMore": false, "totalCount"}`, in pieces.

    `read_page(filters)` answers one page as it came. Pages are of 500 records unless `pageSize` is given, `page` says where
    to begin. Raises MalformedAnswer for a page that is none, that is not the one asked for, or that came before; the
    first page is read before the first piece is given.
    """
    kept = [(name, value) for name, value in filters if name.lower() not in ("page", "pagesize")]
    size = _read_number(filters, "pageSize", PAGE_SIZE)
    first = number = _read_number(filters, "page", 1)
    before: list[msgspec.Raw] = []
    total: int | None = None
    count = 0
    while True:
        body = await read_page([*kept, ("page", str(number)), ("pageSize", str(size))])
        try:
            envelope = _ENVELOPE.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise MalformedAnswer("ServiceTitan's answer is not a page of records.") from None
        if envelope.page != number or (envelope.data and envelope.data == before) or number - first >= MOST_PAGES:
            raise MalformedAnswer("ServiceTitan answered the same page again.", code="page_ignored")
        if number == first:
            total = envelope.totalCount
            yield b'{"data":['
        pieces = b",".join(bytes(one) for one in envelope.data)
        yield (b"," if count and pieces else b"") + pieces
        count += len(envelope.data)
        if not envelope.hasMore:
            break
        before, number = envelope.data, number + 1
    tail = {"page": first, "pageSize": size, "hasMore": False, "totalCount": total}
    yield b"]," + msgspec.json.encode(tail)[1:]


def _read_number(filters: Filters, name: str, default: int) -> int:
    for given, value in filters:
        if given.lower() == name.lower():
            if not (value.isascii() and value.isdigit() and 0 < len(value) < 7 and int(value) > 0):
                raise InvalidInput(f"{name} must be a whole number from 1 on.", field=name)
            return int(value)
    return default
