"""The daemon: what is started, in which order, and how it ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog
from prometheus_client import CollectorRegistry

from exporter import __version__
from exporter.app.daemon import Daemon
from exporter.app.events import defect, export_prices
from exporter.app.project import initial_snapshot
from exporter.app.publisher import Publisher, StatePersistence
from exporter.domain.source import Clock
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.schedule import Schedule
from exporter.settings import Settings, SettingsError
from exporter.web.address import Address
from exporter.web.config import WebConfig
from exporter.web.guard import Guard
from exporter.web.server import serving

_log = structlog.get_logger()

_DOCS_URL = "https://github.com/modelarts-exporter/modelarts-exporter/tree/main/docs"

_GRACE_S = 4.0
"""How long running polls may go on after the request to stop. HTTP responses then have five seconds more; both
together stay within ten, and Kubernetes kills after thirty."""


class RealClock:
    """The machine's clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary point; never decreases."""
        return time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """Where and how to serve."""

    listen_addresses: tuple[Address, ...] = (Address("", 10310),)
    telemetry_path: str = "/metrics"
    enable_lifecycle: bool = False
    """Whether POST /-/reload is served."""
    config: WebConfig | None = None
    """TLS and authentication; None: plain HTTP without either."""
    on_listening: Callable[[tuple[Address, ...]], None] = field(default=lambda _: None)
    """Called with the bound addresses, in the order of `listen_addresses`."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Requests of the operator to the running program; created on its event loop."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


async def serve(
    settings: Settings, *, load: Callable[[], Settings], web: WebOptions, signals: Signals, clock: Clock
) -> None:
    """Poll and serve until `signals.stop`; then end in reverse order: polls first, `/metrics` last.

    `load` reads the settings again. Raises OSError before the first API call when an address cannot be bound, or a CA
    file or the state file cannot be read.
    """
    registry = CollectorRegistry()
    self_metrics = SelfMetrics(registry)
    export_prices(settings.prices, self_metrics)
    state = StatePersistence(settings.state.file, self_metrics=self_metrics, clock=clock)
    publisher = Publisher(
        map(initial_snapshot, settings.targets),
        metrics=settings.metrics,
        registry=registry,
        self_metrics=self_metrics,
        clock=clock,
        state=state,
        dump=lambda: daemon.dump(),  # noqa: PLW0108 - the daemon needs the publisher, and is made below
    )
    schedule = Schedule(grace_s=_GRACE_S, on_error=defect)
    daemon = Daemon(
        settings,
        states=await asyncio.to_thread(state.load),
        schedule=schedule,
        publisher=publisher,
        clock=clock,
        self_metrics=self_metrics,
    )
    reloader = _Reloader(load, daemon=daemon, publisher=publisher, state=state, self_metrics=self_metrics)

    async with AsyncExitStack() as stack:
        bound = await stack.enter_async_context(
            serving(
                web.listen_addresses,
                publisher,
                ready=lambda: publisher.served.settled,
                snapshot=lambda: publisher.served,
                clock=clock,
                version=__version__,
                telemetry_path=web.telemetry_path,
                docs_url=_DOCS_URL,
                reload=reloader.reload if web.enable_lifecycle else None,
                guard=None if web.config is None else _guard(web.config, clock=clock, self_metrics=self_metrics),
            )
        )
        stack.push_async_callback(daemon.close)
        await stack.enter_async_context(publisher.running())
        await stack.enter_async_context(schedule)
        await daemon.start()
        await stack.enter_async_context(reloader.reload_on(signals.reload))
        _log.info(
            "exporter.started",
            version=__version__,
            targets=len(settings.targets),
            addresses=[str(address) for address in bound],
        )
        web.on_listening(bound)
        await signals.stop.wait()
        _log.info("exporter.stopping")
    _log.info("exporter.stopped")


def _guard(config: WebConfig, *, clock: Clock, self_metrics: SelfMetrics) -> Guard:
    self_metrics.web_config_reloaded(successful=True)  # it was read at the start: an error there ends the program
    return Guard(
        config, clock=clock, on_change=lambda in_force: self_metrics.web_config_reloaded(successful=in_force)
    )


class _Reloader:
    """Reloads the settings, one reload at a time; invalid ones change nothing."""

    def __init__(
        self,
        load: Callable[[], Settings],
        *,
        daemon: Daemon,
        publisher: Publisher,
        state: StatePersistence,
        self_metrics: SelfMetrics,
    ) -> None:
        self._load = load
        self._daemon = daemon
        self._publisher = publisher
        self._state = state
        self._self_metrics = self_metrics
        self._reloading = asyncio.Lock()

    @asynccontextmanager
    async def reload_on(self, requested: asyncio.Event) -> AsyncIterator[None]:
        """Reload each time the event is set; at the end a reload under way is cancelled."""
        task = asyncio.create_task(self._reload_on(requested), name="reloading")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _reload_on(self, requested: asyncio.Event) -> None:
        while True:
            await requested.wait()
            requested.clear()
            await self.reload()

    async def reload(self) -> tuple[str, ...]:
        """Read the settings and apply them; returns the mistakes, if any, and then nothing has changed.

        What the new settings change is served when this returns.
        """
        async with self._reloading:  # or settings that were read earlier could be applied later
            try:
                problems = await self._change()
            except Exception as error:  # noqa: BLE001 - a defect must not end the wait for the next reload
                defect("reload", error)
                problems = ("the settings could not be applied; the log has the reason",)
            self._self_metrics.config_reloaded(successful=not problems)
        if problems:
            _log.error("config.refused", problems=list(problems))
        else:
            _log.info("config.reloaded")
        return problems

    async def _change(self) -> tuple[str, ...]:
        try:
            settings = await asyncio.to_thread(self._load)
        except SettingsError as error:
            return error.problems
        if settings.state.file != self._state.path:
            return ("state.file: cannot be changed by a reload; restart the exporter",)
        try:
            await self._daemon.change(settings)
        except OSError as error:
            return (str(error),)
        export_prices(settings.prices, self._self_metrics)
        await asyncio.to_thread(self._publisher.set_metrics, settings.metrics)
        await self._publisher.publish()
        return ()
