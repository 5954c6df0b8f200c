"""Doors: how a browser comes in, and which cookie it can be given there.

Behind TLS (our own, or a proxy's that says so) the session stands in a `__Host-` cookie with Secure. Over plain http only
a browser that opened an address of its own machine is served: there the cookie never leaves the machine, and Secure
cookies do not work in every browser. Everybody else who comes without TLS is told so, and no password is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import Request, Response

from jobsync.errors import CallRefused
from jobsync.web.auth import Gate

LOOPBACK_NAMES = frozenset({"localhost", "[::1]"})


@dataclass(frozen=True, slots=True)
class Door:
    """One way in. `secure`: over TLS; `safe`: a password may be sent through it."""

    secure: bool
    safe: bool
    port: int | None

    @property
    def session_cookie(self) -> str:
        """The name of the session's cookie. Ports share cookies, so plain http has a name for each."""
        return "__Host-jobsync" if self.secure else f"jobsync_{self.port or 80}"

    @property
    def visit_cookie(self) -> str:
        """The name of the cookie that ties the sign-in form to the browser that asked for it."""
        return "__Host-jobsync-visit" if self.secure else f"jobsync_visit_{self.port or 80}"

    def set_cookie(self, response: Response, name: str, value: str) -> None:
        """Sets a cookie for this browser session: HttpOnly, SameSite=Strict, Path=/, and Secure over TLS."""
        response.set_cookie(name, value, path="/", httponly=True, samesite="strict", secure=self.secure)

    def drop_cookie(self, response: Response, name: str) -> None:
        """Makes the browser forget it."""
        response.delete_cookie(name, path="/", httponly=True, samesite="strict", secure=self.secure)


def find_door(request: Request) -> Door:
    """The door that a request came through."""
    host, port = _split(request.headers.get("host", ""))
    secure = request.url.scheme == "https" or _said_https(request)
    return Door(secure, secure or _is_this_machine(host), port)


def find_address(request: Request, gate: Gate) -> str:
    """Where the person comes from, for counting tries: the peer, or whom a proxy of ours names as its own peer."""
    peer = request.client.host if request.client else "-"
    named = request.headers.getlist("x-forwarded-for")
    if named and gate.is_near(request):
        # A proxy adds whom it saw at the end; what stands before may be invented.
        last = named[-1].rsplit(",", 1)[-1].strip()
        try:
            return str(ip_address(last))
        except ValueError:
            return peer
    return peer


def refuse_foreign(request: Request) -> None:
    """Raises CallRefused (403) for a form that another site sent."""
    origin = request.headers.get("origin")
    if origin is not None and origin != "null":
        host = urlsplit(origin).netloc.lower()
        foreign = host != request.headers.get("host", "").strip().lower()
    else:
        # Without Referer (no-referrer) some browsers send `null` for a form of our own; then this header decides.
        foreign = origin == "null" and request.headers.get("sec-fetch-site") != "same-origin"
    if foreign or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise CallRefused(
            403, "This form came from another site.", code="foreign_form", hint="Open the page here and try again."
        )


def _said_https(request: Request) -> bool:
    if request.headers.get("x-forwarded-proto", "").split(",")[-1].strip().lower() == "https":
        return True
    return "proto=https" in request.headers.get("forwarded", "").lower().replace('"', "")


def _split(host: str) -> tuple[str, int | None]:
    try:
        found = urlsplit(f"//{host.strip()}")
        return (f"[{found.hostname}]" if ":" in (found.hostname or "") else found.hostname or ""), found.port
    except ValueError:
        return "", None


def _is_this_machine(host: str) -> bool:
    if host in LOOPBACK_NAMES or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
