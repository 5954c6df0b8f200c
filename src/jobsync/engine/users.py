"""Users of the dashboard: made, changed, switched off, given a new link to choose a password.

One verb each for the Settings page and the command line. A user chooses the password behind a one-time link; whoever
makes the user never knows it. `actor` names who asked, for the audit.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any
from uuid import UUID

from jobsync.db.pool import Database, Row, Session, as_jsonb
from jobsync.errors import InvalidInput, RecordMissing

ROLES = ("viewer", "operator", "admin")
LINK_SECONDS = 3 * 86_400
DEMO_SECONDS = 30 * 86_400
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,63}", re.ASCII)


def read_name(text: str) -> str:
    """The name as it is stored: small letters. Raises InvalidInput for what is no name."""
    name = text.strip().lower()
    if _NAME.fullmatch(name) is None:
        raise InvalidInput("A name has 2 to 64 letters, digits, dots or dashes; no e-mail address.", field="name")
    return name


def hash_secret(secret: str) -> bytes:
    """What is stored of a session or a link. 32 random bytes need no slow hash: there is nothing to guess."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


async def list_users(database: Database, tenant: str) -> list[Row]:
    """The tenant's users by name: id, name, role, all_tenants, has_password, disabled_at, last_seen_at, created_at."""
    async with database.transaction(tenant) as session:
        return await session.rows("list_users", {"tenant": tenant})


async def find_user(database: Database, tenant: str, name: str) -> Row:
    """The tenant's user of this name, switched off or not. Raises RecordMissing."""
    known = name.strip().lower()
    for user in await list_users(database, tenant):
        if user["name"] == known:
            return user
    raise RecordMissing(f"The tenant {tenant} has no user of this name.", hint="See `jobsync users list`.")


async def create_user(
    database: Database, tenant: str, name: str, role: str, *, actor: str, all_tenants: bool = False
) -> dict[str, Any]:
    """Makes a user; `key` of the answer goes into the one-time link behind which the password is chosen (3 days).

    Raises InvalidInput for a role or name that cannot be, and where the name is taken (by any tenant's user).
    """
    _check_role(role)
    async with database.transaction(tenant) as session:
        row = await session.row(
            "add_user",
            {
                "tenant": tenant,
                "name": read_name(name),
                "role": role,
                "all_tenants": all_tenants and role == "admin",
                "password_hash": None,
            },
        )
        if row is None:
            raise InvalidInput("This name is taken.", hint="Choose another one.", field="name")
        await write_audit(session, tenant, actor, "user_created", row["name"], {"role": role})
        return {**row, "key": await add_link(session, tenant, user=row["id"])}


async def set_role(database: Database, tenant: str, user: UUID, role: str, *, actor: str) -> Row:
    """Gives a user another role, which holds for the next page. Raises InvalidInput for the last administrator."""
    _check_role(role)
    return await _change(database, tenant, user, role, None, actor)


async def disable_user(database: Database, tenant: str, user: UUID, *, actor: str) -> Row:
    """Switches an account off and ends its sessions. Twice: as once. Raises InvalidInput for the last administrator."""
    return await _change(database, tenant, user, None, True, actor)


async def enable_user(database: Database, tenant: str, user: UUID, *, actor: str) -> Row:
    """Switches an account on again, with the password that it had."""
    return await _change(database, tenant, user, None, False, actor)


async def reset_password(database: Database, tenant: str, user: UUID, *, actor: str) -> dict[str, Any]:
    """The password ends, and all sessions; `key` of the answer goes into a new one-time link. Raises RecordMissing."""
    async with database.transaction(tenant) as session:
        row = await session.row("read_user", {"tenant": tenant, "user": user})
        if row is None:
            raise RecordMissing("No such user.", hint="See the list of users.")
        await session.run("set_password", {"tenant": tenant, "user": user, "password_hash": None})
        await session.run("end_sessions_of_user", {"tenant": tenant, "user": user})
        await session.run("drop_links_of_user", {"tenant": tenant, "user": user})
        await write_audit(session, tenant, actor, "password_reset", row["name"], {})
        return {**row, "has_password": False, "key": await add_link(session, tenant, user=user)}


async def add_link(
    session: Session, tenant: str, *, user: UUID | None = None, enters: bool = False, seconds: int = LINK_SECONDS
) -> str:
    """The key of a new one-time link. `user` None: for the first administrator; `enters`: it signs in by itself (demo)."""
    key = secrets.token_urlsafe(32)
    parameters = {"tenant": tenant, "key_hash": hash_secret(key), "user": user, "enters": enters, "seconds": seconds}
    await session.run("add_link", parameters)
    return key


async def write_audit(
    session: Session, tenant: str, actor: str, action: str, name: str, details: dict[str, Any]
) -> None:
    """One line of the audit about a user."""
    await session.run(
        "write_audit",
        {
            "tenant": tenant,
            "actor": actor,
            "action": action,
            "subject": f"user:{name}",
            "details": as_jsonb(details),
        },
    )


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise InvalidInput(f"role must be one of: {', '.join(ROLES)}.", field="role")


async def _change(
    database: Database, tenant: str, user: UUID, role: str | None, disabled: bool | None, actor: str
) -> Row:
    async with database.transaction(tenant) as session:
        row = await session.row(
            "change_user", {"tenant": tenant, "user": user, "role": role, "disabled": disabled, "actor": actor}
        )
    assert row is not None
    return row
