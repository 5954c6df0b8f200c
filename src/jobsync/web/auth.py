"""Who may call: tokens, the API key, this machine, trusted networks.

A token `js_<id>_<secret>` carries its tenant and scopes; one made for all tenants acts for the one that
X-JobSync-Tenant names. API_KEY stands for read, sync:write and state:write of tenant
`default`. Without API_KEY, callers on this machine have the same scopes, and so have callers in
JOBSYNC_TRUSTED_NETWORKS always, if they are what they seem: a Host that this service answers to (not a name that
somebody re-pointed at 127.0.0.1), no foreign Origin, no sign of a proxy. /admin always needs a token (security bar X1-X3).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from fastapi import Request

from jobsync.config import Settings
from jobsync.db.pool import Database
from jobsync.engine.context import DEFAULT_TENANT
from jobsync.engine.tenants import find_tenant
from jobsync.engine.tokens import SCOPES, check_token
from jobsync.errors import CallRefused
from jobsync.web.rate import CallRate

TOKEN_KEPT_SECONDS = 3.0
TOKENS_KEPT = 1000
OPEN = "open"
TOKEN_ACTOR = "token:"
KEY_ACTOR = "api_key"
_PLAIN = frozenset({"read", "sync:write", "state:write"})
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the tenant whose rows are seen, a word for the audit, and what is allowed."""

    tenant: str
    actor: str
    scopes: frozenset[str]
    all_tenants: bool = False

    def may(self, scope: str) -> bool:
        """True when the caller has the scope; admin includes all."""
        return scope in self.scopes or "admin" in self.scopes


