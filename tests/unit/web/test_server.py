"""The server over real sockets: paths, methods, formats, large responses, and misbehaving clients."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from exporter.domain.snapshot import ProjectSnapshot, Snapshot
from exporter.web.address import Address
from exporter.web.limits import Limits
from exporter.web.server import serving
from tests.clock import ManualClock

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
LOOPBACK = Address("127.0.0.1", 0)


@dataclass
class Body:
    """A response body."""

    chunks: Sequence[bytes]

    @property
    def length(self) -> int:
        """Bytes of all chunks."""
        return sum(map(len, self.chunks))


@dataclass
class FakeExposition:
    """Returns the requested format as text, or a larger body."""

    large: Sequence[bytes] = ()
    failure: Exception | None = None
    requests: list[tuple[bool, bool]] = field(default_factory=list)

    def body(self, *, openmetrics: bool, gzip: bool) -> Body:
        """The response."""
        self.requests.append((openmetrics, gzip))
        if self.failure is not None:
            raise self.failure
        return Body(self.large or _form(openmetrics=openmetrics, packed=gzip))


def _form(*, openmetrics: bool, packed: bool) -> Sequence[bytes]:
    text = b"# EOF\n" if openmetrics else b"up 1\n"
    return (gzip.compress(text, mtime=0) if packed else text,)


@dataclass
class Served:
    """A server under test, with its inputs."""

    exposition: FakeExposition = field(default_factory=FakeExposition)
    ready: bool = True
    snapshot: Snapshot | None = None
    address: Address = LOOPBACK

    @asynccontextmanager
    async def serving(self, *addresses: Address, **settings: Any) -> AsyncIterator[tuple[Address, ...]]:
        """Serve until the block ends."""
        async with serving(
            addresses or [LOOPBACK],
            self.exposition,
            ready=lambda: self.ready,
            snapshot=lambda: self.snapshot,
            clock=ManualClock(),
            version="1.2.3",
            **settings,
        ) as bound:
            self.address = bound[0]
            yield bound


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server with the usual settings."""
    served = Served()
    async with served.serving():
        yield served


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without default headers and without decoding."""
    skipped = ("Accept", "Accept-Encoding", "User-Agent")
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=skipped) as session:
        yield session


async def raw(address: Address, request: bytes) -> bytes:
    """Send these bytes, and read until the server closes."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "headers, content_type, packed",
    [
        pytest.param({}, TEXT, False, id="nothing requests for"),
        pytest.param({"Accept": "application/openmetrics-text;version=1.0.0"}, OPENMETRICS, False, id="OpenMetrics"),
        pytest.param({"Accept-Encoding": "gzip"}, TEXT, True, id="gzip"),
        pytest.param(
            {"Accept": "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1", "Accept-Encoding": "gzip"},
            OPENMETRICS,
            True,
            id="as Prometheus asks",
        ),
    ],
)
async def test_metrics_come_as_asked_for(
    served: Served, session: aiohttp.ClientSession, headers: dict[str, str], content_type: str, packed: bool
) -> None:
    """Each of the four formats has its content type, encoding and length, for GET and HEAD."""
    openmetrics = content_type == OPENMETRICS
    (expected,) = _form(openmetrics=openmetrics, packed=packed)
    for method, body in (("GET", expected), ("HEAD", b"")):
        async with session.request(method, f"http://{served.address}/metrics", headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == content_type
            assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
            assert answer.headers["Content-Length"] == str(len(expected))
            assert answer.headers["Vary"] == "Accept, Accept-Encoding"
            assert await answer.read() == body
    assert served.exposition.requests == [(openmetrics, packed)] * 2


async def test_header_sent_twice_counts_as_one_list(served: Served) -> None:
    """Repeated headers of one name are combined."""
    received = await raw(
        served.address,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain;q=0.5\r\nAccept: application/openmetrics-text\r\n"
        b"Accept-Encoding: br\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
    )

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert served.exposition.requests == [(True, True)]


async def test_http_1_0_clients_are_answered(served: Served) -> None:
    """HTTP/1.0 gets the same response, and the connection is closed."""
    received = await raw(served.address, b"GET /metrics HTTP/1.0\r\n\r\n")

    assert received.endswith(b"\r\n\r\nup 1\n")


async def test_connection_is_kept_alive(served: Served) -> None:
    """A connection is kept open, and pipelined requests are answered in order."""
    received = await raw(
        served.address,
        b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )

    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert b"up 1\n" not in received.partition(b"ok")[0]
    assert received.endswith(b"up 1\n")


@pytest.mark.parametrize(
    "ready, status, text", [(True, 200, "ready"), (False, 503, "not ready: first poll in progress")]
)
async def test_readiness(served: Served, session: aiohttp.ClientSession, ready: bool, status: int, text: str) -> None:
    """Ready after the first polls; healthy in any case."""
    served.ready = ready

    async with session.get(f"http://{served.address}/-/ready") as answer:
        assert (answer.status, await answer.text()) == (status, text)
    async with session.get(f"http://{served.address}/-/healthy") as answer:
        assert (answer.status, await answer.text()) == (200, "ok")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
async def test_other_methods_are_refused(
    served: Served, session: aiohttp.ClientSession, method: str, path: str
) -> None:
    """Only GET and HEAD are allowed, and the response says so."""
    async with session.request(method, f"http://{served.address}{path}", data=b"ignored") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/nothing", "/metrics/", "//metrics", "/-/reload", "/favicon.ico", "/%2e%2e/etc/passwd"]
)
async def test_other_paths_are_not_found(served: Served, session: aiohttp.ClientSession, path: str) -> None:
    """Unknown paths get 404, and the response does not repeat the path."""
    async with session.get(f"http://{served.address}{path}") as answer:
        assert (answer.status, await answer.text()) == (404, "not found")


