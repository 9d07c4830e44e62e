"""Connections to a target: TLS, proxies, and no settings from the environment."""

import asyncio
import base64
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from exporter.cloud.http.errors import Denied, Unreachable
from exporter.settings import Metadata, Secret
from tests.clock import ManualClock
from tests.unit.cloud.account import JOBS, PAGE, RecordingObserver, connect, options, retries
from tests.unit.cloud.scripted_server import ScriptedServer, respond

ONCE = retries(attempts=1)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with the key in the same folder."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=invented cloud", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem"


@pytest.fixture
async def secure(certificate: Path) -> AsyncIterator[ScriptedServer]:
    """A server with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    async with ScriptedServer(tls=context) as server:
        yield server.on("/", respond(200, PAGE))


async def test_a_private_authority_is_trusted(
    *, secure: ScriptedServer, certificate: Path, clock: ManualClock, observer: RecordingObserver
) -> None:
    """With `ca_file` a private authority is accepted."""
    given = options(secure.url, ca_file=str(certificate))

    async with connect(given, clock=clock, observer=observer) as client:
        assert await client.call(JOBS)


async def test_an_unknown_authority_is_not_trusted(
    secure: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """By default the certificate is verified: nothing is sent, and the text says what is wrong."""
    async with connect(options(secure.url, retry=ONCE), clock=clock, observer=observer) as client:
        with pytest.raises(Unreachable, match="TLS: self-signed certificate"):
            await client.call(JOBS)

    assert secure.received == []


async def test_a_certificate_for_another_host_is_not_trusted(
    *, secure: ScriptedServer, certificate: Path, clock: ManualClock, observer: RecordingObserver
) -> None:
    """The host name is verified too."""
    given = options(f"https://localhost:{secure.port}", ca_file=str(certificate), retry=ONCE)

    async with connect(given, clock=clock, observer=observer) as client:
        with pytest.raises(Unreachable, match=r"TLS: .*ostname mismatch"):
            await client.call(JOBS)


async def test_verification_can_be_switched_off(
    secure: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """`insecure_skip_verify` accepts any certificate."""
    given = options(secure.url, insecure_skip_verify=True)

    async with connect(given, clock=clock, observer=observer) as client:
        assert await client.call(JOBS)


async def test_a_server_without_tls(clock: ManualClock, observer: RecordingObserver) -> None:
    """HTTPS to a port without TLS is a failed handshake, and nothing is sent in clear text."""
    received: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(65_536))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        given = options(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", retry=ONCE)
        async with connect(given, clock=clock, observer=observer) as client:
            with pytest.raises(Unreachable, match="TLS: "):
                await client.call(JOBS)

    assert len(received) == 1
    assert b"SDK-HMAC-SHA256" not in received[0]


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "invalid"])
async def test_an_unreadable_authority_fails_the_start(
    *, tmp_path: Path, clock: ManualClock, observer: RecordingObserver, content: str | None
) -> None:
    """A `ca_file` that is missing or holds no certificate is an OSError before anything is sent."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(OSError):  # noqa: PT011 - texts of the file system and of OpenSSL vary
        async with connect(options("https://127.0.0.1:1", ca_file=str(path)), clock=clock, observer=observer):
            raise AssertionError("connected")


@dataclass
class Proxy:
    """A minimal forwarding proxy: CONNECT, and absolute URLs."""

    refuses: bool = False
    requested: list[str] = field(default_factory=list)
    authorized_by: list[str] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            method, target, _ = first.split(" ")
            self.requested.append(f"{method} {target}")
            self.authorized_by += [
                line.partition(": ")[2] for line in lines if line.startswith("Proxy-Authorization")
            ]
            if self.refuses:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            port = int(target.rpartition(":")[2].partition("/")[0])
            upstream = await asyncio.open_connection("127.0.0.1", port)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = "/" + target.split("/", 3)[3]
                kept = [line for line in lines if not line.startswith("Proxy-")]
                upstream[1].write("\r\n".join((f"{method} {path} HTTP/1.1", *kept, "", "")).encode("latin-1"))
            with suppress(ConnectionError):
                await asyncio.gather(_pump(reader, upstream[1]), _pump(upstream[0], writer))
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
    writer.close()


@asynccontextmanager
async def running_proxy(proxy: Proxy) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await server.wait_closed()


