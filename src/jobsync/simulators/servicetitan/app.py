"""The simulated ServiceTitan as one ASGI application: token endpoint, API, control."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

from .actions import Actions
from .auth import Account, TokenDesk
from .clock import SimClock
from .contacts import answer_contacts, answer_contacts_of
from .control import PREFIX, answer_control
from .dataset import Dataset
from .delivery import Receive, Send, send_broken, send_reply
from .export import FEEDS, answer_export
from .faults import CONTENT, INSTEAD, Fault, FaultBox, reply_instead, spoil
from .gate import RateGate
from .ledger import Call, RequestLedger
from .life import Life
from .lists import LISTINGS, answer_list, answer_one
from .query import Query
from .replies import Refusal, Reply, http_date, problem, too_many, unix_from_ticks
from .side_lists import answer_cancel_reasons, answer_job_log

API_PATH = re.compile(r"/([a-z]+)/v2/tenant/([^/]+)/(.+?)/?")
ONE_ROW = re.compile(r"([a-z]+/[a-z-]+)/(\d{1,19})")
OF_ONE = re.compile(r"(jpm/jobs|crm/customers|crm/locations)/(\d{1,19})/(contacts|notes|history|canceled-log)")
BODY_LIMIT = 16 << 20


class Simulator:
    """One ServiceTitan with one or more tenants. An ASGI app: `await serve(simulator)` puts it on a socket.

    dataset: the first tenant's rows (default: `Dataset.generate()`); account: who may read it. clock, switches, faults,
    ledger, tokens are public and may be used while it runs; switches are the first dataset's and hold for all tenants.
    before_answer: called with each API path (`jpm/jobs`) after its faults are known and before it is read, so that a
    test can change rows between two pages.
    """

    def __init__(
        self, dataset: Dataset | None = None, *, account: Account | None = None, clock: SimClock | None = None
    ) -> None:
        dataset = dataset or Dataset.generate()
        self.switches = dataset.switches
        self.clock = clock or SimClock()
        self.faults = FaultBox()
        self.ledger = RequestLedger()
        self.tokens = TokenDesk(self.clock, self.switches)
        self.gate = RateGate(self.switches)
        self.datasets: dict[int, Dataset] = {}
        self.before_answer: Callable[[str], None] | None = None
        self.closing = asyncio.Event()
        self._lives: dict[int, Life] = {}
        self._living: dict[int, asyncio.Task[None]] = {}
        self._last_bodies: dict[str, bytes] = {}
        self.add_tenant(account or Account(), dataset)

    def add_tenant(self, account: Account, dataset: Dataset) -> None:
        """Another tenant, read with its own client id and secret."""
        dataset.switches = self.switches
        self.tokens.admit(account)
        self.datasets[account.tenant] = dataset

    def dataset(self, tenant: int | None = None) -> Dataset:
        """A tenant's rows (the first tenant's if None). Raises LookupError for one that is not here."""
        if tenant is None:
            return next(iter(self.datasets.values()))
        if tenant not in self.datasets:
            raise LookupError(f"no tenant {tenant} is simulated")
        return self.datasets[tenant]

    def account(self, tenant: int | None = None) -> Account:
        """The account of a tenant (the first if None)."""
        return self.tokens.accounts[next(iter(self.datasets)) if tenant is None else tenant]

    def actions(self, tenant: int | None = None) -> Actions:
        """What can be done in a tenant: book, change, merge."""
        return Actions(self.dataset(tenant), self.clock)

    def life(self, tenant: int | None = None) -> Life:
        """The life of a tenant, one per tenant."""
        key = self.account(tenant).tenant
        if key not in self._lives:
            self._lives[key] = Life(self.dataset(tenant), self.actions(tenant))
        return self._lives[key]

    def live(self, every: float, tenant: int | None = None) -> None:
        """Lets a tenant live in the running event loop: a turn every so many seconds; 0 stops it."""
        key = self.account(tenant).tenant
        running = self._living.pop(key, None)
        if running is not None:
            running.cancel()
        if every > 0:
            self._living[key] = asyncio.get_running_loop().create_task(self.life(tenant).run(every))

    def close(self) -> None:
        """Ends lives and every answer that would never end by itself."""
        self.closing.set()
        for task in self._living.values():
            task.cancel()
        self._living.clear()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] != "http":
            return
        body = await _read_body(receive)
        path = scope["path"]
        if path == PREFIX or path.startswith(PREFIX + "/"):
            reply = answer_control(self, scope["method"], path[len(PREFIX) :], scope["query_string"], body)
            return await send_reply(send, reply, self._date())
        self.ledger.enter()
        try:
            await self._serve(scope, receive, send, body)
        finally:
            self.ledger.leave()

    async def _serve(self, scope: dict[str, Any], receive: Receive, send: Send, body: bytes) -> None:
        arrived = time.monotonic()
        method, raw_query = scope["method"], scope["query_string"].decode("latin-1")
        found = API_PATH.fullmatch(scope["path"])
        where = f"{found[1]}/{found[3]}" if found else scope["path"].strip("/")
        fault = self.faults.take(method, where, raw_query)
        if self.switches.latency_seconds:
            await asyncio.sleep(self.switches.latency_seconds)
        reply = self._answer(scope, found, where, raw_query, body, fault)
        status = 0 if fault and fault.kind in ("hang", "reset") else reply.status
        rows = len(reply.page.rows) if reply.page is not None else 0
        tenant = int(found[2]) if found and found[2].isdecimal() else 0
        kind = f"{fault.kind} {fault.how}".strip() if fault else None
        self.ledger.note(Call(method, where, raw_query, status, tenant, arrived, rows, kind))
        if fault is None or fault.kind in CONTENT or (fault.kind in INSTEAD and fault.kind not in ("hang", "reset")):
            await send_reply(send, reply, self._date())
        else:
            await send_broken(scope, receive, send, fault, reply, self._date(), self.closing)

    def _answer(
        self,
        scope: dict[str, Any],
        found: re.Match[str] | None,
        where: str,
        raw_query: str,
        body: bytes,
        fault: Fault | None,
    ) -> Reply:
        if fault is not None and fault.kind in INSTEAD:
            if fault.kind in ("hang", "reset"):
                return Reply()
            return reply_instead(fault, self.switches.error_body, unix_from_ticks(self.clock.now()))
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            if where == "connect/token" and not found:
                if scope["method"] != "POST":
                    return problem(405)
                reply = self.tokens.answer(headers.get(b"content-type", ""), body)
            else:
                reply = self._answer_api(scope["method"], found, where, raw_query, headers)
        except Refusal as refusal:
            return refusal.reply
        if fault is not None and fault.kind in CONTENT:
            reply = spoil(fault, reply, self._last_bodies.get(where))
        if reply.page is not None:
            self._last_bodies[where] = reply.body = reply.encode()
        return reply

    def _answer_api(
        self, method: str, found: re.Match[str] | None, where: str, raw_query: str, headers: dict[bytes, str]
    ) -> Reply:
        answer = self._route(where) if found else None
        if found is None or answer is None:
            return problem(404, "Resource not found")
        if method != "GET":
            return problem(405)
        if not found[2].isdecimal() or len(found[2]) > 18:
            return problem(400, errors={"Tenant": [f"The value '{found[2]}' is not valid."]})
        tenant = int(found[2])
        account = self.tokens.check(tenant, headers.get(b"authorization", ""), headers.get(b"st-app-key", ""))
        wait = self.gate.wait_for(account.app_key, tenant)
        if wait:
            now = unix_from_ticks(self.clock.now())
            return too_many(wait, self.switches.error_body, self.switches.retry_after, now)
        if self.before_answer is not None:
            self.before_answer(where)
        data = self.datasets[tenant]
        data.reveal(self.clock.now())
        return answer(Query(raw_query), data)

    def _route(self, where: str) -> Callable[[Query, Dataset], Reply] | None:
        """Who answers a path; None for one that does not exist."""
        if where in FEEDS:
            return lambda query, data: answer_export(FEEDS[where], query, data, self.clock.now())
        if where in LISTINGS:
            return lambda query, data: answer_list(LISTINGS[where], query, data)
        if where in ("crm/customers/contacts", "crm/locations/contacts"):
            return lambda query, data: answer_contacts(where.split("/")[1], query, data)
        if where == "jpm/jobs/cancel-reasons":
            return answer_cancel_reasons
        if (one := OF_ONE.fullmatch(where)) is not None:
            kind, key, what = one[1].split("/")[1], int(one[2]), one[3]
            if (kind == "jobs") is (what == "contacts"):
                return None
            if what == "contacts":
                return lambda query, data: answer_contacts_of(kind, key, query, data)
            return lambda query, data: answer_job_log(what, key, query, data)
        if (row := ONE_ROW.fullmatch(where)) is not None and row[1] in LISTINGS and LISTINGS[row[1]].by_id:
            return lambda query, data: answer_one(data.tables[LISTINGS[row[1]].table], int(row[2]))
        return None

    def _date(self) -> str:
        return http_date(unix_from_ticks(self.clock.now()) + self.switches.date_skew_seconds)


async def _read_body(receive: Receive) -> bytes:
    """The request's body; anything past 16 MB is dropped."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        if size < BODY_LIMIT:
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if not message.get("more_body"):
            break
    return b"".join(parts)
