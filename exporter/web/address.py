"""Where to listen, as Prometheus writes it: `:10310`, `127.0.0.1:10310`, `[::1]:10310`."""

import socket
from dataclasses import dataclass

_MOST = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A host, empty for all interfaces, and a port, 0 for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as it is read."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read one listen address. Raises ValueError with one sentence that quotes it."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _MOST:
        raise ValueError(f"{text!r} is not a listen address: it must end in a colon and a port up to {_MOST}")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise ValueError(f"{text!r} is not a listen address: an IPv6 host stands in brackets")
    return Address(host[1:-1] if bracketed else host, int(port))


def bind(address: Address, *, backlog: int = 128) -> socket.socket:
    """Open the listening socket; all interfaces means IPv4 and, where the machine has it, IPv6.

    Raises OSError when the host has no address here or the port is taken; blocks for as long as a name takes.
    """
    if not address.host:
        if socket.has_dualstack_ipv6():
            try:
                return socket.create_server(
                    ("", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog
                )
            except OSError:
                pass  # IPv6 is compiled in but switched off, as in many containers; a taken port fails again below
        return socket.create_server(("", address.port), backlog=backlog)
    family, _, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(where, family=family, backlog=backlog)