class Gate:
    """Admits requests. Remembers live tokens for 3 seconds of `clock`, so that a revoked one ends within 5."""

    def __init__(
        self,
        settings: Settings,
        database: Database | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rate: CallRate | None = None,
    ) -> None:
        self.clock = clock
        self._database = database
        self._key = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._networks = tuple(ip_network(network, strict=False) for network in settings.trusted_networks)
        self._allowed = frozenset(_without_port(host) for host in settings.allowed_hosts)
        self._live: dict[bytes, tuple[Caller, float]] = {}
        self._tenants: dict[str, float] = {}
        self._rate = rate or CallRate()

    async def admit(self, request: Request, scope: str, *, counted: bool = True) -> Caller | None:
        """The caller, who has `scope`; None for what is open to everybody. Raises CallRefused (401, 403, 429).

        `counted` False: a request that was let in before is looked at again, and counts towards no limit.
        """
        if scope == OPEN:
            return None
        caller = await self._identify(request)
        # A key is a token, too; who comes without one is on this machine or in a network that is trusted.
        if counted and caller.actor.startswith((TOKEN_ACTOR, KEY_ACTOR)):
            await self._rate.take(caller.actor)
        if not caller.may(scope):
            hint = "Make a token with this scope: jobsync tokens create." if scope in SCOPES else None
            raise CallRefused(403, f"This needs the scope {scope}.", code="missing_scope", hint=hint, scope=scope)
        tenant = request.headers.get("x-jobsync-tenant")
        if tenant is not None and tenant != caller.tenant:
            if not caller.all_tenants or not caller.may("admin"):
                raise CallRefused(403, "This caller belongs to another tenant.", code="other_tenant")
            caller = await self._act_for(caller, tenant)
        return caller

    def is_near(self, request: Request) -> bool:
        """True when the peer is this machine or in a trusted network: what it says of a caller behind it is believed."""
        address = _peer(request)
        return address is not None and (address.is_loopback or self._is_trusted(address))

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)

    async def _act_for(self, caller: Caller, tenant: str) -> Caller:
        known = self._tenants.get(tenant)
        if known is None or self.clock() >= known:
            assert self._database is not None
            await find_tenant(self._database, tenant)
            if len(self._tenants) >= TOKENS_KEPT:
                self._tenants.clear()
            self._tenants[tenant] = self.clock() + TOKEN_KEPT_SECONDS
        return replace(caller, tenant=tenant)

    async def _identify(self, request: Request) -> Caller:
        given = _given_credential(request.headers)
        if given is not None and given.startswith("js_"):
            return await self._identify_token(given)
        if given is not None and self._key is not None:
            if hmac.compare_digest(_digest(given.encode("utf-8", "surrogateescape")), _digest(self._key)):
                return Caller(DEFAULT_TENANT, KEY_ACTOR, _PLAIN)
            raise _unknown("This key is not the one that JobSync was started with.")
        address = _peer(request)
        trusted = address is not None and self._is_trusted(address)
        local = self._key is None and address is not None and address.is_loopback
        if not trusted and not local:
            raise _unknown("A key or token is needed.")
        self._refuse_disguised(request)
        return Caller(DEFAULT_TENANT, "loopback" if address is not None and address.is_loopback else "network", _PLAIN)

    async def _identify_token(self, text: str) -> Caller:
        now = self.clock()
        digest = _digest(text.encode("utf-8", "surrogateescape"))
        kept = self._live.get(digest)
        if kept is not None and now < kept[1]:
            return kept[0]
        self._live.pop(digest, None)
        row = await check_token(self._database, text) if self._database is not None else None
        if row is None:
            raise _unknown("This token is not known, was revoked, or has expired.")
        caller = Caller(row["tenant_id"], f"{TOKEN_ACTOR}{row['id']}", frozenset(row["scopes"]), row["all_tenants"])
        if len(self._live) >= TOKENS_KEPT:
            self._live.clear()
        self._live[digest] = (caller, now + min(TOKEN_KEPT_SECONDS, row["expires_in"] or TOKEN_KEPT_SECONDS))
        return caller

    def _refuse_disguised(self, request: Request) -> None:
        """Whoever comes without a key must come straight, by a name of ours, and not from somebody else's page."""
        headers = request.headers
        if any(name == "forwarded" or name == "x-real-ip" or name.startswith("x-forwarded-") for name in headers):
            raise CallRefused(
                403,
                "A request that came through a proxy needs a key.",
                code="forwarded",
                hint="Set API_KEY and send it as X-API-Key.",
            )
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0], request):
            raise CallRefused(
                403,
                "JobSync does not answer to this host name.",
                code="foreign_host",
                hint="Add the name to JOBSYNC_ALLOWED_HOSTS, or use a key.",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
            raise CallRefused(
                403, "A page of another site may not call JobSync.", code="foreign_origin", hint="Use a key."
            )
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not (
            request.method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
        ):
            raise CallRefused(
                403, "A page of another site may not call JobSync.", code="foreign_origin", hint="Use a key."
            )

    def _is_ours(self, host: str, request: Request) -> bool:
        name = _without_port(host)
        if name in _LOOPBACK_HOSTS or name in self._allowed:
            return True
        # A caller in a trusted network may use our bare address: no stranger's name can be re-pointed at that.
        ours, given = _address((request.scope.get("server") or ("",))[0]), _address(name.strip("[]"))
        return ours is not None and ours == given


def _given_credential(headers: Mapping[str, str]) -> str | None:
    key = headers.get("x-api-key", "").strip()
    if key:
        return key
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() or None if kind.lower() == "bearer" else None


def _peer(request: Request) -> IPv4Address | IPv6Address | None:
    return None if request.client is None else _address(request.client.host)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.split("%", 1)[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _without_port(host: str) -> str:
    text = host.strip().lower()
    if text.startswith("["):
        return text.split("]", 1)[0] + "]"
    return text.rsplit(":", 1)[0] if text.count(":") == 1 else text


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _unknown(message: str) -> CallRefused:
    hint = "Send API_KEY or a token as X-API-Key, or as Authorization: Bearer."
    return CallRefused(401, message, code="unauthorized", hint=hint)
