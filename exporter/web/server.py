"""The HTTP server: what Prometheus scrapes, what Kubernetes probes, and a page for people."""

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
from exporter.web.connection import Handler, Server, basic_headers, told
from exporter.web.guard import Guard
from exporter.web.limits import Limits
from exporter.web.listener import listening
from exporter.web.negotiate import OPENMETRICS, TEXT, negotiate
from exporter.web.page import Link, Page

HEALTHY = "/-/healthy"
READY = "/-/ready"
RELOAD = "/-/reload"

_SLICE_BYTES = 2 * 1024 * 1024  # what one write hands over; a compressed answer of 100 000 series is one
_AT_ONCE_BYTES = 64 * 1024  # up to here one write of headers and body together beats not copying the body
_LIMITS = Limits()
_OF_OUR_OWN = ("none", "same-origin")
"""What a browser says of where a request comes from; other programs say nothing."""
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
    guard: Guard | None = None,
    limits: Limits = _LIMITS,
) -> AsyncIterator[tuple[Address, ...]]:
    """Serve until the block ends; gives the addresses really bound, in the order asked for.

    `ready` says whether each target's first poll is over; `snapshot` is what the page tells, None before the first.
    `reload` answers POST on /-/reload; None: there is no such path.
    `guard` decides over TLS and who is let in, to every path; None: plain HTTP for anybody.
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
        extra=lambda: {} if guard is None else guard.headers,
        limits=limits,
    )
    answer: Handler = partial(_answer, routes)
    if guard is not None:
        answer = partial(_guarded, guard, answer)
    server = Server(answer, limits=limits)
    async with AsyncExitStack() as up:
        if guard is not None:
            up.callback(guard.close)
            up.callback(asyncio.create_task(guard.watch(server.crowd.retire), name="watching the web config").cancel)
        tls = (lambda: None) if guard is None else (lambda: guard.tls)
        yield await up.enter_async_context(listening(addresses, server, tls=tls, limits=limits))


def _routes(
    exposition: Exposition,
    *,
    ready: Callable[[], bool],
    snapshot: Callable[[], Snapshot | None],
    clock: Clock,
    page: Page,
    telemetry_path: str,
    reload: Reload | None,
    extra: Callable[[], Mapping[str, str]],
    limits: Limits,
) -> Mapping[str, Route]:
    choose = lru_cache(maxsize=256)(negotiate)  # a few clients ask all the time, with the same headers

    async def metrics(request: web.BaseRequest) -> web.StreamResponse:
        accepted = request.headers.getall("Accept", ())
        encodings = request.headers.getall("Accept-Encoding", ())
        choice = choose(",".join(accepted), ",".join(encodings))
        headers = {**extra(), **basic_headers(OPENMETRICS if choice.openmetrics else TEXT)}
        headers["Vary"] = "Accept, Accept-Encoding"
        if choice.gzip:
            headers["Content-Encoding"] = "gzip"
        body = exposition.body(openmetrics=choice.openmetrics, gzip=choice.gzip)
        return await _send(request, body, headers=headers, limits=limits)

    async def healthy(_: web.BaseRequest) -> web.StreamResponse:
        return told("ok")

    async def settled(_: web.BaseRequest) -> web.StreamResponse:
        return told("ready") if ready() else told("not ready: a first poll is under way", status=503)

    async def people(_: web.BaseRequest) -> web.StreamResponse:
        html = await asyncio.to_thread(page.render, snapshot(), now=clock.time())
        headers = basic_headers("text/html; charset=utf-8")
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


async def _reloaded(reload: Reload, request: web.BaseRequest) -> web.StreamResponse:
    if request.headers.get("Sec-Fetch-Site", "none") not in _OF_OUR_OWN:
        return told("not from another site's page", status=HTTPStatus.FORBIDDEN)
    mistakes = await reload()
    if mistakes:
        return told("\n".join(mistakes), status=HTTPStatus.BAD_REQUEST)
    return told("reloaded")


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
        return told("not found", status=HTTPStatus.NOT_FOUND)
    if request.method not in route.methods:
        refusal = told(f"only {' and '.join(route.methods)}", status=HTTPStatus.METHOD_NOT_ALLOWED)
        refusal.headers["Allow"] = ", ".join(route.methods)
        return refusal
    return await route.handler(request)


async def _guarded(guard: Guard, answer: Handler, request: web.BaseRequest) -> web.StreamResponse:
    refusal = await guard.refusal(request.headers.get("Authorization", ""), peer=request.remote or "")
    if refusal is None:
        response = await answer(request)
    else:
        response = told(refusal.status.phrase.lower(), status=refusal.status)
        response.headers.update(refusal.headers)
    if not response.prepared:
        for name, value in guard.headers.items():
            response.headers.setdefault(name, value)
    return response


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
