"""How much of us one client can hold: time, bytes and connections, over real sockets with small bounds."""

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
    """Send piece after piece, and give what comes until the server closes or cuts the connection."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    sending = asyncio.create_task(_send(writer, pieces, pause_s=pause_s))
    received = bytearray()
    try:
        async with asyncio.timeout(20):
            while piece := await reader.read(65536):
                received += piece
    except ConnectionError:
        pass  # cut, perhaps with an answer on its way
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


async def test_dribbled_request_is_given_up() -> None:
    """A request that comes byte by byte has its time as a whole, not for each byte."""
    async with Served().serving(limits=Limits(request_s=0.3)) as (address,):
        begun = asyncio.get_running_loop().time()
        told = await until_closed(address, *(bytes([byte]) for byte in HEALTHY * 100), pause_s=0.05)
        took_s = asyncio.get_running_loop().time() - begun
    assert told == b""
    assert took_s < 3.0  # the whole of it would take 100 times 38 times 0.05 = 190 s


async def test_second_request_has_its_time_too() -> None:
    """After an answer a connection may be idle for long, but a request once begun must come."""
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


async def test_pieces_of_a_request_are_put_together() -> None:
    """A request that comes in pieces, within its time, is answered."""
    async with Served().serving(limits=Limits(request_s=5)) as (address,):
        told = await until_closed(
            address, b"GET /-/hea", b"lthy HTTP/1.1\r\nHost: x\r\nConn", b"ection: close\r\n\r\n", pause_s=0.01
        )
    assert told.endswith(b"\r\n\r\nok")


async def test_large_head_is_refused() -> None:
    """Headers that are small one by one and large together get 431 before they fill our memory."""
    lines = [b"X-%d: %s\r\n" % (number, b"a" * 4000) for number in range(60)]
    async with Served().serving() as (address,):
        told = await until_closed(address, b"GET / HTTP/1.1\r\nHost: x\r\n", *lines)
        assert told == b"" or told.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        assert b"ok" in await raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")


async def test_large_head_is_told() -> None:
    """Where the client listens while it sends, it learns why: 431."""
    async with Served().serving(limits=Limits(head_bytes=100)) as (address,):
        told = await raw(address, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200)
    assert told.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


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
    """Nobody has reason to send us a body: the answer comes at once, and the connection is closed."""
    body = [b"a" * 65536] * 200
    async with Served().serving() as (address,):
        told = await until_closed(address, request_bytes)
        assert told.split(b" ")[1] == status
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
    """Odd methods, paths and headers get a plain answer, nothing is logged, and the next client is served."""
    caplog.set_level("INFO")
    async with Served().serving(limits=Limits(request_s=0.5)) as (address,):
        told = await until_closed(address, request_bytes)
        assert told.split(b" ")[1] in statuses
        assert b"ok" in await raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
    assert caplog.messages == []


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests sent without waiting are answered one after the other, up to a bound of bytes that is not answered."""
    last = b"GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with Served().serving() as (address,):
        told = await until_closed(address, HEALTHY * 200 + last)
    assert told.count(b"HTTP/1.1 200 OK\r\n") == 201
    assert told.endswith(b"ready")


async def test_pipelining_without_reading_is_cut_off() -> None:
    """A client that asks and asks and never reads fills neither our memory nor our time."""
    served = Served(FakeExposition(large=[b"x" * 60_000]))
    async with served.serving(limits=Limits(response_s=0.3)) as (address,):
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, (address.host, address.port))
        asked = 0
        with suppress(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    await loop.sock_sendall(plain, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                    asked += 100
        plain.close()
        assert b"ok" in await raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
    assert len(served.exposition.asked) < asked


async def test_slow_reader_of_a_small_answer_is_cut_off() -> None:
    """An idle client whose last answer is still on its way does not stay for ever."""
    async with Served().serving(limits=Limits(idle_s=0.1)) as (address,):
        assert (await until_closed(address, HEALTHY)).endswith(b"ok")


async def test_too_many_connections_end_the_oldest_idle() -> None:
    """One connection too many, and the one that is idle longest goes; whoever asks is answered."""
    async with Served().serving(limits=Limits(connections=10)) as (address,):
        crowd = [await asyncio.open_connection(address.host, address.port) for _ in range(30)]
        assert b"ok" in await raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(10):
            ends = [await _ending(reader) for reader, _ in crowd[:20]]
        assert ends == [b""] * 20
        reader, writer = crowd[-1]
        writer.write(HEALTHY)
        assert await reader.readuntil(b"ok")
        for _, writer in crowd:
            writer.transport.abort()


async def _ending(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_out_of_files(caplog: pytest.LogCaptureFixture) -> None:
    """When the process may open no more files, the oldest idle connection goes, and the next client is served."""
    loop = asyncio.get_running_loop()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with Served().serving() as (address,):
        idle = [await asyncio.open_connection(address.host, address.port) for _ in range(3)]
        for _, writer in idle:
            writer.write(HEALTHY)
        for reader, _ in idle:
            assert await reader.readuntil(b"ok")
        newcomer = socket.socket()
        newcomer.setblocking(False)
        try:
            with capture_logs() as logs:
                resource.setrlimit(resource.RLIMIT_NOFILE, (_next_file(), hard))
                await loop.sock_connect(newcomer, (address.host, address.port))
                await loop.sock_sendall(newcomer, HEALTHY)
                async with asyncio.timeout(10):
                    told = await loop.sock_recv(newcomer, 65536)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            newcomer.close()
        assert told.endswith(b"ok")
        assert await _ending(idle[0][0]) == b""
        assert not idle[1][0].at_eof()
        for _, writer in idle:
            writer.transport.abort()
    assert [entry["event"] for entry in logs] == ["web.resources_exhausted"]
    assert caplog.messages == []


def _next_file() -> int:
    """The number the next file would have."""
    with socket.socket() as probe:
        return probe.fileno()


async def test_answer_under_way_outlives_a_crowd() -> None:
    """Those who are only connected go first: an answer that is being sent arrives whole."""
    served = Served(FakeExposition(large=LARGE))
    async with served.serving(limits=Limits(connections=10)) as (address,):
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=4096)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        crowd = [await asyncio.open_connection(address.host, address.port) for _ in range(30)]
        body = await reader.read()
        for _, other in (*crowd, (reader, writer)):
            other.transport.abort()
    assert b"Content-Length: 5600007" in head
    assert body == b"".join(LARGE)


async def test_waiting_clients_do_not_delay_the_end() -> None:
    """Connections that are only open are closed when the server stops, without waiting for their time."""
    served = Served()
    async with asyncio.timeout(5):
        async with served.serving() as (address,):
            crowd = [await asyncio.open_connection(address.host, address.port) for _ in range(20)]
            assert b"ok" in await raw(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
        assert [await _ending(reader) for reader, _ in crowd] == [b""] * 20
    for _, writer in crowd:
        writer.transport.abort()
