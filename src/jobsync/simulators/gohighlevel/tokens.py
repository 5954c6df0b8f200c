"""Bearer tokens: private integration tokens, OAuth tokens, who may do what where (GoHighLevel contract, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

from .answers import refuse
from .clock import MovableClock
from .identifiers import IdMaker
from .switches import Switches

SCOPES = frozenset(
    {
        "contacts.readonly",
        "contacts.write",
        "opportunities.readonly",
        "opportunities.write",
        "locations.readonly",
        "locations/customFields.readonly",
        "locations/customFields.write",
        "locations/tags.readonly",
        "locations/tags.write",
    }
)
DAY = 86_400.0


@dataclass(slots=True)
class Token:
    """A bearer token. kind: `pit` and `oauth` act in one location, `agency_pit` and `company` in none directly.
    expires_at: epoch seconds, None = never."""

    value: str
    kind: str
    location_id: str | None
    scopes: frozenset[str]
    expires_at: float | None = None
    used_at: float | None = None


class TokenOffice:
    """Issues tokens and tells good ones from bad ones."""

    def __init__(self, clock: MovableClock, switches: Switches, ids: IdMaker) -> None:
        self._clock = clock
        self._switches = switches
        self._ids = ids
        self._tokens: dict[str, Token] = {}

    def issue_pit(self, location_id: str | None, *, scopes: frozenset[str] = SCOPES, value: str | None = None) -> str:
        """A private integration token of a location (None: one of the agency, which may not touch contacts)."""
        kind = "agency_pit" if location_id is None else "pit"
        return self.issue(kind, location_id, scopes, value or self._ids.token("pit-"))

    def issue(
        self, kind: str, location_id: str | None, scopes: frozenset[str], value: str, life: float | None = None
    ) -> str:
        """Any token; life in seconds."""
        now = self._clock.now()
        expires_at = None if life is None else now + life
        self._tokens[value] = Token(value, kind, location_id, frozenset(scopes), expires_at, now)
        return value

    def rotate(self, value: str, *, grace_seconds: float = 7 * DAY) -> str:
        """A new token with the same rights; the old one works for the grace period ("rotate and expire later": seven
        days), with 0 it is dead at once. Raises ValueError for a token that was never issued."""
        old = self._known(value)
        new = self.issue(old.kind, old.location_id, old.scopes, self._ids.token("pit-"))
        old.expires_at = self._clock.now() + grace_seconds
        return new

    def revoke(self, value: str) -> None:
        """Kills a token now."""
        self._known(value).expires_at = self._clock.now()

    def narrow(self, value: str, scopes: frozenset[str]) -> None:
        """Changes the scopes of a token, as somebody editing the integration does."""
        self._known(value).scopes = frozenset(scopes)

    def of_location(self, location_id: str) -> list[str]:
        """The live tokens of a location, oldest first."""
        return [each.value for each in self._tokens.values() if each.location_id == location_id and self._alive(each)]

    def identify(self, authorization: str) -> Token:
        """The token behind an Authorization header. Raises the 401 of a missing, unknown or dead one."""
        scheme, _, value = authorization.partition(" ")
        token = self._tokens.get(value.strip()) if scheme.lower() == "bearer" else None
        if token is None or not self._alive(token):
            raise refuse(401, "Invalid token: access token is invalid")
        token.used_at = self._clock.now()
        return token

    def _alive(self, token: Token) -> bool:
        now = self._clock.now()
        if token.expires_at is not None and token.expires_at <= now:
            return False
        idle = self._switches.pit_idle_days
        return not (idle and token.kind == "pit" and token.used_at is not None and now - token.used_at > idle * DAY)

    def _known(self, value: str) -> Token:
        if value not in self._tokens:
            raise ValueError("no such token was issued")
        return self._tokens[value]


def check_rights(token: Token, scope: str | None, wants_agency: bool) -> None:
    """Raises the 401 of a token whose class or scopes do not allow a call."""
    if wants_agency != (token.kind == "company"):
        if token.kind == "agency_pit":
            raise refuse(401, "The token is not authorized for this scope.")
        raise refuse(401, "Token's user type mismatch!")
    if scope is not None and scope not in token.scopes:
        raise refuse(401, "The token is not authorized for this scope.")


def check_location(token: Token, location_id: object) -> None:
    """Raises the 403 of a call that names another location than its token's."""
    if isinstance(location_id, str) and location_id and location_id != token.location_id:
        raise refuse(403, "The token does not have access to this location.")
