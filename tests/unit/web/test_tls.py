"""TLS over real sockets: versions, client certificates, names, and certificate rotation."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from exporter.web.address import Address
from exporter.web.config import load_web_config
from exporter.web.guard import Guard
from exporter.web.limits import Limits
from tests.certificates import Authority, Pair, client_of
from tests.clock import ManualClock
from tests.unit.web.test_server import LARGE, FakeExposition, Served, raw

TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
WITH_CLIENTS = TLS + "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n"


@asynccontextmanager
async def secured(folder: Path, text: str = TLS, **settings: object) -> AsyncIterator[tuple[Address, Guard]]:
    """Serve with this web configuration, checking its files as often as possible."""
    path = folder / "web.yml"
    path.write_text(text, encoding="utf-8")
    guard = Guard(load_web_config(path), clock=ManualClock(), interval_s=0.01)
    async with Served().serving(guard=guard, **settings) as (address,):
        yield address, guard


async def requested(address: Address, context: ssl.SSLContext) -> int:
    """Status of the health page, over a connection of its own."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://{address}/-/healthy", ssl=context) as answer,
    ):
        return answer.status


async def reached(address: Address, context: ssl.SSLContext) -> bool:
    """Whether a client gets a response."""
    try:
        return await requested(address, context) == 200
    except aiohttp.ClientError:
        return False


async def presented(address: Address, authority: Authority) -> bytes | None:
    """The certificate of a new connection."""
    _, writer = await asyncio.open_connection(address.host, address.port, ssl=client_of(authority))
    try:
        shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return shown
    finally:
        writer.close()
        await writer.wait_closed()


def der(pair: Pair) -> bytes:
    """A certificate as it goes over the wire."""
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text(encoding="utf-8"))


async def until_presented(address: Address, authority: Authority, expected: bytes) -> None:
    """Wait until new connections get this certificate."""
    async with asyncio.timeout(10):
        while await presented(address, authority) != expected:
            pass


def put(folder: Path, pair: Pair) -> None:
    """Replace the certificate and then its key, as tools do."""
    (folder / "cert.pem").write_bytes(pair.certificate.read_bytes())
    (folder / "key.pem").write_bytes(pair.key.read_bytes())


async def test_large_response_over_tls(folder: Path, authority: Authority) -> None:
    """A large response arrives completely over TLS."""
    path = folder / "web.yml"
    path.write_text(TLS, encoding="utf-8")
    guard = Guard(load_web_config(path), clock=ManualClock())
    async with (
        Served(FakeExposition(large=LARGE)).serving(guard=guard) as (address,),
        aiohttp.ClientSession() as session,
        session.get(
            f"https://{address}/metrics", ssl=client_of(authority), headers={"Accept-Encoding": "identity"}
        ) as answer,
    ):
        assert await answer.read() == b"".join(LARGE)


