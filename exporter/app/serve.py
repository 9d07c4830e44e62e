"""The daemon: what is started, in which order, and how it ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from exporter import __version__
from exporter.app.daemon import Daemon
from exporter.app.output import Output
from exporter.app.project import identity
from exporter.app.report import Observed, defect
from exporter.cloud.retry import silence_instrumentation
from exporter.domain.snapshot import Snapshot
from exporter.domain.source import Clock
from exporter.polling.memory import ProjectMemory
from exporter.polling.schedule import Schedule
from exporter.polling.statefile import StateFile
from exporter.polling.store import SnapshotStore
from exporter.settings import Settings, SettingsError
from exporter.web.address import Address
from exporter.web.server import serving

_log = structlog.get_logger()

_DOCS_URL = "https://github.com/modelarts-exporter/modelarts-exporter/tree/main/docs"

_GRACE_S = 5.0
"""How long a running poll may go on after the request to stop; Kubernetes kills after thirty seconds."""


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
    on_listening: Callable[[tuple[Address, ...]], None] = field(default=lambda _: None)
    """Told the addresses really bound, in the order asked for."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator asks of a running program; to be made on its loop."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


async def serve(
    settings: Settings, *, load: Callable[[], Settings], web: WebOptions, wishes: Wishes, clock: Clock
) -> None:
    """Poll and serve until asked to stop; then end in reverse order: polls first, `/metrics` last.

    `load` reads the settings again. Raises OSError when an address cannot be listened on, or a CA file or the state
    file cannot be read, before anything is asked of the cloud.
    """
    silence_instrumentation()
    registry = CollectorRegistry()
    own = Observed(registry)
    state = _State(settings.state.file, own=own, clock=clock)
    memory = await asyncio.to_thread(state.load)
    store = SnapshotStore([identity(target) for target in settings.targets], clock=clock)
    output = Output(settings.metrics, initial=store.current, registry=registry, own=own, clock=clock)

    async with AsyncExitStack() as up:
        schedule = Schedule(grace_s=_GRACE_S, on_error=defect)
        daemon = Daemon(settings, memory=memory, schedule=schedule, store=store, clock=clock, own=own)
        reloading = _Reloading(load, daemon=daemon, output=output, state=settings.state.file, own=own)

        async def publish(snapshot: Snapshot) -> None:
            # Captured in one step with the snapshot, and written before it is shown: after a crash the totals go on
            # from what was last seen of them, or from a little more, never from less.
            remembered = daemon.remember() if state.kept else {}
            await asyncio.to_thread(_published, snapshot, remembered, output=output, state=state)

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
            )
        )
        up.push_async_callback(daemon.close)
        await up.enter_async_context(_publishing(store, publish))
        await up.enter_async_context(schedule)
        await daemon.start()
        up.callback(asyncio.create_task(reloading.on_wish(wishes.reload), name="reloading").cancel)
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


@asynccontextmanager
async def _publishing(store: SnapshotStore, publish: Callable[[Snapshot], Awaitable[None]]) -> AsyncIterator[None]:
    """Publish in the background; at the end once more, so that the last poll is neither lost nor left unwritten."""
    task = asyncio.create_task(store.publishing(publish), name="publishing")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await publish(store.current)


def _published(snapshot: Snapshot, memory: Mapping[str, ProjectMemory], *, output: Output, state: "_State") -> None:
    """Write and show, in a thread."""
    state.save(memory)
    error = output.publish(snapshot)
    if error is not None:
        defect("publish", error)


class _State:
    """The state file, if the settings name one; that it cannot be written is logged and counted, and work goes on."""

    def __init__(self, path: str, *, own: Observed, clock: Clock) -> None:
        self._file = StateFile(Path(path)) if path else None
        self._own = own
        self._clock = clock
        self._failing = False

    @property
    def kept(self) -> bool:
        """Whether there is a state file."""
        return self._file is not None

    def load(self) -> Mapping[str, ProjectMemory]:
        """Read what was remembered. Raises OSError when the file is there and cannot be read."""
        if self._file is None:
            return {}
        memory, warning = self._file.load()
        if warning:
            _log.warning("state.set_aside", reason=warning)
        return memory

    def save(self, memory: Mapping[str, ProjectMemory]) -> None:
        """Write what is remembered; the first failure in a row is logged."""
        if self._file is None:
            return
        try:
            self._file.save(memory)
        except OSError as error:
            self._own.state_not_written()
            if not self._failing:
                _log.error("state.not_written", error=str(error))
            self._failing = True
        else:
            self._own.state_written(at=self._clock.time())
            if self._failing:
                _log.info("state.written_again")
            self._failing = False


class _Reloading:
    """Takes over changed settings; bad ones change nothing."""

    def __init__(
        self, load: Callable[[], Settings], *, daemon: Daemon, output: Output, state: str, own: Observed
    ) -> None:
        self._load = load
        self._daemon = daemon
        self._output = output
        self._state = state
        self._own = own

    async def on_wish(self, wish: asyncio.Event) -> None:
        """Reload each time it is wished for, until cancelled."""
        while True:
            await wish.wait()
            wish.clear()
            await self.reload()

    async def reload(self) -> tuple[str, ...]:
        """Read the settings and go over to them; the mistakes, if any, and then nothing changed."""
        mistakes = await self._change()
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
        if settings.state.file != self._state:
            return ("state.file: cannot be changed by a reload; restart the exporter",)
        try:
            await self._daemon.change(settings)
        except OSError as error:
            return (str(error),)
        await asyncio.to_thread(self._output.change, settings.metrics)
        return ()
