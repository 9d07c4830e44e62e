"""The HTTP server: /metrics for Prometheus, probes for Kubernetes, and a status page."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Protocol

from aiohttp import web

from exporter.domain.snapshot import Snapshot
from exporter.domain.source import Clock
from exporter.web.address import Address
from exporter.web.connection import Handler, Server, basic_headers, text_response
from exporter.web.guard import Guard
from exporter.web.limits import Limits
from exporter.web.listener import listening
from exporter.web.negotiate import OPENMETRICS, TEXT, negotiate
from exporter.web.page import Link, Page

HEALTHY = "/-/healthy"
READY = "/-/ready"
RELOAD = "/-/reload"

_SLICE_BYTES = 2 * 1024 * 1024  # size of one write; a compressed exposition of 100 000 series fits into one
_SINGLE_WRITE_BYTES = 64 * 1024  # up to here, one write of headers and body is cheaper than not copying the body
_LIMITS = Limits()
_TRUSTED_FETCH_SITES = ("none", "same-origin")
"""Values of Sec-Fetch-Site that may reload. Programs other than browsers do not send the header."""
_READ_METHODS = ("GET", "HEAD")
_WRITE_METHODS = ("POST", "PUT")  # Prometheus accepts both for its own reload


class Body(Protocol):
    """A response body as chunks."""

    @property
    def chunks(self) -> Sequence[bytes]:
        """In order. Shared between responses, never copied."""
        ...

    @property
    def length(self) -> int:
        """Bytes of all chunks together."""
        ...


class Exposition(Protocol):
    """Source of the /metrics body."""

    def body(self, *, openmetrics: bool, gzip: bool) -> Body:
        """Return the current body without waiting."""
        ...


Reload = Callable[[], Awaitable[Sequence[str]]]
"""Reloads the settings. Returns the problems for which they were rejected; empty: they are in force."""


@dataclass(frozen=True, slots=True)
class Route:
    """Handler of a path, and the methods it allows."""

    handler: Handler
    methods: tuple[str, ...] = _READ_METHODS


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
    guard: Guard | None = None,
    limits: Limits = _LIMITS,
) -> AsyncIterator[tuple[Address, ...]]:
    """Serve until the block ends. Yields the addresses bound, in the order given.

    `ready` returns whether the first poll of each target has ended. `snapshot` is the data of the status page; None
    before the first. `reload` handles POST on /-/reload; None: the path does not exist. `guard` provides TLS and
    authentication for every path; None: plain HTTP without authentication.
    Raises OSError if an address cannot be bound, and ValueError if the telemetry path is relative or already used.
    """
    routes = _routes(
        exposition,
        ready=ready,
        snapshot=snapshot,
        clock=clock,
        page=Page(version=version, links=_links(telemetry_path, docs_url=docs_url)),
        telemetry_path=telemetry_path,
        reload=reload,
        extra_headers=lambda: {} if guard is None else guard.headers,
        limits=limits,
    )
    handler: Handler = partial(_dispatch, routes)
    if guard is not None:
        handler = partial(_authorize, guard, handler)
    server = Server(handler, limits=limits)
    async with AsyncExitStack() as stack:
        if guard is not None:
            stack.callback(guard.close)
            stack.callback(asyncio.create_task(guard.watch(server.pool.drain), name="watch web config").cancel)
        tls = (lambda: None) if guard is None else (lambda: guard.tls)
        yield await stack.enter_async_context(listening(addresses, server, tls=tls, limits=limits))


def _routes(
    exposition: Exposition,
    *,
    ready: Callable[[], bool],
    snapshot: Callable[[], Snapshot | None],
    clock: Clock,
    page: Page,
    telemetry_path: str,
    reload: Reload | None,
    extra_headers: Callable[[], Mapping[str, str]],
    limits: Limits,
) -> Mapping[str, Route]:
    negotiate_cached = lru_cache(maxsize=256)(negotiate)  # a few clients send the same headers again and again

    async def metrics(request: web.BaseRequest) -> web.StreamResponse:
        accept = request.headers.getall("Accept", ())
        accept_encoding = request.headers.getall("Accept-Encoding", ())
        choice = negotiate_cached(",".join(accept), ",".join(accept_encoding))
        headers = {**extra_headers(), **basic_headers(OPENMETRICS if choice.openmetrics else TEXT)}
        headers["Vary"] = "Accept, Accept-Encoding"
        if choice.gzip:
            headers["Content-Encoding"] = "gzip"
        body = exposition.body(openmetrics=choice.openmetrics, gzip=choice.gzip)
        return await _send(request, body, headers=headers, limits=limits)

    async def liveness(_: web.BaseRequest) -> web.StreamResponse:
        return text_response("ok")

    async def readiness(_: web.BaseRequest) -> web.StreamResponse:
        if ready():
            return text_response("ready")
        return text_response("not ready: first poll in progress", status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def status_page(_: web.BaseRequest) -> web.StreamResponse:
        html = await asyncio.to_thread(page.render, snapshot(), now=clock.time())
        headers = basic_headers("text/html; charset=utf-8")
        headers["Content-Security-Policy"] = page.policy
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cache-Control"] = "no-store"
        return web.Response(body=html.encode(errors="replace"), headers=headers)

    builtin = {HEALTHY: Route(liveness), READY: Route(readiness)}
    if reload is not None:
        builtin[RELOAD] = Route(partial(_handle_reload, reload), _WRITE_METHODS)
    if not telemetry_path.startswith("/") or telemetry_path in (*builtin, RELOAD):
        raise ValueError(f"the telemetry path must begin with a slash and not be a built-in path: {telemetry_path!r}")
    return {"/": Route(status_page), **builtin, telemetry_path: Route(metrics)}


async def _handle_reload(reload: Reload, request: web.BaseRequest) -> web.StreamResponse:
    if request.headers.get("Sec-Fetch-Site", "none") not in _TRUSTED_FETCH_SITES:
        return text_response("cross-site requests may not reload", status=HTTPStatus.FORBIDDEN)
    problems = await reload()
    if problems:
        return text_response("\n".join(problems), status=HTTPStatus.BAD_REQUEST)
    return text_response("reloaded")


def _links(telemetry_path: str, *, docs_url: str) -> tuple[Link, ...]:
    links = [
        Link(text="Metrics", href="." + telemetry_path),
        Link(text="Healthy?", href="." + HEALTHY),
        Link(text="Ready?", href="." + READY),
    ]
    if docs_url:
        links.append(Link(text="Documentation", href=docs_url))
    return tuple(links)


async def _dispatch(routes: Mapping[str, Route], request: web.BaseRequest) -> web.StreamResponse:
    route = routes.get(request.path)
    if route is None:
        return text_response("not found", status=HTTPStatus.NOT_FOUND)
    if request.method not in route.methods:
        rejection = text_response(
            f"allowed methods: {', '.join(route.methods)}", status=HTTPStatus.METHOD_NOT_ALLOWED
        )
        rejection.headers["Allow"] = ", ".join(route.methods)
        return rejection
    return await route.handler(request)


async def _authorize(guard: Guard, handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    rejection = await guard.check(request.headers.get("Authorization", ""), peer=request.remote or "")
    if rejection is None:
        response = await handler(request)
    else:
        response = text_response(rejection.status.phrase.lower(), status=rejection.status)
        response.headers.update(rejection.headers)
    if not response.prepared:
        for name, value in guard.headers.items():
            response.headers.setdefault(name, value)
    return response


async def _send(
    request: web.BaseRequest, body: Body, *, headers: dict[str, str], limits: Limits
) -> web.StreamResponse:
    """Write chunk by chunk, as fast as the client reads, so that a slow client does not need a buffered copy."""
    if request.method == "HEAD":
        headers["Content-Length"] = str(body.length)
        return web.Response(headers=headers)
    if body.length <= _SINGLE_WRITE_BYTES:
        return web.Response(body=b"".join(body.chunks), headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = body.length
    try:
        async with asyncio.timeout(limits.response_s):
            await response.prepare(request)
            for chunk in body.chunks:
                view = memoryview(chunk)
                for start in range(0, len(chunk), _SLICE_BYTES):
                    await response.write(view[start : start + _SLICE_BYTES])
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()  # `close` would wait for the client to read the rest
        raise
    return response
