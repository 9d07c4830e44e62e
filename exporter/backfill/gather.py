"""Reads the past of one project into the journal: first every job, then the minutes of those that ran."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import structlog

from exporter.backfill.journal import Journal
from exporter.backfill.timeline import status_timeline
from exporter.domain.history import HistoricJob, HistoryPage, JobHistory
from exporter.domain.job import Api, Job, JobStatus
from exporter.domain.source import Clock, JobSource, SourceError
from exporter.domain.usage import TaskSeries

_log = structlog.get_logger()

Result = TypeVar("Result")

RETRY_PAUSES_S = (5.0, 15.0, 45.0, 120.0, 120.0)
"""What is waited when the cloud does not answer for a while, after the retries of the call itself: hours of reading
should not end with one bad minute. After the last one it is given up."""

_BATCH = 100
"""Jobs whose minutes are asked for before the journal is asked for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The time to be told. Seconds since the epoch."""

    since: float
    until: float
    back_to: float
    """Submission time down to which jobs are read, because they may have waited or run in the period."""

    def includes(self, job: Job, *, retention_s: float) -> bool:
        """Whether anything of a job falls into the period; one of which nothing can be told does, to be counted."""
        timeline = status_timeline(job)
        if not timeline:
            return True
        last = timeline[-1]
        gone_at = last.begin + retention_s if last.status.finished else last.end
        return timeline[0].begin < self.until and gone_at >= self.since

    def ran_within(self, job: Job) -> bool:
        """Whether a job ran in the period."""
        return any(
            interval.status is JobStatus.RUNNING and interval.begin < self.until and interval.end > self.since
            for interval in status_timeline(job)
        )


class Progress(Protocol):
    """Told how far the work is."""

    def __call__(self, stage: str, done: int, total: int | None = None, *, share: float | None = None) -> None:
        """`done` of `total` things; `share` (0-1) where the total is not known but how far it is can be guessed."""
        ...


async def with_retries(
    call: Callable[[], Awaitable[Result]],
    *,
    project: str,
    is_transient: Callable[[SourceError], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Result:
    """Ask again after a while, as long as the error is one that may be over by then. Raises SourceError."""
    for pause_s in RETRY_PAUSES_S:
        try:
            return await call()
        except SourceError as error:
            if not is_transient(error):
                raise
            _log.warning("backfill.waits", project=project, error=str(error), retry_after_s=pause_s)
        await sleep(pause_s)
    return await call()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads one project. Whatever it has read is in the journal, and not asked for again."""

    project: str
    journal: Journal
    period: Period
    retention_s: float
    wants_samples: Callable[[Job], bool]
    """Of which jobs the minutes are wanted."""
    is_transient: Callable[[SourceError], bool]
    """Whether an error may be over in a minute."""
    clock: Clock
    progress: Progress
    workers: int = 1
    """Questions under way at the same time; the transport has a limit of its own."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def read_jobs(self, history: JobHistory) -> None:
        """Walk an archive to its end. Raises SourceError when the cloud does not answer for long, or says no."""
        if self.journal.cursor(self.project, history.api)[1]:
            return

        async def walk() -> None:
            cursor, _ = self.journal.cursor(self.project, history.api)
            async for page in history.pages(back_to=self.period.back_to, cursor=cursor):
                jobs = [
                    (self._without_unwanted_series(historic), self._needs_samples(historic))
                    for historic in page.jobs
                    if self.period.includes(historic.job, retention_s=self.retention_s)
                ]
                self.journal.save_page(self.project, history.api, page, at=self.clock.time(), keep=jobs)
                self._report_progress(history, page)

        await self._with_retries(walk)
        self.journal.finish_listing(self.project, history.api)

    async def read_samples(self, source: JobSource) -> None:
        """Ask for the minutes of every job that did not bring them along. Raises as `read_jobs`."""
        total = self.journal.count(self.project)
        done = total - self.journal.count(self.project, pending=True)
        failures: list[SourceError] = []

        async def work(queue: Iterator[Job]) -> None:
            nonlocal done
            for job in queue:  # shared: each job is taken once
                if failures:
                    return
                try:
                    series = await self._samples(source, job)
                except SourceError as error:
                    failures.append(error)
                    return
                self.journal.answer(self.project, job.job_id, series, at=self.clock.time())
                done += 1
                self.progress("usage", done, total)

        while not failures and (batch := self.journal.pending(self.project, source.api, limit=_BATCH)):
            queue = iter(batch)
            async with asyncio.TaskGroup() as group:
                for _ in range(self.workers):
                    group.create_task(work(queue))
        if failures:
            raise failures[0]

    async def _samples(self, source: JobSource, job: Job) -> tuple[TaskSeries, ...]:
        """The minutes of all tasks; a task that is refused has none, as one whose minutes the cloud has forgotten."""
        samples = []
        for task in source.tasks(job):
            try:
                series = await self._with_retries(partial(source.usage, job, task))
            except SourceError as error:
                if error.is_final or self.is_transient(error):
                    raise
                _log.debug("usage.refused", project=self.project, outcome=error.outcome, error=str(error))
                continue
            if series is not None:
                samples.append(series)
        return tuple(samples)

    async def _with_retries(self, call: Callable[[], Awaitable[Result]]) -> Result:
        return await with_retries(call, project=self.project, is_transient=self.is_transient, sleep=self.sleep)

    def _needs_samples(self, historic: HistoricJob) -> bool:
        return historic.series is None and self.wants_samples(historic.job) and self.period.ran_within(historic.job)

    def _without_unwanted_series(self, historic: HistoricJob) -> HistoricJob:
        """Leave out minutes that nobody wants to see."""
        keep_series = historic.series and self.wants_samples(historic.job) and self.period.ran_within(historic.job)
        return historic if keep_series or not historic.series else HistoricJob(job=historic.job, series=())

    def _report_progress(self, history: JobHistory, page: HistoryPage) -> None:
        """Tell how many jobs there are, and how far back the walk is, where it goes from the newest to the oldest."""
        ended = [
            historic.job.submitted_at
            for historic in page.jobs
            if historic.job.status.finished and historic.job.submitted_at
        ]
        span = self.period.until - self.period.back_to
        share = None
        if history.api is Api.V2 and ended and span > 0:
            share = min(1.0, max(0.0, (self.period.until - min(ended)) / span))
        self.progress("jobs", self.journal.count(self.project), share=share)
