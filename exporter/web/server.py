"""The HTTP server: what Prometheus scrapes, what Kubernetes probes, and a page for people."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Protocol

from aiohttp import web

from exporter.domain.snapshot import Snapshot
from exporter.domain.source import Clock
from exporter.web.address import Address, bind
from exporter.web.negotiate import OPENMETRICS, TEXT, negotiate
from exporter.web.page import Link, Page

HEALTHY = "/-/healthy"
READY = "/-/ready"
RELOAD = "/-/reload"

_SLICE_BYTES = 1024 * 1024
_AT_ONCE_BYTES = 64 * 1024  # up to here one write of headers and body together beats not copying the body
_PLAIN = "text/plain; charset=utf-8"
_READING = ("GET", "HEAD")
_CHANGING = ("POST", "PUT")  # as Prometheus takes them for its own reload


class Body(Protocol):
    """An answer's bytes: its chunks in order, and their length together."""

    @property
    def chunks(self) -> Sequence[bytes]:
        """Shared with other answers, never copied."""
        ...

    @property
    def length(self) -> int:
        """Bytes of all chunks."""
        ...


class Exposition(Protocol):
    """Where a scrape's bytes come from."""

    def body(self, *, openmetrics: bool, gzip: bool) -> Body:
        """The answer of this moment, at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of us one client can hold."""

    line_bytes: int = 8190
    """Longest request line, and longest single header; beyond: 400. Prometheus' own headers take some 300."""
    headers: int = 64
    idle_s: float = 75.0
    """A connection without a request is closed after this long; longer than Prometheus' usual interval."""
    answer_s: float = 60.0
    """A client that takes longer for one large answer is cut off; Prometheus gives up after its scrape_timeout."""
    shutdown_s: float = 5.0
    """How long answers under way may take to finish when the server stops."""


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Reload = Callable[[], Awaitable[Sequence[str]]]
"""Reads the settings again; the sentences that say why they were refused, none when they are in force."""


@dataclass(frozen=True, slots=True)
class Route:
    """What answers on a path, and to which methods."""

    handler: Handler
    methods: tuple[str, ...] = _READING


@asynccontextmanager
async def serving(
    addresses: Sequence[Address],
    exposition: Exposition,
    *,
    ready: Callable[[], bool],
    snapshot: Callable[[], Snapshot | None],
    clock: Clock,
    version: str,
    telemetry_path: str = "/metrics",
    docs_url: str = "",
    reload: Reload | None = None,
    limits: Limits = Limits(),
) -> AsyncIterator[tuple[Address, ...]]:
    """Serve until the block ends; gives the addresses really bound, in the order asked for.

    `ready` says whether each target's first poll is over; `snapshot` is what the page tells, None before the first.
    `reload` answers POST on /-/reload; None: there is no such path.
    Raises OSError when an address cannot be bound, and ValueError when the telemetry path is relative or taken.
    """
    routes = _routes(
        exposition,
        ready=ready,
        snapshot=snapshot,
        clock=clock,
        page=Page(version=version, links=_links(telemetry_path, docs_url=docs_url)),
        telemetry_path=telemetry_path,
        reload=reload,
        limits=limits,
    )
    server = _Server(
        partial(_answer, routes),
        access_log=None,
        keepalive_timeout=limits.idle_s,
        max_line_size=limits.line_bytes,
        max_field_size=limits.line_bytes,
        max_headers=limits.headers,
        lingering_time=0,  # nobody has reason to send us a body: do not wait for the rest of one
        logger=logging.getLogger(__name__),
    )
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=limits.shutdown_s)
    await runner.setup()
    try:
        for address in addresses:
            listener = await asyncio.to_thread(bind, address)
            await web.SockSite(runner, listener).start()
        yield tuple(Address(address.host, name[1]) for address, name in zip(addresses, runner.addresses, strict=True))
    finally:
        await runner.cleanup()


