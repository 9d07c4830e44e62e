"""Listen addresses: Prometheus' notation, and sockets."""

import socket

import pytest

from exporter.web.address import Address, bind, parse_address


@pytest.mark.parametrize(
    "text, expected",
    [
        pytest.param(":10310", Address("", 10310), id="all interfaces"),
        pytest.param("127.0.0.1:0", Address("127.0.0.1", 0), id="any port"),
        pytest.param("[::1]:10310", Address("::1", 10310), id="IPv6"),
        pytest.param("localhost:80", Address("localhost", 80), id="name"),
    ],
)
def test_address_parse_and_format_round_trip(text: str, expected: Address) -> None:
    """An address is parsed into host and port, and formatted as it was written."""
    assert parse_address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    ["10310", "", "localhost", "localhost:", ":http", "::1:10310", ":65536", ":-1", ":²"],
)
def test_invalid_address_is_rejected(text: str) -> None:
    """An invalid address is rejected with one sentence that quotes it."""
    with pytest.raises(ValueError, match="is not a listen address") as refusal:
        parse_address(text)

    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_bound_address_accepts_connections(host: str) -> None:
    """The socket listens on the given address."""
    with bind(Address(host, 0)) as listener, socket.create_connection(listener.getsockname()[:2], 5):
        assert listener.getsockname()[1] > 0


def test_all_interfaces_accept_both_families() -> None:
    """Without a host, one socket accepts IPv4 and, if available, IPv6."""
    with bind(Address("", 0)) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1") if listener.family is socket.AF_INET6 else ("127.0.0.1",):
            socket.create_connection((host, port), 5).close()


def test_machine_without_ipv6_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where IPv6 is missing or disabled, all interfaces means IPv4 only."""
    real = socket.create_server

    def without_ipv6(*args: object, family: socket.AddressFamily = socket.AF_INET, **kwargs: object) -> socket.socket:
        if family is socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(*args, family=family, **kwargs)  # type: ignore[arg-type]

    for dual in (True, False):
        monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda dual=dual: dual)
        monkeypatch.setattr(socket, "create_server", without_ipv6)
        with bind(Address("", 0)) as listener:
            assert listener.family is socket.AF_INET


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_port_in_use_is_an_error(host: str) -> None:
    """A port in use is not shared."""
    with bind(Address(host, 0)) as listener, pytest.raises(OSError, match="in use"):
        bind(Address(host, listener.getsockname()[1]))
