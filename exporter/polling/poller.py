"""Polls one project: asks its sources, keeps the ledgers, and tells what is known of the project now."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from exporter.domain.job import Job, JobStatus
from exporter.domain.outcome import Outcome
from exporter.domain.pool import PoolSource
from exporter.domain.snapshot import CollectorState, ProjectSnapshot, Totals, TrackedJob
from exporter.domain.source import Clock, JobSource, PollResult, SourceError, Sources
from exporter.domain.usage import HANG_AFTER_S, JobUsage, summarise
from exporter.polling.call_count import Tally, tally
from exporter.polling.ledger import Counts, Entry, Ledger
from exporter.polling.memory import LedgerMemory, ProjectMemory
from exporter.polling.pools import PoolWatch
from exporter.polling.usage_readings import UsageReadings, UsageRequest
from exporter.polling.visibility import Visibility

_ASKING = frozenset({JobStatus.RUNNING, JobStatus.SCALING})
_NEVER_MORE = frozenset({Outcome.GONE, Outcome.REFUSED, Outcome.UNSUPPORTED, Outcome.INVALID_RESPONSE})
"""Answers after which asking for the minutes of a job that has ended would fare no better."""
_LAST_START = 0.8  # of the deadline: a call begun later could hardly be answered in time


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSettings:
    """How a project is polled; seconds. The reasons for the defaults stand with the settings."""

    timeout_s: float = 30.0
    """Deadline of one jobs poll, and of one pools poll."""
    usage_timeout_s: float = 60.0
    """Deadline of one usage poll: a whole interval, for every running task is a call."""
    sweep_timeout_s: float = 3600.0
    """Deadline of a sweep, which walks the whole history one call at a time."""
    sweep_interval_s: float = 21600.0
    sweep_retry_s: float = 600.0
    """How soon a sweep that failed is tried again, at first; each further failure doubles it."""
    stale_after_s: float = 300.0
    retention_s: float = 86400.0
    idle_threshold: float = 0.05
    idle_grace_s: float = 600.0
    """How long accelerators may idle at a stretch before it counts."""
    hang_after_s: float = HANG_AFTER_S
    """How long a job may stand still before a hang is suspected."""
    max_users: int = 100
    """How many users have accelerator seconds of their own."""
    usage_workers: int = 3
    """Tasks asked at the same time; one fewer than the target's concurrency leaves a jobs poll its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """One poll is over. `failures` are its failed parts; `deferred` tasks had no turn before the deadline."""

    project: str
    collector: str
    ok: bool
    duration_s: float
    calls: int
    jobs: int
    """Jobs tracked after the poll."""
    deferred: int = 0
    failures: tuple[SourceError, ...] = ()


@dataclass(slots=True)
class _Watch:
    """One source with its ledger, and when it last answered (monotonic; None: never)."""

    source: JobSource
    ledger: Ledger
    answered_at: float | None = None
    """When at least part of a look was answered."""
    whole_at: float | None = None
    """When a look was answered wholly."""


@dataclass(slots=True)
class _Asking:
    """A job whose tasks are asked how busy they are."""

    source: JobSource
    entry: Entry
    job: Job
    """As it was when the poll began: whether these are its last minutes is a matter of then."""
    told_at: float | None
    """When a look last told how long it had run (monotonic)."""
    left: set[str]
    """Tasks that have not answered in this poll."""


class DeadlineError(SourceError):
    """A poll did not end in time; the cloud answered too slowly for all of it."""

    outcome = Outcome.UNREACHABLE


class OverdueError(SourceError):
    """The rate limit leaves too few calls to read every running task in time: some utilisation is missing."""

    outcome = "overdue"


class DefectError(SourceError):
    """A poll met a defect of our own; the traceback is in the log."""

    outcome = "defect"


@dataclass(slots=True)
class _Result:
    failures: list[SourceError] = field(default_factory=list)
    deferred: int = 0


