"""Takes connections in, each with the TLS that is in force at that moment, so that certificates can change."""

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

_PAUSE_S = 0.01
"""Until the file of somebody who had to go is free."""
_SILENCE_S = 60.0
_GOODBYE_S = 5.0
"""How long a client may take to say goodbye in TLS; meanwhile it counts as connected."""


@asynccontextmanager
async def listening(
    addresses: Sequence[Address], server: Server, *, tls: Callable[[], Tls | None], limits: Limits
) -> AsyncIterator[tuple[Address, ...]]:
    """Listen until the block ends, and then wait for the answers under way; gives the addresses really bound.

    `tls` is asked at each connection; None: plain HTTP. Raises OSError when an address cannot be bound.
    """
    sockets: list[socket.socket] = []
    working: list[asyncio.Task[None]] = []
    door = _Acceptor(server, tls=tls, limits=limits)
    try:
        for address in addresses:
            listener = await asyncio.to_thread(bind, address)
            sockets.append(listener)
            listener.setblocking(False)
        working.append(asyncio.create_task(_sweep(server.crowd, limits), name="sweeping"))
        working += [asyncio.create_task(door.accept(listener), name="accepting") for listener in sockets]
        yield tuple(
            Address(address.host, listener.getsockname()[1])
            for address, listener in zip(addresses, sockets, strict=True)
        )
    finally:
        for task in (*working, *door.arriving):
            task.cancel()
        await asyncio.gather(*working, *door.arriving, return_exceptions=True)
        for listener in sockets:
            listener.close()
        server.pre_shutdown()
        await server.shutdown(limits.shutdown_s)


class _Acceptor:
    """Lets clients in, one socket after the other; handshakes go on side by side."""

    def __init__(self, server: Server, *, tls: Callable[[], Tls | None], limits: Limits) -> None:
        self._server = server
        self._tls = tls
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.arriving: set[asyncio.Task[None]] = set()
        self._waiting: set[socket.socket] = set()
        self._warned_at = -math.inf

    async def accept(self, listener: socket.socket) -> None:
        """Let clients in until cancelled."""
        while True:
            try:
                client, address = await self._loop.sock_accept(listener)
            except ConnectionError:
                continue  # gone before we looked
            except OSError as error:
                # Files or memory are short, which shows before anybody knocks. When somebody does, somebody else must
                # go, or nobody ever gets in again.
                self._warn(error)
                await _wait_readable(listener)
                self._server.crowd.evict()
                await asyncio.sleep(_PAUSE_S)
                continue
            visit = Connection(client_network(address[0]))
            self._waiting.add(client)
            task = asyncio.create_task(self._arrive(client, visit), name="arriving")
            visit.end = task.cancel
            self.arriving.add(task)
            task.add_done_callback(partial(self._arrived, client, visit))
            self._server.crowd.enter(visit)

    async def _arrive(self, client: socket.socket, visit: Connection) -> None:
        self._waiting.discard(client)  # from here on a transport owns it
        tls = self._tls()
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._server.connection(visit, admits=_anybody if tls is None else tls.admits),
                client,
                ssl=None if tls is None else tls.context,
                ssl_handshake_timeout=None if tls is None else self._limits.handshake_s,
                ssl_shutdown_timeout=None if tls is None else _GOODBYE_S,
            )
        except OSError as error:  # of TLS too
            _log.debug("web.client_refused", error=str(error))
            self._server.crowd.exit(visit)

    def _arrived(self, client: socket.socket, visit: Connection, task: asyncio.Task[None]) -> None:
        self.arriving.discard(task)
        if task.cancelled():
            self._server.crowd.exit(visit)
        if client in self._waiting:  # cancelled before it began
            self._waiting.discard(client)
            client.close()

    def _warn(self, error: OSError) -> None:
        now = self._loop.time()
        if now - self._warned_at >= _SILENCE_S:
            self._warned_at = now
            _log.warning("web.resources_exhausted", error=error.strerror, connections=len(self._server.crowd))


async def _sweep(crowd: ConnectionPool, limits: Limits) -> None:
    """Look once a second, or oftener where the times are shorter, for those whose time is over."""
    loop = asyncio.get_running_loop()
    pause_s = max(_PAUSE_S, min(1.0, limits.head_s / 4, limits.idle_s / 4, limits.answer_s / 4))
    while True:
        await asyncio.sleep(pause_s)
        crowd.sweep(loop.time())


async def _wait_readable(listener: socket.socket) -> None:
    """Wait until somebody wants to come in."""
    loop = asyncio.get_running_loop()
    knocked = asyncio.Event()
    loop.add_reader(listener, knocked.set)
    try:
        await knocked.wait()
    finally:
        loop.remove_reader(listener)


def _anybody(_: object) -> bool:
    return True
