"""The network between simulated processes and both upstreams, in place of the HTTP library's session.

The engine's own clients run on it unchanged. A request travels, arrives (or not), is answered, and the answer travels
back (or not): each leg takes seeded time and may break in the ways the contracts list. What has left a process arrives
even when the process dies meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from contextvars import copy_context
from random import Random
from types import SimpleNamespace
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import aiohttp
from multidict import CIMultiDict

from jobsync.gohighlevel.exchange import MARK
from tests.simulation.loop import PROCESS


class Content:
    """The body of an answer, as the clients read it. `broken`: it ends before its end."""

    def __init__(self, body: bytes, broken: bool) -> None:
        self._body, self._broken, self._ended = body, broken, False

    async def iter_chunked(self, size: int) -> Any:
        """The body in pieces."""
        while chunk := await self.read(size):
            yield chunk

    async def read(self, size: int = -1) -> bytes:
        """The next piece, empty at the end; raises where the connection broke off."""
        if self._body:
            chunk, self._body = (self._body, b"") if size < 0 else (self._body[:size], self._body[size:])
            return chunk
        if self._broken:
            raise aiohttp.ClientPayloadError("cut off")
        self._ended = True
        return b""

    def at_eof(self) -> bool:
        """True once all was read."""
        return self._ended


class Answer:
    """What the clients take for the HTTP library's response."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes, broken: bool = False) -> None:
        self.status = status
        self.headers: CIMultiDict[str] = CIMultiDict(headers)
        self.content = Content(body, broken)
        self.body = body

    def release(self) -> None:
        """Nothing to give back."""

    def close(self) -> None:
        """Nothing to close."""


class Faults:
    """How often what goes wrong, drawn anew for each run; all off once the world calms down."""

    def __init__(self, rng: Random, grade: float) -> None:
        self.lost = 0.02 * grade * rng.random()
        """Nothing left: no connection."""
        self.before = 0.04 * grade * rng.random()
        """It left, and never arrived."""
        self.after = 0.08 * grade * rng.random()
        """It arrived, and the answer never came: reset or timeout."""
        self.cut = 0.05 * grade * rng.random()
        self.refused = 0.08 * grade * rng.random()
        """An answer instead: 429, 5xx, HTML, 401."""
        self.did_then = 0.06 * grade * rng.random()
        """Done, and 5xx all the same."""
        self.slow = 0.05 * grade * rng.random()

    def calm(self) -> None:
        """From now on everything works."""
        for name in vars(self):
            setattr(self, name, 0.0)


class Session:
    """Stands in for `aiohttp.ClientSession`."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.closed = False

    async def close(self) -> None:
        """Nothing to close."""
        self.closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def request(
        self,
        method: str,
        url: Any,
        *,
        headers: dict[str, str] | None = None,
        data: Any = None,
        timeout: aiohttp.ClientTimeout | None = None,
        **_: Any,
    ) -> Answer:
        """Sends one request. Raises the HTTP library's errors."""
        world = self._world
        await world.point("http")
        rng: Random = world.rng
        faults: Faults = world.faults
        total = float(timeout.total) if timeout is not None and timeout.total else 300.0
        mark = MARK.get()
        if mark is not None:
            mark.watched = True
        if rng.random() < faults.lost:
            await asyncio.sleep(rng.random() * 5)
            if rng.random() < 0.5:
                raise aiohttp.ConnectionTimeoutError("no connection")
            raise aiohttp.ClientConnectorError(_KEY, OSError(111, "refused"))
        if mark is not None:
            mark.sent = True
        body = urlencode(data).encode() if isinstance(data, dict) else data or b""
        given = {"content-type": "application/x-www-form-urlencoded"} if isinstance(data, dict) else {}
        call = (method, str(url), {**given, **(headers or {})}, body)
        answered: asyncio.Future[Answer | BaseException] = asyncio.get_running_loop().create_future()
        outside = copy_context()
        outside.run(PROCESS.set, None)
        # Of the world, not of the process: it goes on when the process dies.
        world.loop.call_later(rng.random() * 0.4, self._arrive, call, answered, total, context=outside)
        try:
            came = await asyncio.wait_for(answered, total)
        except TimeoutError:
            raise aiohttp.ServerTimeoutError("no answer in time") from None
        await world.point("answer")
        if isinstance(came, BaseException):
            raise came
        return came

    def _arrive(self, call: tuple[str, str, dict[str, str], bytes], answered: Any, total: float) -> None:
        world, rng = self._world, self._world.rng
        faults: Faults = world.faults
        dice = rng.random()
        back = rng.random() * 0.4
        if rng.random() < faults.slow:
            back = rng.random() * total * 1.5

        def settle(result: Answer | BaseException) -> None:
            if not answered.done():
                answered.set_result(result)

        if dice < faults.before:
            world.note("lost on the way", call)
            if rng.random() < 0.6:
                world.loop.call_later(back, settle, aiohttp.ServerDisconnectedError())
            return
        dice -= faults.before
        if dice < faults.refused:
            answer: Answer | BaseException = world.refusal(call)
        else:
            dice -= faults.refused
            answer = world.serve(call)
            if dice < faults.after:
                world.note("answer lost", call)
                if rng.random() < 0.5:
                    return
                answer = aiohttp.ClientOSError(104, "reset")
            elif dice < faults.after + faults.did_then:
                answer = Answer(
                    rng.choice((500, 502, 504)), [("content-type", "text/html")], b"<html>Bad Gateway</html>"
                )
            elif dice < faults.after + faults.did_then + faults.cut and isinstance(answer, Answer):
                answer = Answer(
                    answer.status, list(answer.headers.items()), answer.body[: len(answer.body) // 2], broken=True
                )
        world.loop.call_later(back, settle, answer)


_KEY: Any = SimpleNamespace(host="upstream.test", port=443, ssl=True, is_ssl=True)


async def call_app(app: Any, call: tuple[str, str, dict[str, str], bytes]) -> Answer:
    """Asks an ASGI app in process; it never waits for anything."""
    method, url, headers, body = call
    parts = urlsplit(url)
    scope = {
        "type": "http",
        "method": method,
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "extensions": {},
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]]
    return Answer(sent[0]["status"], given, b"".join(part.get("body", b"") for part in sent[1:]))


def run_now(coroutine: Any) -> Any:
    """Runs a coroutine that never waits to its end."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("an upstream waited")


def refuse(rng: Random, retry_after: bool) -> Answer:
    """An answer instead of the right one."""
    status = rng.choice((429, 429, 500, 502, 503, 504, 401, 200, 408))
    headers = [("content-type", "application/json")]
    if status == 429 and retry_after:
        headers.append(("retry-after", rng.choice(("1", "5", "40", "0", "soon, please", "-3"))))
    body = b"<html><body>Maintenance</body></html>" if status in (200, 502) else json.dumps({"title": "no"}).encode()
    return Answer(status, headers, body)
