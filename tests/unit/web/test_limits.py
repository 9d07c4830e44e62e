"""Limits per client: time, bytes and connections, over real sockets with small limits."""

import asyncio
import resource
import socket
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from exporter.web.address import Address
from exporter.web.limits import Limits
from tests.unit.web.test_server import LARGE, FakeExposition, Served, raw

HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"


async def until_closed(address: Address, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send pieces one by one, and return what is received until the server closes the connection."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    sending = asyncio.create_task(_send(writer, pieces, pause_s=pause_s))
    received = bytearray()
    try:
        async with asyncio.timeout(20):
            while piece := await reader.read(65536):
                received += piece
    except ConnectionError:
        pass  # aborted, perhaps with a response in progress
    finally:
        sending.cancel()
        writer.transport.abort()
    return bytes(received)


async def _send(writer: asyncio.StreamWriter, pieces: tuple[bytes, ...], *, pause_s: float) -> None:
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)


async def test_slow_request_is_disconnected() -> None:
    """A request sent byte by byte has one deadline for all of it, not one per byte."""
    async with Served().serving(limits=Limits(request_s=0.3)) as (address,):
        begun = asyncio.get_running_loop().time()
        received = await until_closed(address, *(bytes([byte]) for byte in HEALTHY * 100), pause_s=0.05)
        took_s = asyncio.get_running_loop().time() - begun
    assert received == b""
    assert took_s < 3.0  # the whole of it would take 100 times 38 times 0.05 = 190 s


async def test_second_request_has_a_deadline() -> None:
    """After a response a connection may be idle for long, but a request that has begun has a deadline."""
    async with Served().serving(limits=Limits(request_s=0.2)) as (address,):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(HEALTHY)
        assert await reader.readuntil(b"ok")
        with pytest.raises(TimeoutError):  # idle for longer than a request may take
            await asyncio.wait_for(reader.read(), 0.5)
        writer.write(b"GET /-/heal")
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.transport.abort()


async def test_request_in_pieces_is_answered() -> None:
    """A request that arrives in pieces within its deadline is answered."""
    async with Served().serving(limits=Limits(request_s=5)) as (address,):
        received = await until_closed(
            address, b"GET /-/hea", b"lthy HTTP/1.1\r\nHost: x\r\nConn", b"ection: close\r\n\r\n", pause_s=0.01
        )
    assert received.endswith(b"\r\n\r\nok")


async def test_large_head_is_refused() -> None:
    """Headers that are small individually and large together get 431 before they use much memory."""
    lines = [b"X-%d: %s\r\n" % (number, b"a" * 4000) for number in range(60)]
    async with Served().serving() as (address,):
        received = await until_closed(address, b"GET / HTTP/1.1\r\nHost: x\r\n", *lines)
        assert received == b"" or received.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        assert b"ok" in await raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")


async def test_large_head_gets_431() -> None:
    """A client that reads while it sends receives 431."""
    async with Served().serving(limits=Limits(head_bytes=100)) as (address,):
        received = await raw(address, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200)
    assert received.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


@pytest.mark.parametrize(
    "request_bytes, status",
    [
        pytest.param(
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n", b"405", id="announced"
        ),
        pytest.param(
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
            b"405",
            id="chunked",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 99999999\r\n\r\n\x1f\x8b",
            b"405",
            id="packed",
        ),
        pytest.param(
            b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n", b"200", id="with a GET"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n",
            b"405",
            id="asked for",
        ),
    ],
)
async def test_bodies_are_not_read(request_bytes: bytes, status: bytes) -> None:
    """No endpoint takes a body: the response is sent at once, and the connection is closed."""
    body = [b"a" * 65536] * 200
    async with Served().serving() as (address,):
        received = await until_closed(address, request_bytes)
        assert received.split(b" ")[1] == status
        flooded = await until_closed(address, request_bytes, *body)
        assert flooded == b"" or flooded.split(b" ")[1] in (status, b"400")


