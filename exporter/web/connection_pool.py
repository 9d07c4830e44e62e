"""Who is connected, and who has to go when there are too many: no host can crowd out another."""

import ipaddress
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Connection:
    """One connection, from the moment it was taken in until it is gone."""

    host: str
    """Its neighbourhood: see below."""
    end: Callable[[], object] = lambda: None
    """Ends it at once, whatever is under way."""
    until: float = math.inf
    """When its patience is over, by the clock of the event loop."""
    fresh: bool = True
    """Whether it has not sent a whole request yet."""
    leaving: bool = False
    """Whether it has to go after its next answer."""


@dataclass(slots=True)
class _HostConnections:
    """Visits from one host, those that changed longest ago first."""

    idle: dict[Connection, None] = field(default_factory=dict)
    """Without a whole request, as yet or at the moment."""
    busy: dict[Connection, None] = field(default_factory=dict)

    def __len__(self) -> int:
        """All of them."""
        return len(self.idle) + len(self.busy)


class ConnectionPool:
    """At most so many visits; a newcomer is always let in, and somebody goes for it.

    The host that has most loses one: the visit that is idle longest, or if all are busy the one that is so longest.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._parties: dict[str, _HostConnections] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many are connected."""
        return self._count

    def enter(self, visit: Connection) -> None:
        """Take a visit in, idle; end another when there is one too many."""
        self._parties.setdefault(visit.host, _HostConnections()).idle[visit] = None
        self._count += 1
        if self._count > self._most:
            self.evict()

    def evict(self) -> None:
        """End one visit, if there is any."""
        if not self._parties:
            return
        party = max(self._parties.values(), key=lambda party: (len(party), bool(party.idle)))
        visit = next(iter(party.idle or party.busy))
        self.exit(visit)
        visit.end()

    def exit(self, visit: Connection) -> None:
        """Forget a visit; does nothing when it is forgotten already."""
        party = self._parties.get(visit.host)
        if party is None or (visit not in party.idle and visit not in party.busy):
            return
        party.idle.pop(visit, None)
        party.busy.pop(visit, None)
        self._count -= 1
        if not party:
            del self._parties[visit.host]

    def begun(self, visit: Connection) -> None:
        """Note that a visit has sent a whole request."""
        visit.fresh = False
        party = self._parties.get(visit.host)
        if party is not None and visit in party.idle:
            del party.idle[visit]
            party.busy[visit] = None

    def ended(self, visit: Connection) -> None:
        """Note that a visit has its answer."""
        party = self._parties.get(visit.host)
        if party is not None and visit in party.busy:
            del party.busy[visit]
            party.idle[visit] = None

    def sweep(self, now: float) -> None:
        """End the visits whose time is over; a look at all now and then costs less than a timer for each request."""
        for visit in tuple(self._all()):
            if visit.until <= now:
                self.exit(visit)
                visit.end()

    def retire(self) -> None:
        """Let everybody go who is in now: whoever has had an answer at once, the others after theirs."""
        for visit in tuple(self._all()):
            if visit.fresh or visit in self._parties[visit.host].busy:
                visit.leaving = True  # ended in the midst of it, a client would take us for broken
            else:
                self.exit(visit)
                visit.end()

    def _all(self) -> Iterator[Connection]:
        for party in self._parties.values():
            yield from party.idle
            yield from party.busy


def client_network(host: str) -> str:
    """Group addresses one visitor can have at will: an IPv6 network of 64 bits, or one IPv4 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host  # a socket without an address, as of a Unix domain
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
