"""Binding: where the service may listen, and the socket. Light to load: it is looked at before anything else is opened.

An API without a key must not be reachable from other machines (security bar X1): `check_binding` refuses.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address, ip_network

from jobsync.config import Settings
from jobsync.errors import ConfigError

BACKLOG = 2048


def check_binding(settings: Settings) -> None:
    """Raises ConfigError (exit 6) when the API would be open to other machines without a key."""
    everyone = [network for network in settings.trusted_networks if ip_network(network, strict=False).prefixlen == 0]
    if everyone and settings.api_key is None:
        raise ConfigError(
            f"JOBSYNC_TRUSTED_NETWORKS holds {everyone[0]}, which is everybody: the API would be open to the world.",
            hint="Name the networks you mean, or set API_KEY.",
        )
    if _is_loopback(settings.host) or settings.api_key is not None or settings.trusted_networks:
        return
    raise ConfigError(
        f"JobSync does not listen on {settings.host}: other machines could use the API without a key.",
        hint="Set API_KEY, or JOBSYNC_TRUSTED_NETWORKS to the networks that may use it, or HOST=127.0.0.1.",
    )


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError: code `port_busy` when another program has the port."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ConfigError(f"The host {host} is not known here.", hint="Check HOST.") from None
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    # The protocol is named because asyncio sends small answers at once (TCP_NODELAY) only on sockets that say TCP.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise _explain(error, host, port) from None
    return opened


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _explain(error: OSError, host: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"Port {port} on {host} is used by another program.",
            hint=f"Stop it, or choose another port: PORT={port + 1 if port < 65535 else 3001} or --port.",
            code="port_busy",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(f"This user may not listen on port {port}.", hint="Choose a PORT of 1024 or more.")
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"This machine has no address {host}.", hint="Check HOST.")
    return ConfigError(f"JobSync cannot listen on {host} port {port}: {error.strerror}.", hint="Check HOST and PORT.")
