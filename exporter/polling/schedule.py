"""Runs work at intervals; the only module that imports APScheduler.

By default APScheduler 3 starts the first run one interval late, drops runs that are late by more than a second, logs
a job's exception without a callback, and on shutdown cancels running coroutines and returns before they have ended.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self

from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

Work = Callable[[], Awaitable[None]]


@dataclass(slots=True, eq=False)
class _Scheduled:
    """Work that runs at intervals until it is ended."""

    name: str
    work: Work
    job: Job | None = None
    running: asyncio.Task[None] | None = None
    ended: bool = False


class Schedule:
    """Runs work at intervals on the running loop. A run longer than its interval delays the next; runs never overlap.

    `on_error` is called when work raises, which is a defect; the next run takes place all the same. Use it as an
    async context manager: at its end no run starts, and running work has `grace_s` to end before it is cancelled.
    """

    def __init__(self, *, grace_s: float, on_error: Callable[[str, Exception], None]) -> None:
        self._grace_s = grace_s
        self._on_error = on_error
        self._scheduled: dict[str, _Scheduled] = {}
        self._ending: list[_Scheduled] = []
        """Work that was ended and may still run: the call of `end` can be cancelled while it waits."""
        self._scheduler = AsyncIOScheduler(
            timezone=dt.UTC,
            executors={"default": AsyncIOExecutor()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    async def __aenter__(self) -> Self:
        self._scheduler.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def every(self, interval_s: float, work: Work, *, name: str, jitter_s: float = 0.0) -> None:
        """Run `work` now, then every `interval_s` ± `jitter_s`, so that replicas do not poll in step.

        The name must be free, or its work ended.
        """
        scheduled = self._scheduled[name] = _Scheduled(name, work)
        # Without an id: with that of work that has just ended, the first run could exceed max_instances.
        scheduled.job = self._scheduler.add_job(
            self._run,
            IntervalTrigger(seconds=interval_s, jitter=jitter_s or None, timezone=dt.UTC),
            args=(scheduled,),
            next_run_time=dt.datetime.now(dt.UTC),
        )

    async def end(self, *names: str) -> None:
        """Schedule no further run of these. Wait `grace_s` for running ones, then cancel them, and wait."""
        ended = [self._scheduled.pop(name) for name in names]
        for scheduled in ended:
            if scheduled.job is not None:
                scheduled.job.remove()
        self._ending = [scheduled for scheduled in self._ending if scheduled.running is not None] + ended
        await self._wait(ended)

    async def stop(self) -> None:
        """Schedule nothing more. Wait `grace_s` for running work, then cancel it and wait for its end."""
        if not self._scheduler.running:
            return
        self._scheduler.pause()
        await self._wait([*self._scheduled.values(), *self._ending])
        self._scheduler.shutdown(wait=False)

    async def _wait(self, ended: Sequence[_Scheduled]) -> None:
        for scheduled in ended:
            scheduled.ended = True
        tasks = [scheduled.running for scheduled in ended if scheduled.running is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._grace_s)
        for task in late:
            task.cancel()
        for task in late:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self, scheduled: _Scheduled) -> None:
        if scheduled.ended:  # APScheduler had started this run before the work was ended
            return
        # A separate task: APScheduler cancels its own as soon as it shuts down.
        work = self._guard(scheduled.name, scheduled.work)
        task = scheduled.running = asyncio.create_task(work, name=scheduled.name)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
        finally:
            if task.done():
                scheduled.running = None

    async def _guard(self, name: str, work: Work) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the schedule goes on after any defect
            self._on_error(name, error)
