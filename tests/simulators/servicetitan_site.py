"""A served ServiceTitan simulator and one who calls it: what every test of the simulator starts from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from jobsync.simulators.servicetitan import Actions, Dataset, Served, Simulator, serve


@dataclass
class Site:
    """The simulator, its socket, and a session with a token."""

    simulator: Simulator
    served: Served
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Dataset:
        return self.simulator.dataset()

    @property
    def act(self) -> Actions:
        return self.simulator.actions()

    async def ask_token(self, **form: str) -> tuple[int, Any]:
        """POSTs the token form (the right one, changed by keywords) and answers status and body."""
        account = self.simulator.account()
        right = {
            "grant_type": "client_credentials",
            "client_id": account.client_id,
            "client_secret": account.client_secret,
        }
        async with self.session.post("/connect/token", data={**right, **form}) as answer:
            return answer.status, await answer.json()

    async def log_in(self) -> None:
        """Takes a token and uses it from now on."""
        status, body = await self.ask_token()
        assert status == 200, body
        self.headers = {
            "Authorization": f"Bearer {body['access_token']}",
            "ST-App-Key": self.simulator.account().app_key,
        }

    def path(self, where: str) -> str:
        """`jpm/jobs` to the full path of this tenant."""
        module, _, rest = where.partition("/")
        return f"/{module}/v2/tenant/{self.simulator.account().tenant}/{rest}"

    def get(self, where: str, **query: Any) -> Any:
        """The raw request, to be entered with `async with`."""
        params = {name.rstrip("_"): str(value) for name, value in query.items()}
        return self.session.get(self.path(where), params=params, headers=self.headers, allow_redirects=False)

    async def read(self, where: str, status: int = 200, **query: Any) -> Any:
        """The JSON body, after checking the status. A trailing underscore is dropped from names (`from_`)."""
        async with self.get(where, **query) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def read_feed(self, where: str, **query: Any) -> list[dict[str, Any]]:
        """All rows of a feed from the start, following the tokens."""
        rows: list[dict[str, Any]] = []
        while True:
            page = await self.read(where, **query)
            rows += page["data"]
            if not page["hasMore"]:
                return rows
            query["from_"] = page["continueFrom"]

    async def exchange(self, target: bytes) -> tuple[bytes, bytes]:
        """GETs a target exactly as written, over a connection of its own; all that comes back, as head and body."""
        reader, writer = await asyncio.open_connection(self.served.host, self.served.port)
        lines = ["Host: test", "Connection: close", *(f"{name}: {text}" for name, text in self.headers.items()), "", ""]
        writer.write(b"GET " + target + b" HTTP/1.1\r\n" + "\r\n".join(lines).encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return head, body

    async def control(self, method: str, where: str, expect: int = 200, /, **body: Any) -> Any:
        """One call of the control API."""
        async with self.session.request(method, f"/_control/{where}", json=body or None) as answer:
            assert answer.status == expect, await answer.text()
            return await answer.json()


@asynccontextmanager
async def open_site(dataset: Dataset | None = None, *, jobs: int = 120, **switches: Any) -> AsyncIterator[Site]:
    """A site that is logged in; the rate limit is off unless a switch turns it on."""
    simulator = Simulator(dataset or Dataset.generate(seed=7, jobs=jobs))
    simulator.switches.turn(**{"rate_limit": 0, **switches})
    async with await serve(simulator) as served, aiohttp.ClientSession(served.url) as session:
        site = Site(simulator, served, session)
        await site.log_in()
        simulator.ledger.reset()
        yield site
