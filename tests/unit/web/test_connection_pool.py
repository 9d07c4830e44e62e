"""Which connection is closed when there are too many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.connection_pool import Connection, ConnectionPool, client_network


class Clients:
    """Connections by name, and the names of the closed ones in order."""

    def __init__(self, *, limit: int) -> None:
        self.pool = ConnectionPool(limit=limit)
        self.closed: list[str] = []
        self.connections: dict[str, Connection] = {}

    def connect(self, *names: str) -> None:
        """Add connections; the first letter of a name is the host."""
        for name in names:
            self.connections[name] = Connection(name[0], lambda name=name: self.closed.append(name))  # type: ignore[misc]
            self.pool.add(self.connections[name])


def test_longest_idle_is_closed() -> None:
    """Above the limit the longest idle connection is closed; a response restarts its idle time."""
    clients = Clients(limit=3)
    clients.connect("a1", "a2", "a3")
    clients.pool.mark_busy(clients.connections["a1"])
    clients.pool.mark_idle(clients.connections["a1"])
    clients.connect("a4", "a5")
    assert clients.closed == ["a2", "a3"]
    assert len(clients.pool) == 3


def test_busy_connections_are_closed_last() -> None:
    """A busy connection is closed only if all connections of its host are busy; then the longest busy one."""
    clients = Clients(limit=2)
    clients.connect("a1", "a2")
    clients.pool.mark_busy(clients.connections["a2"])
    clients.connect("a3")
    clients.pool.mark_busy(clients.connections["a3"])
    assert clients.closed == ["a1"]
    clients.pool.evict()
    assert clients.closed == ["a1", "a2"]


def test_host_with_most_connections_loses_one() -> None:
    """A host that opens many connections closes its own, however long others are idle."""
    clients = Clients(limit=4)
    clients.connect("b1", *(f"a{number}" for number in range(100)))
    assert "b1" not in clients.closed
    assert clients.closed == [f"a{number}" for number in range(97)]


def test_idle_is_closed_among_equal_hosts() -> None:
    """If hosts have equally many connections, an idle one is closed before a busy one."""
    clients = Clients(limit=2)
    clients.connect("a1", "b1")
    clients.pool.mark_busy(clients.connections["a1"])
    clients.pool.evict()
    assert clients.closed == ["b1"]


def test_evict_on_an_empty_pool() -> None:
    """Evicting from an empty pool does nothing."""
    ConnectionPool(limit=1).evict()


def test_expired_connections_are_closed() -> None:
    """Connections past their deadline are closed, busy or idle; the others stay."""
    clients = Clients(limit=9)
    clients.connect("a1", "a2", "b1", "b2")
    clients.pool.mark_busy(clients.connections["b1"])
    for name, deadline in (("a1", 10.0), ("a2", 10.1), ("b1", 9.0)):
        clients.connections[name].deadline = deadline
    clients.pool.close_expired(10.0)
    assert sorted(clients.closed) == ["a1", "b1"]
    assert len(clients.pool) == 2


def test_drain() -> None:
    """Drain closes idle connections at once, and busy or new ones after their next response."""
    clients = Clients(limit=9)
    clients.connect("a1", "a2", "b1", "b2")
    for name in ("a1", "a2", "b1"):
        clients.pool.mark_busy(clients.connections[name])
    for name in ("a1", "b1"):
        clients.pool.mark_idle(clients.connections[name])
    clients.pool.drain()
    assert sorted(clients.closed) == ["a1", "b1"]
    assert [clients.connections[name].close_after_response for name in ("a2", "b2")] == [True, True]
    assert len(clients.pool) == 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["connect", "mark_busy", "mark_idle", "remove"]),
            st.sampled_from("abc"),
            st.integers(0, 9),
        )
    )
)
def test_pool_count_is_exact(steps: list[tuple[str, str, int]]) -> None:
    """For any sequence of calls, also for closed connections, the limit holds and the count is exact."""
    clients = Clients(limit=5)
    inside: set[str] = set()
    for step, host, number in steps:
        name = f"{host}{number}"
        if step == "connect" and name not in clients.connections:
            clients.connect(name)
            inside.add(name)
        elif name in clients.connections and step != "connect":
            getattr(clients.pool, step)(clients.connections[name])
            inside -= {name} if step == "remove" else set()
        assert len(clients.pool) == len(inside - set(clients.closed)) <= 5


@pytest.mark.parametrize(
    "host, expected",
    [
        pytest.param("192.0.2.7", "192.0.2.7", id="IPv4"),
        pytest.param("::ffff:192.0.2.7", "192.0.2.7", id="IPv4 on an IPv6 socket"),
        pytest.param("2001:db8:1:2:3::4", "2001:db8:1:2::/64", id="IPv6"),
        pytest.param("fe80::1%eth0", "fe80::/64", id="IPv6 of one link"),
        pytest.param("", "", id="no address"),
    ],
)
def test_client_network(host: str, expected: str) -> None:
    """Addresses that one client can choose freely count as one network."""
    assert client_network(host) == expected
