"""Reads the history of one project into the journal: first all jobs, then the usage samples of those that ran."""

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
"""Pauses between attempts while the API is unavailable, in addition to the retries of each call, so that a short
outage does not end hours of reading. After the last attempt the error is raised."""

_BATCH = 100
"""Jobs read from the journal at once for requesting their samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The time range of the backfill, in seconds since the epoch."""

    since: float
    until: float
    back_to: float
    """Earliest submission time of the jobs read. Jobs submitted before `since` may have run in the period."""

    def includes(self, job: Job, *, retention_s: float) -> bool:
        """Whether a job has a sample in the period. True for a job without known times, so that it is counted."""
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
    """Receives the progress of the work."""

    def __call__(self, stage: str, done: int, total: int | None = None, *, share: float | None = None) -> None:
        """`done` of `total` items; `share` (0-1) is an estimate for when the total is unknown."""
        ...


async def with_retries(
    call: Callable[[], Awaitable[Result]],
    *,
    project: str,
    is_transient: Callable[[SourceError], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Result:
    """Repeat a call after each of `RETRY_PAUSES_S` while its error is transient. Raises SourceError."""
    for pause_s in RETRY_PAUSES_S:
        try:
            return await call()
        except SourceError as error:
            if not is_transient(error):
                raise
            _log.warning("backfill.retry_scheduled", project=project, error=str(error), retry_after_s=pause_s)
        await sleep(pause_s)
    return await call()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads one project. Everything read is stored in the journal and not requested again."""

    project: str
    journal: Journal
    period: Period
    retention_s: float
    wants_samples: Callable[[Job], bool]
    """Whether the usage samples of a job are wanted."""
    is_transient: Callable[[SourceError], bool]
    """Whether the call may succeed in a few minutes."""
    clock: Clock
    progress: Progress
    workers: int = 1
    """Concurrent usage requests; the API client has its own limit."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def read_jobs(self, history: JobHistory) -> None:
        """Read a listing to its end. Raises SourceError on a permanent error, or after the last retry."""
        if self.journal.cursor(self.project, history.api)[1]:
            return

        async def read_pages() -> None:
            cursor, _ = self.journal.cursor(self.project, history.api)
            async for page in history.pages(back_to=self.period.back_to, cursor=cursor):
                jobs = [
                    (self._without_unwanted_series(historic), self._needs_samples(historic))
                    for historic in page.jobs
                    if self.period.includes(historic.job, retention_s=self.retention_s)
                ]
                self.journal.save_page(self.project, history.api, page, at=self.clock.time(), keep=jobs)
                self._report_progress(history, page)

        await self._with_retries(read_pages)
        self.journal.finish_listing(self.project, history.api)

    async def read_samples(self, source: JobSource) -> None:
        """Request the samples of every job whose listing did not include them. Raises like `read_jobs`."""
        total = self.journal.count(self.project)
        done = total - self.journal.count(self.project, pending=True)
        failures: list[SourceError] = []

        async def work(queue: Iterator[Job]) -> None:
            nonlocal done
            for job in queue:  # the workers share the queue: each job is taken once
                if failures:
                    return
                try:
                    series = await self._samples(source, job)
                except SourceError as error:
                    failures.append(error)
                    return
                self.journal.save_samples(self.project, job.job_id, series, at=self.clock.time())
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
        """Samples of all tasks. A task whose request is refused has none, like one whose samples have expired."""
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
        """Remove samples that are not wanted."""
        keep_series = historic.series and self.wants_samples(historic.job) and self.period.ran_within(historic.job)
        return historic if keep_series or not historic.series else HistoricJob(job=historic.job, series=())

    def _report_progress(self, history: JobHistory, page: HistoryPage) -> None:
        """Report the number of jobs, and the share of the period for listings that go from newest to oldest."""
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
