"""Runs work at intervals: the only file that knows APScheduler, and what must be known about it.

Left to itself APScheduler 3 makes the first run one interval late, drops runs that are late by more than a second,
logs a job's exception and tells nobody, and on shutdown cancels running coroutines and returns before they are over.
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
class _Planned:
    """Work that is to be run again and again, until it is over."""

    name: str
    work: Work
    job: Job | None = None
    running: asyncio.Task[None] | None = None
    over: bool = False


class Schedule:
    """Work at intervals, on the running loop. A run that overruns its interval delays the next, never overlaps it.

    `on_error` is told when work raises, which polls never do: it is a defect, and the next run takes place all the
    same. Use it as an async context manager; leaving it starts nothing more, gives running work `grace_s` to end,
    then cancels it.
    """

    def __init__(self, *, grace_s: float, on_error: Callable[[str, Exception], None]) -> None:
        self._grace_s = grace_s
        self._on_error = on_error
        self._planned: dict[str, _Planned] = {}
        self._leaving: list[_Planned] = []
        """Ended, and perhaps still running: whoever ended it may have been cancelled while waiting for it."""
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
        """Run `work` at once, then every `interval_s`, give or take `jitter_s`: replicas should not poll in step.

        The name is free, or its work has been ended.
        """
        planned = self._planned[name] = _Planned(name, work)
        # Without an id of ours: under that of work just ended the first run would be dropped as one too many.
        planned.job = self._scheduler.add_job(
            self._run,
            IntervalTrigger(seconds=interval_s, jitter=jitter_s or None, timezone=dt.UTC),
            args=(planned,),
            next_run_time=dt.datetime.now(dt.UTC),
        )

    async def end(self, *names: str) -> None:
        """Plan no further run of these; give the ones under way `grace_s` to end, then cancel them, and wait."""
        ended = [self._planned.pop(name) for name in names]
        for planned in ended:
            if planned.job is not None:
                planned.job.remove()
        self._leaving = [planned for planned in self._leaving if planned.running is not None] + ended
        await self._over(ended)

    async def stop(self) -> None:
        """Plan nothing more, let running work end for `grace_s`, cancel what is left, and wait until it is over."""
        if not self._scheduler.running:
            return
        self._scheduler.pause()
        await self._over([*self._planned.values(), *self._leaving])
        self._scheduler.shutdown(wait=False)

    async def _over(self, ended: Sequence[_Planned]) -> None:
        for planned in ended:
            planned.over = True
        tasks = [planned.running for planned in ended if planned.running is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._grace_s)
        for task in late:
            task.cancel()
        for task in late:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self, planned: _Planned) -> None:
        if planned.over:  # APScheduler had begun this run, and nothing of ours had
            return
        # A task of our own: APScheduler cancels the ones it makes as soon as it shuts down.
        task = planned.running = asyncio.create_task(self._guard(planned.name, planned.work), name=planned.name)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
        finally:
            if task.done():
                planned.running = None

    async def _guard(self, name: str, work: Work) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever a defect raises, the schedule must outlive it
            self._on_error(name, error)
