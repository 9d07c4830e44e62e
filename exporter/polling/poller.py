"""Polls one project: requests its sources, keeps the ledgers, and makes the project's snapshot."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from exporter.domain.job import Job, JobStatus
from exporter.domain.outcome import Outcome
from exporter.domain.pool import PoolSource
from exporter.domain.snapshot import CollectorState, ProjectSnapshot, Totals, TrackedJob
from exporter.domain.source import Clock, JobSource, SourceError, Sources
from exporter.domain.usage import JobUsage, summarise
from exporter.polling.call_count import CallCount, count_calls
from exporter.polling.introduction import Introduction
from exporter.polling.ledger import Counts, CountsState, Entry, Ledger, LedgerState
from exporter.polling.pools import PoolTracker
from exporter.polling.usage_readings import UsageReadings, UsageRequest
from exporter.polling.visibility import Visibility

_USAGE_STATUSES = frozenset({JobStatus.RUNNING, JobStatus.SCALING})

FINAL_OUTCOMES = frozenset({Outcome.GONE, Outcome.REFUSED, Outcome.UNSUPPORTED, Outcome.INVALID_RESPONSE})
"""Outcomes after which usage of an ended job is not requested again."""

_SWEEP_RETRY_S = 600.0
"""Pause before a failed sweep is repeated; each further failure doubles it, up to the interval."""

_LAST_START = 0.8  # of the timeout: a call begun later could hardly be answered in time


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSettings:
    """How a project is polled; seconds."""

    timeout_s: float
    """Timeout of one jobs poll, and of one pools poll."""
    usage_timeout_s: float
    """Timeout of one usage poll: a whole interval, because every running task takes a call."""
    sweep_timeout_s: float
    """Timeout of a sweep, which lists the whole history one call at a time."""
    sweep_interval_s: float
    stale_after_s: float
    retention_s: float
    idle_threshold: float
    idle_grace_s: float
    """Idle time counts once it has lasted longer than this."""
    hang_after_s: float
    """How long no series of a job may move before a hang is suspected."""
    max_users: int
    """How many users have accelerator seconds of their own."""
    usage_workers: int
    """Tasks read at the same time; one fewer than the target's concurrency leaves a call for the jobs poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """One poll has ended. `failures` are its failed parts; `deferred` tasks were not read before the timeout."""

    project: str
    collector: str
    ok: bool
    duration_s: float
    calls: int
    jobs: int
    """Jobs tracked after the poll."""
    deferred: int = 0
    failures: tuple[SourceError, ...] = ()


class ProjectState(msgspec.Struct, kw_only=True):
    """What survives of one project."""

    origin: str
    """Which project of which cloud the ledgers are about; for another one only the totals are kept."""
    counts: CountsState = msgspec.field(default_factory=CountsState)
    ledgers: dict[str, LedgerState] = msgspec.field(default_factory=dict)
    """By API generation."""


@dataclass(slots=True)
class _PolledSource:
    """One source with its ledger. Times are monotonic; None: never."""

    source: JobSource
    ledger: Ledger
    answered_at: float | None = None
    """When at least a part of a poll succeeded."""
    complete_at: float | None = None
    """When a poll succeeded wholly."""


@dataclass(slots=True)
class _UsageJob:
    """A job whose usage is read."""

    source: JobSource
    entry: Entry
    job: Job
    """As of the start of the poll, which decides whether the samples are its final ones."""
    confirmed_at: float | None
    """When a poll last reported its run time (monotonic)."""
    unread: set[str]
    """Tasks that this poll has not read."""


class DeadlineError(SourceError):
    """A poll did not end before its timeout: the cloud was too slow."""

    outcome = Outcome.UNREACHABLE


class OverdueError(SourceError):
    """The rate limit allows too few calls to read every running task in time: some usage is missing."""

    outcome = "overdue"


class DefectError(SourceError):
    """A poll raised an unexpected exception; the log has the traceback."""

    outcome = "defect"


@dataclass(slots=True)
class _Outcome:
    failures: list[SourceError] = field(default_factory=list)
    deferred: int = 0


