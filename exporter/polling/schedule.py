"""Runs work at intervals: the only file that knows APScheduler, and what must be known about it.

Left to itself APScheduler 3 makes the first run one interval late, drops runs that are late by more than a second,
logs a job's exception and tells nobody, and on shutdown cancels running coroutines and returns before they are over.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

Work = Callable[[], Awaitable[None]]


class Schedule:
    """Work at intervals, on the running loop. A run that overruns its interval delays the next, never overlaps it.

    `on_error` is told when work raises, which polls never do: it is a defect, and the next run takes place all the
    same. Use it as an async context manager; leaving it starts nothing more, gives running work `grace_s` to end,
    then cancels it.
    """

    def __init__(self, *, grace_s: float, on_error: Callable[[str, Exception], None]) -> None:
        self._grace_s = grace_s
        self._on_error = on_error
        self._running: dict[str, asyncio.Task[None]] = {}
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
        """Run `work` at once, then every `interval_s`, give or take `jitter_s`: replicas should not poll in step."""
        self._scheduler.add_job(
            self._run,
            IntervalTrigger(seconds=interval_s, jitter=jitter_s or None, timezone=dt.UTC),
            args=(name, work),
            id=name,
            next_run_time=dt.datetime.now(dt.UTC),
        )

    async def end(self, *names: str) -> None:
        """Plan no further run of these; give the ones under way `grace_s` to end, then cancel them, and wait."""
        for name in names:
            self._scheduler.remove_job(name)
        await self._over([task for name in names if (task := self._running.get(name)) is not None])

    async def stop(self) -> None:
        """Plan nothing more, let running work end for `grace_s`, cancel what is left, and wait until it is over."""
        if not self._scheduler.running:
            return
        self._scheduler.pause()
        await self._over(list(self._running.values()))
        self._scheduler.shutdown(wait=False)

    async def _over(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._grace_s)
        for task in late:
            task.cancel()
        for task in late:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self, name: str, work: Work) -> None:
        # A task of our own: APScheduler cancels the ones it makes as soon as it shuts down.
        task = self._running[name] = asyncio.create_task(self._guard(name, work), name=name)
        try:
            await asyncio.shield(task)
        finally:
            if task.done() and self._running.get(name) is task:  # other work may have taken over the name
                del self._running[name]

    async def _guard(self, name: str, work: Work) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever a defect raises, the schedule must outlive it
            self._on_error(name, error)
