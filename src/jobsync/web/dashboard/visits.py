"""Visits: a page that is asked for, by whom, and what each page has to say about itself before it is served.

`@seen_by(role, ...)` names the lowest role that may ask for it; a page without it is refused at start, so that none can
be forgotten. The order is always: session, role, where the form came from, its token, then the page. Whatever is refused
is answered as a page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl, quote

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.datastructures import FormData

from jobsync.db.pool import Session
from jobsync.engine.context import Engine
from jobsync.engine.sign_in import find_session, leave_flash
from jobsync.engine.users import ROLES
from jobsync.errors import CallRefused, DatabaseUnavailable, InvalidInput, JobSyncError
from jobsync.web.bodies import read_body
from jobsync.web.calls import Web
from jobsync.web.dashboard.doors import Door, find_door, refuse_foreign
from jobsync.web.dashboard.form_tokens import is_token, make_token

F = TypeVar("F", bound=Callable[..., Any])
Role = Literal["anybody", "viewer", "operator", "admin"]
FormKind = Literal["short", "upload"]

TOKEN_FIELD = "form_token"
PATIENCE_SECONDS = 5.0
LONGEST_FORM = 256 * 1024
_RANK = {"anybody": -1, **{role: rank for rank, role in enumerate(ROLES)}}


@dataclass(frozen=True, slots=True)
class Visit:
    """One page that somebody asked for. `user` is empty for a page that needs no session; `several`: there are other
    tenants, and this user may see them."""

    web: Web
    request: Request
    door: Door
    secret: str = ""
    user: str = ""
    role: str = "anybody"
    all_tenants: bool = False
    tenant: str = ""
    tenant_name: str = ""
    time_zone: str = "UTC"
    mode: str = ""
    paused: bool = False
    now: datetime | None = None
    flash: dict[str, Any] | None = None
    several: bool = False

    @property
    def engine(self) -> Engine:
        """For the verbs of the engine."""
        return self.web.engine

    @property
    def actor(self) -> str:
        """Who asked, for the audit."""
        return f"user:{self.user}"

    def may(self, role: str) -> bool:
        """True when the user's role includes `role`."""
        return _RANK[self.role] >= _RANK[role]

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """A transaction that sees the visit's tenant."""
        return self.engine.database.transaction(self.tenant)

    def token_for(self, action: str) -> str:
        """The token of a form that is sent to the path `action`."""
        return make_token(self.secret, action)

    async def go(self, path: str, text: str | None = None, *, kind: str = "ok") -> Response:
        """Sends the browser on to `path`, whose page tells `text` once. `kind`: ok, warn or fail."""
        if text is not None:
            await leave_flash(self.engine.database, self.secret, {"kind": kind, "text": text[:1000]})
        return RedirectResponse(path, status_code=303)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a page asks of a visit."""

    role: Role
    form: FormKind
    all_tenants: bool = False


def seen_by(role: Role, *, form: FormKind = "short", all_tenants: bool = False) -> Callable[[F], F]:
    """Declares the lowest role, and for POST the form: short (read, its token checked; take fields as `Form()`), or
    upload (the token stands in the query as `form_token`, and the page reads the body itself). `all_tenants`: only for
    administrators of the whole installation."""

    def declare(endpoint: F) -> F:
        endpoint.__dict__["rule"] = Rule(role, form, all_tenants)
        return endpoint

    return declare


def rule_of(route: APIRoute) -> Rule:
    """What the page declared. Raises TypeError when it declared nothing."""
    found = getattr(route.endpoint, "rule", None)
    if not isinstance(found, Rule):
        raise TypeError(f"{route.path}: the page does not say who may see it")
    return found


class PageRoute(APIRoute):
    """A route that shows a page to those who may see it, and takes only forms of our own pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the door."""
        inner = super().get_route_handler()
        rule = rule_of(self)
        template = self.path

        async def handle(request: Request) -> Response:
            from jobsync.web.dashboard.rendering import finish, show_error

            request.scope["jobsync.route"] = template
            visit = Visit(request.app.state.web, request, find_door(request))
            try:
                _refuse_nul(request)
                visit = await _recognise(request, visit)
                if rule.role != "anybody" and not visit.user:
                    return _ask_to_sign_in(request)
                if not visit.may(rule.role):
                    raise CallRefused(
                        403,
                        f"This needs the role {rule.role}; yours is {visit.role}.",
                        code="missing_role",
                        hint="An administrator can change your role under Settings.",
                    )
                if rule.all_tenants and not visit.all_tenants:
                    raise CallRefused(
                        403,
                        "This is for administrators of all clients.",
                        code="other_tenant",
                        hint="The first administrator of this installation is one.",
                    )
                if request.method not in ("GET", "HEAD"):
                    await _take_form(request, visit, rule)
                request.state.visit = visit
                response = await inner(request)
            except RequestValidationError as error:
                response = show_error(visit, _tell_misfit(error))
            except JobSyncError as error:
                response = show_error(visit, error)
            return finish(request, response)

        return handle


async def _recognise(request: Request, visit: Visit) -> Visit:
    secret = request.cookies.get(visit.door.session_cookie)
    if not secret or visit.web.database is None:
        return visit
    whole_page = request.method == "GET" and request.headers.get("sec-fetch-dest", "document") == "document"
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            row = await find_session(
                visit.web.database, secret, take_flash=whole_page and "hx-request" not in request.headers
            )
    except TimeoutError:
        raise DatabaseUnavailable(
            "PostgreSQL did not answer in time.", hint="Try again in a moment; `jobsync doctor` says what is wrong."
        ) from None
    if row is None:
        return visit
    return Visit(
        visit.web,
        request,
        visit.door,
        secret,
        row["name"],
        row["role"],
        row["all_tenants"],
        row["tenant_id"],
        row["tenant_name"],
        row["time_zone"],
        row["mode"],
        row["paused"],
        row["now"],
        row["flash"],
        row["several"],
    )


def _ask_to_sign_in(request: Request) -> Response:
    from jobsync.web.dashboard.rendering import bounce

    query = request.url.query
    here = request.url.path + (f"?{query}" if query else "")
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        # A link on another site: browsers keep a Strict cookie back. Once more from here, and it comes.
        return bounce(here)
    login = "/ui/login" + (f"?next={quote(here, safe='')}" if request.method == "GET" and here != "/ui/" else "")
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/ui/login"})
    return RedirectResponse(login, status_code=303)


async def _take_form(request: Request, visit: Visit, rule: Rule) -> None:
    refuse_foreign(request)
    if rule.form == "upload":
        given = request.query_params.get(TOKEN_FIELD, "")
    else:
        kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise CallRefused(
                415, "This page takes a form.", code="not_a_form", hint="Use the buttons of the dashboard."
            )
        body = bytes(await read_body(request, LONGEST_FORM))
        try:
            pairs = parse_qsl(
                body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=2000, errors="replace"
            )
        except ValueError:
            raise InvalidInput("The form has too many fields.") from None
        if any("\x00" in part for pair in pairs for part in pair):
            raise InvalidInput("The form holds a NUL character.")
        fields = FormData([(name, value) for name, value in pairs])
        # FastAPI asks for both; it finds what was read and checked here.
        request._body = body
        request._form = fields
        given = str(fields.get(TOKEN_FIELD, ""))
    # A page that needs no session ties its form to a cookie of its own.
    secret = visit.secret or request.cookies.get(visit.door.visit_cookie, "")
    if not secret or not is_token(given, secret, request.url.path):
        raise CallRefused(
            403,
            "This form is not of this session, or is older than it.",
            code="form_token",
            hint="Go back, reload the page and try again.",
        )


def _tell_misfit(error: RequestValidationError) -> InvalidInput:
    place = [str(part) for part in error.errors()[0]["loc"][1:]]
    field = ".".join(place)[:100] or "the form"
    return InvalidInput(
        f"{field} cannot be used: {error.errors()[0]['msg'][:200]}.", hint="Go back and correct it.", field=field
    )


def _refuse_nul(request: Request) -> None:
    if "\x00" in request.url.path or b"%00" in request.scope.get("query_string", b""):
        raise InvalidInput("The address holds a NUL character.")


def _get_visit(request: Request) -> Visit:
    return request.state.visit


ThisVisit = Annotated[Visit, Depends(_get_visit)]