async def test_page_is_for_browsers(served: Served, session: aiohttp.ClientSession) -> None:
    """The page is HTML that may not load or run anything, and links to the metrics."""
    served.snapshot = Snapshot(taken_at=0.0, projects=(ProjectSnapshot(project="vis\ud800ion"),))

    async with session.get(f"http://{served.address}/") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        html = await answer.text()
    assert "vis?ion" in html
    assert 'href="./metrics"' in html
    assert "1.2.3" in html


async def test_settings_of_the_page(session: aiohttp.ClientSession) -> None:
    """A different telemetry path changes the link of the page; the documentation is linked if its URL is known."""
    served = Served()
    async with served.serving(telemetry_path="/probe/me", docs_url="https://docs.example/"):
        async with session.get(f"http://{served.address}/probe/me") as answer:
            assert await answer.text() == "up 1\n"
        async with session.get(f"http://{served.address}/metrics") as answer:
            assert answer.status == 404
        async with session.get(f"http://{served.address}/") as answer:
            html = await answer.text()
    assert 'href="./probe/me"' in html
    assert 'href="https://docs.example/"' in html


async def test_telemetry_at_the_root(session: aiohttp.ClientSession) -> None:
    """The metrics can be served at the root, which replaces the page."""
    served = Served()
    async with served.serving(telemetry_path="/"), session.get(f"http://{served.address}/") as answer:
        assert await answer.text() == "up 1\n"


@pytest.mark.parametrize("path", ["metrics", "", "/-/healthy", "/-/ready"])
async def test_invalid_telemetry_path_is_rejected(path: str) -> None:
    """A relative path, or the path of a probe, is rejected at the start."""
    with pytest.raises(ValueError, match="the telemetry path"):
        async with Served().serving(telemetry_path=path):
            pass


async def test_several_addresses(session: aiohttp.ClientSession) -> None:
    """Each address is served, and its port returned, in order."""
    async with Served().serving(LOOPBACK, Address("::1", 0), Address("", 0)) as bound:
        assert [address.host for address in bound] == ["127.0.0.1", "::1", ""]
        for address in bound:
            reached = Address(address.host or "127.0.0.1", address.port)
            async with session.get(f"http://{reached}/-/healthy") as answer:
                assert answer.status == 200


async def test_port_in_use_closes_other_addresses() -> None:
    """If one address cannot be bound, the error names it and the others are closed."""
    async with Served().serving() as (taken,):
        with pytest.raises(OSError, match="in use"):
            async with Served().serving(LOOPBACK, taken):
                pass


