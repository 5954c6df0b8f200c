"""Users of the dashboard and tokens of the API: who may come in. Each act is the verb of the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Response
from fastapi import Path as InPath

from jobsync.engine import users
from jobsync.engine.tokens import SCOPES, create_token, list_tokens, revoke_token, rotate_token
from jobsync.errors import InvalidInput, RecordMissing
from jobsync.web.dashboard.rendering import confirm, page
from jobsync.web.dashboard.settings import HERE, TABS
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

USERS = "/ui/settings/users"
TOKENS = "/ui/settings/tokens"
ROLES = {
    "viewer": "viewer: reads",
    "operator": "operator: also pauses, replays, decides",
    "admin": "admin: also arms, routes, manages users",
}
LIVES = {"": "Never", "30": "In 30 days", "90": "In 90 days", "365": "In a year"}
UserId = Annotated[UUID, InPath()]
TokenId = Annotated[str, InPath(min_length=1, max_length=64)]
Act = Literal["disable", "reset"]


@router.get(USERS)
@seen_by("admin")
async def show_users(visit: ThisVisit) -> Response:
    """Everybody with an account here."""
    return await _users(visit)


@router.post("/ui/settings/users/add")
@seen_by("admin")
async def add_user(
    visit: ThisVisit, name: Annotated[str, Form(max_length=100)], role: Annotated[str, Form(max_length=20)]
) -> Response:
    """Makes an account and shows its one-time link, this once."""
    made = await users.create_user(visit.engine.database, visit.tenant, name, role, actor=visit.actor)
    return await _users(visit, made["name"], made["key"])


@router.post("/ui/settings/users/{user}/role")
@seen_by("admin")
async def set_role(visit: ThisVisit, user: UserId, role: Annotated[str, Form(max_length=20)]) -> Response:
    """Another role, from the next page on."""
    row = await users.set_role(visit.engine.database, visit.tenant, user, role, actor=visit.actor)
    return await visit.go(USERS, f"{row['name']} is {row['role']} now.")


@router.get("/ui/settings/users/{user}/{act}")
@seen_by("admin")
async def ask_about_user(visit: ThisVisit, user: UserId, act: Act) -> Response:
    """What switching an account off, or a new link, does."""
    row = next((one for one in await users.list_users(visit.engine.database, visit.tenant) if one["id"] == user), None)
    if row is None:
        raise RecordMissing("No such user.", hint="See the list of users.")
    off = act == "disable"
    return confirm(
        visit,
        title=f"Switch {row['name']} off?" if off else f"A new link for {row['name']}?",
        sentence="The account's sessions end now; it can be switched on again."
        if off
        else "The password and the sessions end now. A one-time link is shown, behind which a new password is chosen.",
        action=f"{USERS}/{user}/{act}",
        button="Switch it off" if off else "Make the link",
        facts=[("Role", row["role"])],
        back=USERS,
        danger=off,
        here=HERE,
    )


@router.post("/ui/settings/users/{user}/disable")
@seen_by("admin")
async def disable(visit: ThisVisit, user: UserId) -> Response:
    """Switches it off."""
    row = await users.disable_user(visit.engine.database, visit.tenant, user, actor=visit.actor)
    return await visit.go(USERS, f"{row['name']} is switched off.", kind="warn")


@router.post("/ui/settings/users/{user}/enable")
@seen_by("admin")
async def enable(visit: ThisVisit, user: UserId) -> Response:
    """Switches it on again."""
    row = await users.enable_user(visit.engine.database, visit.tenant, user, actor=visit.actor)
    return await visit.go(USERS, f"{row['name']} is switched on.")


@router.post("/ui/settings/users/{user}/reset")
@seen_by("admin")
async def reset(visit: ThisVisit, user: UserId) -> Response:
    """Ends the password and shows a new one-time link, this once."""
    made = await users.reset_password(visit.engine.database, visit.tenant, user, actor=visit.actor)
    return await _users(visit, made["name"], made["key"])


@router.get(TOKENS)
@seen_by("admin")
async def show_tokens(visit: ThisVisit) -> Response:
    """The tokens, without their secrets."""
    return await _tokens(visit)


@router.post("/ui/settings/tokens/add")
@seen_by("admin")
async def add_token(
    visit: ThisVisit,
    name: Annotated[str, Form(max_length=255)],
    scopes: Annotated[list[str], Form()] = [],  # noqa: B006 - read only, never changed
    days: Annotated[str, Form(max_length=4)] = "",
) -> Response:
    """Makes a token and shows it, this once."""
    if days not in LIVES:
        raise InvalidInput("Choose how long it lives.", field="days")
    ends = visit.now + timedelta(days=int(days)) if days and visit.now is not None else None
    made = await create_token(
        visit.engine.database, visit.tenant, name, scopes or ["read"], actor=visit.actor, expires_at=ends
    )
    return await _tokens(visit, made["token"])


@router.get("/ui/settings/tokens/{token}/{act}")
@seen_by("admin")
async def ask_about_token(visit: ThisVisit, token: TokenId, act: Literal["rotate", "revoke"]) -> Response:
    """What rotating or revoking does."""
    row = next((one for one in await list_tokens(visit.engine.database, visit.tenant) if one["id"] == token), None)
    if row is None:
        raise RecordMissing(f"No token has the id {token}.", hint="See the list of tokens.")
    revoke = act == "revoke"
    return confirm(
        visit,
        title=f"Revoke {row['name']}?" if revoke else f"A follower for {row['name']}?",
        sentence="Whoever uses it is refused within 5 seconds. It cannot be undone."
        if revoke
        else "A new token with the same scopes is shown. The old one works for another day, so that both can be changed over.",
        action=f"{TOKENS}/{token}/{act}",
        button="Revoke it" if revoke else "Make the follower",
        facts=[("Scopes", ", ".join(row["scopes"]))],
        back=TOKENS,
        danger=revoke,
        here=HERE,
    )


@router.post("/ui/settings/tokens/{token}/revoke")
@seen_by("admin")
async def revoke(visit: ThisVisit, token: TokenId) -> Response:
    """Ends it."""
    row = await revoke_token(visit.engine.database, visit.tenant, token, actor=visit.actor)
    return await visit.go(TOKENS, f"{row['name']} is revoked.", kind="warn")


@router.post("/ui/settings/tokens/{token}/rotate")
@seen_by("admin")
async def rotate(visit: ThisVisit, token: TokenId) -> Response:
    """Makes its follower and shows it, this once."""
    made = await rotate_token(
        visit.engine.database, visit.tenant, token, actor=visit.actor, may_reach_all=visit.all_tenants
    )
    return await _tokens(visit, made["token"])


async def _users(visit: ThisVisit, name: str | None = None, key: str | None = None) -> Response:
    base = str(visit.request.base_url).rstrip("/")
    return page(
        visit,
        "users.html",
        title="Users",
        here=HERE,
        tabs=TABS,
        tab=USERS,
        users=await users.list_users(visit.engine.database, visit.tenant),
        roles=list(ROLES.items()),
        made=name,
        link=f"{base}/ui/first?key={key}" if key else None,
        days=users.LINK_SECONDS // 86_400,
    )


async def _tokens(visit: ThisVisit, made: str | None = None) -> Response:
    return page(
        visit,
        "tokens.html",
        title="API tokens",
        here=HERE,
        tabs=TABS,
        tab=TOKENS,
        tokens=await list_tokens(visit.engine.database, visit.tenant),
        scopes=SCOPES,
        lives=list(LIVES.items()),
        made=made,
    )
