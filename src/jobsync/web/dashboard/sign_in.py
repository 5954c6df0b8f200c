"""Signing in and out: /ui/login, the one-time link /ui/first, /ui/logout, and how the pages look in this browser."""

from __future__ import annotations

import secrets
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Response
from fastapi.responses import RedirectResponse

from jobsync.engine import sign_in as engine
from jobsync.errors import CallRefused, InvalidInput, JobSyncError
from jobsync.web.dashboard.doors import find_address
from jobsync.web.dashboard.form_tokens import make_token
from jobsync.web.dashboard.rendering import LOOK_COOKIE, LOOKS, bounce, page, read_look
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, Visit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HOME = "/ui/"
Key = Annotated[str, Query(max_length=200)]
Name = Annotated[str, Form(max_length=200)]
Password = Annotated[str, Form(max_length=1000)]
Next = Annotated[str, Form(max_length=2000)]


@router.get("/")
@router.get("/ui")
@seen_by("anybody")
async def go_home() -> Response:
    """The dashboard stands under /ui/."""
    return RedirectResponse(HOME, status_code=307)


@router.get("/ui/login")
@seen_by("anybody")
async def ask_for_password(visit: ThisVisit, next: Annotated[str, Query(max_length=2000)] = HOME) -> Response:
    """The form to sign in; whoever is signed in goes on."""
    if visit.user:
        return RedirectResponse(own_path(next), status_code=303)
    return _show_form(visit, "login.html", next=own_path(next))


@router.post("/ui/login")
@seen_by("anybody")
async def sign_in(visit: ThisVisit, name: Name = "", password: Password = "", next: Next = HOME) -> Response:
    """Opens a session under a new secret; one that was there before ends."""
    _refuse_unsafe(visit)
    limiter = visit.request.app.state.password_limiter
    address = find_address(visit.request, visit.web.gate)
    try:
        secret = await engine.sign_in(visit.engine.database, name, password, address, limiter=limiter)
    except CallRefused as error:
        return _show_form(visit, "login.html", next=own_path(next), name=name, error=error, status=error.http_status)
    return await _enter(visit, secret, own_path(next))


@router.get("/ui/first")
@seen_by("anybody")
async def open_link(visit: ThisVisit, key: Key = "") -> Response:
    """A one-time link: the form behind which a password is chosen. Only the demo's link enters by itself."""
    _refuse_unsafe(visit)
    if visit.user and not key:
        return RedirectResponse(HOME, status_code=303)
    link = await engine.read_link(visit.engine.database, key)
    if link["enters"]:
        return await _enter(visit, await engine.enter_by_link(visit.engine.database, key), HOME, again=True)
    return _show_form(visit, "first.html", key=key, link=link)


@router.post("/ui/first")
@seen_by("anybody")
async def choose_password(
    visit: ThisVisit,
    key: Annotated[str, Form(max_length=200)] = "",
    name: Name = "",
    password: Password = "",
    again: Password = "",
) -> Response:
    """Uses the link up: the password is set and its user signed in."""
    _refuse_unsafe(visit)
    link = await engine.read_link(visit.engine.database, key)
    try:
        if password != again:
            raise InvalidInput("The two passwords differ.", hint="Type the same one twice.", field="again")
        limiter = visit.request.app.state.password_limiter
        secret = await engine.set_password_by_link(visit.engine.database, key, name, password, limiter=limiter)
    except InvalidInput as error:
        return _show_form(visit, "first.html", key=key, link=link, name=name, error=error, status=400)
    return await _enter(visit, secret, HOME)


@router.post("/ui/logout")
@seen_by("viewer")
async def sign_out(visit: ThisVisit) -> Response:
    """Ends the session on the server; the cookie alone opens nothing any more."""
    await engine.sign_out(visit.engine.database, visit.secret, actor=visit.actor)
    response = RedirectResponse("/ui/login", status_code=303)
    visit.door.drop_cookie(response, visit.door.session_cookie)
    return response


@router.post("/ui/look")
@seen_by("viewer")
async def choose_look(
    visit: ThisVisit,
    look: Annotated[str, Form(max_length=10)] = "",
    keys: Annotated[str, Form(max_length=10)] = "",
    back: Next = HOME,
) -> Response:
    """Theme (system, light, dark) and single keys (on, off) of this browser."""
    now_look, now_keys = read_look(visit.request)
    chosen = look if look in LOOKS else now_look
    on = keys == "on" if keys else now_keys
    response = RedirectResponse(own_path(back), status_code=303)
    response.set_cookie(
        LOOK_COOKIE,
        f"{chosen}-{'keys' if on else 'nokeys'}",
        path="/ui",
        max_age=31_536_000,
        httponly=True,
        samesite="strict",
        secure=visit.door.secure,
    )
    return response


async def _enter(visit: Visit, secret: str, path: str, *, again: bool = False) -> Response:
    """Puts a new session into the browser. `again`: by a page of ours, as whoever comes from elsewhere keeps no cookie."""
    if visit.secret:
        await engine.sign_out(visit.engine.database, visit.secret, actor=visit.actor or "user:")
    response = bounce(path) if again else RedirectResponse(path, status_code=303)
    visit.door.set_cookie(response, visit.door.session_cookie, secret)
    visit.door.drop_cookie(response, visit.door.visit_cookie)
    return response


def _show_form(
    visit: Visit,
    template: str,
    *,
    name: str = "",
    error: JobSyncError | None = None,
    status: int = 200,
    **values: Any,
) -> Response:
    cookie = visit.request.cookies.get(visit.door.visit_cookie) or secrets.token_urlsafe(32)
    token = make_token(visit.secret or cookie, visit.request.url.path)
    response = page(
        visit,
        template,
        title="Sign in",
        status=status,
        token=token,
        name=name,
        error=error,
        safe=visit.door.safe,
        **values,
    )
    visit.door.set_cookie(response, visit.door.visit_cookie, cookie)
    return response


def _refuse_unsafe(visit: Visit) -> None:
    if not visit.door.safe:
        raise CallRefused(
            403,
            "This connection is not encrypted: a password or session would be readable on the way.",
            code="not_encrypted",
            hint="Use https (a proxy in front, see docs/deployment.md), or a tunnel: ssh -L 3001:127.0.0.1:3001 SERVER",
        )


def own_path(path: str) -> str:
    """A path of the dashboard, whatever was asked for: nobody is sent elsewhere after signing in."""
    parts = urlsplit(path)
    fine = not parts.scheme and not parts.netloc and path.startswith("/ui/") and not path.startswith("//")
    return path if fine and "\\" not in path and path.isprintable() else HOME
