"""A server that does as it is told, misbehaviour included, and remembers what it was asked."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One request as it request over the wire; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


Step = Callable[[ReceivedRequest, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Listens on loopback; each path prefix has its steps, of which the last repeats. HTTP/1.1, kept alive."""

    tls: ssl.SSLContext | None = None
    received: list[ReceivedRequest] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    active: int = 0
    max_active: int = 0
    _steps: dict[str, list[Step]] = field(default_factory=dict)
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    def on(self, prefix: str, *steps: Step) -> Self:
        """Take these steps for requests whose target starts so; the longest prefix counts."""
        self._steps[prefix] = list(steps)
        return self

    def requests_to(self, prefix: str) -> list[ReceivedRequest]:
        """What request for targets that start so, in the order it request."""
        return [received for received in self.received if received.target.startswith(prefix)]

    async def until_received(self, times: int) -> None:
        """Wait until so many requests have come."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.received) >= times)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._handle_connection, "127.0.0.1", 0, ssl=self.tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _handle_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            while not writer.is_closing() and (received := await _read(reader)):
                await self._serve(received, writer)
        except (ConnectionError, asyncio.CancelledError, ssl.SSLError):
            pass  # the client went away, or the test is over
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    async def _serve(self, received: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        self.active += 1
        self.max_active = max(self.max_active, self.active)
        async with self.arrived:
            self.received.append(received)
            self.arrived.notify_all()
        prefix = max((key for key in self._steps if received.target.startswith(key)), key=len)
        steps = self._steps[prefix]
        try:
            await (steps.pop(0) if len(steps) > 1 else steps[0])(received, writer)
        finally:
            self.active -= 1


async def _read(reader: asyncio.StreamReader) -> ReceivedRequest | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return ReceivedRequest(method=method, target=target, headers=headers, body=body)


def respond(status: int = 200, body: object = None, headers: Mapping[str, str] | None = None) -> Step:
    """Answer properly; a body that is not bytes goes out as JSON."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()

    async def step(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, {"Content-Length": str(len(content)), **(headers or {})}) + content)
        await writer.drain()

    return step


def respond_after(gate: asyncio.Event, then: Step) -> Step:
    """Answer when the gate opens."""

    async def step(received: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await then(received, writer)

    return step


def send_raw(*parts: bytes, then: str) -> Step:
    """Write these bytes as they are; then "hang", "close" or "reset"."""

    async def step(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then == "hang":
            await asyncio.Event().wait()
        if then == "reset":
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort() if then == "reset" else writer.close()

    return step


def trickle(status: int = 200) -> Step:
    """Send a body of one byte each 20 ms, without end."""

    async def step(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, {"Content-Length": "1000000"}))
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    return step


def flood(status: int = 200, *, announced: bool = False) -> Step:
    """Send spaces without end, as fast as they are taken."""

    async def step(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        length = {"Content-Length": "200000000"} if announced else {"Connection": "close"}
        writer.write(_head(status, length))
        while True:
            writer.write(b" " * 65_536)
            await writer.drain()

    return step


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Content-Type": "application/json", **headers}.items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode()