class ProjectPoller:
    """Everything known of one project. Each of the four polls ends by publishing through `on_change`.

    Failures of the cloud are reported, never raised. A defect of the exporter is reported as a failed poll, because
    the poll has no result, and then raised for the schedule to log.

    `initial_snapshot` carries the labels of the project. `on_poll` is called with the report of each poll. `origin`
    says which project of which cloud this is: the ledgers of another one are not restored.
    """

    def __init__(
        self,
        *,
        initial_snapshot: ProjectSnapshot,
        sources: Sources,
        settings: PollSettings,
        visibility: Visibility,
        clock: Clock,
        on_change: Callable[[ProjectSnapshot], None],
        on_poll: Callable[[PollReport], None],
        origin: str = "",
        pools: PoolSource | None = None,
    ) -> None:
        self.project = initial_snapshot.project
        self._initial = initial_snapshot
        self._project_id = initial_snapshot.project_id
        self._sources = sources
        self._settings = settings
        self._visibility = visibility
        self._clock = clock
        self._on_change = on_change
        self._on_poll = on_poll
        self._origin = origin
        self._counts = Counts(max_users=settings.max_users)
        self._introduction = Introduction()
        self._polled: dict[str, _PolledSource] = {}
        """By API generation."""
        self._unused: dict[str, LedgerState] = {}
        """Ledgers of generations that are not polled now."""
        self._readings = UsageReadings(keep_s=settings.stale_after_s, hang_after_s=settings.hang_after_s)
        self._collectors: dict[str, CollectorState] = {}
        self._tracked: dict[str, TrackedJob] = {}
        self._masked: dict[str, tuple[Job, Job, bool]] = {}
        """By job id: the job, the job with its user masked, and whether it is shown."""
        self._sweep_due_at = float("-inf")
        self._failed_sweeps = 0
        self._first_poll_ended = asyncio.Event()
        self._pools = PoolTracker(pools, stale_after_s=settings.stale_after_s, clock=clock)

    async def poll_jobs(self) -> None:
        """Poll the jobs of every source."""
        await self._poll("jobs", self._poll_sources, timeout_s=self._settings.timeout_s)

    async def poll_usage(self) -> None:
        """Read the usage of running jobs' tasks, longest unread first, as far as the timeout allows.

        Waits for the end of the first jobs poll; does nothing while no source is known.
        """
        await self._first_poll_ended.wait()
        if self._polled:
            await self._poll("usage", self._read_usage, timeout_s=self._settings.usage_timeout_s)

    async def sweep(self) -> None:
        """List the whole history if that is due. Waits for the first jobs poll; not due while bootstrapping."""
        await self._first_poll_ended.wait()
        ready = self._polled and not any(polled.ledger.bootstrapping for polled in self._polled.values())
        if ready and self._clock.monotonic() >= self._sweep_due_at:
            await self._poll("sweep", self._sweep_sources, timeout_s=self._settings.sweep_timeout_s)
            self._failed_sweeps = 0 if self._collectors["sweep"].ok else self._failed_sweeps + 1
            pause_s = self._settings.sweep_interval_s
            if self._failed_sweeps:
                pause_s = min(pause_s, _SWEEP_RETRY_S * 2.0 ** (self._failed_sweeps - 1))
            self._sweep_due_at = self._clock.monotonic() + pause_s

    async def poll_pools(self) -> None:
        """Poll the pools, unless the API has refused that within the hour. Waits for the first jobs poll."""
        await self._first_poll_ended.wait()
        if self._pools.is_due:
            await self._poll("pools", self._poll_pools, timeout_s=self._settings.timeout_s)

    async def _poll(self, collector: str, work: Callable[[_Outcome], Awaitable[None]], *, timeout_s: float) -> None:
        begun_at = self._clock.monotonic()
        outcome = _Outcome()
        with count_calls() as count:
            try:
                async with asyncio.timeout(timeout_s):
                    await work(outcome)
            except SourceError as error:
                outcome.failures.append(error)
            except TimeoutError:
                outcome.failures.append(DeadlineError(f"{collector}: not finished within {timeout_s:g} s"))
            except Exception as error:
                outcome.failures.append(DefectError(f"{collector}: {type(error).__name__}"))
                self._report(collector, outcome, count, begun_at=begun_at)
                raise
            self._report(collector, outcome, count, begun_at=begun_at)

    def _report(self, collector: str, outcome: _Outcome, count: CallCount, *, begun_at: float) -> None:
        ok = not outcome.failures
        for failure in outcome.failures:
            failure.__traceback__ = None  # its frames would stay in memory as long as the failure does
        duration_s = self._clock.monotonic() - begun_at
        before = self._collectors.get(collector)
        self._collectors[collector] = CollectorState(
            name=collector,
            ok=ok,
            last_success_at=self._clock.time() if ok else before.last_success_at if before else None,
            duration_s=duration_s,
            enabled=collector != "pools" or not self._pools.is_off,
        )
        if collector == "jobs":
            self._first_poll_ended.set()
        self._on_change(self.snapshot())
        self._on_poll(
            PollReport(
                project=self.project,
                collector=collector,
                ok=ok,
                duration_s=duration_s,
                calls=count.calls,
                jobs=sum(len(polled.ledger) for polled in self._polled.values()),
                deferred=outcome.deferred,
                failures=tuple(outcome.failures),
            )
        )

    async def _poll_sources(self, outcome: _Outcome) -> None:
        self._introduction.begin_poll()
        answer_by = self._clock.monotonic() + self._settings.timeout_s * _LAST_START
        await self._update_sources()
        await _gather(self._poll_source(polled, outcome, answer_by=answer_by) for polled in self._polled.values())

    async def _poll_source(self, polled: _PolledSource, outcome: _Outcome, *, answer_by: float) -> None:
        try:
            result = await polled.source.poll(polled.ledger.known(answer_by=answer_by))
        except SourceError as error:
            outcome.failures.append(error)
            return
        polled.answered_at = self._clock.monotonic()
        polled.ledger.update(result, now=self._clock.time(), at=polled.answered_at)
        if not result.failures:
            polled.complete_at = polled.answered_at
        outcome.failures.extend(result.failures)

    async def _poll_pools(self, outcome: _Outcome) -> None:
        answer_by = self._clock.monotonic() + self._settings.timeout_s * _LAST_START
        outcome.failures.extend(await self._pools.poll(answer_by=answer_by))
        for pool_id in self._pools.pools() or ():
            self._counts.observe_pool(pool_id)  # before its first job

    async def _sweep_sources(self, outcome: _Outcome) -> None:
        await _gather(self._sweep_source(polled, outcome) for polled in self._polled.values())

    async def _sweep_source(self, polled: _PolledSource, outcome: _Outcome) -> None:
        try:
            result = await polled.source.sweep(polled.ledger.known())
        except SourceError as error:
            outcome.failures.append(error)
            return
        polled.ledger.sweep(result, now=self._clock.time())
        outcome.failures.extend(result.failures)

    async def _read_usage(self, outcome: _Outcome) -> None:
        jobs = {usage_job.job.job_id: usage_job for usage_job in self._usage_jobs()}
        tasks = {job_id: usage_job.source.tasks(usage_job.job) for job_id, usage_job in jobs.items()}
        queue = self._readings.requests(tasks, at=self._clock.monotonic())
        queue.reverse()  # the next request is the last item, where popping is cheap
        last_start = self._clock.monotonic() + self._settings.usage_timeout_s * _LAST_START

        async def work() -> None:
            while queue and self._clock.monotonic() < last_start:
                if any(error.is_final for error in outcome.failures):
                    break
                request = queue.pop()
                await self._read_task(request, jobs[request.job_id], outcome)

        await _gather(work() for _ in range(self._settings.usage_workers))
        for usage_job in jobs.values():
            self._judge(usage_job)
        outcome.deferred = len(queue)
        overdue = self._readings.overdue_count(at=self._clock.monotonic())
        if overdue and not outcome.failures:
            stale_after_s = self._settings.stale_after_s
            outcome.failures.append(
                OverdueError(f"usage: {overdue} tasks were not read for {stale_after_s:g} s; raise rate_limit")
            )

    def _usage_jobs(self) -> Iterator[_UsageJob]:
        """Yield jobs that run, and ended jobs with samples that have not been read."""
        for polled in self._polled.values():
            for entry in polled.ledger.entries:
                job = entry.job
                if entry.state.gone:
                    grace_s = self._settings.idle_grace_s
                    entry.account.judge(job, (), self._counts.accounts, grace_s=grace_s, over=True)
                elif job.status in _USAGE_STATUSES or entry.account.has_unread_samples(job):
                    yield _UsageJob(
                        source=polled.source,
                        entry=entry,
                        job=job,
                        confirmed_at=entry.confirmed_at,
                        unread=set(polled.source.tasks(job)),
                    )

    async def _read_task(self, request: UsageRequest, usage_job: _UsageJob, outcome: _Outcome) -> None:
        job = usage_job.job
        try:
            series = await usage_job.source.usage(job, request.task)
        except SourceError as error:
            self._readings.record(request, None, at=self._clock.monotonic())
            final = job.status.finished and error.outcome in FINAL_OUTCOMES
            if final:
                usage_job.unread.discard(request.task)  # final samples unavailable: as if the task had none
            # The next jobs poll finds out about jobs that are gone; for an ended job a refusal is a valid answer.
            if error.outcome != Outcome.GONE and (not final or error.outcome == Outcome.INVALID_RESPONSE):
                outcome.failures.append(error)
            return
        now = self._clock.monotonic()
        usage = summarise(series, idle_threshold=self._settings.idle_threshold) if series is not None else None
        self._readings.record(request, usage, at=now)
        usage_job.unread.discard(request.task)
        run_s = job.run_duration_s or 0.0
        if job.status.active and usage_job.confirmed_at is not None:
            run_s += now - usage_job.confirmed_at
        usage_job.entry.account.read(
            job,
            request.task,
            series.accelerator if series is not None else None,
            run_s=run_s,
            threshold=self._settings.idle_threshold,
        )

    def _judge(self, usage_job: _UsageJob) -> None:
        """Count idle time; for the last time when every task of an ended job has been read."""
        usage_job.entry.account.judge(
            usage_job.entry.job,
            usage_job.source.tasks(usage_job.job),
            self._counts.accounts,
            grace_s=self._settings.idle_grace_s,
            over=usage_job.job.status.finished and not usage_job.unread,
        )

    async def _update_sources(self) -> None:
        """Match the ledgers with the current sources.

        A generation that the cloud no longer has takes its jobs along. Should it come back, its ledger continues from
        its state, because what happened in between has to be counted.
        """
        self._project_id = await self._sources.project_id() or self._project_id
        sources = await self._sources.current()
        for api, polled in self._polled.items():
            if polled.source not in sources:
                self._unused[api] = polled.ledger.dump(means=self._means())
        self._polled = {source.api.value: self._polled_source(source) for source in sources}

    def _polled_source(self, source: JobSource) -> _PolledSource:
        polled = self._polled.get(source.api)
        if polled is not None and polled.source is source:
            return polled
        ledger = Ledger(
            counts=self._counts, retention_s=self._settings.retention_s, linger_s=self._settings.stale_after_s
        )
        state = self._unused.pop(source.api, None)
        if state is not None:
            ledger.restore(state)
        return _PolledSource(source=source, ledger=ledger)

    def snapshot(self) -> ProjectSnapshot:
        """Return what is known of the project now, without what is stale.

        An active job that no poll has confirmed for `stale_after_s` is withdrawn, and so are all jobs of a source
        that has not answered for so long. Then the rest is not `complete`.
        """
        now = self._clock.monotonic()
        tracked: dict[str, TrackedJob] = {}
        answering = False
        complete = bool(self._polled)
        for polled in self._polled.values():
            complete = complete and self._is_fresh(polled.complete_at, now)
            if not self._is_fresh(polled.answered_at, now):
                continue
            answering = True
            for entry in polled.ledger.entries:
                if entry.job.status.active and not self._is_fresh(entry.confirmed_at, now):
                    continue
                tracked[entry.job.job_id] = self._track(entry, now)
        self._tracked = tracked
        self._masked = {job_id: self._masked[job_id] for job_id in tracked}
        return replace(
            self._initial,
            project_id=self._project_id,
            jobs=tracked if answering else None,
            complete=complete,
            totals=self._introduction.publish(self.totals),
            collectors=tuple(self._collectors.values()),
            pools=self._pools.pools(),
            quotas=self._pools.quotas(),
        )

    @property
    def totals(self) -> Totals:
        """What has been counted so far."""
        return self._counts.freeze(mask_user=self._visibility.mask_user)

    def dump(self) -> ProjectState:
        """Copy what has to survive this poller. Cheap: jobs are shared, and encoding is left to the writer."""
        means = self._means()
        ledgers = {api: polled.ledger.dump(means=means) for api, polled in self._polled.items()}
        return ProjectState(origin=self._origin, counts=self._counts.dump(), ledgers={**self._unused, **ledgers})

    def restore(self, state: ProjectState) -> None:
        """Continue from the state of another poller, before the first poll. Its totals count in any case."""
        self._counts.restore(state.counts)
        self._introduction.publish(self.totals)  # by the process that wrote the state
        self._introduction.begin_poll()
        if state.origin == self._origin:
            self._unused = dict(state.ledgers)

    def _means(self) -> dict[str, float]:
        return {
            job_id: tracked.usage.accelerator_mean_ratio
            for job_id, tracked in self._tracked.items()
            if tracked.usage is not None and tracked.usage.accelerator_mean_ratio is not None
        }

    def _is_fresh(self, at: float | None, now: float) -> bool:
        return at is not None and now - at < self._settings.stale_after_s

    def _track(self, entry: Entry, now: float) -> TrackedJob:
        """Return the entry as it is shown: the same object as last time while nothing about it has changed."""
        job_id = entry.job.job_id
        masked = self._masked.get(job_id)
        if masked is None or masked[0] is not entry.job:
            masked = self._masked[job_id] = (
                entry.job,
                self._visibility.mask_job(entry.job),
                self._visibility.shows(entry.job),
            )
        _, job, shown = masked
        last = self._tracked.get(job_id)
        usage = self._readings.usage(job_id, at=now) if job.status.active else None
        if usage is None:  # the mean over the run stays true
            before = last.usage if last is not None else None
            usage = before.ended() if before is not None else _mean_only(entry.state.mean_ratio)
            if usage == before:
                usage = before
        if last is not None and last.job is job and last.usage is usage:
            return last
        return TrackedJob(project=self.project, job=job, usage=usage, shown=shown)


def _mean_only(ratio: float | None) -> JobUsage | None:
    return None if ratio is None else JobUsage(accelerator_mean_ratio=ratio)


async def _gather(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them at the same time; the first unexpected exception cancels the others."""
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)
