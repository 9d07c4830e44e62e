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
from exporter.app.events import Observed, defect, priced
from exporter.app.output import Output
from exporter.app.project import identity
from exporter.app.publication import Publication, StatePersistence
from exporter.domain.source import Clock
from exporter.polling.schedule import Schedule
from exporter.polling.store import SnapshotStore
from exporter.settings import Settings, SettingsError
from exporter.web.address import Address
from exporter.web.config import WebConfig
from exporter.web.guard import Guard
from exporter.web.server import serving

_log = structlog.get_logger()

_DOCS_URL = "https://github.com/modelarts-exporter/modelarts-exporter/tree/main/docs"

_GRACE_S = 4.0
"""How long a running poll may go on after the request to stop. Answers under way get five seconds after that, and
both together stay within ten; Kubernetes kills after thirty."""


class RealClock:
    """The machine's clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        return time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """Where and how to serve."""

    listen_addresses: tuple[Address, ...] = (Address("", 10310),)
    telemetry_path: str = "/metrics"
    enable_lifecycle: bool = False
    """Whether POST /-/reload is served."""
    config: WebConfig | None = None
    """TLS and who is let in; None: plain HTTP for anybody."""
    on_listening: Callable[[tuple[Address, ...]], None] = field(default=lambda _: None)
    """Told the addresses really bound, in the order asked for."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What the operator asks of a running program; to be made on its loop."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


async def serve(
    settings: Settings, *, load: Callable[[], Settings], web: WebOptions, wishes: Signals, clock: Clock
) -> None:
    """Poll and serve until asked to stop; then end in reverse order: polls first, `/metrics` last.

    `load` reads the settings again. Raises OSError when an address cannot be listened on, or a CA file or the state
    file cannot be read, before anything is asked of the cloud.
    """
    registry = CollectorRegistry()
    self_metrics = Observed(registry)
    priced(settings.prices, self_metrics)
    state = StatePersistence(settings.state.file, self_metrics=self_metrics, clock=clock)
    memory = await asyncio.to_thread(state.load)
    store = SnapshotStore([identity(target) for target in settings.targets], clock=clock)
    output = Output(
        settings.metrics, initial=store.current, registry=registry, self_metrics=self_metrics, clock=clock
    )

    async with AsyncExitStack() as up:
        schedule = Schedule(grace_s=_GRACE_S, on_error=defect)
        daemon = Daemon(
            settings, memory=memory, schedule=schedule, store=store, clock=clock, self_metrics=self_metrics
        )
        publication = Publication(store, dump=daemon.dump, output=output, state=state)
        reloading = _Reloading(
            load, daemon=daemon, output=output, publication=publication, state=state, self_metrics=self_metrics
        )

        bound = await up.enter_async_context(
            serving(
                web.listen_addresses,
                output,
                ready=lambda: output.latest.settled,
                snapshot=lambda: output.latest,
                clock=clock,
                version=__version__,
                telemetry_path=web.telemetry_path,
                docs_url=_DOCS_URL,
                reload=reloading.reload if web.enable_lifecycle else None,
                guard=None if web.config is None else _guard(web.config, clock=clock, self_metrics=self_metrics),
            )
        )
        up.push_async_callback(daemon.close)
        await up.enter_async_context(publication.going_on())
        await up.enter_async_context(schedule)
        await daemon.start()
        await up.enter_async_context(reloading.on_wish(wishes.reload))
        _log.info(
            "exporter.started",
            version=__version__,
            targets=len(settings.targets),
            addresses=[str(address) for address in bound],
        )
        web.on_listening(bound)
        await wishes.stop.wait()
        _log.info("exporter.stopping")
    _log.info("exporter.stopped")


def _guard(config: WebConfig, *, clock: Clock, self_metrics: Observed) -> Guard:
    self_metrics.web_config_reloaded(successful=True)  # a first look that fails ends the program
    return Guard(
        config, clock=clock, on_change=lambda in_force: self_metrics.web_config_reloaded(successful=in_force)
    )


class _Reloading:
    """Takes over changed settings, one reload at a time; bad ones change nothing."""

    def __init__(
        self,
        load: Callable[[], Settings],
        *,
        daemon: Daemon,
        output: Output,
        publication: Publication,
        state: StatePersistence,
        self_metrics: Observed,
    ) -> None:
        self._load = load
        self._daemon = daemon
        self._output = output
        self._publication = publication
        self._state = state
        self._own = self_metrics
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def on_wish(self, wish: asyncio.Event) -> AsyncIterator[None]:
        """Reload each time it is wished for; at the end one under way is given up."""
        task = asyncio.create_task(self._whenever(wish), name="reloading")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _whenever(self, wish: asyncio.Event) -> None:
        while True:
            await wish.wait()
            wish.clear()
            await self.reload()

    async def reload(self) -> tuple[str, ...]:
        """Read the settings and go over to them; the mistakes, if any, and then nothing changed.

        What the new settings change is served when this returns.
        """
        async with self._turn:  # or settings that were read earlier could be taken over later
            try:
                mistakes = await self._change()
            except Exception as error:  # noqa: BLE001 - a defect must not end the watch for the next wish
                defect("reload", error)
                mistakes = ("the settings could not be taken over; the log tells why",)
            self._own.config_reloaded(successful=not mistakes)
        if mistakes:
            _log.error("config.refused", mistakes=list(mistakes))
        else:
            _log.info("config.reloaded")
        return mistakes

    async def _change(self) -> tuple[str, ...]:
        try:
            settings = await asyncio.to_thread(self._load)
        except SettingsError as error:
            return error.mistakes
        if settings.state.file != self._state.path:
            return ("state.file: cannot be changed by a reload; restart the exporter",)
        try:
            await self._daemon.change(settings)
        except OSError as error:
            return (str(error),)
        priced(settings.prices, self._own)
        await asyncio.to_thread(self._output.change, settings.metrics)
        await self._publication.publish()
        return ()
