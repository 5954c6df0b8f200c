"""OAuth: codes, access tokens and refresh tokens that rotate (GoHighLevel contract, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from .answers import Answer, error, refuse
from .clock import MovableClock
from .identifiers import IdMaker
from .switches import Switches
from .tokens import SCOPES, TokenOffice

if TYPE_CHECKING:
    from .call import Call

ACCESS_LIFE = 86_399
REFRESH_LIFE = 365 * 86_400.0


@dataclass(slots=True)
class Grant:
    """A code or refresh token: what it may be exchanged for, until when, and what it was exchanged for."""

    user_type: str
    location_id: str | None
    expires_at: float
    used_at: float | None = None
    answer: dict[str, Any] | None = None


class OAuthDesk:
    """Clients, codes and refresh tokens. A refresh token is used once; within the grace it answers the same pair."""

    def __init__(self, clock: MovableClock, switches: Switches, ids: IdMaker, office: TokenOffice) -> None:
        self._clock = clock
        self._switches = switches
        self._ids = ids
        self._office = office
        self.company_id = ids.record()
        self._clients: dict[str, str] = {}
        self._codes: dict[str, Grant] = {}
        self._refreshes: dict[str, Grant] = {}
        self.refreshed = 0

    def add_client(self, client_id: str, client_secret: str) -> None:
        """Registers an app."""
        self._clients[client_id] = client_secret

    def authorize(self, location_id: str | None) -> str:
        """Somebody installs the app: a code for a location, or for the company (None)."""
        code = self._ids.record()
        kind = "Company" if location_id is None else "Location"
        self._codes[code] = Grant(kind, location_id, self._clock.now() + 600)
        return code

    def exchange(self, call: Call) -> Answer:
        """POST /oauth/token, form-encoded: authorization_code or refresh_token."""
        if not call.content_type.startswith("application/x-www-form-urlencoded"):
            form = {}
        else:
            form = dict(parse_qsl(call.raw.decode("utf-8", "replace"), keep_blank_values=True))
        absent = [name for name in ("client_id", "client_secret", "grant_type") if not form.get(name)]
        if absent:
            raise refuse(422, [f"{name} should not be empty" for name in absent])
        if self._clients.get(form["client_id"]) != form["client_secret"]:
            return error(401, "Invalid client credentials!")
        if form["grant_type"] == "authorization_code":
            return self._spend(self._codes, form.get("code", ""), grace=0.0)
        if form["grant_type"] == "refresh_token":
            grace = self._switches.refresh_grace_seconds
            return self._spend(self._refreshes, form.get("refresh_token", ""), grace)
        return error(422, ["grant_type must be one of the following values: authorization_code, refresh_token"])

    def exchange_for_location(self, call: Call) -> Answer:
        """POST /oauth/locationToken: an agency's token -> one for a location of it."""
        if call.content_type.startswith("application/json"):
            form = call.body()
        else:
            form = dict(parse_qsl(call.raw.decode("utf-8", "replace")))
        if form.get("companyId") != self.company_id:
            raise refuse(400, "companyId is invalid")
        location_id = form.get("locationId")
        if location_id not in call.world.locations:
            raise refuse(400, "Location not found")
        answer = self._pair("Location", str(location_id))
        answer.pop("refresh_token")
        return Answer(self._switches.location_token_status, answer)

    def _spend(self, grants: dict[str, Grant], value: str, grace: float) -> Answer:
        grant = grants.get(value)
        now = self._clock.now()
        if grant is None or grant.expires_at <= now:
            return _invalid_grant()
        if grant.used_at is not None:
            return Answer(200, dict(grant.answer or {})) if now - grant.used_at < grace else _invalid_grant()
        grant.used_at, grant.answer = now, self._pair(grant.user_type, grant.location_id)
        self.refreshed += grants is self._refreshes
        return Answer(200, dict(grant.answer))

    def _pair(self, user_type: str, location_id: str | None) -> dict[str, Any]:
        kind = "company" if user_type == "Company" else "oauth"
        scopes = SCOPES | {"oauth.write", "oauth.readonly"} if kind == "company" else SCOPES
        access = self._office.issue(kind, location_id, scopes, self._ids.token("at-"), ACCESS_LIFE)
        refresh = self._ids.token("rt-")
        self._refreshes[refresh] = Grant(user_type, location_id, self._clock.now() + REFRESH_LIFE)
        answer = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": ACCESS_LIFE,
            "refresh_token": refresh,
            "scope": " ".join(sorted(scopes)),
            "userType": user_type,
            "companyId": self.company_id,
            "userId": self._ids.record(),
        }
        return answer if location_id is None else {**answer, "locationId": location_id}


def exchange(call: Call) -> Answer:
    """POST /oauth/token."""
    return call.world.oauth.exchange(call)


def exchange_for_location(call: Call) -> Answer:
    """POST /oauth/locationToken."""
    return call.world.oauth.exchange_for_location(call)


def _invalid_grant() -> Answer:
    return Answer(400, {"error": "invalid_grant", "error_description": "This refresh token is invalid"})