async def test_plain_http_is_not_answered(folder: Path) -> None:
    """Plain HTTP on a TLS port gets no response."""
    async with secured(folder) as (address, _):
        try:
            received = await raw(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        except ConnectionError:
            received = b""
    assert b"up 1" not in received
    assert not received.startswith(b"HTTP/")


@pytest.mark.parametrize(
    "offered, answered",
    [
        pytest.param(ssl.TLSVersion.TLSv1_3, True, id="TLS 1.3"),
        pytest.param(ssl.TLSVersion.TLSv1_2, False, id="TLS 1.2"),
    ],
)
async def test_oldest_version(folder: Path, authority: Authority, offered: ssl.TLSVersion, answered: bool) -> None:
    """With min_version TLS13 a client with TLS 1.2 is rejected."""
    context = client_of(authority)
    context.maximum_version = offered
    async with secured(folder, TLS + "  min_version: TLS13\n") as (address, _):
        assert await reached(address, context) is answered


@pytest.mark.parametrize(
    "mode, bearing, answered",
    [
        pytest.param("RequireAndVerifyClientCert", "ours", True, id="required and given"),
        pytest.param("RequireAndVerifyClientCert", "", False, id="required and missing"),
        pytest.param("RequireAndVerifyClientCert", "theirs", False, id="required, of another CA"),
        pytest.param("VerifyClientCertIfGiven", "ours", True, id="welcome and given"),
        pytest.param("VerifyClientCertIfGiven", "", True, id="welcome and missing"),
        pytest.param("VerifyClientCertIfGiven", "theirs", False, id="optional, of another CA"),
    ],
)
async def test_client_certificates(
    folder: Path, authority: Authority, mode: str, bearing: str, answered: bool
) -> None:
    """Each client_auth_type that verifies, against each kind of client."""
    issuers = {"ours": authority, "theirs": Authority(folder, "other") if bearing == "theirs" else authority}
    pair = issuers[bearing].issue(f"client-{bearing}", "DNS:client") if bearing else None
    text = TLS + f"  client_ca_file: ca.pem\n  client_auth_type: {mode}\n"
    async with secured(folder, text) as (address, _):
        assert await reached(address, client_of(authority, pair)) is answered


@pytest.mark.parametrize(
    "names, answered",
    [
        pytest.param(("DNS:prometheus.example",), True, id="DNS name"),
        pytest.param(("IP:2001:db8::1",), True, id="IPv6 address"),
        pytest.param(("email:ops@example.org",), True, id="address of mail"),
        pytest.param(("URI:spiffe://example/prometheus",), True, id="URI"),
        pytest.param(("DNS:other.example", "DNS:prometheus.example"), True, id="one of several"),
        pytest.param(("DNS:sub.prometheus.example",), False, id="name below"),
        pytest.param((), False, id="no name"),
    ],
)
async def test_names_of_clients(folder: Path, authority: Authority, names: tuple[str, ...], answered: bool) -> None:
    """With client_allowed_sans a verified certificate must have one of the names, of any type."""
    allowed = "[prometheus.example, '2001:db8:0::1', ops@example.org, 'spiffe://example/prometheus']"
    client = client_of(authority, authority.issue("client", *names))
    async with secured(folder, WITH_CLIENTS + f"  client_allowed_sans: {allowed}\n") as (address, _):
        assert await reached(address, client) is answered


async def test_certificate_is_renewed(folder: Path, authority: Authority, server: Pair) -> None:
    """New connections use a new certificate without a restart."""
    renewed = authority.issue("renewed", "IP:127.0.0.1")
    async with secured(folder) as (address, _):
        assert await presented(address, authority) == der(server)
        put(folder, renewed)
        await until_presented(address, authority, der(renewed))
        assert await requested(address, client_of(authority)) == 200


async def test_kubernetes_renews_by_symlink(folder: Path, authority: Authority) -> None:
    """A mounted Secret changes through an atomic symlink; the change is detected."""
    renewed = authority.issue("relinked", "IP:127.0.0.1")
    for name in ("one", "two"):
        (folder / name).mkdir()
    for name in ("cert.pem", "key.pem"):
        (folder / name).rename(folder / "one" / name)
        (folder / name).symlink_to(Path("..data", name))
    (folder / "..data").symlink_to("one")
    put(folder / "two", renewed)
    async with secured(folder) as (address, _):
        (folder / "..new").symlink_to("two")
        (folder / "..new").rename(folder / "..data")
        await until_presented(address, authority, der(renewed))


async def test_half_a_renewal_keeps_the_old_pair(folder: Path, authority: Authority, server: Pair) -> None:
    """While certificate and key do not match, the old pair is used; then the new one."""
    renewed = authority.issue("halfway", "IP:127.0.0.1")
    async with secured(folder) as (address, guard):
        (folder / "cert.pem").write_bytes(renewed.certificate.read_bytes())
        await guard.reload_if_changed()
        assert await presented(address, authority) == der(server)
        (folder / "key.pem").write_bytes(renewed.key.read_bytes())
        await until_presented(address, authority, der(renewed))


async def test_idle_connections_are_closed_after_a_change(folder: Path, authority: Authority) -> None:
    """Idle connections of the old configuration are closed when the new one is in force."""
    renewed = authority.issue("stricter", "IP:127.0.0.1")
    async with secured(folder) as (address, _):
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=client_of(authority))
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        put(folder, renewed)
        with_end = await asyncio.wait_for(_read_to_the_end(reader), 10)
        writer.transport.abort()
    assert with_end == b""


async def test_response_in_progress_survives_a_change(folder: Path, authority: Authority) -> None:
    """A response in progress during a change arrives completely; then its connection is closed."""
    renewed = authority.issue("meanwhile", "IP:127.0.0.1")
    path = folder / "web.yml"
    path.write_text(TLS, encoding="utf-8")
    guard = Guard(load_web_config(path), clock=ManualClock(), interval_s=0.01)
    async with Served(FakeExposition(large=LARGE * 4)).serving(guard=guard) as (address,):
        context = client_of(authority)
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context, limit=4096)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        put(folder, renewed)
        await until_presented(address, authority, der(renewed))
        async with asyncio.timeout(10):
            body = await reader.read()
        writer.transport.abort()
    assert b"keep-alive" not in head.lower()
    assert body == b"".join(LARGE * 4)  # too much for the buffers on its way


async def _read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except (ConnectionError, ssl.SSLError):
        return b""  # cut rather than closed


async def test_silent_handshake_is_given_up(folder: Path, authority: Authority) -> None:
    """A client that never begins TLS is disconnected; others are served meanwhile."""
    async with secured(folder, limits=Limits(handshake_s=0.2)) as (address, _):
        silent = asyncio.create_task(_read_plain(address))
        assert await reached(address, client_of(authority))
        assert await asyncio.wait_for(silent, 10) == b""


async def test_handshakes_count_as_connections(folder: Path, authority: Authority) -> None:
    """Clients that only begin TLS cannot block others: the longest idle of them is closed."""
    async with secured(folder, limits=Limits(connections=4)) as (address, _):
        silent = [asyncio.create_task(_read_plain(address)) for _ in range(8)]
        done, _ = await asyncio.wait(silent, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert done
        assert await reached(address, client_of(authority))
    assert await asyncio.gather(*silent) == [b""] * 8


async def _read_plain(address: Address) -> bytes:
    try:
        return await raw(address, b"")
    except ConnectionError:
        return b""
