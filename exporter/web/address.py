"""Listen addresses in Prometheus' notation: `:10310`, `127.0.0.1:10310`, `[::1]:10310`."""

import socket
from dataclasses import dataclass

_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A host (empty: all interfaces) and a port (0: any free port)."""

    host: str
    port: int

    def __str__(self) -> str:
        """Format as `parse_address` reads it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse one listen address. Raises ValueError with a sentence that quotes it."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise ValueError(f"{text!r} is not a listen address: it must end in a colon and a port up to {_MAX_PORT}")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise ValueError(f"{text!r} is not a listen address: an IPv6 host must be in brackets")
    return Address(host[1:-1] if bracketed else host, int(port))


def bind(address: Address, *, backlog: int = 128) -> socket.socket:
    """Open the listening socket. An empty host means IPv4 and, if the machine has it, IPv6.

    Raises OSError if the host has no address on this machine or the port is in use. Blocks while a name is resolved.
    """
    if not address.host:
        if socket.has_dualstack_ipv6():
            try:
                return socket.create_server(
                    ("", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog
                )
            except OSError:
                pass  # IPv6 is compiled in but disabled, as in many containers; a port in use fails again below
        return socket.create_server(("", address.port), backlog=backlog)
    family, _, _, _, sockaddr = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(sockaddr, family=family, backlog=backlog)
