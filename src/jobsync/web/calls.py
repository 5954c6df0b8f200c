"""Calls: what every endpoint is handed, and what each has to say about itself before it is served.

`@needs(scope, ...)` names the scope and the kind of body; an endpoint without it is refused at start, so that no route
can be forgotten. The order is always: caller, then body, then the endpoint; a stranger's body is never read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from jobsync.config import Settings
from jobsync.db.pool import Database, Session
from jobsync.db.sealing import Keyring
from jobsync.engine.context import Engine
from jobsync.errors import ConfigError, InvalidInput
from jobsync.web.auth import OPEN, Caller, Gate
from jobsync.web.bodies import SMALL, parse_json, read_body, require_json

F = TypeVar("F", bound=Callable[..., Any])
StartSync = Callable[[str], Awaitable[UUID]]
BodyKind = Literal["none", "json", "optional", "raw"]


@dataclass(frozen=True, slots=True)
class Web:
    """What the service was started with. `start_sync(tenant)` begins a pass and answers its run; None: no worker.
    `demo`: the pages say that the data is invented."""

    settings: Settings
    database: Database | None
    keyring: Keyring | None
    start_sync: StartSync | None
    gate: Gate
    demo: bool = False

    @property
    def engine(self) -> Engine:
        """For the verbs of the engine. Raises ConfigError where only the description of the API is served."""
        if self.database is None or self.keyring is None:
            raise ConfigError("This process has no database.")
        return Engine(self.settings, self.database, self.keyring)


@dataclass(frozen=True, slots=True)
class Call:
    """One request that was let in. `body` is set where the endpoint reads raw bytes."""

    web: Web
    caller: Caller | None
    body: bytes | bytearray

    @property
    def tenant(self) -> str:
        """Whose rows are seen."""
        assert self.caller is not None
        return self.caller.tenant

    @property
    def actor(self) -> str:
        """Who asked, for the audit."""
        assert self.caller is not None
        return self.caller.actor

    @property
    def acts_for_all(self) -> bool:
        """True for a token that was made for all tenants."""
        return self.caller is not None and self.caller.all_tenants

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """A transaction that sees the caller's tenant."""
        return self.web.engine.database.transaction(self.tenant)


@dataclass(frozen=True, slots=True)
class Needs:
    """What an endpoint asks of a call."""

    scope: str
    body: BodyKind
    limit: int


def needs(scope: str, *, body: BodyKind = "none", limit: int = SMALL) -> Callable[[F], F]:
    """Declares the scope (`auth.SCOPES` or OPEN) and the body: json (checked, typed), optional (may be empty), raw."""

    def declare(endpoint: F) -> F:
        endpoint.__dict__["needs"] = Needs(scope, body, limit)
        return endpoint

    return declare


def needs_of(route: APIRoute) -> Needs:
    """What the route's endpoint declared. Raises TypeError when it declared nothing."""
    found = getattr(route.endpoint, "needs", None)
    if not isinstance(found, Needs):
        raise TypeError(f"{route.path}: the endpoint does not say what it needs")
    return found


class GuardedRoute(APIRoute):
    """A route that lets in only who may, and reads only bodies that are fit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the gate."""
        inner = super().get_route_handler()
        wanted = needs_of(self)
        template = self.path

        async def handle(request: Request) -> Response:
            web: Web = request.app.state.web
            request.scope["jobsync.route"] = template
            caller = await web.gate.admit(request, wanted.scope)
            _refuse_nul(request)
            body = await _take_body(request, wanted)
            request.state.call = Call(web, caller, body)
            return await inner(request)

        return handle


async def _take_body(request: Request, wanted: Needs) -> bytes | bytearray:
    if wanted.body == "none":
        return b""
    announced = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
    if announced:
        require_json(request)
    body = await read_body(request, wanted.limit) if announced else b""
    if wanted.body == "raw":
        if not body:
            raise InvalidInput("The body is missing.", hint="Send a JSON object.", field="body")
        return body
    if body or wanted.body == "json":
        # FastAPI asks for both; it finds what was read and checked here.
        request._json = parse_json(body)
    request._body = bytes(body)
    return b""


def _refuse_nul(request: Request) -> None:
    if "\x00" in request.url.path or b"%00" in request.scope.get("query_string", b""):
        raise InvalidInput(
            "The address holds a NUL character.", field="path" if "\x00" in request.url.path else "query"
        )


def _get_call(request: Request) -> Call:
    return request.state.call


ThisCall = Annotated[Call, Depends(_get_call)]
__all__ = ["OPEN", "Call", "GuardedRoute", "Needs", "StartSync", "ThisCall", "Web", "needs", "needs_of"]
