"""A stand-in for both upstreams that costs next to nothing: ready-made pages by export feed, and a hook that counts.

    python -m bench.upstream --jobs 20000 [--page 5000]      prints {"url": ..., "hook": ...} and serves until stdin ends

It knows the few paths that a pull asks for, one token, and one hook; everything else is an empty list. Data: the jobs of
`bench.records`, 0.6 customers and 0.7 locations a job, a mobile number for each of these. It is no test of correctness:
the simulators of the product are. GET /_stats answers {"requests": {kind: count}, "posts": n, "distinct": n}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

import uvloop

from bench.records import UNITS, make_contact, make_customer, make_job, make_location

TENANT = "990001"
HOOK = "/hooks/bench/webhook-trigger/11111111-2222-4333-8444-555555555555"
FEEDS = {
    "export/jobs": (make_job, 1.0),
    "export/customers": (make_customer, 0.6),
    "export/locations": (make_location, 0.7),
    "export/customers/contacts": (make_contact("customer"), 0.6),
    "export/locations/contacts": (make_contact("location"), 0.7),
}
# What peers ask page by page.
LISTS = {kind.removeprefix("export/"): made for kind, made in FEEDS.items()}
EMPTY_FEED = {"hasMore": False, "continueFrom": "end", "data": []}


def render_feed(make: object, count: int, page: int, version: int = 0) -> dict[str, bytes]:
    """The pages of a feed by their token ("" is the first); after the last, the token "end" answers an empty page."""
    pages: dict[str, bytes] = {"end": json.dumps(EMPTY_FEED).encode()}
    starts = list(range(0, count, page))
    for place, start in enumerate(starts):
        last = place == len(starts) - 1
        records = [make(number, version) for number in range(start, min(start + page, count))]  # type: ignore[operator]
        body = {"hasMore": not last, "continueFrom": "end" if last else f"p{place + 1}", "data": records}
        pages["" if place == 0 else f"p{place}"] = json.dumps(body).encode()
    return pages


class Upstream:
    """What all connections share: the pages and the counts."""

    def __init__(self, jobs: int, page: int) -> None:
        self.feeds = {name: render_feed(make, round(jobs * share), page) for name, (make, share) in FEEDS.items()}
        self._jobs, self._page = jobs, page
        self._lists: dict[tuple[str, int], bytes] = {}
        self.requests: dict[str, int] = {}
        self.posts = 0
        self.posted: set[str] = set()

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        """The JSON body of the answer."""
        parts = urlsplit(target)
        if parts.path == HOOK:
            self.posts += 1
            at = body.find(b'"delivery_id":"')
            self.posted.add(body[at + 15 : at + 51].decode() if at >= 0 else str(self.posts))
            return b'{"status":"Success: request sent to trigger execution server","id":"bench%015d"}' % self.posts
        if parts.path == "/_stats":
            return json.dumps({"requests": self.requests, "posts": self.posts, "distinct": len(self.posted)}).encode()
        if parts.path == "/_reset":
            self.requests, self.posts, self.posted = {}, 0, set()
            return b"{}"
        if parts.path == "/connect/token":
            self._count("token")
            return b'{"access_token":"bench","expires_in":900,"token_type":"Bearer"}'
        kind = parts.path.split(f"/tenant/{TENANT}/", 1)[-1]
        self._count(kind)
        query = parse_qs(parts.query)
        if kind in self.feeds:
            token = query.get("from", [""])[0]
            return self.feeds[kind].get(token) or self.feeds[kind][""]
        if kind.startswith("export/"):
            return json.dumps(EMPTY_FEED).encode()
        if kind in LISTS:
            return self._list(kind, int(query.get("page", ["1"])[0]))
        data = [{"id": u, "name": f"Unit {u}", "active": True} for u in UNITS] if kind == "business-units" else []
        page = int(query.get("page", ["1"])[0])
        return json.dumps(
            {"data": data, "hasMore": False, "page": page, "pageSize": 5000, "totalCount": len(data)}
        ).encode()

    def _list(self, kind: str, number: int) -> bytes:
        """A page of a list, written when it is asked for the first time."""
        if (kind, number) not in self._lists:
            make, share = LISTS[kind]
            count = round(self._jobs * share)
            numbers = range((number - 1) * self._page, min(number * self._page, count))
            data = [make(one, 0) for one in numbers]
            body = {"page": number, "pageSize": self._page, "hasMore": number * self._page < count, "data": data}
            self._lists[kind, number] = json.dumps(body).encode()
        return self._lists[kind, number]

    def _count(self, kind: str) -> None:
        self.requests[kind] = self.requests.get(kind, 0) + 1


class Connection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length bodies and keep-alive, and no more of it."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
            answer = self._upstream.answer(method, target, body)
            self._transport.write(  # type: ignore[attr-defined]
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
                + answer
            )


async def serve(jobs: int, page: int) -> None:
    """Serves on a free loopback port until stdin is closed."""
    upstream = Upstream(jobs, page)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(upstream), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(json.dumps({"url": url, "hook": url + HOOK}), flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


def main() -> None:
    """Serves as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.upstream", description="The benchmark's upstreams.")
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--page", type=int, default=5000, help="records a page of a feed")
    given = parser.parse_args()
    uvloop.run(serve(given.jobs, given.page))


if __name__ == "__main__":
    main()
