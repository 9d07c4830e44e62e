"""Polls one project: requests its sources, keeps the ledgers, and makes the project's snapshot."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from exporter.domain.job import Job
from exporter.domain.outcome import Outcome
from exporter.domain.pool import PoolSource
from exporter.domain.snapshot import CollectorState, ProjectSnapshot, Totals, TrackedJob, WorkspaceState
from exporter.domain.source import Clock, JobSource, PollResult, SourceError, Sources
from exporter.domain.usage import MINUTE_S, JobUsage, TaskSeries, TaskUsage, summarise
from exporter.polling.call_count import CallCount, count_calls
from exporter.polling.introduction import Introduction
from exporter.polling.ledger import Counts, CountsState, Entry, Ledger, LedgerState
from exporter.polling.pools import PoolTracker
from exporter.polling.switch import Switch
from exporter.polling.usage_readings import UsageReadings, UsageRequest
from exporter.polling.visibility import Visibility

FINAL_OUTCOMES = frozenset({Outcome.GONE, Outcome.REFUSED, Outcome.UNSUPPORTED, Outcome.INVALID_RESPONSE})
"""Outcomes after which usage of an ended job is not requested again."""

_SWEEP_RETRY_S = 600.0
"""Pause before a failed sweep is repeated; each further failure doubles it, up to the interval."""

_MAX_REFUSALS = 5
"""Refused requests for usage after which a poll sends no further one, if none was answered."""

_PREFERRED = "v2"
"""The API generation that is kept where both list a job: it has more fields, and v1 is being withdrawn."""

_LAST_SAMPLES_S = 300.0
"""For so long after its end, the samples of a job are read again while its last minutes have none."""

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
    duplicates: int = 0
    """Tracked jobs that both API generations list."""
    switched: tuple[tuple[str, bool], ...] = ()
    """Parts of the collector that this poll switched on (True) or off, because the cloud refuses their calls."""


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
    usage: Switch
    """Whether its usage is read."""
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
    refused: set[str] = field(default_factory=set)
    """Tasks whose final samples are unavailable."""


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
    switched: list[tuple[str, bool]] = field(default_factory=list)
    usage_answers: Counter[str] = field(default_factory=Counter)
    """Tasks that were read, by API generation."""
    usage_refusals: Counter[str] = field(default_factory=Counter)
    """Refused requests for usage, by API generation."""


class ProjectPoller:
    """Everything known of one project. Each of the four polls ends by publishing through `on_change`.

    Failures of the cloud are reported, never raised. A defect of the exporter is reported as a failed poll, because
    the poll has no result, and then raised for the schedule to log.

    `initial_snapshot` carries the labels of the project. `on_poll` is called with the report of each poll. `origin`
    says which project of which cloud this is: the ledgers of another one are not restored. `workspaces` returns
    which workspaces can be listed.
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
        workspaces: Callable[[], tuple[WorkspaceState, ...]] = tuple,
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
        self._workspaces = workspaces
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
        self._duplicates: dict[str, tuple[str, float]] = {}
        """By id of the v1 job: name and submission time, which a tracked job of v2 has too."""
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
        if any(polled.usage.is_due for polled in self._polled.values()):
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
            enabled=not self._is_off(collector),
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
                switched=tuple(outcome.switched),
                duplicates=len(self._duplicates),
            )
        )

    def _is_off(self, collector: str) -> bool:
        """Whether the cloud refuses the calls of a collector."""
        if collector == "usage":
            return bool(self._polled) and all(polled.usage.is_off for polled in self._polled.values())
        return collector == "pools" and self._pools.is_off

    async def _poll_sources(self, outcome: _Outcome) -> None:
        self._introduction.begin_poll()
        answer_by = self._clock.monotonic() + self._settings.timeout_s * _LAST_START
        await self._update_sources()
        preferred = asyncio.Event()  # the generation whose jobs are kept where both list them
        if _PREFERRED not in self._polled:
            preferred.set()
        await _gather(
            self._poll_source(polled, outcome, answer_by=answer_by, preferred=preferred)
            for polled in self._polled.values()
        )

    async def _poll_source(
        self, polled: _PolledSource, outcome: _Outcome, *, answer_by: float, preferred: asyncio.Event
    ) -> None:
        try:
            result = await polled.source.poll(polled.ledger.known(answer_by=answer_by))
        except SourceError as error:
            outcome.failures.append(error)
            return
        finally:
            if polled.source.api == _PREFERRED:
                preferred.set()  # the ledger is updated before another task runs
        if polled.source.api != _PREFERRED:
            with suppress(TimeoutError):  # after that the jobs of the last poll decide
                async with asyncio.timeout(max(0.0, answer_by - self._clock.monotonic())):
                    await preferred.wait()
            result = self._without_duplicates(result, polled)
        polled.answered_at = self._clock.monotonic()
        polled.ledger.update(result, now=self._clock.time(), at=polled.answered_at)
        if not result.failures:
            polled.complete_at = polled.answered_at
        outcome.failures.extend(result.failures)

    def _without_duplicates(self, result: PollResult, polled: _PolledSource) -> PollResult:
        """Leave out jobs that v2 lists as well: same name and submission time (API reference §3, "both generations").

        They are neither tracked nor counted here, so that no sum has them twice.
        """
        preferred = self._polled.get(_PREFERRED)
        if preferred is None or preferred is polled:
            return result
        keys = {key for entry in preferred.ledger.entries if (key := _duplicate_key(entry.job))}
        self._duplicates = {job_id: key for job_id, key in self._duplicates.items() if key in keys}
        kept = []
        for job in result.jobs:
            key = _duplicate_key(job)
            if key is not None and key in keys:
                self._duplicates[job.job_id] = key
                polled.ledger.disregard(job)
            else:
                kept.append(job)
        return replace(result, jobs=tuple(kept)) if len(kept) < len(result.jobs) else result

    async def _poll_pools(self, outcome: _Outcome) -> None:
        answer_by = self._clock.monotonic() + self._settings.timeout_s * _LAST_START
        was_off = self._pools.is_off
        outcome.failures.extend(await self._pools.poll(answer_by=answer_by))
        for pool_id in self._pools.pools() or ():
            self._counts.observe_pool(pool_id)  # before its first job
        if self._pools.is_off != was_off:
            outcome.switched.append(("pools", was_off))

    async def _sweep_sources(self, outcome: _Outcome) -> None:
        await _gather(self._sweep_source(polled, outcome) for polled in self._polled.values())

    async def _sweep_source(self, polled: _PolledSource, outcome: _Outcome) -> None:
        try:
            result = await polled.source.sweep(polled.ledger.known())
        except SourceError as error:
            outcome.failures.append(error)
            return
        result = self._without_duplicates(result, polled)
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
                api = jobs[request.job_id].source.api
                if outcome.usage_refusals[api] >= _MAX_REFUSALS and not outcome.usage_answers[api]:
                    continue
                await self._read_task(request, jobs[request.job_id], outcome)

        await _gather(work() for _ in range(self._settings.usage_workers))
        self._switch_usage(outcome)
        for usage_job in jobs.values():
            self._judge(usage_job)
        outcome.deferred = len(queue)
        overdue = self._readings.overdue_count(at=self._clock.monotonic())
        if overdue and not outcome.failures:
            stale_after_s = self._settings.stale_after_s
            outcome.failures.append(
                OverdueError(f"usage: {overdue} tasks were not read for {stale_after_s:g} s; raise rate_limit")
            )

    def _switch_usage(self, outcome: _Outcome) -> None:
        """Switch the usage of a generation off where every request was refused, and on where one was answered."""
        for api, polled in self._polled.items():
            was_off = polled.usage.is_off
            if outcome.usage_answers[api]:
                polled.usage.answered()
            elif outcome.usage_refusals[api]:
                polled.usage.refused()
            elif outcome.failures:
                polled.usage.failed()
            if polled.usage.is_off != was_off:
                outcome.switched.append((api, was_off))

    def _usage_jobs(self) -> Iterator[_UsageJob]:
        """Yield jobs that run, and ended jobs with samples that have not been read."""
        for polled in self._polled.values():
            if not polled.usage.is_due:
                continue
            for entry in polled.ledger.entries:
                job = entry.job
                if entry.state.gone:
                    grace_s = self._settings.idle_grace_s
                    entry.account.judge(job, (), self._counts.accounts, grace_s=grace_s, over=True)
                elif _has_usage(job) or entry.account.has_unread_samples(job):
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
                usage_job.unread.discard(request.task)
                usage_job.refused.add(request.task)
            # The next jobs poll finds out about jobs that are gone; for an ended job a refusal is a valid response.
            if error.is_refusal and not final:
                outcome.usage_refusals[usage_job.source.api] += 1
            if error.outcome != Outcome.GONE and (not final or error.outcome == Outcome.INVALID_RESPONSE):
                outcome.failures.append(error)
            return
        outcome.usage_answers[usage_job.source.api] += 1
        now = self._clock.monotonic()
        run_s = job.run_duration_s or 0.0
        if job.status.active and usage_job.confirmed_at is not None:
            run_s += now - usage_job.confirmed_at
        usage = self._summarise(series, request, job, run_s=run_s) if series is not None else None
        self._readings.record(request, usage, at=now)
        usage_job.unread.discard(request.task)
        usage_job.entry.account.read(job, request.task, series, run_s=run_s, threshold=self._settings.idle_threshold)

    def _summarise(self, series: TaskSeries, request: UsageRequest, job: Job, *, run_s: float) -> TaskUsage:
        missing_slots = self._readings.missing_slots(request, series.slots, run_s=run_s)
        age_s = (series.unsampled_slots + missing_slots) * MINUTE_S
        return summarise(
            series,
            idle_threshold=self._settings.idle_threshold,
            missing_slots=missing_slots,
            sampled_at=_run_began_at(job, run_s=run_s, now=self._clock.time()) + run_s // MINUTE_S * MINUTE_S - age_s,
        )

    def _judge(self, usage_job: _UsageJob) -> None:
        """Count idle time; for the last time when every task of an ended job has been read to its end.

        Samples may arrive after the end; they are waited for, but not for long.
        """
        entry, job = usage_job.entry, usage_job.job
        tasks = usage_job.source.tasks(job)
        usage = self._readings.usage(job.job_id, at=self._clock.monotonic())
        if usage is not None and usage.accelerator_mean_ratio is not None:
            entry.state.mean_ratio = usage.accelerator_mean_ratio
        over = job.status.finished and not usage_job.unread
        if over and not entry.account.has_last_samples(
            job, [task for task in tasks if task not in usage_job.refused]
        ):
            ended_at = entry.state.finished_seen_at
            over = ended_at is None or self._clock.time() - ended_at >= _LAST_SAMPLES_S
        entry.account.judge(job, tasks, self._counts.accounts, grace_s=self._settings.idle_grace_s, over=over)

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
        return _PolledSource(source=source, ledger=ledger, usage=Switch(self._clock))

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
            workspaces=self._workspaces(),
            duplicate_jobs=len(self._duplicates) if len(self._polled) > 1 else None,
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
            usage = _mean_only(entry.state.mean_ratio)
            if usage is None and before is not None:
                usage = before.ended()
            if usage == before:
                usage = before
        if last is not None and last.job is job and last.usage is usage:
            return last
        return TrackedJob(project=self.project, job=job, usage=usage, shown=shown)


def _duplicate_key(job: Job) -> tuple[str, float] | None:
    return (job.name, job.submitted_at) if job.name and job.submitted_at is not None else None


def _has_usage(job: Job) -> bool:
    """Whether a job's tasks run: it holds nodes, also while it is being terminated."""
    return job.status.holds_nodes and job.status_nodes != 0


def _run_began_at(job: Job, *, run_s: float, now: float) -> float:
    """Return when the run would have begun if it had not been interrupted, in whole minutes after its start."""
    if job.started_at is None:
        return now - run_s
    interrupted_s = now - job.started_at - run_s if job.status.active else 0.0
    return job.started_at + max(0.0, interrupted_s // MINUTE_S * MINUTE_S)


def _mean_only(ratio: float | None) -> JobUsage | None:
    return None if ratio is None else JobUsage(accelerator_mean_ratio=ratio)


async def _gather(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them at the same time; the first unexpected exception cancels the others."""
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)
