"""The guard in front of every URL that a person may enter: no private address, no surprise (security bar X5).

A hook must be https, on GoHighLevel's hosts, at the usual port. A host in JOBSYNC_ALLOW_HOSTS may be anything: another
public host, a private or loopback address, http, any port. The name is resolved once for each connection, and the
connection goes to the addresses that were checked then; TLS checks the name. Proxy variables, netrc and cookies are
ignored; that redirects are not followed is up to `exchange.send`, the only place that sends.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from jobsync.errors import ConfigError, DestinationRefused
from jobsync.gohighlevel.exchange import MarkedRequest

HOOK_HOSTS = frozenset({"services.leadconnectorhq.com", "backend.leadconnectorhq.com", "hooks.leadconnectorhq.com"})
"""Where inbound hooks live. The contract knows the first (section 9); the others are GoHighLevel's own domain."""

LONGEST_URL = 2048
_HINT = "Paste the hook's URL as GoHighLevel shows it, or name the host in JOBSYNC_ALLOW_HOSTS."
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
# Two parsers must not read two hosts out of one text (RFC 3986 and WHATWG differ over these), so they are not let in.
_ODD = re.compile(r"[^\x21-\x7e]|[\\<>\"`{}|^]")
_AUTHORITY = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?", re.ASCII)
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Not marked by every supported Python: documentation (RFC 9637) and the old relays of 6to4 (RFC 7526).
_NOT_GLOBAL = tuple(ipaddress.ip_network(text) for text in ("3fff::/20", "192.88.99.0/24"))


class Guard:
    """Decides which URLs and addresses may be called.

    `allow_hosts`: names or addresses that are exempt (JOBSYNC_ALLOW_HOSTS); a port written behind one is ignored.
    `hosts`: the names that need no exemption; None = any public host (alert and ping URLs).
    """

    def __init__(self, allow_hosts: Sequence[str] = (), *, hosts: Collection[str] | None = HOOK_HOSTS) -> None:
        self._exempt = frozenset(bare for bare in map(_bare, allow_hosts) if bare)
        self._hosts = None if hosts is None else frozenset(map(_bare, hosts))
        self._passed: str | None = None

    def is_exempt(self, host: str) -> bool:
        """True for a host in JOBSYNC_ALLOW_HOSTS."""
        return _bare(host) in self._exempt

    def check_url(self, url: str) -> None:
        """Raises DestinationRefused, never repeating the URL, when it must not be called. Resolves nothing."""
        if url == self._passed:
            return
        self._judge_url(url)
        self._passed = url

    def _judge_url(self, url: str) -> None:
        if len(url) > LONGEST_URL or _ODD.search(url):
            raise DestinationRefused("The URL is too long or holds characters that no hook has.", hint=_HINT)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts = None  # raised below: the library's error holds the URL, and would hang on to ours as its context
        if parts is None:
            raise DestinationRefused("This is not a URL.", hint=_HINT)
        if parts.scheme not in ("http", "https") or not host or not url.lower().startswith(f"{parts.scheme}://"):
            raise DestinationRefused("A hook's URL starts with https:// and a host name.", hint=_HINT)
        if "@" in parts.netloc:
            raise DestinationRefused("A hook's URL must not hold a user name or password.", hint=_HINT)
        if "#" in url:
            raise DestinationRefused("A hook's URL must not hold a fragment (#).", hint=_HINT)
        if not _AUTHORITY.fullmatch(parts.netloc) or port == 0:
            raise DestinationRefused("The URL's host or port is not written in a usual way.", hint=_HINT)
        if self.is_exempt(host):
            return
        if parts.scheme != "https":
            raise DestinationRefused("A hook must be https, so that its URL stays a secret.", hint=_HINT)
        if port not in (None, 443):
            raise DestinationRefused("A hook must be at the usual port of https.", hint=_HINT)
        self._check_host(host)

    def check_address(self, host: str, address: str) -> None:
        """Raises DestinationRefused when the name `host` led to an address that is not public."""
        if not self.is_exempt(host) and not is_public(address):
            raise DestinationRefused("The host's name leads to an address that is not public.", hint=_HINT)

    def _check_host(self, host: str) -> None:
        if self._hosts is not None:
            if host not in self._hosts:
                raise DestinationRefused("This host is not one of GoHighLevel's.", hint=_HINT)
            return
        literal = _read_literal(host)
        if literal is not None:
            self.check_address(host, literal)
        # A name whose last part is a number is read as an address by some (0x7f.1, 2130706433, 127.1).
        elif not _NAME.fullmatch(host) or _NUMBER.fullmatch(host.rstrip(".").rsplit(".", 1)[-1]):
            raise DestinationRefused("This is not the name of a host.", hint=_HINT)


def is_public(address: str) -> bool:
    """True for an address of the open internet. Mapped, translated and tunnelled forms are judged by what is inside."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return False
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if found not in _GLOBAL_V6 or found.teredo is not None:
            return False
    if any(found in network for network in _NOT_GLOBAL if network.version == found.version):
        return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


class GuardedResolver(AbstractResolver):
    """Resolves a name and lets only checked addresses through; the connector connects to exactly those."""

    def __init__(self, guard: Guard, inner: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._inner = inner or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`. Raises DestinationRefused if any is not public, OSError if there are none."""
        found = await self._inner.resolve(host, port, family)
        if not found:
            raise OSError(None, "the name has no address")
        for entry in found:
            self._guard.check_address(host, entry["host"])
        return found

    async def close(self) -> None:
        """Closes the inner resolver."""
        await self._inner.close()


def make_session(
    guard: Guard,
    *,
    limit: int = 64,
    resolver: AbstractResolver | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> aiohttp.ClientSession:
    """A session that connects only where the guard lets it, for up to `limit` requests at once. The caller closes it.

    `ssl_context`: for a certificate authority of one's own; raises ConfigError if it does not check certificate and
    name. To be called in a running event loop.
    """
    if ssl_context is not None and not (ssl_context.verify_mode == ssl.CERT_REQUIRED and ssl_context.check_hostname):
        raise ConfigError("TLS certificates and names are always checked; this context does not.")
    connector = aiohttp.TCPConnector(
        limit=limit,
        resolver=GuardedResolver(guard, resolver),
        use_dns_cache=False,
        ssl=True if ssl_context is None else ssl_context,
    )
    return aiohttp.ClientSession(
        connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), request_class=MarkedRequest
    )


def mask_url(url: str) -> str:
    """What may be shown of a hook's URL: its host and, of a long path, the last four characters."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "?"
    except ValueError:
        return "?/..."
    return f"{host}/...{url[-4:] if len(parts.path) > 12 else ''}"


def _read_literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _bare(host: str) -> str:
    """A host as it is compared: lower case, without port, brackets or final dot."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].split("]", 1)[0]
    return (text.rsplit(":", 1)[0] if text.count(":") == 1 else text).rstrip(".")
