"""A server with scripted responses, including broken ones, that records the requests it received."""

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
    """One request as received; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


Step = Callable[[ReceivedRequest, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Listens on loopback. Each path prefix has steps, the last of which repeats. HTTP/1.1 with keep-alive."""

    tls: ssl.SSLContext | None = None
    received: list[ReceivedRequest] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    active: int = 0
    max_active: int = 0
    _steps: dict[str, list[Step]] = field(default_factory=dict)
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    def on(self, prefix: str, *steps: Step) -> Self:
        """Use these steps for requests whose target has this prefix; the longest prefix counts."""
        self._steps[prefix] = list(steps)
        return self

    def requests_to(self, prefix: str) -> list[ReceivedRequest]:
        """Return the requests whose target has this prefix, in order."""
        return [received for received in self.received if received.target.startswith(prefix)]

    async def until_received(self, times: int) -> None:
        """Wait until this many requests were received."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.received) >= times)

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its base URL."""
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
            pass  # the client closed the connection, or the test has ended
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
    """Send a valid response; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()

    async def step(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, {"Content-Length": str(len(content)), **(headers or {})}) + content)
        await writer.drain()

    return step


def respond_after(gate: asyncio.Event, then: Step) -> Step:
    """Wait for the event, then do the step."""

    async def step(received: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await then(received, writer)

    return step


def send_raw(*parts: bytes, then: str) -> Step:
    """Write these bytes unchanged; then "hang", "close" or "reset"."""

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
    """Send an endless body, one byte each 20 ms."""

    async def step(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, {"Content-Length": "1000000"}))
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    return step


def flood(status: int = 200, *, announced: bool = False) -> Step:
    """Send an endless body of spaces, as fast as the client reads."""

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
