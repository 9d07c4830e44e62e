"""The open connections, and which one to close when there are too many: one host cannot use up the pool."""

import ipaddress
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Connection:
    """One connection, from `accept` until it is closed."""

    host: str
    """The client's network, as `client_network` returns it."""
    abort: Callable[[], object] = lambda: None
    """Closes the connection at once, even in the middle of a response."""
    deadline: float = math.inf
    """Loop time at which it is closed for inactivity."""
    awaiting_first_request: bool = True
    """True until the first complete request."""
    close_after_response: bool = False


@dataclass(slots=True)
class _HostConnections:
    """Connections of one host. Both dicts are ordered: the longest unchanged connection comes first."""

    idle: dict[Connection, None] = field(default_factory=dict)
    """Connections without a complete request."""
    busy: dict[Connection, None] = field(default_factory=dict)
    """Connections whose request is being answered."""

    def __len__(self) -> int:
        return len(self.idle) + len(self.busy)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self.idle or connection in self.busy


class ConnectionPool:
    """Caps the number of open connections.

    At the cap, accepting one closes the connection that has been idle longest on the host with the most. If all
    connections of that host are busy, the one that has been busy longest is closed.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._hosts: dict[str, _HostConnections] = {}
        self._count = 0

    def __len__(self) -> int:
        """Number of open connections."""
        return self._count

    def add(self, connection: Connection) -> None:
        """Add an idle connection. Evicts one if the pool is then above its limit."""
        self._hosts.setdefault(connection.host, _HostConnections()).idle[connection] = None
        self._count += 1
        if self._count > self._limit:
            self.evict()

    def evict(self) -> None:
        """Close one connection, if there is one."""
        if not self._hosts:
            return
        host = max(self._hosts.values(), key=lambda host: (len(host), bool(host.idle)))
        self._close(next(iter(host.idle or host.busy)))

    def remove(self, connection: Connection) -> None:
        """Remove a closed connection. Does nothing if it was removed before."""
        host = self._hosts.get(connection.host)
        if host is None or connection not in host:
            return
        host.idle.pop(connection, None)
        host.busy.pop(connection, None)
        self._count -= 1
        if not host:
            del self._hosts[connection.host]

    def mark_busy(self, connection: Connection) -> None:
        """Record that a complete request has arrived."""
        connection.awaiting_first_request = False
        host = self._hosts.get(connection.host)
        if host is not None and connection in host.idle:
            del host.idle[connection]
            host.busy[connection] = None

    def mark_idle(self, connection: Connection) -> None:
        """Record that the response has been sent."""
        host = self._hosts.get(connection.host)
        if host is not None and connection in host.busy:
            del host.busy[connection]
            host.idle[connection] = None

    def close_expired(self, now: float) -> None:
        """Close connections past their deadline. One scan per second costs less than a timer per request."""
        for connection in tuple(self._all()):
            if connection.deadline <= now:
                self._close(connection)

    def drain(self) -> None:
        """Close idle connections now, and the others after their next response.

        A connection that has not had a response yet counts as busy: closing it would look like a failing server.
        """
        for connection in tuple(self._all()):
            if connection.awaiting_first_request or connection in self._hosts[connection.host].busy:
                connection.close_after_response = True
            else:
                self._close(connection)

    def _close(self, connection: Connection) -> None:
        self.remove(connection)
        connection.abort()

    def _all(self) -> Iterator[Connection]:
        for host in self._hosts.values():
            yield from host.idle
            yield from host.busy


def client_network(host: str) -> str:
    """Return the network a single client can usually choose addresses from: an IPv6 /64, or one IPv4 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host  # no IP address, for example on a Unix domain socket
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
