"""API tokens `js_<id>_<secret>`: made, listed, revoked and checked. The database holds the SHA-256 of the secret only.

One verb for the command line, the API and the dashboard. The id is not secret: it names the token in lists and audits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jobsync.db.pool import Database, Row, as_jsonb
from jobsync.errors import CallRefused, InvalidInput, RecordMissing

SCOPES = ("read", "sync:write", "state:write", "replay", "admin")
GRACE_SECONDS = 86_400
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_TOKEN = re.compile(r"js_([a-z0-9]{4,32})_([A-Za-z0-9_-]{20,200})", re.ASCII)


async def create_token(
    database: Database,
    tenant: str,
    name: str,
    scopes: Sequence[str],
    *,
    actor: str,
    expires_at: datetime | None = None,
    all_tenants: bool = False,
) -> dict[str, Any]:
    """Makes a token of the tenant; the answer's `token` is shown this once and never again.

    `expires_at`: UTC, None for never. `all_tenants`: it may act for any tenant, which takes the scope admin. Raises
    InvalidInput for an unknown scope or an empty name. Twice: two tokens.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise InvalidInput(f"scopes must be of: {', '.join(SCOPES)}.", field="scopes")
    if not name.strip():
        raise InvalidInput("A token needs a name that says who uses it.", field="name")
    if all_tenants and "admin" not in scopes:
        raise InvalidInput("A token for all tenants needs the scope admin.", field="scopes")
    token_id = "".join(secrets.choice(_ALPHABET) for _ in range(10))
    secret = secrets.token_urlsafe(32)
    async with database.transaction(tenant) as session:
        row = await session.row(
            "add_token",
            {
                "tenant": tenant,
                "id": token_id,
                "name": name.strip(),
                "secret_hash": _hash(secret),
                "scopes": [scope for scope in SCOPES if scope in scopes],
                "all_tenants": all_tenants,
                "expires_at": expires_at,
            },
        )
        details = as_jsonb({"scopes": list(scopes), "all_tenants": all_tenants})
        await session.run(
            "write_audit",
            {
                "tenant": tenant,
                "actor": actor,
                "action": "token_created",
                "subject": f"token:{token_id}",
                "details": details,
            },
        )
    assert row is not None
    return {"token": f"js_{token_id}_{secret}", **row}


async def list_tokens(database: Database, tenant: str) -> list[Row]:
    """The tenant's tokens without their secrets, oldest first; revoked and expired ones too."""
    async with database.transaction(tenant) as session:
        return await session.rows("list_tokens", {"tenant": tenant})


async def rotate_token(
    database: Database,
    tenant: str,
    token_id: str,
    *,
    actor: str,
    grace_seconds: int = GRACE_SECONDS,
    may_reach_all: bool = True,
) -> dict[str, Any]:
    """Makes a token with the name, scopes and expiry of a live one, which ends after the grace: both work until then.

    The answer is that of `create_token`, with `replaces` and `replaced_until`. Twice: the newest one is rotated by its own
    id. Raises RecordMissing where no live token has the id, and CallRefused for a token for all tenants where the caller
    may not make one (`may_reach_all` False).
    """
    async with database.transaction(tenant) as session:
        old = await session.row("read_live_token", {"tenant": tenant, "id": token_id})
    if old is None:
        raise RecordMissing(f"No live token has the id {token_id}.", hint="See the list of tokens.", id=token_id)
    if old["all_tenants"] and not may_reach_all:
        raise CallRefused(403, "Only a token for all tenants rotates another one.", code="other_tenant", id=token_id)
    made = await create_token(
        database,
        tenant,
        old["name"],
        old["scopes"],
        actor=actor,
        expires_at=old["expires_at"],
        all_tenants=old["all_tenants"],
    )
    async with database.transaction(tenant) as session:
        ended = await session.row("end_token_later", {"tenant": tenant, "id": token_id, "seconds": grace_seconds})
        details = as_jsonb({"by": made["id"], "grace_seconds": grace_seconds})
        await session.run(
            "write_audit",
            {
                "tenant": tenant,
                "actor": actor,
                "action": "token_rotated",
                "subject": f"token:{token_id}",
                "details": details,
            },
        )
    assert ended is not None
    return {**made, "replaces": token_id, "replaced_until": ended["expires_at"]}


async def revoke_token(database: Database, tenant: str, token_id: str, *, actor: str) -> Row:
    """Ends a token; workers notice within 5 seconds. Twice: the first time stands. Raises RecordMissing."""
    async with database.transaction(tenant) as session:
        row = await session.row("revoke_token", {"tenant": tenant, "id": token_id})
        if row is None:
            raise RecordMissing(f"No token has the id {token_id}.", hint="See the list of tokens.", id=token_id)
        subject = f"token:{token_id}"
        await session.run(
            "write_audit",
            {"tenant": tenant, "actor": actor, "action": "token_revoked", "subject": subject, "details": as_jsonb({})},
        )
    return row


async def check_token(database: Database, text: str) -> Row | None:
    """The token's row (tenant_id, id, scopes, all_tenants, expires_in in seconds or None) if `text` is a live token, else None.

    Works as the owner: the tenant is not known before the token is. Notes the use, at most once a minute.
    """
    found = _TOKEN.fullmatch(text)
    if found is None:
        return None
    async with database.transaction(None) as session:
        row = await session.row("find_token", {"id": found[1]})
        if row is None or not hmac.compare_digest(bytes(row["secret_hash"]), _hash(found[2])) or not row["alive"]:
            return None
        if row["to_be_noted"]:
            await session.run("note_token_use", {"id": found[1]})
    return row


def _hash(secret: str) -> bytes:
    # 32 random bytes need no slow hash: there is nothing to guess.
    return hashlib.sha256(secret.encode()).digest()
