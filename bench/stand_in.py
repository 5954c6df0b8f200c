"""A local stand-in for ServiceTitan's lists, in a process of its own and fast enough not to be what is measured.

    python -m bench.stand_in --jobs 100000

Prints one JSON line with its URL once it listens; ends with its stdin. For each job 0.6 customers and 0.7 locations, two
contacts each; rows lie in the order of modifiedOn, ids in another. Answers `/{module}/v2/tenant/{t}/{list}` with
modifiedOnOrAfter, modifiedBefore, page, pageSize and includeTotal, and the token endpoint; knows nothing else. Counts the
requests (GET /counts).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from bisect import bisect_left
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from bench.store_page import make_job

FIRST = datetime(2025, 1, 1, tzinfo=UTC)
MULTIPLIER = 7919  # coprime to the counts: a permutation
LISTS = {
    "jobs": "jobs", "customers": "customers", "locations": "locations", "customers/contacts": "customer_contacts",
    "locations/contacts": "location_contacts",
}  # fmt: skip


def stamp(number: int, count: int) -> str:
    """modifiedOn of the row at this place: evenly spread over a year."""
    moment = FIRST + timedelta(seconds=number * 31_000_000 / count)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{number % 9_000_000 + 1_000_000:07d}Z"


def customer(number: int, when: str) -> dict[str, Any]:
    address = {
        "street": f"{number} Test St",
        "unit": None,
        "city": "San Diego",
        "state": "CA",
        "zip": "92101",
        "country": "USA",
        "latitude": 32.7,
        "longitude": -117.1,
    }
    return {
        "id": 500_000 + number, "active": True, "name": f"Pat Example {number}", "type": "Residential", "address": address, "customFields": [],
        "balance": 0.0, "taxExempt": False, "tagTypeIds": [11], "doNotMail": False, "doNotService": False, "nationalAccount": False,
        "createdById": 77, "mergedToId": None, "paymentTermId": None, "creditLimit": None, "creditLimitBalance": None, "externalData": None,
        "createdOn": "2024-06-01T08:00:00Z", "modifiedOn": when,
    }  # fmt: skip


def location(number: int, when: str, customers: int) -> dict[str, Any]:
    row = customer(number, when)
    kept = {
        key: row[key]
        for key in (
            "active",
            "name",
            "address",
            "customFields",
            "createdById",
            "mergedToId",
            "taxExempt",
            "tagTypeIds",
            "externalData",
            "createdOn",
            "modifiedOn",
        )
    }
    return {
        "id": 700_000 + number,
        "customerId": 500_000 + number % customers,
        "zoneId": None,
        "taxZoneId": None,
        **kept,
    }


def contact(number: int, owner: str, first: int, owners: int, when: str) -> dict[str, Any]:
    whose = number % owners
    is_phone = number < owners
    value = f"({200 + number % 700}) 555-01{number % 100:02d}" if is_phone else f"pat{whose}@example.com"
    return {
        "id": 40_000_000 + number, "type": "MobilePhone" if is_phone else "Email", "value": value, "memo": None,
        "phoneSettings": {"phoneNumber": value, "doNotText": False} if is_phone else None, "createdOn": "2024-06-01T08:00:00Z", "modifiedOn": when,
        "preferences": {"jobRemindersEnabled": True, "marketingUpdatesEnabled": True, "invoiceStatementNotification": True}, owner: first + whose,
    }  # fmt: skip


def build(jobs: int) -> dict[str, tuple[list[str], list[bytes]]]:
    """Each list as (modification times, rows) in the order of the times."""
    customers, locations = jobs * 6 // 10, jobs * 7 // 10
    makers = {
        "jobs": (jobs, lambda at, when: {**make_job(at, 0), "modifiedOn": when}),
        "customers": (customers, customer),
        "locations": (locations, lambda at, when: location(at, when, customers)),
        "customers/contacts": (2 * customers, lambda at, when: contact(at, "customerId", 500_000, customers, when)),
        "locations/contacts": (2 * locations, lambda at, when: contact(at, "locationId", 700_000, locations, when)),
    }
    built = {}
    for name, (count, make) in makers.items():
        times = [stamp(place, count) for place in range(count)]
        rows = [json.dumps(make(place * MULTIPLIER % count, times[place])).encode() for place in range(count)]
        built[name] = (times, rows)
    return built


def build_app(jobs: int) -> web.Application:
    """The stand-in as an application."""
    lists, counts = build(jobs), Counter[str]()

    async def answer(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        times, rows = lists.get(name, ([], []))
        counts[name] += 1
        asked = request.query
        low = bisect_left(times, asked.get("modifiedOnOrAfter", ""))
        high = bisect_left(times, asked.get("modifiedBefore", "9"))
        page, size = int(asked.get("page", 1)), int(asked.get("pageSize", 50))
        start, stop = low + (page - 1) * size, min(low + page * size, high)
        total = high - low if asked.get("includeTotal") == "true" else None
        head = {"page": page, "pageSize": size, "hasMore": stop < high, "totalCount": total}
        body = json.dumps(head).encode()[:-1] + b',"data":[' + b",".join(rows[start:stop]) + b"]}"
        return web.Response(body=body, content_type="application/json")

    async def token(_: web.Request) -> web.Response:
        return web.json_response({"access_token": "t", "expires_in": 900, "token_type": "Bearer"})

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(counts)

    app = web.Application()
    app.router.add_post("/connect/token", token)
    app.router.add_get("/counts", tell)
    app.router.add_get("/{module}/v2/tenant/{tenant}/{name:.+}", answer)
    return app


async def serve(jobs: int) -> None:
    """Serves until stdin ends."""
    runner = web.AppRunner(build_app(jobs), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


def main() -> None:
    """Reads the flags and serves."""
    parser = argparse.ArgumentParser(prog="python -m bench.stand_in", description="A local stand-in for lists.")
    parser.add_argument("--jobs", type=int, default=100_000)
    asyncio.run(serve(parser.parse_args().jobs))


if __name__ == "__main__":
    main()
