"""Accounts, the token endpoint and the check that every API call passes (ServiceTitan contract, section 1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import deque
from dataclasses import dataclass
from itertools import count
from urllib.parse import parse_qs

from .clock import SimClock
from .instants import SECOND
from .replies import Refusal, Reply, gateway_error, json_reply, too_many, unix_from_ticks
from .switches import Switches

SCOPES = ("tn.jpm.jobs:r", "tn.crm.customers:r", "tn.acc.invoices:r", "tn.sal.estimates:r", "tn.stt.businessunits:r")


@dataclass(frozen=True, slots=True)
class Account:
    """What one app needs to read one tenant. The app key is per app, id and secret per (app, tenant)."""

    tenant: int = 900155501
    client_id: str = "cid.simulated"
    client_secret: str = "cs1.simulated"
    app_key: str = "ak1.simulated"


@dataclass(frozen=True, slots=True)
class Grant:
    """A token that was given out: for which account, and when it ends (ticks)."""

    account: Account
    ends: int


class TokenDesk:
    """Gives out tokens and checks them. Time is the virtual clock's; tokens of another run are unknown here."""

    def __init__(self, clock: SimClock, switches: Switches) -> None:
        self.accounts: dict[int, Account] = {}
        self.issued = 0
        self._clock = clock
        self._switches = switches
        self._grants: dict[str, Grant] = {}
        self._recent: deque[int] = deque()
        self._numbers = count(1)

    def admit(self, account: Account) -> None:
        """Adds (or replaces) the account of a tenant."""
        self.accounts[account.tenant] = account

    def revoke(self) -> int:
        """Ends every token at once, as a rotated secret does; answers how many."""
        ended = len(self._grants)
        self._grants.clear()
        return ended

    def answer(self, content_type: str, body: bytes) -> Reply:
        """POST /connect/token."""
        throttled = self._throttle()
        if throttled is not None:
            return throttled
        if content_type.split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            return json_reply({"error": "invalid_request"}, 400)
        form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
        if form.get("grant_type") != "client_credentials":
            return json_reply({"error": "unsupported_grant_type"}, 400)
        for account in self.accounts.values():
            if hmac.compare_digest(account.client_id, form.get("client_id", "")) and hmac.compare_digest(
                account.client_secret, form.get("client_secret", "")
            ):
                return json_reply(
                    {
                        "access_token": self._issue(account),
                        "expires_in": self._switches.token_life_seconds,
                        "token_type": "Bearer",
                        "scope": " ".join(SCOPES),
                    }
                )
        return json_reply({"error": "invalid_client"}, self._switches.invalid_client_status)

    def check(self, tenant: int, authorization: str, app_key: str) -> Account:
        """Raises Refusal: 401 for no, unknown or expired token or a wrong app key, 403 for a tenant that the token is
        not for. Answers the account."""
        scheme, _, token = authorization.partition(" ")
        grant = self._grants.get(token.strip())
        if scheme.lower() != "bearer" or grant is None or grant.ends <= self._clock.now():
            raise Refusal(gateway_error(401, self._switches.error_body))
        if not hmac.compare_digest(grant.account.app_key, app_key):
            raise Refusal(gateway_error(401, self._switches.error_body, "Invalid application key."))
        if grant.account.tenant != tenant:
            raise Refusal(gateway_error(403, self._switches.error_body))
        return grant.account

    def _issue(self, account: Account) -> str:
        now = self._clock.now()
        ends = now + self._switches.token_life_seconds * SECOND
        issued = int(unix_from_ticks(now))
        claims = {
            "nbf": issued, "exp": issued + self._switches.token_life_seconds, "iss": "simulator",
            "client_id": account.client_id, "tenant": str(account.tenant), "jti": f"{next(self._numbers):08X}",
            "iat": issued, "scope": list(SCOPES),
        }  # fmt: skip
        parts = [_part({"alg": "none", "typ": "at+jwt"}), _part(claims)]
        parts.append(_text(hashlib.sha256(".".join(parts).encode()).digest()))
        token = ".".join(parts)
        self._grants = {key: grant for key, grant in self._grants.items() if grant.ends > now}
        self._grants[token] = Grant(account, ends)
        self.issued += 1
        return token

    def _throttle(self) -> Reply | None:
        now, limit = self._clock.now(), self._switches.token_requests_per_minute
        while self._recent and self._recent[0] <= now - 60 * SECOND:
            self._recent.popleft()
        if limit and len(self._recent) >= limit:
            wait = (self._recent[0] + 60 * SECOND - now) / SECOND
            return too_many(wait, self._switches.error_body, self._switches.retry_after, unix_from_ticks(now))
        self._recent.append(now)
        return None


def _part(value: object) -> str:
    return _text(json.dumps(value).encode())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
