"""Who has to go when too many are connected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.connection_pool import Connection, ConnectionPool, client_network


class Guests:
    """Visits by name, and who had to leave, in order."""

    def __init__(self, *, limit: int) -> None:
        self.pool = ConnectionPool(limit=limit)
        self.left: list[str] = []
        self.connections: dict[str, Connection] = {}

    def come(self, *names: str) -> None:
        """Enter; the first letter of a name is the host."""
        for name in names:
            self.connections[name] = Connection(name[0], lambda name=name: self.left.append(name))  # type: ignore[misc]
            self.pool.add(self.connections[name])


def test_oldest_idle_goes() -> None:
    """One too many, and who is idle longest leaves; an answer makes young again."""
    guests = Guests(limit=3)
    guests.come("a1", "a2", "a3")
    guests.pool.mark_busy(guests.connections["a1"])
    guests.pool.mark_idle(guests.connections["a1"])
    guests.come("a4", "a5")
    assert guests.left == ["a2", "a3"]
    assert len(guests.pool) == 3


def test_busy_go_last() -> None:
    """Who waits for an answer goes only when everybody of its host does, and then who waits longest."""
    guests = Guests(limit=2)
    guests.come("a1", "a2")
    guests.pool.mark_busy(guests.connections["a2"])
    guests.come("a3")
    guests.pool.mark_busy(guests.connections["a3"])
    assert guests.left == ["a1"]
    guests.pool.evict()
    assert guests.left == ["a1", "a2"]


def test_host_with_most_loses() -> None:
    """A host that opens connection after connection ends its own, however long others are idle."""
    guests = Guests(limit=4)
    guests.come("b1", *(f"a{number}" for number in range(100)))
    assert "b1" not in guests.left
    assert guests.left == [f"a{number}" for number in range(97)]


def test_among_equals_the_idle_go() -> None:
    """Where no host has more than others, none loses one that waits for an answer while somebody is idle."""
    guests = Guests(limit=2)
    guests.come("a1", "b1")
    guests.pool.mark_busy(guests.connections["a1"])
    guests.pool.evict()
    assert guests.left == ["b1"]


def test_nobody_to_evict() -> None:
    """An empty crowd has nobody to lose."""
    ConnectionPool(limit=1).evict()


def test_sweeping() -> None:
    """Whose time is over has to go, busy or idle; the others stay."""
    guests = Guests(limit=9)
    guests.come("a1", "a2", "b1", "b2")
    guests.pool.mark_busy(guests.connections["b1"])
    for name, deadline in (("a1", 10.0), ("a2", 10.1), ("b1", 9.0)):
        guests.connections[name].deadline = deadline
    guests.pool.close_expired(10.0)
    assert sorted(guests.left) == ["a1", "b1"]
    assert len(guests.pool) == 2


def test_retiring() -> None:
    """When the rules change the idle go at once, and those who wait for an answer, or are about to ask, after it."""
    guests = Guests(limit=9)
    guests.come("a1", "a2", "b1", "b2")
    for name in ("a1", "a2", "b1"):
        guests.pool.mark_busy(guests.connections[name])
    for name in ("a1", "b1"):
        guests.pool.mark_idle(guests.connections[name])
    guests.pool.drain()
    assert sorted(guests.left) == ["a1", "b1"]
    assert [guests.connections[name].close_after_response for name in ("a2", "b2")] == [True, True]
    assert len(guests.pool) == 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["come", "mark_busy", "mark_idle", "remove"]), st.sampled_from("abc"), st.integers(0, 9)
        )
    )
)
def test_books_are_kept(steps: list[tuple[str, str, int]]) -> None:
    """Whatever comes in whatever order, also for visits that are gone: never too many, and the count is right."""
    guests = Guests(limit=5)
    inside: set[str] = set()
    for step, host, number in steps:
        name = f"{host}{number}"
        if step == "come" and name not in guests.connections:
            guests.come(name)
            inside.add(name)
        elif name in guests.connections and step != "come":
            getattr(guests.pool, step)(guests.connections[name])
            inside -= {name} if step == "remove" else set()
        assert len(guests.pool) == len(inside - set(guests.left)) <= 5


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
def test_neighbourhood(host: str, expected: str) -> None:
    """Addresses that one visitor can have at will count as one."""
    assert client_network(host) == expected