async def test_a_proxy_tunnels_tls(
    *, secure: ScriptedServer, certificate: Path, clock: ManualClock, observer: RecordingObserver
) -> None:
    """HTTPS uses CONNECT; user and password of the proxy are sent to the proxy only."""
    async with running_proxy(Proxy()) as proxy:
        given = options(
            secure.url, ca_file=str(certificate), proxy=Secret(f"http://ivy:hunter2@127.0.0.1:{proxy.port}")
        )
        async with connect(given, clock=clock, observer=observer) as client:
            assert await client.call(JOBS)

    assert proxy.requested == [f"CONNECT 127.0.0.1:{secure.port}"]
    assert proxy.authorized_by == ["Basic " + base64.b64encode(b"ivy:hunter2").decode()]
    assert "proxy-authorization" not in secure.received[0].headers


async def test_a_proxy_forwards_plain_http(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Plain HTTP uses the absolute URL, and the signed Host is the target's."""
    server.on("/", respond(200, PAGE))
    async with running_proxy(Proxy()) as proxy:
        given = options(server.url, proxy=Secret(f"http://127.0.0.1:{proxy.port}"))
        async with connect(given, clock=clock, observer=observer) as client:
            assert await client.call(JOBS)

    assert proxy.requested[0].startswith(f"GET {server.url}/v1/")
    assert server.received[0].headers["host"] == f"127.0.0.1:{server.port}"


async def test_an_error_of_the_proxy_names_it(
    secure: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A 407 of the proxy is Unreachable, and the text names the proxy without its password."""
    async with running_proxy(Proxy(refuses=True)) as proxy:
        given = options(secure.url, retry=ONCE, proxy=Secret(f"http://ivy:hunter2@127.0.0.1:{proxy.port}"))
        async with connect(given, clock=clock, observer=observer) as client:
            with pytest.raises(Unreachable) as caught:
                await client.call(JOBS)

    assert str(caught.value) == "list_jobs: unreachable: the proxy responded with HTTP 407"


@pytest.mark.parametrize(
    "address,error,words",
    [
        pytest.param("http://127.0.0.1:1", Unreachable, "no connection to the proxy", id="down"),
        pytest.param("http://[", Unreachable, "the proxy's URL is invalid or has no host", id="no-url"),
        pytest.param("http://", Unreachable, "the proxy's URL is invalid or has no host", id="no-host"),
        pytest.param("127.0.0.1:3128", Unreachable, "the proxy's URL is invalid or has no host", id="no-scheme"),
        pytest.param("", Denied, "the proxy's URL cannot be read", id="empty"),
    ],
)
async def test_a_proxy_that_cannot_be_used(
    *,
    server: ScriptedServer,
    clock: ManualClock,
    observer: RecordingObserver,
    address: str,
    error: type[Exception],
    words: str,
) -> None:
    """A proxy that is down or has an invalid URL fails the call with its own text; nothing bypasses the proxy."""
    server.on("/", respond(200, PAGE))

    async with connect(
        options(server.url, retry=ONCE, proxy=Secret(address)), clock=clock, observer=observer
    ) as client:
        with pytest.raises(error, match=words):
            await client.call(JOBS)

    assert server.received == []


async def test_services_of_the_node_bypass_the_proxy(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Requests to the node's own services bypass the proxy; requests to the API use it."""
    credential = {"access": "A", "secret": "S", "securitytoken": "T", "expires_at": "2023-11-14T23:13:20Z"}
    server.on("/meta-data/", respond(404)).on("/openstack/", respond(200, credential)).on("/v1/", respond(200, PAGE))
    async with running_proxy(Proxy()) as proxy:
        given = options(
            server.url,
            proxy=Secret(f"http://127.0.0.1:{proxy.port}"),
            credentials=Metadata(),
            metadata_url=server.url,
        )
        async with connect(given, clock=clock, observer=observer) as client:
            assert await client.call(JOBS)

    assert len(proxy.requested) == 1
    assert "/v1/" in proxy.requested[0]


async def test_proxy_variables_of_the_environment_are_ignored(
    *,
    server: ScriptedServer,
    clock: ManualClock,
    observer: RecordingObserver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proxy variables of the environment have no effect."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.on("/", respond(200, PAGE))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)
