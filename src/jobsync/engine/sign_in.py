"""Signing in: by name and password, or by a one-time link; sessions that are looked up for every page.

A session is 32 random bytes that only the browser holds; the database has their SHA-256. It ends with sign-out, after 12
hours without a page, after 7 days, or with its user. Ten tries that fail lock a name for an address for 15 minutes,
whether there is such a user or not; a hundred lock the address.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from anyio import CapacityLimiter

from jobsync.db.pool import Database, Row, as_jsonb
from jobsync.engine.context import DEFAULT_TENANT
from jobsync.engine.passwords import check_password, hash_password, is_password
from jobsync.engine.tenants import find_tenant
from jobsync.engine.users import DEMO_SECONDS, add_link, hash_secret, read_name, write_audit
from jobsync.errors import CallRefused, InvalidInput

MOST_TRIES = 10
MOST_TRIES_OF_ADDRESS = 100
DEMO_USER = "demo"


async def make_first_link(database: Database, tenant: str = DEFAULT_TENANT) -> str | None:
    """The key of the link for the first administrator; None where somebody can administer already.

    Called at every start: a link that was printed before ends, so that only the last one works.
    """
    async with database.transaction(None) as session:
        if await session.value("has_administrator"):
            return None
        await session.run("drop_first_links", {"tenant": tenant})
        return await add_link(session, tenant)


async def make_demo_link(database: Database, tenant: str = DEFAULT_TENANT) -> str:
    """The key of a link that signs in the demo's administrator, who has no password."""
    async with database.transaction(None) as session:
        parameters = {"tenant": tenant, "name": DEMO_USER, "role": "admin", "all_tenants": True, "password_hash": None}
        await session.row("add_user", parameters)
        user = await session.row("find_user_by_name", {"name": DEMO_USER})
        assert user is not None
        return await add_link(session, tenant, user=user["id"], enters=True, seconds=DEMO_SECONDS)


async def read_link(database: Database, key: str) -> Row:
    """What a link is for: {tenant_id, user_id, name, enters}; user_id None: to make the first administrator.

    Raises CallRefused (403) for a link that was used, has expired or never was.
    """
    async with database.transaction(None) as session:
        row = await session.row("find_link", {"key_hash": hash_secret(key)})
        if row is None or (row["user_id"] is None and await session.value("has_administrator")):
            raise _dead_link()
    return row


async def enter_by_link(database: Database, key: str) -> str:
    """Signs in by a link that enters (the demo's). Answers the secret of the session."""
    link = await read_link(database, key)
    if not link["enters"]:
        raise _dead_link()
    return await _open(database, link["tenant_id"], link["user_id"], link["name"], how="link")


async def set_password_by_link(
    database: Database, key: str, name: str, password: str, *, limiter: CapacityLimiter
) -> str:
    """Chooses a password behind a one-time link and signs in: as the first administrator called `name`, or as its user.

    The link ends. Raises CallRefused (403) for a dead link, InvalidInput for a name or password that cannot be; then the
    link still works.
    """
    link = await read_link(database, key)
    known = link["name"] or read_name(name)
    check_password(known, password)
    password_hash = await hash_password(password, limiter)
    async with database.transaction(None) as session:
        used = await session.row("use_link", {"key_hash": hash_secret(key)})
        if used is None or used["enters"]:
            raise _dead_link()
        tenant, user = used["tenant_id"], used["user_id"]
        if user is None:
            # Two people may hold the first link's page open: the first one wins, as the link is used once.
            made = await session.row(
                "add_user",
                {
                    "tenant": tenant,
                    "name": known,
                    "role": "admin",
                    "all_tenants": True,
                    "password_hash": password_hash,
                },
            )
            if made is None:
                raise InvalidInput("This name is taken.", hint="Choose another one.", field="name")
            user = made["id"]
            await write_audit(session, tenant, f"user:{known}", "user_created", known, {"role": "admin", "first": True})
        else:
            await session.run("set_password", {"tenant": tenant, "user": user, "password_hash": password_hash})
            await session.run("end_sessions_of_user", {"tenant": tenant, "user": user})
            await write_audit(session, tenant, f"user:{known}", "password_chosen", known, {})
    return await _open(database, tenant, user, known, how="link")


