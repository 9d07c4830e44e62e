"""The HTTP server of the simulated state."""

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
from exporter.simulator.faults.inject import inject
from exporter.simulator.faults.quirks import Quirks
from exporter.simulator.options import Options
from exporter.simulator.requestlog import Request, Requests
from exporter.simulator.world.ground_truth import Totals
from exporter.simulator.world.world import World

_MAX_BODY = 12 * 1024**2
"""Limit of the API gateway for signed requests."""
_MAX_LOGGED_BODY = 4_096
_SHUTDOWN_TIMEOUT_S = 0.01
"""How long `go_down` waits for requests in progress; aiohttp takes 0 as no limit."""


class Simulator:
    """A simulated cloud that listens while the context is open.

    IAM (/v3), ModelArts v1 and v2, metadata, pod identity and the control API share one origin. Tokens and signatures
    are checked by `clock`, which must be the client's; the simulated time runs `options.speed` times as fast. The
    world has no task of its own: every request advances it to the present first.

    Raises ValueError for an unknown quirk, OSError for a port in use.
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
        self._state = CloudState(options or Options(), clock=clock or RealClock())
        self._host = host
        self._port = port
        self._tls = tls
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        """Origin of every route, such as "http://127.0.0.1:10311"; "" before it listens."""
        return self._state.url

    @property
    def options(self) -> Options:
        """The options it was created with."""
        return self._state.options

    @property
    def world(self) -> World:
        """The world, advanced to the present."""
        self._state.catch_up()
        return self._state.world

    @property
    def faults(self) -> Faults:
        """The active faults."""
        return self._state.faults

    @property
    def quirks(self) -> Quirks:
        """The active quirks."""
        return self._state.quirks

    @property
    def requests(self) -> Requests:
        """The requests received so far."""
        return self._state.requests

    @property
    def ground_truth(self) -> Totals:
        """The true totals of all projects, up to the present."""
        return self._state.ground_truth()

    @property
    def state(self) -> CloudState:
        """What the handlers read, among it the credentials (`keys`) and the ground truth of one project."""
        return self._state

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
        """Stop listening, so that connections are refused; the simulated time goes on."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        if self._runner is not None and self._runner.server is not None:
            await self._runner.server.shutdown(_SHUTDOWN_TIMEOUT_S)

    async def come_back(self) -> None:
        """Listen, on the same port as before."""
        if self._runner is None or self._site is not None:
            return
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls)
        await site.start()
        self._site = site
        self._port = self._runner.addresses[-1][1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._state.url = f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=_MAX_BODY)
        for route in ROUTES:
            application.router.add_route(route.method, route.path, self._handler(route))
        application.router.add_route("*", "/{rest:.*}", self._handler(None))
        return application

    def _handler(self, route: Route | None) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(route, request)

        return serve

    async def _serve(self, route: Route | None, request: web.Request) -> web.StreamResponse:
        state = self._state
        body = await request.read()
        state.catch_up()
        operation = route.operation if route else "unknown"
        if operation.startswith("control."):
            return self._answer(route, request, body)
        entry = Request(
            at=state.world.now,
            operation=operation,
            method=request.method,
            path=request.path,
            query=request.query_string,
            body=body[:_MAX_LOGGED_BODY],
        )
        state.requests.add(entry)
        fault = state.faults.select(operation=operation, path=request.path)
        state.skew_s = fault.skew or 0.0 if fault and fault.name == "clock-skew" else 0.0
        if fault is None:
            response: web.StreamResponse = self._answer(route, request, body)
        else:
            entry.fault = fault.name
            response = await self._inject(fault, route, request, body)
        if not response.prepared:
            response.headers["Date"] = formatdate(state.time(), usegmt=True)  # the server's clock, not the machine's
        entry.status = response.status
        return response

    async def _inject(
        self, fault: Fault, route: Route | None, request: web.Request, body: bytes
    ) -> web.StreamResponse:
        if fault.name == "token-expired":
            self._state.keys.expire_tokens()
        elif fault.name == "keys-expired":
            self._state.keys.expire_temporary()
        elif fault.name != "clock-skew":

            async def normal() -> web.Response:
                self._state.catch_up()
                return self._answer(route, request, body)

            return await inject(fault, request, normal, closing=self._closing, now=self._state.time())
        return self._answer(route, request, body)

    def _answer(self, route: Route | None, request: web.Request, body: bytes) -> web.Response:
        response = answer(
            self._state,
            route,
            method=request.method,
            raw_path=request.raw_path,
            path=path_parameters(request.match_info),
            query=request.query,
            headers=request.headers,
            body=body,
        )
        quirks = self._state.quirks if route and route.service in {"v1", "v2"} else ()
        number = f"{len(self._state.requests):032x}"
        if isinstance(response.body, dict) and response.body.get("request_id") == "":
            response.body["request_id"] = number
        content_type = "text/plain" if isinstance(response.body, str) else "application/json"
        return web.Response(
            status=response.status,
            body=encoded(response, quirks=frozenset(quirks)),
            content_type=None if response.body is None else content_type,
            headers={"X-Request-Id": number, **response.headers},
        )
