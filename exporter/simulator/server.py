"""The simulated cloud behind a socket."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from types import TracebackType
from typing import Self

from aiohttp import web

from exporter.simulator.api.call import Route
from exporter.simulator.api.dispatch import ROUTES, answer, encoded, path_parameters
from exporter.simulator.api.state import CloudState
from exporter.simulator.clock import Clock, RealClock
from exporter.simulator.faults.faults import Fault, Faults
from exporter.simulator.faults.inject import play
from exporter.simulator.faults.quirks import Quirks
from exporter.simulator.options import Options
from exporter.simulator.requestlog import Request, Requests
from exporter.simulator.world.ground_truth import Totals
from exporter.simulator.world.world import World

_MAX_BODY = 12 * 1024**2
"""The gateway's limit for signed requests."""
_KEPT_BODY = 4_096
_CUT_AFTER_S = 0.01
"""What is under way when it goes down has this long to end; aiohttp takes 0 for ever."""


class Simulator:
    """A simulated cloud that listens while the context is open.

    IAM (/v3), ModelArts v1 and v2, metadata and pod-identity routes and the control API share one origin. `clock` is
    the client's clock too: tokens and signatures go by it; the world's time runs `options.speed` times as fast. The
    world has no task of its own: it catches up whenever it is asked. Raises ValueError for an unknown quirk, OSError
    when the port is taken.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._cloud = CloudState(options or Options(), clock=clock or RealClock())
        self._host = host
        self._port = port
        self._tls = tls
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        """Origin of every route, such as "http://127.0.0.1:10311"; known once it listens."""
        return self._cloud.url

    @property
    def options(self) -> Options:
        """What it was made with."""
        return self._cloud.options

    @property
    def world(self) -> World:
        """The living world, caught up with its clock."""
        self._cloud.catch_up()
        return self._cloud.world

    @property
    def faults(self) -> Faults:
        """Faults, to be switched on and off at any time."""
        return self._cloud.faults

    @property
    def quirks(self) -> Quirks:
        """Quirks, to be switched on and off at any time."""
        return self._cloud.quirks

    @property
    def requests(self) -> Requests:
        """What was asked so far."""
        return self._cloud.requests

    @property
    def books(self) -> Totals:
        """The true totals, over all projects, up to this moment."""
        return self._cloud.books()

    @property
    def cloud(self) -> CloudState:
        """What is behind the socket: credentials (`cloud.keys`), books by project."""
        return self._cloud

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(
            self._application(), access_log=None, shutdown_timeout=1.0, handler_cancellation=True
        )
        await self._runner.setup()
        await self.come_back()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def go_down(self) -> None:
        """Stop listening, so that connections are refused; the world lives on."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        if self._runner is not None and self._runner.server is not None:
            await self._runner.server.shutdown(_CUT_AFTER_S)

    async def come_back(self) -> None:
        """Listen (again), on the same port as before."""
        if self._runner is None or self._site is not None:
            return
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls)
        await site.start()
        self._site = site
        self._port = self._runner.addresses[-1][1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._cloud.url = f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=_MAX_BODY)
        for route in ROUTES:
            application.router.add_route(route.method, route.path, self._serving(route))
        application.router.add_route("*", "/{rest:.*}", self._serving(None))
        return application

    def _serving(self, route: Route | None) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(route, request)

        return serve

    async def _serve(self, route: Route | None, request: web.Request) -> web.StreamResponse:
        cloud = self._cloud
        body = await request.read()
        cloud.catch_up()
        operation = route.operation if route else "unknown"
        if operation.startswith("control."):
            return self._answer(route, request, body)
        entry = Request(
            at=cloud.world.now,
            operation=operation,
            method=request.method,
            path=request.path,
            query=request.query_string,
            body=body[:_KEPT_BODY],
        )
        cloud.requests.add(entry)
        fault = cloud.faults.strike(operation=operation, path=request.path)
        cloud.skew_s = fault.skew or 0.0 if fault and fault.name == "clock-skew" else 0.0
        if fault is None:
            response: web.StreamResponse = self._answer(route, request, body)
        else:
            entry.fault = fault.name
            response = await self._struck(fault, route, request, body)
        if not response.prepared:
            response.headers["Date"] = formatdate(cloud.time(), usegmt=True)  # the cloud's clock, not this machine's
        entry.status = response.status
        return response

    async def _struck(
        self, fault: Fault, route: Route | None, request: web.Request, body: bytes
    ) -> web.StreamResponse:
        if fault.name == "token-expired":
            self._cloud.keys.expire_tokens()
        elif fault.name == "keys-expired":
            self._cloud.keys.expire_temporary()
        elif fault.name != "clock-skew":

            async def normal() -> web.Response:
                self._cloud.catch_up()
                return self._answer(route, request, body)

            return await play(fault, request, normal, closing=self._closing, now=self._cloud.time())
        return self._answer(route, request, body)

    def _answer(self, route: Route | None, request: web.Request, body: bytes) -> web.Response:
        reply = answer(
            self._cloud,
            route,
            method=request.method,
            raw_path=request.raw_path,
            path=path_parameters(request.match_info),
            query=request.query,
            headers=request.headers,
            body=body,
        )
        number = f"{len(self._cloud.requests):032x}"
        if isinstance(reply.body, dict) and reply.body.get("request_id") == "":
            reply.body["request_id"] = number
        content_type = "text/plain" if isinstance(reply.body, str) else "application/json"
        return web.Response(
            status=reply.status,
            body=encoded(reply),
            content_type=None if reply.body is None else content_type,
            headers={"X-Request-Id": number, **reply.headers},
        )
