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
from jobsync.errors import InvalidInput, RecordMissing

SCOPES = ("read", "sync:write", "state:write", "replay", "admin")
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_TOKEN = re.compile(r"js_([a-z0-9]{4,32})_([A-Za-z0-9_-]{20,200})", re.ASCII)


async def create_token(
    database: Database, tenant: str, name: str, scopes: Sequence[str], *, actor: str, expires_at: datetime | None = None
) -> dict[str, Any]:
    """Makes a token of the tenant; the answer's `token` is shown this once and never again.

    `expires_at`: UTC, None for never. Raises InvalidInput for an unknown scope or an empty name. Twice: two tokens.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise InvalidInput(f"scopes must be of: {', '.join(SCOPES)}.", field="scopes")
    if not name.strip():
        raise InvalidInput("A token needs a name that says who uses it.", field="name")
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
                "expires_at": expires_at,
            },
        )
        details = as_jsonb({"scopes": list(scopes)})
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
    """The token's row (tenant_id, id, scopes, expires_in in seconds or None) if `text` is a live token, else None.

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
