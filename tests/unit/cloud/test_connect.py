"""How a target is reached: TLS, proxies, and nothing of the environment."""

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
    """A certificate for 127.0.0.1 that is its own authority; the key lies beside it."""
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
    """A server over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    async with ScriptedServer(tls=context) as server:
        yield server.on("/", respond(200, PAGE))


async def test_an_authority_of_ones_own_is_trusted(
    *, secure: ScriptedServer, certificate: Path, clock: ManualClock, observer: RecordingObserver
) -> None:
    """With `ca_file` a private authority is accepted."""
    given = options(secure.url, ca_file=str(certificate))

    async with connect(given, clock=clock, observer=observer) as client:
        assert await client.call(JOBS)


async def test_an_unknown_authority_is_not_trusted(
    secure: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """By default the certificate is checked, nothing is sent, and the text says what is wrong with it."""
    async with connect(options(secure.url, retry=ONCE), clock=clock, observer=observer) as client:
        with pytest.raises(Unreachable, match="TLS: self-signed certificate"):
            await client.call(JOBS)

    assert secure.received == []


async def test_a_certificate_for_another_host_is_not_trusted(
    *, secure: ScriptedServer, certificate: Path, clock: ManualClock, observer: RecordingObserver
) -> None:
    """The name is checked too."""
    given = options(f"https://localhost:{secure.port}", ca_file=str(certificate), retry=ONCE)

    async with connect(given, clock=clock, observer=observer) as client:
        with pytest.raises(Unreachable, match=r"TLS: .*ostname mismatch"):
            await client.call(JOBS)


async def test_checking_can_be_switched_off(
    secure: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """`insecure_skip_verify` accepts any certificate."""
    given = options(secure.url, insecure_skip_verify=True)

    async with connect(given, clock=clock, observer=observer) as client:
        assert await client.call(JOBS)


async def test_a_server_that_does_not_speak_tls(clock: ManualClock, observer: RecordingObserver) -> None:
    """Https to a plain port is a failed handshake, and no key is sent in clear."""
    request: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request.append(await reader.read(65_536))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        given = options(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", retry=ONCE)
        async with connect(given, clock=clock, observer=observer) as client:
            with pytest.raises(Unreachable, match="TLS: "):
                await client.call(JOBS)

    assert len(request) == 1
    assert b"SDK-HMAC-SHA256" not in request[0]


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "nonsense"])
async def test_an_authority_that_cannot_be_read_fails_the_start(
    *, tmp_path: Path, clock: ManualClock, observer: RecordingObserver, content: str | None
) -> None:
    """A `ca_file` that is missing or holds no certificate is an OSError before anything is sent."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(OSError):  # noqa: PT011 - the file system's and OpenSSL's words vary
        async with connect(options("https://127.0.0.1:1", ca_file=str(path)), clock=clock, observer=observer):
            raise AssertionError("connected")


@dataclass
class Proxy:
    """A forwarding proxy of the smallest kind: CONNECT, and absolute addresses."""

    refuses: bool = False
    asked: list[str] = field(default_factory=list)
    authorized_by: list[str] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            method, target, _ = first.split(" ")
            self.asked.append(f"{method} {target}")
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
async def proxying(proxy: Proxy) -> AsyncIterator[Proxy]:
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
    """Through a proxy https goes by CONNECT, with the proxy's user and password for the proxy alone."""
    async with proxying(Proxy()) as proxy:
        given = options(
            secure.url, ca_file=str(certificate), proxy=Secret(f"http://ivy:hunter2@127.0.0.1:{proxy.port}")
        )
        async with connect(given, clock=clock, observer=observer) as client:
            assert await client.call(JOBS)

    assert proxy.asked == [f"CONNECT 127.0.0.1:{secure.port}"]
    assert proxy.authorized_by == ["Basic " + base64.b64encode(b"ivy:hunter2").decode()]
    assert "proxy-authorization" not in secure.received[0].headers


async def test_a_proxy_forwards_plain_http(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Through a proxy plain http goes by its absolute address, and the signed Host is the target's."""
    server.on("/", respond(200, PAGE))
    async with proxying(Proxy()) as proxy:
        given = options(server.url, proxy=Secret(f"http://127.0.0.1:{proxy.port}"))
        async with connect(given, clock=clock, observer=observer) as client:
            assert await client.call(JOBS)

    assert proxy.asked[0].startswith(f"GET {server.url}/v1/")
    assert server.received[0].headers["host"] == f"127.0.0.1:{server.port}"


async def test_a_proxy_that_refuses_is_named(
    secure: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A 407 of the proxy is no answer of the cloud, and says so without its password."""
    async with proxying(Proxy(refuses=True)) as proxy:
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
    """A proxy that is down, or is none, fails the call in words of its own; nothing goes past it."""
    server.on("/", respond(200, PAGE))

    async with connect(
        options(server.url, retry=ONCE, proxy=Secret(address)), clock=clock, observer=observer
    ) as client:
        with pytest.raises(error, match=words):
            await client.call(JOBS)

    assert server.received == []


async def test_the_nodes_own_services_are_asked_directly(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Keys of the node never take the way through the proxy; the API does."""
    credential = {"access": "A", "secret": "S", "securitytoken": "T", "expires_at": "2023-11-14T23:13:20Z"}
    server.on("/meta-data/", respond(404)).on("/openstack/", respond(200, credential)).on("/v1/", respond(200, PAGE))
    async with proxying(Proxy()) as proxy:
        given = options(
            server.url,
            proxy=Secret(f"http://127.0.0.1:{proxy.port}"),
            credentials=Metadata(),
            metadata_url=server.url,
        )
        async with connect(given, clock=clock, observer=observer) as client:
            assert await client.call(JOBS)

    assert len(proxy.asked) == 1
    assert "/v1/" in proxy.asked[0]


async def test_the_environment_redirects_nothing(
    *,
    server: ScriptedServer,
    clock: ManualClock,
    observer: RecordingObserver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proxy variables of the environment are not consulted."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.on("/", respond(200, PAGE))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)
