"""Calls about opportunities (GoHighLevel contract, section 5).

Never upsert: it knows no job, and would make one card of a customer's two. A create is not repeatable and has no key;
so whoever creates looks first (`search_opportunities`), and after an ambiguous create waits and looks again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from jobsync.gohighlevel.caller import path_id
from jobsync.gohighlevel.contacts import ContactCalls
from jobsync.gohighlevel.records import Opportunity, parse_opportunity
from jobsync.gohighlevel.refusals import Call

PAGE = 100
MOST_PAGES = 100
MOST_WALKED = 1000

_SEARCH = Call("search_opportunities", "search the opportunities")
_GET = Call("get_opportunity", "read an opportunity", by_id=True)
_CREATE = Call("create_opportunity", "create an opportunity", write=True)
_UPDATE = Call("update_opportunity", "update an opportunity", write=True, by_id=True)


class OpportunityCalls(ContactCalls):
    """Finds, reads and writes opportunities. Every method is one request unless it says otherwise."""

    async def search_opportunities(self, contact_id: str) -> list[Opportunity]:
        """All cards of a contact, in all pipelines and statuses, page by page; lags behind writes by up to a minute.

        "None" is only said when the search said so: raises MalformedAnswer when it shows fewer cards than it counts,
        repeats a page, or does not end within 10,000 cards.
        """
        query: dict[str, Any] = {
            "location_id": self.location_id,
            "contact_id": path_id(contact_id, "contact"),
            "status": "all",
            "limit": PAGE,
        }
        found: dict[str, Opportunity] = {}
        for page in range(1, MOST_PAGES + 1):
            answer = await self._call(_SEARCH, "GET", "/opportunities/search", query=query)
            rows = self._list(_SEARCH, answer, "opportunities", parse_opportunity)
            fresh = [row for row in rows if row.id not in found]
            found.update((row.id, row) for row in fresh)
            meta: Mapping[str, Any] = answer["meta"] if isinstance(answer.get("meta"), Mapping) else {}
            total = meta.get("total") if isinstance(meta.get("total"), int) else None
            complete = total is None or len(found) >= total
            if complete and (len(rows) < PAGE or (total is not None and not meta.get("nextPage"))):
                # A search that did not honour the contact must not lend its cards to this one.
                return [row for row in found.values() if row.contact_id in (None, contact_id)]
            if not fresh:
                break
            query = {**query, **_next_page(meta, page)}
        raise self._unreadable(_SEARCH)

    async def walk_opportunities(self, *, most_pages: int = MOST_WALKED) -> AsyncIterator[list[Opportunity]]:
        """All cards of the location, in all pipelines and statuses, a page of 100 at a time, newest first.

        Ends after `most_pages`; what is made meanwhile may be missing. A card may come twice, on two pages.
        """
        query: dict[str, Any] = {"location_id": self.location_id, "status": "all", "limit": PAGE}
        seen: set[str] = set()
        for page in range(1, most_pages + 1):
            answer = await self._call(_SEARCH, "GET", "/opportunities/search", query=query)
            rows = self._list(_SEARCH, answer, "opportunities", parse_opportunity)
            fresh = [row for row in rows if row.id not in seen]
            seen.update(row.id for row in fresh)
            if fresh:
                yield fresh
            meta: Mapping[str, Any] = answer["meta"] if isinstance(answer.get("meta"), Mapping) else {}
            if len(rows) < PAGE or not fresh:
                return
            query = {**query, **_next_page(meta, page)}

    async def get_opportunity(self, opportunity_id: str) -> Opportunity:
        """One card, as it is now (no lag). Raises RecordMissing."""
        path = f"/opportunities/{path_id(opportunity_id, 'opportunity')}"
        return self._opportunity(_GET, await self._call(_GET, "GET", path))

    async def create_opportunity(self, body: Mapping[str, Any]) -> Opportunity:
        """Creates a card from `opportunity_body(row, location_id=..., contact_id=..., ...)`. Twice makes two.

        Raises RequestRejected with code `duplicate_opportunity` and `details["existing_id"]` where the location allows
        one only; with `details["may_have_written"]` for other refusals; UpstreamUnavailable with `ambiguous`.
        """
        return self._opportunity(_CREATE, await self._call(_CREATE, "POST", "/opportunities/", body=body))

    async def update_opportunity(self, opportunity_id: str, body: Mapping[str, Any]) -> Opportunity | None:
        """Makes a card as `opportunity_body(row, ...)` says; twice is as good as once. None where the answer does not
        show it. Raises RecordMissing for a card that was deleted."""
        path = f"/opportunities/{path_id(opportunity_id, 'opportunity')}"
        answer = await self._call(_UPDATE, "PUT", path, body=body)
        return parse_opportunity(answer.get("opportunity"))

    def _opportunity(self, call: Call, answer: dict[str, Any]) -> Opportunity:
        found = parse_opportunity(answer.get("opportunity"))
        if found is None:
            raise self._unreadable(call)
        return found


def _next_page(meta: Mapping[str, Any], page: int) -> dict[str, Any]:
    """Where the next page starts: behind the last card if the answer says which it was, else by number."""
    after, after_id = meta.get("startAfter"), meta.get("startAfterId")
    if isinstance(after, int | str) and isinstance(after_id, str) and after_id:
        return {"startAfter": after, "startAfterId": after_id}
    return {"page": page + 1}
