"""One client's connection: aiohttp's, with an end to its patience, and a silence about what goes on inside."""

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

_GRACE_S = 5.0
"""How long after aiohttp began to close an idle connection it is cut: a client that reads nothing never closes."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def told(text: str, *, status: int = 200) -> web.Response:
    """Answer with a line of plain text."""
    return web.Response(body=text.encode(), status=status, headers=basic_headers("text/plain; charset=utf-8"))


def basic_headers(content_type: str) -> dict[str, str]:
    """Give the headers of every answer; the name of the server, without its version, stands for aiohttp's own."""
    return {"Content-Type": content_type, "X-Content-Type-Options": "nosniff", "Server": "modelarts-exporter"}


class HttpConnection(web.RequestHandler):
    """Waits for a whole request for so long and so many bytes, and for the client to take its answer for so long."""

    __slots__ = ("_admits", "_crowd", "_head_bytes", "_limits", "_visit", "_whole")

    def __init__(
        self,
        server: "Server",
        *,
        crowd: ConnectionPool,
        visit: Connection,
        admits: Callable[[Certificate | None], bool],
        limits: Limits,
        **settings: Any,
    ) -> None:
        super().__init__(server, **settings)
        self._crowd = crowd
        self._visit = visit
        self._admits = admits
        self._limits = limits
        self._head_bytes = 0
        self._whole = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request; a client whose certificate is not admitted is cut off."""
        super().connection_made(transport)
        self._visit.end = cast(asyncio.Transport, transport).abort
        if self._admits(transport.get_extra_info("peercert")):
            self._wait(self._limits.head_s)
        else:
            self._visit.end()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        self._crowd.exit(self._visit)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends, up to the size of a head as long as there is no whole request in it."""
        if data and not self._head_bytes and not self._whole:
            self._wait(self._limits.head_s)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._messages:
            self._whole = True
        if self._head_bytes > self._limits.head_bytes and not self._whole:
            self._refuse()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send what is to be sent; a client that does not take it is cut off."""
        self._wait(self._limits.answer_s)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._head_bytes = 0
            self._whole = bool(self._messages)
            self._crowd.ended(self._visit)
            self._wait(self._limits.idle_s + _GRACE_S)
            if self._visit.leaving:
                self.close()

    def begin(self) -> None:
        """Note that a whole request is here; from now on the client waits for us."""
        self._visit.until = math.inf
        self._crowd.begun(self._visit)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature; what it tells helps an attacker only
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse, or a handler that failed: the number, and its usual words.

        Raises ConnectionError when the client has gone, or half an answer is out: then the connection ends.
        """
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionError from exc
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log_exception("Error handling request", exc_info=exc)
        response = told(HTTPStatus(status).phrase.lower(), status=status)
        response.force_close()
        return response

    def _wait(self, for_s: float) -> None:
        self._visit.until = self._loop.time() + for_s

    def _refuse(self) -> None:
        if self.transport is not None:
            self.transport.write(_TOO_LARGE)
            self.force_close()


class Server(web.Server):
    """Makes such connections."""

    def __init__(self, handler: Handler, *, limits: Limits) -> None:
        super().__init__(partial(_handled, handler))
        self.crowd = ConnectionPool(most=limits.connections)
        self._limits = limits
        self._settings = {
            "access_log": None,
            "keepalive_timeout": limits.idle_s,
            "max_line_size": limits.line_bytes,
            "max_field_size": limits.line_bytes,
            "max_headers": limits.headers,
            "lingering_time": 0,  # nobody has reason to send us a body: do not wait for the rest of one
            "auto_decompress": False,  # nor to unpack one
            "logger": logging.getLogger("exporter.web.server"),
        }

    def connection(self, visit: Connection, *, admits: Callable[[Certificate | None], bool]) -> HttpConnection:
        """Make the protocol of one connection; `admits` decides by the client's certificate."""
        return HttpConnection(
            self,
            crowd=self.crowd,
            visit=visit,
            admits=admits,
            limits=self._limits,
            loop=self._loop,
            **self._settings,
        )


async def _handled(handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    cast(HttpConnection, request.protocol).begin()
    return await handler(request)