@pytest.mark.parametrize(
    "request_bytes, statuses",
    [
        pytest.param(
            b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            {b"404", b"405", b"400"},
            id="CONNECT",
        ),
        pytest.param(b"TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {b"405", b"400"}, id="TRACE"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {b"404", b"405", b"400"}, id="*"),
        pytest.param(b"DELETE /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {b"405"}, id="DELETE"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {b"400"}, id="HTTP/2"),
        pytest.param(
            b"GET http://evil.example/metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            {b"200", b"404", b"400"},
            id="as to a proxy",
        ),
        pytest.param(
            b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            {b"404"},
            id="traversal",
        ),
        pytest.param(b"GET /metrics%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {b"404"}, id="zero byte"),
        pytest.param(
            b"GET //metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {b"404", b"400"}, id="slashes"
        ),
        pytest.param(b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {b"404", b"400"}, id="bytes"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            {b"400"},
            id="two lengths",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", {b"400"}, id="zero byte in a header"),
        pytest.param(
            b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n",
            {b"200"},
            id="upgrade",
        ),
    ],
)
async def test_odd_requests(caplog: pytest.LogCaptureFixture, request_bytes: bytes, statuses: set[bytes]) -> None:
    """Unusual methods, paths and headers get a plain response, nothing is logged, and the next client is served."""
    caplog.set_level("INFO")
    async with Served().serving(limits=Limits(request_s=0.5)) as (address,):
        received = await until_closed(address, request_bytes)
        assert received.split(b" ")[1] in statuses
        assert b"ok" in await raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
    assert caplog.messages == []


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Pipelined requests are answered in order."""
    last = b"GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with Served().serving() as (address,):
        received = await until_closed(address, HEALTHY * 200 + last)
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 201
    assert received.endswith(b"ready")


async def test_pipelining_without_reading_is_cut_off() -> None:
    """A client that pipelines without reading uses neither memory nor time without limit."""
    served = Served(FakeExposition(large=[b"x" * 60_000]))
    async with served.serving(limits=Limits(response_s=0.3)) as (address,):
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, (address.host, address.port))
        sent = 0
        with suppress(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    await loop.sock_sendall(plain, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                    sent += 100
        plain.close()
        assert b"ok" in await raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
    assert len(served.exposition.requests) < sent


async def test_slow_reader_of_a_small_answer_is_cut_off() -> None:
    """An idle client that has not read its last response does not stay connected forever."""
    async with Served().serving(limits=Limits(idle_s=0.1)) as (address,):
        assert (await until_closed(address, HEALTHY)).endswith(b"ok")


async def test_too_many_connections_end_the_oldest_idle() -> None:
    """Above the limit the longest idle connection is closed, and new requests are answered."""
    async with Served().serving(limits=Limits(connections=10)) as (address,):
        clients = [await asyncio.open_connection(address.host, address.port) for _ in range(30)]
        assert b"ok" in await raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(10):
            ends = [await _ending(reader) for reader, _ in clients[:20]]
        assert ends == [b""] * 20
        reader, writer = clients[-1]
        writer.write(HEALTHY)
        assert await reader.readuntil(b"ok")
        for _, writer in clients:
            writer.transport.abort()


async def _ending(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_out_of_files(caplog: pytest.LogCaptureFixture) -> None:
    """Without free file descriptors the longest idle connection is closed, and the next client is served."""
    loop = asyncio.get_running_loop()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with Served().serving() as (address,):
        idle = [await asyncio.open_connection(address.host, address.port) for _ in range(3)]
        for _, writer in idle:
            writer.write(HEALTHY)
        for reader, _ in idle:
            assert await reader.readuntil(b"ok")
        next_client = socket.socket()
        next_client.setblocking(False)
        try:
            with capture_logs() as logs:
                resource.setrlimit(resource.RLIMIT_NOFILE, (_next_file(), hard))
                await loop.sock_connect(next_client, (address.host, address.port))
                await loop.sock_sendall(next_client, HEALTHY)
                async with asyncio.timeout(10):
                    received = await loop.sock_recv(next_client, 65536)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            next_client.close()
        assert received.endswith(b"ok")
        assert await _ending(idle[0][0]) == b""
        assert not idle[1][0].at_eof()
        for _, writer in idle:
            writer.transport.abort()
    assert [entry["event"] for entry in logs] == ["web.resources_exhausted"]
    assert caplog.messages == []


def _next_file() -> int:
    """The next free file descriptor."""
    with socket.socket() as probe:
        return probe.fileno()


async def test_response_in_progress_survives_the_limit() -> None:
    """Idle connections are closed first: a response in progress arrives completely."""
    served = Served(FakeExposition(large=LARGE))
    async with served.serving(limits=Limits(connections=10)) as (address,):
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=4096)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        clients = [await asyncio.open_connection(address.host, address.port) for _ in range(30)]
        body = await reader.read()
        for _, other in (*clients, (reader, writer)):
            other.transport.abort()
    assert b"Content-Length: 5600007" in head
    assert body == b"".join(LARGE)


async def test_idle_clients_do_not_delay_shutdown() -> None:
    """Idle connections are closed when the server stops, without waiting for their deadline."""
    served = Served()
    async with asyncio.timeout(5):
        async with served.serving() as (address,):
            clients = [await asyncio.open_connection(address.host, address.port) for _ in range(20)]
            assert b"ok" in await raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
        assert [await _ending(reader) for reader, _ in clients] == [b""] * 20
    for _, writer in clients:
        writer.transport.abort()
