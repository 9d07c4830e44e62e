"""Accepts connections. Each uses the TLS configuration of that moment, so that certificates can be rotated."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import structlog

from exporter.web.address import Address, bind
from exporter.web.connection import Server
from exporter.web.connection_pool import Connection, ConnectionPool, client_network
from exporter.web.limits import Limits
from exporter.web.tls import Tls

_log = structlog.get_logger()

_MIN_PAUSE_S = 0.01
"""Time for the file descriptor of an evicted connection to become free."""
_WARNING_INTERVAL_S = 60.0
_TLS_SHUTDOWN_S = 5.0
"""Deadline of the TLS close handshake. The connection counts as open until then."""


@asynccontextmanager
async def listening(
    addresses: Sequence[Address], server: Server, *, tls: Callable[[], Tls | None], limits: Limits
) -> AsyncIterator[tuple[Address, ...]]:
    """Listen until the block ends, then wait for responses in progress. Yields the addresses bound.

    `tls` is called for each connection; None: plain HTTP. Raises OSError if an address cannot be bound.
    """
    sockets: list[socket.socket] = []
    tasks: list[asyncio.Task[None]] = []
    acceptor = _Acceptor(server, tls=tls, limits=limits)
    try:
        for address in addresses:
            listener = await asyncio.to_thread(bind, address)
            sockets.append(listener)
            listener.setblocking(False)
        tasks.append(asyncio.create_task(_close_expired(server.pool, limits), name="close expired connections"))
        tasks += [asyncio.create_task(acceptor.accept(listener), name="accept") for listener in sockets]
        yield tuple(
            Address(address.host, listener.getsockname()[1])
            for address, listener in zip(addresses, sockets, strict=True)
        )
    finally:
        for task in (*tasks, *acceptor.handshakes):
            task.cancel()
        await asyncio.gather(*tasks, *acceptor.handshakes, return_exceptions=True)
        for listener in sockets:
            listener.close()
        server.pre_shutdown()
        await server.shutdown(limits.shutdown_s)


class _Acceptor:
    """Accepts the clients of the listening sockets. TLS handshakes run concurrently."""

    def __init__(self, server: Server, *, tls: Callable[[], Tls | None], limits: Limits) -> None:
        self._server = server
        self._tls = tls
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.handshakes: set[asyncio.Task[None]] = set()
        self._unclaimed: set[socket.socket] = set()
        self._warned_at = -math.inf

    async def accept(self, listener: socket.socket) -> None:
        """Accept clients until cancelled."""
        while True:
            try:
                client, address = await self._loop.sock_accept(listener)
            except ConnectionError:
                continue  # closed by the client before we accepted
            except OSError as error:
                # File descriptors or memory are exhausted; `accept` reports this even without a waiting client.
                # Evict a connection once a client waits, or no client would be accepted again.
                self._warn_exhausted(error)
                await _wait_readable(listener)
                self._server.pool.evict()
                await asyncio.sleep(_MIN_PAUSE_S)
                continue
            connection = Connection(client_network(address[0]))
            self._unclaimed.add(client)
            task = asyncio.create_task(self._handshake(client, connection), name="handshake")
            connection.abort = task.cancel
            self.handshakes.add(task)
            task.add_done_callback(partial(self._handshake_done, client, connection))
            self._server.pool.add(connection)

    async def _handshake(self, client: socket.socket, connection: Connection) -> None:
        self._unclaimed.discard(client)  # the transport owns it from here on
        tls = self._tls()
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._server.create_protocol(connection, accepts=_accept_any if tls is None else tls.accepts),
                client,
                ssl=None if tls is None else tls.context,
                ssl_handshake_timeout=None if tls is None else self._limits.handshake_s,
                ssl_shutdown_timeout=None if tls is None else _TLS_SHUTDOWN_S,
            )
        except OSError as error:  # includes ssl.SSLError
            _log.debug("web.client_refused", error=str(error))
            self._server.pool.remove(connection)

    def _handshake_done(self, client: socket.socket, connection: Connection, task: asyncio.Task[None]) -> None:
        self.handshakes.discard(task)
        if task.cancelled():
            self._server.pool.remove(connection)
        if client in self._unclaimed:  # cancelled before it started
            self._unclaimed.discard(client)
            client.close()

    def _warn_exhausted(self, error: OSError) -> None:
        now = self._loop.time()
        if now - self._warned_at >= _WARNING_INTERVAL_S:
            self._warned_at = now
            _log.warning("web.resources_exhausted", error=error.strerror, connections=len(self._server.pool))


async def _close_expired(pool: ConnectionPool, limits: Limits) -> None:
    """Close expired connections once a second, or more often if the limits are shorter than four seconds."""
    loop = asyncio.get_running_loop()
    pause_s = max(_MIN_PAUSE_S, min(1.0, limits.request_s / 4, limits.idle_s / 4, limits.response_s / 4))
    while True:
        await asyncio.sleep(pause_s)
        pool.close_expired(loop.time())


async def _wait_readable(listener: socket.socket) -> None:
    """Wait until a client waits to be accepted."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(listener, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(listener)


def _accept_any(_: object) -> bool:
    return True
