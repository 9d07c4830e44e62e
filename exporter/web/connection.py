"""The HTTP protocol of one connection: aiohttp's, with deadlines and without details in error responses."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web

from exporter.web.connection_pool import Connection, ConnectionPool
from exporter.web.limits import Limits

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Certificate = Mapping[str, Any]

_CLOSE_GRACE_S = 5.0
"""Time between aiohttp's close of an idle connection and our abort. A client that does not read never closes."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def text_response(text: str, *, status: int = 200) -> web.Response:
    """Build a response of one line of plain text."""
    return web.Response(body=text.encode(), status=status, headers=basic_headers("text/plain; charset=utf-8"))


def basic_headers(content_type: str) -> dict[str, str]:
    """Return the headers of every response. `Server` carries no version and replaces aiohttp's own value."""
    return {"Content-Type": content_type, "X-Content-Type-Options": "nosniff", "Server": "modelarts-exporter"}


class HttpConnection(web.RequestHandler):
    """Limits the time and the size of a request head, and the time a client takes to read a response."""

    __slots__ = ("_accepts", "_connection", "_head_bytes", "_limits", "_pool", "_request_complete")

    def __init__(
        self,
        server: "Server",
        *,
        pool: ConnectionPool,
        connection: Connection,
        accepts: Callable[[Certificate | None], bool],
        limits: Limits,
        **settings: Any,
    ) -> None:
        super().__init__(server, **settings)
        self._pool = pool
        self._connection = connection
        self._accepts = accepts
        self._limits = limits
        self._head_bytes = 0
        self._request_complete = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline of the first request. Abort if the client certificate is not accepted."""
        super().connection_made(transport)
        self._connection.abort = cast(asyncio.Transport, transport).abort
        if self._accepts(transport.get_extra_info("peercert")):
            self._set_deadline(self._limits.request_s)
        else:
            self._connection.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Remove the connection from the pool."""
        self._pool.remove(self._connection)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes. Reject the request if its head grows beyond `head_bytes`."""
        if data and not self._head_bytes and not self._request_complete:
            self._set_deadline(self._limits.request_s)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._messages:
            self._request_complete = True
        if self._head_bytes > self._limits.head_bytes and not self._request_complete:
            self._reject_large_head()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the response. A client that does not read it in time is disconnected."""
        self._set_deadline(self._limits.response_s)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._head_bytes = 0
            self._request_complete = bool(self._messages)
            self._pool.mark_idle(self._connection)
            self._set_deadline(self._limits.idle_s + _CLOSE_GRACE_S)
            if self._connection.close_after_response:
                self.close()

    def request_received(self) -> None:
        """Record a complete request and remove the deadline: from now on the time is ours."""
        self._connection.deadline = math.inf
        self._pool.mark_busy(self._connection)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature; the text would help only an attacker
    ) -> web.StreamResponse:
        """Answer an unparsable request or a failed handler with the status and its standard phrase.

        Raises ConnectionError, which closes the connection, if the client has gone or part of a response was sent.
        """
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionError from exc
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log_exception("Error handling request", exc_info=exc)
        response = text_response(HTTPStatus(status).phrase.lower(), status=status)
        response.force_close()
        return response

    def _set_deadline(self, for_s: float) -> None:
        self._connection.deadline = self._loop.time() + for_s

    def _reject_large_head(self) -> None:
        if self.transport is not None:
            self.transport.write(_TOO_LARGE)
            self.force_close()


class Server(web.Server):
    """Creates the protocol of each connection, and owns the connection pool."""

    def __init__(self, handler: Handler, *, limits: Limits) -> None:
        super().__init__(partial(_handle, handler))
        self.pool = ConnectionPool(limit=limits.connections)
        self._limits = limits
        self._settings = {
            "access_log": None,
            "keepalive_timeout": limits.idle_s,
            "max_line_size": limits.line_bytes,
            "max_field_size": limits.line_bytes,
            "max_headers": limits.headers,
            "lingering_time": 0,  # no endpoint takes a body: do not wait for the rest of one
            "auto_decompress": False,  # nor decompress one
            "logger": logging.getLogger("exporter.web.server"),
        }

    def create_protocol(
        self, connection: Connection, *, accepts: Callable[[Certificate | None], bool]
    ) -> HttpConnection:
        """Create the protocol of one connection. `accepts` decides on the client's certificate; None: none given."""
        return HttpConnection(
            self,
            pool=self.pool,
            connection=connection,
            accepts=accepts,
            limits=self._limits,
            loop=self._loop,
            **self._settings,
        )


async def _handle(handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    cast(HttpConnection, request.protocol).request_received()
    return await handler(request)