def _routes(
    exposition: Exposition,
    *,
    ready: Callable[[], bool],
    snapshot: Callable[[], Snapshot | None],
    clock: Clock,
    page: Page,
    telemetry_path: str,
    reload: Reload | None,
    limits: Limits,
) -> Mapping[str, Route]:
    choose = lru_cache(maxsize=256)(negotiate)  # a few clients ask all the time, with the same headers

    async def metrics(request: web.BaseRequest) -> web.StreamResponse:
        accepted = request.headers.getall("Accept", ())
        encodings = request.headers.getall("Accept-Encoding", ())
        choice = choose(",".join(accepted), ",".join(encodings))
        headers = _headers(OPENMETRICS if choice.openmetrics else TEXT)
        headers["Vary"] = "Accept, Accept-Encoding"
        if choice.gzip:
            headers["Content-Encoding"] = "gzip"
        body = exposition.body(openmetrics=choice.openmetrics, gzip=choice.gzip)
        return await _send(request, body, headers=headers, limits=limits)

    async def healthy(_: web.BaseRequest) -> web.StreamResponse:
        return _told("ok")

    async def settled(_: web.BaseRequest) -> web.StreamResponse:
        return _told("ready") if ready() else _told("not ready: a first poll is under way", status=503)

    async def people(_: web.BaseRequest) -> web.StreamResponse:
        html = await asyncio.to_thread(page.render, snapshot(), now=clock.time())
        headers = _headers("text/html; charset=utf-8")
        headers["Content-Security-Policy"] = page.policy
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cache-Control"] = "no-store"
        return web.Response(body=html.encode(errors="replace"), headers=headers)

    own = {HEALTHY: Route(healthy), READY: Route(settled)}
    if reload is not None:
        own[RELOAD] = Route(partial(_reloaded, reload), _CHANGING)
    if not telemetry_path.startswith("/") or telemetry_path in (*own, RELOAD):
        raise ValueError(f"the telemetry path must begin with a slash and not be one of ours: {telemetry_path!r}")
    return {"/": Route(people), **own, telemetry_path: Route(metrics)}


async def _reloaded(reload: Reload, _: web.BaseRequest) -> web.StreamResponse:
    mistakes = await reload()
    if mistakes:
        return _told("\n".join(mistakes), status=HTTPStatus.BAD_REQUEST)
    return _told("reloaded")


def _links(telemetry_path: str, *, docs_url: str) -> tuple[Link, ...]:
    links = [
        Link(text="Metrics", href="." + telemetry_path),
        Link(text="Healthy?", href="." + HEALTHY),
        Link(text="Ready?", href="." + READY),
    ]
    if docs_url:
        links.append(Link(text="Documentation", href=docs_url))
    return tuple(links)


async def _answer(routes: Mapping[str, Route], request: web.BaseRequest) -> web.StreamResponse:
    route = routes.get(request.path)
    if route is None:
        return _told("not found", status=HTTPStatus.NOT_FOUND)
    if request.method not in route.methods:
        refusal = _told(f"only {' and '.join(route.methods)}", status=HTTPStatus.METHOD_NOT_ALLOWED)
        refusal.headers["Allow"] = ", ".join(route.methods)
        return refusal
    return await route.handler(request)


async def _send(
    request: web.BaseRequest, body: Body, *, headers: dict[str, str], limits: Limits
) -> web.StreamResponse:
    """Write chunk by chunk, waiting for the client in between: a slow one must not make us keep a copy for it."""
    if request.method == "HEAD":
        headers["Content-Length"] = str(body.length)
        return web.Response(headers=headers)
    if body.length <= _AT_ONCE_BYTES:
        return web.Response(body=b"".join(body.chunks), headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = body.length
    try:
        async with asyncio.timeout(limits.answer_s):
            await response.prepare(request)
            for chunk in body.chunks:
                view = memoryview(chunk)
                for start in range(0, len(chunk), _SLICE_BYTES):
                    await response.write(view[start : start + _SLICE_BYTES])
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()  # closing would wait for the same client to take what it does not take
        raise
    return response


def _told(text: str, *, status: int = 200) -> web.Response:
    return web.Response(body=text.encode(), status=status, headers=_headers(_PLAIN))


def _headers(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type, "X-Content-Type-Options": "nosniff", "Server": "modelarts-exporter"}


class _Connection(web.RequestHandler):
    """One client's connection, of which aiohttp tells neither its version nor what went wrong inside."""

    __slots__ = ()

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
        response = _told(HTTPStatus(status).phrase.lower(), status=status)
        response.force_close()
        return response


class _Server(web.Server):
    """A server of such connections."""

    def __call__(self) -> _Connection:
        """Make the protocol of one connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)
