"""Writes down what must survive and shows what is known, in this order, one publication at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from exporter.app.events import defect
from exporter.app.output import Output
from exporter.domain.snapshot import Snapshot
from exporter.domain.source import Clock
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.poller import ProjectState
from exporter.polling.statefile import StateFile
from exporter.polling.store import SnapshotStore

_log = structlog.get_logger()


class StatePersistence:
    """The state file, if the settings name one; that it cannot be written is logged and counted, and work goes on."""

    def __init__(self, path: str, *, self_metrics: SelfMetrics, clock: Clock) -> None:
        self.path = path
        self._file = StateFile(Path(path)) if path else None
        self._own = self_metrics
        self._clock = clock
        self._failing = False

    @property
    def kept(self) -> bool:
        """Whether there is a state file."""
        return self._file is not None

    def load(self) -> Mapping[str, ProjectState]:
        """Read what was remembered. Raises OSError when the file is there and cannot be read."""
        if self._file is None:
            return {}
        memory, warning = self._file.load()
        if warning:
            _log.warning("state.set_aside", reason=warning)
        return memory

    def save(self, memory: Mapping[str, ProjectState]) -> None:
        """Write what is remembered; the first failure in a row is logged. Never raises."""
        if self._file is None:
            return
        try:
            self._file.save(memory)
        except Exception as error:  # noqa: BLE001 - whatever stands in its way, scrapes must go on
            self._own.state_not_written()
            if not self._failing:
                _log.error("state.not_written", error=str(error))
            self._failing = True
        else:
            self._own.state_written(at=self._clock.time())
            if self._failing:
                _log.info("state.written_again")
            self._failing = False


class Publication:
    """Publishes what `store` has; `remember` tells what must survive."""

    def __init__(
        self,
        store: SnapshotStore,
        *,
        dump: Callable[[], Mapping[str, ProjectState]],
        output: Output,
        state: StatePersistence,
    ) -> None:
        self._store = store
        self._remember = dump
        self._output = output
        self._state = state
        self._turn = asyncio.Lock()

    async def publish(self) -> None:
        """Write and show what is known now."""
        async with self._turn:
            # Captured in one step with the snapshot, and written before it is shown: after a crash the totals go on
            # from what was last seen of them, or from a little more, never from less.
            snapshot = self._store.current
            memory = self._remember() if self._state.kept else {}
            _log.debug("snapshot.taken")  # what was logged before this line is in it, and served at `published`
            await asyncio.to_thread(self._write_and_show, snapshot, memory)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Publish each change in the background; at the end once more, so that the last poll is not lost."""
        task = asyncio.create_task(self._store.publishing(self._on_change), name="publishing")
        try:
            yield
        finally:
            async with self._turn:  # a thread left behind would write and show later what is older
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self.publish()

    async def _on_change(self, _: Snapshot) -> None:
        await self.publish()

    def _write_and_show(self, snapshot: Snapshot, memory: Mapping[str, ProjectState]) -> None:
        self._state.save(memory)
        error = self._output.publish(snapshot)
        if error is not None:
            defect("publish", error)