LARGE = (*(bytes([number]) * 700_000 for number in range(8)), b"the end")
"""5.6 MB in unequal chunks, more than the kernel buffers for one connection."""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_large_response_is_complete(session: aiohttp.ClientSession, method: str) -> None:
    """A large response has its length and, for GET, all bytes in order."""
    served = Served(FakeExposition(large=LARGE))
    async with served.serving(), session.request(method, f"http://{served.address}/metrics") as answer:
        assert answer.headers["Content-Length"] == str(8 * 700_000 + 7)
        assert await answer.read() == (b"".join(LARGE) if method == "GET" else b"")


async def test_slow_reader_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """A client that does not read its response in time is disconnected; others are served meanwhile."""
    caplog.set_level(logging.INFO)
    served = Served(FakeExposition(large=LARGE * 4))
    async with served.serving(limits=Limits(response_s=0.0)):  # too late as soon as the client has to be waited for
        reader, writer = await asyncio.open_connection(served.address.host, served.address.port, limit=1024)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        assert b"ok" in await raw(served.address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert len(received) < 4 * 5_600_007
    assert caplog.messages == []


async def test_disconnecting_client_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A client that disconnects during a response is not logged."""
    caplog.set_level(logging.INFO)
    served = Served(FakeExposition(large=LARGE * 4))
    async with served.serving():
        _, writer = await asyncio.open_connection(served.address.host, served.address.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        writer.transport.abort()
        assert b"ok" in await raw(served.address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
    assert caplog.messages == []


async def test_response_in_progress_is_finished_at_shutdown() -> None:
    """Stopping the server lets a response in progress finish."""
    served = Served(FakeExposition(large=LARGE))
    async with served.serving():
        reader, writer = await asyncio.open_connection(served.address.host, served.address.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        reading = asyncio.create_task(reader.read())
    body = await reading
    writer.close()
    await writer.wait_closed()

    assert b"Content-Length: 5600007" in head
    assert body == b"".join(LARGE)


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"\x16\x03\x01 hello\r\n\r\n", id="TLS to a plain port"),
        pytest.param(b"BREW /metrics HTTP/1.1\r\nHost: x\r\n\r\n", id="unknown method"),
        pytest.param(b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="endless path"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 10_000 + b"\r\n\r\n", id="endless header"),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 100 + b"\r\n",
            id="too many headers",
        ),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", id="impossible length"),
    ],
)
async def test_malformed_request_gets_no_detail(
    served: Served, caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    """A malformed request gets 400 and is disconnected; the response names neither library nor reason."""
    caplog.set_level(logging.INFO)

    received = await raw(served.address, request_bytes)

    assert received.startswith(b"HTTP/1.")
    assert received.split(b" ")[1] == b"400"
    assert received.endswith(b"\r\n\r\nbad request")
    assert b"aiohttp" not in received
    assert b"Python" not in received
    assert caplog.messages == []


async def test_handler_error_gets_no_detail(session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    """If a handler fails, the client gets only the status; the log has the reason."""
    served = Served(FakeExposition(failure=RuntimeError("secret detail")))
    async with served.serving(), session.get(f"http://{served.address}/metrics") as answer:
        assert (answer.status, await answer.text()) == (500, "internal server error")
        assert answer.headers["Server"] == "modelarts-exporter"
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/nothing"])
async def test_server_does_not_name_its_library(
    served: Served, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """No response names library and version, and requests are not logged."""
    caplog.set_level(logging.INFO)

    async with session.get(f"http://{served.address}{path}") as answer:
        assert answer.headers["Server"] == "modelarts-exporter"
    assert caplog.messages == []


async def test_idle_connection_is_closed() -> None:
    """A connection without a request, or with an incomplete one, is closed after its deadline."""
    async with Served().serving(limits=Limits(idle_s=0.2)) as (address,):
        silent, dribbling = await asyncio.gather(raw(address, b""), raw(address, b"GET /metrics HT"))

    assert (silent, dribbling) == (b"", b"")