async def sign_in(database: Database, name: str, password: str, address: str, *, limiter: CapacityLimiter) -> str:
    """Signs in by name and password; answers the secret of a new session. `address`: where the person comes from.

    Raises CallRefused: 401 in the same words for an unknown user and a wrong password; 429 when locked.
    """
    known = name.strip().lower()[:200]
    both, alone = _subject(known, address), _subject("", address)
    async with database.transaction(None) as session:
        await session.run("forget_old_tries")
        tries = await session.value("count_try", {"subject": both, "most": MOST_TRIES})
        of_address = await session.value("count_try", {"subject": alone, "most": MOST_TRIES_OF_ADDRESS})
        user = await session.row("find_user_by_name", {"name": known})
    if tries > MOST_TRIES or of_address > MOST_TRIES_OF_ADDRESS:
        raise CallRefused(
            429,
            "There were too many tries to sign in.",
            code="sign_in_locked",
            hint="Wait 15 minutes, then try again.",
            retry_after=900,
        )
    if not await is_password(user["password_hash"] if user else None, password[:1000], limiter):
        if user is not None and tries == MOST_TRIES:
            async with database.transaction(user["tenant_id"]) as session:
                await write_audit(session, user["tenant_id"], "jobsync", "sign_in_locked", known, {"minutes": 15})
        raise CallRefused(
            401,
            "Name or password is wrong.",
            code="sign_in_refused",
            hint="An administrator can make a new link to choose a password; on the server: jobsync users reset NAME.",
        )
    assert user is not None
    async with database.transaction(None) as session:
        await session.run("forget_tries", {"subject": both})
        await session.run("take_back_try", {"subject": alone})
    return await _open(database, user["tenant_id"], user["id"], known, how="password")


async def find_session(database: Database, secret: str, *, take_flash: bool = False) -> Row | None:
    """Who holds this session, or None: user_id, name, role, all_tenants, home and acting tenant_id with its state, flash.

    Notes the use, at most once a minute. `take_flash`: the flash is told now, and not again.
    """
    parameters = {"secret_hash": hash_secret(secret)}
    async with database.transaction(None) as session:
        row = await session.row("find_session", parameters)
        if row is not None and row["to_be_noted"]:
            await session.run("note_session_use", parameters)
        if row is not None and row["flash"] is not None and take_flash:
            await session.run("set_flash", {**parameters, "flash": None})
    return row


async def leave_flash(database: Database, secret: str, flash: dict[str, Any]) -> None:
    """What the next page of this session tells once: {kind, text}."""
    async with database.transaction(None) as session:
        await session.run("set_flash", {"secret_hash": hash_secret(secret), "flash": as_jsonb(flash)})


async def act_for(database: Database, secret: str, tenant: str, *, actor: str) -> None:
    """From now on this session of an administrator of all tenants looks at `tenant`. Raises RecordMissing for none."""
    await find_tenant(database, tenant)
    async with database.transaction(None) as session:
        await session.run("act_for_tenant", {"secret_hash": hash_secret(secret), "acting_for": tenant})
        await write_audit(session, tenant, actor, "opened_by_agency", actor.partition(":")[2], {})


async def sign_out(database: Database, secret: str, *, actor: str) -> None:
    """Ends the session for every worker at once. Twice: nothing."""
    async with database.transaction(None) as session:
        tenant = await session.value("end_session", {"secret_hash": hash_secret(secret)})
        if tenant is not None:
            await write_audit(session, tenant, actor, "signed_out", actor.partition(":")[2], {})


async def _open(database: Database, tenant: str, user: Any, name: str, *, how: str) -> str:
    secret = secrets.token_urlsafe(32)
    async with database.transaction(None) as session:
        await session.run("end_old_sessions")
        await session.run("open_session", {"tenant": tenant, "secret_hash": hash_secret(secret), "user": user})
        await write_audit(session, tenant, f"user:{name}", "signed_in", name, {"by": how})
    return secret


def _subject(name: str, address: str) -> bytes:
    return hashlib.sha256(f"{name}\n{address}".encode("utf-8", "surrogateescape")).digest()


def _dead_link() -> CallRefused:
    return CallRefused(
        403,
        "This link was used already, or has expired.",
        code="dead_link",
        hint="Sign in, or ask an administrator for a new one. Nobody can sign in yet? Start JobSync again: it prints one.",
    )