class ProjectPoller:
    """Everything known of one project. Each of the four polls ends by publishing through `on_change`.

    A cloud that fails is reported, never raised. A defect of our own is reported as a failed poll too, because a poll
    that ended in one has learned nothing, and then raised for the schedule to log.

    `identity` carries the labels of the project. `on_poll` is told of each poll that is over. `origin` says which
    project of which cloud this is, so that what was remembered of another one is not taken for its own.
    """

    def __init__(
        self,
        *,
        identity: ProjectSnapshot,
        sources: Sources,
        plan: PollSettings,
        screen: Visibility,
        clock: Clock,
        on_change: Callable[[ProjectSnapshot], None],
        on_poll: Callable[[PollReport], None],
        origin: str = "",
        pools: PoolSource | None = None,
    ) -> None:
        self.project = identity.project
        self._origin = origin
        self._identity = identity
        self._sources = sources
        self._plan = plan
        self._screen = screen
        self._clock = clock
        self._on_change = on_change
        self._on_poll = on_poll
        self._counts = Counts(max_users=plan.max_users)
        self._watches: dict[str, _Watch] = {}
        self._readings = UsageReadings(keep_s=plan.stale_after_s, hang_after_s=plan.hang_after_s)
        self._collectors: dict[str, CollectorState] = {}
        self._tracked: dict[str, TrackedJob] = {}
        self._judged: dict[str, tuple[Job, Job, bool]] = {}
        self._recalled: dict[str, LedgerMemory] = {}
        self._sweep_due_at = 0.0
        self._failed_sweeps = 0
        self._first_over = asyncio.Event()
        self._pools = PoolWatch(pools, stale_after_s=plan.stale_after_s, clock=clock)

    async def poll_jobs(self) -> None:
        """Ask every source what its jobs do."""
        await self._poll("jobs", self._look, timeout_s=self._plan.timeout_s)

    async def poll_usage(self) -> None:
        """Ask the tasks of running jobs how busy they are, most stale first, as far as the deadline allows.

        Waits until the first jobs poll is over; while no jobs poll has found a source there is nobody to ask.
        """
        await self._first_over.wait()
        if self._watches:
            await self._poll("usage", self._ask_usage, timeout_s=self._plan.usage_timeout_s)

    async def sweep(self) -> None:
        """Walk the whole listing if that is due; before the seeding it is not, and it waits for the first look."""
        await self._first_over.wait()
        seeded = self._watches and all(watch.ledger.seeded for watch in self._watches.values())
        if seeded and self._clock.monotonic() >= self._sweep_due_at:
            await self._poll("sweep", self._sweep, timeout_s=self._plan.sweep_timeout_s)
            self._failed_sweeps = 0 if self._collectors["sweep"].ok else self._failed_sweeps + 1
            wait_s = self._plan.sweep_interval_s
            if self._failed_sweeps:
                wait_s = min(wait_s, self._plan.sweep_retry_s * 2.0 ** (self._failed_sweeps - 1))
            self._sweep_due_at = self._clock.monotonic() + wait_s

    async def poll_pools(self) -> None:
        """Ask for the pools, unless the API has refused that within the hour; waits for the first jobs poll."""
        await self._first_over.wait()
        if self._pools.is_due:
            await self._poll("pools", self._look_at_pools, timeout_s=self._plan.timeout_s)

    async def _poll(self, collector: str, work: Callable[[_Result], Awaitable[None]], *, timeout_s: float) -> None:
        begun_at = self._clock.monotonic()
        result = _Result()
        with tally() as counted:
            try:
                async with asyncio.timeout(timeout_s):
                    await work(result)
            except SourceError as error:
                result.failures.append(error)
            except TimeoutError:
                result.failures.append(DeadlineError(f"{collector}: not over after {timeout_s:g} s"))
            except Exception as error:
                result.failures.append(DefectError(f"{collector}: {type(error).__name__}"))
                self._report(collector, result, counted, begun_at=begun_at)
                raise
            self._report(collector, result, counted, begun_at=begun_at)

    def _report(self, collector: str, result: _Result, counted: Tally, *, begun_at: float) -> None:
        ok = not result.failures
        for failure in result.failures:
            failure.__traceback__ = None  # a finding from here on; what it passed through would stay as long as it
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
            self._first_over.set()
        self._on_change(self.snapshot())
        self._on_poll(
            PollReport(
                project=self.project,
                collector=collector,
                ok=ok,
                duration_s=duration_s,
                calls=counted.calls,
                jobs=sum(len(watch.ledger) for watch in self._watches.values()),
                deferred=result.deferred,
                failures=tuple(result.failures),
            )
        )

    async def _look(self, result: _Result) -> None:
        answer_by = self._clock.monotonic() + self._plan.timeout_s * _LAST_START
        watches = await self._watching()
        await self._each(watches, lambda watch: self._look_at(watch, result, answer_by=answer_by))

    async def _look_at(self, watch: _Watch, result: _Result, *, answer_by: float) -> None:
        try:
            sighting = await watch.source.poll(watch.ledger.known(answer_by=answer_by))
        except SourceError as error:
            result.failures.append(error)
            return
        watch.answered_at = self._clock.monotonic()
        watch.ledger.update(sighting, now=self._clock.time(), at=watch.answered_at)
        if not sighting.failures:
            watch.whole_at = watch.answered_at
        result.failures.extend(sighting.failures)

    async def _look_at_pools(self, result: _Result) -> None:
        answer_by = self._clock.monotonic() + self._plan.timeout_s * _LAST_START
        result.failures.extend(await self._pools.poll(answer_by=answer_by))

    async def _sweep(self, result: _Result) -> None:
        await self._each(tuple(self._watches.values()), lambda watch: self._sweep_one(watch, result))

    async def _sweep_one(self, watch: _Watch, result: _Result) -> None:
        try:
            sighting: PollResult = await watch.source.sweep(watch.ledger.known())
        except SourceError as error:
            result.failures.append(error)
            return
        watch.ledger.sweep(sighting, now=self._clock.time())
        result.failures.extend(sighting.failures)

    async def _ask_usage(self, result: _Result) -> None:
        asking = {asked.job.job_id: asked for asked in self._to_be_asked()}
        tasks = {job_id: asked.source.tasks(asked.job) for job_id, asked in asking.items()}
        queue = self._readings.turns(tasks, at=self._clock.monotonic())
        queue.reverse()  # the next turn is the last one: popping there is cheap
        last_start = self._clock.monotonic() + self._plan.usage_timeout_s * _LAST_START

        async def work() -> None:
            while queue and self._clock.monotonic() < last_start:
                if any(error.is_final for error in result.failures):
                    break
                turn = queue.pop()
                await self._ask(turn, asking[turn.job_id], result)

        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, self._plan.usage_workers)):
                group.create_task(work())
        for asked in asking.values():
            self._judge(asked)
        result.deferred = len(queue)
        overdue = self._readings.overdue(at=self._clock.monotonic())
        if overdue and not result.failures:
            result.failures.append(
                OverdueError(
                    f"usage: {overdue} tasks had no turn for {self._plan.stale_after_s:g} s; raise rate_limit"
                )
            )

    def _to_be_asked(self) -> Iterator[_Asking]:
        """Jobs that run, and those that have ended with minutes nobody has read yet."""
        for watch in self._watches.values():
            for entry in watch.ledger.entries:
                job = entry.job
                if entry.gone:
                    entry.account.judge(job, (), self._counts.accounts, grace_s=self._plan.idle_grace_s, over=True)
                elif job.status in _ASKING or entry.account.has_unread_samples(job):
                    left = set(watch.source.tasks(job))
                    yield _Asking(source=watch.source, entry=entry, job=job, told_at=entry.confirmed_at, left=left)

    async def _ask(self, turn: UsageRequest, asked: _Asking, result: _Result) -> None:
        job = asked.job
        try:
            series = await asked.source.usage(job, turn.task)
        except SourceError as error:
            self._readings.asked(turn, None, at=self._clock.monotonic())
            over = job.status.finished and error.outcome in _NEVER_MORE
            if over:
                asked.left.discard(turn.task)  # its last minutes are not to be had: as if it had none
            # What is gone the next jobs poll will find out; a refusal for a job that has ended is an answer.
            if error.outcome != Outcome.GONE and (not over or error.outcome == Outcome.INVALID_RESPONSE):
                result.failures.append(error)
            return
        now = self._clock.monotonic()
        usage = summarise(series, idle_threshold=self._plan.idle_threshold) if series is not None else None
        self._readings.asked(turn, usage, at=now)
        asked.left.discard(turn.task)
        run_s = job.run_duration_s or 0.0
        if job.status.active and asked.told_at is not None:
            run_s += now - asked.told_at
        asked.entry.account.read(
            job,
            turn.task,
            series.accelerator if series is not None else None,
            run_s=run_s,
            threshold=self._plan.idle_threshold,
        )

    def _judge(self, asked: _Asking) -> None:
        """Count what idled; once more, and for the last time, when every task of an ended job has been asked."""
        asked.entry.account.judge(
            asked.entry.job,
            asked.source.tasks(asked.job),
            self._counts.accounts,
            grace_s=self._plan.idle_grace_s,
            over=asked.job.status.finished and not asked.left,
        )

    async def _watching(self) -> tuple[_Watch, ...]:
        """Match the ledgers with the sources of today.

        A generation the cloud no longer has takes its jobs along; should it come back, it goes on from what is
        remembered of it, for what happened meanwhile is news.
        """
        sources = await self._sources.current()
        watches = {}
        for api, left in self._watches.items():
            if left.source not in sources:
                self._recalled[api] = left.ledger.dump(means=self._means())
        for source in sources:
            watch = self._watches.get(source.api)
            if watch is None or watch.source is not source:
                ledger = Ledger(
                    counts=self._counts,
                    retention_s=self._plan.retention_s,
                    linger_s=self._plan.stale_after_s,
                )
                memory = self._recalled.pop(source.api.value, None)
                if memory is not None:
                    ledger.restore(memory)
                watch = _Watch(source=source, ledger=ledger)
            watches[source.api.value] = watch
        self._watches = watches
        return tuple(watches.values())

    @staticmethod
    async def _each(watches: tuple[_Watch, ...], work: Callable[[_Watch], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for watch in watches:
                group.create_task(_await(work(watch)))

    def snapshot(self) -> ProjectSnapshot:
        """What can be said of the project now; what is too old to be true is not in it.

        An active job that no look confirmed for `stale_after_s` is withdrawn; when a source has not answered at all
        for so long, all its jobs are. Then the rest is not `complete`.
        """
        now = self._clock.monotonic()
        tracked: dict[str, TrackedJob] = {}
        answering = False
        complete = bool(self._watches)
        for watch in self._watches.values():
            complete = complete and self._is_fresh(watch.whole_at, now)
            if not self._is_fresh(watch.answered_at, now):
                continue
            answering = True
            for entry in watch.ledger.entries:
                if entry.job.status.active and not self._is_fresh(entry.confirmed_at, now):
                    continue
                tracked[entry.job.job_id] = self._track(entry, now)
        self._tracked = tracked
        self._judged = {job_id: self._judged[job_id] for job_id in tracked}
        return ProjectSnapshot(
            project=self.project,
            project_id=self._identity.project_id,
            region=self._identity.region,
            cloud=self._identity.cloud,
            jobs=tracked if answering else None,
            complete=complete,
            totals=self.totals,
            collectors=tuple(self._collectors.values()),
            pools=self._pools.pools(),
            quotas=self._pools.quotas(),
        )

    @property
    def totals(self) -> Totals:
        """What has been counted so far."""
        return self._counts.freeze(mask_user=self._screen.veiled)

    def dump(self) -> ProjectMemory:
        """Tell what must outlive this poller. Cheap: it copies references, whoever writes it down does the work."""
        means = self._means()
        ledgers = {api: watch.ledger.dump(means=means) for api, watch in self._watches.items()}
        return ProjectMemory(origin=self._origin, counts=self._counts.dump(), ledgers={**self._recalled, **ledgers})

    def restore(self, memory: ProjectMemory) -> None:
        """Go on from what another poller remembered; before the first poll. Its totals count in any case."""
        self._counts.restore(memory.counts)
        if memory.origin == self._origin:
            self._recalled = dict(memory.ledgers)

    def _means(self) -> dict[str, float]:
        return {
            job_id: tracked.usage.accelerator_mean_ratio
            for job_id, tracked in self._tracked.items()
            if tracked.usage is not None and tracked.usage.accelerator_mean_ratio is not None
        }

    def _is_fresh(self, at: float | None, now: float) -> bool:
        return at is not None and now - at < self._plan.stale_after_s

    def _track(self, entry: Entry, now: float) -> TrackedJob:
        """Return the entry as it is shown: the same object as last time while nothing about it changed."""
        job_id = entry.job.job_id
        judged = self._judged.get(job_id)
        if judged is None or judged[0] is not entry.job:
            judged = self._judged[job_id] = (
                entry.job,
                self._screen.mask_user(entry.job),
                self._screen.shows(entry.job),
            )
        _, job, shown = judged
        last = self._tracked.get(job_id)
        usage = self._readings.usage(job_id, at=now) if job.status.active else None
        if usage is None:  # the mean over the run stays true
            usage = (
                last.usage.ended() if last is not None and last.usage is not None else _mean_only(entry.mean_ratio)
            )
            if last is not None and usage == last.usage:
                usage = last.usage
        if last is not None and last.job is job and last.usage is usage:
            return last
        return TrackedJob(project=self.project, job=job, usage=usage, shown=shown)


def _mean_only(ratio: float | None) -> JobUsage | None:
    return None if ratio is None else JobUsage(accelerator_mean_ratio=ratio)


async def _await(work: Awaitable[None]) -> None:
    await work
